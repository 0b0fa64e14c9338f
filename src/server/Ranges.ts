/**
 * Ranges of bytes, as requests name them: what they want of a blob (RFC 9110, 14.2), and which part of one they bring
 * (distribution-spec, "Pushing a blob in chunks").
 */

/** A part of something, by its first byte; or its last bytes. */
export type Wanted =
  | { readonly _tag: "From"; readonly offset: number; readonly length?: number | undefined }
  | { readonly _tag: "Last"; readonly length: number }
  | { readonly _tag: "Unsatisfiable" }

// no content is longer, and longer numbers would lose their last digits
const numberOf = (digits: string): number => Math.min(Number(digits), Number.MAX_SAFE_INTEGER)

/**
 * Reads a `Range`. Nothing is wanted of one that is not of bytes, of several ranges, and of what makes no sense: they are
 * answered with the whole, as they may be. One that ends before it begins is none that there could be.
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

/** A chunk of a blob that is uploaded. */
export interface Brought {
  readonly offset: number
  readonly length: number
}

/**
 * Reads the `Content-Range` of a chunk: `0-1023`, without a unit. Some clients send one, and the length of the whole, as
 * RFC 9110 would have it.
 */
export const parseContent = (header: string): Brought | undefined => {
  const [, first, last] = /^(?:bytes[ =])?([0-9]{1,15})-([0-9]{1,15})(?:\/(?:[0-9]{1,15}|\*))?$/.exec(header.trim()) ??
    []
  if (first === undefined || Number(last) < Number(first)) return undefined
  return { offset: Number(first), length: Number(last) - Number(first) + 1 }
}

/** The `Range` of an upload that has so many bytes. One that has none says what one says that has one: there is no other. */
export const format = (held: number): string => `0-${Math.max(0, held - 1)}`
