/**
 * Operations on references, across registries: the front door of this package.
 *
 * A namespace parses references and resolves their hosts with a `Resolver`. It passes each operation to the registry of
 * the reference, and copies to `Copy`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { BlobSource } from "./BlobSource.ts"
import * as Copy from "./copy/Copy.ts"
import { CopyError, type PlatformNotFound, type TagMismatch, UnfitReference } from "./copy/CopyError.ts"
import type { CopyEvent } from "./copy/CopyEvent.ts"
import type { CopyPlan } from "./copy/CopyPlan.ts"
import type { CopyReport } from "./copy/CopyReport.ts"
import * as EndChecks from "./copy/EndChecks.ts"
import * as PlatformSearch from "./copy/PlatformSearch.ts"
import type { Descriptor } from "./Descriptor.ts"
import * as ExternalBlobs from "./ExternalBlobs.ts"
import type { ManifestError } from "./Manifest.ts"
import type * as Platform from "./Platform.ts"
import * as Reference from "./Reference.ts"
import type { Blob, ManifestBytes, Range, Registry } from "./Registry.ts"
import type { RegistryError } from "./RegistryError.ts"
import * as Resolver from "./Resolver.ts"

/**
 * A reference, as a string or a value, or an end with a registry of the caller, which the resolver need not know.
 *
 * @category models
 * @since 0.1.0
 */
export type End = string | Reference.Reference | Copy.End

/**
 * Source, destination and options of a copy.
 *
 * @category models
 * @since 0.1.0
 */
export interface CopyOptions extends Copy.Options {
  readonly source: End
  readonly destination: End
}

/**
 * The exit of one of several copies.
 *
 * @category models
 * @since 0.1.0
 */
export interface Copied {
  readonly source: End
  readonly destination: End
  readonly exit: Exit.Exit<CopyReport, CopyError>
}

/**
 * Selects the image for a platform from an index. A manifest that is not an index has to be for that platform itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface ForPlatform {
  readonly platform?: Platform.Platform | undefined
}

/**
 * Errors of the operations of a namespace, except copies.
 *
 * @category errors
 * @since 0.1.0
 */
export type NamespaceError =
  | RegistryError
  | Resolver.ResolveError
  | Reference.InvalidReference
  | TagMismatch
  | UnfitReference
  | PlatformNotFound
  | ManifestError

/**
 * The operations of a namespace.
 *
 * @category services
 * @since 0.1.0
 */
