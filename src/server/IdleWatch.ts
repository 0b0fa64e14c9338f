/**
 * The idle timeout and the minimum rate of request and response bodies: a body that a client sends or takes too slowly
 * is aborted. One fiber watches all bodies.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

/** Body under watch. */
export interface Watched {
  /** Records that the server waits for the client. */
  readonly wait: () => void
  /**
   * Records that the client has sent or taken some bytes, so that the server no longer waits for it. Returns for how
   * long it has waited, in milliseconds.
   */
  readonly proceed: (bytes: number) => number
}

export interface IdleWatch {
  /**
   * Watches a body while the scope is open. `abort` is called once, if the client is idle for too long, or slower than
   * the minimum rate.
   */
  readonly watch: (abort: () => void) => Effect.Effect<Watched, never, Scope.Scope>
}

interface Body {
  readonly abort: () => void
  /** Time since which the server waits for the client, in milliseconds. Infinite while it does not wait. */
  since: number
  /** Time that the server has waited since the rate was last compared, in milliseconds. */
  waited: number
  /** Number of bytes since then. */
  moved: number
}

/** Watches bodies while the scope is open. `minimumRate` is in bytes per second. */
export const make = Effect.fnUntraced(
  function*(timeout: Duration.Duration, minimumRate: number): Effect.fn.Return<IdleWatch, never, Scope.Scope> {
    const clock = yield* Clock.Clock
    const limit = Duration.toMillis(timeout)
    const all = new Set<Body>()

    /**
     * Returns true for an idle or slow body. The rate is measured while the server waits, over twice the idle timeout.
     */
    const isTooSlow = (body: Body, now: number): boolean => {
      const current = Math.max(0, now - body.since)
      if (current >= limit) return true
      const waited = body.waited + current
      if (waited < 2 * limit) return false
      if (body.moved < minimumRate * waited / 1000) return true
      body.waited = -current
      body.moved = 0
      return false
    }

    yield* Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      for (const body of all) {
        if (!isTooSlow(body, now)) continue
        all.delete(body)
        body.abort()
      }
    }).pipe(
      Effect.repeat(Schedule.spaced(Duration.millis(limit / 4))),
      Effect.forkScoped
    )
    return {
      watch: (abort) =>
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(() => {
              const body: Body = { abort, since: clock.currentTimeMillisUnsafe(), waited: 0, moved: 0 }
              all.add(body)
              return body
            }),
            (body) => Effect.sync(() => all.delete(body))
          ),
          (body) => ({
            wait: () => void (body.since = clock.currentTimeMillisUnsafe()),
            proceed: (bytes) => {
              const waited = Math.max(0, clock.currentTimeMillisUnsafe() - body.since)
              body.waited += waited
              body.moved += bytes
              body.since = Infinity
              return waited
            }
          })
        )
    }
  }
)
