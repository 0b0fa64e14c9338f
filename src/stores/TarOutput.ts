/**
 * Writing of a tar archive, one file after another, without knowing all of them beforehand.
 *
 * A file that fails while it is written to a file of the system is removed from the archive. A stream cannot take
 * anything back, so that a failure ends it.
 */
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import { Storage } from "../RegistryError.ts"
import { type OpenFile, readFrom, refusal } from "./Files.ts"

export interface TarOutput {
  /** Appends a file, one at a time. Returns the content if it can be read again. */
  readonly append: <E>(
    name: string,
    size: number,
    content: Stream.Stream<Uint8Array, E>
  ) => Effect.Effect<OpenFile | undefined, E | Storage>
  /** Writes the end of the archive. */
  readonly end: Effect.Effect<void, Storage>
}

/** Writes the next bytes of an archive. */
export type Write = (bytes: Uint8Array) => Effect.Effect<void, Storage>

/** Size of the mark at the end of an archive, in bytes. */
const endSize = 1024

/** Holds back the last bytes of a stream, which are the mark at the end of an archive. */
const withoutEnd = <E, R>(stream: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Uint8Array, E, R> =>
  Stream.suspend(() => {
    let held: ReadonlyArray<Uint8Array> = []
    let size = 0
    return Stream.flatMap(stream, (chunk) => {
      held = [...held, chunk]
      size += chunk.length
      const ready: Array<Uint8Array> = []
      while (size > endSize) {
        const [first = chunk, ...rest] = held
        const part = first.subarray(0, Math.min(first.length, size - endSize))
        ready.push(part)
        size -= part.length
        held = part.length === first.length ? rest : [first.subarray(part.length), ...rest]
      }
      return Stream.fromArray(ready)
    })
  })

const entryOf = <E>(path: string, name: string, size: number, content: Stream.Stream<Uint8Array, E>) =>
  Stream.succeed(Tar.fileStream(name, size, content)).pipe(
    Stream.pipeThroughChannel(Tar.encode<never, unknown, Tar.Entry<E>>()),
    Stream.catchIf(
      (error) => Tar.isTarError(error),
      // the size and the names were checked before
      ({ message }) => Stream.fail(new Storage({ path, problem: message }))
    ),
    withoutEnd
  )

const padded = (size: number): number => Math.ceil(size / 512) * 512

/** Writes an archive to an open file from its beginning. */
export const toFile = (path: string, file: FileSystem.File): TarOutput => {
  const refused = Effect.mapError(refusal(path))
  let position = 0
  // not interruptible: a write that continues after its file is closed could reach another file
  const write = (bytes: Uint8Array) => Effect.uninterruptible(refused(file.writeAll(bytes)))
  const rewind = (start: number) =>
    Effect.andThen(refused(file.truncate(start)), refused(file.seek(BigInt(start), "start")))
  return {
    append: (name, size, content) =>
      Effect.suspend(() => {
        const start = position
        let written = 0
        const copy = Stream.runForEach(entryOf(path, name, size, content), (bytes) => {
          written += bytes.length
          return write(bytes)
        })
        return copy.pipe(
          Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Effect.ignore(rewind(start))),
          Effect.map(() => {
            position = start + written
            return { size, read: readFrom(path, file, position - padded(size)) }
          })
        )
      }),
    end: write(new Uint8Array(endSize))
  }
}

/** Writes an archive to a stream. */
export const toStream = (path: string, write: Write): TarOutput => {
  let isBroken = false
  return {
    append: (name, size, content) =>
      Effect.suspend(() => {
        if (isBroken) {
          const problem = "it is incomplete, because a file of it failed after its beginning was written"
          return Effect.fail(new Storage({ path, problem }))
        }
        let written = 0
        return Stream.runForEach(entryOf(path, name, size, content), (bytes) => {
          written += bytes.length
          return write(bytes)
        }).pipe(
          Effect.onExit((exit) =>
            Effect.sync(() => {
              isBroken = Exit.isFailure(exit) && written > 0
            })
          ),
          Effect.as(undefined)
        )
      }),
    end: Effect.suspend(() => write(new Uint8Array(endSize)))
  }
}
