import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Duration, Effect, Schema } from "effect"
import * as Digest from "effect-oci/Digest"
import * as Hasher from "effect-oci/Hasher"
import * as RegistryError from "effect-oci/RegistryError"

const a = Digest.fromHash("sha256", new Uint8Array(32).fill(0xaa))
const b = Digest.fromHash("sha256", new Uint8Array(32).fill(0xbb))

const failed = (reason: RegistryError.Reason): RegistryError.RegistryError =>
  new RegistryError.RegistryError({ operation: "getBlob", registry: "reg.io", repository: "team/app", reason })

const detail = "says the registry"

/** Every reason, with what its message says, and whether the operation may succeed later. */
const reasons: ReadonlyArray<readonly [reason: RegistryError.Reason, message: string, isRetryable: boolean]> = [
  [new RegistryError.BlobUnknown({}), "there is no such blob", false],
  [new RegistryError.BlobUploadInvalid({ detail }), "the upload was refused: says the registry", false],
  [new RegistryError.BlobUploadUnknown({ detail: "" }), "there is no such upload session", false],
  [new RegistryError.DigestInvalid({ detail }), "the registry does not accept the digest: says the registry", false],
  [new RegistryError.ManifestBlobUnknown({}), "the manifest refers to missing content", false],
  [new RegistryError.ManifestInvalid({}), "the registry does not accept the manifest", false],
  [new RegistryError.ManifestUnknown({}), "there is no such manifest or tag", false],
  [new RegistryError.NameInvalid({}), "the registry does not accept the repository's name", false],
  [new RegistryError.NameUnknown({}), "there is no such repository", false],
  // what our own server says
  [new RegistryError.NameUnknown({ detail: "there is no such repository" }), "there is no such repository", false],
  [new RegistryError.SizeInvalid({}), "the registry does not accept the length", false],
  [new RegistryError.Unauthorized({ status: 401 }), "the registry asks for credentials", false],
  [new RegistryError.Denied({ status: 403 }), "access is denied", false],
  [new RegistryError.Denied({ detail: "a\nb\u202ec\u001b[2J" }), "access is denied: a b c [2J", false],
  [new RegistryError.Unsupported({}), "the registry does not support this", false],
  [new RegistryError.TooManyRequests({ detail }), "the registry asks for a pause: says the registry", true],
  [new RegistryError.Transport({ detail }), "the connection failed: says the registry", true],
  [new RegistryError.Transport({ code: "EOTHER" }), "the connection failed", true],
  [new RegistryError.Transport({ code: "ENOTFOUND", detail }), "the host name does not resolve", true],
  [new RegistryError.Transport({ code: "ECONNRESET" }), "the connection was reset", true],
  [new RegistryError.Transport({ code: "HPE_INVALID_CONSTANT", detail }), "what answered does not speak HTTP", true],
  [
    new RegistryError.Transport({ code: "HPE_UNEXPECTED_CONTENT_LENGTH", detail: "it has several lengths" }),
    "the response is not valid HTTP: it has several lengths",
    true
  ],
  [
    new RegistryError.Transport({ code: "CERT_HAS_EXPIRED", detail }),
    "the certificate of the registry has expired: says the registry",
    false
  ],
  [
    new RegistryError.Transport({ code: "ERR_TLS_CERT_ALTNAME_INVALID" }),
    "the certificate of the registry is for another name",
    false
  ],
  [new RegistryError.Transport({ code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" }), "the certificate is not trusted", false],
  [
    new RegistryError.Transport({ code: "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED" }),
    "the registry refused to speak TLS",
    false
  ],
  [
    new RegistryError.Transport({ code: "ECONNRESET", attempts: 5, elapsed: Duration.millis(63_400) }),
    "the connection was reset; tried 5 times in 1m 3s",
    true
  ],
  [
    new RegistryError.SchemeMismatch({ used: "http" }),
    "the port expects TLS, and the request was plain HTTP",
    false
  ],
  [
    new RegistryError.SchemeMismatch({ used: "https" }),
    "the port does not speak TLS, and probably speaks plain HTTP",
    false
  ],
  [new RegistryError.Timeout({ phase: "headers", after: Duration.seconds(60) }), "no answer came within 1m", true],
  [
    new RegistryError.Timeout({ phase: "body", after: Duration.seconds(1) }),
    "no more of the body came within 1s",
    true
  ],
  [
    new RegistryError.Timeout({ phase: "commit", after: Duration.minutes(15) }),
    "no word that the blob is stored came within 15m",
    true
  ],
  [new RegistryError.UnexpectedResponse({}), "unexpected answer", false],
  [
    new RegistryError.UnexpectedResponse({ status: 200, detail }),
    "unexpected answer (HTTP 200): says the registry",
    false
  ],
  [new RegistryError.UnexpectedResponse({ status: 408 }), "unexpected answer (HTTP 408)", true],
  [new RegistryError.UnexpectedResponse({ status: 418 }), "unexpected answer (HTTP 418)", false],
  [new RegistryError.UnexpectedResponse({ status: 500 }), "unexpected answer (HTTP 500)", true],
  [new RegistryError.UnexpectedResponse({ status: 501 }), "unexpected answer (HTTP 501)", false],
  [new RegistryError.UnexpectedResponse({ status: 503 }), "unexpected answer (HTTP 503)", true],
  [
    new Hasher.DigestMismatch({ expected: a, actual: b }),
    `the content does not match its digest: expected ${a}, got ${b}`,
    false
  ],
  [new Hasher.SizeMismatch({ expected: 2, actual: 1 }), "the content has 1 bytes, not 2", false],
  [
    new Hasher.UnsupportedAlgorithm({ algorithm: "blake3" }),
    `content cannot be verified: no digests of algorithm "blake3" here`,
    false
  ],
  [new RegistryError.RangeNotSatisfiable({}), "there is no such range of bytes", false],
  [new RegistryError.ContentTooLarge({}), "the content is too large", false],
  [new RegistryError.ContentTooLarge({ limit: 4 }), "the content is larger than 4 bytes", false],
  [
    new RegistryError.CredentialsUnavailable({ source: "/home/ada/.docker/config.json", problem: "it is not JSON" }),
    "no credentials from /home/ada/.docker/config.json: it is not JSON",
    false
  ],
  [
    new RegistryError.TokenUnavailable({ problem: "its realm is not a URL", isTemporary: false }),
    "no token from the service that the registry names: its realm is not a URL",
    false
  ],
  [
    new RegistryError.TokenUnavailable({ service: "https://auth.io", problem: "it is tired", isTemporary: true }),
    "no token from https://auth.io: it is tired",
    true
  ],
  [
    new RegistryError.Storage({ path: "/srv/app/index.json", problem: "it is not JSON" }),
    "/srv/app/index.json: it is not JSON",
    false
  ],
  [
    new RegistryError.Storage({ path: "/srv/app", problem: "no space is left on the device", code: "ENOSPC" }),
    "/srv/app: no space is left on the device",
    false
  ],
  [
    new RegistryError.Storage({ path: "/srv/app", problem: "too many files are open", code: "EMFILE" }),
    "/srv/app: too many files are open",
    true
  ],
  [
    new RegistryError.AmbiguousTag({ tag: "1", candidates: [{ name: "reg.io/app:1", digest: a }, { digest: b }] }),
    `several images have the tag 1: reg.io/app:1 (${a}), ${b}`,
    false
  ]
]

/** Durations are counted in milliseconds; JSON has no other number than a finite one. */
const whole = (duration: Duration.Duration): Duration.Duration => {
  const millis = Math.trunc(Duration.toMillis(duration))
  return Duration.millis(Number.isSafeInteger(millis) ? millis : 0)
}
const counted = (reason: RegistryError.Reason): RegistryError.Reason => {
  const durations = Object.entries(reason).filter((entry): entry is [string, Duration.Duration] =>
    Duration.isDuration(entry[1])
  )
  const fields = { ...reason, ...Object.fromEntries(durations.map(([name, duration]) => [name, whole(duration)])) }
  switch (fields._tag) {
    case "Timeout":
      return new RegistryError.Timeout(fields)
    case "TooManyRequests":
      return new RegistryError.TooManyRequests(fields)
    case "Transport":
      return new RegistryError.Transport(fields)
    case "UnexpectedResponse":
      return new RegistryError.UnexpectedResponse(fields)
    case "TokenUnavailable":
      return new RegistryError.TokenUnavailable(fields)
    default:
      return reason
  }
}

const Json = Schema.fromJsonString(RegistryError.RegistryError)

describe("RegistryError", () => {
  it("has a reason for each code of the specification, and for what goes wrong on the way", () => {
    assert.deepStrictEqual(
      [...new Set(reasons.map(([reason]) => reason._tag))],
      RegistryError.Reason.members.map((member) => member.fields._tag.schema.literal)
    )
  })

  it.each(reasons)("says why, in a sentence: %s", (reason, message) => {
    assert.strictEqual(failed(reason).message, `reg.io/team/app: ${message} (getBlob)`)
  })

  it("names the registry alone where there is no repository", () => {
    const reason = new RegistryError.Denied({})
    const error = new RegistryError.RegistryError({ operation: "ping", registry: "localhost:5000", reason })
    assert.strictEqual(error.message, "localhost:5000: access is denied (ping)")
  })

  it.each(reasons)("knows whether the operation may succeed later: %s", (reason, _, isRetryable) => {
    assert.strictEqual(failed(reason).isRetryable, isRetryable)
    assert.strictEqual(reason.isRetryable, isRetryable)
  })

  it("knows how long to wait, where the registry says so", () => {
    const retryAfter = Duration.seconds(7)
    assert.deepStrictEqual(failed(new RegistryError.TooManyRequests({ retryAfter })).retryAfter, retryAfter)
    assert.deepStrictEqual(failed(new RegistryError.UnexpectedResponse({ retryAfter })).retryAfter, retryAfter)
    assert.isUndefined(failed(new RegistryError.TooManyRequests({})).retryAfter)
    assert.isUndefined(failed(new RegistryError.Denied({})).retryAfter)
  })

  it("knows the HTTP status, where there was one", () => {
    assert.strictEqual(failed(new RegistryError.ManifestUnknown({ status: 404 })).status, 404)
    assert.isUndefined(failed(new RegistryError.ManifestUnknown({})).status)
    assert.isUndefined(failed(new RegistryError.Transport({})).status)
  })

  it("has its reason as its cause", () => {
    const reason = new RegistryError.Denied({})
    assert.strictEqual(failed(reason).cause, reason)
  })

  for (const member of RegistryError.Reason.members) {
    const reason = Arbitrary.map(Arbitrary.schema<Schema.Schema<RegistryError.Reason>>(member), counted)

    it.effect.prop(
      `becomes JSON, and itself again: ${member.identifier}`,
      [reason],
      ([reason]) =>
        Effect.gen(function*() {
          const error = failed(reason)
          const json = yield* Schema.encodeEffect(Json)(error)
          const decoded = yield* Schema.decodeEffect(Json)(json)
          assert.instanceOf(decoded, RegistryError.RegistryError)
          assert.isTrue(decoded.reason instanceof member)
          assert.strictEqual(decoded.message, error.message)
          assert.strictEqual(decoded.isRetryable, error.isRetryable)
          assert.strictEqual(decoded.cause, decoded.reason)
          assert.strictEqual(yield* Schema.encodeEffect(Json)(decoded), json)
        })
    )
  }

  it.effect("shows in JSON what it knows, and nothing else", () =>
    Effect.gen(function*() {
      const reason = new RegistryError.TooManyRequests({ status: 429, detail, retryAfter: Duration.seconds(1) })
      assert.deepStrictEqual<unknown>(JSON.parse(yield* Schema.encodeEffect(Json)(failed(reason))), {
        _tag: "RegistryError",
        operation: "getBlob",
        registry: "reg.io",
        repository: "team/app",
        reason: { _tag: "TooManyRequests", status: 429, detail, retryAfter: 1000 }
      })
    }))

  it.effect("is caught by its reason", () =>
    Effect.gen(function*() {
      const caught = (reason: RegistryError.Reason) =>
        Effect.catchReason(
          Effect.fail(failed(reason)),
          "RegistryError",
          "ManifestUnknown",
          (reason, error) => Effect.succeed([reason.status, error.registry])
        )
      assert.deepStrictEqual(yield* caught(new RegistryError.ManifestUnknown({ status: 404 })), [404, "reg.io"])
      const other = yield* Effect.flip(caught(new RegistryError.BlobUnknown({})))
      assert.strictEqual(other.reason._tag, "BlobUnknown")
    }))

  it("is distinguished from other values", () => {
    const reason = new RegistryError.Denied({})
    assert.isTrue(RegistryError.isRegistryError(failed(reason)))
    for (const other of [reason, undefined, null, "RegistryError", { _tag: "RegistryError" }]) {
      assert.isFalse(RegistryError.isRegistryError(other))
    }
  })
})
