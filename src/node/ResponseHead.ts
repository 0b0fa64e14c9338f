/**
 * The head of a response: its status line and its headers. It is read strictly (RFC 9112), because a server and a proxy
 * that read a malformed head in different ways could be made to disagree about where a response ends.
 */
import * as Headers from "effect/http/Headers"
import { type Malformed, malformed } from "./Malformed.ts"

export interface ResponseHead {
  readonly status: number
  readonly headers: Headers.Headers
  /** Values of `Set-Cookie`. */
  readonly cookies: ReadonlyArray<string>
  /** Number of bytes of the body, if it is announced. */
  readonly length: number | undefined
  readonly isChunked: boolean
  /** Time for which the server keeps the connection afterwards, in milliseconds. */
  readonly kept: number
}

// maximum size of a head, in bytes
const maximumSize = 64 * 1024

// maximum number of headers
const maximumCount = 2000

const statusLine = /HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t -~\x80-\xff]*)?\r\n/y
const field = /([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)\r\n/y

// headers of which the first value counts, as in Node; several values of another one are joined
const singular: ReadonlySet<string> = new Set([
  "age",
  "authorization",
  "content-type",
  "etag",
  "expires",
  "from",
  "host",
  "if-modified-since",
  "if-unmodified-since",
  "last-modified",
  "location",
  "max-forwards",
  "proxy-authorization",
  "referer",
  "retry-after",
  "server",
  "user-agent"
])

const isSpace = (code: number): boolean => code === 32 || code === 9

/** Returns text without spaces and tabs at its ends. */
const trim = (text: string): string => {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text.charCodeAt(start))) start++
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

/** Returns the time for which a connection is kept, less a second in which a request may be on its way. */
const keptFor = (minor: string, { connection = "", "keep-alive": keepAlive = "" }: Headers.Headers): number => {
  const isKept = minor === "1" ? !/(?:^|,)\s*close\s*(?:,|$)/i.test(connection) : /\bkeep-alive\b/i.test(connection)
  if (!isKept) return 0
  const [, seconds] = keepAlive === "" ? [] : /(?:^|[,\s])timeout=(\d{1,9})/i.exec(keepAlive) ?? []
  return seconds === undefined ? Infinity : 1000 * (Number(seconds) - 1)
}

const prototype: object = Object.getPrototypeOf(Headers.empty)

/** Reads a head, which ends with an empty line. */
const read = (text: string): ResponseHead | Malformed => {
  statusLine.lastIndex = 0
  const [first = "", minor = "", status] = statusLine.exec(text) ?? []
  if (first === "") return malformed("HPE_INVALID_CONSTANT", "the status line is malformed")
  // without a prototype of objects, so that any name is a key
  const headers: Record<string, string> = Object.create(prototype)
  const cookies: Array<string> = []
  const end = text.length - 2
  let count = 0
  let at = first.length
  while (at < end) {
    field.lastIndex = at
    const match = field.exec(text)
    if (match === null) return malformed("HPE_INVALID_HEADER_TOKEN", "a header is malformed")
    if (++count > maximumCount) return malformed("HPE_HEADER_OVERFLOW", `it has more than ${maximumCount} headers`)
    at = field.lastIndex
    const [, written = "", padded = ""] = match
    const name = written.toLowerCase()
    const value = trim(padded)
    const before = headers[name]
    if (name === "set-cookie") cookies.push(value)
    if (before === undefined) headers[name] = value
    else if (name === "content-length") return malformed("HPE_UNEXPECTED_CONTENT_LENGTH", "it has several lengths")
    else if (!singular.has(name)) headers[name] = `${before}, ${value}`
  }
  const { "content-length": length, "transfer-encoding": coding } = headers
  if (length !== undefined && !/^\d{1,15}$/.test(length)) {
    return malformed("HPE_INVALID_CONTENT_LENGTH", "its length is no number")
  }
  if (coding !== undefined && length !== undefined) {
    return malformed("HPE_INVALID_TRANSFER_ENCODING", "it has a length, and comes in chunks")
  }
  if (coding !== undefined && coding.toLowerCase() !== "chunked") {
    return malformed("HPE_INVALID_TRANSFER_ENCODING", "its transfer coding is not supported")
  }
  return {
    status: Number(status),
    headers: headers as Headers.Headers,
    cookies,
    length: length === undefined ? undefined : Number(length),
    isChunked: coding !== undefined,
    kept: keptFor(minor, headers as Headers.Headers)
  }
}

const start = "HTTP/1."
const emptyLine = Buffer.from("\r\n\r\n")

/** Returns what is wrong with a head that has begun, so that what does not speak HTTP is not waited for. */
const problemOf = (first: string, last: string): Malformed | undefined =>
  !start.startsWith(first)
    ? malformed("HPE_INVALID_CONSTANT", "it does not begin as a response")
    : /[^\r]\n|\r[^\n]/.test(last)
    ? malformed("HPE_STRICT", "a line does not end with CR and LF")
    : undefined

/** Finds the end of a head. */
export class Reader {
  /** Beginning of a head that has not arrived as a whole. */
  #beginning: Buffer | undefined
  #size = 0
  /** Index of the byte after the head that was read last. */
  end = 0

  /** Reads bytes from an index on. Returns the head, if it has arrived. */
  read(bytes: Buffer, at: number): ResponseHead | Malformed | undefined {
    const found = this.#beginning === undefined ? bytes.indexOf(emptyLine, at) : -1
    if (found < 0 || found - at >= maximumSize) return this.#continue(bytes, at)
    this.end = found + 4
    return read(bytes.toString("latin1", at, this.end))
  }
  #continue(bytes: Buffer, at: number): ResponseHead | Malformed | undefined {
    const memory = this.#beginning ??= Buffer.allocUnsafe(maximumSize)
    const before = this.#size
    this.#size += bytes.copy(memory, before, at)
    const known = memory.subarray(0, this.#size)
    const found = known.indexOf(emptyLine, Math.max(0, before - 3))
    if (found >= 0) {
      this.#beginning = undefined
      this.#size = 0
      this.end = at + found + 4 - before
      return read(known.toString("latin1", 0, found + 4))
    }
    this.end = bytes.length
    if (this.#size === maximumSize) return malformed("HPE_HEADER_OVERFLOW", "its headers are too long")
    // not from the start again, because a head may come byte by byte
    return problemOf(known.toString("latin1", 0, start.length), known.toString("latin1", Math.max(0, before - 1)))
  }
}
