/**
 * Operations on references, across registries: the front door.
 *
 * A namespace is what a `Resolver` makes of the world: each reference leads to a registry, and content goes from any to
 * any other. It parses references once, resolves their hosts, and leaves the rest to the registries and to `Copy`.
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
import { CopyError, PlatformNotFound, TagMismatch, UnfitReference } from "./copy/CopyError.ts"
import type { CopyEvent } from "./copy/CopyEvent.ts"
import type { CopyPlan } from "./copy/CopyPlan.ts"
import type { CopyReport } from "./copy/CopyReport.ts"
import * as PlatformSearch from "./copy/PlatformSearch.ts"
import type { Descriptor } from "./Descriptor.ts"
import type { Digest } from "./Digest.ts"
import * as ExternalBlobs from "./ExternalBlobs.ts"
import type { ManifestError } from "./Manifest.ts"
import * as Platform from "./Platform.ts"
import * as Reference from "./Reference.ts"
import type { Blob, ManifestBytes, Range, Registry } from "./Registry.ts"
import type { RegistryError } from "./RegistryError.ts"
import * as Resolver from "./Resolver.ts"

/**
 * What an operation works on: a reference, as a string or a value, or a place in a registry that the caller has, which
 * need not be known to the resolver.
 *
 * @category models
 * @since 0.1.0
 */
export type End = string | Reference.Reference | Copy.End

/**
 * What is copied from where to where, and how.
 *
 * @category models
 * @since 0.1.0
 */
export interface CopyOptions extends Copy.Options {
  readonly source: End
  readonly destination: End
}

/**
 * One of many copies, and how it went.
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
 * Which of the images of an index is meant: the one for this platform. A manifest that is none has to be for it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ForPlatform {
  readonly platform?: Platform.Platform | undefined
}

/**
 * Why a reference could not be followed to what it names.
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
   * Copies a manifest and everything that belongs to it. The source names a tag, a digest, or both, and then the tag
   * must point at the digest. A destination with a tag gets the tag; a digest there must be the source's.
   */
  readonly copyManifest: (options: CopyOptions) => Effect.Effect<CopyReport, CopyError>
  /**
   * Does the same, and tells what happens meanwhile: running the stream is the copy, and its last element has the
   * report. Who reads slowly does not slow it down.
   */
  readonly copyEvents: (options: CopyOptions) => Stream.Stream<CopyEvent, CopyError>
  /** Tells what `copyManifest` would do, by reading alone. */
  readonly planCopy: (options: CopyOptions) => Effect.Effect<CopyPlan, CopyError>
  /**
   * Copies to several destinations at once, and reads the source once. One that fails does not hold up the others; how
   * it went for each is told in their order. Fails where the source is none.
   */
  readonly copyToMany: (
    options: Omit<CopyOptions, "destination"> & { readonly destinations: ReadonlyArray<End> }
  ) => Effect.Effect<ReadonlyArray<Exit.Exit<CopyReport, CopyError>>, CopyError>
  /**
   * Makes many copies, some at a time, and tells of each as soon as it is done; those that fail do not hold up the
   * others. What several of them need is moved once.
   */
  readonly copyAll: <E, R>(
    copies: Stream.Stream<CopyOptions, E, R>,
    options?: { readonly concurrency?: number | undefined }
  ) => Stream.Stream<Copied, E, R>
  /** Copies one blob. The source names its digest; the destination names no tag, and no other digest. */
  readonly copyBlob: (
    options: Pick<CopyOptions, "source" | "destination">
  ) => Effect.Effect<CopyReport, CopyError>
  /** Opens a blob, or a range of it. `size` is used if the registry does not report the size of the blob. */
  readonly getBlob: (
    end: End,
    options?: { readonly range?: Range | undefined; readonly size?: number | undefined }
  ) => Effect.Effect<Blob, NamespaceError, Scope.Scope>
  /** Looks a blob up, and returns its size. `size` is used if the registry does not report it. */
  readonly resolveBlob: (
    end: End,
    options?: { readonly size?: number | undefined }
  ) => Effect.Effect<Descriptor, NamespaceError>
  /** Reads a manifest. */
  readonly getManifest: (end: End, options?: ForPlatform) => Effect.Effect<ManifestBytes, NamespaceError>
  /** Tells what a tag points at, or whether a manifest is there. */
  readonly resolveManifest: (end: End, options?: ForPlatform) => Effect.Effect<Descriptor, NamespaceError>
  /** Writes a blob, whose digest the reference names. */
  readonly pushBlob: <E>(end: End, source: BlobSource<E>) => Effect.Effect<Descriptor, NamespaceError | E>
  /**
   * Writes a manifest, and points the tag of the reference at it, and others. A digest that the reference names must be
   * its.
   */
  readonly pushManifest: (
    end: End,
    manifest: { readonly mediaType: string; readonly bytes: Uint8Array },
    tags?: ReadonlyArray<Reference.Tag>
  ) => Effect.Effect<Descriptor, NamespaceError>
  /** Removes a blob from a repository. */
  readonly deleteBlob: (end: End) => Effect.Effect<void, NamespaceError>
  /** Removes a manifest, which the reference names by its digest alone, and every tag on it. */
  readonly deleteManifest: (end: End) => Effect.Effect<void, NamespaceError>
  /** Removes a tag. A digest beside it must be what it points at. */
  readonly deleteTag: (end: End) => Effect.Effect<void, NamespaceError>
  /** Lists the tags of a repository, which is named without tag and digest. */
  readonly tags: (end: End) => Stream.Stream<Reference.Tag, NamespaceError>
  /** Lists what refers to a manifest: signatures, SBOMs, attestations. */
  readonly referrers: (
    end: End,
    options?: { readonly artifactType?: string | undefined }
  ) => Stream.Stream<Descriptor, NamespaceError>
  /** The registry behind a host, for what concerns no repository: it can be pinged, and may list its repositories. */
  readonly registry: (host: Reference.Host) => Effect.Effect<Registry, Resolver.ResolveError>
}>()("effect-oci/Namespace") {}

