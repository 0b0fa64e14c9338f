/**
 * Moving one blob to every destination that lacks it, each by the cheapest way there is, and reading it once for all.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import { inlineContent } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Limiter from "../Limiter.ts"
import type { Repository } from "../Reference.ts"
import type { RegistryError } from "../RegistryError.ts"
import * as Upload from "../Upload.ts"
import { type CopyError, isCopyError } from "./CopyError.ts"
import type { Outcome } from "./CopyReport.ts"
import { type ContentPath, failureOf, orAbsentOrDenied } from "./Ends.ts"
import * as External from "./External.ts"
import * as FanOut from "./FanOut.ts"
import * as Job from "./Job.ts"
import type { ContentNode } from "./Options.ts"
import * as RegistryState from "./RegistryState.ts"

/** What takes a blob at one destination, and tells how it got there. */
interface Sink {
  readonly destination: Job.Destination
  readonly write: (source: BlobSource.BlobSource<CopyError>) => Effect.Effect<Outcome, CopyError>
}

/**
 * Sees to it that these destinations have a blob. `isNew` says that what refers to it is not there, so that it is likely
 * not there either.
 */
export const deliver = Effect.fnUntraced(
  function*(job: Job.Job, node: ContentNode, destinations: ReadonlyArray<Job.Destination>, isNew: boolean) {
    const { digest } = node.descriptor
    const lacking = destinations.filter(({ scheduled }) => !scheduled.has(digest) && scheduled.add(digest))
    if (lacking.length === 0) return
    yield* job.emit({ _tag: "Planned", descriptor: node.descriptor, role: node.role })
    yield* move(job, node, lacking, isNew)
  }
)

const move = (
  job: Job.Job,
  node: ContentNode,
  destinations: ReadonlyArray<Job.Destination>,
  isNew: boolean
): Effect.Effect<void, CopyError> =>
  Effect.gen(function*() {
    // of several repositories of one registry, one gets it, and the others mount it from there
    const leaders = Array.from(
      new Map(destinations.toReversed().map((destination) => [destination.state, destination])).values()
    )
      // in one order, so that no two copies wait for each other
      .sort((a, b) => a.state.id - b.state.id)
    const states = leaders.map(({ state }) => state)
    const limiters = [job.sourceLimiter, ...leaders.map(({ limiter }) => limiter)]
    const handling = Effect.fnUntraced(function*(tried: ReadonlyArray<RegistryState.RegistryState>) {
      const sinks = yield* Effect.forEach(
        leaders,
        (destination) =>
          Job.attempt(destination, locate(job, destination, node, isNew, tried.includes(destination.state))),
        { concurrency: "unbounded" }
      )
      const needed = sinks.filter((sink) => sink !== undefined)
      if (needed.length > 0) yield* transfer(job, node, needed)
    })
    yield* Effect.scoped(Effect.gen(function*() {
      const tried = yield* tryOrWait(job, node, leaders)
      for (const state of states) yield* RegistryState.claim(state, [node.descriptor.digest])
      // all that is sent for it at once, so that what has begun is not held up by what begins
      yield* Limiter.withPermits(...limiters)(Effect.scoped(handling(tried)))
    })).pipe((yield* isLarge(node)) ? afterLarge([job.sourceState, ...states]) : (effect) => effect)
    const others = destinations.filter((destination) => !leaders.includes(destination))
    if (others.length > 0) yield* move(job, node, others, isNew)
  })

// ---------------------------------------------------------------------------------------------------------------------
// finding out
// ---------------------------------------------------------------------------------------------------------------------

/** Where the blob is not there, what takes it. */
const locate = Effect.fnUntraced(
  function*(
    job: Job.Job,
    destination: Job.Destination,
    node: ContentNode,
    isNew: boolean,
    isTrial: boolean
  ): Effect.fn.Return<Sink | undefined, CopyError, Scope.Scope> {
    const { state, registry, repository } = destination
    const { digest, size } = node.descriptor
    const done = (outcome: Outcome) => Effect.as(arrived(job, destination, node, outcome), undefined)
    const isSameRegistry = job.source.registry === registry
    if (Job.isSamePlace(job, destination) || (yield* RegistryState.has(state.blobs, repository, digest))) {
      return yield* done("present")
    }
    yield* Job.prepare(job, destination)
    const start = (mount: { readonly digest: Digest.Digest; readonly from?: Repository }) =>
      registry.startUpload(repository, { mount, algorithm: Digest.algorithm(digest) }).pipe(
        Job.atDestination(destination, node)
      )
    const from = RegistryState.origin(state, digest, repository, isSameRegistry ? job.source.repository : undefined)
    if (from !== undefined) {
      const started = yield* start({ digest, from })
      if (started._tag === "Mounted") return yield* done("mounted")
      RegistryState.declined(state, from, repository)
      return intoSession(destination, node, started)
    }
    const { anonymousMount, selfMount, singlePost } = yield* registry.capabilities
    const isWithoutAsking = isTrial ? singlePost !== false : singlePost === true
    if (size <= Upload.smallBlob && isWithoutAsking && isNew) return atOnce(destination, node)
    if (anonymousMount === true || selfMount === true) {
      const started = yield* start(anonymousMount === true ? { digest } : { digest, from: repository })
      if (started._tag === "Mounted") return yield* done(anonymousMount === true ? "mounted" : "present")
      return intoSession(destination, node, started)
    }
    const there = yield* orAbsentOrDenied(registry.resolveBlob(repository, digest, { size })).pipe(
      Job.atDestination(destination, node)
    )
    if (there !== undefined) return yield* done("present")
    return size <= Upload.smallBlob && singlePost !== false
      ? atOnce(destination, node)
      : intoNewSession(destination, node)
  }
)

