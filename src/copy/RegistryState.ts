/**
 * State of a registry that copies share: the known locations of content, the transfers that are running, and the
 * properties of the registry that were learnt. {@link KnownRegistries} keeps it, so that later copies use it as well.
 *
 * The state may be outdated, because other clients push and delete too. If a registry refuses a manifest because it
 * lacks content, the registry is right, and the location of that content is forgotten.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Digest } from "../Digest.ts"
import * as Limiter from "../Limiter.ts"
import type { Repository, Tag } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"

/**
 * Maximum number of requests of one copy at the same time to a registry that has no limiter of its own, such as one in
 * memory or in a folder.
 *
 * @default 64
 * @category references
 * @since 0.1.0
 */
export const MaxInFlight: Context.Reference<number> = Context.Reference("effect-oci/Copy/MaxInFlight", {
  defaultValue: () => 64
})

/** Repositories that are known to have content, by its digest. */
export type KnownLocations = Map<Digest, Map<Repository, Known>>

interface Known {
  /** Time until which the location is trusted, in milliseconds. */
  readonly until: number
}

/** A push of a manifest that has not begun yet, to which other copies can add tags. */
export interface OpenPush {
  readonly tags: Set<Tag>
  /** Completed with true if the manifest was pushed with all of these tags. */
  readonly ended: Deferred.Deferred<boolean>
}

/** A blob that shows how the registry accepts blobs, and for which other blobs wait. */
export interface Trial {
  /** Completed when it is known whether the registry accepts a blob in one request. */
  readonly learnt: Deferred.Deferred<void>
  /** Completed when the blob is delivered, and has served to probe for self-mounts. */
  readonly ended: Deferred.Deferred<void>
}

export interface RegistryState {
  /** Position in the order in which several registries are used together, so that no two copies wait for each other. */
  readonly id: number
  readonly registry: Registry
  /** Limiters of a registry without one of its own, by their maximum. */
  readonly limiters: Map<number, Limiter.Limiter>
  /** Limits the number of large blobs in transfer, so that small ones do not wait for them. */
  readonly largeTransfers: Semaphore.Semaphore
  readonly blobs: KnownLocations
  readonly manifests: KnownLocations
  /** Transfers that are running: blobs by their digest, manifests by repository and digest. */
  readonly transfers: Map<string, Deferred.Deferred<void>>
  /** Pushes of manifests that have not begun yet, by repository and digest. */
  readonly openPushes: Map<string, OpenPush>
  /** Pairs of repositories between which the registry has declined a mount. */
  readonly unmountable: Set<string>
  /** Results of `beforePush`, by repository. */
  readonly prepared: Map<Repository, Effect.Effect<void, RegistryError>>
  /** True after the first request of a copy to the registry. */
  isContacted: boolean
  /** State of the request that probes whether the registry accepts self-mounts. */
  selfMountProbe: "none" | "running" | "done"
  /** The trial that is running, if there is one. */
  trial: Trial | undefined
}

// maximum number of blobs, and of manifests, whose locations are remembered
const capacity = 100_000

// time for which a location is trusted, in milliseconds, because other clients may delete content
const lifetime = 10 * 60 * 1000

// maximum number of large blobs in transfer per registry. More do not increase throughput
const maxLargeTransfers = 4

let created = 0

const make = (registry: Registry): RegistryState => ({
  id: created++,
  registry,
  limiters: new Map(),
  largeTransfers: Semaphore.makeUnsafe(maxLargeTransfers),
  blobs: new Map(),
  manifests: new Map(),
  transfers: new Map(),
  openPushes: new Map(),
  unmountable: new Set(),
  prepared: new Map(),
  isContacted: false,
  selfMountProbe: "none",
  trial: undefined
})

/**
 * State of registries that copies share: known locations of content, running transfers, and learnt properties of each
 * registry. Copies with the same value share its state. It does not keep a registry from being garbage collected.
 *
 * @category models
 * @since 0.1.0
 */
export interface KnownRegistries {
  /** Returns the state of a registry. */
  readonly stateOf: (registry: Registry) => RegistryState
}

