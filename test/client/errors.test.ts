import { assert, describe } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Redacted, Schema, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Credentials from "effect-oci/Credentials"
import type { Registry } from "effect-oci/Registry"
import { RegistryError } from "effect-oci/RegistryError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import { repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { type Answer, digestOf, host, make, reasonOf, transportError } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const digest = digestOf("content")

/** One operation for each kind of resource. */
const operations = {
  blob: ["GET /v2/team/app/blobs/" + digest, (registry: Registry) => Effect.scoped(registry.getBlob(name, digest))],
  manifest: ["GET /v2/team/app/manifests/1", (registry: Registry) => registry.getManifest(name, tag("1"))],
  upload: [
    "GET /v2/team/app/blobs/uploads/1",
    (registry: Registry) => Effect.scoped(registry.resumeUpload(name, `https://${host}/v2/team/app/blobs/uploads/1`))
  ],
  repository: ["GET /v2/team/app/tags/list", (registry: Registry) => Stream.runDrain(registry.tags(name))],
  registry: ["GET /v2/", (registry: Registry) => registry.ping]
} as const

const fail = Effect.fnUntraced(function*(target: keyof typeof operations, answer: Answer) {
  const [line, operation] = operations[target]
  const { registry } = yield* make({ [line]: answer })
  return yield* Effect.flip(operation(registry) as Effect.Effect<unknown, RegistryError>)
})

const document = (code: string, message?: string) => ({
  errors: [{ code, ...message === undefined ? {} : { message } }]
})

