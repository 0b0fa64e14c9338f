/**
 * Rates and budgets that several processes share.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Fiber, Layer, Redacted, Scope } from "effect"
import * as Limiter from "effect-oci/Limiter"
import { MirrorRates } from "effect-oci/MirrorRates"
import * as MirrorSql from "effect-oci/MirrorSql"
import { MirrorStateError } from "effect-oci/MirrorState"
import * as NodePostgres from "effect-oci/NodePostgres"
import { TestClock } from "effect/testing"
import * as SharedRate from "../../src/mirror/SharedRate.ts"
import * as Postgres from "../utils/Postgres.ts"

type Rates = MirrorRates["Service"]

const away = new MirrorStateError({ operation: "lease", problem: "it is away", isRetryable: true })

/** Rates in memory, which may be away. */
const makeRates = (processes = 1) => {
  const due = new Map<string, number>()
  const store = { isAway: false, leases: 0 }
  const rates = MirrorRates.of({
    lease: ({ count, host, rate }) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        if (store.isAway) return Effect.fail(away)
        store.leases++
        const start = Math.max(due.get(host) ?? 0, now)
        due.set(host, start + count * 1000 / rate)
        return Effect.succeed(start - now)
      }),
    budget: () => store.isAway ? Effect.fail(away) : Effect.succeed(undefined),
    processes: Effect.succeed(processes)
  })
  return { rates, store }
}

const limiterOf = (rates: Rates, rate: number) =>
  SharedRate.withRate(Limiter.unlimited(), { host: "one.local", rate, rates })

/** Sends requests without an end, `concurrency` at a time, and returns when each of them was sent. */
const send = Effect.fnUntraced(function*(limiter: Limiter.Limiter, concurrency: number, time: Duration.Input) {
  const sent: Array<number> = []
  const request = Effect.andThen(
    Effect.scoped(Limiter.permit(limiter)),
    Effect.map(Clock.currentTimeMillis, (now) => sent.push(now))
  )
  yield* Effect.all(Array.from({ length: concurrency }, () => Effect.forever(request)), {
    concurrency: "unbounded"
  }).pipe(Effect.timeoutOption(time))
  return sent
})

/** Returns the largest number of requests in any `length` milliseconds. */
const busiest = (sent: ReadonlyArray<number>, length: number): number => {
  const sorted = sent.toSorted((a, b) => a - b)
  return Math.max(0, ...sorted.map((start, i) => sorted.slice(i).filter((at) => at < start + length).length))
}

const sendAll = (limiters: ReadonlyArray<Limiter.Limiter>, concurrency: number, time: Duration.Input) =>
  Effect.map(
    Effect.all(limiters.map((limiter) => send(limiter, concurrency, time)), { concurrency: "unbounded" }),
    (sent) => sent.flat()
  )

/** Runs an effect for a time of the test clock. */
const during = <A, E>(effect: Effect.Effect<A, E>, time: Duration.Input) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    const steps = Math.ceil(Duration.toMillis(Duration.fromInputUnsafe(time)))
    for (let i = 0; i <= steps; i++) yield* TestClock.adjust(1)
    return yield* Fiber.join(fiber)
  })

describe("a shared rate", () => {
  for (const active of [1, 3]) {
    it.effect(`is the same with ${active} of three processes`, () =>
      Effect.gen(function*() {
        const { rates } = makeRates(3)
        const limiters = Array.from({ length: active }, () => limiterOf(rates, 100))
        const sent = yield* during(sendAll(limiters, 8, "5 seconds"), "5 seconds")
        assert.isAtLeast(sent.length, 475)
        assert.isAtMost(busiest(sent, 1000), 105)
      }))
  }

  it.effect("is not exceeded if it is low", () =>
    Effect.gen(function*() {
      const { rates } = makeRates(3)
      const limiters = [limiterOf(rates, 1), limiterOf(rates, 1), limiterOf(rates, 1)]
      const sent = yield* during(sendAll(limiters, 8, "5 seconds"), "5 seconds")
      assert.isAtLeast(sent.length, 5)
      assert.isAtMost(busiest(sent, 990), 1)
    }))

  it.effect("takes no more turns than there are requests", () =>
    Effect.gen(function*() {
      const { rates, store } = makeRates()
      const busy = limiterOf(rates, 100)
      const idle = limiterOf(rates, 100)
      const sparse = Effect.forever(Effect.andThen(Effect.scoped(Limiter.permit(idle)), Effect.sleep("50 millis")))
      const sending = Effect.raceFirst(send(busy, 8, "2 seconds"), sparse)
      const sent = yield* during(sending, "2 seconds")
      // the other process sends at most 20 requests in a second
      assert.isAtLeast(sent.length, 155)
      assert.isAtMost(store.leases, 100)
    }))

  it.effect("is divided by the processes while the store is away", () =>
    Effect.gen(function*() {
      const { rates, store } = makeRates(3)
      store.isAway = true
      const limiters = [limiterOf(rates, 100), limiterOf(rates, 100), limiterOf(rates, 100)]
      const sent = yield* during(sendAll(limiters, 8, "3 seconds"), "3 seconds")
      assert.isAtLeast(sent.length, 280)
      assert.isAtMost(busiest(sent, 1000), 105)
    }))

  it.effect("is not exceeded while the store goes and comes back", () =>
    Effect.gen(function*() {
      const { rates, store } = makeRates(3)
      const limiters = [limiterOf(rates, 60), limiterOf(rates, 60), limiterOf(rates, 60)]
      const flapping = Effect.forever(
        Effect.andThen(
          Effect.sleep("1700 millis"),
          Effect.sync(() => {
            store.isAway = !store.isAway
          })
        )
      )
      const sent = yield* during(Effect.raceFirst(sendAll(limiters, 8, "12 seconds"), flapping), "12 seconds")
      assert.isAtLeast(sent.length, 300)
      assert.isAtMost(busiest(sent, 1000), 75)
    }))

  it.effect("counts a request twice that is sent again with a token", () =>
    Effect.gen(function*() {
      const { rates } = makeRates()
      const limiter = limiterOf(rates, 10)
      const refused = Effect.andThen(Limiter.permit(limiter), limiter.heed?.(401, {}) ?? Effect.void)
      const all = Effect.replicateEffect(Effect.scoped(refused), 5, { discard: true })
      const end = yield* during(Effect.andThen(all, Clock.currentTimeMillis), "2 seconds")
      assert.strictEqual(end, 800)
    }))
})

