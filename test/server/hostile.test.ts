import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Deferred, Duration, Effect, Fiber, Schema } from "effect"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as RegistryServer from "effect-oci/RegistryServer"
import { TestClock } from "effect/testing"
import * as Http from "node:http"
import { digestOf } from "../utils/digests.ts"
import { pushBlob, repository } from "../utils/images.ts"
import { override } from "../utils/registries.ts"
import { connect, memory, send, serve } from "../utils/Served.ts"

const app = repository("team/app")
const content = "0123456789"
const digest = digestOf(content)

/** Sends bytes unchanged, and returns the status of the first response. */
const raw = Effect.fnUntraced(function*(host: string, text: string) {
  const { read, write } = yield* connect(host)
  yield* write(text)
  return Number(/^HTTP\/1\.1 ([0-9]{3}) /.exec(yield* read(/\r\n\r\n/))?.[1])
})

const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: registry.test\r\n\r\n`

describe("an invalid name", () => {
  const paths: ReadonlyArray<readonly [path: string, status: number]> = [
    ["/v2/../../etc/passwd/manifests/1", 400],
    ["/v2/%2e%2e/%2E%2E/etc/manifests/1", 400],
    ["/v2/..%2f..%2fetc%2fpasswd/manifests/1", 400],
    ["/v2/team%2Fapp/tags/list", 400],
    ["/v2/team%5Capp/tags/list", 400],
    ["/v2/team/app%00/tags/list", 400],
    ["/v2/team//app/tags/list", 400],
    ["/v2//tags/list", 400],
    ["/v2/./app/tags/list", 400],
    ["/v2/Team/app/tags/list", 400],
    ["/v2/team/app-/tags/list", 400],
    ["/v2/team/%zz/tags/list", 400],
    ["/v2/team/%C3%28/tags/list", 400],
    ["/v2/team/%F0%9F%90%B3/tags/list", 400],
    [`/v2/${"a".repeat(256)}/tags/list`, 400],
    [`/v2/${"a".repeat(100_000)}/tags/list`, 431],
    ["/v2/team/app/blobs/..%2f..%2fetc%2fpasswd", 400],
    [`/v2/team/app/blobs/${digest}%00`, 400],
    [`/v2/team/app/blobs/${digest}/..`, 404],
    ["/v2/team/app/manifests/..", 404],
    ["/v2/team/app/manifests/1%00", 404],
    ["/v2/team/app/manifests/%2e%2e%2f1", 400],
    ["/v2/team/app/blobs/uploads/..", 404],
    ["/v2/team/app/blobs/uploads/%2e%2e", 404],
    ["/V2/team/app/tags/list", 404],
    ["//v2/", 404],
    ["/v2/?%zz", 200],
    ["http://elsewhere.test/v2/team/app/tags/list", 404],
    ["*", 404]
  ]
  for (const [path, status] of paths) {
    it.live(`is refused: ${path.length > 100 ? `${path.slice(0, 20)}… (${path.length})` : path}`, () =>
      Effect.gen(function*() {
        const { host } = yield* memory()
        assert.strictEqual(yield* raw(host, get(path)), status)
      }))
  }

  it.live("that looks like an endpoint is valid", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      for (const name of ["blobs/uploads", "tags/list", "manifests", "team/blobs", "referrers/x", "v2/a"]) {
        yield* pushBlob(registry, repository(name), content)
        assert.strictEqual((yield* ask(`GET /v2/${name}/blobs/${digest}`)).text, content)
        assert.strictEqual((yield* ask(`GET /v2/${name}/tags/list`)).status, 200)
      }
    }))
})

describe("a wrong length", () => {
  const begin = Effect.gen(function*() {
    const served = yield* memory()
    const { headers } = yield* served.ask("POST /v2/team/app/blobs/uploads/")
    return { ...served, location: `${headers.location}` }
  })
  const head = (line: string, ...headers: ReadonlyArray<string>) =>
    `${line} HTTP/1.1\r\nhost: registry.test\r\n${headers.map((header) => `${header}\r\n`).join("")}\r\n`

  it.live.each([
    ["content-length: 10", "content-length: 20"],
    ["content-length: 10", "transfer-encoding: chunked"],
    ["content-length: -10"],
    ["content-length: 1e1"],
    ["content-length: 99999999999999999999999999"],
    ["content-length: 0x10"],
    ["transfer-encoding: gzip"]
  ])("is refused before the body is read: %s", (headers) =>
    Effect.gen(function*() {
      const { host, location } = yield* begin
      const all = Array.isArray(headers) ? headers : [headers]
      assert.strictEqual(yield* raw(host, head(`PATCH ${location}`, ...all) + content), 400)
    }))

  it.live("stores nothing if more bytes arrive than announced", () =>
    Effect.gen(function*() {
      const { ask, host, location } = yield* begin
      yield* raw(host, head(`PATCH ${location}`, "content-length: 5") + content)
      assert.strictEqual((yield* ask(`GET ${location}`)).headers.range, "0-4")
    }))

  it.live("of a chunk with transfer-encoding chunked is refused", () =>
    Effect.gen(function*() {
      const { host, location } = yield* begin
      const headers = head(`PATCH ${location}`, "transfer-encoding: chunked")
      assert.strictEqual(yield* raw(host, `${headers}zz\r\n${content}\r\n`), 400)
    }))

  it.live("of an impossible size is refused before the body arrives", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* memory({ uploadLimit: 1000 })
      const { headers } = yield* ask("POST /v2/team/app/blobs/uploads/")
      const line = `PATCH ${headers.location}`
      assert.strictEqual(yield* raw(host, head(line, "content-length: 9007199254740993")), 413)
    }))

  it.live("of a blob in a single POST is refused before the body arrives", () =>
    Effect.gen(function*() {
      const { host } = yield* memory({ uploadLimit: 1000 })
      const line = `POST /v2/team/app/blobs/uploads/?digest=${digest}`
      assert.strictEqual(yield* raw(host, head(line, "content-length: 1001")), 413)
    }))

  it.live("is not read if the digest cannot be computed: the blob is refused before it arrives", () =>
    Effect.gen(function*() {
      const { host, location } = yield* begin
      assert.strictEqual(yield* raw(host, head(`PUT ${location}?digest=md5:12`, "content-length: 1000")), 400)
    }))

  it.live("of a manifest is refused before the body arrives", () =>
    Effect.gen(function*() {
      const { host } = yield* memory()
      assert.strictEqual(yield* raw(host, head("PUT /v2/team/app/manifests/1", "content-length: 100000000000")), 413)
    }))
})

describe("a connection", () => {
  it.live("serves further requests after a refusal that left the body unread", () =>
    Effect.gen(function*() {
      const { host } = yield* memory()
      const { read, write } = yield* connect(host)
      yield* write(`PUT /v2/UPPER/manifests/1 HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n${content}`)
      yield* write(get("/v2/"))
      const received = yield* read(/HTTP\/1\.1 2/)
      assert.match(received, /^HTTP\/1\.1 400 [^]*HTTP\/1\.1 200 /)
    }))

  it.live("is closed after the refusal if the unread body is too long to discard", () =>
    Effect.gen(function*() {
      const { host } = yield* memory({ manifestLimit: 1000 })
      const { closed, write } = yield* connect(host)
      yield* write("PUT /v2/team/app/manifests/1 HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\n")
      yield* write(new Uint8Array(1_000_000))
      const received = yield* closed
      assert.match(received, /^HTTP\/1\.1 413 /)
      assert.match(received, /connection: close/i)
    }))

  it.live("gets 100 Continue only if the server wants the body", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* memory()
      const { headers } = yield* ask("POST /v2/team/app/blobs/uploads/")
      const expecting = (line: string) =>
        `${line} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n`
      const wanted = yield* connect(host)
      yield* wanted.write(expecting(`PUT ${headers.location}?digest=${digest}`))
      yield* wanted.read(/HTTP\/1\.1 100 [^]*\r\n\r\n/)
      yield* wanted.write(content)
      assert.match(yield* wanted.read(/HTTP\/1\.1 201 [^]*\r\n\r\n/), /HTTP\/1\.1 201 /)
      const unwanted = yield* connect(host)
      yield* unwanted.write(expecting("PUT /v2/UPPER/manifests/1"))
      assert.match(yield* unwanted.read(/\r\n\r\n/), /^HTTP\/1\.1 400 /)
    }))
})

describe("an idle body", () => {
  const stalled = Effect.fnUntraced(function*(line: (location: string) => string) {
    const { ask, host } = yield* memory()
    const { headers } = yield* ask("POST /v2/team/app/blobs/uploads/")
    const location = `${headers.location}`
    const connection = yield* connect(host)
    yield* connection.write(
      `${line(location)} HTTP/1.1\r\nhost: a\r\ncontent-type: ${MediaType.imageIndex}\r\ncontent-length: 10\r\n\r\n0123`
    )
    return { ...connection, held: Effect.map(ask(`GET ${location}`), ({ headers }) => headers.range) }
  })

  it.effect.each([
    (location: string) => `PATCH ${location}`,
    (location: string) => `PUT ${location}?digest=${digest}`
  ])("is aborted after a minute, and the received bytes are kept", (line) =>
    Effect.gen(function*() {
      const { closed, held } = yield* stalled(line)
      yield* Effect.repeat(held, { until: (range) => range === "0-3" })
      yield* TestClock.adjust("75 seconds")
      const received = yield* closed
      assert.match(received, /^HTTP\/1\.1 408 /)
      assert.match(received, /connection: close/i)
      // plain text, because the specification has no code for 408
      assert.match(received, /content-type: text\/plain/i)
      assert.strictEqual(yield* held, "0-3")
    }))

  it.effect("is not aborted earlier", () =>
    Effect.gen(function*() {
      const { held, read, write } = yield* stalled((location) => `PATCH ${location}`)
      yield* Effect.repeat(held, { until: (range) => range === "0-3" })
      yield* TestClock.adjust("59 seconds")
      yield* write("45678")
      yield* Effect.repeat(held, { until: (range) => range === "0-8" })
      yield* TestClock.adjust("59 seconds")
      yield* write("9")
      assert.match(yield* read(/\r\n\r\n/), /^HTTP\/1\.1 202 /)
    }))

  it.effect("is not aborted while the registry is slow", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const [began, done] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const { host } = yield* serve(override(registry, {
        startUpload: (name, options) =>
          Effect.map(registry.startUpload(name, options), (started) =>
            started._tag === "Mounted" ? started : {
              ...started,
              append: (chunk) =>
                Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(done)).pipe(
                  Effect.andThen(started.append(chunk))
                )
            })
      }))
      const { headers } = yield* send(host, "POST /v2/team/app/blobs/uploads/")
      // more than the server receives ahead of the reader
      const body = new Uint8Array(16 * 1024 * 1024)
      const fiber = yield* Effect.forkChild(send(host, `PATCH ${headers.location}`, { body }))
      yield* Deferred.await(began)
      // the client sends everything first, and then the registry is busy for a long time
      const turns = Effect.repeat(send(host, "GET /v2/"), { times: 5 })
      yield* Effect.repeat(Effect.andThen(TestClock.adjust("30 seconds"), turns), { times: 20 })
      yield* Deferred.succeed(done, undefined)
      assert.strictEqual((yield* Fiber.join(fiber)).status, 202)
    }))

  it.effect("is aborted after another configured time", () =>
    Effect.gen(function*() {
      const { closed, held } = yield* stalled((location) => `PATCH ${location}`)
      yield* Effect.repeat(held, { until: (range) => range === "0-3" })
      yield* TestClock.adjust("2 seconds")
      assert.match(yield* closed, /^HTTP\/1\.1 408 /)
    }).pipe(Effect.provideService(RegistryServer.IdleTimeout, Duration.seconds(1))))

  it.effect("of a response is aborted if the client does not take it", () =>
    Effect.gen(function*() {
      const { host, registry } = yield* memory()
      const { digest } = yield* pushBlob(registry, app, new Uint8Array(64 * 1024 * 1024))
      const response = yield* Effect.callback<Http.IncomingMessage>((resume) => {
        const request = Http.get(`http://${host}/v2/team/app/blobs/${digest}`, { agent: false }, (response) => {
          response.pause()
          resume(Effect.succeed(response))
        })
        request.on("error", () => {})
      })
      const closed = Effect.callback<boolean>((resume) => {
        response.on("error", () => {})
        response.on("close", () => resume(Effect.succeed(response.complete)))
        response.resume()
      })
      yield* Effect.repeat(TestClock.adjust("75 seconds"), { times: 20 })
      assert.isFalse(yield* closed)
    }))
})

