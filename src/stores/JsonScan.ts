/**
 * Positions in the text of JSON, found without parsing it.
 */

const quote = 0x22
const backslash = 0x5c

/** Returns where a string ends that begins here, or the length of the text if it does not. */
export const endOfString = (json: string, start: number): number => {
  let end = json.indexOf(`"`, start + 1)
  while (end >= 0) {
    let at = end
    while (json.charCodeAt(at - 1) === backslash) at--
    if ((end - at) % 2 === 0) return end + 1
    end = json.indexOf(`"`, end + 1)
  }
  return json.length
}

const isSpace = (code: number): boolean => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09

/** Returns where white space ends that begins here. */
export const endOfSpace = (json: string, start: number): number => {
  let at = start
  while (isSpace(json.charCodeAt(at))) at++
  return at
}

// [ and {, ] and }
const isOpening = (code: number): boolean => code === 0x5b || code === 0x7b
const isClosing = (code: number): boolean => code === 0x5d || code === 0x7d
const isComma = (code: number): boolean => code === 0x2c

/** Returns where a value ends that begins here, if it is one: what is between is not checked. */
export const endOfValue = (json: string, start: number): number => {
  let at = start
  let depth = 0
  while (at < json.length) {
    const code = json.charCodeAt(at)
    if (depth === 0 && at > start && (isComma(code) || isClosing(code) || isSpace(code))) return at
    if (isOpening(code)) depth++
    else if (isClosing(code)) depth--
    at = code === quote ? endOfString(json, at) : at + 1
    if (depth === 0 && (isClosing(code) || code === quote)) return at
    if (depth < 0) return at
  }
  return at
}

/** Numbers of levels and of values. */
export interface Shape {
  readonly depth: number
  readonly values: number
}

const endOfStringIn = (bytes: Uint8Array, start: number): number => {
  let end = bytes.indexOf(quote, start + 1)
  while (end >= 0) {
    let at = end
    while (bytes[at - 1] === backslash) at--
    if ((end - at) % 2 === 0) return end + 1
    end = bytes.indexOf(quote, end + 1)
  }
  return bytes.length
}

/** Returns true if JSON has more levels, or more values, than it may. It need not be valid. */
export const exceeds = (bytes: Uint8Array, limits: Shape): boolean => {
  let depth = 0
  let values = 1
  let at = 0
  while (at < bytes.length) {
    const code = bytes[at] ?? 0
    if (isOpening(code)) depth++
    else if (isClosing(code)) depth--
    if (isOpening(code) || isComma(code)) values++
    if (depth > limits.depth || values > limits.values) return true
    at = code === quote ? endOfStringIn(bytes, at) : at + 1
  }
  return false
}
