import { assert, describe, it as patient } from "@effect/vitest"
import { Deferred, Duration, Effect, Equal, Exit, Fiber, Redacted, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Copy from "effect-oci/Copy"
import * as Credentials from "effect-oci/Credentials"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import { CredentialsUnavailable } from "effect-oci/RegistryError"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import * as TokenScope from "../../src/TokenScope.ts"
import { bytesOf, pushManifest, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { type Answer, digestOf, make, reasonOf, type Script, type Seen } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const digest = digestOf("content")
const blob = `/v2/team/app/blobs/${digest}`
const uploads = "/v2/team/app/blobs/uploads/"
const realm = "https://auth.test/token"

const bearer = (parameters: string, scope?: string): Answer => ({
  status: 401,
  headers: { "www-authenticate": `Bearer ${parameters}${scope === undefined ? "" : `,scope="${scope}"`}` }
})
const asks = (scope?: string) => bearer(`realm="${realm}",service="registry.test"`, scope)
const pull = "repository:team/app:pull"
const push = "repository:team/app:pull,push"

const marker = "s3cret-marker"
const static_ = (credential: Credentials.Credential) => Credentials.static({ "registry.test": credential })
const known = Credentials.basic("ada", Redacted.make(marker))
const identity = static_({ _tag: "IdentityToken", token: Redacted.make(marker) })
const basic = `Basic ${Buffer.from(`ada:${marker}`).toString("base64")}`

/** Answers requests that have one of these headers, and sends a challenge to the others. */
const guard = (challenge: Answer, accepted: ReadonlyArray<string>, answer: Answer = {}) => (request: Seen) =>
  Effect.andThen(
    request.receive,
    Effect.succeed(accepted.includes(request.headers["authorization"] ?? "") ? answer : challenge)
  )
const size = { headers: { "content-length": "7" } }
const token = (value: string, more: object = {}): Answer => ({ body: { token: value, ...more } })

const queryOf = (seen: Seen | undefined) => new URL(seen?.url ?? "", "https://registry.test").searchParams
const formOf = (seen: Seen | undefined) => Object.fromEntries(new URLSearchParams(new TextDecoder().decode(seen?.body)))
const isToken = ({ url }: Seen) => url.startsWith("https://auth.test")

describe("every way to authenticate", () => {
  interface Variant {
    readonly challenge: Answer
    readonly credentials?: Credentials.Credentials["Service"]
    readonly service?: Script
    /** Values of the header that the registry accepts. */
    readonly accepts: string
    /** Requests of the first operation, each with its authorization. */
    readonly first: ReadonlyArray<readonly [place: string, authorization: string | undefined]>
  }
  const anonymousToken = [
    ["HEAD", undefined],
    [`GET ${realm}?service=registry.test&scope=repository%3Ateam%2Fapp%3Apull`, undefined],
    ["HEAD", "Bearer t"]
  ] as const
  const variants: Readonly<Record<string, Variant>> = {
    "Basic": {
      challenge: { status: 401, headers: { "www-authenticate": "Basic realm=\"r\"" } },
      credentials: known,
      accepts: basic,
      first: [["HEAD", undefined], ["HEAD", basic]]
    },
    "Basic without being asked for by name, as gcr.io": {
      challenge: { status: 401 },
      credentials: known,
      accepts: basic,
      first: [["HEAD", undefined], ["HEAD", basic]]
    },
    "an anonymous token, as at Docker Hub": {
      challenge: asks(pull),
      service: { [`GET ${realm}`]: token("t") },
      accepts: "Bearer t",
      first: anonymousToken
    },
    "a token for a challenge without a scope": {
      challenge: asks(),
      service: { [`GET ${realm}`]: token("t") },
      accepts: "Bearer t",
      first: anonymousToken
    },
    "a token that is called access_token": {
      challenge: asks(pull),
      service: { [`GET ${realm}`]: { body: { access_token: "t", token: "", expires_in: "300" } } },
      accepts: "Bearer t",
      first: anonymousToken
    },
    "a token for a name and password": {
      challenge: asks(pull),
      credentials: known,
      service: { [`GET ${realm}`]: token("t") },
      accepts: "Bearer t",
      first: [anonymousToken[0], [anonymousToken[1][0], basic], anonymousToken[2]]
    },
    "a token, where a name and password would do, too, as codeberg.org": {
      challenge: {
        status: 401,
        headers: { "www-authenticate": `Basic realm="b" , Bearer  realm="${realm}?x=a%20b",service="s, t"` }
      },
      credentials: known,
      service: { [`GET ${realm}`]: token("t") },
      accepts: "Bearer t",
      first: [
        ["HEAD", undefined],
        [`GET ${realm}?x=a%20b&service=s%2C+t&scope=repository%3Ateam%2Fapp%3Apull`, basic],
        ["HEAD", "Bearer t"]
      ]
    },
    "a token for a refresh token": {
      challenge: asks(pull),
      credentials: identity,
      service: { [`POST ${realm}`]: { body: { access_token: "t" } } },
      accepts: "Bearer t",
      first: [["HEAD", undefined], [`POST ${realm}`, undefined], ["HEAD", "Bearer t"]]
    },
    "a token for a refresh token, of a service that knows no POST": {
      challenge: asks(pull),
      credentials: identity,
      service: { [`POST ${realm}`]: { status: 405 }, [`GET ${realm}`]: token("t") },
      accepts: "Bearer t",
      first: [
        ["HEAD", undefined],
        [`POST ${realm}`, undefined],
        [anonymousToken[1][0], `Basic ${Buffer.from(`<token>:${marker}`).toString("base64")}`],
        ["HEAD", "Bearer t"]
      ]
    },
    "a registry token, as it is": {
      challenge: asks(pull),
      credentials: static_({ _tag: "RegistryToken", token: Redacted.make(marker) }),
      accepts: `Bearer ${marker}`,
      first: [["HEAD", undefined], ["HEAD", `Bearer ${marker}`]]
    },
    "a service that moved": {
      challenge: asks(pull),
      credentials: known,
      service: {
        [`GET ${realm}`]: { status: 307, headers: { location: "/new" } },
        "GET https://auth.test/new": { status: 302, headers: { location: "https://other.test/token" } },
        "GET https://other.test/token": token("t")
      },
      accepts: "Bearer t",
      first: [
        ["HEAD", undefined],
        [anonymousToken[1][0], basic],
        ["GET https://auth.test/new", basic],
        ["GET https://other.test/token", undefined],
        ["HEAD", "Bearer t"]
      ]
    }
  }
  it.effect.each(Object.entries(variants))(
    "%s",
    ([, { accepts, challenge, credentials, first, service }]) =>
      Effect.gen(function*() {
        const { registry, requests } = yield* make(
          { [`HEAD ${blob}`]: guard(challenge, [accepts], size), ...service },
          credentials === undefined ? {} : { credentials }
        )
        const said = () =>
          requests.map(({ headers, method, url }) => [
            url === blob ? method : `${method} ${url}`,
            headers["authorization"]
          ])
        yield* registry.resolveBlob(name, digest)
        assert.deepStrictEqual<unknown>(said(), first)
        // no second challenge is needed
        yield* registry.resolveBlob(name, digest)
        assert.deepStrictEqual<unknown>(said().slice(first.length), [["HEAD", accepts]])
      })
  )

  it.effect("sends a refresh token with all parameters, keeps the next one, and remembers services without POST", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`HEAD ${blob}`]: guard(asks(pull), ["Bearer t", "Bearer u"], size),
        [`POST ${uploads}`]: guard(asks(push), ["Bearer u"], { status: 202, headers: { location: uploads } }),
        [`DELETE ${uploads}`]: {},
        [`POST ${realm}`]: [{ body: { access_token: "t", refresh_token: "next" } }, { status: 404 }],
        [`GET ${realm}`]: token("u")
      }, { credentials: identity })
      yield* registry.resolveBlob(name, digest)
      yield* registry.startUpload(name)
      yield* registry.startUpload(repository("other/app")).pipe(Effect.ignoreCause)
      const form = {
        grant_type: "refresh_token",
        refresh_token: marker,
        client_id: "effect-oci",
        service: "registry.test",
        scope: pull
      }
      const asked = requests.filter(isToken)
      assert.deepStrictEqual(formOf(asked[0]), form)
      assert.deepStrictEqual(formOf(asked[1]), { ...form, refresh_token: "next", scope: push })
      assert.deepStrictEqual(asked.map(({ method }) => method), ["POST", "POST", "GET", "GET"])
      assert.include(atob(asked[2]?.headers["authorization"]?.slice(6) ?? ""), ":next")
    }))
})

