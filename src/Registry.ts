/**
 * The operations of one registry, whether it is reached over HTTP, is in memory, in a folder, or made of others.
 *
 * {@link Registry} is an interface, because a program may use many registries (a `Resolver` returns them), and a
 * service of the same name, for programs that need one. The operations are few and orthogonal, follow the distribution
 * specification, and fail with `RegistryError`. Each lists its own reasons. Every operation may also fail with
 * `Unauthorized`, `Denied`, `TooManyRequests`, `Unsupported`, `Transport`, `Timeout` and `UnexpectedResponse`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as BlobSource from "./BlobSource.ts"
import type { Descriptor } from "./Descriptor.ts"
import type { Digest } from "./Digest.ts"
import * as Hasher from "./Hasher.ts"
import type { Limiter } from "./Limiter.ts"
import * as OnePiece from "./OnePiece.ts"
import type { Repository, Tag } from "./Reference.ts"
import { isRegistryError, type Reason, RegistryError, Unsupported } from "./RegistryError.ts"
import * as Tracing from "./Tracing.ts"
import type { Mounted, Upload } from "./Upload.ts"

const TypeId = "~effect-oci/Registry"

// ---------------------------------------------------------------------------------------------------------------------
// models
// ---------------------------------------------------------------------------------------------------------------------

/**
 * A part of a blob: `length` bytes from `offset` on, or all bytes from there if there is no length. A part that exceeds
 * the end of the blob ends there.
 *
 * @category models
 * @since 0.1.0
 */
export interface Range {
  readonly offset: number
  readonly length?: number | undefined
}

/**
 * A blob that is read. The stream of a whole blob verifies itself: it fails with `DigestMismatch` or `SizeMismatch`
 * before its last chunk. A range is not verified, even if it covers the whole blob. `descriptor.size` is the size of
 * the whole blob.
 *
 * @category models
 * @since 0.1.0
 */
export interface Blob {
  readonly descriptor: Descriptor
  readonly stream: Stream.Stream<Uint8Array, RegistryError>
}

/**
 * A manifest, byte for byte as its registry stores it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ManifestBytes {
  readonly descriptor: Descriptor
  readonly bytes: Uint8Array
}

/**
 * Abilities of a registry, as far as they are known. An absent key is not known yet: a client learns from answers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Capabilities {
  /** True if it lists referrers itself (distribution-spec, "Listing Referrers"), so that no referrers tag is needed. */
  readonly referrers?: boolean | undefined
  /** True if it accepts a blob in one POST (distribution-spec, "Single POST"). */
  readonly singlePost?: boolean | undefined
  /** True if it accepts several tags with one manifest (`?tag=`, distribution-spec after 1.1.1). */
  readonly tagParameters?: boolean | undefined
  /**
   * True if it mounts a blob from any repository, without `from` (distribution-spec, "Mounting a blob from another
   * repository").
   */
  readonly anonymousMount?: boolean | undefined
  /**
   * True if it mounts a blob from the destination repository itself. Then one request either finds the blob there or
   * opens an upload session.
   */
  readonly selfMount?: boolean | undefined
  /**
   * True if it accepts a blob in several chunks, and resumes an interrupted upload (distribution-spec, "Pushing a blob
   * in chunks").
   */
  readonly chunks?: boolean | undefined
  /** Minimum size of each chunk except the last (`OCI-Chunk-Min-Length`), in bytes. */
  readonly minimumChunk?: number | undefined
  /** Maximum size of the body of a request that uploads a blob, in bytes. */
  readonly maximumChunk?: number | undefined
  /** True if it lists in pages (distribution-spec, "Listing Tags"). */
  readonly pages?: boolean | undefined
}

/**
 * The operations of one registry.
 *
 * @category models
 * @since 0.1.0
 */
export interface Registry {
  readonly [TypeId]: typeof TypeId
  /** Name in errors and logs: the host of a registry over HTTP. */
  readonly name: string
  /** The abilities that are known so far. */
  readonly capabilities: Effect.Effect<Capabilities>
  /** Limits concurrent requests; absent if there is no limit. */
  readonly limiter?: Limiter | undefined
  /** Succeeds if the registry answers (distribution-spec, end-1). */
  readonly ping: Effect.Effect<void, RegistryError>

