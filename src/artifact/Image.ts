/**
 * Images: their config, their layers, and the files in them.
 *
 * {@link open} reads the manifest and the config of an image. {@link files} lists its files, and {@link readFile} reads
 * one of them. Layers are read from the top, and no more of them than are needed. They flow through memory, and are
 * verified: the digest of each layer that is read to its end, and its `diff_id` in the config. Layers of OCI and Docker
 * are read, compressed with gzip or zstd, or not at all (see `Decompressor`).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import { nestingLimit, platformsOf } from "../copy/PlatformSearch.ts"
import { type Descriptor, inlineContent } from "../Descriptor.ts"
import type * as Digest from "../Digest.ts"
import * as Config from "../ImageConfig.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import * as Namespace from "../Namespace.ts"
import * as Platform from "../Platform.ts"
import type { ManifestBytes } from "../Registry.ts"
import * as Export from "./Export.ts"
import * as Files from "./Files.ts"
import * as FileSearch from "./FileSearch.ts"
import { FileTooLarge, ImageError, InvalidConfig, NotAnImage, PlatformRequired, type Reason } from "./ImageError.ts"
import type * as Layers from "./Layers.ts"
import * as Place from "./Place.ts"

export {
  /** @since 0.1.0 */
  Config,
  /** @since 0.1.0 */
  type Execution,
  /** @since 0.1.0 */
  History
} from "../ImageConfig.ts"

export {
  /** @since 0.1.0 */
  type Entry
} from "./Files.ts"

export {
  /** @since 0.1.0 */
  EntryLimit
} from "./Layers.ts"

/**
 * A layer of an image.
 *
 * @category models
 * @since 0.1.0
 */
export interface Layer {
  readonly descriptor: Descriptor
  /** Digest of the layer without its compression, if the config has as many of them as the manifest has layers. */
  readonly diffId?: Digest.Digest | undefined
  /** Entry of the history, if the config has as many of them as the manifest has layers. */
  readonly history?: Config.History | undefined
}

/**
 * An image whose manifest and config were read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Image {
  /** Descriptor of the manifest. */
  readonly descriptor: Descriptor
  readonly manifest: Manifest.ImageManifest
  readonly config: Config.Config
  /** The config, byte for byte. */
  readonly configBytes: Uint8Array
  /** The layers, the lowest layer first. */
  readonly layers: ReadonlyArray<Layer>
  /** The repository that the image is read from, and its reference in errors. */
  readonly source: Layers.Source
}

/**
 * Errors of reading images.
 *
 * @category errors
 * @since 0.1.0
 */
export type ReadError = ImageError | Namespace.NamespaceError

/** Size of a file up to which {@link readFile} reads it, in bytes. */
const defaultLimit = 16 * 1024 * 1024

/** Returns the only image at or below an index. Fails if there are several. */
const onlyImage = Effect.fnUntraced(function*(
  place: Place.Place,
  root: ManifestBytes,
  fail: (reason: Reason) => ImageError
) {
  const namespace = yield* Namespace.Namespace
  let found = root
  for (let depth = 0; depth < nestingLimit; depth++) {
    const manifest = yield* Effect.mapError(
      Effect.fromResult(Manifest.decode(found.descriptor.mediaType, found.bytes)),
      fail
    )
    if (manifest._tag === "Image") return { found, manifest }
    if (manifest._tag === "Artifact") return yield* fail(new NotAnImage({ problem: "it is an artifact" }))
    const { manifests } = manifest.content
    // an attestation has the platform unknown/unknown
    const images = manifests.filter(({ mediaType, platform }) =>
      MediaType.isManifest(mediaType) && (platform === undefined || Platform.isKnown(platform))
    )
    const [image, ...others] = images
    if (image === undefined) return yield* fail(new NotAnImage({ problem: "it is an index without images" }))
    if (others.length > 0) {
      const available = Array.from(new Set(platformsOf(manifests).map(Platform.format)))
      return yield* fail(new PlatformRequired({ available }))
    }
    const { registry, repository } = place
    found = yield* namespace.getManifest({ registry, repository, digest: image.digest })
  }
  return yield* fail(new NotAnImage({ problem: "its indexes are nested too deep" }))
})

