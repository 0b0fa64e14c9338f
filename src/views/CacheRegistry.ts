/**
 * A registry in front of another one, that keeps what was read: a pull-through cache.
 *
 * Blobs and manifests come from `upstream` the first time, and are kept in `store`, which may be any registry that tells
 * repositories apart; what is there is given out without asking upstream again, by whoever it is asked for, and though it
 * may be gone there: who may read what is for a view in front of the cache to say. Only what was verified is kept, and what
 * the store finds to have gone bad is thrown away and fetched again.
 *
 * **Blobs** are read from upstream once, however many readers there are. Readers follow a blob on its way into the store,
 * with no more in memory than {@link ReadAhead}. The transfer waits for its fastest reader for a while ({@link ReaderTimeout}),
 * except for readers that wait for its end. A reader that comes late, or falls behind, reads the rest from the store after
 * the blob has arrived. If a reader leaves, the transfer continues to its end. If upstream fails, its readers fail with the
 * same error, nothing is kept, and the next reader starts a new transfer. If the store fails, readers get the blob past it,
 * and the `Observer` receives a `Warning`. A range of a blob that is not in the store transfers the whole blob, because
 * nothing else can be verified: a range up to the end of the blob streams along, any other one waits for the blob.
 *
 * **Tags** are believed for a while, and then asked for again, without their manifest where it has not changed. A tag that
 * upstream does not know any more is forgotten. Where upstream cannot be asked, because it is not reachable, or wants no
 * more requests for now, what the tag was last known to be stands in for it, however old, unless `stale` says otherwise;
 * upstream is asked again ten seconds later. Of that too the `Observer` is told. A registry that denies access is believed.
 *
 * **Lists**, of tags, repositories and referrers, are those of upstream. **Writing and deleting** is done there, and only
 * then forgotten here; for a cache that is only read see `View.readOnly`.
 *
 * A store that wants the parts of a manifest before it takes that gets them when the image is pulled; until then, as with
 * any manifest that the store does not take, up to 64 MiB of manifests are kept in memory.
 *
 * @since 0.1.0
 */
import * as Cache from "effect/Cache"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import { type Digest, isDigest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import { isAbsence, type Reason, RegistryError, UnexpectedResponse } from "../RegistryError.ts"
import * as KeptManifests from "./KeptManifests.ts"
import * as PullThrough from "./PullThrough.ts"

/**
 * How much of a blob that is on its way from upstream may be kept in memory for its readers, in bytes.
 *
 * @default 8 MiB
 * @category references
 * @since 0.1.0
 */
export const ReadAhead: Context.Reference<number> = Context.Reference("effect-oci/CacheRegistry/ReadAhead", {
  defaultValue: () => 8 * 1024 * 1024
})

/**
 * How long a blob on its way waits for the fastest of its readers to read on. From then on it waits for none.
 *
 * @default 5 seconds
 * @category references
 * @since 0.1.0
 */
export const ReaderTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/CacheRegistry/ReaderTimeout",
  {
    defaultValue: () => Duration.seconds(5)
  }
)

/**
 * How to keep what upstream has.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Where it is kept. */
  readonly store: Registry.Registry
  /** How long a tag is believed to be what it was; 5 minutes unless given. */
  readonly tagTimeToLive?: Duration.Input
  /** What stands for a tag that upstream cannot be asked for: what it was, which is the default, or the failure. */
  readonly stale?: "serve" | "fail"
}

const staleTimeToLive = Duration.seconds(10)
const tagCapacity = 100_000

interface Resolved {
  readonly descriptor: Descriptor
  readonly isStale: boolean
}

/** Returns true for what hosts send that are no registry: a web page, or another document for people. */
const isPage = (mediaType: string, bytes: Uint8Array): boolean =>
  !MediaType.isManifest(mediaType) &&
  (/^text\/|^multipart\/|[/+]xml$/.test(mediaType) || /^\s*</.test(new TextDecoder().decode(bytes.subarray(0, 100))))

/**
 * Returns true if a document can be a manifest of this type. One of a type that is not known here can be anything else.
 */
const isManifest = (mediaType: string, bytes: Uint8Array): boolean =>
  MediaType.isManifest(mediaType)
    ? Result.isSuccess(Manifest.decode(mediaType, bytes))
    : !isPage(mediaType, bytes)

/**
 * Verifies a manifest that upstream has sent, whatever kind of registry it is. Some hosts answer every request with a
 * web page, which has a digest as well.
 */
const verified = Effect.fnUntraced(
  function*({ bytes, descriptor: { mediaType } }: Registry.ManifestBytes, digest: Digest): Effect.fn.Return<
    Registry.ManifestBytes,
    Reason
  > {
    yield* Hasher.verifyBytes(bytes, digest)
    if (!isManifest(mediaType, bytes)) return yield* new UnexpectedResponse({ detail: "the content is not a manifest" })
    return { bytes, descriptor: { mediaType, digest, size: bytes.length } }
  }
)

