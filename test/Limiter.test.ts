import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import * as Limiter from "effect-oci/Limiter"

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
        assert.strictEqual(yield* available(limiter), expected)
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
