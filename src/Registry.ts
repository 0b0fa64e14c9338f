/**
 * One registry: everything it can do, whatever is behind it.
 *
 * {@link Registry} is an interface, of which a program may hold many values (a `Resolver` hands them out), and a service
 * of the same name, for programs that work with one. The operations are few and orthogonal, follow the distribution
 * specification, and fail with `RegistryError`; each names the reasons that are its own. Besides those, any may fail with
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
import type { Repository, Tag } from "./Reference.ts"
import { isRegistryError, type Reason, RegistryError, Unsupported } from "./RegistryError.ts"
import type { Mounted, Upload } from "./Upload.ts"

const TypeId = "~effect-oci/Registry"

// ---------------------------------------------------------------------------------------------------------------------
// models
// ---------------------------------------------------------------------------------------------------------------------

/**
 * A part of a blob: `length` bytes from `offset` on, or all from there without a length. A part that reaches beyond the
 * blob's end is cut there.
 *
 * @category models
 * @since 0.1.0
 */
export interface Range {
  readonly offset: number
  readonly length?: number
}

/**
 * A blob that is being read. The stream of a whole blob verifies itself: it fails with `DigestMismatch` or
 * `SizeMismatch` before its last chunk. A range is not verified, not even one that is the whole blob. `descriptor.size`
 * is that of the whole blob.
 *
 * @category models
 * @since 0.1.0
 */
export interface Blob {
  readonly descriptor: Descriptor
  readonly stream: Stream.Stream<Uint8Array, RegistryError>
}

/**
 * A manifest as its registry has it, to the byte.
 *
 * @category models
 * @since 0.1.0
 */
export interface ManifestBytes {
  readonly descriptor: Descriptor
  readonly bytes: Uint8Array
}

/**
 * What a registry is known to do. A key that is absent is not known yet: a registry behind HTTP learns as it goes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Capabilities {
  /** It lists referrers itself (distribution-spec, "Listing Referrers"), so that no tag has to be kept for it. */
  readonly referrers?: boolean
  /** It takes a blob in one POST (distribution-spec, "Single POST"). */
  readonly singlePost?: boolean
  /** It takes several tags with one manifest (`?tag=`, distribution-spec after 1.1.1). */
  readonly tagParameters?: boolean
  /** It mounts a blob without being told from which repository (distribution-spec, "Mounting a blob from another repository"). */
  readonly anonymousMount?: boolean
  /**
   * It mounts a blob from the very repository that is to have it, where it is there. So one request tells whether it is,
   * and opens an upload session where it is not.
   */
  readonly selfMount?: boolean
  /** It takes a blob in several chunks, and goes on with an upload that broke off (distribution-spec, "Pushing a blob in chunks"). */
  readonly chunks?: boolean
  /** No chunk but the last may be smaller (`OCI-Chunk-Min-Length`), in bytes. */
  readonly minimumChunk?: number
  /** No request may bring more of a blob, in bytes. */
  readonly maximumChunk?: number
  /** It lists in pages (distribution-spec, "Listing Tags"). */
  readonly pages?: boolean
}

/**
 * Everything that one registry can do.
 *
 * @category models
 * @since 0.1.0
 */
export interface Registry {
  readonly [TypeId]: typeof TypeId
  /** What errors and logs call it: its host, for a registry behind HTTP. */
  readonly name: string
  /** What it is known to do, by now. */
  readonly capabilities: Effect.Effect<Capabilities>
  /** Limits how much goes on here at a time; absent where nothing does. */
  readonly limiter?: Limiter
  /** Succeeds where a registry answers (end-1 of the specification). */
  readonly ping: Effect.Effect<void, RegistryError>

