/**
 * Garbage collection of a layout, while this process and others use it.
 *
 * First it reads all manifests of the layout, and decides which of them stay and what these need. Then it removes the
 * others, and after them the blobs, in batches. Each batch holds the lock of the layout for a short time. It begins
 * with a second look: what the index lists since the last look stays, with all that it needs. The entries of manifests
 * are removed from the index before their files are.
 */
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import { type Reason, Storage } from "../RegistryError.ts"
import type * as GarbageCollection from "./GarbageCollection.ts"
import * as LayoutEntry from "./LayoutEntry.ts"
import type { Change } from "./LayoutFolder.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as LayoutQuarantine from "./LayoutQuarantine.ts"
import * as LayoutReader from "./LayoutReader.ts"
import type { LayoutTarget } from "./LayoutTarget.ts"
import * as ManifestLinks from "./ManifestLinks.ts"
import * as Reachability from "./Reachability.ts"
import * as SortedMap from "./SortedMap.ts"
import * as Steps from "./Steps.ts"

/** Maximum number of manifests or blobs that are removed while the lock is held. */
const removedAtATime = 256

/** Time after which nothing more is removed while the lock is held, in milliseconds, because pushes wait for it. */
const heldTime = 20

/** Number of files that are examined at the same time. */
const filesAtATime = 16

/**
 * Number of files that are removed at the same time. That many are removed although pushes wait, so that a collection
 * ends while clients always push. All of them take little longer than one, because each waits for busy threads.
 */
const removalsAtATime = 48

/** Number of entries that are handled without a pause. */
const itemsAtATime = 200

/** Time between two batches, in which other processes can take the lock. */
const pause = Duration.millis(30)

/** Content that goes, with its file. */
export interface Removed {
  readonly entry: Omit<GarbageCollection.Entry, "repository">
  readonly info: FileSystem.File.Info
}

export interface Options {
  readonly target: LayoutTarget
  readonly policies: GarbageCollection.Options
  /** Content that was written or mentioned later stays. */
  readonly cutoff: number
  /** Records content that goes. */
  readonly record: (removed: Removed) => void
}

interface Context extends Options {
  readonly reachability: Reachability.Reachability
  /** The index at the last look. */
  seen: LayoutIndex.LayoutIndex
}

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

const unreadable = ({ target: { layout } }: Context, digest: Digest, problem: string) =>
  new Storage({
    path: layout.blobPath(digest),
    problem: `${problem}, so that it is unknown what it needs; push or delete this manifest`
  })

/** Returns the names of a manifest in an index. */
const namesOf = (index: LayoutIndex.LayoutIndex, digest: Digest): ReadonlyArray<string> =>
  Array.from(LayoutIndex.entriesOf(index, digest)).flatMap((entry) =>
    entry.isPlain ? [] : entry.tag !== undefined && entry.isExact ? [entry.tag] : LayoutEntry.namesOf(entry)
  )

/** Returns the links of content that is a manifest, or may be one because its type is unknown. */
const linksOf = Effect.fnUntraced(function*(
  context: Context,
  { digest, mediaType }: Descriptor,
  size: number
): Effect.fn.Return<ManifestLinks.ManifestLinks, Reason> {
  const isKnown = MediaType.isManifest(mediaType)
  if (!isKnown && size > LayoutReader.manifestLimit) return ManifestLinks.none
  const bytes = yield* LayoutReader.readBlob(context.target.layout, digest).pipe(Effect.catchTags({
    ContentTooLarge: () => Effect.fail(unreadable(context, digest, "it is larger than a manifest may be")),
    DigestMismatch: () => Effect.fail(unreadable(context, digest, "its content does not match its digest")),
    UnsupportedAlgorithm: () => Effect.fail(unreadable(context, digest, "its digest cannot be verified"))
  }))
  if (bytes === undefined) return ManifestLinks.none
  const type = mediaType === "" ? Result.getOrElse(Manifest.mediaTypeOf("", bytes), () => "") : mediaType
  return yield* ManifestLinks.make(type, bytes)
})

/** Returns the links of a manifest whose file does not exist. */
const linksOfAbsent = (context: Context, digest: Digest): Effect.Effect<ManifestLinks.ManifestLinks, Storage> =>
  Effect.flatMap(context.target.layout.quarantine.isIsolated(digest), (isIsolated) =>
    isIsolated
      ? Effect.fail(unreadable(context, digest, "it was broken, and moved aside"))
      : Effect.succeed(ManifestLinks.none))

