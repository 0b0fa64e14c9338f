import { assert, describe } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Scope, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as Limiter from "effect-oci/Limiter"
import type { RegistryError } from "effect-oci/RegistryError"
import { TestClock } from "effect/testing"
import { bytesOf, repository } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { digestOf, make, type Script } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const large = new Uint8Array(100_000)
const descriptor = { digest: digestOf(large), size: large.length }
const uploads = "/v2/team/app/blobs/uploads/"

const opened = { status: 202, headers: { location: `${uploads}1` } }
const sessions: Script = { [`POST ${uploads}`]: opened, [`DELETE ${uploads}1`]: { status: 204 } }

/** Asserts that an effect fails with a timeout of this phase after the duration, and not before. */
const assertTimeout = Effect.fnUntraced(function*<A>(
  operation: Effect.Effect<A, RegistryError>,
  phase: "headers" | "body" | "commit",
  after: Duration.Duration,
  begins: Effect.Effect<void> = Effect.void
) {
  const fiber = yield* Effect.forkChild(Effect.flip(operation))
  yield* begins
  yield* TestClock.adjust(Duration.subtract(after, Duration.millis(1)))
  assert.isUndefined(fiber.pollUnsafe())
  yield* TestClock.adjust("1 millis")
  const error = yield* Fiber.join(fiber)
  assert.deepInclude(error.reason, { _tag: "Timeout", phase, after })
  assert.isTrue(error.isRetryable)
})

const minute = Duration.minutes(1)

describe("the wait for the headers of a response", () => {
  it.effect("ends after a minute", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ "GET /v2/": () => Effect.never })
      yield* assertTimeout(registry.ping, "headers", minute)
    }))

  it.effect("ends after a minute for a blob as well", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`GET /v2/team/app/blobs/${digest}`]: () => Effect.never })
      yield* assertTimeout(Effect.scoped(registry.getBlob(name, digest)), "headers", minute)
    }))

  it.effect("ends after a minute for a session that is being opened, which cannot be interrupted", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`POST ${uploads}`]: () => Effect.never })
      yield* assertTimeout(Effect.scoped(registry.startUpload(name)), "headers", minute)
    }))

  it.effect("does not include the body of a redirect", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/": { status: 307, headers: { location: "/moved" }, body: Stream.never },
        "GET /moved": {}
      })
      const fiber = yield* Effect.forkChild(registry.ping)
      yield* TestClock.adjust("1 second")
      assert.isDefined(fiber.pollUnsafe())
    }))

  it.effect("ends after the time that a program sets", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ "GET /v2/": () => Effect.never })
      const after = Duration.seconds(3)
      yield* assertTimeout(Effect.provideService(registry.ping, HttpRegistry.HeadersTimeout, after), "headers", after)
    }))
})

describe("a body that is downloaded", () => {
  const digest = digestOf(large)
  const get = `GET /v2/team/app/blobs/${digest}`
  const headers = { "content-length": `${large.length}` }
  const parts = Stream.rechunk(Stream.fromIterable([large.subarray(0, 50_000), large.subarray(50_000)]), 1)
  const read = (script: Script, onChunk: Effect.Effect<unknown> = Effect.void) =>
    Effect.gen(function*() {
      const { registry } = yield* make(script)
      const { stream } = yield* registry.getBlob(name, digest)
      return yield* Stream.mkUint8Array(Stream.tap(stream, () => onChunk))
    }).pipe(Effect.scoped)

  it.effect("may stall for a minute", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const body = Stream.concat(Stream.take(parts, 1), Stream.never)
      const idle = read({ [get]: { headers, body } }, Deferred.succeed(begun, undefined))
      yield* assertTimeout(idle, "body", minute, Deferred.await(begun))
    }))

  it.effect("may stall for the time that a program sets", () => {
    const after = Duration.seconds(3)
    const idle = read({ [get]: { headers, body: Stream.never } })
    return assertTimeout(Effect.provideService(idle, HttpRegistry.IdleTimeout, after), "body", after)
  })

  it.effect("may stall for a minute if it is small as well", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`GET /v2/team/app/blobs/${digestOf(content)}`]: { headers: { "content-length": "10" }, body: Stream.never }
      })
      const reading = Effect.flatMap(registry.getBlob(name, digestOf(content)), ({ stream }) => Stream.runDrain(stream))
      yield* assertTimeout(Effect.scoped(reading), "body", minute)
    }))

  it.effect("may take any time while it moves", () =>
    Effect.gen(function*() {
      const body = Stream.mapEffect(parts, (chunk) => Effect.delay(Effect.succeed(chunk), "59 seconds"))
      const fiber = yield* Effect.forkChild(read({ [get]: { headers, body } }))
      yield* TestClock.adjust("118 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), large)
    }))

  it.effect("may take any time while it moves if it is small as well", () =>
    Effect.gen(function*() {
      const pieces = Stream.rechunk(Stream.fromIterable([content.subarray(0, 5), content.subarray(5)]), 1)
      const body = Stream.mapEffect(pieces, (chunk) => Effect.delay(Effect.succeed(chunk), "59 seconds"))
      const { registry } = yield* make({
        [`GET /v2/team/app/blobs/${digestOf(content)}`]: { headers: { "content-length": "10" }, body }
      })
      const { stream } = yield* registry.getBlob(name, digestOf(content))
      const fiber = yield* Effect.forkChild(Stream.mkUint8Array(stream))
      yield* TestClock.adjust("118 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), content)
    }))

  it.effect("is not blamed for a slow reader", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [get]: { headers, body: parts } })
      const { stream } = yield* registry.getBlob(name, digest)
      const fiber = yield* Effect.forkChild(Stream.runForEach(stream, () => Effect.sleep("1 hour")))
      yield* TestClock.adjust("2 hours")
      yield* Fiber.join(fiber)
    }))

  it.effect("may stall for a minute as a manifest as well", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`GET /v2/team/app/manifests/${digest}`]: { body: Stream.never } })
      yield* assertTimeout(registry.getManifest(name, digest), "body", minute)
    }))
})

