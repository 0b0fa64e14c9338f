/**
 * A pull-through cache: a registry that keeps the content that is read from another registry.
 *
 * Blobs and manifests are read from `upstream` the first time, and kept in `store`. The store may be any registry that
 * separates repositories. Cached content is served to every caller without asking upstream, even after upstream has
 * deleted it. Put a view in front of the cache to restrict access. Only verified content is kept. Content that was
 * corrupted in the store is deleted and fetched again.
 *
 * **Blobs** are read from upstream once, however many readers there are. Readers follow the transfer into the store,
 * with at most {@link ReadAhead} bytes in memory. The transfer waits for its fastest reader for a limited time ({@link
 * ReaderTimeout}), unless a reader waits for its end. A reader that arrives late or falls behind reads the rest from
 * the store after the transfer. If a reader leaves, the transfer continues to its end. If upstream fails, the readers
 * fail with the same error, nothing is kept, and the next reader starts a new transfer. If the store fails, readers
 * get the blob from upstream, and the `Observer` receives a `Warning`. A range of a blob that is not in the store
 * transfers the whole blob, because nothing else can be verified. A range up to the end of the blob follows the
 * transfer. Any other range waits for its end.
 *
 * **Tags** are cached for `tagTimeToLive`. After that, upstream is asked again by HEAD, and the manifest is fetched
 * only if the tag has moved. A tag that upstream no longer knows is forgotten. If upstream is unreachable, does not
 * answer within {@link RevalidationTimeout}, or asks for a pause, the last known manifest is served if the policy
 * `stale` permits it. Upstream is asked again ten seconds later. The `Observer` receives a `Warning` each time that
 * upstream fails, and `ServedStale` with the age for each request. If upstream denies access, the tag is not served.
 * That upstream has no such tag or manifest is remembered for `absentTimeToLive`.
 *
 * **Space** is limited by `maximumSize`. Before a blob is stored, the blobs and manifests that were used longest ago
 * are deleted from the store, in whatever repository they are, except those that are being read or written. A blob that
 * does not fit is passed on without being kept, and the `Observer` receives a `Warning`. The times of use are in
 * memory, and saved in the `journal` every minute and at the end, so that reads write nothing.
 *
 * **Lists** of tags, repositories and referrers come from upstream. While it fails as above, the tags and repositories
 * in the store are listed if `stale` permits it, as CNCF distribution does, and the `Observer` receives a `Warning`.
 * Such a list has only what was pulled before. Lists of referrers fail, because a list without some of them could hide
 * what is known of an image. **Writes and deletes** go to upstream, and the cached content is forgotten after that. Use
 * `View.readOnly` for a cache that cannot be written through.
 *
 * If the store refuses a manifest because its parts are missing, the manifest is stored after its parts were pulled.
 * Until then, up to 64 MiB of manifests are kept in memory, as are manifests that the store refuses for other reasons.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import type { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import { failing, isAbsence, type RegistryError } from "../RegistryError.ts"
import * as CachedLists from "./CachedLists.ts"
import * as CachedManifests from "./CachedManifests.ts"
import * as CacheJournal from "./CacheJournal.ts"
import * as CacheSpace from "./CacheSpace.ts"
import * as KeptManifests from "./KeptManifests.ts"
import * as PullThrough from "./PullThrough.ts"

/**
 * Maximum size of the part of a blob in transfer that is kept in memory for its readers, in bytes.
 *
 * @default 8 MiB
 * @category references
 * @since 0.1.0
 */
export const ReadAhead: Context.Reference<number> = Context.Reference("effect-oci/CacheRegistry/ReadAhead", {
  defaultValue: () => 8 * 1024 * 1024
})

/**
 * Maximum time that a transfer waits for its fastest reader to continue. After that, it no longer waits for any reader.
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

export {
  /** @since 0.1.0 */
  fileJournal,
  /** @since 0.1.0 */
  type Journal
} from "./CacheJournal.ts"

export {
  /** @since 0.1.0 */
  type Content
} from "./CacheSpace.ts"

/**
 * Maximum time to wait for upstream to confirm a tag, or to begin a list, while what is kept could be served. After
 * that, it is served.
 *
 * @default 10 seconds
 * @category references
 * @since 0.1.0
 */
export const RevalidationTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/CacheRegistry/RevalidationTimeout",
  {
    defaultValue: () => Duration.seconds(10)
  }
)

/**
 * Policy for tags while upstream fails temporarily: serve the last known manifest however old, serve it if upstream
 * confirmed it within a time, or fail.
 *
 * @category models
 * @since 0.1.0
 */
export type Stale = "serve" | "fail" | {
  /** Maximum time since upstream confirmed the tag. A tag whose time is unknown after a restart is not served. */
  readonly maximumAge: Duration.Input
}

/**
 * Store and policies of a cache.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Registry that the content is kept in. A registry in memory or in a folder should have `deletableBlobs: "all"`, or
   * else a blob that was damaged stays as long as a manifest needs it.
   */
  readonly store: Registry.Registry
  /** Time after which upstream is asked again for a tag. Default: 5 minutes. */
  readonly tagTimeToLive?: Duration.Input | undefined
  /** Time after which upstream is asked again for a tag or manifest that it did not have. Default: 10 seconds. */
  readonly absentTimeToLive?: Duration.Input | undefined
  /** Policy for tags while upstream fails temporarily. Default: `serve`. */
  readonly stale?: Stale | undefined
  /**
   * Maximum size of the content in the store, in bytes. The store must delete blobs that manifests need, which
   * `deletableBlobs: "all"` permits. Default: unlimited.
   */
  readonly maximumSize?: number | undefined
  /** Place that keeps the times of use and of checks across restarts. Default: they are in memory only. */
  readonly journal?: CacheJournal.Journal | undefined
  /**
   * Content that is in the store when the cache is made. It counts for `maximumSize`, and content that the journal does
   * not have was last used when it was written. Default: the content that the journal has.
   */
  readonly inventory?: Stream.Stream<CacheSpace.Content, RegistryError> | undefined
}

