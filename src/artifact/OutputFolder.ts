/**
 * A folder that files are pulled into.
 *
 * Content is written to a folder for drafts inside of it first, and gets its name after it is complete and verified.
 * Drafts are removed with the scope. No symbolic link on the way to a file is followed.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Digest from "../Digest.ts"
import type * as Hasher from "../Hasher.ts"
import { Storage } from "../RegistryError.ts"
import { digestOf } from "../stores/BlobWriter.ts"
import * as Files from "../stores/Files.ts"
import { FileExists } from "./ArtifactError.ts"
import type { Parts } from "./FileName.ts"
import * as Spool from "./Spool.ts"

/**
 * Policy for a file that exists with other content. Default: `fail`.
 *
 * - `fail`: the pull fails with `FileExists`.
 * - `replace`: the file is replaced. A folder is never replaced by a file.
 *
 * @category models
 * @since 0.1.0
 */
export type OnFileExists = "fail" | "replace"

/** Content that is ready to get its name. */
export type Ready =
  | { readonly _tag: "File"; readonly draft: string }
  | { readonly _tag: "Link"; readonly draft: string; readonly target: string }

export interface OutputFolder {
  /** Returns the path of a file. */
  readonly path: (parts: Parts) => string
  /** Returns the path of a new draft. */
  readonly draft: Effect.Effect<string>
  /** Creates a folder and its parents. Fails if one of them is a file or a symbolic link. */
  readonly makeFolder: (parts: Parts) => Effect.Effect<void, Storage>
  /** Returns the metadata of a file or folder if it exists. Fails if a folder above it is a symbolic link. */
  readonly stat: (parts: Parts) => Effect.Effect<FileSystem.File.Info | undefined, Storage>
  /** Returns true if the file exists with this digest and size. */
  readonly has: (
    parts: Parts,
    content: { readonly digest: Digest.Digest; readonly size: number }
  ) => Effect.Effect<boolean, Storage | Hasher.UnsupportedAlgorithm>
  /** Returns true if the file or link exists with the same content as a draft. */
  readonly isSame: (parts: Parts, ready: Ready) => Effect.Effect<boolean, Storage | Hasher.UnsupportedAlgorithm>
  /** Writes content to a draft, and waits until it is on disk. */
  readonly write: <E>(draft: string, content: Stream.Stream<Uint8Array, E>) => Effect.Effect<void, E | Storage>
  /** Removes a draft. */
  readonly discard: (draft: string) => Effect.Effect<void>
  /** Copies a draft. */
  readonly copy: (draft: string) => Effect.Effect<string, Storage>
  /** Gives a draft its name, and returns false if the file has this content already. */
  readonly place: (
    parts: Parts,
    ready: Ready
  ) => Effect.Effect<boolean, FileExists | Storage | Hasher.UnsupportedAlgorithm>
  /** Gives a folder its name. Returns false if there is something of that name. */
  readonly placeFolder: (parts: Parts, draft: string) => Effect.Effect<boolean, Storage>
}

/** Codes of file systems that have no hard links, or none for this file. */
const withoutLinks = new Set(["EMLINK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EPERM", "EINVAL", "EACCES"])

