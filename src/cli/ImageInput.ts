/**
 * Images that verbs read: the one for a platform, or for this machine.
 */
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Image from "../artifact/Image.ts"
import { ImageError, isImageError } from "../artifact/ImageError.ts"
import * as Platform from "../Platform.ts"
import * as Flags from "./Flags.ts"
import * as HostPlatform from "./HostPlatform.ts"
import type * as Locations from "./Locations.ts"
import * as Messages from "./Messages.ts"

/** The flag that selects an image of an index. */
export const platform = Flags.platform(
  "Image of an index for this platform. Default: the only image, or else Linux on the architecture of this machine"
).pipe(Flag.optional)

/** The argument that names an image. */
export const image = Flags.place(
  "image",
  "Image: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, with a tag or a digest"
)

/** Opens the image at a place. */
export const open = Effect.fnUntraced(function*(place: Locations.Location, platform: Option.Option<Platform.Platform>) {
  const reference = place.format(place.end)
  return yield* Image.open(place.end, Option.isNone(platform) ? {} : { platform: platform.value }).pipe(
    Effect.catchIf(
      (error) => isImageError(error) && error.reason._tag === "PlatformRequired",
      () =>
        Effect.andThen(
          Messages.note(
            `${reference} has several images: reading the one for ${Platform.format(HostPlatform.platform)}`
          ),
          Image.open(place.end, { platform: HostPlatform.platform })
        )
    ),
    // with the reference as it was typed
    Effect.mapError((error) => isImageError(error) ? new ImageError({ reference, reason: error.reason }) : error)
  )
})
