/**
 * `effect-oci referrers IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Format from "./Format.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

const line = ({ artifactType, digest, mediaType, size }: Descriptor): string =>
  [digest, artifactType || mediaType, Format.size(size)].filter((column) => column !== "").join("  ")

export const ReferrersCommand = Command.make(
  "referrers",
  {
    image: Flags.place("image", "What is referred to: host/repository, oci:DIR or oci-archive:FILE, by tag or digest"),
    type: Flag.String("type").pipe(
      Flag.withMetavar("TYPE"),
      Flag.withDescription("Only referrers of this artifact type"),
      Flag.optional
    ),
    platform: Flags.platform("What refers to the image for this platform, rather than to the index").pipe(
      Flag.optional
    ),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json, platform, type }) {
    const namespace = yield* Namespace.Namespace
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*(place) {
        const subject = Option.isNone(platform) ? place : Locations.withPart(place, {
          digest: (yield* namespace.resolveManifest(place.end, { platform: platform.value })).digest
        })
        const found = namespace.referrers(subject.end, Option.isNone(type) ? {} : { artifactType: type.value })
        if (!json) return yield* Output.lines(Stream.map(found, line))
        yield* Output.json(yield* Stream.runCollect(found))
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("discover"),
  Command.withShortDescription("What refers to an image: signatures, SBOMs, attestations"),
  Command.withDescription(
    "Lists the manifests that name an image as their subject: digest, artifact type and size of each. With --json it prints " +
      "their descriptors, with annotations. What refers to these in turn, and to the images of an index, is in the tree."
  ),
  Command.withExamples([
    { command: "effect-oci referrers ghcr.io/team/app:1", description: "Everything that refers to an image" },
    {
      command: "effect-oci referrers --type application/spdx+json --json ghcr.io/team/app:1",
      description: "Its SBOMs, for another program to read"
    }
  ])
)
