/**
 * A buffer for bytes that arrive in pieces of any size. It takes less than twice their size in memory.
 */

/** Minimum and maximum size of the blocks that small pieces are copied to, in bytes. */
const smallestBlock = 1024
const largestBlock = 1024 * 1024

export interface Gathered {
  readonly size: () => number
  readonly push: (piece: Uint8Array) => void
  /** Returns all bytes in one array. */
  readonly join: () => Uint8Array
}

export const make = (): Gathered => {
  const blocks: Array<Uint8Array> = []
  /** Number of bytes in the last block. */
  let filled = 0
  let size = 0

  const push = (piece: Uint8Array) => {
    const last = blocks.at(-1)
    const fitting = Math.min(piece.length, last === undefined ? 0 : last.length - filled)
    last?.set(piece.subarray(0, fitting), filled)
    filled += fitting
    size += fitting
    const rest = piece.subarray(fitting)
    if (rest.length === 0) return
    const block = new Uint8Array(Math.max(rest.length, smallestBlock, Math.min(size, largestBlock)))
    block.set(rest)
    blocks.push(block)
    filled = rest.length
    size += rest.length
  }

  return {
    size: () => size,
    push,
    join: () => {
      const bytes = new Uint8Array(size)
      let offset = 0
      for (const block of blocks) {
        const part = block.subarray(0, Math.min(block.length, size - offset))
        bytes.set(part, offset)
        offset += part.length
      }
      return bytes
    }
  }
}
