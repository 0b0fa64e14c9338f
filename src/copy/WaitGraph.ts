/**
 * Which manifest waits for which, so that none waits for itself.
 *
 * A manifest waits for those that it contains, always, and for its referrers, where that is possible. It is not where a
 * referrer itself contains what it refers to, however deep: then the referrer comes late, and its subject does not wait.
 */
import type { Digest } from "../Digest.ts"

type Kind = "contained" | "referrer"

export interface WaitGraph {
  /**
   * One manifest waits for another that it contains. The referrers that are late by that are told; nothing, where it
   * would wait for itself all the same.
   */
  readonly forContained: (self: Digest, contained: Digest) => ReadonlyArray<Digest> | undefined
  /** One manifest wants to wait for its referrer. May it? */
  readonly forReferrer: (self: Digest, referrer: Digest) => boolean
}

// of steps that are taken to find cycles; a registry chooses how many manifests refer to each other
const stepLimit = 5_000_000

type Edge = readonly [from: Digest, to: Digest, kind: Kind]

export const make = (): WaitGraph => {
  const edges = new Map<Digest, Map<Digest, Kind>>()
  let steps = 0

  const add = (from: Digest, to: Digest, kind: Kind): void => {
    const own = edges.get(from) ?? new Map<Digest, Kind>()
    if (own.get(to) !== "contained") own.set(to, kind)
    edges.set(from, own)
  }

  /** The way on which one waits for the other, by its edges, if there is one. */
  const wayTo = (from: Digest, to: Digest): ReadonlyArray<Edge> | undefined => {
    if (from === to) return []
    const direct = edges.get(from)?.get(to)
    if (direct !== undefined) return [[from, to, direct]]
    // by which edge each was reached
    const reached = new Map<Digest, Edge | undefined>([[from, undefined]])
    const queue = [from]
    for (const place of queue) {
      for (const [next, kind] of edges.get(place) ?? []) {
        steps++
        if (reached.has(next)) continue
        reached.set(next, [place, next, kind])
        if (next !== to) {
          queue.push(next)
          continue
        }
        const way: Array<Edge> = []
        for (let edge = reached.get(to); edge !== undefined; edge = reached.get(edge[0])) way.push(edge)
        return way
      }
    }
    return undefined
  }

  /** Nothing waits for its referrers any longer, so that there is nothing to search for. */
  const giveUp = (): ReadonlyArray<Digest> => {
    const late: Array<Digest> = []
    for (const own of edges.values()) {
      for (const [to, kind] of own) {
        if (kind === "referrer") late.push(to)
      }
    }
    edges.clear()
    return late
  }

  return {
    forContained: (self, contained) => {
      if (steps > stepLimit) return giveUp()
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
      if (steps > stepLimit || wayTo(referrer, self) !== undefined) return false
      add(self, referrer, "referrer")
      return true
    }
  }
}
