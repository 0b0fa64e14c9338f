/**
 * `effect-oci referrers IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Descriptor } from "../Descriptor.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Format from "./Format.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

const line = ({ artifactType, digest, mediaType, size }: Descriptor): string =>
  [digest, artifactType || mediaType, Format.size(size)].filter((column) => column !== "").join("  ")

/** Schema of the result. */
export const Referrers = Schema.Array(Descriptor)

export const ReferrersCommand = Command.make(
  "referrers",
  {
    image: Flags.place("image", "Subject: host/repository, oci:DIR or oci-archive:FILE, with a tag or a digest"),
    artifactType: Flag.String("artifact-type").pipe(
      Flag.withAlias("type"),
      Flag.withMetavar("TYPE"),
      Flag.withDescription("Only referrers of this artifact type"),
      Flag.optional
    ),
    annotation: Flags.annotationFilter,
    platform: Flags.platform("List the referrers of the image for this platform instead of the index").pipe(
      Flag.optional
    ),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ annotation, artifactType, image, json, platform }) {
    const namespace = yield* Namespace.Namespace
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*(place) {
        const subject = Option.isNone(platform) ? place : Locations.withPart(place, {
          digest: (yield* namespace.resolveManifest(place.end, { platform: platform.value })).digest
        })
        const found = namespace.referrers(
          subject.end,
          Option.isNone(artifactType) ? {} : { artifactType: artifactType.value }
        ).pipe(Stream.filter(Flags.hasAnnotations(annotation)))
        if (!json) return yield* Output.lines(Stream.map(found, line))
        yield* Output.json(Referrers, yield* Stream.runCollect(found))
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("discover"),
  Command.withShortDescription("Lists the referrers of an image: signatures, SBOMs, attestations"),
  Command.withDescription(
    "Lists the manifests whose subject is the image: digest, artifact type and size of each. With --json, prints " +
      "their descriptors with annotations. For referrers of referrers, and of the images of an index, see tree."
  ),
  Command.withExamples([
    { command: "effect-oci referrers ghcr.io/team/app:1", description: "List all referrers of an image" },
    {
      command: "effect-oci referrers --artifact-type application/spdx+json --json ghcr.io/team/app:1",
      description: "List the SBOMs of an image as JSON"
    }
  ])
)
