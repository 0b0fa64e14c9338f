/**
 * Archives of `docker save` as registries. Skopeo and podman call the format `docker-archive`.
 *
 * Docker 25 and later put an image layout into the archive. Such an archive is read as that layout, with the manifests
 * and digests of the images. Older archives, and those of crane, skopeo and kaniko, have no manifests. For these, OCI
 * image manifests are created from the config and the layers, which stay as they are, compressed or not. The same
 * archive always gives the same digests.
 *
 * An archive that is compressed with gzip or zstd is unpacked to a temporary file first (see `Decompressor`).
 *
 * Images have the names that they have in the archive, without `docker.io/library/` and other hosts. For example,
 * `docker.io/library/alpine:3` is the tag `3` in the repository `alpine`. Every repository has all images by digest.
 *
 * {@link update} writes an archive to a file, and {@link writeTo} to a stream, in the form of docker 25 and later, so
 * that `docker load`, `podman load` and skopeo read it. `index.json` lists everything that was pushed: indexes with all
 * their platforms, artifacts and referrers. `manifest.json` lists the images for readers that do not know layouts.
 * There, an index is represented by its image for one platform, and an image with several tags has all of them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as DockerHub from "../DockerHub.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import type * as Platform from "../Platform.ts"
import * as Reference from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as ArchiveFile from "./ArchiveFile.ts"
import * as ArchiveWriting from "./ArchiveWriting.ts"
import * as BlobWriter from "./BlobWriter.ts"
import * as DockerSave from "./DockerSave.ts"
import { ofBytes, type OpenFile } from "./Files.ts"
import * as LayoutArchive from "./LayoutArchive.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as LayoutReader from "./LayoutReader.ts"
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
  /** Name of the registry in errors. Default: the path with the prefix `docker-archive:`. */
  readonly name?: string | undefined
}

/**
 * An image in an archive.
 *
 * @category models
 * @since 0.1.0
 */
export interface Image {
  readonly descriptor: Descriptor
  /** Names of the image. */
  readonly names: ReadonlyArray<{
    readonly repository: Reference.Repository
    readonly tag: Reference.Tag
    /** Name as written in the archive, such as `docker.io/library/alpine:3`. */
    readonly name: string
  }>
}

/**
 * A registry of an archive of `docker save`.
 *
 * @category models
 * @since 0.1.0
 */
export interface DockerArchive extends Registry.Registry {
  /** Images in the order of the archive. */
  readonly images: ReadonlyArray<Image>
}

// ---------------------------------------------------------------------------------------------------------------------
// names
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the name of a repository without the `library/` that docker omits. */
const familiar = (repository: Reference.Repository): string => repository.replace(/^library\/(?=[^/]+$)/, "")

const isRepository = Schema.is(Reference.Repository)

const readName = (name: string): Image["names"] => {
  const parsed = Result.getOrUndefined(Reference.parseRelative(name))
  if (parsed?.tag === undefined) return []
  const repository = familiar(parsed.repository)
  return isRepository(repository) ? [{ repository, tag: parsed.tag, name }] : []
}

// ---------------------------------------------------------------------------------------------------------------------
// archives without a layout
// ---------------------------------------------------------------------------------------------------------------------

const decodeJson = <S extends Schema.ConstraintDecoder<unknown>>(schema: S) => {
  const decode = Schema.decodeUnknownResult(Schema.fromJsonString(schema))
  return (bytes: Uint8Array): Result.Result<S["Type"], string> =>
    Result.flatMap(
      LayoutFormat.decodeText(bytes),
      (text) => Result.mapError(decode(text), ({ message }) => message.slice(0, 300).replace(/\s*\n\s*/g, " "))
    )
}

const ManifestEntry = Schema.Struct({
  Config: Schema.String,
  RepoTags: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.String))),
  Layers: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.String)))
})
type ManifestEntry = typeof ManifestEntry.Type
const decodeManifests = decodeJson(Schema.Array(ManifestEntry))

const decodeConfig = decodeJson(Schema.Struct({
  rootfs: Schema.Struct({
    diff_ids: Schema.optionalKey(Schema.NullOr(Schema.Array(Digest.Digest)))
  })
}))

