/**
 * Descriptors: what content is called, how long it is and what it is made of (image-spec, `descriptor.md`).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Digest from "./Digest.ts"
import * as Hasher from "./Hasher.ts"
import * as MediaType from "./MediaType.ts"
import { Platform } from "./Platform.ts"

/**
 * Schema of a descriptor. Fields that are not declared here survive decoding and encoding. A media type that is absent is
 * blank, and a platform that lacks its operating system or architecture is absent.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Descriptor = Schema.StructWithRest(
  Schema.Struct({
    mediaType: Schema.String.pipe(Schema.withDecodingDefaultTypeKey(Effect.succeed(""))),
    digest: Digest.Digest,
    /** In bytes. */
    size: Schema.Natural,
    urls: Schema.optionalKey(Schema.Array(Schema.String)),
    annotations: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
    data: Schema.optionalKey(Schema.String),
    artifactType: Schema.optionalKey(Schema.String),
    platform: Schema.optionalKey(Platform).pipe(Schema.catchDecoding(() => Effect.succeedNone))
  }),
  [Schema.Record(Schema.String, Schema.Json)]
)

/**
 * A descriptor.
 *
 * @category models
 * @since 0.1.0
 */
export type Descriptor = typeof Descriptor.Type

/**
 * Describes some bytes. They are `application/octet-stream` and the digest is of `sha256`, unless said otherwise.
 *
 * **Example** (Describing a layer)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Descriptor from "effect-oci/Descriptor"
 * import * as MediaType from "effect-oci/MediaType"
 *
 * const bytes = new TextEncoder().encode("a layer")
 * const { digest, size } = Effect.runSync(Descriptor.fromBytes(bytes, { mediaType: MediaType.imageLayer }))
 *
 * size // => 7
 * digest.slice(0, 15) // => "sha256:e28d98ac"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromBytes = Effect.fnUntraced(function*(bytes: Uint8Array, options?: {
  readonly mediaType?: string | undefined
  readonly algorithm?: string | undefined
}): Effect.fn.Return<Descriptor, Hasher.UnsupportedAlgorithm> {
  return {
    mediaType: options?.mediaType ?? MediaType.octetStream,
    digest: yield* Hasher.digest(bytes, options?.algorithm),
    size: bytes.length
  }
})