describe("an error response", () => {
  it.effect.each(
    [
      ["blob", 404, "", "BlobUnknown"],
      ["manifest", 404, "", "ManifestUnknown"],
      ["upload", 404, "", "BlobUploadUnknown"],
      ["repository", 404, "", "NameUnknown"],
      ["registry", 404, "", "UnexpectedResponse"],
      ["blob", 404, document("NAME_UNKNOWN"), "NameUnknown"],
      ["manifest", 404, document("NAME_UNKNOWN"), "NameUnknown"],
      ["manifest", 404, document("NOT_IN_ANY_LIST"), "ManifestUnknown"],
      ["manifest", 404, document("toString"), "ManifestUnknown"],
      ["manifest", 404, { errors: [] }, "ManifestUnknown"],
      ["manifest", 404, { errors: null }, "ManifestUnknown"],
      ["manifest", 404, { errors: "none" }, "ManifestUnknown"],
      [
        "manifest",
        404,
        { errors: [{ code: "MANIFEST_UNKNOWN", detail: { Name: "app" }, message: null }] },
        "ManifestUnknown"
      ],
      ["blob", 400, document("DIGEST_INVALID"), "DigestInvalid"],
      ["blob", 400, document("NAME_INVALID"), "NameInvalid"],
      ["blob", 400, document("SIZE_INVALID"), "SizeInvalid"],
      ["blob", 400, "", "UnexpectedResponse"],
      ["upload", 400, document("BLOB_UPLOAD_INVALID"), "BlobUploadInvalid"],
      ["manifest", 400, document("MANIFEST_INVALID"), "ManifestInvalid"],
      ["manifest", 400, document("MANIFEST_BLOB_UNKNOWN"), "ManifestBlobUnknown"],
      ["manifest", 400, document("UNSUPPORTED"), "Unsupported"],
      ["manifest", 400, document("TOOMANYREQUESTS"), "TooManyRequests"],
      ["manifest", 401, document("DENIED"), "Unauthorized"],
      ["manifest", 403, document("UNAUTHORIZED"), "Denied"],
      ["manifest", 405, "", "Unsupported"],
      ["manifest", 413, "", "ContentTooLarge"],
      ["blob", 416, "", "RangeNotSatisfiable"],
      ["upload", 416, "", "BlobUploadInvalid"],
      ["manifest", 413, document("MANIFEST_INVALID"), "ContentTooLarge"],
      ["blob", 416, document("SIZE_INVALID"), "RangeNotSatisfiable"],
      ["upload", 416, document("UNSUPPORTED"), "BlobUploadInvalid"],
      ["manifest", 418, "", "UnexpectedResponse"],
      ["manifest", 429, document("DENIED"), "TooManyRequests"],
      ["manifest", 500, document("MANIFEST_UNKNOWN"), "UnexpectedResponse"],
      ["manifest", 503, "", "UnexpectedResponse"],
      ["manifest", 302, "", "UnexpectedResponse"],
      ["manifest", 204, "", "UnexpectedResponse"]
    ] as const
  )("means for a %s with status %i and %j: %s", ([target, status, body, expected]) =>
    Effect.gen(function*() {
      const error = yield* fail(target, { status, body })
      assert.strictEqual(error.reason._tag, expected)
      assert.strictEqual(error.status, status)
      assert.strictEqual(error.registry, host)
      assert.strictEqual(error.repository, target === "registry" ? undefined : name)
    }))

  it.effect.each(
    [[408, true], [429, true], [500, true], [501, false], [502, true], [503, true], [504, true], [404, false]] as const
  )(
    "of status %i is retryable: %s",
    ([status, expected]) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* fail("manifest", { status })).isRetryable, expected)
      })
  )

  it.effect("is quoted, cut to 200 printable characters", () =>
    Effect.gen(function*() {
      const message = `too\r\n\u001b[31mred${"!".repeat(1000)}`
      const { reason } = yield* fail("manifest", { status: 400, body: document("MANIFEST_INVALID", message) })
      assert.deepInclude(reason, { detail: `too [31mred${"!".repeat(189)}` })
    }))

  it.effect("is reported by its code if it has no message", () =>
    Effect.gen(function*() {
      const { reason } = yield* fail("manifest", { status: 500, body: document("DISK_FULL", "") })
      assert.deepInclude(reason, { detail: "DISK_FULL" })
    }))

  it.effect.each(
    [
      ["as Artifactory", { errors: [{ status: 403, message: "quota exceeded" }] }, "quota exceeded"],
      ["as AWS and GitHub", { message: "quota exceeded" }, "quota exceeded"],
      ["with keys in another case", { Message: "quota exceeded", Code: 7 }, "quota exceeded"],
      ["as Docker Hub's token service", { details: "quota exceeded" }, "quota exceeded"],
      ["as Google", { error: { code: 403, status: "DENIED", message: "quota exceeded" } }, "quota exceeded"],
      ["as OAuth", { error: "denied", error_description: "quota exceeded" }, "quota exceeded"],
      ["as a problem of RFC 9457", { title: "Forbidden", detail: "quota exceeded" }, "quota exceeded"],
      ["in JSON that is a text", "\"quota exceeded\"", "quota exceeded"],
      ["in plain text", "  quota exceeded\n", "quota exceeded"],
      ["with a code that is a number", { errors: [{ code: 409, message: "quota exceeded" }] }, "quota exceeded"],
      ["with a detail alone", { errors: [{ code: "X", detail: "quota exceeded" }] }, "quota exceeded"],
      ["with a detail of parts", { errors: [{ code: "X", message: null, detail: { reason: "quota" } }] }, "quota"],
      ["with a detail of its own", { errors: [{ code: "X", message: "no", detail: "quota" }] }, "no: quota"],
      ["with parts that say nothing", { errors: [{ code: "X", message: "quota", detail: [{ a: 1 }] }] }, "quota"],
      ["twice", { errors: [{ message: "no" }, { message: "quota" }, { message: "no" }] }, "no; quota"],
      ["in a list of texts", { errors: ["quota"] }, "quota"],
      ["with a code alone", { code: "QUOTA" }, "QUOTA"],
      [
        "in the XML of S3",
        "<?xml version=\"1.0\"?><Error><Code>Slow</Code><Message>a &amp; b</Message></Error>",
        "Slow: a & b"
      ]
    ] as const
  )("is reported in the registry's words: %s", ([, body, detail]) =>
    Effect.gen(function*() {
      assert.deepInclude((yield* fail("manifest", { status: 500, body })).reason, { detail })
    }))

  it.effect.each(["", "404 page not found\n", "Not Found", "HTTP/1.1 404 Not Found", "\u0000\u0001\u0002\ufffd"])(
    "has no detail if its body only repeats the status, or is not text: %j",
    (body) =>
      Effect.gen(function*() {
        assert.isFalse("detail" in (yield* fail("manifest", { status: 404, body })).reason)
      })
  )

  it.effect("that is a web page is reported by its title", () =>
    Effect.gen(function*() {
      const page = "<!DOCTYPE html><html><head><title>502\n Bad <b>Gate</b>way &lt;proxy&gt;</title></head></html>"
      const { message } = yield* fail("manifest", { status: 502, body: page })
      assert.include(message, `the answer is a web page, "502 Bad Gate way <proxy>": is this a registry?`)
    }))

  it.effect("whose body never ends is aborted, however slowly it arrives", () =>
    Effect.gen(function*() {
      const body = Stream.tick("30 seconds").pipe(Stream.map(() => new Uint8Array(1)))
      const fiber = yield* Effect.forkChild(fail("manifest", { status: 404, body }))
      yield* TestClock.adjust("60 seconds")
      assert.strictEqual(fiber.pollUnsafe()?._tag, "Success")
    }))

  it.effect("that is a web page is reported as one, and not quoted", () =>
    Effect.gen(function*() {
      const headers = { "content-type": "text/html; charset=utf-8" }
      const { message, reason } = yield* fail("manifest", { status: 404, headers, body: "<html>lost?</html>" })
      assert.strictEqual(reason._tag, "ManifestUnknown")
      assert.include(message, "web page")
      assert.notInclude(message, "lost")
    }))

  it.effect("is read up to 64 KiB", () =>
    Effect.gen(function*() {
      const body = Stream.forever(Stream.succeed(new Uint8Array(16 * 1024)))
      assert.strictEqual((yield* fail("manifest", { status: 503, body })).status, 503)
    }))

  it.effect("has the reason of its status if its body breaks off", () =>
    Effect.gen(function*() {
      const body = Stream.fail(transportError(HttpClientRequest.get("/"), "broken"))
      assert.strictEqual((yield* fail("manifest", { status: 404, body })).reason._tag, "ManifestUnknown")
    }))

  it.effect("has the reason of its status if its body hangs", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(fail("manifest", { status: 404, body: Stream.never }))
      yield* TestClock.adjust("60 seconds")
      assert.strictEqual(fiber.pollUnsafe()?._tag, "Success")
    }))
})

