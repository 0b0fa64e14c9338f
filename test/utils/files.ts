/**
 * File systems that watch, or misbehave.
 */
import { Effect, FileSystem, PlatformError } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"

/** An operation on a path, or on a file that is open. */
export interface Call {
  readonly operation: string
  readonly path: string
  /** The new path of a file that is renamed or linked. */
  readonly to?: string
}

/** How the system says that it does not want to. */
export const refusal = (code: string, { operation, path }: Call): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: code === "EACCES" ? "PermissionDenied" : "Unknown",
    module: "FileSystem",
    method: operation,
    pathOrDescriptor: path,
    cause: Object.assign(new Error(code), { code })
  })

/** A file system that asks before each operation; closing a file is none. */
export const asking = (
  fs: FileSystem.FileSystem,
  ask: (call: Call) => Effect.Effect<void, PlatformError.PlatformError>
): FileSystem.FileSystem => {
  const asked = (operation: string, path: string, to?: string) =>
    Effect.suspend(() => ask({ operation, path, ...to === undefined ? {} : { to } }))
  const one = <A extends ReadonlyArray<unknown>, R, E>(
    operation: string,
    f: (path: string, ...rest: A) => Effect.Effect<R, E>
  ) =>
  (path: string, ...rest: A) => Effect.andThen(asked(operation, path), f(path, ...rest))
  const two =
    (operation: string, f: (from: string, to: string) => Effect.Effect<void, PlatformError.PlatformError>) =>
    (from: string, to: string) => Effect.andThen(asked(operation, from, to), f(from, to))
  const file = (path: string, file: FileSystem.File): FileSystem.File => ({
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    stat: Effect.andThen(asked("fstat", path), file.stat),
    seek: (offset, from) => file.seek(offset, from),
    sync: Effect.andThen(asked("sync", path), file.sync),
    read: (...args) => Effect.andThen(asked("read", path), file.read(...args)),
    readAlloc: (...args) => Effect.andThen(asked("read", path), file.readAlloc(...args)),
    truncate: (...args) => Effect.andThen(asked("truncate", path), file.truncate(...args)),
    write: (bytes) => Effect.andThen(asked("write", path), file.write(bytes)),
    writeAll: (bytes) => Effect.andThen(asked("write", path), file.writeAll(bytes))
  })
  return FileSystem.FileSystem.of({
    ...fs,
    lstat: one("lstat", fs.lstat),
    stat: one("stat", fs.stat),
    realPath: one("realPath", fs.realPath),
    exists: one("exists", fs.exists),
    readDirectoryEntries: one("readDirectoryEntries", fs.readDirectoryEntries),
    makeDirectory: one("makeDirectory", fs.makeDirectory),
    makeTempDirectory: (options) =>
      Effect.andThen(asked("makeTempDirectory", options?.directory ?? ""), fs.makeTempDirectory(options)),
    remove: one("remove", fs.remove),
    utimes: one("utimes", fs.utimes),
    rename: two("rename", fs.rename),
    link: two("link", fs.link),
    copyFile: two("copyFile", fs.copyFile),
    open: (path, options) =>
      Effect.andThen(asked("open", path), Effect.map(fs.open(path, options), (opened) => file(path, opened)))
  })
}

/** A registry in a folder whose file system asks before each operation. */
export const askingRegistry = (directory: string, ask: Parameters<typeof asking>[1]) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) =>
    LayoutRegistry.make({ directory }).pipe(
      Effect.provideService(FileSystem.FileSystem, asking(fs, ask))
    ))
