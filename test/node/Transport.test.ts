import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  ConfigProvider,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Schedule,
  Scheduler,
  Scope,
  Stream
} from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as NodeHttp from "effect-oci/NodeHttp"
import { HttpClient, type HttpClientError, HttpClientRequest } from "effect/http"
import * as Crypto from "node:crypto"
import * as Http from "node:http"
import * as Http2 from "node:http2"
import * as Https from "node:https"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { TimedOut } from "../../src/http/TimedOut.ts"
import { SystemLookup } from "../../src/node/Lookup.ts"
import { ResponseBody } from "../../src/node/ResponseBody.ts"
import * as Routes from "../../src/node/Routes.ts"
import { Pieces, type Storage, Whole } from "../../src/node/Storage.ts"
import * as Transport from "../../src/node/Transport.ts"
import * as certificates from "../utils/certificates.ts"
import { bytesOf } from "../utils/images.ts"
import { listen, listening } from "../utils/ScriptedServer.ts"

const ok = "HTTP/1.1 200 OK\r\n"
const tls = { cert: certificates.serverCertificate, key: certificates.serverKey }

/** A client whose connections are closed with the scope. */
const makeClient = (options?: NodeHttp.Options) =>
  Effect.flatMap(Layer.build(NodeHttp.layer(options)), (context) => Effect.provide(HttpClient.HttpClient, context))

/** Sends a request, and reads all of the answer. */
const ask = Effect.fnUntraced(function*(client: HttpClient.HttpClient, request: HttpClientRequest.HttpClientRequest) {
  const response = yield* client.execute(request)
  const body = yield* Stream.mkUint8Array(response.stream)
  return { status: response.status, headers: response.headers, text: new TextDecoder().decode(body), body }
})

/** Returns the cause of the failure to get an answer, or all of it. */
const causeOf = <A>(exit: Exit.Exit<A, HttpClientError.HttpClientError>): unknown => {
  if (Exit.isSuccess(exit)) return "success"
  const error = Cause.findErrorOption(exit.cause)
  return Option.isSome(error) ? error.value.reason.cause : exit.cause
}

const codeOf = <A>(effect: Effect.Effect<A, HttpClientError.HttpClientError>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    const cause = causeOf(exit)
    return typeof cause === "object" && cause !== null && "code" in cause ? cause.code : cause
  })

/**
 * A server of bytes. For each request it writes what `answer` returns, which knows how many connections there have
 * been, and how many requests on this one.
 */
const raw = Effect.fnUntraced(function*(
  answer: (head: string, socket: Net.Socket, request: number) => string | undefined
) {
  let connections = 0
  const heads: Array<string> = []
  const host = yield* listening(() =>
    Net.createServer((socket) => {
      connections++
      let requests = 0
      socket.on("error", () => socket.destroy())
      socket.on("data", (bytes) => {
        const head = bytes.toString("latin1")
        heads.push(head)
        const bytesBack = answer(head, socket, ++requests)
        if (bytesBack !== undefined) socket.write(bytesBack, "latin1")
      })
    })
  )
  return { url: `http://${host}/`, heads, connections: () => connections }
})

/** A body without a connection. */
const bodyIn = (storage: Storage, destroy = () => {}) =>
  new ResponseBody(
    { expect: () => {}, expectNothing: () => {}, resume: () => {}, destroy },
    storage,
    { limit: 1000, late: () => new Error("late") }
  )

