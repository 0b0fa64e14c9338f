/**
 * The files `index.json` and `oci-layout` of an image layout in a folder: reading them, and replacing them in one step.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { type ContentTooLarge, type NameUnknown, type Reason, Storage } from "../RegistryError.ts"
import { type Files, refusal } from "./Files.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as LayoutIndexText from "./LayoutIndexText.ts"
import type * as LayoutLock from "./LayoutLock.ts"
import * as Steps from "./Steps.ts"

export interface Options {
  readonly files: Files
  /** Absolute path of the layout. */
  readonly folder: string
  /** Returns the path of a draft, on the same file system. */
  readonly temporary: Effect.Effect<string, Storage>
  /** Reason of operations if there is no layout. */
  readonly absence: NameUnknown
}

export interface LayoutIndexFile extends Options {
  readonly indexPath: string
  readonly markerPath: string
  /** Semaphore of readers, so that a large index is not read several times at once. */
  readonly reading: Semaphore.Semaphore
  /** True if the layout was seen. */
  isKnown: boolean
  /**
   * The index as last read or written, and the one before it, with the versions of the file. While the file is
   * replaced, other fibers see the one or the other.
   */
  snapshots: ReadonlyArray<Snapshot>
}

interface Snapshot {
  readonly version: string
  readonly index: LayoutIndex.LayoutIndex
}

export const make = (options: Options): LayoutIndexFile => ({
  ...options,
  indexPath: options.files.join(options.folder, "index.json"),
  markerPath: options.files.join(options.folder, "oci-layout"),
  reading: Semaphore.makeUnsafe(1),
  isKnown: false,
  snapshots: []
})

const firstIndex = LayoutIndexText.format(LayoutIndex.empty)

// ---------------------------------------------------------------------------------------------------------------------
// reading
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Returns true if the folder is a layout. Fails if it is half of one, unless {@link create} may have been interrupted
 * there.
 */
export const exists = Effect.fnUntraced(function*(self: LayoutIndexFile): Effect.fn.Return<boolean, Reason> {
  const { files, indexPath, markerPath } = self
  if (self.isKnown) return true
  const marker = yield* files.read(markerPath, LayoutFormat.markerLimit)
  if (marker === undefined) {
    const index = yield* files.read(indexPath, LayoutFormat.indexLimit)
    if (index === undefined || new TextDecoder().decode(index) === firstIndex) return false
    return yield* new Storage({ path: markerPath, problem: "it is missing, although index.json exists" })
  }
  yield* Effect.mapError(
    Effect.fromResult(LayoutFormat.checkMarker(marker)),
    (problem) => new Storage({ path: markerPath, problem })
  )
  self.isKnown = true
  return true
})

/** Fails with the absence of the layout unless it exists. */
export const existing = (self: LayoutIndexFile): Effect.Effect<void, Reason> =>
  Effect.flatMap(exists(self), (isThere) => isThere ? Effect.void : Effect.fail(self.absence))

/** Returns a text that differs between two contents of the index, because every write creates a file of its own. */
const versionOf = ({ ino, mtime, size }: FileSystem.File.Info): string =>
  `${Option.getOrElse(ino, () => "")} ${Option.getOrUndefined(mtime)?.getTime()} ${size}`

const broken = ({ indexPath }: LayoutIndexFile) => (problem: string) => new Storage({ path: indexPath, problem })

/** Reads the text of the index in pieces, so that a large one does not block other fibers. */
const readText = Effect.fnUntraced(
  function*(self: LayoutIndexFile): Effect.fn.Return<string | undefined, Reason, Scope.Scope> {
    const file = yield* self.files.open(self.indexPath)
    if (file === undefined) return undefined
    const fail = broken(self)
    if (file.size > LayoutFormat.indexLimit) return yield* fail(`it has more than ${LayoutFormat.indexLimit} bytes`)
    const decoder = LayoutFormat.textDecoder()
    const text = yield* Stream.runFoldEffect(
      file.read(0, file.size),
      () => "",
      (text, bytes) => Effect.mapError(Effect.map(Effect.fromResult(decoder.push(bytes)), (more) => text + more), fail)
    )
    return text + (yield* Effect.mapError(Effect.fromResult(decoder.end()), fail))
  },
  Effect.scoped
)

const parse = (self: LayoutIndexFile, text: string) =>
  Effect.flatMap(
    Steps.run(LayoutIndexText.parsing(text)),
    (parsed) => Effect.mapError(Effect.fromResult(parsed), broken(self))
  )

/** Returns true if an index has this text. */
const isTextOf = Effect.fnUntraced(function*(index: LayoutIndex.LayoutIndex, text: string) {
  let position = 0
  for (const piece of LayoutIndexText.texts(index)) {
    if (!text.startsWith(piece, position)) return false
    position += piece.length
    yield* Effect.yieldNow
  }
  return position === text.length
})

const readFile = Effect.fnUntraced(
  function*(self: LayoutIndexFile): Effect.fn.Return<LayoutIndex.LayoutIndex, Reason> {
    yield* existing(self)
    const info = yield* self.files.stat(self.indexPath)
    const text = yield* readText(self)
    if (info === undefined || text === undefined) {
      // fails with the absence of the layout if it was removed as a whole
      self.isKnown = false
      yield* existing(self)
      return yield* broken(self)("it is missing")
    }
    const known = self.snapshots[0]?.index
    const index = known !== undefined && (yield* isTextOf(known, text)) ? known : yield* parse(self, text)
    self.snapshots = [{ version: versionOf(info), index }]
    return index
  }
)

