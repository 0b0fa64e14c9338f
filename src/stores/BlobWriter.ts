/**
 * Writing of blobs into a layout. A blob is written to a draft and hashed at the same time. When it is complete,
 * verified and on disk, the draft is renamed to the path of the blob.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import type { Reason, RegistryError } from "../RegistryError.ts"
import { freshness } from "./Cutoff.ts"
import { refusal } from "./Files.ts"
import * as LayoutQuarantine from "./LayoutQuarantine.ts"
import type { LayoutTarget } from "./LayoutTarget.ts"
import * as Usage from "./Usage.ts"
import * as WriteBuffer from "./WriteBuffer.ts"

/** A file that grows. */
export interface Draft {
  readonly path: string
  /** Size in bytes. */
  size: number
  /** Number of bytes that are counted as in use. */
  counted: number
  /** Hash of its content. Undefined if the content has to be read again to compute it. */
  hash: { readonly algorithm: string; readonly hash: Hasher.Hash } | undefined
}

/** Sets the counted bytes of a draft to its size. */
const recount = ({ key, usage }: LayoutTarget, draft: Draft): void => {
  usage.remove(key, Usage.unshared(draft.counted - draft.size))
  draft.counted = draft.size
}

/** Subtracts the counted bytes of a draft that is discarded. */
export const discard = ({ key, usage }: LayoutTarget, draft: Draft): void => {
  usage.remove(key, Usage.unshared(draft.counted))
  draft.counted = 0
}

/**
 * Appends a stream of at most `limit` bytes to a draft. If the stream fails, the bytes that arrived before stay in the
 * draft.
 */
export const receive = Effect.fnUntraced(function*<E>(
  target: LayoutTarget,
  draft: Draft,
  file: FileSystem.File,
  stream: Stream.Stream<Uint8Array, E>,
  limit: number,
  fail: (reason: Reason) => RegistryError
): Effect.fn.Return<void, RegistryError | E> {
  const failed = Effect.mapError((error: PlatformError) => fail(refusal(draft.path)(error)))
  // after a failed write, the size is known from the file only
  const measure = Effect.map(file.stat, ({ size }) => {
    draft.size = Number(size)
    draft.hash = undefined
  })
  const write = (bytes: Uint8Array) => {
    const written = failed(Effect.onError(file.writeAll(bytes), () => Effect.ignore(measure)))
    const hashed = draft.hash === undefined ? Effect.void : draft.hash.hash.update([bytes])
    // not interruptible: a write that continues after its file is closed could reach another file
    return Effect.uninterruptible(Effect.andThen(
      Effect.all([written, hashed], { concurrency: 2, discard: true }),
      Effect.sync(() => {
        draft.size += bytes.length
      })
    ))
  }

  const buffer = WriteBuffer.make(target.buffers, limit, write)

  /** Counts a piece, or returns the reason why it does not fit. */
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
      return refusal === undefined ? buffer.take(piece) : Effect.fail(fail(refusal))
    }, { discard: true })).pipe(
      Effect.onError(() => Effect.ignore(buffer.flush)),
      Effect.andThen(buffer.flush),
      Effect.ensuring(Effect.sync(() => {
        buffer.release()
        recount(target, draft)
      }))
    )
})

/** Returns the digest of the content of a stream. */
export const digestOf = Effect.fnUntraced(
  function*<E>(stream: Stream.Stream<Uint8Array, E>, algorithm: string = "sha256") {
    const hasher = yield* Hasher.Hasher
    const hash = yield* hasher.make(algorithm)
    yield* Stream.runForEachArray(stream, hash.update)
    return yield* hash.digest
  },
  Effect.scoped
)

/** Waits until a draft of this digest is on disk, and records that it is verified. */
export const settle = Effect.fnUntraced(
  function*({ files, verified }: LayoutTarget, path: string, file: FileSystem.File, digest: Digest.Digest) {
    const stat = Effect.mapError(file.stat, refusal(path))
    const written = yield* stat
    // the last byte may have arrived long ago
    const isOld = (yield* Clock.currentTimeMillis) - LayoutQuarantine.timeOf(written) > freshness
    if (isOld) yield* files.touch(path)
    const info = isOld ? yield* stat : written
    yield* files.sync(path, file)
    verified.add(digest, info)
  }
)

/** Renames a draft that is complete, verified and on disk to the path of its blob. */
export const keep = Effect.fnUntraced(function*(target: LayoutTarget, draft: Draft, digest: Digest.Digest) {
  const { files, layout } = target
  yield* layout.create
  const path = yield* layout.makePath(digest)
  yield* target.usage.replacing(target.key, path, files.rename(draft.path, path))
  draft.counted = 0
  const descriptor: Descriptor = { mediaType: MediaType.octetStream, digest, size: draft.size }
  return descriptor
})

/** Creates a link to a blob of another layout. Returns false if the file system cannot link it. */
export const link = Effect.fnUntraced(function*(
  { files, key, layout, usage }: LayoutTarget,
  from: string,
  { digest, size }: Pick<Descriptor, "digest" | "size">
) {
  yield* layout.create
  const path = yield* layout.makePath(digest)
  const link = Effect.catch(
    Effect.as(files.link(from, path), true),
    ({ code }) => Effect.succeed(code === "EEXIST")
  )
  const isLinked = yield* usage.linking(key, path, size, link)
  return isLinked && (yield* layout.mention(digest)) !== undefined
})

/** Stores a blob. `path` is the path of its draft, which must not exist. */
export const store = Effect.fnUntraced(function*<E>(
  target: LayoutTarget,
  operation: string,
  path: string,
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  stream: Stream.Stream<Uint8Array, E>
): Effect.fn.Return<Descriptor, RegistryError | E> {
  const { files } = target
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
    yield* Effect.mapError(settle(target, path, file, digest), fail)
  }))
  return yield* Effect.andThen(write, Effect.mapError(keep(target, draft, digest), fail)).pipe(
    Effect.onError(() => Effect.andThen(Effect.sync(() => discard(target, draft)), Effect.ignore(files.remove(path))))
  )
})