/**
 * Creates an empty value of {@link KnownRegistries}.
 *
 * **Example** (Two copies that share what they learn)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Copy from "effect-oci/Copy"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import { Images } from "effect-oci/testing"
 *
 * const program = Effect.gen(function*() {
 *   const [source, destination] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
 *   yield* Images.pushImage(source, Images.repository("app"), ["layer"], { tags: [Images.tag("1")] })
 *   const copy = (name: string) =>
 *     Copy.copyManifest({
 *       source: { registry: source, repository: Images.repository("app"), tag: Images.tag("1") },
 *       destination: { registry: destination, repository: Images.repository(name), tag: Images.tag("1") }
 *     })
 *   yield* copy("one")
 *   return (yield* copy("two")).having("mounted").length
 * })
 *
 * Effect.runSync(Effect.provideService(program, Copy.KnownRegistries, Copy.makeKnownRegistries())) // => 2
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeKnownRegistries = (): KnownRegistries => {
  const states = new WeakMap<Registry, RegistryState>()
  return {
    stateOf: (registry) => {
      const state = states.get(registry) ?? make(registry)
      states.set(registry, state)
      return state
    }
  }
}

/**
 * State of registries that the copies of a program share. A `Namespace` provides its own value to its copies. All other
 * copies share the default value.
 *
 * @category references
 * @since 0.1.0
 */
export const KnownRegistries: Context.Reference<KnownRegistries> = Context.Reference(
  "effect-oci/Copy/KnownRegistries",
  { defaultValue: makeKnownRegistries }
)

/** Returns the state of a registry. */
export const of = (registry: Registry): Effect.Effect<RegistryState> =>
  Effect.map(KnownRegistries, ({ stateOf }) => stateOf(registry))

/** Returns the limiter for the requests of a copy to a registry: its own, or one for {@link MaxInFlight}. */
export const limiterOf = ({ limiters, registry }: RegistryState): Effect.Effect<Limiter.Limiter> =>
  Effect.map(MaxInFlight, (maximum) => {
    if (registry.limiter !== undefined) return registry.limiter
    const limiter = limiters.get(maximum) ?? Limiter.fixed(maximum)
    limiters.set(maximum, limiter)
    return limiter
  })

/** Returns true if a repository is known to have content. */
export const has = (locations: KnownLocations, repository: Repository, digest: Digest): Effect.Effect<boolean> =>
  Effect.map(Clock.currentTimeMillis, (now) => (locations.get(digest)?.get(repository)?.until ?? 0) > now)

/** Records that a repository has content. */
export const learn = (locations: KnownLocations, repository: Repository, digest: Digest): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const known = locations.get(digest) ?? new Map<Repository, Known>()
    known.set(repository, { until: now + lifetime })
    // moves the digest to the end, because the oldest entries are removed first
    locations.delete(digest)
    locations.set(digest, known)
    const [oldest] = locations.keys()
    if (locations.size > capacity && oldest !== undefined) locations.delete(oldest)
  })

/** Removes a known location, because the repository does not have the content. */
export const forget = (locations: KnownLocations, repository: Repository, digest: Digest): void => {
  locations.get(digest)?.delete(repository)
}

/** Looks content up. If it is absent, forgets its location, unless another copy has learnt it during the lookup. */
export const lookUp = <A, E, R>(
  locations: KnownLocations,
  repository: Repository,
  digest: Digest,
  find: Effect.Effect<A | undefined, E, R>
): Effect.Effect<A | undefined, E, R> =>
  Effect.suspend(() => {
    const before = locations.get(digest)?.get(repository)
    return Effect.map(find, (found) => {
      const isUnchanged = locations.get(digest)?.get(repository) === before
      if (found === undefined && isUnchanged) forget(locations, repository, digest)
      return found
    })
  })

const pair = (from: Repository, to: Repository): string => `${from} ${to}`

/** Returns a repository from which a blob can be mounted: the given one, or one that is known to have the blob. */
export const origin = (
  self: RegistryState,
  digest: Digest,
  to: Repository,
  given: Repository | undefined
): Repository | undefined =>
  [...given === undefined ? [] : [given], ...self.blobs.get(digest)?.keys() ?? []]
    .find((from) => from !== to && !self.unmountable.has(pair(from, to)))

/** Records that the registry has declined a mount between two repositories. */
export const declined = (self: RegistryState, from: Repository, to: Repository): void => {
  self.unmountable.add(pair(from, to))
}

/**
 * Waits until none of this content is being sent to the registry, and reserves all of it until the scope closes. So two
 * copies never send the same content at the same time, and the second one then finds it there.
 */
export const claim = (self: RegistryState, keys: ReadonlyArray<string>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) => {
    const other = keys.map((key) => self.transfers.get(key)).find((found) => found !== undefined)
    if (other !== undefined) return Effect.andThen(restore(Deferred.await(other)), restore(claim(self, keys)))
    const own = Deferred.makeUnsafe<void>()
    for (const key of keys) self.transfers.set(key, own)
    const release = Effect.suspend(() => {
      for (const key of keys) self.transfers.delete(key)
      return Deferred.succeed(own, undefined)
    })
    return Effect.flatMap(Effect.scope, (scope) => Scope.addFinalizer(scope, release))
  })
