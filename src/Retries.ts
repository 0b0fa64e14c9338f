/**
 * Retries of temporary failures, and resumption of transfers that break off.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { tell } from "./Metrics.ts"
import * as OnePiece from "./OnePiece.ts"
import * as Reasons from "./RegistryError.ts"
import { isRegistryError, RegistryError } from "./RegistryError.ts"

/**
 * Schedule of the retries of a failed request. Transport failures, timeouts, and the statuses 408, 429, 499 and 5xx
 * except 501 are retried. A request whose body can be read only once is not.
 *
 * @default four retries, after 200 ms and then twice as long each time, at most 10 seconds, with jitter
 * @category references
 * @since 0.1.0
 */
export const RetrySchedule: Context.Reference<Schedule.Schedule<unknown, RegistryError>> = Context.Reference<
  Schedule.Schedule<unknown, RegistryError>
>("effect-oci/HttpRegistry/RetrySchedule", {
  defaultValue: () =>
    Schedule.min([Schedule.exponential("200 millis"), Schedule.spaced("10 seconds")]).pipe(
      Schedule.jittered,
      Schedule.upTo({ times: 4 })
    )
})

/**
 * Maximum time of an operation without any progress, over all its attempts, the pauses between them and the pauses that
 * the registry asks for. Every byte of a body that is received or sent is progress, so that a transfer that moves is
 * never aborted. Waiting for a permit does not count, and neither does a single wait whose own limit is longer.
 *
 * @default 5 minutes
 * @category references
 * @since 0.1.0
 */
export const ProgressTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/HttpRegistry/ProgressTimeout",
  { defaultValue: () => Duration.minutes(5) }
)

/** Progress of an operation, over all its attempts. */
export interface Progress {
  /** Time of the last progress, or of the start, in milliseconds since the epoch. */
  since: number
  /** Maximum time without any progress, in milliseconds. */
  readonly limit: number
}

/** The progress of the current operation. */
export const Progress: Context.Reference<Progress | undefined> = Context.Reference<Progress | undefined>(
  "effect-oci/Retries/Progress",
  { defaultValue: () => undefined }
)

const nowOf = (fiber: Fiber.Fiber<unknown, unknown>): number => fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()

/** Starts to watch the progress of an operation. */
const startProgress = (fiber: Fiber.Fiber<unknown, unknown>): Progress => ({
  since: nowOf(fiber),
  limit: Duration.toMillis(fiber.getRef(ProgressTimeout))
})

/** Returns the milliseconds for which an operation may still go on without any progress. */
export const leftOf = (progress: Progress, now: number): number => progress.since + progress.limit - now

// a longer `Retry-After` fails at once instead of blocking the caller
const longestPause = Duration.minutes(5)

/** Returns true if the failure is temporary, and the registry asks for no pause of more than 5 minutes. */
export const worthRetrying = (error: RegistryError): boolean =>
  error.isRetryable && !(error.retryAfter !== undefined && Duration.isGreaterThan(error.retryAfter, longestPause))

/**
 * Retries while `isWorthIt` holds and the operation has time for the next pause, and reports each retry to the
 * `Observer`.
 */
const schedule = (
  isWorthIt: (error: RegistryError) => boolean,
  progress: Progress
): Effect.Effect<Schedule.Schedule<unknown, RegistryError>> =>
  Effect.map(RetrySchedule, (schedule) =>
    schedule.pipe(
      Schedule.while(({ duration, input, now }) => {
        const pause = Duration.toMillis(Duration.max(duration, input.retryAfter ?? Duration.zero))
        return isWorthIt(input) && pause < leftOf(progress, now)
      }),
      Schedule.tap(({ duration, input }) =>
        tell({ _tag: "Retried", registry: input.registry, error: input, delay: duration })
      )
    ))

/** Counts failed attempts, and adds to their errors how many there were, and how long they took, if more than one. */
const countAttempts = (start: number) => {
  let attempts = 0
  let begun = start
  return {
    fail: (error: RegistryError): Effect.Effect<never, RegistryError> =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        attempts++
        return Effect.fail(
          attempts === 1 ? error : withEffort(error, { attempts, elapsed: Duration.millis(now - begun) })
        )
      }),
    /** Starts to count again, after there was progress. */
    reset: (now: number): void => {
      attempts = 0
      begun = now
    }
  }
}

/**
 * Starts to watch the progress of a transfer that is resumed where it breaks. The time that the reader takes between
 * two chunks is not the registry's; neither is that before the first, if the stream is already open.
 */
const watchTransfer = Effect.withFiber((fiber) => {
  const progress = startProgress(fiber)
  const clock = fiber.getRef(Clock.Clock)
  const attempts = countAttempts(progress.since)
  const watch = <R>(
    stream: Stream.Stream<Uint8Array, RegistryError, R>,
    isOpen: boolean,
    onChunks: (chunks: ReadonlyArray<Uint8Array>) => void
  ): Stream.Stream<Uint8Array, RegistryError, R> => {
    let isDelivered = isOpen
    return Stream.transformPull(stream, (pull) =>
      Effect.succeed(Effect.suspend(() => {
        if (isDelivered) {
          progress.since = clock.currentTimeMillisUnsafe()
          attempts.reset(progress.since)
        }
        isDelivered = false
        return Effect.map(pull, (chunks) => {
          onChunks(chunks)
          isDelivered = true
          return chunks
        })
      }))).pipe(Stream.catch((error) => Stream.fromEffect(attempts.fail(error))))
  }
  return Effect.succeed({ progress, watch })
})

