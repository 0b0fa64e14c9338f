/**
 * Which manifest waits for which, so that none waits for itself.
 *
 * A manifest waits for those that it contains, always, and for its referrers, where that is possible. It is not where a
 * referrer itself contains what it refers to, however deep: then the referrer comes late, and its subject does not wait.
 */
import type { Digest } from "../Digest.ts"

type Kind = "contained" | "referrer"

export interface Waits {
  /**
   * One manifest waits for another that it contains. The referrers that are late by that are told; nothing, where it
   * would wait for itself all the same.
   */
  readonly forContained: (self: Digest, contained: Digest) => ReadonlyArray<Digest> | undefined
  /** One manifest wants to wait for its referrer. May it? */
  readonly forReferrer: (self: Digest, referrer: Digest) => boolean
}

export const make = (): Waits => {
  const edges = new Map<Digest, Map<Digest, Kind>>()

  const add = (from: Digest, to: Digest, kind: Kind): void => {
    const own = edges.get(from) ?? new Map<Digest, Kind>()
    if (own.get(to) !== "contained") own.set(to, kind)
    edges.set(from, own)
  }

  /** The way on which one waits for the other, by its steps, if there is one. */
  const wayTo = (
    from: Digest,
    to: Digest,
    seen: Set<Digest> = new Set()
  ): ReadonlyArray<readonly [from: Digest, to: Digest, kind: Kind]> | undefined => {
    if (from === to) return []
    if (seen.has(from)) return undefined
    seen.add(from)
    for (const [next, kind] of edges.get(from) ?? []) {
      const rest = wayTo(next, to, seen)
      if (rest !== undefined) return [[from, next, kind], ...rest]
    }
    return undefined
  }

  return {
    forContained: (self, contained) => {
      add(self, contained, "contained")
      const late: Array<Digest> = []
      for (let way = wayTo(contained, self); way !== undefined; way = wayTo(contained, self)) {
        const given = way.filter(([, , kind]) => kind === "referrer")
        if (given.length === 0) return undefined
        for (const [from, to] of given) {
          edges.get(from)?.delete(to)
          late.push(to)
        }
      }
      return late
    },
    forReferrer: (self, referrer) => {
      if (wayTo(referrer, self) !== undefined) return false
      add(self, referrer, "referrer")
      return true
    }
  }
}