/** Reads the index from the file. */
export const read = (self: LayoutIndexFile): Effect.Effect<LayoutIndex.LayoutIndex, Reason> =>
  self.reading.withPermit(Effect.suspend(() => readFile(self)))

/** Returns the index in memory if the file has not changed since. */
const known = (self: LayoutIndexFile) =>
  Effect.suspend(() =>
    self.isKnown
      ? Effect.map(self.files.stat(self.indexPath), (info) => {
        const version = info === undefined ? undefined : versionOf(info)
        return self.snapshots.find((snapshot) => snapshot.version === version)?.index
      })
      : Effect.undefined
  )

/** Returns the index, and reads the file only if it has changed. */
export const current = Effect.fnUntraced(
  function*(self: LayoutIndexFile): Effect.fn.Return<LayoutIndex.LayoutIndex, Reason> {
    return (yield* known(self)) ?? (yield* self.reading.withPermit(Effect.gen(function*() {
      return (yield* known(self)) ?? (yield* readFile(self))
    })))
  }
)

// ---------------------------------------------------------------------------------------------------------------------
// writing
// ---------------------------------------------------------------------------------------------------------------------

interface Draft {
  readonly info: FileSystem.File.Info
  /** Path to move it to. */
  readonly target: string
}

/**
 * Creates a file of a text that will replace another one. The text is written in pieces, so that a large one does not
 * block other fibers.
 */
const writeDraft = Effect.fnUntraced(
  function*({ files }: LayoutIndexFile, draft: string, path: string, text: Iterable<Uint8Array>): Effect.fn.Return<
    Draft,
    Storage | ContentTooLarge,
    Scope.Scope
  > {
    const file = yield* files.create(draft)
    for (const piece of text) {
      // not interruptible: a write that continues after its file is closed could reach another file
      yield* Effect.uninterruptible(Effect.mapError(file.writeAll(piece), refusal(draft)))
    }
    const info = Effect.mapError(file.stat, refusal(draft))
    return yield* Effect.all({ info, target: files.adopt(draft, path), synced: files.sync(draft, file) }, {
      concurrency: "unbounded"
    })
  },
  Effect.scoped
)

/**
 * Replaces a file in one step. `needed` runs before that: it waits until the content that the file refers to is on
 * disk. `ready` gets the metadata of the new file before it is at its path.
 */
const replace = Effect.fnUntraced(function*(
  self: LayoutIndexFile,
  path: string,
  text: Iterable<Uint8Array>,
  { held: { isHeld }, needed, ready = () => undefined }: {
    readonly held: LayoutLock.Lock
    readonly needed: Effect.Effect<void, Storage>
    readonly ready?: ((info: FileSystem.File.Info) => void) | undefined
  }
): Effect.fn.Return<void, Storage | ContentTooLarge> {
  const { files } = self
  const draft = yield* self.temporary
  yield* Effect.gen(function*() {
    const [, { info, target }] = yield* Effect.all([needed, writeDraft(self, draft, path, text)], { concurrency: 2 })
    if (!(yield* isHeld)) {
      return yield* new Storage({ path, problem: "another process took over while it was written", code: "EBUSY" })
    }
    ready(info)
    yield* files.rename(draft, target)
  }).pipe(Effect.onError(() => Effect.ignore(files.remove(draft))))
})

/** Writes the index while the lock is held. `needed` waits until the content that it lists is on disk. */
export const write = Effect.fnUntraced(function*(
  self: LayoutIndexFile,
  index: LayoutIndex.LayoutIndex,
  held: LayoutLock.Lock,
  needed: Effect.Effect<void, Storage>
): Effect.fn.Return<void, Reason> {
  const { files, folder, indexPath } = self
  yield* replace(self, indexPath, LayoutIndexText.pieces(index), {
    held,
    needed,
    ready: (info) => {
      self.snapshots = [{ version: versionOf(info), index }, ...self.snapshots.slice(0, 1)]
    }
  })
  yield* files.syncFolder(folder)
})

/** Writes the files of an empty layout. `oci-layout` is last, because a folder is a layout once it has one. */
export const create = Effect.fnUntraced(function*(
  self: LayoutIndexFile,
  held: LayoutLock.Lock,
  needed: Effect.Effect<void, Storage>
): Effect.fn.Return<void, Reason> {
  const { files, folder, indexPath, markerPath } = self
  yield* replace(self, indexPath, LayoutIndexText.pieces(LayoutIndex.empty), { held, needed })
  yield* replace(self, markerPath, [new TextEncoder().encode(LayoutFormat.marker)], {
    held,
    needed: Effect.void
  })
  yield* Effect.forEach(files.above(folder), files.syncFolder, { discard: true })
  self.isKnown = true
})

/** Forgets the layout if its marker was removed meanwhile. */
export const recheck = Effect.fnUntraced(function*(self: LayoutIndexFile): Effect.fn.Return<void, Storage> {
  if (self.isKnown && (yield* self.files.stat(self.markerPath)) === undefined) self.isKnown = false
})