describe("the scope of a token", () => {
  const wanted = Effect.fnUntraced(function*<A, E>(
    line: string,
    operation: (registry: Registry) => Effect.Effect<A, E>,
    challenge = asks()
  ) {
    const { registry, requests } = yield* make({
      [`POST ${uploads}`]: { status: 404 },
      [`GET ${realm}`]: token("t"),
      [line]: [challenge, { status: 404 }]
    }, { credentials: known })
    yield* Effect.ignore(operation(registry))
    return queryOf(requests.find(isToken)).getAll("scope")
  })
  const mount = { mount: { digest, from: repository("base/app") } }
  it.effect.each<[string, (registry: Registry) => Effect.Effect<unknown, unknown>, ReadonlyArray<string>]>([
    ["GET /v2/", (registry) => registry.ping, []],
    [`HEAD ${blob}`, (registry) => registry.resolveBlob(name, digest), [pull]],
    [`DELETE ${blob}`, (registry) => registry.deleteBlob(name, digest), ["repository:team/app:delete"]],
    ["GET /v2/team/app/tags/list", (registry) => Stream.runDrain(registry.tags(name)), [pull]],
    ["GET /v2/_catalog", (registry) => Stream.runDrain(registry.repositories()), ["registry:catalog:*"]],
    [`POST ${uploads}`, (registry) => Effect.scoped(registry.startUpload(name)), [push]],
    [`POST ${uploads}`, (registry) => Effect.scoped(registry.startUpload(name, mount)), [
      push,
      "repository:base/app:pull"
    ]]
  ])("is the one that an operation needs: %s", ([line, operation, scope]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* wanted(line, operation), scope)
    }))

  it.effect("includes what the registry requires, and what later requests will need", () =>
    Effect.gen(function*() {
      const scope = yield* wanted(`HEAD ${blob}`, (registry) => registry.resolveBlob(name, digest), asks("a:b:c x"))
        .pipe(
          Effect.provideService(TokenScope.Wanted, (host) => TokenScope.make(`for:${host}`, "later"))
        )
      assert.deepStrictEqual(scope, ["a:b:c", "for:registry.test:later", pull, "x"])
    }))

  it.effect.each([400, 401, 403])(
    "is only what is needed, as the registry spells it, if more is refused (%i)",
    (status) =>
      Effect.gen(function*() {
        const exact = "repository:team/app:push,pull"
        const { registry, requests } = yield* make({
          [`POST ${uploads}`]: guard(asks(exact), ["Bearer t"], { status: 201 }),
          [`GET ${realm}`]: (seen) =>
            Effect.succeed(queryOf(seen).getAll("scope").join(" ") === exact ? token("t") : { status })
        }, { credentials: known })
        yield* registry.startUpload(name, mount)
        assert.deepStrictEqual(requests.filter(isToken).map((seen) => queryOf(seen).getAll("scope")), [
          [push, "repository:base/app:pull"],
          [exact]
        ])
        // a token with part of the scope serves
        yield* Effect.ignore(Effect.scoped(registry.startUpload(name)))
        assert.lengthOf(requests.filter(isToken), 2)
      })
  )

  it.effect("may exceed that of the first token, if the registry requires it (GitLab)", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`HEAD ${blob}`]: (seen) =>
          Effect.succeed(
            seen.headers["authorization"] === "Bearer 2"
              ? size
              : asks(seen.headers["authorization"] === undefined ? pull : push)
          ),
        [`GET ${realm}`]: [token("1"), token("2")]
      }, { credentials: known })
      yield* registry.resolveBlob(name, digest)
      assert.deepStrictEqual(requests.filter(isToken).map((seen) => queryOf(seen).getAll("scope")), [[pull], [push]])
    }))

  it.effect("omits what the service does not know and the registry does not require (Quay)", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`DELETE ${blob}`]: guard(asks(push), ["Bearer t"]),
        [`GET ${realm}`]: (seen) =>
          Effect.succeed(queryOf(seen).getAll("scope").join().includes("delete") ? { status: 400 } : token("t"))
      }, { credentials: known })
      for (let time = 0; time < 2; time++) yield* registry.deleteBlob(name, digest)
      assert.strictEqual(requests.at(-1)?.headers["authorization"], "Bearer t")
    }))

  it.effect("to cancel an upload is that of the upload, or what the registry requires (CNCF distribution)", () =>
    Effect.gen(function*() {
      const session = `${uploads}1`
      const { registry, requests } = yield* make({
        [`POST ${uploads}`]: guard(asks(push), ["Bearer 1"], { status: 202, headers: { location: session } }),
        [`DELETE ${session}`]: guard(asks("repository:team/app:delete"), ["Bearer 2"], { status: 204 }),
        [`GET ${realm}`]: [token("1"), token("2")]
      }, { credentials: known })
      yield* Effect.scoped(registry.startUpload(name))
      assert.deepStrictEqual(
        requests.map(({ headers, method }) => [method, headers["authorization"]]),
        [
          ["POST", undefined],
          ["GET", basic],
          ["POST", "Bearer 1"],
          ["DELETE", "Bearer 1"],
          ["GET", basic],
          ["DELETE", "Bearer 2"]
        ]
      )
    }))

  it.effect("to mount is smaller if the other repository is denied, and a session is opened (Harbor)", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`POST ${uploads}?mount=${encodeURIComponent(digest)}&from=base%2Fapp`]: asks(push),
        [`POST ${uploads}`]: guard(asks(push), ["Bearer t"], { status: 202, headers: { location: uploads } }),
        [`DELETE ${uploads}`]: {},
        [`GET ${realm}`]: token("t")
      }, { credentials: known })
      const upload = yield* Effect.scoped(registry.startUpload(name, mount))
      assert.strictEqual(upload._tag, "Upload")
    }))

  it.effect("is requested again if the next page of a list requires another (Pulp)", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/team/app/tags/list": guard(asks(pull), ["Bearer 1"], {
          headers: { link: "</v2/page>; rel=\"next\"" },
          body: { tags: ["1"] }
        }),
        "GET /v2/page": guard(asks("other:pages:pull"), ["Bearer 2"], { body: { tags: ["2"] } }),
        [`GET ${realm}`]: [token("1"), token("2")]
      }, { credentials: known })
      assert.lengthOf(yield* Stream.runCollect(registry.tags(name)), 2)
    }))

  it.effect("that is wider serves for a smaller one", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`POST ${uploads}`]: guard(asks(push), ["Bearer t"], { status: 202, headers: { location: uploads } }),
        [`DELETE ${uploads}`]: guard(asks(push), ["Bearer t"]),
        [`HEAD ${blob}`]: guard(asks(pull), ["Bearer t"], size),
        [`GET ${realm}`]: token("t")
      }, { credentials: known })
      yield* Effect.scoped(registry.startUpload(name))
      yield* registry.resolveBlob(name, digest)
      assert.lengthOf(requests.filter(isToken), 1)
      assert.strictEqual(requests.at(-1)?.headers["authorization"], "Bearer t")
    }))
})

