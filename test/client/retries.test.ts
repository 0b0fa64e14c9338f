import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Schedule, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as Limiter from "effect-oci/Limiter"
import * as Registry from "effect-oci/Registry"
import { TestClock } from "effect/testing"
import { noise } from "../utils/BadNetwork.ts"
import { bytesOf, repository } from "../utils/images.ts"
import { digestOf, make, reasonOf, transportError, whileTimeFlies } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const blob = `/v2/team/app/blobs/${digest}`
const uploads = "/v2/team/app/blobs/uploads/"

/** A body that breaks off. */
const broken = (bytes: Uint8Array) =>
  Stream.concat(
    Stream.succeed(bytes),
    Stream.suspend(() => Stream.fail(transportError({} as never, new Error("cut off")))) // only its cause is read
  )

describe("a request that failed", () => {
  it.effect.each([408, 429, 499, 500, 502, 503, 504, 522])(
    "with status %s is sent again, even if no pause is asked for (C5)",
    (status) =>
      Effect.gen(function*() {
        const { registry, sent } = yield* make({ "GET /v2/": [{ status }, { status }, {}] })
        yield* whileTimeFlies(registry.ping)
        assert.strictEqual(sent().length, 3)
      })
  )

  it.effect("without an answer is sent again", () =>
    Effect.gen(function*() {
      let calls = 0
      const { registry } = yield* make({
        "GET /v2/": () =>
          ++calls < 3 ? Effect.fail(transportError({} as never, new Error("reset"))) : Effect.succeed({})
      })
      yield* whileTimeFlies(registry.ping)
      assert.strictEqual(calls, 3)
    }))

  it.effect("is sent four more times, and then fails", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ "GET /v2/": { status: 503 } })
      const reason = yield* whileTimeFlies(reasonOf(registry.ping))
      assert.deepInclude(reason, { _tag: "UnexpectedResponse", status: 503 })
      assert.strictEqual(sent().length, 5)
    }))

  it.effect.each([400, 401, 403, 404, 501])("with status %s is not", (status) =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ "GET /v2/": { status } })
      yield* Effect.flip(registry.ping)
      assert.strictEqual(sent().length, 1)
    }))

  it.effect("is sent again as the program sets", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ "GET /v2/": { status: 503 } })
      yield* Effect.flip(registry.ping).pipe(
        Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(1))
      )
      assert.strictEqual(sent().length, 2)
    }))
})

describe("a registry that asks for a pause", () => {
  it.effect("gets it from every request, and the observer is notified", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        "GET /v2/": [{ status: 429, headers: { "retry-after": "30" } }, {}],
        [`HEAD ${blob}`]: { headers: { "content-length": "10" } }
      })
      const events: Array<Registry.RegistryEvent["_tag"]> = []
      const observer = (event: Registry.RegistryEvent) => Effect.sync(() => events.push(event._tag))
      const first = yield* Effect.forkChild(registry.ping.pipe(Effect.provideService(Registry.Observer, observer)))
      yield* TestClock.adjust("1 second")
      const second = yield* Effect.forkChild(registry.resolveBlob(name, digest))
      yield* TestClock.adjust("28 seconds")
      assert.deepStrictEqual(sent(), ["GET /v2/"])
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      assert.strictEqual(sent().length, 3)
      assert.deepStrictEqual(events, ["Requested", "Retried", "Paused", "Requested"])
    }))

  it.effect("gets it also from requests that waited for a permit", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* Effect.provide(
        make({
          "GET /v2/": [{ status: 429, headers: { "retry-after": "30" } }, {}],
          [`HEAD ${blob}`]: { headers: { "content-length": "10" } }
        }),
        Limiter.layerFixed(1)
      )
      const both = yield* Effect.forkChild(
        Effect.all([registry.ping, registry.resolveBlob(name, digest)], { concurrency: 2 })
      )
      yield* TestClock.adjust("29 seconds")
      assert.deepStrictEqual(sent(), ["GET /v2/"])
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(both)
      assert.lengthOf(sent(), 3)
    }))

  it.effect("gets all of it if it asks for more during the pause", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const refusal = (seconds: number) => ({ status: 429, headers: { "retry-after": `${seconds}` } })
      const { registry, sent } = yield* make({
        "GET /v2/": [refusal(10), {}],
        [`HEAD ${blob}`]: [() => Effect.as(Deferred.await(asked), refusal(30)), { headers: { "content-length": "10" } }]
      })
      const refused = yield* Queue.unbounded<Registry.RegistryEvent>()
      const both = yield* Effect.all([registry.ping, registry.resolveBlob(name, digest)], { concurrency: 2 }).pipe(
        Effect.provideService(
          Registry.Observer,
          (event) => event._tag === "Retried" ? Queue.offer(refused, event) : Effect.void
        ),
        Effect.forkChild
      )
      yield* Queue.take(refused)
      yield* TestClock.adjust("5 seconds")
      yield* Deferred.succeed(asked, undefined)
      yield* Queue.take(refused)
      yield* TestClock.adjust("29 seconds")
      assert.lengthOf(sent(), 2)
      yield* whileTimeFlies(Fiber.join(both))
      assert.lengthOf(sent(), 4)
    }))

  it.effect("for longer than five minutes does not: the error says how long", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ "GET /v2/": { status: 429, headers: { "retry-after": "3600" } } })
      const error = yield* Effect.flip(registry.ping)
      assert.strictEqual(error.retryAfter === undefined, false)
      assert.strictEqual(sent().length, 1)
    }))
})