describe("Retry-After", () => {
  const pause = (status: number, retryAfter: string) =>
    Effect.map(
      fail("manifest", { status, headers: { "retry-after": retryAfter } }),
      (error) => error.retryAfter === undefined ? undefined : Duration.toSeconds(error.retryAfter)
    )

  it.effect.each(
    [[429, "7", 7], [503, "120", 120], [429, "0", 0], [429, "soon", undefined], [429, "", undefined]] as const
  )(
    "of a %i with %j is %s seconds",
    ([status, retryAfter, expected]) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* pause(status, retryAfter), expected)
      })
  )

  it.effect("may be a date", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2030, 0, 1, 12, 0, 0))
      assert.strictEqual(yield* pause(429, "Tue, 01 Jan 2030 12:01:30 GMT"), 90)
      assert.strictEqual(yield* pause(429, "Tue, 01 Jan 2030 11:00:00 GMT"), 0)
    }))
})

describe("a request without a response", () => {
  const broken = (cause: unknown) =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/": () => Effect.fail(transportError(HttpClientRequest.get("/"), cause))
      })
      return yield* Effect.flip(registry.ping)
    })

  it.effect.each(["ECONNREFUSED", "ENOTFOUND", "UND_ERR_SOCKET"])(
    "is reported by its code: %s",
    (code) =>
      Effect.gen(function*() {
        const error = yield* broken(Object.assign(new Error("fetch failed"), { cause: { code } }))
        assert.deepInclude(error.reason, { _tag: "Transport", code })
        assert.isTrue(error.isRetryable)
        assert.notInclude(error.message, "fetch failed")
      })
  )

  it.effect("is reported by the message of its cause if it has no code", () =>
    Effect.gen(function*() {
      assert.include((yield* broken(new Error("out of wires"))).message, "out of wires")
    }))
})

