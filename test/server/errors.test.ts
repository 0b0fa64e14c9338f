import { assert, describe } from "@effect/vitest"
import { Duration, Effect, Logger, Stream } from "effect"
import * as Hasher from "effect-oci/Hasher"
import * as MediaType from "effect-oci/MediaType"
import * as Registry from "effect-oci/Registry"
import * as RegistryError from "effect-oci/RegistryError"
import { digestOf } from "../utils/digests.ts"
import { bytesOf, repository } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { failing } from "../utils/registries.ts"
import { connect } from "../utils/ScriptedServer.ts"
import { memory, send, serve } from "../utils/Served.ts"

const digest = digestOf("content")
const detail = "told by the registry behind"

const mismatch = {
  digest: new Hasher.DigestMismatch({ expected: digest, actual: digestOf("other") }),
  size: new Hasher.SizeMismatch({ expected: 1, actual: 2 })
}

/** Serves a registry all of whose operations fail for this reason. */
const failingWith = (reason: RegistryError.Reason) =>
  Effect.map(
    serve(Registry.make({
      name: "faulty",
      getManifest: () => failing("getManifest", reason),
      pushManifest: () => failing("pushManifest", reason)
    })).pipe(Effect.provide(Logger.layer([]))),
    ({ host }) => ({
      read: send(host, "GET /v2/team/app/manifests/1"),
      write: send(host, "PUT /v2/team/app/manifests/1", { body: {}, headers: { "content-type": MediaType.imageIndex } })
    })
  )

