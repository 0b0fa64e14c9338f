/**
 * Upload sessions: a blob that is written piece by piece (distribution-spec, "Pushing blobs").
 *
 * `Registry.startUpload` opens one. {@link write} sends a {@link BlobSource} into it, and goes on where the session is
 * when something breaks.
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
import { isRegistryError, type RegistryError } from "./RegistryError.ts"
import { retryWhile, worthRetrying } from "./Retries.ts"

// ---------------------------------------------------------------------------------------------------------------------
// models
// ---------------------------------------------------------------------------------------------------------------------

/**
 * A blob that another repository had, and that now is in this one too.
 *
 * @category models
 * @since 0.1.0
 */
export interface Mounted {
  readonly _tag: "Mounted"
  readonly digest: Digest
}

/**
 * Consecutive bytes of a blob in upload, from `offset` on.
 *
 * @category models
 * @since 0.1.0
 */
export interface Chunk<out E = never> {
  readonly offset: number
  /** In bytes, where known beforehand. */
  readonly size?: number
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
  /** Names the session to `resumeUpload`, opaquely; it may change with each call. */
  readonly id: Effect.Effect<string>
  /** No chunk but the last may be smaller; 0 where the registry does not mind. In bytes. */
  readonly minimumChunk: number
  /** No chunk may be larger; `Infinity` where the registry does not mind. In bytes. */
  readonly maximumChunk: number
  /** Does it take chunks, and go on where one broke off? Otherwise it wants the blob whole, with the commit. */
  readonly resumable: boolean
  /**
   * How many bytes the registry has.
   *
   * Reasons: `BlobUploadUnknown`.
   */
  readonly status: Effect.Effect<number, RegistryError>
  /**
   * Adds a chunk, and tells how many bytes the registry has now. Of a chunk that breaks off, or is interrupted, the
   * session keeps what came; `status` tells how much that is.
   *
   * Reasons: `BlobUploadUnknown`; `BlobUploadInvalid` when the chunk does not begin where the last one ended.
   */
  readonly append: <E>(chunk: Chunk<E>) => Effect.Effect<number, RegistryError | E>
  /**
   * Ends the session: what it holds, with the last chunk if one is given, becomes the blob of that digest.
   *
   * Reasons: those of `append`; `DigestInvalid` or `DigestMismatch` when the content is another, `SizeInvalid`.
   */
  readonly commit: <E = never>(digest: Digest, last?: Chunk<E>) => Effect.Effect<Descriptor, RegistryError | E>
}

// ---------------------------------------------------------------------------------------------------------------------
// combinators
// ---------------------------------------------------------------------------------------------------------------------

/**
 * From which size on a blob is sent so that its upload can go on where it broke off, which costs a request more: in
 * chunks, with a commit behind them. Smaller ones go with the commit. In bytes.
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
 * Sends a blob into a session and commits it. What breaks goes on where the session is by then, as the schedule of
 * retries has it, if the source can be opened again. Where the session is lost, `reopen` opens another, in which the blob
 * begins again: a large one once, a small one as often as the schedule says. Or `reopen` finds the blob to be there.
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

/** How a blob is cut into pieces, as far as the registry's answers say. */
interface Pieces {
  /** No piece may be larger, in bytes. */
  largest: number
  /** True after the registry refused the first of several pieces. */
  isDeclined: boolean
}

// statuses that say of a request that there is no such request
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

    // where what was sent last began, and how much it was
    let offset = 0
    let length = 0
    // where the session is may be a misunderstanding, but not for ever
    let isDisputed = false

    const send = Effect.fnUntraced(function*(start: number) {
      offset = start
      if (!inChunks()) {
        length = size - offset
        const stream = size > smallBlob ? source.open(start) : Stream.fromEffect(collect(source, start))
        return yield* self.commit(digest, {
          offset,
          size: length,
          stream: Stream.mapError(stream, sourceFailure)
        })
      }
      const next = yield* piecesOf(source, start)
      while (offset < size) {
        length = Math.min(Math.max(self.minimumChunk, largest()), size - offset)
        // the last one takes all there is, so that a source that is too long is found out
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

    // who is not let in any longer has left nothing there, and is known again by now
    const sendFrom = (start: number): Effect.Effect<Descriptor, RegistryError | SourceFailure<E>> => {
      offset = start
      return Effect.retry(Effect.suspend(() => send(offset)), { times: 1, while: isReason("Unauthorized") }).pipe(
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

// in bytes; a registry that refuses less is not asked to take still less
const smallestChunk = 1024 * 1024

/**
 * Returns the size of the chunk to send after one of this size was too large for the registry: half of it, and 1 MiB at
 * least. Returns nothing after a chunk of 1 MiB or less. In bytes.
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
 * What is no larger than this may be sent before it is known whether it can be taken in one request, or is there already.
 * In bytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const smallBlob = 64 * 1024

/** A failure of the source, on its way past what mends failures of the registry. */
interface SourceFailure<E> {
  readonly _tag: "SourceFailure"
  readonly error: E
}

const sourceFailure = <E>(error: E): SourceFailure<E> => ({ _tag: "SourceFailure", error })

/** The bytes of a source from an offset on, one piece after another. */
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
