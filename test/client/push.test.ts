import { assert, describe } from "@effect/vitest"
import { Deferred, Effect, Fiber, Schema, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as MediaType from "effect-oci/MediaType"
import { isRegistryError } from "effect-oci/RegistryError"
import { bytesOf, repository } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { digestOf, make, reasonOf, type Script } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const uploads = "/v2/team/app/blobs/uploads/"
const session = `${uploads}one?_state=a%2Bb%3D`

const blobOf = (bytes: Uint8Array) => ({ bytes, digest: digestOf(bytes), size: bytes.length })
const small = blobOf(bytesOf("a small blob"))
const large = blobOf(new Uint8Array(64 * 1024 + 1).fill(7))
const empty = blobOf(new Uint8Array())

const digestParameter = (digest: string) => `digest=${encodeURIComponent(digest)}`
const post = `POST ${uploads}`
const postOf = ({ digest }: { readonly digest: string }) => `${post}?${digestParameter(digest)}`
const putOf = ({ digest }: { readonly digest: string }, location = session) =>
  `PUT ${location}&${digestParameter(digest)}`
const cancel = `DELETE ${session}`

const opened = { status: 202, headers: { location: session } }
const created = { status: 201, headers: { location: "/v2/team/app/blobs/any" } }
const takesSessions: Script = {
  [post]: opened,
  [`PUT ${uploads}one`]: created,
  [cancel]: { status: 204 }
}

class SourceFailed extends Schema.TaggedError<SourceFailed>()("SourceFailed", {}) {}

describe("pushing a small blob", () => {
  it.effect("is one POST (C16)", () =>
    Effect.gen(function*() {
      const { registry, requests, sent } = yield* make({ [postOf(small)]: created })
      assert.deepStrictEqual(yield* registry.pushBlob(name, small, BlobSource.fromBytes(small.bytes)), {
        mediaType: MediaType.octetStream,
        digest: small.digest,
        size: small.size
      })
      assert.deepStrictEqual(sent(), [postOf(small)])
      assert.deepStrictEqual(requests[0]?.body, small.bytes)
      assert.deepInclude(requests[0]?.headers, { "content-length": "12", "content-type": "application/octet-stream" })
      assert.deepInclude(yield* registry.capabilities, { singlePost: true })
    }))

  it.effect("continues by PUT in the session that the POST opens, and does not try POST again (C16)", () =>
    Effect.gen(function*() {
      const { registry, requests, sent } = yield* make(takesSessions)
      yield* registry.pushBlob(name, small, BlobSource.fromBytes(small.bytes))
      yield* registry.pushBlob(name, small, BlobSource.fromBytes(small.bytes))
      assert.deepStrictEqual(sent(), [postOf(small), putOf(small), post, putOf(small)])
      assert.deepStrictEqual(requests[1]?.body, small.bytes)
      assert.deepInclude(yield* registry.capabilities, { singlePost: false })
    }))

  it.effect("opens a source that can be read only once only once, even if the POST is declined", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make(takesSessions)
      let count = 0
      const once = Stream.suspend(() => {
        count++
        return Stream.succeed(small.bytes)
      })
      yield* registry.pushBlob(name, small, BlobSource.fromStream(small.size, once))
      assert.strictEqual(count, 1)
      assert.deepStrictEqual(requests[1]?.body, small.bytes)
    }))

  it.effect("accepts an empty blob", () =>
    Effect.gen(function*() {
      const { registry, requests, sent } = yield* make(takesSessions)
      yield* registry.pushBlob(name, empty, BlobSource.fromBytes(empty.bytes))
      assert.deepStrictEqual(sent(), [postOf(empty), putOf(empty)])
      assert.strictEqual(requests[0]?.headers["content-length"], "0")
      assert.strictEqual(requests[1]?.headers["content-length"], "0")
    }))

  it.effect("fails with the error of the source, and sends nothing", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({})
      const source = BlobSource.fromStream(small.size, Stream.fail(new SourceFailed()))
      assert.instanceOf(yield* Effect.flip(registry.pushBlob(name, small, source)), SourceFailed)
      assert.deepStrictEqual(sent(), [])
    }))

  it.effect("fails if the source has another length, even if it is endless", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({})
      const push = (stream: Stream.Stream<Uint8Array>) =>
        reasonOf(registry.pushBlob(name, small, BlobSource.fromStream(small.size, stream)))
      assert.deepInclude(yield* push(Stream.succeed(bytesOf("short"))), { _tag: "SizeMismatch", actual: 5 })
      assert.strictEqual((yield* push(Stream.forever(Stream.succeed(bytesOf("long")))))._tag, "SizeMismatch")
      assert.deepStrictEqual(sent(), [])
    }))

  it.effect("fails when the registry stored another digest", () =>
    Effect.gen(function*() {
      const actual = digestOf("another")
      const { registry } = yield* make({
        [postOf(small)]: { status: 201, headers: { "docker-content-digest": actual } }
      })
      const reason = yield* reasonOf(registry.pushBlob(name, small, BlobSource.fromBytes(small.bytes)))
      assert.deepInclude(reason, { _tag: "DigestMismatch", expected: small.digest, actual })
    }))
})

