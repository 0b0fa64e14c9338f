import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { NameUnknown, Unsupported } from "effect-oci/RegistryError"
import { digestOf } from "../utils/digests.ts"
import { pushBlob, repository } from "../utils/images.ts"
import { failing, override } from "../utils/registries.ts"
import { connect, memory, type Response, send, type Sent, serve } from "../utils/Served.ts"

const content = "0123456789"
const digest = digestOf(content)
const nowhere = digestOf("nowhere")

type Ask = (line: string, sent?: Sent) => Effect.Effect<Response>

/** Opens a session, and returns its location. */
const begin = (ask: Ask, query = "") =>
  Effect.map(ask(`POST /v2/team/app/blobs/uploads/${query}`), ({ headers }) => headers.location ?? "")

const put = (ask: Ask, location: string, blob: string, sent?: Sent) =>
  ask(`PUT ${location}?digest=${encodeURIComponent(blob)}`, sent)

const chunk = (range: string, body: string): Sent => ({ body, headers: { "content-range": range } })

const assertBlob = Effect.fnUntraced(function*(ask: Ask, blob = digest, expected = content) {
  const { status, text } = yield* ask(`GET /v2/team/app/blobs/${blob}`)
  assert.deepStrictEqual([status, text], [200, expected])
})

const assertNoBlob = Effect.fnUntraced(function*(ask: Ask, blob = digest) {
  assert.strictEqual((yield* ask(`HEAD /v2/team/app/blobs/${blob}`)).status, 404)
})