describe("a body", () => {
  const content = Crypto.randomBytes(3_000_000)
  const hash = (bytes: Uint8Array) => Crypto.createHash("sha256").update(bytes).digest("hex")

  it.live("belongs to its reader, though connections are read into one buffer, which is overwritten", () =>
    Effect.gen(function*() {
      const host = yield* listen((request, response) => {
        const size = Number(request.url?.slice(1))
        if (request.method === "HEAD") return void response.writeHead(200, { "content-length": size }).end()
        response.writeHead(200, size % 2 === 0 ? { "content-length": size } : {})
        response.end(content.subarray(0, size))
      })
      let reads = 0
      const buffer = Buffer.alloc(256 * 1024)
      const { subarray } = buffer
      // each read is overwritten as soon as the parser has returned
      buffer.subarray = (...range) => {
        reads++
        queueMicrotask(() => buffer.fill(0xff))
        return subarray.apply(buffer, range)
      }
      const settings = {
        buffer,
        connectTimeout: Duration.seconds(1),
        maxConnections: 4,
        lookup: undefined,
        tls: () => ({})
      }
      const routes = Routes.make({
        settings,
        proxyTls: () => ({}),
        choose: () => undefined,
        isInsecure: () => false
      })
      yield* Effect.addFinalizer(() => Effect.sync(routes.close))
      const client = Transport.make({
        route: (url) => routes.find(url),
        slabs: () => undefined,
        headersTimeout: () => Duration.seconds(5),
        idleTimeout: () => Duration.seconds(5)
      })
      const sizes = [0, 1, 10, 1001, 65_536, 65_537, 300_000, 1_000_001, 3_000_000]
      const read = Effect.fnUntraced(function*(size: number) {
        const url = `http://${host}/${size}`
        assert.strictEqual((yield* client.execute(HttpClientRequest.head(url))).headers["content-length"], `${size}`)
        const pieces = yield* Stream.runCollect((yield* client.execute(HttpClientRequest.get(url))).stream)
        yield* Effect.sleep("5 millis")
        assert.strictEqual(hash(Buffer.concat(pieces)), hash(content.subarray(0, size)), `${size}`)
      })
      yield* Effect.forEach([...sizes, ...sizes, ...sizes], read, { concurrency: 8 })
      assert.isAbove(reads, 27)
    }))

  it.live("that is small comes in one piece, also if it arrives in several", () =>
    Effect.gen(function*() {
      const host = yield* listen((_, response) => {
        response.writeHead(200, { "content-length": 10 }).write("01234")
        setTimeout(() => response.end("56789"), 10)
      })
      const client = yield* makeClient()
      const { stream } = yield* client.get(`http://${host}/`)
      const pieces = yield* Stream.runCollect(stream)
      assert.deepStrictEqual(pieces.map((piece) => Buffer.from(piece).toString()), ["0123456789"])
    }))

  it.live.each<readonly [framing: string, bytes: string]>([
    ["in chunks", "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n5;x=y\r\n56789\r\n0\r\nx-trailer: 1\r\n\r\n"],
    ["until the connection ends", "connection: close\r\n\r\n0123456789"],
    ["of a length", "content-length: 10\r\n\r\n0123456789"]
  ])("is read %s", ([, bytes]) =>
    Effect.gen(function*() {
      const { url } = yield* raw((_, socket) => {
        socket.write(ok + bytes)
        if (bytes.startsWith("connection")) socket.end()
        return undefined
      })
      const client = yield* makeClient()
      assert.strictEqual((yield* ask(client, HttpClientRequest.get(url))).text, "0123456789")
      assert.strictEqual(yield* (yield* client.get(url)).text, "0123456789")
    }))

  it.live.each<readonly [framing: string, bytes: string]>([
    ["in chunks", "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n"],
    ["in a chunk", "transfer-encoding: chunked\r\n\r\n5\r\n01"],
    ["of a length", "content-length: 10\r\n\r\n01234"],
    ["of a length, in full", "content-length: 1000000\r\n\r\n01234"]
  ])("that ends too early is an error: %s", ([, bytes]) =>
    Effect.gen(function*() {
      const { url } = yield* raw((_, socket) => {
        socket.end(ok + bytes)
        return undefined
      })
      const client = yield* makeClient()
      assert.strictEqual(yield* codeOf(ask(client, HttpClientRequest.get(url))), "ECONNRESET")
      const { stream } = yield* client.get(url)
      const received = Stream.runFold(Stream.catch(stream, () => Stream.empty), () =>
        0, (sum, { length }) =>
        sum + length)
      assert.isAbove(yield* received, 0)
    }))

  it.live("that does not arrive in time fails, and its connection is closed", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const { url } = yield* raw((_, socket) => {
        socket.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
        return `${ok}content-length: 1000000\r\n\r\n01234`
      })
      const client = yield* makeClient()
      const exit = yield* Effect.exit(
        Effect.provideService(ask(client, HttpClientRequest.get(url)), HttpRegistry.IdleTimeout, Duration.millis(50))
      )
      const cause = causeOf(exit)
      assert.instanceOf(cause, TimedOut)
      assert.strictEqual(cause.phase, "body")
      yield* Deferred.await(closed)
    }))

  it.live("that has arrived leaves its connection open, though its reader stops early", () =>
    Effect.gen(function*() {
      let isDestroyed = false
      const body = bodyIn(new Pieces(), () => {
        isDestroyed = true
      })
      // more than is received before the reader asks
      for (let i = 0; i < 16; i++) body.receive(Buffer.alloc(64 * 1024))
      assert.isTrue(body.isFull)
      body.end("complete")
      yield* Stream.runHead(body.stream)
      assert.isFalse(isDestroyed)
    }))

  it.live("may take as long as its reader likes", () =>
    Effect.gen(function*() {
      const host = yield* listen((_, response) => void response.end(content))
      const client = yield* makeClient()
      const read = Effect.gen(function*() {
        const { stream } = yield* client.get(`http://${host}/`)
        return yield* Stream.runFoldEffect(
          stream,
          () => 0,
          (sum, { length }) => Effect.delay(Effect.succeed(sum + length), "80 millis")
        )
      })
      const size = yield* Effect.provideService(read, HttpRegistry.IdleTimeout, Duration.millis(50))
      assert.strictEqual(size, content.length)
    }))

  it.live("is read as text, JSON, parameters or a form, and cookies are read", () =>
    Effect.gen(function*() {
      const bodies: Record<string, readonly [type: string, body: string]> = {
        "/json": ["application/json", `{"a":1}`],
        "/empty": ["application/json", ""],
        "/broken": ["application/json", "{"],
        "/params": ["text/plain", "a=1&b=2"],
        "/form": ["application/x-www-form-urlencoded", "a=1"]
      }
      const host = yield* listen((request, response) => {
        const [type, body] = bodies[request.url ?? ""] ?? ["", ""]
        response.writeHead(200, { "content-type": type, "set-cookie": ["a=1", "b=2"] }).end(body)
      })
      const client = yield* makeClient()
      const get = (path: string) => client.get(`http://${host}${path}`)
      const response = yield* get("/json")
      assert.deepStrictEqual(yield* response.json, { a: 1 })
      assert.deepStrictEqual(Object.keys(response.cookies.cookies), ["a", "b"])
      assert.strictEqual(response.url, `http://${host}/json`)
      assert.deepStrictEqual(response.remoteAddress, Option.some("127.0.0.1"))
      assert.include(JSON.stringify(response), "\"status\":200")
      assert.isNull(yield* (yield* get("/empty")).json)
      assert.strictEqual((yield* Effect.flip((yield* get("/broken")).json)).reason._tag, "DecodeError")
      assert.lengthOf((yield* (yield* get("/params")).urlParamsBody).params, 2)
      assert.strictEqual((yield* (yield* get("/form")).formData).get("a"), "1")
      assert.strictEqual((yield* Effect.flip((yield* get("/json")).upgrade)).reason._tag, "StatusCodeError")
    }))
})

