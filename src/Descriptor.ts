/**
 * Descriptors: the media type, digest and size of content (image-spec, `descriptor.md`).
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
import * as OtherFields from "./OtherFields.ts"
import { Platform } from "./Platform.ts"

/**
 * A descriptor. Fields of other names survive decoding and encoding: {@link otherFields} returns them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Descriptor {
  /** Media type of the content. It is blank if the document does not name it. */
  readonly mediaType: string
  readonly digest: Digest.Digest
  /** Size of the content, in bytes. */
  readonly size: number
  /** Addresses from which the content may be downloaded. */
  readonly urls?: ReadonlyArray<string> | undefined
  readonly annotations?: Readonly<Record<string, string>> | undefined
  /** The content itself, in base64. */
  readonly data?: string | undefined
  /** Type of the artifact that the content is, if it is a manifest. */
  readonly artifactType?: string | undefined
  /** Platform that the content is for, if it is a manifest in an image index. */
  readonly platform?: Platform | undefined
}

const Declared = Schema.Struct({
  mediaType: Schema.String.pipe(Schema.withDecodingDefaultTypeKey(Effect.succeed(""))),
  digest: Digest.Digest,
  size: Schema.Natural,
  urls: Schema.optional(Schema.Array(Schema.String)),
  annotations: Schema.optional(Schema.Record(Schema.String, Schema.String)),
  data: Schema.optional(Schema.String),
  artifactType: Schema.optional(Schema.String),
  platform: Schema.optional(Platform).pipe(Schema.catchDecoding(() => Effect.succeedNone))
})

/**
 * Schema of a descriptor. Fields that are not declared here survive decoding and encoding. A media type that is absent
 * is blank, and a platform that lacks its operating system or architecture is absent.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Descriptor: Schema.Codec<Descriptor, typeof Declared.Encoded> = Schema.StructWithRest(
  Declared,
  OtherFields.kept
)

/**
 * Returns the fields of a descriptor that {@link Descriptor} does not declare, such as those of other versions of the
 * specification.
 *
 * **Example** (Reading a field that is not declared)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import * as Descriptor from "effect-oci/Descriptor"
 *
 * const program = Effect.gen(function*() {
 *   const described = yield* Descriptor.fromBytes(new TextEncoder().encode("hello"))
 *   const descriptor = yield* Schema.decodeUnknownEffect(Descriptor.Descriptor)({ ...described, "org.example": [1] })
 *   return Descriptor.otherFields(descriptor)
 * })
 *
 * Effect.runSync(program) // => { "org.example": [1] }
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const otherFields = (self: Descriptor): Readonly<Record<string, Schema.Json>> => OtherFields.of(Declared, self)

const emptyObject = new TextEncoder().encode("{}")

/** Returns the bytes in `data`, if their number is the size of the descriptor. */
const decodeData = ({ data = "", size }: Descriptor): Uint8Array | undefined => {
  // before anything is decoded: four characters stand for three bytes
  if (data.length !== 4 * Math.ceil(size / 3)) return undefined
  const decoded = Result.getOrUndefined(Base64.decode(data))
  return decoded?.length === size ? decoded : undefined
}

/**
 * Returns the content of a descriptor, if it is known without a registry: its `data` (image-spec, `descriptor.md`), or
 * the empty JSON object, which artifacts have as their config. Content that does not match the digest and size of the
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
 * Creates the descriptor of bytes. Default media type: `application/octet-stream`. Default algorithm: `sha256`.
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

/**
 * The descriptor of the empty JSON object, which contains its content. Artifacts without a config have it as their
 * config (image-spec, `manifest.md`).
 *
 * @category constants
 * @since 0.1.0
 */
export const empty: Descriptor = {
  mediaType: MediaType.empty,
  digest: Digest.Digest.make("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
  size: emptyObject.length,
  data: "e30="
}
