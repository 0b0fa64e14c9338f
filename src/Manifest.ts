/**
 * Manifests: the JSON documents that say what an image or artifact consists of.
 *
 * Five types are understood: the OCI image manifest and image index, their two Docker ancestors, and the withdrawn OCI
 * artifact manifest. A decoded manifest keeps the bytes it came from, and only those bytes are ever hashed or sent:
 * encoding JSON anew would change its digest.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Descriptor } from "./Descriptor.ts"
import * as Digest from "./Digest.ts"
import * as MediaType from "./MediaType.ts"
import { excerpt, printable } from "./Text.ts"

const noDescriptors: Effect.Effect<ReadonlyArray<Descriptor>> = Effect.succeed([])

// Go writes null for a list without elements, or omits it
const Descriptors = Schema.Array(Descriptor).pipe(Schema.withDecodingDefaultTypeKey(noDescriptors))

/**
 * Schema of the manifest that another one refers to. Only its digest is needed: some tools (cosign) omit the rest.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Subject = Schema.StructWithRest(
  Schema.Struct({
    digest: Digest.Digest,
    mediaType: Schema.optionalKey(Schema.String),
    /** In bytes. */
    size: Schema.optionalKey(Schema.Natural)
  }),
  [Schema.Record(Schema.String, Schema.Json)]
)

const common = {
  schemaVersion: Schema.optionalKey(Schema.Int),
  mediaType: Schema.optionalKey(Schema.String),
  artifactType: Schema.optionalKey(Schema.String),
  subject: Schema.optionalKey(Subject),
  annotations: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
}
const unknownFields = [Schema.Record(Schema.String, Schema.Json)] as const

/**
 * Schema of an image manifest, of OCI or Docker. An image without layers may omit their list.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ImageManifest = Schema.StructWithRest(
  Schema.Struct({ ...common, config: Descriptor, layers: Descriptors }),
  unknownFields
)

/**
 * Schema of an image index, or Docker manifest list. An index without manifests may omit their list.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ImageIndex = Schema.StructWithRest(
  Schema.Struct({ ...common, manifests: Descriptors }),
  unknownFields
)

/**
 * Schema of an OCI artifact manifest.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ArtifactManifest = Schema.StructWithRest(
  Schema.Struct({ ...common, blobs: Schema.optionalKey(Schema.Array(Descriptor)) }),
  unknownFields
)

/**
 * A manifest, decoded. `bytes` is what it came as, to the byte.
 *
 * @category models
 * @since 0.1.0
 */
export type Manifest =
  & { readonly mediaType: string; readonly bytes: Uint8Array }
  & (
    | { readonly _tag: "Image"; readonly content: typeof ImageManifest.Type }
    | { readonly _tag: "Index"; readonly content: typeof ImageIndex.Type }
    | { readonly _tag: "Artifact"; readonly content: typeof ArtifactManifest.Type }
  )

/**
 * What a manifest refers to, and cannot be complete without. The subject is not among it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Digests {
  readonly blobs: ReadonlyArray<Descriptor>
  readonly manifests: ReadonlyArray<Descriptor>
}

/**
 * Bytes are not a manifest of the type they came as: the type is none that is understood here (`UnknownMediaType`), or
 * the document does not fit its type (`Malformed`).
 *
 * @category errors
 * @since 0.1.0
 */
export class ManifestError extends Schema.TaggedError<ManifestError>("effect-oci/Manifest/ManifestError")(
  "ManifestError",
  { kind: Schema.Literals(["UnknownMediaType", "Malformed"]), mediaType: Schema.String, problem: Schema.String }
) {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    const mediaType = JSON.stringify(this.mediaType.slice(0, 100))
    return printable(
      this.kind === "UnknownMediaType"
        ? `${mediaType} is not a type of manifest that is known here`
        : `not a manifest of type ${mediaType}: ${this.problem}`
    )
  }
}

const decoder = <S extends Schema.ConstraintDecoder<unknown>>(schema: S) =>
  Schema.decodeUnknownResult(Schema.fromJsonString(Schema.toCodecGoJson(schema)))
const decodeImage = decoder(ImageManifest)
const decodeIndex = decoder(ImageIndex)
const decodeArtifact = decoder(ArtifactManifest)

