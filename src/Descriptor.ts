/**
 * Descriptors: what content is called, how long it is and what it is made of (image-spec, `descriptor.md`).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Digest from "./Digest.ts"
import * as Hasher from "./Hasher.ts"
import * as MediaType from "./MediaType.ts"
import { Platform } from "./Platform.ts"

/**
 * Schema of a descriptor. Fields that are not declared here survive decoding and encoding. A media type that is absent
 * is blank, and a platform that lacks its operating system or architecture is absent.
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

const emptyObject = new TextEncoder().encode("{}")

/** Returns the bytes in `data`, if there are as many as the size says. */
const decodeData = ({ data = "", size }: Descriptor): Uint8Array | undefined => {
  // before anything is decoded: four characters stand for three bytes
  if (data.length !== 4 * Math.ceil(size / 3)) return undefined
  const decoded = Result.getOrUndefined(Base64.decode(data))
  return decoded?.length === size ? decoded : undefined
}

/**
 * Returns the content of a descriptor, if it is known without a registry: its `data` (image-spec, `descriptor.md`), or
 * the empty JSON object, which artifacts have as their config. Content that has not the digest and size of the
 * descriptor is not returned.
 *
 * **Example** (Content within a descriptor)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Descriptor from "effect-oci/Descriptor"
 *
 * const program = Effect.gen(function*() {
 *   const descriptor = yield* Descriptor.fromBytes(new TextEncoder().encode("hello"))
 *   const content = yield* Descriptor.inlineContent({ ...descriptor, data: "aGVsbG8=" })
 *   return [new TextDecoder().decode(content), yield* Descriptor.inlineContent({ ...descriptor, data: "d29ybGQ=" })]
 * })
 *
 * Effect.runSync(program) // => ["hello", undefined]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const inlineContent = (self: Descriptor): Effect.Effect<Uint8Array | undefined> => {
  const content = self.size === emptyObject.length && self.data === undefined ? emptyObject : decodeData(self)
  return content === undefined
    ? Effect.undefined
    : Effect.match(Hasher.verifyBytes(content, self.digest), {
      onFailure: () => undefined,
      onSuccess: () => content
    })
}

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
