/**
 * What the files of an image layout are called and contain (image-spec, `image-layout.md`).
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Digest from "../Digest.ts"

/** Of an `index.json`, in bytes. */
export const indexLimit = 64 * 1024 * 1024

/** Of an `oci-layout`, in bytes. */
export const markerLimit = 10_000

/** The content of `oci-layout`. */
export const marker = `{"imageLayoutVersion":"1.0.0"}`

/** The path of a blob within a layout. */
export const blobPath = (digest: Digest.Digest): ReadonlyArray<string> => [
  "blobs",
  Digest.algorithm(digest),
  Digest.encoded(digest)
]

export const decodeText = (bytes: Uint8Array): Result.Result<string, string> =>
  Result.mapError(
    Result.try(() => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)),
    () => "it is not UTF-8"
  )

const decodeMarker = Schema.decodeUnknownResult(
  Schema.fromJsonString(Schema.Struct({ imageLayoutVersion: Schema.String }))
)

/** Says what is wrong with an `oci-layout`. */
export const checkMarker = (bytes: Uint8Array): Result.Result<void, string> => {
  const decoded = Result.flatMap(decodeText(bytes), decodeMarker)
  return Result.isSuccess(decoded) && decoded.success.imageLayoutVersion.startsWith("1.")
    ? Result.void
    : Result.fail("it does not say that this is an image layout, version 1")
}