const decodeContent = (
  mediaType: string,
  bytes: Uint8Array,
  text: string
): Result.Result<Manifest, Schema.SchemaError> => {
  switch (mediaType) {
    case MediaType.imageIndex:
    case MediaType.dockerManifestList:
      return Result.map(decodeIndex(text), (content) => ({ _tag: "Index", mediaType, bytes, content }))
    case MediaType.artifactManifest:
      return Result.map(decodeArtifact(text), (content) => ({ _tag: "Artifact", mediaType, bytes, content }))
    default:
      return Result.map(decodeImage(text), (content) => ({ _tag: "Image", mediaType, bytes, content }))
  }
}

// the message quotes the names of fields, which may be of any length
const oneLine = (message: string): string => message.slice(0, 300).replace(/\s*\n\s*/g, " ")

// a document that reads as both image and index means different things to different readers (CVE-2021-41190)
const foreignFields = { Image: ["manifests"], Index: ["layers", "config"], Artifact: ["manifests", "layers"] } as const

const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || Array.isArray(value) && value.length === 0

/**
 * Decodes a manifest. Its `mediaType` field, where there is one, must be the type it came as (distribution-spec,
 * "Pulling manifests"). A list that is `null` or absent, as Go writes it, is empty, and an optional field that is
 * `null` is absent.
 *
 * **Example** (Decoding an image index)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Manifest from "effect-oci/Manifest"
 * import * as MediaType from "effect-oci/MediaType"
 *
 * const bytes = new TextEncoder().encode(`{ "schemaVersion": 2, "manifests": null }`)
 *
 * Result.map(Manifest.decode(MediaType.imageIndex, bytes), (manifest) => manifest._tag) // => Result.succeed("Index")
 * Result.isFailure(Manifest.decode("text/html", bytes)) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const decode = (mediaType: string, bytes: Uint8Array): Result.Result<Manifest, ManifestError> => {
  const fail = (problem: string) => Result.fail(new ManifestError({ kind: "Malformed", mediaType, problem }))
  if (!MediaType.isManifest(mediaType)) {
    return Result.fail(new ManifestError({ kind: "UnknownMediaType", mediaType, problem: "unknown type" }))
  }
  const text = Result.try(() => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes))
  if (Result.isFailure(text)) return fail("not UTF-8")
  const decoded = decodeContent(mediaType, bytes, text.success)
  if (Result.isFailure(decoded)) return fail(oneLine(decoded.failure.message))
  const manifest = decoded.success
  const own = manifest.content.mediaType
  if (own !== undefined && own !== "" && own !== mediaType) {
    return fail(`its mediaType field says ${JSON.stringify(own.slice(0, 100))}`)
  }
  const foreign = foreignFields[manifest._tag].find((field) => !isEmpty(manifest.content[field]))
  return foreign === undefined ? Result.succeed(manifest) : fail(`it has a field ${foreign}, which that type has not`)
}

/**
 * Returns the digest of the manifest that the manifest in these bytes refers to as its subject. Returns `undefined` if
 * it has no subject, or if {@link decode} fails.
 *
 * **Example** (The subject of a signature)
 *
 * ```ts import.meta.vitest
 * import * as Manifest from "effect-oci/Manifest"
 * import * as MediaType from "effect-oci/MediaType"
 *
 * const digest = `sha256:${"0".repeat(64)}`
 * const bytes = new TextEncoder().encode(`{ "schemaVersion": 2, "manifests": [], "subject": { "digest": "${digest}" } }`)
 *
 * Manifest.subjectOf(MediaType.imageIndex, bytes) === digest // => true
 * Manifest.subjectOf("text/html", bytes) // => undefined
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const subjectOf = (mediaType: string, bytes: Uint8Array): Digest.Digest | undefined =>
  Result.getOrUndefined(decode(mediaType, bytes))?.content.subject?.digest

const decodeObject = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))

/**
 * Returns true if these bytes are a JSON object, as manifests of all types are, known or not.
 *
 * @category guards
 * @since 0.1.0
 */
export const isDocument = (bytes: Uint8Array): boolean => Option.isSome(decodeObject(new TextDecoder().decode(bytes)))

/** Returns the type of a document that has the fields of one type, and none of another. */
const shapeOf = (document: Readonly<Record<string, unknown>>): string | undefined => {
  const isIndex = "manifests" in document
  const isImage = "layers" in document || "config" in document
  if (isIndex === isImage) return undefined
  return isIndex ? MediaType.imageIndex : MediaType.imageManifest
}