/** Maximum size of `manifest.json` and of a config, in bytes. */
const jsonLimit = 8 * 1024 * 1024

/** Content of an archive that was opened. */
interface Opened {
  readonly images: ReadonlyArray<Image>
  readonly blobs: () => ReadonlyArray<readonly [digest: Digest.Digest, file: OpenFile]>
  readonly content: Pick<LayoutReader.Content, "size" | "mention" | "open">
}

type Blobs = Map<Digest.Digest, OpenFile>

/** Reads a layer. A layer that is not compressed is assumed to have the digest in the config. */
const readLayer = Effect.fnUntraced(function*(tar: TarFile.TarFile, name: string, diffId: Digest.Digest, blobs: Blobs) {
  const broken = (problem: string) => new RegistryError.Storage({ path: `${tar.path}: ${name}`, problem })
  const file = tar.open(name)
  if (file === undefined) return yield* broken("it is missing")
  const compression = ArchiveFile.compression(yield* Stream.mkUint8Array(file.read(0, Math.min(6, file.size))))
  if (compression === "bzip2" || compression === "xz") {
    return yield* broken(`it is compressed with ${compression}, for which layers have no media type`)
  }
  const digest = compression === undefined ? diffId : yield* BlobWriter.digestOf(file.read(0, file.size))
  blobs.set(digest, file)
  return { mediaType: layerTypes[compression ?? "none"], digest, size: file.size }
})

const layerTypes = {
  none: MediaType.imageLayer,
  gzip: MediaType.imageLayerGzip,
  zstd: "application/vnd.oci.image.layer.v1.tar+zstd"
}

const keepBytes = Effect.fnUntraced(function*(bytes: Uint8Array, mediaType: string, blobs: Blobs) {
  const digest = yield* Hasher.digest(bytes)
  blobs.set(digest, ofBytes(bytes))
  return { mediaType, digest, size: bytes.length }
})

/** Reads the config and the layers of an image, and creates a manifest for it. */
const readImage = Effect.fnUntraced(function*(tar: TarFile.TarFile, entry: ManifestEntry, blobs: Blobs) {
  const { Config: configName, Layers, RepoTags } = entry
  const config = yield* LayoutArchive.readText(
    tar,
    configName,
    jsonLimit,
    (bytes) => Result.map(decodeConfig(bytes), ({ rootfs }) => ({ bytes, diffIds: rootfs.diff_ids ?? [] }))
  )
  const layerNames = Layers ?? []
  if (layerNames.length !== config.diffIds.length) {
    const problem = `it lists ${config.diffIds.length} layers, but the archive has ${layerNames.length}`
    return yield* new RegistryError.Storage({ path: `${tar.path}: ${configName}`, problem })
  }
  const layers = yield* Effect.forEach(
    config.diffIds,
    (diffId, index) => readLayer(tar, layerNames[index] ?? "", diffId, blobs)
  )
  const manifest = {
    schemaVersion: 2,
    mediaType: MediaType.imageManifest,
    config: yield* keepBytes(config.bytes, MediaType.imageConfig, blobs),
    layers
  }
  const bytes = new TextEncoder().encode(JSON.stringify(manifest))
  const descriptor: Descriptor = yield* keepBytes(bytes, MediaType.imageManifest, blobs)
  return { descriptor, names: (RepoTags ?? []).flatMap(readName) }
})