describe("the body of a request", () => {
  const echo: Http.RequestListener = (request, response) => {
    const { "content-length": length, "transfer-encoding": coding, "content-type": type = "" } = request.headers
    response.setHeader("x-framing", `${length ?? coding ?? "none"} ${type.split(";", 1)[0] ?? ""}`.trim())
    request.pipe(response)
  }
  const stream = Stream.rechunk(Stream.fromIterable(["01234", "", "56789"].map((text) => bytesOf(text))), 1)

  it.live("has the length that it has, or comes in chunks", () =>
    Effect.gen(function*() {
      const host = yield* listen(echo)
      const client = yield* makeClient()
      const url = `http://${host}/`
      const form = new FormData()
      form.set("a", "1")
      const put = HttpClientRequest.put(url)
      const { bodyFormData, bodyStream, bodyText, setHeader } = HttpClientRequest
      const requests: ReadonlyArray<readonly [HttpClientRequest.HttpClientRequest, framing: string, text: string]> = [
        [HttpClientRequest.get(url), "none", ""],
        [HttpClientRequest.delete(url), "none", ""],
        [HttpClientRequest.post(url), "0", ""],
        [put, "0", ""],
        [bodyText(put, "text"), "4 text/plain", "text"],
        [bodyStream(put, stream, { contentLength: 10 }), "10 application/octet-stream", "0123456789"],
        [bodyStream(put, stream), "chunked application/octet-stream", "0123456789"],
        [bodyStream(put, stream, { contentType: "a/b" }), "chunked a/b", "0123456789"],
        [setHeader(bodyText(put, "text"), "content-length", "3"), "4 text/plain", "text"],
        [setHeader(bodyText(put, "text"), "transfer-encoding", "chunked"), "4 text/plain", "text"]
      ]
      for (const [request, framing, text] of requests) {
        const answer = yield* ask(client, request)
        assert.strictEqual(answer.headers["x-framing"], framing)
        assert.strictEqual(answer.text, text)
      }
      const sent = yield* ask(client, bodyFormData(put, form))
      assert.match(sent.headers["x-framing"] ?? "", /^\d+ multipart\/form-data$/)
      assert.include(sent.text, "name=\"a\"")
    }))

  it.live.each([["shorter", 11], ["longer", 9]] as const)(
    "that is %s than its length ends the connection",
    ([, contentLength]) =>
      Effect.gen(function*() {
        const [asked, closed] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        let completed = 0
        const host = yield* listen((request) => {
          Deferred.doneUnsafe(asked, Effect.void)
          request.on("end", () => completed++).resume()
          request.socket.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
        })
        const client = yield* makeClient()
        const second = Stream.fromEffect(Effect.as(Deferred.await(asked), bytesOf("56789")))
        const body = Stream.concat(Stream.succeed(bytesOf("01234")), second)
        const request = HttpClientRequest.bodyStream(HttpClientRequest.put(`http://${host}/`), body, { contentLength })
        assert.strictEqual(yield* codeOf(client.execute(request)), "ERR_HTTP_CONTENT_LENGTH_MISMATCH")
        yield* Deferred.await(closed)
        assert.strictEqual(completed, 0)
      })
  )

  it.live("that fails is the error of the request", () =>
    Effect.gen(function*() {
      const host = yield* listen(() => {})
      const client = yield* makeClient()
      const failing = Stream.concat(Stream.succeed(bytesOf("0")), Stream.fail({ code: "OWN" }))
      const request = HttpClientRequest.bodyStream(HttpClientRequest.put(`http://${host}/`), failing)
      assert.strictEqual(yield* codeOf(client.execute(request)), "OWN")
    }))

  it.live("is not waited for if the answer comes before its end, and the connection is not used again", () =>
    Effect.gen(function*() {
      const sockets = new Set<Net.Socket>()
      const host = yield* listen((request, response) => {
        sockets.add(request.socket)
        if (request.method === "GET") return void response.end()
        request.once("data", () => response.writeHead(413).end("too large"))
      })
      const client = yield* makeClient()
      const endless = Stream.concat(Stream.succeed(bytesOf("0")), Stream.never)
      const request = HttpClientRequest.bodyStream(HttpClientRequest.put(`http://${host}/`), endless)
      const { status, text } = yield* ask(client, request)
      assert.deepStrictEqual([status, text], [413, "too large"])
      yield* ask(client, HttpClientRequest.get(`http://${host}/`))
      assert.strictEqual(sockets.size, 2)
    }))

  it.live("cannot bring headers of its own", () =>
    Effect.gen(function*() {
      const host = yield* listen(echo)
      const client = yield* makeClient()
      const request = HttpClientRequest.setHeader(HttpClientRequest.get(`http://${host}/`), "x", "1\r\ny: 2")
      assert.strictEqual(yield* codeOf(client.execute(request)), "ERR_INVALID_CHAR")
    }))
})

