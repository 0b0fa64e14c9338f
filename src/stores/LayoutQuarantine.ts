/**
 * Removal of files of blobs and manifests from a layout while other processes use it.
 *
 * A process that acknowledges that content exists first sets the modification time of its file to the current time, and
 * then checks that the file is still there. A collection moves a file to `.effect-oci/collected` before it looks at the
 * time, and moves it back if that is recent. So either the process finds the file missing, or the collection finds the
 * time recent.
 *
 * A process that misses a file looks for it in that folder. It reads the file there, but before it acknowledges that
 * the file exists, it moves it back while it holds the lock of the layout. The collection takes the lock before it
 * removes the file. So it sees all that was listed by processes that found the file before it was moved, and later ones
 * can move it back. A file that a process leaves there as it ends is moved back by the next process that misses it, or
 * collects.
 *
 * Broken files take the same way to `.effect-oci/broken`. No process reads them there. Their modification time is set
 * to that of the move, so that a collection removes them some time after it.
 */
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Digest from "../Digest.ts"
import type { Reason, Storage } from "../RegistryError.ts"
import { freshness } from "./Cutoff.ts"
import type { Files } from "./Files.ts"
import type { VerifiedFiles } from "./VerifiedFiles.ts"

/** Folders of the layouts whose locks this fiber holds. */
export const HeldLocks: Context.Reference<ReadonlySet<string>> = Context.Reference(
  "effect-oci/LayoutQuarantine/HeldLocks",
  { defaultValue: (): ReadonlySet<string> => new Set() }
)

export interface LayoutQuarantine {
  /** Returns the path of a file while it is in quarantine. */
  readonly pathOf: (digest: Digest.Digest) => string
  /** Returns the metadata of a file if it exists. A file that a collection left in quarantine is moved back. */
  readonly find: (digest: Digest.Digest) => Effect.Effect<FileSystem.File.Info | undefined, Reason>
  /** Returns the size of a file in bytes if it exists, and marks the file as mentioned. */
  readonly mention: (digest: Digest.Digest) => Effect.Effect<number | undefined, Reason>
  /** Moves a file to the quarantine, and returns its metadata, unless it was written or mentioned after `cutoff`. */
  readonly seize: (
    digest: Digest.Digest,
    cutoff: number
  ) => Effect.Effect<FileSystem.File.Info | "young" | "absent", Storage>
  /** Moves a file back that is in quarantine. */
  readonly restore: (digest: Digest.Digest) => Effect.Effect<void, Storage>
  /** Removes a file from the quarantine. Returns false if it was moved back. */
  readonly discard: (digest: Digest.Digest) => Effect.Effect<boolean, Storage>
  /**
   * Moves a file to the folder of broken files, and returns true, unless it has other metadata than `expected`, because
   * it was replaced or mentioned meanwhile. The caller holds the lock of the layout, and no collection runs.
   */
  readonly isolate: (digest: Digest.Digest, expected: FileSystem.File.Info) => Effect.Effect<boolean, Storage>
  /** Digests of the broken files, with the metadata of the files. */
  readonly isolated: Effect.Effect<ReadonlyArray<readonly [Digest.Digest, FileSystem.File.Info]>, Storage>
  /** Removes a broken file, and returns true if it existed. */
  readonly discardIsolated: (digest: Digest.Digest) => Effect.Effect<boolean, Storage>
  /** Returns true if a broken file of this digest was moved aside. */
  readonly isIsolated: (digest: Digest.Digest) => Effect.Effect<boolean, Storage>
  /** Moves all files back that are in the quarantine. The caller holds the lock of the layout. */
  readonly restoreAll: Effect.Effect<void, Storage>
}

/** Returns the time of the last write to a file or of its last mention, in milliseconds. */
export const timeOf = ({ mtime }: FileSystem.File.Info): number =>
  Option.match(mtime, { onNone: () => Infinity, onSome: (time) => time.getTime() })

const sizeOf = ({ size, type }: FileSystem.File.Info): number | undefined =>
  type === "File" ? ByteSize.toNumberUnsafe(size) : undefined

interface Options {
  readonly files: Files
  /** Folder of the layout. */
  readonly layout: string
  /** Folder of the quarantine. */
  readonly folder: string
  /** Folder of broken files. */
  readonly broken: string
  readonly blobPath: (digest: Digest.Digest) => string
  readonly verified: VerifiedFiles
  /** Runs an effect while the lock of the layout is held. */
  readonly locked: <A>(effect: Effect.Effect<A, Reason>) => Effect.Effect<A, Reason>
}

const nameOf = (digest: Digest.Digest): string => `${Digest.algorithm(digest)}-${Digest.encoded(digest)}`

const pathIn = ({ files, folder }: Options, digest: Digest.Digest) => files.join(folder, nameOf(digest))

/** Runs an effect. Returns `undefined` if its file does not exist. */
const ifPresent = <A>(effect: Effect.Effect<A, Storage>): Effect.Effect<A | undefined, Storage> =>
  Effect.catchIf(effect, ({ code }) => code === "ENOENT", () => Effect.undefined)

const move = ({ files }: Options, from: string, to: string) =>
  Effect.map(ifPresent(Effect.as(files.rename(from, to), true)), (isMoved) => isMoved ?? false)