describe("an upload session", () => {
  it.live("has a location with a UUID", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { headers, status } = yield* ask("POST /v2/team/app/blobs/uploads/")
      assert.strictEqual(status, 202)
      assert.match(
        headers.location ?? "",
        /^\/v2\/team\/app\/blobs\/uploads\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
      )
    }))

  it.live("is opened without the slash at the end too", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      assert.strictEqual((yield* ask("POST /v2/team/app/blobs/uploads")).status, 202)
    }))

  it.live("becomes a blob by PUT, with the location of the blob", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { headers, status } = yield* put(ask, yield* begin(ask), digest, { body: content })
      assert.deepStrictEqual([status, headers.location], [201, `/v2/team/app/blobs/${digest}`])
      assert.strictEqual(headers["docker-content-digest"], digest)
      yield* assertBlob(ask)
    }))

  it.live("accepts chunks, and returns its range", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      const one = yield* ask(`PATCH ${location}`, chunk("0-3", "0123"))
      assert.deepStrictEqual([one.status, one.headers.range, one.headers.location], [202, "0-3", location])
      const two = yield* ask(`PATCH ${location}`, chunk("4-9", "456789"))
      assert.deepStrictEqual([two.status, two.headers.range], [202, "0-9"])
      assert.strictEqual((yield* put(ask, location, digest)).status, 201)
      yield* assertBlob(ask)
    }))

  it.live("accepts the last chunk with the PUT", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      yield* ask(`PATCH ${location}`, chunk("0-3", "0123"))
      assert.strictEqual((yield* put(ask, location, digest, chunk("4-9", "456789"))).status, 201)
      yield* assertBlob(ask)
    }))

  it.live("accepts a chunk without a length and an offset", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      const headers = { "transfer-encoding": "chunked" }
      const { headers: told, status } = yield* ask(`PATCH ${location}`, { body: content, headers })
      assert.deepStrictEqual([status, told.range], [202, "0-9"])
      yield* put(ask, location, digest)
      yield* assertBlob(ask)
    }))

  it.live("accepts a blob of unknown length with the PUT", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const headers = { "transfer-encoding": "chunked" }
      assert.strictEqual((yield* put(ask, yield* begin(ask), digest, { body: content, headers })).status, 201)
      yield* assertBlob(ask)
    }))

  it.live("accepts a blob without bytes", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const empty = digestOf("")
      assert.strictEqual((yield* put(ask, yield* begin(ask), empty)).status, 201)
      yield* assertBlob(ask, empty, "")
    }))

  it.live.each(["bytes 0-9/10", "bytes=0-9", "0-9/*"])(
    "accepts a chunk with the Content-Range %s",
    (range) =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        assert.strictEqual((yield* ask(`PATCH ${yield* begin(ask)}`, chunk(range, content))).status, 202)
      })
  )

  it.live("returns its range by GET", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      yield* ask(`PATCH ${location}`, chunk("0-3", "0123"))
      const { bytes, headers, status } = yield* ask(`GET ${location}`)
      assert.deepStrictEqual([status, headers.location, headers.range, bytes.length], [204, location, "0-3", 0])
    }))

  it.live("returns the range 0-0 without bytes", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { headers, status } = yield* ask(`GET ${yield* begin(ask)}`)
      assert.deepStrictEqual([status, headers.range], [204, "0-0"])
    }))

  it.live("refuses a chunk that leaves a gap or is sent again, returns its range, and continues", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      yield* ask(`PATCH ${location}`, chunk("0-3", "0123"))
      for (const range of ["0-3", "5-8", "3-6"]) {
        const refused = yield* ask(`PATCH ${location}`, chunk(range, "0123"))
        assert.deepStrictEqual([refused.status, refused.code], [416, "BLOB_UPLOAD_INVALID"])
        const { headers, status } = yield* ask(`GET ${location}`)
        assert.deepStrictEqual([status, headers.range, headers.location], [204, "0-3", location])
      }
      yield* ask(`PATCH ${location}`, chunk("4-9", "456789"))
      assert.strictEqual((yield* put(ask, location, digest)).status, 201)
    }))

  it.live("refuses a last chunk that leaves a gap, and continues", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      yield* ask(`PATCH ${location}`, chunk("0-3", "0123"))
      assert.strictEqual((yield* put(ask, location, digest, chunk("5-10", "456789"))).status, 416)
      assert.strictEqual((yield* put(ask, location, digest, chunk("4-9", "456789"))).status, 201)
      yield* assertBlob(ask)
    }))

  it.live("refuses a first chunk that does not begin at 0", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      assert.strictEqual((yield* ask(`PATCH ${yield* begin(ask)}`, chunk("1-10", content))).status, 416)
    }))

  it.live.each(["0-4", "0-10"])("refuses a chunk of 10 bytes with the range %s", (range) =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      const { code, status } = yield* ask(`PATCH ${location}`, chunk(range, content))
      assert.deepStrictEqual([status, code], [400, "SIZE_INVALID"])
      assert.strictEqual((yield* ask(`GET ${location}`)).headers.range, "0-0")
    }))

  it.live.each(["0-4", "0-10"])(
    "refuses a chunk of 10 bytes of unknown length with the range %s, whatever the registry does",
    (range) =>
      Effect.gen(function*() {
        const { registry } = yield* memory()
        const { host } = yield* serve(override(registry, {
          startUpload: (name, options) =>
            Effect.map(registry.startUpload(name, options), (started) =>
              started._tag === "Mounted" ? started : {
                ...started,
                append: ({ offset, stream }) => started.append({ offset, stream })
              })
        }))
        const { headers: { location } } = yield* send(host, "POST /v2/team/app/blobs/uploads/")
        const headers = { "content-range": range, "transfer-encoding": "chunked" }
        const { code, status } = yield* send(host, `PATCH ${location}`, { body: content, headers })
        assert.deepStrictEqual([status, code], [400, "SIZE_INVALID"])
        assert.strictEqual((yield* send(host, `GET ${location}`)).headers.range, range === "0-4" ? "0-0" : "0-9")
      })
  )

  it.live.each(["", "0", "a-b", "-4", "9-0", "0-9-", "0-99999999999999999999", "items 0-9/10"])(
    "refuses a chunk with the Content-Range %j",
    (range) =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        const { code, status } = yield* ask(`PATCH ${yield* begin(ask)}`, chunk(range, content))
        assert.deepStrictEqual([status, code], [400, "BLOB_UPLOAD_INVALID"])
      })
  )

  it.live("refuses content that does not match the digest, and stores nothing", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const chunked = yield* begin(ask)
      yield* ask(`PATCH ${chunked}`, chunk("0-9", content))
      for (
        const refused of [
          yield* put(ask, yield* begin(ask), nowhere, { body: content }),
          yield* put(ask, chunked, nowhere)
        ]
      ) {
        assert.deepStrictEqual([refused.status, refused.code], [400, "DIGEST_INVALID"])
      }
      yield* assertNoBlob(ask, nowhere)
    }))

  it.live("is committed by the right digest after a wrong one", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      yield* put(ask, location, nowhere, { body: content })
      assert.strictEqual((yield* put(ask, location, digest)).status, 201)
    }))

  it.live.each(["", "?digest=", "?digest=sha256:1234", `?digest=${digest.toUpperCase()}`, "?digest=md5:abc"])(
    "refuses a PUT with %j",
    (query) =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        const { code, status } = yield* ask(`PUT ${yield* begin(ask)}${query}`, { body: content })
        assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
      })
  )

  it.live("computes a sha512 digest that was not announced", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const sha512 = digestOf(content, "sha512")
      const { headers } = yield* put(ask, yield* begin(ask), sha512, { body: content })
      assert.strictEqual(headers["docker-content-digest"], sha512)
      yield* assertBlob(ask, sha512)
    }))

  it.live("computes a sha512 digest that was announced", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask, "?digest-algorithm=sha512")
      assert.strictEqual((yield* put(ask, location, digestOf(content, "sha512"), { body: content })).status, 201)
    }))

  it.live("is not opened for digests that cannot be computed", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { code, status } = yield* ask("POST /v2/team/app/blobs/uploads/?digest-algorithm=md5")
      assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
    }))

  it.live("is unknown after it was cancelled", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      const { bytes, status } = yield* ask(`DELETE ${location}`)
      assert.deepStrictEqual([status, bytes.length], [204, 0])
      for (const method of ["GET", "PATCH", "DELETE"]) {
        const { code, status } = yield* ask(`${method} ${location}`)
        assert.deepStrictEqual([status, code], [404, "BLOB_UPLOAD_UNKNOWN"])
      }
    }))

  it.live("is unknown after its commit", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = yield* begin(ask)
      yield* put(ask, location, digest, { body: content })
      assert.strictEqual((yield* ask(`GET ${location}`)).status, 404)
    }))

  it.live("is unknown to another repository", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const location = (yield* begin(ask)).replace("team/app", "team/other")
      for (const line of [`GET ${location}`, `PATCH ${location}`, `PUT ${location}?digest=${digest}`]) {
        const { code, status } = yield* ask(line)
        assert.deepStrictEqual([status, code], [404, "BLOB_UPLOAD_UNKNOWN"])
      }
    }))

  it.live.each(["nonsense", "00000000-0000-4000-8000-000000000000", "..", "1"])(
    "is unknown under the id %s",
    (id) =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        yield* begin(ask)
        const { code, status } = yield* ask(`GET /v2/team/app/blobs/uploads/${id}`)
        assert.deepStrictEqual([status, code], [404, "BLOB_UPLOAD_UNKNOWN"])
      })
  )

  it.live("announces the minimum size of a chunk, and refuses one after a smaller one", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ minimumChunk: 4 })
      const { headers } = yield* ask("POST /v2/team/app/blobs/uploads/")
      assert.strictEqual(headers["oci-chunk-min-length"], "4")
      const location = headers.location ?? ""
      assert.strictEqual((yield* ask(`PATCH ${location}`, chunk("0-3", "0123"))).status, 202)
      assert.strictEqual((yield* ask(`PATCH ${location}`, chunk("4-5", "45"))).status, 202)
      const { code, status } = yield* ask(`PATCH ${location}`, chunk("6-9", "6789"))
      assert.deepStrictEqual([status, code], [400, "BLOB_UPLOAD_INVALID"])
    }))

  it.live("accepts a small chunk if it is the last one", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ minimumChunk: 4 })
      const location = yield* begin(ask)
      yield* ask(`PATCH ${location}`, chunk("0-7", "01234567"))
      yield* ask(`PATCH ${location}`, chunk("8-9", "89"))
      assert.strictEqual((yield* put(ask, location, digest)).status, 201)
    }))

  it.live("accepts no more than the limit, announced or not", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ uploadLimit: 9 })
      for (const headers of [{}, { "transfer-encoding": "chunked" }]) {
        for (
          const refused of [
            yield* ask(`PATCH ${yield* begin(ask)}`, { body: content, headers }),
            yield* put(ask, yield* begin(ask), digest, { body: content, headers }),
            yield* ask(`POST /v2/team/app/blobs/uploads/?digest=${digest}`, { body: content, headers })
          ]
        ) {
          assert.deepStrictEqual([refused.status, refused.code], [413, "SIZE_INVALID"])
        }
      }
    }))

  it.live("accepts no more than the limit in several chunks", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ uploadLimit: 9 })
      const location = yield* begin(ask)
      yield* ask(`PATCH ${location}`, chunk("0-3", "0123"))
      assert.strictEqual((yield* ask(`PATCH ${location}`, chunk("4-9", "456789"))).status, 413)
      assert.strictEqual((yield* ask(`PATCH ${location}`, chunk("4-8", "45678"))).status, 202)
    }))
})