/** Connects a process to the rates in a database. */
const connect = (url: string) =>
  Effect.map(
    Layer.build(Layer.fresh(Layer.provide(MirrorSql.layerRates, NodePostgres.layer({ url: Redacted.make(url) })))),
    Context.get(MirrorRates)
  )

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined
const seconds = isLong ? 12 : 3

describe.skipIf(!Postgres.available)(
  "a shared rate in PostgreSQL",
  () =>
    it.layer(Postgres.layer, { timeout: "1 minute", excludeTestServices: true })((it) => {
      const database = Postgres.Postgres.use(({ database }) => database)

      for (const active of [1, 3]) {
        it.effect(`is kept in real time with ${active} of three processes`, () =>
          Effect.gen(function*() {
            const url = yield* database
            const rates = yield* Effect.all([connect(url), connect(url), connect(url)])
            const limiters = rates.slice(0, active).map((rates) => limiterOf(rates, 100))
            const sent = yield* sendAll(limiters, 8, Duration.seconds(seconds))
            const rate = sent.length / seconds
            yield* Effect.log(`${active} active: ${rate.toFixed(1)} requests per second`)
            // other tests may keep this process busy
            assert.isAtLeast(rate, isLong ? 95 : 50)
            assert.isAtMost(rate, 105)
          }))
      }

      it.effect("is not exceeded if it is low", () =>
        Effect.gen(function*() {
          const url = yield* database
          const rates = yield* Effect.all([connect(url), connect(url), connect(url)])
          const sent = yield* sendAll(rates.map((rates) => limiterOf(rates, 1)), 4, Duration.seconds(seconds))
          assert.isAtMost(sent.length, seconds + 1)
          assert.isAtLeast(sent.length, seconds - 1)
        }))

      it.effect("is divided by the processes while the database is stopped", () =>
        Effect.gen(function*() {
          const server = yield* Postgres.make
          const url = yield* server.database
          const first = yield* connect(url)
          assert.strictEqual(yield* first.processes, 1)
          const second = yield* connect(url)
          assert.strictEqual(yield* second.processes, 2)
          yield* server.stop("immediate")
          const sent = yield* send(limiterOf(second, 40), 4, "2 seconds")
          assert.isAtMost(sent.length, 42)
          assert.isAtLeast(sent.length, 20)
        }))

      it.effect("forgets a process that has ended", () =>
        Effect.gen(function*() {
          const url = yield* database
          yield* Effect.scoped(connect(url))
          const after = yield* connect(url)
          assert.strictEqual(yield* after.processes, 1)
        }))

      it.effect("keeps the lowest budget of one window, and forgets it when it is full again", () =>
        Effect.gen(function*() {
          const url = yield* database
          const [one, two] = yield* Effect.all([connect(url), connect(url)])
          const seen = { limit: 100, reset: 30_000, window: undefined }
          assert.isUndefined(yield* one.budget("one.local", undefined))
          yield* one.budget("one.local", { ...seen, remaining: 7 })
          const merged = yield* two.budget("one.local", { ...seen, remaining: 9 })
          assert.include(merged, { remaining: 7, limit: 100, version: 2 })
          assert.approximately(merged?.reset ?? 0, 30_000, 2000)
          const next = yield* two.budget("one.local", { ...seen, reset: 90_000, remaining: 99 })
          assert.include(next, { remaining: 99 })
          yield* one.budget("one.local", { ...seen, reset: 0, remaining: 1 })
          yield* Effect.sleep("10 millis")
          assert.isUndefined(yield* one.budget("one.local", undefined))
          const inexact = yield* one.budget("one.local", { limit: 100, remaining: 3, reset: undefined, window: 60_000 })
          assert.deepStrictEqual(inexact, { limit: 100, remaining: 3, reset: undefined, window: 60_000, version: 5 })
        }))

      it.effect("pauses every process if one of them has seen that the budget is used", () =>
        Effect.gen(function*() {
          const url = yield* database
          const limiters = yield* Effect.forEach([1, 2], () =>
            Effect.map(connect(url), (rates) =>
              SharedRate.withBudget(Limiter.withBudget(Limiter.unlimited(), { registry: "one.local", keep: 2 }), {
                host: "one.local",
                rates
              })))
          const [one, two] = limiters
          assert.isDefined(one)
          assert.isDefined(two)
          yield* one.heed?.(200, { "ratelimit-limit": "100", "ratelimit-remaining": "2", "ratelimit-reset": "60" }) ??
            Effect.void
          const scope = yield* Scope.make()
          const turn = Effect.provideService(Limiter.permit(two), Scope.Scope, scope)
          assert.isUndefined(
            yield* Effect.timeoutOrElse(turn, {
              duration: "300 millis",
              orElse: () => Effect.undefined
            })
          )
          const budget = yield* two.budget ?? Effect.undefined
          assert.strictEqual(budget?.remaining, 2)
          assert.isDefined(budget?.pausedUntil)
        }))
    })
)