/** Opens a folder for files. It is created if it does not exist. */
export const make = Effect.fnUntraced(function*(
  directory: string,
  onFileExists: OnFileExists
): Effect.fn.Return<OutputFolder, Storage, FileSystem.FileSystem | Path.Path | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const { join, resolve } = yield* Path.Path
  const refused = <A, R>(path: string, effect: Effect.Effect<A, PlatformError, R>) =>
    Effect.mapError(effect, Files.refusal(path))
  const whole = resolve(directory)
  yield* refused(whole, fs.makeDirectory(whole, { recursive: true }))
  // the folder itself may be a link, because the user has chosen it
  const root = yield* refused(whole, fs.realPath(whole))
  const path = (parts: Parts) => join(root, ...parts)
  const drafts = yield* Effect.acquireRelease(
    refused(root, fs.makeTempDirectory({ directory: root, prefix: ".effect-oci-" })),
    (folder) => Effect.ignore(fs.remove(folder, { recursive: true, force: true }))
  )
  const files = yield* Files.make(root, { isDurable: true })
  let count = 0
  const draft = Effect.sync(() => join(drafts, String(count++)))
  const known = new Set<string>()

  /** Returns true if a folder exists. Fails if it is a file or a link. */
  const checkFolder = Effect.fnUntraced(function*(at: string) {
    if (at === root || known.has(at)) return true
    const info = yield* Files.orAbsent(at, fs.lstat(at))
    if (info === undefined) return false
    if (info.type === "SymbolicLink") {
      return yield* new Storage({ path: at, problem: "it is a symbolic link, which a pull does not follow" })
    }
    if (info.type !== "Directory") {
      return yield* new Storage({ path: at, problem: "it is not a folder", code: "ENOTDIR" })
    }
    known.add(at)
    return true
  })

  const makeFolder: OutputFolder["makeFolder"] = Effect.fnUntraced(function*(parts) {
    for (let length = 1; length <= parts.length; length++) {
      const at = path(parts.slice(0, length))
      if (yield* checkFolder(at)) continue
      yield* Effect.catchIf(
        refused(at, fs.makeDirectory(at)),
        ({ code }) => code === "EEXIST",
        () => Effect.void
      )
      yield* checkFolder(at)
    }
  })

  const stat: OutputFolder["stat"] = Effect.fnUntraced(function*(parts) {
    for (let length = 1; length < parts.length; length++) {
      if (!(yield* checkFolder(path(parts.slice(0, length))))) return undefined
    }
    const at = path(parts)
    return yield* Files.orAbsent(at, fs.lstat(at))
  })

  const digestAt = (at: string, size: number, algorithm?: string) =>
    digestOf(Spool.ofFile(fs, at, size).open(0), algorithm)

  const has: OutputFolder["has"] = Effect.fnUntraced(function*(parts, content) {
    const info = yield* stat(parts)
    return info?.type === "File" && ByteSize.toNumberUnsafe(info.size) === content.size &&
      (yield* digestAt(path(parts), content.size, Digest.algorithm(content.digest))) === content.digest
  })

  const isSame: OutputFolder["isSame"] = Effect.fnUntraced(function*(parts, ready) {
    const at = path(parts)
    if (ready._tag === "Link") {
      const info = yield* stat(parts)
      return info?.type === "SymbolicLink" && (yield* refused(at, fs.readLink(at))) === ready.target
    }
    const size = ByteSize.toNumberUnsafe((yield* refused(ready.draft, fs.stat(ready.draft))).size)
    return yield* has(parts, { digest: yield* digestAt(ready.draft, size), size })
  })

  /** Gives a draft a name that nothing has yet. The name is taken in one step, so that nothing is overwritten. */
  const claim = Effect.fnUntraced(function*(at: string, ready: Ready) {
    const linked: Effect.Effect<void, Storage> = ready._tag === "Link"
      ? refused(at, fs.symlink(ready.target, at))
      : Effect.catchIf(
        refused(at, fs.link(ready.draft, at)),
        ({ code = "" }) => withoutLinks.has(code),
        () => refused(at, fs.rename(ready.draft, at))
      )
    return yield* linked.pipe(
      Effect.as(true),
      Effect.catchIf((error) => error.code === "EEXIST", () => Effect.succeed(false))
    )
  })

  const place: OutputFolder["place"] = Effect.fnUntraced(function*(parts, ready) {
    const at = path(parts)
    yield* makeFolder(parts.slice(0, -1))
    const info = yield* stat(parts)
    if (info !== undefined && (yield* isSame(parts, ready))) return false
    if (info?.type === "Directory") {
      return yield* new Storage({ path: at, problem: "it is a folder", code: "EISDIR" })
    }
    if (onFileExists === "replace" && info !== undefined) {
      yield* refused(at, fs.rename(ready.draft, at))
    } else if (info !== undefined || !(yield* claim(at, ready))) {
      return yield* new FileExists({ path: at })
    }
    yield* Effect.ignore(fs.remove(ready.draft, { force: true }))
    yield* files.syncFolder(path(parts.slice(0, -1)))
    return true
  })

  return {
    path,
    draft,
    makeFolder,
    stat,
    has,
    isSame,
    write: (draft, content) =>
      Effect.scoped(Effect.gen(function*() {
        const file = yield* refused(draft, fs.open(draft, { flag: "wx" }))
        yield* Stream.runForEach(content, Spool.writeTo(draft, file))
        yield* refused(draft, file.sync)
      })),
    discard: (draft) => Effect.ignore(fs.remove(draft, { recursive: true, force: true })),
    copy: Effect.fnUntraced(function*(from) {
      const to = yield* draft
      yield* Effect.uninterruptible(refused(to, fs.copyFile(from, to)))
      return to
    }),
    place,
    placeFolder: Effect.fnUntraced(function*(parts, draft) {
      yield* makeFolder(parts.slice(0, -1))
      if ((yield* stat(parts)) !== undefined) return false
      yield* refused(path(parts), fs.rename(draft, path(parts)))
      yield* files.syncFolder(path(parts.slice(0, -1)))
      return true
    })
  }
})
