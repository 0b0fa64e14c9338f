/**
 * One image layout in a folder: reading it, and changing its index so that neither a crash nor another process does harm.
 */
import * as ByteSize from "effect/ByteSize"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import { Denied, type NameUnknown, type Reason, Storage } from "../RegistryError.ts"
import { type Files, refusal } from "./Files.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as LayoutLock from "./LayoutLock.ts"
import * as LayoutReader from "./LayoutReader.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"

/** The name of the folder, within another one, that is ours alone. No repository can have it. */
export const ours = ".effect-oci"

/** A change of the index, made while nobody else changes it. */
export interface Change<A> {
  /** Largest size of the index that the change may lead to, in bytes. One that makes it smaller may always do so. */
  readonly limit: number
  /** Puts there what the index will list; at the same time for several changes. */
  readonly prepare?: Effect.Effect<void, Reason>
  readonly edit: (index: LayoutIndex.LayoutIndex) => Effect.Effect<{
    readonly index: LayoutIndex.LayoutIndex
    readonly value: A
    /** What is done once the new index is there. */
    readonly after?: Effect.Effect<unknown, Reason>
  }, Reason>
}

export interface LayoutFolder extends LayoutReader.Layout {
  readonly blobPath: (digest: Digest) => string
  /** The path of a blob that is to be put there. */
  readonly makePath: (digest: Digest) => Effect.Effect<string, Storage>
  /** What is known of each file that is a blob. */
  readonly blobs: Effect.Effect<ReadonlyArray<FileSystem.File.Info>, Storage>
  readonly exists: Effect.Effect<boolean, Reason>
  /** Makes an empty layout, unless one is there. */
  readonly create: Effect.Effect<void, Reason>
  /** Changes the index of a layout that is there. By the end, the change is safe on disk. */
  readonly change: <A>(change: Change<A>) => Effect.Effect<A, Reason>
}

const encoder = new TextEncoder()
const firstIndex = LayoutIndex.format(LayoutIndex.empty)

/** Fails if a change makes the index larger, and larger than it may be, in bytes. */
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

/** A change that waits for its turn. */
interface Pending {
  readonly limit: number
  readonly prepare: Effect.Effect<void, Reason>
  readonly edit: (index: LayoutIndex.LayoutIndex) => Effect.Effect<Edited, Reason>
  readonly fail: (cause: Cause.Cause<Reason>) => void
}

interface Edited {
  readonly index: LayoutIndex.LayoutIndex
  readonly after: Effect.Effect<unknown, Reason>
  readonly succeed: () => void
}

/**
 * Makes what works on the layout in a folder. `temporary` is where files are made that go there once they are whole,
 * `absence` is how operations fail where there is no layout, `begin` is done before one is made.
 */
