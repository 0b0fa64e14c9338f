/**
 * Blobs on their way into a layout: written to a file of their own, hashed meanwhile, and renamed to where they belong
 * once they are whole and safe on disk.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import type { Reason, RegistryError } from "../RegistryError.ts"
import { type Files, refusal } from "./Files.ts"
import type { LayoutFolder } from "./LayoutFolder.ts"
import type { LayoutUsage } from "./LayoutUsage.ts"
import * as Usage from "./Usage.ts"

/** Where a blob goes to. */
export interface Target {
  readonly layout: LayoutFolder
  /** Tells it from others: the repository, unless all share one layout. */
  readonly key: string
  readonly usage: LayoutUsage
  /** Shared by all uploads of a registry. */
  readonly buffers: Buffers
  readonly failed: (operation: string) => (reason: Reason) => RegistryError
}

/** What uploads gather before it is written, in bytes. */
export interface Buffers {
  bytes: number
}

/** Largest number of bytes that the uploads of a registry gather at the same time. Beyond it, each writes all pieces. */
const buffersLimit = 32 * 1024 * 1024

/** A file that grows. */
export interface Draft {
  readonly path: string
  /** In bytes. */
  size: number
  /** Number of bytes that are counted as in use. */
  counted: number
  /** Of all that is in it, unless that has to be read again to know it. */
  hash: { readonly algorithm: string; readonly hash: Hasher.Hash } | undefined
}

/** Smaller pieces are gathered before they are written, so that each write is worth its while. In bytes. */
const writeSize = 256 * 1024

/** Size of what gathers the first pieces, in bytes. */
const firstSize = 4 * 1024

/** Counts as many bytes as in use as a draft has now. */
const recount = ({ key, usage }: Target, draft: Draft): void => {
  usage.remove(key, Usage.unshared(draft.counted - draft.size))
  draft.counted = draft.size
}

/** Counts the bytes of a draft as no longer in use. */
export const discard = ({ key, usage }: Target, draft: Draft): void => {
  usage.remove(key, Usage.unshared(draft.counted))
  draft.counted = 0
}

/** Writes a stream of at most `limit` bytes to the end of a draft. What came before the stream broke stays there. */
export const receive = Effect.fnUntraced(function*<E>(
  target: Target,
  draft: Draft,
  file: FileSystem.File,
  stream: Stream.Stream<Uint8Array, E>,
  limit: number,
  fail: (reason: Reason) => RegistryError
): Effect.fn.Return<void, RegistryError | E> {
  const failed = Effect.mapError((error: PlatformError) => fail(refusal(draft.path)(error)))
  // after a write that failed, the file alone knows how much is in it
  const measure = Effect.map(file.stat, ({ size }) => {
    draft.size = Number(size)
    draft.hash = undefined
  })
  const write = (bytes: Uint8Array) => {
    const written = failed(Effect.onError(file.writeAll(bytes), () => Effect.ignore(measure)))
    const hashed = draft.hash === undefined ? Effect.void : draft.hash.hash.update([bytes])
    // a write that goes on while its file is closed could end up in another one
    return Effect.uninterruptible(Effect.andThen(
      Effect.all([written, hashed], { concurrency: 2, discard: true }),
      Effect.sync(() => {
        draft.size += bytes.length
      })
    ))
  }

  const largest = Math.min(limit, writeSize)
  // it grows with what comes, because an upload that stands still should hold little
  let gathered = new Uint8Array(Math.min(largest, firstSize))
  let count = 0
  const flush = Effect.suspend(() => {
    const bytes = gathered.subarray(0, count)
    count = 0
    return bytes.length === 0 ? Effect.void : write(bytes)
  })
  const { buffers } = target
  let held = 0
  /** Makes room for so many bytes, or returns false if the uploads gather too much. */
  const reserve = (needed: number): boolean => {
    if (needed <= gathered.length) return true
    const larger = Math.min(largest, Math.max(needed, 2 * gathered.length))
    const growth = larger - gathered.length
    if (buffers.bytes + growth > buffersLimit) return false
    const before = gathered.subarray(0, count)
    gathered = new Uint8Array(larger)
    gathered.set(before)
    held += growth
    buffers.bytes += growth
    return true
  }
  const take = (piece: Uint8Array) =>
    Effect.suspend(() => {
      if (piece.length >= largest || !reserve(Math.min(largest, count + piece.length))) {
        return Effect.andThen(flush, write(piece))
      }
      const place = Effect.sync(() => {
        gathered.set(piece, count)
        count += piece.length
      })
      return count + piece.length > largest ? Effect.andThen(flush, place) : place
    })

  /** Counts a piece, or returns why it does not fit. */
  const admit = (piece: Uint8Array): Reason | undefined => {
    const { key, usage } = target
    const refusal = usage.checkBlob(draft.counted + piece.length) ?? usage.add(key, Usage.unshared(piece.length))
    if (refusal === undefined) draft.counted += piece.length
    return refusal
  }

  let received = 0
  yield* failed(file.seek(BigInt(draft.size), "start"))
  yield* Stream.runForEachArray(stream, (pieces) =>
    Effect.forEach(pieces, (piece) => {
      received += piece.length
      if (received > limit) return Effect.fail(fail(new Hasher.SizeMismatch({ expected: limit, actual: received })))
      const refusal = admit(piece)
      return refusal === undefined ? take(piece) : Effect.fail(fail(refusal))
    }, { discard: true })).pipe(
      Effect.onError(() => Effect.ignore(flush)),
      Effect.andThen(flush),
      Effect.ensuring(Effect.sync(() => {
        buffers.bytes -= held
        recount(target, draft)
      }))
    )
})

