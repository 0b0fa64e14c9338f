/**
 * Making of manifests. Equal manifests have equal bytes: the fields have the order of the specification, and the keys
 * of annotations are sorted. `Manifest` exports this module.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Annotations from "./Annotations.ts"
import * as Descriptor from "./Descriptor.ts"
import type * as Digest from "./Digest.ts"
import type { UnsupportedAlgorithm } from "./Hasher.ts"
import { type ImageIndex, type ImageManifest, type Manifest, ManifestError, type Subject } from "./ManifestContent.ts"
import * as MediaType from "./MediaType.ts"
import { excerpt } from "./Text.ts"

// ---------------------------------------------------------------------------------------------------------------------
// models
// ---------------------------------------------------------------------------------------------------------------------

/**
 * A manifest with its bytes, its digest and its descriptor. `Namespace.pushManifest` and `Registry.pushManifest` accept
 * it.
 *
 * @category models
 * @since 0.1.0
 */
export type EncodedManifest<Tag extends Manifest["_tag"] = Manifest["_tag"]> =
  & Extract<Manifest, { readonly _tag: Tag }>
  & {
    readonly digest: Digest.Digest
    readonly descriptor: Descriptor.Descriptor
  }

/**
 * Options of manifests of all types.
 *
 * @category models
 * @since 0.1.0
 */
export interface Common {
  /** Type of the artifact. */
  readonly artifactType?: string | undefined
  /** Manifest that this one refers to. Its media type, digest and size are written. */
  readonly subject?: Descriptor.Descriptor | undefined
  readonly annotations?: Readonly<Record<string, string>> | undefined
  /** Time for the annotation `org.opencontainers.image.created`. Default: no such annotation. */
  readonly created?: DateTime.DateTime | undefined
  /** Algorithm of the digest. Default: `sha256`. */
  readonly algorithm?: string | undefined
}

/**
 * Parts of an image manifest.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageOptions extends Common {
  readonly config: Descriptor.Descriptor
  readonly layers: ReadonlyArray<Descriptor.Descriptor>
  /** Default: that of an OCI image manifest. */
  readonly mediaType?: string | undefined
}

/**
 * Parts of an image index.
 *
 * @category models
 * @since 0.1.0
 */
export interface IndexOptions extends Common {
  readonly manifests: ReadonlyArray<Descriptor.Descriptor>
  /** Default: that of an OCI image index. */
  readonly mediaType?: string | undefined
}

/**
 * Parts of an artifact.
 *
 * @category models
 * @since 0.1.0
 */
export interface ArtifactOptions extends Common {
  /** Default: the empty JSON object. */
  readonly config?: Descriptor.Descriptor | undefined
  /** Default: the empty JSON object as the only layer. */
  readonly layers?: ReadonlyArray<Descriptor.Descriptor> | undefined
}

// ---------------------------------------------------------------------------------------------------------------------
// encoding
// ---------------------------------------------------------------------------------------------------------------------

const descriptorFields = ["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"]

const manifestFields = [
  "schemaVersion",
  "mediaType",
  "artifactType",
  "config",
  "layers",
  "manifests",
  "blobs",
  "subject",
  "annotations"
]

/** Returns the fields of an object: the named ones first, in their order, then the others as they are. */
const ordered = (object: object, names: ReadonlyArray<string>): Readonly<Record<string, unknown>> => {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined)
  const place = (name: string) => names.includes(name) ? names.indexOf(name) : names.length
  return Object.fromEntries(entries.sort(([one], [two]) => place(one) - place(two)))
}

const sorted = (annotations: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(annotations).sort(([one], [two]) => one < two ? -1 : 1))

const encodedDescriptor = (descriptor: Descriptor.Descriptor | Subject) =>
  ordered(
    "annotations" in descriptor && descriptor.annotations !== undefined
      ? { ...descriptor, annotations: sorted(descriptor.annotations) }
      : descriptor,
    descriptorFields
  )

const encodedDescriptors = (descriptors: ReadonlyArray<Descriptor.Descriptor> | undefined) =>
  descriptors?.map(encodedDescriptor)

/** Returns the bytes of a manifest. Fields that its type does not declare follow the others. */
export const toBytes = (content: Manifest["content"]): Uint8Array => {
  const { annotations, subject } = content
  const document = {
    ...content,
    ...subject === undefined ? {} : { subject: encodedDescriptor(subject) },
    ..."config" in content ? { config: encodedDescriptor(content.config) } : {},
    ..."layers" in content ? { layers: encodedDescriptors(content.layers) } : {},
    ..."manifests" in content ? { manifests: encodedDescriptors(content.manifests) } : {},
    ..."blobs" in content ? { blobs: encodedDescriptors(content.blobs) } : {},
    ...annotations === undefined ? {} : { annotations: sorted(annotations) }
  }
  return new TextEncoder().encode(JSON.stringify(ordered(document, manifestFields)))
}

const isMediaType = (text: string): boolean =>
  /^[A-Za-z0-9][\w!#$&^.+-]{0,126}\/[A-Za-z0-9][\w!#$&^.+-]{0,126}$/.test(text)

/** Returns the fields that manifests of all types have. */
const commonOf = ({ annotations, artifactType, created, subject }: Common) => {
  const all = {
    ...annotations,
    // without a fraction of the second, as other tools write it
    ...created === undefined ? {} : { [Annotations.created]: DateTime.formatIso(created).replace(/\.\d+Z$/, "Z") }
  }
  return {
    ...artifactType === undefined || artifactType === "" ? {} : { artifactType },
    ...subject === undefined
      ? {}
      : { subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size } },
    ...Object.keys(all).length === 0 ? {} : { annotations: sorted(all) }
  }
}