describe("a failure of the registry", () => {
  const both: ReadonlyArray<readonly [RegistryError.Reason, status: number, code: string]> = [
    [new RegistryError.BlobUnknown({ detail }), 404, "BLOB_UNKNOWN"],
    [new RegistryError.BlobUploadInvalid({ detail }), 416, "BLOB_UPLOAD_INVALID"],
    [new RegistryError.BlobUploadUnknown({ detail }), 404, "BLOB_UPLOAD_UNKNOWN"],
    [new RegistryError.DigestInvalid({ detail }), 400, "DIGEST_INVALID"],
    [new RegistryError.ManifestBlobUnknown({ detail }), 400, "MANIFEST_BLOB_UNKNOWN"],
    [new RegistryError.ManifestInvalid({ detail }), 400, "MANIFEST_INVALID"],
    [new RegistryError.ManifestUnknown({ detail }), 404, "MANIFEST_UNKNOWN"],
    [new RegistryError.NameInvalid({ detail }), 400, "NAME_INVALID"],
    [new RegistryError.NameUnknown({ detail }), 404, "NAME_UNKNOWN"],
    [new RegistryError.SizeInvalid({ detail }), 400, "SIZE_INVALID"],
    [new RegistryError.Unauthorized({ detail }), 401, "UNAUTHORIZED"],
    [new RegistryError.Denied({ detail }), 403, "DENIED"],
    [new RegistryError.Unsupported({ detail }), 405, "UNSUPPORTED"],
    [new RegistryError.TooManyRequests({ detail }), 429, "TOOMANYREQUESTS"],
    [new RegistryError.RangeNotSatisfiable({ detail }), 416, "SIZE_INVALID"],
    [new RegistryError.Transport({ detail }), 503, "UNKNOWN"],
    [new RegistryError.Timeout({ phase: "headers", after: Duration.seconds(1) }), 504, "UNKNOWN"],
    [new RegistryError.UnexpectedResponse({ status: 500, detail }), 502, "UNKNOWN"],
    [new RegistryError.Storage({ path: "/srv", problem: detail, code: "EIO" }), 500, "UNKNOWN"],
    [new RegistryError.Storage({ path: "/srv", problem: detail, code: "EMFILE" }), 503, "UNKNOWN"],
    [new RegistryError.Storage({ path: "/srv", problem: detail, code: "ENOSPC" }), 507, "UNKNOWN"],
    [new RegistryError.AmbiguousTag({ tag: "1", candidates: [] }), 500, "UNKNOWN"],
    [new RegistryError.CredentialsUnavailable({ source: "config.json", problem: detail }), 502, "UNKNOWN"],
    [new RegistryError.TokenUnavailable({ problem: detail, isTemporary: true }), 503, "UNKNOWN"],
    [new RegistryError.TokenUnavailable({ problem: detail, isTemporary: false }), 502, "UNKNOWN"]
  ]
  const cases: ReadonlyArray<readonly ["read" | "write", RegistryError.Reason, number, string]> = [
    ...both.flatMap(([reason, status, code]) =>
      (["read", "write"] as const).map((kind) => [kind, reason, status, code] as const)
    ),
    ["write", mismatch.digest, 400, "DIGEST_INVALID"],
    ["write", mismatch.size, 400, "SIZE_INVALID"],
    ["write", new Hasher.UnsupportedAlgorithm({ algorithm: "md5" }), 400, "DIGEST_INVALID"],
    ["write", new RegistryError.ContentTooLarge({ limit: 1 }), 413, "SIZE_INVALID"],
    // bad content in a read is not the fault of the client
    ["read", mismatch.digest, 502, "UNKNOWN"],
    ["read", mismatch.size, 502, "UNKNOWN"],
    ["read", new Hasher.UnsupportedAlgorithm({ algorithm: "md5" }), 502, "UNKNOWN"],
    ["read", new RegistryError.ContentTooLarge({ limit: 1 }), 502, "UNKNOWN"]
  ]
  for (const [kind, reason, status, code] of cases) {
    it.live(`becomes a response to a ${kind}: ${reason._tag} as ${status} ${code}`, () =>
      Effect.gen(function*() {
        const answer = yield* (yield* failingWith(reason))[kind]
        assert.strictEqual(answer.status, status)
        assert.strictEqual(answer.headers["content-type"], "application/json")
        const { errors } = JSON.parse(answer.text)
        assert.strictEqual(errors.length, 1)
        assert.strictEqual(errors[0].code, code)
        assert.isString(errors[0].message)
      }))
  }

  it.live("keeps the message of the registry if the client can fix the problem", () =>
    Effect.gen(function*() {
      const { write } = yield* failingWith(new RegistryError.ManifestInvalid({ detail }))
      assert.include((yield* write).text, detail)
    }))

  it.live.each([
    new RegistryError.Transport({ code: "ECONNREFUSED", detail }),
    new RegistryError.UnexpectedResponse({ status: 500, detail }),
    new RegistryError.Storage({ path: detail, problem: detail }),
    new RegistryError.CredentialsUnavailable({ source: detail, problem: detail }),
    new RegistryError.TokenUnavailable({ service: detail, problem: detail, isTemporary: true })
  ])("has no details if the server is at fault: $_tag", (reason) =>
    Effect.gen(function*() {
      const { read } = yield* failingWith(reason)
      assert.notInclude((yield* read).text, detail)
    }))

  it.live("that is temporary says for how long, in whole seconds", () =>
    Effect.gen(function*() {
      const retryAfter = Duration.millis(1_200)
      for (
        const reason of [
          new RegistryError.TooManyRequests({ retryAfter }),
          new RegistryError.UnexpectedResponse({ status: 503, retryAfter }),
          new RegistryError.TokenUnavailable({ problem: detail, isTemporary: true, retryAfter })
        ]
      ) {
        const { read } = yield* failingWith(reason)
        assert.strictEqual((yield* read).headers["retry-after"], "2")
      }
    }))

  it.live("as 401 has a challenge", () =>
    Effect.gen(function*() {
      const { read } = yield* failingWith(new RegistryError.Unauthorized({}))
      assert.strictEqual((yield* read).headers["www-authenticate"], `Basic realm="registry", charset="UTF-8"`)
    }))

  it.live("has no body in a response to HEAD", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { bytes, status } = yield* ask("HEAD /v2/team/app/manifests/1")
      assert.deepStrictEqual([status, bytes.length], [404, 0])
    }))

  it.live.each(["ManifestUnknown", "NameUnknown", "Denied", "TooManyRequests"] as const)(
    "has the same reason in our client: %s",
    (tag) =>
      Effect.gen(function*() {
        const { host } = yield* serve(Registry.make({
          name: "faulty",
          tags: () => Stream.fromEffect(failing("tags", new RegistryError[tag]({})))
        }))
        const client = yield* connect({ host })
        const error = yield* Effect.flip(Stream.runDrain(client.tags(repository("team/app"))))
        assert.strictEqual(error.reason._tag, tag)
      })
  )
})