/** Reads manifests, and those that they contain, unless they are known. */
const load = Effect.fnUntraced(function*(
  context: Context,
  index: LayoutIndex.LayoutIndex,
  descriptors: Iterable<Descriptor>
): Effect.fn.Return<void, Reason> {
  const { cutoff, reachability, target: { layout } } = context
  const known = new Set<Digest>()
  let open = Array.from(descriptors)
  while (open.length > 0) {
    const next: Array<Descriptor> = []
    yield* Effect.forEach(
      open,
      Effect.fnUntraced(function*(descriptor) {
        const { digest, mediaType } = descriptor
        if (known.has(digest) || reachability.get(digest) !== undefined) return
        known.add(digest)
        const info = yield* layout.quarantine.find(digest)
        const size = info === undefined ? 0 : ByteSize.toNumberUnsafe(info.size)
        const links = info === undefined
          ? yield* linksOfAbsent(context, digest)
          : yield* linksOf(context, descriptor, size)
        reachability.add({
          digest,
          mediaType,
          size,
          names: namesOf(index, digest),
          isYoung: info !== undefined && LayoutQuarantine.timeOf(info) > cutoff,
          isAbsent: info === undefined,
          needs: links.needs,
          subject: links.subject
        })
        next.push(...links.manifests)
      }),
      { concurrency: 8, discard: true }
    )
    open = next
  }
})

/** Keeps all content that an entry without a valid descriptor may mean. */
const keepInvalid = (context: Context, index: LayoutIndex.LayoutIndex) =>
  Steps.run(
    function*() {
      for (const [, entry] of SortedMap.entries(index.entries)) {
        yield
        if (Result.isSuccess(entry.descriptor)) continue
        for (const digest of ManifestLinks.mentions(entry.text)) yield* context.reachability.keep(digest)
      }
    }(),
    itemsAtATime
  )

const keep = ({ reachability }: Context, digest: Digest) => Steps.run(reachability.keep(digest), itemsAtATime)

/** Keeps what an index lists since the last look. */
const lookAgain = Effect.fnUntraced(function*(context: Context, index: LayoutIndex.LayoutIndex) {
  const { seen } = context
  if (index === seen) return
  const added = yield* Steps.collect(LayoutIndex.added(seen, index), itemsAtATime)
  yield* load(context, index, added)
  for (const { digest } of added) yield* keep(context, digest)
  yield* keepInvalid(context, index)
  context.seen = index
})

// ---------------------------------------------------------------------------------------------------------------------
// removing
// ---------------------------------------------------------------------------------------------------------------------

/** Makes a change of the index that lets it become no larger. */
const change = <A>({ target: { layout } }: Context, edit: Change<A>["edit"]) =>
  layout.change({ limit: LayoutFormat.indexLimit, edit, addsContent: false })

/** Removes a file that is in quarantine, and returns true if it did. */
const discard = ({ target: { key, layout, usage } }: Context, digest: Digest) =>
  usage.removing(key, layout.quarantine.pathOf(digest), layout.quarantine.discard(digest))

const entryOf = ({ node, reason }: Reachability.Removal): Removed["entry"] => ({
  kind: "manifest",
  digest: node.digest,
  size: node.size,
  reason,
  ...node.names.length === 0 ? {} : { tags: node.names }
})

/** Returns an index with the manifests that stay although what contained them goes. */
const withOrphans = (
  { reachability }: Context,
  index: LayoutIndex.LayoutIndex,
  removed: ReadonlyArray<Reachability.Removal>
) =>
  Steps.reduce(index, removed, itemsAtATime, (index, { node }) =>
    node.needs.reduce((index, digest) => {
      const child = reachability.get(digest)
      if (child === undefined || !reachability.isKept(digest)) return index
      const isContained = reachability.parentsOf(digest).some(reachability.isKept)
      const isListed = LayoutIndex.find(index, digest) !== undefined
      return isContained || isListed ? index : LayoutIndex.add(index, child)
    }, index))

/**
 * Runs an effect for items while the lock is held, until the time is over or a push waits for the lock. Returns the
 * items that are left.
 */
