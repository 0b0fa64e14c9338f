/**
 * Every kind of failure, with a secret wherever one may be. No error, log, span or event contains it.
 */
import { assert, describe } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Logger, Redacted, Result, Schema, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Copy from "effect-oci/Copy"
import { CopyError } from "effect-oci/CopyError"
import * as Credentials from "effect-oci/Credentials"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Reference from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import * as RegistryError from "effect-oci/RegistryError"
import { ResumptionThreshold } from "effect-oci/Upload"
import { HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { type Answer, digestOf, make, type Script, type Seen, transportError } from "../utils/ScriptedServer.ts"
import { recordingTracer } from "../utils/spans.ts"

const marker = "s3cret-marker"
const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const big = new Uint8Array(100_000)
const bigDigest = digestOf(big)
const blob = `/v2/team/app/blobs/${digest}`
const manifest = "/v2/team/app/manifests/1"
const uploads = "/v2/team/app/blobs/uploads/"
const realm = "https://auth.test/token"

// a session that is known by its query, as that of CNCF distribution, or where a cloud has signed it
const query = `_state=${marker}&X-Amz-Signature=${marker}&token=${marker}&sig=${marker}`
const session = `${uploads}one?${query}`
const elsewhere = `https://ada:${marker}@storage.test/one?${query}`
const opened: Answer = { status: 202, headers: { location: session } }

const bearer = (parameters: string): Answer => ({
  status: 401,
  headers: { "www-authenticate": `Bearer ${parameters}` }
})
const asks = bearer(`realm="${realm}"`)
const token: Answer = { body: { token: marker, access_token: marker, refresh_token: marker } }
// once the registry has asked, each request carries the secret
const known = Credentials.basic("ada", Redacted.make(marker))
const identity = Credentials.static({ "registry.test": { _tag: "IdentityToken", token: Redacted.make(marker) } })
const registryToken = Credentials.static({ "registry.test": { _tag: "RegistryToken", token: Redacted.make(marker) } })

const failed = (status: number, code?: string): Answer => ({
  status,
  headers: { "set-cookie": `session=${marker}`, "x-token": marker },
  body: code === undefined ? marker : { errors: [{ code, message: "", detail: marker }] }
})
const notTls = () =>
  Effect.fail(transportError(HttpClientRequest.get(realm), Object.assign(new Error(marker), { code: wrongVersion })))
const wrongVersion = "ERR_SSL_WRONG_VERSION_NUMBER"
const unconnected = () => Effect.fail(transportError(HttpClientRequest.get(`${realm}?${query}`), new Error("refused")))

interface Row {
  readonly script: Script
  readonly credentials?: Credentials.Credentials["Service"]
  readonly run: (registry: Registry.Registry) => Effect.Effect<unknown, RegistryError.RegistryError>
}
type Tag = RegistryError.Reason["_tag"]

const ping = ({ ping }: Registry.Registry) => ping
const read = (registry: Registry.Registry) =>
  Effect.scoped(Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.runDrain(stream)))
const readRange = (registry: Registry.Registry) =>
  Effect.scoped(registry.getBlob(name, digest, { range: { offset: 50 } }))
const readManifest = (registry: Registry.Registry) => registry.getManifest(name, tag("1"))
const list = (registry: Registry.Registry) => Stream.runDrain(registry.tags(name))
const writeBig = (registry: Registry.Registry) =>
  registry.pushBlob(name, { digest: bigDigest, size: big.length }, BlobSource.fromBytes(big))
const writeShort = (registry: Registry.Registry) =>
  registry.pushBlob(
    name,
    { digest: bigDigest, size: big.length },
    BlobSource.fromStream(big.length, Stream.succeed(content))
  )
const writeInChunks = (registry: Registry.Registry) =>
  Effect.provideService(writeBig(registry), ResumptionThreshold, 1000)
const writeManifest = (registry: Registry.Registry) =>
  registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes: bytesOf("{}") }, [tag("1")])
const resume = (registry: Registry.Registry) =>
  Effect.scoped(registry.resumeUpload(name, `https://registry.test${session}`))

