/**
 * Trying again what failed for a while.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { tell } from "./Metrics.ts"
import { isRegistryError, type RegistryError } from "./RegistryError.ts"

/**
 * When a request that failed is sent again: after transport failures and timeouts, and statuses 408, 429, 499 and 5xx
 * other than 501. What cannot be sent twice, a body that is read only once, is not.
 *
 * @default four more times, after 200 ms and then twice as long each time, up to 10 seconds, with jitter
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

// whoever is asked to wait longer is told so, and not left hanging
const longestPause = Duration.minutes(5)

/** May it pass, and within a time that somebody can wait? */
export const worthRetrying = (error: RegistryError): boolean =>
  error.isRetryable && !(error.retryAfter !== undefined && Duration.isGreaterThan(error.retryAfter, longestPause))

/** The schedule of retries, for as long as they are worth it; who watches is told of each. */
export const schedule = (
  isWorthIt: (error: RegistryError) => boolean
): Effect.Effect<Schedule.Schedule<unknown, RegistryError>> =>
  Effect.map(RetrySchedule, (schedule) =>
    schedule.pipe(
      Schedule.while(({ input }) => isWorthIt(input)),
      Schedule.tap(({ duration, input }) =>
        tell({ _tag: "Retried", registry: input.registry, error: input, delay: duration })
      )
    ))

/** Runs something again as the schedule says, for as long as it fails in a way that another attempt may mend. */
export const retryWhile = <A, E, R>(
  effect: Effect.Effect<A, E | RegistryError, R>,
  isWorthIt: (error: RegistryError) => boolean
): Effect.Effect<A, E | RegistryError, R> =>
  // what succeeds at once, as most does, needs no schedule
  Effect.catchIf(effect, isRegistryError, (error) => {
    let failed: RegistryError | undefined = error
    const attempt = Effect.suspend((): Effect.Effect<A, E | RegistryError, R> => {
      if (failed === undefined) return effect
      const first = failed
      failed = undefined
      return Effect.fail(first)
    })
    // a schedule knows errors of registries; others go past it
    const others = Effect.matchEffect(attempt, {
      onFailure: (error): Effect.Effect<Result.Result<A, E>, RegistryError> =>
        isRegistryError(error) ? Effect.fail(error) : Effect.succeed(Result.fail(error)),
      onSuccess: (value) => Effect.succeed(Result.succeed(value))
    })
    return Effect.flatMap(schedule(isWorthIt), (schedule) =>
      Effect.flatMap(Effect.retry(others, schedule), (result) => Effect.fromResult(result)))
  })