/**
 * Returns the media type of a manifest that came with a `Content-Type`, or without one.
 *
 * **Details**
 *
 * A type of a manifest in the header counts, unless the document's own `mediaType` field contradicts it (`Malformed`).
 * After any other header, for example `application/json` or `text/plain`, the type is what the document says itself, or
 * what its fields show: an index has `manifests`, an image has `config` and `layers`. A JSON object that shows neither
 * is of the type in the header, if that says anything (see `MediaType.isGeneric`). Otherwise the bytes are not a
 * manifest (`UnknownMediaType`).
 *
 * **Example** (A manifest from a file server)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Manifest from "effect-oci/Manifest"
 *
 * const bytes = new TextEncoder().encode(`{ "schemaVersion": 2, "manifests": [] }`)
 *
 * Manifest.mediaTypeOf("text/plain; charset=utf-8", bytes) // => Result.succeed("application/vnd.oci.image.index.v1+json")
 * Result.isFailure(Manifest.mediaTypeOf("text/html", new TextEncoder().encode("<html>"))) // => true
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const mediaTypeOf = (contentType: string, bytes: Uint8Array): Result.Result<string, ManifestError> => {
  const declared = MediaType.fromContentType(contentType)
  const document = Option.getOrUndefined(decodeObject(new TextDecoder().decode(bytes)))
  const field = document?.["mediaType"]
  const own = typeof field === "string" && field !== "" ? field : undefined
  if (MediaType.isManifest(declared)) {
    return own === undefined || own === declared ? Result.succeed(declared) : Result.fail(
      new ManifestError({
        kind: "Malformed",
        mediaType: declared,
        problem: `its mediaType field says ${JSON.stringify(excerpt(own))}`
      })
    )
  }
  const shown = document === undefined
    ? undefined
    : own ?? shapeOf(document) ?? (MediaType.isGeneric(declared) ? undefined : declared)
  return shown === undefined
    ? Result.fail(new ManifestError({ kind: "UnknownMediaType", mediaType: declared, problem: "not a manifest" }))
    : Result.succeed(shown)
}

/**
 * What a decoded manifest refers to: config and layers, or an index's children, or an artifact's blobs. A child of an
 * index is a manifest unless its type says that it is a config or a layer.
 *
 * @category accessors
 * @since 0.1.0
 */
export const references = (self: Manifest): Digests => {
  switch (self._tag) {
    case "Image":
      return { blobs: [self.content.config, ...self.content.layers], manifests: [] }
    case "Artifact":
      return { blobs: self.content.blobs ?? [], manifests: [] }
    case "Index": {
      const isBlob = (child: Descriptor) => MediaType.isBlob(child.mediaType)
      return {
        blobs: self.content.manifests.filter(isBlob),
        manifests: self.content.manifests.filter((child) => !isBlob(child))
      }
    }
  }
}

/**
 * What the manifest in these bytes refers to: {@link decode}, then {@link references}.
 *
 * @category accessors
 * @since 0.1.0
 */
export const digests = (mediaType: string, bytes: Uint8Array): Result.Result<Digests, ManifestError> =>
  Result.map(decode(mediaType, bytes), references)

/**
 * The `artifactType` under which a manifest is listed among the referrers of its subject: its own, or for an image
 * without one the type of its config (distribution-spec, "Listing Referrers").
 *
 * @category accessors
 * @since 0.1.0
 */
export const artifactType = (self: Manifest): string | undefined => {
  const own = self.content.artifactType
  if (own !== undefined && own !== "") return own
  return self._tag === "Image" ? self.content.config.mediaType : undefined
}

/**
 * The descriptor under which a manifest is listed among the referrers of its subject: its own, with `artifactType` and
 * annotations (distribution-spec, "Listing Referrers").
 *
 * @category conversions
 * @since 0.1.0
 */
export const toReferrer = (self: Manifest, descriptor: Descriptor): Descriptor => {
  const type = artifactType(self)
  return {
    mediaType: self.mediaType,
    digest: descriptor.digest,
    size: descriptor.size,
    ...type === undefined ? {} : { artifactType: type },
    ...self.content.annotations === undefined ? {} : { annotations: self.content.annotations }
  }
}
