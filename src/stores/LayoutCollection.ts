/**
 * Garbage collection of a layout, while this process and others use it.
 *
 * First it reads all manifests of the layout, and decides which of them stay and what these need. Then it removes the
 * others, and after them the blobs, in batches. It moves the files of a batch to the quarantine without the lock of the
 * layout, because pushes would wait for that. Then it takes the lock for a short time, and looks a second time: what
 * the index lists since the last look stays, with all that it needs, and its files are moved back. A push that found a
 * file before it was moved has listed its manifest by then, and a push that comes later finds the file in the
 * quarantine, and moves it back itself. The files that are still there are removed after that: blobs without the lock,
 * and manifests before it is released, because one that is moved back later would lack the manifests that it contains.
 * The entries of manifests are removed from the index before their files are. What a manifest contains is listed
 * instead of it, until it is removed itself.
 */
import * as Arr from "effect/Array"
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
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

/**
 * Number of manifests or blobs in a batch. The lock is taken once for each batch. Manifests are removed while it is
 * held, so that pushes wait for a batch of them.
 */
const batchSizes = { manifests: 96, blobs: 1024 }

/**
 * Number of files that are examined, moved or removed at the same time. With more of them the collection ends much
 * sooner, and pushes wait little longer.
 */
const filesAtATime = 32

/** Number of entries that are handled without a pause. */
const itemsAtATime = 200

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
  /** Manifests whose entries were removed. */
  readonly gone: Set<Digest>
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

/** Keeps all content that an entry without a valid descriptor may mean, unless an earlier index has that entry. */
const keepInvalid = (context: Context, before: LayoutIndex.LayoutIndex, index: LayoutIndex.LayoutIndex) =>
  Steps.run(
    function*() {
      for (const [, entry] of SortedMap.added(before.entries, index.entries)) {
        yield
        if (Result.isSuccess(entry.descriptor)) continue
        for (const digest of ManifestLinks.mentions(entry.text)) yield* context.reachability.keep(digest)
      }
    }(),
    itemsAtATime
  )

const keep = ({ reachability }: Context, digest: Digest) => Steps.run(reachability.keep(digest), itemsAtATime)

/** Keeps what an index lists since the last look. */
const lookAgain = (context: Context) =>
  Effect.fnUntraced(function*(index: LayoutIndex.LayoutIndex) {
    const { seen } = context
    if (index === seen) return
    const added = yield* Steps.collect(LayoutIndex.added(seen, index), itemsAtATime)
    yield* load(context, index, added)
    for (const { digest } of added) yield* keep(context, digest)
    yield* keepInvalid(context, seen, index)
    context.seen = index
  })

/** Keeps what the index lists since the last look. It takes no lock. */
const lookNow = (context: Context) => Effect.flatMap(context.target.layout.index, lookAgain(context))

// ---------------------------------------------------------------------------------------------------------------------
// removing
// ---------------------------------------------------------------------------------------------------------------------

/** Makes a change of the index that lets it become no larger. */
const change = <A>({ target: { layout } }: Options, edit: Change<A>["edit"]) =>
  layout.change({ limit: LayoutFormat.indexLimit, edit, addsContent: false })

/** Content whose files are in the quarantine. */
type Seized = Map<Digest, Removed>

/**
 * Moves the files of content to the quarantine that nothing needs. Content that was written or mentioned meanwhile
 * stays, with all that it needs.
 */
const seize = (context: Context, entries: ReadonlyArray<Removed["entry"]>, seized: Seized) =>
  Effect.forEach(
    entries,
    Effect.fnUntraced(function*(entry) {
      const { cutoff, reachability, target: { layout } } = context
      const { digest } = entry
      if (reachability.isKept(digest)) return
      const info = yield* layout.quarantine.seize(digest, cutoff)
      if (info === "young") yield* keep(context, digest)
      else if (info !== "absent") seized.set(digest, { entry, info })
    }, Effect.uninterruptible),
    { concurrency: filesAtATime, discard: true }
  )

