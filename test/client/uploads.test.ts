import { assert, describe } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schema, Scope, Stream } from "effect"
import type { Upload } from "effect-oci/Upload"
import { TestClock } from "effect/testing"
import { bytesOf, repository } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { digestOf, make, reasonOf, type Script } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const uploads = "/v2/team/app/blobs/uploads/"
const digest = digestOf("0123456789")
const post = `POST ${uploads}`
const digestParameter = `digest=${encodeURIComponent(digest)}`

const at = (location: string, headers?: Readonly<Record<string, string>>) => ({
  status: 202,
  headers: { location: `${uploads}${location}`, ...headers }
})
const chunk = (offset: number, content: string) => ({
  offset,
  size: content.length,
  stream: Stream.succeed(bytesOf(content))
})

/** A scripted registry, and a session on it that was opened by `POST`. */
const open = Effect.fnUntraced(function*(script: Script) {
  const server = yield* make({ [post]: at("one"), ...script })
  const scope = yield* Scope.make()
  const started = yield* Scope.provide(server.registry.startUpload(name), scope)
  const upload: Upload = started._tag === "Upload" ? started : yield* Effect.die("mounted without a request")
  return { ...server, upload, close: Scope.close(scope, Exit.void) }
})

class SourceFailed extends Schema.TaggedError<SourceFailed>()("SourceFailed", {}) {}

describe("chunks", () => {
  it.effect("are sent by PATCH to the Location before them, and closed by PUT (C19, C20, C21)", () =>
    Effect.gen(function*() {
      const { requests, sent, upload } = yield* open({
        [`PATCH ${uploads}one`]: at("two", { range: "0-3" }),
        [`PATCH ${uploads}two`]: at("three?state=3", { range: "0-7" }),
        [`PUT ${uploads}three`]: { status: 201 }
      })
      assert.strictEqual(yield* upload.append(chunk(0, "0123")), 4)
      assert.strictEqual(yield* upload.append(chunk(4, "4567")), 8)
      assert.deepInclude(yield* upload.commit(digest, chunk(8, "89")), { digest, size: 10 })
      assert.deepStrictEqual(sent(), [
        post,
        `PATCH ${uploads}one`,
        `PATCH ${uploads}two`,
        `PUT ${uploads}three?state=3&${digestParameter}`
      ])
      assert.deepStrictEqual(
        requests.map(({ headers }) => [headers["content-range"], headers["content-length"], headers["content-type"]]),
        [
          [undefined, undefined, undefined],
          ["0-3", "4", "application/octet-stream"],
          ["4-7", "4", "application/octet-stream"],
          [undefined, "2", "application/octet-stream"]
        ]
      )
      assert.deepStrictEqual(requests.map(({ body }) => new TextDecoder().decode(body)), ["", "0123", "4567", "89"])
    }))

  it.effect("stay at their Location if a response names none", () =>
    Effect.gen(function*() {
      const { upload } = yield* open({ [`PATCH ${uploads}one`]: { status: 202 } })
      yield* upload.append(chunk(0, "0123"))
      assert.strictEqual(yield* upload.append(chunk(4, "4567")), 8)
    }))

  it.effect("are counted if the registry's Range is of the chunk", () =>
    Effect.gen(function*() {
      const { upload } = yield* open({ [`PATCH ${uploads}one`]: { status: 201, headers: { range: "0-3" } } })
      yield* upload.append(chunk(0, "0123"))
      assert.strictEqual(yield* upload.append(chunk(4, "4567")), 8)
    }))

  it.effect("need not have a length", () =>
    Effect.gen(function*() {
      const { requests, upload } = yield* open({ [`PATCH ${uploads}one`]: at("one") })
      assert.strictEqual(yield* upload.append({ offset: 0, stream: chunk(0, "0123").stream }), 4)
      assert.notProperty(requests[1]?.headers, "content-range")
      assert.notProperty(requests[1]?.headers, "content-length")
    }))

  it.effect("may be none: an empty blob is POST and PUT", () =>
    Effect.gen(function*() {
      const { requests, upload } = yield* open({ [`PUT ${uploads}one`]: { status: 201 } })
      assert.strictEqual((yield* upload.commit(digestOf(""))).size, 0)
      assert.strictEqual(requests[1]?.headers["content-length"], "0")
    }))

  it.effect("fail if the registry requires another offset", () =>
    Effect.gen(function*() {
      const { upload } = yield* open({ [`PATCH ${uploads}one`]: { status: 416 } })
      const reason = yield* reasonOf(upload.append(chunk(0, "012")))
      assert.deepInclude(reason, { _tag: "BlobUploadInvalid", status: 416 })
    }))

  it.effect("are not sent at another offset than that of the upload", () =>
    Effect.gen(function*() {
      const { sent, upload } = yield* open({})
      const before = sent().length
      assert.strictEqual((yield* reasonOf(upload.append(chunk(7, "789"))))._tag, "BlobUploadInvalid")
      assert.strictEqual((yield* reasonOf(upload.commit(digest, chunk(7, "789"))))._tag, "BlobUploadInvalid")
      assert.strictEqual(sent().length, before)
    }))

  it.effect("fail with the error of their source, and leave the session open", () =>
    Effect.gen(function*() {
      const { sent, upload } = yield* open({ [`PATCH ${uploads}one`]: at("one"), [`PUT ${uploads}one`]: at("one") })
      const broken = Stream.concat(Stream.succeed(bytesOf("01")), Stream.fail(new SourceFailed()))
      assert.instanceOf(yield* Effect.flip(upload.append({ offset: 0, size: 4, stream: broken })), SourceFailed)
      assert.instanceOf(yield* Effect.flip(upload.commit(digest, { offset: 0, stream: broken })), SourceFailed)
      assert.notInclude(sent(), `DELETE ${uploads}one`)
    }))

  it.effect("should not be smaller than the registry says (C18)", () =>
    Effect.gen(function*() {
      const { upload } = yield* open({ [post]: at("one", { "oci-chunk-min-length": "65536" }) })
      assert.strictEqual(upload.minimumChunk, 65_536)
    }))
})

