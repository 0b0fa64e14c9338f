/**
 * Bytes in memory, in blocks, so that they can be gathered and read without a copy of the whole.
 */

/** Bytes in blocks. They must not be changed. */
export interface Blocks {
  /** Number of bytes. */
  readonly size: number
  readonly blocks: ReadonlyArray<Uint8Array>
}

/** Returns bytes as one block. */
export const ofBytes = (bytes: Uint8Array): Blocks => ({ size: bytes.length, blocks: [bytes] })

/** Returns a copy of all bytes in one array. */
export const join = ({ blocks, size }: Blocks): Uint8Array => {
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const block of blocks) {
    bytes.set(block, offset)
    offset += block.length
  }
  return bytes
}

/** Returns the bytes from `offset` up to `end`, in views of at most `limit` bytes. */
export function* views(
  { blocks }: Blocks,
  { end, limit, offset }: { readonly offset: number; readonly end: number; readonly limit: number }
): Generator<Uint8Array> {
  let start = 0
  for (const block of blocks) {
    const last = Math.min(block.length, end - start)
    for (let from = Math.max(0, offset - start); from < last; from += limit) {
      yield block.subarray(from, Math.min(from + limit, last))
    }
    start += block.length
  }
}