describe("a token", () => {
  const serving = (tokens: ReadonlyArray<Answer>) =>
    make({
      [`HEAD ${blob}`]: guard(asks(pull), ["Bearer 1", "Bearer 2", "Bearer 3"], size),
      [`GET ${realm}`]: tokens
    }, { credentials: known })

  it.effect("is fetched once for 500 fibers", () =>
    Effect.gen(function*() {
      const open = yield* Deferred.make<void>()
      const { registry, requests } = yield* make({
        [`HEAD ${blob}`]: guard(asks(pull), ["Bearer 1"], size),
        [`GET ${realm}`]: () => Effect.as(Deferred.await(open), token("1"))
      }, {
        credentials: Credentials.Credentials.of({
          // another object each time, as from a helper
          lookup: () => Effect.sync(() => ({ _tag: "Basic", username: "ada", password: Redacted.make(marker) })),
          refused: () => Effect.void
        })
      })
      const fibers = yield* Effect.forEach(
        Array.from({ length: 500 }),
        () => Effect.forkChild(registry.resolveBlob(name, digest), { startImmediately: true })
      )
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fibers[0] ?? (yield* Effect.die("no fiber")))
      yield* Deferred.succeed(open, undefined)
      for (const fiber of fibers.slice(1)) yield* Fiber.join(fiber)
      assert.lengthOf(requests.filter(isToken), 1)
    }))

  it.effect.each<[what: string, answer: object, headers: Record<string, string>, seconds: number]>([
    ["60 seconds where nothing is said", {}, {}, 60],
    ["60 seconds where nonsense is said", { expires_in: "soon", issued_at: 7 }, {}, 60],
    ["as long as it says", { expires_in: 300 }, {}, 300],
    [
      "since it was issued, by the clock of the service",
      { expires_in: 300, issued_at: "2030-01-01T00:00:00Z" },
      { date: "Tue, 01 Jan 2030 00:01:40 GMT" },
      200
    ],
    ["from now, where the clocks disagree", { expires_in: 300, issued_at: "2020-01-01T00:00:00Z" }, {}, 300]
  ])("is valid for %s, and renewed shortly before", ([, more, headers, seconds]) =>
    Effect.gen(function*() {
      const { registry, requests } = yield* serving([{ ...token("1", more), headers }, token("2")])
      const saidAt = Effect.fnUntraced(function*(time: number) {
        yield* TestClock.setTime(time * 1000)
        yield* registry.resolveBlob(name, digest)
        return requests.at(-1)?.headers["authorization"]
      })
      assert.strictEqual(yield* saidAt(0), "Bearer 1")
      assert.strictEqual(yield* saidAt(seconds - 11), "Bearer 1")
      assert.strictEqual(yield* saidAt(seconds - 9), "Bearer 2")
      // without a 401 in between
      assert.lengthOf(requests.filter(({ url }) => url === blob), 4)
    }))

  it.effect("that is refused is replaced once for all requests", () =>
    Effect.gen(function*() {
      let accepted = "Bearer 1"
      const { registry, requests } = yield* make({
        [`HEAD ${blob}`]: (seen) => guard(asks(pull), [accepted], size)(seen),
        [`GET ${realm}`]: [token("1"), token("2")]
      }, { credentials: known })
      yield* registry.resolveBlob(name, digest)
      accepted = "Bearer 2"
      yield* Effect.forEach(Array.from({ length: 100 }), () => registry.resolveBlob(name, digest), {
        concurrency: "unbounded"
      })
      assert.lengthOf(requests.filter(isToken), 2)
    }))

  it.effect.each(
    [
      [known, "Denied"],
      [Credentials.anonymous, "Unauthorized"]
    ] as const
  )("that is refused, and its replacement, too, is the end: $1", ([credentials, reason]) =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`HEAD ${blob}`]: asks(pull),
        [`GET ${realm}`]: token("t")
      }, { credentials })
      assert.strictEqual((yield* reasonOf(registry.resolveBlob(name, digest)))._tag, reason)
      assert.lengthOf(requests, 3)
      assert.strictEqual((yield* reasonOf(registry.resolveBlob(name, digest)))._tag, reason)
      assert.lengthOf(requests, 6)
    }))

  it.effect("is not sent with redirects or to foreign upload sessions, whose challenges get no reply", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`HEAD ${blob}`]: guard(asks(pull), ["Bearer t"], { status: 307, headers: { location: "https://cdn.test/b" } }),
        "HEAD https://cdn.test/b": bearer("realm=\"https://evil.test/token\""),
        [`GET ${blob}`]: guard(asks(pull), ["Bearer t"], { status: 307, headers: { location: "https://cdn.test/b" } }),
        "GET https://cdn.test/b": bearer("realm=\"https://evil.test/token\""),
        [`POST ${uploads}`]: guard(asks(push), ["Bearer t"], {
          status: 202,
          headers: { location: "https://up.test/1" }
        }),
        "PUT https://up.test/1": bearer("realm=\"https://evil.test/token\""),
        "DELETE https://up.test/1": bearer("realm=\"https://evil.test/token\""),
        [`GET ${realm}`]: token("t")
      }, { credentials: known })
      assert.strictEqual((yield* reasonOf(registry.resolveBlob(name, digest)))._tag, "Unauthorized")
      const bytes = new Uint8Array(100_000)
      const large = { digest: digestOf(bytes), size: bytes.length }
      assert.strictEqual(
        (yield* reasonOf(registry.pushBlob(name, large, BlobSource.fromStream(bytes.length, Stream.make(bytes)))))._tag,
        "Unauthorized"
      )
      for (const { headers, url } of requests) {
        assert.notInclude(url, "evil.test")
        if (url.includes("cdn.test") || url.includes("up.test")) assert.notProperty(headers, "authorization")
      }
    }))
})

