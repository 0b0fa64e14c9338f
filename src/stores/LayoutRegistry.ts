/**
 * Registries in folders, as OCI image layouts (image-spec, `image-layout.md`), which crane, skopeo, oras, umoci, buildx
 * and others read and write too.
 *
 * There are two forms. A *registry* has a layout for each repository: that of `team/app` is in `DIR/team/app`. A part of
 * a name that would be in the way of another repository's layout, or that Windows keeps for a device, gets a `_` in
 * front: `team/blobs` is in `DIR/team/_blobs`. A *layout* is a single one, which answers to any repository; it does not
 * list repositories.
 *
 * **On disk**
 *
 * ```text
 * oci-layout                 written last: a folder is a layout once it has one
 * index.json                 the manifests
 * blobs/sha256/…             the content, manifests too
 * .effect-oci/lock/          claims to write index.json, see below
 * .effect-oci/uploads/       what is not whole yet; in a registry this is in DIR alone
 * .effect-oci/registry       in DIR, says that it is a registry
 * ```
 *
 * `index.json` lists each manifest by its tags, or without one; manifests that another one contains are listed only if
 * they have a tag, so that a layout of one image has one entry. What nothing lists and no listed manifest contains is
 * not there as a manifest. Entries and fields of other tools are kept to the byte.
 *
 * The tag of an entry is its `org.opencontainers.image.ref.name`, if that is a tag; if it is a whole reference, as skopeo
 * and crane write at times, the tag in it. What is called exactly so goes before, then what stands first. A tag that moves
 * takes the whole name along.
 *
 * **Crashes**
 *
 * A blob is written to a file of its own, verified, synced and renamed; so no blob has other content than its digest
 * says. A manifest is answered for when it, the names of the blobs that it refers to, and the index that lists it have been
 * synced, in this order. `index.json` is replaced by renaming. A crash leaves at most files in `.effect-oci/uploads`:
 * sessions, which can be taken up by their id, and drafts, which are swept after `UploadTimeToLive`.
 *
 * **Several processes**
 *
 * Whoever changes `index.json` holds a lock, and reads the file anew; reading needs none. Who holds it and ends without
 * giving it back is known at once to be gone on Linux, by its number and the time it began; elsewhere, and across
 * machines, after 10 seconds without a sign of life. Changes that come while others are being written wait, and are
 * written together. Other tools know nothing of the lock: what they write at the same moment may be lost, as it may
 * between two of them.
 *
 * **Limits**
 *
 * A push fails with `Denied` if `index.json` would have more than 64 MiB after it: some 280 000 entries with names of
 * usual length, where each tag is an entry, and each manifest without a tag that no other one contains. Deleting is
 * possible beyond that, and a file of up to 128 MiB is read. A media type may have 255 characters, a push 1000 tags, a
 * manifest 8 MiB with 100 levels and 200 000 values of JSON, and the annotations of a manifest with a subject 2 MiB. A
 * manifest may not say another size of content than that has.
 *
 * The limits in {@link Options} concern what this process writes, and what was there before its first change, which
 * waits until that is counted. What other processes write meanwhile is counted after a restart. Uploads of an earlier
 * process count once they are resumed.
 *
 * Nothing outside the folder is read or written, not along a symbolic link either.
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
import * as LayoutFolder from "./LayoutFolder.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as LayoutManifests from "./LayoutManifests.ts"
import * as LayoutReader from "./LayoutReader.ts"
import * as LayoutUploads from "./LayoutUploads.ts"
import * as LayoutUsage from "./LayoutUsage.ts"
import * as ProcessIdentity from "./ProcessIdentity.ts"
import * as RepositoryFolders from "./RepositoryFolders.ts"

export {
  /** @since 0.1.0 */
  UploadTimeToLive
} from "./LayoutUploads.ts"

/**
 * Which folder, and what it is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The folder. It need not be there yet. */
  readonly directory: string
  /** One layout for each repository, or a single one for all of them; `registry` unless given. */
  readonly form?: "registry" | "layout"
  /**
   * What has been answered for survives: the loss of power, or the end of the process alone, which saves waiting for the
   * disk; `power-loss` unless given.
   */
  readonly durability?: "power-loss" | "process-end"
  /** What errors call it; the folder unless given, for a single layout with `oci:` in front. */
  readonly name?: string
  /** Largest size of a blob, in bytes. A larger one fails with `ContentTooLarge`. Default: no limit. */
  readonly maximumBlobSize?: number | undefined
  /**
   * Largest size of all blobs, manifests and open uploads of a repository, in bytes. What goes beyond it fails with
   * `Denied`. Default: no limit.
   */
  readonly maximumRepositorySize?: number | undefined
  /**
   * Largest size of all content and open uploads, in bytes; what was mounted counts once. What goes beyond it fails
   * with `Denied`. Default: no limit.
   */
  readonly maximumSize?: number | undefined
  /** Largest number of upload sessions that are open. One more fails with `TooManyRequests`. Default: no limit. */
  readonly maximumUploads?: number | undefined
  /**
   * Largest size of an `index.json` after a push, in bytes. A push that goes beyond it fails with `Denied`. Each change
   * rewrites the file, so a lower limit bounds what a change costs. Default, and at most: 64 MiB, some 280 000 entries
   * with names of usual length.
   */
  readonly maximumIndexSize?: number | undefined
}

