/**
 * Ranges of bytes: parts of a blob that a client reads (RFC 9110, 14.2), and chunks of a blob that it pushes
 * (distribution-spec, "Pushing a blob in chunks").
 */

/** Requested range: from an offset, or the last bytes. */
export type Wanted =
  | { readonly _tag: "From"; readonly offset: number; readonly length?: number | undefined }
  | { readonly _tag: "Last"; readonly length: number }
  | { readonly _tag: "Unsatisfiable" }

// no content is longer, and larger numbers are inexact
const numberOf = (digits: string): number => Math.min(Number(digits), Number.MAX_SAFE_INTEGER)

/**
 * Parses a `Range`. Returns `undefined` for other units, several ranges and malformed ones: a server may ignore them
 * and send the whole blob (RFC 9110, 14.2). A range that ends before it begins is unsatisfiable.
 */
export const parse = (header: string | undefined): Wanted | undefined => {
  const [, first, last] = /^bytes *= *([0-9]*)-([0-9]*)$/i.exec((header ?? "").trim()) ?? []
  if (first === undefined || last === undefined || first + last === "") return undefined
  if (first === "") {
    return last.search(/[1-9]/) < 0
      ? { _tag: "Unsatisfiable" }
      : { _tag: "Last", length: numberOf(last) }
  }
  const offset = numberOf(first)
  if (last === "") return { _tag: "From", offset }
  return numberOf(last) < offset
    ? { _tag: "Unsatisfiable" }
    : { _tag: "From", offset, length: numberOf(last) - offset + 1 }
}

/** Chunk of an upload, by offset and length in bytes. */
export interface Brought {
  readonly offset: number
  readonly length: number
}

/**
 * Parses the `Content-Range` of a chunk: `0-1023`, without a unit. The unit and the total length of RFC 9110, which
 * some clients send, are ignored.
 */
export const parseContent = (header: string): Brought | undefined => {
  const [, first, last] = /^(?:bytes[ =])?([0-9]{1,15})-([0-9]{1,15})(?:\/(?:[0-9]{1,15}|\*))?$/.exec(header.trim()) ??
    []
  if (first === undefined || Number(last) < Number(first)) return undefined
  return { offset: Number(first), length: Number(last) - Number(first) + 1 }
}

/**
 * Returns the `Range` of an upload with `held` bytes. It is `0-0` both for no byte and for one, because the
 * specification has no form for an empty range.
 */
export const format = (held: number): string => `0-${Math.max(0, held - 1)}`
