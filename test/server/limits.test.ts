import { assert, describe, it } from "@effect/vitest"
import { Deferred, type Duration, Effect, Fiber, Redacted, Stream } from "effect"
import * as Authentication from "effect-oci/Authentication"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type * as RegistryServer from "effect-oci/RegistryServer"
import { TestClock } from "effect/testing"
import * as Net from "node:net"
import { networkOf } from "../../src/server/Limits.ts"
import { digestOf } from "../utils/digests.ts"
import { pushBlob, repository, tag } from "../utils/images.ts"
import { override } from "../utils/registries.ts"
import { connect, memory, send, type Sent, serve } from "../utils/Served.ts"

const app = repository("team/app")
const uploads = "/v2/team/app/blobs/uploads/"
const open = `POST ${uploads}`

const users = {
  authentication: Authentication.basic({
    check: Authentication.passwords({ ada: Redacted.make("s3cret"), bob: Redacted.make("s3cret") })
  })
}
const as = (user: string): Sent => ({
  headers: { authorization: `Basic ${Buffer.from(`${user}:s3cret`).toString("base64")}` }
})

/** Serves a registry whose list of tags waits until it is released. */
const waiting = Effect.fnUntraced(function*(options: RegistryServer.Options) {
  const registry = yield* MemoryRegistry.make()
  const opened = yield* Deferred.make<void>()
  const { host } = yield* serve(
    override(registry, {
      tags: () => Stream.fromEffectDrain(Deferred.await(opened))
    }),
    options
  )
  /** Sends a request that stays in flight until `end`. */
  const begin = Effect.fnUntraced(function*(sent?: Sent) {
    return yield* Effect.forkChild(send(host, "GET /v2/team/app/tags/list", sent), { startImmediately: true })
  })
  return { host, begin, end: Deferred.succeed(opened, undefined) }
})

describe("open uploads", () => {
  it.live("are limited for each client: 429 says when to retry", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ clientSessionLimit: 2 })
      const [first] = [yield* ask(open), yield* ask(open)]
      const { code, headers, status } = yield* ask(open)
      assert.deepStrictEqual([status, code], [429, "TOOMANYREQUESTS"])
      assert.match(`${headers["retry-after"]}`, /^[1-9][0-9]*$/)
      yield* ask(`DELETE ${first.headers.location}`)
      assert.strictEqual((yield* ask(open)).status, 202)
      assert.strictEqual((yield* ask(open)).status, 429)
    }))

  it.live("count for users instead of their address", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ ...users, clientSessionLimit: 1 })
      assert.strictEqual((yield* ask(open, as("ada"))).status, 202)
      assert.strictEqual((yield* ask(open, as("ada"))).status, 429)
      assert.strictEqual((yield* ask(open, as("bob"))).status, 202)
    }))

  it.live("are limited for all clients together", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ ...users, sessionLimit: 2 })
      assert.strictEqual((yield* ask(open, as("ada"))).status, 202)
      assert.strictEqual((yield* ask(open, as("bob"))).status, 202)
      assert.strictEqual((yield* ask(open, as("bob"))).status, 429)
    }))

  it.live("no longer count after their commit, and mounts do not count", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory({ clientSessionLimit: 1 })
      const { digest } = yield* pushBlob(registry, app, "0123456789")
      for (let round = 0; round < 3; round++) {
        const { headers } = yield* ask(open)
        const { status } = yield* ask(`PUT ${headers.location}?digest=${digest}`, { body: "0123456789" })
        assert.strictEqual(status, 201)
        assert.strictEqual((yield* ask(`${open}?mount=${digest}&from=team/app`)).status, 201)
      }
    }))

  it.live.each(["clientSessionLimit", "sessionLimit"] as const)(
    "include blobs of unknown length in a single POST until they are stored: %s",
    (limit) =>
      Effect.gen(function*() {
        const registry = yield* MemoryRegistry.make()
        const began = yield* Deferred.make<void>()
        const { host } = yield* serve(
          override(registry, {
            startUpload: (...args) =>
              Effect.tap(registry.startUpload(...args), () => Deferred.succeed(began, undefined))
          }),
          { [limit]: 1 }
        )
        const ask = (line: string, sent?: Sent) => send(host, line, sent)
        const digest = digestOf("0123456789")
        const { read, write } = yield* connect(host)
        yield* write(`${open}?digest=${digest} HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n`)
        yield* Deferred.await(began)
        assert.strictEqual((yield* ask(open)).status, 429)
        const chunked = { body: "0123456789", headers: { "transfer-encoding": "chunked" } }
        assert.strictEqual((yield* ask(`${open}?digest=${digest}`, chunked)).code, "TOOMANYREQUESTS")
        yield* write("a\r\n0123456789\r\n0\r\n\r\n")
        assert.match(yield* read(/\r\n\r\n/), /^HTTP\/1.1 201/)
        assert.strictEqual((yield* ask(`${open}?digest=${digest}`, chunked)).status, 201)
        assert.strictEqual((yield* ask(open)).status, 202)
      })
  )

  it.effect("no longer count after they expired", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ clientSessionLimit: 1 })
      yield* ask(open)
      assert.strictEqual((yield* ask(open)).status, 429)
      yield* TestClock.adjust("75 minutes")
      assert.strictEqual((yield* ask(open)).status, 202)
    }))
})

