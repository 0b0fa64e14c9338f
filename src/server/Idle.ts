/**
 * Patience with clients: a body that stands still for too long, because a client sends no more of it or takes no more
 * of it, is given up. One fiber looks after all of them, so that a body costs none.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

/** A body that is looked after. */
export interface Watched {
  /** The client's turn begins. */
  readonly wait: () => void
  /** The client has done its part: now it waits. */
  readonly proceed: () => void
}

export interface Idle {
  /** Looks after a body while the scope is open; `giveUp` is called once, when the client's turn has taken too long. */
  readonly watch: (giveUp: () => void) => Effect.Effect<Watched, never, Scope.Scope>
}

/** Looks after bodies while the scope is open. */
export const make = Effect.fnUntraced(
  function*(timeout: Duration.Duration): Effect.fn.Return<Idle, never, Scope.Scope> {
    const clock = yield* Clock.Clock
    const limit = Duration.toMillis(timeout)
    const all = new Set<{ since: number; readonly giveUp: () => void }>()

    yield* Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      for (const body of all) {
        if (now - body.since < limit) continue
        all.delete(body)
        body.giveUp()
      }
    }).pipe(
      Effect.repeat(Schedule.spaced(Duration.millis(limit / 4))),
      Effect.forkScoped
    )
    return {
      watch: (giveUp) =>
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(() => {
              const body = { since: clock.currentTimeMillisUnsafe(), giveUp }
              all.add(body)
              return body
            }),
            (body) => Effect.sync(() => all.delete(body))
          ),
          (body) => ({
            wait: () => void (body.since = clock.currentTimeMillisUnsafe()),
            proceed: () => void (body.since = Infinity)
          })
        )
    }
  }
)