/** Moves a file back. It is removed if its content was written again meanwhile, because that file is younger. */
const restore = Effect.fnUntraced(function*(options: Options, digest: Digest.Digest) {
  const { blobPath, files } = options
  const [path, seized] = [blobPath(digest), pathIn(options, digest)]
  if ((yield* files.stat(path)) === undefined) yield* move(options, seized, path)
  else yield* files.remove(seized)
})

const find = Effect.fnUntraced(
  function*(options: Options, digest: Digest.Digest): Effect.fn.Return<FileSystem.File.Info | undefined, Reason> {
    const { files, layout, locked } = options
    const path = options.blobPath(digest)
    const info = yield* files.stat(path)
    if (info !== undefined) return info
    // a collection may have moved it back before it was looked for in the quarantine
    if ((yield* files.stat(pathIn(options, digest))) === undefined) return yield* files.stat(path)
    const back = restore(options, digest)
    // with the lock, because a collection decides with the lock whether the file goes
    yield* (yield* HeldLocks).has(layout) ? back : locked(back)
    return yield* files.stat(path)
  }
)

/** Sets the modification time of a file. Returns false if it does not exist. */
const touch = ({ blobPath, files }: Options, digest: Digest.Digest) =>
  files.touch(blobPath(digest)).pipe(
    Effect.as(true),
    // a process that may not change the file cannot protect it
    Effect.catch(({ code }) => Effect.succeed(code !== "ENOENT"))
  )

const mention = Effect.fnUntraced(
  function*(options: Options, digest: Digest.Digest): Effect.fn.Return<number | undefined, Reason> {
    const { blobPath, files, verified } = options
    while (true) {
      const before = yield* find(options, digest)
      if (before === undefined || before.type !== "File") return undefined
      if ((yield* Clock.currentTimeMillis) - timeOf(before) <= freshness) return sizeOf(before)
      if (!(yield* touch(options, digest))) continue
      const after = yield* files.stat(blobPath(digest))
      if (after === undefined) continue
      const isSame = Option.getOrUndefined(after.ino) === Option.getOrUndefined(before.ino)
      if (isSame && after.size === before.size && verified.has(digest, before)) verified.add(digest, after)
      return sizeOf(after)
    }
  }
)

const seize = Effect.fnUntraced(
  function*(options: Options, digest: Digest.Digest, cutoff: number): Effect.fn.Return<
    FileSystem.File.Info | "young" | "absent",
    Storage
  > {
    const { blobPath, files, folder } = options
    const [path, seized] = [blobPath(digest), pathIn(options, digest)]
    yield* files.makeFolder(folder)
    if (!(yield* move(options, path, seized))) return "absent"
    // its time is read afterwards, because a client may have mentioned it until then
    const info = yield* files.stat(seized)
    if (info === undefined) return "absent"
    if (info.type === "File" && timeOf(info) <= cutoff) return info
    yield* restore(options, digest)
    return "young"
  },
  Effect.uninterruptible
)

const brokenPath = ({ broken, files }: Options, digest: Digest.Digest) => files.join(broken, nameOf(digest))

const isSame = (a: FileSystem.File.Info, b: FileSystem.File.Info): boolean =>
  a.dev === b.dev && Option.getOrUndefined(a.ino) === Option.getOrUndefined(b.ino) && a.size === b.size &&
  timeOf(a) === timeOf(b)

const isolate = Effect.fnUntraced(
  function*(options: Options, digest: Digest.Digest, expected: FileSystem.File.Info) {
    const { blobPath, broken, files, folder } = options
    const seized = pathIn(options, digest)
    yield* files.makeFolder(folder)
    yield* files.makeFolder(broken)
    if (!(yield* move(options, blobPath(digest), seized))) return false
    // a file that a client has pushed meanwhile is another one
    const found = yield* files.stat(seized)
    if (found !== undefined && isSame(found, expected)) {
      // a file that this process may not change keeps its older time
      yield* Effect.ignore(files.touch(seized))
      return yield* move(options, seized, brokenPath(options, digest))
    }
    yield* restore(options, digest)
    return false
  },
  Effect.uninterruptible
)

const isolated = Effect.fnUntraced(function*({ broken, files }: Options) {
  const found: Array<readonly [Digest.Digest, FileSystem.File.Info]> = []
  for (const name of yield* files.list(broken)) {
    const digest = name.replace("-", ":")
    const info = Digest.isDigest(digest) ? yield* files.stat(files.join(broken, name)) : undefined
    if (Digest.isDigest(digest) && info?.type === "File") found.push([digest, info])
  }
  return found
})

const restoreAll = Effect.fnUntraced(function*(options: Options) {
  const { files, folder } = options
  for (const name of yield* files.list(folder)) {
    const digest = name.replace("-", ":")
    if (Digest.isDigest(digest)) yield* restore(options, digest)
  }
})

export const make = (options: Options): LayoutQuarantine => ({
  pathOf: (digest) => pathIn(options, digest),
  find: (digest) => find(options, digest),
  mention: (digest) => mention(options, digest),
  restore: (digest) => restore(options, digest),
  seize: (digest, cutoff) => seize(options, digest, cutoff),
  isolate: (digest, expected) => isolate(options, digest, expected),
  isolated: isolated(options),
  discardIsolated: (digest) => options.files.remove(brokenPath(options, digest)),
  isIsolated: (digest) => Effect.map(options.files.stat(brokenPath(options, digest)), (info) => info !== undefined),
  discard: (digest) => options.files.remove(pathIn(options, digest)),
  restoreAll: restoreAll(options)
})
