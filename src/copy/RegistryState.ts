/**
 * What copies know of a registry, and share while they run: which blob is where, what is being moved right now, and how
 * the registry answers. It is kept by {@link KnownRegistries}, so that what one copy learns the next one uses.
 *
 * It may be wrong by the time it is used, since others write and delete too: a registry that misses something when it
 * gets a manifest is believed, and what was known is forgotten.
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

/** Repositories by the content that they are known to have, and until when that is believed. */
export type KnownLocations = Map<Digest, Map<Repository, Known>>

interface Known {
  readonly until: number
}

/** A push of a manifest that has not begun yet, which can take further tags along. */
export interface OpenPush {
  readonly tags: Set<Tag>
  /** Completed with true if the manifest was pushed with all of these tags. */
  readonly ended: Deferred.Deferred<boolean>
}

export interface RegistryState {
  /** Position in the order in which several registries are used together, so that no two copies wait for each other. */
  readonly id: number
  readonly registry: Registry
  /** Limiters of a registry without one of its own, by their maximum. */
  readonly limiters: Map<number, Limiter.Limiter>
  /** For what is large, so that something is left for what is small. */
  readonly largeTransfers: Semaphore.Semaphore
  readonly blobs: KnownLocations
  readonly manifests: KnownLocations
  /** Blobs, and manifests with their repository, that are being sent to it. */
  readonly transfers: Map<string, Deferred.Deferred<void>>
  /** Pushes of manifests that have not begun yet, by repository and digest. */
  readonly openPushes: Map<string, OpenPush>
  /** Pairs of repositories between which it does not mount. */
  readonly unmountable: Set<string>
  /** Repositories that were seen to before the first push. */
  readonly prepared: Map<Repository, Effect.Effect<void, RegistryError>>
  /** Did a copy ask it for something already? */
  isContacted: boolean
  /** Was it tried whether it mounts from the repository itself? */
  hasTriedSelfMount: boolean
  /** Completed once a blob has shown how the registry answers; absent unless such a blob is on its way. */
  trial: Deferred.Deferred<void> | undefined
}

// of blobs, and of manifests, whose places are remembered
const capacity = 100_000

// others delete, too: in milliseconds
const lifetime = 10 * 60 * 1000

// at a time: more do not make a line faster
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
  hasTriedSelfMount: false,
  trial: undefined
})

/**
 * What copies have learnt about registries: which content is where, what is being sent, and how each registry answers.
 * Copies that are given the same value share it. It keeps no registry alive.
 *
 * @category models
 * @since 0.1.0
 */
export interface KnownRegistries {
  readonly stateOf: (registry: Registry) => RegistryState
}

/**
 * Creates a value of {@link KnownRegistries} that knows nothing yet.
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
 * What the copies of a program share. A `Namespace` provides a value of its own to its copies; copies without one share
 * the default.
 *
 * @category references
 * @since 0.1.0
 */
export const KnownRegistries: Context.Reference<KnownRegistries> = Context.Reference(
  "effect-oci/Copy/KnownRegistries",
  { defaultValue: makeKnownRegistries }
)

/** Returns what is known of a registry. */
export const of = (registry: Registry): Effect.Effect<RegistryState> =>
  Effect.map(KnownRegistries, ({ stateOf }) => stateOf(registry))

/** Returns what limits the requests of a copy to a registry. */
export const limiterOf = ({ limiters, registry }: RegistryState): Effect.Effect<Limiter.Limiter> =>
  Effect.map(MaxInFlight, (maximum) => {
    if (registry.limiter !== undefined) return registry.limiter
    const limiter = limiters.get(maximum) ?? Limiter.fixed(maximum)
    limiters.set(maximum, limiter)
    return limiter
  })

/** Is content known to be in a repository? */
export const has = (places: KnownLocations, repository: Repository, digest: Digest): Effect.Effect<boolean> =>
  Effect.map(Clock.currentTimeMillis, (now) => (places.get(digest)?.get(repository)?.until ?? 0) > now)

/** Content is in a repository. */
export const learn = (places: KnownLocations, repository: Repository, digest: Digest): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const known = places.get(digest) ?? new Map<Repository, Known>()
    known.set(repository, { until: now + lifetime })
    // what was heard of last is forgotten last
    places.delete(digest)
    places.set(digest, known)
    const [oldest] = places.keys()
    if (places.size > capacity && oldest !== undefined) places.delete(oldest)
  })

/** Content is not in a repository after all. */
export const forget = (places: KnownLocations, repository: Repository, digest: Digest): void => {
  places.get(digest)?.delete(repository)
}

/** Looks content up. If it is absent, what was known of it is forgotten, unless that was learnt meanwhile. */
export const lookUp = <A, E, R>(
  places: KnownLocations,
  repository: Repository,
  digest: Digest,
  find: Effect.Effect<A | undefined, E, R>
): Effect.Effect<A | undefined, E, R> =>
  Effect.suspend(() => {
    const before = places.get(digest)?.get(repository)
    return Effect.map(find, (found) => {
      if (found === undefined && places.get(digest)?.get(repository) === before) forget(places, repository, digest)
      return found
    })
  })

const pair = (from: Repository, to: Repository): string => `${from} ${to}`

/** A repository from which a blob can be mounted, if one is known: the given one, or one where it was seen. */
export const origin = (
  self: RegistryState,
  digest: Digest,
  to: Repository,
  given: Repository | undefined
): Repository | undefined =>
  [...given === undefined ? [] : [given], ...self.blobs.get(digest)?.keys() ?? []]
    .find((from) => from !== to && !self.unmountable.has(pair(from, to)))

/** The registry does not mount from one repository to the other. */
export const declined = (self: RegistryState, from: Repository, to: Repository): void => {
  self.unmountable.add(pair(from, to))
}

/**
 * Waits until none of these is being sent to the registry, and reserves all of them until the scope closes: two copies
 * never send the same content at the same time, and the second one finds it there.
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
