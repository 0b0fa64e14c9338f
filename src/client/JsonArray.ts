/**
 * Reads a JSON object that holds one long array, element by element.
 *
 * A registry decides how long its lists are. Parsing 15 MB at once keeps the event loop from running for longer than a
 * user waits for Ctrl-C. So the document is cut at the commas of its array first, a megabyte at a time, and each element
 * is parsed when it is read.
 */
import * as Effect from "effect/Effect"

/** A document that is cut at the elements of one of its arrays. */
export interface JsonArray {
  /** Number of elements. */
  readonly length: number
  /** Returns the text of an element. */
  readonly text: (index: number) => string
  /** Returns true if the text of the array contains this text. */
  readonly includes: (text: string) => boolean
  /** Text of the document, with an empty array in place of the array. */
  readonly rest: string
}

// in bytes
const sliceLength = 1024 * 1024
const restLimit = 1024 * 1024

// no list is nested deeper, and recursion over a document has an end
const depthLimit = 100

const quote = 0x22
const comma = 0x2c
const colon = 0x3a
const backslash = 0x5c
const [openBracket, closeBracket] = [0x5b, 0x5d]
const [openBrace, closeBrace] = [0x7b, 0x7d]

const isSpace = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d

const isBlank = (bytes: Uint8Array, start: number, end: number): boolean => {
  for (let index = start; index < end; index++) if (!isSpace(bytes[index])) return false
  return true
}

/** Scans a document for the array behind a field of its outermost object. Structure is ASCII, so bytes are enough. */
const scanner = (bytes: Uint8Array, field: string) => {
  const wanted = new TextEncoder().encode(field)
  const ends: Array<number> = []
  let position = 0
  let depth = 0
  let isString = false
  let stringStart = 0
  let stringEnd = 0
  let isKey = false
  let isInside = false
  let start: number | undefined
  let end: number | undefined
  let isBad = false

  const isWanted = (from: number, to: number): boolean =>
    to - from === wanted.length && wanted.every((byte, index) => bytes[from + index] === byte)

  const open = (byte: number): void => {
    depth++
    if (depth > depthLimit || depth === 1 && byte !== openBrace) isBad = true
    if (depth !== 2) return
    if (isKey && byte === openBracket) {
      // of two arrays of that name, readers would take different ones
      if (start !== undefined) isBad = true
      start = position + 1
      isInside = true
    }
    isKey = false
  }

  const close = (): void => {
    if (isInside && depth === 2) {
      end = position
      isInside = false
      if (ends.length > 0 || !isBlank(bytes, start ?? 0, end)) ends.push(end)
    }
    depth--
    if (depth < 0) isBad = true
  }

  const structure = (byte: number): void => {
    if (byte === quote) {
      isString = true
      stringStart = position + 1
      if (depth === 1) isKey = false
    } else if (byte === openBrace || byte === openBracket) open(byte)
    else if (byte === closeBrace || byte === closeBracket) close()
    else if (byte === comma && depth === 2 && isInside) ends.push(position)
    else if (byte === comma && depth === 1) isKey = false
    else if (byte === colon && depth === 1) isKey = isWanted(stringStart, stringEnd)
  }

  return {
    /** Scans a slice. Returns true if there is more. */
    advance: (): boolean => {
      const stop = Math.min(bytes.length, position + sliceLength)
      for (; position < stop; position++) {
        if (isBad) return false
        const byte = bytes[position] ?? 0
        if (!isString) structure(byte)
        else if (byte === backslash) position++
        else if (byte === quote) {
          isString = false
          stringEnd = position
        }
      }
      return position < bytes.length
    },
    /** The array, of no length at the end of a document that has none. */
    result: () =>
      isBad || depth !== 0 || isInside ? undefined : { start: start ?? bytes.length, end: end ?? bytes.length, ends }
  }
}

/**
 * Cuts a document at the array behind `field`. Without such an array, all of the document is `rest`. Returns nothing if
 * the document is no object, has two such arrays, or is large without them.
 */
export const make = Effect.fnUntraced(function*(bytes: Uint8Array, field: string): Effect.fn.Return<
  JsonArray | undefined
> {
  const scan = scanner(bytes, field)
  while (scan.advance()) yield* Effect.yieldNow
  const found = scan.result()
  if (found === undefined) return undefined
  const { end, ends, start } = found
  if (bytes.length - (end - start) > restLimit) return undefined
  const decoder = new TextDecoder()
  const textOf = (from: number, to: number) => decoder.decode(bytes.subarray(from, to))
  return {
    length: ends.length,
    text: (index) => textOf(index === 0 ? start : (ends[index - 1] ?? end) + 1, ends[index] ?? end),
    includes: (text) => textOf(start, end).includes(text),
    rest: textOf(0, start) + textOf(end, bytes.length)
  }
})
