import { assert, describe } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import type { Registry } from "effect-oci/Registry"
import type * as Http from "node:http"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { connect, digestOf, listen, reasonOf } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const large = new Uint8Array(4 * 1024 * 1024)
const uploads = "/v2/team/app/blobs/uploads/"

type Handlers = Readonly<Record<string, (request: Http.IncomingMessage, response: Http.ServerResponse) => void>>

/** A registry on loopback whose client has a single connection, so that a connection in use blocks later requests. */
const serve = Effect.fnUntraced(function*(handlers: Handlers) {
  const requests: Array<Http.IncomingMessage> = []
  const host = yield* listen((request, response) => {
    requests.push(request)
    const line = `${request.method} ${request.url}`
    const handler = handlers[line] ?? handlers[line.split("?", 1)[0] ?? line]
    if (handler === undefined) response.writeHead(404).end()
    else handler(request, response)
  })
  const registry = yield* connect({ host }, { maxConnections: 1 })
  return { host, registry, requests, sent: () => requests.map(({ method, url }) => `${method} ${url}`) }
})

/** Sends an endless body while the client reads. */
const flood = (response: Http.ServerResponse) => {
  const chunk = Buffer.alloc(64 * 1024)
  const write = () => {
    while (!response.destroyed && response.write(chunk));
  }
  response.on("drain", write)
  write()
}
const pong = { "GET /v2/": (_: Http.IncomingMessage, response: Http.ServerResponse) => void response.end() }
/** Asserts that the only connection is free again, without a garbage collection. */
const assertFree = (registry: Registry) =>
  Effect.provideService(registry.ping, HttpRegistry.HeadersTimeout, Duration.seconds(2))

const blob = `/v2/team/app/blobs/${digest}`
const whole = { "content-length": `${large.length}` }

describe("downloading", () => {
  it.live("fails if the connection breaks in the middle", () =>
    Effect.gen(function*() {
      const { registry } = yield* serve({
        [`GET ${blob}`]: (_, response) => {
          response.writeHead(200, { "content-length": "10" })
          response.write("01234", () => response.destroy())
        }
      })
      const { stream } = yield* registry.getBlob(name, digest)
      const error = yield* Effect.flip(Stream.runDrain(stream))
      assert.strictEqual(error.reason._tag, "Transport")
      assert.isTrue(error.isRetryable)
    }))

  it.live("fails if the port is closed", () =>
    Effect.gen(function*() {
      const host = yield* Effect.scoped(listen(() => {}))
      const registry = yield* connect({ host })
      assert.deepInclude(yield* reasonOf(registry.ping), { _tag: "Transport", code: "ECONNREFUSED" })
    }))

  it.live("aborts an endless manifest at its limit, and releases the connection", () =>
    Effect.gen(function*() {
      const { registry } = yield* serve({
        ...pong,
        "GET /v2/team/app/manifests/latest": (_, response) => flood(response.writeHead(200))
      })
      const reason = yield* reasonOf(registry.getManifest(name, tag("latest")))
      assert.deepInclude(reason, { _tag: "ContentTooLarge", limit: 8 * 1024 * 1024 })
      yield* assertFree(registry)
    }))

  it.live("aborts an endless error, and releases the connection", () =>
    Effect.gen(function*() {
      const { registry } = yield* serve({
        ...pong,
        "GET /v2/team/app/manifests/latest": (_, response) => flood(response.writeHead(500)),
        [`GET ${blob}`]: (_, response) => flood(response.writeHead(404))
      })
      assert.strictEqual((yield* Effect.flip(registry.getManifest(name, tag("latest")))).status, 500)
      assert.strictEqual((yield* Effect.flip(registry.getBlob(name, digest))).status, 404)
      yield* assertFree(registry)
    }))

  it.live("releases the connection when the scope of a blob closes, read or not", () =>
    Effect.gen(function*() {
      const { registry } = yield* serve({
        ...pong,
        [`GET ${blob}`]: (_, response) => void response.writeHead(200, whole).write("0")
      })
      yield* Effect.scoped(registry.getBlob(name, digest))
      yield* assertFree(registry)
      yield* Effect.scoped(
        Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.runDrain(Stream.take(stream, 1)))
      )
      yield* assertFree(registry)
    }))

  it.live("releases the connection of a redirect as well", () =>
    Effect.gen(function*() {
      const { registry } = yield* serve({
        ...pong,
        [`GET ${blob}`]: (_, response) => flood(response.writeHead(307, { location: "/moved" })),
        "GET /moved": (_, response) => void response.writeHead(200, whole).write("0")
      })
      yield* Effect.scoped(registry.getBlob(name, digest))
      yield* assertFree(registry)
    }))

  it.live("releases the connection after a part of a whole blob", () =>
    Effect.gen(function*() {
      const { registry } = yield* serve({
        ...pong,
        [`GET ${blob}`]: (_, response) => flood(response.writeHead(200, whole))
      })
      const { stream } = yield* registry.getBlob(name, digest, { range: { offset: 2, length: 3 } })
      assert.lengthOf(yield* Stream.mkUint8Array(stream), 3)
      yield* assertFree(registry)
    }))

  it.live("reads no faster than its reader", () =>
    Effect.gen(function*() {
      let written = 0
      const { registry } = yield* serve({
        [`GET ${blob}`]: (_, response) => {
          response.writeHead(200, { "content-length": `${large.length * 1000}` })
          const write = () => {
            while (!response.destroyed && response.write(large)) written++
          }
          response.on("drain", write)
          write()
        }
      })
      const { stream } = yield* registry.getBlob(name, digest)
      yield* Stream.runDrain(Stream.take(stream, 10))
      assert.isBelow(written, 10)
    }))

  it.live("ends with its fiber", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const { registry } = yield* serve({
        [`GET ${blob}`]: (_, response) => {
          response.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
          response.writeHead(200, whole).write("0")
        }
      })
      const read = Effect.flatMap(
        registry.getBlob(name, digest),
        ({ stream }) => Stream.runForEach(stream, () => Deferred.succeed(begun, undefined))
      )
      const fiber = yield* Effect.forkChild(Effect.scoped(read))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(closed)
    }))
})