describe("an answer", () => {
  it.live("comes after any number of others that are only for information", () =>
    Effect.gen(function*() {
      const { url } = yield* raw(() =>
        [
          "HTTP/1.1 100 Continue\r\n\r\n",
          "HTTP/1.1 102 Processing\r\n\r\n",
          "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
          `${ok}content-length: 2\r\n\r\nok`
        ].join("")
      )
      const client = yield* makeClient()
      for (const request of [HttpClientRequest.get(url), HttpClientRequest.bodyText(HttpClientRequest.put(url), "a")]) {
        const { headers, status, text } = yield* ask(client, request)
        assert.deepStrictEqual([status, text, headers["link"]], [200, "ok", undefined])
      }
    }))

  it.live("that changes the protocol is an error", () =>
    Effect.gen(function*() {
      const { url } = yield* raw(() => "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
      assert.strictEqual(yield* codeOf((yield* makeClient()).get(url)), "ERR_HTTP_UPGRADE")
    }))

  it.live.each<readonly [problem: string, bytes: string, code: RegExp]>([
    ["a length and chunks", "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", /^HPE_/],
    ["chunks and a length", "transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n", /^HPE_/],
    ["two lengths", "content-length: 2\r\ncontent-length: 3\r\n\r\nok", /^HPE_UNEXPECTED_CONTENT_LENGTH$/],
    ["a length that is no number", "content-length: 2x\r\n\r\nok", /^HPE_INVALID_CONTENT_LENGTH$/],
    ["a negative length", "content-length: -2\r\n\r\nok", /^HPE_INVALID_CONTENT_LENGTH$/],
    ["a space after the name of a header", "content-length : 2\r\n\r\nok", /^HPE_INVALID_HEADER_TOKEN$/],
    ["headers that end lines otherwise", "x: 1\ny: 2\r\rcontent-length: 2\r\n\r\nok", /^HPE_/],
    ["a chunk of no size", "transfer-encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", /^HPE_INVALID_CHUNK_SIZE$/],
    ["headers without end", `x: ${"a".repeat(80_000)}`, /^HPE_HEADER_OVERFLOW$/]
  ])("with %s is an error, which repeats nothing of it", ([, bytes, code]) =>
    Effect.gen(function*() {
      const { connections, url } = yield* raw(() => ok + bytes)
      const client = yield* makeClient()
      for (let count = 1; count <= 2; count++) {
        const exit = yield* Effect.exit(ask(client, HttpClientRequest.get(url)))
        const cause = causeOf(exit)
        assert.instanceOf(cause, Error)
        assert.match("code" in cause ? String(cause.code) : "", code)
        assert.notProperty(cause, "rawPacket")
        assert.strictEqual(connections(), count)
      }
    }))

  it.live("has headers of many kilobytes", () =>
    Effect.gen(function*() {
      const location = `https://storage.test/?signature=${"a".repeat(40_000)}`
      const { url } = yield* raw(() => `HTTP/1.1 307 Go\r\nlocation: ${location}\r\ncontent-length: 0\r\n\r\n`)
      const { headers } = yield* (yield* makeClient()).get(url)
      assert.strictEqual(headers["location"], location)
    }))

  it.live("is never taken for that to another request", () =>
    Effect.gen(function*() {
      const answer = (text: string) => `${ok}content-length: ${text.length}\r\n\r\n${text}`
      const { connections, url } = yield* raw((head) =>
        head.includes("/split") ? answer("right") + answer("wrong") : answer("right")
      )
      const client = yield* makeClient()
      for (let count = 0; count < 3; count++) {
        yield* Effect.exit(ask(client, HttpClientRequest.get(`${url}split`)))
        assert.strictEqual((yield* ask(client, HttpClientRequest.get(url))).text, "right")
      }
      assert.isAtLeast(connections(), 4)
    }))

  it.live("that was not asked for ends the connection", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const { url } = yield* raw((_, socket) => {
        socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
        setTimeout(() => socket.write(`${ok}content-length: 5\r\n\r\nwrong`), 20)
        return `${ok}content-length: 5\r\n\r\nright`
      })
      const client = yield* makeClient()
      assert.strictEqual((yield* ask(client, HttpClientRequest.get(url))).text, "right")
      yield* Deferred.await(closed)
    }))

  it.live("that does not come in time is an error, and the connection is closed", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const { url } = yield* raw((_, socket) => {
        socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
        return "HTTP/1.1 102 Processing\r\n\r\n"
      })
      const client = yield* makeClient()
      const exit = yield* Effect.exit(
        Effect.provideService(client.get(url), HttpRegistry.HeadersTimeout, Duration.seconds(1))
      )
      const cause = causeOf(exit)
      assert.instanceOf(cause, TimedOut)
      assert.strictEqual(cause.phase, "headers")
      yield* Deferred.await(closed)
    }))
})

