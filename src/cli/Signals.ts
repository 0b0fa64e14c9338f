/**
 * Signals that a verb handles itself, while its scope is open. All others interrupt the command.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"

export type Signal = "SIGTERM" | "SIGHUP"

interface Handler {
  readonly received: Queue.Queue<void>
  /** Maximum time that the command may continue after the signal. */
  readonly limit: Duration.Duration
}

const handlers = new Map<Signal, Handler>()

/** Returns a queue of the signals that the process receives while the scope is open, instead of being interrupted. */
export const handle = (
  signal: Signal,
  limit: Duration.Duration = Duration.infinity
): Effect.Effect<Queue.Dequeue<void>, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function*() {
      const received = yield* Queue.unbounded<void>()
      handlers.set(signal, { received, limit })
      return received
    }),
    () => Effect.sync(() => handlers.delete(signal))
  )

/** Passes a signal to its handler. Returns the time that the command may continue, or `undefined` without a handler. */
export const raise = (signal: Signal): Duration.Duration | undefined => {
  const handler = handlers.get(signal)
  if (handler !== undefined) Queue.offerUnsafe(handler.received, undefined)
  return handler?.limit
}

/** Runs an effect each time that the process receives a signal, while the scope is open. */
export const onEach = Effect.fnUntraced(function*<R>(signal: Signal, effect: Effect.Effect<void, never, R>) {
  const received = yield* handle(signal)
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Queue.take(received), effect)))
})
