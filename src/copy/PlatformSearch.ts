/**
 * Looking for the image for a platform: the manifest itself, or one that it lists, or an index in it.
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
import type { ContentPath, End } from "./Ends.ts"

// of a config that is read to learn its platform, in bytes
const configLimit = 4 * 1024 * 1024

/** How deep indexes within indexes are followed, of which few exist at all. */
export const nestingLimit = 16

/** Number of manifests of one index that are read to learn their platform, because the index does not say. */
const lookupLimit = 64

/** Where to look, and how to say what goes wrong there over some content. */
export interface Search<E> {
  readonly source: End
  readonly explain: (place: ContentPath) => (error: RegistryError | Manifest.ManifestError) => E
}

/** What a manifest says. */
export const decode = <E>({ explain }: Search<E>, { bytes, descriptor }: ManifestBytes, path: ReadonlyArray<Digest>) =>
  Effect.mapError(Effect.fromResult(Manifest.decode(descriptor.mediaType, bytes)), explain({ descriptor, path }))

/** The platform of an image that is in no index, which its config tells. */
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

/** Returns the platforms that an index names, except those of what is no image. */
export const platformsOf = (manifests: ReadonlyArray<Descriptor>): ReadonlyArray<Platform.Platform> =>
  manifests.flatMap(({ platform }) => platform !== undefined && Platform.isKnown(platform) ? [platform] : [])

/** The image for a platform at or below a manifest, if there is one; `seen` collects the platforms of the others. */
export const find = <E>(
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
