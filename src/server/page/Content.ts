/**
 * Content that the page shows: manifests, configs and sizes, each within a limit.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Annotations from "../../Annotations.ts"
import { type Descriptor, inlineContent } from "../../Descriptor.ts"
import type * as Digest from "../../Digest.ts"
import * as ImageConfig from "../../ImageConfig.ts"
import * as Manifest from "../../Manifest.ts"
import * as MediaType from "../../MediaType.ts"
import type { Platform } from "../../Platform.ts"
import type { Repository, Tag } from "../../Reference.ts"
import type { Registry } from "../../Registry.ts"
import type { RegistryError } from "../../RegistryError.ts"

/** Maximum size of a manifest that is decoded, in bytes. */
const manifestLimit = 1024 * 1024

/** Maximum size of a config that is decoded for its own view, in bytes. */
export const configLimit = 1024 * 1024

/** Maximum size of a config that is decoded for one line of a list, in bytes. */
const smallConfigLimit = 128 * 1024

/** Maximum number of children of an index that are read. */
const childLimit = 32

/** A manifest, or the reason why it cannot be shown. */
export interface Node {
  readonly descriptor: Descriptor
  readonly manifest: Result.Result<Manifest.Manifest, string>
}

/** Reads a manifest. */
export const read = (
  registry: Registry,
  repository: Repository,
  reference: Tag | Digest.Digest
): Effect.Effect<Node, RegistryError> =>
  Effect.map(registry.getManifest(repository, reference), ({ bytes, descriptor }) => ({
    descriptor,
    manifest: bytes.length > manifestLimit
      ? Result.fail("it is too large to be shown")
      : Result.mapError(Manifest.decode(descriptor.mediaType, bytes), ({ message }) => message)
  }))

/** Returns true for the config of an image that can run. */
export const isImageConfig = ({ mediaType }: Descriptor): boolean => ImageConfig.isImageConfig(mediaType)

/** Reads the config of an image. Returns what is wrong with it if it cannot be shown. */
export const readConfig = (
  registry: Registry,
  repository: Repository,
  descriptor: Descriptor,
  limit: number = smallConfigLimit
): Effect.Effect<Result.Result<ImageConfig.Config, string>> =>
  Effect.gen(function*() {
    const { digest, size } = descriptor
    if (!isImageConfig(descriptor)) return Result.fail("it is not the config of an image")
    if (size > limit) return Result.fail("it is too large to be shown")
    const inline = yield* inlineContent(descriptor)
    if (inline !== undefined) return ImageConfig.decode(inline)
    const blob = yield* registry.getBlob(repository, digest, { size })
    // the descriptor may be wrong
    if (blob.descriptor.size > limit) return Result.fail("it is too large to be shown")
    // copied, because a store may use the memory of a piece again
    return ImageConfig.decode(yield* Stream.mkUint8Array(Stream.map(blob.stream, (piece) => piece.slice())))
  }).pipe(Effect.scoped, Effect.catch(({ message }) => Effect.succeed(Result.fail(message))))

/** A child of an index, which may be absent or unreadable. */
export interface Child {
  readonly descriptor: Descriptor
  readonly node: Result.Result<Node, string>
}

/** Reads the first children of an index. */
export const readChildren = (
  registry: Registry,
  repository: Repository,
  children: ReadonlyArray<Descriptor>,
  limit: number = childLimit
): Effect.Effect<ReadonlyArray<Child>> =>
  Effect.forEach(
    children.slice(0, limit),
    (descriptor) =>
      Effect.map(Effect.result(read(registry, repository, descriptor.digest)), (found) => ({
        descriptor,
        node: Result.mapError(found, ({ message }) => message)
      })),
    { concurrency: 4 }
  )

/** Returns the layers of an image, or the blobs of an artifact. */
export const layersOf = ({ manifest }: Node): ReadonlyArray<Descriptor> => {
  if (Result.isFailure(manifest)) return []
  const { content, _tag } = manifest.success
  return _tag === "Image" ? content.layers : _tag === "Artifact" ? content.blobs ?? [] : []
}

/** Returns all layers of an image or an index, those of its children included. */
export const allLayers = (node: Node, children: ReadonlyArray<Child>): ReadonlyArray<Descriptor> => [
  ...layersOf(node),
  ...children.flatMap((child) => Result.isSuccess(child.node) ? layersOf(child.node.success) : [])
]

