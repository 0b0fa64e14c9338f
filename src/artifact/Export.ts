/**
 * Export of the files of an image, as a tar archive or into a folder.
 *
 * A folder is written in an order in which no path leads through a link: folders and files first, then hard links, then
 * symbolic links. Links that would lead out of the folder are written so that they stay within it, because the root of
 * the image is the root of the folder. Devices and pipes are left out. Permissions are limited to reading, writing and
 * executing, and the process's mask applies.
 */
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import { Storage } from "../RegistryError.ts"
import * as StoredFiles from "../stores/Files.ts"
import { excerpt } from "../Text.ts"
import * as FileName from "./FileName.ts"
import type * as Files from "./Files.ts"
import { ImageError, InvalidLayer } from "./ImageError.ts"
import type * as Layers from "./Layers.ts"
import * as LinkTarget from "./LinkTarget.ts"
import * as Overlay from "./Overlay.ts"
import * as Spool from "./Spool.ts"

const archived = ({ content, header, linkTarget, path }: Files.Entry): ReadonlyArray<Tar.Entry<Layers.Failure>> => {
  if (header.type === "Other") return []
  const name = header.type === "Directory" ? `${path}/` : path
  return [{ header: { ...header, path: name, ...linkTarget === undefined ? {} : { linkTarget } }, body: content }]
}

/** Returns the bytes of an archive of files. */
export const toTar = (
  files: Stream.Stream<Files.Entry, Layers.Failure>,
  reference: string
): Stream.Stream<Uint8Array, Layers.Failure> =>
  files.pipe(
    Stream.map(archived),
    Stream.filter((entries) => entries.length > 0),
    Stream.flattenIterable,
    Stream.pipeThroughChannel(Tar.encode<Layers.Failure, unknown, Tar.Entry<Layers.Failure>>()),
    Stream.mapError((error) =>
      error._tag === "TarError"
        ? new ImageError({ reference, reason: new InvalidLayer({ layer: "archive", problem: error.message }) })
        : error
    )
  )

/** Result of an export into a folder. */
export interface Exported {
  /** Number of files, folders and links that were written. */
  readonly entries: number
  /** Paths of devices, pipes, and hard links without a file, which were left out. */
  readonly skipped: ReadonlyArray<string>
}

/** Returns the target of a link that does not lead out of the folder. */
const safeTarget = (path: string, target: string): string => {
  const folders = path.split("/").slice(0, -1)
  if (LinkTarget.problemOf(target, folders.length) === undefined) return target
  const from = target.startsWith("/") ? "" : `${folders.join("/")}/`
  const inside = Overlay.normalize(`${from}${target.replaceAll("\\", "/").replaceAll("\0", "")}`)
  return `${"../".repeat(folders.length)}${inside}` || "."
}

/** Writes files into a folder, which must not exist or be empty. */
export const toFolder = Effect.fnUntraced(function*(
  files: Stream.Stream<Files.Entry, Layers.Failure>,
  directory: string,
  reference: string
): Effect.fn.Return<Exported, Layers.Failure, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const { join, resolve, sep } = yield* Path.Path
  const root = resolve(directory)
  const fail = (reason: ImageError["reason"]) => new ImageError({ reference, reason })
  const refused = <A, R>(path: string, effect: Effect.Effect<A, PlatformError, R>) =>
    Effect.mapError(effect, (error) => fail(StoredFiles.refusal(path)(error)))
  const system = sep === "\\" ? "windows" : "posix"
  const folders = new Set<string>()
  const written = new Set<string>()
  const links = new Map<string, Files.Entry>()
  const skipped: Array<string> = []

  yield* refused(root, fs.makeDirectory(root, { recursive: true }))
  if ((yield* refused(root, fs.readDirectory(root))).length > 0) {
    return yield* fail(new Storage({ path: root, problem: "it is not empty" }))
  }

  const pathOf = (path: string) =>
    Effect.mapError(
      Effect.map(Effect.fromResult(FileName.onSystem(path, system)), (parts) => join(root, ...parts)),
      (problem) => fail(new Storage({ path: excerpt(path), problem }))
    )
  const makeFolder = Effect.fnUntraced(function*(path: string) {
    const parts = path.split("/")
    for (let length = 1; length <= parts.length; length++) {
      const part = parts.slice(0, length).join("/")
      if (part === "" || folders.has(part)) continue
      const at = yield* pathOf(part)
      yield* refused(at, fs.makeDirectory(at))
      folders.add(part)
    }
  })
  const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf("/")))

  const write = Effect.fnUntraced(function*(entry: Files.Entry) {
    const { content, header, path } = entry
    switch (header.type) {
      case "Directory":
        return yield* makeFolder(path)
      case "File": {
        yield* makeFolder(parentOf(path))
        const at = yield* pathOf(path)
        // of several entries with a path, the last one counts
        links.delete(path)
        if (written.has(path)) yield* refused(at, fs.remove(at))
        yield* Effect.scoped(Effect.gen(function*() {
          const file = yield* refused(at, fs.open(at, { flag: "wx", mode: header.mode & 0o777 }))
          const into = Spool.writeTo(at, file)
          yield* Stream.runForEach(content, (bytes) => Effect.mapError(into(bytes), fail))
        }))
        if (header.mtime.getTime() > 0) yield* Effect.ignore(fs.utimes(at, header.mtime, header.mtime))
        return void written.add(path)
      }
      case "Symlink":
      case "Hardlink":
        return void links.set(path, entry)
      default:
        skipped.push(path)
    }
  })
  yield* Stream.runForEach(files, write)

  for (const { header, linkTarget = "", path } of links.values()) {
    if (header.type !== "Hardlink") continue
    if (!written.has(linkTarget) || written.has(path)) {
      if (linkTarget !== path) skipped.push(path)
      continue
    }
    yield* makeFolder(parentOf(path))
    const [from, at] = [yield* pathOf(linkTarget), yield* pathOf(path)]
    yield* Effect.catch(refused(at, fs.link(from, at)), () => refused(at, fs.copyFile(from, at)))
    written.add(path)
  }
  for (const { header, linkTarget = "", path } of links.values()) {
    if (header.type !== "Symlink") continue
    yield* makeFolder(parentOf(path))
    const at = yield* pathOf(path)
    if (written.has(path)) yield* refused(at, fs.remove(at))
    yield* refused(at, fs.symlink(safeTarget(path, linkTarget), at))
    written.add(path)
  }
  return { entries: folders.size + written.size, skipped }
})
