/**
 * Registries in folders, as OCI image layouts (image-spec, `image-layout.md`). Crane, skopeo, oras, umoci, buildx and
 * other tools read and write this format too.
 *
 * There are two forms. A *registry* has a layout for each repository: the layout of `team/app` is in `DIR/team/app`. A
 * part of a name gets the prefix `_` if it would collide with a file of another layout, or is the name of a device on
 * Windows: `team/blobs` is in `DIR/team/_blobs`. A *layout* is a single layout, which serves every repository name with
 * the same content. It does not list repositories.
 *
 * **On disk**
 *
 * ```text
 * oci-layout                 written last, because a folder is a layout once it has this file
 * index.json                 list of manifests
 * blobs/sha256/…             blobs and manifests
 * .effect-oci/lock/          claims to write index.json, see below
 * .effect-oci/collecting/    claims to collect, because one collection runs at a time
 * .effect-oci/collected/     content that a collection is about to remove
 * .effect-oci/uploads/       unfinished blobs and manifests; a registry has this folder in DIR only
 * .effect-oci/broken/        content that `quarantine` has moved aside
 * .effect-oci/registry       in DIR, marks it as a registry
 * ```
 *
 * `index.json` lists each manifest once for each of its tags, or once without a tag. Manifests that another manifest
 * contains are listed only if they have a tag, so that a layout of one image has one entry. Content that is neither
 * listed nor contained in a listed manifest is not served as a manifest. Entries and fields of other tools are
 * preserved to the byte.
 *
 * The tag of an entry is its `org.opencontainers.image.ref.name`, or the tag in it if that is a full reference, which
 * skopeo and crane write at times. An entry whose name is the tag alone takes precedence, then the first in the file.
 * When a tag moves, its full name moves as well.
 *
 * **Crashes**
 *
 * A blob is written to a file of its own, verified, synced and renamed, so that no blob has other content than its
 * digest says. A push of a manifest succeeds after all of these were synced, in this order: the manifest, the directory
 * entries of the blobs that it refers to, and the index that lists it. `index.json` is replaced by renaming. A crash
 * leaves files in `.effect-oci/uploads` at most: sessions, which can be resumed by their id, and drafts, which are
 * removed after `UploadTimeToLive`.
 *
 * **Several processes**
 *
 * A process takes a lock to change `index.json`, and reads the file again if it has changed. Reads need no lock. If the
 * holder ends without releasing the lock, other processes on Linux detect that at once by its process number and
 * start time; on other systems, and across machines, after 10 seconds without a sign of life. Changes that arrive while
 * others are being written wait, and are written together. A process keeps the lock for up to a second while more
 * changes wait, unless another process waits for it. Other tools do not know this lock: what they write at the same
 * moment may be lost, and so may changes of two such tools.
 *
 * **Space**
 *
 * `collect` removes content that nothing needs, while this process and others use the folder. It goes by the
 * modification times of files. A process that acknowledges that content exists sets its time first, unless it may not
 * change the file. Other tools do not, so the grace period must exceed the time in which such a tool pushes an image.
 * Files that are about to be removed are in `.effect-oci/collected` for a moment, and are read there. After a crash,
 * they are moved back when a client asks whether they exist, or pushes a manifest that needs them, and by the next
 * collection.
 *
 * **Limits**
 *
 * A push fails with `Denied` if `index.json` would exceed 64 MiB, which is some 280 000 entries with names of usual
 * length. Each tag is an entry, and so is each manifest without a tag that no other manifest contains. Deletes are
 * possible beyond that limit, and a file of up to 128 MiB is read. A media type may have 255 characters, a push 1000
 * tags, a manifest 8 MiB of JSON with 100 levels, 300 000 values and 5000 fields of one object, and the annotations of
 * a manifest with a subject 2 MiB. The sizes in a manifest must be those of the content. An
 * upload buffers up to 256 KiB in memory, and all uploads together 32 MiB.
 *
 * The limits in {@link Options} apply to what this process writes together with what existed before its first change.
 * The first change waits until existing content is counted. Content that other processes write meanwhile is counted
 * after a restart. Uploads of an earlier process count once they are resumed.
 *
 * Nothing outside the folder is read or written, not even through a symbolic link.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type { Mounted } from "../Upload.ts"
import * as BlobWriter from "./BlobWriter.ts"
import * as Files from "./Files.ts"
import type * as GarbageCollection from "./GarbageCollection.ts"
import * as LayoutCollections from "./LayoutCollections.ts"
import * as LayoutFolder from "./LayoutFolder.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as LayoutInventory from "./LayoutInventory.ts"
import * as LayoutIsolation from "./LayoutIsolation.ts"
import * as LayoutManifests from "./LayoutManifests.ts"
import * as LayoutReader from "./LayoutReader.ts"
import type { LayoutTarget } from "./LayoutTarget.ts"
import * as LayoutUploads from "./LayoutUploads.ts"
import * as LayoutUsage from "./LayoutUsage.ts"
import * as ProcessIdentity from "./ProcessIdentity.ts"
import * as RepositoryFolders from "./RepositoryFolders.ts"
import * as VerifiedFiles from "./VerifiedFiles.ts"
import * as WriteBuffer from "./WriteBuffer.ts"

export {
  /** @since 0.1.0 */
  type Content
} from "./LayoutInventory.ts"

