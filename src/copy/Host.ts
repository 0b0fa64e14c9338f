/**
 * What copies know of a registry, and share while they run: which blob is where, what is being moved right now, and how
 * the registry answers. It is kept with the registry, so that what one copy learns the next one uses.
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
import type { Repository } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"

/**
 * How much goes on at a time at a registry that has no limit of its own, as one in memory or in a folder.
 *
 * @default 64
 * @category references
 * @since 0.1.0
 */
export const MaxInFlight: Context.Reference<number> = Context.Reference("effect-oci/Copy/MaxInFlight", {
  defaultValue: () => 64
})

/** Repositories by the content that they are known to have, and until when that is believed. */
export type Places = Map<Digest, Map<Repository, number>>

export interface Host {
  readonly registry: Registry
  readonly limiter: Limiter.Limiter
  /** For what is large, so that something is left for what is small. */
  readonly forLarge: Semaphore.Semaphore
  readonly blobs: Places
  readonly manifests: Places
  /** Blobs that are on their way to it. */
  readonly underWay: Map<Digest, Deferred.Deferred<void>>
  /** Pairs of repositories between which it does not mount. */
  readonly unmountable: Set<string>
  /** Repositories that were seen to before the first push. */
  readonly prepared: Map<Repository, Effect.Effect<void, RegistryError>>
  /** Did a copy ask it for something already? */
  isMet: boolean
  /** Was it tried whether it mounts from the repository itself? */
  isTried: boolean
}

const hosts = new WeakMap<Registry, Host>()

// of blobs, and of manifests, whose places are remembered
const capacity = 100_000

// others delete, too: in milliseconds
const lifetime = 10 * 60 * 1000

// at a time: more do not make a line faster
const largeAtOnce = 4

/** What is known of a registry. */
export const of = (registry: Registry): Effect.Effect<Host> =>
  Effect.map(MaxInFlight, (maximum) => {
    const known = hosts.get(registry)
    if (known !== undefined) return known
    const host: Host = {
      registry,
      limiter: registry.limiter ?? Limiter.fixed(maximum),
      forLarge: Semaphore.makeUnsafe(largeAtOnce),
      blobs: new Map(),
      manifests: new Map(),
      underWay: new Map(),
      unmountable: new Set(),
      prepared: new Map(),
      isMet: false,
      isTried: false
    }
    hosts.set(registry, host)
    return host
  })

/** Is content known to be in a repository? */
export const has = (places: Places, repository: Repository, digest: Digest): Effect.Effect<boolean> =>
  Effect.map(Clock.currentTimeMillis, (now) => (places.get(digest)?.get(repository) ?? 0) > now)

/** Content is in a repository. */
export const learn = (places: Places, repository: Repository, digest: Digest): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const known = places.get(digest) ?? new Map<Repository, number>()
    known.set(repository, now + lifetime)
    // what was heard of last is forgotten last
    places.delete(digest)
    places.set(digest, known)
    const [oldest] = places.keys()
    if (places.size > capacity && oldest !== undefined) places.delete(oldest)
  })

/** Content is not in a repository after all. */
export const forget = (places: Places, repository: Repository, digest: Digest): void => {
  places.get(digest)?.delete(repository)
}

const pair = (from: Repository, to: Repository): string => `${from} ${to}`

/** A repository from which a blob can be mounted, if one is known: the given one, or one where it was seen. */
export const origin = (
  self: Host,
  digest: Digest,
  to: Repository,
  given: Repository | undefined
): Repository | undefined =>
  [...given === undefined ? [] : [given], ...self.blobs.get(digest)?.keys() ?? []]
    .find((from) => from !== to && !self.unmountable.has(pair(from, to)))

/** The registry does not mount from one repository to the other. */
export const declined = (self: Host, from: Repository, to: Repository): void => {
  self.unmountable.add(pair(from, to))
}

/**
 * Waits for whoever moves a blob to this registry, and then moves it oneself, for as long as the scope is open: two copies
 * never send the same blob at the same time, and the second one finds it there.
 */
export const claim = (self: Host, digest: Digest): Effect.Effect<void, never, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) => {
    const other = self.underWay.get(digest)
    if (other !== undefined) return Effect.andThen(restore(Deferred.await(other)), restore(claim(self, digest)))
    const own = Deferred.makeUnsafe<void>()
    self.underWay.set(digest, own)
    const release = Effect.suspend(() => {
      self.underWay.delete(digest)
      return Deferred.succeed(own, undefined)
    })
    return Effect.flatMap(Effect.scope, (scope) => Scope.addFinalizer(scope, release))
  })