describe("an unexpected failure", () => {
  it.live("is 500, with details in the log and not in the response", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ cause, message }) => void logged.push([message, `${cause}`]))
      const { host } = yield* serve(Registry.make({
        name: "faulty",
        getManifest: () => Effect.die(new Error("secret-marker"))
      })).pipe(Effect.provide(Logger.layer([logger])))
      const answer = yield* send(host, "GET /v2/team/app/manifests/1")
      assert.deepStrictEqual([answer.status, answer.code], [500, "UNKNOWN"])
      assert.notInclude(answer.text, "secret-marker")
      assert.include(JSON.stringify(logged), "secret-marker")
    }))

  it.live.each<readonly [string, () => Effect.Effect<never, RegistryError.RegistryError>, number]>([
    [
      "a failure",
      () => failing("getManifest", new RegistryError.Storage({ path: "/srv", problem: "bad sector" })),
      500
    ],
    ["a defect", () => Effect.die(new Error("bad sector")), 500],
    [
      "a failure of another registry",
      () => failing("getManifest", new RegistryError.Transport({ detail: "bad sector" })),
      503
    ]
  ])(
    "is logged with its cause under an id that the client receives: %s",
    ([, getManifest, status]) =>
      Effect.gen(function*() {
        const logged: Array<string> = []
        const logger = Logger.map(Logger.formatLogFmt, (line) => void logged.push(line))
        const { host } = yield* serve(Registry.make({ name: "faulty", getManifest })).pipe(
          Effect.provide(Logger.layer([logger]))
        )
        const answers = [
          yield* send(host, "GET /v2/team/app/manifests/1"),
          yield* send(host, "GET /v2/team/app/manifests/2")
        ]
        const ids = answers.map(({ headers }) => `${headers["x-request-id"]}`)
        assert.strictEqual(new Set(ids).size, 2)
        assert.strictEqual(logged.length, 2)
        for (const [index, answer] of answers.entries()) {
          assert.strictEqual(answer.status, status)
          assert.include(answer.text, `${ids[index]}`)
          assert.include(logged[index], `${ids[index]}`)
          assert.include(logged[index], "bad sector")
          assert.include(logged[index], `/v2/team/app/manifests/${index + 1}`)
          assert.notInclude(answer.text, "bad sector")
        }
      })
  )

  it.live("is not logged if the client caused it", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const { host } = yield* serve(Registry.make({ name: "faulty" })).pipe(
        Effect.provide(Logger.layer([Logger.make(({ message }) => void logged.push(message))]))
      )
      const { headers, status } = yield* send(host, "GET /v2/team/app/manifests/1")
      assert.deepStrictEqual([status, headers["x-request-id"], logged], [405, undefined, []])
    }))

  it.live("of one request does not affect the next", () =>
    Effect.gen(function*() {
      let asked = 0
      const { host } = yield* serve(Registry.make({
        name: "faulty",
        getManifest: () =>
          asked++ === 0
            ? Effect.die("once")
            : Effect.map(Hasher.digest(bytesOf("{}")), (digest) => ({
              descriptor: { mediaType: MediaType.imageIndex, digest, size: 2 },
              bytes: bytesOf("{}")
            })).pipe(Effect.orDie)
      })).pipe(Effect.provide(Logger.layer([])))
      assert.strictEqual((yield* send(host, "GET /v2/team/app/manifests/1")).status, 500)
      assert.strictEqual((yield* send(host, "GET /v2/team/app/manifests/1")).status, 200)
    }))
})

describe("an unknown endpoint", () => {
  it.live.each(["GET /v2/nonsense", "GET /v2/team/app", "GET /v2/team/app/tags", "GET /v1/", "GET /", "GET /token"])(
    "is 404: %s",
    (line) =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        const { code, status } = yield* ask(line)
        assert.deepStrictEqual([status, code], [404, "UNSUPPORTED"])
      })
  )

  it.live.each(
    [
      ["POST /v2/", "GET, HEAD"],
      ["PUT /v2/team/app/tags/list", "GET, HEAD"],
      ["POST /v2/team/app/manifests/1", "GET, HEAD, PUT, DELETE"],
      [`PUT /v2/team/app/blobs/${digest}`, "GET, HEAD, DELETE"],
      ["GET /v2/team/app/blobs/uploads/", "POST"],
      ["POST /v2/team/app/blobs/uploads/1", "GET, HEAD, PATCH, PUT, DELETE"],
      [`DELETE /v2/team/app/referrers/${digest}`, "GET, HEAD"],
      ["OPTIONS /v2/_catalog", "GET, HEAD"],
      ["PROPFIND /v2/_catalog", "GET, HEAD"]
    ] as const
  )("has no such method: %s", ([line, allow]) =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { code, headers, status } = yield* ask(line)
      assert.deepStrictEqual([status, code, headers.allow], [405, "UNSUPPORTED", allow])
    }))
})
