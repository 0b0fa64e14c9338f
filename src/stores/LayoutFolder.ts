/**
 * One image layout in a folder. Its index is changed so that neither a crash nor another process does harm.
 *
 * Changes that arrive while others are being written wait, and are written together.
 */
import * as ByteSize from "effect/ByteSize"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import { type Digest, isDigest } from "../Digest.ts"
import { Denied, type Reason, Storage } from "../RegistryError.ts"
import type { Files } from "./Files.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as LayoutIndexFile from "./LayoutIndexFile.ts"
import * as LayoutLock from "./LayoutLock.ts"
import * as LayoutQuarantine from "./LayoutQuarantine.ts"
import * as LayoutReader from "./LayoutReader.ts"
import * as LayoutTurns from "./LayoutTurns.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"
import * as Steps from "./Steps.ts"
import type { VerifiedFiles } from "./VerifiedFiles.ts"

/** Name of the folder within a layout or registry that belongs to this library. No repository can have this name. */
export const ours = ".effect-oci"

/** A change of the index. It is made under the lock of the layout. */
export interface Change<A> {
  /** Maximum size of the index after the change, in bytes. A change that makes the index smaller is always allowed. */
  readonly limit: number
  /** False if the change adds no content, so that the folders of blobs need no sync. Default: true. */
  readonly addsContent?: boolean | undefined
  /** Stores the content that the index will list. It gets the index before all changes that prepare with it. */
  readonly prepare?: ((index: LayoutIndex.LayoutIndex) => Effect.Effect<void, Reason>) | undefined
  readonly edit: (index: LayoutIndex.LayoutIndex) => Effect.Effect<{
    readonly index: LayoutIndex.LayoutIndex
    readonly value: A
    /** Runs after the new index has been written, at the same time as that of other changes. */
    readonly after?: Effect.Effect<unknown, Reason> | undefined
  }, Reason>
}

export interface LayoutFolder extends LayoutReader.Layout {
  readonly blobPath: (digest: Digest) => string
  /** Returns the path of a blob, and creates the folder that it is in. */
  readonly makePath: (digest: Digest) => Effect.Effect<string, Storage>
  readonly quarantine: LayoutQuarantine.LayoutQuarantine
  /** Digests of all blobs. */
  readonly digests: Effect.Effect<ReadonlyArray<Digest>, Storage>
  /** Metadata of all blobs. */
  readonly blobs: Effect.Effect<ReadonlyArray<FileSystem.File.Info>, Storage>
  readonly exists: Effect.Effect<boolean, Reason>
  /** Creates an empty layout unless it exists. */
  readonly create: Effect.Effect<void, Reason>
  /** Changes the index of an existing layout, and waits until the change is on disk. */
  readonly change: <A>(change: Change<A>) => Effect.Effect<A, Reason>
  /** Waits until no collection of this layout runs, and lets no other one run until the scope closes. */
  readonly collecting: Effect.Effect<void, Reason, Scope.Scope>
}

/** Fails if a change makes the index larger, and larger than `limit` bytes. */
export const checkSize = (
  before: LayoutIndex.LayoutIndex,
  after: LayoutIndex.LayoutIndex,
  limit: number
): Effect.Effect<void, Denied> =>
  LayoutIndex.size(after) <= Math.max(limit, LayoutIndex.size(before)) ? Effect.void : Effect.fail(
    new Denied({
      detail: `the repository is full: its index.json may have ${limit} bytes; delete tags or manifests to make room`
    })
  )

interface Context {
  readonly files: Files
  readonly folder: string
  readonly blobsPath: string
  readonly indexFile: LayoutIndexFile.LayoutIndexFile
  readonly turns: LayoutTurns.LayoutTurns
  /** Changes that wait to be written. */
  readonly pending: Array<Pending>
  /** Runs before the layout is created. */
  readonly begin: Effect.Effect<void, Storage>
  /** Number of the lock under which the index was last read or written. */
  lastLock: number
}

/** Runs an effect while this process holds the lock. The caller has a turn. */
const holding = (
  { folder, turns }: Context
) =>
<A, E>(use: (lock: LayoutLock.Lock) => Effect.Effect<A, E>): Effect.Effect<A, E | Reason> =>
  turns.holding((lock) =>
    Effect.updateService(use(lock), LayoutQuarantine.HeldLocks, (held) => new Set([...held, folder]))
  )

// ---------------------------------------------------------------------------------------------------------------------
// changes
// ---------------------------------------------------------------------------------------------------------------------

/** A change that waits to be written. */
interface Pending {
  readonly limit: number
  readonly addsContent: boolean
  readonly prepare: (index: LayoutIndex.LayoutIndex) => Effect.Effect<void, Reason>
  readonly edit: (index: LayoutIndex.LayoutIndex) => Effect.Effect<Edited, Reason>
  readonly fail: (cause: Cause.Cause<Reason>) => void
}