/** Moves files back whose content stays after all. */
const restoreKept = ({ reachability, target: { layout } }: Context, seized: Seized) =>
  Effect.forEach(
    Array.from(seized.keys()).filter(reachability.isKept),
    (digest) => Effect.map(layout.quarantine.restore(digest), () => seized.delete(digest)),
    { concurrency: filesAtATime, discard: true }
  )

/** Removes the files that are still in the quarantine, and records them in the order of the entries. */
const discard = Effect.fnUntraced(
  function*(context: Context, entries: ReadonlyArray<Removed["entry"]>, seized: Seized) {
    const { record, target: { key, layout, usage } } = context
    const removed = yield* Effect.filter(
      entries.flatMap(({ digest }) => seized.get(digest) ?? []),
      ({ entry: { digest } }) =>
        usage.removing(key, layout.quarantine.pathOf(digest), layout.quarantine.discard(digest)),
      { concurrency: filesAtATime }
    )
    removed.forEach(record)
  }
)

/**
 * Moves the files of content to the quarantine, and runs `settle`. That takes the lock, looks again, and then runs the
 * effect `finish`, which moves back what stays after all and removes the others. If anything fails, all files are moved
 * back that were not removed.
 */
const remove = (
  context: Context,
  entries: ReadonlyArray<Removed["entry"]>,
  settle: (finish: Effect.Effect<void, Reason>) => Effect.Effect<void, Reason>
) =>
  Effect.suspend(() => {
    const seized: Seized = new Map()
    const finish = Effect.andThen(
      Effect.suspend(() => restoreKept(context, seized)),
      Effect.suspend(() => discard(context, entries, seized))
    )
    return Effect.andThen(seize(context, entries, seized), settle(finish)).pipe(Effect.onError(() =>
      Effect.forEach(seized.keys(), (digest) => Effect.ignore(context.target.layout.quarantine.restore(digest)))
    ))
  })

const entryOf = ({ node, reason }: Reachability.Removal): Removed["entry"] => ({
  kind: "manifest",
  digest: node.digest,
  size: node.size,
  reason,
  ...node.names.length === 0 ? {} : { tags: node.names }
})

/** Returns an index that lists the manifests that only removed ones contain, and that were not removed yet. */
const withOrphans = (
  { gone, reachability }: Context,
  index: LayoutIndex.LayoutIndex,
  removed: ReadonlyArray<Reachability.Removal>
) =>
  Steps.reduce(index, removed, itemsAtATime, (index, { node }) =>
    node.needs.reduce((index, digest) => {
      const child = reachability.get(digest)
      if (child === undefined || child.isAbsent === true || gone.has(digest)) return index
      const isContained = reachability.parentsOf(digest).some((parent) => !gone.has(parent))
      const isListed = LayoutIndex.find(index, digest) !== undefined
      return isContained || isListed ? index : LayoutIndex.add(index, child)
    }, index))

/** Keeps manifests that were tagged meanwhile, or whose files were moved back or written again. */
const keepWanted = (context: Context, index: LayoutIndex.LayoutIndex, removals: ReadonlyArray<Reachability.Removal>) =>
  Effect.forEach(
    removals,
    Effect.fnUntraced(function*({ node: { digest, names } }) {
      const { reachability, target: { files, layout } } = context
      if (reachability.isKept(digest)) return
      const isNamed = namesOf(index, digest).some((name) => !names.includes(name))
      if (isNamed || (yield* files.stat(layout.blobPath(digest))) !== undefined) yield* keep(context, digest)
    }),
    { concurrency: filesAtATime, discard: true }
  )

/** Removes the entries of manifests from the index, except those that stay after all, and then runs `finish`. */
const removeEntries = (
  context: Context,
  removals: ReadonlyArray<Reachability.Removal>,
  finish: Effect.Effect<void, Reason>
) =>
  change(
    context,
    Effect.fnUntraced(function*(index) {
      yield* lookAgain(context)(index)
      yield* keepWanted(context, index, removals)
      const removed = removals.filter(({ node }) => !context.reachability.isKept(node.digest))
      let next = index
      for (const { node: { digest } } of removed) {
        next = yield* Steps.settle(next, (index) => LayoutIndex.without(index, digest, itemsAtATime))
        context.gone.add(digest)
      }
      // a manifest that is pushed after this is new
      context.seen = yield* withOrphans(context, next, removed)
      return { index: context.seen, value: undefined, after: finish }
    })
  )

