import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Scope } from "effect"
import * as Limiter from "effect-oci/Limiter"
import { Observer } from "effect-oci/Registry"
import { TestClock } from "effect/testing"

/** Takes permits until no more are given, and tells how many there were. */
const available = Effect.fnUntraced(function*(limiter: Limiter.Limiter) {
  const scope = yield* Scope.make()
  let count = 0
  while (count < 1000) {
    const fiber = yield* Effect.forkChild(Scope.provide(Limiter.permit(limiter), scope), { startImmediately: true })
    if (fiber.pollUnsafe() === undefined) {
      yield* Fiber.interrupt(fiber)
      break
    }
    count++
  }
  yield* Scope.close(scope, Exit.void)
  return count
})

/** Sends a number of requests at once, and then hears what came of each. */
const burst = Effect.fnUntraced(function*(limiter: Limiter.Limiter, outcomes: ReadonlyArray<"answered" | "refused">) {
  const notes = yield* Effect.forEach(outcomes, () => Effect.andThen(Limiter.permit(limiter), limiter.begin))
  for (const [index, note] of notes.entries()) yield* note(outcomes[index] ?? "answered")
}, Effect.scoped)

const answered = (count: number) => new Array<"answered">(count).fill("answered")
const refused = (count: number) => new Array<"refused">(count).fill("refused")

describe("a limit", () => {
  it.effect.each([[1, 1], [3, 3], [0, 1]] as const)(
    "that is fixed at %i lets %i go on",
    ([limit, expected]) =>
      Effect.gen(function*() {
        const limiter = Limiter.fixed(limit)
        yield* burst(limiter, refused(limit))
        assert.deepStrictEqual([yield* available(limiter), yield* limiter.limit], [expected, expected])
      })
  )

  it.effect("that does not exist lets everything go on", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* available(Limiter.unlimited()), 1000)
    }))

  it.effect("that finds itself grows with every answer at first", () =>
    Effect.gen(function*() {
      const limiter = Limiter.adaptive({ start: 2 })
      yield* burst(limiter, answered(2))
      assert.strictEqual(yield* limiter.limit, 4)
      yield* burst(limiter, answered(4))
      yield* burst(limiter, answered(8))
      assert.strictEqual(yield* available(limiter), 16)
    }))

  it.effect("that finds itself never allows more than its maximum", () =>
    Effect.gen(function*() {
      const limiter = Limiter.adaptive({ maximum: 10 })
      assert.strictEqual(yield* available(limiter), 10)
      yield* burst(limiter, answered(10))
      assert.strictEqual(yield* limiter.limit, 10)
    }))

  it.effect("grows with every answer while others wait", () =>
    Effect.gen(function*() {
      const limiter = Limiter.adaptive({ start: 2 })
      const scope = yield* Scope.make()
      const notes = yield* Effect.forEach(
        [1, 2],
        () => Scope.provide(Effect.andThen(Limiter.permit(limiter), limiter.begin), scope)
      )
      const queue = yield* Effect.forkChild(burst(limiter, answered(1)), { startImmediately: true })
      yield* Effect.forEach(notes, (note) => note("answered"))
      assert.strictEqual(yield* limiter.limit, 4)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(queue)
    }))

  it.effect("does not grow beyond twice what is used of it", () =>
    Effect.gen(function*() {
      const limiter = Limiter.adaptive({ start: 4 })
      for (let i = 0; i < 10; i++) yield* burst(limiter, answered(3))
      assert.strictEqual(yield* limiter.limit, 6)
    }))

  it.effect("does not grow where it is not used up, once there was a refusal", () =>
    Effect.gen(function*() {
      const limiter = Limiter.adaptive({ start: 8 })
      yield* burst(limiter, refused(8))
      for (let i = 0; i < 10; i++) yield* burst(limiter, answered(3))
      assert.strictEqual(yield* limiter.limit, 4)
    }))

  it.effect("does not grow for ever", () =>
    Effect.gen(function*() {
      const limiter = Limiter.adaptive({ start: 4, maximum: 5 })
      for (let i = 4; i < 10; i++) yield* burst(limiter, answered(Math.min(i, 5)))
      assert.strictEqual(yield* available(limiter), 5)
    }))

  it.effect("is halved once by a burst of refusals, and grows slowly from then on", () =>
    Effect.gen(function*() {
      const limiter = Limiter.adaptive({ start: 8 })
      yield* burst(limiter, refused(8))
      assert.strictEqual(yield* available(limiter), 4)
      yield* burst(limiter, answered(4))
      assert.strictEqual(yield* limiter.limit, 4)
      for (let i = 0; i < 4; i++) yield* burst(limiter, answered(4))
      assert.strictEqual(yield* limiter.limit, 5)
    }))

  it.effect("is halved again by the next burst, down to one", () =>
    Effect.gen(function*() {
      const limiter = Limiter.adaptive({ start: 8 })
      const limits: Array<number> = []
      for (const count of [8, 4, 2, 1, 1]) {
        yield* burst(limiter, refused(count))
        limits.push(yield* limiter.limit)
      }
      assert.deepStrictEqual(limits, [4, 2, 1, 1, 1])
    }))
})

