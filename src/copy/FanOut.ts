/**
 * One source for several readers: it is read once, no faster than the slowest of them, and nothing is kept for longer.
 */
import * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { BlobSource } from "../BlobSource.ts"

type Chunks = Arr.NonEmptyReadonlyArray<Uint8Array>

// so much is read ahead of the slowest, so that the others need not stop at each step
const capacity = 2

/** A share of a source, and what to do when it is not needed any longer, so that it does not hold up the others. */
export interface Share<E> {
  readonly source: BlobSource<E>
  readonly leave: Effect.Effect<void>
}

/**
 * Makes shares of a source. What each gives first, from its beginning, is of one reading, which begins with the first of
 * them. Who lets go of it does not hold up the others any longer; opened again, it reads by itself, from what `again` gives.
 */
export const split = Effect.fnUntraced(function*<E>(
  source: BlobSource<E>,
  again: BlobSource<E>,
  count: number
): Effect.fn.Return<ReadonlyArray<Share<E>>, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const queues = yield* Effect.forEach(Arr.range(1, count), () => Queue.bounded<Chunks, E | Cause.Done>(capacity))
  const pump = source.open(0).pipe(
    Stream.runForEachArray((chunks) =>
      Effect.forEach(queues, (queue) => Queue.offer(queue, chunks), { concurrency: "unbounded", discard: true })
    ),
    Effect.onExit((exit) =>
      Effect.forEach(queues, (queue) => Exit.isSuccess(exit) ? Queue.end(queue) : Queue.failCause(queue, exit.cause))
    )
  )
  const pumping = yield* Effect.cached(Effect.forkIn(pump, scope))
  return queues.map((queue) => {
    const leave = Effect.asVoid(Queue.shutdown(queue))
    let isTaken = false
    const open = (offset: number): Stream.Stream<Uint8Array, E> =>
      Stream.suspend(() => {
        if (isTaken || offset > 0) return again.open(offset)
        isTaken = true
        return Stream.ensuring(Stream.fromPull(Effect.as(pumping, Queue.take(queue))), leave)
      })
    return { source: { ...again, open }, leave }
  })
})
