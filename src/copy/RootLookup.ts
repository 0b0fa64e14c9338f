/**
 * Finds the root of a copy: its manifest, the destinations that have it, and their tags. The requests are in an order
 * that takes the fewest of them if there is nothing to copy.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as DockerHub from "../DockerHub.ts"
import * as KnownTags from "../KnownTags.ts"
import * as MediaType from "../MediaType.ts"
import type { Tag } from "../Reference.ts"
import type { ManifestBytes } from "../Registry.ts"
import { orAbsent } from "../RegistryError.ts"
import { type CopyError, isCopyError, TagExists } from "./CopyError.ts"
import * as EndChecks from "./EndChecks.ts"
import { failure, orAbsentOrDenied } from "./Ends.ts"
import * as Job from "./Job.ts"
import * as Platforms from "./Platforms.ts"
import * as References from "./References.ts"

export interface Root {
  /** Manifest that the destinations get. */
  readonly descriptor: Descriptor
  /** Manifest that the source names. Another one if the copy selects platforms. */
  readonly named: Descriptor
  /** Content of the root, if it was read already. */
  readonly manifest: ManifestBytes | undefined
  /** Rewritten indexes. */
  readonly overlay: ReadonlyMap<Digest, ManifestBytes>
  readonly presence: (destination: Job.Destination) => Job.Presence
  /** Tags that do not point at the root yet, at each destination that gets it. */
  readonly tags: ReadonlyMap<Job.Destination, ReadonlyArray<Tag>>
  /** Destinations that keep their tag, with the manifest that it points at. */
  readonly kept: ReadonlyMap<Job.Destination, Descriptor>
}

/** The root of a blob copy: no manifest, no tags, no rewritten index. */
export const nothing: Omit<Root, "descriptor" | "named"> = {
  manifest: undefined,
  overlay: new Map(),
  presence: () => "unknown",
  tags: new Map(),
  kept: new Map()
}

/** The manifest that the source names. */
type Source = Pick<Root, "descriptor" | "manifest">

/** Manifests that the tags of a destination point at. */
type Tags = ReadonlyMap<Tag, Descriptor | undefined>

/**
 * Returns the manifests that the tags of a destination point at before the copy. If tags do not move, one that was not
 * in a recent list is not looked up.
 */
const tagsAt = Effect.fnUntraced(function*(destination: Job.Destination, isMovable: boolean) {
  const { registry, repository, tags } = destination
  const lookUp = isMovable ? orAbsentOrDenied : orAbsent
  const resolve = Effect.fnUntraced(function*(tag: Tag) {
    if (!isMovable && (yield* KnownTags.lacks(registry.name, repository, tag))) return undefined
    return yield* lookUp(registry.resolveManifest(repository, tag))
  })
  const found = yield* Effect.forEach(
    tags,
    (tag) => Effect.map(resolve(tag), (current) => [tag, current] as const),
    { concurrency: "unbounded" }
  ).pipe(Job.atDestination(destination))
  return new Map(found)
})

/** Returns the manifest that the source names: its descriptor if that is probably enough, otherwise its content too. */
const named = Effect.fnUntraced(function*(
  job: Job.Job,
  isLikelyThere: boolean
): Effect.fn.Return<Source, CopyError> {
  const { registry, repository } = job.source
  const read = (reference: Tag | Digest) =>
    Effect.map(
      registry.getManifest(repository, reference),
      (manifest) => ({ descriptor: manifest.descriptor, manifest })
    )
  const resolve = (reference: Tag | Digest) =>
    registry.resolveManifest(repository, reference).pipe(
      Effect.map((descriptor) => ({ descriptor, manifest: undefined })),
      // a response to HEAD has no body that states the reason; the response to GET has one
      Effect.catchIf(
        ({ isRetryable, operation, reason }) =>
          operation !== "getManifest" && (!isRetryable || reason._tag === "UnexpectedResponse"),
        () => read(reference)
      )
    )
  const found = EndChecks.findManifest(
    job.source,
    (reference): Effect.Effect<Source, CopyError> =>
      (isLikelyThere ? resolve(reference) : read(reference)).pipe(Job.atSource(job))
  )
  const { descriptor, manifest } = yield* Effect.mapError(
    found,
    (error) => isCopyError(error) ? error : failure(job.source, "source", error)
  )
  if (manifest !== undefined) {
    yield* Effect.mapError(
      References.read(job.options, manifest),
      (reason) => failure(job.source, "source", reason, { descriptor, path: [] })
    )
  }
  return { descriptor, manifest }
})