const whileHeld = Effect.fnUntraced(function*<A, E>(
  { target: { layout } }: Context,
  items: ReadonlyArray<A>,
  use: (item: A) => Effect.Effect<void, E>,
  concurrency: "unbounded" | 1
) {
  const end = (yield* Clock.currentTimeMillis) + heldTime
  for (let position = 0; position < items.length; position += removalsAtATime) {
    if (position > 0 && (layout.isWanted() || (yield* Clock.currentTimeMillis) > end)) return items.slice(position)
    const group = items.slice(position, position + removalsAtATime)
    yield* Effect.forEach(group, use, { concurrency, discard: true })
  }
  return []
})

/** Moves a manifest to the quarantine. One that was mentioned or tagged meanwhile stays, with all that it needs. */
const seizeManifest = Effect.fnUntraced(
  function*(context: Context, index: LayoutIndex.LayoutIndex, { digest, names }: Reachability.Node) {
    const { cutoff, reachability, target: { layout } } = context
    if (reachability.isKept(digest)) return "kept"
    const isNamed = namesOf(index, digest).some((name) => !names.includes(name))
    // moves the file back if another process has left it in quarantine
    const found = isNamed ? undefined : yield* layout.quarantine.find(digest)
    const seized = isNamed ? "young" : found === undefined ? "absent" : yield* layout.quarantine.seize(digest, cutoff)
    if (seized !== "young") return seized
    yield* keep(context, digest)
    return "kept"
  }
)

/** Removes manifests until {@link whileHeld} ends, and returns those that are left. */
const removeManifests = (context: Context, removals: ReadonlyArray<Reachability.Removal>) =>
  change(
    context,
    Effect.fnUntraced(function*(index) {
      yield* lookAgain(context, index)
      const seized: Array<Removed> = []
      const gone = new Set<Digest>()
      const seize = (removal: Reachability.Removal) =>
        Effect.map(seizeManifest(context, index, removal.node), (info) => {
          if (info === "kept") return
          gone.add(removal.node.digest)
          if (info !== "absent") seized.push({ entry: entryOf(removal), info })
        })
      // one after another, because a manifest that stays keeps those that it contains
      const left = yield* whileHeld(context, removals, seize, 1)
      let next = index
      for (const digest of gone) {
        next = yield* Steps.settle(next, (index) => LayoutIndex.without(index, digest, itemsAtATime))
      }
      const removed = removals.filter(({ node }) => gone.has(node.digest))
      return {
        index: yield* withOrphans(context, next, removed),
        value: left,
        after: Effect.map(
          Effect.filter(seized, ({ entry }) => discard(context, entry.digest), { concurrency: removalsAtATime }),
          (removed) => removed.forEach(context.record)
        )
      }
    })
  )

/** Returns true if a file may go. */
const isOld = ({ cutoff }: Context, info: FileSystem.File.Info | undefined): info is FileSystem.File.Info =>
  info?.type === "File" && LayoutQuarantine.timeOf(info) <= cutoff

const blobOf = (digest: Digest, info: FileSystem.File.Info): Removed => ({
  entry: { kind: "blob", digest, size: ByteSize.toNumberUnsafe(info.size), reason: "unreferenced" },
  info
})

/** Runs an effect for blobs that nothing needs and whose files are old. */
const forOldBlobs = <E>(
  context: Context,
  digests: ReadonlyArray<Digest>,
  use: (removed: Removed) => Effect.Effect<void, E>
): Effect.Effect<void, E | Storage> =>
  Effect.forEach(
    digests,
    Effect.fnUntraced(function*(digest) {
      const { reachability, target: { files, layout } } = context
      if (reachability.isKept(digest)) return
      const info = yield* files.stat(layout.blobPath(digest))
      if (isOld(context, info)) yield* use(blobOf(digest, info))
    }),
    { concurrency: filesAtATime, discard: true }
  )

/** Removes blobs until {@link whileHeld} ends, and returns those that are left. */
const removeBlobs = Effect.fnUntraced(function*(context: Context, digests: ReadonlyArray<Digest>) {
  let left: ReadonlyArray<Digest> = []
  const seized: Array<Removed> = []
  const seize = Effect.fnUntraced(function*(digest: Digest) {
    const { cutoff, reachability, target: { layout } } = context
    if (reachability.isKept(digest)) return
    const info = yield* layout.quarantine.seize(digest, cutoff)
    if (typeof info !== "string") seized.push(blobOf(digest, info))
  })
  yield* change(context, (index) =>
    Effect.succeed({
      index,
      value: undefined,
      after: Effect.gen(function*() {
        // the index that was written together with this batch
        yield* lookAgain(context, yield* context.target.layout.index)
        left = yield* whileHeld(context, digests, seize, "unbounded")
      })
    }))
  // without the lock, because a file in the quarantine moves back as soon as it is wanted
  yield* Effect.forEach(
    seized,
    (removed) => Effect.map(discard(context, removed.entry.digest), (isGone) => isGone && context.record(removed)),
    { concurrency: filesAtATime, discard: true }
  )
  return left
})