describe("the status of a session (C22)", () => {
  it.effect.each(
    [["0-3", 4], ["bytes=0-3", 4], ["0-0", 0], ["0--1", 0], [undefined, 0], ["nonsense", 0]] as const
  )("%s means %i bytes", ([range, held]) =>
    Effect.gen(function*() {
      const headers = range === undefined ? {} : { range }
      const { upload } = yield* open({ [`GET ${uploads}one`]: { status: 204, headers } })
      assert.strictEqual(yield* upload.status, held)
    }))

  it.effect("0-0 means one byte if one was sent", () =>
    Effect.gen(function*() {
      const { upload } = yield* open({
        [`PATCH ${uploads}one`]: at("one"),
        [`GET ${uploads}one`]: { status: 204, headers: { range: "0-0" } }
      })
      yield* upload.append(chunk(0, "0"))
      assert.strictEqual(yield* upload.status, 1)
    }))

  it.effect("comes with the Location of the next request (C20)", () =>
    Effect.gen(function*() {
      const { upload, sent } = yield* open({
        [`GET ${uploads}one`]: { ...at("two", { range: "0-3" }), status: 204 },
        [`PATCH ${uploads}two`]: at("two")
      })
      yield* upload.append(chunk(yield* upload.status, "4567"))
      assert.deepStrictEqual(sent(), [post, `GET ${uploads}one`, `PATCH ${uploads}two`])
    }))

  it.effect("fails if the session no longer exists", () =>
    Effect.gen(function*() {
      const { upload } = yield* open({ [`GET ${uploads}one`]: { status: 404 } })
      assert.strictEqual((yield* reasonOf(upload.status))._tag, "BlobUploadUnknown")
    }))
})

describe("resuming a session", () => {
  it.effect("reads its status, and continues by its id", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [`GET ${uploads}one`]: { ...at("two", { range: "0-3" }), status: 204 },
        [`PUT ${uploads}two`]: { status: 201 }
      })
      const upload = yield* registry.resumeUpload(name, `https://registry.test${uploads}one?state=1`)
      assert.deepInclude(yield* upload.commit(digest, chunk(4, "456789")), { size: 10 })
      assert.deepStrictEqual(sent(), [`GET ${uploads}one?state=1`, `PUT ${uploads}two?${digestParameter}`])
    }))

  it.effect.each([404, 503])(
    "leaves it unchanged if its status is unavailable: %i",
    (status) =>
      Effect.gen(function*() {
        const { registry, sent } = yield* make({ [`GET ${uploads}one`]: { status } })
        const error = yield* Effect.flip(
          Effect.scoped(registry.resumeUpload(name, `https://registry.test${uploads}one`))
        )
        assert.strictEqual(error.status, status)
        assert.deepStrictEqual(sent(), [`GET ${uploads}one`])
      })
  )

  it.effect.each(["", "one", "//[", "http://[", "https://[/", "ftp://registry.test/one"])(
    "fails for an invalid id: %s",
    (id) =>
      Effect.gen(function*() {
        const { registry, sent } = yield* make({})
        assert.strictEqual((yield* reasonOf(Effect.scoped(registry.resumeUpload(name, id))))._tag, "BlobUploadUnknown")
        assert.deepStrictEqual(sent(), [])
      })
  )
})

