/**
 * Images for tests: built from small pieces, pushed to any registry.
 */
import { Effect } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as MediaType from "effect-oci/MediaType"
import * as Reference from "effect-oci/Reference"
import type { Registry } from "effect-oci/Registry"

export const repository = (name: string): Reference.Repository => Reference.Repository.make(name)
export const tag = (name: string): Reference.Tag => Reference.Tag.make(name)
export const bytesOf = (content: string | object): Uint8Array =>
  new TextEncoder().encode(typeof content === "string" ? content : JSON.stringify(content))

/** Pushes a blob, and describes it. */
export const pushBlob = Effect.fnUntraced(function*(
  registry: Registry,
  name: Reference.Repository,
  content: string | Uint8Array,
  mediaType: string = MediaType.imageLayer
) {
  const bytes = typeof content === "string" ? bytesOf(content) : content
  const descriptor = yield* Descriptor.fromBytes(bytes, { mediaType })
  yield* registry.pushBlob(name, descriptor, BlobSource.fromBytes(bytes))
  return descriptor
})

/** Pushes a manifest, and describes it. */
export const pushManifest = (
  registry: Registry,
  name: Reference.Repository,
  content: { readonly mediaType: string; readonly [field: string]: unknown },
  tags: ReadonlyArray<Reference.Tag> = []
): ReturnType<Registry["pushManifest"]> =>
  registry.pushManifest(
    name,
    { mediaType: content.mediaType, bytes: bytesOf({ schemaVersion: 2, ...content }) },
    tags
  )

/** Pushes an image of some layers, whose config names a platform. */
export const pushImage = Effect.fnUntraced(function*(
  registry: Registry,
  name: Reference.Repository,
  layers: ReadonlyArray<string | Uint8Array>,
  options: { readonly architecture?: string; readonly tags?: ReadonlyArray<Reference.Tag>; readonly extra?: object } =
    {}
) {
  const { architecture = "amd64", extra = {}, tags = [] } = options
  const platform = { os: "linux", architecture }
  const config = yield* pushBlob(registry, name, JSON.stringify(platform), MediaType.imageConfig)
  const descriptors = yield* Effect.forEach(layers, (layer) => pushBlob(registry, name, layer))
  const content = { mediaType: MediaType.imageManifest, config, layers: descriptors, ...extra }
  return { ...yield* pushManifest(registry, name, content, tags), platform }
})

/** Pushes an artifact that refers to a subject, as an SBOM or a signature does. */
export const pushReferrer = Effect.fnUntraced(function*(
  registry: Registry,
  name: Reference.Repository,
  subject: Descriptor.Descriptor,
  content: string
) {
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

/** A two-platform image whose layers overlap, with a referrer on the index and one on a child. */
export const pushSample = Effect.fnUntraced(function*(
  registry: Registry,
  name: Reference.Repository,
  tags: ReadonlyArray<Reference.Tag>
) {
  const amd64 = yield* pushImage(registry, name, ["shared layer", "amd64 layer", ""])
  const arm64 = yield* pushImage(registry, name, ["shared layer", "arm64 layer"], { architecture: "arm64" })
  const index = yield* pushManifest(registry, name, {
    mediaType: MediaType.imageIndex,
    manifests: [amd64, arm64]
  }, tags)
  const onIndex = yield* pushReferrer(registry, name, index, "about the index")
  const onChild = yield* pushReferrer(registry, name, arm64, "about arm64")
  return { index, amd64, arm64, onIndex, onChild }
})
