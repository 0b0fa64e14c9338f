/**
 * Reading of content into two buffers, in turn: the next piece is read while the reader uses the last one. A piece is
 * valid until the reader asks for the next one.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Storage } from "../RegistryError.ts"

/** Size of a buffer, in bytes. */
const bufferSize = 512 * 1024

/**
 * Reads the bytes from `offset` up to `end` by `fill`, which fills a buffer with the bytes from a position on. All
 * pieces except the last have the size of a buffer.
 */
export const read = (
  offset: number,
  end: number,
  fill: (buffer: Uint8Array, position: number) => Effect.Effect<void, Storage>
): Stream.Stream<Uint8Array, Storage> =>
  Stream.scoped(Stream.fromPull(Effect.gen(function*() {
    const scope = yield* Effect.scope
    let position = offset
    /** Starts to read the next piece into a buffer, which is created if there is none. */
    const start = (buffer: Uint8Array | undefined) =>
      Effect.suspend(() => {
        if (position >= end) return Effect.undefined
        const whole = buffer ?? new Uint8Array(Math.min(bufferSize, end - position))
        const piece = whole.subarray(0, end - position)
        const filling = fill(piece, position)
        position += piece.length
        return Effect.forkIn(Effect.as(filling, { whole, piece }), scope, { startImmediately: true })
      })
    let reading = yield* start(undefined)
    let used: Uint8Array | undefined
    return Effect.gen(function*() {
      if (reading === undefined) return yield* Cause.done()
      const { piece, whole } = yield* Fiber.join(reading)
      reading = yield* start(used)
      used = whole
      return [piece] as const
    })
  })))