describe("an upload", () => {
  const bytes = bytesOf("x".repeat(100_000))
  const descriptor = { digest: digestOf(bytes), size: bytes.length }
  const session = `${uploads}1`

  it.effect("of an hour has a fresh token for each of its requests", () =>
    Effect.gen(function*() {
      const accepted: Array<string> = []
      let count = 0
      const answer = (answer: Answer) => (seen: Seen) =>
        Effect.suspend(() => guard(asks(push), accepted.slice(-1).map((value) => `Bearer ${value}`), answer)(seen))
      const location = { headers: { location: session } }
      const { registry, requests } = yield* make({
        [`POST ${uploads}`]: answer({ status: 202, ...location }),
        [`PATCH ${session}`]: answer({ status: 202, ...location }),
        [`PUT ${session}`]: answer({ status: 201 }),
        [`GET ${realm}`]: () =>
          Effect.sync(() => {
            accepted.push(`${count++}`)
            return token(`${count - 1}`, { expires_in: 300 })
          })
      }, { credentials: known })
      const upload = yield* registry.startUpload(name)
      assert(upload._tag === "Upload")
      for (let offset = 0; offset < 12; offset++) {
        yield* TestClock.adjust("5 minutes")
        yield* upload.append({ offset, size: 1, stream: Stream.make(bytes.subarray(0, 1)) })
      }
      yield* TestClock.adjust("5 minutes")
      yield* upload.commit(digestOf(bytes.subarray(0, 12)))
      // no body was sent twice
      assert.lengthOf(requests.filter(({ method }) => method === "PATCH"), 12)
      assert.lengthOf(requests.filter(isToken), 14)
    }))

  it.effect.each([["any", 2, true], ["any", 2, false], ["once", 1, true]] as const)(
    "whose token is refused is sent again only if its source can be read again: %s",
    ([replay, puts, chunks]) =>
      Effect.gen(function*() {
        const { registry, requests } = yield* make({
          [`POST ${uploads}`]: guard(asks(push), ["Bearer 1"], { status: 202, headers: { location: session } }),
          [`PUT ${session}`]: guard(asks(push), ["Bearer 2"], { status: 201 }),
          [`DELETE ${session}`]: {},
          [`GET ${realm}`]: [token("1"), token("2")]
        }, { credentials: known, capabilities: { chunks } })
        const source = replay === "any"
          ? BlobSource.fromBytes(bytes)
          : BlobSource.fromStream(bytes.length, Stream.make(bytes))
        const exit = yield* Effect.exit(registry.pushBlob(name, descriptor, source))
        assert.strictEqual(Exit.isSuccess(exit), replay === "any")
        const sent = requests.filter(({ method }) => method === "PUT")
        assert.lengthOf(sent, puts)
        for (const { body } of sent) assert.isTrue(Equal.equals(body, bytes))
      })
  )

  patient.effect("waits for a token service that is not well before its body is opened", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`POST ${uploads}`]: guard(asks(push), ["Bearer 1"], { status: 202, headers: { location: session } }),
        [`PUT ${session}`]: guard(asks(push), ["Bearer 2"], { status: 201 }),
        [`GET ${realm}`]: [token("1"), { status: 503 }, { status: 429 }, token("2")]
      }, { credentials: known })
      const upload = yield* registry.startUpload(name)
      assert(upload._tag === "Upload")
      yield* TestClock.adjust("1 minute")
      let opened = 0
      const stream = Stream.suspend(() => {
        opened++
        return Stream.make(bytes)
      })
      const fiber = yield* Effect.forkChild(upload.commit(descriptor.digest, { offset: 0, size: bytes.length, stream }))
      while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      assert.strictEqual(opened, 1)
      assert.lengthOf(requests.filter(isToken), 4)
    }))
})