/** Removes manifests, except those that stay after all. */
const removeManifests = (context: Context, removals: ReadonlyArray<Reachability.Removal>) =>
  remove(
    context,
    removals.map(entryOf),
    (finish) => Effect.andThen(lookNow(context), removeEntries(context, removals, finish))
  )

const blobOf = (digest: Digest, info: FileSystem.File.Info): Removed => ({
  entry: { kind: "blob", digest, size: ByteSize.toNumberUnsafe(info.size), reason: "unreferenced" },
  info
})

/** Removes blobs, except those that stay after all. */
const removeBlobs = (context: Context, blobs: ReadonlyArray<Removed>) =>
  remove(
    context,
    blobs.map(({ entry }) => entry),
    (finish) =>
      change(context, (index) => Effect.succeed({ index, value: index })).pipe(
        Effect.flatMap(lookAgain(context)),
        Effect.andThen(finish)
      )
  )

// ---------------------------------------------------------------------------------------------------------------------
// the collection
// ---------------------------------------------------------------------------------------------------------------------

/** Runs an effect for batches of items. */
const inBatches = <A>(
  items: ReadonlyArray<A>,
  size: number,
  use: (batch: ReadonlyArray<A>) => Effect.Effect<void, Reason>
) => Effect.forEach(Arr.chunksOf(items, size), use, { discard: true })

/** Returns the blobs that nothing needs and whose files are old. */
const candidates = Effect.fnUntraced(function*({ cutoff, reachability, target: { files, layout } }: Context) {
  const found: Array<Removed> = []
  yield* Effect.forEach(
    (yield* layout.digests).filter((digest) => reachability.get(digest) === undefined && !reachability.isKept(digest)),
    Effect.fnUntraced(function*(digest) {
      const info = yield* files.stat(layout.blobPath(digest))
      if (info?.type === "File" && LayoutQuarantine.timeOf(info) <= cutoff) found.push(blobOf(digest, info))
    }),
    { concurrency: filesAtATime, discard: true }
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
  // with the lock, so that no manifest is listed between the look and the removal
  yield* change(
    context,
    Effect.fnUntraced(function*(index) {
      yield* lookAgain(context)(index)
      for (const item of yield* oldBroken(context)) {
        if (yield* layout.quarantine.discardIsolated(item[0])) recordOf(item)
      }
      return { index, value: undefined }
    })
  )
})

/** Collects a layout. Fails with `Storage` before it removes anything if it cannot read a manifest. */
export const run = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<void, Reason, Scope.Scope> {
  const { policies, record, target: { files, layout } } = options
  const isDry = policies.dryRun === true
  // fails if there is no layout, before the lock would create folders
  yield* layout.index
  if (!isDry) {
    yield* layout.collecting
    yield* change(options, (index) => Effect.as(layout.quarantine.restoreAll, { index, value: undefined }))
  }
  const index = yield* layout.index
  const context: Context = { ...options, reachability: Reachability.make(policies), gone: new Set(), seen: index }
  yield* load(context, index, LayoutIndex.roots(index))
  yield* keepInvalid(context, LayoutIndex.empty, index)
  const removals = yield* Steps.run(context.reachability.settle(), itemsAtATime)
  if (isDry) {
    for (const removal of removals) {
      const info = yield* files.stat(layout.blobPath(removal.node.digest))
      if (info !== undefined) record({ entry: entryOf(removal), info })
    }
  } else yield* inBatches(removals, batchSizes.manifests, (batch) => removeManifests(context, batch))
  if (policies.broken !== "keep") yield* removeBroken(context)
  if (policies.blobs === "keep") return
  const blobs = yield* candidates(context)
  if (isDry) blobs.forEach(record)
  else yield* inBatches(blobs, batchSizes.blobs, (batch) => removeBlobs(context, batch))
}, Effect.scoped)
