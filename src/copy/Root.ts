/**
 * Which manifest a copy begins with.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
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
const platformOf = Effect.fnUntraced(function*(ends: Ends, root: ManifestBytes, config: Descriptor) {
  const place = { descriptor: config, path: [root.descriptor.digest] }
  if (config.size > configLimit || !/\.(?:config|image)\.v1\+json$/.test(config.mediaType)) return undefined
  const bytes = yield* ends.source.registry.getBlob(ends.source.repository, config.digest).pipe(
    Effect.flatMap(({ stream }) => Stream.mkUint8Array(stream)),
    Effect.scoped,
    Effect.mapError(failureOf(ends, "source", place))
  )
  return Result.getOrUndefined(Platform.fromJson(new TextDecoder().decode(bytes)))
})

/** The manifest of the image for a platform: the root itself, or one that it lists. */
export const selectPlatform = (
  ends: Ends,
  root: ManifestBytes,
  platform: Platform.Platform
): Effect.Effect<ManifestBytes, CopyError> =>
  Effect.gen(function*() {
    const place = { descriptor: root.descriptor, path: [] }
    const notFound = (available: ReadonlyArray<Platform.Platform>) => {
      const reason = new PlatformNotFound({
        platform: Platform.format(platform),
        available: available.map(Platform.format)
      })
      return failure(ends, "source", reason, place)
    }
    const manifest = yield* Effect.mapError(
      Effect.fromResult(Manifest.decode(root.descriptor.mediaType, root.bytes)),
      (reason) => failure(ends, "source", reason, place)
    )
    if (manifest._tag === "Artifact") return yield* notFound([])
    if (manifest._tag === "Image") {
      const own = yield* platformOf(ends, root, manifest.content.config)
      return own !== undefined && Platform.matches(platform, own)
        ? root
        : yield* notFound(own === undefined ? [] : [own])
    }
    const children = manifest.content.manifests
    const found = children.find((child) => child.platform !== undefined && Platform.matches(platform, child.platform))
    if (found === undefined) return yield* notFound(children.flatMap((child) => child.platform ?? []))
    const { registry, repository } = ends.source
    const child = yield* registry.getManifest(repository, found.digest).pipe(
      Effect.mapError(failureOf(ends, "source", { descriptor: found, path: [root.descriptor.digest] }))
    )
    return MediaType.isIndex(child.descriptor.mediaType) ? yield* selectPlatform(ends, child, platform) : child
  })
