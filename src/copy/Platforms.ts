/**
 * Which of the images of an index are wanted, by their platform.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import * as Platform from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import { type CopyError, PlatformNotFound, SparseIndexRefused } from "./CopyError.ts"
import { type End, failure, failureOf } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { Options, Platforms } from "./Options.ts"
import * as PlatformSearch from "./PlatformSearch.ts"

type Some = Extract<Platforms, { readonly _tag: "Index" }>

// buildx lists attestations beside the image that they are about, under a platform that nobody has
const aboutImage = "vnd.docker.reference.digest"

/** Is a manifest of an index wanted? What has no platform is no image, or an index of images itself. */
const isWanted = ({ platforms }: Some, all: ReadonlyArray<Descriptor>) => {
  const fitting = new Set(platforms.flatMap((wanted) => Platform.select(wanted, all, ({ platform }) => platform)))
  const images = new Set(Array.from(fitting, ({ digest }) => digest as string)) // to be compared with any text
  return (descriptor: Descriptor): boolean => {
    const about = descriptor.annotations?.[aboutImage]
    if (about !== undefined) return images.has(about)
    return descriptor.platform === undefined || fitting.has(descriptor)
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

/** Looks at the source of a job. */
const searchOf = ({ source }: Job.Job): PlatformSearch.Search<CopyError> => ({
  source,
  explain: (place) => (error) =>
    error._tag === "RegistryError"
      ? failureOf(source, "source", place)(error)
      : failure(source, "source", error, place)
})

const notFound = (
  source: End,
  root: ManifestBytes,
  wanted: ReadonlyArray<Platform.Platform>,
  seen: ReadonlyArray<Platform.Platform>
) => {
  const platform = wanted.map(Platform.format).join(", ")
  const available = Array.from(new Set(seen.map(Platform.format)))
  const place = { descriptor: root.descriptor, path: [] }
  return failure(source, "source", new PlatformNotFound({ platform, available }), place)
}

// ---------------------------------------------------------------------------------------------------------------------
// one image
// ---------------------------------------------------------------------------------------------------------------------

/** The manifest of the image for a platform: the root itself, or one that it lists. */
export const image = Effect.fnUntraced(function*(job: Job.Job, root: ManifestBytes, platform: Platform.Platform) {
  const seen: Array<Platform.Platform> = []
  return (yield* PlatformSearch.find(searchOf(job), root, platform, seen)) ??
    (yield* notFound(job.source, root, [platform], seen))
})

// ---------------------------------------------------------------------------------------------------------------------
// an index of some images
// ---------------------------------------------------------------------------------------------------------------------

const Fields = Schema.Record(Schema.String, Schema.Unknown)
const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.StructWithRest(
  Schema.Struct({ manifests: Schema.Array(Fields) }),
  [Fields]
)))
const encodeJson = Schema.encodeEffect(Schema.fromJsonString(Schema.Unknown))

/** An entry of an index that stays in it: where it stands, and what it now points at. */
interface Kept extends Pick<Descriptor, "digest" | "size"> {
  readonly place: number
}

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
  const search = searchOf(job)
  const overlay = new Map<Digest, ManifestBytes>()
  const seen: Array<Platform.Platform> = []
  const left: Array<Descriptor> = []

  const prepare = (manifest: ManifestBytes, path: ReadonlyArray<Digest>): Effect.Effect<ManifestBytes, CopyError> =>
    Effect.gen(function*() {
      const decoded = yield* PlatformSearch.decode(search, manifest, path)
      if (decoded._tag === "Image") {
        const config = { descriptor: decoded.content.config, path: [manifest.descriptor.digest] }
        const own = yield* PlatformSearch.platformOf(search, config)
        if (own !== undefined && Platform.isKnown(own)) seen.push(own)
      }
      if (decoded._tag !== "Index" || path.length > PlatformSearch.nestingLimit) return manifest
      const { manifests } = decoded.content
      const isKept = isWanted(some, manifests)
      for (const platform of PlatformSearch.platformsOf(manifests)) seen.push(platform)
      for (const each of manifests) if (!isKept(each)) left.push(each)
      const below = [...path, manifest.descriptor.digest]
      const wanted = manifests.flatMap((each, place) => isKept(each) ? [{ each, place }] : [])
      const kept = yield* Effect.forEach(wanted, ({ each, place }) =>
        MediaType.isIndex(each.mediaType)
          ? source.registry.getManifest(source.repository, each.digest).pipe(
            Job.atSource(job, { descriptor: each, path: below }),
            Effect.flatMap((child) => prepare(child, below)),
            Effect.map(({ descriptor: { digest, size } }): Kept => ({ place, digest, size }))
          )
          : Effect.succeed<Kept>({ place, digest: each.digest, size: each.size }))
      const isSame = kept.length === manifests.length &&
        kept.every(({ digest, place }) => digest === manifests[place]?.digest)
      return isSame || some.index !== "rewrite" ? manifest : yield* write(manifest, kept)
    })

  /** Writes the index with these manifests, and with all else that it says of itself and of them. */
  const write = Effect.fnUntraced(
    function*({ bytes, descriptor }: ManifestBytes, kept: ReadonlyArray<Kept>) {
      const content = yield* decodeJson(new TextDecoder().decode(bytes))
      const manifests = kept.map(({ digest, place, size }) => ({ ...content.manifests[place], digest, size }))
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
    const others = left.map(({ digest, platform }) =>
      platform === undefined || !Platform.isKnown(platform) ? digest : Platform.format(platform)
    )
    const place = { descriptor: root.descriptor, path: [] }
    return yield* failure(source, "source", new SparseIndexRefused({ others }), place)
  }
  return { root: prepared, overlay }
})