const arrived = (job: Job.Job, destination: Job.Destination, node: ContentNode, outcome: Outcome) =>
  Effect.andThen(
    RegistryState.learn(destination.state.blobs, destination.repository, node.descriptor.digest),
    Job.record(job, destination, node, outcome)
  )

// ---------------------------------------------------------------------------------------------------------------------
// ways to write
// ---------------------------------------------------------------------------------------------------------------------

const atTarget = ({ end }: Job.Destination, node: ContentNode) =>
  Effect.mapError((error: CopyError | RegistryError) =>
    isCopyError(error) ? error : failureOf(end, "destination", node)(error)
  )

/** In one request, where the registry takes it so. */
const atOnce = (destination: Job.Destination, node: ContentNode): Sink => ({
  destination,
  write: (source) =>
    destination.registry.pushBlob(destination.repository, node.descriptor, source).pipe(
      Effect.as("copied" as const),
      atTarget(destination, node)
    )
})

const reopen = ({ registry, repository }: Job.Destination, { descriptor: { digest } }: ContentNode) =>
  registry.startUpload(repository, { mount: { digest, from: repository }, algorithm: Digest.algorithm(digest) })

/** Into a session that a mount which was declined has opened. */
const intoSession = (destination: Job.Destination, node: ContentNode, session: Upload.Upload): Sink => ({
  destination,
  write: (source) =>
    Upload.write(session, node.descriptor.digest, source, reopen(destination, node)).pipe(
      Effect.as("copied" as const),
      atTarget(destination, node)
    )
})

/**
 * Into a session that opens while the source does. It might be mounted as well: whether the registry mounts without being
 * told from where is found out by the way.
 */
const intoNewSession = (destination: Job.Destination, node: ContentNode): Sink => ({
  destination,
  write: (source) =>
    Effect.gen(function*() {
      const { registry, repository } = destination
      const { digest } = node.descriptor
      const { anonymousMount } = yield* registry.capabilities
      const start = registry.startUpload(repository, {
        ...anonymousMount === undefined ? { mount: { digest } } : {},
        algorithm: Digest.algorithm(digest)
      })
      const [primed, started] = yield* Effect.all([BlobSource.primed(source), start], { concurrency: 2 })
      if (started._tag === "Mounted") return "mounted"
      yield* Upload.write(started, digest, primed, reopen(destination, node))
      return "copied"
    }).pipe(Effect.scoped, atTarget(destination, node))
})

// ---------------------------------------------------------------------------------------------------------------------
// transferring
// ---------------------------------------------------------------------------------------------------------------------

const transfer = Effect.fnUntraced(function*(job: Job.Job, node: ContentNode, sinks: ReadonlyArray<Sink>) {
  yield* job.emit({ _tag: "Started", descriptor: node.descriptor })
  const source = yield* sourceOf(job, node)
  const shares = sinks.length === 1
    ? [{ source, leave: Effect.void }]
    : yield* FanOut.split(source, yield* sourceOf(job, node), sinks.length)
  yield* Effect.forEach(sinks, ({ destination, write }, index) => {
    const share = shares[index]
    if (share === undefined) return Effect.void
    const { leave, source } = share
    return Job.attempt(
      destination,
      write(watched(job, node, source)).pipe(
        Effect.tap(tryMount(job, destination, node)),
        Effect.flatMap((outcome) => arrived(job, destination, node, outcome))
      )
    ).pipe(Effect.ensuring(leave))
  }, { concurrency: "unbounded", discard: true })
})

const isLarge = ({ descriptor }: ContentNode) =>
  Effect.map(Upload.ResumptionThreshold, (threshold) => descriptor.size >= threshold)