export {
  /** @since 0.1.0 */
  UploadTimeToLive
} from "./LayoutUploads.ts"

/**
 * Folder and form of a registry, with its limits.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Path of the folder. It is created when content is first written. */
  readonly directory: string
  /** One layout for each repository, or a single layout for all of them. Default: `registry`. */
  readonly form?: "registry" | "layout" | undefined
  /**
   * Event that acknowledged content survives: the loss of power, or only the end of the process, which saves waiting
   * for the disk. Default: `power-loss`.
   */
  readonly durability?: "power-loss" | "process-end" | undefined
  /** Name of the registry in errors. Default: the path of the folder, with the prefix `oci:` for a single layout. */
  readonly name?: string | undefined
  /** Maximum size of a blob, in bytes. A larger one fails with `ContentTooLarge`. Default: no limit. */
  readonly maximumBlobSize?: number | undefined
  /**
   * Maximum size of all blobs, manifests and open uploads of a repository, in bytes. Writes beyond it fail with
   * `Denied`. Default: no limit.
   */
  readonly maximumRepositorySize?: number | undefined
  /**
   * Maximum size of all content and open uploads, in bytes. Mounted content counts once. Writes beyond it fail with
   * `Denied`. Default: no limit.
   */
  readonly maximumSize?: number | undefined
  /** Maximum number of open upload sessions. One more fails with `TooManyRequests`. Default: no limit. */
  readonly maximumUploads?: number | undefined
  /**
   * Maximum size of an `index.json` after a push, in bytes. A push beyond it fails with `Denied`. Each change rewrites
   * the file, so a lower limit bounds the cost of a change. Default and maximum: 64 MiB, which is some 280 000 entries
   * with names of usual length.
   */
  readonly maximumIndexSize?: number | undefined
  /**
   * Blobs whose content is verified while they are read in whole: those whose file this process has neither written nor
   * verified, or that changed since, or all. A file has changed if its number, size or modification time is another.
   * Default: `changed`.
   */
  readonly verification?: "changed" | "always" | undefined
  /**
   * Blobs that clients may delete: those that no manifest needs, or all of them. A refused delete fails with `Denied`,
   * which names the manifest. Default: `unneeded`.
   */
  readonly deletableBlobs?: "unneeded" | "all" | undefined
  /**
   * Owner of the pieces of a blob that is read: `owned` pieces belong to the reader. A reader must neither change a
   * `lent` piece, nor use it after it has asked for the next one; this saves memory. Default: `owned`.
   */
  readonly pieces?: "owned" | "lent" | undefined
}