describe("secrets", () => {
  const marker = "s3cret-marker"
  const encoded = Buffer.from(`${marker}:${marker}`).toString("base64")
  const session = `/v2/team/app/blobs/uploads/1?_state=${marker}`
  const asks = { status: 401, headers: { "www-authenticate": "Basic realm=\"registry\"" } }
  const blob = new Uint8Array(100_000)
  const push = (registry: Registry) =>
    registry.pushBlob(name, { digest: digestOf(blob), size: blob.length }, BlobSource.fromBytes(blob))

  it.effect.each(
    [
      ["401", { status: 401, headers: { "www-authenticate": `Bearer realm="${marker}"` } }],
      ["500", { status: 500, headers: { "set-cookie": marker }, body: marker }],
      ["a web page", { status: 200, headers: { "content-type": "text/html" }, body: `<p>${marker}` }],
      ["a Location", { status: 302, headers: { location: `https://${marker}` } }],
      ["no URL", { status: 202, headers: { location: `http://[${marker}` } }],
      ["a session", { status: 202, headers: { location: session } }]
    ] as const
  )("are in no error: %s", ([, answer]) =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        "GET /v2/": [asks, {}, answer],
        "GET /v2/team/app/tags/list": answer,
        "POST /v2/team/app/blobs/uploads/": answer,
        "PUT /v2/team/app/blobs/uploads/1": () => Effect.fail(transportError(HttpClientRequest.put(session), "broken")),
        "DELETE /v2/team/app/blobs/uploads/1": { status: 404, body: marker },
        [`GET https://${marker}/`]: { status: 403, body: marker },
        [`POST https://${marker}/`]: { status: 403, body: marker }
      }, { credentials: Credentials.basic(marker, Redacted.make(marker)) })
      yield* registry.ping
      const exits: ReadonlyArray<Exit.Exit<unknown, RegistryError>> = [
        yield* Effect.exit(push(registry)),
        yield* Effect.exit(Stream.runDrain(registry.tags(name))),
        yield* Effect.exit(registry.ping)
      ]
      assert.strictEqual(requests[2]?.headers["authorization"], `Basic ${encoded}`)
      for (const exit of exits) {
        if (!Exit.isFailure(exit)) continue
        const error = Cause.squash(exit.cause)
        assert.instanceOf(error, RegistryError)
        const texts = [
          error.message,
          JSON.stringify(error),
          JSON.stringify(yield* Schema.encodeEffect(RegistryError)(error)),
          inspect(error, { depth: Infinity, showHidden: true, getters: true }),
          Cause.pretty(exit.cause)
        ]
        for (const text of texts) {
          assert.notInclude(text, marker)
          assert.notInclude(text, encoded)
        }
      }
      assert.isTrue(exits.some(Exit.isFailure))
    }))

  it.effect("of a registry are in none of its errors", () =>
    Effect.gen(function*() {
      const headers = { "x-secret": marker, "set-cookie": marker }
      const error = yield* fail("manifest", { status: 400, headers, body: `<html><p>${marker}</p></html>` })
      assert.notInclude(inspect(error, { depth: Infinity, showHidden: true }), marker)
      assert.strictEqual((yield* reasonOf(Effect.fail(error)))._tag, "UnexpectedResponse")
    }))
})
