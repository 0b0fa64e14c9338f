/**
 * Pauses that a registry asks for (`Retry-After`). They apply to all requests of the same client.
 *
 * Remaining budgets in responses (`RateLimit-Remaining`, for example of Docker Hub) are the subject of
 * `Limiter.withBudget`, because registries differ in their meaning, so that a program has to ask for it.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { tell } from "../Metrics.ts"
import { isRegistryError } from "../RegistryError.ts"
import { worthRetrying } from "../Retries.ts"

export interface RetryAfterPauses {
  /**
   * Waits until no pause is left, including those that begin meanwhile. Fails with the rest of a pause that is longer
   * than `allowed`, in milliseconds.
   */
  readonly over: (allowed: (now: number) => number) => Effect.Effect<void, Duration.Duration>
  /** Returns true while a pause is left. */
  readonly isPaused: (now: number) => boolean
  /** Starts the pause that an error asks for. */
  readonly heed: (error: unknown) => Effect.Effect<void>
}

export const make = (registry: string): RetryAfterPauses => {
  let until = 0
  const over: RetryAfterPauses["over"] = Effect.fnUntraced(function*(allowed) {
    const now = yield* Clock.currentTimeMillis
    const left = until - now
    // less than a millisecond is a rounding error of floating-point numbers
    if (left < 1) return
    if (left > allowed(now)) return yield* Effect.fail(Duration.millis(left))
    yield* tell({ _tag: "Paused", registry, duration: Duration.millis(left) })
    yield* Effect.andThen(Effect.sleep(left), over(allowed))
  })
  return {
    over,
    isPaused: (now) => until - now >= 1,
    heed: (error) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        if (!isRegistryError(error) || error.retryAfter === undefined || !worthRetrying(error)) return
        until = Math.max(until, now + Duration.toMillis(error.retryAfter))
      })
  }
}
