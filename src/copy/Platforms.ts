/**
 * Selects the images of an index by their platform.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import * as Platform from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import { type CopyError, type PlatformNotFound, SparseIndexRefused } from "./CopyError.ts"
import { failure, failureOf } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { Options, Platforms } from "./Options.ts"
import * as PlatformSearch from "./PlatformSearch.ts"

type Some = Extract<Platforms, { readonly _tag: "Index" }>

// buildx lists attestations next to their image, with the platform unknown/unknown and this annotation
const aboutImage = "vnd.docker.reference.digest"

/**
 * Returns a test for the manifests of an index that are wanted. A manifest without a platform is wanted, because it is
 * not an image, or is an index itself.
 */
const isWanted = ({ platforms }: Some, all: ReadonlyArray<Descriptor>) => {
  const fitting = new Set(platforms.flatMap((wanted) => Platform.select(wanted, all, ({ platform }) => platform)))
  const images = new Set(Array.from(fitting, ({ digest }) => digest as string)) // to be compared with any text
  return (descriptor: Descriptor): boolean => {
    const about = descriptor.annotations?.[aboutImage]
    if (about !== undefined) return images.has(about)
    return descriptor.platform === undefined || fitting.has(descriptor)
  }
}

/** Returns the manifests of an index that are copied with it. */
export const among = (
  platforms: Options["platforms"],
  manifests: ReadonlyArray<Descriptor>
): ReadonlyArray<Descriptor> =>
  typeof platforms === "object" && platforms._tag === "Index" && platforms.index === "keep"
    ? manifests.filter(isWanted(platforms, manifests))
    : manifests

/** Returns a search of the source of a job. */
const searchOf = ({ source }: Job.Job): PlatformSearch.Search<CopyError> => ({
  source,
  explain: (content) => (error) =>
    error._tag === "RegistryError"
      ? failureOf(source, "source", content)(error)
      : failure(source, "source", error, content)
})

/** Creates the error of a job whose root does not have the wanted images. */
const refused = ({ source }: Job.Job, { descriptor }: ManifestBytes, reason: PlatformNotFound | SparseIndexRefused) =>
  failure(source, "source", reason, { descriptor, path: [] })

// ---------------------------------------------------------------------------------------------------------------------
// one image
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the manifest of the image for a platform: the root itself, or one below it. */
export const image = (job: Job.Job, root: ManifestBytes, platform: Platform.Platform) =>
  Effect.mapError(
    PlatformSearch.image(searchOf(job), root, platform),
    (error) => error._tag === "PlatformNotFound" ? refused(job, root, error) : error
  )

// ---------------------------------------------------------------------------------------------------------------------
// an index of some images
// ---------------------------------------------------------------------------------------------------------------------

const Fields = Schema.Record(Schema.String, Schema.Unknown)
const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.StructWithRest(
  Schema.Struct({ manifests: Schema.Array(Fields) }),
  [Fields]
)))
const encodeJson = Schema.encodeEffect(Schema.fromJsonString(Schema.Unknown))

/** An entry that stays in an index: its position, and the manifest that it now points at. */
interface Kept extends Pick<Descriptor, "digest" | "size"> {
  readonly position: number
}

/** The index for the destination, and all rewritten indexes by their digest. */
export interface Prepared {
  readonly root: ManifestBytes
  readonly overlay: ReadonlyMap<Digest, ManifestBytes>
}

/** State of the selection of images from one index. */
interface Selection {
  readonly job: Job.Job
  readonly some: Some
  /** Rewritten indexes. */
  readonly overlay: Map<Digest, ManifestBytes>
  /** Platforms of all images. */
  readonly seen: Array<Platform.Platform>
  /** Entries that are not wanted. */
  readonly others: Array<Descriptor>
}

/** Checks that an index has the wanted platforms. Rewrites it without the others if the policy is `rewrite`. */
export const index = Effect.fnUntraced(function*(
  job: Job.Job,
  root: ManifestBytes,
  some: Some
): Effect.fn.Return<Prepared, CopyError> {
  const selection: Selection = { job, some, overlay: new Map(), seen: [], others: [] }
  const { others, overlay, seen } = selection
  const prepared = yield* prepare(selection, root, [])
  const absent = some.platforms.filter((wanted) => !seen.some((other) => Platform.matches(wanted, other)))
  if (absent.length > 0) return yield* refused(job, root, PlatformSearch.notFound(absent, seen))
  if (some.index === "fail" && others.length > 0) {
    const names = others.map(({ digest, platform }) =>
      platform === undefined || !Platform.isKnown(platform) ? digest : Platform.format(platform)
    )
    return yield* refused(job, root, new SparseIndexRefused({ others: names }))
  }
  return { root: prepared, overlay }
})

/** Returns a manifest as it is, or an index without the images that are not wanted, at any depth. */
const prepare = (
  selection: Selection,
  manifest: ManifestBytes,
  path: ReadonlyArray<Digest>
): Effect.Effect<ManifestBytes, CopyError> =>
  Effect.gen(function*() {
    const { job, others, seen, some } = selection
    const { registry, repository } = job.source
    const search = searchOf(job)
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
    for (const each of manifests) if (!isKept(each)) others.push(each)
    const below = [...path, manifest.descriptor.digest]
    const wanted = manifests.flatMap((each, position) => isKept(each) ? [{ each, position }] : [])
    const kept = yield* Effect.forEach(wanted, ({ each, position }) =>
      MediaType.isIndex(each.mediaType)
        ? registry.getManifest(repository, each.digest).pipe(
          Job.atSource(job, { descriptor: each, path: below }),
          Effect.flatMap((child) => prepare(selection, child, below)),
          Effect.map(({ descriptor: { digest, size } }): Kept => ({ position, digest, size }))
        )
        : Effect.succeed<Kept>({ position, digest: each.digest, size: each.size }))
    const isSame = kept.length === manifests.length &&
      kept.every(({ digest, position }) => digest === manifests[position]?.digest)
    return isSame || some.index !== "rewrite" ? manifest : yield* rewrite(selection, manifest, kept)
  })

/** Rewrites an index with these entries only. All other fields of the index and of the entries stay as they are. */
const rewrite = Effect.fnUntraced(
  function*({ overlay }: Selection, { bytes, descriptor }: ManifestBytes, kept: ReadonlyArray<Kept>) {
    const content = yield* decodeJson(new TextDecoder().decode(bytes))
    const manifests = kept.map(({ digest, position, size }) => ({ ...content.manifests[position], digest, size }))
    const written = new TextEncoder().encode(yield* encodeJson({ ...content, manifests }))
    const digest = yield* Hasher.digest(written)
    const manifest = { descriptor: { mediaType: descriptor.mediaType, digest, size: written.length }, bytes: written }
    overlay.set(digest, manifest)
    return manifest
  },
  // bytes that were decoded as an index can be encoded as one
  Effect.orDie
)
