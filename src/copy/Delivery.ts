/**
 * Delivers one blob to every destination that lacks it. Each destination gets it in the way that takes the fewest
 * requests, and the source is read once for all of them.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import * as ChunkMemory from "../ChunkMemory.ts"
import { inlineContent } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Limiter from "../Limiter.ts"
import * as OnePiece from "../OnePiece.ts"
import type { Repository } from "../Reference.ts"
import * as Upload from "../Upload.ts"
import type { CopyError } from "./CopyError.ts"
import type { Outcome } from "./CopyReport.ts"
import { type ContentPath, failureOf, orAbsentOrDenied } from "./Ends.ts"
import * as External from "./External.ts"
import * as FanOut from "./FanOut.ts"
import * as Job from "./Job.ts"
import type { ContentNode } from "./Options.ts"
import * as RegistryState from "./RegistryState.ts"
import * as Trace from "./Trace.ts"
import * as Trial from "./Trial.ts"

/** Writes a blob to one destination, and returns the outcome. */
interface Sink {
  readonly destination: Job.Destination
  readonly write: (source: BlobSource.BlobSource<CopyError>) => Effect.Effect<Outcome, CopyError>
}

/**
 * Delivers a blob to these destinations, except to those that this copy has already begun to deliver it to. `isNew` is
 * true if a destination lacks the manifest above the blob, and so probably the blob as well.
 */
export const deliver = Effect.fnUntraced(
  function*(job: Job.Job, node: ContentNode, destinations: ReadonlyArray<Job.Destination>, isNew: boolean) {
    const { digest } = node.descriptor
    const lacking = destinations.filter(({ scheduled }) => !scheduled.has(digest) && scheduled.add(digest))
    if (lacking.length === 0) return
    yield* job.emit({ _tag: "Planned", descriptor: node.descriptor, role: node.role })
    yield* move(job, node, lacking, isNew).pipe(Trace.blob(node.descriptor))
  }
)

/** Delivers a blob to one repository of each registry, and then to the others, which mount it from there. */
const move = (
  job: Job.Job,
  node: ContentNode,
  destinations: ReadonlyArray<Job.Destination>,
  isNew: boolean
): Effect.Effect<void, CopyError> =>
  Effect.gen(function*() {
    // one destination of each registry
    const leaders = Array.from(
      new Map(destinations.toReversed().map((destination) => [destination.state, destination])).values()
    )
      // in the order of their states, so that no two copies wait for each other
      .sort((a, b) => a.state.id - b.state.id)
    const states = leaders.map(({ state }) => state)
    const limiters = [job.sourceLimiter, ...leaders.map(({ limiter }) => limiter)]
    const handling = Effect.fnUntraced(function*(tried: ReadonlyArray<RegistryState.RegistryState>) {
      const sinks = yield* Effect.forEach(
        leaders,
        (destination) =>
          Job.attempt(destination, locate(job, destination, node, isNew, tried.includes(destination.state))),
        { concurrency: leaders.length }
      )
      const needed = sinks.filter((sink) => sink !== undefined)
      if (needed.length > 0) yield* transfer(job, node, needed)
    })
    yield* Effect.scoped(Effect.gen(function*() {
      const tried = yield* Trial.tryOrWait(job, node, leaders, isNew)
      for (const state of states) yield* RegistryState.claim(state, [node.descriptor.digest])
      // one permit for all requests of the blob, so that a blob that has begun does not wait for others to begin
      yield* Limiter.withPermits(...limiters)(Effect.scoped(handling(tried))).pipe(Trial.announcing(tried))
    })).pipe((yield* isLarge(node)) ? afterLarge([job.sourceState, ...states]) : (effect) => effect)
    const others = destinations.filter((destination) => !leaders.includes(destination))
    if (others.length > 0) yield* move(job, node, others, isNew)
  })

// ---------------------------------------------------------------------------------------------------------------------
// looking up
// ---------------------------------------------------------------------------------------------------------------------

