/**
 * Patience with a registry: what fails for a while is asked again, and a registry that asks for a pause gets one, from
 * everybody who uses the same client.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Registry from "../Registry.ts"
import { isRegistryError, type RegistryError } from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"

// whoever is asked to wait longer is told so, and not left hanging
const longestPause = Duration.minutes(5)

/** May it pass, and within a time that somebody can wait? */
export const worthRetrying = (error: RegistryError): boolean =>
  error.isRetryable && !(error.retryAfter !== undefined && Duration.isGreaterThan(error.retryAfter, longestPause))

/**
 * When a request that failed is sent again: after transport failures and timeouts, and statuses 408, 429 and 5xx other
 * than 501. What cannot be sent twice, a body that is read only once, is not.
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

/** Runs something again as the schedule says, for as long as it fails in a way that another attempt may mend. */
export const retryWhile = <A, E, R>(
  effect: Effect.Effect<A, E | RegistryError, R>,
  isWorthIt: (error: RegistryError) => boolean
): Effect.Effect<A, E | RegistryError, R> =>
  Effect.flatMap(RetrySchedule, (schedule) => {
    // a schedule knows errors of registries; others go past it
    const others = Effect.matchEffect(effect, {
      onFailure: (error): Effect.Effect<Result.Result<A, E>, RegistryError> =>
        isRegistryError(error) ? Effect.fail(error) : Effect.succeed(Result.fail(error)),
      onSuccess: (value) => Effect.succeed(Result.succeed(value))
    })
    return Effect.flatMap(Effect.retry(others, { schedule, while: isWorthIt }), (result) => Effect.fromResult(result))
  })

/** The same connection, with patience. */
export const patient = (connection: Connection.Connection): Connection.Connection => {
  let pausedUntil = 0

  const pause = Effect.gen(function*() {
    const left = pausedUntil - (yield* Clock.currentTimeMillis)
    if (left <= 0) return
    yield* (yield* Registry.Observer)({ _tag: "Paused", registry: connection.name, duration: Duration.millis(left) })
    // also where what follows is not to be interrupted
    yield* Effect.interruptible(Effect.sleep(left))
  })
  const heed = (error: unknown) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.sync(() => {
        if (!isRegistryError(error) || error.retryAfter === undefined || !worthRetrying(error)) return
        pausedUntil = Math.max(pausedUntil, now + Duration.toMillis(error.retryAfter))
      }))
  const once = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.andThen(pause, Effect.tapError(effect, heed))

  return {
    ...connection,
    send: (...args) => retryWhile(once(connection.send(...args)), worthRetrying),
    open: (...args) => retryWhile(once(connection.open(...args)), worthRetrying),
    // a body may be one that is read only once: whoever knows better calls again
    upload: (call, request, ...args) =>
      Effect.andThen(
        retryWhile(once(connection.prepare(call, request)), worthRetrying),
        once(connection.upload(call, request, ...args))
      )
  }
}
