/**
 * The pauses that a registry asks for (`Retry-After`): everybody who uses the same client waits them out.
 *
 * What a registry says of how much it will still allow (`RateLimit-Remaining`, as Docker Hub does) is not heeded: no two
 * mean the same by it, and the refusal that comes in the end says how long to wait.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { tell } from "../Metrics.ts"
import { isRegistryError } from "../RegistryError.ts"
import { worthRetrying } from "../Retries.ts"

export interface RetryAfterPauses {
  /**
   * Waits until none is left, however often another one is asked for meanwhile. Fails with the rest of a pause that is
   * longer than `allowed` milliseconds.
   */
  readonly over: (allowed: (now: number) => number) => Effect.Effect<void, Duration.Duration>
  /** Takes note of an error that asks for one. */
  readonly heed: (error: unknown) => Effect.Effect<void>
}

export const make = (registry: string): RetryAfterPauses => {
  let until = 0
  const over: RetryAfterPauses["over"] = Effect.fnUntraced(function*(allowed) {
    const now = yield* Clock.currentTimeMillis
    const left = until - now
    // less is what floating-point numbers leave over, and no clock waits for it
    if (left < 1) return
    if (left > allowed(now)) return yield* Effect.fail(Duration.millis(left))
    yield* tell({ _tag: "Paused", registry, duration: Duration.millis(left) })
    yield* Effect.andThen(Effect.sleep(left), over(allowed))
  })
  return {
    over,
    heed: (error) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        if (!isRegistryError(error) || error.retryAfter === undefined || !worthRetrying(error)) return
        until = Math.max(until, now + Duration.toMillis(error.retryAfter))
      })
  }
}