export class Namespace extends Context.Service<Namespace, {
  /**
   * Copies a manifest with everything that it contains, and with its referrers. The source names a tag, a digest, or
   * both; the tag must then point at the digest. The destination gets the tag that it names. If the destination names a
   * digest, it must be that of the source.
   */
  readonly copyManifest: (options: CopyOptions) => Effect.Effect<CopyReport, CopyError>
  /**
   * Copies like `copyManifest`, and emits the events of the copy. Running the stream runs the copy; interrupting it
   * stops the copy. The last element contains the report. A slow reader does not slow the copy down.
   */
  readonly copyEvents: (options: CopyOptions) => Stream.Stream<CopyEvent, CopyError>
  /** Plans what `copyManifest` would do, with requests that only read. */
  readonly planCopy: (options: CopyOptions) => Effect.Effect<CopyPlan, CopyError>
  /**
   * Copies to several destinations at the same time, and reads the source once. A destination that fails does not stop
   * the others. Returns one exit per destination, in their order. Fails if the source has no such manifest.
   */
  readonly copyToMany: (
    options: Omit<CopyOptions, "destination"> & { readonly destinations: ReadonlyArray<End> }
  ) => Effect.Effect<ReadonlyArray<Exit.Exit<CopyReport, CopyError>>, CopyError>
  /**
   * Runs several copies, at most `concurrency` at the same time. Default: 16. Emits each copy when it ends. A copy that
   * fails does not stop the others. Content that several copies need is transferred once.
   */
  readonly copyAll: <E, R>(
    copies: Stream.Stream<CopyOptions, E, R>,
    options?: { readonly concurrency?: number | undefined }
  ) => Stream.Stream<Copied, E, R>
  /** Copies one blob. The source names its digest. The destination names no tag, and no other digest. */
  readonly copyBlob: (
    options: Pick<CopyOptions, "source" | "destination">
  ) => Effect.Effect<CopyReport, CopyError>
  /** Opens a blob, or a range of it. `size` is used if the registry does not report the size of the blob. */
  readonly getBlob: (
    end: End,
    options?: { readonly range?: Range | undefined; readonly size?: number | undefined }
  ) => Effect.Effect<Blob, NamespaceError, Scope.Scope>
  /** Returns the digest and size of a blob. `size` is used if the registry does not report the size. */
  readonly resolveBlob: (
    end: End,
    options?: { readonly size?: number | undefined }
  ) => Effect.Effect<Descriptor, NamespaceError>
  /** Returns a manifest. */
  readonly getManifest: (end: End, options?: ForPlatform) => Effect.Effect<ManifestBytes, NamespaceError>
  /** Returns the descriptor of the manifest that a tag or digest names. */
  readonly resolveManifest: (end: End, options?: ForPlatform) => Effect.Effect<Descriptor, NamespaceError>
  /** Pushes a blob. The reference names its digest. */
  readonly pushBlob: <E>(end: End, source: BlobSource<E>) => Effect.Effect<Descriptor, NamespaceError | E>
  /**
   * Pushes a manifest with the tag of the reference, and with further tags. If the reference names a digest, the
   * manifest must have it.
   */
  readonly pushManifest: (
    end: End,
    manifest: { readonly mediaType: string; readonly bytes: Uint8Array },
    tags?: ReadonlyArray<Reference.Tag>
  ) => Effect.Effect<Descriptor, NamespaceError>
  /** Deletes a blob from a repository. */
  readonly deleteBlob: (end: End) => Effect.Effect<void, NamespaceError>
  /** Deletes a manifest and all tags that point at it. The reference names its digest, and no tag. */
  readonly deleteManifest: (end: End) => Effect.Effect<void, NamespaceError>
  /** Deletes a tag. If the reference names a digest too, the tag must point at it. */
  readonly deleteTag: (end: End) => Effect.Effect<void, NamespaceError>
  /** Lists the tags of a repository. The reference names neither tag nor digest. */
  readonly tags: (end: End) => Stream.Stream<Reference.Tag, NamespaceError>
  /** Lists the referrers of a manifest: signatures, SBOMs, attestations. */
  readonly referrers: (
    end: End,
    options?: { readonly artifactType?: string | undefined }
  ) => Stream.Stream<Descriptor, NamespaceError>
  /** Returns the registry of a host, for operations without a repository: `ping` and `repositories`. */
  readonly registry: (host: Reference.Host) => Effect.Effect<Registry, Resolver.ResolveError>
}>()("effect-oci/Namespace") {}

/**
 * Creates a namespace from a resolver.
 *
 * **Example** (From one registry in memory to another)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MediaType from "effect-oci/MediaType"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Reference from "effect-oci/Reference"
 * import * as Resolver from "effect-oci/Resolver"
 *
 * const program = Effect.gen(function*() {
 *   const one = yield* MemoryRegistry.make()
 *   const two = yield* MemoryRegistry.make()
 *   yield* one.pushManifest(
 *     Reference.Repository.make("app"),
 *     { mediaType: MediaType.imageIndex, bytes: new TextEncoder().encode(`{ "schemaVersion": 2, "manifests": [] }`) },
 *     [Reference.Tag.make("1")]
 *   )
 *   const namespace = Namespace.make({ resolver: Resolver.static({ "one.local": one, "two.local": two }) })
 *   yield* namespace.copyManifest({ source: "one.local/app:1", destination: "two.local/mirror:1" })
 *   return yield* namespace.resolveManifest("two.local/mirror:1")
 * })
 *
 * Effect.runSync(program).size // => 39
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: {
  readonly resolver: Resolver.Resolver["Service"]
  /** Fetches external layers for copies, unless the program provides `ExternalBlobs` itself. */
  readonly externalBlobs?: ExternalBlobs.Open | undefined
}): Namespace["Service"] => {
  const { externalBlobs, resolver } = options
  return Namespace.of({
    ...copies(resolver, externalBlobs),
    ...reads(resolver),
    ...writes(resolver),
    registry: (host) => resolver.resolve(host)
  })
}

type Service = Namespace["Service"]
type Resolve = Pick<Resolver.Resolver["Service"], "resolve">

// ---------------------------------------------------------------------------------------------------------------------
// resolving references
// ---------------------------------------------------------------------------------------------------------------------

/** Returns true for an end that contains its registry. */
const isResolved = (end: End): end is Copy.End => typeof end !== "string" && typeof end.registry !== "string"

/** Returns the registry of an end, with what the reference names there. */
const open = Effect.fnUntraced(function*({ resolve }: Resolve, end: End): Effect.fn.Return<
  Copy.End,
  Resolver.ResolveError | Reference.InvalidReference
> {
  if (isResolved(end)) return end
  const reference = typeof end === "string" ? yield* Effect.fromResult(Reference.parse(end)) : end
  return { ...reference, registry: yield* resolve(reference.registry) }
})

