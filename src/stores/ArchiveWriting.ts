/**
 * Writing of an archive with an image layout, to a file or a stream. Content goes straight into the archive as it is
 * pushed. A file is replaced in one step, after the archive is complete and on disk.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Repository } from "../Reference.ts"
import * as RegistryError from "../RegistryError.ts"
import * as ArchiveRegistry from "./ArchiveRegistry.ts"
import * as Files from "./Files.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as OutputFile from "./OutputFile.ts"
import * as TarOutput from "./TarOutput.ts"

/** A format of archives. */
export interface Format {
  /** Returns the repository that has the tags of a repository. */
  readonly keyOf: (repository: Repository) => Repository
  /** Returns the files at the end of an archive, with their content. */
  readonly files: (archive: ArchiveRegistry.ArchiveRegistry) => ReadonlyArray<readonly [name: string, content: string]>
  /** Reads the archive in an existing file. */
  readonly read: (
    path: string
  ) => Effect.Effect<ArchiveRegistry.Earlier, RegistryError.Reason, FileSystem.FileSystem | Scope.Scope>
}

/** Use of the registry of an archive. */
type Use<A, E, R> = (archive: ArchiveRegistry.ArchiveRegistry) => Effect.Effect<A, E, R>

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

const appendText = (output: TarOutput.TarOutput, name: string, text: string) => {
  const bytes = encode(text)
  return output.append(name, bytes.length, Stream.succeed(bytes))
}

const finish = Effect.fnUntraced(function*(
  output: TarOutput.TarOutput,
  format: Format,
  archive: ArchiveRegistry.ArchiveRegistry
) {
  for (const [name, text] of format.files(archive)) yield* appendText(output, name, text)
  yield* output.end
})

/** Writes the marker of a layout before the first file. */
const withMarker = (output: TarOutput.TarOutput): TarOutput.TarOutput => {
  let isBegun = false
  const begin = Effect.suspend(() => {
    if (isBegun) return Effect.void
    isBegun = true
    return Effect.asVoid(appendText(output, "oci-layout", LayoutFormat.marker))
  })
  return {
    append: (name, size, content) => Effect.andThen(begin, output.append(name, size, content)),
    end: Effect.andThen(begin, output.end)
  }
}

/**
 * Writes an archive to a stream. If `use` fails, the archive is incomplete. If it changes nothing, nothing is written.
 */
export const writeTo = Effect.fnUntraced(function*<A, E, R>(
  write: TarOutput.Write,
  name: string,
  format: Format,
  use: Use<A, E, R>
): Effect.fn.Return<A, E | RegistryError.RegistryError, R> {
  const fail = Effect.mapError(RegistryError.failing(name)("update"))
  const output = withMarker(TarOutput.toStream(name, write))
  const archive = ArchiveRegistry.make(output, name, format.keyOf)
  const value = yield* use(archive)
  if (archive.isChanged()) yield* fail(finish(output, format, archive))
  return value
})

/**
 * Writes an archive to a file. The content of an existing archive is preserved. If `use` fails or changes nothing, the
 * file stays as it was.
 */
export const update = Effect.fnUntraced(function*<A, E, R>(
  file: string,
  name: string,
  format: Format,
  use: Use<A, E, R>
): Effect.fn.Return<A, E | RegistryError.RegistryError, R | FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const fail = Effect.mapError(RegistryError.failing(name)("update"))
  const target = yield* fail(OutputFile.locate(file))
  if (target._tag === "Device") {
    return yield* Effect.scoped(Effect.gen(function*() {
      const device = yield* fail(OutputFile.openDevice(target.path))
      const refused = Effect.mapError(Files.refusal(target.path))
      // not interruptible: a write that continues after the device is closed could reach another file
      const write = (bytes: Uint8Array) => Effect.uninterruptible(refused(device.writeAll(bytes)))
      return yield* writeTo(write, name, format, use)
    }))
  }
  return yield* Effect.scoped(Effect.gen(function*() {
    const draft = path.join(yield* fail(OutputFile.temporaryFolder(target)), "draft")
    const refused = Effect.mapError(Files.refusal(draft))
    const { isChanged, value } = yield* Effect.scoped(Effect.gen(function*() {
      const into = yield* fail(refused(fs.open(draft, { flag: "wx+" })))
      const output = withMarker(TarOutput.toFile(draft, into))
      const archive = ArchiveRegistry.make(output, name, format.keyOf)
      // an empty file is treated as absent
      if (target.info !== undefined && target.info.size !== ByteSize.zero) {
        yield* fail(Effect.flatMap(format.read(target.path), archive.keep))
      }
      const value = yield* use(archive)
      if (archive.isChanged()) {
        yield* fail(finish(output, format, archive))
        yield* fail(refused(into.sync))
      }
      return { isChanged: archive.isChanged(), value }
    }))
    if (isChanged) yield* fail(OutputFile.place(target, draft))
    return value
  }))
})
