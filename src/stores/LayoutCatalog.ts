/**
 * Which manifests a layout has, and which of them refer to which: those that its index lists, and those that they
 * contain.
 *
 * A manifest is read once, since its content never changes; what follows from an index is kept for as long as that index
 * is the same.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Reason } from "../RegistryError.ts"
import * as LayoutIndex from "./LayoutIndex.ts"

/** What a manifest has to do with others. */
interface Node {
  readonly children: ReadonlyArray<Descriptor>
  readonly subject?: Digest
  /** How it is listed among the referrers of its subject. */
  readonly referrer?: Descriptor
}

export interface Catalog {
  /** The manifest of a digest, if the index lists it, or another manifest that contains it. */
  readonly find: (
    index: LayoutIndex.LayoutIndex,
    digest: Digest
  ) => Effect.Effect<Descriptor | undefined, Reason>
  /** What manifests of the index contain, at any depth, other than by way of one that does not count. */
  readonly contained: (
    index: LayoutIndex.LayoutIndex,
    excluded: Digest
  ) => Effect.Effect<ReadonlyMap<Digest, Descriptor>, Reason>
  /** The manifests that this one contains. */
  readonly childrenOf: (descriptor: Descriptor) => Effect.Effect<ReadonlyArray<Descriptor>, Reason>
  /** The manifests whose subject this is. */
  readonly referrers: (
    index: LayoutIndex.LayoutIndex,
    subject: Digest
  ) => Effect.Effect<ReadonlyArray<Descriptor>, Reason>
  /** Keeps what is known of a manifest that was written. */
  readonly remember: (descriptor: Descriptor, manifest: Manifest.Manifest | undefined) => void
}

const leaf: Node = { children: [] }

const nodeOf = (descriptor: Descriptor, manifest: Manifest.Manifest): Node => {
  const subject = manifest.content.subject?.digest
  return {
    children: Manifest.references(manifest).manifests,
    ...subject === undefined ? {} : { subject, referrer: Manifest.toReferrer(manifest, descriptor) }
  }
}

/** What follows from an index, and whether every manifest that it took was there. */
interface Conclusion<A> {
  readonly value: A
  readonly isComplete: boolean
}

/** Makes a catalog of manifests that are read by a function, which has nothing for those that are missing or broken. */
export const make = (options: {
  readonly read: (descriptor: Descriptor) => Effect.Effect<Uint8Array | undefined, Reason>
  readonly exists: (digest: Digest) => Effect.Effect<boolean, Reason>
}): Catalog => {
  let nodes = new Map<Digest, Node>()

  const load = Effect.fnUntraced(function*(descriptor: Descriptor) {
    const known = nodes.get(descriptor.digest)
    if (known !== undefined) return known
    if (!MediaType.isManifest(descriptor.mediaType)) return leaf
    const bytes = yield* options.read(descriptor)
    if (bytes === undefined) return undefined
    const node = Result.match(Manifest.decode(descriptor.mediaType, bytes), {
      onFailure: () => leaf,
      onSuccess: (manifest) => nodeOf(descriptor, manifest)
    })
    nodes.set(descriptor.digest, node)
    return node
  })

  /** Keeps a conclusion for as long as the index is the same, but not where what was missing may come later. */
  const kept = <A>(conclude: (index: LayoutIndex.LayoutIndex) => Effect.Effect<Conclusion<A>, Reason>) => {
    const lock = Semaphore.makeUnsafe(1)
    let last: { readonly index: LayoutIndex.LayoutIndex; readonly value: A } | undefined
    return (index: LayoutIndex.LayoutIndex): Effect.Effect<A, Reason> =>
      lock.withPermit(Effect.gen(function*() {
        if (last?.index === index) return last.value
        const { isComplete, value } = yield* conclude(index)
        last = isComplete ? { index, value } : undefined
        return value
      }))
  }

  /** What manifests of the index contain, other than by way of one that does not count. */
  const walk = Effect.fnUntraced(function*(index: LayoutIndex.LayoutIndex, excluded?: Digest) {
    const found = new Map<Digest, Descriptor>()
    let isComplete = true
    const open = LayoutIndex.roots(index).filter(({ mediaType }) => MediaType.isIndex(mediaType))
    // a list that grows while it is walked
    for (const parent of open) {
      if (parent.digest === excluded) continue
      const node = yield* load(parent)
      isComplete &&= node !== undefined
      for (const child of node?.children ?? []) {
        if (found.has(child.digest)) continue
        found.set(child.digest, child)
        if (MediaType.isIndex(child.mediaType)) open.push(child)
      }
    }
    return { value: found, isComplete }
  })
  const contained = kept((index) => walk(index))

  const bySubject = kept(Effect.fnUntraced(function*(index) {
    const all = new Map([
      ...yield* contained(index),
      ...LayoutIndex.roots(index).map((root) => [root.digest, root] as const)
    ])
    const loaded = yield* Effect.forEach(all.values(), load, { concurrency: 8 })
    const found = new Map<Digest, Array<Descriptor>>()
    const listed = new Set(LayoutIndex.roots(index).map(({ digest }) => digest))
    for (const node of loaded) {
      if (node?.subject === undefined || node.referrer === undefined) continue
      const referrers = found.get(node.subject)
      if (referrers === undefined) found.set(node.subject, [node.referrer])
      else referrers.push(node.referrer)
    }
    // those that nothing leads to any more need not be remembered
    nodes = new Map(Array.from(nodes).filter(([digest]) => all.has(digest)))
    return { value: { found, listed }, isComplete: !loaded.includes(undefined) }
  }))

  return {
    find: (index, digest) => {
      const listed = LayoutIndex.find(index, digest)
      return listed !== undefined
        ? Effect.succeed(listed)
        : Effect.map(contained(index), (found) => found.get(digest))
    },
    contained: (index, excluded) => Effect.map(walk(index, excluded), ({ value }) => value),
    childrenOf: (descriptor) => Effect.map(load(descriptor), (node) => node?.children ?? []),
    referrers: Effect.fnUntraced(function*(index, subject) {
      const { found, listed } = yield* bySubject(index)
      // what is only contained may have been deleted without a change of the index
      return yield* Effect.filter(
        found.get(subject) ?? [],
        ({ digest }) => listed.has(digest) ? Effect.succeed(true) : options.exists(digest)
      )
    }),
    remember: (descriptor, manifest) => {
      nodes.set(descriptor.digest, manifest === undefined ? leaf : nodeOf(descriptor, manifest))
    }
  }
}