/** Resolves a reference to a blob. */
const openBlob = Effect.fnUntraced(function*(resolver: Resolve, end: End) {
  const opened = yield* open(resolver, end)
  const digest = yield* Effect.fromResult(EndChecks.blobDigest(opened))
  return { registry: opened.registry, repository: opened.repository, digest }
})

// ---------------------------------------------------------------------------------------------------------------------
// copies
// ---------------------------------------------------------------------------------------------------------------------

// default number of copies of `copyAll` that run at the same time. The registries limit the requests of each
const concurrentCopies = 16

const nameOf = (end: End): string => isResolved(end) ? end.registry.name : String(end)

const openEnd = (resolver: Resolve, side: CopyError["end"], end: End) =>
  Effect.mapError(open(resolver, end), (reason) => {
    // the error contains the reference without a password
    const reference = reason._tag === "InvalidReference" ? reason.input : nameOf(end)
    return new CopyError({ end: side, reference, path: [], reason })
  })

const openBoth = Effect.fnUntraced(
  function*<A extends Pick<CopyOptions, "source" | "destination">>(resolver: Resolve, options: A) {
    return {
      ...options,
      source: yield* openEnd(resolver, "source", options.source),
      destination: yield* openEnd(resolver, "destination", options.destination)
    }
  }
)

type Copies = Pick<Service, "copyAll" | "copyBlob" | "copyEvents" | "copyManifest" | "copyToMany" | "planCopy">

