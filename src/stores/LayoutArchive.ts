/**
 * One image layout in a tar archive.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Digest from "../Digest.ts"
import { type ContentTooLarge, Storage } from "../RegistryError.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndexText from "./LayoutIndexText.ts"
import * as LayoutReader from "./LayoutReader.ts"
import type { TarFile } from "./TarFile.ts"

/** Reads and decodes a file. Fails if it is missing, larger than `limit` bytes, or cannot be decoded. */
export const readText = <A>(
  tar: TarFile,
  name: string,
  limit: number,
  decode: (bytes: Uint8Array) => Result.Result<A, string>
): Effect.Effect<A, Storage | ContentTooLarge> =>
  Effect.gen(function*() {
    const broken = (problem: string) => new Storage({ path: `${tar.path}: ${name}`, problem })
    const bytes = yield* tar.read(name, limit)
    if (bytes === undefined) return yield* broken("it is missing")
    return yield* Effect.mapError(Effect.fromResult(decode(bytes)), broken)
  })

/** Opens the layout in an archive. */
export const make = Effect.fnUntraced(
  function*(tar: TarFile): Effect.fn.Return<LayoutReader.Layout, Storage | ContentTooLarge> {
    yield* readText(tar, "oci-layout", LayoutFormat.markerLimit, LayoutFormat.checkMarker)
    const index = yield* readText(
      tar,
      "index.json",
      LayoutFormat.indexLimit,
      (bytes) => Result.flatMap(LayoutFormat.decodeText(bytes), LayoutIndexText.parse)
    )
    const size = (digest: Digest.Digest) => Effect.sync(() => tar.open(LayoutFormat.blobPath(digest).join("/"))?.size)
    return LayoutReader.make({
      index: Effect.succeed(index),
      indexPath: `${tar.path}: index.json`,
      size,
      mention: size,
      open: (digest) => Effect.sync(() => tar.open(LayoutFormat.blobPath(digest).join("/")))
    })
  }
)

/** Returns the blobs in a list of files, with their digests. */
export const blobsOf = (
  names: ReadonlyArray<string>
): ReadonlyArray<{ readonly name: string; readonly digest: Digest.Digest }> =>
  names.flatMap((name) => {
    const [folder, algorithm = "", encoded = "", ...rest] = name.split("/")
    const digest = Digest.parse(`${algorithm}:${encoded}`)
    return folder === "blobs" && rest.length === 0 && Result.isSuccess(digest)
      ? [{ name, digest: digest.success }]
      : []
  })