/**
 * A registry in a folder.
 *
 * @category models
 * @since 0.1.0
 */
export interface LayoutRegistry extends Registry.Registry {
  /**
   * What `index.json` lists, once each: the manifests that have a tag, and those that are part of no other.
   *
   * Reasons: `NameUnknown`.
   */
  readonly roots: (
    repository: Repository
  ) => Effect.Effect<ReadonlyArray<Descriptor>, RegistryError.RegistryError>
  /**
   * Names in `index.json`, with the manifests that have them: full references, as containerd, docker and podman write
   * them, or tags. They tell images with the same tag apart.
   *
   * Reasons: `NameUnknown`.
   */
  readonly names: (
    repository: Repository
  ) => Effect.Effect<ReadonlyArray<NamedManifest>, RegistryError.RegistryError>
}

/**
 * A manifest, and one of its names.
 *
 * @category models
 * @since 0.1.0
 */
export interface NamedManifest {
  readonly descriptor: Descriptor
  /** Full reference, such as `docker.io/team/app:1`, or tag. */
  readonly name: string
}

/**
 * Makes a registry of what is in a folder. Nothing there is read or written before it is used.
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
  const tree = RepositoryFolders.make({ files, form, owner: yield* ProcessIdentity.make, temporary: uploads.temporary })

  const everything = form === "layout"
    ? Stream.empty
    : Stream.mapEffect(
      tree.repositories(""),
      (name) => Effect.map(tree.find(name), (layout) => ({ key: tree.keyOf(name), layout }))
    )
  const usage = LayoutUsage.make(files, options, everything)

  const failed = (operation: string, repository?: Repository) => (reason: RegistryError.Reason) =>
    new RegistryError.RegistryError({
      operation,
      registry: name,
      ...repository === undefined ? {} : { repository },
      reason
    })
  /** Where to write for a repository, which need not be there. */
  const target = (
    operation: string,
    repository: Repository
  ): Effect.Effect<BlobWriter.Target & LayoutManifests.Target, RegistryError.RegistryError> =>
    tree.prepare(repository).pipe(
      Effect.map((layout) => ({
        files,
        layout,
        key: tree.keyOf(repository),
        usage,
        pushLimit: Math.min(maximumIndexSize, LayoutFormat.pushLimit),
        failed: (operation: string) => failed(operation, repository)
      })),
      Effect.tap(usage.ready),
      Effect.mapError(failed(operation, repository))
    )
  /** Changes the layout of a repository, which must be there. */
  const change = (
    operation: string,
    repository: Repository,
    make: (target: LayoutManifests.Target) => Effect.Effect<void, RegistryError.Reason>
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
    return yield* BlobWriter.store(files, into, "pushBlob", path, descriptor, source.open(0))
  })

  /** Takes a blob over from another repository, as a link to the same file where that can be. */
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
    if (into.layout !== origin) {
      const isLinked = yield* Effect.mapError(
        BlobWriter.link(files, into, origin.blobPath(digest), { digest, size: file.size }),
        fail
      )
      if (!isLinked) {
        const path = yield* Effect.mapError(uploads.temporary, fail)
        const content = Stream.mapError(file.read(0, file.size), fail)
        yield* BlobWriter.store(files, into, "startUpload", path, { digest, size: file.size }, content)
      }
    }
    const mounted: Mounted = { _tag: "Mounted", digest }
    return mounted
  }, Effect.scoped)

  const startUpload: Registry.Registry["startUpload"] = Effect.fnUntraced(function*(repository, options) {
    const { algorithm = "sha256", mount: wanted } = options ?? {}
    // a single layout has everything in one place
    const from = form === "layout" ? repository : wanted?.from
    const mounted = wanted === undefined || from === undefined
      ? undefined
      : yield* mount(repository, wanted.digest, from)
    return mounted ?? (yield* uploads.start(yield* target("startUpload", repository), algorithm))
  })

  const registry = Registry.make({
    ...LayoutReader.operations(tree.find, failed),
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
      change("deleteBlob", repository, (target) => LayoutManifests.deleteBlob(target, digest)),
    deleteManifest: (repository, digest) =>
      change("deleteManifest", repository, (target) => LayoutManifests.deleteManifest(target, digest)),
    deleteTag: (repository, tag) => change("deleteTag", repository, (target) => LayoutManifests.deleteTag(target, tag)),
    ...form === "layout"
      ? {}
      : { repositories: (options) => Stream.mapError(tree.repositories(options?.after ?? ""), failed("repositories")) }
  })
  return {
    ...registry,
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
 * Provides a registry of what is in a folder as the `Registry` service.
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