/** Returns a way to write a blob to a destination, or `undefined` if the destination has it or has mounted it. */
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
    if (Job.isSameRepository(job, destination) || (yield* RegistryState.has(state.blobs, repository, digest))) {
      return yield* done("present")
    }
    yield* Job.prepare(job, destination)
    const start = (mount: { readonly digest: Digest.Digest; readonly from?: Repository | undefined }) =>
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
    const isLikelyAbsent = isNew && size <= Upload.smallBlob
    if (isLikelyAbsent && isWithoutAsking) return atOnce(destination, node)
    // if it is not known yet whether the registry accepts self-mounts, the request opens a session in any case
    const isOpen = selfMount === undefined && state.selfMountProbe !== "done" && singlePost === false
    const mount = anonymousMount === true
      ? { digest }
      : selfMount === true || isOpen && isLikelyAbsent
      ? { digest, from: repository }
      : undefined
    if (mount !== undefined) {
      if (isLikelyAbsent && !destination.hasParts) return intoNewSession(destination, node, mount)
      const started = yield* start(mount)
      if (started._tag === "Mounted") return yield* done(outcomeOf(mount))
      return intoSession(destination, node, started)
    }
    const found = yield* orAbsentOrDenied(registry.resolveBlob(repository, digest, { size })).pipe(
      Job.atDestination(destination, node)
    )
    if (found !== undefined) return yield* done("present")
    return size <= Upload.smallBlob && singlePost !== false
      ? atOnce(destination, node)
      : intoNewSession(destination, node)
  }
)

/** A mount that is requested without knowing whether the registry has the blob. */
interface Mount {
  readonly digest: Digest.Digest
  /** Repository of the destination itself, or none for any repository. */
  readonly from?: Repository | undefined
}

/** Returns what a mount has shown: that the repository has the blob, or that another one had it. */
const outcomeOf = ({ from }: Mount): Outcome => from === undefined ? "mounted" : "present"

/** Records that a destination has a blob. */
const arrived = (job: Job.Job, destination: Job.Destination, node: ContentNode, outcome: Outcome) =>
  Effect.andThen(
    RegistryState.learn(destination.state.blobs, destination.repository, node.descriptor.digest),
    Job.record(job, destination, node, outcome)
  )

// ---------------------------------------------------------------------------------------------------------------------
// ways to write
// ---------------------------------------------------------------------------------------------------------------------

/** Writes a blob in one request, if the registry supports that. */
const atOnce = (destination: Job.Destination, node: ContentNode): Sink => ({
  destination,
  write: (source) =>
    destination.registry.pushBlob(destination.repository, node.descriptor, source).pipe(
      Effect.as("copied" as const),
      Job.atDestination(destination, node)
    )
})

const reopen = ({ registry, repository }: Job.Destination, { descriptor: { digest } }: ContentNode) =>
  registry.startUpload(repository, { mount: { digest, from: repository }, algorithm: Digest.algorithm(digest) })

/** Writes a blob into the session that a declined mount has opened. */
const intoSession = (destination: Job.Destination, node: ContentNode, session: Upload.Upload): Sink => ({
  destination,
  write: (source) =>
    Upload.write(session, node.descriptor.digest, source, reopen(destination, node)).pipe(
      Effect.as("copied" as const),
      Job.atDestination(destination, node)
    )
})

/**
 * Writes a blob into a session that is opened at the same time as the source. The request also asks for a mount: the
 * given one, or one without a source repository, unless it is known whether the registry supports that, because it
 * costs nothing to learn. If the registry turns out to have the blob, the source was opened in vain.
 */
const intoNewSession = (destination: Job.Destination, node: ContentNode, given?: Mount): Sink => ({
  destination,
  write: (source) =>
    Effect.gen(function*() {
      const { registry, repository } = destination
      const { digest } = node.descriptor
      const { anonymousMount } = yield* registry.capabilities
      const mount = given ?? (anonymousMount === undefined ? { digest } : undefined)
      const start = registry.startUpload(repository, { mount, algorithm: Digest.algorithm(digest) })
      // the source is fetched in a fiber of its own meanwhile
      const primed = yield* BlobSource.primed(source)
      const started = yield* start
      if (started._tag === "Mounted") {
        destination.hasParts = true
        return outcomeOf(mount ?? { digest })
      }
      yield* Upload.write(started, digest, primed, reopen(destination, node))
      return "copied"
    }).pipe(Effect.scoped, Job.atDestination(destination, node))
})

