/**
 * Unpacking of content as it flows. A layer may consist of many members of gzip (stargz) or frames of zstd
 * (zstd:chunked), one after another.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { ContentTooLarge, type Storage } from "../RegistryError.ts"
import * as ArchiveFile from "../stores/ArchiveFile.ts"
import { Decompressor, type Unpack, UnpackLimits } from "../stores/Decompressor.ts"

/** Content that is read piece by piece. Pieces can be put back. */
interface Input<E> {
  /** Returns the next piece, or `undefined` at the end. */
  readonly next: Effect.Effect<Uint8Array | undefined, E>
  readonly putBack: (piece: Uint8Array) => void
}

const inputOf = Effect.fnUntraced(function*<E>(
  content: Stream.Stream<Uint8Array, E>
): Effect.fn.Return<Input<E>, never, Scope.Scope> {
  const pull = yield* Stream.toPull(content)
  let pieces: ReadonlyArray<Uint8Array> = []
  let at = 0
  const next: Effect.Effect<Uint8Array | undefined, E> = Effect.suspend(() => {
    const piece = pieces[at]
    if (piece !== undefined) {
      at++
      return piece.length === 0 ? next : Effect.succeed(piece)
    }
    return Pull.catchDone(
      Effect.flatMap(pull, (more) => {
        pieces = more
        at = 0
        return next
      }),
      () => Effect.undefined
    )
  })
  return {
    next,
    putBack: (piece) => {
      if (piece.length === 0) return
      pieces = [piece, ...pieces.slice(at)]
      at = 0
    }
  }
})

/** Returns the first bytes of an input, and leaves them there. */
const beginning = Effect.fnUntraced(function*<E>(input: Input<E>, length: number) {
  let bytes = new Uint8Array()
  while (bytes.length < length) {
    const piece = yield* input.next
    if (piece === undefined) break
    const joined = new Uint8Array(bytes.length + piece.length)
    joined.set(bytes)
    joined.set(piece, bytes.length)
    bytes = joined
  }
  input.putBack(bytes)
  return bytes.subarray(0, length)
})

/** Skips zeros, which tapes and block devices add as padding. Returns false if nothing follows. */
const skipZeros = Effect.fnUntraced(function*<E>(input: Input<E>) {
  while (true) {
    const piece = yield* input.next
    if (piece === undefined) return false
    const at = piece.findIndex((byte) => byte !== 0)
    if (at < 0) continue
    input.putBack(piece.subarray(at))
    return true
  }
})

const rest = <E>(input: Input<E>): Stream.Stream<Uint8Array, E> =>
  Stream.fromEffectRepeat(input.next).pipe(Stream.takeWhile((piece) => piece !== undefined))

const magicLength = 6

/** Unpacks all members of an input, one after another. */
const members = <E>(
  input: Input<E>,
  format: ArchiveFile.Compression,
  unpack: Unpack,
  broken: (problem: string) => Storage
): Stream.Stream<Uint8Array, E | Storage> => {
  let isMore = true
  const member = () => {
    let fed = 0
    let last: Uint8Array = new Uint8Array()
    const feed = Stream.map(rest(input), (piece) => {
      fed += piece.length
      last = piece
      return piece
    })
    const { stream, used } = unpack(feed, broken)
    const advance = Effect.gen(function*() {
      const unused = fed - (yield* used)
      // what is left belongs to the last piece, because the others are used up before it is read
      if (unused > last.length || unused === fed) return yield* broken("its compressed data are broken")
      input.putBack(last.subarray(last.length - unused))
      isMore = yield* skipZeros(input)
      if (isMore && ArchiveFile.compression(yield* beginning(input, magicLength)) !== format) {
        return yield* broken("other data follow the compressed data")
      }
    })
    return Stream.concat(stream, Stream.fromEffectDrain(advance))
  }
  return Stream.fromEffectRepeat(Effect.sync(() => isMore)).pipe(Stream.takeWhile((is) => is), Stream.flatMap(member))
}

/** Fails once a stream exceeds a number of bytes. */
const limited = (limit: number) => <E>(stream: Stream.Stream<Uint8Array, E>) =>
  Stream.suspend(() => {
    let size = 0
    return Stream.mapArrayEffect(stream, (chunks) => {
      for (const { length } of chunks) size += length
      return size > limit ? Effect.fail(new ContentTooLarge({ limit })) : Effect.succeed(chunks)
    })
  })

/**
 * Returns content without its compression, which is detected by the first bytes. `size` is the compressed size, in
 * bytes. Fails with `ContentTooLarge` beyond the limits of `UnpackLimits`, and with the error that `broken` creates if
 * the content cannot be unpacked. The content is read to its end.
 */
export const unpacked = <E>(
  content: Stream.Stream<Uint8Array, E>,
  size: number,
  broken: (problem: string) => Storage
): Stream.Stream<Uint8Array, E | Storage | ContentTooLarge> =>
  Stream.unwrap(Effect.gen(function*() {
    const input = yield* inputOf(content)
    const { ratio, ratioFrom, size: maximum } = yield* UnpackLimits
    const format = ArchiveFile.compression(yield* beginning(input, magicLength))
    if (format === undefined) return limited(maximum)(rest(input))
    const isKnown = format === "gzip" || format === "zstd"
    const unpack = Option.fromUndefinedOr(isKnown ? (yield* Decompressor)(format) : undefined)
    if (Option.isNone(unpack)) return yield* broken(`it is compressed with ${format}, which this runtime cannot unpack`)
    const limit = Math.min(maximum, Math.max(ratioFrom, ratio * size))
    return limited(limit)(members(input, format, unpack.value, broken))
  }))