interface Edited {
  readonly index: LayoutIndex.LayoutIndex
  readonly after: Effect.Effect<unknown, Reason>
  readonly succeed: () => void
}

const syncBlobs = ({ blobsPath, files }: Context): Effect.Effect<void, Storage> =>
  Effect.flatMap(
    files.list(blobsPath),
    Effect.forEach((name) => files.syncFolder(files.join(blobsPath, name)), { discard: true })
  )

/**
 * Returns the index. The file is read again unless its metadata is that of the known index, and no other process has
 * held the lock since.
 */
const readIndex = (context: Context, { number }: LayoutLock.Lock) => {
  const isKnown = number === context.lastLock || number === context.lastLock + 1
  const { indexFile } = context
  return Effect.tap(
    isKnown ? LayoutIndexFile.current(indexFile) : LayoutIndexFile.read(indexFile),
    () =>
      Effect.sync(() => {
        context.lastLock = number
      })
  )
}

/** Makes several changes, and writes the index once. A change that fails does not affect the others. */
const makeChanges = Effect.fnUntraced(
  function*(context: Context, changes: ReadonlyArray<Pending>, held: LayoutLock.Lock) {
    const before = yield* readIndex(context, held)
    const prepared = yield* Effect.forEach(
      changes,
      ({ prepare }) => Effect.exit(prepare(before)),
      { concurrency: "unbounded" }
    )
    let index = before
    const made: Array<Edited & Pick<Pending, "fail">> = []
    for (const [position, { edit, fail, limit }] of changes.entries()) {
      const edited = yield* Effect.exit(
        Effect.andThen(prepared[position] ?? Effect.void, edit(index)).pipe(
          Effect.tap((edited) => checkSize(index, edited.index, limit))
        )
      )
      if (Exit.isFailure(edited)) {
        fail(edited.cause)
        continue
      }
      index = edited.value.index
      made.push({ ...edited.value, fail })
    }
    const written = yield* Effect.exit(
      index === before
        ? changes.some(({ addsContent }) => addsContent) ? syncBlobs(context) : Effect.void
        : LayoutIndexFile.write(context.indexFile, index, held, syncBlobs(context))
    )
    yield* Effect.forEach(
      made,
      ({ after, fail, succeed }) =>
        Effect.map(Effect.exit(Effect.andThen(written, after)), (exit) => {
          if (Exit.isSuccess(exit)) succeed()
          else fail(exit.cause)
        }),
      { concurrency: "unbounded", discard: true }
    )
  }
)

/** Takes the lock, and makes all changes that wait. */
const makePending = (context: Context): Effect.Effect<void, Reason> => {
  const { pending } = context
  const failAll = (changes: ReadonlyArray<Pending>) => (cause: Cause.Cause<Reason>) =>
    Effect.sync(() => changes.forEach(({ fail }) => fail(cause)))
  const make = (held: LayoutLock.Lock) =>
    Effect.suspend(() => {
      const changes = pending.splice(0)
      return Effect.uninterruptible(Effect.onError(makeChanges(context, changes, held), failAll(changes)))
    })
  return Effect.tapError(holding(context)(make), (reason) => failAll(pending.splice(0))(Cause.fail(reason)))
}

const change = <A>(
  context: Context,
  { addsContent = true, edit, limit, prepare = () => Effect.void }: Change<A>
): Effect.Effect<A, Reason> =>
  Effect.suspend(() => {
    const { pending, turns } = context
    const done = Deferred.makeUnsafe<A, Reason>()
    const own: Pending = {
      limit,
      addsContent,
      prepare,
      edit: (index) =>
        Effect.map(edit(index), ({ after = Effect.void, index, value }) => ({
          index,
          after,
          succeed: () => Deferred.doneUnsafe(done, Effect.succeed(value))
        })),
      fail: (cause) => Deferred.doneUnsafe(done, Effect.failCause(cause))
    }
    const forget = Effect.sync(() => {
      const position = pending.indexOf(own)
      if (position >= 0) pending.splice(position, 1)
    })
    pending.push(own)
    // another writer may have made this change by the time it is its turn
    const write = Effect.suspend(() => Deferred.isDoneUnsafe(done) ? Effect.void : makePending(context))
    return Effect.andThen(turns.run(write), Deferred.await(done)).pipe(
      Effect.ensuring(Effect.andThen(forget, turns.settle))
    )
  })

// ---------------------------------------------------------------------------------------------------------------------
// creating
// ---------------------------------------------------------------------------------------------------------------------

const fill = Effect.fnUntraced(function*({ blobsPath, files, indexFile }: Context, held: LayoutLock.Lock) {
  if (yield* LayoutIndexFile.exists(indexFile)) return
  yield* files.makeFolder(files.join(blobsPath, "sha256"))
  yield* LayoutIndexFile.create(indexFile, held, files.syncFolder(blobsPath))
}, Effect.uninterruptible)