// ---------------------------------------------------------------------------------------------------------------------
// transferring
// ---------------------------------------------------------------------------------------------------------------------

/** Reads a blob once, and writes it to all sinks. */
const transfer = Effect.fnUntraced(function*(job: Job.Job, node: ContentNode, sinks: ReadonlyArray<Sink>) {
  yield* job.emit({ _tag: "Started", descriptor: node.descriptor })
  const source = yield* sourceOf(job, node)
  const [only, ...others] = sinks
  const shares = only !== undefined && others.length === 0
    ? [{ source: isPassingOn(job, only) ? reusing(source) : source, leave: Effect.void }]
    : yield* FanOut.split(source, yield* sourceOf(job, node), sinks.length)
  yield* Effect.forEach(sinks, ({ destination, write }, index) => {
    const share = shares[index]
    if (share === undefined) return Effect.void
    const { leave, source } = share
    return Job.attempt(
      destination,
      write(withProgress(job, node, source)).pipe(
        Effect.tap(Trial.tryMount(job, destination, node)),
        Effect.flatMap((outcome) => arrived(job, destination, node, outcome))
      )
    ).pipe(Effect.ensuring(leave))
  }, { concurrency: sinks.length, discard: true })
})

/** Returns true if nothing keeps a chunk between the source and this destination. */
const isPassingOn = ({ source }: Job.Job, { destination }: Sink): boolean =>
  ChunkMemory.isPassing(source.registry) && ChunkMemory.isPassing(destination.registry)

/** Gives the chunks of a source back after they have been written. */
const reusing = <E>(source: BlobSource.BlobSource<E>): BlobSource.BlobSource<E> => ({
  ...source,
  // one piece is small, and has memory of its own
  open: (offset) => OnePiece.transform(source.open(offset), identity, ChunkMemory.reusing)
})

const isLarge = ({ descriptor }: ContentNode) =>
  Effect.map(Upload.ResumptionThreshold, (threshold) => descriptor.size >= threshold)

/** Limits the number of large blobs in transfer, at each of these registries. */
const afterLarge =
  (states: ReadonlyArray<RegistryState.RegistryState>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Array.from(new Set(states))
      .sort((a, b) => b.id - a.id)
      .map(({ largeTransfers }) => largeTransfers)
      .reduce((inner, semaphore: Semaphore.Semaphore) => semaphore.withPermit(inner), effect)

/** Returns the content of a blob: from its descriptor, from the source, or from its `urls`. */
export const sourceOf = Effect.fnUntraced(function*(job: Job.Job, node: ContentPath): Effect.fn.Return<
  BlobSource.BlobSource<CopyError>,
  CopyError,
  Scope.Scope
> {
  const content = yield* inlineContent(node.descriptor)
  if (content !== undefined) return BlobSource.fromBytes(content)
  const source = yield* External.blobSource(job, node).pipe(Job.atSource(job, node))
  const failure = failureOf(job.source, "source", node)
  return BlobSource.make(source.size, (offset) => OnePiece.mapError(source.open(offset), failure))
})

// interval between two `Progressed` events of a blob
const progressInterval = Duration.millis(100)

/** Emits a `Progressed` event from time to time while a source is read, unless it comes in one piece. */
const withProgress = <E>(
  job: Job.Job,
  { descriptor }: ContentNode,
  source: BlobSource.BlobSource<E>
): BlobSource.BlobSource<E> => ({
  ...source,
  open: (offset) =>
    OnePiece.transform(source.open(offset), identity, (stream) =>
      Stream.unwrap(Effect.gen(function*() {
        let bytes = offset
        let reported = offset
        const report = Effect.suspend(() => {
          if (bytes === reported) return Effect.void
          reported = bytes
          return job.emit({ _tag: "Progressed", descriptor, bytes })
        })
        yield* Effect.forkScoped(Effect.repeat(report, Schedule.spaced(progressInterval)))
        return Stream.mapArray(stream, (chunks) => {
          for (const { length } of chunks) bytes += length
          return chunks
        })
      })))
})
