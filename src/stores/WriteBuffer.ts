/**
 * A buffer that joins the small pieces of an upload into larger writes, because each write has a fixed cost.
 *
 * A buffer grows with its content up to 256 KiB, so that an idle upload holds little memory. All buffers of a pool hold
 * at most 32 MiB. Beyond that, pieces are written as they arrive.
 */
import * as Effect from "effect/Effect"

/** Number of bytes that the buffers of all uploads of a registry hold, beyond their initial size. */
export interface Pool {
  bytes: number
}

/** Creates the pool of a registry. */
export const makePool = (): Pool => ({ bytes: 0 })

/** Maximum number of bytes in a pool. */
const poolLimit = 32 * 1024 * 1024

/** Maximum size of a buffer, in bytes. */
const maximumSize = 256 * 1024

/** Initial size of a buffer, in bytes. */
const initialSize = 4 * 1024

export interface WriteBuffer<E> {
  /** Buffers or writes a piece. */
  readonly take: (piece: Uint8Array) => Effect.Effect<void, E>
  /** Writes the buffered bytes. */
  readonly flush: Effect.Effect<void, E>
  /** Returns the memory of the buffer to its pool. The buffer must not be used after that. */
  readonly release: () => void
}

/** Creates a buffer for at most `limit` bytes in front of a function that writes. */
export const make = <E>(
  pool: Pool,
  limit: number,
  write: (bytes: Uint8Array) => Effect.Effect<void, E>
): WriteBuffer<E> => {
  const largest = Math.min(limit, maximumSize)
  let gathered = new Uint8Array(Math.min(largest, initialSize))
  let count = 0
  let held = 0

  /** Grows the buffer to this size, or returns false if the pool is full. */
  const reserve = (needed: number): boolean => {
    if (needed <= gathered.length) return true
    const larger = Math.min(largest, Math.max(needed, 2 * gathered.length))
    const growth = larger - gathered.length
    if (pool.bytes + growth > poolLimit) return false
    const before = gathered.subarray(0, count)
    gathered = new Uint8Array(larger)
    gathered.set(before)
    held += growth
    pool.bytes += growth
    return true
  }

  const flush = Effect.suspend(() => {
    const bytes = gathered.subarray(0, count)
    count = 0
    return bytes.length === 0 ? Effect.void : write(bytes)
  })

  return {
    take: (piece) =>
      Effect.suspend(() => {
        if (piece.length >= largest || !reserve(Math.min(largest, count + piece.length))) {
          return Effect.andThen(flush, write(piece))
        }
        const place = Effect.sync(() => {
          gathered.set(piece, count)
          count += piece.length
        })
        return count + piece.length > largest ? Effect.andThen(flush, place) : place
      }),
    flush,
    release: () => {
      pool.bytes -= held
      held = 0
    }
  }
}
