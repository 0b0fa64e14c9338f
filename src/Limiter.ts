/**
 * Limits of concurrent requests to one registry.
 *
 * A permit covers a request and the body of its response. A transfer between two registries takes a permit of each of
 * them beforehand, with {@link withPermits}, which covers all requests that are sent meanwhile. Permits are always
 * taken in the same order, so that no two transfers wait for each other.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

/**
 * Limits how many requests to one registry run at the same time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limiter {
  /** Position in the order in which permits of several limiters are taken. */
  readonly id: number
  /** The number of requests that may currently run at the same time. */
  readonly limit: Effect.Effect<number>
  /** Waits for a permit, which is released when the scope closes. */
  readonly take: Effect.Effect<void, never, Scope.Scope>
  /**
   * Records that a request was sent. The returned function records its outcome: answered, or refused because of too
   * many requests.
   */
  readonly begin: Effect.Effect<(outcome: "answered" | "refused") => Effect.Effect<void>>
  /** Limiters that {@link all} has combined. A permit is taken of each of them. */
  readonly parts?: ReadonlyArray<Limiter> | undefined
}

let created = 0

/**
 * Creates a limiter with a constant limit, which is at least 1.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fixed = (limit: number): Limiter => {
  const permits = Semaphore.makeUnsafe(Math.max(1, Math.floor(limit)))
  return {
    id: created++,
    limit: Effect.succeed(limit),
    take: Semaphore.takeScoped(permits, 1),
    begin: Effect.succeed(() => Effect.void)
  }
}

/**
 * Creates a limiter that never waits.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unlimited = (): Limiter => ({
  id: created++,
  limit: Effect.succeed(Infinity),
  take: Effect.void,
  begin: Effect.succeed(() => Effect.void)
})

/**
 * Creates a limiter that adapts to what the registry accepts.
 *
 * **Details**
 *
 * While more than half of the limit is used, it grows by one with every answer, until the registry refuses a request
 * for the first time. After that, while all of it is used, it grows by one with every `limit` answers. Each burst of
 * refusals halves it once: refusals of requests that were already running at that moment do not count again.
 *
 * @category constructors
 * @since 0.1.0
 */
export const adaptive = (options?: {
  /** Initial limit, at most the maximum. Default: 32. */
  readonly start?: number | undefined
  /** Largest limit. Default: 64. */
  readonly maximum?: number | undefined
}): Limiter => {
  const { maximum = 64 } = options ?? {}
  const start = Math.min(options?.start ?? 32, maximum)
  const permits = Semaphore.makeUnsafe(start)
  let limit = start
  let inUse = 0
  let waiting = 0
  let bursts = 0

  const become = (next: number) =>
    Effect.suspend(() => {
      limit = Math.min(maximum, Math.max(1, next))
      return permits.resize(Math.floor(limit))
    })
  return {
    id: created++,
    limit: Effect.sync(() => Math.floor(limit)),
    take: Effect.uninterruptibleMask((restore) => {
      waiting++
      return restore(Semaphore.takeScoped(permits, 1)).pipe(
        Effect.ensuring(Effect.sync(() => waiting--)),
        Effect.andThen(Effect.scope),
        Effect.flatMap((scope) => {
          inUse++
          return Scope.addFinalizer(scope, Effect.sync(() => inUse--))
        })
      )
    }),
    begin: Effect.sync(() => {
      const burst = bursts
      return (outcome) =>
        Effect.suspend(() => {
          if (outcome === "answered") {
            const isUsed = waiting > 0 || (bursts === 0 ? inUse * 2 > limit : inUse >= Math.floor(limit))
            return isUsed ? become(limit + (bursts === 0 ? 1 : 1 / limit)) : Effect.void
          }
          if (burst !== bursts) return Effect.void
          bursts++
          return become(limit / 2)
        })
    })
  }
}

/**
 * Combines the limiters of several registries that are used as one. A permit is one permit of each.
 *
 * @category combinators
 * @since 0.1.0
 */
export const all = (limiters: ReadonlyArray<Limiter>): Limiter => {
  const parts = inOrder(limiters)
  return {
    id: created++,
    limit: Effect.map(Effect.all(parts.map(({ limit }) => limit)), (limits) => Math.min(Infinity, ...limits)),
    take: Effect.forEach(parts, ({ take }) => take, { discard: true }),
    begin: Effect.succeed(() => Effect.void),
    parts
  }
}

/** Returns the limiters that are not combined, each once, in the order in which permits are taken. */
const inOrder = (limiters: Iterable<Limiter>): ReadonlyArray<Limiter> =>
  Array.from(new Set(Array.from(limiters).flatMap((limiter) => limiter.parts ?? [limiter]))).sort((a, b) => a.id - b.id)

// limiters of which `withPermits` holds a permit
const Held: Context.Reference<ReadonlySet<Limiter>> = Context.Reference<ReadonlySet<Limiter>>(
  "effect-oci/Limiter/Held",
  { defaultValue: () => new Set() }
)

/**
 * Takes a permit until the scope closes, unless {@link withPermits} already holds one.
 *
 * @category combinators
 * @since 0.1.0
 */
export const permit = (self: Limiter): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Held, (held) => held.has(self) ? Effect.void : self.take)

/**
 * Runs an effect that sends requests to several registries, under one permit of each.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withPermits = (...limiters: ReadonlyArray<Limiter | undefined>) =>
<A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.flatMap(Held, (held) => {
    const needed = inOrder(limiters.filter((limiter) => limiter !== undefined)).filter((limiter) => !held.has(limiter))
    return Effect.forEach(needed, ({ take }) => take, { discard: true }).pipe(
      Effect.andThen(Effect.provideService(effect, Held, new Set([...held, ...needed]))),
      Effect.scoped
    )
  })

/**
 * Function that creates the limiter of each client of a registry.
 *
 * @default {@link adaptive}
 * @category references
 * @since 0.1.0
 */
export const PerRegistry: Context.Reference<() => Limiter> = Context.Reference<() => Limiter>(
  "effect-oci/Limiter/PerRegistry",
  { defaultValue: () => adaptive }
)

/**
 * Gives each client that is created with this layer a constant limit of its own.
 *
 * **Example** (Two requests at a time)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Limiter from "effect-oci/Limiter"
 *
 * const limit = Effect.flatMap(Limiter.PerRegistry, (make) => make().limit)
 *
 * Effect.runSync(Effect.provide(limit, Limiter.layerFixed(2))) // => 2
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFixed = (limit: number): Layer.Layer<never> => Layer.succeed(PerRegistry, () => fixed(limit))

/**
 * Gives the clients that are created with this layer no limit.
 *
 * **Example** (As many requests as there are)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Limiter from "effect-oci/Limiter"
 *
 * const limit = Effect.flatMap(Limiter.PerRegistry, (make) => make().limit)
 *
 * Effect.runSync(Effect.provide(limit, Limiter.layerUnlimited)) // => Infinity
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerUnlimited: Layer.Layer<never> = Layer.succeed(PerRegistry, unlimited)
