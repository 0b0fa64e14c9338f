/**
 * Manifests: JSON documents that list the content of an image or artifact.
 *
 * Five types are decoded: the OCI image manifest and image index, the two Docker types that preceded them, and the
 * withdrawn OCI artifact manifest. A decoded manifest keeps its bytes, and only those bytes are hashed or sent, because
 * encoding the JSON again would change its digest. {@link image}, {@link index} and {@link artifact} make manifests.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Descriptor } from "./Descriptor.ts"
import type * as Digest from "./Digest.ts"
import {
  ArtifactManifest,
  DeclaredArtifact,
  DeclaredImage,
  DeclaredIndex,
  ImageIndex,
  ImageManifest,
  type Manifest,
  ManifestError
} from "./ManifestContent.ts"
import * as MediaType from "./MediaType.ts"
import * as OtherFields from "./OtherFields.ts"
import { excerpt } from "./Text.ts"

export {
  /** @since 0.1.0 */
  ArtifactManifest,
  /** @since 0.1.0 */
  ImageIndex,
  /** @since 0.1.0 */
  ImageManifest,
  /** @since 0.1.0 */
  type Manifest,
  /** @since 0.1.0 */
  ManifestError,
  /** @since 0.1.0 */
  Subject
} from "./ManifestContent.ts"

export {
  /** @since 0.1.0 */
  artifact,
  /** @since 0.1.0 */
  type ArtifactOptions,
  /** @since 0.1.0 */
  type Common,
  /** @since 0.1.0 */
  type EncodedManifest,
  /** @since 0.1.0 */
  image,
  /** @since 0.1.0 */
  type ImageOptions,
  /** @since 0.1.0 */
  index,
  /** @since 0.1.0 */
  type IndexOptions,
  /** @since 0.1.0 */
  unknownArtifact,
  /** @since 0.1.0 */
  withContent
} from "./ManifestEncoding.ts"

/**
 * Content that a manifest refers to and needs to be complete. The subject is not part of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Digests {
  readonly blobs: ReadonlyArray<Descriptor>
  readonly manifests: ReadonlyArray<Descriptor>
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

// readers interpret a document that is both an image and an index in different ways (CVE-2021-41190)
const foreignFields = { Image: ["manifests"], Index: ["layers", "config"], Artifact: ["manifests", "layers"] } as const

const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || Array.isArray(value) && value.length === 0

/**
 * Decodes a manifest. If it has a `mediaType` field, the field must be equal to `mediaType` (distribution-spec,
 * "Pulling manifests"). A list that is `null` or absent, as Go writes it, is empty. An optional field that is `null` is
 * `undefined`.
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
  const others = otherFields(manifest)
  const foreign = foreignFields[manifest._tag].find((field) => !isEmpty(others[field]))
  return foreign === undefined
    ? Result.succeed(manifest)
    : fail(`it has a field ${foreign}, which that type does not have`)
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
 * const index = { schemaVersion: 2, manifests: [], subject: { digest } }
 * const bytes = new TextEncoder().encode(JSON.stringify(index))
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
 * Returns true if the bytes are a JSON object, as manifests of all types are, including unknown ones.
 *
 * @category guards
 * @since 0.1.0
 */
export const isDocument = (bytes: Uint8Array): boolean => Option.isSome(decodeObject(new TextDecoder().decode(bytes)))

/** Returns the type of a document that has the fields of one type and none of another. */
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
 * If the header has a type of a manifest, this is the type, unless the `mediaType` field of the document contradicts it
 * (`Malformed`). With any other header, for example `application/json` or `text/plain`, the type is that of the
 * `mediaType` field, or of the fields of the document: an index has `manifests`, an image has `config` and `layers`. A
 * JSON object with neither has the type of the header, unless that is generic (see `MediaType.isGeneric`). Otherwise
 * the bytes are not a manifest (`UnknownMediaType`).
 *
 * **Example** (A manifest from a file server)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as Manifest from "effect-oci/Manifest"
 *
 * const bytes = new TextEncoder().encode(`{ "schemaVersion": 2, "manifests": [] }`)
 *
 * Result.getOrThrow(Manifest.mediaTypeOf("text/plain", bytes)) // => "application/vnd.oci.image.index.v1+json"
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

const declaredBy = { Image: DeclaredImage, Index: DeclaredIndex, Artifact: DeclaredArtifact } as const

/**
 * Returns the fields of a manifest that its type does not declare.
 *
 * @category accessors
 * @since 0.1.0
 */
export const otherFields = (self: Manifest): Readonly<Record<string, Schema.Json>> =>
  OtherFields.of(declaredBy[self._tag], self.content)

/**
 * Returns the content that a decoded manifest refers to: config and layers, the children of an index, or the blobs of
 * an artifact. A child of an index is a manifest unless its type is that of a config or a layer.
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
 * Decodes a manifest, and returns the content that it refers to: {@link decode}, then {@link references}.
 *
 * @category accessors
 * @since 0.1.0
 */
export const digests = (mediaType: string, bytes: Uint8Array): Result.Result<Digests, ManifestError> =>
  Result.map(decode(mediaType, bytes), references)

/**
 * Returns the `artifactType` with which a manifest is listed among the referrers of its subject: its own, or the type
 * of the config of an image without one (distribution-spec, "Listing Referrers").
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
 * Returns the descriptor with which a manifest is listed among the referrers of its subject: its own, with
 * `artifactType` and annotations (distribution-spec, "Listing Referrers").
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
