/**
 * How much goes on at one registry at a time.
 *
 * A permit covers a request and the body of its answer. Who is about to send several requests that belong together, as a
 * transfer between two registries does, takes permits of all of them beforehand, by {@link withPermits}: they are taken
 * in one order, so that no two wait for each other, and cover whatever is sent meanwhile.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

/**
 * Limits how much goes on at one registry at a time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limiter {
  /** Its place in the order in which permits are taken. */
  readonly id: number
  /** How much may go on by now. */
  readonly limit: Effect.Effect<number>
  /** Waits for a permit, which is given back when the scope closes. */
  readonly take: Effect.Effect<void, never, Scope.Scope>
  /** A request is sent. What it gives is told what came of that: an answer, or a refusal because of too many requests. */
  readonly begin: Effect.Effect<(outcome: "answered" | "refused") => Effect.Effect<void>>
  /** The limiters it is made of, by {@link all}; each is then taken for itself. */
  readonly parts?: ReadonlyArray<Limiter>
}

let created = 0

/**
 * A limit that stays: a number from 1 on.
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
 * No limit at all.
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
 * A limit that finds itself. While more than half of it is used it grows by one with every answer, until the registry
 * refuses for the first time; from then on, while it is used up, by one in as many answers as it allows. It is halved once for each burst of refusals: those of
 * requests that were under way by then count no more.
 *
 * @category constructors
 * @since 0.1.0
 */
export const adaptive = (options?: {
  /** Where it begins; 16 unless given, and no more than the maximum. */
  readonly start?: number
  /** Where it stops growing; 64 unless given. */
  readonly maximum?: number
}): Limiter => {
  const { maximum = 64 } = options ?? {}
  const start = Math.min(options?.start ?? 16, maximum)
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
 * The limiters of several registries that are used as one. A permit of it is one of each.
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

/** Those that limit for themselves, each once, in the order in which permits are taken. */
const inOrder = (limiters: Iterable<Limiter>): ReadonlyArray<Limiter> =>
  Array.from(new Set(Array.from(limiters).flatMap((limiter) => limiter.parts ?? [limiter]))).sort((a, b) => a.id - b.id)

// what was taken beforehand
const Held: Context.Reference<ReadonlySet<Limiter>> = Context.Reference<ReadonlySet<Limiter>>(
  "effect-oci/Limiter/Held",
  { defaultValue: () => new Set() }
)

/**
 * A permit while the scope is open: one that was taken beforehand, or another.
 *
 * @category combinators
 * @since 0.1.0
 */
export const permit = (self: Limiter): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Held, (held) => held.has(self) ? Effect.void : self.take)

/**
 * Runs something that will send requests to several registries, under one permit of each.
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
 * Makes the limiter of each client of a registry.
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
 * Gives each client that is made with it the same fixed limit.
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
 * Gives no client that is made with it a limit.
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
