/**
 * The pieces of a bundle: a tar archive that is cut after a given number of bytes. Joined in their order, they are the
 * archive again. Each is written to a draft, which gets its name once it is complete and on disk.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Hasher from "../Hasher.ts"
import { Storage } from "../RegistryError.ts"
import * as Files from "../stores/Files.ts"
import type { BundleContents } from "./BundleContents.ts"

type Piece = BundleContents["pieces"][number]

// number of digits in the name of a piece
const digits = 3

/** Maximum number of pieces. */
const maximumPieces = 10_000

/** Returns the name of a piece, counted from 1. */
export const nameOf = (archive: string, number: number): string => `${archive}.${String(number).padStart(digits, "0")}`

/** A piece that is being written. */
interface Open {
  readonly name: string
  readonly draft: string
  readonly file: FileSystem.File
  readonly hash: Hasher.Hash
  readonly scope: Scope.Closeable
  size: number
}

/** Writes pieces, one after another. */
export interface PieceWriter {
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, Storage>
  /** Number of bytes that were written. */
  readonly position: () => number
  /** Completes the last piece, and returns all of them. */
  readonly end: Effect.Effect<ReadonlyArray<Piece>, Storage>
}

/** Creates a writer of pieces of at most `maximumSize` bytes in a folder. */
export const writer = Effect.fnUntraced(function*(
  files: Files.Files,
  archive: string,
  maximumSize: number
): Effect.fn.Return<PieceWriter, Storage, Scope.Scope> {
  const hasher = yield* Hasher.Hasher
  const outer = yield* Effect.scope
  const done: Array<Piece> = []
  let open: Open | undefined
  let position = 0

  const begin = Effect.fnUntraced(function*() {
    const name = nameOf(archive, done.length + 1)
    const draft = files.join(files.root, `.${name}.draft`)
    if (done.length >= maximumPieces) {
      return yield* new Storage({ path: name, problem: `there are more than ${maximumPieces} pieces` })
    }
    yield* files.remove(draft)
    const scope = yield* Scope.fork(outer)
    const created = yield* Effect.all([files.create(draft), Effect.orDie(hasher.make("sha256"))]).pipe(
      Scope.provide(scope)
    )
    const [file, hash] = created
    open = { name, draft, file, hash, scope, size: 0 }
    return open
  })

  const complete = Effect.fnUntraced(function*({ draft, file, hash, name, scope, size }: Open) {
    yield* files.sync(draft, file)
    const digest = yield* hash.digest
    yield* Scope.close(scope, Exit.void)
    yield* files.rename(draft, files.join(files.root, name))
    done.push({ name, size, digest })
    open = undefined
  })

  const write = Effect.fnUntraced(function*(bytes: Uint8Array) {
    let left = bytes
    while (left.length > 0) {
      const current = open ?? (yield* begin())
      const part = left.subarray(0, maximumSize - current.size)
      // not interruptible: a write that continues after its file is closed could reach another file
      yield* Effect.uninterruptible(Effect.mapError(current.file.writeAll(part), Files.refusal(current.draft)))
      yield* current.hash.update([part])
      current.size += part.length
      position += part.length
      left = left.subarray(part.length)
      if (current.size === maximumSize) yield* complete(current)
    }
  })

  return {
    write,
    position: () => position,
    end: Effect.gen(function*() {
      if (open !== undefined) yield* complete(open)
      yield* removeAfter(files, archive, done.length)
      yield* files.syncFolder(files.root)
      return done
    })
  }
})

/** Removes pieces of an earlier attempt that had more of them. */
const removeAfter = Effect.fnUntraced(function*(files: Files.Files, archive: string, count: number) {
  let number = count + 1
  while (yield* files.remove(files.join(files.root, nameOf(archive, number)))) number++
})

/** A part of the joined pieces that lies in one piece. */
interface Part {
  readonly name: string
  readonly from: number
  readonly to: number
}

/** Returns the parts of the joined pieces from `offset` up to `end`. */
const partsOf = (pieces: ReadonlyArray<Piece>, offset: number, end: number): ReadonlyArray<Part> => {
  const parts: Array<Part> = []
  let start = 0
  for (const { name, size } of pieces) {
    const from = Math.max(offset, start)
    const to = Math.min(end, start + size)
    if (from < to) parts.push({ name, from: from - start, to: to - start })
    start += size
  }
  return parts
}

/** Opens a piece by its name. */
export type OpenPiece = (name: string) => Effect.Effect<Files.OpenFile | undefined, Storage, Scope.Scope>

/** Returns a part of the joined pieces as a file. */
export const fileAt = (
  open: OpenPiece,
  pieces: ReadonlyArray<Piece>,
  offset: number,
  size: number
): Files.OpenFile => ({
  size,
  read: (from, to) =>
    Stream.fromIterable(partsOf(pieces, offset + from, offset + Math.min(to, size))).pipe(
      Stream.flatMap((part) =>
        Stream.unwrap(Effect.flatMap(open(part.name), (file) =>
          file === undefined
            ? Effect.fail(new Storage({ path: part.name, problem: "it is missing", code: "ENOENT" }))
            : Effect.succeed(file.read(part.from, part.to))))
      )
    )
})