describe("an interruption", () => {
  const big = new Uint8Array(100_000)
  const interrupted = Effect.fnUntraced(function*(answer: Parameters<typeof make>[0][string]) {
    const { registry, sent } = yield* make({ [`POST ${uploads}`]: answer })
    const source = BlobSource.fromBytes(big)
    const fiber = yield* Effect.forkChild(registry.pushBlob(name, { digest: digestOf(big), size: big.length }, source))
    yield* TestClock.adjust("1 millis")
    assert.strictEqual(sent().length, 1)
    yield* Fiber.interrupt(fiber)
  })

  it.effect("does not wait for the next attempt to open a session", () => interrupted({ status: 503 }))

  it.effect("does not wait for the end of a pause", () =>
    interrupted({ status: 429, headers: { "retry-after": "60" } }))
})

describe("a download that breaks off", () => {
  // a small one comes in one piece
  const big = noise(100_000)
  const digest = digestOf(big)
  const blob = `/v2/team/app/blobs/${digest}`
  const part = (from: number, to: number) => ({
    status: 206,
    headers: { "content-range": `bytes ${from}-99999/100000`, "content-length": `${100_000 - from}` },
    body: to === 100_000 ? big.subarray(from) : broken(big.subarray(from, to))
  })
  const script = (...rest: ReadonlyArray<Parameters<typeof make>[0][string]>) => ({
    [`GET ${blob}`]: [
      { headers: { "content-length": "100000" }, body: broken(big.subarray(0, 10_000)) },
      ...rest.flat()
    ]
  })
  const read = (registry: Registry.Registry) =>
    Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.mkUint8Array(stream))

  it.effect("resumes, and is verified as a whole", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make(script(part(10_000, 30_000), part(30_000, 100_000)))
      assert.deepStrictEqual(yield* whileTimeFlies(read(registry)), big)
      const ranges = requests.map(({ headers }) => headers["range"])
      assert.deepStrictEqual(ranges, [undefined, "bytes=10000-", "bytes=30000-"])
    }))

  it.effect("starts again if it is small", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [`GET /v2/team/app/blobs/${digestOf(content)}`]: [
          { headers: { "content-length": "10" }, body: broken(content.subarray(0, 4)) },
          { body: content }
        ]
      })
      const small = Effect.flatMap(
        registry.getBlob(name, digestOf(content)),
        ({ stream }) => Stream.mkUint8Array(stream)
      )
      assert.deepStrictEqual(yield* whileTimeFlies(small), content)
      assert.lengthOf(sent(), 2)
    }))

  it.effect("is not read much further than its size, if it is small and the rest is of another size", () =>
    Effect.gen(function*() {
      let received = 0
      const longer = Stream.repeat(
        Stream.sync(() => {
          received += 1000
          return noise(1000)
        }),
        Schedule.recurs(1000)
      )
      const { registry } = yield* make({
        [`GET /v2/team/app/blobs/${digestOf(content)}`]: [
          { headers: { "content-length": "10" }, body: broken(content.subarray(0, 4)) },
          { body: longer }
        ]
      })
      const small = Effect.flatMap(
        registry.getBlob(name, digestOf(content)),
        ({ stream }) => Stream.mkUint8Array(stream)
      )
      assert.strictEqual((yield* whileTimeFlies(reasonOf(small)))._tag, "SizeMismatch")
      assert.isBelow(received, 10_000)
    }))

  it.effect("resumes even if the registry does not support ranges", () =>
    Effect.gen(function*() {
      const { registry } = yield* make(script({ body: big }))
      assert.deepStrictEqual(yield* whileTimeFlies(read(registry)), big)
    }))

  it.effect("fails with DigestMismatch if the rest is of other content", () =>
    Effect.gen(function*() {
      const { registry } = yield* make(script({ ...part(10_000, 100_000), body: noise(90_000) }))
      assert.strictEqual((yield* whileTimeFlies(reasonOf(read(registry))))._tag, "DigestMismatch")
    }))

  it.effect("fails with SizeMismatch if the size of the blob has changed", () =>
    Effect.gen(function*() {
      const { registry } = yield* make(script(
        { status: 206, headers: { "content-range": "bytes 10000-100001/100002" }, body: noise(90_002) }
      ))
      assert.strictEqual((yield* whileTimeFlies(reasonOf(read(registry))))._tag, "SizeMismatch")
    }))

  it.effect("repeatedly without progress fails with the first error", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make(script({ status: 503 }))
      assert.deepInclude(yield* whileTimeFlies(reasonOf(read(registry))), { _tag: "UnexpectedResponse", status: 503 })
      assert.strictEqual(sent().length, 5)
    }))
})

describe("an upload that breaks off", () => {
  const big = new Uint8Array(100_000)
  const descriptor = { digest: digestOf(big), size: big.length }
  const at = (id: string) => ({ status: 202, headers: { location: `${uploads}${id}` } })
  const script = {
    [`POST ${uploads}`]: [at("one"), at("two")],
    [`PUT ${uploads}one`]: { status: 502 },
    [`GET ${uploads}one`]: { status: 404 },
    [`PUT ${uploads}two`]: { status: 201 },
    [`DELETE ${uploads}one`]: { status: 204 }
  }

  it.effect("starts again in another session if its source can be opened again", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make(script)
      yield* whileTimeFlies(registry.pushBlob(name, descriptor, BlobSource.fromBytes(big)))
      assert.deepStrictEqual(requests.map(({ method }) => method), ["POST", "PUT", "GET", "POST", "PUT", "DELETE"])
    }))

  it.effect("fails if its source can be read only once", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make(script)
      const source = BlobSource.fromStream(big.length, Stream.succeed(big))
      const reason = yield* whileTimeFlies(reasonOf(registry.pushBlob(name, descriptor, source)))
      assert.deepInclude(reason, { _tag: "UnexpectedResponse", status: 502 })
      assert.deepStrictEqual(requests.map(({ method }) => method), ["POST", "PUT", "DELETE"])
    }))
})