describe("closing the scope of a session", () => {
  it.effect("cancels it at its latest address if it was not committed (C23)", () =>
    Effect.gen(function*() {
      const { close, sent, upload } = yield* open({
        [`PATCH ${uploads}one`]: at("two"),
        [`DELETE ${uploads}two`]: { status: 204 }
      })
      yield* upload.append(chunk(0, "0123"))
      yield* close
      assert.deepStrictEqual(sent(), [post, `PATCH ${uploads}one`, `DELETE ${uploads}two`])
    }))

  it.effect("does nothing if it was", () =>
    Effect.gen(function*() {
      const { close, sent, upload } = yield* open({ [`PUT ${uploads}one`]: { status: 201 } })
      yield* upload.commit(digest, chunk(0, "0123456789"))
      yield* close
      assert.deepStrictEqual(sent(), [post, `PUT ${uploads}one?${digestParameter}`])
    }))

  it.effect("ignores a refusal of the registry", () =>
    Effect.gen(function*() {
      const { close, sent } = yield* open({ [`DELETE ${uploads}one`]: { status: 500 } })
      yield* close
      assert.deepStrictEqual(sent(), [post, `DELETE ${uploads}one`])
    }))

  it.effect("does not wait for the registry longer than a second", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const { close } = yield* open({
        [`DELETE ${uploads}one`]: () => Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)
      })
      const closing = yield* Effect.forkChild(close)
      yield* Deferred.await(reached)
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
    }))
})

describe("mounting", () => {
  const from = repository("team/base")
  const mount = `${post}?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`
  const start = (script: Script, options: { readonly from?: typeof from } = { from }) =>
    Effect.gen(function*() {
      const server = yield* make({ [`DELETE ${uploads}one`]: { status: 204 }, ...script })
      const started = yield* Effect.scoped(
        Effect.map(server.registry.startUpload(name, { mount: { digest, ...options } }), ({ _tag }) => _tag)
      )
      return { started, sent: server.sent() }
    })

  it.effect("is one POST, and the blob that is mounted stays", () =>
    Effect.gen(function*() {
      const location = `/v2/team/app/blobs/${digest}`
      const { sent, started } = yield* start({ [mount]: { status: 201, headers: { location } } })
      assert.strictEqual(started, "Mounted")
      assert.deepStrictEqual(sent, [mount])
    }))

  it.effect("may omit the source (C24)", () =>
    Effect.gen(function*() {
      const anywhere = `${post}?mount=${encodeURIComponent(digest)}`
      assert.deepStrictEqual((yield* start({ [anywhere]: { status: 201 } }, {})).sent, [anywhere])
    }))

  it.effect("opens a session if the registry lacks the blob (C24)", () =>
    Effect.gen(function*() {
      const { sent, started } = yield* start({ [mount]: at("one") })
      assert.strictEqual(started, "Upload")
      assert.deepStrictEqual(sent, [mount, `DELETE ${uploads}one`])
    }))

  it.effect.each([400, 401, 403, 404, 405])(
    "falls back to a plain POST if the registry answers %i (C24)",
    (status) =>
      Effect.gen(function*() {
        const { sent, started } = yield* start({ [mount]: { status }, [post]: at("one") })
        assert.strictEqual(started, "Upload")
        assert.deepStrictEqual(sent, [mount, post, `DELETE ${uploads}one`])
      })
  )

  it.effect("fails if no session can be opened either", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [mount]: { status: 503 }, [post]: { status: 503 } })
      const error = yield* Effect.flip(registry.startUpload(name, { mount: { digest, from } }))
      assert.isTrue(error.isRetryable)
      assert.deepStrictEqual(sent(), [mount, post])
    }))
})