  /**
   * Opens a blob, or a range of it. Closing the scope discards the rest. `size` is what the caller knows,
   * for example from a descriptor: it is used if the registry does not report it.
   *
   * Reasons: `BlobUnknown`, `NameUnknown`, `RangeNotSatisfiable`.
   */
  readonly getBlob: (
    repository: Repository,
    digest: Digest,
    options?: { readonly range?: Range | undefined; readonly size?: number | undefined }
  ) => Effect.Effect<Blob, RegistryError, Scope.Scope>
  /**
   * Tells whether a blob is there, and how long it is. `size` is what the caller knows, for example from a descriptor:
   * it is used if the registry does not tell.
   *
   * Reasons: `BlobUnknown`, `NameUnknown`.
   */
  readonly resolveBlob: (
    repository: Repository,
    digest: Digest,
    options?: { readonly size?: number | undefined }
  ) => Effect.Effect<Descriptor, RegistryError>
  /**
   * Reads a manifest, by tag or by digest, and verifies it.
   *
   * Reasons: `ManifestUnknown`, `NameUnknown`, `DigestMismatch`, `ContentTooLarge`.
   */
  readonly getManifest: (
    repository: Repository,
    reference: Tag | Digest
  ) => Effect.Effect<ManifestBytes, RegistryError>
  /**
   * Tells what a tag points at, or whether a manifest is there.
   *
   * Reasons: `ManifestUnknown`, `NameUnknown`.
   */
  readonly resolveManifest: (
    repository: Repository,
    reference: Tag | Digest
  ) => Effect.Effect<Descriptor, RegistryError>

  /**
   * Writes a blob. A source that can be opened only once is read only once.
   *
   * Reasons: `DigestInvalid` or `DigestMismatch`, `SizeInvalid` or `SizeMismatch`, `NameInvalid`.
   */
  readonly pushBlob: <E>(
    repository: Repository,
    descriptor: Pick<Descriptor, "digest" | "size">,
    source: BlobSource.BlobSource<E>
  ) => Effect.Effect<Descriptor, RegistryError | E>
  /**
   * Opens an upload session; or mounts, where asked to, a blob that is in the repository `from`, or anywhere the
   * registry knows of. A mount that the registry declines is an upload session as well. `algorithm` announces a digest
   * of another algorithm than sha256. Closing the scope cancels a session that was not committed.
   *
   * Reasons: `NameUnknown`, `NameInvalid`, `DigestInvalid`.
   */
  readonly startUpload: (
    repository: Repository,
    options?: {
      readonly mount?: { readonly digest: Digest; readonly from?: Repository }
      readonly algorithm?: string
    }
  ) => Effect.Effect<Mounted | Upload, RegistryError, Scope.Scope>
  /**
   * Takes up a session by its id. Closing the scope cancels it if it was not committed.
   *
   * Reasons: `BlobUploadUnknown`.
   */
  readonly resumeUpload: (repository: Repository, id: string) => Effect.Effect<Upload, RegistryError, Scope.Scope>
  /**
   * Writes a manifest, and points tags at it. `digest`, where given, must be that of the bytes; else it is sha256. What it
   * contains has to be there, except for what {@link SparseIndex} accepts.
   *
   * Reasons: `ManifestInvalid`, `ManifestBlobUnknown`, `DigestMismatch`, `ContentTooLarge`, `NameInvalid`.
   */
  readonly pushManifest: (
    repository: Repository,
    manifest: { readonly mediaType: string; readonly bytes: Uint8Array; readonly digest?: Digest },
    tags?: ReadonlyArray<Tag>
  ) => Effect.Effect<Descriptor, RegistryError>

  /**
   * Removes a blob from a repository.
   *
   * Reasons: `BlobUnknown`, `NameUnknown`.
   */
  readonly deleteBlob: (repository: Repository, digest: Digest) => Effect.Effect<void, RegistryError>
  /**
   * Removes a manifest, and with it every tag on it.
   *
   * Reasons: `ManifestUnknown`, `NameUnknown`.
   */
  readonly deleteManifest: (repository: Repository, digest: Digest) => Effect.Effect<void, RegistryError>
  /**
   * Removes a tag. The manifest stays.
   *
   * Reasons: `ManifestUnknown`, `NameUnknown`.
   */
  readonly deleteTag: (repository: Repository, tag: Tag) => Effect.Effect<void, RegistryError>