describe("uploading", () => {
  const location = { location: `${uploads}1?state=%c3%A9~%7E'a%2Fb+c` }
  const open = (_: Http.IncomingMessage, response: Http.ServerResponse) => void response.writeHead(202, location).end()
  const store = (status: number) => (request: Http.IncomingMessage, response: Http.ServerResponse) => {
    request.resume().once("end", () => response.writeHead(status).end())
  }
  const cancelled = Effect.map(Deferred.make<void>(), (deferred) => ({
    wait: Deferred.await(deferred),
    handler: (_: Http.IncomingMessage, response: Http.ServerResponse) => {
      Deferred.doneUnsafe(deferred, Effect.void)
      response.writeHead(204).end()
    }
  }))
  const descriptor = { digest: digestOf(large), size: large.length }

  it.live("says the length beforehand (C15)", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* serve({ [`POST ${uploads}`]: open, [`PUT ${uploads}1`]: store(201) })
      yield* registry.pushBlob(name, descriptor, BlobSource.fromBytes(large))
      yield* registry.pushBlob(name, { digest: digestOf(""), size: 0 }, BlobSource.fromBytes(new Uint8Array()))
      const bodies = requests.filter(({ method }) => method === "PUT")
      assert.deepStrictEqual(bodies.map(({ headers }) => headers["content-length"]), [`${large.length}`, "0"])
      for (const { headers } of requests) assert.notProperty(headers, "transfer-encoding")
    }))

  it.live("says that the request that opens a session has no body (C17)", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* serve({ [`POST ${uploads}`]: open })
      yield* Effect.scoped(registry.startUpload(name))
      assert.strictEqual(requests[0]?.headers["content-length"], "0")
    }))

  it.live("uses a Location to the letter (C14)", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* serve({ [`POST ${uploads}`]: open, [`PUT ${uploads}1`]: store(201) })
      yield* registry.pushBlob(name, descriptor, BlobSource.fromBytes(large))
      assert.strictEqual(
        sent()[1]?.replaceAll("%27", "'"), // which is the same in a query (RFC 3986, 6.2.2.2 and WHATWG URL)
        `PUT ${location.location}&digest=${encodeURIComponent(descriptor.digest)}`
      )
    }))

  it.live.each([["short", large.length - 1], ["long", large.length + 1]] as const)(
    "never completes a body that is too %s",
    ([, length]) =>
      Effect.gen(function*() {
        let complete = false
        const cancel = yield* cancelled
        const { registry } = yield* serve({
          [`POST ${uploads}`]: open,
          [`PUT ${uploads}1`]: (request) => void request.resume().once("end", () => (complete = true)),
          [`DELETE ${uploads}1`]: cancel.handler
        })
        const source = BlobSource.fromStream(large.length, Stream.rechunk(Stream.fromIterable(pieces(length)), 1))
        const reason = yield* reasonOf(registry.pushBlob(name, descriptor, source))
        assert.strictEqual(reason._tag, "SizeMismatch")
        yield* cancel.wait
        assert.isFalse(complete)
      })
  )

  it.live("needs no more connections than there are uploads at a time", () =>
    Effect.gen(function*() {
      const sockets = new Set<unknown>()
      const host = yield* listen((request, response) => {
        sockets.add(request.socket)
        request.resume().on("end", () => {
          const isSession = request.method === "POST"
          // later than at once, so that all are under way
          setTimeout(() => response.writeHead(isSession ? 202 : 201, { location: `${uploads}one` }).end(), 5)
        })
      })
      const registry = yield* connect({ host })
      yield* Effect.replicateEffect(registry.pushBlob(name, descriptor, BlobSource.fromBytes(large)), 16, {
        concurrency: 4,
        discard: true
      })
      assert.isAtMost(sockets.size, 4)
    }))

  it.live("is cancelled by an interruption in the middle of the body (C23)", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const aborted = yield* Deferred.make<void>()
      const cancel = yield* cancelled
      const { registry } = yield* serve({
        [`POST ${uploads}`]: open,
        [`PUT ${uploads}1`]: (request) => {
          request.once("data", () => Deferred.doneUnsafe(begun, Effect.void))
          request.once("error", () => Deferred.doneUnsafe(aborted, Effect.void))
        },
        [`DELETE ${uploads}1`]: cancel.handler
      })
      const source = BlobSource.fromStream(large.length, Stream.concat(Stream.succeed(content), Stream.never))
      const fiber = yield* Effect.forkChild(registry.pushBlob(name, descriptor, source))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(aborted)
      yield* cancel.wait
    }))

  it.live("pulls no more from its source than the registry accepts, and fails if that is nothing", () =>
    Effect.gen(function*() {
      let pulled = 0
      const { registry } = yield* serve({
        [`POST ${uploads}`]: open,
        [`PUT ${uploads}1`]: (request) => request.pause()
      })
      const endless = Stream.rechunk(
        Stream.forever(Stream.sync(() => large.subarray(0, (pulled += 65_536) && 65_536))),
        1
      )
      const size = 2 ** 40
      const reason = yield* reasonOf(
        registry.pushBlob(name, { digest, size }, BlobSource.fromStream(size, endless)).pipe(
          Effect.provideService(HttpRegistry.IdleTimeout, Duration.millis(200))
        )
      )
      assert.deepInclude(reason, { _tag: "Timeout", phase: "body" })
      assert.isBelow(pulled, 64 * 1024 * 1024)
    }))

  it.live("receives a refusal before the end of its body", () =>
    Effect.gen(function*() {
      const { registry } = yield* serve({
        [`POST ${uploads}`]: open,
        [`PUT ${uploads}1`]: (request, response) => void request.once("data", () => response.writeHead(413).end())
      })
      const source = BlobSource.fromStream(large.length, Stream.concat(Stream.succeed(content), Stream.never))
      const reason = yield* reasonOf(registry.pushBlob(name, descriptor, source))
      assert.deepInclude(reason, { _tag: "ContentTooLarge", status: 413 })
    }))

  it.live("does not wait forever for a session to open", () =>
    Effect.gen(function*() {
      const { registry } = yield* serve({ [`POST ${uploads}`]: () => {} })
      const reason = yield* reasonOf(Effect.scoped(registry.startUpload(name))).pipe(
        Effect.provideService(HttpRegistry.HeadersTimeout, Duration.millis(50))
      )
      assert.deepInclude(reason, { _tag: "Timeout", phase: "headers" })
    }))
})

const pieces = function*(length: number) {
  for (let at = 0; at < length; at += 65_536) yield new Uint8Array(Math.min(65_536, length - at))
}
