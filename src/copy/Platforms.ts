/**
 * Which of the images of an index are wanted, by their platform.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import * as Platform from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import { type CopyError, PlatformNotFound, SparseIndexRefused } from "./CopyError.ts"
import { type End, failure, type Place } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { Options, Platforms } from "./Options.ts"

type Some = Extract<Platforms, { readonly _tag: "Index" }>

// buildx lists attestations beside the image that they are about, under a platform that nobody has
const aboutImage = "vnd.docker.reference.digest"

/** Is a manifest of an index wanted? What has no platform is no image, or an index of images itself. */
const isWanted = ({ platforms }: Some, all: ReadonlyArray<Descriptor>) => {
  const fits = ({ platform }: Descriptor) =>
    platform !== undefined && platforms.some((wanted) => Platform.matches(wanted, platform))
  const images = new Set(all.filter(fits).map(({ digest }) => digest as string)) // to be compared with any text
  return (descriptor: Descriptor): boolean => {
    const about = descriptor.annotations?.[aboutImage]
    if (about !== undefined) return images.has(about)
    return descriptor.platform === undefined || fits(descriptor)
  }
}

/** The manifests of an index that are copied with it. */
export const among = (
  platforms: Options["platforms"],
  manifests: ReadonlyArray<Descriptor>
): ReadonlyArray<Descriptor> =>
  typeof platforms === "object" && platforms._tag === "Index" && platforms.index === "keep"
    ? manifests.filter(isWanted(platforms, manifests))
    : manifests

const decode = (source: End, { bytes, descriptor }: ManifestBytes, path: ReadonlyArray<Digest>) =>
  Effect.mapError(
    Effect.fromResult(Manifest.decode(descriptor.mediaType, bytes)),
    (reason) => failure({ source, destination: source }, "source", reason, { descriptor, path })
  )

const notFound = (
  source: End,
  root: ManifestBytes,
  wanted: ReadonlyArray<Platform.Platform>,
  seen: ReadonlyArray<Platform.Platform>
) => {
  const platform = wanted.map(Platform.format).join(", ")
  const available = Array.from(new Set(seen.map(Platform.format)))
  const place = { descriptor: root.descriptor, path: [] }
  return failure({ source, destination: source }, "source", new PlatformNotFound({ platform, available }), place)
}

// ---------------------------------------------------------------------------------------------------------------------
// one image
// ---------------------------------------------------------------------------------------------------------------------

// of a config that is read to learn its platform, in bytes
const configLimit = 4 * 1024 * 1024

// of indexes within indexes, of which few exist at all
const nestingLimit = 16

/** The platform of an image that is in no index, which its config tells. */
const platformOf = Effect.fnUntraced(function*(job: Job.Job, place: Place) {
  const { registry, repository } = job.source
  const config = place.descriptor
  if (config.size > configLimit || !/\.(?:config|image)\.v1\+json$/.test(config.mediaType)) return undefined
  const bytes = yield* registry.getBlob(repository, config.digest).pipe(
    Effect.flatMap(({ stream }) => Stream.mkUint8Array(stream)),
    Effect.scoped,
    Job.atSource(job, place)
  )
  return Result.getOrUndefined(Platform.fromJson(new TextDecoder().decode(bytes)))
})

/** The image for a platform below a manifest, if there is one; `seen` collects the platforms of the others. */
const search = (
  job: Job.Job,
  manifest: ManifestBytes,
  path: ReadonlyArray<Digest>,
  platform: Platform.Platform,
  seen: Array<Platform.Platform>
): Effect.Effect<ManifestBytes | undefined, CopyError> =>
  Effect.gen(function*() {
    const { registry, repository } = job.source
    const below = [...path, manifest.descriptor.digest]
    const decoded = yield* decode(job.source, manifest, path)
    if (decoded._tag === "Artifact" || path.length > nestingLimit) return undefined
    if (decoded._tag === "Image") {
      const own = yield* platformOf(job, { descriptor: decoded.content.config, path: below })
      if (own === undefined) return undefined
      seen.push(own)
      return Platform.matches(platform, own) ? manifest : undefined
    }
    const children = decoded.content.manifests
    const direct = children.find((child) => child.platform !== undefined && Platform.matches(platform, child.platform))
    const indexes = children.filter((child) => child.platform === undefined && MediaType.isIndex(child.mediaType))
    seen.push(...children.flatMap((child) => child.platform ?? []))
    for (const candidate of direct === undefined ? indexes : [direct]) {
      const child = yield* registry.getManifest(repository, candidate.digest).pipe(
        Job.atSource(job, { descriptor: candidate, path: below })
      )
      if (!MediaType.isIndex(child.descriptor.mediaType)) return child
      const found = yield* search(job, child, below, platform, seen)
      if (found !== undefined) return found
    }
    return undefined
  })