/** Encodes the content of a manifest. */
const encode = Effect.fnUntraced(function*<Tag extends "Image" | "Index">(
  _tag: Tag,
  mediaType: string,
  content: { readonly Image: ImageManifest; readonly Index: ImageIndex }[Tag],
  algorithm?: string
): Effect.fn.Return<EncodedManifest<Tag>, UnsupportedAlgorithm> {
  const { artifactType } = content
  const bytes = toBytes(content)
  const descriptor: Descriptor.Descriptor = {
    ...yield* Descriptor.fromBytes(bytes, { mediaType, algorithm }),
    ...artifactType === undefined ? {} : { artifactType }
  }
  const { digest } = descriptor
  // the tag decides the type of the content, which the compiler cannot follow
  return { _tag, mediaType, bytes, content, digest, descriptor } as EncodedManifest<Tag>
})

/** Fails if one of the media types is invalid. */
const checkTypes = (
  mediaType: string,
  types: ReadonlyArray<string | undefined>
): Effect.Effect<void, ManifestError> => {
  const invalid = [mediaType, ...types].find((type) => type !== undefined && !isMediaType(type))
  if (invalid === undefined) return Effect.void
  const problem = `${JSON.stringify(excerpt(invalid))} is not a media type`
  return Effect.fail(new ManifestError({ kind: "Malformed", mediaType, problem }))
}

const typesOf = (descriptors: ReadonlyArray<Descriptor.Descriptor>) => descriptors.map(({ mediaType }) => mediaType)

// ---------------------------------------------------------------------------------------------------------------------
// constructors
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Makes an image manifest. Fails if a media type is invalid.
 *
 * **Example** (A manifest of one layer)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Descriptor from "effect-oci/Descriptor"
 * import * as Manifest from "effect-oci/Manifest"
 * import * as MediaType from "effect-oci/MediaType"
 *
 * const program = Effect.gen(function*() {
 *   const layer = yield* Descriptor.fromBytes(new Uint8Array(1024), { mediaType: MediaType.imageLayer })
 *   const config = yield* Descriptor.fromBytes(new TextEncoder().encode("{}"), { mediaType: MediaType.imageConfig })
 *   return yield* Manifest.image({ config, layers: [layer], annotations: { "org.example.team": "a" } })
 * })
 *
 * Effect.runSync(program).descriptor.mediaType // => "application/vnd.oci.image.manifest.v1+json"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const image = (
  { algorithm, config, layers, mediaType = MediaType.imageManifest, ...common }: ImageOptions
): Effect.Effect<EncodedManifest<"Image">, ManifestError | UnsupportedAlgorithm> =>
  Effect.andThen(
    checkTypes(mediaType, [common.artifactType, config.mediaType, ...typesOf(layers)]),
    encode("Image", mediaType, { schemaVersion: 2, mediaType, ...commonOf(common), config, layers }, algorithm)
  )

/**
 * Makes an image index. Fails if a media type is invalid. `ImageIndex.create` makes one of images in a registry.
 *
 * **Example** (An index without images)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Manifest from "effect-oci/Manifest"
 *
 * const { bytes, descriptor } = Effect.runSync(Manifest.index({ manifests: [] }))
 *
 * JSON.parse(new TextDecoder().decode(bytes)).manifests // => []
 * descriptor.size === bytes.length // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const index = (
  { algorithm, manifests, mediaType = MediaType.imageIndex, ...common }: IndexOptions
): Effect.Effect<EncodedManifest<"Index">, ManifestError | UnsupportedAlgorithm> =>
  Effect.andThen(
    checkTypes(mediaType, [common.artifactType, ...typesOf(manifests)]),
    encode("Index", mediaType, { schemaVersion: 2, mediaType, ...commonOf(common), manifests }, algorithm)
  )

/**
 * Artifact type of an artifact whose maker names none, as oras has it.
 *
 * @category constants
 * @since 0.1.0
 */
export const unknownArtifact = "application/vnd.unknown.artifact.v1"

/**
 * Makes the manifest of an artifact: an image manifest whose config is the empty JSON object, unless another is given
 * (image-spec, `manifest.md`, "Guidelines for Artifact Usage"). An artifact without a config of its own has a type.
 * Default: {@link unknownArtifact}. Fails if a media type is invalid.
 *
 * **Example** (An artifact that consists of annotations)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Manifest from "effect-oci/Manifest"
 *
 * const program = Manifest.artifact({
 *   artifactType: "application/vnd.example.approval",
 *   annotations: { "org.example.approved-by": "team-a" }
 * })
 * const { content } = Effect.runSync(program)
 *
 * content.config.mediaType // => "application/vnd.oci.empty.v1+json"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const artifact = (
  { artifactType, config = Descriptor.empty, layers = [], ...common }: ArtifactOptions
): Effect.Effect<EncodedManifest<"Image">, ManifestError | UnsupportedAlgorithm> =>
  image({
    ...common,
    artifactType: artifactType ?? (config.mediaType === MediaType.empty ? unknownArtifact : undefined),
    config,
    layers: layers.length === 0 ? [Descriptor.empty] : layers
  })

/**
 * Encodes an index again with other content. Fields that its type does not declare are kept.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withContent = (
  self: Manifest & { readonly _tag: "Index" },
  content: ImageIndex
): Effect.Effect<EncodedManifest<"Index">, UnsupportedAlgorithm> => encode("Index", self.mediaType, content)