/** The digest of what a stream brings. */
export const digestOf = Effect.fnUntraced(
  function*<E>(stream: Stream.Stream<Uint8Array, E>, algorithm: string = "sha256") {
    const hasher = yield* Hasher.Hasher
    const hash = yield* hasher.make(algorithm)
    yield* Stream.runForEachArray(stream, hash.update)
    return yield* hash.digest
  },
  Effect.scoped
)

/** Moves a draft that is whole, verified and safe on disk to where its blob belongs. */
export const keep = Effect.fnUntraced(function*(files: Files, target: Target, draft: Draft, digest: Digest.Digest) {
  const { layout } = target
  yield* layout.create
  const path = yield* layout.makePath(digest)
  yield* target.usage.replacing(target.key, path, files.rename(draft.path, path))
  draft.counted = 0
  const descriptor: Descriptor = { mediaType: MediaType.octetStream, digest, size: draft.size }
  return descriptor
})

/** Links to a blob of another layout; not where the file system does not have it. */
export const link = Effect.fnUntraced(function*(
  files: Files,
  { key, layout, usage }: Target,
  from: string,
  { digest, size }: Pick<Descriptor, "digest" | "size">
) {
  yield* layout.create
  const path = yield* layout.makePath(digest)
  const link = Effect.catch(
    Effect.as(files.link(from, path), true),
    ({ code }) => Effect.succeed(code === "EEXIST")
  )
  return yield* usage.linking(key, path, size, link)
})

/** Stores a blob by way of a file that is not there yet. */
export const store = Effect.fnUntraced(function*<E>(
  files: Files,
  target: Target,
  operation: string,
  path: string,
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  stream: Stream.Stream<Uint8Array, E>
): Effect.fn.Return<Descriptor, RegistryError | E> {
  const fail = target.failed(operation)
  const draft: Draft = { path, size: 0, counted: 0, hash: undefined }
  const write = Effect.scoped(Effect.gen(function*() {
    yield* Effect.mapError(Usage.orFail(() => target.usage.checkBlob(size)), fail)
    const hasher = yield* Hasher.Hasher
    const algorithm = Digest.algorithm(digest)
    const hash = yield* Effect.mapError(hasher.make(algorithm), fail)
    const file = yield* Effect.mapError(files.create(path), fail)
    draft.hash = { algorithm, hash }
    yield* receive(target, draft, file, stream, size, fail)
    if (draft.size !== size) return yield* fail(new Hasher.SizeMismatch({ expected: size, actual: draft.size }))
    const actual = yield* hash.digest
    if (actual !== digest) return yield* fail(new Hasher.DigestMismatch({ expected: digest, actual }))
    yield* Effect.mapError(files.sync(path, file), fail)
  }))
  return yield* Effect.andThen(write, Effect.mapError(keep(files, target, draft, digest), fail)).pipe(
    Effect.onError(() => Effect.andThen(Effect.sync(() => discard(target, draft)), Effect.ignore(files.remove(path))))
  )
})
