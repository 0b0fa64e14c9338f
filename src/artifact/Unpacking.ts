/**
 * Unpacking of the archive of a folder into a new folder.
 *
 * Names, links and permissions come from another party. An entry that leads out of the folder, by its name or as a
 * link, is refused. Devices and pipes are left out. Permissions are limited to reading, writing and executing, and the
 * process's mask applies.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type { Storage } from "../RegistryError.ts"
import * as ArchiveFile from "../stores/ArchiveFile.ts"
import { Decompressor } from "../stores/Decompressor.ts"
import * as Files from "../stores/Files.ts"
import { excerpt } from "../Text.ts"
import { ArchiveRefused } from "./ArtifactError.ts"
import * as FileName from "./FileName.ts"
import * as LinkTarget from "./LinkTarget.ts"
import * as Spool from "./Spool.ts"

/**
 * Maximum number of entries in the archive of a folder. `Decompressor.UnpackLimits` limits its size.
 *
 * @default 1000000
 * @category references
 * @since 0.1.0
 */
export const EntryLimit: Context.Reference<number> = Context.Reference("effect-oci/Artifact/EntryLimit", {
  defaultValue: () => 1_000_000
})

/** A file, folder or symbolic link that was unpacked. */
export interface Unpacked {
  /** Its name below the folder. */
  readonly parts: FileName.Parts
  readonly type: "Directory" | "File" | "Link"
  /** Target of a link. */
  readonly target?: string | undefined
}

/** The archive of a folder. */
export interface Archive {
  /** Name of the folder, with which the names of all entries begin. */
  readonly name: string
  readonly root: FileName.Parts
  /** Path of the archive. */
  readonly path: string
  /** Size of the archive, in bytes. */
  readonly size: number
  /** Digest of the archive without its compression, if it is known. */
  readonly tarDigest?: Digest | undefined
}

/** Result of unpacking. */
export interface Result {
  readonly entries: ReadonlyArray<Unpacked>
  /** Names of the entries that were left out. */
  readonly skipped: ReadonlyArray<string>
}

type Failure = ArchiveRefused | Storage | Hasher.UnsupportedAlgorithm

/** Returns the archive without its compression. */
const contentOf = Effect.fnUntraced(function*(
  { name, path, size }: Archive
): Effect.fn.Return<
  Stream.Stream<Uint8Array, ArchiveRefused | Storage>,
  ArchiveRefused | Storage,
  FileSystem.FileSystem | Scope.Scope
> {
  const fs = yield* FileSystem.FileSystem
  const refuse = (problem: string) => new ArchiveRefused({ name, problem })
  const file = yield* Effect.mapError(fs.open(path), Files.refusal(path))
  const packed: Files.OpenFile = { size, read: Files.readFrom(path, file) }
  const format = ArchiveFile.compression(yield* Stream.mkUint8Array(packed.read(0, Math.min(6, size))))
  if (format === undefined) return packed.read(0, size)
  const unpack = format === "gzip" || format === "zstd" ? (yield* Decompressor)(format) : undefined
  if (unpack === undefined) return yield* refuse(`it is compressed with ${format}, which cannot be unpacked here`)
  return ArchiveFile.unpacked(name, packed, unpack).pipe(
    Stream.mapError((error) =>
      refuse(error._tag === "Storage" ? error.problem : `unpacked, it has more than ${error.limit} bytes`)
    )
  )
})

