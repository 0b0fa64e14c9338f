import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Scope, Stream } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as NodeHttp from "effect-oci/NodeHttp"
import { HttpClient, type HttpClientError, HttpClientRequest } from "effect/http"
import * as Net from "node:net"
import { TimedOut } from "../../src/http/TimedOut.ts"
import type { Connection } from "../../src/node/Connection.ts"
import { Exchange } from "../../src/node/Exchange.ts"
import { Pool, type User } from "../../src/node/Pool.ts"
import * as RequestBody from "../../src/node/RequestBody.ts"
import { listening } from "../utils/ScriptedServer.ts"

const right = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

const makeClient = (options?: NodeHttp.Options) =>
  Effect.flatMap(Layer.build(NodeHttp.layer(options)), (context) => Effect.provide(HttpClient.HttpClient, context))

/** A server that lets `answer` handle each request. */
const raw = Effect.fnUntraced(function*(
  answer: (socket: Net.Socket, request: number, connection: number) => string | undefined
) {
  let connections = 0
  let requests = 0
  const host = yield* listening(() =>
    Net.createServer((socket) => {
      const connection = ++connections
      let count = 0
      socket.on("error", () => socket.destroy()).on("data", () => {
        requests++
        const bytes = answer(socket, ++count, connection)
        if (bytes !== undefined) socket.write(bytes)
      })
    })
  )
  return { host, url: `http://${host}/`, connections: () => connections, requests: () => requests }
})

const get = (client: HttpClient.HttpClient, url: string) =>
  Effect.flatMap(client.get(url), ({ stream }) => Stream.mkString(Stream.decodeText(stream)))

const causeOf = <A>(effect: Effect.Effect<A, HttpClientError.HttpClientError>) =>
  Effect.map(Effect.exit(effect), (exit): unknown => {
    if (Exit.isSuccess(exit)) return "success"
    const error = Cause.findErrorOption(exit.cause)
    return Option.isSome(error) ? error.value.reason.cause : exit.cause
  })

const codeOf = <A>(effect: Effect.Effect<A, HttpClientError.HttpClientError>) =>
  Effect.map(
    causeOf(effect),
    (cause) => typeof cause === "object" && cause !== null && "code" in cause ? cause.code : cause
  )

const turn = Effect.callback<void>((resume) => void setTimeout(() => resume(Effect.void), 5))

