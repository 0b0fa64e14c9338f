/**
 * A complete registry in memory, for tests, caches and small tools. Its content is lost when the program ends.
 *
 * It is strict if the specification leaves a choice to registries. A manifest of a known type must be well-formed, and
 * the content that it refers to must exist, except for its subject and for layers that may not be distributed.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Blocks from "./Blocks.ts"
import type * as GarbageCollection from "./GarbageCollection.ts"
import * as MemoryCollection from "./MemoryCollection.ts"
import * as MemoryManifests from "./MemoryManifests.ts"
import * as MemoryStorage from "./MemoryStorage.ts"
import * as MemoryUploads from "./MemoryUploads.ts"
import * as SortedMap from "./SortedMap.ts"

/**
 * Name and limits of a registry in memory.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Name of the registry in errors. Default: `memory`. */
  readonly name?: string | undefined
  /** Maximum size of a blob, in bytes. A larger one fails with `ContentTooLarge`. Default: no limit. */
  readonly maximumBlobSize?: number | undefined
  /**
   * Maximum size of all blobs, manifests and open uploads of a repository, in bytes. The repository, and each of its
   * blobs, manifests and tags, counts 1 KiB more. A manifest with a subject counts twice, because lists contain its
   * annotations too. Writes beyond the limit fail with `Denied`. Default: no limit.
   */
  readonly maximumRepositorySize?: number | undefined
  /**
   * Maximum size of all content and open uploads, in bytes. Content that several repositories share counts once, except
   * for the 1 KiB of each. Writes beyond the limit fail with `Denied`. Default: no limit.
   */
  readonly maximumSize?: number | undefined
  /** Maximum number of open upload sessions. One more fails with `TooManyRequests`. Default: no limit. */
  readonly maximumUploads?: number | undefined
  /**
   * Blobs that clients may delete: those that no manifest needs, or all of them. A refused delete fails with `Denied`,
   * which names the manifest. Default: `unneeded`.
   */
  readonly deletableBlobs?: "unneeded" | "all" | undefined
  /**
   * Owner of the pieces of a blob that is read: `owned` pieces belong to the reader. A reader must neither change a
   * `lent` piece, nor use it after it has asked for the next one; this saves copies. Default: `owned`.
   */
  readonly pieces?: "owned" | "lent" | undefined
}

/**
 * A registry in memory.
 *
 * @category models
 * @since 0.1.0
 */
export interface MemoryRegistry extends Registry.Registry {
  /** Removes content that the policies do not protect. See `GarbageCollection`. */
  readonly collect: (options: GarbageCollection.Options) => Effect.Effect<GarbageCollection.Report>
}

