/**
 * Manifests that may be large, such as a list of a hundred thousand referrers: decoded piece by piece, so that other fibers,
 * and signals, are not held up meanwhile.
 *
 * A large document is cut within its longest list. Each piece of that list, together with all else that the document says,
 * is a small manifest of the same type, and is decoded by `Manifest.decode`; so both read the same.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Manifest from "./Manifest.ts"

// of documents that are decoded in one go, and of pieces, in bytes
const pieceSize = 64 * 1024

// of a document that is looked through in one go, in bytes
const stride = 1024 * 1024

// of what each piece repeats of the document, in bytes
const frameLimit = 16 * 1024

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const colon = 0x3a
const openingBracket = 0x5b
const closingBracket = 0x5d
const openingBrace = 0x7b
const closingBrace = 0x7d

/** A list of the document, from the byte after its bracket to its closing bracket, and where it is cut. */
interface List {
  readonly start: number
  readonly end: number
  readonly cuts: ReadonlyArray<number>
}

/** Returns the position after a string that begins here. */
const afterString = (bytes: Uint8Array, start: number): number => {
  let end = bytes.indexOf(quote, start + 1)
  const isEscaped = () => {
    let first = end
    while (bytes[first - 1] === backslash) first--
    return (end - first) % 2 === 1
  }
  while (end !== -1 && isEscaped()) end = bytes.indexOf(quote, end + 1)
  return end === -1 ? bytes.length : end + 1
}

// what a manifest may list very many of
const listKeys: ReadonlySet<string> = new Set([`"manifests"`, `"layers"`, `"blobs"`])

/** Finds the longest list of contents at the top of a document; none if two of its keys may be the same. */
const longestList = Effect.fnUntraced(function*(bytes: Uint8Array): Effect.fn.Return<List | undefined> {
  let depth = 0
  let longest: List | undefined
  let start = 0
  let cuts: Array<number> = []
  let lastString: readonly [start: number, end: number] = [0, 0]
  let key = ""
  const keys = new Set<string>()
  for (let place = 0, paused = 0; place < bytes.length; place++) {
    if (place - paused >= stride) {
      paused = place
      yield* Effect.yieldNow
    }
    const byte = bytes[place]
    if (byte === quote) {
      const end = afterString(bytes, place)
      lastString = [place, end]
      place = end - 1
    } else if (byte === openingBracket || byte === openingBrace) {
      depth++
      if (depth !== 2) continue
      start = place + 1
      cuts = []
    } else if (byte === closingBracket || byte === closingBrace) {
      const isLongest = place - start > (longest === undefined ? 0 : longest.end - longest.start)
      if (depth === 2 && byte === closingBracket && listKeys.has(key) && isLongest) {
        longest = { start, end: place, cuts }
      }
      depth--
    } else if (byte === comma && depth === 2 && place - (cuts.at(-1) ?? start) >= pieceSize) {
      cuts.push(place)
    } else if (byte === colon && depth === 1) {
      key = new TextDecoder().decode(bytes.subarray(...lastString))
      if (key.includes("\\") || keys.has(key)) return undefined
      keys.add(key)
    }
  }
  return longest
})

/** The documents that a large one is cut into. */
const piecesOf = function*(bytes: Uint8Array, { cuts, end, start }: List): Generator<Uint8Array> {
  const [head, tail] = [bytes.subarray(0, start), bytes.subarray(end)]
  const edges = [start - 1, ...cuts, end]
  for (const [index, edge] of edges.slice(0, -1).entries()) {
    const piece = bytes.subarray(edge + 1, edges[index + 1])
    const document = new Uint8Array(head.length + piece.length + tail.length)
    document.set(head)
    document.set(piece, head.length)
    document.set(tail, head.length + piece.length)
    yield document
  }
}

/** The same manifest with all of its list, of which each piece has a part. */
const joined = (pieces: ReadonlyArray<Manifest.Manifest>, bytes: Uint8Array): Manifest.Manifest | undefined => {
  const [first] = pieces
  switch (first?._tag) {
    case "Index": {
      const manifests = pieces.flatMap((piece) => piece._tag === "Index" ? piece.content.manifests : [])
      return { ...first, bytes, content: { ...first.content, manifests } }
    }
    case "Image": {
      const layers = pieces.flatMap((piece) => piece._tag === "Image" ? piece.content.layers : [])
      return { ...first, bytes, content: { ...first.content, layers } }
    }
    case "Artifact": {
      const blobs = pieces.flatMap((piece) => piece._tag === "Artifact" ? piece.content.blobs ?? [] : [])
      return { ...first, bytes, content: { ...first.content, blobs } }
    }
    case undefined:
      return undefined
  }
}

/** Decodes a manifest as `Manifest.decode` does. */
export const decode = Effect.fnUntraced(function*(
  mediaType: string,
  bytes: Uint8Array
): Effect.fn.Return<Manifest.Manifest, Manifest.ManifestError> {
  const list = bytes.length <= pieceSize ? undefined : yield* longestList(bytes)
  if (list === undefined || bytes.length - (list.end - list.start) > frameLimit) {
    return yield* Effect.fromResult(Manifest.decode(mediaType, bytes))
  }
  const pieces: Array<Manifest.Manifest> = []
  for (const piece of piecesOf(bytes, list)) {
    const decoded = Manifest.decode(mediaType, piece)
    // what is wrong is told as of the whole
    if (Result.isFailure(decoded)) return yield* Effect.fromResult(Manifest.decode(mediaType, bytes))
    pieces.push(decoded.success)
    yield* Effect.yieldNow
  }
  return joined(pieces, bytes) ?? (yield* Effect.fromResult(Manifest.decode(mediaType, bytes)))
})

/** Returns what a manifest refers to, as `Manifest.digests` does. */
export const digests = (
  mediaType: string,
  bytes: Uint8Array
): Effect.Effect<Manifest.Digests, Manifest.ManifestError> => Effect.map(decode(mediaType, bytes), Manifest.references)