const withEffort = (
  error: RegistryError,
  effort: { readonly attempts: number; readonly elapsed: Duration.Duration }
): RegistryError => {
  const { reason } = error
  switch (reason._tag) {
    case "Timeout":
      return new RegistryError({ ...error, reason: new Reasons.Timeout({ ...reason, ...effort }) })
    case "TokenUnavailable":
      return new RegistryError({ ...error, reason: new Reasons.TokenUnavailable({ ...reason, ...effort }) })
    case "TooManyRequests":
      return new RegistryError({ ...error, reason: new Reasons.TooManyRequests({ ...reason, ...effort }) })
    case "Transport":
      return new RegistryError({ ...error, reason: new Reasons.Transport({ ...reason, ...effort }) })
    case "UnexpectedResponse":
      return new RegistryError({ ...error, reason: new Reasons.UnexpectedResponse({ ...reason, ...effort }) })
    default:
      return error
  }
}

/** Runs an effect that sends requests, without retries of its own: the caller retries it. */
export const once: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.provideService(
  RetrySchedule,
  Schedule.recurs(0)
)

/**
 * Turns the first failure of an operation into the first attempt of a schedule. The first run needs no schedule,
 * because most operations succeed at once; the attempt returns its failure when it runs for the first time, and repeats
 * the operation after that.
 */
const afterFirst = <Attempt>(first: RegistryError, fail: (error: RegistryError) => Attempt, again: () => Attempt) => {
  let failed: RegistryError | undefined = first
  return (): Attempt => {
    if (failed === undefined) return again()
    const error = failed
    failed = undefined
    return fail(error)
  }
}

/**
 * Streams `first`, and resumes it where it breaks by `open`, which receives the number of bytes that were read. It
 * retries as the schedule says; its attempts are counted again after each progress. A stream of one piece remains one,
 * so that it is collected, until it ends or exceeds `size` bytes.
 */
export const resuming = (
  first: Stream.Stream<Uint8Array, RegistryError>,
  open: (read: number) => Stream.Stream<Uint8Array, RegistryError>,
  size: number
): Stream.Stream<Uint8Array, RegistryError> => {
  const piece = OnePiece.of(first)
  return piece === undefined
    ? resumingWhere(watchTransfer, first, open)
    : OnePiece.make(Effect.flatMap(watchTransfer, (transfer) =>
      // a piece that fails has given no bytes
      Effect.catch(piece, (error) =>
        OnePiece.collect(resumingWhere(Effect.succeed(transfer), Stream.fail(error), open), size))))
}

const resumingWhere = (
  transfer: typeof watchTransfer,
  first: Stream.Stream<Uint8Array, RegistryError>,
  open: (read: number) => Stream.Stream<Uint8Array, RegistryError>
): Stream.Stream<Uint8Array, RegistryError> =>
  Stream.unwrap(Effect.map(transfer, ({ progress, watch }) => {
    let read = 0
    const counted = (stream: Stream.Stream<Uint8Array, RegistryError>, isFirst: boolean) =>
      watch(stream, isFirst, (chunks) => {
        for (const { length } of chunks) read += length
      })
    const resumed = () => counted(Stream.provideService(open(read), Progress, progress), false)
    return Stream.catch(counted(first, true), (error) => {
      const attempt = afterFirst(error, Stream.fail, resumed)
      return Stream.unwrap(
        Effect.map(schedule(worthRetrying, progress), (schedule) => Stream.retry(Stream.suspend(attempt), schedule))
      )
    })
  }))

/** Retries an effect as {@link RetrySchedule} says, while `isWorthIt` holds for its failures. */
export const retryWhile = <A, E, R>(
  effect: Effect.Effect<A, E | RegistryError, R>,
  isWorthIt: (error: RegistryError) => boolean
): Effect.Effect<A, E | RegistryError, R> =>
  Effect.withFiber((fiber) => {
    const outer = fiber.getRef(Progress)
    if (outer !== undefined) return retrying(effect, isWorthIt, outer, nowOf(fiber))
    const progress = startProgress(fiber)
    return Effect.provideService(retrying(effect, isWorthIt, progress, progress.since), Progress, progress)
  })

const retrying = <A, E, R>(
  effect: Effect.Effect<A, E | RegistryError, R>,
  isWorthIt: (error: RegistryError) => boolean,
  progress: Progress,
  start: number
): Effect.Effect<A, E | RegistryError, R> =>
  Effect.catch(
    effect,
    (first) => isRegistryError(first) ? again(effect, isWorthIt, progress, start, first) : Effect.fail(first)
  )

/** Retries an effect that has failed for the first time. */
const again = <A, E, R>(
  effect: Effect.Effect<A, E | RegistryError, R>,
  isWorthIt: (error: RegistryError) => boolean,
  progress: Progress,
  start: number,
  first: RegistryError
): Effect.Effect<A, E | RegistryError, R> => {
  const attempts = countAttempts(start)
  const counted = Effect.catchIf(effect, isRegistryError, attempts.fail)
  const attempt = Effect.suspend(
    afterFirst<Effect.Effect<A, E | RegistryError, R>>(first, attempts.fail, () => counted)
  )
  // the schedule accepts errors of registries only
  const others = Effect.matchEffect(attempt, {
    onFailure: (error): Effect.Effect<Result.Result<A, E>, RegistryError> =>
      isRegistryError(error) ? Effect.fail(error) : Effect.succeed(Result.fail(error)),
    onSuccess: (value) => Effect.succeed(Result.succeed(value))
  })
  return Effect.flatMap(
    schedule(isWorthIt, progress),
    (schedule) => Effect.flatMap(Effect.retry(others, schedule), (result) => Effect.fromResult(result))
  )
}
