import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Window from "../../src/views/Window.ts"
import { bytesOf } from "../utils/images.ts"

const make = () => Window.make<string>({ capacity: 4, readerTimeout: Duration.seconds(5) })

type Of = Window.Window<string>

const write = (window: Of, text: string) => window.write(window.position(), bytesOf(text))

/** Returns the bytes that a reader gets, and how it ends. */
const reader = Effect.fnUntraced(function*(window: Of, from: number, to: number) {
  const place = yield* window.join(from)
  const got: Array<string> = []
  const read = place.readTo(to).pipe(
    Stream.decodeText(),
    Stream.runForEach((text) => Effect.sync(() => got.push(text))),
    Effect.match({
      onFailure: (error) => typeof error === "string" ? error : `behind at ${error.position}`,
      onSuccess: () => "done"
    })
  )
  const fiber = yield* Effect.forkScoped(read, { startImmediately: true })
  return { got, end: Fiber.join(fiber) }
})

/** Starts a writer that may have to wait. */
const writer = (window: Of, ...texts: ReadonlyArray<string>): Effect.Effect<Fiber.Fiber<void>, never, Scope.Scope> =>
  Effect.forkScoped(Effect.forEach(texts, (text) => write(window, text), { discard: true }), {
    startImmediately: true
  })

describe("readers of a window", () => {
  it.effect("get bytes as they are written", () =>
    Effect.gen(function*() {
      const window = make()
      const one = yield* reader(window, 0, 6)
      const two = yield* reader(window, 0, 6)
      yield* write(window, "012")
      yield* Effect.yieldNow
      assert.deepStrictEqual([one.got, two.got], [["012"], ["012"]])
      yield* write(window, "345")
      assert.deepStrictEqual([yield* one.end, yield* two.end], ["done", "done"])
    }))

  it.effect("may begin and end in the middle", () =>
    Effect.gen(function*() {
      const window = make()
      const { end, got } = yield* reader(window, 2, 5)
      yield* write(window, "012")
      yield* write(window, "345")
      assert.strictEqual(yield* end, "done")
      assert.strictEqual(got.join(""), "234")
    }))

  it.effect("may join while their position is in the window", () =>
    Effect.gen(function*() {
      const window = make()
      yield* write(window, "0123")
      const { end, got } = yield* reader(window, 0, 4)
      assert.strictEqual(yield* end, "done")
      assert.strictEqual(got.join(""), "0123")
    }))

  it.effect("that join too late fail with their position", () =>
    Effect.gen(function*() {
      const window = make()
      yield* write(window, "0123")
      yield* write(window, "4567")
      assert.strictEqual(yield* (yield* reader(window, 0, 8)).end, "behind at 0")
    }))

  it.effect("fail with the failure of the writer, after the bytes that it wrote", () =>
    Effect.gen(function*() {
      const window = make()
      const { end, got } = yield* reader(window, 0, 8)
      yield* write(window, "0123")
      yield* window.end(Exit.fail("broken"))
      assert.strictEqual(yield* end, "broken")
      assert.deepStrictEqual(got, ["0123"])
    }))

  it.effect("have fallen behind if the writer has ended before their position", () =>
    Effect.gen(function*() {
      const window = make()
      const { end } = yield* reader(window, 0, 8)
      yield* write(window, "0123")
      yield* window.end(Exit.void)
      assert.strictEqual(yield* end, "behind at 4")
    }))

  it.effect("get bytes once that were written twice", () =>
    Effect.gen(function*() {
      const window = make()
      const { end, got } = yield* reader(window, 0, 6)
      yield* window.write(0, bytesOf("0123"))
      yield* window.write(2, bytesOf("2345"))
      assert.strictEqual(yield* end, "done")
      assert.strictEqual(got.join(""), "012345")
    }))
})

describe("the writer of a window", () => {
  it.effect("does not wait without readers", () =>
    Effect.gen(function*() {
      const window = make()
      yield* Fiber.join(yield* writer(window, "0123", "4567", "89ab"))
      assert.strictEqual(window.position(), 12)
    }))

  it.effect("waits for the fastest reader if it is half a window ahead", () =>
    Effect.gen(function*() {
      const window = make()
      const place = yield* window.join(0)
      yield* window.join(0)
      const fiber = yield* writer(window, "0123", "4567", "89ab")
      yield* Effect.yieldNow
      assert.strictEqual(window.position(), 4)
      assert.isUndefined(fiber.pollUnsafe())
      yield* Stream.runDrain(place.readTo(12))
      yield* Fiber.join(fiber)
    }))

  it.effect("leaves half a window to slower readers", () =>
    Effect.gen(function*() {
      const window = make()
      const slow = yield* window.join(0)
      const fast = yield* reader(window, 0, 4)
      const fiber = yield* writer(window, "0", "1", "2", "3", "4", "5")
      assert.strictEqual(yield* fast.end, "done")
      yield* Effect.yieldNow
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(slow.readTo(4))), "0123")
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("yields to readers, so that no reader falls behind that is ready to read", () =>
    Effect.gen(function*() {
      const window = make()
      const readers = yield* Effect.forEach([1, 2, 3, 4, 5], () =>
        Effect.gen(function*() {
          const place = yield* window.join(0)
          yield* Effect.yieldNow
          return yield* Stream.mkString(Stream.decodeText(place.readTo(200)))
        }).pipe(Effect.scoped, Effect.forkChild({ startImmediately: true })))
      for (let count = 0; count < 200; count++) yield* write(window, "x")
      for (const reader of readers) assert.strictEqual(yield* Fiber.join(reader), "x".repeat(200))
    }))

  it.effect("waits for a reader no longer than the timeout, and then for none", () =>
    Effect.gen(function*() {
      const window = make()
      yield* window.join(0)
      const fiber = yield* writer(window, "0123", "4567", "89ab", "cdef")
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(fiber)
    }))

  it.effect("continues when the reader that it waits for leaves", () =>
    Effect.gen(function*() {
      const window = make()
      const scope = yield* Scope.make()
      yield* Scope.provide(window.join(0), scope)
      const fiber = yield* writer(window, "0123", "4567", "89ab")
      yield* Effect.yieldNow
      assert.isUndefined(fiber.pollUnsafe())
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(fiber)
    }))

  it.effect("does not wait after a reader has asked for bytes outside of the window", () =>
    Effect.gen(function*() {
      const window = make()
      yield* write(window, "0123")
      yield* write(window, "4567")
      yield* window.join(4)
      const fiber = yield* writer(window, "89ab")
      yield* Effect.yieldNow
      assert.isUndefined(fiber.pollUnsafe())
      yield* window.join(0)
      yield* Fiber.join(fiber)
    }))

  it.effect("does not wait for a reader that has read its last byte", () =>
    Effect.gen(function*() {
      const window = make()
      const { end } = yield* reader(window, 0, 2)
      yield* Fiber.join(yield* writer(window, "0123", "4567", "89ab"))
      assert.strictEqual(yield* end, "done")
    }))
})