describe("a connection", () => {
  it.live.each<readonly [what: string, headers: string, connections: number]>([
    ["is kept", "", 1],
    ["is kept for as long as the server says", "keep-alive: timeout=5, max=100\r\n", 1],
    ["is not kept if the server closes it before it could be used", "keep-alive: timeout=1\r\n", 3],
    ["is not kept if the server says so", "connection: close\r\n", 3],
    ["is not kept if the server says so among others", "connection: x, Close\r\n", 3]
  ])("%s", ([, headers, expected]) =>
    Effect.gen(function*() {
      const { connections, url } = yield* raw(() => right.replace("\r\n", `\r\n${headers}`))
      const client = yield* makeClient()
      for (let count = 0; count < 3; count++) assert.strictEqual(yield* get(client, url), "ok")
      assert.strictEqual(connections(), expected)
    }))

  it.live.each<readonly [headers: string, connections: number]>([["", 2], ["connection: keep-alive\r\n", 1]])(
    "in HTTP/1.0 is kept if the server says so: %j",
    ([headers, expected]) =>
      Effect.gen(function*() {
        const { connections, url } = yield* raw(() => right.replace("1.1", "1.0").replace("\r\n", `\r\n${headers}`))
        const client = yield* makeClient()
        for (let count = 0; count < 2; count++) assert.strictEqual(yield* get(client, url), "ok")
        assert.strictEqual(connections(), expected)
      })
  )

  it.live("that the server closes goes to no request that waits for one", () =>
    Effect.gen(function*() {
      const { connections, url } = yield* raw(() => right.replace("\r\n", "\r\nconnection: close\r\n"))
      const client = yield* makeClient({ maxConnections: 1 })
      const all = yield* Effect.replicateEffect(get(client, url), 4, { concurrency: "unbounded" })
      assert.deepStrictEqual(all, ["ok", "ok", "ok", "ok"])
      assert.strictEqual(connections(), 4)
    }))

  it.live("that was used last is used first", () =>
    Effect.gen(function*() {
      const used: Array<number> = []
      const { url } = yield* raw((_, request, connection) => {
        if (request > 1) used.push(connection)
        return right
      })
      const client = yield* makeClient()
      yield* Effect.replicateEffect(get(client, url), 3, { concurrency: 3 })
      yield* get(client, url)
      yield* get(client, url)
      assert.strictEqual(used[0], used[1])
    }))

  it.live("is replaced once, not again if the new one is closed, too", () =>
    Effect.gen(function*() {
      const { connections, requests, url } = yield* raw((socket, request, connection) => {
        if (request === 1 && connection === 1) return right
        socket.destroy()
        return undefined
      })
      const client = yield* makeClient()
      yield* get(client, url)
      assert.strictEqual(yield* codeOf(get(client, url)), "ECONNRESET")
      assert.deepStrictEqual([connections(), requests()], [2, 3])
    }))

  it.live("is not replaced if some of the response has come", () =>
    Effect.gen(function*() {
      const { requests, url } = yield* raw((socket, request) => {
        if (request === 1) return right
        socket.end("HTTP/1.1 2")
        return undefined
      })
      const client = yield* makeClient()
      yield* get(client, url)
      assert.strictEqual(yield* codeOf(get(client, url)), "ECONNRESET")
      assert.strictEqual(requests(), 2)
    }))

  it.live("is not replaced if a body was streamed on it", () =>
    Effect.gen(function*() {
      const { requests, url } = yield* raw((socket, request) => {
        if (request === 1) return right
        socket.destroy()
        return undefined
      })
      const client = yield* makeClient()
      yield* get(client, url)
      const request = HttpClientRequest.bodyStream(
        HttpClientRequest.put(url),
        Stream.make(new Uint8Array(1)),
        { contentLength: 1 }
      )
      assert.strictEqual(yield* codeOf(client.execute(request)), "ECONNRESET")
      assert.strictEqual(requests(), 2)
    }))

  it.live("of a body that comes in order takes no bytes for the next response", () =>
    Effect.gen(function*() {
      const { connections, url } = yield* raw((_, request, connection) =>
        connection === 1 && request === 1
          ? "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + right.replace("ok", "no")
          : right
      )
      const client = yield* makeClient()
      for (let count = 0; count < 3; count++) assert.strictEqual(yield* get(client, url), "ok")
      assert.strictEqual(connections(), 2)
    }))

  it.live("that has brought the end of a body in a pause is not kept, because more may wait in it", () =>
    Effect.gen(function*() {
      const { host, url } = yield* raw(() => undefined)
      const reads: Array<Net.OnReadOpts> = []
      const pool = new Pool({
        buffer: Buffer.alloc(1024 * 1024),
        connectTimeout: Duration.seconds(1),
        maxConnections: Infinity,
        tunnel: undefined,
        open: ({ onread }) => {
          reads.push(onread)
          return Net.connect({ host: "127.0.0.1", port: Number(host.split(":")[1]), onread })
        }
      })
      const request = HttpClientRequest.get(url)
      const body = RequestBody.make(request)
      if ("_tag" in body) return assert.fail("the request has no body")
      const over = yield* Deferred.make<void>()
      const exchange = new Exchange({
        request,
        url: new URL(url),
        pool,
        head: "GET / HTTP/1.1\r\n\r\n",
        body,
        slabs: undefined,
        headersTimeout: Duration.seconds(1),
        idleTimeout: Duration.seconds(1)
      }, {
        onStart: () => {},
        onAnswer: () => {},
        onFailure: () => {},
        onOver: () => Deferred.doneUnsafe(over, Effect.void)
      })
      exchange.begin()
      const content = Buffer.concat([
        Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n"),
        Buffer.alloc(300_000)
      ])
      const receive = (from: number, to: number) => reads[0]?.callback(to - from, content.subarray(from, to))
      assert.isFalse(receive(0, 290_000))
      assert.isFalse(receive(290_000, content.length))
      yield* Deferred.await(over)
      yield* turn
      assert.isTrue(pool.isEmpty)
    }))
})