describe("a malicious manifest", () => {
  const bombs: Readonly<Record<string, string>> = {
    "nested a million times": `{"schemaVersion":2,"manifests":[],"x":${"[".repeat(1e6)}${"]".repeat(1e6)}}`,
    "nested and never closed": `{"x":`.repeat(5e5),
    "of half a million fields": `{"manifests":[],${Array.from({ length: 2e5 }, (_, i) => `"k${i}":1`).join(",")}}`,
    "of broken descriptors": `{"schemaVersion":2,"manifests":[${"{},".repeat(5e5)}{}]}`,
    "of a very long number": `{"schemaVersion":2,"manifests":[],"x":${"9".repeat(1e6)}}`,
    "with a prototype": `{"schemaVersion":2,"manifests":[],"__proto__":{"mediaType":"x"},"constructor":null}`,
    "with half a character": `{"schemaVersion":2,"manifests":[],"x":"\\ud800"}`
  }
  for (const [name, body] of Object.entries(bombs)) {
    it.live(`does no harm: ${name}`, () =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        const sent = { body, headers: { "content-type": MediaType.imageIndex } }
        assert.oneOf((yield* ask("PUT /v2/team/app/manifests/1", sent)).status, [201, 400])
        assert.strictEqual((yield* ask("GET /v2/")).status, 200)
      }))
  }
})

