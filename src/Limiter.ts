/**
 * Limits of the requests to one registry: how many run at the same time, how many are sent in a second, and how many
 * are left of a budget.
 *
 * A permit covers a request and the body of its response. A transfer between two registries takes a permit of each of
 * them beforehand, with {@link withPermits}, which covers all requests that are sent meanwhile. Permits are always
 * taken in the same order, so that no two transfers wait for each other.
 *
 * {@link withRate} and {@link withBudget} make each request wait for its turn, whether it takes a permit or is covered
 * by one.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { HeldPermits } from "./HeldPermits.ts"
import { tell } from "./Metrics.ts"
import * as RateLimitHeaders from "./RateLimitHeaders.ts"

/**
 * Requests that a registry still accepts, by the headers of its latest response.
 *
 * @category models
 * @since 0.1.0
 */
export interface Budget {
  /** Number of requests that the registry still accepts. */
  readonly remaining: number
  /** Number of requests that the registry accepts in one window, if it says so. */
  readonly limit: number | undefined
  /** When the budget is full again, in milliseconds since the epoch, if that is known. */
  readonly resetAt: number | undefined
  /** When the current pause ends, in milliseconds since the epoch. `undefined` if there is none. */
  readonly pausedUntil: number | undefined
}

/**
 * Limits the requests to one registry.
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
  /** Waits until the next request may be sent. The scope is that of the request and the body of its response. */
  readonly turn?: Effect.Effect<void, never, Scope.Scope> | undefined
  /** Records the status and the headers of a response of the registry. */
  readonly heed?: ((status: number, headers: ResponseHeaders) => Effect.Effect<void>) | undefined
  /** Largest number of requests in each second. */
  readonly rate?: number | undefined
  /** Budget that is kept, or `undefined` while no response has named one. */
  readonly budget?: Effect.Effect<Budget | undefined> | undefined
}

/**
 * Headers of a response, with names in lower case.
 *
 * @category models
 * @since 0.1.0
 */
export type ResponseHeaders = Readonly<Record<string, string | undefined>>

let created = 0