describe("permits that are taken beforehand", () => {
  it.effect("cover what is asked for inside, and are given back", () =>
    Effect.gen(function*() {
      const [a, b] = [Limiter.fixed(1), Limiter.fixed(1)]
      const inside = Effect.scoped(Effect.andThen(Limiter.permit(b), Limiter.permit(a)))
      yield* Limiter.withPermits(a, b, undefined, a)(Effect.andThen(inside, Limiter.withPermits(b)(inside)))
      assert.deepStrictEqual([yield* available(a), yield* available(b)], [1, 1])
    }))

  it.effect("are given back where what they cover is interrupted", () =>
    Effect.gen(function*() {
      const limiter = Limiter.fixed(1)
      const fiber = yield* Effect.forkChild(Limiter.withPermits(limiter)(Effect.never), { startImmediately: true })
      assert.strictEqual(yield* available(limiter), 0)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* available(limiter), 1)
    }))

  it.effect("are taken in one order: who goes from A to B and who goes from B to A never wait for each other", () =>
    Effect.gen(function*() {
      const [a, b] = [Limiter.fixed(1), Limiter.fixed(1)]
      let done = 0
      const work = Effect.andThen(Effect.yieldNow, Effect.sync(() => done++))
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, index) => index % 2 === 0 ? [a, b] : [b, a]),
        (limiters) => Limiter.withPermits(...limiters)(work),
        { concurrency: "unbounded", discard: true }
      )
      assert.strictEqual(done, 200)
    }))
})

/** Sends requests one after another, and tells when each was sent, in milliseconds since the start. */
const sendTimes = Effect.fnUntraced(function*(limiter: Limiter.Limiter, count: number) {
  const start = yield* Clock.currentTimeMillis
  const times: Array<number> = []
  const send = Effect.scoped(Effect.andThen(
    Limiter.permit(limiter),
    Effect.map(Clock.currentTimeMillis, (now) => times.push(Math.round(now - start)))
  ))
  const fiber = yield* Effect.forkChild(Effect.replicateEffect(send, count, { concurrency: "unbounded" }))
  for (let step = 0; step < 10_000 && fiber.pollUnsafe() === undefined; step++) yield* TestClock.adjust("1 millis")
  yield* Fiber.join(fiber)
  return times
})

describe("a rate", () => {
  it.effect("sends requests at equal distances, the first at once", () =>
    Effect.gen(function*() {
      const limiter = Limiter.withRate(Limiter.unlimited(), { rate: 20 })
      assert.deepStrictEqual(yield* sendTimes(limiter, 5), [0, 50, 100, 150, 200])
    }))

  it.effect("allows a burst after a time without requests, and the rate after that", () =>
    Effect.gen(function*() {
      const limiter = Limiter.withRate(Limiter.unlimited(), { rate: 10, burst: 3 })
      assert.deepStrictEqual(yield* sendTimes(limiter, 5), [0, 0, 0, 100, 200])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* sendTimes(limiter, 4), [0, 0, 0, 100])
    }))

  it.effect("loses no turn to a request that is interrupted while it waits", () =>
    Effect.gen(function*() {
      const limiter = Limiter.withRate(Limiter.unlimited(), { rate: 1 })
      yield* Effect.scoped(Limiter.permit(limiter))
      const waiting = yield* Effect.forkChild(sendTimes(limiter, 5), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      assert.deepStrictEqual(yield* sendTimes(limiter, 1), [1000])
    }))

  it.effect("holds for requests that a permit covers as well", () =>
    Effect.gen(function*() {
      const limiter = Limiter.withRate(Limiter.fixed(1), { rate: 10 })
      assert.deepStrictEqual(yield* Limiter.withPermits(limiter)(sendTimes(limiter, 3)), [0, 100, 200])
    }))

  it.effect("counts a request twice that is sent again with a token", () =>
    Effect.gen(function*() {
      const limiter = Limiter.withRate(Limiter.unlimited(), { rate: 10 })
      yield* Effect.scoped(Limiter.permit(limiter))
      yield* limiter.heed?.(401, {}) ?? Effect.void
      assert.deepStrictEqual(yield* sendTimes(limiter, 2), [200, 300])
    }))
})

/** A limiter with a budget, and the pauses that it announced, in milliseconds. */
const budgeted = (keep: number) => {
  const pauses: Array<number> = []
  const limiter = Limiter.withBudget(Limiter.unlimited(), { registry: "hub.test", keep })
  const heed = (headers: Readonly<Record<string, string>>) => limiter.heed?.(200, headers) ?? Effect.void
  const observed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provideService(effect, Observer, (event) =>
      Effect.sync(() => {
        if (event._tag === "Paused") pauses.push(Duration.toMillis(event.duration))
      }))
  return { limiter, pauses, heed, observed }
}