const copies = (resolver: Resolve, externalBlobs: ExternalBlobs.Open | undefined): Copies => {
  // shared by all copies of the namespace, so that later copies use what earlier ones have learnt
  const known = Copy.makeKnownRegistries()
  const services = Effect.map(
    ExternalBlobs.ExternalBlobs,
    (own) =>
      Context.make(ExternalBlobs.ExternalBlobs, own ?? externalBlobs).pipe(Context.add(Copy.KnownRegistries, known))
  )
  const within = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(services, (context) => Effect.provideContext(effect, context))

  const copyManifest = Effect.fn("Namespace.copyManifest")(function*(options: CopyOptions) {
    return yield* within(Copy.copyManifest(yield* openBoth(resolver, options)))
  })

  return {
    copyManifest,
    copyEvents: (options) =>
      Stream.unwrap(Effect.gen(function*() {
        const events = Copy.copyEvents(yield* openBoth(resolver, options))
        return Stream.provideContext(events, yield* services)
      })),
    planCopy: Effect.fn("Namespace.planCopy")(function*(options) {
      return yield* within(Copy.planCopy(yield* openBoth(resolver, options)))
    }),
    copyToMany: Effect.fn("Namespace.copyToMany")(function*({ destinations, ...options }) {
      const source = yield* openEnd(resolver, "source", options.source)
      const opened = yield* Effect.forEach(destinations, (end) => Effect.exit(openEnd(resolver, "destination", end)))
      const ends = opened.flatMap((exit) => Exit.isSuccess(exit) ? [exit.value] : [])
      const copied = (yield* within(Copy.copyToMany({ ...options, source, destinations: ends }))).values()
      return opened.map((exit) =>
        Exit.isSuccess(exit) ? copied.next().value ?? Exit.interrupt() : Exit.failCause(exit.cause)
      )
    }),
    copyAll: (copies, options) =>
      Stream.mapEffect(
        copies,
        (copy) =>
          Effect.map(Effect.exit(copyManifest(copy)), (exit): Copied => ({
            source: copy.source,
            destination: copy.destination,
            exit
          })),
        { concurrency: options?.concurrency ?? concurrentCopies, unordered: true }
      ),
    copyBlob: Effect.fn("Namespace.copyBlob")(function*(options) {
      return yield* within(Copy.copyBlob(yield* openBoth(resolver, options)))
    })
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// reads
// ---------------------------------------------------------------------------------------------------------------------

const manifestAt = (end: Copy.End) =>
  EndChecks.findManifest(end, (reference) => end.registry.getManifest(end.repository, reference))

const descriptorAt = (end: Copy.End) =>
  EndChecks.findManifest(
    end,
    (reference) => Effect.map(end.registry.resolveManifest(end.repository, reference), (descriptor) => ({ descriptor }))
  ).pipe(Effect.map(({ descriptor }) => descriptor))

/** Returns the manifest of the image for a platform. */
const imageAt = Effect.fnUntraced(function*(end: Copy.End, platform: Platform.Platform) {
  const root = yield* manifestAt(end)
  return yield* PlatformSearch.image({ source: end, explain: () => identity }, root, platform)
})

type Reads = Pick<Service, "getBlob" | "getManifest" | "referrers" | "resolveBlob" | "resolveManifest" | "tags">

const reads = (resolver: Resolve): Reads => ({
  getBlob: Effect.fn("Namespace.getBlob")(function*(end, options) {
    const { digest, registry, repository } = yield* openBlob(resolver, end)
    return yield* registry.getBlob(repository, digest, options)
  }),
  resolveBlob: Effect.fn("Namespace.resolveBlob")(function*(end, options) {
    const { digest, registry, repository } = yield* openBlob(resolver, end)
    return yield* registry.resolveBlob(repository, digest, options)
  }),
  getManifest: Effect.fn("Namespace.getManifest")(function*(end, options) {
    const opened = yield* open(resolver, end)
    return options?.platform === undefined ? yield* manifestAt(opened) : yield* imageAt(opened, options.platform)
  }),
  resolveManifest: Effect.fn("Namespace.resolveManifest")(function*(end, options) {
    const opened = yield* open(resolver, end)
    return options?.platform === undefined
      ? yield* descriptorAt(opened)
      : (yield* imageAt(opened, options.platform)).descriptor
  }),
  tags: (end) =>
    Stream.unwrap(Effect.gen(function*() {
      const { digest, registry, repository, tag } = yield* open(resolver, end)
      if (tag === undefined && digest === undefined) return registry.tags(repository)
      return yield* new UnfitReference({ problem: "a repository has neither tag nor digest" })
    })),
  referrers: (end, options) =>
    Stream.unwrap(Effect.gen(function*() {
      const opened = yield* open(resolver, end)
      const { registry, repository, tag } = opened
      // a subject that is named by its digest need not exist
      const digest = tag === undefined ? opened.digest : undefined
      const artifactType = options?.artifactType
      return registry.referrers(
        repository,
        digest ?? (yield* descriptorAt(opened)).digest,
        artifactType === undefined ? {} : { artifactType }
      )
    }))
})

// ---------------------------------------------------------------------------------------------------------------------
// writes
// ---------------------------------------------------------------------------------------------------------------------

type Writes = Pick<Service, "deleteBlob" | "deleteManifest" | "deleteTag" | "pushBlob" | "pushManifest">

const writes = (resolver: Resolve): Writes => ({
  pushBlob: Effect.fn("Namespace.pushBlob")(function*(end, source) {
    const { digest, registry, repository } = yield* openBlob(resolver, end)
    return yield* registry.pushBlob(repository, { digest, size: source.size }, source)
  }),
  pushManifest: Effect.fn("Namespace.pushManifest")(function*(end, manifest, tags = []) {
    const { digest, registry, repository, tag } = yield* open(resolver, end)
    return yield* registry.pushManifest(
      repository,
      digest === undefined ? manifest : { ...manifest, digest },
      Array.from(new Set(tag === undefined ? tags : [tag, ...tags]))
    )
  }),
  deleteBlob: Effect.fn("Namespace.deleteBlob")(function*(end) {
    const { digest, registry, repository } = yield* openBlob(resolver, end)
    yield* registry.deleteBlob(repository, digest)
  }),
  deleteManifest: Effect.fn("Namespace.deleteManifest")(function*(end) {
    const { digest, registry, repository, tag } = yield* open(resolver, end)
    if (digest === undefined || tag !== undefined) {
      return yield* new UnfitReference({ problem: "a manifest is deleted by its digest alone" })
    }
    yield* registry.deleteManifest(repository, digest)
  }),
  deleteTag: Effect.fn("Namespace.deleteTag")(function*(end) {
    const opened = yield* open(resolver, end)
    const { digest, registry, repository, tag } = opened
    if (tag === undefined) return yield* new UnfitReference({ problem: "the reference has no tag" })
    if (digest !== undefined) yield* descriptorAt(opened)
    yield* registry.deleteTag(repository, tag)
  })
})

/**
 * Provides a namespace with the `Resolver` of the program.
 *
 * **Example** (A namespace without any registry)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Resolver from "effect-oci/Resolver"
 *
 * const layer = Namespace.layer.pipe(Layer.provide(Resolver.layerStatic({})))
 *
 * const program = Namespace.Namespace.use((namespace) => namespace.resolveManifest("ghcr.io/team/app:1"))
 *
 * Effect.runSync(Effect.flip(Effect.provide(program, layer)))._tag // => "UnknownHost"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Namespace, never, Resolver.Resolver> = Layer.effect(
  Namespace,
  Effect.gen(function*() {
    return make({ resolver: yield* Resolver.Resolver, externalBlobs: yield* ExternalBlobs.ExternalBlobs })
  })
)
