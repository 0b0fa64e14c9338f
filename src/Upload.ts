/**
 * Upload sessions, in which a blob is written in chunks (distribution-spec, "Pushing blobs").
 *
 * `Registry.startUpload` opens a session. {@link write} sends a `BlobSource` into it, and resumes after a failure at
 * the offset that the session has reached.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type BlobSource, collect } from "./BlobSource.ts"
import type { Descriptor } from "./Descriptor.ts"
import type { Digest } from "./Digest.ts"
import * as OnePiece from "./OnePiece.ts"
import { isRegistryError, type RegistryError } from "./RegistryError.ts"
import { retryWhile, worthRetrying } from "./Retries.ts"

// ---------------------------------------------------------------------------------------------------------------------
// models
// ---------------------------------------------------------------------------------------------------------------------

/**
 * A blob that was mounted from another repository.
 *
 * @category models
 * @since 0.1.0
 */
export interface Mounted {
  readonly _tag: "Mounted"
  readonly digest: Digest
}

/**
 * Consecutive bytes of a blob that is uploaded, from `offset` on.
 *
 * @category models
 * @since 0.1.0
 */
export interface Chunk<out E = never> {
  readonly offset: number
  /** Size in bytes, if known beforehand. */
  readonly size?: number | undefined
  readonly stream: Stream.Stream<Uint8Array, E>
}

/**
 * An upload session.
 *
 * @category models
 * @since 0.1.0
 */
export interface Upload {
  readonly _tag: "Upload"
  /** Opaque id of the session for `resumeUpload`. It may change with each call. */
  readonly id: Effect.Effect<string>
  /** Minimum size of each chunk except the last, in bytes; 0 if there is none. */
  readonly minimumChunk: number
  /** Maximum size of a chunk, in bytes; `Infinity` if there is none. */
  readonly maximumChunk: number
  /**
   * True if the session accepts chunks and continues after an interrupted one. If false, it accepts only the whole
   * blob, with the commit.
   */
  readonly resumable: boolean
  /**
   * Number of bytes that the registry has received.
   *
   * Reasons: `BlobUploadUnknown`.
   */
  readonly status: Effect.Effect<number, RegistryError>
  /**
   * Adds a chunk, and returns the number of bytes that the registry has now. If a chunk ends early or is interrupted,
   * the session keeps the bytes received so far; `status` returns their number.
   *
   * Reasons: `BlobUploadUnknown`; `BlobUploadInvalid` if the chunk does not begin at the end of the last one.
   */
  readonly append: <E>(chunk: Chunk<E>) => Effect.Effect<number, RegistryError | E>
  /**
   * Ends the session: its content, with the last chunk if one is given, becomes the blob of that digest.
   *
   * Reasons: those of `append`; `DigestInvalid` or `DigestMismatch` if the content has another digest, `SizeInvalid`.
   */
  readonly commit: <E = never>(digest: Digest, last?: Chunk<E>) => Effect.Effect<Descriptor, RegistryError | E>
}

// ---------------------------------------------------------------------------------------------------------------------
// combinators
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Size from which a blob is sent in chunks before the commit, so that its upload can resume, in bytes. This costs one
 * more request. Smaller blobs are sent with the commit.
 *
 * @default 16 MiB
 * @category references
 * @since 0.1.0
 */
export const ResumptionThreshold: Context.Reference<number> = Context.Reference(
  "effect-oci/Upload/ResumptionThreshold",
  { defaultValue: () => 16 * 1024 * 1024 }
)

/**
 * Sends a blob into a session and commits it.
 *
 * **Details**
 *
 * After a temporary failure, the upload resumes at the offset of the session, as the schedule of retries says, if the
 * source can be opened again. If the session is lost, `reopen` opens another one, and the blob starts again: a large
 * blob once, a small one as often as the schedule says. `reopen` may also find that the registry has the blob.
 *
 * Reasons: those of `append` and `commit`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const write = Effect.fnUntraced(function*<E>(
  self: Upload,
  digest: Digest,
  source: BlobSource<E>,
  reopen: Effect.Effect<Mounted | Upload, RegistryError, Scope.Scope>
): Effect.fn.Return<void, RegistryError | E> {
  const isLarge = source.size >= (yield* ResumptionThreshold)
  const pieces: Pieces = { largest: Infinity, isDeclined: false }
  let session: Mounted | Upload = self
  let restarts = 0

  const isLost = (error: RegistryError): boolean =>
    (losses.has(error.reason._tag) || pieces.isDeclined ||
      session._tag === "Upload" && !session.resumable && worthRetrying(error)) &&
    (restarts++ === 0 || !isLarge)
  const restart = Effect.gen(function*() {
    session = yield* reopen
    if (session._tag === "Upload") yield* fill(session, digest, source, isLarge, pieces)
  }).pipe(Effect.scoped)

  const filled = fill(self, digest, source, isLarge, pieces)
  yield* (source.replay === "once" ? filled : Effect.catchIf(
    filled,
    (error) => isRegistryError(error) && isLost(error),
    () => retryWhile(restart, isLost)
  )).pipe(
    Effect.mapError((error) => isRegistryError(error) ? error : error.error)
  )
})

const losses: ReadonlySet<string> = new Set(["BlobUploadUnknown", "BlobUploadInvalid", "Unsupported"])

/** The size of the pieces of a blob, as learnt from the answers of the registry. */
interface Pieces {
  /** Maximum size of a piece, in bytes. */
  largest: number
  /** True after the registry refused the first of several pieces. */
  isDeclined: boolean
}

