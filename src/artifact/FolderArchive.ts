/**
 * Archives of folders: a compressed tar archive in the form of oras. Equal folders have equal archives: the entries are
 * sorted, have no owner and no time, and of their permissions only whether the owner may execute them. The bytes also
 * depend on the version of the compression library.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import * as Hasher from "../Hasher.ts"
import { Storage } from "../RegistryError.ts"
import { refusal } from "../stores/Files.ts"
import * as Zlib from "../stores/Zlib.ts"
import { UnsafeName } from "./ArtifactError.ts"
import * as LinkTarget from "./LinkTarget.ts"
import * as Spool from "./Spool.ts"

/**
 * Metadata of the files in a folder that is archived.
 *
 * - `fixed`: no owner and no time, and permissions that depend only on whether the owner may execute the file, so that
 *   equal folders have equal archives.
 * - `kept`: the owner, the time of modification, and all permissions.
 *
 * @category models
 * @since 0.1.0
 */
export type Metadata = "fixed" | "kept"

/**
 * Policy for symbolic links. `within` refuses links that lead out of the folder. `any` keeps all links as they are,
 * because the layer of an image has them relative to the root of the image.
 */
type Links = "within" | "any"

type Entry = Tar.Entry<Storage>

const optionsOf = ({ gid, mode, mtime, type, uid }: FileSystem.File.Info, metadata: Metadata): Tar.EntryOptions =>
  metadata === "fixed"
    ? type === "File" ? { mode: (mode & 0o100) === 0 ? 0o644 : 0o755 } : {}
    : {
      mode: mode & 0o777,
      uid: Option.getOrElse(uid, () => 0),
      gid: Option.getOrElse(gid, () => 0),
      ...Option.isNone(mtime) ? {} : { mtime: mtime.value }
    }

// maximum size of a file that is read at once, in bytes, because that takes a fraction of the time
const smallFile = 64 * 1024

/** Creates the entries of a folder and of everything below it. `name` is its name in the archive. */
const entriesOf = Effect.fnUntraced(function*(folder: string, name: string, metadata: Metadata, links: Links) {
  const fs = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const refused = (path: string) => Effect.mapError(refusal(path))

  /** `depth` is the number of folders between the entry and the archived folder. */
  const entry = (path: string, name: string, depth: number): Stream.Stream<Entry, Storage | UnsafeName> =>
    Stream.unwrap(Effect.gen(function*() {
      const info = yield* refused(path)(fs.lstat(path))
      const options = optionsOf(info, metadata)
      switch (info.type) {
        case "Directory":
          return Stream.concat(Stream.succeed(Tar.directory(name, options)), below(path, name, depth + 1))
        case "File": {
          const { open, size } = Spool.ofFile(fs, path, ByteSize.toNumberUnsafe(info.size))
          if (size > smallFile) return Stream.succeed(Tar.fileStream(name, size, open(0), options))
          return Stream.succeed(Tar.file(name, yield* refused(path)(fs.readFile(path)), options))
        }
        case "SymbolicLink": {
          const target = yield* refused(path)(fs.readLink(path))
          const problem = links === "any" ? undefined : LinkTarget.problemOf(target, depth)
          if (problem !== undefined) return yield* new UnsafeName({ name, problem: `the link ${problem}` })
          return Stream.succeed(Tar.symlink(name, target, metadata === "kept" ? options : {}))
        }
        default:
          return yield* new Storage({ path, problem: "it is neither a file nor a folder nor a link" })
      }
    }))

  const below = (folder: string, name: string, depth: number): Stream.Stream<Entry, Storage | UnsafeName> =>
    Stream.fromIterableEffect(
      Effect.map(refused(folder)(fs.readDirectory(folder)), (names) => names.sort((a, b) => a < b ? -1 : 1))
    ).pipe(
      Stream.flatMap((child) => entry(join(folder, child), name === "." ? child : `${name}/${child}`, depth))
    )

  const info = yield* refused(folder)(fs.stat(folder))
  const own = name === "." ? Stream.empty : Stream.succeed(Tar.directory(name, optionsOf(info, metadata)))
  return Stream.concat(own, below(folder, name, 0))
})

/** Replaces the name of the operating system in a gzip header by "unknown", because it would differ. */
export const withoutSystem = <E>(compressed: Stream.Stream<Uint8Array, E>): Stream.Stream<Uint8Array, E> =>
  Stream.suspend(() => {
    let position = 0
    return Stream.map(compressed, (chunk) => {
      const at = 9 - position
      position += chunk.length
      if (at < 0 || at >= chunk.length) return chunk
      const copy = chunk.slice()
      copy[at] = 0xff
      return copy
    })
  })

// level of the compression, as of the program gzip
export const level = 6

/**
 * Archives a folder to a temporary file, which is removed with the scope. The entries have `name` as their first part.
 * Returns the digest of the tar archive too.
 */
export const make = Effect.fnUntraced(function*(
  folder: string,
  name: string,
  metadata: Metadata,
  links: Links = "within"
) {
  const zlib = Zlib.runtimeZlib()
  if (zlib === undefined) {
    return yield* new Storage({ path: folder, problem: "this runtime cannot compress, as a folder requires" })
  }
  const entries = yield* entriesOf(folder, name, metadata, links)
  const hash = yield* (yield* Hasher.Hasher).make("sha256")
  const tar = entries.pipe(
    Stream.pipeThroughChannel(Tar.encode<Storage | UnsafeName, unknown, Entry>()),
    Stream.catchTag("TarError", ({ kind, message }) =>
      Stream.fail(
        new Storage({
          path: folder,
          problem: kind === "SizeMismatch" ? `it changed while it was read: ${message}` : message
        })
      )),
    Spool.hashed(hash)
  )
  const { stream } = Zlib.through(() => zlib.createGzip({ level }))(
    tar,
    (problem) => new Storage({ path: folder, problem: `the compression failed: ${problem}` })
  )
  const compressed = yield* Spool.make(withoutSystem(stream))
  return { ...compressed, tarDigest: yield* hash.digest }
})