/** Requires a password first, as the registries that repeat it do. */
const asking = (script: Script): Script =>
  Object.fromEntries(
    Object.entries(script).map(([line, step]) => [line, (seen: Seen) =>
      seen.headers["authorization"] === undefined && seen.url.startsWith("/")
        ? Effect.as(seen.receive, basic)
        : typeof step === "function"
        ? step(seen)
        : Effect.as(seen.receive, step as Answer)]
    ) // no line of these has several steps
  )
const basic: Answer = { status: 401, headers: { "www-authenticate": "Basic realm=r" } }
const refusing = (status: number, code?: string): Script =>
  asking({
    [`GET ${manifest}`]: failed(status, code),
    [`PUT ${manifest}`]: failed(status, code),
    [`GET ${blob}`]: failed(status, code),
    [`POST ${uploads}`]: opened,
    [`PUT ${uploads}one`]: failed(status, code),
    [`PATCH ${uploads}one`]: failed(status, code),
    [`GET ${uploads}one`]: failed(status, code),
    [`DELETE ${uploads}one`]: failed(status, code),
    "GET /v2/team/app/tags/list": failed(status, code)
  })
const redirected = (answer: Answer): Script =>
  asking({
    [`GET ${blob}`]: { status: 307, headers: { location: elsewhere } },
    "GET https://storage.test/one": answer
  })

