import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Schedule, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as Limiter from "effect-oci/Limiter"
import type { RegistryError } from "effect-oci/RegistryError"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { digestOf, make, transportError, whileTimeFlies } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const uploads = "/v2/team/app/blobs/uploads/"
const large = new Uint8Array(100_000)
const digest = digestOf(large)
const blob = `GET /v2/team/app/blobs/${digest}`

/** Runs an operation that fails, and returns its error with the time that it took. */
const timed = Effect.fnUntraced(function*<A>(operation: Effect.Effect<A, RegistryError>) {
  const before = yield* Clock.currentTimeMillis
  const error = yield* whileTimeFlies(Effect.flip(operation))
  return { error, seconds: ((yield* Clock.currentTimeMillis) - before) / 1000 }
})

const broken = (cause: unknown) => () => Effect.fail(transportError({} as never, cause)) // only its cause is read

describe("a registry that is silent", () => {
  const silent = { "GET /v2/": () => Effect.never }

  it.effect("fails after five minutes, and the error says how often it was tried", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make(silent)
      const { error, seconds } = yield* timed(registry.ping)
      assert.isAtMost(seconds, 301)
      assert.lengthOf(sent(), 5)
      assert.match(error.message, /came within \d+.*; tried 5 times in 5m \(ping\)$/)
      assert.deepInclude(error.reason, { _tag: "Timeout", attempts: 5 })
    }))

  it.effect("fails after the time that a program sets", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make(silent)
      const { error, seconds } = yield* timed(
        Effect.provideService(registry.ping, HttpRegistry.ProgressTimeout, Duration.seconds(90))
      )
      assert.isAtMost(seconds, 91)
      assert.lengthOf(sent(), 2)
      assert.include(error.message, "tried 2 times in 1m 30s")
    }))

  it.effect("fails also if each answer leads to another address", () =>
    Effect.gen(function*() {
      let hops = 0
      const { registry } = yield* make({
        "GET /v2/": () =>
          Effect.delay(Effect.succeed({ status: 307, headers: { location: `/v2/?${++hops}` } }), "50 seconds")
      })
      const { error, seconds } = yield* timed(registry.ping)
      assert.isAtMost(seconds, 310)
      assert.strictEqual(error.reason._tag, "Timeout")
    }))

  it.effect("may use all of the time to store a blob", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`POST ${uploads}`]: { status: 202, headers: { location: `${uploads}1` } },
        [`PUT ${uploads}1`]: ({ receive }) =>
          Effect.andThen(receive, Effect.delay(Effect.succeed({ status: 201 }), "14 minutes"))
      })
      const push = registry.pushBlob(name, { digest, size: large.length }, BlobSource.fromBytes(large))
      yield* whileTimeFlies(push)
    }))
})

describe("a registry that asks for pauses", () => {
  const pause = (seconds: number) => ({ status: 429, headers: { "retry-after": `${seconds}` } })

  it.effect("gets pauses for as long as the operation has time", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ "GET /v2/": pause(140) })
      const { error, seconds } = yield* timed(registry.ping)
      assert.isAtMost(seconds, 283)
      assert.lengthOf(sent(), 3)
      assert.include(error.message, "the registry asks for a pause; tried 3 times in 4m 40s")
    }))

  it.effect("in responses to others is not waited for longer either", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/": pause(250),
        "GET /v2/team/app/tags/list": () => Effect.delay(Effect.succeed(pause(250)), "200 seconds")
      })
      const short = Effect.provideService(registry.ping, HttpRegistry.ProgressTimeout, Duration.seconds(270))
      const fiber = yield* Effect.forkChild(
        Stream.runDrain(registry.tags(name)).pipe(
          Effect.provideService(HttpRegistry.HeadersTimeout, Duration.minutes(4))
        )
      )
      const { error, seconds } = yield* timed(short)
      assert.isAtMost(seconds, 270)
      assert.strictEqual(error.reason._tag, "TooManyRequests")
      yield* Fiber.interrupt(fiber)
    }))
})