describe("a connection", () => {
  const right = `${ok}content-length: 2\r\n\r\nok`

  it.live.each(["GET", "HEAD"] as const)(
    "that was kept, and that the server closes, is replaced at once: %s",
    (method) =>
      Effect.gen(function*() {
        const { connections, url } = yield* raw((_, socket, request) => {
          if (request === 1) return method === "HEAD" ? `${ok}content-length: 2\r\n\r\n` : right
          socket.destroy()
          return undefined
        })
        const client = yield* makeClient()
        for (let count = 0; count < 3; count++) {
          assert.strictEqual((yield* client.execute(HttpClientRequest.make(method)(url))).status, 200)
          yield* Effect.sleep("5 millis")
        }
        assert.strictEqual(connections(), 3)
      })
  )

  it.live.each(["POST", "PUT", "PATCH", "DELETE"] as const)(
    "that was kept, and that the server closes, is an error where a repetition may do harm: %s",
    (method) =>
      Effect.gen(function*() {
        const { heads, url } = yield* raw((_, socket, request) => {
          if (request === 1) return right
          socket.destroy()
          return undefined
        })
        const client = yield* makeClient()
        yield* ask(client, HttpClientRequest.make(method)(url))
        yield* Effect.sleep("5 millis")
        assert.strictEqual(yield* codeOf(client.execute(HttpClientRequest.make(method)(url))), "ECONNRESET")
        assert.lengthOf(heads, 2)
      })
  )

  it.live("that is new, and that the server closes, is an error", () =>
    Effect.gen(function*() {
      const { heads, url } = yield* raw((_, socket) => void socket.destroy())
      assert.strictEqual(yield* codeOf((yield* makeClient()).get(url)), "ECONNRESET")
      assert.lengthOf(heads, 1)
    }))

  it.live("is used by one request after the other, no more of them at a time than there may be", () =>
    Effect.gen(function*() {
      const sockets = new Set<Net.Socket>()
      const host = yield* listen((request, response) => {
        sockets.add(request.socket)
        setTimeout(() => response.end("ok"), 2)
      })
      const client = yield* makeClient({ maxConnections: 2 })
      yield* Effect.replicateEffect(ask(client, HttpClientRequest.get(`http://${host}/`)), 20, {
        concurrency: "unbounded"
      })
      assert.strictEqual(sockets.size, 2)
    }))

  it.live("is used again after the error of HEAD was read", () =>
    Effect.gen(function*() {
      const { connections, url } = yield* raw(() => "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n")
      const client = yield* makeClient()
      for (let count = 0; count < 3; count++) {
        const { body, status } = yield* ask(client, HttpClientRequest.head(url))
        assert.deepStrictEqual([status, body.length], [404, 0])
        yield* Effect.sleep("5 millis")
      }
      assert.strictEqual(connections(), 1)
    }))

  it.live("is closed with the scope, idle or not", () =>
    Effect.gen(function*() {
      const sockets = new Set<Net.Socket>()
      const idle = yield* Deferred.make<void>()
      const host = yield* listen((request, response) => {
        sockets.add(request.socket)
        request.socket.on("close", () => {
          sockets.delete(request.socket)
          if (sockets.size === 0) Deferred.doneUnsafe(idle, Effect.void)
        })
        if (request.url === "/idle") response.end()
        else response.writeHead(200, { "content-length": 10 }).write("0")
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* makeClient()
        yield* Effect.all([client.get(`http://${host}/idle`), client.get(`http://${host}/`)], { concurrency: 2 })
        assert.strictEqual(sockets.size, 2)
      }))
      yield* Deferred.await(idle)
    }))

  it.live("is closed when its request is interrupted", () =>
    Effect.gen(function*() {
      const [asked, closed] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const { url } = yield* raw((_, socket) => {
        socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
        Deferred.doneUnsafe(asked, Effect.void)
        return undefined
      })
      const fiber = yield* Effect.forkChild((yield* makeClient()).get(url))
      yield* Deferred.await(asked)
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(closed)
    }))

  it.live("is closed with the scope of its request, which is not sent again", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const { heads, url } = yield* raw((_, __, request) => {
        if (request === 1) return `${ok}content-length: 2\r\n\r\nok`
        Deferred.doneUnsafe(asked, Effect.void)
        return undefined
      })
      const client = yield* makeClient()
      yield* ask(client, HttpClientRequest.get(url))
      // the connection is free after this turn
      yield* Effect.yieldNow
      const scope = yield* Scope.make()
      const fiber = yield* Effect.forkChild(codeOf(Scope.provide(HttpClient.withScope(client).get(url), scope)))
      yield* Deferred.await(asked)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Fiber.join(fiber), "ECONNRESET")
      assert.lengthOf(heads, 2)
    }))

  it.live("that cannot be made in time is an error", () =>
    Effect.gen(function*() {
      const silent = yield* listening(() =>
        Net.createServer((socket) => socket.on("error", () => socket.destroy()).resume())
      )
      const client = yield* Effect.provideService(makeClient(), NodeHttp.ConnectTimeout, Duration.millis(50))
      assert.strictEqual(yield* codeOf(client.get(`https://${silent}/`)), "ETIMEDOUT")
    }))

  it.live("is made to the address of a name that answers", () =>
    Effect.gen(function*() {
      const [, port] = (yield* listen((_, response) => void response.end("ok"))).split(":")
      const lookup: Net.LookupFunction = (_, { all }, done) => {
        const addresses = [{ address: "::1", family: 6 }, { address: "127.0.0.1", family: 4 }]
        if (all === true) done(null, addresses)
        else done(null, "::1", 6)
      }
      const client = yield* Effect.provideService(makeClient(), SystemLookup, lookup)
      assert.strictEqual((yield* ask(client, HttpClientRequest.get(`http://registry.test:${port}/`))).text, "ok")
    }))
})