  /**
   * Opens a blob, or a range of it. Closing the scope discards the rest. `size` is the size that the caller knows, for
   * example from a descriptor. It is used if the registry does not report the size.
   *
   * Reasons: `BlobUnknown`, `NameUnknown`, `RangeNotSatisfiable`.
   */
  readonly getBlob: (
    repository: Repository,
    digest: Digest,
    options?: { readonly range?: Range | undefined; readonly size?: number | undefined }
  ) => Effect.Effect<Blob, RegistryError, Scope.Scope>
  /**
   * Resolves a blob to its descriptor, with its size. `size` is the size that the caller knows, for example from a
   * descriptor. It is used if the registry does not report the size.
   *
   * Reasons: `BlobUnknown`, `NameUnknown`.
   */
  readonly resolveBlob: (
    repository: Repository,
    digest: Digest,
    options?: { readonly size?: number | undefined }
  ) => Effect.Effect<Descriptor, RegistryError>
  /**
   * Gets a manifest, by tag or by digest, and verifies it.
   *
   * Reasons: `ManifestUnknown`, `NameUnknown`, `DigestMismatch`, `ContentTooLarge`.
   */
  readonly getManifest: (
    repository: Repository,
    reference: Tag | Digest
  ) => Effect.Effect<ManifestBytes, RegistryError>
  /**
   * Resolves a tag, or the digest of a manifest, to a descriptor.
   *
   * Reasons: `ManifestUnknown`, `NameUnknown`.
   */
  readonly resolveManifest: (
    repository: Repository,
    reference: Tag | Digest
  ) => Effect.Effect<Descriptor, RegistryError>

  /**
   * Pushes a blob. A source that can be opened only once is read only once.
   *
   * Reasons: `DigestInvalid` or `DigestMismatch`, `SizeInvalid` or `SizeMismatch`, `NameInvalid`.
   */
  readonly pushBlob: <E>(
    repository: Repository,
    descriptor: Pick<Descriptor, "digest" | "size">,
    source: BlobSource.BlobSource<E>
  ) => Effect.Effect<Descriptor, RegistryError | E>
  /**
   * Opens an upload session. With `mount`, mounts the blob from the repository `from`, or from any repository if there
   * is no `from`; if the registry declines the mount, the result is an upload session. `algorithm` announces a digest
   * with an algorithm other than sha256. Closing the scope cancels a session that was not committed.
   *
   * Reasons: `NameUnknown`, `NameInvalid`, `DigestInvalid`.
   */
  readonly startUpload: (
    repository: Repository,
    options?: {
      readonly mount?: { readonly digest: Digest; readonly from?: Repository | undefined } | undefined
      readonly algorithm?: string | undefined
    }
  ) => Effect.Effect<Mounted | Upload, RegistryError, Scope.Scope>
  /**
   * Resumes an upload session by its id. Closing the scope cancels a session that was not committed.
   *
   * Reasons: `BlobUploadUnknown`.
   */
  readonly resumeUpload: (repository: Repository, id: string) => Effect.Effect<Upload, RegistryError, Scope.Scope>
  /**
   * Pushes a manifest, and points tags at it. If `digest` is given, it must be the digest of the bytes. Default: their
   * sha256. The content that the manifest refers to must exist, except for what {@link SparseIndex} accepts.
   *
   * Reasons: `ManifestInvalid`, `ManifestBlobUnknown`, `DigestMismatch`, `ContentTooLarge`, `NameInvalid`.
   */
  readonly pushManifest: (
    repository: Repository,
    manifest: { readonly mediaType: string; readonly bytes: Uint8Array; readonly digest?: Digest | undefined },
    tags?: ReadonlyArray<Tag>
  ) => Effect.Effect<Descriptor, RegistryError>

  /**
   * Deletes a blob from a repository.
   *
   * Reasons: `BlobUnknown`, `NameUnknown`.
   */
  readonly deleteBlob: (repository: Repository, digest: Digest) => Effect.Effect<void, RegistryError>
  /**
   * Deletes a manifest and all tags that point at it.
   *
   * Reasons: `ManifestUnknown`, `NameUnknown`.
   */
  readonly deleteManifest: (repository: Repository, digest: Digest) => Effect.Effect<void, RegistryError>
  /**
   * Deletes a tag. The manifest remains.
   *
   * Reasons: `ManifestUnknown`, `NameUnknown`.
   */
  readonly deleteTag: (repository: Repository, tag: Tag) => Effect.Effect<void, RegistryError>

  /** Lists the repositories after `after`, or all, in the order of the registry. */
  readonly repositories: (options?: { readonly after?: string | undefined }) => Stream.Stream<Repository, RegistryError>
  /**
   * Lists the tags of a repository after `after`, or all, in the order of the registry.
   *
   * Reasons: `NameUnknown`.
   */
  readonly tags: (
    repository: Repository,
    options?: { readonly after?: string | undefined }
  ) => Stream.Stream<Tag, RegistryError>
  /** Lists the manifests whose subject is `digest`. The subject itself need not exist. */
  readonly referrers: (
    repository: Repository,
    digest: Digest,
    options?: { readonly artifactType?: string | undefined }
  ) => Stream.Stream<Descriptor, RegistryError>
}

/**
 * Service for programs that use one registry.
 *
 * @category services
 * @since 0.1.0
 */
export const Registry: Context.Service<Registry, Registry> = Context.Service("effect-oci/Registry")

