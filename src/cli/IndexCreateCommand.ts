/**
 * `effect-oci index create REFERENCE IMAGE...`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ImageIndex from "../artifact/ImageIndex.ts"
import { Descriptor } from "../Descriptor.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as IndexFlags from "./IndexFlags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

export const IndexCreateCommand = Command.make(
  "create",
  {
    index: Flags.place("reference", "Destination: host/repository, oci:DIR or oci-archive:FILE, with a tag"),
    images: IndexFlags.members,
    annotation: Flags.annotation("Annotation of the index. May be repeated"),
    artifactType: Flag.String("artifact-type").pipe(
      Flag.withMetavar("TYPE"),
      Flag.withDescription("Artifact type of the index. Default: none"),
      Flag.optional
    ),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ annotation, artifactType, images, index, json }) {
    const { descriptor, line } = yield* index.use(
      Locations.destination,
      (place) =>
        IndexFlags.useMembers(place, images, (manifests) =>
          Effect.map(
            ImageIndex.create({
              destination: place.end,
              manifests,
              annotations: Object.fromEntries(annotation),
              ...Option.isNone(artifactType) ? {} : { artifactType: artifactType.value }
            }),
            ({ descriptor, digest }) => ({ descriptor, line: place.format({ digest }) })
          ))
    )
    yield* json ? Output.json(Descriptor, descriptor) : Output.line(line)
  })
).pipe(
  Connection.provide("index", "images"),
  Command.withShortDescription("Makes an index of images"),
  Command.withDescription(
    "Makes an index of images, with the platforms in their configs, and pushes it. Images in other repositories are " +
      "copied first. Prints the reference of the index by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci index create registry.example.com/team/app:1 :1-amd64 :1-arm64",
      description: "Make an index of two images in its repository"
    },
    {
      command: "effect-oci index create registry.example.com/team/app:1 oci:amd64:app oci:arm64:app",
      description: "Make an index of images in two folders"
    }
  ])
)