/**
 * Creates a limiter with a constant limit, which is at least 1.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fixed = (limit: number): Limiter => {
  const count = Math.max(1, Math.floor(limit))
  const permits = Semaphore.makeUnsafe(count)
  return {
    id: created++,
    limit: Effect.succeed(count),
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
  /** Initial limit, at most the maximum. Default: 64. */
  readonly start?: number | undefined
  /** Largest limit. Default: 64. */
  readonly maximum?: number | undefined
}): Limiter => {
  const { maximum = 64 } = options ?? {}
  const start = Math.min(options?.start ?? 64, maximum)
  const permits = Semaphore.makeUnsafe(start)
  let limit = start
  let inUse = 0
  let waiting = 0
  let bursts = 0

  const become = (next: number) =>
    Effect.suspend(() => {
      const before = Math.floor(limit)
      limit = Math.min(maximum, Math.max(1, next))
      return Math.floor(limit) === before ? Effect.void : permits.resize(Math.floor(limit))
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
 * Limits the number of requests in each second.
 *
 * **Details**
 *
 * Requests are sent in the order in which they come, at equal distances, except that `burst` of them may follow each
 * other at once after a time without requests. A request that is sent again with a token, after status 401, counts
 * twice.
 *
 * **Example** (Twenty requests per second)
 *
 * ```ts import.meta.vitest
 * import * as Limiter from "effect-oci/Limiter"
 *
 * Limiter.withRate(Limiter.adaptive(), { rate: 20 }).rate // => 20
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withRate: {
  (options: RateOptions): (self: Limiter) => Limiter
  (self: Limiter, options: RateOptions): Limiter
} = dual(2, (self: Limiter, { burst = 1, rate }: RateOptions): Limiter => {
  const interval = 1000 / rate
  const tolerance = (Math.max(1, Math.floor(burst)) - 1) * interval
  const queue = Semaphore.makeUnsafe(1)
  // when the next request is due if all are sent at equal distances, in milliseconds since the epoch
  let due = 0
  const spend = (now: number) => {
    due = Math.max(due, now) + interval
  }
  const turn = Effect.flatMap(Clock.Clock, (clock) =>
    Effect.suspend(() => {
      const left = due - tolerance - clock.currentTimeMillisUnsafe()
      // less than a millisecond is a rounding error of floating-point numbers
      return left < 1 ? Effect.void : Effect.sleep(left)
    }).pipe(
      Effect.andThen(Effect.sync(() => spend(clock.currentTimeMillisUnsafe()))),
      Semaphore.withPermit(queue)
    ))
  const heed = (status: number) => status === 401 ? Effect.map(Clock.currentTimeMillis, spend) : Effect.void
  return {
    ...derived(self, turn, heed),
    rate
  }
})

/**
 * Options of {@link withRate}.
 *
 * @category models
 * @since 0.1.0
 */
export interface RateOptions {
  /** Largest number of requests in each second, which may be a fraction. */
  readonly rate: number
  /** Number of requests that may be sent at once after a time without requests. Default: 1. */
  readonly burst?: number | undefined
}

/**
 * Pauses before the budget of the registry is exhausted, as the `RateLimit` headers of its responses show it.
 *
 * **Details**
 *
 * No request is sent while the registry accepts `keep` more requests or fewer, until its budget is full again. Each
 * pause is reported to the `Observer`. A request without a response so far counts as one that the registry will
 * subtract.
 *
 * Some registries (Docker Hub) do not say when the budget is full again, only how long its window is. Then one request
 * is sent after each `keep + 1`th part of the window, until a response shows that there is budget again. So requests
 * never exhaust the budget, even if the registry counts each of them.
 *
 * **Gotchas**
 *
 * The pause concerns all requests, because the headers do not say which ones a registry counts. Docker Hub counts
 * manifests that are read by GET, but not HEAD requests and blobs. The pauses last up to 24 hours, and do not count as
 * time without progress (`HttpRegistry.ProgressTimeout`).
 *
 * @category combinators
 * @since 0.1.0
 */
export const withBudget: {
  (options: BudgetOptions): (self: Limiter) => Limiter
  (self: Limiter, options: BudgetOptions): Limiter
} = dual(2, (self: Limiter, { keep, registry }: BudgetOptions): Limiter => {
  const queue = Semaphore.makeUnsafe(1)
  let known: KnownBudget | undefined
  let running = 0
  let announced = 0
  // completed and replaced at each change
  let changed = Deferred.makeUnsafe<void>()
  const change = Effect.suspend(() => {
    const before = changed
    changed = Deferred.makeUnsafe()
    return Deferred.succeed(before, undefined)
  })

  const wait = Effect.gen(function*() {
    while (known !== undefined) {
      const now = yield* Clock.currentTimeMillis
      known = refilled(known, keep, now)
      if (known.remaining - running > keep) return
      const left = known.resetAt - now
      if (known.remaining <= keep && announced !== known.resetAt) {
        announced = known.resetAt
        yield* tell({ _tag: "Paused", registry, duration: Duration.millis(left) })
        continue
      }
      const next = Deferred.await(changed)
      yield* Number.isFinite(left) ? Effect.raceFirst(next, Effect.sleep(left)) : next
    }
  })
  const ended = Effect.suspend(() => {
    running--
    return change
  })
  const turn = Effect.uninterruptibleMask((restore) =>
    Effect.andThen(
      restore(Semaphore.take(queue, 1)),
      restore(wait).pipe(
        Effect.andThen(Effect.scope),
        Effect.flatMap((scope) => {
          running++
          return Scope.addFinalizer(scope, ended)
        }),
        Effect.ensuring(Semaphore.release(queue, 1))
      )
    )
  )
  const heed = (_status: number, headers: ResponseHeaders) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const budget = RateLimitHeaders.parse(headers, now)
      if (budget === undefined) return Effect.void
      known = learnt(known, budget, keep, now)
      return change
    })
  return {
    ...derived(self, turn, heed),
    budget: Effect.map(Clock.currentTimeMillis, (now) => {
      if (known === undefined) return undefined
      const { limit, remaining, resetAt } = refilled(known, keep, now)
      const at = Number.isFinite(resetAt) ? resetAt : undefined
      return { limit, remaining, resetAt: at, pausedUntil: remaining > keep ? undefined : at }
    })
  }
})

/**
 * Options of {@link withBudget}.
 *
 * @category models
 * @since 0.1.0
 */
export interface BudgetOptions {
  /** Host of the registry, for the `Observer`. */
  readonly registry: string
  /** Number of requests that are kept for others. */
  readonly keep: number
}

interface KnownBudget {
  readonly remaining: number
  readonly limit: number | undefined
  /** When the budget is full again, or when to try one request, in milliseconds since the epoch. */
  readonly resetAt: number
  /** True if the registry says when the budget is full again. */
  readonly isExact: boolean
}

// the pause without a reset and a window, in milliseconds
const unknownPause = 60_000

/** Returns the budget after a response. Responses of one window may arrive in another order than they were sent. */
const learnt = (
  known: KnownBudget | undefined,
  { limit, remaining, reset, window }: RateLimitHeaders.Budget,
  keep: number,
  now: number
): KnownBudget => {
  if (reset === undefined) {
    const pause = window === undefined ? unknownPause : Math.max(1000, window / (keep + 1))
    return { remaining, limit, isExact: false, resetAt: now + pause }
  }
  const resetAt = now + Math.max(1000, reset)
  const isSameWindow = known !== undefined && known.isExact && Math.abs(known.resetAt - resetAt) <= 2000
  return isSameWindow
    ? { remaining: Math.min(known.remaining, remaining), limit, isExact: true, resetAt: known.resetAt }
    : { remaining, limit, isExact: true, resetAt }
}

/** Returns the budget at a time: after its reset it is full, or enough for one request if its size is unknown. */
const refilled = (known: KnownBudget, keep: number, now: number): KnownBudget => {
  if (now < known.resetAt) return known
  const full = known.isExact ? known.limit ?? keep + 1 : keep + 1
  return { ...known, remaining: Math.max(known.remaining, full, keep + 1), isExact: false, resetAt: Infinity }
}

/** Returns a limiter whose requests wait for another turn as well. The one of `self` comes last. */
const derived = (self: Limiter, turn: NonNullable<Limiter["turn"]>, heed: NonNullable<Limiter["heed"]>): Limiter => {
  const { heed: heedBefore, turn: turnBefore } = self
  return {
    ...self,
    id: created++,
    turn: turnBefore === undefined ? turn : Effect.andThen(turn, turnBefore),
    heed: heedBefore === undefined
      ? heed
      : (status, headers) => Effect.andThen(heed(status, headers), heedBefore(status, headers))
  }
}

/**
 * Limits of the requests to a registry.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settings {
  /** Number of requests that may run at the same time. Default: it adapts to the registry. */
  readonly concurrency?: number | undefined
  /** Largest number of requests in each second. Default: unlimited. */
  readonly rate?: number | undefined
  /** Number of requests that are kept of the budget of the registry. Default: its budget is ignored. */
  readonly keep?: number | undefined
}

/**
 * Creates the limiter of a registry from settings.
 *
 * **Example** (At most ten requests per second to each registry)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Limiter from "effect-oci/Limiter"
 *
 * const perRegistry = Effect.provideService(
 *   Limiter.PerRegistry,
 *   (host) => Limiter.make(host, { rate: 10, keep: 20 })
 * )
 *
 * Effect.runSync(perRegistry(Effect.map(Limiter.PerRegistry, (make) => make("ghcr.io").rate))) // => 10
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (registry: string, { concurrency, keep, rate }: Settings = {}): Limiter => {
  const permits = concurrency === undefined ? adaptive() : fixed(concurrency)
  const paced = rate === undefined ? permits : withRate(permits, { rate, burst: Math.max(1, rate / 10) })
  return keep === undefined ? paced : withBudget(paced, { registry, keep })
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

/**
 * Takes a permit until the scope closes, unless {@link withPermits} already holds one. Then waits for the turn of the
 * request.
 *
 * @category combinators
 * @since 0.1.0
 */
export const permit = (self: Limiter): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(HeldPermits, (held) => {
    const { turn = Effect.void } = self
    return held.has(self) ? turn : self.turn === undefined ? self.take : Effect.andThen(self.take, turn)
  })

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
  Effect.flatMap(HeldPermits, (held) => {
    const needed = inOrder(limiters.filter((limiter) => limiter !== undefined)).filter((limiter) => !held.has(limiter))
    return Effect.forEach(needed, ({ take }) => take, { discard: true }).pipe(
      Effect.andThen(Effect.provideService(effect, HeldPermits, new Set([...held, ...needed]))),
      Effect.scoped
    )
  })

/**
 * Function that creates the limiter of each client of a registry, from the host of the registry.
 *
 * @default {@link adaptive}
 * @category references
 * @since 0.1.0
 */
export const PerRegistry: Context.Reference<(host: string) => Limiter> = Context.Reference<(host: string) => Limiter>(
  "effect-oci/Limiter/PerRegistry",
  { defaultValue: () => () => adaptive() }
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
 * const limit = Effect.flatMap(Limiter.PerRegistry, (make) => make("ghcr.io").limit)
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
 * const limit = Effect.flatMap(Limiter.PerRegistry, (make) => make("ghcr.io").limit)
 *
 * Effect.runSync(Effect.provide(limit, Limiter.layerUnlimited)) // => Infinity
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerUnlimited: Layer.Layer<never> = Layer.succeed(PerRegistry, unlimited)