describe("TLS", () => {
  it.live("sessions are resumed by later connections", () =>
    Effect.gen(function*() {
      const resumed: Array<boolean> = []
      const host = yield* listening(() =>
        Https.createServer(tls, (request, response) => {
          if (request.socket instanceof Tls.TLSSocket) resumed.push(request.socket.isSessionReused())
          response.writeHead(200, { connection: "close" }).end("ok")
        })
      )
      const client = yield* makeClient({ ca: [certificates.authority] })
      for (let count = 0; count < 3; count++) yield* ask(client, HttpClientRequest.get(`https://${host}/`))
      assert.deepStrictEqual(resumed, [false, true, true])
    }))

  it.live("of large bodies is read and written", () =>
    Effect.gen(function*() {
      const content = Crypto.randomBytes(2_000_000)
      const host = yield* listening(() => Https.createServer(tls, (request, response) => void request.pipe(response)))
      const client = yield* makeClient({ ca: [certificates.authority] })
      const request = HttpClientRequest.bodyStream(
        HttpClientRequest.put(`https://${host}/`),
        Stream.succeed(content),
        { contentLength: content.length }
      )
      const { body } = yield* ask(client, request)
      assert.isTrue(Buffer.from(body).equals(content))
    }))

  it.live("of a registry that speaks only HTTP/2 is an error that says so, and is not tried again", () =>
    Effect.gen(function*() {
      const negotiating = yield* listening(() => Http2.createSecureServer(tls).on("tlsClientError", () => {}))
      const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])
      const insisting = yield* listening(() =>
        Tls.createServer(tls, (socket) => {
          socket.on("error", () => socket.destroy()).resume()
          socket.write(settings)
        })
      )
      for (const host of [negotiating, insisting]) {
        const registry = yield* HttpRegistry.make({ host }).pipe(
          Effect.provide(yield* Layer.build(NodeHttp.layer({ ca: [certificates.authority] })))
        )
        const error = yield* Effect.flip(
          Effect.provideService(registry.ping, HttpRegistry.RetrySchedule, Schedule.recurs(1))
        )
        assert.include(error.message, "the registry speaks only HTTP/2")
        assert.isFalse(error.isRetryable)
        assert.notInclude(error.message, "tried")
      }
    }))
})