// ---------------------------------------------------------------------------------------------------------------------
// the collection
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Runs an effect for batches of items, with pauses in which other processes can take the lock. The effect returns the
 * items that are left for the next batch.
 */
const inBatches = Effect.fnUntraced(function*<A>(
  context: Context,
  items: ReadonlyArray<A>,
  use: (batch: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<A>, Reason>
) {
  let left: ReadonlyArray<A> = []
  for (let position = 0; position < items.length || left.length > 0;) {
    if (position > 0) yield* Effect.sleep(pause)
    // without the lock first, so that little is left to read while it is held
    yield* lookAgain(context, yield* context.target.layout.index)
    yield* context.target.layout.quiet
    const next = position + removedAtATime - left.length
    left = yield* use([...left, ...items.slice(position, next)])
    position = next
  }
})

/** Returns the blobs that nothing needs and whose files are old. */
const candidates = Effect.fnUntraced(function*(context: Context) {
  const { reachability, target: { layout } } = context
  const found: Array<Removed> = []
  yield* forOldBlobs(
    context,
    (yield* layout.digests).filter((digest) => reachability.get(digest) === undefined),
    (removed) => Effect.sync(() => found.push(removed))
  )
  return found
})

/** Returns the files of broken content that were moved aside before the grace period, and that may go. */
const oldBroken = Effect.fnUntraced(function*({ cutoff, reachability, target: { files, layout } }: Context) {
  const old = (yield* layout.quarantine.isolated).filter(([, info]) => LayoutQuarantine.timeOf(info) <= cutoff)
  return yield* Effect.filter(old, ([digest]) =>
    // as long as a manifest is missing, its broken file says that it is unknown what it needs
    reachability.get(digest) === undefined
      ? Effect.succeed(true)
      : Effect.map(files.stat(layout.blobPath(digest)), (info) => info !== undefined))
})

/** Removes broken content that was moved aside, or records it in a dry run. */
const removeBroken = Effect.fnUntraced(function*(context: Context) {
  const { policies, record, target: { layout } } = context
  const recordOf = ([digest, info]: readonly [Digest, FileSystem.File.Info]) => {
    const { entry } = blobOf(digest, info)
    record({ entry: { ...entry, reason: "broken" }, info })
  }
  const found = yield* oldBroken(context)
  if (found.length === 0) return
  if (policies.dryRun === true) return found.forEach(recordOf)
  // under the lock, because content is moved aside under it
  yield* change(
    context,
    Effect.fnUntraced(function*(index) {
      yield* lookAgain(context, index)
      for (const item of yield* oldBroken(context)) {
        if (yield* layout.quarantine.discardIsolated(item[0])) recordOf(item)
      }
      return { index, value: undefined }
    })
  )
})

/** Collects a layout. Fails with `Storage` before it removes anything if it cannot read a manifest. */
export const run = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<void, Reason> {
  const { policies, record, target: { files, layout } } = options
  const isDry = policies.dryRun === true
  const context: Context = { ...options, reachability: Reachability.make(policies), seen: yield* layout.index }
  if (!isDry) {
    yield* change(context, (index) => Effect.as(layout.quarantine.restoreAll, { index, value: undefined }))
  }
  const index = yield* layout.index
  context.seen = index
  yield* load(context, index, LayoutIndex.roots(index))
  yield* keepInvalid(context, index)
  const removals = yield* Steps.run(context.reachability.settle(), itemsAtATime)
  if (isDry) {
    for (const removal of removals) {
      const info = yield* files.stat(layout.blobPath(removal.node.digest))
      if (info !== undefined) record({ entry: entryOf(removal), info })
    }
  } else yield* inBatches(context, removals, (batch) => removeManifests(context, batch))
  if (policies.broken !== "keep") yield* removeBroken(context)
  if (policies.blobs === "keep") return
  const blobs = yield* candidates(context)
  if (isDry) blobs.forEach(record)
  else yield* inBatches(context, blobs.map(({ entry }) => entry.digest), (batch) => removeBlobs(context, batch))
})