describe("a body that is uploaded", () => {
  const put = `PUT ${uploads}1`
  const pushed = (script: Script, source: BlobSource.BlobSource = BlobSource.fromBytes(large)) =>
    Effect.flatMap(make({ ...sessions, ...script }), ({ registry }) => registry.pushBlob(name, descriptor, source))

  it.effect("may wait a minute for the registry to read", () =>
    assertTimeout(pushed({ [put]: () => Effect.never }), "body", minute))

  it.effect("may wait a quarter of an hour for the registry to store it", () =>
    assertTimeout(
      pushed({ [put]: ({ receive }) => Effect.andThen(receive, Effect.never) }),
      "commit",
      Duration.minutes(15)
    ))

  it.effect("may wait for the time that a program sets", () =>
    Effect.gen(function*() {
      const after = Duration.seconds(3)
      const unread = pushed({ [put]: () => Effect.never })
      yield* assertTimeout(Effect.provideService(unread, HttpRegistry.IdleTimeout, after), "body", after)
      const unstored = pushed({ [put]: ({ receive }) => Effect.andThen(receive, Effect.never) })
      yield* assertTimeout(Effect.provideService(unstored, HttpRegistry.CommitTimeout, after), "commit", after)
    }))

  it.effect("is stored in the end", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(pushed({
        [put]: ({ receive }) => receive.pipe(Effect.andThen(Effect.sleep("14 minutes")), Effect.as({ status: 201 }))
      }))
      yield* TestClock.adjust("14 minutes")
      assert.deepInclude(yield* Fiber.join(fiber), descriptor)
    }))

  it.effect("may come from a slow source, for which the registry is not blamed", () =>
    Effect.gen(function*() {
      const chunks = Stream.rechunk(Stream.fromIterable([large.subarray(0, 50_000), large.subarray(50_000)]), 1)
      const slow = Stream.mapEffect(chunks, (chunk) => Effect.delay(Effect.succeed(chunk), "1 hour"))
      const fiber = yield* Effect.forkChild(
        pushed({ [put]: { status: 201 } }, BlobSource.fromStream(large.length, slow))
      )
      yield* TestClock.adjust("2 hours")
      assert.deepInclude(yield* Fiber.join(fiber), descriptor)
    }))
})

describe("a session that hangs", () => {
  it.effect("delays an interruption by at most a second", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const { registry } = yield* make({
        ...sessions,
        [`PUT ${uploads}1`]: () => Effect.never,
        [`DELETE ${uploads}1`]: () => Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)
      })
      const push = yield* Effect.forkChild(registry.pushBlob(name, descriptor, BlobSource.fromBytes(large)))
      yield* Effect.yieldNow
      const interruption = yield* Effect.forkChild(Fiber.interrupt(push))
      yield* Deferred.await(reached)
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(interruption)
    }))
})