const rows: ReadonlyArray<readonly [tag: Tag, what: string, row: Row]> = [
  ["BlobUnknown", "a blob", { script: refusing(404, "BLOB_UNKNOWN"), run: read }],
  ["BlobUnknown", "a blob that is elsewhere", { script: redirected(failed(404)), run: read }],
  ["BlobUploadInvalid", "an upload", { script: refusing(416), run: writeBig }],
  ["BlobUploadInvalid", "an upload in chunks", { script: refusing(400, "BLOB_UPLOAD_INVALID"), run: writeInChunks }],
  ["BlobUploadInvalid", "an upload that moves", {
    script: {
      ...refusing(400),
      [`PUT ${uploads}one`]: { status: 307, headers: { location: elsewhere } },
      "DELETE https://storage.test/one": failed(404)
    },
    run: (registry) =>
      registry.pushBlob(
        name,
        { digest: bigDigest, size: big.length },
        BlobSource.fromStream(big.length, Stream.succeed(big))
      )
  }],
  ["BlobUploadUnknown", "a session", { script: refusing(404, "BLOB_UPLOAD_UNKNOWN"), run: resume }],
  ["BlobUploadUnknown", "a session by another id", {
    script: {},
    run: (registry) => Effect.scoped(registry.resumeUpload(name, marker))
  }],
  ["DigestInvalid", "an upload", { script: refusing(400, "DIGEST_INVALID"), run: writeBig }],
  ["SizeInvalid", "an upload", { script: refusing(400, "SIZE_INVALID"), run: writeBig }],
  ["ManifestBlobUnknown", "a push", { script: refusing(404, "MANIFEST_BLOB_UNKNOWN"), run: writeManifest }],
  ["ManifestInvalid", "a push", { script: refusing(400, "MANIFEST_INVALID"), run: writeManifest }],
  ["ManifestUnknown", "a manifest", { script: refusing(404), run: readManifest }],
  ["NameInvalid", "a push", { script: refusing(400, "NAME_INVALID"), run: writeManifest }],
  ["NameUnknown", "a list", { script: refusing(404), run: list }],
  ["Denied", "a manifest", { script: refusing(403, "DENIED"), run: readManifest }],
  ["Denied", "a blob that is elsewhere", { script: redirected(failed(403)), run: read }],
  ["Unsupported", "a manifest", { script: refusing(405, "UNSUPPORTED"), run: readManifest }],
  ["TooManyRequests", "a manifest", { script: refusing(429, "TOOMANYREQUESTS"), run: readManifest }],
  ["TooManyRequests", "an upload", { script: refusing(429), run: writeBig }],
  ["UnexpectedResponse", "a manifest", { script: refusing(500), run: readManifest }],
  ["UnexpectedResponse", "an upload", { script: refusing(500), run: writeBig }],
  ["UnexpectedResponse", "a manifest of another type than its own", {
    script: {
      [`GET ${manifest}`]: {
        headers: { "content-type": MediaType.imageIndex },
        body: { mediaType: marker, annotations: { marker } }
      }
    },
    run: readManifest
  }],
  ["UnexpectedResponse", "a list that is none", {
    script: { "GET /v2/team/app/tags/list": { body: marker } },
    run: list
  }],
  ["UnexpectedResponse", "a redirect to where it must not lead", {
    script: { [`GET ${blob}`]: { status: 307, headers: { location: `http://ada:${marker}@10.0.0.1/?${query}` } } },
    run: read
  }],
  ["UnexpectedResponse", "redirects without end", {
    script: { [`GET ${blob}`]: { status: 307, headers: { location: `${blob}?${query}` } } },
    run: read
  }],
  ["UnexpectedResponse", "pages in a circle", {
    script: {
      "GET /v2/team/app/tags/list": {
        body: { tags: [] },
        headers: { link: `</v2/team/app/tags/list?${query}>; rel="next"` }
      }
    },
    run: list
  }],
  ["Transport", "no connection", { script: { [`GET ${manifest}`]: unconnected }, run: readManifest }],
  ["Transport", "no connection to where a blob is", {
    script: { ...redirected({}), "GET https://storage.test/one": unconnected },
    run: read
  }],
  ["Transport", "an upload without a connection", {
    script: { ...refusing(404), [`PUT ${uploads}one`]: unconnected },
    run: writeShort
  }],
  ["SchemeMismatch", "a port in plain HTTP", { script: { [`GET ${manifest}`]: notTls }, run: readManifest }],
  ["Timeout", "no answer", { script: { [`GET ${blob}`]: () => Effect.never }, run: read }],
  ["Timeout", "no answer from where a blob is", {
    script: { ...redirected({}), "GET https://storage.test/one": () => Effect.never },
    run: read
  }],
  ["DigestMismatch", "a blob", { script: redirected({ body: marker.slice(0, 10) }), run: read }],
  ["DigestMismatch", "a push", {
    script: { [`PUT ${manifest}`]: { status: 201, headers: { "docker-content-digest": digest } } },
    run: writeManifest
  }],
  ["SizeMismatch", "a blob", {
    script: { [`GET ${blob}`]: { body: marker, headers: { "content-length": "99" } } },
    run: read
  }],
  ["SizeMismatch", "a source", {
    script: { ...refusing(404), [`PUT ${uploads}one`]: ({ receive }) => Effect.as(receive, { status: 201 }) },
    run: writeShort
  }],
  ["UnsupportedAlgorithm", "a push", {
    script: {},
    run: (registry) =>
      registry.pushManifest(name, {
        mediaType: MediaType.imageIndex,
        bytes: bytesOf("{}"),
        digest: Result.getOrThrow(Schema.decodeResult(Schema.Any)(`other:${"0".repeat(64)}`))
      })
  }],
  ["RangeNotSatisfiable", "a blob", { script: refusing(416), run: readRange }],
  ["ContentTooLarge", "a push", { script: refusing(413), run: writeManifest }],
  ["ContentTooLarge", "a manifest", {
    script: { [`GET ${manifest}`]: { body: marker } },
    run: (registry) => Effect.provideService(readManifest(registry), HttpRegistry.ManifestLimit, 3)
  }],
  ["Denied", "a password that may not", { script: asking({ "GET /v2/": failed(403, "DENIED") }), run: ping }],
  ["Unauthorized", "a password", {
    script: { "GET /v2/": { status: 401, headers: { "www-authenticate": "Basic realm=r" } } },
    run: ping
  }],
  ["Unauthorized", "no token for a password", {
    script: { "GET /v2/": asks, [`GET ${realm}`]: failed(401) },
    run: ping
  }],
  ["Denied", "no token for a password that may not", {
    script: { "GET /v2/": asks, [`GET ${realm}`]: failed(403) },
    run: ping
  }],
  ["Denied", "a token", { script: { "GET /v2/": asks, [`GET ${realm}`]: token }, run: ping }],
  ["Unauthorized", "a registry token", { script: { "GET /v2/": asks }, credentials: registryToken, run: ping }],
  ["TokenUnavailable", "no token for a refresh token", {
    script: { "GET /v2/": asks, [`POST ${realm}`]: failed(400), [`GET ${realm}`]: failed(400) },
    credentials: identity,
    run: ping
  }],
  ["TokenUnavailable", "nonsense for a refresh token", {
    script: { "GET /v2/": asks, [`POST ${realm}`]: { body: marker } },
    credentials: identity,
    run: ping
  }],
  ["TokenUnavailable", "a token that is none", {
    script: { "GET /v2/": asks, [`GET ${realm}`]: { body: { token: `${marker}\n` } } },
    run: ping
  }],
  ["TokenUnavailable", "no connection to the token service", {
    script: { "GET /v2/": asks, [`POST ${realm}`]: unconnected },
    credentials: identity,
    run: ping
  }],
  ["TokenUnavailable", "a token service that is elsewhere", {
    script: { "GET /v2/": asks, [`GET ${realm}`]: { status: 307, headers: { location: `http://10.0.0.1/?${query}` } } },
    run: ping
  }],
  ["TokenUnavailable", "a realm with a password", {
    script: { "GET /v2/": bearer(`realm="https://a:${marker}@auth.test/?x=${marker}"`) },
    run: ping
  }],
  ["TokenUnavailable", "a realm with a secret", {
    script: { "GET /v2/": bearer(`realm="${realm}?${query}"`), [`GET ${realm}`]: failed(500) },
    run: ping
  }],
  ["TokenUnavailable", "a realm in plain HTTP", {
    script: { "GET /v2/": bearer(`realm="http://auth.test/${marker}?x=${marker}"`) },
    run: ping
  }],
  ["TokenUnavailable", "a realm that is no URL", { script: { "GET /v2/": bearer(`realm="${marker}"`) }, run: ping }],
  ["CredentialsUnavailable", "a helper", {
    script: { "GET /v2/": asks },
    credentials: Credentials.Credentials.of({
      lookup: () =>
        Effect.fail(new RegistryError.CredentialsUnavailable({ source: "docker-credential-x", problem: "it fails" })),
      refused: () => Effect.void
    }),
    run: ping
  }]
]

