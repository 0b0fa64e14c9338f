/**
 * Copying manifests, with all that belongs to them, and blobs from one registry to others.
 *
 * Bytes are copied as they are, and digests stay what they were. A manifest is pushed after everything that it refers
 * to; referrers are pushed before what they refer to, or after it where a registry insists; the tag comes last. So a
 * copy that fails or is interrupted leaves no tag, and no manifest whose parts are not there. What the destination has
 * is not sent again, and what one copy learns of a registry the next one uses.
 *
 * What is to be copied is discovered while copying has begun. How much goes on at a time is up to the registries: see
 * `Limiter`, and {@link MaxInFlight} for those that have no limit.
 *
 * These functions work on ends that are resolved; `Namespace` has them for references.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { Observer, type RegistryEvent } from "../Registry.ts"
import * as TokenScope from "../TokenScope.ts"
import { type CopyError, DigestConflict, PlanOutdated, UnfitReference } from "./CopyError.ts"
import type { CopyEvent } from "./CopyEvent.ts"
import type { CopyPlan } from "./CopyPlan.ts"
import { CopyReport } from "./CopyReport.ts"
import { deliver } from "./Delivery.ts"
import { type End, type Ends, failure, format } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { ContentNode, Options } from "./Options.ts"
import * as Planner from "./Planner.ts"
import { push, pushTags } from "./Push.ts"
import * as RegistryState from "./RegistryState.ts"
import * as RootLookup from "./RootLookup.ts"
import { verify } from "./Verify.ts"
import * as Walk from "./Walk.ts"

export {
  /** @since 0.1.0 */
  type End
} from "./Ends.ts"

export {
  /** @since 0.1.0 */
  KnownRegistries,
  /** @since 0.1.0 */
  makeKnownRegistries,
  /** @since 0.1.0 */
  MaxInFlight
} from "./RegistryState.ts"

export {
  /** @since 0.1.0 */
  type ContentNode,
  /** @since 0.1.0 */
  type ManifestDigests,
  /** @since 0.1.0 */
  type Options,
  /** @since 0.1.0 */
  type Platforms,
  /** @since 0.1.0 */
  type Policies,
  /** @since 0.1.0 */
  type Referenced,
  /** @since 0.1.0 */
  type ReferrerFilter
} from "./Options.ts"

// ---------------------------------------------------------------------------------------------------------------------
// running
// ---------------------------------------------------------------------------------------------------------------------

/** What a copy will need of a host, so that one token serves for all of it. */
const scopesOf = (source: End, destinations: ReadonlyArray<End>) => (host: string): TokenScope.TokenScope =>
  destinations
    .filter(({ registry }) => registry.name === host)
    .map((destination) => {
      const write = TokenScope.repository(destination.repository, "pull", "push")
      return source.registry === destination.registry
        ? TokenScope.union(write, TokenScope.repository(source.repository, "pull"))
        : write
    })
    .reduce(TokenScope.union, TokenScope.empty)

/** What was noticed of a copy besides its entries. */
interface Account {
  requests: number
  readonly warnings: Array<string>
}

// of a copy: a registry may warn of something with every answer
const warningLimit = 100

/** Keeps a warning. Returns false if it is not reported, because it was reported before, or enough others were. */
const isNews = ({ warnings }: Account, text: string): boolean =>
  warnings.length < warningLimit && !warnings.includes(text) && warnings.push(text) > 0

/** Keeps account of what happens below, and tells it on. */
const accounting = (account: Account, emit: Job.Job["emit"]) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Observer, (observe) => {
    const note = (event: RegistryEvent): Effect.Effect<void> => {
      switch (event._tag) {
        case "Requested":
          account.requests++
          return Effect.void
        case "Warning":
          return emit({ _tag: "Warned", registry: event.registry, text: event.text })
        case "Retried":
        case "Paused":
          return emit(event)
      }
    }
    return Effect.provideService(effect, Observer, (event) => Effect.andThen(note(event), observe(event)))
  })

const reportOf = (job: Job.Job, account: Account, destination: Job.Destination, root: RootLookup.Root) => {
  const { end, entries } = destination
  const kept = entries.find(({ outcome }) => outcome === "kept")
  const { descriptor } = kept ?? root
  const fields: ConstructorParameters<typeof CopyReport>[0] = {
    source: format(job.source),
    destination: format({ ...end, digest: descriptor.digest }),
    root: descriptor,
    ...root.named.digest === root.descriptor.digest || root.overlay.size === 0 ? {} : { rewrittenFrom: root.named },
    entries,
    unknownReferrers: [...job.unknownReferrers, ...destination.unknownReferrers],
    bytes: entries.reduce((sum, { descriptor, outcome }) => outcome === "copied" ? sum + descriptor.size : sum, 0),
    requests: account.requests,
    warnings: account.warnings
  }
  // the constructor would check all entries in one go, half a second for 100 000 of them
  const report: CopyReport = Object.create(CopyReport.prototype)
  return Object.assign(report, fields)
}