/** A manifest by its place. Compared by its parts. */
interface Key<Reference> {
  readonly repository: Repository
  readonly reference: Reference
}

/**
 * Makes a cache in front of a registry. What is on its way when the scope closes is given up.
 *
 * **Example** (Kept in memory)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as CacheRegistry from "effect-oci/CacheRegistry"
 * import * as MediaType from "effect-oci/MediaType"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Reference from "effect-oci/Reference"
 *
 * const app = Reference.Repository.make("app")
 * const tag = Reference.Tag.make("1")
 * const index = { mediaType: MediaType.imageIndex, bytes: new TextEncoder().encode(`{"schemaVersion":2,"manifests":[]}`) }
 *
 * const program = Effect.gen(function*() {
 *   const upstream = yield* MemoryRegistry.make({ name: "registry.example.com" })
 *   const store = yield* MemoryRegistry.make()
 *   yield* upstream.pushManifest(app, index, [tag])
 *   const cache = yield* CacheRegistry.make(upstream, { store, tagTimeToLive: "1 hour" })
 *   yield* cache.getManifest(app, tag)
 *   return yield* store.resolveManifest(app, tag)
 * })
 *
 * Effect.runSync(Effect.scoped(program)).size // => 34
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  upstream: Registry.Registry,
  options: Options
): Effect.fn.Return<Registry.Registry, never, Scope.Scope> {
  const { stale = "serve", store } = options
  const timeToLive = Duration.fromInputUnsafe(options.tagTimeToLive ?? "5 minutes")
  const kept = KeptManifests.make(store)
  const fills = yield* PullThrough.make({
    upstream,
    store,
    capacity: yield* ReadAhead,
    patience: yield* ReaderTimeout,
    stored: kept.partStored
  })

  // -- manifests ------------------------------------------------------------------------------------------------------

  const fetch = Effect.fnUntraced(
    function*(repository: Repository, reference: Tag | Digest, tags: ReadonlyArray<Tag>) {
      const manifest = yield* Effect.flatMap(
        upstream.getManifest(repository, reference),
        (received) =>
          Effect.mapError(
            verified(received, isDigest(reference) ? reference : received.descriptor.digest),
            (reason) => new RegistryError({ operation: "getManifest", registry: upstream.name, repository, reason })
          )
      )
      yield* kept.keep(repository, manifest, tags)
      return manifest
    }
  )

  const manifests = yield* Cache.makeWith(
    ({ reference, repository }: Key<Digest>) =>
      Effect.flatMap(
        kept.find(repository, reference),
        (found) =>
          found === undefined || isPage(found.descriptor.mediaType, found.bytes)
            ? fetch(repository, reference, [])
            : Effect.succeed(found)
      ),
    // only for those who ask at the same time
    { capacity: Infinity, timeToLive: () => Duration.zero }
  )

  /** What a tag points at by now; with the manifest, where that is not kept yet. */
  const ask = Effect.fnUntraced(function*(repository: Repository, tag: Tag, known: Descriptor | undefined) {
    if (known === undefined) return (yield* fetch(repository, tag, [tag])).descriptor
    const { digest } = yield* upstream.resolveManifest(repository, tag)
    // of the two, the descriptor that is known belongs to a manifest that was verified
    return digest === known.digest ? known : (yield* fetch(repository, digest, [tag])).descriptor
  })

  const tags = yield* Cache.makeWith(
    Effect.fnUntraced(function*({ reference: tag, repository }: Key<Tag>): Effect.fn.Return<Resolved, RegistryError> {
      const known = yield* kept.resolve(repository, tag)
      const asked = yield* Effect.result(ask(repository, tag, known))
      if (Result.isSuccess(asked)) return { descriptor: asked.success, isStale: false }
      if (isAbsence(asked.failure)) yield* kept.forget(repository, tag)
      if (!asked.failure.isRetryable || known === undefined || stale === "fail") return yield* asked.failure
      const observe = yield* Registry.Observer
      const text = `${repository}:${tag} is what it was when it could be asked for: ${asked.failure.reason.message}`
      yield* observe({ _tag: "Warning", registry: upstream.name, text })
      return { descriptor: known, isStale: true }
    }),
    {
      capacity: tagCapacity,
      timeToLive: (exit) =>
        Exit.isFailure(exit)
          ? Duration.zero
          : exit.value.isStale
          ? Duration.min(staleTimeToLive, timeToLive)
          : timeToLive
    }
  )

  const resolveTag = (repository: Repository, reference: Tag) =>
    Effect.map(Cache.get(tags, { repository, reference }), ({ descriptor }) => descriptor)

  /** What upstream alone says of a manifest is not verified, so it is fetched. */
  const resolveDigest = Effect.fnUntraced(function*(repository: Repository, reference: Digest) {
    const found = yield* kept.resolve(repository, reference)
    return found ?? (yield* Cache.get(manifests, { repository, reference })).descriptor
  })

  const untag = (repository: Repository, names: ReadonlyArray<Tag>) =>
    Effect.forEach(names, (reference) => Cache.invalidate(tags, { repository, reference }), { discard: true })

  const untagAll = Effect.fnUntraced(function*(repository: Repository) {
    for (const key of yield* Cache.keys(tags)) {
      if (key.repository === repository) yield* Cache.invalidate(tags, key)
    }
  })

  // -- blobs ----------------------------------------------------------------------------------------------------------

  /** A blob that is kept. One that has gone bad is thrown away, and there again for the next reader. */
  const fromStore = (...[repository, digest, options]: Parameters<Registry.Registry["getBlob"]>) =>
    store.getBlob(repository, digest, options).pipe(
      Effect.map(({ descriptor, stream }): Registry.Blob => ({
        descriptor,
        stream: Stream.tapError(
          stream,
          ({ reason }) =>
            reason._tag === "DigestMismatch" || reason._tag === "SizeMismatch"
              ? Effect.ignore(store.deleteBlob(repository, digest))
              : Effect.void
        )
      })),
      Effect.catch((error) => error.reason._tag === "RangeNotSatisfiable" ? Effect.fail(error) : Effect.undefined)
    )

  const getBlob: Registry.Registry["getBlob"] = Effect.fnUntraced(function*(repository, digest, options) {
    const found = fills.has(repository, digest) ? undefined : yield* fromStore(repository, digest, options)
    return found ?? (yield* fills.getBlob(repository, digest, options))
  })

  // -------------------------------------------------------------------------------------------------------------------

  /** What is gone at upstream, now or before, is forgotten here. */
  const remove = (
    removal: Effect.Effect<void, RegistryError>,
    forgetting: Effect.Effect<void>
  ): Effect.Effect<void, RegistryError> =>
    Effect.onExit(removal, (exit) => {
      const error = Exit.isSuccess(exit) ? undefined : Option.getOrUndefined(Exit.findErrorOption(exit))
      return Exit.isSuccess(exit) || error !== undefined && isAbsence(error) ? forgetting : Effect.void
    })

  // no limiter: what is kept takes no permit of upstream, and what is fetched takes its own
  return Registry.make({
    name: upstream.name,
    capabilities: upstream.capabilities,
    ping: upstream.ping,
    getBlob,
    resolveBlob: (repository, digest, options) =>
      Effect.catch(store.resolveBlob(repository, digest), () => upstream.resolveBlob(repository, digest, options)),
    getManifest: Effect.fnUntraced(function*(repository, reference) {
      const digest = isDigest(reference)
        ? reference
        : (yield* resolveTag(repository, reference)).digest
      const { bytes, descriptor } = yield* Cache.get(manifests, { repository, reference: digest })
      return { descriptor, bytes: bytes.slice() }
    }),
    resolveManifest: (repository, reference) =>
      Effect.mapError(
        isDigest(reference) ? resolveDigest(repository, reference) : resolveTag(repository, reference),
        ({ reason, registry }) => new RegistryError({ operation: "resolveManifest", registry, repository, reason })
      ),
    pushBlob: upstream.pushBlob,
    startUpload: upstream.startUpload,
    resumeUpload: upstream.resumeUpload,
    pushManifest: (repository, manifest, names = []) =>
      Effect.ensuring(upstream.pushManifest(repository, manifest, names), untag(repository, names)),
    deleteBlob: (repository, digest) =>
      remove(upstream.deleteBlob(repository, digest), fills.forget(repository, digest)),
    deleteManifest: (repository, digest) =>
      remove(
        upstream.deleteManifest(repository, digest),
        Effect.andThen(kept.forget(repository, digest), untagAll(repository))
      ),
    deleteTag: (repository, tag) =>
      remove(
        upstream.deleteTag(repository, tag),
        Effect.andThen(kept.forget(repository, tag), untag(repository, [tag]))
      ),
    repositories: upstream.repositories,
    tags: upstream.tags,
    referrers: upstream.referrers
  })
})

/**
 * Puts a cache in front of the `Registry` service. What it keeps goes to the registry that a layer provides.
 *
 * **Example** (In front of the registry of a program)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as CacheRegistry from "effect-oci/CacheRegistry"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Registry from "effect-oci/Registry"
 *
 * const layer = CacheRegistry.layer({ store: MemoryRegistry.layer(), tagTimeToLive: "1 hour" }).pipe(
 *   Layer.provide(MemoryRegistry.layer({ name: "upstream" }))
 * )
 *
 * Effect.runSync(Effect.provide(Registry.Registry.useSync(({ name }) => name), layer)) // => "upstream"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <E, R>(
  options: Omit<Options, "store"> & { readonly store: Layer.Layer<Registry.Registry, E, R> }
): Layer.Layer<Registry.Registry, E, R | Registry.Registry> =>
  Layer.effect(
    Registry.Registry,
    Effect.gen(function*() {
      const store = Context.get(yield* Layer.build(Layer.fresh(options.store)), Registry.Registry)
      return yield* make(yield* Registry.Registry, { ...options, store })
    })
  )
