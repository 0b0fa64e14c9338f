/**
 * The file of an archive, which can be read at any position. A compressed archive is unpacked to a temporary file
 * first. The format is detected by the first bytes, not by the name.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { ContentTooLarge, Storage } from "../RegistryError.ts"
import { Decompressor, type Format, type Unpack, UnpackLimits } from "./Decompressor.ts"
import { type OpenFile, readFrom, refusal } from "./Files.ts"

/** Policy for a compressed archive. */
export type WhenCompressed = "unpack" | "refuse"

/** An archive that is open for reading. */
export interface ArchiveFile {
  readonly file: FileSystem.File
  /** Size of the tar archive, in bytes. */
  readonly size: number
}

export type Compression = Format | "bzip2" | "xz"

const magics: ReadonlyArray<readonly [name: Compression, magic: ReadonlyArray<number>]> = [
  ["gzip", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  // the skippable frame that pzstd writes first
  ["zstd", [0x50, 0x2a, 0x4d, 0x18]],
  ["bzip2", [0x42, 0x5a, 0x68]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]]
]

/** Returns the compression of content by its first bytes, or `undefined` if it is not compressed. */
export const compression = (beginning: Uint8Array): Compression | undefined =>
  magics.find(([, magic]) => magic.every((byte, index) => beginning[index] === byte))?.[0]

/** Maximum number of members or frames in a compressed archive. */
const memberLimit = 1_000_000

/** Returns the position of the first byte other than zero, from a position on. */
const findContent = Effect.fnUntraced(function*(packed: OpenFile, from: number) {
  let position = from
  const found = yield* packed.read(from, packed.size).pipe(
    Stream.map((bytes) => {
      const index = bytes.findIndex((byte) => byte !== 0)
      position += index < 0 ? bytes.length : index
      return index >= 0
    }),
    Stream.takeUntil((isFound) => isFound),
    Stream.runLast
  )
  return Option.getOrElse(found, () => false) ? position : undefined
})

/**
 * Unpacks all members of a file, one after another, as the programs gzip and zstd do. Zeros after the last one are
 * ignored, because tapes and block devices add them as padding.
 */
const unpackAll = (
  packed: OpenFile,
  unpack: Unpack,
  broken: (problem: string) => Storage
): Stream.Stream<Uint8Array, Storage> => {
  let position: number | undefined = 0
  let count = 0
  const member = (start: number) => {
    const { stream, used } = unpack(packed.read(start, packed.size), broken)
    const advance = Effect.gen(function*() {
      const end = start + (yield* used)
      position = end > start ? yield* findContent(packed, end) : undefined
      count += 1
      if (end === start || position !== undefined && position !== end) {
        return yield* Effect.fail(broken("other data follow the compressed data"))
      }
      if (count > memberLimit) return yield* Effect.fail(broken(`it has more than ${memberLimit} parts`))
    })
    return Stream.concat(stream, Stream.fromEffectDrain(advance))
  }
  return Stream.fromEffectRepeat(Effect.sync(() => position)).pipe(
    Stream.takeWhile((start) => start !== undefined),
    Stream.flatMap(member)
  )
}

/** Returns the unpacked content of a file. It fails with `ContentTooLarge` if it exceeds a limit of `UnpackLimits`. */
export const unpacked = (
  path: string,
  packed: OpenFile,
  unpack: Unpack
): Stream.Stream<Uint8Array, Storage | ContentTooLarge> =>
  Stream.unwrap(Effect.map(UnpackLimits, ({ ratio, ratioFrom, size: maximum }) => {
    const limit = Math.min(maximum, Math.max(ratioFrom, ratio * packed.size))
    let size = 0
    return unpackAll(packed, unpack, (problem) => new Storage({ path, problem })).pipe(
      Stream.mapArrayEffect((chunks) => {
        for (const { length } of chunks) size += length
        return size > limit
          ? Effect.fail(new ContentTooLarge({ limit, detail: `${path}, unpacked` }))
          : Effect.succeed(chunks)
      })
    )
  }))

/**
 * Unpacks an archive to a temporary file. The file loses its name as soon as it is open, so that it disappears even if
 * the process is killed.
 */
const spool = Effect.fnUntraced(function*(path: string, packed: OpenFile, unpack: Unpack) {
  const fs = yield* FileSystem.FileSystem
  const refusedAt = (path: string) => Effect.mapError(refusal(path))
  const folder = yield* refusedAt("temporary folder")(fs.makeTempDirectory({ prefix: "effect-oci-" }))
  const remove = Effect.ignore(fs.remove(folder, { recursive: true, force: true }))
  yield* Effect.addFinalizer(() => remove)
  const draft = `${folder}/archive.tar`
  const file = yield* refusedAt(draft)(fs.open(draft, { flag: "wx+" }))
  yield* remove
  let size = 0
  yield* Stream.runForEach(
    unpacked(path, packed, unpack),
    Effect.fnUntraced(function*(bytes) {
      size += bytes.length
      yield* Effect.uninterruptible(refusedAt(draft)(file.writeAll(bytes)))
    })
  )
  return { file, size }
})

/** Opens the file of an archive, and unpacks it if necessary. The temporary file is closed with the scope. */
export const open = Effect.fnUntraced(function*(
  path: string,
  whenCompressed: WhenCompressed
): Effect.fn.Return<ArchiveFile, Storage | ContentTooLarge, FileSystem.FileSystem | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const refused = Effect.mapError(refusal(path))
  // opening a pipe for reading would wait for its writer
  const { type } = yield* refused(fs.stat(path))
  if (type === "FIFO") {
    // releases a writer that waits for a reader: it continues, and finds the pipe closed
    yield* Effect.ignore(Effect.scoped(fs.open(path, { flag: "r+" })))
    return yield* new Storage({
      path,
      problem: "it is a pipe, but an archive must be a file because it is read in any order"
    })
  }
  if (type !== "File") return yield* new Storage({ path, problem: "it is not a file" })
  const file = yield* refused(fs.open(path))
  const size = ByteSize.toNumberUnsafe((yield* refused(file.stat)).size)

  const beginning = yield* refused(file.readAlloc(6, { position: 0n }))
  const format = compression(Option.getOrElse(beginning, () => new Uint8Array()))
  if (format === undefined) return { file, size }
  const isKnown = format === "gzip" || format === "zstd"
  const unpack = isKnown && whenCompressed === "unpack" ? (yield* Decompressor)(format) : undefined
  if (unpack !== undefined) return yield* spool(path, { size, read: readFrom(path, file) }, unpack)
  const reason = isKnown && whenCompressed === "unpack" ? ", which this runtime cannot unpack," : ","
  return yield* new Storage({ path, problem: `it is compressed with ${format}${reason} and has to be unpacked first` })
})
