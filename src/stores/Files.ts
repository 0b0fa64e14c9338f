/**
 * Files below one folder. A symbolic link that leads out of the folder is an error. Operations that the system refuses
 * fail with a `Storage` reason.
 */
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { ContentTooLarge, Storage } from "../RegistryError.ts"
import * as LentPieces from "./LentPieces.ts"

const sentences: Readonly<Record<string, string>> = {
  EACCES: "permission is denied",
  EBUSY: "it is in use",
  EDQUOT: "the quota of disk space is used up",
  EEXIST: "it already exists",
  EFBIG: "it would be larger than the file system allows",
  EIO: "the device failed",
  EISDIR: "it is a folder",
  ELOOP: "symbolic links lead in a circle",
  EMFILE: "too many files are open",
  EMLINK: "it has as many links as the file system allows",
  ENAMETOOLONG: "its name is too long for the file system",
  ENFILE: "too many files are open",
  ENOENT: "there is no such file or folder",
  ENOSPC: "no space is left on the device",
  EPIPE: "its reader has closed it",
  ENOTDIR: "a part of its path is not a folder",
  EPERM: "permission is denied",
  EROFS: "the file system is read-only",
  EXDEV: "it is on another file system"
}

const codeOf = (error: PlatformError): string | undefined => {
  const { cause } = error.reason
  return hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : undefined
}

/** Converts an error of the file system to a `Storage` reason about a path. */
export const refusal = (path: string) => (error: PlatformError): Storage => {
  const code = codeOf(error)
  const problem = sentences[code ?? ""] ?? `the system refuses it (${code ?? error.reason._tag})`
  return new Storage({ path, problem, ...code === undefined ? {} : { code } })
}

const isNotFound = (error: PlatformError): boolean => error.reason._tag === "NotFound"

/** Returns true if a path does not exist, or cannot: a parent is a file, or its name is too long. */
const isImpossible = (error: PlatformError): boolean => {
  const code = codeOf(error)
  return isNotFound(error) || code === "ENOTDIR" || code === "ENAMETOOLONG"
}

/**
 * Runs an effect on a path. Returns `undefined` for errors that `isAbsence` accepts, and fails with `Storage` on
 * others.
 */
export const orAbsent = <A, R>(
  path: string,
  effect: Effect.Effect<A, PlatformError, R>,
  isAbsence: (error: PlatformError) => boolean = isNotFound
): Effect.Effect<A | undefined, Storage, R> =>
  Effect.catch(effect, (error) => isAbsence(error) ? Effect.undefined : Effect.fail(refusal(path)(error)))

/** A file that is open for reading. */
export interface OpenFile {
  /** Size in bytes. */
  readonly size: number
  /** Returns the bytes from `offset` up to `end`. It may be called and run any number of times. */
  readonly read: (offset: number, end: number) => Stream.Stream<Uint8Array, Storage>
  /**
   * The same in pieces that are valid until the reader asks for the next one. Absent if the file cannot lend pieces.
   */
  readonly lend?: ((offset: number, end: number) => Stream.Stream<Uint8Array, Storage>) | undefined
  /** Metadata of the file when it was opened. Absent if it is not a file of its own. */
  readonly info?: FileSystem.File.Info | undefined
}