describe("random requests", () => {
  const words = Schema.Literals([
    "v2",
    "team",
    "app",
    "..",
    ".",
    "",
    "%2e%2e",
    "%2F",
    "%00",
    "%",
    "%zz",
    "%ff",
    "A",
    "_catalog",
    "tags",
    "list",
    "manifests",
    "blobs",
    "uploads",
    "referrers",
    digest,
    "sha256:",
    "sha512:00",
    "latest",
    "a".repeat(300),
    ":",
    "~",
    "00000000-0000-4000-8000-000000000000",
    "\u00e4",
    "?",
    "#",
    "&",
    "n=-1",
    "n=99999999999999999999",
    "last=%00",
    `digest=${digest}`,
    "digest=",
    "mount=",
    `mount=${digest}`,
    "from=..",
    "from=team/app",
    "tag=..",
    "artifactType=%zz",
    "digest-algorithm=../..",
    "="
  ])
  const targets = Arbitrary.array(Arbitrary.schema(words), { maxLength: 9 }).pipe(
    Arbitrary.map((parts) => `/v2/${parts.join("/")}`.replaceAll(/\/([?#&])\/?/g, "$1"))
  )
  const methods = Schema.Literals(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
  const ranges = Schema.Literals(["", "bytes=0-", "bytes=-", "0-9", "9-0", "0-0", "bytes=5-1,2-", "-1--1", "0-1e9"])
  const runs = process.env["EFFECT_OCI_LONG"] === undefined ? 200 : 20_000

  it.effect.prop(
    "is never answered by a 5xx",
    [methods, targets, ranges],
    ([method, target, range]) =>
      Effect.gen(function*() {
        const { host } = yield* memory()
        const headers = `host: a\r\nrange: ${range}\r\ncontent-range: ${range}\r\ncontent-length: 2\r\n`
        const status = yield* raw(host, `${method} ${target} HTTP/1.1\r\n${headers}\r\n{}`)
        assert.isTrue(status >= 200 && status < 500, `${method} ${target}: ${status}`)
      }).pipe(Effect.scoped),
    { arbitrary: { runs }, timeout: 600_000 }
  )
})