const readConfig = Effect.fnUntraced(function*(
  { registry, repository }: Place.Place,
  descriptor: Descriptor,
  fail: (reason: Reason) => ImageError
) {
  const { digest, mediaType, size } = descriptor
  if (!/\.(?:config|image)\.v1\+json$/.test(mediaType)) {
    return yield* fail(new NotAnImage({ problem: `its config is of the type ${JSON.stringify(mediaType)}` }))
  }
  const invalid = (problem: string) => fail(new InvalidConfig({ digest, problem }))
  if (size > Config.limit) return yield* invalid(`it has ${size} bytes, and at most ${Config.limit} are read`)
  const bytes = (yield* inlineContent(descriptor)) ??
    (yield* registry.getBlob(repository, digest, { size }).pipe(
      Effect.flatMap(({ stream }) => Stream.mkUint8Array(stream)),
      Effect.scoped
    ))
  return { bytes, config: yield* Effect.mapError(Effect.fromResult(Config.decode(bytes)), invalid) }
})

/** Returns the layers of a manifest with what the config says about them. */
const layersOf = ({ layers }: Manifest.ImageManifest, config: Config.Config): ReadonlyArray<Layer> => {
  const diffIds = config.rootfs?.diff_ids ?? []
  const history = Config.layerHistory(config)
  return layers.map((descriptor, index): Layer => {
    const diffId = diffIds.length === layers.length ? diffIds[index] : undefined
    const entry = history.length === layers.length ? history[index] : undefined
    return {
      descriptor,
      ...diffId === undefined ? {} : { diffId },
      ...entry === undefined ? {} : { history: entry }
    }
  })
}

/**
 * Reads the manifest and the config of an image.
 *
 * **Details**
 *
 * `platform` selects the image of an index. Without it, an index must have exactly one image; otherwise the reason is
 * `PlatformRequired`, with the platforms that exist.
 *
 * **Example** (The command of an image)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Image from "effect-oci/Image"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Resolver from "effect-oci/Resolver"
 * import { Images } from "effect-oci/testing"
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const resolver = Resolver.static({ "registry.test": registry })
 *   yield* Images.pushSample(registry, Images.repository("app"), [Images.tag("1")])
 *   const open = Image.open("registry.test/app:1", { platform: { os: "linux", architecture: "arm64" } })
 *   const image = yield* Effect.provideService(open, Namespace.Namespace, Namespace.make({ resolver }))
 *   return [image.config.architecture, image.layers.length]
 * })
 *
 * Effect.runSync(program) // => ["arm64", 2]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const open = Effect.fn("Image.open")(function*(
  image: Namespace.End,
  options?: Namespace.ForPlatform
): Effect.fn.Return<Image, ReadError, Namespace.Namespace> {
  const namespace = yield* Namespace.Namespace
  const reference = Place.format(image)
  const fail = (reason: Reason) => new ImageError({ reference, reason })
  const place = yield* Place.resolve(image)
  const { found, manifest } = yield* onlyImage(place, yield* namespace.getManifest(place, options), fail)
  const { bytes, config } = yield* readConfig(place, manifest.content.config, fail)
  return {
    descriptor: found.descriptor,
    manifest: manifest.content,
    config,
    configBytes: bytes,
    layers: layersOf(manifest.content, config),
    source: { registry: place.registry, repository: place.repository, reference }
  }
})

const stackOf = ({ layers, source }: Image): FileSearch.Stack => ({ source, layers: layers.toReversed() })

/**
 * Lists the files, folders and links of an image, or those at and below a path. Entries that an upper layer replaces
 * or deletes are left out.
 *
 * **Details**
 *
 * The entries of the top layer come first, in the order of its archive. If an archive has several entries with the same
 * path, the last one counts, as when the archive is unpacked. A layer is verified at its end: a reader that stops
 * before has unverified entries.
 *
 * **Gotchas**
 *
 * The content of an entry can be read until the next entry is read. So read it in `Stream.mapEffect` or
 * `Stream.runForEach`, without an operator in between that reads ahead.
 *
 * @category accessors
 * @since 0.1.0
 */
