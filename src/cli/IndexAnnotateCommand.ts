/**
 * `effect-oci index annotate INDEX`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as ImageIndex from "../artifact/ImageIndex.ts"
import { Descriptor } from "../Descriptor.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as IndexFlags from "./IndexFlags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

export const IndexAnnotateCommand = Command.make(
  "annotate",
  {
    index: Flags.place("index", "Index: host/repository, oci:DIR or oci-archive:FILE, with a tag or a digest"),
    annotation: Flags.annotation("Annotation to add or to change. May be repeated"),
    removeAnnotation: Flag.String("remove-annotation").pipe(
      Flag.withMetavar("KEY"),
      Flag.withDescription("Annotation to remove. May be repeated"),
      Flag.atLeast(0)
    ),
    images: IndexFlags.selectionFlag,
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ annotation, images, index, json, removeAnnotation }) {
    if (annotation.length === 0 && removeAnnotation.length === 0) {
      return yield* misuse("there is nothing to change: use --annotation or --remove-annotation")
    }
    const { descriptor, line } = yield* index.use(
      Locations.tagged,
      (place) =>
        Effect.map(
          ImageIndex.annotate({
            index: place.end,
            annotations: {
              ...Object.fromEntries(removeAnnotation.map((key) => [key, undefined])),
              ...Object.fromEntries(annotation)
            },
            ...images.length === 0 ? {} : { manifests: images }
          }),
          ({ descriptor, digest }) => ({ descriptor, line: place.format({ digest }) })
        )
    )
    yield* json ? Output.json(Descriptor, descriptor) : Output.line(line)
  })
).pipe(
  Connection.provide("index"),
  Command.withShortDescription("Changes the annotations of an index"),
  Command.withDescription(
    "Changes the annotations of an index, or of images in it, and moves the tag to the changed index. Prints the " +
      "reference of the index by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci index annotate -a org.example.channel=stable registry.example.com/team/app:1",
      description: "Annotate an index"
    },
    {
      command: "effect-oci index annotate --image linux/arm64 -a org.example.tested=yes " +
        "registry.example.com/team/app:1",
      description: "Annotate one image in the index"
    }
  ])
)
