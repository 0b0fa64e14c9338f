/**
 * Sources of the bytes of a blob that is pushed.
 *
 * A source knows its size and can be opened at an offset. A source that can be opened more than once (`replay: "any"`)
 * can be sent again after a failure, and resumes in the middle. A source with `replay: "once"` is read once, from its
 * beginning.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as OnePiece from "./OnePiece.ts"

/**
 * A source of the bytes of a blob.
 *
 * @category models
 * @since 0.1.0
 */
export interface BlobSource<out E = never> {
  /** Size of the whole blob, in bytes. */
  readonly size: number
  /** Returns the bytes from `offset` on, which is at most `size`. */
  readonly open: (offset: number) => Stream.Stream<Uint8Array, E>
  /** Number of times that the source can be opened. */
  readonly replay: "once" | "any"
}

/**
 * Creates a source of bytes in memory.
 *
 * **Example** (Bytes in memory)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as BlobSource from "effect-oci/BlobSource"
 *
 * const source = BlobSource.fromBytes(new TextEncoder().encode("hello"))
 *
 * source.size // => 5
 * source.replay // => "any"
 * new TextDecoder().decode(Effect.runSync(BlobSource.collect(source, 2))) // => "llo"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromBytes = (bytes: Uint8Array): BlobSource => ({
  size: bytes.length,
  open: (offset) => offset >= bytes.length ? Stream.empty : Stream.succeed(bytes.subarray(offset)),
  replay: "any"
})

/**
 * Creates a source that is read once, from its beginning.
 *
 * **Example** (A stream that is read once)
 *
 * ```ts import.meta.vitest
 * import { Effect, Stream } from "effect"
 * import * as BlobSource from "effect-oci/BlobSource"
 *
 * const source = BlobSource.fromStream(5, Stream.encodeText(Stream.make("hel", "lo")))
 *
 * source.replay // => "once"
 * Effect.runSync(BlobSource.collect(source)).length // => 5
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromStream = <E>(size: number, stream: Stream.Stream<Uint8Array, E>): BlobSource<E> => ({
  size,
  open: (offset) => dropBytes(stream, offset),
  replay: "once"
})

/**
 * Creates a source that a function opens, as often as needed.
 *
 * **Example** (A file that is read from an offset)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, FileSystem } from "effect"
 * import * as BlobSource from "effect-oci/BlobSource"
 *
 * const program = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   yield* fs.writeFileString("hello.txt", "hello")
 *   const { size } = yield* fs.stat("hello.txt")
 *   const source = BlobSource.make(Number(size), (offset) => fs.stream("hello.txt", { offset }))
 *   return new TextDecoder().decode(yield* BlobSource.collect(source, 2))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, NodeServices.layer)) // => "llo"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E>(
  size: number,
  open: (offset: number) => Stream.Stream<Uint8Array, E>
): BlobSource<E> => ({ size, open, replay: "any" })

/**
 * Starts to fetch the beginning of a source immediately. The first reader that opens the source at offset 0 receives
 * it. The fetch is released at that point, or when the scope closes.
 *
 * @category combinators
 * @since 0.1.0
 */
export const primed = Effect.fnUntraced(function*<E>(
  self: BlobSource<E>
): Effect.fn.Return<BlobSource<E>, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const opened = self.open(0)
  if (self.size <= smallSize && OnePiece.isPossible(opened)) return yield* primedWhole(self, opened, scope)
  const own = yield* Scope.fork(scope)
  const pull = yield* Scope.provide(Stream.toPull(opened), own)
  const first = yield* Effect.forkIn(pull, own, { startImmediately: true })
  let isTaken = false
  return {
    ...self,
    open: (offset) => {
      if (offset > 0) return self.open(offset)
      return Stream.suspend(() => {
        if (isTaken) return self.open(0)
        isTaken = true
        let next: typeof pull = Effect.suspend(() => {
          next = pull
          return Fiber.join(first)
        })
        return Stream.ensuring(
          Stream.fromPull(Effect.succeed(Effect.suspend(() => next))),
          Scope.close(own, Exit.void)
        )
      })
    }
  }
})

// size up to which a source is fetched completely before it is read, in bytes
const smallSize = 64 * 1024

/** Starts to fetch all of a small source. */
const primedWhole = <E>(
  self: BlobSource<E>,
  opened: Stream.Stream<Uint8Array, E>,
  scope: Scope.Scope
): Effect.Effect<BlobSource<E>> =>
  Effect.map(Effect.forkIn(OnePiece.collect(opened, self.size), scope, { startImmediately: true }), (first) => {
    let isTaken = false
    const once = Effect.suspend(() => {
      if (isTaken) return collect(self)
      isTaken = true
      return Fiber.join(first)
    })
    return { ...self, open: (offset) => offset > 0 ? self.open(offset) : OnePiece.make(once) }
  })

/**
 * Collects the bytes from `offset` on in memory, for small blobs, which are sent in one piece. If the source has more
 * bytes than its size, the result is longer as well, by at most one chunk.
 *
 * @category combinators
 * @since 0.1.0
 */
export const collect = <E>(self: BlobSource<E>, offset = 0): Effect.Effect<Uint8Array, E> =>
  Effect.suspend(() => OnePiece.collect(self.open(offset), self.size - offset))

const dropBytes = <E>(stream: Stream.Stream<Uint8Array, E>, count: number): Stream.Stream<Uint8Array, E> =>
  count === 0 ? stream : Stream.suspend(() => {
    let left = count
    return stream.pipe(
      Stream.map((chunk) => {
        const skip = Math.min(left, chunk.length)
        left -= skip
        return chunk.subarray(skip)
      }),
      Stream.filter((chunk) => chunk.length > 0)
    )
  })
