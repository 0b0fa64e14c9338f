/**
 * Reads files that arguments name; `-` is stdin.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import { digestOf } from "../stores/BlobWriter.ts"
import { Failure } from "./Output.ts"

const chunkSize = 1024 * 1024

const unreadable = (file: string) => ({ reason }: PlatformError) =>
  new Failure({
    message: `cannot read ${file === "-" ? "stdin" : file}: ${
      reason._tag === "NotFound" ? "there is no such file" : reason._tag
    }`
  })

/** Returns the content of stdin. */
export const stdin = ({ stdin }: Stdio.Stdio): Stream.Stream<Uint8Array, Failure> =>
  Stream.mapError(stdin, unreadable("-"))

/** Returns the content of a file. Fails if it is larger than `limit` bytes. */
export const readBytes = Effect.fnUntraced(function*(file: string, limit: number) {
  const fs = yield* FileSystem.FileSystem
  const stdio = yield* Stdio.Stdio
  let size = 0
  const bytes = yield* (file === "-" ? stdio.stdin : fs.stream(file, { chunkSize })).pipe(
    Stream.mapError(unreadable(file)),
    Stream.takeUntil((chunk) => (size += chunk.length) > limit),
    Stream.mkUint8Array
  )
  return size > limit ? yield* new Failure({ message: `cannot read ${file}: it is larger than ${limit} bytes` }) : bytes
})

/**
 * Opens a file as a blob, and computes its digest. The file is read twice: for the digest, and to send it. Stdin is
 * stored in a temporary file for that.
 */
export const readBlob = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const stdio = yield* Stdio.Stdio
  const failed = Effect.mapError(unreadable(file))
  let name = file
  if (file === "-") {
    name = path.join(yield* failed(fs.makeTempDirectoryScoped({ prefix: "effect-oci-" })), "stdin")
    yield* failed(Stream.run(stdio.stdin, fs.sink(name)))
  }
  const open = (offset: number) => Stream.mapError(fs.stream(name, { offset, chunkSize }), unreadable(file))
  const digest = yield* digestOf(open(0)).pipe(Effect.catchTag("UnsupportedAlgorithm", Effect.die))
  const size = Number((yield* failed(fs.stat(name))).size)
  return { digest, source: BlobSource.make(size, open) }
})