export const files = (self: Image, path = ""): Stream.Stream<Files.Entry, Layers.Failure> =>
  Files.list(stackOf(self), path)

/**
 * A file of an image.
 *
 * @category models
 * @since 0.1.0
 */
export interface File {
  /** Path without links, and without a slash at its beginning. */
  readonly path: string
  /** Size in bytes. */
  readonly size: number
  /** Permissions. */
  readonly mode: number
  /** The layer that has the file. */
  readonly layer: Layer
  /** The bytes. The last chunk is handed on after the layer of the file has been verified. */
  readonly content: Stream.Stream<Uint8Array, Layers.Failure>
}

/**
 * Finds a file of an image. Symbolic links and hard links are followed within the image, at most 40 of them.
 *
 * **Details**
 *
 * Layers are read from the top until one of them has the file, each to its end. The reasons are `FileNotFound`,
 * `NotAFile` and `TooManyLinks`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const findFile = Effect.fn("Image.findFile")(
  function*(self: Image, path: string): Effect.fn.Return<File, Layers.Failure> {
    const { content, entry, layer } = yield* FileSearch.find(stackOf(self), path)
    const { mode, size } = entry.header
    return { path: entry.path, size, mode, layer, content }
  }
)

/**
 * Reads a file of an image into memory: {@link findFile}, then its content. Fails with `FileTooLarge` if it has more
 * than `limit` bytes. Default: 16 MiB.
 *
 * **Example** (Reading a file)
 *
 * ```ts import.meta.vitest
 * import { Effect, Stream } from "effect"
 * import * as Tar from "effect/encoding/Tar"
 * import * as Image from "effect-oci/Image"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Resolver from "effect-oci/Resolver"
 * import { Images } from "effect-oci/testing"
 *
 * const layer = Stream.make(Tar.file("etc/motd", "hello"), Tar.symlink("motd", "/etc/motd")).pipe(
 *   Stream.pipeThroughChannelOrFail(Tar.encode()),
 *   Stream.mkUint8Array
 * )
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const namespace = Namespace.make({ resolver: Resolver.static({ "registry.test": registry }) })
 *   yield* Images.pushImage(registry, Images.repository("app"), [yield* layer], { tags: [Images.tag("1")] })
 *   const image = yield* Effect.provideService(Image.open("registry.test/app:1"), Namespace.Namespace, namespace)
 *   return new TextDecoder().decode(yield* Image.readFile(image, "/motd"))
 * })
 *
 * await Effect.runPromise(program) // => "hello"
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const readFile = Effect.fn("Image.readFile")(function*(
  self: Image,
  path: string,
  options?: { readonly limit?: number | undefined }
): Effect.fn.Return<Uint8Array, Layers.Failure> {
  const { content, path: real, size } = yield* findFile(self, path)
  const limit = options?.limit ?? defaultLimit
  if (size > limit) {
    const reason = new FileTooLarge({ path: real, size, limit })
    return yield* new ImageError({ reference: self.source.reference, reason })
  }
  return yield* Stream.mkUint8Array(content)
})

/**
 * Returns the bytes of a tar archive of the files of an image, or of those at and below a path.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toTar = (self: Image, path = ""): Stream.Stream<Uint8Array, Layers.Failure> =>
  Export.toTar(files(self, path), self.source.reference)

/**
 * Writes the files of an image, or those at and below a path, into a folder, which must not exist or be empty. Nothing
 * is written outside of it, and no link leads out of it. Devices and pipes are left out. If this fails, the folder is
 * incomplete.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toFolder = (
  self: Image,
  directory: string,
  path = ""
): Effect.Effect<Export.Exported, Layers.Failure, FileSystem.FileSystem | Path.Path> =>
  Effect.withSpan(
    Export.toFolder(files(self, path), directory, self.source.reference),
    "Image.toFolder"
  )