/**
 * Policy of registries in memory and in folders for an index that lists manifests which they do not have.
 *
 * **Details**
 *
 * A copy that keeps an index but copies only some of its platforms sets this to `"accept"`. A registry over HTTP
 * decides by itself (distribution-spec, "Pushing Manifests"). An image layout may lack manifests (image-spec,
 * `image-layout.md`).
 *
 * **Example** (An index of an image in another registry)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MediaType from "effect-oci/MediaType"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Registry from "effect-oci/Registry"
 * import { Images } from "effect-oci/testing"
 *
 * const elsewhere = { mediaType: MediaType.imageManifest, digest: `sha256:${"0".repeat(64)}`, size: 2 }
 * const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, manifests: [elsewhere] }))
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const push = registry.pushManifest(Images.repository("app"), { mediaType: MediaType.imageIndex, bytes })
 *   const refused = yield* Effect.flip(push)
 *   const { size } = yield* Effect.provideService(push, Registry.SparseIndex, "accept")
 *   return [refused.reason._tag, size === bytes.length]
 * })
 *
 * Effect.runSync(program) // => ["ManifestBlobUnknown", true]
 * ```
 *
 * @default "refuse"
 * @category references
 * @since 0.1.0
 */
export const SparseIndex: Context.Reference<"refuse" | "accept"> = Context.Reference<"refuse" | "accept">(
  "effect-oci/Registry/SparseIndex",
  { defaultValue: () => "refuse" }
)

/**
 * Returns true if a value is a {@link Registry}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isRegistry = (u: unknown): u is Registry => hasProperty(u, TypeId)

// ---------------------------------------------------------------------------------------------------------------------
// events
// ---------------------------------------------------------------------------------------------------------------------

export {
  /** @since 0.1.0 */
  Observer,
  /** @since 0.1.0 */
  type RegistryEvent
} from "./Observer.ts"

/** Attributes of the span of an operation. */
type Attributes = Readonly<Record<string, string | number>>

