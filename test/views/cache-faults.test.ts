import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Equal, Exit, Fiber, Schedule, Schema, Stream } from "effect"
import * as CacheRegistry from "effect-oci/CacheRegistry"
import type { Digest } from "effect-oci/Digest"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import { Denied, isRegistryError, Transport } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import { pushBlob, repository } from "../utils/images.ts"

const app = repository("team/app")
const runs = process.env["EFFECT_OCI_LONG"] === undefined ? 60 : 1500

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** A reader that arrives after a delay, reads at some pace, and may leave. */
const Reader = Schema.Struct({
  delay: between(0, 30),
  pace: between(0, 4),
  leaves: Schema.optionalKey(between(1, 5)),
  offset: Schema.Literals([0, 0, 0, 70_000])
})
const Readers = Schema.Array(Reader).check(Schema.isMinLength(1), Schema.isMaxLength(8))

const Fault = Schema.Struct({
  kind: Schema.Literals(["break", "flip", "truncate", "fail"]),
  at: between(0, 400_000),
  call: between(1, 3)
})
const Mishaps = Schema.Array(Fault).check(Schema.isMaxLength(2))

const upstreamFault = ({ at, call, kind }: typeof Fault.Type): Faults.Fault => {
  const which = { calls: [call] }
  switch (kind) {
    case "break":
      return Faults.breakAt(at, which)
    case "flip":
      return Faults.flipAt(at, which, { isNoticed: false })
    case "truncate":
      return Faults.truncateAt(at, which, { isNoticed: false })
    case "fail":
      return Faults.fail(new Transport({}), { ...which, operation: "getBlob" })
  }
}

const storeFault = ({ at, call, kind }: typeof Fault.Type): Faults.Fault => {
  const reason = kind === "truncate" ? new Denied({}) : new Transport({})
  return kind === "fail"
    ? Faults.fail(reason, { calls: [call], operation: ["getBlob", "resolveBlob", "startUpload"] })
    : Faults.breakAt(at, { calls: [call], operation: "commit" }, reason)
}

/** Counts the bodies of a registry that are being read, and their maximum. */
const counted = (registry: Registry.Registry) => {
  const count = { open: 0, most: 0 }
  const counting = Registry.make({
    ...registry,
    getBlob: (...args) =>
      Effect.map(registry.getBlob(...args), (blob) => ({
        ...blob,
        stream: Stream.suspend(() => {
          count.open++
          count.most = Math.max(count.most, count.open)
          return Stream.ensuring(blob.stream, Effect.sync(() => count.open--))
        })
      }))
  })
  return { count, counting }
}

const pause = (times: number) => Effect.replicateEffect(Effect.yieldNow, times, { discard: true })

/** Returns the bytes that a reader got if it stayed to the end. */
const read = (registry: Registry.Registry, digest: Digest, { delay, leaves, offset, pace }: typeof Reader.Type) =>
  Effect.gen(function*() {
    yield* pause(delay)
    const { stream } = yield* registry.getBlob(app, digest, offset === 0 ? {} : { range: { offset } })
    const paced = Stream.tap(stream, () => pause(pace))
    const bytes = yield* Stream.mkUint8Array(leaves === undefined ? paced : Stream.take(paced, leaves))
    return leaves === undefined ? bytes : undefined
  }).pipe(Effect.scoped)

const setup = Effect.fnUntraced(
  function*(size: number, upstream: typeof Mishaps.Type, store: typeof Mishaps.Type) {
    const origin = yield* MemoryRegistry.make({ name: "upstream.test" })
    const kept = yield* MemoryRegistry.make({ name: "store" })
    const bytes = Uint8Array.from({ length: size }, (_, index) => (index * 31) >> 4)
    const { digest } = yield* pushBlob(origin, app, bytes)
    const { count, counting } = counted(origin)
    const faulty = yield* Faults.make(counting, [
      ...upstream.map(upstreamFault),
      // other fibers run between a request and its response, as across a network
      Faults.wait(pause(3), { operation: "getBlob" })
    ])
    const cache = yield* CacheRegistry.make(faulty.registry, {
      store: (yield* Faults.make(kept, store.map(storeFault))).registry
    })
    return { bytes, digest, origin, kept, cache, count }
  },
  Effect.provideService(CacheRegistry.ReadAhead, 100_000),
  Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(0))
)

describe("however readers come and go", () => {
  it.effect.prop(
    "each gets the blob, which has one transfer at a time, and is kept",
    [Arbitrary.schema(Readers), Arbitrary.schema(between(100_000, 500_000))],
    ([readers, size]) =>
      Effect.gen(function*() {
        const { bytes, cache, count, digest, kept } = yield* setup(size, [], [])
        const whole = readers.map((reader) => ({ ...reader, offset: 0 as const }))
        const found = yield* Effect.forEach(whole, (reader) => read(cache, digest, reader), {
          concurrency: "unbounded"
        })
        for (const each of found) assert.isTrue(each === undefined || Equal.equals(each, bytes))
        assert.strictEqual(count.most, 1)
        // a reader that left before the blob was stored may have been the only one
        yield* pause(200)
        assert.isTrue(yield* Effect.isSuccess(kept.resolveBlob(app, digest)))
        assert.strictEqual(count.open, 0)
      }),
    { timeout: 600_000, arbitrary: { runs } }
  )
})

describe("however readers come and go, and wherever upstream and the store fail", () => {
  it.effect.prop(
    "each gets its bytes or an error, nothing else is kept, and the next reader gets all",
    [
      Arbitrary.schema(Readers),
      Arbitrary.schema(between(100_000, 500_000)),
      Arbitrary.schema(Mishaps),
      Arbitrary.schema(Mishaps)
    ],
    ([readers, size, upstream, store]) =>
      Effect.gen(function*() {
        const { bytes, cache, count, digest, kept } = yield* setup(size, upstream, store)
        const fibers = yield* Effect.forEach(readers, (reader) => Effect.forkChild(read(cache, digest, reader)))
        for (const [place, fiber] of fibers.entries()) {
          const exit = yield* Fiber.await(fiber)
          if (Exit.isFailure(exit)) {
            const failure = yield* Effect.flip(exit)
            assert.isTrue(isRegistryError(failure))
          } else if (exit.value !== undefined) {
            const offset = readers[place]?.offset ?? 0
            // a range that is read from upstream is not verified, like any range of a registry
            if (offset === 0) assert.isTrue(Equal.equals(exit.value, bytes))
          }
        }
        yield* pause(200)
        assert.strictEqual(count.open, 0)
        if (yield* Effect.isSuccess(kept.resolveBlob(app, digest))) {
          const blob = yield* kept.getBlob(app, digest)
          assert.isTrue(Equal.equals(yield* Stream.mkUint8Array(blob.stream), bytes))
        }
        // until all faults have occurred
        const last = yield* Effect.retry(
          read(cache, digest, { delay: 0, pace: 0, offset: 0 }),
          { times: 8 }
        )
        assert.isTrue(last !== undefined && Equal.equals(last, bytes))
      }),
    { timeout: 600_000, arbitrary: { runs } }
  )
})
