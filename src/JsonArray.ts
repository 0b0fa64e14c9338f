/**
 * JSON objects with one long array, read piece by piece.
 *
 * A registry decides how long its lists are. Parsing 15 MB at once blocks the event loop for longer than a user waits
 * for Ctrl-C. Therefore the document is first cut at the commas of its array, a megabyte at a time, and each piece is
 * parsed when it is read.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Bytes from "./Bytes.ts"
import * as JsonScan from "./JsonScan.ts"

/** A document that has been cut within one of its arrays. */
export interface JsonArray {
  /** Number of pieces. */
  readonly length: number
  /** Returns the text of a piece. */
  readonly text: (index: number) => string
  /** Returns the document with only this piece in the array. */
  readonly document: (index: number) => Uint8Array
  /** Returns true if the text of the array contains this text. */
  readonly includes: (text: string) => boolean
  /** Returns the bytes of a piece. */
  readonly piece: (index: number) => Uint8Array
  /** The document with an empty array in place of the array. */
  readonly rest: Uint8Array
  /** True if the document has the field more than once. Parsers take the last one, and so does this; others may not. */
  readonly isRepeated: boolean
}

// in bytes
const sliceLength = 1024 * 1024

/** Positions of the array, after its first bracket and at its last one, and of the ends of its pieces. */
interface Found {
  readonly start: number
  readonly end: number
  readonly ends: ReadonlyArray<number>
  readonly isRepeated: boolean
}

const decodeString = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.String))

/** Returns true if a JSON string is this name, which has nothing to escape but may be escaped. */
const isName = (json: string, name: string): boolean =>
  json === `"${name}"` || json.includes("\\") && Option.contains(decodeString(json), name)

/** Finds the array of a field of the outermost object. If there is none, it is empty and at the end of the document. */
const find = Effect.fnUntraced(function*(bytes: Uint8Array, field: string, pieceSize: number): Effect.fn.Return<
  Found | undefined
> {
  const decoder = new TextDecoder()
  let ends: Array<number> = []
  let start = bytes.length
  let end = bytes.length
  let depth = 0
  let name: readonly [start: number, end: number] = [0, 0]
  let isFound = false
  let isRepeated = false
  let isField = false
  let pause = sliceLength
  for (let at = 0, next = 0; at < bytes.length; at = next) {
    if (at >= pause) {
      pause = at + sliceLength
      yield* Effect.yieldNow
    }
    const byte = bytes[at] ?? 0
    const isInside = depth === 2 && start <= at && at < end
    next = byte === JsonScan.quote ? JsonScan.endOfString(bytes, at) : at + 1
    if (JsonScan.isOpening(byte)) {
      depth++
      if (depth > JsonScan.levelLimit || depth === 1 && byte !== JsonScan.openBrace) return undefined
      if (depth === 2 && isField && byte === JsonScan.openBracket) start = next
      isField = false
    } else if (JsonScan.isClosing(byte)) {
      depth--
      if (depth < 0) return undefined
      if (isInside) end = at
    } else if (byte === JsonScan.comma && isInside) {
      if (at - (ends.at(-1) ?? start) >= pieceSize) ends.push(at)
    } else if (byte === JsonScan.quote && depth === 1) name = [at, next]
    else if (byte === JsonScan.comma && depth === 1) isField = false
    else if (byte === JsonScan.colon && depth === 1 && isName(decoder.decode(bytes.subarray(...name)), field)) {
      isRepeated = isFound
      isField = isFound = true
      start = end = bytes.length
      ends = []
    }
  }
  if (depth !== 0) return undefined
  const isLastBlank = JsonScan.endOfSpace(bytes, (ends.at(-1) ?? start - 1) + 1) >= end
  // a comma before the end
  if (isLastBlank && ends.length > 0) return undefined
  if (!isLastBlank) ends.push(end)
  return { start, end, ends, isRepeated }
})

/**
 * Cuts a document within the array of `field`: at each comma, or at the first comma after `pieceSize` bytes. If there
 * is no such array, all of the document is `rest`. Returns `undefined` if the document is not an object.
 */
export const make = Effect.fnUntraced(function*(bytes: Uint8Array, field: string, pieceSize = 0): Effect.fn.Return<
  JsonArray | undefined
> {
  const found = yield* find(bytes, field, pieceSize)
  if (found === undefined) return undefined
  const { end, ends, isRepeated, start } = found
  const decoder = new TextDecoder()
  const piece = (index: number) =>
    bytes.subarray(index === 0 ? start : (ends[index - 1] ?? end) + 1, ends[index] ?? end)
  const around = (content: Uint8Array) => Bytes.concat([bytes.subarray(0, start), content, bytes.subarray(end)])
  return {
    length: ends.length,
    text: (index) => decoder.decode(piece(index)),
    piece,
    document: (index) => around(piece(index)),
    includes: (text) => decoder.decode(bytes.subarray(start, end)).includes(text),
    rest: around(new Uint8Array()),
    isRepeated
  }
})