/**
 * Creates a cache in front of a registry. Transfers are interrupted when the scope closes.
 *
 * **Example** (A cache in memory)
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
 * const bytes = new TextEncoder().encode(`{"schemaVersion":2,"manifests":[]}`)
 *
 * const program = Effect.gen(function*() {
 *   const upstream = yield* MemoryRegistry.make({ name: "registry.example.com" })
 *   const store = yield* MemoryRegistry.make()
 *   yield* upstream.pushManifest(app, { mediaType: MediaType.imageIndex, bytes }, [tag])
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
  const { absentTimeToLive = "10 seconds", journal, maximumSize, stale = "serve", store } = options
  const before = journal === undefined ? CacheJournal.nothing : yield* CacheJournal.read(journal)
  const space = maximumSize === undefined ? CacheSpace.unlimited : CacheSpace.make({ store, maximumSize })
  const kept = KeptManifests.make(store)
  const revalidationTimeout = yield* RevalidationTimeout
  const manifests = yield* CachedManifests.make({
    upstream,
    kept,
    space,
    timeToLive: Duration.fromInputUnsafe(options.tagTimeToLive ?? "5 minutes"),
    absentTimeToLive: Duration.fromInputUnsafe(absentTimeToLive),
    revalidationTimeout,
    stale,
    checked: before.tags
  })
  const transfers = yield* PullThrough.make({
    upstream,
    store,
    space,
    capacity: yield* ReadAhead,
    readerTimeout: yield* ReaderTimeout,
    stored: kept.partStored
  })
  yield* Effect.forkScoped(space.restore(before, options.inventory))
  if (journal !== undefined) {
    yield* CacheJournal.keep(journal, () => ({ content: space.content(), tags: manifests.checked() }))
  }
  const forget = (repository: Repository, digest: Digest) => Effect.sync(() => space.forget(repository, digest))

  // without a limiter, because cached content needs no permit of upstream, and fetches take their own
  return Registry.make({
    name: upstream.name,
    capabilities: upstream.capabilities,
    ping: upstream.ping,
    getBlob: Effect.fnUntraced(function*(repository, digest, options) {
      yield* space.hold(repository, digest)
      const isMoving = transfers.has(repository, digest)
      const found = isMoving ? undefined : yield* getStored(store, repository, digest, options)
      if (found !== undefined) yield* space.use(repository, digest, found.descriptor.size)
      return found ?? (yield* transfers.getBlob(repository, digest, options))
    }),
    resolveBlob: (repository, digest, options) =>
      Effect.catch(store.resolveBlob(repository, digest), () => upstream.resolveBlob(repository, digest, options)),
    getManifest: (repository, reference) =>
      Effect.map(
        manifests.get(repository, reference),
        ({ bytes, descriptor }) => ({ descriptor, bytes: bytes.slice() })
      ),
    resolveManifest: (repository, reference) =>
      Effect.mapError(
        manifests.resolve(repository, reference),
        ({ reason, registry }) => failing(registry)("resolveManifest", repository)(reason)
      ),
    pushBlob: upstream.pushBlob,
    startUpload: upstream.startUpload,
    resumeUpload: upstream.resumeUpload,
    pushManifest: (repository, manifest, names = []) =>
      Effect.ensuring(upstream.pushManifest(repository, manifest, names), manifests.invalidate(repository, names)),
    deleteBlob: (repository, digest) =>
      remove(
        upstream.deleteBlob(repository, digest),
        Effect.andThen(transfers.forget(repository, digest), forget(repository, digest))
      ),
    deleteManifest: (repository, digest) =>
      remove(
        upstream.deleteManifest(repository, digest),
        kept.forget(repository, digest).pipe(
          Effect.andThen(forget(repository, digest)),
          Effect.andThen(manifests.invalidateAll(repository))
        )
      ),
    deleteTag: (repository, tag) =>
      remove(
        upstream.deleteTag(repository, tag),
        Effect.andThen(kept.forget(repository, tag), manifests.invalidate(repository, [tag]))
      ),
    ...CachedLists.make({ upstream, store, manifests, stale, timeout: revalidationTimeout }),
    referrers: upstream.referrers
  })
})

/** Reads a blob from the store if it is kept. A corrupted blob is deleted, so that the next reader fetches it again. */
const getStored = (
  store: Registry.Registry,
  ...[repository, digest, options]: Parameters<Registry.Registry["getBlob"]>
) =>
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

/** Deletes content at upstream, and forgets it if it is gone there, even if another client has deleted it before. */
const remove = (
  removal: Effect.Effect<void, RegistryError>,
  forgetting: Effect.Effect<void>
): Effect.Effect<void, RegistryError> =>
  Effect.onExit(removal, (exit) => {
    const error = Exit.isSuccess(exit) ? undefined : Option.getOrUndefined(Exit.findErrorOption(exit))
    return Exit.isSuccess(exit) || error !== undefined && isAbsence(error) ? forgetting : Effect.void
  })

/**
 * Provides a cache in front of the `Registry` service as the `Registry` service. The layer `store` provides its store.
 *
 * **Example** (A cache in front of the registry of a program)
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