/** What is large waits for what is large, in one order. */
const afterLarge =
  (states: ReadonlyArray<RegistryState.RegistryState>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Array.from(new Set(states))
      .sort((a, b) => b.id - a.id)
      .map(({ largeTransfers }) => largeTransfers)
      .reduce((inner, semaphore: Semaphore.Semaphore) => semaphore.withPermit(inner), effect)

/** The blob at the source, whose failures are the source's. */
export const sourceOf = Effect.fnUntraced(function*(job: Job.Job, node: ContentPath): Effect.fn.Return<
  BlobSource.BlobSource<CopyError>,
  CopyError,
  Scope.Scope
> {
  const content = yield* inlineContent(node.descriptor)
  if (content !== undefined) return BlobSource.fromBytes(content)
  const source = yield* External.blobSource(job, node).pipe(Job.atSource(job, node))
  const failure = failureOf(job.source, "source", node)
  return BlobSource.make(source.size, (offset) => Stream.mapError(source.open(offset), failure))
})

// nobody sees more
const progressInterval = Duration.millis(100)

/** Tells how much of a source was read. */
const watched = <E>(
  job: Job.Job,
  { descriptor }: ContentNode,
  source: BlobSource.BlobSource<E>
): BlobSource.BlobSource<E> => ({
  ...source,
  open: (offset) =>
    Stream.unwrap(Effect.gen(function*() {
      let bytes = offset
      let told = offset
      const tell = Effect.suspend(() => {
        if (bytes === told) return Effect.void
        told = bytes
        return job.emit({ _tag: "Progressed", descriptor, bytes })
      })
      yield* Effect.forkScoped(Effect.repeat(tell, Schedule.spaced(progressInterval)))
      return Stream.mapArray(source.open(offset), (chunks) => {
        for (const { length } of chunks) bytes += length
        return chunks
      })
    }))
})

// so many more blobs make it worth a request to find out
const selfMountThreshold = 4

// how long other blobs wait for the first one to show how a registry answers
const trialTimeout = Duration.seconds(2)

/**
 * Lets one small blob be the first that a registry is sent, to find out what {@link tryMount} does, so that the others
 * need not be looked for one by one. Waits while another blob does that. Returns the registries at which this blob
 * does.
 */
const tryOrWait = Effect.fnUntraced(
  function*(job: Job.Job, node: ContentNode, destinations: ReadonlyArray<Job.Destination>) {
    const tried: Array<RegistryState.RegistryState> = []
    const trials: Array<Deferred.Deferred<void>> = []
    for (const destination of destinations) {
      const { state } = destination
      if (!(yield* isWorthTrying(job, destination, node))) continue
      if (state.trial !== undefined) trials.push(state.trial)
      else if (node.descriptor.size <= Upload.smallBlob) {
        const trial = Deferred.makeUnsafe<void>()
        state.trial = trial
        tried.push(state)
        yield* Effect.addFinalizer(() => {
          state.trial = undefined
          return Deferred.succeed(trial, undefined)
        })
      }
    }
    // one that others wait for waits for none
    if (tried.length === 0) {
      yield* Effect.forEach(trials, (trial) => Effect.timeoutOption(Deferred.await(trial), trialTimeout))
    }
    return tried
  }
)

/** Would it save requests to know how a registry answers to a mount? */
const isWorthTrying = Effect.fnUntraced(
  function*(job: Job.Job, destination: Job.Destination, { descriptor: { digest } }: ContentNode) {
    const { pending, source } = job
    const { state, registry, repository } = destination
    const { anonymousMount, selfMount } = yield* registry.capabilities
    if (anonymousMount === true || selfMount !== undefined || state.hasTriedSelfMount || pending < selfMountThreshold) {
      return false
    }
    if (Job.isSamePlace(job, destination) || (yield* RegistryState.has(state.blobs, repository, digest))) return false
    return RegistryState.origin(
      state,
      digest,
      repository,
      source.registry === registry ? source.repository : undefined
    ) ===
      undefined
  }
)

/**
 * Finds out, once, whether a registry answers to a mount from the very repository that has the blob: from then on, one
 * request tells for each blob whether it is there, and opens a session if not. It has to be done before anything refers to
 * the blob: distribution writes anew where it is, and while it does so refuses what is made of it.
 */
const tryMount = Effect.fnUntraced(
  function*({ pending }: Job.Job, { state, registry, repository }: Job.Destination, node: ContentNode) {
    const { selfMount } = yield* registry.capabilities
    if (selfMount !== undefined || state.hasTriedSelfMount || pending < selfMountThreshold) return
    state.hasTriedSelfMount = true
    yield* Effect.ignore(Effect.scoped(registry.startUpload(repository, {
      mount: { digest: node.descriptor.digest, from: repository }
    })))
  }
)
