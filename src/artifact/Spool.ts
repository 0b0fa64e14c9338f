/**
 * Temporary files for content whose digest has to be known before it is sent.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type { Storage } from "../RegistryError.ts"
import { refusal } from "../stores/Files.ts"

/** Content with its digest. It can be read any number of times. */
export interface Hashed<E = never> {
  readonly digest: Digest
  readonly source: BlobSource.BlobSource<E>
}

/** Size of one read from a file, in bytes. */
const chunkSize = 512 * 1024

/** Returns the content of a file of a known size. */
export const ofFile = (fs: FileSystem.FileSystem, path: string, size: number): BlobSource.BlobSource<Storage> =>
  BlobSource.make(size, (offset) => {
    const options = { offset, chunkSize: Math.max(1, Math.min(chunkSize, size)) }
    return Stream.mapError(fs.stream(path, options), refusal(path))
  })

/** Updates a hash with the bytes of a stream. */
export const hashed =
  (hash: Hasher.Hash) => <E, R>(stream: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Uint8Array, E, R> =>
    Stream.mapArrayEffect(stream, (chunks) => Effect.as(hash.update(chunks), chunks))

/** Writes bytes to an open file. */
export const writeTo = (path: string, file: FileSystem.File) => (bytes: Uint8Array): Effect.Effect<void, Storage> =>
  // not interruptible: a write that continues after its file is closed could reach another file
  Effect.uninterruptible(Effect.mapError(file.writeAll(bytes), refusal(path)))

/** Writes content to a temporary file, which is removed with the scope. */
export const make = Effect.fnUntraced(function*<E, R>(
  content: Stream.Stream<Uint8Array, E, R>
): Effect.fn.Return<
  Hashed<Storage>,
  E | Storage | Hasher.UnsupportedAlgorithm,
  R | FileSystem.FileSystem | Path.Path | Scope.Scope
> {
  const fs = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const folder = yield* Effect.mapError(
    fs.makeTempDirectoryScoped({ prefix: "effect-oci-" }),
    refusal("temporary folder")
  )
  const path = join(folder, "content")
  let size = 0
  const digest = yield* Effect.scoped(Effect.gen(function*() {
    const file = yield* Effect.mapError(fs.open(path, { flag: "wx" }), refusal(path))
    const hash = yield* (yield* Hasher.Hasher).make("sha256")
    const write = writeTo(path, file)
    yield* Stream.runForEach(hashed(hash)(content), (bytes) => {
      size += bytes.length
      return write(bytes)
    })
    return yield* hash.digest
  }))
  return { digest, source: ofFile(fs, path, size) }
})
