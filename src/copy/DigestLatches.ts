/**
 * Waiting for things by their digest. What waits is an effect that is run later, and not a fiber, so that any number of
 * manifests can wait for each other.
 */
import * as Effect from "effect/Effect"
import type { Digest } from "../Digest.ts"

export interface DigestLatches {
  /** Runs an effect once all of these are open: at once, or when the last of them opens. */
  readonly pass: (digests: Iterable<Digest>, next: Effect.Effect<void>) => Effect.Effect<void>
  readonly open: (digest: Digest) => Effect.Effect<void>
  readonly isOpen: (digest: Digest) => boolean
  /** Number of effects that still wait. */
  readonly waiting: () => number
}

/** Number of digests that are looked at without a pause. */
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
      // one more than it misses, so that nothing runs it before all are looked at
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
