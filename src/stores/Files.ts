/**
 * Files below one folder, and nowhere else: what leads out of it by a symbolic link is an error. Whatever the system
 * refuses is a `Storage` reason.
 */
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { ContentTooLarge, Storage } from "../RegistryError.ts"

const sentences: Readonly<Record<string, string>> = {
  EACCES: "permission is denied",
  EBUSY: "it is in use",
  EDQUOT: "the quota of disk space is used up",
  EEXIST: "it is there already",
  EFBIG: "it would be larger than the file system takes",
  EIO: "the device failed",
  EISDIR: "it is a folder",
  ELOOP: "symbolic links lead in a circle",
  EMFILE: "too many files are open",
  EMLINK: "it has as many links as the file system takes",
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

/** What the system says about a path. */
export const refusal = (path: string) => (error: PlatformError): Storage => {
  const code = codeOf(error)
  const problem = sentences[code ?? ""] ?? `the system refuses it (${code ?? error.reason._tag})`
  return new Storage({ path, problem, ...code === undefined ? {} : { code } })
}

const isAbsence = (error: PlatformError): boolean => {
  const code = codeOf(error)
  return error.reason._tag === "NotFound" || code === "ENOTDIR" || code === "ENAMETOOLONG"
}

/** A file that is open for reading. */
export interface OpenFile {
  /** In bytes. */
  readonly size: number
  /** The bytes from `offset` up to `end`, as often as wanted. */
  readonly read: (offset: number, end: number) => Stream.Stream<Uint8Array, Storage>
}

export interface Files {
  /** Absolute path of the folder. */
  readonly root: string
  readonly join: (...parts: ReadonlyArray<string>) => string
  readonly dirname: (path: string) => string
  /** A folder, and those above it up to the one that has the root. */
  readonly above: (folder: string) => ReadonlyArray<string>
  /** What is there, if anything; of a link, what it leads to. */
  readonly stat: (path: string) => Effect.Effect<FileSystem.File.Info | undefined, Storage>
  /** The names in a folder, of folders alone if asked for; none where there is no such folder. */
  readonly list: (path: string, type?: "Directory") => Effect.Effect<ReadonlyArray<string>, Storage>
  /** Opens a file, if it is there. */
  readonly open: (path: string) => Effect.Effect<OpenFile | undefined, Storage, Scope.Scope>
  /** Reads a file of at most `limit` bytes, if it is there. */
  readonly read: (path: string, limit: number) => Effect.Effect<Uint8Array | undefined, ContentTooLarge | Storage>
  /** Creates a file that must not be there yet, for writing. */
  readonly create: (path: string) => Effect.Effect<FileSystem.File, Storage, Scope.Scope>
  /** Opens a file that is there, for writing. */
  readonly update: (path: string) => Effect.Effect<FileSystem.File, Storage, Scope.Scope>
  /** Creates a file of these bytes; they are safe on disk by the end unless that does not matter. */
  readonly write: (
    path: string,
    bytes: Uint8Array,
    options?: { readonly isDurable: boolean }
  ) => Effect.Effect<void, Storage>
  /**
   * Creates a folder, and those above it, unless it is there, and tells whether it was not. One that was there before is
   * taken to be there still.
   */
  readonly makeFolder: (path: string) => Effect.Effect<boolean, Storage>
  /** Takes nothing for granted any more. */
  readonly forget: Effect.Effect<void>
  readonly rename: (from: string, to: string) => Effect.Effect<void, Storage>
  /** Puts a draft in the place of a file, if there is one. A link to the file stays, and so do its permissions. */
  readonly replace: (draft: string, path: string) => Effect.Effect<void, Storage>
  /** Gives a file a second name. A symbolic link is none. */
  readonly link: (from: string, to: string) => Effect.Effect<void, Storage>
  readonly copy: (from: string, to: string) => Effect.Effect<void, Storage>
  /** Says that a file is still in use. */
  readonly touch: (path: string) => Effect.Effect<void, Storage>
  /** Removes a file, and tells whether it was there. */
  readonly remove: (path: string) => Effect.Effect<boolean, Storage>
  /** Waits until what is in an open file is safe on disk. */
  readonly sync: (path: string, file: FileSystem.File) => Effect.Effect<void, Storage>
  /** Waits until what a folder lists is safe on disk, on systems that can tell. */
  readonly syncFolder: (path: string) => Effect.Effect<void, Storage>
}

/** Of one read from a file, in bytes. */
const pieceSize = 512 * 1024

/** Reads an open file, counting from `base` on. */
export const readFrom = (path: string, file: FileSystem.File, base: number = 0): OpenFile["read"] => (offset, end) =>
  Stream.paginate(offset, (position) => {
    if (position >= end) return Effect.succeed([[], Option.none()])
    const size = Math.min(pieceSize, end - position)
    return Effect.flatMap(
      Effect.mapError(file.readAlloc(size, { position: BigInt(base + position) }), refusal(path)),
      Option.match({
        onNone: () => Effect.fail(new Storage({ path, problem: "it became shorter while it was read" })),
        onSome: (bytes) => {
          const next = position + bytes.length
          return Effect.succeed([[bytes], next < end ? Option.some(next) : Option.none()])
        }
      })
    )
  })

/** Bytes in memory, as if they were a file. */
export const ofBytes = (bytes: Uint8Array): OpenFile => ({
  size: bytes.length,
  read: (offset, end) => offset < end ? Stream.succeed(bytes.subarray(offset, end)) : Stream.empty
})

/** Gives a draft the owner, as far as the system permits that, and the permissions of the file that it replaces. */
export const keepPermissions = Effect.fnUntraced(function*(draft: string, { gid, mode, uid }: FileSystem.File.Info) {
  const fs = yield* FileSystem.FileSystem
  const owner = Option.all({ uid, gid })
  if (Option.isSome(owner)) yield* Effect.ignore(fs.chown(draft, owner.value.uid, owner.value.gid))
  yield* Effect.ignore(fs.chmod(draft, mode & 0o777))
})

/**
 * Makes the files below a folder. The folder may be written in any way, because its path is resolved here, once:
 * everything else compares paths as text.
 */
export const make = Effect.fnUntraced(function*(
  folder: string,
  options: { readonly isDurable: boolean }
): Effect.fn.Return<Files, never, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = path.resolve(folder)

  const refused = <A, R>(at: string, effect: Effect.Effect<A, PlatformError, R>) => Effect.mapError(effect, refusal(at))
  const ifThere = <A, R>(at: string, effect: Effect.Effect<A, PlatformError, R>) =>
    Effect.catch(effect, (error) => isAbsence(error) ? Effect.undefined : Effect.fail(refusal(at)(error)))

  // -- staying inside -------------------------------------------------------------------------------------------------

  const insideFolders = new Set<string>()

  const checkInside = Effect.fnUntraced(function*(at: string) {
    const real = yield* ifThere(at, fs.realPath(at))
    const realRoot = yield* ifThere(root, fs.realPath(root))
    if (real === undefined || realRoot === undefined) return false
    const relative = path.relative(realRoot, real)
    if (relative.split(path.sep)[0] === ".." || path.isAbsolute(relative)) {
      return yield* new Storage({ path: at, problem: `a symbolic link leads out of ${root}` })
    }
    return true
  })

  /** Is the folder there, and inside? */
  const checkFolder = (folder: string): Effect.Effect<boolean, Storage> =>
    insideFolders.has(folder)
      ? Effect.succeed(true)
      : Effect.tap(checkInside(folder), (isInside) => Effect.sync(() => isInside && insideFolders.add(folder)))

  const stat: Files["stat"] = Effect.fnUntraced(function*(at) {
    if (!(yield* checkFolder(path.dirname(at)))) return undefined
    const info = yield* ifThere(at, fs.lstat(at))
    if (info?.type !== "SymbolicLink") return info
    return (yield* checkInside(at)) ? yield* ifThere(at, fs.stat(at)) : undefined
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
    const file = yield* ifThere(at, fs.open(at))
    if (file === undefined) return undefined
    const { size } = yield* refused(at, file.stat)
    return { size: ByteSize.toNumberUnsafe(size), read: readFrom(at, file) }
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
    const entries = (yield* ifThere(at, fs.readDirectoryEntries(at))) ?? []
    return entries.filter((entry) => type === undefined || entry.type === type).map(({ name }) => name)
  })

  // -- writing --------------------------------------------------------------------------------------------------------

  const opened = (flag: FileSystem.OpenFlag) => (at: string) =>
    Effect.andThen(writable(at), refused(at, fs.open(at, { flag })))

  const sync: Files["sync"] = (at, file) => options.isDurable ? refused(at, file.sync) : Effect.void

  const remove: Files["remove"] = (at) =>
    Effect.map(
      Effect.andThen(checkFolder(path.dirname(at)), ifThere(at, Effect.as(fs.remove(at), true))),
      (isRemoved) => isRemoved ?? false
    )

  const write: Files["write"] = (at, bytes, { isDurable } = { isDurable: true }) =>
    Effect.scoped(Effect.gen(function*() {
      const file = yield* opened("wx")(at)
      yield* Effect.gen(function*() {
        // a write that goes on while its file is closed could end up in another one
        yield* Effect.uninterruptible(refused(at, file.writeAll(bytes)))
        if (isDurable) yield* sync(at, file)
      }).pipe(Effect.onError(() => Effect.ignore(remove(at))))
    }))

  // one by one, so that none is made behind a link that leads out
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
    replace: Effect.fnUntraced(function*(draft, to) {
      yield* writable(to)
      const info = yield* stat(to)
      if (info !== undefined) yield* Effect.provideService(keepPermissions(draft, info), FileSystem.FileSystem, fs)
      yield* refused(to, fs.rename(draft, info === undefined ? to : yield* refused(to, fs.realPath(to))))
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
