/**
 * `effect-oci resolve IMAGE...`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

const Resolved = Schema.Struct({ reference: Schema.String, descriptor: Descriptor })

/** Schema of the result for several images. */
export const ResolvedMany = Schema.Array(Resolved)

export const ResolveCommand = Command.make(
  "resolve",
  {
    images: Flags.place("image", "Image: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE").pipe(
      Argument.atLeast(1)
    ),
    platform: Flags.platform(
      "Print the digest of the image for this platform, such as linux/arm64 or windows(10.0.17763)/amd64"
    ).pipe(Flag.optional),
    fullRef: Flags.onOff("full-ref", "Print the whole reference with the digest"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ fullRef, images, json, platform }) {
    const namespace = yield* Namespace.Namespace
    const options = Option.isNone(platform) ? {} : { platform: platform.value }
    const resolved: Array<typeof Resolved.Type> = []
    for (const image of images) {
      yield* image.use(
        Locations.image,
        Effect.fnUntraced(function*({ end, format }) {
          const descriptor = yield* namespace.resolveManifest(end, options)
          const { digest } = descriptor
          resolved.push({ reference: format({ digest }), descriptor })
          if (!json) yield* Output.line(fullRef ? format({ digest }) : digest)
        })
      )
    }
    const [first, ...others] = resolved
    if (!json || first === undefined) return
    yield* others.length === 0 ? Output.json(Descriptor, first.descriptor) : Output.json(ResolvedMany, resolved)
  })
).pipe(
  Connection.provide("images"),
  Command.withAlias("digest"),
  Command.withShortDescription("Prints the digest that a tag points at"),
  Command.withDescription(
    "Prints the digest that a tag points at. With --json, prints the descriptor: media type, digest and size. For " +
      "several images, prints one line each, or one JSON array."
  ),
  Command.withExamples([
    {
      command: "effect-oci resolve ghcr.io/team/app:1",
      description: "Print the digest of an image or image index"
    },
    {
      command: "effect-oci resolve --platform linux/arm64 --full-ref ghcr.io/team/app:1",
      description: "Print a reference that pins the image for one platform"
    },
    { command: "effect-oci resolve ghcr.io/team/app:1 ghcr.io/team/app:2", description: "Print two digests" }
  ])
)
