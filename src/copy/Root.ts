/**
 * Which manifest a copy begins with.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import * as Platform from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import { type CopyError, PlatformNotFound, TagMismatch, UnfitReference } from "./CopyError.ts"
import { type Ends, failure, failureOf } from "./Ends.ts"

/** The manifest that the source names. */
export const readRoot = Effect.fnUntraced(function*(ends: Ends): Effect.fn.Return<ManifestBytes, CopyError> {
  const { digest, registry, repository, tag } = ends.source
  const reference = tag ?? digest
  if (reference === undefined) {
    return yield* failure(ends, "source", new UnfitReference({ problem: "a source needs a tag or a digest" }))
  }
  const manifest = yield* Effect.mapError(registry.getManifest(repository, reference), failureOf(ends, "source"))
  const actual = manifest.descriptor.digest
  if (tag !== undefined && digest !== undefined && actual !== digest) {
    return yield* failure(ends, "source", new TagMismatch({ tag, expected: digest, actual }))
  }
  return manifest
})

// of a config that is read to learn its platform, in bytes
const configLimit = 4 * 1024 * 1024

/** The platform of an image that is in no index, which its config tells. */
const platformOf = Effect.fnUntraced(function*(ends: Ends, config: Descriptor, path: ReadonlyArray<Digest>) {
  const place = { descriptor: config, path }
  if (config.size > configLimit || !/\.(?:config|image)\.v1\+json$/.test(config.mediaType)) return undefined
  const bytes = yield* ends.source.registry.getBlob(ends.source.repository, config.digest).pipe(
    Effect.flatMap(({ stream }) => Stream.mkUint8Array(stream)),
    Effect.scoped,
    Effect.mapError(failureOf(ends, "source", place))
  )
  return Result.getOrUndefined(Platform.fromJson(new TextDecoder().decode(bytes)))
})

// of indexes within indexes, of which few exist at all
const nestingLimit = 16

/** The image for a platform below a manifest, if there is one; `seen` collects the platforms of the others. */
const search = (
  ends: Ends,
  manifest: ManifestBytes,
  path: ReadonlyArray<Digest>,
  platform: Platform.Platform,
  seen: Array<Platform.Platform>
): Effect.Effect<ManifestBytes | undefined, CopyError> =>
  Effect.gen(function*() {
    const { bytes, descriptor } = manifest
    const below = [...path, descriptor.digest]
    const decoded = yield* Effect.mapError(
      Effect.fromResult(Manifest.decode(descriptor.mediaType, bytes)),
      (reason) => failure(ends, "source", reason, { descriptor, path })
    )
    if (decoded._tag === "Artifact" || path.length > nestingLimit) return undefined
    if (decoded._tag === "Image") {
      const own = yield* platformOf(ends, decoded.content.config, below)
      if (own === undefined) return undefined
      seen.push(own)
      return Platform.matches(platform, own) ? manifest : undefined
    }
    const children = decoded.content.manifests
    const direct = children.find((child) => child.platform !== undefined && Platform.matches(platform, child.platform))
    const indexes = children.filter((child) => child.platform === undefined && MediaType.isIndex(child.mediaType))
    seen.push(...children.flatMap((child) => child.platform ?? []))
    for (const candidate of direct === undefined ? indexes : [direct]) {
      const child = yield* ends.source.registry.getManifest(ends.source.repository, candidate.digest).pipe(
        Effect.mapError(failureOf(ends, "source", { descriptor: candidate, path: below }))
      )
      if (!MediaType.isIndex(child.descriptor.mediaType)) return child
      const found = yield* search(ends, child, below, platform, seen)
      if (found !== undefined) return found
    }
    return undefined
  })

/** The manifest of the image for a platform: the root itself, or one that it lists. */
export const selectPlatform = Effect.fnUntraced(function*(
  ends: Ends,
  root: ManifestBytes,
  platform: Platform.Platform
): Effect.fn.Return<ManifestBytes, CopyError> {
  const seen: Array<Platform.Platform> = []
  const found = yield* search(ends, root, [], platform, seen)
  if (found !== undefined) return found
  const available = Array.from(new Set(seen.map(Platform.format)))
  const reason = new PlatformNotFound({ platform: Platform.format(platform), available })
  return yield* failure(ends, "source", reason, { descriptor: root.descriptor, path: [] })
})
