/**
 * Splits one source among several readers. It is read once, at the speed of the slowest reader, and nothing is stored.
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

// number of reads by which a fast reader may be ahead of the slowest, so that it does not stop at each of them
const capacity = 2

/** A share of a source. */
export interface Share<E> {
  readonly source: BlobSource<E>
  /** Closes the share, so that the other readers no longer wait for this one. */
  readonly leave: Effect.Effect<void>
}

/**
 * Creates shares of a source. The first time that a share is opened at offset 0, it takes part in one common read,
 * which begins with the first of them. A share that is closed no longer slows down the others. A share that is opened
 * again, or at another offset, reads from `again` on its own.
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
    let isOpened = false
    const open = (offset: number): Stream.Stream<Uint8Array, E> =>
      Stream.suspend(() => {
        if (isOpened || offset > 0) return again.open(offset)
        isOpened = true
        return Stream.ensuring(Stream.fromPull(Effect.as(pumping, Queue.take(queue))), leave)
      })
    return { source: { ...again, open }, leave }
  })
})