/** Returns the sizes of content by digest, once each. */
export const sizes = (descriptors: ReadonlyArray<Descriptor>): ReadonlyMap<Digest.Digest, number> =>
  new Map(descriptors.map(({ digest, size }) => [digest, size]))

export const sum = (sizes: ReadonlyMap<Digest.Digest, number>): number =>
  Array.from(sizes.values()).reduce((total, size) => total + size, 0)

/** Returns the digests that several of these lists contain. */
export const sharedOf = (lists: ReadonlyArray<ReadonlyMap<Digest.Digest, number>>): ReadonlySet<Digest.Digest> => {
  const [seen, shared] = [new Set<Digest.Digest>(), new Set<Digest.Digest>()]
  for (const list of lists) {
    for (const digest of list.keys()) {
      if (seen.has(digest)) shared.add(digest)
      seen.add(digest)
    }
  }
  return shared
}

/** Returns the children of an index that are images, which attestations of buildx are not. */
export const isAttestation = ({ annotations }: Descriptor): boolean =>
  annotations?.["vnd.docker.reference.type"] === "attestation-manifest"

/** One line about a manifest. */
export interface Summary {
  readonly node: Node
  readonly kind: "image" | "index" | "artifact" | "unknown"
  /** Type of an artifact. */
  readonly artifactType: string | undefined
  readonly platforms: ReadonlyArray<Platform>
  /** Date and time, as the image says. */
  readonly created: string | undefined
  readonly layers: ReadonlyMap<Digest.Digest, number>
  readonly isPartial: boolean
}

/** Number of children of each index that are read for its line. */
const childrenPerLine = 8

/** Returns the platform and the date in the config of an image. */
const aboutImage = Effect.fnUntraced(function*(registry: Registry, repository: Repository, node: Node) {
  const manifest = Result.getOrUndefined(node.manifest)
  if (manifest?._tag !== "Image" || !isImageConfig(manifest.content.config)) {
    return { created: undefined, platforms: [] }
  }
  const config = Result.getOrUndefined(yield* readConfig(registry, repository, manifest.content.config))
  const { architecture, os, variant } = config ?? {}
  return {
    created: config?.created,
    platforms: os === undefined || architecture === undefined
      ? []
      : [{ os, architecture, ...variant === undefined ? {} : { variant } }]
  }
})

const kindOf = (manifest: Manifest.Manifest | undefined): Summary["kind"] => {
  if (manifest === undefined) return "unknown"
  if (manifest._tag === "Index") return "index"
  return manifest._tag === "Image" && isImageConfig(manifest.content.config) ? "image" : "artifact"
}

/** Reads what one line of a list says about a manifest. */
export const summarize = Effect.fnUntraced(function*(registry: Registry, repository: Repository, node: Node) {
  const manifest = Result.getOrUndefined(node.manifest)
  const annotations = manifest?.content.annotations ?? {}
  const listed = manifest?._tag === "Index" ? Manifest.references(manifest).manifests : []
  const children = yield* readChildren(registry, repository, listed, childrenPerLine)
  const images = listed.filter((child) => !isAttestation(child))
  const first = children.find(({ descriptor }) => !isAttestation(descriptor))?.node
  const source = first !== undefined && Result.isSuccess(first) ? first.success : node
  const about = yield* aboutImage(registry, repository, source)
  const summary: Summary = {
    node,
    kind: kindOf(manifest),
    artifactType: manifest === undefined || kindOf(manifest) !== "artifact"
      ? undefined
      : Manifest.artifactType(manifest),
    platforms: manifest?._tag === "Index" ? images.flatMap(({ platform }) => platform ?? []) : about.platforms,
    created: annotations[Annotations.created] ?? about.created,
    layers: sizes(allLayers(node, children)),
    isPartial: listed.length > children.length || children.some(({ node }) => Result.isFailure(node))
  }
  return summary
})

/** Returns true if docker can pull a manifest. */
export const isRunnable = ({ manifest }: Node): boolean => {
  const decoded = Result.getOrUndefined(manifest)
  if (decoded === undefined || decoded._tag === "Artifact") return false
  return decoded._tag === "Index"
    ? decoded.content.manifests.some(({ artifactType, mediaType }) =>
      artifactType === undefined && MediaType.isManifest(mediaType)
    )
    : isImageConfig(decoded.content.config)
}