describe("a transfer that moves", () => {
  const slowly = (bytes: Uint8Array, pieces: number) =>
    Stream.range(0, pieces - 1).pipe(
      Stream.map((index) => bytes.subarray(index * bytes.length / pieces, (index + 1) * bytes.length / pieces)),
      Stream.rechunk(1),
      Stream.mapEffect((piece) => Effect.delay(Effect.succeed(piece), "59 seconds"))
    )
  const cut = Stream.suspend(() => Stream.fail(transportError({} as never, new Error("cut off")))) // only its cause is read

  it.effect("is never cut off, and resumes where it breaks", () =>
    Effect.gen(function*() {
      const range = { "content-range": "bytes 50000-99999/100000", "content-length": "50000" }
      const { registry, sent } = yield* make({
        [blob]: [
          { headers: { "content-length": "100000" }, body: Stream.concat(slowly(large.subarray(50_000), 10), cut) },
          { status: 206, headers: range, body: slowly(large.subarray(50_000), 10) }
        ]
      })
      const read = Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.mkUint8Array(stream))
      assert.lengthOf(yield* whileTimeFlies(Effect.scoped(read)), 100_000)
      assert.lengthOf(sent(), 2)
    }))

  it.effect("is never cut off as a manifest either, and is read again if it breaks", () =>
    Effect.gen(function*() {
      const bytes = bytesOf(JSON.stringify({ mediaType: "application/vnd.oci.image.index.v1+json", manifests: [] }))
      const { registry, sent } = yield* make({
        "GET /v2/team/app/manifests/1": [
          { body: Stream.concat(slowly(bytes.subarray(0, 10), 10), cut) },
          { headers: { "content-type": "application/vnd.oci.image.index.v1+json" }, body: bytes }
        ]
      })
      yield* whileTimeFlies(registry.getManifest(name, tag("1")))
      assert.lengthOf(sent(), 2)
    }))

  it.effect("is not blamed for a slow reader if it breaks", () =>
    Effect.gen(function*() {
      const range = { "content-range": "bytes 50000-99999/100000", "content-length": "50000" }
      const { registry } = yield* make({
        [blob]: [
          { headers: { "content-length": "100000" }, body: Stream.concat(Stream.succeed(large.subarray(50_000)), cut) },
          { status: 206, headers: range, body: large.subarray(50_000) }
        ]
      })
      const read = Effect.flatMap(
        registry.getBlob(name, digest),
        ({ stream }) => Stream.runForEach(stream, () => Effect.sleep("10 minutes"))
      )
      yield* whileTimeFlies(Effect.scoped(read))
    }))

  it.effect("may stop, and fails five minutes after its last progress", () =>
    Effect.gen(function*() {
      const range = { "content-range": "bytes 50000-99999/100000", "content-length": "50000" }
      const { registry } = yield* make({
        [blob]: [
          { headers: { "content-length": "100000" }, body: Stream.concat(slowly(large.subarray(50_000), 10), cut) },
          { status: 206, headers: range, body: Stream.never }
        ]
      })
      const read = Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.runDrain(stream))
      const { error, seconds } = yield* timed(Effect.scoped(read))
      assert.isAtMost(seconds, 590 + 361)
      assert.match(error.message, /no more of the body came within 1m; tried \d times in \dm/)
    }))
})

it.effect("the time that an operation waits for a permit does not count", () =>
  Effect.gen(function*() {
    const { registry } = yield* Effect.provide(
      make({
        [blob]: { headers: { "content-length": "100000" }, body: large },
        "GET /v2/": [{ status: 503 }, {}]
      }),
      Limiter.layerFixed(1)
    )
    const { stream } = yield* registry.getBlob(name, digest)
    const slow = yield* Effect.forkChild(Effect.delay(Stream.runDrain(stream), "20 minutes"))
    yield* whileTimeFlies(registry.ping)
    yield* Fiber.join(slow)
  }).pipe(Effect.scoped))

describe("a permanent failure is not retried:", () => {
  it.effect.each([
    "CERT_HAS_EXPIRED",
    "CERT_NOT_YET_VALID",
    "ERR_TLS_CERT_ALTNAME_INVALID",
    "DEPTH_ZERO_SELF_SIGNED_CERT",
    "SELF_SIGNED_CERT_IN_CHAIN",
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    "ERR_SSL_WRONG_VERSION_NUMBER",
    "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"
  ])("%s", (code) =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ "GET /v2/": broken(Object.assign(new Error("TLS"), { code })) })
      const error = yield* Effect.flip(registry.ping)
      assert.isFalse(error.isRetryable)
      assert.lengthOf(sent(), 1)
    }))

  it.effect("a certificate of a token service", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        "GET /v2/": { status: 401, headers: { "www-authenticate": "Bearer realm=\"https://auth.test/\"" } },
        "GET https://auth.test/": broken(Object.assign(new Error("TLS"), { code: "CERT_HAS_EXPIRED" }))
      })
      const error = yield* Effect.flip(registry.ping)
      assert.include(error.message, "the certificate of the registry has expired")
      assert.lengthOf(sent(), 2)
    }))
})

it.effect("attempts are not counted after a single failure", () =>
  Effect.gen(function*() {
    const { registry } = yield* make({ "GET /v2/": { status: 503 } })
    const once = Effect.provideService(registry.ping, HttpRegistry.RetrySchedule, Schedule.recurs(0))
    assert.notInclude((yield* Effect.flip(once)).message, "tried")
  }))