// statuses of registries that do not know the request
const noSuchRequest: ReadonlySet<number | undefined> = new Set([400, 404, 405])

const fill = Effect.fnUntraced(
  function*<E>(
    self: Upload,
    digest: Digest,
    source: BlobSource<E>,
    isLarge: boolean,
    pieces: Pieces
  ): Effect.fn.Return<void, RegistryError | SourceFailure<E>> {
    const { replay, size } = source
    const canResume = replay === "any" && self.resumable
    const largest = () => Math.min(self.maximumChunk, pieces.largest)
    const inChunks = () => isLarge && canResume && !pieces.isDeclined || size > largest()

    // offset and length of what was sent last
    let offset = 0
    let length = 0
    // true after the registry contradicted the offset of the client once: the second time is an error
    let isDisputed = false

    const send = Effect.fnUntraced(function*(start: number) {
      offset = start
      if (!inChunks()) {
        length = size - offset
        const stream = size > smallBlob ? source.open(start) : OnePiece.make(collect(source, start))
        return yield* self.commit(digest, { offset, size: length, stream: OnePiece.mapError(stream, sourceFailure) })
      }
      const next = yield* piecesOf(source, start)
      while (offset < size) {
        length = Math.min(Math.max(self.minimumChunk, largest()), size - offset)
        // the last piece takes all that is left, so that a source that is too long is detected
        yield* self.append({ offset, size: length, stream: next(offset + length < size ? length : Infinity) }).pipe(
          Effect.tapError((error) => {
            const isFirst = offset === 0 && size <= largest()
            const isDispute = isReason("BlobUploadInvalid")(error) && !isDisputed
            if (isRegistryError(error) && isFirst && !isDispute && noSuchRequest.has(error.status)) {
              pieces.isDeclined = true
            }
            return Effect.void
          })
        )
        offset += length
      }
      return yield* self.commit(digest)
    }, Effect.scoped)
    if (replay === "once") return yield* Effect.asVoid(send(0))

    // a refused token has been replaced, and the refused request has left nothing in the session
    const sendFrom = (start: number): Effect.Effect<Descriptor, RegistryError | SourceFailure<E>> => {
      offset = start
      return Effect.catchIf(send(start), isReason("Unauthorized"), () => Effect.suspend(() => send(offset))).pipe(
        Effect.catchIf(isReason("ContentTooLarge"), (error) => {
          const smaller = self.resumable ? smallerChunk(length) : undefined
          if (smaller === undefined) return Effect.fail(error)
          pieces.largest = smaller
          return Effect.flatMap(self.status, sendFrom)
        })
      )
    }
    if (!self.resumable) return yield* Effect.asVoid(sendFrom(0))
    let next: Effect.Effect<number, RegistryError> = Effect.succeed(0)
    yield* retryWhile(Effect.suspend(() => Effect.flatMap(next, sendFrom)), (error) => {
      next = self.status
      if (pieces.isDeclined) return false
      if (!isReason("BlobUploadInvalid")(error) || isDisputed) return worthRetrying(error)
      isDisputed = true
      return true
    })
  }
)

const isReason = (tag: RegistryError["reason"]["_tag"]) => (error: { readonly _tag: string }): boolean =>
  isRegistryError(error) && error.reason._tag === tag

// in bytes; after a smaller chunk was refused, no smaller one is tried
const smallestChunk = 1024 * 1024

/**
 * Returns the size of the chunk to send after the registry refused one as too large, in bytes: half of it, and at least
 * 1 MiB. Returns `undefined` after a chunk of 1 MiB or less.
 *
 * **Example** (After a refusal)
 *
 * ```ts import.meta.vitest
 * import * as Upload from "effect-oci/Upload"
 *
 * Upload.smallerChunk(20_000_000) // => 10_000_000
 * Upload.smallerChunk(500_000) // => undefined
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const smallerChunk = (size: number): number | undefined =>
  size > smallestChunk ? Math.max(smallestChunk, Math.ceil(size / 2)) : undefined

/**
 * Maximum size of a blob that may be sent before it is known whether the registry has it or accepts it in one request,
 * in bytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const smallBlob = 64 * 1024

/** A failure of the source, wrapped so that it is not retried as a failure of the registry. */
interface SourceFailure<E> {
  readonly _tag: "SourceFailure"
  readonly error: E
}

const sourceFailure = <E>(error: E): SourceFailure<E> => ({ _tag: "SourceFailure", error })

/** Returns the bytes of a source from an offset on, one piece after another. */
const piecesOf = <E>(source: BlobSource<E>, offset: number) =>
  Effect.map(Stream.toPull(source.open(offset)), (pull) => {
    let rest: ReadonlyArray<Uint8Array> = []
    return (length: number): Stream.Stream<Uint8Array, SourceFailure<E>> => {
      let left = length
      const cut = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<Uint8Array> => {
        const taken: Array<Uint8Array> = []
        const kept: Array<Uint8Array> = []
        for (const chunk of chunks) {
          if (left > 0) taken.push(chunk.subarray(0, left))
          if (left < chunk.length) kept.push(chunk.subarray(left))
          left = Math.max(0, left - chunk.length)
        }
        rest = kept
        return taken
      }
      const next: Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, E> = Effect.gen(function*() {
        if (left === 0) return yield* Cause.done()
        const taken = cut(rest.length > 0 ? rest : yield* pull)
        return Arr.isReadonlyArrayNonEmpty(taken) ? taken : yield* next
      })
      return Stream.mapError(Stream.fromPull(Effect.succeed(next)), sourceFailure)
    }
  })
