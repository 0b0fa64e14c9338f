/**
 * Content that tests of limits push, and how it is refused.
 */
import { Effect } from "effect"
import * as MediaType from "effect-oci/MediaType"
import type { Tag } from "effect-oci/Reference"
import { isRegistryError } from "effect-oci/RegistryError"
import { bytesOf, tag } from "./images.ts"

/** Returns the reason for which a registry refuses, as text. */
export const refusal = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, A, R> =>
  Effect.map(
    Effect.flip(effect),
    (error) => isRegistryError(error) ? `${error.reason._tag}: ${error.reason.message}` : String(error)
  )

/** Returns an image index without manifests that differs from those of other names. */
export const index = (name: string, more: object = {}): Uint8Array =>
  bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [], name, ...more })

/** Returns so many tags. */
export const tags = (count: number): ReadonlyArray<Tag> =>
  Array.from({ length: count }, (_, index) => tag(`tag-${index}`))
