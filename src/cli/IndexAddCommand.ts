/**
 * `effect-oci index add INDEX IMAGE...`
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

export const IndexAddCommand = Command.make(
  "add",
  {
    index: Flags.place("index", "Index: host/repository, oci:DIR or oci-archive:FILE, with a tag or a digest"),
    images: IndexFlags.members,
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ images, index, json }) {
    const { descriptor, line } = yield* index.use(
      Locations.tagged,
      (place) =>
        IndexFlags.useMembers(place, images, (manifests) =>
          Effect.map(
            ImageIndex.add({ index: place.end, manifests }),
            ({ descriptor, digest }) => ({ descriptor, line: place.format({ digest }) })
          ))
    )
    yield* json ? Output.json(Descriptor, descriptor) : Output.line(line)
  })
).pipe(
  Connection.provide("index", "images"),
  Command.withShortDescription("Adds images to an index"),
  Command.withDescription(
    "Adds images to an index, with the platforms in their configs, and moves the tag to the changed index. Images in " +
      "other repositories are copied first. Prints the reference of the index by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci index add registry.example.com/team/app:1 :1-riscv64",
      description: "Add an image in the repository of the index"
    }
  ])
)