export const make = (options: {
  readonly files: Files
  readonly owner: ProcessIdentity
  readonly folder: string
  readonly temporary: Effect.Effect<string, Storage>
  readonly absence: NameUnknown
  readonly begin: Effect.Effect<void, Storage>
}): LayoutFolder => {
  const { absence, files, folder, owner, temporary } = options
  const indexPath = files.join(folder, "index.json")
  const layoutPath = files.join(folder, "oci-layout")
  const blobsPath = files.join(folder, "blobs")
  const blobPath = (digest: Digest) => files.join(folder, ...LayoutFormat.blobPath(digest))

  // -- is it a layout? ------------------------------------------------------------------------------------------------

  let isKnown = false

  /** Is there a layout? What is half of one is an error, unless we have begun it. */
  const isThere = Effect.fnUntraced(function*(): Effect.fn.Return<boolean, Reason> {
    if (isKnown) return true
    const layout = yield* files.read(layoutPath, LayoutFormat.markerLimit)
    if (layout === undefined) {
      const index = yield* files.read(indexPath, LayoutFormat.indexLimit)
      if (index === undefined || new TextDecoder().decode(index) === firstIndex) return false
      return yield* new Storage({
        path: layoutPath,
        problem: "it is missing, so that the index beside it says nothing"
      })
    }
    yield* Effect.mapError(
      Effect.fromResult(LayoutFormat.checkMarker(layout)),
      (problem) => new Storage({ path: layoutPath, problem })
    )
    isKnown = true
    return true
  })

  const existing = Effect.flatMap(
    Effect.suspend(isThere),
    (isThere) => isThere ? Effect.void : Effect.fail(absence)
  )

  // -- reading the index ----------------------------------------------------------------------------------------------

  let snapshot: { readonly version: string; readonly index: LayoutIndex.LayoutIndex } | undefined

  /** Tells one content of a file from another, as long as each is a file of its own. */
  const versionOf = ({ ino, mtime, size }: FileSystem.File.Info): string =>
    `${Option.getOrElse(ino, () => "")} ${Option.getOrUndefined(mtime)?.getTime()} ${size}`

  const broken = (problem: string) => new Storage({ path: indexPath, problem })

  /** Reads the text of the index in pieces, so that a long one does not block others. */
  const readText = Effect.fnUntraced(function*(): Effect.fn.Return<string | undefined, Reason, Scope.Scope> {
    const file = yield* files.open(indexPath)
    if (file === undefined) return undefined
    if (file.size > LayoutFormat.indexLimit) return yield* broken(`it has more than ${LayoutFormat.indexLimit} bytes`)
    const decoder = LayoutFormat.textDecoder()
    const text = yield* Stream.runFoldEffect(
      file.read(0, file.size),
      () => "",
      (text, bytes) =>
        Effect.mapError(Effect.map(Effect.fromResult(decoder.push(bytes)), (more) => text + more), broken)
    )
    return text + (yield* Effect.mapError(Effect.fromResult(decoder.end()), broken))
  }, Effect.scoped)

  const parse = Effect.fnUntraced(function*(text: string) {
    const steps = LayoutIndex.parsing(text)
    let step = steps.next()
    for (; step.done !== true; step = steps.next()) yield* Effect.yieldNow
    return yield* Effect.mapError(Effect.fromResult(step.value), broken)
  })

  /** Returns true if an index has this text. */
  const isTextOf = Effect.fnUntraced(function*(index: LayoutIndex.LayoutIndex, text: string) {
    let position = 0
    for (const piece of LayoutIndex.pieces(index)) {
      if (!text.startsWith(piece, position)) return false
      position += piece.length
      yield* Effect.yieldNow
    }
    return position === text.length
  })

  const readFile = Effect.fnUntraced(function*(): Effect.fn.Return<LayoutIndex.LayoutIndex, Reason> {
    yield* existing
    const info = yield* files.stat(indexPath)
    const text = yield* readText()
    if (info === undefined || text === undefined) {
      // has the layout gone, or its index alone?
      isKnown = false
      yield* existing
      return yield* broken("it is missing")
    }
    const known = snapshot?.index
    const index = known !== undefined && (yield* isTextOf(known, text)) ? known : yield* parse(text)
    snapshot = { version: versionOf(info), index }
    return index
  })

  // a large index is not read several times at once
  const readTurn = Semaphore.makeUnsafe(1)
  const read = readTurn.withPermit(Effect.suspend(readFile))

  /** The last index, unless the file is another one now. */
  const known = Effect.suspend(() =>
    isKnown
      ? Effect.map(files.stat(indexPath), (info) =>
        info !== undefined && snapshot?.version === versionOf(info) ? snapshot.index : undefined)
      : Effect.undefined
  )

  const index = Effect.gen(function*() {
    return (yield* known) ?? (yield* readTurn.withPermit(Effect.gen(function*() {
      return (yield* known) ?? (yield* readFile())
    })))
  })

  const layout = LayoutReader.make({
    index,
    indexPath,
    size: (digest) =>
      Effect.gen(function*() {
        yield* existing
        const info = yield* files.stat(blobPath(digest))
        return info?.type === "File" ? ByteSize.toNumberUnsafe(info.size) : undefined
      }),
    open: (digest) => Effect.andThen(existing, files.open(blobPath(digest)))
  })

  // -- changing it ----------------------------------------------------------------------------------------------------

  const lock = Effect.suspend(() =>
    LayoutLock.acquire({ files, owner, temporary, folder: files.join(folder, ours, "lock") })
  )

  /** Creates a file of a text in pieces, so that a long one does not block others. */
  const writeText = Effect.fnUntraced(function*(path: string, pieces: Iterable<string>) {
    const file = yield* files.create(path)
    for (const piece of pieces) {
      // a write that goes on while its file is closed could end up in another one
      yield* Effect.uninterruptible(Effect.mapError(file.writeAll(encoder.encode(piece)), refusal(path)))
    }
    yield* files.sync(path, file)
  }, Effect.scoped)

  /** Puts a file in the place of another, all of it or nothing, once what is needed for that is safe on disk. */
  const replace = Effect.fnUntraced(
    function*(path: string, text: Iterable<string>, { isHeld }: LayoutLock.Lock, needed: Effect.Effect<void, Reason>) {
      const draft = yield* temporary
      yield* Effect.gen(function*() {
        yield* Effect.all([needed, writeText(draft, text)], { concurrency: 2, discard: true })
        if (!(yield* isHeld)) {
          return yield* new Storage({ path, problem: "another process took over while it was written", code: "EBUSY" })
        }
        yield* files.replace(draft, path)
      }).pipe(Effect.onError(() => Effect.ignore(files.remove(draft))))
    }
  )

  const syncBlobs = Effect.flatMap(
    Effect.suspend(() => files.list(blobsPath)),
    Effect.forEach((name) => files.syncFolder(files.join(blobsPath, name)), { discard: true })
  )

  const turn = Semaphore.makeUnsafe(1)
  const pending: Array<Pending> = []

  const write = Effect.fnUntraced(function*(index: LayoutIndex.LayoutIndex, held: LayoutLock.Lock) {
    yield* replace(indexPath, LayoutIndex.pieces(index), held, syncBlobs)
    yield* files.syncFolder(folder)
    const info = yield* files.stat(indexPath)
    snapshot = info === undefined ? undefined : { version: versionOf(info), index }
  })

  /** Makes several changes, and writes the index once. */
  const makeChanges = Effect.fnUntraced(function*(changes: ReadonlyArray<Pending>, held: LayoutLock.Lock) {
    const before = yield* read
    const prepared = yield* Effect.forEach(changes, ({ prepare }) => Effect.exit(prepare), { concurrency: "unbounded" })
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
    const written = yield* Effect.exit(index === before ? syncBlobs : write(index, held))
    for (const { after, fail, succeed } of made) {
      const exit = yield* Effect.exit(Effect.andThen(written, after))
      if (Exit.isSuccess(exit)) succeed()
      else fail(exit.cause)
    }
  })

  /** Makes all changes that wait. */
  const makePending = Effect.suspend(() => {
    const failAll = (changes: ReadonlyArray<Pending>) => (cause: Cause.Cause<Reason>) =>
      Effect.sync(() => changes.forEach(({ fail }) => fail(cause)))
    const make = (held: LayoutLock.Lock) => {
      const changes = pending.splice(0)
      return Effect.uninterruptible(Effect.onError(makeChanges(changes, held), failAll(changes)))
    }
    return Effect.scoped(Effect.flatMap(
      Effect.tapError(lock, (reason) => failAll(pending.splice(0))(Cause.fail(reason))),
      make
    ))
  })

  const change = <A>({ edit, limit, prepare = Effect.void }: Change<A>): Effect.Effect<A, Reason> =>
    Effect.suspend(() => {
      const done = Deferred.makeUnsafe<A, Reason>()
      const own: Pending = {
        limit,
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
      return turn.withPermit(Effect.suspend(() => Deferred.isDoneUnsafe(done) ? Effect.void : makePending)).pipe(
        Effect.andThen(Deferred.await(done)),
        Effect.ensuring(forget)
      )
    })

  // -- creating it ----------------------------------------------------------------------------------------------------

  /** The folder is a layout as soon as it has an `oci-layout`, which comes last. */
  const fill = Effect.fnUntraced(function*(held: LayoutLock.Lock) {
    if (yield* isThere()) return
    yield* files.makeFolder(files.join(blobsPath, "sha256"))
    yield* replace(indexPath, [firstIndex], held, files.syncFolder(blobsPath))
    yield* replace(layoutPath, [LayoutFormat.marker], held, Effect.void)
    yield* Effect.forEach(files.above(folder), files.syncFolder, { discard: true })
    isKnown = true
  }, Effect.uninterruptible)

  const create = Effect.gen(function*() {
    // it may have been taken away meanwhile
    if (isKnown && (yield* files.stat(layoutPath)) === undefined) isKnown = false
    if (yield* isThere()) return
    yield* options.begin
    yield* files.forget
    yield* turn.withPermit(
      Effect.suspend(() => isKnown ? Effect.void : Effect.scoped(Effect.flatMap(lock, fill)))
    )
  })

  const blobs = Effect.gen(function*() {
    const folders = (yield* files.list(blobsPath)).map((name) => files.join(blobsPath, name))
    const names = yield* Effect.forEach(
      folders,
      (folder) => Effect.map(files.list(folder), (names) => names.map((name) => files.join(folder, name)))
    )
    const found = yield* Effect.forEach(names.flat(), files.stat, { concurrency: 16 })
    return found.filter((info) => info !== undefined).filter(({ type }) => type === "File")
  })

  const makePath = Effect.fnUntraced(function*(digest: Digest) {
    const path = blobPath(digest)
    const isNew = yield* files.makeFolder(files.dirname(path))
    if (isNew) yield* files.syncFolder(blobsPath)
    return path
  })

  return {
    ...layout,
    blobPath,
    makePath,
    blobs,
    exists: Effect.suspend(isThere),
    create,
    change: (change_) => Effect.andThen(existing, change(change_))
  }
}
