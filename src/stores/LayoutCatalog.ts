/**
 * Which manifests a layout has, and which of them refer to which: those that its index lists, and those that they
 * contain.
 *
 * A manifest is read once, because its content never changes. What follows from the index is kept, and brought up to
 * date by what changed in it, so that the work for a change does not grow with the index. Only image indexes are read
 * to know what is contained; all manifests are read to list referrers.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as LargeManifest from "../LargeManifest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Reason } from "../RegistryError.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as Steps from "./Steps.ts"

/** What a manifest has to do with others. */
interface Node {
  readonly mediaType: string
  readonly children: ReadonlyArray<Descriptor>
  readonly subject?: Digest | undefined
  /** How it is listed among the referrers of its subject. */
  readonly referrer?: Descriptor | undefined
}

export interface Catalog {
  /** The manifest of a digest, if the index lists it, or another manifest that contains it. */
  readonly find: (
    index: LayoutIndex.LayoutIndex,
    digest: Digest
  ) => Effect.Effect<Descriptor | undefined, Reason>
  /**
   * Returns a function for the manifests that contain a manifest, among those that are listed or contained themselves.
   */
  readonly parents: (
    index: LayoutIndex.LayoutIndex
  ) => Effect.Effect<(digest: Digest) => ReadonlyArray<Digest>, Reason>
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

const nodeOf = (descriptor: Descriptor, manifest: Manifest.Manifest | undefined): Node => {
  const { mediaType } = descriptor
  if (manifest === undefined) return { mediaType, children: [] }
  const subject = manifest.content.subject?.digest
  return {
    mediaType,
    children: Manifest.references(manifest).manifests,
    ...subject === undefined ? {} : { subject, referrer: Manifest.toReferrer(manifest, descriptor) }
  }
}

/** A map of maps, without empty ones. */
type Relation = Map<Digest, Map<Digest, Descriptor>>

const relate = (relation: Relation, from: Digest, to: Digest, descriptor: Descriptor) => {
  const related = relation.get(from)
  if (related === undefined) relation.set(from, new Map([[to, descriptor]]))
  else related.set(to, descriptor)
}

const unrelate = (relation: Relation, from: Digest, to: Digest) => {
  const related = relation.get(from)
  related?.delete(to)
  if (related?.size === 0) relation.delete(from)
}

/** Number of manifests whose relations are changed without a pause. */
const manifestsAtATime = 500

/** Size above which manifests are decoded one at a time, in bytes, because each takes much memory meanwhile. */
const largeSize = 512 * 1024

/** Time for which a manifest that is missing is not looked for again, because an index may contain very many of them. */
const absenceTimeToLive = Duration.toMillis("10 seconds")

/**
 * Which manifests are there by an index, what they contain and what they refer to. A manifest is there if it is listed,
 * or contained in one that is there.
 */
const makeGraph = (nodes: Map<Digest, Node>) => {
  let index = LayoutIndex.empty
  const there = new Map<Digest, Descriptor>()
  /** By a child, the parents, with the descriptor of the child. */
  const parents: Relation = new Map()
  /** By a subject, the referrers. */
  const referrers: Relation = new Map()
  /** Manifests that are there and have not been read, or were missing. */
  const unread = { indexes: new Map<Digest, Descriptor>(), others: new Map<Digest, Descriptor>() }
  const unreadLike = ({ mediaType }: Descriptor) => MediaType.isIndex(mediaType) ? unread.indexes : unread.others

  /** Adds manifests that are there now, and what they contain. */
  const enter = function*(descriptors: ReadonlyArray<Descriptor>): Generator<void> {
    const open = [...descriptors]
    // a list that grows while it is walked
    for (const descriptor of open) {
      yield
      const { digest } = descriptor
      const isUnread = unreadLike(descriptor).has(digest)
      if (there.has(digest) && !isUnread) continue
      there.set(digest, descriptor)
      const node = nodes.get(digest)
      if (node?.mediaType !== descriptor.mediaType) {
        unreadLike(descriptor).set(digest, descriptor)
        continue
      }
      unreadLike(descriptor).delete(digest)
      if (node.subject !== undefined && node.referrer !== undefined) {
        relate(referrers, node.subject, digest, node.referrer)
      }
      for (const child of node.children) {
        yield
        relate(parents, child.digest, digest, child)
        open.push(child)
      }
    }
  }

  /** Removes manifests, and what they contain unless something else leads to it. */
  const leave = (digests: ReadonlyArray<Digest>) => {
    const open = [...digests]
    for (const digest of open) {
      const descriptor = there.get(digest)
      if (descriptor === undefined) continue
      there.delete(digest)
      const wasUnread = unreadLike(descriptor).delete(digest)
      const node = nodes.get(digest)
      nodes.delete(digest)
      if (wasUnread || node === undefined) continue
      if (node.subject !== undefined) unrelate(referrers, node.subject, digest)
      for (const child of node.children) {
        unrelate(parents, child.digest, digest)
        if (!parents.has(child.digest) && LayoutIndex.find(index, child.digest) === undefined) open.push(child.digest)
      }
    }
  }

  return {
    unread,
    enter: (descriptors: ReadonlyArray<Descriptor>) => Steps.run(enter(descriptors), manifestsAtATime),
    parentsOf: (digest: Digest) => parents.get(digest),
    referrersOf: (subject: Digest) => referrers.get(subject),
    has: (digest: Digest) => there.has(digest),
    addedBy: (next: LayoutIndex.LayoutIndex) => Steps.collect(LayoutIndex.added(index, next), manifestsAtATime),
    /** Brings all of it up to date with an index. */
    advance: Effect.fnUntraced(function*(next: LayoutIndex.LayoutIndex, added: ReadonlyArray<Descriptor>) {
      const removed = yield* Steps.collect(LayoutIndex.added(next, index), manifestsAtATime)
      index = next
      yield* Steps.run(enter(added), manifestsAtATime)
      yield* Steps.forEach(removed, manifestsAtATime, ({ digest, mediaType }) => {
        const left = LayoutIndex.find(next, digest) ?? parents.get(digest)?.values().next().value
        if (left?.mediaType === mediaType) return
        leave([digest])
        // without a pause, because what it contains is there all the time
        if (left !== undefined) Steps.runSync(enter([left]))
      })
    }, Effect.uninterruptible)
  }
}

/** Makes a catalog of manifests that are read by a function, which has nothing for those that are missing or broken. */
export const make = (options: {
  readonly read: (descriptor: Descriptor) => Effect.Effect<Uint8Array | undefined, Reason>
  readonly exists: (digest: Digest) => Effect.Effect<boolean, Reason>
}): Catalog => {
  const nodes = new Map<Digest, Node>()
  const graph = makeGraph(nodes)
  const largeOnes = Semaphore.makeUnsafe(1)

  const decode = (mediaType: string, bytes: Uint8Array) => {
    const decoded = Effect.option(LargeManifest.decode(mediaType, bytes))
    return Effect.map(
      bytes.length > largeSize ? largeOnes.withPermit(decoded) : decoded,
      Option.getOrUndefined
    )
  }

  /** Reads a manifest, unless it is known. */
  const load = Effect.fnUntraced(function*(descriptor: Descriptor) {
    const { digest, mediaType } = descriptor
    const known = nodes.get(digest)
    if (known?.mediaType === mediaType) return known
    if (!MediaType.isManifest(mediaType)) return nodeOf(descriptor, undefined)
    const bytes = yield* options.read(descriptor)
    return bytes === undefined ? undefined : nodeOf(descriptor, yield* decode(mediaType, bytes))
  })

  const missing = { digests: new Set<Digest>(), since: 0 }

  /** Reads manifests, except those that were missing a short time ago, and returns those that are known then. */
  const loadAll = Effect.fnUntraced(function*(descriptors: Iterable<Descriptor>) {
    if ((yield* Clock.currentTimeMillis) - missing.since >= absenceTimeToLive) missing.digests.clear()
    const before = missing.digests.size
    const found: Array<Descriptor> = []
    yield* Effect.forEach(
      yield* Steps.collect(descriptors, manifestsAtATime),
      Effect.fnUntraced(function*(descriptor) {
        const { digest } = descriptor
        if (missing.digests.has(digest) && !nodes.has(digest)) return
        const node = yield* load(descriptor)
        if (node === undefined) {
          missing.digests.add(digest)
          return
        }
        nodes.set(digest, node)
        found.push(descriptor)
      }),
      { concurrency: 8, discard: true }
    )
    // reading very many may take longer than that
    if (missing.digests.size > before) missing.since = yield* Clock.currentTimeMillis
    return found
  })

  const updating = Semaphore.makeUnsafe(1)

  /** Reads the image indexes that an index leads to, and brings the graph up to date. */
  const update = (index: LayoutIndex.LayoutIndex) =>
    updating.withPermit(Effect.gen(function*() {
      const added = yield* graph.addedBy(index)
      let open = [...added, ...graph.unread.indexes.values()]
      const seen = new Set<Digest>()
      while (open.length > 0) {
        const indexes = open.filter(({ digest, mediaType }) => MediaType.isIndex(mediaType) && !seen.has(digest))
        for (const { digest } of indexes) seen.add(digest)
        open = []
        yield* Steps.forEach(yield* loadAll(indexes), manifestsAtATime, ({ digest }) => {
          for (const child of nodes.get(digest)?.children ?? []) {
            if (MediaType.isIndex(child.mediaType)) open.push(child)
          }
        })
      }
      yield* graph.advance(index, added)
      yield* graph.enter(Array.from(graph.unread.indexes.values()).filter(({ digest }) => nodes.has(digest)))
    }))

  const reading = Semaphore.makeUnsafe(1)

  /** Reads all manifests that have not been read. */
  const readAll = reading.withPermit(Effect.suspend(() => {
    const known = loadAll(graph.unread.others.values())
    return Effect.flatMap(
      known,
      (known) => updating.withPermit(Effect.suspend(() => graph.enter(known.filter(({ digest }) => graph.has(digest)))))
    )
  }))

  return {
    find: (index, digest) => {
      const listed = LayoutIndex.find(index, digest)
      return listed !== undefined
        ? Effect.succeed(listed)
        : Effect.map(update(index), () => graph.parentsOf(digest)?.values().next().value)
    },
    parents: (index) => Effect.as(update(index), (digest) => Array.from(graph.parentsOf(digest)?.keys() ?? [])),
    childrenOf: (descriptor) => Effect.map(load(descriptor), (node) => node?.children ?? []),
    referrers: Effect.fnUntraced(function*(index, subject) {
      yield* update(index)
      yield* readAll
      // what is only contained may have been deleted without a change of the index
      return yield* Effect.filter(
        graph.referrersOf(subject)?.values() ?? [],
        ({ digest }) => LayoutIndex.find(index, digest) !== undefined ? Effect.succeed(true) : options.exists(digest)
      )
    }),
    remember: (descriptor, manifest) => {
      nodes.set(descriptor.digest, nodeOf(descriptor, manifest))
    }
  }
}