/** Starts a request that goes on until the scope closes. */
const started = (limiter: Limiter.Limiter) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const fiber = yield* Effect.forkChild(Scope.provide(Limiter.permit(limiter), scope), { startImmediately: true })
    return { isSent: () => fiber.pollUnsafe() !== undefined, end: Scope.close(scope, Exit.void) }
  })

describe("a budget", () => {
  it.effect("that no response has named does not limit requests", () =>
    Effect.gen(function*() {
      const { heed, limiter } = budgeted(10)
      yield* heed({ "content-type": "text/plain", "ratelimit-remaining": "plenty" })
      assert.strictEqual(yield* available(limiter), 1000)
      assert.isUndefined(yield* limiter.budget ?? Effect.undefined)
    }))

  it.effect("is not exceeded by requests that run at the same time", () =>
    Effect.gen(function*() {
      const { heed, limiter } = budgeted(10)
      yield* heed({ "ratelimit-remaining": "13", "ratelimit-reset": "60" })
      assert.strictEqual(yield* available(limiter), 3)
    }))

  it.effect("pauses until its reset, which is announced once, and is full after that", () =>
    Effect.gen(function*() {
      const { heed, limiter, observed, pauses } = budgeted(10)
      yield* heed({ "ratelimit-limit": "50", "ratelimit-remaining": "10", "ratelimit-reset": "60" })
      const first = yield* observed(started(limiter))
      const second = yield* observed(started(limiter))
      yield* TestClock.adjust("59999 millis")
      assert.deepStrictEqual([first.isSent(), second.isSent(), pauses], [false, false, [60_000]])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual([first.isSent(), second.isSent(), pauses], [true, true, [60_000]])
      assert.strictEqual(yield* available(limiter), 38)
    }))

  it.effect("goes on before its reset if a response shows that there is budget again", () =>
    Effect.gen(function*() {
      const { heed, limiter } = budgeted(10)
      yield* heed({ "ratelimit-remaining": "3", "ratelimit-reset": "60" })
      const waiting = yield* started(limiter)
      assert.isFalse(waiting.isSent())
      yield* heed({ "ratelimit-remaining": "90", "ratelimit-reset": "600" })
      yield* TestClock.adjust(0)
      assert.isTrue(waiting.isSent())
    }))

  it.effect("without a reset is tried by one request after each part of its window", () =>
    Effect.gen(function*() {
      const { heed, limiter, observed, pauses } = budgeted(5)
      const headers = { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "5;w=21600" }
      yield* heed(headers)
      const first = yield* observed(started(limiter))
      const second = yield* observed(started(limiter))
      yield* TestClock.adjust("1 hours")
      assert.deepStrictEqual([first.isSent(), second.isSent(), pauses], [true, false, [3_600_000]])
      yield* heed(headers)
      yield* first.end
      yield* TestClock.adjust("59 minutes")
      assert.deepStrictEqual([second.isSent(), pauses], [false, [3_600_000, 3_600_000]])
      yield* heed({ ...headers, "ratelimit-remaining": "100;w=21600" })
      yield* TestClock.adjust(0)
      assert.isTrue(second.isSent())
    }))

  it.effect("counts the lowest of the responses of one window, in whatever order they come", () =>
    Effect.gen(function*() {
      const { heed, limiter } = budgeted(0)
      for (const remaining of ["7", "4", "6"]) {
        yield* heed({ "x-ratelimit-remaining": remaining, "x-ratelimit-reset": "60" })
      }
      assert.strictEqual(yield* available(limiter), 4)
    }))

  it.effect("is what the limiter reports", () =>
    Effect.gen(function*() {
      const { heed, limiter } = budgeted(10)
      yield* heed({ "ratelimit-limit": "50", "ratelimit-remaining": "10", "ratelimit-reset": "60" })
      const report = limiter.budget ?? Effect.undefined
      assert.deepStrictEqual(yield* report, { limit: 50, remaining: 10, resetAt: 60_000, pausedUntil: 60_000 })
      yield* heed({ "ratelimit-limit": "50", "ratelimit-remaining": "11", "ratelimit-reset": "70" })
      assert.deepStrictEqual(yield* report, { limit: 50, remaining: 11, resetAt: 70_000, pausedUntil: undefined })
    }))

  it.effect("pauses no longer than a day, whatever the registry says", () =>
    Effect.gen(function*() {
      const { heed, limiter, observed, pauses } = budgeted(10)
      yield* heed({ "ratelimit-remaining": "0", "ratelimit-reset": "999999999" })
      yield* observed(started(limiter))
      assert.deepStrictEqual(pauses, [24 * 3_600_000])
    }))
})
