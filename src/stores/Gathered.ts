/**
 * A buffer for bytes that arrive in pieces of any size. It takes less than twice their size in memory.
 */
import type { Blocks } from "./Blocks.ts"

/** Minimum and maximum size of the blocks that small pieces are copied to, in bytes. */
const smallestBlock = 1024
const largestBlock = 1024 * 1024

export interface Gathered {
  readonly size: () => number
  /** Adds a copy of a piece. */
  readonly push: (piece: Uint8Array) => void
  /** Returns all bytes. They take their size in memory unless more pieces follow. */
  readonly blocks: () => Blocks
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

  /** Replaces the last block by a copy of its bytes, if it has room for more. */
  const trim = () => {
    const last = blocks.pop()
    if (last !== undefined) blocks.push(filled < last.length ? last.slice(0, filled) : last)
  }

  return {
    size: () => size,
    push,
    blocks: () => {
      trim()
      return { size, blocks: blocks.slice() }
    }
  }
}
