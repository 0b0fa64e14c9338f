/**
 * One copy under way: from one source to one destination, or to several at once.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Digest } from "../Digest.ts"
import type * as Limiter from "../Limiter.ts"
import type { Repository, Tag } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { CopyError } from "./CopyError.ts"
import type { CopyEvent } from "./CopyEvent.ts"
import type { Entry, Outcome, UnknownReferrers } from "./CopyReport.ts"
import * as DigestLatches from "./DigestLatches.ts"
import { type ContentPath, type End, failureOf } from "./Ends.ts"
import type { ContentNode, Options } from "./Options.ts"
import * as RegistryState from "./RegistryState.ts"

/** One destination. */
export interface Destination {
  readonly end: End
  readonly state: RegistryState.RegistryState
  readonly limiter: Limiter.Limiter
  readonly registry: Registry
  readonly repository: Repository
  /** That the root gets there. */
  readonly tags: ReadonlyArray<Tag>
  readonly entries: Array<Entry>
  /** Blobs and manifests that are dealt with, so that what refers to them can be pushed. */
  readonly recorded: DigestLatches.DigestLatches
  /** Manifests that need not be waited for any longer by what they refer to. */
  readonly released: DigestLatches.DigestLatches
  /** Blobs that somebody in this copy sees to. */
  readonly scheduled: Set<Digest>
  /** Manifests of which the destination did not list the referrers when they were verified. */
  readonly unknownReferrers: Array<UnknownReferrers>
  readonly failure: Deferred.Deferred<never, CopyError>
  /** Is it the only destination, so that its failure ends everything? */
  readonly isOnly: boolean
  /** Was some referrer pushed later than its subject, so that the tag has to come after both? */
  tagIsLast: boolean
}

/** What is known of content at a destination. */
export type Presence = "present" | "absent" | "unknown"

export interface Job {
  readonly source: End
  readonly sourceState: RegistryState.RegistryState
  readonly sourceLimiter: Limiter.Limiter
  readonly destinations: ReadonlyArray<Destination>
  readonly options: Options
  readonly emit: (event: CopyEvent) => Effect.Effect<void>
  /** Manifests of which the source did not list the referrers. */
  readonly unknownReferrers: Array<UnknownReferrers>
  /** Number of blobs that are known and not dealt with yet. */
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
    tagIsLast: false
  }
  return destination
})

/** Is it the very repository that the source is, so that it has everything? */
export const isSamePlace = ({ source }: Job, { registry, repository }: Destination): boolean =>
  registry === source.registry && repository === source.repository

/** Has it not failed? */
export const isAlive = ({ failure }: Destination): boolean => !Deferred.isDoneUnsafe(failure)

/** Does something for one destination. What fails is noted with it, and ends what else is done for it, and nothing else. */
export const attempt = <A, R>(
  destination: Destination,
  effect: Effect.Effect<A, CopyError, R>
): Effect.Effect<A | undefined, never, R> =>
  Effect.suspend(() => {
    if (!isAlive(destination)) return Effect.undefined
    return destination.isOnly ? effect : Effect.raceFirst(effect, Deferred.await(destination.failure))
  }).pipe(Effect.catch((error) => Effect.as(Deferred.fail(destination.failure, error), undefined)))

/** Does something for each of some destinations at once. */
export const attemptAll = <R>(
  destinations: ReadonlyArray<Destination>,
  f: (destination: Destination) => Effect.Effect<unknown, CopyError, R>
): Effect.Effect<void, never, R> =>
  Effect.forEach(destinations, (destination) => attempt(destination, f(destination)), {
    concurrency: "unbounded",
    discard: true
  })

/** Something is dealt with. */
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

/** What a registry of a destination fails with, over some content. */
export const atDestination =
  ({ end }: Destination, node?: ContentPath) =>
  <A, R>(effect: Effect.Effect<A, RegistryError, R>): Effect.Effect<A, CopyError, R> =>
    Effect.mapError(effect, failureOf(end, "destination", node))

/** What the source fails with, over some content. */
export const atSource =
  ({ source }: Job, node?: ContentPath) =>
  <A, R>(effect: Effect.Effect<A, RegistryError, R>): Effect.Effect<A, CopyError, R> =>
    Effect.mapError(effect, failureOf(source, "source", node))

/** Whoever wants a repository to be made first can do so before anything is written to it. */
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