/** Returns the root for the selected platforms: an image of the index that the source names, or a rewritten index. */
const prepared = Effect.fnUntraced(
  function*(job: Job.Job, descriptor: Descriptor, manifest: ManifestBytes | undefined) {
    const { platforms = "all" } = job.options
    const { registry, repository } = job.source
    const nothing: ReadonlyMap<Digest, ManifestBytes> = new Map()
    if (platforms === "all") return { descriptor, manifest, overlay: nothing }
    const whole = manifest ?? (yield* registry.getManifest(repository, descriptor.digest).pipe(Job.atSource(job)))
    if (platforms._tag === "Image") {
      const image = yield* Platforms.image(job, whole, platforms.platform)
      return { descriptor: image.descriptor, manifest: image, overlay: nothing }
    }
    const { overlay, root } = yield* Platforms.index(job, whole, platforms)
    return { descriptor: root.descriptor, manifest: root, overlay }
  }
)

/**
 * Returns whether a destination has the root. It does if one of its tags points there. If none does, the root is looked
 * up by its digest, except for an image without any tag there: that one is assumed to be new, because its blobs are
 * looked up anyway.
 */
const presenceAt = (
  job: Job.Job,
  destination: Job.Destination,
  tags: Tags,
  { digest, mediaType }: Descriptor
): Job.Presence => {
  if (Job.isSameRepository(job, destination)) return "present"
  const current = Array.from(tags.values())
  if (current.some((manifest) => manifest?.digest === digest)) return "present"
  const isNew = destination.tags.length > 0 && current.every((manifest) => manifest === undefined)
  return isNew && !MediaType.isIndex(mediaType) ? "absent" : "unknown"
}

type Lookups = ReadonlyArray<readonly [Job.Destination, Exit.Exit<Tags, CopyError>]>

/** Looks up the tags of all destinations, and the manifest that the source names. Fails only for the source. */
const bothEnds = Effect.fnUntraced(function*(job: Job.Job) {
  const { onTagExists = "replace", platforms = "all" } = job.options
  const lookUps: Effect.Effect<Lookups> = Effect.forEach(
    job.destinations,
    (destination) =>
      Effect.map(Effect.exit(tagsAt(destination, onTagExists === "replace")), (exit) => [destination, exit] as const),
    { concurrency: "unbounded" }
  )
  const isFirst = !job.sourceState.isContacted &&
    !job.destinations.some(({ registry }) => registry === job.source.registry)
  for (const state of [job.sourceState, ...job.destinations.map(({ state }) => state)]) state.isContacted = true
  // the first copy from a registry contacts both ends at the same time, because it has to connect to them. It reads the
  // content of the source, which may turn out to be unnecessary, but costs no further request if it is needed. Docker
  // Hub limits the number of manifests that are read, but not of lookups. A selection of platforms needs the content
  if (isFirst || platforms !== "all") {
    const isLookup = platforms === "all" && DockerHub.isHost(job.source.registry.name)
    return yield* Effect.all([lookUps, named(job, isLookup)], { concurrency: 2 })
  }
  const lookups = yield* lookUps
  const isTagged = lookups.some(([, exit]) =>
    Exit.isSuccess(exit) && Array.from(exit.value.values()).some((current) => current !== undefined)
  )
  // without a tag, the destination is looked up by the digest of the source, so the content may not be needed
  return [lookups, yield* named(job, isTagged || job.source.tag === undefined)] as const
})

/** Finds the root of a copy, and compares it with the tags and digests of the destinations. */
export const find = Effect.fnUntraced(function*(job: Job.Job): Effect.fn.Return<Root, CopyError> {
  const { onTagExists = "replace" } = job.options
  const [lookups, source] = yield* bothEnds(job)
  const at = new Map<Job.Destination, Tags>()
  for (const [destination, exit] of lookups) {
    yield* Job.attempt(
      destination,
      Effect.map(exit, (tags) => at.set(destination, tags))
    )
  }
  const root = yield* prepared(job, source.descriptor, source.manifest)
  const { digest } = root.descriptor

  const tags = new Map<Job.Destination, ReadonlyArray<Tag>>()
  const kept = new Map<Job.Destination, Descriptor>()
  yield* Job.attemptAll(job.destinations, (destination) =>
    Effect.gen(function*() {
      const { end } = destination
      yield* Effect.mapError(
        Effect.fromResult(EndChecks.hasDigest(end, digest)),
        (reason) => failure(end, "destination", reason)
      )
      const others = Array.from(at.get(destination) ?? []).filter(([, current]) => current?.digest !== digest)
      const [tag, current] = others.find(([, current]) => current !== undefined) ?? []
      if (onTagExists === "fail" && tag !== undefined && current !== undefined) {
        return yield* failure(end, "destination", new TagExists({ tag, actual: current.digest }))
      }
      if (onTagExists === "keep" && current !== undefined) kept.set(destination, current)
      else tags.set(destination, others.map(([tag]) => tag))
    }))
  return {
    ...root,
    named: source.descriptor,
    presence: (destination) => presenceAt(job, destination, at.get(destination) ?? new Map(), root.descriptor),
    tags,
    kept
  }
})