describe("pushing a large blob", () => {
  it.effect("is POST and PUT, with the length and the type of the body (C15)", () =>
    Effect.gen(function*() {
      const { registry, requests, sent } = yield* make(takesSessions)
      yield* registry.pushBlob(name, large, BlobSource.fromBytes(large.bytes))
      assert.deepStrictEqual(sent(), [post, putOf(large)])
      assert.deepStrictEqual(requests[1]?.body, large.bytes)
      assert.deepInclude(requests[1]?.headers, {
        "content-length": `${large.size}`,
        "content-type": "application/octet-stream"
      })
    }))

  it.effect("refuses a source with another length than the descriptor", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({})
      const reason = yield* reasonOf(registry.pushBlob(name, large, BlobSource.fromBytes(small.bytes)))
      assert.deepInclude(reason, { _tag: "SizeMismatch", expected: large.size, actual: small.size })
      assert.deepStrictEqual(sent(), [])
    }))

  it.effect("opens the source once", () =>
    Effect.gen(function*() {
      const { registry } = yield* make(takesSessions)
      const offsets: Array<number> = []
      yield* registry.pushBlob(
        name,
        large,
        BlobSource.make(large.size, (offset) => {
          offsets.push(offset)
          return Stream.succeed(large.bytes)
        })
      )
      assert.deepStrictEqual(offsets, [0])
    }))

  it.effect("fails with the error of the source, and cancels the session (C23)", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make(takesSessions)
      const stream = Stream.concat(Stream.succeed(bytesOf("begins")), Stream.fail(new SourceFailed()))
      const error = yield* Effect.flip(registry.pushBlob(name, large, BlobSource.fromStream(large.size, stream)))
      assert.isFalse(isRegistryError(error))
      assert.instanceOf(error, SourceFailed)
      assert.deepStrictEqual(sent(), [post, putOf(large), cancel])
    }))

  it.effect.each([["too short", 1], ["too long", 3]] as const)(
    "fails when the source is %s",
    ([, count]) =>
      Effect.gen(function*() {
        const { registry, requests, sent } = yield* make(takesSessions)
        const half = { digest: large.digest, size: 100_000 }
        const stream = Stream.take(Stream.forever(Stream.sync(() => new Uint8Array(50_000))), count)
        const reason = yield* reasonOf(registry.pushBlob(name, half, BlobSource.fromStream(half.size, stream)))
        assert.deepInclude(reason, { _tag: "SizeMismatch", expected: half.size, actual: count * 50_000 })
        assert.deepStrictEqual(sent(), [post, putOf(half), cancel])
        assert.lengthOf(requests[1]?.body ?? [], 0)
      })
  )

  it.effect("fails when the registry stored another digest, and then does not cancel", () =>
    Effect.gen(function*() {
      const headers = { "docker-content-digest": digestOf("another") }
      const { registry, sent } = yield* make({ ...takesSessions, [`PUT ${uploads}one`]: { status: 201, headers } })
      const reason = yield* reasonOf(registry.pushBlob(name, large, BlobSource.fromBytes(large.bytes)))
      assert.strictEqual(reason._tag, "DigestMismatch")
      assert.notInclude(sent(), cancel)
    }))

  it.effect("fails with the error of the registry, and cancels the session", () =>
    Effect.gen(function*() {
      const refusal = { status: 400, body: { errors: [{ code: "DIGEST_INVALID" }] } }
      const { registry, sent } = yield* make({ ...takesSessions, [`PUT ${uploads}one`]: refusal })
      const reason = yield* reasonOf(registry.pushBlob(name, large, BlobSource.fromBytes(large.bytes)))
      assert.deepInclude(reason, { _tag: "DigestInvalid", status: 400 })
      assert.deepStrictEqual(sent(), [post, putOf(large), cancel])
    }))

  it.effect("cancels the session when it is interrupted in the middle of the PUT", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const { registry, sent } = yield* make({
        ...takesSessions,
        [`PUT ${uploads}one`]: () => Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)
      })
      const fiber = yield* Effect.forkChild(registry.pushBlob(name, large, BlobSource.fromBytes(large.bytes)))
      yield* Deferred.await(reached)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(sent(), [post, putOf(large), cancel])
    }))

  it.effect("cancels a session whose Location arrives after the interruption", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<void>()
      const { registry, sent } = yield* make({
        ...takesSessions,
        [post]: () =>
          Deferred.succeed(reached, undefined).pipe(Effect.andThen(Deferred.await(answer)), Effect.as(opened))
      })
      const fiber = yield* Effect.forkChild(registry.pushBlob(name, large, BlobSource.fromBytes(large.bytes)))
      yield* Deferred.await(reached)
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* Deferred.succeed(answer, undefined)
      yield* Fiber.join(interruption)
      assert.deepStrictEqual(sent(), [post, cancel])
    }))

  it.effect("announces another algorithm than sha256 (C17)", () =>
    Effect.gen(function*() {
      const digest = digestOf(large.bytes, "sha512")
      const { registry, sent } = yield* make(takesSessions)
      yield* registry.pushBlob(name, { digest, size: large.size }, BlobSource.fromBytes(large.bytes))
      assert.deepStrictEqual(sent(), [`${post}?digest-algorithm=sha512`, putOf({ digest })])
    }))
})