/** Unpacks entries into a folder that this process alone writes to. */
const makeWriter = Effect.fnUntraced(function*(archive: Archive, folder: string) {
  const fs = yield* FileSystem.FileSystem
  const { join, sep } = yield* Path.Path
  const system = sep === "\\" ? "windows" : "posix"
  const refuse = (problem: string) => new ArchiveRefused({ name: archive.name, problem })
  const refused = <A, R>(path: string, effect: Effect.Effect<A, PlatformError, R>) =>
    Effect.mapError(effect, Files.refusal(path))
  const entries = new Map<string, Unpacked>()
  const skipped: Array<string> = []
  const limit = yield* EntryLimit
  let count = 0

  const quote = (name: string) => JSON.stringify(excerpt(name))
  const keyOf = (parts: FileName.Parts) => parts.join("/")
  const pathOf = (parts: FileName.Parts) => join(folder, ...parts)
  /** Fails if the file system has an entry that the archive has under another name. */
  const created = <A, R>(parts: FileName.Parts, effect: Effect.Effect<A, Storage, R>) =>
    Effect.catchIf(
      effect,
      ({ code }) => code === "EEXIST",
      () => Effect.fail(refuse(`this file system does not distinguish ${quote(keyOf(parts))} from another entry`))
    )

  /** Returns the parts of a name below the folder. */
  const partsOf = Effect.fnUntraced(function*(name: string) {
    const { root } = archive
    const parts = yield* Effect.mapError(
      Effect.fromResult(FileName.onSystem(name, system)),
      (problem) => refuse(`it has an entry ${quote(name)}: ${problem}`)
    )
    const isBelow = root.every((part, index) => parts[index] === part)
    return isBelow ? parts.slice(root.length) : yield* refuse(`its entry ${quote(name)} is outside of the folder`)
  })

  const makeFolder = Effect.fnUntraced(function*(parts: FileName.Parts, mode = 0o777) {
    for (let length = 1; length <= parts.length; length++) {
      const part = parts.slice(0, length)
      const known = entries.get(keyOf(part))
      if (known?.type === "Directory") continue
      if (known !== undefined) {
        return yield* refuse(`its entry ${quote(keyOf(parts))} is below ${quote(keyOf(part))}, which is not a folder`)
      }
      // the owner may write to it, so that its files can be created
      const options = { mode: length === parts.length ? mode & 0o777 | 0o700 : 0o777 }
      yield* created(part, refused(pathOf(part), fs.makeDirectory(pathOf(part), options)))
      entries.set(keyOf(part), { parts: part, type: "Directory" })
    }
  })

  /** Prepares the place of a file or link. A later entry of an archive replaces an earlier one of the same name. */
  const prepare = Effect.fnUntraced(function*(parts: FileName.Parts) {
    yield* makeFolder(parts.slice(0, -1))
    const known = entries.get(keyOf(parts))
    if (known?.type === "Directory") return yield* refuse(`its entry ${quote(keyOf(parts))} is a folder and a file`)
    if (known !== undefined) yield* refused(pathOf(parts), fs.remove(pathOf(parts)))
    // it comes after the folder that it is in
    entries.delete(keyOf(parts))
  })

  const setTime = (path: string, { mtime }: Tar.Header) =>
    mtime.getTime() > 0 ? Effect.ignore(fs.utimes(path, mtime, mtime)) : Effect.void

  const writeFile = Effect.fnUntraced(function*<E>(parts: FileName.Parts, { body, header }: Tar.Entry<E>) {
    yield* prepare(parts)
    const path = pathOf(parts)
    yield* Effect.scoped(Effect.gen(function*() {
      const file = yield* created(parts, refused(path, fs.open(path, { flag: "wx", mode: header.mode & 0o777 })))
      yield* Stream.runForEach(body, Spool.writeTo(path, file))
    }))
    yield* setTime(path, header)
    entries.set(keyOf(parts), { parts, type: "File" })
  })

  const writeLink = Effect.fnUntraced(function*(parts: FileName.Parts, { linkTarget: target = "" }: Tar.Header) {
    const problem = LinkTarget.problemOf(target, parts.length - 1)
    if (problem !== undefined) return yield* refuse(`its link ${quote(keyOf(parts))} ${problem}`)
    yield* prepare(parts)
    yield* created(parts, refused(pathOf(parts), fs.symlink(target, pathOf(parts))))
    entries.set(keyOf(parts), { parts, type: "Link", target })
  })

  const writeHardLink = Effect.fnUntraced(function*(parts: FileName.Parts, { linkTarget = "" }: Tar.Header) {
    const from = yield* partsOf(linkTarget)
    if (entries.get(keyOf(from))?.type !== "File") {
      return yield* refuse(`its hard link ${quote(keyOf(parts))} does not refer to a file of the archive`)
    }
    if (keyOf(from) === keyOf(parts)) return
    yield* prepare(parts)
    const [source, path] = [pathOf(from), pathOf(parts)]
    yield* created(
      parts,
      Effect.catchIf(
        refused(path, fs.link(source, path)),
        ({ code }) => code !== "EEXIST",
        () => refused(path, fs.copyFile(source, path))
      )
    )
    entries.set(keyOf(parts), { parts, type: "File" })
  })

  const write = Effect.fnUntraced(
    function*<E>(entry: Tar.Entry<E>): Effect.fn.Return<void, E | ArchiveRefused | Storage> {
      const { header } = entry
      if (++count > limit) return yield* refuse(`it has more than ${limit} entries`)
      const parts = yield* partsOf(header.path)
      if (parts.length === 0 && header.type !== "Directory") {
        return yield* refuse("the folder itself is not a folder in it")
      }
      switch (header.type) {
        case "Directory":
          return yield* makeFolder(parts, header.mode)
        case "File":
          return yield* writeFile(parts, entry)
        case "Symlink":
          return yield* writeLink(parts, header)
        case "Hardlink":
          return yield* writeHardLink(parts, header)
        default:
          skipped.push(header.path)
      }
    }
  )

  return { write, result: (): Result => ({ entries: Array.from(entries.values()), skipped }) }
})

/** Unpacks an archive into a folder, which must not exist. It is not complete if this fails. */
export const unpack = Effect.fnUntraced(
  function*(archive: Archive, folder: string): Effect.fn.Return<
    Result,
    Failure,
    FileSystem.FileSystem | Path.Path | Scope.Scope
  > {
    const fs = yield* FileSystem.FileSystem
    const refuse = (problem: string) => new ArchiveRefused({ name: archive.name, problem })
    yield* Effect.mapError(fs.makeDirectory(folder), Files.refusal(folder))
    const { result, write } = yield* makeWriter(archive, folder)
    const hash = yield* (yield* Hasher.Hasher).make("sha256")
    yield* (yield* contentOf(archive)).pipe(
      Spool.hashed(hash),
      Stream.pipeThroughChannel(Tar.decode<ArchiveRefused | Storage>()),
      Stream.runForEach(write),
      Effect.catchTag("TarError", ({ message }) => Effect.fail(refuse(`it is broken: ${message}`)))
    )
    const actual = yield* hash.digest
    if (archive.tarDigest !== undefined && archive.tarDigest !== actual) {
      return yield* refuse(`its content has the digest ${actual}, not ${archive.tarDigest} as the artifact says`)
    }
    return result()
  },
  Effect.scoped
)
