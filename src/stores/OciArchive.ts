/**
 * Image layouts in tar archives. Skopeo and podman call the format `oci-archive`. Buildx writes it with
 * `--output type=oci`, and archives of `docker save` contain it since docker 25.
 *
 * {@link make} reads an archive in place and in any order, without unpacking it. {@link update} writes one: pushed
 * content goes to a hidden folder beside the file, and the archive replaces the file in one step after everything is
 * on disk. The previous content of the file is preserved. If two processes update a file at the same time, the later
 * one replaces the result of the other. A process that is killed leaves the folder behind. {@link writeTo} writes a new
 * archive to a stream, while content is pushed to it.
 *
 * All repository names have the same content, as in a single layout of `LayoutRegistry`. An archive that is compressed
 * with gzip or zstd is unpacked to a temporary file to be read (see `Decompressor`), and cannot be updated.
 *
 * @since 0.1.0
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as ArchiveWriting from "./ArchiveWriting.ts"
import * as Files from "./Files.ts"
import * as LayoutArchive from "./LayoutArchive.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as LayoutIndexText from "./LayoutIndexText.ts"
import * as LayoutReader from "./LayoutReader.ts"
import * as LayoutRegistry from "./LayoutRegistry.ts"
import * as OutputFile from "./OutputFile.ts"
import * as TarFile from "./TarFile.ts"
import type * as TarOutput from "./TarOutput.ts"

/**
 * Path and name of an archive.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Path of the archive. */
  readonly file: string
  /** Name of the registry in errors. Default: the path with the prefix `oci-archive:`. */
  readonly name?: string | undefined
}

const nameOf = ({ file, name }: Options): string => name ?? `oci-archive:${file}`

/**
 * Opens an archive for reading. It is closed with the scope.
 *
 * **Example** (Listing the tags of an archive)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Stream } from "effect"
 * import * as OciArchive from "effect-oci/OciArchive"
 * import { Images } from "effect-oci/testing"
 *
 * const app = Images.repository("app")
 *
 * const program = Effect.gen(function*() {
 *   yield* OciArchive.update({ file: "app.tar" }, (registry) => Images.pushSample(registry, app, [Images.tag("1")]))
 *   const archive = yield* OciArchive.make({ file: "app.tar" })
 *   return yield* Stream.runCollect(archive.tags(app))
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeServices.layer))) // => ["1"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<
  Omit<LayoutRegistry.LayoutRegistry, "collect" | "contents" | "quarantine">,
  RegistryError.RegistryError,
  FileSystem.FileSystem | Scope.Scope
> {
  const name = nameOf(options)
  const failed = RegistryError.failing(name)
  const layout = yield* Effect.mapError(
    Effect.flatMap(TarFile.open(options.file), LayoutArchive.make),
    failed("open")
  )
  return {
    ...Registry.make({
      ...LayoutReader.operations(() => Effect.succeed(layout), failed),
      name,
      capabilities: Effect.succeed({ referrers: true }),
      ping: Effect.void
    }),
    roots: (repository) => Effect.mapError(Effect.map(layout.index, LayoutIndex.roots), failed("roots", repository)),
    names: (repository) => Effect.mapError(Effect.map(layout.index, LayoutIndex.named), failed("names", repository))
  }
})

/**
 * Provides an archive for reading as the `Registry` service.
 *
 * **Example** (An archive as the registry of a program)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import * as OciArchive from "effect-oci/OciArchive"
 * import * as Registry from "effect-oci/Registry"
 * import { Images } from "effect-oci/testing"
 *
 * const app = Images.repository("app")
 *
 * const layer = OciArchive.layer({ file: "image.tar" }).pipe(Layer.provideMerge(NodeServices.layer))
 *
 * const program = Effect.gen(function*() {
 *   yield* OciArchive.update({ file: "image.tar" }, (registry) => Images.pushSample(registry, app, [Images.tag("1")]))
 *   const read = Registry.Registry.use((registry) => registry.resolveManifest(app, Images.tag("1")))
 *   return yield* Effect.provide(read, layer)
 * })
 *
 * const { mediaType } = await Effect.runPromise(Effect.provide(program, NodeServices.layer))
 * mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options
): Layer.Layer<Registry.Registry, RegistryError.RegistryError, FileSystem.FileSystem> =>
  Layer.effect(Registry.Registry, make(options))

// ---------------------------------------------------------------------------------------------------------------------
// writing
// ---------------------------------------------------------------------------------------------------------------------

const anyRepository = Repository.make("archive")

/** Unpacks a layout from an archive to a new folder. */
const unpack = Effect.fnUntraced(
  function*(
    tar: TarFile.TarFile,
    files: Files.Files,
    registry: Registry.Registry,
    failed: ReturnType<typeof RegistryError.failing>
  ) {
    const fail = failed("update")
    yield* Effect.gen(function*() {
      // fails before anything is changed if the archive is broken
      yield* LayoutArchive.make(tar)
      yield* files.makeFolder(files.join(files.root, "blobs"))
      for (const name of ["index.json", "oci-layout"]) {
        const bytes = yield* tar.read(name, LayoutFormat.indexLimit)
        if (bytes !== undefined) yield* files.write(files.join(files.root, name), bytes)
      }
    }).pipe(Effect.mapError(fail))
    for (const { digest, name } of LayoutArchive.blobsOf(tar.names)) {
      const blob = tar.open(name)
      if (blob === undefined) continue
      const content = BlobSource.make(blob.size, (offset) => Stream.mapError(blob.read(offset, blob.size), fail))
      yield* registry.pushBlob(anyRepository, { digest, size: blob.size }, content)
    }
  }
)