describe("requests in flight", () => {
  it.live("are limited for each client", () =>
    Effect.gen(function*() {
      const { begin, end, host } = yield* waiting({ clientRequestLimit: 2 })
      const first = [yield* begin(), yield* begin()]
      const refused = Effect.repeat(send(host, "GET /v2/"), { until: ({ status }) => status === 429 })
      const { code, headers } = yield* refused
      assert.deepStrictEqual([code, headers["retry-after"]], ["TOOMANYREQUESTS", "1"])
      yield* end
      for (const fiber of first) yield* Fiber.join(fiber)
      assert.strictEqual((yield* send(host, "GET /v2/")).status, 200)
    }))

  it.live("count for users instead of their address", () =>
    Effect.gen(function*() {
      const { begin, end, host } = yield* waiting({ ...users, clientRequestLimit: 1 })
      const fiber = yield* begin(as("ada"))
      yield* Effect.repeat(send(host, "GET /v2/", as("ada")), { until: ({ status }) => status === 429 })
      assert.strictEqual((yield* send(host, "GET /v2/", as("bob"))).status, 200)
      yield* end
      yield* Fiber.join(fiber)
      assert.strictEqual((yield* send(host, "GET /v2/", as("ada"))).status, 200)
    }))

  it.live("are limited for all clients together", () =>
    Effect.gen(function*() {
      const { begin, end, host } = yield* waiting({ ...users, requestLimit: 1 })
      const fiber = yield* begin(as("ada"))
      yield* Effect.repeat(send(host, "GET /v2/", as("bob")), { until: ({ status }) => status === 429 })
      yield* end
      yield* Fiber.join(fiber)
      assert.strictEqual((yield* send(host, "GET /v2/", as("bob"))).status, 200)
    }))

  it.live("no longer count after they broke off", () =>
    Effect.gen(function*() {
      const { host } = yield* memory({ clientRequestLimit: 1 })
      const { headers } = yield* send(host, open)
      const { close, write } = yield* connect(host)
      yield* write(`PATCH ${headers.location} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123`)
      yield* Effect.repeat(send(host, "GET /v2/"), { until: ({ status }) => status === 429 })
      yield* close
      yield* Effect.repeat(send(host, "GET /v2/"), { until: ({ status }) => status === 200 })
    }))
})

describe("the bytes of manifests and lists in flight", () => {
  const put = "PUT /v2/team/app/manifests/1"
  const json = { "content-type": "application/vnd.oci.image.index.v1+json" }
  const index = (size: number) => {
    const own = { schemaVersion: 2, mediaType: json["content-type"], manifests: [] }
    return JSON.stringify({ ...own, annotations: { padding: "x".repeat(size) } })
  }

  it.live("are limited for each client while they are received", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ ...users, clientMemoryLimit: 1000 })
      const sent = (user: string) => ({ body: index(700), headers: { ...json, ...as(user).headers } })
      assert.strictEqual((yield* ask(put, sent("ada"))).status, 201)
      const { code, headers, status } = yield* ask(put, { ...sent("ada"), body: index(1000) })
      assert.deepStrictEqual([status, code, headers["retry-after"]], [429, "TOOMANYREQUESTS", "1"])
    }))

  it.live("no longer count after the request broke off", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* memory({ memoryLimit: 1000 })
      const sent = { body: index(300), headers: json }
      const { close, write } = yield* connect(host)
      const head = `${put} HTTP/1.1\r\nhost: a\r\ncontent-type: ${json["content-type"]}\r\ncontent-length: 900\r\n\r\n`
      yield* write(head + "x".repeat(800))
      yield* Effect.repeat(ask(put, sent), { until: ({ status }) => status === 429 })
      yield* close
      yield* Effect.repeat(ask(put, sent), { until: ({ status }) => status === 201 })
    }))

  it.effect("are limited while they are sent, and the connection of a client that takes none is closed", () =>
    Effect.gen(function*() {
      const { ask, host, registry } = yield* memory({ clientMemoryLimit: 30 * 1024 * 1024 })
      const content = new TextEncoder().encode(index(20 * 1024 * 1024))
      yield* registry.pushManifest(app, { mediaType: json["content-type"], bytes: content }, [tag("1")])
      const get = "GET /v2/team/app/manifests/1"
      const { bytes, headers, status } = yield* ask(get)
      assert.deepStrictEqual([status, headers["content-type"], headers["content-length"]], [
        200,
        json["content-type"],
        `${content.length}`
      ])
      assert.deepStrictEqual(bytes, content)
      yield* deaf(host, `${get} HTTP/1.1\r\nhost: a\r\n\r\n`)
      yield* Effect.repeat(ask(get), { until: ({ status }) => status === 429 })
      yield* TestClock.adjust("2 minutes")
      yield* Effect.repeat(ask(get), { until: ({ status }) => status === 200 })
    }))
})

