/**
 * Waiting for things by their digest.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Digest } from "../Digest.ts"

export interface Gates {
  /** Waits until all of these are open. */
  readonly pass: (digests: Iterable<Digest>) => Effect.Effect<void>
  readonly open: (digest: Digest) => Effect.Effect<void>
}

export const make = (): Gates => {
  const gates = new Map<Digest, Deferred.Deferred<void>>()
  const gate = (digest: Digest): Deferred.Deferred<void> => {
    const known = gates.get(digest) ?? Deferred.makeUnsafe<void>()
    gates.set(digest, known)
    return known
  }
  return {
    pass: (digests) => Effect.forEach(digests, (digest) => Deferred.await(gate(digest)), { discard: true }),
    open: (digest) => Effect.suspend(() => Effect.asVoid(Deferred.succeed(gate(digest), undefined)))
  }
}