describe("a proxy", () => {
  /** A proxy in plain HTTP or in HTTPS that makes tunnels to `target`, and the requests that it has seen. */
  const proxying = Effect.fnUntraced(function*(
    target: string,
    answer: (authorization: string | undefined) => string = () => "HTTP/1.1 200 OK\r\n\r\n",
    isSecure = false
  ) {
    const seen: Array<string> = []
    const onRequest: Http.RequestListener = (request, response) => {
      seen.push(`${request.method} ${request.url} ${request.headers.host} ${request.headers["proxy-authorization"]}`)
      response.end("by the proxy")
    }
    const host = yield* listening(() =>
      (isSecure ? Https.createServer(tls, onRequest) : Http.createServer(onRequest)).on(
        "connect",
        (request: Http.IncomingMessage, socket: Net.Socket) => {
          seen.push(`CONNECT ${request.url} ${request.headers["proxy-authorization"]}`)
          const [hostname = "", port] = target.split(":")
          const onward = Net.connect(Number(port), hostname, () => {
            socket.write(answer(request.headers["proxy-authorization"]))
            onward.pipe(socket).pipe(onward)
          })
          onward.on("error", () => socket.destroy())
          socket.on("error", () => onward.destroy())
        }
      )
    )
    return { seen, host }
  })
  const through = (env: Record<string, string>) =>
    Effect.provide(
      makeClient({ ca: [certificates.authority] }),
      ConfigProvider.layer(ConfigProvider.fromEnv({ env }))
    )
  const basic = `Basic ${Buffer.from("ada:secret").toString("base64")}`

  it.live.each([false, true])(
    "takes plain HTTP and tunnels, with credentials; itself over TLS: %s",
    (isSecure) =>
      Effect.gen(function*() {
        const target = yield* listening(() => Https.createServer(tls, (_, response) => void response.end("ok")))
        const { host, seen } = yield* proxying(target, undefined, isSecure)
        const url = `${isSecure ? "https" : "http"}://ada:secret@${host}`
        const client = yield* through({ HTTP_PROXY: url, HTTPS_PROXY: url })
        for (let count = 0; count < 2; count++) {
          assert.strictEqual((yield* ask(client, HttpClientRequest.get("https://registry.test/v2/"))).text, "ok")
          const plain = yield* ask(client, HttpClientRequest.get("http://registry.test:81/v2/?a=b"))
          assert.strictEqual(plain.text, "by the proxy")
        }
        const forwarded = `GET http://registry.test:81/v2/?a=b registry.test:81 ${basic}`
        assert.deepStrictEqual(seen, [`CONNECT registry.test:443 ${basic}`, forwarded, forwarded])
      })
  )

  it.live.each<readonly [answer: string, code: string, problem: string]>([
    ["HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n", "ERR_INVALID_PROXY", "407"],
    ["HTTP/1.1 502 Bad\r\ncontent-length: 3\r\n\r\nbad", "ERR_PROXY_TUNNEL", "502"],
    ["HTTP/1.1 200 OK\r\n\r\nmore", "ERR_PROXY_TUNNEL", "more than a tunnel"]
  ])("that makes no tunnel is an error: %j", ([answer, code, problem]) =>
    Effect.gen(function*() {
      const target = yield* listen(() => {})
      const { host } = yield* proxying(target, () => answer)
      const client = yield* through({ HTTPS_PROXY: `http://${host}` })
      const cause = causeOf(yield* Effect.exit(client.get("https://registry.test/")))
      assert.deepInclude(cause, { code, message: `it answered CONNECT with ${problem}` })
    }))

  it.live("that does not answer, or is absent, is an error in time", () =>
    Effect.gen(function*() {
      const silent = yield* listening(() =>
        Net.createServer((socket) => socket.on("error", () => socket.destroy()).resume())
      )
      const absent = yield* Effect.scoped(listen(() => {}))
      for (const [proxy, code, limit] of [[silent, "ETIMEDOUT", 50], [absent, "ECONNREFUSED", 10_000]] as const) {
        const client = yield* Effect.provideService(
          through({ HTTPS_PROXY: `http://${proxy}` }),
          NodeHttp.ConnectTimeout,
          Duration.millis(limit)
        )
        assert.strictEqual(yield* codeOf(client.get("https://registry.test/")), code)
      }
    }))
})

