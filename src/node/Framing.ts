/**
 * Ways in which the end of the body of a response is found: by its length, in chunks, or by the end of the connection.
 */
import { type Malformed, malformed } from "./Malformed.ts"

/** Receiver of the content of a body. */
export interface Receiver {
  readonly receive: (content: Buffer) => void
}

export interface Framing {
  /**
   * Passes the content in bytes to a receiver. Returns the number of bytes that belong to the response, or what is
   * wrong with them.
   */
  readonly read: (bytes: Buffer, receiver: Receiver) => number | Malformed
  /** True after the end of the body. */
  readonly isOver: boolean
  /** Number of bytes of the body that have not come, if it is known. */
  readonly left: number | undefined
  /** True if the end of the connection is the end of the body. */
  readonly isUntilEnd: boolean
}

/** A body of a known length. */
class Length implements Framing {
  left: number
  readonly isUntilEnd = false
  constructor(length: number) {
    this.left = length
  }
  get isOver(): boolean {
    return this.left === 0
  }
  read(bytes: Buffer, receiver: Receiver): number {
    const content = bytes.length <= this.left ? bytes : bytes.subarray(0, this.left)
    this.left -= content.length
    if (content.length > 0) receiver.receive(content)
    return content.length
  }
}

/** A body until the end of the connection. */
class Rest implements Framing {
  readonly isOver = false
  readonly left = undefined
  readonly isUntilEnd = true
  read(bytes: Buffer, receiver: Receiver): number {
    receiver.receive(bytes)
    return bytes.length
  }
}

const newline = 10
const sizeLine = /^([0-9a-f]{1,13})(?:;[\t -~\x80-\xff]*)?\r\n$/i
const trailer = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n$/

// maximum size of all that is not content: sizes of chunks with their extensions, and trailers, in bytes for each chunk
// and for the body
const maximumLine = 16 * 1024
const maximumExtra = 64 * 1024

/** A body in chunks. Extensions and trailers are checked, and ignored. */
class Chunks implements Framing {
  isOver = false
  readonly left = undefined
  readonly isUntilEnd = false
  /** Part that the next bytes belong to. */
  #part: "size" | "content" | "end" | "trailers" = "size"
  #chunk = 0
  /** Beginning of a line. */
  #line = ""
  #extra = 0

  read(bytes: Buffer, receiver: Receiver): number | Malformed {
    let at = 0
    while (at < bytes.length && !this.isOver) {
      if (this.#part === "content") {
        const content = bytes.subarray(at, at + this.#chunk)
        at += content.length
        this.#chunk -= content.length
        if (this.#chunk === 0) this.#part = "end"
        receiver.receive(content)
        continue
      }
      const found = bytes.indexOf(newline, at)
      const next = found < 0 ? bytes.length : found + 1
      if (this.#line.length + next - at > maximumLine) return malformed("HPE_HEADER_OVERFLOW", "a line is too long")
      this.#line += bytes.toString("latin1", at, next)
      at = next
      const problem = found < 0 ? undefined : this.#endLine()
      if (problem !== undefined) return problem
    }
    return at
  }
  #endLine(): Malformed | undefined {
    const line = this.#line
    this.#line = ""
    switch (this.#part) {
      case "end":
        this.#part = "size"
        return line === "\r\n" ? undefined : malformed("HPE_STRICT", "a chunk does not end with CR and LF")
      case "size": {
        const [, size] = sizeLine.exec(line) ?? []
        if (size === undefined) return malformed("HPE_INVALID_CHUNK_SIZE", "the size of a chunk is malformed")
        this.#chunk = Number.parseInt(size, 16)
        this.#part = this.#chunk === 0 ? "trailers" : "content"
        return this.#count(line.length - size.length - 2)
      }
      default:
        this.isOver = line === "\r\n"
        if (!this.isOver && !trailer.test(line)) return malformed("HPE_INVALID_HEADER_TOKEN", "a trailer is malformed")
        return this.#count(line.length)
    }
  }
  #count(extra: number): Malformed | undefined {
    this.#extra += extra
    if (this.#extra > maximumExtra) return malformed("HPE_HEADER_OVERFLOW", "its chunks have too many extensions")
    return undefined
  }
}

/** Creates the framing of a body. */
export const make = (length: number | undefined, isChunked: boolean): Framing =>
  isChunked ? new Chunks() : length === undefined ? new Rest() : new Length(length)