/** Returns the names of the folders and files of a layout below `blobs`, in order. */
const namesOf = Effect.fnUntraced(function*(files: Files.Files) {
  const names = ["blobs/"]
  for (const algorithm of [...yield* files.list(files.join(files.root, "blobs"), "Directory")].sort()) {
    const blobs = yield* files.list(files.join(files.root, "blobs", algorithm))
    names.push(`blobs/${algorithm}/`, ...[...blobs].sort().map((name) => `blobs/${algorithm}/${name}`))
  }
  return names
})

/** Returns a text that differs between two states of a layout. */
const stateOf = Effect.fnUntraced(function*(files: Files.Files) {
  const index = yield* files.read(files.join(files.root, "index.json"), LayoutFormat.indexLimit)
  return JSON.stringify([index === undefined ? "" : new TextDecoder().decode(index), yield* namesOf(files)])
})

/** Returns the bytes of an archive of a layout. The same content gives the same bytes. */
const pack = (files: Files.Files) => {
  const entry = Effect.fnUntraced(function*(name: string) {
    if (name.endsWith("/")) return Tar.directory(name)
    const path = files.join(files.root, ...name.split("/"))
    const info = yield* files.stat(path)
    const body = Stream.unwrap(Effect.map(
      files.open(path),
      (file) => file === undefined ? Stream.empty : file.read(0, file.size)
    ))
    return Tar.fileStream(name, Number(info?.size ?? 0), body)
  })
  return Stream.fromArrayEffect(Effect.map(namesOf(files), (blobs) => ["oci-layout", "index.json", ...blobs])).pipe(
    Stream.mapEffect(entry),
    Stream.pipeThroughChannelOrFail(Tar.encode())
  )
}

/** Packs a layout. Fails with `Storage` if one of its files cannot be packed. */
const packed = (files: Files.Files, file: string) =>
  Stream.catchTag(
    pack(files),
    "TarError",
    ({ message }) => Stream.fail(new RegistryError.Storage({ path: file, problem: message }))
  )

/**
 * Writes an archive. Content that `use` pushes to the registry is added to the content of the file, if it exists. The
 * file is replaced after `use` has succeeded and has changed the content. If `use` fails or is interrupted, the file
 * stays as it was. A device or a pipe is written to after `use` has succeeded, and nothing is read from it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const update = Effect.fnUntraced(function*<A, E, R>(
  options: Options,
  use: (registry: LayoutRegistry.LayoutRegistry) => Effect.Effect<A, E, R>
): Effect.fn.Return<A, E | RegistryError.RegistryError, R | FileSystem.FileSystem | Path.Path> {
  const path = yield* Path.Path
  const name = nameOf(options)
  const failed = RegistryError.failing(name)
  const fail = Effect.mapError(failed("update"))

  const target = yield* fail(OutputFile.locate(options.file))
  // an empty file is treated as absent
  const isEmpty = target._tag === "Device" || target.info === undefined || target.info.size === ByteSize.zero

  return yield* Effect.scoped(Effect.gen(function*() {
    const folder = yield* fail(OutputFile.temporaryFolder(target))
    const files = yield* Files.make(path.join(folder, "layout"), { isDurable: false })
    const registry = yield* LayoutRegistry.make({
      directory: files.root,
      form: "layout",
      durability: "process-end",
      name
    })
    if (!isEmpty) yield* unpack(yield* fail(TarFile.open(target.path, "refuse")), files, registry, failed)
    const before = yield* fail(stateOf(files))
    const value = yield* use(registry)
    const isChanged = (yield* fail(stateOf(files))) !== before
    if (isChanged) yield* fail(OutputFile.writeTarget(target, folder, packed(files, target.path)))
    return value
  }))
})

const streamed: ArchiveWriting.Format = {
  keyOf: () => anyRepository,
  files: (archive) => {
    const index = LayoutIndex.make(
      archive.roots().flatMap(({ descriptor, names }) =>
        names.length === 0 ? [{ descriptor }] : names.map(({ tag }) => ({ descriptor, tag }))
      )
    )
    return [["index.json", LayoutIndexText.format(index)]]
  },
  read: () => Effect.succeed({ blobs: [], roots: [] })
}

/**
 * Writes a new archive to a stream. Content that `use` pushes to the registry goes straight into the archive, one blob
 * after another. The registry cannot return blobs, and cannot delete. If `use` or a push fails, the archive is
 * incomplete.
 *
 * **Example** (The bytes of an archive)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as OciArchive from "effect-oci/OciArchive"
 * import { Images } from "effect-oci/testing"
 *
 * const chunks: Array<Uint8Array> = []
 *
 * const program = OciArchive.writeTo(
 *   { write: (bytes) => Effect.sync(() => void chunks.push(bytes)) },
 *   (registry) => Images.pushImage(registry, Images.repository("app"), ["a layer"], { tags: [Images.tag("1")] })
 * )
 *
 * await Effect.runPromise(program)
 * Buffer.concat(chunks).length % 512 // => 0
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const writeTo = <A, E, R>(
  options: {
    /** Writes the next bytes of the archive. */
    readonly write: TarOutput.Write
    /** Name of the registry in errors. Default: `oci-archive:-`. */
    readonly name?: string | undefined
  },
  use: (registry: Registry.Registry) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | RegistryError.RegistryError, R> =>
  ArchiveWriting.writeTo(
    options.write,
    options.name ?? nameOf({ file: "-" }),
    streamed,
    ({ registry }) => use(registry)
  )