describe("credentials", () => {
  it.effect.each<[what: string, script: Script]>([
    ["the registry", {
      "GET /v2/": guard({ status: 401, headers: { "www-authenticate": "Basic realm=r" } }, [
        `Basic ${btoa("ada:new")}`
      ])
    }],
    ["its token service", {
      "GET /v2/": guard(asks(), ["Bearer t"]),
      [`GET ${realm}`]: guard({ status: 401 }, [`Basic ${btoa("ada:new")}`], token("t"))
    }]
  ])("that %s refuses are looked up again, once", ([, script]) =>
    Effect.gen(function*() {
      const secrets = ["old", "new"]
      let refusals = 0
      const { registry } = yield* make(script, {
        credentials: Credentials.Credentials.of({
          lookup: () =>
            Effect.sync(() => ({
              _tag: "Basic",
              username: "ada",
              password: Redacted.make(secrets[refusals] ?? "new")
            })),
          refused: () => Effect.sync(() => void refusals++)
        })
      })
      yield* registry.ping
      assert.strictEqual(refusals, 1)
      yield* registry.ping
      assert.strictEqual(refusals, 1)
    }))

  it.effect("that are wrong are tried once for each operation", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ "GET /v2/": asks(), [`GET ${realm}`]: { status: 401 } }, {
        credentials: known
      })
      const reason = yield* reasonOf(registry.ping)
      assert.strictEqual(reason._tag, "Unauthorized")
      assert.strictEqual(
        reason.message,
        "the registry asks for credentials: https://auth.test does not accept the credentials"
      )
      assert.lengthOf(sent(), 2)
      yield* Effect.flip(registry.ping)
      assert.lengthOf(sent(), 4)
    }))

  it.effect("that are unavailable fail only the requests that need them", () =>
    Effect.gen(function*() {
      const unavailable = new CredentialsUnavailable({ source: "/home/ada/.docker/config.json", problem: "not JSON" })
      const credentials = Credentials.Credentials.of({
        lookup: () => Effect.fail(unavailable),
        refused: () => Effect.void
      })
      const { registry } = yield* make({ "GET /v2/": [{}, asks()] }, { credentials })
      yield* registry.ping
      assert.deepStrictEqual(yield* reasonOf(registry.ping), unavailable)
    }))

  it.effect("depend on the repository", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        "HEAD": {},
        [`HEAD ${blob}`]: guard(asks(pull), ["Bearer t"], size),
        [`HEAD /v2/other/app/blobs/${digest}`]: guard(asks(), ["Bearer t"], size),
        [`GET ${realm}`]: token("t")
      }, {
        credentials: Credentials.static({
          "registry.test/team": { _tag: "Basic", username: "ada", password: Redacted.make(marker) }
        })
      })
      yield* registry.resolveBlob(name, digest)
      yield* registry.resolveBlob(repository("other/app"), digest)
      assert.deepStrictEqual(requests.filter(isToken).map(({ headers }) => headers["authorization"]), [
        basic,
        undefined
      ])
    }))
})

