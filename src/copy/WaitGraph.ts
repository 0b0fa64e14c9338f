/**
 * Records which manifest waits for which other one, so that no manifest waits for itself.
 *
 * A manifest always waits for the manifests that it contains, and for its referrers if possible. That is not possible
 * if a referrer contains its subject at any depth. The referrer then comes late: its subject does not wait for it.
 */
import type { Digest } from "../Digest.ts"

type Kind = "contained" | "referrer"

export interface WaitGraph {
  /**
   * Makes a manifest wait for another one that it contains. Returns the referrers that come late because of that, or
   * `undefined` if the manifest would wait for itself even without them.
   */
  readonly forContained: (self: Digest, contained: Digest) => ReadonlyArray<Digest> | undefined
  /** Makes a manifest wait for its referrer. Returns false, and changes nothing, if it would wait for itself. */
  readonly forReferrer: (self: Digest, referrer: Digest) => boolean
}

// maximum number of steps of all searches for cycles, because a registry chooses the size of the graph
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

  /** Returns the edges by which one manifest waits for another, if it does. */
  const pathTo = (from: Digest, to: Digest): ReadonlyArray<Edge> | undefined => {
    if (from === to) return []
    const direct = edges.get(from)?.get(to)
    if (direct !== undefined) return [[from, to, direct]]
    // the edge by which each manifest was reached
    const reached = new Map<Digest, Edge | undefined>([[from, undefined]])
    const queue = [from]
    for (const current of queue) {
      for (const [next, kind] of edges.get(current) ?? []) {
        steps++
        if (reached.has(next)) continue
        reached.set(next, [current, next, kind])
        if (next !== to) {
          queue.push(next)
          continue
        }
        const path: Array<Edge> = []
        for (let edge = reached.get(to); edge !== undefined; edge = reached.get(edge[0])) path.push(edge)
        return path
      }
    }
    return undefined
  }

  /** Removes all edges, so that there is nothing left to search. Returns the referrers that manifests waited for. */
  const clear = (): ReadonlyArray<Digest> => {
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
      if (steps > stepLimit) return clear()
      add(self, contained, "contained")
      const late: Array<Digest> = []
      for (let path = pathTo(contained, self); path !== undefined; path = pathTo(contained, self)) {
        const dropped = path.filter(([, , kind]) => kind === "referrer")
        if (dropped.length === 0) return undefined
        for (const [from, to] of dropped) {
          edges.get(from)?.delete(to)
          late.push(to)
        }
      }
      return late
    },
    forReferrer: (self, referrer) => {
      if (steps > stepLimit || pathTo(referrer, self) !== undefined) return false
      add(self, referrer, "referrer")
      return true
    }
  }
}