/**
 * Creates an empty registry.
 *
 * **Example** (Pushing a blob)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as BlobSource from "effect-oci/BlobSource"
 * import * as Descriptor from "effect-oci/Descriptor"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Reference from "effect-oci/Reference"
 *
 * const app = Reference.Repository.make("app")
 * const bytes = new TextEncoder().encode("hello")
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const descriptor = yield* Descriptor.fromBytes(bytes)
 *   yield* registry.pushBlob(app, descriptor, BlobSource.fromBytes(bytes))
 *   return yield* registry.resolveBlob(app, descriptor.digest)
 * })
 *
 * Effect.runSync(program).size // => 5
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): Effect.Effect<MemoryRegistry> =>
  Effect.sync(() => {
    const storage = MemoryStorage.make(options?.name ?? "memory", options ?? {})
    const registry = Registry.make({
      name: storage.name,
      capabilities: Effect.succeed({
        referrers: true,
        singlePost: true,
        tagParameters: true,
        anonymousMount: true,
        selfMount: true,
        chunks: true
      }),
      ping: Effect.void,
      getBlob: getBlob(storage, options?.pieces ?? "owned"),
      resolveBlob: (repository, digest) =>
        Effect.map(
          // in this order, because a collection may run between the two
          Effect.andThen(
            MemoryStorage.mention(storage, repository, digest),
            MemoryStorage.findBlob(storage, "resolveBlob", repository, digest)
          ),
          (bytes) => MemoryStorage.describeBlob(digest, bytes)
        ),
      getManifest: (repository, reference) =>
        Effect.map(
          MemoryStorage.findManifest(storage, "getManifest", repository, reference),
          ({ bytes, descriptor }) => ({ descriptor, bytes: Blocks.join(bytes) })
        ),
      resolveManifest: (repository, reference) => resolveManifest(storage, repository, reference),
      ...MemoryUploads.operations(storage),
      ...MemoryManifests.operations(storage, options?.deletableBlobs ?? "unneeded"),
      repositories: (options) =>
        Stream.suspend(() => Stream.fromIterable(keysAfter(storage.repositories, options?.after))),
      tags: (repository, options) =>
        Stream.unwrap(Effect.map(
          MemoryStorage.existing(storage, "tags", repository),
          ({ tags }) => Stream.fromIterable(keysAfter(tags, options?.after))
        )),
      referrers: (repository, digest, options) =>
        Stream.suspend(() => {
          const found = MemoryStorage.contentOf(storage, repository)?.referrers.get(digest)?.values() ?? []
          const { artifactType } = options ?? {}
          return Stream.fromIterable(
            Array.from(found).filter((referrer) => artifactType === undefined || referrer.artifactType === artifactType)
          )
        })
    })
    return { ...registry, collect: (options) => MemoryCollection.run(storage, options) }
  })

/** Marks a manifest as mentioned, and returns its descriptor. */
const resolveManifest = Effect.fnUntraced(
  function*(
    storage: MemoryStorage.MemoryStorage,
    ...[repository, reference]: Parameters<Registry.Registry["resolveManifest"]>
  ): Effect.fn.Return<Descriptor, RegistryError.RegistryError> {
    const { descriptor } = yield* MemoryStorage.findManifest(storage, "resolveManifest", repository, reference)
    if (yield* MemoryStorage.mention(storage, repository, descriptor.digest)) return descriptor
    // a collection has removed it meanwhile
    const reason = new RegistryError.ManifestUnknown({})
    return yield* MemoryStorage.failure(storage, "resolveManifest", repository, reason)
  }
)

/** Size of the pieces that a blob is returned in, in bytes. Each owned piece is a copy. */
const pieceSize = { owned: 65_536, lent: 512 * 1024 }

const getBlob = (storage: MemoryStorage.MemoryStorage, owner: "owned" | "lent"): Registry.Registry["getBlob"] =>
  Effect.fnUntraced(function*(repository, digest, options) {
    const bytes = yield* MemoryStorage.findBlob(storage, "getBlob", repository, digest)
    const { size } = bytes
    const { offset, length } = options?.range ?? { offset: 0 }
    if (options?.range !== undefined && (offset < 0 || offset >= size || length !== undefined && length < 1)) {
      return yield* MemoryStorage.failure(storage, "getBlob", repository, new RegistryError.RangeNotSatisfiable({}))
    }
    const part = { offset, end: length === undefined ? size : Math.min(size, offset + length), limit: pieceSize[owner] }
    const views = Stream.suspend(() => Stream.fromIterable(Blocks.views(bytes, part), { chunkSize: 1 }))
    return {
      descriptor: MemoryStorage.describeBlob(digest, bytes),
      stream: owner === "owned" ? Stream.map(views, (view) => view.slice()) : views
    }
  })

/** Returns the keys of a map after a name, in order. */
const keysAfter = function*<A extends string, B>(
  items: SortedMap.SortedMap<A, B>,
  after: string = ""
): Generator<A> {
  // as: names in the map are only compared with it
  for (const [item] of SortedMap.entries(items, after as A)) if (item > after) yield item
}

/**
 * Provides an empty registry as the `Registry` service.
 *
 * **Example** (The registry of a test)
 *
 * ```ts import.meta.vitest
 * import { Effect, Stream } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Registry from "effect-oci/Registry"
 *
 * const program = Registry.Registry.use((registry) => Stream.runCount(registry.repositories()))
 *
 * Effect.runSync(Effect.provide(program, MemoryRegistry.layer())) // => 0
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Registry.Registry> =>
  Layer.effect(Registry.Registry, make(options))