/** Everything that is visible of an effect: its exit, logs, spans and events. */
const seen = Effect.fnUntraced(function*<E>(effect: Effect.Effect<unknown, E>) {
  const texts: Array<string> = []
  const show = (value: unknown) =>
    texts.push(inspect(value, { depth: 12, showHidden: true, getters: true }), JSON.stringify(value) ?? "")
  const logger = Logger.make((entry) => void show([entry.message, entry.cause]))
  const { spans, tracer } = recordingTracer()
  const exit = yield* effect.pipe(
    Effect.tapCause(Effect.logError),
    Effect.exit,
    Effect.withTracer(tracer),
    Effect.provideService(Registry.Observer, (event) => Effect.sync(() => void show(event))),
    Effect.provide(Logger.layer([logger]))
  )
  assert(Exit.isFailure(exit))
  const error = Cause.squash(exit.cause)
  show(error)
  texts.push(String(error), Cause.pretty(exit.cause))
  for (const span of spans) {
    show([span.name, [...span.attributes], span.events, span.status._tag === "Ended" && span.status.exit])
  }
  return { error, show, texts }
})

const assertKept = (texts: ReadonlyArray<string>) => {
  for (const text of texts) {
    for (const secret of [marker, btoa(`ada:${marker}`), encodeURIComponent(marker)]) assert.notInclude(text, secret)
  }
}

const quickly = Effect.provideService(HttpRegistry.HeadersTimeout, Duration.seconds(1))