const readImages = Effect.fnUntraced(function*(tar: TarFile.TarFile): Effect.fn.Return<Opened, RegistryError.Reason> {
  const blobs: Blobs = new Map()
  const manifests = yield* LayoutArchive.readText(tar, "manifest.json", jsonLimit, decodeManifests)
  const images = yield* Effect.forEach(manifests, (entry) => readImage(tar, entry, blobs))
  const size = (digest: Digest.Digest) => Effect.sync(() => blobs.get(digest)?.size)
  return {
    images,
    blobs: () => Array.from(blobs),
    content: {
      size,
      mention: size,
      open: (digest) => Effect.sync(() => blobs.get(digest))
    }
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// archives with a layout
// ---------------------------------------------------------------------------------------------------------------------

const readLayout = Effect.fnUntraced(function*(tar: TarFile.TarFile): Effect.fn.Return<Opened, RegistryError.Reason> {
  const layout = yield* LayoutArchive.make(tar)
  const images = new Map<Digest.Digest, Image>()
  const index = yield* layout.index
  for (const descriptor of LayoutIndex.roots(index)) images.set(descriptor.digest, { descriptor, names: [] })
  for (const { descriptor, name } of LayoutIndex.named(index)) {
    const known = images.get(descriptor.digest)?.names ?? []
    const names = readName(name).filter(({ repository, tag }) =>
      !known.some((other) => other.repository === repository && other.tag === tag)
    )
    images.set(descriptor.digest, { descriptor, names: [...known, ...names] })
  }
  const blobs = () =>
    LayoutArchive.blobsOf(tar.names).flatMap(({ digest, name }) => {
      const file = tar.open(name)
      return file === undefined ? [] : [[digest, file] as const]
    })
  return { images: Array.from(images.values()), blobs, content: layout }
})

// ---------------------------------------------------------------------------------------------------------------------
// constructors
// ---------------------------------------------------------------------------------------------------------------------

/** Opens an archive of any form. */
const openFile = Effect.fnUntraced(function*(file: string) {
  const tar = yield* TarFile.open(file)
  return yield* tar.names.includes("index.json") ? readLayout(tar) : readImages(tar)
})

/** Returns the index of a repository: all images, with the tags of this repository. */
const indexOf = (images: ReadonlyArray<Image>, repository: Reference.Repository): LayoutIndex.LayoutIndex =>
  LayoutIndex.make(images.flatMap(({ descriptor, names }) => {
    const own = names.filter((name) => name.repository === repository)
    return own.length === 0 ? [{ descriptor }] : own.map(({ name, tag }) => ({ descriptor, tag, name }))
  }))

/**
 * Opens an archive. It is closed with the scope.
 *
 * **Example** (Listing the images of `docker save`)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import * as DockerArchive from "effect-oci/DockerArchive"
 *
 * const program = Effect.gen(function*() {
 *   const { images } = yield* DockerArchive.make({ file: "saved.tar" })
 *   return images.flatMap(({ names }) => names.map(({ repository, tag }) => `${repository}:${tag}`))
 * })
 *
 * const names = await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
 * names // => ["team/app:1"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<DockerArchive, RegistryError.RegistryError, FileSystem.FileSystem | Scope.Scope> {
  const { file, name = `docker-archive:${file}` } = options
  const failed = RegistryError.failing(name)
  const { content, images } = yield* Effect.mapError(openFile(file), failed("open"))
  const repositories = Array.from(new Set(images.flatMap(({ names }) => names.map(({ repository }) => repository))))
    .sort()

  const layouts = new Map<Reference.Repository, LayoutReader.Layout>()
  const find = (repository: Reference.Repository) =>
    Effect.suspend(() => {
      const known = familiar(repository)
      const name = repositories.find((repository) => repository === known)
      if (name === undefined && repositories.length > 0) return Effect.fail(new RegistryError.NameUnknown({}))
      const layout = layouts.get(name ?? repository) ?? LayoutReader.make({
        ...content,
        index: Effect.succeed(indexOf(images, name ?? repository)),
        indexPath: file
      })
      if (name !== undefined) layouts.set(name, layout)
      return Effect.succeed(layout)
    })

  return {
    ...Registry.make({
      ...LayoutReader.operations(find, failed),
      name,
      capabilities: Effect.succeed({ referrers: true }),
      ping: Effect.void,
      repositories: (options) => Stream.fromArray(repositories.filter((name) => name > (options?.after ?? "")))
    }),
    images
  }
})

/**
 * Provides the archive as the `Registry` service.
 *
 * **Example** (Listing repositories)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Layer, Stream } from "effect"
 * import * as DockerArchive from "effect-oci/DockerArchive"
 * import * as Registry from "effect-oci/Registry"
 *
 * const layer = DockerArchive.layer({ file: "saved.tar" }).pipe(Layer.provide(NodeServices.layer))
 *
 * const program = Registry.Registry.use((registry) => Stream.runCollect(registry.repositories()))
 *
 * await Effect.runPromise(Effect.provide(program, layer)) // => ["team/app"]
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

/**
 * Options of writing an archive.
 *
 * @category models
 * @since 0.1.0
 */
export interface WriteOptions {
  /** Host in the names of images that are pushed. Default: `docker.io`. */
  readonly host?: Reference.Host | undefined
  /**
   * Platform of the image that represents an index in `manifest.json`. Default: `linux/amd64`. If the index has no
   * image for it, the first image represents the index.
   */
  readonly platform?: Platform.Platform | undefined
}

/** Returns a full name for a name in an archive. */
const expand = (name: string): string => {
  const parsed = Result.getOrUndefined(Reference.parseRelative(name))
  if (parsed === undefined || parsed.registry !== undefined) return name
  return `${DockerHub.host}/${DockerHub.fullName(parsed.repository)}:${parsed.tag}`
}

const repositoryKey = (repository: Reference.Repository): Reference.Repository => {
  const key = familiar(repository)
  return isRepository(key) ? key : repository
}

/** Creates the format of an archive, which keeps the names in an earlier archive. */
const formatOf = ({ host = DockerHub.host, platform }: WriteOptions): ArchiveWriting.Format => {
  const names = new Map<string, string>()
  const settings = { host, platform: platform ?? { os: "linux", architecture: "amd64" }, names }
  return {
    keyOf: repositoryKey,
    files: (archive) => DockerSave.files(archive, settings),
    read: (path) =>
      Effect.map(openFile(path), ({ blobs, images }) => {
        for (const { name, repository, tag } of images.flatMap(({ names }) => names)) {
          names.set(`${repository}:${tag}`, expand(name))
        }
        return { blobs: blobs(), roots: images }
      })
  }
}

/**
 * Writes an archive to a file. Content that `use` pushes to the registry goes straight into the archive, one blob after
 * another. The content of an existing archive is preserved, in the form of docker 25. The file is replaced after `use`
 * has succeeded and has changed the content. If `use` fails or is interrupted, the file stays as it was. A device or a
 * pipe is written to while content is pushed.
 *
 * The registry cannot delete.
 *
 * **Example** (Saving an image)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import * as DockerArchive from "effect-oci/DockerArchive"
 * import { Images } from "effect-oci/testing"
 *
 * const program = Effect.gen(function*() {
 *   yield* DockerArchive.update(
 *     { file: "team.tar" },
 *     (registry) => Images.pushSample(registry, Images.repository("team/app"), [Images.tag("1")])
 *   )
 *   const { images } = yield* DockerArchive.make({ file: "team.tar" })
 *   return images.flatMap(({ names }) => names.map(({ name }) => name))
 * })
 *
 * const names = await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
 * names // => ["docker.io/team/app:1"]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const update = <A, E, R>(
  options: Options & WriteOptions,
  use: (registry: Registry.Registry) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | RegistryError.RegistryError, R | FileSystem.FileSystem | Path.Path> => {
  const { file, name = `docker-archive:${file}` } = options
  return ArchiveWriting.update(file, name, formatOf(options), ({ registry }) => use(registry))
}

/**
 * Writes a new archive to a stream. The registry cannot return blobs, and cannot delete. If `use` or a push fails, the
 * archive is incomplete.
 *
 * @category combinators
 * @since 0.1.0
 */
export const writeTo = <A, E, R>(
  options: WriteOptions & {
    /** Writes the next bytes of the archive. */
    readonly write: TarOutput.Write
    /** Name of the registry in errors. Default: `docker-archive:-`. */
    readonly name?: string | undefined
  },
  use: (registry: Registry.Registry) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | RegistryError.RegistryError, R> =>
  ArchiveWriting.writeTo(
    options.write,
    options.name ?? "docker-archive:-",
    formatOf(options),
    ({ registry }) => use(registry)
  )