describe("the Location of a session (C14)", () => {
  const place = "https://registry.test"
  it.effect.each(
    [
      [session, `${session}&`],
      [`${uploads}one`, `${uploads}one?`],
      [`${place}${session}`, `${session}&`],
      ["two", `${uploads}two?`],
      ["//registry.test/elsewhere", "/elsewhere?"],
      ["https://storage.test/one?X-Sig=a%2Bb+c%20d~'(!)*", "https://storage.test/one?X-Sig=a%2Bb+c%20d~%27(!)*&"],
      [`${uploads}%7Eone/a%2Fb?state=%c3%a9`, `${uploads}%7Eone/a%2Fb?state=%c3%a9&`]
    ] as const
  )("is used to the letter, the digest added to its query: %s", ([location, used]) =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [post]: { status: 202, headers: { location } },
        [`PUT ${used.slice(0, used.indexOf("?"))}`]: created
      })
      yield* registry.pushBlob(name, large, BlobSource.fromBytes(large.bytes))
      assert.deepStrictEqual(sent(), [post, `PUT ${used}${digestParameter(large.digest)}`])
    }))

  it.effect.each([undefined, "http://[", ""])("must be one: %s", (location) =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [post]: { status: 202, ...location === undefined ? {} : { headers: { location } } }
      })
      const reason = yield* reasonOf(registry.pushBlob(name, large, BlobSource.fromBytes(large.bytes)))
      assert.deepInclude(reason, { _tag: "UnexpectedResponse", status: 202 })
    }))
})
