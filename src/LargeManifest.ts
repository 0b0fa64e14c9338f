/**
 * Manifests that may be large, such as a list of a hundred thousand referrers: decoded piece by piece, so that other fibers,
 * and signals, are not held up meanwhile.
 *
 * A large document is cut within its list. Each piece of that list, together with all else that the document says, is a
 * small manifest of the same type, and is decoded by `Manifest.decode`; so both read the same.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as JsonArray from "./JsonArray.ts"
import * as Manifest from "./Manifest.ts"
import * as MediaType from "./MediaType.ts"

// of documents that are decoded in one go, and of pieces, in bytes
const pieceSize = 64 * 1024

// of what each piece repeats of the document, in characters
const frameLimit = 16 * 1024

/** Returns the name of the list that a manifest of this type may be long by. */
const listOf = (mediaType: string): "manifests" | "layers" | "blobs" =>
  MediaType.isIndex(mediaType) ? "manifests" : mediaType === MediaType.artifactManifest ? "blobs" : "layers"

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
  const whole = Effect.suspend(() => Effect.fromResult(Manifest.decode(mediaType, bytes)))
  const list = bytes.length <= pieceSize ? undefined : yield* JsonArray.make(bytes, listOf(mediaType), pieceSize)
  if (list === undefined || list.rest.length > frameLimit) return yield* whole
  const pieces: Array<Manifest.Manifest> = []
  for (let index = 0; index < list.length; index++) {
    const decoded = Manifest.decode(mediaType, list.document(index))
    // an error names what is wrong with the whole document
    if (Result.isFailure(decoded)) return yield* whole
    pieces.push(decoded.success)
    yield* Effect.yieldNow
  }
  return joined(pieces, bytes) ?? (yield* whole)
})

/** Returns what a manifest refers to, as `Manifest.digests` does. */
export const digests = (
  mediaType: string,
  bytes: Uint8Array
): Effect.Effect<Manifest.Digests, Manifest.ManifestError> => Effect.map(decode(mediaType, bytes), Manifest.references)