export interface Files {
  /** Absolute path of the folder. */
  readonly root: string
  readonly join: (...parts: ReadonlyArray<string>) => string
  readonly dirname: (path: string) => string
  /** Returns a folder and its parents, up to the parent of the root. */
  readonly above: (folder: string) => ReadonlyArray<string>
  /** Returns the metadata of a file or folder if it exists. Symbolic links are followed. */
  readonly stat: (path: string) => Effect.Effect<FileSystem.File.Info | undefined, Storage>
  /** Returns the names in a folder, or only those of folders. The result is empty if the folder does not exist. */
  readonly list: (path: string, type?: "Directory") => Effect.Effect<ReadonlyArray<string>, Storage>
  /** Opens a file for reading if it exists. */
  readonly open: (path: string) => Effect.Effect<OpenFile | undefined, Storage, Scope.Scope>
  /** Reads a file if it exists. Fails with `ContentTooLarge` if it has more than `limit` bytes. */
  readonly read: (path: string, limit: number) => Effect.Effect<Uint8Array | undefined, ContentTooLarge | Storage>
  /** Creates a file for writing. Fails if it exists. */
  readonly create: (path: string) => Effect.Effect<FileSystem.File, Storage, Scope.Scope>
  /** Opens an existing file for writing. */
  readonly update: (path: string) => Effect.Effect<FileSystem.File, Storage, Scope.Scope>
  /** Creates a file with these bytes, and waits until they are on disk unless `isDurable` is false. */
  readonly write: (
    path: string,
    bytes: Uint8Array,
    options?: { readonly isDurable: boolean }
  ) => Effect.Effect<void, Storage>
  /**
   * Creates a folder and its parents, and returns true if the folder did not exist. A folder that was seen before is
   * assumed to exist until {@link forget} runs.
   */
  readonly makeFolder: (path: string) => Effect.Effect<boolean, Storage>
  /** Discards what is known of folders, so that they are checked again. */
  readonly forget: Effect.Effect<void>
  readonly rename: (from: string, to: string) => Effect.Effect<void, Storage>
  /**
   * Gives a draft the permissions of the file at a path that it will replace, if there is one. Returns the path to move
   * the draft to, which is another one if `path` is a link to the file.
   */
  readonly adopt: (draft: string, path: string) => Effect.Effect<string, Storage>
  /** Creates a hard link. Fails if `from` is a symbolic link. */
  readonly link: (from: string, to: string) => Effect.Effect<void, Storage>
  readonly copy: (from: string, to: string) => Effect.Effect<void, Storage>
  /** Sets the modification time of a file to the current time, which marks it as in use. */
  readonly touch: (path: string) => Effect.Effect<void, Storage>
  /** Removes a file, and returns true if it existed. */
  readonly remove: (path: string) => Effect.Effect<boolean, Storage>
  /** Waits until the content of an open file is on disk. */
  readonly sync: (path: string, file: FileSystem.File) => Effect.Effect<void, Storage>
  /** Waits until the entries of a folder are on disk. Does nothing on systems that cannot sync folders. */
  readonly syncFolder: (path: string) => Effect.Effect<void, Storage>
}

/** Size of one read from a file, in bytes. */
const pieceSize = 512 * 1024

const becameShorter = (path: string) => new Storage({ path, problem: "it became shorter while it was read" })

/** Fills a buffer with the bytes of a file from `position` on. */
const fill = (
  path: string,
  file: FileSystem.File,
  buffer: Uint8Array,
  position: number
): Effect.Effect<void, Storage> =>
  Effect.flatMap(Effect.mapError(file.read(buffer, { position: BigInt(position) }), refusal(path)), (count) => {
    if (count === 0) return Effect.fail(becameShorter(path))
    return count < buffer.length ? fill(path, file, buffer.subarray(count), position + count) : Effect.void
  })

/** Reads an open file. Offsets are relative to `base`. */
export const readFrom = (path: string, file: FileSystem.File, base: number = 0): OpenFile["read"] => (offset, end) =>
  Stream.paginate(offset, (position) => {
    if (position >= end) return Effect.succeed([[], Option.none()])
    const size = Math.min(pieceSize, end - position)
    return Effect.flatMap(
      Effect.mapError(file.readAlloc(size, { position: BigInt(base + position) }), refusal(path)),
      Option.match({
        onNone: () => Effect.fail(becameShorter(path)),
        onSome: (bytes) => {
          const next = position + bytes.length
          return Effect.succeed([[bytes], next < end ? Option.some(next) : Option.none()])
        }
      })
    )
  })

/** Returns bytes in memory as an open file. */
export const ofBytes = (bytes: Uint8Array): OpenFile => ({
  size: bytes.length,
  read: (offset, end) => offset < end ? Stream.succeed(bytes.subarray(offset, end)) : Stream.empty
})

/**
 * Copies the owner and the permissions of a file to the draft that replaces it. The owner stays unchanged if the system
 * does not permit changing it.
 */
