/**
 * `effect-oci index remove INDEX IMAGE...`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as ImageIndex from "../artifact/ImageIndex.ts"
import { Descriptor } from "../Descriptor.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as IndexFlags from "./IndexFlags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

export const IndexRemoveCommand = Command.make(
  "remove",
  {
    index: Flags.place("index", "Index: host/repository, oci:DIR or oci-archive:FILE, with a tag or a digest"),
    images: IndexFlags.selections,
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ images, index, json }) {
    const { descriptor, line } = yield* index.use(
      Locations.tagged,
      (place) =>
        Effect.map(
          ImageIndex.remove({ index: place.end, manifests: images }),
          ({ descriptor, digest }) => ({ descriptor, line: place.format({ digest }) })
        )
    )
    yield* json ? Output.json(Descriptor, descriptor) : Output.line(line)
  })
).pipe(
  Connection.provide("index"),
  Command.withShortDescription("Removes images from an index"),
  Command.withDescription(
    "Removes images from an index, and moves the tag to the changed index. The images remain in the registry. Prints " +
      "the reference of the index by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci index remove registry.example.com/team/app:1 linux/s390x linux/ppc64le",
      description: "Remove the images for two platforms"
    }
  ])
)
