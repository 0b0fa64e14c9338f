/**
 * Which manifests of a repository stay, and which content they need.
 *
 * A manifest that stays keeps all that it needs, its referrers, and the tags made of its digest. Manifests are added
 * and kept at any time, so that a collection can take changes into account while it runs.
 */
import type { Digest } from "../Digest.ts"
import * as DigestParts from "../Digest.ts"
import * as TagFilter from "../TagFilter.ts"
import type * as GarbageCollection from "./GarbageCollection.ts"

/** A manifest of a repository. */
export interface Node {
  readonly digest: Digest
  readonly mediaType: string
  readonly size: number
  /** Tags and full names. */
  readonly names: ReadonlyArray<string>
  /** True if it was written or mentioned within the grace period. */
  readonly isYoung: boolean
  /** True if an index lists it, but it does not exist. */
  readonly isAbsent?: boolean | undefined
  /** Content that it needs. */
  readonly needs: ReadonlyArray<Digest>
  readonly subject?: Digest | undefined
}

export type Policies = Pick<GarbageCollection.Options, "untagged" | "danglingReferrers">

export interface Reachability {
  readonly get: (digest: Digest) => Node | undefined
  /** Adds a manifest. */
  readonly add: (node: Node) => void
  /** Keeps content, and everything that stays with it. It is a generator, because that may be a lot. */
  readonly keep: (digest: Digest) => Generator<void>
  /** Returns true if content is kept. */
  readonly isKept: (digest: Digest) => boolean
  /** Returns the manifests that need a manifest. */
  readonly parentsOf: (digest: Digest) => ReadonlyArray<Digest>
  /**
   * Keeps every manifest that the policies protect. Returns the others with their reasons, so that each follows those
   * that need it and its subject.
   */
  readonly settle: () => Generator<void, ReadonlyArray<Removal>>
}

/** A manifest that may go. */
export interface Removal {
  readonly node: Node
  readonly reason: "untagged" | "dangling"
}

/** Returns the tag of the referrers tag schema for a subject (distribution-spec, "Referrers Tag Schema"). */
const schemaTag = (subject: Digest): string =>
  `${DigestParts.algorithm(subject).slice(0, 32)}-${DigestParts.encoded(subject).slice(0, 64)}`

/** Returns the part of a digest tag that stands for its subject. */
const subjectTag = (tag: string): string | undefined =>
  TagFilter.isDigestTag(tag) ? /^sha(?:256|512)-[0-9a-f]{64}/.exec(tag)?.[0] : undefined

const push = <K>(relation: Map<K, Array<Digest>>, key: K, digest: Digest) => {
  const related = relation.get(key)
  if (related === undefined) relation.set(key, [digest])
  else related.push(digest)
}

/** Creates the state of a collection in one repository. */
export const make = ({ danglingReferrers = "keep", untagged = "keep" }: Policies): Reachability => {
  const nodes = new Map<Digest, Node>()
  const kept = new Set<Digest>()
  const parents = new Map<Digest, Array<Digest>>()
  const referrers = new Map<Digest, Array<Digest>>()
  /** Manifests with a tag made of a digest, by the part of the tag that stands for the digest. */
  const companions = new Map<string, Array<Digest>>()
  const subjects = new Set<string>()

  const add = (node: Node) => {
    if (nodes.has(node.digest)) return
    nodes.set(node.digest, node)
    // what it needs was not known when it was kept
    kept.delete(node.digest)
    if (node.isAbsent !== true) subjects.add(schemaTag(node.digest))
    for (const need of node.needs) push(parents, need, node.digest)
    if (node.subject !== undefined) push(referrers, node.subject, node.digest)
    for (const name of node.names) {
      const subject = subjectTag(name)
      if (subject !== undefined) push(companions, subject, node.digest)
    }
  }

  const isAbsent = (digest: Digest): boolean => nodes.get(digest)?.isAbsent ?? !nodes.has(digest)

  /** Returns the manifests that stay or go together with their subject. */
  const followersOf = (digest: Digest): ReadonlyArray<Digest> =>
    isAbsent(digest) ? [] : [...referrers.get(digest) ?? [], ...companions.get(schemaTag(digest)) ?? []]

  const keep = function*(digest: Digest): Generator<void> {
    const open = [digest]
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      yield
      if (kept.has(next)) continue
      kept.add(next)
      const node = nodes.get(next)
      if (node !== undefined) { for (const other of [...node.needs, ...followersOf(next)]) open.push(other) }
    }
  }

  /** Returns true if a manifest has a subject, of which none exists. */
  const isDangling = ({ names, subject }: Node): boolean => {
    const tags = names.flatMap((name) => subjectTag(name) ?? [])
    if (subject === undefined && tags.length === 0) return false
    return (subject === undefined || isAbsent(subject)) && !tags.some((tag) => subjects.has(tag))
  }

  const isProtected = (node: Node): boolean => {
    const { isYoung, names, subject } = node
    if (isYoung || names.some((name) => subjectTag(name) === undefined)) return true
    if (names.length > 0 && danglingReferrers === "keep" || isDangling(node)) return danglingReferrers === "keep"
    return names.length === 0 && subject === undefined && untagged === "keep"
  }

  /** Orders manifests so that each follows those that need it and its subject, and soon after them. */
  const ordered = function*(removed: ReadonlyArray<Node>): Generator<void, ReadonlyArray<Node>> {
    const before = new Map(removed.map(({ digest }) => [digest, 0]))
    const after = ({ digest, needs }: Node) => [...needs, ...followersOf(digest)].filter((other) => before.has(other))
    for (const node of removed) {
      for (const other of after(node)) before.set(other, (before.get(other) ?? 0) + 1)
      yield
    }
    // the last one comes first, so that what a manifest contains follows soon after it
    const open = removed.filter(({ digest }) => before.get(digest) === 0).reverse()
    const found = new Set<Node>()
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      found.add(node)
      for (const other of after(node)) {
        const left = (before.get(other) ?? 0) - 1
        before.set(other, left)
        const next = nodes.get(other)
        if (left === 0 && next !== undefined) open.push(next)
      }
      yield
    }
    // tags made of digests can form a circle
    return [...found, ...removed.filter((node) => !found.has(node))]
  }

  const settle = function*(): Generator<void, ReadonlyArray<Removal>> {
    for (const node of nodes.values()) {
      if (isProtected(node)) yield* keep(node.digest)
      yield
    }
    const reasons = new Map<Digest, Removal["reason"]>()
    const removals: Array<Removal> = []
    for (const node of yield* ordered(Array.from(nodes.values()).filter(({ digest }) => !kept.has(digest)))) {
      const own = reasons.get(node.digest) ?? (isDangling(node) ? "dangling" : "untagged")
      for (const follower of followersOf(node.digest)) reasons.set(follower, own)
      removals.push({ node, reason: own })
      yield
    }
    return removals
  }

  return {
    get: (digest) => nodes.get(digest),
    add,
    keep,
    isKept: (digest) => kept.has(digest),
    parentsOf: (digest) => parents.get(digest) ?? [],
    settle
  }
}
