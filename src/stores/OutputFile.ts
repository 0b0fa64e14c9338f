/**
 * Writing a result to a path that the user named.
 *
 * A regular file is replaced in one step, after the whole content is on disk, and keeps its permissions. A symbolic
 * link is followed and preserved. A device, a pipe and an open descriptor such as `/dev/stdout` are written to, and
 * never replaced.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Storage } from "../RegistryError.ts"
import * as Files from "./Files.ts"

/** The place that a result is written to. */
export type Target =
  /** A device, a pipe, a socket or an open descriptor. */
  | { readonly _tag: "Device"; readonly path: string }
  /** A regular file, with its metadata if it exists. `path` is not a symbolic link. */
  | { readonly _tag: "File"; readonly path: string; readonly info: FileSystem.File.Info | undefined }

/** Maximum number of symbolic links to follow, as on Linux. */
const linkLimit = 40

/**
 * Paths that stand for a descriptor of a process. They may be links to a file, which must not be replaced either.
 */
const descriptors = /^\/(?:dev\/(?:stdin|stdout|stderr|fd\/\d+)|proc\/[^/]+\/fd\/\d+)$/

const refusedAt = (path: string) => <A, R>(effect: Effect.Effect<A, PlatformError, R>): Effect.Effect<A, Storage, R> =>
  Effect.mapError(effect, Files.refusal(path))

/** Resolves a path, through symbolic links, to the target that a result is written to. */
export const locate = Effect.fnUntraced(function*(
  file: string
): Effect.fn.Return<Target, Storage, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const refused = refusedAt(file)
  let at = path.resolve(file)
  for (let links = 0; links < linkLimit; links++) {
    if (descriptors.test(at)) return { _tag: "Device", path: at }
    // a link is relative to the real folder that it is in
    at = path.join(yield* refused(fs.realPath(path.dirname(at))), path.basename(at))
    if (descriptors.test(at)) return { _tag: "Device", path: at }
    const info = yield* Files.orAbsent(at, fs.lstat(at))
    switch (info?.type) {
      case "SymbolicLink":
        at = path.resolve(path.dirname(at), yield* refused(fs.readLink(at)))
        continue
      case "Directory":
        return yield* new Storage({ path: file, problem: "it is a folder", code: "EISDIR" })
      case "File":
      case undefined:
        return { _tag: "File", path: at, info }
      default:
        return { _tag: "Device", path: at }
    }
  }
  return yield* new Storage({ path: file, problem: "symbolic links lead in a circle", code: "ELOOP" })
})

/** Codes of a refusal to create or replace a file that may nevertheless be writable itself. */
const refusals = new Set(["EACCES", "EPERM", "EROFS", "EBUSY", "EXDEV"])

/**
 * Creates a folder for drafts, which is removed with the scope. It is beside the target if possible, so that a draft
 * can be renamed to it. It is in the temporary folder of the system for a device, and for a writable file in a folder
 * that is not writable.
 */
export const temporaryFolder = Effect.fnUntraced(function*(
  target: Target
): Effect.fn.Return<string, Storage, FileSystem.FileSystem | Path.Path | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const remove = (folder: string) => Effect.ignore(fs.remove(folder, { recursive: true }))
  const make = (options: Parameters<typeof fs.makeTempDirectory>[0]) =>
    Effect.acquireRelease(refusedAt(target.path)(fs.makeTempDirectory(options)), remove)
  const elsewhere = make({ prefix: "effect-oci-" })
  if (target._tag === "Device") return yield* elsewhere
  // short enough for every file system
  const prefix = `.${path.basename(target.path).slice(0, 40)}.`
  return yield* Effect.catchIf(
    make({ directory: path.dirname(target.path), prefix }),
    ({ code = "" }) => target.info !== undefined && refusals.has(code),
    (refusal) =>
      Effect.andThen(
        Effect.mapError(fs.access(target.path, { writable: true }), () => refusal),
        elsewhere
      )
  )
})

const writeTo = <E, R>(path: string, file: FileSystem.File, content: Stream.Stream<Uint8Array, E, R>) =>
  Stream.runForEach(
    content,
    // not interruptible: a write that continues after its file is closed could reach another file
    (bytes) => Effect.uninterruptible(Effect.mapError(file.writeAll(bytes), Files.refusal(path)))
  )

/**
 * Opens a device for writing. A pipe opens once it has a reader. Interruption opens its other end, because the thread
 * that waits for a reader cannot be interrupted, and would keep the process from ending.
 */
export const openDevice = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  const scope = yield* Effect.scope
  // append, because a write to a pipe has no position
  const opening = yield* Effect.forkIn(Scope.provide(fs.open(path, { flag: "a" }), scope), scope)
  return yield* Fiber.join(opening).pipe(
    Effect.onInterrupt(() => Effect.ignore(Effect.scoped(fs.open(path, { flag: "r+" })))),
    Effect.mapError(Files.refusal(path))
  )
})

/** Copies a draft over the content of a file that cannot be replaced. */
const overwrite = Effect.fnUntraced(function*(draft: string, path: string) {
  const fs = yield* FileSystem.FileSystem
  const from = yield* refusedAt(draft)(fs.open(draft))
  const { size } = yield* refusedAt(draft)(from.stat)
  const refused = refusedAt(path)
  const into = yield* refused(fs.open(path, { flag: "w" }))
  yield* writeTo(path, into, Files.readFrom(draft, from)(0, ByteSize.toNumberUnsafe(size)))
  yield* refused(into.sync)
}, Effect.scoped)

/** Moves a draft that is complete and on disk to the path of its target, in one step. */
export const place = Effect.fnUntraced(function*(
  { info, path: file }: Target & { readonly _tag: "File" },
  draft: string
) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  if (info !== undefined) yield* Files.keepPermissions(draft, info)
  yield* Effect.catchIf(
    refusedAt(file)(fs.rename(draft, file)),
    ({ code = "" }) => info !== undefined && refusals.has(code),
    () => overwrite(draft, file)
  )
  const beside = yield* Files.make(path.dirname(file), { isDurable: true })
  yield* beside.syncFolder(beside.root)
})

const replace = Effect.fnUntraced(function*<E, R>(
  target: Target & { readonly _tag: "File" },
  folder: string,
  content: Stream.Stream<Uint8Array, E, R>
) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const draft = path.join(folder, "draft")
  yield* Effect.scoped(Effect.gen(function*() {
    const into = yield* refusedAt(draft)(fs.open(draft, { flag: "wx" }))
    yield* writeTo(draft, into, content)
    yield* refusedAt(draft)(into.sync)
  }))
  yield* place(target, draft)
})

/** Writes content to a target. `folder` is the folder for drafts that {@link temporaryFolder} created for it. */
export const writeTarget = Effect.fnUntraced(
  function*<E, R>(target: Target, folder: string, content: Stream.Stream<Uint8Array, E, R>) {
    if (target._tag === "File") return yield* replace(target, folder, content)
    const device = yield* openDevice(target.path)
    yield* writeTo(target.path, device, content)
  },
  Effect.scoped
)

/** Writes content to a path. */
export const write = Effect.fnUntraced(
  function*<E, R>(file: string, content: Stream.Stream<Uint8Array, E, R>) {
    const target = yield* locate(file)
    const folder = target._tag === "Device" ? "" : yield* temporaryFolder(target)
    yield* writeTarget(target, folder, content)
  },
  Effect.scoped
)
