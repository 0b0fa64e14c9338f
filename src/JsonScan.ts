/**
 * Positions in JSON, found without parsing it. The structure of JSON is ASCII, so bytes can be scanned as well as text.
 */

type Json = string | Uint8Array

/** Maximum number of levels of a document. Manifests have five; parsing and validating take time and stack for each. */
export const levelLimit = 100

/** Maximum number of values of a manifest. 4 MiB hold some 28 000 descriptors, with a few fields each. */
export const valueLimit = 300_000

export const quote = 0x22
export const comma = 0x2c
export const colon = 0x3a
const backslash = 0x5c
export const openBracket = 0x5b
const closeBracket = 0x5d
export const openBrace = 0x7b
const closeBrace = 0x7d

export const isOpening = (code: number): boolean => code === openBracket || code === openBrace
export const isClosing = (code: number): boolean => code === closeBracket || code === closeBrace
const isSpace = (code: number): boolean => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09

const codeAt = (json: Json, at: number): number => (typeof json === "string" ? json.charCodeAt(at) : json[at]) ?? 0

/** Returns the end of the string that begins at `start`, or the length of the document if the string has no end. */
export const endOfString = (json: Json, start: number): number => {
  let at = start + 1
  while (at < json.length && codeAt(json, at) !== quote) at += codeAt(json, at) === backslash ? 2 : 1
  return Math.min(at + 1, json.length)
}

/** Returns the end of the white space that begins at `start`. */
export const endOfSpace = (json: Json, start: number): number => {
  let at = start
  while (isSpace(codeAt(json, at))) at++
  return at
}

/** Returns the end of the value that begins at `start`. Its content is not checked. */
export const endOfValue = (json: Json, start: number): number => {
  let at = start
  let depth = 0
  while (at < json.length) {
    const code = codeAt(json, at)
    if (depth === 0 && at > start && (code === comma || isClosing(code) || isSpace(code))) return at
    if (isOpening(code)) depth++
    else if (isClosing(code)) depth--
    at = code === quote ? endOfString(json, at) : at + 1
    if (depth === 0 && (isClosing(code) || code === quote)) return at
    if (depth < 0) return at
  }
  return at
}

/** A field of an object, as positions in the document. */
interface Field {
  readonly name: readonly [start: number, end: number]
  readonly value: readonly [start: number, end: number]
}

/** Returns the fields of a document that is an object. Their values are not checked. */
export const fields = function*(json: Json): Generator<Field> {
  let at = endOfSpace(json, 0)
  if (codeAt(json, at) !== openBrace) return
  do {
    at = endOfSpace(json, at + 1)
    if (codeAt(json, at) !== quote) return
    const name = [at, endOfString(json, at)] as const
    at = endOfSpace(json, name[1])
    if (codeAt(json, at) !== colon) return
    const start = endOfSpace(json, at + 1)
    const value = [start, endOfValue(json, start)] as const
    yield { name, value }
    at = endOfSpace(json, value[1])
  } while (codeAt(json, at) === comma)
}

/**
 * Returns the limit that a document exceeds, or `undefined`: levels, values, or fields of one object. The document need
 * not be valid.
 */
export const excess = (json: Json, fieldLimit: number = valueLimit): "levels" | "values" | "fields" | undefined => {
  /** Numbers of fields, or of items, that are open at each level. */
  const counts = new Uint32Array(levelLimit + 1)
  const isObject = new Uint8Array(levelLimit + 1)
  let level = 0
  let values = 1
  let at = 0
  while (at < json.length) {
    const code = codeAt(json, at)
    if (isOpening(code)) {
      if (++level > levelLimit) return "levels"
      counts[level] = 1
      isObject[level] = code === openBrace ? 1 : 0
      values++
    } else if (isClosing(code)) {
      level = Math.max(0, level - 1)
    } else if (code === comma) {
      const count = (counts[level] ?? 0) + 1
      counts[level] = count
      values++
      if (count > fieldLimit && isObject[level] === 1) return "fields"
    }
    if (values > valueLimit) return "values"
    at = code === quote ? endOfString(json, at) : at + 1
  }
  return undefined
}