/**
 * Makes a namespace of what a resolver knows.
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
  /** Gets external layers for copies, unless the program provides something else for that. */
  readonly externalBlobs?: ExternalBlobs.Open | undefined
}): Namespace["Service"] => {
  const { externalBlobs, resolver } = options
  // what one copy learns of a registry the next one uses
  const known = Copy.makeKnownRegistries()
  const within = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(ExternalBlobs.ExternalBlobs, (own) =>
      effect.pipe(
        Effect.provideService(ExternalBlobs.ExternalBlobs, own ?? externalBlobs),
        Effect.provideService(Copy.KnownRegistries, known)
      ))
  const open = Effect.fnUntraced(function*(end: End): Effect.fn.Return<
    Copy.End,
    Resolver.ResolveError | Reference.InvalidReference
  > {
    if (isPlace(end)) return end
    const reference = typeof end === "string" ? yield* Effect.fromResult(Reference.parse(end)) : end
    return { ...reference, registry: yield* resolver.resolve(reference.registry) }
  })

  const openFor = (side: CopyError["end"], end: End) =>
    Effect.mapError(
      open(end),
      (reason) => {
        // as the error shows it, which leaves out a password
        const reference = reason._tag === "InvalidReference" ? reason.input : nameOf(end)
        return new CopyError({ end: side, reference, path: [], reason })
      }
    )
  const openBoth = Effect.fnUntraced(function*<A extends Pick<CopyOptions, "source" | "destination">>(options: A) {
    return {
      ...options,
      source: yield* openFor("source", options.source),
      destination: yield* openFor("destination", options.destination)
    }
  })
  const copyManifest = Effect.fn("Namespace.copyManifest")(function*(options: CopyOptions) {
    return yield* within(Copy.copyManifest(yield* openBoth(options)))
  })

  const openBlob = Effect.fnUntraced(function*(end: End) {
    const { digest, registry, repository, tag } = yield* open(end)
    if (tag !== undefined) return yield* new UnfitReference({ problem: "a blob has no tag" })
    if (digest === undefined) return yield* new UnfitReference({ problem: "a blob needs a digest" })
    return { registry, repository, digest }
  })
  /** What is there under the tag, or else the digest; where both are named they must agree. */
  const at = Effect.fnUntraced(function*<A extends { readonly descriptor: Descriptor }>(
    end: End,
    read: (place: Copy.End, reference: Reference.Tag | Digest) => Effect.Effect<A, RegistryError>
  ) {
    const place = yield* open(end)
    const { digest, tag } = place
    const reference = tag ?? digest
    if (reference === undefined) return yield* new UnfitReference({ problem: "a manifest needs a tag or a digest" })
    const found = yield* read(place, reference)
    const actual = found.descriptor.digest
    if (tag !== undefined && digest !== undefined && actual !== digest) {
      return yield* new TagMismatch({ tag, expected: digest, actual })
    }
    return found
  })
  const manifestAt = (end: End) =>
    at(end, ({ registry, repository }, reference) => registry.getManifest(repository, reference))
  const descriptorAt = (end: End) =>
    Effect.map(
      at(end, ({ registry, repository }, reference) =>
        Effect.map(registry.resolveManifest(repository, reference), (descriptor) => ({ descriptor }))),
      ({ descriptor }) =>
        descriptor
    )

  /** The manifest of the image for a platform. */
  const image = Effect.fnUntraced(function*(end: End, platform: Platform.Platform) {
    const source = yield* open(end)
    const root = yield* manifestAt(source)
    const seen: Array<Platform.Platform> = []
    const found = yield* PlatformSearch.find({ source, explain: () => identity }, root, platform, seen)
    if (found !== undefined) return found
    const available = Array.from(new Set(seen.map(Platform.format)))
    return yield* new PlatformNotFound({ platform: Platform.format(platform), available })
  })

  return Namespace.of({
    copyManifest,
    copyEvents: (options) =>
      Stream.unwrap(Effect.gen(function*() {
        const opened = yield* openBoth(options)
        const own = yield* ExternalBlobs.ExternalBlobs
        return Copy.copyEvents(opened).pipe(
          Stream.provideService(ExternalBlobs.ExternalBlobs, own ?? externalBlobs),
          Stream.provideService(Copy.KnownRegistries, known)
        )
      })),
    planCopy: Effect.fn("Namespace.planCopy")(function*(options) {
      return yield* within(Copy.planCopy(yield* openBoth(options)))
    }),
    copyToMany: Effect.fn("Namespace.copyToMany")(function*({ destinations, ...options }) {
      const source = yield* openFor("source", options.source)
      const opened = yield* Effect.forEach(destinations, (end) => Effect.exit(openFor("destination", end)))
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
        { concurrency: options?.concurrency ?? copiesAtOnce, unordered: true }
      ),
    copyBlob: Effect.fn("Namespace.copyBlob")(function*(options) {
      return yield* within(Copy.copyBlob(yield* openBoth(options)))
    }),
    getBlob: Effect.fn("Namespace.getBlob")(function*(end, options) {
      const { digest, registry, repository } = yield* openBlob(end)
      return yield* registry.getBlob(repository, digest, options)
    }),
    resolveBlob: Effect.fn("Namespace.resolveBlob")(function*(end, options) {
      const { digest, registry, repository } = yield* openBlob(end)
      return yield* registry.resolveBlob(repository, digest, options)
    }),
    getManifest: Effect.fn("Namespace.getManifest")(function*(end, options) {
      return options?.platform === undefined ? yield* manifestAt(end) : yield* image(end, options.platform)
    }),
    resolveManifest: Effect.fn("Namespace.resolveManifest")(function*(end, options) {
      return options?.platform === undefined
        ? yield* descriptorAt(end)
        : (yield* image(end, options.platform)).descriptor
    }),
    pushBlob: Effect.fn("Namespace.pushBlob")(function*(end, source) {
      const { digest, registry, repository } = yield* openBlob(end)
      return yield* registry.pushBlob(repository, { digest, size: source.size }, source)
    }),
    pushManifest: Effect.fn("Namespace.pushManifest")(function*(end, manifest, tags = []) {
      const { digest, registry, repository, tag } = yield* open(end)
      return yield* registry.pushManifest(
        repository,
        digest === undefined ? manifest : { ...manifest, digest },
        Array.from(new Set(tag === undefined ? tags : [tag, ...tags]))
      )
    }),
    deleteBlob: Effect.fn("Namespace.deleteBlob")(function*(end) {
      const { digest, registry, repository } = yield* openBlob(end)
      yield* registry.deleteBlob(repository, digest)
    }),
    deleteManifest: Effect.fn("Namespace.deleteManifest")(function*(end) {
      const { digest, registry, repository, tag } = yield* open(end)
      if (digest === undefined || tag !== undefined) {
        return yield* new UnfitReference({ problem: "a manifest is removed by its digest alone" })
      }
      yield* registry.deleteManifest(repository, digest)
    }),
    deleteTag: Effect.fn("Namespace.deleteTag")(function*(end) {
      const place = yield* open(end)
      const { digest, registry, repository, tag } = place
      if (tag === undefined) return yield* new UnfitReference({ problem: "there is no tag in it" })
      if (digest !== undefined) yield* descriptorAt(place)
      yield* registry.deleteTag(repository, tag)
    }),
    tags: (end) =>
      Stream.unwrap(Effect.gen(function*() {
        const { digest, registry, repository, tag } = yield* open(end)
        if (tag === undefined && digest === undefined) return registry.tags(repository)
        return yield* new UnfitReference({ problem: "a repository has neither tag nor digest" })
      })),
    referrers: (end, options) =>
      Stream.unwrap(Effect.gen(function*() {
        const place = yield* open(end)
        const { registry, repository, tag } = place
        // the subject itself need not be there
        const digest = tag === undefined ? place.digest : undefined
        return registry.referrers(repository, digest ?? (yield* descriptorAt(place)).digest, options)
      })),
    registry: (host) => resolver.resolve(host)
  })
}

// each has what goes on at its registries limited by itself
const copiesAtOnce = 16

const isPlace = (end: End): end is Copy.End => typeof end !== "string" && typeof end.registry !== "string"

const nameOf = (end: End): string => isPlace(end) ? end.registry.name : String(end)

/**
 * Provides the namespace of what the `Resolver` knows.
 *
 * **Example** (The namespace of what a resolver knows)
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
