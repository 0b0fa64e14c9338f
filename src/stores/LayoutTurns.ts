/**
 * Turns of the writers of a layout in this process. They run one after another, each while this process holds the lock
 * of the layout. The lock is held on from one turn to the next while more turns are wanted, because taking it takes
 * longer than many a turn.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Reason } from "../RegistryError.ts"
import type * as LayoutLock from "./LayoutLock.ts"

/** Time after which the lock is released although more turns are wanted, in milliseconds. */
const maximumAge = 1000

export interface LayoutTurns {
  /** Waits for a turn, and runs an effect in it. */
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** Runs an effect while this process holds the lock. The caller has a turn. */
  readonly holding: <A, E>(use: (lock: LayoutLock.Lock) => Effect.Effect<A, E>) => Effect.Effect<A, E | Reason>
  /** Releases the lock if no more turns are wanted. It must run if a turn is no longer wanted that did not run. */
  readonly settle: Effect.Effect<void>
}

/** Creates the turns. `isWanted` returns true while more turns are wanted. */
export const make = ({ acquire, isWanted }: {
  readonly acquire: Effect.Effect<LayoutLock.Lock, Reason, Scope.Scope>
  readonly isWanted: () => boolean
}): LayoutTurns => {
  const semaphore = Semaphore.makeUnsafe(1)
  const state: {
    held?: { readonly lock: LayoutLock.Lock; readonly scope: Scope.Closeable; readonly since: number } | undefined
  } = {}

  const release = Effect.suspend(() => {
    const { held } = state
    state.held = undefined
    return held === undefined ? Effect.void : Scope.close(held.scope, Exit.void)
  })

  const take = Effect.fnUntraced(function*(restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>) {
    const { held } = state
    if (held !== undefined && (yield* Clock.currentTimeMillis) - held.since < maximumAge) return held.lock
    yield* release
    const scope = yield* Scope.make()
    const lock = yield* restore(Scope.provide(acquire, scope)).pipe(
      Effect.onError(() => Scope.close(scope, Exit.void))
    )
    state.held = { lock, scope, since: yield* Clock.currentTimeMillis }
    return lock
  })

  const end = Effect.suspend(() =>
    state.held !== undefined && isWanted() && !state.held.lock.isWanted() ? Effect.void : release
  )

  return {
    run: semaphore.withPermit,
    holding: (use) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(take(restore), (lock) => restore(use(lock))).pipe(Effect.ensuring(end))
      ),
    settle: Effect.suspend(() => state.held === undefined || isWanted() ? Effect.void : semaphore.withPermit(end))
  }
}