/**
 * A registry in a folder.
 *
 * @category models
 * @since 0.1.0
 */
export interface LayoutRegistry extends Registry.Registry {
  /**
   * Returns the manifests that `index.json` lists, once each: those with a tag, and those that no other manifest
   * contains.
   *
   * Reasons: `NameUnknown`.
   */
  readonly roots: (
    repository: Repository
  ) => Effect.Effect<ReadonlyArray<Descriptor>, RegistryError.RegistryError>
  /**
   * Removes content that the policies do not protect, and abandoned uploads. See `GarbageCollection`. A repository that
   * has a broken manifest is skipped, because it is unknown what that needs.
   *
   * Reasons: `NameUnknown` if a single layout does not exist, `Storage`.
   */
  readonly collect: (
    options: GarbageCollection.Options
  ) => Effect.Effect<GarbageCollection.Report, RegistryError.RegistryError>
  /**
   * Moves a blob or manifest to `.effect-oci/broken` if its content does not match its digest, so that a client can
   * push it again. It is absent then; tags and manifests that refer to it stay. The content is read once more before,
   * also if it was verified earlier; `changing` content was replaced again and again meanwhile. Nothing reads the moved
   * file, and `collect` removes it after the grace period, see `GarbageCollection.Options`. As with a broken manifest,
   * `collect` skips the repository until a manifest that was moved is pushed again or deleted.
   *
   * Reasons: `NameUnknown`, `UnsupportedAlgorithm`, `Storage`.
   */
  readonly quarantine: (
    repository: Repository,
    digest: Digest
  ) => Effect.Effect<"quarantined" | "intact" | "absent" | "changing", RegistryError.RegistryError>
  /**
   * Lists the blobs and manifests of all repositories, with their sizes and the times of their last write. Only a
   * registry of several layouts has repositories to list. A cache in the folder counts them with it.
   */
  readonly contents: Stream.Stream<LayoutInventory.Content, RegistryError.RegistryError>
  /**
   * Returns the names in `index.json` with their manifests: tags, or full references, which containerd, docker and
   * podman write. Full references distinguish images with the same tag.
   *
   * Reasons: `NameUnknown`.
   */
  readonly names: (
    repository: Repository
  ) => Effect.Effect<ReadonlyArray<NamedManifest>, RegistryError.RegistryError>
}

/**
 * A manifest with one of its names.
 *
 * @category models
 * @since 0.1.0
 */
export interface NamedManifest {
  readonly descriptor: Descriptor
  /** Full reference, such as `docker.io/team/app:1`, or a tag. */
  readonly name: string
}

