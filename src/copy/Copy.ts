/**
 * Copies manifests, with their blobs, children and referrers, and single blobs, from one registry to others.
 *
 * Bytes and digests stay as they are. A manifest is pushed after everything that it refers to. Referrers are pushed
 * before their subject, or after it if a registry requires that. The tag comes last. So a copy that fails or is
 * interrupted leaves no tag, and no manifest without its parts. Content that the destination has is not sent again, and
 * later copies use what earlier ones have learnt about a registry.
 *
 * Content is discovered while the copy is running. The registries limit the number of concurrent requests (see
 * `Limiter`); {@link MaxInFlight} applies to those without a limit.
 *
 * These functions take ends whose registry is known. `Namespace` has the same functions for references.
 *
 * @since 0.1.0
 */
// Map of the modules, in the order in which a copy uses them:
//
//   1. Job holds the state of one copy, and RegistryState what all copies share about a registry.
//   2. RootLookup finds the root by tag or digest, with Platforms and PlatformSearch for a selection of platforms.
//   3. Walk discovers everything below the root. For each manifest (ManifestNode) it looks up which destinations lack
//      it, reads it (HeldManifests), takes its parts from References and Children, and its referrers from Referrers.
//      Each part becomes a task of TaskPool, which passes it to a visitor. The visitor of a copy, in `copyContent`
//      below, delivers and pushes. That of Planner only notes what a copy would do. So both use the same walk.
//   4. Delivery moves a blob to the destinations that lack it: by a mount, in one request, or in an upload session. It
//      reads the bytes from External, and through FanOut for several destinations. Then it calls `Job.record`.
//   5. Push waits before it pushes a manifest. No fiber blocks: DigestLatches store the push until it may run. It needs
//      - `recorded` of every blob and child. `Job.record` opens it: Delivery calls that for a blob, and Push for a
//        manifest that it has pushed;
//      - `released` of every referrer for which WaitGraph lets it wait. Push opens it after it has pushed a referrer.
//        Walk opens it early for a referrer that contains its subject, and Push for one that the registry refuses
//        without its subject. Such a referrer waits for `recorded` of its subject, and `tagIsLast` postpones all tags.
//      ManifestPush makes concurrent copies take turns. Restore sends parts that a destination reported but lacks.
//   6. When the walk has ended, `pushTags` pushes the postponed tags, those of the root last.
//   7. Verify looks everything up at the destination, as far as the option `verify` says.
//
// A failure of a destination ends the work for that destination (`Job.attempt`). A failure of the source ends the copy.
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { Observer, type RegistryEvent } from "../Registry.ts"
import * as TokenScope from "../TokenScope.ts"
import { type CopyError, PlanOutdated, type Reason } from "./CopyError.ts"
import type { CopyEvent } from "./CopyEvent.ts"
import type { CopyPlan } from "./CopyPlan.ts"
import { CopyReport } from "./CopyReport.ts"
import { deliver } from "./Delivery.ts"
import * as EndChecks from "./EndChecks.ts"
import { type End, type Ends, failure, format } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { ContentNode, Options } from "./Options.ts"
import * as Planner from "./Planner.ts"
import { push, pushTags } from "./Push.ts"
import * as RegistryState from "./RegistryState.ts"
import * as RootLookup from "./RootLookup.ts"
import * as Trace from "./Trace.ts"
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
  type ReferrerFilter,
  /** @since 0.1.0 */
  type TagPush
} from "./Options.ts"

// ---------------------------------------------------------------------------------------------------------------------
// running
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the token scope that a copy needs at a host in total, so that it requests only one token. */
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

/** Requests and warnings of a copy. */
interface Account {
  requests: number
  readonly warnings: Array<string>
}

// maximum number of warnings in a report, because a registry may send one with every response
const warningLimit = 100

/** Keeps a warning. Returns false if it was reported before, or if the limit is reached. */
const isNewWarning = ({ warnings }: Account, text: string): boolean =>
  warnings.length < warningLimit && !warnings.includes(text) && warnings.push(text) > 0

/** Counts the requests of an effect, emits its other events, and passes all of them to the `Observer`. */
const accounting = (account: Account, emit: Job.Job["emit"]) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Observer, (observe) => {
    const record = (event: RegistryEvent): Effect.Effect<void> => {
      switch (event._tag) {
        case "Requested":
          account.requests++
          return Effect.void
        case "Warning":
          return emit({ _tag: "Warned", registry: event.registry, text: event.text })
        case "ServedStale":
          return Effect.void
        case "Retried":
        case "Paused":
          return emit(event)
      }
    }
    return Effect.provideService(effect, Observer, (event) => Effect.andThen(record(event), observe(event)))
  })

/** Creates the report for one destination. */
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
  // not by the constructor, which would validate all entries without a pause: half a second for 100 000 of them
  const report: CopyReport = Object.create(CopyReport.prototype)
  return Object.assign(report, fields)
}

/** Runs a job until it has ended, or has failed for every destination. Returns the exit for each destination. */
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
      return isNewWarning(account, event.text) ? emit(event) : Effect.void
    },
    unknownReferrers: [],
    pending: 0
  }
  return job
})

/** Returns a test for content that is in the plan, if there is one. Fails if the plan is for another root. */
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

