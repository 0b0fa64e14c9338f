import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Option, Stream } from "effect"
import * as NodeHttp from "effect-oci/NodeHttp"
import { HttpClient, type HttpClientError, HttpClientRequest } from "effect/http"
import * as Net from "node:net"
import { listening } from "../utils/ScriptedServer.ts"

const ok = "HTTP/1.1 200 OK\r\n"
const chunked = `${ok}transfer-encoding: chunked\r\n\r\n`

const makeClient = Effect.flatMap(
  Layer.build(NodeHttp.layer()),
  (context) => Effect.provide(HttpClient.HttpClient, context)
)

/** A server that answers each request with `bytes`, all at once or byte by byte. */
const answering = Effect.fnUntraced(function*(bytes: string, isSlow = false) {
  let connections = 0
  const heads: Array<string> = []
  const host = yield* listening(() =>
    Net.createServer((socket) => {
      connections++
      socket.setNoDelay().on("error", () => socket.destroy()).on("data", (head) => {
        heads.push(head.toString("latin1"))
        if (!isSlow) return void socket.write(bytes, "latin1")
        let at = 0
        const next = () => {
          socket.write(bytes.slice(at, ++at), "latin1")
          if (at < bytes.length) setImmediate(next)
        }
        next()
      })
    })
  )
  return { url: `http://${host}/`, heads, connections: () => connections }
})

/** Reads all of the response to a request. */
const ask = Effect.fnUntraced(function*(client: HttpClient.HttpClient, url: string) {
  const response = yield* client.get(url)
  const body = yield* Stream.mkUint8Array(response.stream)
  return { headers: response.headers, text: Buffer.from(body).toString("latin1") }
})

const causeOf = <A>(exit: Exit.Exit<A, HttpClientError.HttpClientError>): unknown => {
  if (Exit.isSuccess(exit)) return "success"
  const error = Cause.findErrorOption(exit.cause)
  return Option.isSome(error) ? error.value.reason.cause : exit.cause
}

const codeOf = <A>(exit: Exit.Exit<A, HttpClientError.HttpClientError>) => {
  const cause = causeOf(exit)
  return typeof cause === "object" && cause !== null && "code" in cause ? cause.code : cause
}

const body = "content-length: 2\r\n\r\nok"

