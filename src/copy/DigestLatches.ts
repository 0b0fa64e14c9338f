/**
 * Latches by digest. An effect that waits is stored and runs later. It needs no fiber, so that any number of manifests
 * can wait for each other.
 */
import * as Effect from "effect/Effect"
import type { Digest } from "../Digest.ts"

export interface DigestLatches {
  /** Runs an effect after all of these latches are open: immediately, or when the last of them opens. */
  readonly pass: (digests: Iterable<Digest>, next: Effect.Effect<void>) => Effect.Effect<void>
  /** Opens a latch, and runs the effects that waited for it only. */
  readonly open: (digest: Digest) => Effect.Effect<void>
  readonly isOpen: (digest: Digest) => boolean
  /** Returns the number of effects that still wait. */
  readonly waiting: () => number
}

// number of digests that are checked without a pause for other fibers
const slice = 5_000

interface Waiter {
  missing: number
  readonly next: Effect.Effect<void>
}

export const make = (): DigestLatches => {
  const opened = new Set<Digest>()
  const waiters = new Map<Digest, Array<Waiter>>()
  let waiting = 0
  return {
    pass: Effect.fnUntraced(function*(digests, next) {
      // one more than the closed latches, so that `open` cannot run it before all digests are checked
      const waiter: Waiter = { missing: 1, next }
      waiting++
      let seen = 0
      for (const digest of digests) {
        if (++seen % slice === 0) yield* Effect.yieldNow
        if (opened.has(digest)) continue
        waiter.missing++
        const others = waiters.get(digest)
        if (others === undefined) waiters.set(digest, [waiter])
        else others.push(waiter)
      }
      if (--waiter.missing > 0) return
      waiting--
      yield* next
    }),
    open: (digest) =>
      Effect.suspend(() => {
        if (opened.has(digest)) return Effect.void
        opened.add(digest)
        const ready = (waiters.get(digest) ?? []).filter((waiter) => --waiter.missing === 0)
        waiters.delete(digest)
        waiting -= ready.length
        return Effect.forEach(ready, ({ next }) => next, { discard: true })
      }),
    isOpen: (digest) => opened.has(digest),
    waiting: () => waiting
  }
}