describe("a token service", () => {
  it.effect.each<[answer: Answer, problem: string, isTemporary: boolean]>([
    [{ body: "no JSON" }, "its answer is not a JSON object", false],
    [{ body: "[1]" }, "its answer is not a JSON object", false],
    [{ body: {} }, "its answer has no token", false],
    [{ body: { token: 7, access_token: null } }, "its answer has no token", false],
    [{ body: { token: "a\r\nb" } }, "its token has characters that a header cannot contain", false],
    [{ body: new Uint8Array(1024 * 1024 + 1) }, "its answer is larger than 1048576 bytes", false],
    [{ status: 404 }, "it answers with HTTP 404", false],
    [{ status: 307 }, "it answers with HTTP 307", false],
    [{ status: 503 }, "it answers with HTTP 503", true],
    [{ status: 429 }, "it answers with HTTP 429", true],
    [
      { status: 302, headers: { location: "http://10.0.0.1/" } },
      "a registry in HTTPS leads to plain HTTP",
      false
    ]
  ])("that gives no token is named by the error: %j", ([answer, problem, isTemporary]) =>
    Effect.gen(function*() {
      const { registry } = yield* make({ "GET /v2/": asks(), [`GET ${realm}`]: answer })
      const reason = yield* reasonOf(registry.ping)
      assert(reason._tag === "TokenUnavailable")
      assert.strictEqual(reason.problem, problem)
      assert.strictEqual(reason.isRetryable, isTemporary)
      assert.match(reason.service ?? "", /^https:\/\/auth\.test$|^http:\/\/10\.0\.0\.1$/)
    }))

  describe.each([400, 401, 403, 404, 405])("that answers POST with %i", (status) => {
    const asGet = `Basic ${Buffer.from(`<token>:${marker}`).toString("base64")}`
    const methods = (requests: ReadonlyArray<Seen>) => requests.filter(isToken).map(({ method }) => method)

    it.effect("is asked by GET, and from then on only by GET", () =>
      Effect.gen(function*() {
        const { registry, requests } = yield* make({
          [`HEAD ${blob}`]: guard(asks(pull), ["Bearer t"], size),
          "GET /v2/team/other/manifests/1": asks("repository:team/other:pull"),
          [`POST ${realm}`]: { status },
          [`GET ${realm}`]: token("t")
        }, { credentials: identity })
        yield* registry.resolveBlob(name, digest)
        yield* Effect.flip(registry.getManifest(repository("team/other"), tag("1")))
        assert.deepStrictEqual(methods(requests), ["POST", "GET", "GET", "GET"])
        assert.isTrue(requests.every(({ headers, method, url }) =>
          !url.startsWith(realm) || method === "POST" || headers["authorization"] === asGet
        ))
      }))

    it.effect("and refuses GET as well is quoted", () =>
      Effect.gen(function*() {
        const { registry, requests } = yield* make({
          "GET /v2/": asks(),
          [`POST ${realm}`]: { status, body: { error_description: `posted ${marker}` } },
          [`GET ${realm}`]: { status: 403, body: { details: `got ${marker}` } }
        }, { credentials: identity })
        const { message } = yield* Effect.flip(registry.ping)
        assert.include(message, status === 401 || status === 403 ? "posted <redacted>" : "got <redacted>")
        assert.strictEqual(methods(requests).at(0), "POST")
      }))
  })

  it.effect.each(["same-site", { hosts: ["auth.example"] }] as const)(
    "gets no password if the policy does not allow it, but requests for anonymous tokens: %j",
    (tokenRealms) =>
      Effect.gen(function*() {
        const elsewhere = "https://elsewhere.example/token"
        const script = { "GET /v2/": [bearer(`realm="${elsewhere}"`), {}], [`GET ${elsewhere}`]: token("t") }
        const with_ = yield* make(script, { credentials: known, tokenRealms })
        const { message } = yield* Effect.flip(with_.registry.ping)
        assert.include(message, "https://elsewhere.example: the policy on token realms does not allow it")
        assert.deepStrictEqual(with_.sent(), ["GET /v2/"])
        yield* (yield* make(script, { tokenRealms })).registry.ping
      })
  )

  it.effect.each(["same-site", { hosts: ["auth.test"] }, "https"] as const)(
    "gets a password if the policy allows it: %j",
    (tokenRealms) =>
      Effect.gen(function*() {
        const host = "registry.test"
        const near = tokenRealms === "same-site" ? "https://auth.registry.test/token" : realm
        const { registry, requests } = yield* make(
          { "GET /v2/": [bearer(`realm="${near}"`), {}], [`GET ${near}`]: token("t") },
          { credentials: known, host, tokenRealms }
        )
        yield* registry.ping
        assert.strictEqual(requests[1]?.headers["authorization"], basic)
      })
  )

  it.effect("may ask for a pause", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/": asks(),
        [`GET ${realm}`]: { status: 429, headers: { "retry-after": "7" } }
      })
      const error = yield* Effect.flip(registry.ping)
      assert.deepStrictEqual(error.retryAfter, Duration.seconds(7))
    }))

  it.effect("that does not answer has the same timeout as a registry", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ "GET /v2/": asks(), [`GET ${realm}`]: () => Effect.never })
      const fiber = yield* Effect.forkChild(reasonOf(registry.ping))
      yield* TestClock.adjust("59 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(
        (yield* Fiber.join(fiber)).message,
        "no token from https://auth.test: no token came within 1m"
      )
    }))

  const forbidden = [
    "no address",
    "/token",
    "",
    "ftp://auth.test/",
    "file:///etc/passwd",
    "http://auth.test/token",
    "https://ada:pw@auth.test/",
    "http://127.0.0.1/token",
    "https://127.0.0.1/token",
    "https://2130706433/token",
    "https://0x7f.1/token",
    "https://localhost/token",
    "https://localhost./token",
    "https://a.localhost/token",
    "https://0.0.0.0/",
    "https://10.1.2.3/",
    "https://172.31.0.1/",
    "https://192.168.0.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[64:ff9b::a00:1]/",
    "https://[fe80::1]/",
    "https://[fd00::1]/"
  ]
  it.effect.each(forbidden)("that is at %j is not asked by a public registry", (realm) =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ "GET /v2/": bearer(`realm="${realm}"`) }, { credentials: known })
      assert.strictEqual((yield* reasonOf(registry.ping))._tag, "TokenUnavailable")
      assert.deepStrictEqual(sent(), ["GET /v2/"])
    }))

  it.effect.each<[host: string, plainHttp: boolean, realm: string, isAsked: boolean]>([
    ["127.0.0.1:5000", true, "http://localhost:5001/token", true],
    ["localhost:5000", true, "http://192.168.0.1/token", true],
    ["localhost:5000", true, "https://169.254.169.254/token", false],
    ["localhost:5000", false, "http://127.0.0.1:5001/token", true],
    ["10.0.0.1", false, "https://10.9.9.9/token", true],
    ["10.0.0.1", false, "http://10.9.9.9/token", false],
    ["10.0.0.1", true, "http://10.9.9.9/token", true],
    ["10.0.0.1", false, "https://localhost/token", false],
    ["registry.lan", true, "http://auth.lan/token", true],
    ["registry.io", false, "https://172.32.0.1/token", true],
    ["registry.io", false, "https://[2001:db8::1]/token", true]
  ])("may have the reach of the registry: %s %s %s", ([host, plainHttp, realm, isAsked]) =>
    Effect.gen(function*() {
      const origin = `${plainHttp ? "http" : "https"}://${host}`
      const { http } = yield* make({
        [`GET ${origin}/v2/`]: [bearer(`realm="${realm}"`), {}],
        [`GET ${realm}`]: token("t")
      })
      const registry = yield* Effect.provideService(
        HttpRegistry.make({ host, plainHttp }),
        HttpClient.HttpClient,
        http
      )
      assert.strictEqual(Exit.isSuccess(yield* Effect.exit(registry.ping)), isAsked)
    }))

  it.effect("may be anywhere if the program allows it", () =>
    Effect.gen(function*() {
      const realm = "https://10.0.0.1/token"
      const { registry } = yield* make({ "GET /v2/": [bearer(`realm="${realm}"`), {}], [`GET ${realm}`]: token("t") })
      yield* Effect.provideService(registry.ping, HttpRegistry.AddressPolicy, () => true)
    }))
})

it.effect("a copy requests one token at its destination, for all its requests there", () =>
  Effect.gen(function*() {
    const source = yield* MemoryRegistry.make()
    const { digest } = yield* pushManifest(source, name, { mediaType: MediaType.imageIndex, manifests: [] }, [tag("1")])
    const manifests = "/v2/team/app/manifests/"
    const { registry, requests } = yield* make({
      [`HEAD ${manifests}1`]: guard(asks(pull), ["Bearer one"], { status: 404 }),
      [`HEAD ${manifests}${digest}`]: guard(asks(pull), ["Bearer one"], { status: 404 }),
      [`PUT ${manifests}1`]: guard(asks(push), ["Bearer one"], { status: 201 }),
      [`GET ${realm}`]: token("one")
    })
    yield* Copy.copyManifest({
      source: { registry: source, repository: name, tag: tag("1") },
      destination: { registry, repository: name, tag: tag("1") },
      referrers: "skip"
    })
    assert.deepStrictEqual(requests.filter(isToken).map((seen) => queryOf(seen).getAll("scope")), [[push]])
  }))