describe("a request that waits for a connection", () => {
  it.live("fails if none comes in time", () =>
    Effect.gen(function*() {
      const { url } = yield* raw(() => undefined)
      const client = yield* makeClient({ maxConnections: 1 })
      yield* Effect.forkChild(client.get(url))
      yield* turn
      const waiting = Effect.provideService(client.get(url), HttpRegistry.HeadersTimeout, Duration.millis(20))
      const cause = yield* causeOf(waiting)
      assert.instanceOf(cause, TimedOut)
      assert.strictEqual(cause.phase, "headers")
    }))

  it.live("leaves its turn to others if it is interrupted", () =>
    Effect.gen(function*() {
      const first = yield* Deferred.make<Net.Socket>()
      const { connections, url } = yield* raw((socket, request) => {
        if (request > 1) return right
        Deferred.doneUnsafe(first, Effect.succeed(socket))
        return undefined
      })
      const client = yield* makeClient({ maxConnections: 1 })
      const one = yield* Effect.forkChild(get(client, url))
      const socket = yield* Deferred.await(first)
      const two = yield* Effect.forkChild(get(client, url))
      const three = yield* Effect.forkChild(get(client, url))
      yield* turn
      yield* Fiber.interrupt(two)
      socket.write(right)
      assert.deepStrictEqual([yield* Fiber.join(one), yield* Fiber.join(three)], ["ok", "ok"])
      assert.strictEqual(connections(), 1)
    }))

  it.live("fails when the client is closed, as one that would be repeated", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const { connections, url } = yield* raw((_, request) => {
        if (request === 1) return right
        Deferred.doneUnsafe(asked, Effect.void)
        return undefined
      })
      const scope = yield* Scope.make()
      const client = yield* Scope.provide(makeClient({ maxConnections: 1 }), scope)
      yield* get(client, url)
      const fibers = yield* Effect.replicateEffect(Effect.forkChild(codeOf(get(client, url))), 3)
      yield* Deferred.await(asked)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), ["ECONNRESET", "ECONNRESET", "ECONNRESET"])
      assert.strictEqual(connections(), 1)
    }))
})

describe("a pool", () => {
  /** A pool of connections to a silent server, and a user of it. */
  const silent = Effect.fnUntraced(function*() {
    const host = yield* listening(() => Net.createServer((socket) => socket.on("error", () => socket.destroy())))
    const pool = new Pool({
      buffer: Buffer.alloc(1024),
      connectTimeout: Duration.seconds(1),
      maxConnections: Infinity,
      tunnel: undefined,
      open: ({ onread }) => Net.connect({ host: "127.0.0.1", port: Number(host.split(":")[1]), onread })
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => pool.close()))
    const use = Effect.callback<Connection>((resume) => {
      const user: User = {
        isOver: false,
        start: (connection) => resume(Effect.succeed(connection)),
        read: () => true,
        memory: () => undefined,
        end: () => {},
        close: () => {},
        late: () => {}
      }
      pool.use(user)
    })
    return { pool, use }
  })
  const pause = Effect.callback<void>((resume) => void setTimeout(() => resume(Effect.void), 60))

  it.live("closes a connection that is not used in time", () =>
    Effect.gen(function*() {
      const { pool, use } = yield* silent()
      const connection = yield* use
      pool.keep(connection, 20)
      yield* pause
      assert.isTrue(connection.socket.destroyed)
      yield* turn
      assert.isTrue(pool.isEmpty)
    }))

  it.live("does not close a connection that is used again", () =>
    Effect.gen(function*() {
      const { pool, use } = yield* silent()
      const connection = yield* use
      pool.keep(connection, 20)
      assert.strictEqual(yield* use, connection)
      yield* pause
      assert.isFalse(connection.socket.destroyed)
    }))

  it.live("that is closed still serves requests, and keeps no connection", () =>
    Effect.gen(function*() {
      const { pool, use } = yield* silent()
      const before = yield* use
      pool.close()
      assert.isTrue(before.socket.destroyed)
      const after = yield* use
      assert.isFalse(after.socket.destroyed)
      pool.keep(after, 1000)
      assert.isTrue(after.socket.destroyed)
    }))

  it.live("does not give out a connection that is being closed", () =>
    Effect.gen(function*() {
      const { pool, use } = yield* silent()
      const connection = yield* use
      pool.keep(connection, 1000)
      connection.destroy()
      assert.notStrictEqual(yield* use, connection)
    }))
})
