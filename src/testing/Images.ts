/**
 * Small images for tests, pushed to any registry.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as BlobSource from "../BlobSource.ts"
import * as Descriptor from "../Descriptor.ts"
import type { UnsupportedAlgorithm } from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import type { Platform } from "../Platform.ts"
import * as Reference from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"

/**
 * Returns a repository by its name. Throws if the name is invalid.
 *
 * @category constructors
 * @since 0.1.0
 */
export const repository = (name: string): Reference.Repository => Reference.Repository.make(name)

/**
 * Returns a tag by its name. Throws if the name is invalid.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tag = (name: string): Reference.Tag => Reference.Tag.make(name)

/**
 * Encodes text as UTF-8, and anything else as JSON in UTF-8.
 *
 * @category constructors
 * @since 0.1.0
 */
export const bytesOf = (content: string | object): Uint8Array =>
  new TextEncoder().encode(typeof content === "string" ? content : JSON.stringify(content))

/**
 * Pushes a blob and returns its descriptor. Default of the media type: that of a layer.
 *
 * @category combinators
 * @since 0.1.0
 */
export const pushBlob = Effect.fnUntraced(function*(
  registry: Registry,
  name: Reference.Repository,
  content: string | Uint8Array,
  mediaType: string = MediaType.imageLayer
): Effect.fn.Return<Descriptor.Descriptor, RegistryError | UnsupportedAlgorithm> {
  const bytes = typeof content === "string" ? bytesOf(content) : content
  const descriptor = yield* Descriptor.fromBytes(bytes, { mediaType })
  yield* registry.pushBlob(name, descriptor, BlobSource.fromBytes(bytes))
  return descriptor
})

/**
 * Pushes a manifest and returns its descriptor. Default of `schemaVersion`: 2.
 *
 * @category combinators
 * @since 0.1.0
 */
export const pushManifest = (
  registry: Registry,
  name: Reference.Repository,
  content: { readonly mediaType: string; readonly [field: string]: unknown },
  tags: ReadonlyArray<Reference.Tag> = []
): Effect.Effect<Descriptor.Descriptor, RegistryError> =>
  registry.pushManifest(
    name,
    { mediaType: content.mediaType, bytes: bytesOf({ schemaVersion: 2, ...content }) },
    tags
  )

/**
 * Pushes an image of some layers whose config names the platform `linux` with an architecture. Default of the
 * architecture: `amd64`. `extra` holds more fields of the manifest.
 *
 * @category combinators
 * @since 0.1.0
 */
export const pushImage = Effect.fnUntraced(function*(
  registry: Registry,
  name: Reference.Repository,
  layers: ReadonlyArray<string | Uint8Array>,
  options: {
    readonly architecture?: string | undefined
    readonly tags?: ReadonlyArray<Reference.Tag> | undefined
    readonly extra?: object | undefined
  } = {}
): Effect.fn.Return<
  Descriptor.Descriptor & { readonly platform: Platform },
  RegistryError | UnsupportedAlgorithm
> {
  const { architecture = "amd64", extra = {}, tags = [] } = options
  const platform = { os: "linux", architecture }
  const config = yield* pushBlob(registry, name, JSON.stringify(platform), MediaType.imageConfig)
  const descriptors = yield* Effect.forEach(layers, (layer) => pushBlob(registry, name, layer))
  const content = { mediaType: MediaType.imageManifest, config, layers: descriptors, ...extra }
  return { ...yield* pushManifest(registry, name, content, tags), platform }
})

/**
 * Pushes an index of existing manifests. `extra` holds more fields of the index.
 *
 * @category combinators
 * @since 0.1.0
 */
export const pushIndex = (
  registry: Registry,
  name: Reference.Repository,
  manifests: ReadonlyArray<Descriptor.Descriptor>,
  options: {
    readonly tags?: ReadonlyArray<Reference.Tag> | undefined
    readonly extra?: object | undefined
  } = {}
): Effect.Effect<Descriptor.Descriptor, RegistryError> =>
  pushManifest(registry, name, { mediaType: MediaType.imageIndex, manifests, ...options.extra }, options.tags)

/**
 * Pushes an artifact that refers to a subject, such as an SBOM or a signature. Its artifact type is
 * `application/vnd.example.sbom`, and its annotation `org.example.content` has the content.
 *
 * @category combinators
 * @since 0.1.0
 */
export const pushReferrer = Effect.fnUntraced(function*(
  registry: Registry,
  name: Reference.Repository,
  subject: Descriptor.Descriptor,
  content: string
): Effect.fn.Return<Descriptor.Descriptor, RegistryError | UnsupportedAlgorithm> {
  const config = yield* pushBlob(registry, name, "{}", MediaType.empty)
  const layer = yield* pushBlob(registry, name, content, "text/plain")
  const { digest, mediaType, size } = subject
  return yield* pushManifest(registry, name, {
    mediaType: MediaType.imageManifest,
    artifactType: "application/vnd.example.sbom",
    config,
    layers: [layer],
    subject: { digest, mediaType, size },
    annotations: { "org.example.content": content }
  })
})

/**
 * Pushes an index of images for two platforms that share a layer, with a referrer of the index and one of a child.
 *
 * @category combinators
 * @since 0.1.0
 */
export const pushSample = Effect.fnUntraced(function*(
  registry: Registry,
  name: Reference.Repository,
  tags: ReadonlyArray<Reference.Tag> = []
): Effect.fn.Return<
  {
    readonly index: Descriptor.Descriptor
    readonly amd64: Descriptor.Descriptor
    readonly arm64: Descriptor.Descriptor
    readonly onIndex: Descriptor.Descriptor
    readonly onChild: Descriptor.Descriptor
  },
  RegistryError | UnsupportedAlgorithm
> {
  const amd64 = yield* pushImage(registry, name, ["shared layer", "amd64 layer", ""])
  const arm64 = yield* pushImage(registry, name, ["shared layer", "arm64 layer"], { architecture: "arm64" })
  const index = yield* pushIndex(registry, name, [amd64, arm64], { tags })
  const onIndex = yield* pushReferrer(registry, name, index, "about the index")
  const onChild = yield* pushReferrer(registry, name, arm64, "about arm64")
  return { index, amd64, arm64, onIndex, onChild }
})