describe("the number of concurrent requests at a registry", () => {
  /** A registry that answers on demand, and the number of its concurrent requests. */
  const gated = Effect.fnUntraced(function*(limiter: Limiter.Limiter, status: number = 200) {
    let now = 0
    let most = 0
    const gate = yield* Deferred.make<void>()
    const scripted = yield* make({
      "GET /v2/": () => {
        now++
        most = Math.max(most, now)
        return Effect.as(Effect.ensuring(Deferred.await(gate), Effect.sync(() => now--)), { status })
      }
    }).pipe(Effect.provideService(Limiter.PerRegistry, () => limiter))
    return { ...scripted, most: () => most, open: Deferred.succeed(gate, undefined) }
  })

  it.effect("does not exceed its limit", () =>
    Effect.gen(function*() {
      const { most, open, registry } = yield* gated(Limiter.fixed(3))
      const pings = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 20 }), () => registry.ping, { concurrency: "unbounded" })
      )
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow
      yield* open
      yield* Fiber.join(pings)
      assert.strictEqual(most(), 3)
    }))

  it.effect("includes a blob until its end, or until it is released", () =>
    Effect.gen(function*() {
      const limiter = Limiter.fixed(1)
      const { registry } = yield* make({
        [`GET /v2/team/app/blobs/${digest}`]: {
          body: Stream.fromIterable(["01234", "56789"].map(bytesOf), { chunkSize: 1 }),
          headers: { "content-length": "10" }
        },
        "GET /v2/": {}
      }).pipe(Effect.provideService(Limiter.PerRegistry, () => limiter))
      const scope = yield* Scope.make()
      const opened = yield* Scope.provide(registry.getBlob(name, digest), scope)
      const waiting = yield* Effect.forkChild(registry.ping)
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow
      assert.isUndefined(waiting.pollUnsafe())
      yield* Stream.runDrain(opened.stream)
      yield* Fiber.join(waiting)
      yield* Effect.scoped(registry.getBlob(name, digest))
      yield* registry.ping
    }))

  it.effect("does not include a blob that was refused", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`GET /v2/team/app/blobs/${digest}`]: [{ status: 503 }, { body: content }]
      }).pipe(Effect.provideService(Limiter.PerRegistry, () => Limiter.fixed(1)))
      yield* Effect.flip(registry.getBlob(name, digest))
      yield* Stream.runDrain((yield* registry.getBlob(name, digest)).stream)
    }))

  it.effect.each([429, 503])(
    "is halved by a response of %i, once for all concurrent requests",
    (status) =>
      Effect.gen(function*() {
        const limiter = Limiter.adaptive({ start: 8 })
        const { open, registry } = yield* gated(limiter, status)
        const pings = yield* Effect.forkChild(
          Effect.forEach(Array.from({ length: 8 }), () => Effect.flip(registry.ping), { concurrency: "unbounded" })
        )
        for (let i = 0; i < 100; i++) yield* Effect.yieldNow
        yield* open
        yield* Fiber.join(pings)
        assert.strictEqual(yield* limiter.limit, 4)
      })
  )

  it.effect("is created for the host of the registry", () =>
    Effect.gen(function*() {
      const hosts: Array<string> = []
      yield* make({}).pipe(Effect.provideService(Limiter.PerRegistry, (host) => {
        hosts.push(host)
        return Limiter.unlimited()
      }))
      assert.deepStrictEqual(hosts, ["registry.test"])
    }))

  it.effect("pauses as the RateLimit headers of responses say, without a failure of the operation", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        "GET /v2/": [
          { headers: { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "10;w=21600" } },
          { headers: { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "100;w=21600" } }
        ]
      }).pipe(Effect.provideService(Limiter.PerRegistry, (host) => Limiter.make(host, { keep: 10 })))
      yield* registry.ping
      const paused = yield* Effect.forkChild(registry.ping)
      yield* TestClock.adjust("32 minutes")
      assert.strictEqual(sent().length, 1)
      yield* TestClock.adjust("1 minutes")
      yield* Fiber.join(paused)
      yield* registry.ping
      assert.strictEqual(sent().length, 3)
    }))

  it.effect("ignores the RateLimit headers of another host that the registry redirects to", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/": { status: 307, headers: { location: "https://storage.test/x" } },
        "GET https://storage.test/x": { headers: { "ratelimit-remaining": "0", "ratelimit-reset": "60" } }
      }).pipe(Effect.provideService(Limiter.PerRegistry, (host) => Limiter.make(host, { keep: 10 })))
      yield* registry.ping
      assert.isUndefined(yield* registry.limiter?.budget ?? Effect.undefined)
      yield* registry.ping
    }))

  it.effect("is the one that the program sets for all registries", () =>
    Effect.gen(function*() {
      const { registry } = yield* Effect.provide(make({}), Limiter.layerFixed(2))
      const free = yield* Effect.provide(make({}), Limiter.layerUnlimited)
      const limits = [registry, free.registry].flatMap(({ limiter }) => limiter?.limit ?? [])
      assert.deepStrictEqual(yield* Effect.all(limits), [2, Infinity])
    }))
})