/** The manifest of the image for a platform: the root itself, or one that it lists. */
export const image = Effect.fnUntraced(function*(job: Job.Job, root: ManifestBytes, platform: Platform.Platform) {
  const seen: Array<Platform.Platform> = []
  return (yield* search(job, root, [], platform, seen)) ?? (yield* notFound(job.source, root, [platform], seen))
})

// ---------------------------------------------------------------------------------------------------------------------
// an index of some images
// ---------------------------------------------------------------------------------------------------------------------

const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))
const encodeJson = Schema.encodeEffect(Schema.fromJsonString(Schema.Unknown))

/** An index as it has to be, and all that had to be written anew for it, by digest. */
export interface Prepared {
  readonly root: ManifestBytes
  readonly overlay: ReadonlyMap<Digest, ManifestBytes>
}

/** Looks whether an index has the platforms that are wanted, and writes it anew where it is to list no others. */
export const index = Effect.fnUntraced(function*(
  job: Job.Job,
  root: ManifestBytes,
  some: Some
): Effect.fn.Return<Prepared, CopyError> {
  const { source } = job
  const overlay = new Map<Digest, ManifestBytes>()
  const seen: Array<Platform.Platform> = []
  const left: Array<Descriptor> = []

  const prepare = (manifest: ManifestBytes, path: ReadonlyArray<Digest>): Effect.Effect<ManifestBytes, CopyError> =>
    Effect.gen(function*() {
      const decoded = yield* decode(source, manifest, path)
      if (decoded._tag === "Image") {
        const own = yield* platformOf(job, { descriptor: decoded.content.config, path: [manifest.descriptor.digest] })
        if (own !== undefined) seen.push(own)
      }
      if (decoded._tag !== "Index" || path.length > nestingLimit) return manifest
      const { manifests } = decoded.content
      const wanted = manifests.filter(isWanted(some, manifests))
      seen.push(...manifests.flatMap(({ platform }) => platform ?? []))
      left.push(...manifests.filter((each) => !wanted.includes(each)))
      const below = [...path, manifest.descriptor.digest]
      const kept = yield* Effect.forEach(wanted, (each) =>
        MediaType.isIndex(each.mediaType)
          ? source.registry.getManifest(source.repository, each.digest).pipe(
            Job.atSource(job, { descriptor: each, path: below }),
            Effect.flatMap((child) => prepare(child, below)),
            Effect.map(({ descriptor: { digest, size } }) => ({ ...each, digest, size }))
          )
          : Effect.succeed(each))
      const isSame = kept.length === manifests.length &&
        kept.every(({ digest }, place) => digest === manifests[place]?.digest)
      return isSame || some.index !== "rewrite" ? manifest : yield* write(manifest, kept)
    })

  /** The same index with other manifests, and all else that it says of itself. */
  const write = Effect.fnUntraced(
    function*({ bytes, descriptor }: ManifestBytes, manifests: ReadonlyArray<Descriptor>) {
      const content = yield* decodeJson(new TextDecoder().decode(bytes))
      const written = new TextEncoder().encode(yield* encodeJson({ ...content, manifests }))
      const digest = yield* Hasher.digest(written)
      const manifest = { descriptor: { mediaType: descriptor.mediaType, digest, size: written.length }, bytes: written }
      overlay.set(digest, manifest)
      return manifest
    },
    // what was read as an index can be written as one
    Effect.orDie
  )

  const prepared = yield* prepare(root, [])
  const isFound = (platform: Platform.Platform) => seen.some((other) => Platform.matches(platform, other))
  if (!some.platforms.every(isFound)) {
    return yield* notFound(
      source,
      root,
      some.platforms.filter((p) => !isFound(p)),
      seen
    )
  }
  if (some.index === "fail" && left.length > 0) {
    const others = left.map(({ digest, platform }) => platform === undefined ? digest : Platform.format(platform))
    const place = { descriptor: root.descriptor, path: [] }
    return yield* failure({ source, destination: source }, "source", new SparseIndexRefused({ others }), place)
  }
  return { root: prepared, overlay }
})
