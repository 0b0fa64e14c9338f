/**
 * Memory for a body, from its arrival to its reader.
 */
import type { Slabs } from "./Slabs.ts"

export interface Storage {
  /** Adds bytes, which are valid until it returns, unless they are in memory of its own. */
  readonly add: (bytes: Buffer) => void
  /** Number of bytes that the reader can have. */
  readonly ready: number
  /** True if no more should be received until the reader has taken what there is. */
  readonly isFull: boolean
  /** Returns the pieces that the reader can have, or all if no more will come. They then belong to the reader. */
  readonly take: (isLast: boolean) => Array<Buffer>
  /** Returns memory for the next bytes, if so many are left. */
  readonly memory: (left: number) => Buffer | undefined
  /** Runs after the last byte, but not after a failure, because a connection may still be read into its memory. */
  readonly complete: () => void
}

/** Memory for all of a body of a known length, which the reader gets as one piece. */
export class Whole implements Storage {
  readonly #bytes: Buffer
  #size = 0
  // nothing before the end
  readonly ready = 0
  readonly isFull = false
  constructor(length: number) {
    this.#bytes = Buffer.allocUnsafeSlow(length)
  }
  add(bytes: Buffer): void {
    bytes.copy(this.#bytes, this.#size)
    this.#size += bytes.length
  }
  take(isLast: boolean): Array<Buffer> {
    if (!isLast || this.#size === 0) return []
    const taken = this.#size === this.#bytes.length ? this.#bytes : this.#bytes.subarray(0, this.#size)
    this.#size = 0
    return [taken]
  }
  memory(): undefined {
    return undefined
  }
  complete(): void {}
}

// number of bytes before the reader after which the connection is paused
const ahead = 256 * 1024

/** A piece of memory for each piece of a body. */
export class Pieces implements Storage {
  #pieces: Array<Buffer> = []
  ready = 0
  get isFull(): boolean {
    return this.ready >= ahead
  }
  add(bytes: Buffer): void {
    const piece = Buffer.allocUnsafeSlow(bytes.length)
    bytes.copy(piece)
    this.#pieces.push(piece)
    this.ready += bytes.length
  }
  take(): Array<Buffer> {
    const pieces = this.#pieces
    this.#pieces = []
    this.ready = 0
    return pieces
  }
  memory(): undefined {
    return undefined
  }
  complete(): void {}
}

// least room for another read into a slab, in bytes
const minimumRoom = 64 * 1024

/**
 * Slabs, into which a connection is read. The bytes that arrive while the reader is busy are one piece. It is full when
 * a slab is full before the reader has asked for it. A connection of TLS may go on for a moment; it then gets further
 * slabs.
 */
export class SlabStorage implements Storage {
  readonly #slabs: Slabs
  #slab
  // part of the slab that is received, but not a piece
  #start = 0
  #end = 0
  #pieces: Array<Buffer> = []
  ready = 0
  constructor(slabs: Slabs) {
    this.#slabs = slabs
    this.#slab = slabs.take()
  }
  get isFull(): boolean {
    return this.#pieces.length > 0
  }
  add(bytes: Buffer): void {
    const isInPlace = bytes.buffer === this.#slab.bytes.buffer
    for (let at = 0; at < bytes.length;) {
      const size = Math.min(bytes.length - at, this.#slab.bytes.length - this.#end)
      if (!isInPlace) bytes.copy(this.#slab.bytes, this.#end, at, at + size)
      at += size
      this.#end += size
      if (this.#slab.bytes.length - this.#end < minimumRoom) this.#turn()
    }
    this.ready += bytes.length
  }
  take(): Array<Buffer> {
    this.#cut()
    const pieces = this.#pieces
    this.#pieces = []
    this.ready = 0
    return pieces
  }
  memory(left: number): Buffer {
    // one byte more than is left, so that a body that is longer is noticed
    return this.#slab.bytes.subarray(this.#end, this.#end + left + 1)
  }
  complete(): void {
    this.#cut()
    this.#slabs.release(this.#slab)
  }
  #cut(): void {
    if (this.#end === this.#start) return
    this.#pieces.push(this.#slab.bytes.subarray(this.#start, this.#end))
    this.#slab.users++
    this.#start = this.#end
  }
  /** Continues with another slab. */
  #turn(): void {
    this.#cut()
    this.#slabs.release(this.#slab)
    this.#slab = this.#slabs.take()
    this.#start = this.#end = 0
  }
}
