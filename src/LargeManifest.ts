/**
 * Decoding of manifests that may be large, such as a list of a hundred thousand referrers. They are decoded in pieces, so
 * that other fibers and signals are not blocked meanwhile.
 *
 * A large document is cut within its list. Each piece of the list, with the rest of the document, is a small manifest of
 * the same type, which `Manifest.decode` decodes. Therefore both modules return the same.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as JsonArray from "./JsonArray.ts"
import * as Manifest from "./Manifest.ts"
import * as MediaType from "./MediaType.ts"

// maximum size of a document that is decoded in one go, and of a piece, in bytes
const pieceSize = 64 * 1024

// maximum length of the rest of the document, which each piece repeats, in characters
const frameLimit = 16 * 1024

/** Returns the name of the list that makes a manifest of this type long. */
const listOf = (mediaType: string): "manifests" | "layers" | "blobs" =>
  MediaType.isIndex(mediaType) ? "manifests" : mediaType === MediaType.artifactManifest ? "blobs" : "layers"

/** Joins the pieces of a manifest, each of which has a part of its list. */
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
    // the error has to be that of the whole document
    if (Result.isFailure(decoded)) return yield* whole
    pieces.push(decoded.success)
    yield* Effect.yieldNow
  }
  return joined(pieces, bytes) ?? (yield* whole)
})

/** Returns the content that a manifest refers to, as `Manifest.digests` does. */
export const digests = (
  mediaType: string,
  bytes: Uint8Array
): Effect.Effect<Manifest.Digests, Manifest.ManifestError> => Effect.map(decode(mediaType, bytes), Manifest.references)