/** Runs a job until it is done, or has failed for every destination; tells how it went for each. */
const finish = <A, B>(
  { destinations }: Job.Job,
  effect: Effect.Effect<A, CopyError>,
  result: (destination: Job.Destination, done: A) => B
): Effect.Effect<ReadonlyArray<Exit.Exit<B, CopyError>>> => {
  const allFailed = Effect.forEach(destinations, ({ failure }) => Effect.exit(Deferred.await(failure)), {
    discard: true
  })
  return Effect.flatMap(
    Effect.exit(Effect.raceFirst(effect, Effect.andThen(allFailed, Effect.interrupt))),
    (exit) =>
      Effect.forEach(destinations, (destination) =>
        Job.isAlive(destination)
          ? Effect.succeed(Exit.map(exit, (done) => result(destination, done)))
          : Effect.exit(Deferred.await(destination.failure)))
  )
}

const makeJob = Effect.fnUntraced(function*(
  source: End,
  ends: ReadonlyArray<End>,
  options: Options,
  account: Account,
  emit: Job.Job["emit"]
) {
  const sourceState = yield* RegistryState.of(source.registry)
  const job: Job.Job = {
    source,
    sourceState,
    sourceLimiter: yield* RegistryState.limiterOf(sourceState),
    destinations: yield* Effect.forEach(
      ends,
      (end) => Job.makeDestination(end, options, ends.length === 1)
    ),
    options,
    emit: (event) => {
      if (event._tag !== "Warned") return emit(event)
      return isNews(account, event.text) ? emit(event) : Effect.void
    },
    unknownReferrers: [],
    pending: 0
  }
  return job
})

/** Is a piece of content in the plan, if there is one? It has to be a plan for this root. */
const planned = Effect.fnUntraced(function*({ options, source }: Job.Job, { descriptor }: RootLookup.Root) {
  const { plan } = options
  if (plan === undefined) return () => true
  if (plan.root.digest !== descriptor.digest) {
    const reason = new PlanOutdated({ expected: plan.root.digest, actual: descriptor.digest })
    return yield* failure(source, "source", reason)
  }
  const digests = new Set(plan.nodes.map(({ descriptor }) => descriptor.digest))
  return ({ descriptor }: ContentNode) => digests.has(descriptor.digest)
})

/** Copies what the root of a job is, and all that belongs to it. */
const copyAllOf = Effect.fnUntraced(function*(whole: Job.Job, root: RootLookup.Root) {
  for (const [destination, descriptor] of root.kept) {
    yield* whole.emit({ _tag: "Planned", descriptor, role: "root" })
    yield* Job.record(whole, destination, { descriptor, role: "root", path: [] }, "kept")
  }
  const job: Job.Job = {
    ...whole,
    destinations: whole.destinations.filter((destination) => !root.kept.has(destination))
  }
  if (!job.destinations.some(Job.isAlive)) return root
  const isPlanned = yield* planned(job, root)
  const walk = yield* Walk.make(job, root.overlay, (found) => ({
    discovered: (node) =>
      // blobs that are not delivered are external layers, which are in no plan
      node.role === "blob" || isPlanned(node)
        ? job.emit({ _tag: "Planned", descriptor: node.descriptor, role: node.role })
        : Effect.void,
    blob: (node, destinations, isNew) => deliver(job, node, isPlanned(node) ? destinations : [], isNew),
    manifest: (node, destination) =>
      // nothing that is left out is waited for by what contains it, which is left out as well
      isPlanned(node) ? push(job, found, node, destination) : destination.released.open(node.descriptor.digest)
  }))
  const top = yield* walk.root(root.descriptor, root.manifest, root.presence, root.tags)
  const nodes = Array.from(walk.nodes.values()).filter(isPlanned)
  yield* Job.attemptAll(
    job.destinations,
    (destination) =>
      Effect.andThen(
        pushTags(job, walk, nodes, destination),
        isPlanned(top) ? verify(job, nodes, top, destination) : Effect.void
      )
  )
  return root
})

const run = Effect.fnUntraced(function*(
  source: End,
  destinations: ReadonlyArray<End>,
  options: Options,
  emit: Job.Job["emit"]
) {
  const account: Account = { requests: 0, warnings: [] }
  const job = yield* makeJob(source, destinations, options, account, emit)
  let isFound = false
  const copying = RootLookup.find(job).pipe(
    Effect.tap(() =>
      Effect.sync(() => {
        isFound = true
      })
    ),
    Effect.flatMap((root) => copyAllOf(job, root)),
    accounting(account, job.emit),
    Effect.provideService(TokenScope.Wanted, scopesOf(source, destinations))
  )
  const exits = yield* finish(job, copying, (destination, root) => reportOf(job, account, destination, root))
  return { exits, isFound }
})

const quietly: Job.Job["emit"] = () => Effect.void

/** How it went for the only destination there is. */
const single = <A>(exits: ReadonlyArray<Exit.Exit<A, CopyError>>): Effect.Effect<A, CopyError> => {
  const [exit] = exits
  return exit === undefined ? Effect.interrupt : Effect.suspend(() => exit)
}

