/**
 * Decoding of manifests that may be large, such as a list of a hundred thousand referrers. They are decoded in pieces,
 * so that other fibers and signals are not blocked meanwhile.
 *
 * A large document is cut within its list. The document without that list is a small manifest of the same type, which
 * `Manifest.decode` decodes. The entries of the list are decoded a piece at a time. The result is that of
 * `Manifest.decode`.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Descriptor } from "./Descriptor.ts"
import * as JsonArray from "./JsonArray.ts"
import * as Manifest from "./Manifest.ts"
import * as MediaType from "./MediaType.ts"

// maximum size of a document that is decoded in one go, and of a piece, in bytes
const pieceSize = 64 * 1024

// maximum size of an invalid document that is decoded in one go to report the position of the error, in bytes
const explainedSize = 512 * 1024

/** Returns the name of the list that makes a manifest of this type long. */
const listOf = (mediaType: string): "manifests" | "layers" | "blobs" =>
  MediaType.isIndex(mediaType) ? "manifests" : mediaType === MediaType.artifactManifest ? "blobs" : "layers"

const decodeEntries = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.toCodecGoJson(Schema.Array(Descriptor)))
)

/** Decodes the entries in a piece of a list. Returns nothing if one is invalid. */
const entriesOf = (piece: Uint8Array): Option.Option<ReadonlyArray<Descriptor>> =>
  Option.flatMap(
    Option.liftThrowable(() => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(piece))(),
    (text) => decodeEntries(`[${text}]`)
  )

/** Returns a manifest with these entries in its list. */
const withEntries = (
  manifest: Manifest.Manifest,
  bytes: Uint8Array,
  entries: ReadonlyArray<Descriptor>
): Manifest.Manifest => {
  switch (manifest._tag) {
    case "Index":
      return { ...manifest, bytes, content: { ...manifest.content, manifests: entries } }
    case "Image":
      return { ...manifest, bytes, content: { ...manifest.content, layers: entries } }
    case "Artifact":
      return { ...manifest, bytes, content: { ...manifest.content, blobs: entries } }
  }
}

/** Returns an error about a piece of a list as one about the list, of which so many entries stand before. */
const moved = (error: Manifest.ManifestError, before: number) =>
  new Manifest.ManifestError({
    kind: error.kind,
    mediaType: error.mediaType,
    problem: error.problem.replace(/(\["\w+"\]\[)(\d+)/, (_, list, index) => `${list}${before + Number(index)}`)
  })

/** Decodes a manifest as `Manifest.decode` does. */
export const decode = Effect.fnUntraced(function*(
  mediaType: string,
  bytes: Uint8Array
): Effect.fn.Return<Manifest.Manifest, Manifest.ManifestError> {
  const inOneGo = Effect.suspend(() => Effect.fromResult(Manifest.decode(mediaType, bytes)))
  if (bytes.length <= pieceSize) return yield* inOneGo
  const field = listOf(mediaType)
  const list = yield* JsonArray.make(bytes, field, pieceSize)
  if (list === undefined) return yield* inOneGo
  const explained = (error: Manifest.ManifestError) => bytes.length <= explainedSize ? inOneGo : Effect.fail(error)
  const rest = Manifest.decode(mediaType, list.rest)
  if (Result.isFailure(rest)) return yield* explained(rest.failure)
  if (list.length === 0) return { ...rest.success, bytes }
  const entries: Array<Descriptor> = []
  for (let index = 0; index < list.length; index++) {
    yield* Effect.yieldNow
    const decoded = entriesOf(list.piece(index))
    if (Option.isSome(decoded)) {
      // not by spreading, which puts all of them on the stack
      for (const entry of decoded.value) entries.push(entry)
      continue
    }
    const alone = Manifest.decode(mediaType, list.document(index))
    return yield* Result.isSuccess(alone) ? inOneGo : explained(moved(alone.failure, entries.length))
  }
  return withEntries(rest.success, bytes, entries)
})

/** Returns what a manifest refers to, as `Manifest.digests` does. */
export const digests = (
  mediaType: string,
  bytes: Uint8Array
): Effect.Effect<Manifest.Digests, Manifest.ManifestError> => Effect.map(decode(mediaType, bytes), Manifest.references)