const create = Effect.fnUntraced(function*(context: Context): Effect.fn.Return<void, Reason> {
  const { begin, files, indexFile, turns } = context
  yield* LayoutIndexFile.recheck(indexFile)
  if (yield* LayoutIndexFile.exists(indexFile)) return
  yield* begin
  yield* files.forget
  yield* turns.run(
    Effect.suspend(() => indexFile.isKnown ? Effect.void : holding(context)((held) => fill(context, held)))
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// blobs
// ---------------------------------------------------------------------------------------------------------------------

const allBlobs = Effect.fnUntraced(function*({ blobsPath, files }: Context) {
  const folders = (yield* files.list(blobsPath)).map((name) => files.join(blobsPath, name))
  const names = yield* Effect.forEach(
    folders,
    (folder) => Effect.map(files.list(folder), (names) => names.map((name) => files.join(folder, name)))
  )
  const found = yield* Effect.forEach(names.flat(), files.stat, { concurrency: 16 })
  return found.filter((info) => info !== undefined).filter(({ type }) => type === "File")
})

/** Number of names that are read without a pause. */
const namesAtATime = 1000

const allDigests = Effect.fnUntraced(function*({ blobsPath, files }: Context) {
  const digests: Array<Digest> = []
  for (const algorithm of yield* files.list(blobsPath, "Directory")) {
    const names = yield* files.list(files.join(blobsPath, algorithm))
    yield* Steps.forEach(names, namesAtATime, (name) => {
      const digest = `${algorithm}:${name}`
      if (isDigest(digest)) digests.push(digest)
    })
  }
  return digests
})

const makeReader = (
  { files, indexFile }: Context,
  blobPath: (digest: Digest) => string,
  quarantine: LayoutQuarantine.LayoutQuarantine
): LayoutReader.Layout =>
  LayoutReader.make({
    index: Effect.suspend(() => LayoutIndexFile.current(indexFile)),
    indexPath: indexFile.indexPath,
    size: (digest) =>
      Effect.gen(function*() {
        yield* LayoutIndexFile.existing(indexFile)
        const info = yield* quarantine.find(digest)
        return info?.type === "File" ? ByteSize.toNumberUnsafe(info.size) : undefined
      }),
    mention: (digest) => Effect.andThen(LayoutIndexFile.existing(indexFile), quarantine.mention(digest)),
    open: (digest) =>
      Effect.gen(function*() {
        yield* LayoutIndexFile.existing(indexFile)
        // without the lock, because the holder of the lock may wait for this reader. It may be moved back meanwhile
        for (const path of [blobPath(digest), quarantine.pathOf(digest), blobPath(digest)]) {
          const file = yield* files.open(path)
          if (file !== undefined) return file
        }
        return undefined
      })
  })

/** Creates the operations on the layout in a folder. `begin` runs before the layout is created. */
export const make = ({ begin, owner, verified, ...options }: LayoutIndexFile.Options & {
  readonly owner: ProcessIdentity
  readonly verified: VerifiedFiles
  readonly begin: Effect.Effect<void, Storage>
}): LayoutFolder => {
  const { files, folder } = options
  const indexFile = LayoutIndexFile.make(options)
  const pending: Array<Pending> = []
  const lock = (name: string) =>
    LayoutLock.acquire({ files, owner, temporary: indexFile.temporary, folder: files.join(folder, ours, name) })
  const turns = LayoutTurns.make({ acquire: lock("lock"), isWanted: () => pending.length > 0 })
  const context: Context = {
    files,
    folder,
    blobsPath: files.join(folder, "blobs"),
    indexFile,
    turns,
    pending,
    begin,
    lastLock: 0
  }
  const blobPath = (digest: Digest) => files.join(folder, ...LayoutFormat.blobPath(digest))
  const quarantine = LayoutQuarantine.make({
    files,
    layout: folder,
    folder: files.join(folder, ours, "collected"),
    broken: files.join(folder, ours, "broken"),
    blobPath,
    verified,
    locked: (effect) => turns.run(holding(context)(() => effect))
  })
  return {
    ...makeReader(context, blobPath, quarantine),
    blobPath,
    quarantine,
    digests: Effect.suspend(() => allDigests(context)),
    makePath: Effect.fnUntraced(function*(digest) {
      const path = blobPath(digest)
      const isNew = yield* files.makeFolder(files.dirname(path))
      if (isNew) yield* files.syncFolder(context.blobsPath)
      return path
    }),
    blobs: Effect.suspend(() => allBlobs(context)),
    exists: Effect.suspend(() => LayoutIndexFile.exists(indexFile)),
    create: Effect.suspend(() => create(context)),
    change: (change_) =>
      Effect.andThen(LayoutIndexFile.existing(indexFile), Effect.suspend(() => change(context, change_))),
    collecting: lock("collecting").pipe(
      Effect.catchTag("Storage", (error) =>
        Effect.fail(
          error.code === "EBUSY"
            ? new Storage({ path: folder, problem: "another collection of it runs", code: error.code })
            : error
        )),
      Effect.asVoid
    )
  }
}