// ---------------------------------------------------------------------------------------------------------------------
// constructors
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Creates a registry of the given operations. The others fail with `Unsupported`.
 *
 * **Details**
 *
 * Each operation has a span, `Registry.<operation>`, with the attributes `oci.registry` and `oci.repository`, and with
 * those of `oci.digest`, `oci.reference` (a tag, or the digest of a manifest), `oci.media_type` and `oci.size` (in
 * bytes) that are known.
 *
 * **Example** (A mock in three lines)
 *
 * ```ts import.meta.vitest
 * import { Effect, Result } from "effect"
 * import * as Digest from "effect-oci/Digest"
 * import * as Reference from "effect-oci/Reference"
 * import * as Registry from "effect-oci/Registry"
 *
 * const { repository } = Result.getOrThrow(Reference.parseRelative("team/app"))
 * const digest = Result.getOrThrow(Digest.parse("sha256:" + "0".repeat(64)))
 *
 * const registry = Registry.make({
 *   name: "mock",
 *   resolveBlob: () => Effect.succeed({ mediaType: "application/octet-stream", digest, size: 7 })
 * })
 *
 * Effect.runSync(registry.resolveBlob(repository, digest)).size // => 7
 * Effect.runSync(Effect.flip(registry.deleteBlob(repository, digest))).reason._tag // => "Unsupported"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  implementation: Partial<Omit<Registry, typeof TypeId | "name">> & { readonly name: string }
): Registry => {
  const { name } = implementation
  const unsupported = (operation: string, repository?: Repository) =>
    new RegistryError({
      operation,
      registry: name,
      ...repository === undefined ? {} : { repository },
      reason: new Unsupported({})
    })
  const no = (operation: string) => (repository: Repository) => Effect.fail(unsupported(operation, repository))
  const noList = (operation: string) => (repository: Repository) => Stream.fail(unsupported(operation, repository))
  const none = (): Attributes => ({})
  const span = (operation: string, attributes: () => Attributes = none) =>
    Tracing.withSpan(`Registry.${operation}`, () => ({ "oci.registry": name, ...attributes() }))
  const listSpan = (operation: string, attributes: () => Attributes = none) =>
    Tracing.withStreamSpan(`Registry.${operation}`, () => ({ "oci.registry": name, ...attributes() }))
  const of = (repository: Repository, attributes: Attributes = {}) => (): Attributes => ({
    "oci.repository": repository,
    ...attributes
  })

  const self = {
    capabilities: Effect.succeed({}),
    ping: Effect.suspend(() => Effect.fail(unsupported("ping"))),
    getBlob: no("getBlob"),
    resolveBlob: no("resolveBlob"),
    getManifest: no("getManifest"),
    resolveManifest: no("resolveManifest"),
    pushBlob: no("pushBlob"),
    startUpload: no("startUpload"),
    resumeUpload: no("resumeUpload"),
    pushManifest: no("pushManifest"),
    deleteBlob: no("deleteBlob"),
    deleteManifest: no("deleteManifest"),
    deleteTag: no("deleteTag"),
    repositories: () => Stream.fail(unsupported("repositories")),
    tags: noList("tags"),
    referrers: noList("referrers"),
    ...implementation
  }
  return {
    ...self,
    [TypeId]: TypeId,
    ping: span("ping")(self.ping),
    getBlob: (repository, digest, options) =>
      span("getBlob", of(repository, { "oci.digest": digest }))(self.getBlob(repository, digest, options)),
    resolveBlob: (repository, digest, options) =>
      span("resolveBlob", of(repository, { "oci.digest": digest }))(self.resolveBlob(repository, digest, options)),
    getManifest: (repository, reference) =>
      span("getManifest", of(repository, { "oci.reference": reference }))(self.getManifest(repository, reference)),
    resolveManifest: (repository, reference) =>
      span("resolveManifest", of(repository, { "oci.reference": reference }))(
        self.resolveManifest(repository, reference)
      ),
    pushBlob: (repository, descriptor, source) =>
      span("pushBlob", of(repository, { "oci.digest": descriptor.digest, "oci.size": descriptor.size }))(
        self.pushBlob(repository, descriptor, source)
      ),
    startUpload: (repository, options) =>
      span("startUpload", of(repository, options?.mount && { "oci.digest": options.mount.digest }))(
        self.startUpload(repository, options)
      ),
    resumeUpload: (repository, id) => span("resumeUpload", of(repository))(self.resumeUpload(repository, id)),
    pushManifest: (repository, manifest, tags) =>
      span("pushManifest", of(repository, { "oci.media_type": manifest.mediaType, "oci.size": manifest.bytes.length }))(
        self.pushManifest(repository, manifest, tags)
      ),
    deleteBlob: (repository, digest) =>
      span("deleteBlob", of(repository, { "oci.digest": digest }))(self.deleteBlob(repository, digest)),
    deleteManifest: (repository, digest) =>
      span("deleteManifest", of(repository, { "oci.reference": digest }))(self.deleteManifest(repository, digest)),
    deleteTag: (repository, tag) =>
      span("deleteTag", of(repository, { "oci.reference": tag }))(self.deleteTag(repository, tag)),
    repositories: (options) => listSpan("repositories")(self.repositories(options)),
    tags: (repository, options) => listSpan("tags", of(repository))(self.tags(repository, options)),
    referrers: (repository, digest, options) =>
      listSpan("referrers", of(repository, { "oci.reference": digest }))(self.referrers(repository, digest, options))
  }
}

/**
 * Creates a source for a push from a blob of a registry.
 *
 * **Details**
 *
 * The source can be opened at any offset, as often as needed. It verifies itself: every byte is hashed once, and the
 * last chunk is handed on only if digest and size are right. It fails with `SizeMismatch` if the blob has another size
 * than the descriptor.
 *
 * **Gotchas**
 *
 * A source that is first opened at an offset above 0 cannot be verified. A source serves one reader at a time.
 *
 * @category combinators
 * @since 0.1.0
 */
export const blobSource = Effect.fnUntraced(function*(
  self: Registry,
  repository: Repository,
  descriptor: Pick<Descriptor, "digest" | "size">
): Effect.fn.Return<BlobSource.BlobSource<RegistryError>, RegistryError, Scope.Scope> {
  const { digest, size } = descriptor
  const failure = (reason: Reason) =>
    new RegistryError({ operation: "getBlob", registry: self.name, repository, reason })
  const verifier = yield* Effect.mapError(Hasher.verifier({ digest, size }), failure)
  const failed = (error: RegistryError | Hasher.DigestMismatch | Hasher.SizeMismatch) =>
    isRegistryError(error) ? error : failure(error)
  const open = (offset: number) =>
    // the registry does not verify a range, so it is verified here; an empty blob has no range
    Effect.flatMap(
      self.getBlob(repository, digest, size === 0 ? { size } : { range: { offset }, size }),
      ({ descriptor, stream }) =>
        descriptor.size === size
          ? Effect.succeed(verify(offset, stream))
          : Effect.fail(failure(new Hasher.SizeMismatch({ expected: size, actual: descriptor.size })))
    )
  const verify = (offset: number, stream: Blob["stream"]): Blob["stream"] =>
    OnePiece.transform(
      stream,
      Effect.tap((bytes) => Effect.mapError(verifier.rest(offset, bytes), failed)),
      (chunks) => Stream.mapError(verifier.from(offset)(chunks), failed)
    )
  return BlobSource.make(
    size,
    (offset) => offset > 0 && offset >= size ? verify(offset, Stream.empty) : OnePiece.unwrap(open(offset))
  )
})