/** Sends a request on a connection from which nothing is read. */
const deaf = (host: string, request: string) =>
  Effect.acquireRelease(
    Effect.callback<Net.Socket>((resume) => {
      const [address = "", port = ""] = host.split(":")
      const socket = Net.connect(Number(port), address, () => {
        socket.pause()
        socket.write(request)
        resume(Effect.succeed(socket))
      })
      socket.on("error", () => {})
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

describe("the rate of requests", () => {
  it.effect("is limited for each client, and says when the next one is accepted", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ clientRequestRate: 6 })
      for (let sent = 0; sent < 6; sent++) assert.strictEqual((yield* ask("GET /v2/")).status, 200)
      const { code, headers, status } = yield* ask("GET /v2/")
      assert.deepStrictEqual([status, code, headers["retry-after"]], [429, "TOOMANYREQUESTS", "10"])
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* ask("GET /v2/")).status, 200)
      assert.strictEqual((yield* ask("GET /v2/")).status, 429)
      yield* TestClock.adjust("10 minutes")
      for (let sent = 0; sent < 6; sent++) assert.strictEqual((yield* ask("GET /v2/")).status, 200)
      assert.strictEqual((yield* ask("GET /v2/")).status, 429)
    }))

  it.effect("limits how many passwords an address can try, and not the requests of its users", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ ...users, clientRequestRate: 3 })
      for (const [user, status] of [["ada", 200], ["eve", 401], ["ada", 200], ["eve", 401], ["ada", 200]] as const) {
        assert.strictEqual((yield* ask("GET /v2/", as(user))).status, status)
      }
      assert.strictEqual((yield* ask("GET /v2/", as("eve"))).status, 401)
      assert.strictEqual((yield* ask("GET /v2/", as("eve"))).status, 429)
    }))
})

describe("an address", () => {
  it.each([
    ["127.0.0.1", "127.0.0.1"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:0DB8:0:0:1:2:3:4", "2001:db8:0:0::/64"],
    ["2001:db8:1:2:3::", "2001:db8:1:2::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"]
  ])("counts as the network of one client: %s", (address, network) => {
    assert.strictEqual(networkOf(address), network)
  })
})

describe("the size of a blob", () => {
  it.live("is limited, also if it is not announced or arrives in chunks", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ uploadLimit: 9 })
      for (const headers of [{}, { "transfer-encoding": "chunked" }]) {
        const { headers: { location } } = yield* ask(open)
        assert.strictEqual((yield* ask(`PATCH ${location}`, { body: "01234", headers })).status, 202)
        const { code, status } = yield* ask(`PATCH ${location}`, { body: "56789", headers })
        assert.deepStrictEqual([status, code], [413, "SIZE_INVALID"])
      }
    }))
})

describe("a body that is slow", () => {
  const trickle = Effect.fnUntraced(function*(host: string, line: string, bytes: number, every: Duration.Input) {
    const { read, write } = yield* connect(host)
    yield* write(`${line} HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n`)
    const send = write("x".repeat(bytes)).pipe(
      Effect.andThen(Effect.replicateEffect(Effect.promise(() => new Promise((resolve) => setImmediate(resolve))), 5)),
      Effect.andThen(TestClock.adjust(every))
    )
    yield* Effect.repeat(send, { times: 20 })
    return { read, write }
  })

  it.effect("is aborted if it is slower than the minimum rate for two minutes", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* memory()
      const { headers } = yield* ask(open)
      const { read } = yield* trickle(host, `PATCH ${headers.location}`, 1, "10 seconds")
      assert.match(yield* read(/\r\n\r\n/), /^HTTP\/1\.1 408 /)
    }))

  it.effect("continues while it is fast enough", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* memory({ minimumBodyRate: 5 })
      const { headers } = yield* ask(open)
      const { read, write } = yield* trickle(host, `PATCH ${headers.location}`, 60, "10 seconds")
      yield* write("x".repeat(100_000 - 21 * 60))
      assert.match(yield* read(/\r\n\r\n/), /^HTTP\/1\.1 202 /)
    }))
})