const malformed: ReadonlyArray<readonly [what: string, code: string, bytes: string]> = [
  ["another version", "HPE_INVALID_CONSTANT", `HTTP/2 200 OK\r\n${body}`],
  ["version 1.2", "HPE_INVALID_CONSTANT", `HTTP/1.2 200 OK\r\n${body}`],
  ["version 1.10", "HPE_INVALID_CONSTANT", `HTTP/1.10 200 OK\r\n${body}`],
  ["a version in lower case", "HPE_INVALID_CONSTANT", `http/1.1 200 OK\r\n${body}`],
  ["a status of two digits", "HPE_INVALID_CONSTANT", `HTTP/1.1 20 OK\r\n${body}`],
  ["a status of four digits", "HPE_INVALID_CONSTANT", `HTTP/1.1 2000 OK\r\n${body}`],
  ["a status that begins with 0", "HPE_INVALID_CONSTANT", `HTTP/1.1 020 OK\r\n${body}`],
  ["a status that is no number", "HPE_INVALID_CONSTANT", `HTTP/1.1 2x0 OK\r\n${body}`],
  ["two spaces before the status", "HPE_INVALID_CONSTANT", `HTTP/1.1  200 OK\r\n${body}`],
  ["a control character in the reason", "HPE_INVALID_CONSTANT", `HTTP/1.1 200 O\0K\r\n${body}`],
  ["an empty line before it", "HPE_INVALID_CONSTANT", `\r\n${ok}${body}`],
  ["something before it", "HPE_INVALID_CONSTANT", `ok${ok}${body}`],
  ["lines that end with LF alone", "HPE_STRICT", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok"],
  ["LF alone, and no end", "HPE_STRICT", "HTTP/1.1 200 OK\r\nx: 1\ny: 2\r\n"],
  ["CR alone, and no end", "HPE_STRICT", "HTTP/1.1 200 OK\r\nx: 1\ry: 2\r\n"],
  ["a header that ends with LF alone", "HPE_INVALID_HEADER_TOKEN", `${ok}x: 1\n${body}`],
  ["a header that ends with CR alone", "HPE_INVALID_HEADER_TOKEN", `${ok}x: 1\r${body}`],
  ["a header in two lines", "HPE_INVALID_HEADER_TOKEN", `${ok}x: 1\r\n 2\r\n${body}`],
  ["a first header that begins with a space", "HPE_INVALID_HEADER_TOKEN", `${ok} x: 1\r\n${body}`],
  ["a space before the colon", "HPE_INVALID_HEADER_TOKEN", `${ok}x : 1\r\n${body}`],
  ["a header without a name", "HPE_INVALID_HEADER_TOKEN", `${ok}: 1\r\n${body}`],
  ["a header without a colon", "HPE_INVALID_HEADER_TOKEN", `${ok}x\r\n${body}`],
  ["a name with a space", "HPE_INVALID_HEADER_TOKEN", `${ok}x y: 1\r\n${body}`],
  ["a name with NUL", "HPE_INVALID_HEADER_TOKEN", `${ok}x\0: 1\r\n${body}`],
  ["a name that is not ASCII", "HPE_INVALID_HEADER_TOKEN", `${ok}\xe9: 1\r\n${body}`],
  ["NUL in a value", "HPE_INVALID_HEADER_TOKEN", `${ok}x: \0\r\n${body}`],
  ["a control character in a value", "HPE_INVALID_HEADER_TOKEN", `${ok}x: \x01\r\n${body}`],
  ["DEL in a value", "HPE_INVALID_HEADER_TOKEN", `${ok}x: \x7f\r\n${body}`],
  ["too many headers", "HPE_HEADER_OVERFLOW", `${ok}${"x: 1\r\n".repeat(2001)}${body}`],
  ["headers that are too long", "HPE_HEADER_OVERFLOW", `${ok}x: ${"a".repeat(70_000)}\r\n${body}`],
  ["too many before it", "HPE_HEADER_OVERFLOW", `${"HTTP/1.1 102 Processing\r\n\r\n".repeat(101)}${ok}${body}`],
  ["an empty length", "HPE_INVALID_CONTENT_LENGTH", `${ok}content-length:\r\n\r\nok`],
  ["a length with a sign", "HPE_INVALID_CONTENT_LENGTH", `${ok}content-length: +2\r\n\r\nok`],
  ["a length in hexadecimal", "HPE_INVALID_CONTENT_LENGTH", `${ok}content-length: 0x2\r\n\r\nok`],
  ["a length with an exponent", "HPE_INVALID_CONTENT_LENGTH", `${ok}content-length: 2e0\r\n\r\nok`],
  ["a length with a space", "HPE_INVALID_CONTENT_LENGTH", `${ok}content-length: 1 1\r\n\r\nok`],
  ["a list of lengths", "HPE_INVALID_CONTENT_LENGTH", `${ok}content-length: 2, 2\r\n\r\nok`],
  ["a length beyond any", "HPE_INVALID_CONTENT_LENGTH", `${ok}content-length: ${"9".repeat(16)}\r\n\r\nok`],
  ["two lengths", "HPE_UNEXPECTED_CONTENT_LENGTH", `${ok}content-length: 2\r\n${body}`],
  ["different lengths", "HPE_UNEXPECTED_CONTENT_LENGTH", `${ok}content-length: 1\r\n${body}`],
  ["a length and chunks", "HPE_INVALID_TRANSFER_ENCODING", `${ok}transfer-encoding: chunked\r\n${body}`],
  ...["", "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "identity", "chunked;a", "\xa0chunked"].map(
    (coding) =>
      [
        `the transfer coding ${JSON.stringify(coding)}`,
        "HPE_INVALID_TRANSFER_ENCODING",
        `${ok}transfer-encoding: ${coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n`
      ] as const
  ),
  [
    "two transfer codings",
    "HPE_INVALID_TRANSFER_ENCODING",
    `${ok}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`
  ],
  ...["", "x", "-2", "+2", "0x2", " 2", "2 ", "2 ;a", `${"0".repeat(13)}2`, "2;\0", "2;a\x7f"].map((size) =>
    [
      `the chunk size ${JSON.stringify(size)}`,
      "HPE_INVALID_CHUNK_SIZE",
      `${chunked}${size}\r\nok\r\n0\r\n\r\n`
    ] as const
  ),
  ["a chunk size that ends with LF alone", "HPE_INVALID_CHUNK_SIZE", `${chunked}2\nok\r\n0\r\n\r\n`],
  ["an extension with CR", "HPE_INVALID_CHUNK_SIZE", `${chunked}2;a\rb\r\nok\r\n0\r\n\r\n`],
  ["a chunk that ends with LF alone", "HPE_STRICT", `${chunked}2\r\nok\n0\r\n\r\n`],
  ["a chunk that is longer than its size", "HPE_STRICT", `${chunked}2\r\nokay\r\n0\r\n\r\n`],
  ["an extension that is too long", "HPE_HEADER_OVERFLOW", `${chunked}2;${"a".repeat(20_000)}\r\nok\r\n0\r\n\r\n`],
  ["an extension without an end", "HPE_HEADER_OVERFLOW", `${chunked}2;${"a".repeat(20_000)}`],
  ["too many extensions", "HPE_HEADER_OVERFLOW", `${chunked}${`2;${"a".repeat(9000)}\r\nok\r\n`.repeat(8)}0\r\n\r\n`],
  ["too many trailers", "HPE_HEADER_OVERFLOW", `${chunked}2\r\nok\r\n0\r\n${"x: 1\r\n".repeat(20_000)}\r\n`],
  ["a malformed trailer", "HPE_INVALID_HEADER_TOKEN", `${chunked}2\r\nok\r\n0\r\nx\r\n\r\n`],
  ["a trailer in two lines", "HPE_INVALID_HEADER_TOKEN", `${chunked}2\r\nok\r\n0\r\nx: 1\r\n 2\r\n\r\n`],
  ["a trailer that ends with LF alone", "HPE_INVALID_HEADER_TOKEN", `${chunked}2\r\nok\r\n0\r\nx: 1\n\r\n`]
]

describe("a response with", () => {
  it.live.each(malformed)("%s is an error", ([, code, bytes]) =>
    Effect.gen(function*() {
      const { connections, url } = yield* answering(bytes)
      const client = yield* makeClient
      for (let count = 1; count <= 2; count++) {
        const exit = yield* Effect.exit(ask(client, url))
        assert.strictEqual(codeOf(exit), code)
        // without bytes of the response
        assert.deepStrictEqual(Object.keys(Object(causeOf(exit))), ["code"])
        // the connection is not used again
        assert.strictEqual(connections(), count)
      }
    }))

  it.live.each<readonly [what: string, bytes: string]>([
    ["no reason", `HTTP/1.1 200\r\n${body}`],
    ["an empty reason", `HTTP/1.1 200 \r\n${body}`],
    ["a reason in another alphabet", `HTTP/1.1 200 \xc3\xa9\r\n${body}`],
    ["version 1.0", `HTTP/1.0 200 OK\r\n${body}`],
    ["a header without a value", `${ok}x:\r\n${body}`],
    ["spaces around a length", `${ok}content-length: \t 2 \t\r\n\r\nok`],
    ["a header of nothing but spaces", `${ok}x:${" ".repeat(60_000)}\r\n${body}`],
    ["many headers", `${ok}${"x: 1\r\n".repeat(1900)}${body}`],
    ["many before it", `${"HTTP/1.1 102 Processing\r\nx: 1\r\n\r\n".repeat(100)}${ok}${body}`],
    ["chunks in another spelling", `${ok}Transfer-Encoding: Chunked\r\n\r\n002\r\nok\r\n000\r\n\r\n`],
    ["extensions and trailers", `${chunked}1;a=b\r\no\r\n1;c="d e"\r\nk\r\n0;f\r\nx: 1\r\ny:\r\n\r\n`]
  ])("%s is read", ([, bytes]) =>
    Effect.gen(function*() {
      const [once, slow] = [yield* answering(bytes), yield* answering(bytes, true)]
      assert.strictEqual((yield* ask(yield* makeClient, once.url)).text, "ok")
      if (bytes.length < 5000) assert.strictEqual((yield* ask(yield* makeClient, slow.url)).text, "ok")
    }))

  it.live("several values of a header has all of them, or the first, as over the client of Node", () =>
    Effect.gen(function*() {
      const { url } = yield* answering(
        `${ok}Link: <a>\r\nlink: <b>\r\nLocation: /a\r\nlocation: /b\r\n__proto__: 1\r\nconstructor: 2\r\n` +
          `x: \xa0caf\xc3\xa9\xa0 \r\n${body}`
      )
      const { headers } = yield* ask(yield* makeClient, url)
      assert.deepStrictEqual(Object.fromEntries(Object.entries(headers)), {
        link: "<a>, <b>",
        location: "/a",
        ["__proto__"]: "1",
        constructor: "2",
        x: "\xa0caf\xc3\xa9\xa0",
        "content-length": "2"
      })
    }))

  it.live.each(Array.from(`${ok}${body}`, (_, size) => size))(
    "only its first %i bytes is an error",
    (size) =>
      Effect.gen(function*() {
        const host = yield* listening(() =>
          Net.createServer((socket) => {
            socket.on("error", () => socket.destroy())
            socket.once("data", () => socket.end(`${ok}${body}`.slice(0, size)))
          })
        )
        assert.strictEqual(codeOf(yield* Effect.exit(ask(yield* makeClient, `http://${host}/`))), "ECONNRESET")
      })
  )
})

describe("a request", () => {
  const { make, setHeader } = HttpClientRequest

  it.live.each<readonly [what: string, change: (url: string) => HttpClientRequest.HttpClientRequest]>([
    ["a line end in its method", (url) => ({ ...make("GET")(url), method: "GET / HTTP/1.1\r\nx: y" })],
    ["a space in its method", (url) => ({ ...make("GET")(url), method: "G ET" })],
    ["no method", (url) => ({ ...make("GET")(url), method: "" })],
    ...["\r\ny: 2", "\n", "\r", "\0", "\x7f", "\u0100"].map((value) =>
      [
        `${JSON.stringify(value)} in a header`,
        (url: string) => setHeader(make("GET")(url), "x", value)
      ] as const
    ),
    ...["x y", "x:", "x\r\n", "", "\xe9"].map((name) =>
      [
        `a header with the name ${JSON.stringify(name)}`,
        (url: string) => setHeader(make("GET")(url), name, "1")
      ] as const
    )
  ])("with %s is not sent", ([, change]) =>
    Effect.gen(function*() {
      const { connections, url } = yield* answering(`${ok}${body}`)
      const request = change(url)
      const client = yield* makeClient
      assert.strictEqual(codeOf(yield* Effect.exit(client.execute(request))), "ERR_INVALID_CHAR")
      assert.strictEqual(connections(), 0)
    }))

  it.live("has a target in which nothing ends it", () =>
    Effect.gen(function*() {
      const { heads, url } = yield* answering(`${ok}${body}`)
      yield* ask(yield* makeClient, `${url}a b\r\nx: y?\u00e9 \0#c`)
      assert.match(heads[0] ?? "", /^GET \/[!-~]+ HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\n/)
      assert.notInclude(heads[0], "x: y")
    }))
})
