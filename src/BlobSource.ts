/**
 * Where the bytes of a blob come from when it is pushed.
 *
 * A source knows its length, and can be opened at an offset. One that can be opened more than once (`replay: "any"`) can
 * be sent again after a failure, and can go on in the middle; a one-shot source (`replay: "once"`) is read once, from
 * its beginning.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/**
 * Where the bytes of a blob come from.
 *
 * @category models
 * @since 0.1.0
 */
export interface BlobSource<out E = never> {
  /** Of the whole blob, in bytes. */
  readonly size: number
  /** The bytes from `offset` on, which is at most `size`. */
  readonly open: (offset: number) => Stream.Stream<Uint8Array, E>
  readonly replay: "once" | "any"
}

/**
 * A source of bytes in memory.
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
 * A source that is read once, from its beginning.
 *
 * **Example** (Bytes that come by once)
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
 * A source that is opened by a function, as often as needed.
 *
 * **Example** (A file, read from where it is needed)
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
 * The same source, whose beginning is fetched at once, whether anybody reads it yet or not: the first to open it there gets
 * that. It is let go of when they do so, or when the scope closes.
 *
 * @category combinators
 * @since 0.1.0
 */
export const primed = Effect.fnUntraced(function*<E>(
  self: BlobSource<E>
): Effect.fn.Return<BlobSource<E>, never, Scope.Scope> {
  const own = yield* Scope.fork(yield* Effect.scope)
  const pull = yield* Scope.provide(Stream.toPull(self.open(0)), own)
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

/**
 * The bytes from `offset` on, in memory: for small ones, that are better sent as one piece. Of a source that has more than
 * its size, somewhat more than that.
 *
 * @category combinators
 * @since 0.1.0
 */
export const collect = <E>(self: BlobSource<E>, offset = 0): Effect.Effect<Uint8Array, E> =>
  Effect.suspend(() => {
    let end = offset
    return self.open(offset).pipe(
      Stream.takeUntil((chunk) => (end += chunk.length) > self.size),
      Stream.mkUint8Array
    )
  })

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