// alone, because the others delay the turn of the event loop in which a broken connection is noticed
describe("a request that breaks off", { concurrent: false }, () => {
  const lines = (location: string): ReadonlyArray<string> => [`PATCH ${location}`, `PUT ${location}?digest=${digest}`]

  it.live("leaves the received bytes in the session, and the next one continues there", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* memory()
      for (const index of [0, 1]) {
        const location = yield* begin(ask)
        const { close, write } = yield* connect(host)
        yield* write(`${lines(location)[index]} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 10\r\n\r\n01234`)
        yield* close
        const held = yield* ask(`GET ${location}`).pipe(
          Effect.map(({ headers }) => headers.range),
          Effect.repeat({ until: (range) => range !== "0-0", times: 50 })
        )
        assert.strictEqual(held, "0-4")
        assert.strictEqual((yield* put(ask, location, digest, chunk("5-9", "56789"))).status, 201)
      }
    }))

  it.live("leaves the received bytes also in a slow registry, and the status includes them all", () =>
    Effect.gen(function*() {
      const { registry } = yield* memory()
      const began = yield* Deferred.make<void>()
      const store = yield* Deferred.make<void>()
      const { host } = yield* serve(override(registry, {
        startUpload: (name, options) =>
          Effect.map(registry.startUpload(name, options), (started) =>
            started._tag === "Mounted" ? started : {
              ...started,
              append: ({ offset, stream }) =>
                started.append({
                  offset,
                  stream: Stream.tap(
                    stream,
                    () => Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(store))
                  )
                })
            })
      }))
      const { headers: { location } } = yield* send(host, "POST /v2/team/app/blobs/uploads/")
      const { close, write } = yield* connect(host)
      yield* write(`PATCH ${location} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 10\r\n\r\n01234`)
      yield* Deferred.await(began)
      yield* close
      yield* Effect.repeat(send(host, "GET /v2/"), { times: 20 })
      const asked = yield* Effect.forkChild(send(host, `GET ${location}`))
      yield* Effect.repeat(send(host, "GET /v2/"), { times: 20 })
      yield* Deferred.succeed(store, undefined)
      assert.strictEqual((yield* Fiber.join(asked)).headers.range, "0-4")
    }))

  it.live("leaves the received bytes also for a client that asks at once", () =>
    Effect.gen(function*() {
      const { registry } = yield* memory()
      const slowly = Effect.repeat(Effect.yieldNow, { times: 200 })
      const { host } = yield* serve(override(registry, {
        startUpload: (name, options) =>
          Effect.map(registry.startUpload(name, options), (started) =>
            started._tag === "Mounted" ? started : {
              ...started,
              append: ({ offset, stream }) => started.append({ offset, stream: Stream.tap(stream, () => slowly) })
            })
      }))
      const { headers: { location } } = yield* send(host, "POST /v2/team/app/blobs/uploads/")
      const { close, write } = yield* connect(host)
      yield* write(`PATCH ${location} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 10\r\n\r\n01234`)
      yield* close
      assert.strictEqual((yield* send(host, `GET ${location}`)).headers.range, "0-4")
    }))

  it.live("does not block the next one, which replaces it", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* memory()
      const location = yield* begin(ask)
      const { read, write } = yield* connect(host)
      yield* write(`PATCH ${location} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 10\r\n\r\n0123`)
      yield* ask(`GET ${location}`).pipe(Effect.repeat({ until: ({ headers }) => headers.range === "0-3", times: 50 }))
      assert.strictEqual((yield* put(ask, location, digest, chunk("4-9", "456789"))).status, 201)
      assert.match(yield* read(/\r\n\r\n/), /^HTTP\/1.1 400 /)
    }))

  it.live("in a single POST leaves nothing", () =>
    Effect.gen(function*() {
      const { ask, host, registry } = yield* memory()
      const { close, write } = yield* connect(host)
      const path = `/v2/team/app/blobs/uploads/?digest=${digest}`
      yield* write(`POST ${path} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 10\r\n\r\n01234`)
      yield* close
      yield* assertNoBlob(ask)
      assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), [])
    }))
})