/**
 * Creates a registry of the content of a folder. Nothing is read or written before the registry is used.
 *
 * **Example** (One image in a folder)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import * as LayoutRegistry from "effect-oci/LayoutRegistry"
 * import { Images } from "effect-oci/testing"
 *
 * const app = Images.repository("app")
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* LayoutRegistry.make({ directory: "layout", form: "layout" })
 *   yield* Images.pushImage(registry, app, ["a layer"], { tags: [Images.tag("1")] })
 *   return yield* registry.roots(app)
 * })
 *
 * const roots = await Effect.runPromise(Effect.provide(program, NodeServices.layer))
 * roots.length // => 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<LayoutRegistry, never, FileSystem.FileSystem | Path.Path> {
  const { directory, durability = "power-loss", form = "registry", maximumIndexSize = LayoutFormat.pushLimit } = options
  const name = options.name ?? (form === "layout" ? `oci:${directory}` : directory)
  const files = yield* Files.make(directory, { isDurable: durability === "power-loss" })
  const uploads = LayoutUploads.make(files, files.join(files.root, LayoutFolder.ours, "uploads"))
  const verified = options.verification === "always" ? VerifiedFiles.none : VerifiedFiles.make()
  const tree = RepositoryFolders.make({
    files,
    form,
    owner: yield* ProcessIdentity.make,
    temporary: uploads.temporary,
    verified
  })

  const everything = form === "layout"
    ? Stream.empty
    : Stream.mapEffect(
      tree.repositories(""),
      (name) => Effect.map(tree.find(name), (layout) => ({ key: tree.keyOf(name), layout }))
    )
  const usage = LayoutUsage.make(files, options, everything)
  const buffers = WriteBuffer.makePool()

  const failed = RegistryError.failing(name)
  const targetIn = (repository: Repository, layout: LayoutFolder.LayoutFolder): LayoutTarget => ({
    files,
    layout,
    key: tree.keyOf(repository),
    usage,
    buffers,
    verified,
    pushLimit: Math.min(maximumIndexSize, LayoutFormat.pushLimit),
    failed: (operation: string) => failed(operation, repository)
  })
  /** Returns the target of a write to a repository, which need not exist. */
  const target = (
    operation: string,
    repository: Repository
  ): Effect.Effect<LayoutTarget, RegistryError.RegistryError> =>
    tree.prepare(repository).pipe(
      Effect.map((layout) => targetIn(repository, layout)),
      Effect.tap(usage.ready),
      Effect.mapError(failed(operation, repository))
    )
  /** Changes the layout of an existing repository. */
  const change = <A>(
    operation: string,
    repository: Repository,
    make: (target: LayoutTarget) => Effect.Effect<A, RegistryError.Reason>
  ) =>
    Effect.mapError(tree.find(repository), failed(operation, repository)).pipe(
      Effect.andThen(target(operation, repository)),
      Effect.flatMap((target) => Effect.mapError(make(target), target.failed(operation)))
    )

  const pushBlob: Registry.Registry["pushBlob"] = Effect.fnUntraced(function*(repository, descriptor, source) {
    const fail = failed("pushBlob", repository)
    if (source.size !== descriptor.size) {
      return yield* fail(new Hasher.SizeMismatch({ expected: descriptor.size, actual: source.size }))
    }
    const into = yield* target("pushBlob", repository)
    const path = yield* Effect.mapError(uploads.temporary, fail)
    return yield* BlobWriter.store(into, "pushBlob", path, descriptor, source.open(0))
  })

  /** Mounts a blob from another repository, as a link to the same file if the file system supports that. */
  const mount = Effect.fnUntraced(function*(repository: Repository, digest: Digest, from: Repository) {
    const fail = failed("startUpload", repository)
    const found = yield* tree.find(from).pipe(
      Effect.flatMap((origin) => Effect.map(origin.open(digest), (file) => ({ origin, file }))),
      Effect.catchTag("NameUnknown", () => Effect.succeed({ origin: undefined, file: undefined })),
      Effect.mapError(fail)
    )
    if (found.file === undefined) return undefined
    const { file, origin } = found
    const into = yield* target("startUpload", repository)
    if (into.layout === origin) {
      const size = yield* Effect.mapError(origin.mention(digest), fail)
      if (size === undefined) return undefined
    } else {
      const isLinked = yield* Effect.mapError(
        BlobWriter.link(into, origin.blobPath(digest), { digest, size: file.size }),
        fail
      )
      if (!isLinked) {
        const path = yield* Effect.mapError(uploads.temporary, fail)
        const content = Stream.mapError(file.read(0, file.size), fail)
        yield* BlobWriter.store(into, "startUpload", path, { digest, size: file.size }, content)
      }
    }
    const mounted: Mounted = { _tag: "Mounted", digest }
    return mounted
  }, Effect.scoped)

  const startUpload: Registry.Registry["startUpload"] = Effect.fnUntraced(function*(repository, options) {
    const { algorithm = "sha256", mount: wanted } = options ?? {}
    // a single layout has the blobs of all repositories in one folder
    const from = form === "layout" ? repository : wanted?.from
    const mounted = wanted === undefined || from === undefined
      ? undefined
      : yield* mount(repository, wanted.digest, from)
    return mounted ?? (yield* uploads.start(yield* target("startUpload", repository), algorithm))
  })

  const registry = Registry.make({
    ...LayoutReader.operations(tree.find, failed, { pieces: options.pieces ?? "owned", verified }),
    name,
    capabilities: Effect.succeed({
      referrers: true,
      singlePost: true,
      tagParameters: true,
      chunks: true,
      selfMount: true,
      anonymousMount: form === "layout"
    }),
    ping: Effect.mapError(tree.check, failed("ping")),
    pushBlob,
    startUpload,
    resumeUpload: Effect.fnUntraced(function*(repository, id) {
      return yield* uploads.resume(yield* target("resumeUpload", repository), id)
    }),
    pushManifest: Effect.fnUntraced(function*(repository, manifest, tags = []) {
      const into = yield* target("pushManifest", repository)
      const push = LayoutManifests.push(into, { temporary: uploads.temporary, manifest, tags })
      return yield* Effect.mapError(push, into.failed("pushManifest"))
    }),
    deleteBlob: (repository, digest) =>
      change(
        "deleteBlob",
        repository,
        (target) => LayoutManifests.deleteBlob(target, digest, options.deletableBlobs ?? "unneeded")
      ),
    deleteManifest: (repository, digest) =>
      change("deleteManifest", repository, (target) => LayoutManifests.deleteManifest(target, digest)),
    deleteTag: (repository, tag) => change("deleteTag", repository, (target) => LayoutManifests.deleteTag(target, tag)),
    ...form === "layout"
      ? {}
      : { repositories: (options) => Stream.mapError(tree.repositories(options?.after ?? ""), failed("repositories")) }
  })
  return {
    ...registry,
    collect: (policies) =>
      LayoutCollections.run({
        policies,
        uploads,
        repositories: form === "layout" ? undefined : tree.repositories(""),
        find: (repository) => Effect.map(tree.find(repository), (layout) => targetIn(repository, layout)),
        ready: usage.ready
      }).pipe(Effect.mapError(failed("collect"))),
    quarantine: (repository, digest) =>
      change("quarantine", repository, (target) => LayoutIsolation.run(target, digest)),
    contents: form === "layout" ? Stream.empty : Stream.mapError(
      LayoutInventory.list(files, tree.repositories(""), tree.find),
      failed("contents")
    ),
    roots: (repository) =>
      tree.find(repository).pipe(
        Effect.flatMap(({ index }) => index),
        Effect.map(LayoutIndex.roots),
        Effect.mapError(failed("roots", repository))
      ),
    names: (repository) =>
      tree.find(repository).pipe(
        Effect.flatMap(({ index }) => index),
        Effect.map(LayoutIndex.named),
        Effect.mapError(failed("names", repository))
      )
  }
})

/**
 * Provides a registry of the content of a folder as the `Registry` service.
 *
 * **Example** (A registry in a folder)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Layer, Stream } from "effect"
 * import * as LayoutRegistry from "effect-oci/LayoutRegistry"
 * import * as Registry from "effect-oci/Registry"
 * import { Images } from "effect-oci/testing"
 *
 * const layer = LayoutRegistry.layer({ directory: "registry" }).pipe(Layer.provide(NodeServices.layer))
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* Registry.Registry
 *   yield* Images.pushImage(registry, Images.repository("team/app"), ["a layer"], { tags: [Images.tag("1")] })
 *   return yield* Stream.runCollect(registry.repositories())
 * })
 *
 * await Effect.runPromise(Effect.provide(program, layer)) // => ["team/app"]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options
): Layer.Layer<Registry.Registry, never, FileSystem.FileSystem | Path.Path> =>
  Layer.effect(Registry.Registry, make(options))
