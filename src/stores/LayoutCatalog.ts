/**
 * The manifests of a layout and their relations. A layout has the manifests that its index lists, and those that they
 * contain.
 *
 * A manifest is read once, because its content never changes. The relations are kept in memory and updated from the
 * differences of two indexes, so that the work for a change does not grow with the index. Only image indexes are read
 * to find contained manifests. All manifests are read to list referrers.
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

/** The relations of a manifest. */
interface Node {
  readonly mediaType: string
  readonly children: ReadonlyArray<Descriptor>
  readonly blobs: ReadonlyArray<Digest>
  readonly subject?: Digest | undefined
  /** Its descriptor in the list of referrers of its subject. */
  readonly referrer?: Descriptor | undefined
}

export interface Catalog {
  /** Returns the manifest of a digest if the index lists it, or a manifest of the layout contains it. */
  readonly find: (
    index: LayoutIndex.LayoutIndex,
    digest: Digest
  ) => Effect.Effect<Descriptor | undefined, Reason>
  /** Returns a function that returns the manifests of the layout that contain a manifest. */
  readonly parents: (
    index: LayoutIndex.LayoutIndex
  ) => Effect.Effect<(digest: Digest) => ReadonlyArray<Digest>, Reason>
  /** Returns the manifests that a manifest contains. */
  readonly childrenOf: (descriptor: Descriptor) => Effect.Effect<ReadonlyArray<Descriptor>, Reason>
  /** Returns the manifests of the layout with this subject. */
  readonly referrers: (
    index: LayoutIndex.LayoutIndex,
    subject: Digest
  ) => Effect.Effect<ReadonlyArray<Descriptor>, Reason>
  /** Returns a manifest of the layout that needs some content, if any. */
  readonly holderOf: (
    index: LayoutIndex.LayoutIndex,
    digest: Digest
  ) => Effect.Effect<Digest | undefined, Reason>
  /** Records the relations of a manifest that was written. */
  readonly remember: (descriptor: Descriptor, manifest: Manifest.Manifest | undefined) => void
}

const nodeOf = (descriptor: Descriptor, manifest: Manifest.Manifest | undefined): Node => {
  const { mediaType } = descriptor
  if (manifest === undefined) return { mediaType, children: [], blobs: [] }
  const subject = manifest.content.subject?.digest
  const { blobs, manifests } = Manifest.references(manifest)
  return {
    mediaType,
    children: manifests,
    blobs: blobs.map(({ digest }) => digest),
    ...subject === undefined ? {} : { subject, referrer: Manifest.toReferrer(manifest, descriptor) }
  }
}

/** A map of maps. None of the inner maps is empty. */
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

/**
 * Time in which a missing manifest is not read again, in milliseconds, because an index may contain very many of them.
 */
const absenceTimeToLive = Duration.toMillis("10 seconds")

/**
 * Creates the graph of the manifests of an index, with their children and subjects. A manifest is in the graph if it is
 * listed, or contained in a manifest of the graph.
 */
const makeGraph = (nodes: Map<Digest, Node>) => {
  let index = LayoutIndex.empty
  const there = new Map<Digest, Descriptor>()
  /** Parents of each child, with the descriptor of the child. */
  const parents: Relation = new Map()
  /** Referrers of each subject. */
  const referrers: Relation = new Map()
  /** Manifests of the graph that were not read yet, or were missing. */
  const unread = { indexes: new Map<Digest, Descriptor>(), others: new Map<Digest, Descriptor>() }
  const unreadLike = ({ mediaType }: Descriptor) => MediaType.isIndex(mediaType) ? unread.indexes : unread.others

  /** Adds manifests and their descendants. */
  const enter = function*(descriptors: ReadonlyArray<Descriptor>): Generator<void> {
    const open = [...descriptors]
    // the list grows during the iteration
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

  /** Removes manifests, and their descendants that are neither listed nor contained in other manifests. */
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
    /** Returns a manifest that needs some content, if any. */
    holderOf: function*(digest: Digest): Generator<void, Digest | undefined> {
      for (const holder of there.keys()) {
        yield
        const { blobs = [], children = [] } = nodes.get(holder) ?? {}
        if (blobs.includes(digest) || children.some((child) => child.digest === digest)) return holder
      }
      return undefined
    },
    addedBy: (next: LayoutIndex.LayoutIndex) => Steps.collect(LayoutIndex.added(index, next), manifestsAtATime),
    /** Updates the graph to an index. */
    advance: Effect.fnUntraced(function*(next: LayoutIndex.LayoutIndex, added: ReadonlyArray<Descriptor>) {
      const removed = yield* Steps.collect(LayoutIndex.added(next, index), manifestsAtATime)
      index = next
      yield* Steps.run(enter(added), manifestsAtATime)
      yield* Steps.forEach(removed, manifestsAtATime, ({ digest, mediaType }) => {
        const left = LayoutIndex.find(next, digest) ?? parents.get(digest)?.values().next().value
        if (left?.mediaType === mediaType) return
        leave([digest])
        // without a pause, because its descendants must not be absent meanwhile
        if (left !== undefined) Steps.runSync(enter([left]))
      })
    }, Effect.uninterruptible)
  }
}

/** Creates a catalog. `read` returns the bytes of a manifest, or `undefined` if it is missing or broken. */
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

  /** Returns the relations of a manifest, which is read if it is not known. */
  const load = Effect.fnUntraced(function*(descriptor: Descriptor) {
    const { digest, mediaType } = descriptor
    const known = nodes.get(digest)
    if (known?.mediaType === mediaType) return known
    if (!MediaType.isManifest(mediaType)) return nodeOf(descriptor, undefined)
    const bytes = yield* options.read(descriptor)
    return bytes === undefined ? undefined : nodeOf(descriptor, yield* decode(mediaType, bytes))
  })

  const missing = { digests: new Set<Digest>(), since: 0 }

  /** Reads manifests, except those that were missing a short time ago, and returns those that were found. */
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
    // after reading, because reading very many manifests may take longer than that
    if (missing.digests.size > before) missing.since = yield* Clock.currentTimeMillis
    return found
  })

  const updating = Semaphore.makeUnsafe(1)

  /** Reads the image indexes below an index, and updates the graph. */
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

  /** Reads all manifests of the graph that were not read yet. */
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
      // a manifest that is not listed may have been deleted without a change of the index
      return yield* Effect.filter(
        graph.referrersOf(subject)?.values() ?? [],
        ({ digest }) => LayoutIndex.find(index, digest) !== undefined ? Effect.succeed(true) : options.exists(digest)
      )
    }),
    holderOf: Effect.fnUntraced(function*(index, digest) {
      yield* update(index)
      yield* readAll
      return yield* Steps.run(graph.holderOf(digest), manifestsAtATime)
    }),
    remember: (descriptor, manifest) => {
      nodes.set(descriptor.digest, nodeOf(descriptor, manifest))
    }
  }
}