describe("a single POST", () => {
  it.live("becomes a blob, with the location of the blob", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { headers, status } = yield* ask(`POST /v2/team/app/blobs/uploads/?digest=${digest}`, { body: content })
      assert.deepStrictEqual([status, headers.location], [201, `/v2/team/app/blobs/${digest}`])
      yield* assertBlob(ask)
    }))

  it.live("need not say its length", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const headers = { "transfer-encoding": "chunked" }
      const line = `POST /v2/team/app/blobs/uploads/?digest=${digest}`
      assert.strictEqual((yield* ask(line, { body: content, headers })).status, 201)
      yield* assertBlob(ask)
    }))

  it.live("with content that does not match the digest is refused, and stores nothing", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { code, status } = yield* ask(`POST /v2/team/app/blobs/uploads/?digest=${nowhere}`, { body: content })
      assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
      yield* assertNoBlob(ask)
      yield* assertNoBlob(ask, nowhere)
    }))

  it.live.each(["sha256:12", "md5:12", ""])("with the digest %j is refused", (digest) =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { code, status } = yield* ask(`POST /v2/team/app/blobs/uploads/?digest=${digest}`, { body: content })
      assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
    }))
})

describe("a mount", () => {
  const line = (query: string) => `POST /v2/team/app/blobs/uploads/?${query}`

  it.live("from another repository succeeds, with the location of the blob", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushBlob(registry, repository("other"), content)
      const { headers, status } = yield* ask(line(`mount=${encodeURIComponent(digest)}&from=other`))
      assert.deepStrictEqual([status, headers.location], [201, `/v2/team/app/blobs/${digest}`])
      assert.strictEqual(headers["docker-content-digest"], digest)
      yield* assertBlob(ask)
    }))

  it.live("without a source repository succeeds", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushBlob(registry, repository("other"), content)
      assert.strictEqual((yield* ask(line(`mount=${digest}`))).status, 201)
      yield* assertBlob(ask)
    }))

  it.live.each([
    `mount=${digest}&from=other`,
    `mount=${digest}&from=no/such`,
    `mount=${digest}&from=NO..SUCH`,
    `mount=${digest}`
  ])("of an absent blob opens a session: %s", (query) =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushBlob(registry, repository("other"), "something else")
      const { headers, status } = yield* ask(line(query))
      assert.strictEqual(status, 202)
      assert.strictEqual((yield* put(ask, headers.location ?? "", digest, { body: content })).status, 201)
      yield* assertBlob(ask)
    }))

  it.live("does not succeed if another repository than the named one has the blob", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushBlob(registry, repository("one"), content)
      yield* pushBlob(registry, repository("two"), "something else")
      assert.strictEqual((yield* ask(line(`mount=${digest}&from=two`))).status, 202)
      yield* assertNoBlob(ask)
    }))

  it.live.each([new Unsupported({}), new NameUnknown({})])(
    "that the registry declines with $_tag opens a session",
    (reason) =>
      Effect.gen(function*() {
        const { registry } = yield* memory()
        const { host } = yield* serve(override(registry, {
          startUpload: (name, options) =>
            options?.mount === undefined ? registry.startUpload(name, options) : failing("startUpload", reason)
        }))
        assert.strictEqual((yield* send(host, line(`mount=${digest}&from=other`))).status, 202)
      })
  )

  it.live("of an invalid digest is refused", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { code, status } = yield* ask(line("mount=nonsense&from=other"))
      assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
    }))
})
