/**
 * Names and contents of the files of an image layout (image-spec, `image-layout.md`).
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Digest from "../Digest.ts"

/**
 * Maximum size of `index.json` when it is read, in bytes. It exceeds the limit of a push, so that a folder that is
 * full, or was filled by an earlier version, can still be read and emptied.
 */
export const indexLimit = 128 * 1024 * 1024

/** Maximum size of `index.json` after a push, in bytes: some 280 000 entries with names of usual length. */
export const pushLimit = 64 * 1024 * 1024

/** Maximum size of `oci-layout`, in bytes. */
export const markerLimit = 10_000

/** The content of `oci-layout`. */
export const marker = `{"imageLayoutVersion":"1.0.0"}`

/** Returns the path of a blob within a layout, as its parts. */
export const blobPath = (digest: Digest.Digest): ReadonlyArray<string> => [
  "blobs",
  Digest.algorithm(digest),
  Digest.encoded(digest)
]

const strictDecoder = () => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const decodeWith = (
  decoder: ReturnType<typeof strictDecoder>,
  bytes: Uint8Array,
  options: { readonly stream: boolean }
) => Result.mapError(Result.try(() => decoder.decode(bytes, options)), () => "it is not UTF-8")

export const decodeText = (bytes: Uint8Array): Result.Result<string, string> =>
  decodeWith(strictDecoder(), bytes, { stream: false })

/** Creates a decoder of text that arrives in pieces. */
export const textDecoder = (): {
  readonly push: (bytes: Uint8Array) => Result.Result<string, string>
  readonly end: () => Result.Result<string, string>
} => {
  const decoder = strictDecoder()
  return {
    push: (bytes) => decodeWith(decoder, bytes, { stream: true }),
    end: () => decodeWith(decoder, new Uint8Array(), { stream: false })
  }
}

const decodeMarker = Schema.decodeUnknownResult(
  Schema.fromJsonString(Schema.Struct({ imageLayoutVersion: Schema.String }))
)

/** Fails with the problem of an `oci-layout` that does not declare version 1. */
export const checkMarker = (bytes: Uint8Array): Result.Result<void, string> => {
  const decoded = Result.flatMap(decodeText(bytes), decodeMarker)
  return Result.isSuccess(decoded) && decoded.success.imageLayoutVersion.startsWith("1.")
    ? Result.void
    : Result.fail("it does not declare an image layout of version 1")
}
