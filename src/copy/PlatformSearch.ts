/**
 * Searches for the image for a platform: a manifest itself, or one that an index lists at any depth.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { type Descriptor, inlineContent } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import * as Platform from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import { PlatformNotFound } from "./CopyError.ts"
import type { ContentPath, End } from "./Ends.ts"

// maximum size of a config that is read to learn its platform, in bytes
const configLimit = 4 * 1024 * 1024

/** Maximum depth of nested indexes. Even one index within another is rare. */
export const nestingLimit = 16

// maximum number of manifests of one index that are read to learn their platform, if the index does not contain it
const lookupLimit = 64

/** A repository to search, and the conversion of its failures. */
export interface Search<E> {
  readonly source: End
  readonly explain: (content: ContentPath) => (error: RegistryError | Manifest.ManifestError) => E
}

/** Decodes a manifest. */
export const decode = <E>({ explain }: Search<E>, { bytes, descriptor }: ManifestBytes, path: ReadonlyArray<Digest>) =>
  Effect.mapError(Effect.fromResult(Manifest.decode(descriptor.mediaType, bytes)), explain({ descriptor, path }))

/** Returns the platform in the config of an image. */
export const platformOf = Effect.fnUntraced(function*<E>({ explain, source }: Search<E>, config: ContentPath) {
  const { digest, mediaType, size } = config.descriptor
  if (size > configLimit || !/\.(?:config|image)\.v1\+json$/.test(mediaType)) return undefined
  const bytes = (yield* inlineContent(config.descriptor)) ??
    (yield* source.registry.getBlob(source.repository, digest, { size }).pipe(
      Effect.flatMap(({ stream }) => Stream.mkUint8Array(stream)),
      Effect.scoped,
      Effect.mapError(explain(config))
    ))
  return Result.getOrUndefined(Platform.fromJson(new TextDecoder().decode(bytes)))
})

/** Returns the platforms that an index names, except those of attestations and other content that is not an image. */
export const platformsOf = (manifests: ReadonlyArray<Descriptor>): ReadonlyArray<Platform.Platform> =>
  manifests.flatMap(({ platform }) => platform !== undefined && Platform.isKnown(platform) ? [platform] : [])

/** Returns the image for a platform at or below a manifest. Fails with the platforms that exist if there is none. */
export const image = Effect.fnUntraced(function*<E>(
  search: Search<E>,
  root: ManifestBytes,
  platform: Platform.Platform
): Effect.fn.Return<ManifestBytes, E | PlatformNotFound> {
  const seen: Array<Platform.Platform> = []
  return (yield* find(search, root, platform, seen)) ?? (yield* notFound([platform], seen))
})

/** Creates the error for platforms without an image. */
export const notFound = (
  wanted: ReadonlyArray<Platform.Platform>,
  seen: ReadonlyArray<Platform.Platform>
): PlatformNotFound =>
  new PlatformNotFound({
    platform: wanted.map(Platform.format).join(", "),
    available: Array.from(new Set(seen.map(Platform.format)))
  })

/** Returns the image for a platform, if there is one. Adds the platforms of the images on the way to `seen`. */
const find = <E>(
  search: Search<E>,
  manifest: ManifestBytes,
  platform: Platform.Platform,
  seen: Array<Platform.Platform>,
  path: ReadonlyArray<Digest> = []
): Effect.Effect<ManifestBytes | undefined, E> =>
  Effect.gen(function*() {
    const { explain, source: { registry, repository } } = search
    const below = [...path, manifest.descriptor.digest]
    const decoded = yield* decode(search, manifest, path)
    if (decoded._tag === "Artifact" || path.length > nestingLimit) return undefined
    if (decoded._tag === "Image") {
      const own = yield* platformOf(search, { descriptor: decoded.content.config, path: below })
      if (own === undefined || !Platform.isKnown(own)) return undefined
      seen.push(own)
      return Platform.matches(platform, own) ? manifest : undefined
    }
    const children = decoded.content.manifests
    const [direct] = Platform.select(platform, children, (child) => child.platform)
    for (const each of platformsOf(children)) seen.push(each)
    const unnamed = children.filter((child) => child.platform === undefined && MediaType.isManifest(child.mediaType))
    for (const candidate of direct === undefined ? unnamed.slice(0, lookupLimit) : [direct]) {
      const child = yield* Effect.mapError(
        registry.getManifest(repository, candidate.digest),
        explain({ descriptor: candidate, path: below })
      )
      if (candidate === direct && !MediaType.isIndex(child.descriptor.mediaType)) return child
      const found = yield* find(search, child, platform, seen, below)
      if (found !== undefined) return found
    }
    return undefined
  })