const annotate = ({ destination, source }: Ends) =>
  Effect.annotateCurrentSpan({ "oci.source": format(source), "oci.destination": format(destination) })

// ---------------------------------------------------------------------------------------------------------------------
// copying
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Copies a manifest and everything that belongs to it.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyManifest = Effect.fn("Copy.copyManifest")(
  function*(options: Ends & Options): Effect.fn.Return<CopyReport, CopyError> {
    yield* annotate(options)
    return yield* single((yield* run(options.source, [options.destination], options, quietly)).exits)
  }
)

/**
 * Copies a manifest and everything that belongs to it, and tells what happens meanwhile: running the stream is the copy,
 * and letting go of it ends it. Its last element carries the report. Who reads slowly does not slow it down.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyEvents = (options: Ends & Options): Stream.Stream<CopyEvent, CopyError> =>
  Stream.unwrap(Effect.gen(function*() {
    const queue = yield* Queue.unbounded<CopyEvent, CopyError | Cause.Done>()
    // what has become old by the time it is read is not worth keeping
    const emit = (event: CopyEvent) =>
      Effect.suspend(() =>
        event._tag === "Progressed" && Queue.sizeUnsafe(queue) > backlog ? Effect.void : Queue.offer(queue, event)
      )
    const copying = run(options.source, [options.destination], options, emit).pipe(
      Effect.flatMap(({ exits }) => single(exits)),
      Effect.flatMap((report) => Queue.offer(queue, { _tag: "Done", report })),
      Effect.withSpan("Copy.copyManifest"),
      Effect.onExit((exit) => Exit.isSuccess(exit) ? Queue.end(queue) : Queue.failCause(queue, exit.cause))
    )
    yield* Effect.forkScoped(copying)
    return Stream.fromQueue(queue)
  }))

// of events that wait to be read, from which on progress is not told any more
const backlog = 256

/**
 * Copies a manifest and everything that belongs to it to several destinations, and reads it once: bytes flow as fast as the
 * slowest destination takes them. One that fails does not hold up the others; how it went for each is told in their order.
 * Fails if there is no such manifest at the source, or if it cannot be read there.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyToMany = Effect.fn("Copy.copyToMany")(
  function*(
    options: { readonly source: End; readonly destinations: ReadonlyArray<End> } & Options
  ): Effect.fn.Return<ReadonlyArray<Exit.Exit<CopyReport, CopyError>>, CopyError> {
    yield* Effect.annotateCurrentSpan({ "oci.source": format(options.source) })
    const { exits, isFound } = yield* run(options.source, options.destinations, options, quietly)
    const errors = exits.flatMap((exit) => Option.toArray(Exit.findErrorOption(exit)))
    const lost = isFound ? undefined : errors.find(({ end }) => end === "source")
    return lost === undefined ? exits : yield* lost
  }
)

/**
 * Tells what {@link copyManifest} would do, by reading alone.
 *
 * @category planning
 * @since 0.1.0
 */
export const planCopy = Effect.fn("Copy.planCopy")(
  function*(options: Ends & Options): Effect.fn.Return<CopyPlan, CopyError> {
    yield* annotate(options)
    const job = yield* makeJob(options.source, [options.destination], options, { requests: 0, warnings: [] }, quietly)
    const [destination] = job.destinations
    if (destination === undefined) return yield* Effect.interrupt
    return yield* single(yield* finish(job, Planner.plan(job, destination), (_, plan) => plan))
  }
)

/**
 * Copies one blob. It verifies itself on the way; what the destination has is not sent again.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyBlob = Effect.fn("Copy.copyBlob")(
  function*(ends: Ends): Effect.fn.Return<CopyReport, CopyError> {
    const { destination, source } = ends
    yield* annotate(ends)
    const unfit = (side: keyof Ends, problem: string) => failure(ends[side], side, new UnfitReference({ problem }))
    if (source.tag !== undefined) return yield* unfit("source", "a blob has no tag")
    if (destination.tag !== undefined) return yield* unfit("destination", "a blob has no tag")
    const { digest } = source
    if (digest === undefined) return yield* unfit("source", "a blob needs a digest")
    if (destination.digest !== undefined && destination.digest !== digest) {
      return yield* failure(
        destination,
        "destination",
        new DigestConflict({ source: digest, destination: destination.digest })
      )
    }
    const account: Account = { requests: 0, warnings: [] }
    const job = yield* makeJob(source, [destination], {}, account, quietly)
    const copying = source.registry.resolveBlob(source.repository, digest).pipe(
      Job.atSource(job),
      Effect.tap((descriptor) => deliver(job, { descriptor, role: "root", path: [] }, job.destinations, false)),
      Effect.map((descriptor): RootLookup.Root => ({ ...RootLookup.nothing, descriptor, named: descriptor })),
      accounting(account, job.emit),
      Effect.provideService(TokenScope.Wanted, scopesOf(source, [destination]))
    )
    return yield* single(yield* finish(job, copying, (destination, root) => reportOf(job, account, destination, root)))
  }
)