/** Copies the root of a job and everything below it. */
const copyContent = Effect.fnUntraced(function*(whole: Job.Job, root: RootLookup.Root) {
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
      // blobs that are not delivered are external layers, which no plan contains
      node.role === "blob" || isPlanned(node)
        ? job.emit({ _tag: "Planned", descriptor: node.descriptor, role: node.role })
        : Effect.void,
    blob: (node, destinations, isNew) => deliver(job, node, isPlanned(node) ? destinations : [], isNew),
    manifest: (node, destination) =>
      // a manifest that is not in the plan is not pushed, so its subjects must not wait for it
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

/** Runs a copy. Returns its exits, and whether the root was found. */
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
    Effect.flatMap((root) => copyContent(job, root)),
    accounting(account, job.emit),
    Effect.provideService(TokenScope.Wanted, scopesOf(source, destinations))
  )
  const exits = yield* finish(job, copying, (destination, root) => reportOf(job, account, destination, root))
  return { exits, isFound }
})

const quietly: Job.Job["emit"] = () => Effect.void

/** Returns the exit of the only destination. */
const single = <A>(exits: ReadonlyArray<Exit.Exit<A, CopyError>>): Effect.Effect<A, CopyError> => {
  const [exit] = exits
  return exit === undefined ? Effect.interrupt : Effect.suspend(() => exit)
}

// ---------------------------------------------------------------------------------------------------------------------
// copying
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Copies a manifest with everything that it contains, and with its referrers.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyManifest = Effect.fn("Copy.copyManifest")(
  function*(options: Ends & Options): Effect.fn.Return<CopyReport, CopyError> {
    yield* Trace.annotate(options.source, options.destination)
    return yield* single((yield* run(options.source, [options.destination], options, quietly)).exits)
  }
)

/**
 * Copies like {@link copyManifest}, and emits the events of the copy. Running the stream runs the copy; interrupting it
 * stops the copy. Its last element contains the report. A slow reader does not slow the copy down.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyEvents = (options: Ends & Options): Stream.Stream<CopyEvent, CopyError> =>
  Stream.unwrap(Effect.gen(function*() {
    const queue = yield* Queue.unbounded<CopyEvent, CopyError | Cause.Done>()
    // progress is dropped while the reader is slow, because it would be outdated when it is read
    const emit = (event: CopyEvent) =>
      Effect.suspend(() =>
        event._tag === "Progressed" && Queue.sizeUnsafe(queue) > backlog ? Effect.void : Queue.offer(queue, event)
      )
    const copying = Trace.annotate(options.source, options.destination).pipe(
      Effect.andThen(run(options.source, [options.destination], options, emit)),
      Effect.flatMap(({ exits }) => single(exits)),
      Effect.flatMap((report) => Queue.offer(queue, { _tag: "Done", report })),
      Effect.withSpan("Copy.copyManifest"),
      Effect.onExit((exit) => Exit.isSuccess(exit) ? Queue.end(queue) : Queue.failCause(queue, exit.cause))
    )
    yield* Effect.forkScoped(copying)
    return Stream.fromQueue(queue)
  }))

// number of unread events from which on `Progressed` events are dropped
const backlog = 256

/**
 * Copies like {@link copyManifest} to several destinations, and reads the source once, at the speed of the slowest
 * destination. A destination that fails does not stop the others. Returns one exit per destination, in their order.
 * Fails if the source does not have the manifest, or if it cannot be read there.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyToMany = Effect.fn("Copy.copyToMany")(
  function*(
    options: { readonly source: End; readonly destinations: ReadonlyArray<End> } & Options
  ): Effect.fn.Return<ReadonlyArray<Exit.Exit<CopyReport, CopyError>>, CopyError> {
    yield* Trace.annotate(options.source)
    const { exits, isFound } = yield* run(options.source, options.destinations, options, quietly)
    const errors = exits.flatMap((exit) => Option.toArray(Exit.findErrorOption(exit)))
    const notFound = isFound ? undefined : errors.find(({ end }) => end === "source")
    return notFound === undefined ? exits : yield* notFound
  }
)

/**
 * Plans what {@link copyManifest} would do, with requests that only read.
 *
 * @category planning
 * @since 0.1.0
 */
export const planCopy = Effect.fn("Copy.planCopy")(
  function*(options: Ends & Options): Effect.fn.Return<CopyPlan, CopyError> {
    yield* Trace.annotate(options.source, options.destination)
    const job = yield* makeJob(options.source, [options.destination], options, { requests: 0, warnings: [] }, quietly)
    const [destination] = job.destinations
    if (destination === undefined) return yield* Effect.interrupt
    return yield* single(yield* finish(job, Planner.plan(job, destination), (_, plan) => plan))
  }
)

/**
 * Copies one blob, unless the destination has it. The blob is verified while it is read. The source needs a digest, and
 * neither end may have a tag.
 *
 * @category copying
 * @since 0.1.0
 */
export const copyBlob = Effect.fn("Copy.copyBlob")(
  function*(ends: Ends): Effect.fn.Return<CopyReport, CopyError> {
    const { destination, source } = ends
    yield* Trace.annotate(source, destination)
    const check = <A>(side: keyof Ends, result: Result.Result<A, Reason>) =>
      Effect.mapError(Effect.fromResult(result), (reason) => failure(ends[side], side, reason))
    const digest = yield* check("source", EndChecks.blobDigest(source))
    yield* check("destination", EndChecks.blobDigest({ ...destination, digest }))
    yield* check("destination", EndChecks.hasDigest(destination, digest))
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
