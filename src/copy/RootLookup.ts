/**
 * What a copy begins with: which manifest, whether the destinations have it, and under which tags, by as few requests as
 * it takes to know that nothing is to be done.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import type { Tag } from "../Reference.ts"
import type { ManifestBytes } from "../Registry.ts"
import { orAbsent } from "../RegistryError.ts"
import { type CopyError, DigestConflict, TagExists, TagMismatch, UnfitReference } from "./CopyError.ts"
import { failure, orAbsentOrDenied } from "./Ends.ts"
import * as Job from "./Job.ts"
import * as Platforms from "./Platforms.ts"
import * as References from "./References.ts"

export interface Root {
  readonly descriptor: Descriptor
  /** What the source names, where that is another. */
  readonly named: Descriptor
  /** Where it was read already. */
  readonly manifest: ManifestBytes | undefined
  /** Manifests that are written anew. */
  readonly overlay: ReadonlyMap<Digest, ManifestBytes>
  readonly presence: (destination: Job.Destination) => Job.Presence
  /** The tags that do not point at it yet, at each destination that is to get it. */
  readonly tags: ReadonlyMap<Job.Destination, ReadonlyArray<Tag>>
  /** Destinations that keep the tag that they have. */
  readonly kept: ReadonlyMap<Job.Destination, Descriptor>
}

/** Of what is no manifest, nothing is to be found out. */
export const nothing: Omit<Root, "descriptor" | "named"> = {
  manifest: undefined,
  overlay: new Map(),
  presence: () => "unknown",
  tags: new Map(),
  kept: new Map()
}

type Tags = ReadonlyMap<Tag, Descriptor | undefined>

/** What the tags that a destination is to get point at by now. */
const tagsAt = Effect.fnUntraced(function*(destination: Job.Destination, isMovable: boolean) {
  const { registry, repository, tags } = destination
  const lookUp = isMovable ? orAbsentOrDenied : orAbsent
  const found = yield* Effect.forEach(
    tags,
    (tag) => Effect.map(lookUp(registry.resolveManifest(repository, tag)), (there) => [tag, there] as const),
    { concurrency: "unbounded" }
  ).pipe(Job.atDestination(destination))
  return new Map(found)
})

/** What the source names: its descriptor where that is likely to be enough, else all of it. */
const named = Effect.fnUntraced(function*(job: Job.Job, isLikelyThere: boolean): Effect.fn.Return<
  { readonly descriptor: Descriptor; readonly manifest: ManifestBytes | undefined },
  CopyError
> {
  const { digest, registry, repository, tag } = job.source
  const reference = tag ?? digest
  if (reference === undefined) {
    return yield* failure(job.source, "source", new UnfitReference({ problem: "a source needs a tag or a digest" }))
  }
  const read = () =>
    Effect.map(
      registry.getManifest(repository, reference),
      (manifest) => ({ descriptor: manifest.descriptor, manifest })
    )
  const { descriptor, manifest } = yield* (isLikelyThere
    ? registry.resolveManifest(repository, reference).pipe(
      Effect.map((descriptor) => ({ descriptor, manifest: undefined })),
      // an answer to HEAD does not say why; one to GET, by which some registries are resolved, does
      Effect.catchIf(
        ({ isRetryable, operation, reason }) =>
          operation !== "getManifest" && (!isRetryable || reason._tag === "UnexpectedResponse"),
        read
      )
    )
    : read()).pipe(Job.atSource(job))
  if (tag !== undefined && digest !== undefined && descriptor.digest !== digest) {
    const reason = new TagMismatch({ tag, expected: digest, actual: descriptor.digest })
    return yield* failure(job.source, "source", reason)
  }
  if (manifest !== undefined) {
    yield* Effect.mapError(
      References.read(job.options, manifest),
      (reason) => failure(job.source, "source", reason, { descriptor, path: [] })
    )
  }
  return { descriptor, manifest }
})

/** The manifest that the platforms make of what the source names. */
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
 * Is the root at a destination? What its tags point at says so; if none does, it is asked for by digest, except that an
 * image that has no tag there is taken for new: what it consists of is going to be looked for anyway.
 */
const presenceAt = (
  job: Job.Job,
  destination: Job.Destination,
  tags: Tags,
  { digest, mediaType }: Descriptor
): Job.Presence => {
  if (Job.isSamePlace(job, destination)) return "present"
  const found = Array.from(tags.values())
  if (found.some((there) => there?.digest === digest)) return "present"
  const isNew = destination.tags.length > 0 && found.every((there) => there === undefined)
  return isNew && !MediaType.isIndex(mediaType) ? "absent" : "unknown"
}

type Lookups = ReadonlyArray<readonly [Job.Destination, Exit.Exit<Tags, CopyError>]>

/** What the tags of all destinations point at, and what the source names. What is wrong with the source is told first. */
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
  // who was never asked has to be connected to: at both ends at once, for a request that may turn out to be one too many.
  // Platforms are looked for in what the source has, wherever that may be already
  if (isFirst || platforms !== "all") {
    return yield* Effect.all([lookUps, named(job, platforms === "all")], { concurrency: 2 })
  }
  const lookups = yield* lookUps
  const isTagged = lookups.some(([, exit]) =>
    Exit.isSuccess(exit) && Array.from(exit.value.values()).some((there) => there !== undefined)
  )
  // a digest is known without a request
  return [lookups, yield* named(job, isTagged || job.source.tag === undefined)] as const
})

/** Finds out what a copy begins with. */
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
      const wanted = end.digest
      if (wanted !== undefined && wanted !== digest) {
        return yield* failure(end, "destination", new DigestConflict({ source: digest, destination: wanted }))
      }
      const others = Array.from(at.get(destination) ?? []).filter(([, there]) => there?.digest !== digest)
      const [tag, there] = others.find(([, there]) => there !== undefined) ?? []
      if (onTagExists === "fail" && tag !== undefined && there !== undefined) {
        return yield* failure(end, "destination", new TagExists({ tag, actual: there.digest }))
      }
      if (onTagExists === "keep" && there !== undefined) kept.set(destination, there)
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
