/**
 * State of one running copy, from one source to one or several destinations.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Digest } from "../Digest.ts"
import type * as Limiter from "../Limiter.ts"
import type { Repository, Tag } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import { type CopyError, isCopyError } from "./CopyError.ts"
import type { CopyEvent } from "./CopyEvent.ts"
import type { Entry, Outcome, UnknownReferrers } from "./CopyReport.ts"
import * as DigestLatches from "./DigestLatches.ts"
import { type ContentPath, type End, failureOf } from "./Ends.ts"
import type { ContentNode, Options } from "./Options.ts"
import * as RegistryState from "./RegistryState.ts"

/** A destination of a copy, and what the copy has done there so far. */
export interface Destination {
  readonly end: End
  readonly state: RegistryState.RegistryState
  readonly limiter: Limiter.Limiter
  readonly registry: Registry
  readonly repository: Repository
  /** Tags that the root gets at this destination. */
  readonly tags: ReadonlyArray<Tag>
  readonly entries: Array<Entry>
  /** Opened for blobs and manifests with a recorded outcome: manifests that refer to them can be pushed. */
  readonly recorded: DigestLatches.DigestLatches
  /** Opened for manifests for which their subjects no longer wait. */
  readonly released: DigestLatches.DigestLatches
  /** Blobs whose delivery to this destination has begun. */
  readonly scheduled: Set<Digest>
  /** Manifests whose referrers the destination did not list during verification. */
  readonly unknownReferrers: Array<UnknownReferrers>
  /** Completed with the first error of this destination. */
  readonly failure: Deferred.Deferred<never, CopyError>
  /** True if it is the only destination, so that its failure ends the copy. */
  readonly isOnly: boolean
  /** True if a referrer is pushed after its subject, so that tags are pushed after all manifests. */
  tagIsLast: boolean
  /** True if it had a blob of a manifest that it lacks, so that it may have others. */
  hasParts: boolean
}

/** Presence of content at a destination. */
export type Presence = "present" | "absent" | "unknown"

export interface Job {
  readonly source: End
  readonly sourceState: RegistryState.RegistryState
  readonly sourceLimiter: Limiter.Limiter
  readonly destinations: ReadonlyArray<Destination>
  readonly options: Options
  readonly emit: (event: CopyEvent) => Effect.Effect<void>
  /** Manifests whose referrers the source did not list. */
  readonly unknownReferrers: Array<UnknownReferrers>
  /** Number of blobs that are discovered but not yet delivered. */
  pending: number
}

export const makeDestination = Effect.fnUntraced(function*(
  end: End,
  options: Options,
  isOnly: boolean
) {
  const state = yield* RegistryState.of(end.registry)
  const destination: Destination = {
    end,
    state,
    limiter: yield* RegistryState.limiterOf(state),
    registry: end.registry,
    repository: end.repository,
    tags: Array.from(new Set([...end.tag === undefined ? [] : [end.tag], ...options.tags ?? []])),
    entries: [],
    recorded: DigestLatches.make(),
    released: DigestLatches.make(),
    scheduled: new Set(),
    unknownReferrers: [],
    failure: Deferred.makeUnsafe(),
    isOnly,
    tagIsLast: false,
    hasParts: false
  }
  return destination
})

/** Returns true if a destination is the repository of the source, and so has everything. */
export const isSameRepository = ({ source }: Job, { registry, repository }: Destination): boolean =>
  registry === source.registry && repository === source.repository

/** Returns true unless the destination has failed. */
export const isAlive = ({ failure }: Destination): boolean => !Deferred.isDoneUnsafe(failure)

/** Runs an effect for one destination. A failure becomes that of the destination, and ends its other effects only. */
export const attempt = <A, R>(
  destination: Destination,
  effect: Effect.Effect<A, CopyError, R>
): Effect.Effect<A | undefined, never, R> =>
  Effect.suspend(() => {
    if (!isAlive(destination)) return Effect.undefined
    return destination.isOnly ? effect : Effect.raceFirst(effect, Deferred.await(destination.failure))
  }).pipe(Effect.catch((error) => Effect.as(Deferred.fail(destination.failure, error), undefined)))

/** Runs an effect for each destination, all at the same time. */
export const attemptAll = <R>(
  destinations: ReadonlyArray<Destination>,
  f: (destination: Destination) => Effect.Effect<unknown, CopyError, R>
): Effect.Effect<void, never, R> =>
  Effect.forEach(destinations, (destination) => attempt(destination, f(destination)), {
    concurrency: "unbounded",
    discard: true
  })

/** Adds the outcome of content, and opens its `recorded` latch, so that manifests that refer to it can be pushed. */
export const record = (
  job: Job,
  destination: Destination,
  { descriptor, path, role }: ContentNode,
  outcome: Outcome
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const entry = { descriptor, role, path, outcome }
    destination.entries.push(entry)
    return Effect.andThen(job.emit({ _tag: "Settled", entry }), destination.recorded.open(descriptor.digest))
  })

/** Converts a failure of the registry of a destination. A `CopyError`, such as one of the source, stays what it is. */
export const atDestination = ({ end }: Destination, content?: ContentPath) => {
  const failed = failureOf(end, "destination", content)
  return <A, R>(effect: Effect.Effect<A, CopyError | RegistryError, R>): Effect.Effect<A, CopyError, R> =>
    Effect.mapError(effect, (error) => isCopyError(error) ? error : failed(error))
}

/** Converts a failure of the registry of the source. */
export const atSource =
  ({ source }: Job, content?: ContentPath) =>
  <A, R>(effect: Effect.Effect<A, RegistryError, R>): Effect.Effect<A, CopyError, R> =>
    Effect.mapError(effect, failureOf(source, "source", content))

/** Runs `beforePush` once for the repository of a destination. If it fails, the next call runs it again. */
export const prepare = Effect.fnUntraced(function*({ options }: Job, destination: Destination) {
  const { state, registry, repository } = destination
  const { beforePush } = options
  if (beforePush === undefined) return
  const preparing = state.prepared.get(repository) ?? (yield* Effect.cached(beforePush({ registry, repository })))
  state.prepared.set(repository, preparing)
  yield* Effect.tapError(preparing, () => Effect.sync(() => state.prepared.delete(repository))).pipe(
    atDestination(destination)
  )
})