describe("a secret is in no error, log, span, event, or JSON", () => {
  it.effect.each(rows)("of %s: %s", ([tag, , { credentials = known, run, script }]) =>
    Effect.gen(function*() {
      const { registry } = yield* make(script, { credentials })
      const running = yield* Effect.forkChild(seen(quickly(run(registry))))
      while (running.pollUnsafe() === undefined) yield* TestClock.adjust("1 second")
      const { error, show, texts } = yield* Fiber.join(running)
      assert.instanceOf(error, RegistryError.RegistryError)
      assert.strictEqual(error.reason._tag, tag, error.message)
      show(registry)
      texts.push(error.message, JSON.stringify(yield* Schema.encodeEffect(RegistryError.RegistryError)(error)))
      assertKept(texts)
    }))

  const echoes: Readonly<Record<string, (seen: Seen) => string>> = {
    "the header": ({ headers }) => headers["authorization"] ?? "",
    "the password": () => marker,
    "the password in Base64": () => btoa(marker),
    "the header, encoded for an address": ({ headers }) => encodeURIComponent(headers["authorization"] ?? ""),
    "the header at the place where a message is cut": ({ headers }) =>
      `${"x".repeat(175)} ${headers["authorization"] ?? ""}`
  }
  for (
    const [scheme, credentials] of [["password", known], ["token", identity], [
      "registry token",
      registryToken
    ]] as const
  ) {
    it.effect.each(Object.entries(echoes))(
      `of a registry that repeats ${scheme} and %s`,
      ([, echo]) =>
        Effect.gen(function*() {
          const { registry } = yield* make({
            "GET /v2/": (seen) =>
              Effect.succeed(
                seen.headers["authorization"] === undefined
                  ? scheme === "password" ? basic : asks
                  : {
                    status: 403,
                    headers: { warning: `299 - "${echo(seen)}"` },
                    body: { errors: [{ code: "DENIED", message: echo(seen) }] }
                  }
              ),
            [`POST ${realm}`]: token
          }, { credentials })
          const { error, texts } = yield* seen(registry.ping)
          assert.instanceOf(error, RegistryError.RegistryError)
          assert.include(error.message, "<redacted>")
          texts.push(error.message)
          assertKept(texts)
        })
    )
  }

  it.effect("of a URL with more secrets than are remembered", () =>
    Effect.gen(function*() {
      const parameters = Array.from({ length: 300 }, (_, index) => `token${index}=secret${index}`)
      const { registry } = yield* make(
        {
          "GET /v2/": [
            { status: 401, headers: { "www-authenticate": "Basic" } },
            { status: 307, headers: { location: `/v2/elsewhere?${parameters.join("&")}` } }
          ],
          [`GET /v2/elsewhere?${parameters.join("&")}`]: failed(400, "DENIED")
        },
        { credentials: known }
      )
      const { error, texts } = yield* seen(registry.ping)
      assert.instanceOf(error, RegistryError.RegistryError)
      assert.include(error.message, "<redacted>")
      texts.push(error.message)
      assertKept(texts)
    }))

  it.effect("of a copy", () =>
    Effect.gen(function*() {
      const { registry } = yield* make(
        { "HEAD /v2/team/app/manifests/1": asks, "GET /v2/team/app/manifests/1": asks, [`GET ${realm}`]: token },
        { credentials: known }
      )
      const { error, texts } = yield* seen(Copy.copyManifest({
        source: { registry, repository: name, tag: tag("1") },
        destination: { registry: yield* MemoryRegistry.make(), repository: name, tag: tag("1") }
      }))
      assert.instanceOf(error, CopyError)
      texts.push(error.message, JSON.stringify(yield* Schema.encodeEffect(CopyError)(error)))
      assertKept(texts)
    }))

  it.effect.each([`ada:${marker}@registry.test`, `https://ada:${marker}@registry.test`])(
    "of an invalid host: %s",
    (host) =>
      Effect.gen(function*() {
        const { error, texts } = yield* seen(Effect.fromResult(Reference.parseHost(host)))
        assert.instanceOf(error, Reference.InvalidReference)
        assertKept(texts)
      })
  )

  it.effect("of any reason", () =>
    Effect.sync(() => {
      // these two are of registries in files
      const all = RegistryError.Reason.members.map((reason) => reason.fields._tag.schema.literal)
      assert.deepStrictEqual(new Set([...rows.map(([tag]) => tag), "AmbiguousTag", "Storage"]), new Set<string>(all))
    }))
})