export const keepPermissions = Effect.fnUntraced(function*(draft: string, { gid, mode, uid }: FileSystem.File.Info) {
  const fs = yield* FileSystem.FileSystem
  const before = Option.getOrUndefined(yield* Effect.option(fs.stat(draft)))
  const ownerOf = (info: Pick<FileSystem.File.Info, "uid" | "gid">) => Option.all([info.uid, info.gid])
  const isOwned = before !== undefined && Equal.equals(ownerOf(before), ownerOf({ uid, gid }))
  const owner = Option.getOrUndefined(ownerOf({ uid, gid }))
  if (owner !== undefined && !isOwned) yield* Effect.ignore(fs.chown(draft, ...owner))
  if (before?.mode !== mode) yield* Effect.ignore(fs.chmod(draft, mode & 0o777))
})

/**
 * Creates the operations on files below a folder. The path of the folder is resolved here once, because everything else
 * compares paths as text.
 */
export const make = Effect.fnUntraced(function*(
  folder: string,
  options: { readonly isDurable: boolean }
): Effect.fn.Return<Files, never, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = path.resolve(folder)

  const refused = <A, R>(at: string, effect: Effect.Effect<A, PlatformError, R>) => Effect.mapError(effect, refusal(at))
  const existing = <A, R>(at: string, effect: Effect.Effect<A, PlatformError, R>) => orAbsent(at, effect, isImpossible)

  // -- staying inside -------------------------------------------------------------------------------------------------

  const insideFolders = new Set<string>()

  const checkInside = Effect.fnUntraced(function*(at: string) {
    const real = yield* existing(at, fs.realPath(at))
    const realRoot = yield* existing(root, fs.realPath(root))
    if (real === undefined || realRoot === undefined) return false
    const relative = path.relative(realRoot, real)
    if (relative.split(path.sep)[0] === ".." || path.isAbsolute(relative)) {
      return yield* new Storage({ path: at, problem: `a symbolic link leads out of ${root}` })
    }
    return true
  })

  /** Returns true if the folder exists. Fails if it is outside of the root. */
  const checkFolder = (folder: string): Effect.Effect<boolean, Storage> =>
    insideFolders.has(folder)
      ? Effect.succeed(true)
      : Effect.tap(checkInside(folder), (isInside) => Effect.sync(() => isInside && insideFolders.add(folder)))

  const stat: Files["stat"] = Effect.fnUntraced(function*(at) {
    if (!(yield* checkFolder(path.dirname(at)))) return undefined
    const info = yield* existing(at, fs.lstat(at))
    if (info?.type !== "SymbolicLink") return info
    return (yield* checkInside(at)) ? yield* existing(at, fs.stat(at)) : undefined
  })

  const writable = Effect.fnUntraced(function*(at: string) {
    const folder = path.dirname(at)
    if (!(yield* checkFolder(folder))) {
      return yield* new Storage({ path: folder, problem: "there is no such folder", code: "ENOENT" })
    }
  })

  // -- reading --------------------------------------------------------------------------------------------------------

  const open: Files["open"] = Effect.fnUntraced(function*(at) {
    const info = yield* stat(at)
    if (info === undefined) return undefined
    if (info.type !== "File") return yield* new Storage({ path: at, problem: "it is not a file" })
    const file = yield* existing(at, fs.open(at))
    if (file === undefined) return undefined
    const opened = yield* refused(at, file.stat)
    return {
      size: ByteSize.toNumberUnsafe(opened.size),
      read: readFrom(at, file),
      lend: (offset, end) => LentPieces.read(offset, end, (buffer, position) => fill(at, file, buffer, position)),
      info: opened
    }
  })

  const read: Files["read"] = (at, limit) =>
    Effect.scoped(Effect.gen(function*() {
      const file = yield* open(at)
      if (file === undefined) return undefined
      if (file.size > limit) return yield* new ContentTooLarge({ limit })
      return yield* Stream.mkUint8Array(file.read(0, file.size))
    }))

  const list: Files["list"] = Effect.fnUntraced(function*(at, type) {
    if (!(yield* checkFolder(at))) return []
    const entries = (yield* existing(at, fs.readDirectoryEntries(at))) ?? []
    return entries.filter((entry) => type === undefined || entry.type === type).map(({ name }) => name)
  })

  // -- writing --------------------------------------------------------------------------------------------------------

  const opened = (flag: FileSystem.OpenFlag) => (at: string) =>
    Effect.andThen(writable(at), refused(at, fs.open(at, { flag })))

  const sync: Files["sync"] = (at, file) => options.isDurable ? refused(at, file.sync) : Effect.void

  const remove: Files["remove"] = (at) =>
    Effect.map(
      Effect.andThen(checkFolder(path.dirname(at)), existing(at, Effect.as(fs.remove(at), true))),
      (isRemoved) => isRemoved ?? false
    )

  const write: Files["write"] = (at, bytes, { isDurable } = { isDurable: true }) =>
    Effect.scoped(Effect.gen(function*() {
      const file = yield* opened("wx")(at)
      yield* Effect.gen(function*() {
        // not interruptible: a write that continues after its file is closed could reach another file
        yield* Effect.uninterruptible(refused(at, file.writeAll(bytes)))
        if (isDurable) yield* sync(at, file)
      }).pipe(Effect.onError(() => Effect.ignore(remove(at))))
    }))

  // each folder after its parent, so that none is created through a link that leads out of the root
  const makeFolder: Files["makeFolder"] = Effect.fnUntraced(function*(at) {
    if (yield* checkFolder(at)) return false
    if (at !== root) yield* makeFolder(path.dirname(at))
    yield* Effect.catchIf(
      refused(at, fs.makeDirectory(at, { recursive: at === root })),
      ({ code }) => code === "EEXIST",
      () => Effect.void
    )
    yield* checkFolder(at)
    return true
  })

  const syncFolder: Files["syncFolder"] = (at) =>
    !options.isDurable ? Effect.void : Effect.scoped(Effect.gen(function*() {
      // Windows does not open folders, and some file systems do not sync them
      const folder = yield* Effect.option(fs.open(at))
      if (Option.isNone(folder)) return
      yield* Effect.catchIf(
        folder.value.sync,
        (error) => codeOf(error) !== "EIO",
        () => Effect.void
      )
    })).pipe(Effect.mapError(refusal(at)))

  return {
    root,
    join: path.join,
    dirname: path.dirname,
    above: (folder) => {
      const folders = [folder]
      for (let at = folder; at !== root && at !== path.dirname(at); at = path.dirname(at)) {
        folders.push(path.dirname(at))
      }
      return [...folders, path.dirname(root)]
    },
    stat,
    list,
    open,
    read,
    create: opened("wx"),
    update: opened("r+"),
    write,
    makeFolder,
    forget: Effect.sync(() => insideFolders.clear()),
    adopt: Effect.fnUntraced(function*(draft, to) {
      yield* writable(to)
      const entry = yield* existing(to, fs.lstat(to))
      const isLink = entry?.type === "SymbolicLink"
      const info = isLink ? yield* stat(to) : entry
      if (info === undefined) return to
      yield* Effect.provideService(keepPermissions(draft, info), FileSystem.FileSystem, fs)
      return isLink ? yield* refused(to, fs.realPath(to)) : to
    }),
    rename: (from, to) => Effect.andThen(writable(to), refused(to, fs.rename(from, to))),
    link: Effect.fnUntraced(function*(from, to) {
      const { type } = yield* refused(from, fs.lstat(from))
      if (type !== "File") return yield* new Storage({ path: from, problem: "it is not a file" })
      yield* writable(to)
      yield* refused(to, fs.link(from, to))
    }),
    copy: (from, to) => Effect.andThen(writable(to), Effect.uninterruptible(refused(to, fs.copyFile(from, to)))),
    touch: (at) => Effect.flatMap(Clock.currentTimeMillis, (now) => refused(at, fs.utimes(at, now / 1000, now / 1000))),
    remove,
    sync,
    syncFolder
  }
})