describe("a fiber that yields between any two steps", () => {
  // the smallest number with which a fiber proceeds
  const yielding = Effect.provideService(Scheduler.MaxOpsBeforeYield, 3)

  it.live("gets all of a body, though it ends while the fiber has yielded", () =>
    Effect.gen(function*() {
      const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
      // one of these ends comes between the check for an end and the wait for it
      for (let turns = 0; turns < 30; turns++) {
        for (const read of ["stream", "bytes"] as const) {
          const body = bodyIn(turns % 2 === 0 ? new Pieces() : new Whole(3))
          const reader = read === "bytes" ? body.bytes : Stream.mkUint8Array(body.stream)
          const fiber = yield* Effect.forkChild(yielding(reader))
          yield* Effect.replicateEffect(turn, turns)
          body.receive(Buffer.alloc(3))
          body.end("complete")
          assert.strictEqual((yield* Fiber.join(fiber)).length, 3)
        }
      }
    }))

  it.live("sends all of a body, though the connection drains while the fiber has yielded", () =>
    Effect.gen(function*() {
      const host = yield* listen((request, response) => {
        let size = 0
        request.on("data", (bytes: Uint8Array) => {
          size += bytes.length
        })
        request.on("end", () => response.end(`${size}`))
      })
      const client = yield* makeClient()
      const pieces = Array.from({ length: 50 }, () => new Uint8Array(100_000))
      const request = HttpClientRequest.put(`http://${host}/`).pipe(
        HttpClientRequest.bodyStream(Stream.fromIterable(pieces).pipe(Stream.rechunk(1)))
      )
      assert.strictEqual((yield* yielding(ask(client, request))).text, "5000000")
    }))

  it.live("gets the error of a connection that fails while the fiber has yielded", () =>
    Effect.gen(function*() {
      const lookup: Net.LookupFunction = (_host, _options, callback) =>
        void callback(Object.assign(new Error("no such host"), { code: "ENOTFOUND" }), [])
      const client = yield* Effect.provideService(makeClient(), SystemLookup, lookup)
      assert.strictEqual(
        yield* yielding(codeOf(client.execute(HttpClientRequest.get("http://nowhere.test/")))),
        "ENOTFOUND"
      )
      const body = HttpClientRequest.bodyStream(Stream.make(new Uint8Array(1)))
      const request = body(HttpClientRequest.put("http://nowhere.test/"))
      assert.strictEqual(yield* yielding(codeOf(client.execute(request))), "ENOTFOUND")
    }))
})