  /** Lists repositories, in the registry's order, those after `after` if given. */
  readonly repositories: (options?: { readonly after?: string }) => Stream.Stream<Repository, RegistryError>
  /**
   * Lists a repository's tags, in the registry's order, those after `after` if given.
   *
   * Reasons: `NameUnknown`.
   */
  readonly tags: (
    repository: Repository,
    options?: { readonly after?: string }
  ) => Stream.Stream<Tag, RegistryError>
  /** Lists the manifests whose subject is `digest`, which itself need not be there. */
  readonly referrers: (
    repository: Repository,
    digest: Digest,
    options?: { readonly artifactType?: string }
  ) => Stream.Stream<Descriptor, RegistryError>
}

/**
 * The service of a program that works with one registry.
 *
 * @category services
 * @since 0.1.0
 */
export const Registry: Context.Service<Registry, Registry> = Context.Service("effect-oci/Registry")

/**
 * Whether our own registries, in memory and in folders, take an index that lists manifests which they do not have. A copy
 * that is to keep an index of which it copies only some platforms accepts that for itself; a registry behind HTTP decides
 * on its own (distribution-spec, "Pushing Manifests"). A layout may be like that (image-spec, `image-layout.md`).
 *
 * **Example** (An index of an image that is elsewhere)
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
 * Tells registries from other values.
 *
 * @category guards
 * @since 0.1.0
 */
export const isRegistry = (u: unknown): u is Registry => hasProperty(u, TypeId)

// ---------------------------------------------------------------------------------------------------------------------
// watching
// ---------------------------------------------------------------------------------------------------------------------

export {
  /** @since 0.1.0 */
  Observer,
  /** @since 0.1.0 */
  type RegistryEvent
} from "./Observer.ts"

/** What a span tells of its operation. */
type Attributes = Readonly<Record<string, string | number>>

// ---------------------------------------------------------------------------------------------------------------------
// constructors
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Makes a registry of those operations that are given; the others fail with `Unsupported`. Each operation gets a span,
 * `Registry.<operation>`, with what it is about: `oci.registry`, `oci.repository`, and of `oci.digest`, `oci.reference`
 * (a tag, or the digest of a manifest), `oci.media_type` and `oci.size` (in bytes) what is known.
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
  const span = (operation: string, attributes: Attributes = {}) =>
    Effect.withSpan(
      `Registry.${operation}`,
      { attributes: { "oci.registry": name, ...attributes } },
      { captureStackTrace: false }
    )
  const listSpan = (operation: string, attributes: Attributes = {}) =>
    Stream.withSpan(`Registry.${operation}`, {
      attributes: { "oci.registry": name, ...attributes },
      captureStackTrace: false
    })
  const of = (repository: Repository, attributes: Attributes = {}): Attributes => ({
    "oci.repository": repository,
    ...attributes
  })

  const self = {
    capabilities: Effect.succeed({}),
    ping: Effect.fail(unsupported("ping")),
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
 * A blob of a registry as the source of a push. It can be opened at any offset, as often as needed, and verifies itself
 * however often that is: every byte is hashed once, and the last chunk is not handed on unless digest and size are right.
 * One that is opened in the middle at first cannot be verified. Fails with `SizeMismatch` where the registry's blob has
 * another length than the descriptor says. It is for one reader at a time.
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
  const read = (offset: number) =>
    Stream.unwrap(Effect.gen(function*() {
      if (offset > 0 && offset >= size) return Stream.empty
      // hashed here: a range is not hashed below. Of nothing, there is none
      const blob = yield* self.getBlob(repository, digest, size === 0 ? { size } : { range: { offset }, size })
      if (blob.descriptor.size === size) return blob.stream
      return yield* failure(new Hasher.SizeMismatch({ expected: size, actual: blob.descriptor.size }))
    }))
  return BlobSource.make(size, (offset) =>
    read(offset).pipe(
      verifier.from(offset),
      Stream.mapError((error) => isRegistryError(error) ? error : failure(error))
    ))
})
