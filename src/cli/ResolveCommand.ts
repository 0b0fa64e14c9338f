/**
 * `effect-oci resolve IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Descriptor } from "../Descriptor.ts"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

export const ResolveCommand = Command.make(
  "resolve",
  {
    image: Flags.place("image", "Image: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE"),
    platform: Flags.platform(
      "Print the digest of the image for this platform, such as linux/arm64 or windows(10.0.17763)/amd64"
    ).pipe(Flag.optional),
    fullRef: Flags.onOff("full-ref", "Print the whole reference with the digest"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ fullRef, image, json, platform }) {
    const namespace = yield* Namespace.Namespace
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*({ end, format }) {
        const descriptor = yield* namespace.resolveManifest(
          end,
          Option.isNone(platform) ? {} : { platform: platform.value }
        )
        const { digest } = descriptor
        if (json) return yield* Output.json(Descriptor, descriptor)
        yield* Output.line(fullRef ? format({ digest }) : digest)
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("digest"),
  Command.withShortDescription("Prints the digest that a tag points at"),
  Command.withDescription(
    "Prints the digest that a tag points at. With --json, prints the descriptor: media type, digest and size."
  ),
  Command.withExamples([
    {
      command: "effect-oci resolve ghcr.io/team/app:1",
      description: "Print the digest of an image or image index"
    },
    {
      command: "effect-oci resolve --platform linux/arm64 --full-ref ghcr.io/team/app:1",
      description: "Print a reference that pins the image for one platform"
    }
  ])
)
