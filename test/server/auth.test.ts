import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Redacted, Schema, Stream } from "effect"
import * as Authentication from "effect-oci/Authentication"
import * as Credentials from "effect-oci/Credentials"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as NodeHttp from "effect-oci/NodeHttp"
import { Contract } from "effect-oci/testing"
import { TestClock } from "effect/testing"
import { digestOf } from "../utils/digests.ts"
import { pushBlob, pushImage, repository, tag } from "../utils/images.ts"
import { reasonOf } from "../utils/ScriptedServer.ts"
import { memory, type Response, type Sent, serve } from "../utils/Served.ts"

type Ask = (line: string, sent?: Sent) => Effect.Effect<Response>

const app = repository("team/app")
const check = Authentication.passwords({ ada: Redacted.make("s3cret"), bob: Redacted.make("pass:word") })

/** Decides that Ada may do everything, Bob may pull, and every client may pull from public repositories. */
const authorize: Authentication.Authorize = (username, { action, name }) =>
  Effect.succeed(username === "ada" || action === "pull" && (username === "bob" || name.startsWith("public/")))

const basicHeader = (user: string) => ({ authorization: `Basic ${Buffer.from(user).toString("base64")}` })
const ada = { headers: basicHeader("ada:s3cret") }
const bob = { headers: basicHeader("bob:pass:word") }

describe("passwords", () => {
  it.effect.each(
    [
      ["ada", "s3cret", true],
      ["ada", "s3cre", false],
      ["ada", "", false],
      ["eve", "", false],
      ["eve", "s3cret", false],
      ["__proto__", "s3cret", false],
      ["constructor", "", false]
    ] as const
  )("of %s: %j is right: %s", ([username, password, expected]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* check(username, Redacted.make(password)), expected)
    }))
})

describe("a registry with basic authentication", () => {
  const open = Effect.gen(function*() {
    const served = yield* memory({ authentication: Authentication.basic({ check, authorize, realm: "a \"test\"" }) })
    yield* pushImage(served.registry, app, ["layer"], { tags: [tag("1")] })
    yield* pushImage(served.registry, repository("public/app"), ["layer"], { tags: [tag("1")] })
    return served
  })
  const challenge = `Basic realm="a \\"test\\"", charset="UTF-8"`

  it.live("challenges a client without credentials, also at /v2/", () =>
    Effect.gen(function*() {
      const { ask } = yield* open
      for (const line of ["GET /v2/", "GET /v2/team/app/tags/list", "POST /v2/team/app/blobs/uploads/"]) {
        const { code, headers, status } = yield* ask(line)
        assert.deepStrictEqual([status, code, headers["www-authenticate"]], [401, "UNAUTHORIZED", challenge])
      }
    }))

  it.live("accepts the right password", () =>
    Effect.gen(function*() {
      const { ask } = yield* open
      for (const user of [ada, bob]) {
        assert.strictEqual((yield* ask("GET /v2/", user)).status, 200)
        assert.strictEqual((yield* ask("GET /v2/team/app/tags/list", user)).status, 200)
      }
    }))

  it.live.each([
    basicHeader("ada:wrong"),
    basicHeader("eve:s3cret"),
    basicHeader("ada"),
    basicHeader(""),
    { authorization: "Basic" },
    { authorization: "Basic !!!" },
    { authorization: "Bearer s3cret" },
    { authorization: "s3cret" }
  ])("refuses wrong credentials, also for content that is public: $authorization", (headers) =>
    Effect.gen(function*() {
      const { ask } = yield* open
      for (const path of ["", "team/app/tags/list", "public/app/tags/list"]) {
        const answer = yield* ask(`GET /v2/${path}`, { headers })
        assert.deepStrictEqual([answer.status, answer.headers["www-authenticate"]], [401, challenge])
        assert.notInclude(answer.text, "s3cret")
      }
    }))

  it.live("allows anonymous clients what every client may do", () =>
    Effect.gen(function*() {
      const { ask } = yield* open
      assert.strictEqual((yield* ask("GET /v2/public/app/manifests/1")).status, 200)
      assert.strictEqual((yield* ask("PUT /v2/public/app/manifests/2")).status, 401)
    }))

  it.live("treats an empty user name and password as those of an anonymous client, as skopeo sends them", () =>
    Effect.gen(function*() {
      const { ask } = yield* open
      const headers = basicHeader(":")
      assert.strictEqual((yield* ask("GET /v2/public/app/manifests/1", { headers })).status, 200)
      for (const line of ["GET /v2/", "GET /v2/team/app/manifests/1", "PUT /v2/public/app/manifests/2"]) {
        const answer = yield* ask(line, { headers })
        assert.deepStrictEqual([answer.status, answer.headers["www-authenticate"]], [401, challenge])
      }
    }))

  it.live("denies what a user may not do", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* open
      for (
        const line of [
          "PUT /v2/team/app/manifests/2",
          "POST /v2/team/app/blobs/uploads/",
          `POST /v2/team/app/blobs/uploads/?digest=${digestOf("x")}`,
          "DELETE /v2/team/app/manifests/1",
          `DELETE /v2/team/app/blobs/${digestOf("layer")}`,
          "GET /v2/_catalog"
        ]
      ) {
        const { code, status } = yield* ask(line, bob)
        assert.deepStrictEqual([status, code], [403, "DENIED"], line)
      }
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(app)), [tag("1")])
    }))

  it.live("reveals no names and digests before authentication", () =>
    Effect.gen(function*() {
      const { ask } = yield* open
      assert.strictEqual((yield* ask("GET /v2/no/such/manifests/1")).status, 401)
      assert.strictEqual((yield* ask(`GET /v2/team/app/blobs/${digestOf("layer")}`)).status, 401)
    }))

  it.live("mounts only blobs that the user may read", () =>
    Effect.gen(function*() {
      const served = yield* memory({
        authentication: Authentication.basic({
          check,
          authorize: (username, { name }) => Effect.succeed(username === "ada" || name === "team/app")
        })
      })
      const { digest } = yield* pushBlob(served.registry, repository("private"), "secret-marker")
      const mount = (query: string, user: Sent) =>
        served.ask(`POST /v2/team/app/blobs/uploads/?mount=${digest}${query}`, user)
      for (const query of ["&from=private", ""]) {
        assert.strictEqual((yield* mount(query, bob)).status, 202)
        assert.strictEqual((yield* served.ask(`HEAD /v2/team/app/blobs/${digest}`, bob)).status, 404)
      }
      assert.strictEqual((yield* mount("&from=private", ada)).status, 201)
    }))

  it.live("keeps the contract for a user with all permissions", () =>
    Effect.gen(function*() {
      const { host } = yield* serve(yield* MemoryRegistry.make(), { authentication: Authentication.basic({ check }) })
      const credentials = Credentials.static({
        [host]: { _tag: "Basic", username: "ada", password: Redacted.make("s3cret") }
      })
      const client = yield* HttpRegistry.make({ host, plainHttp: true, credentials })
      yield* Effect.forEach(Contract.cases.slice(0, 20), ({ effect }) => Effect.scoped(effect(client)))
    }).pipe(Effect.provide(NodeHttp.layer())))
})

describe("malformed credentials", () => {
  const schemes = Schema.Literals(["Basic ", "basic", "Bearer ", "BEARER  ", "Digest ", "", "\t", "Basic Basic "])
  const rests = Schema.Literals([
    "",
    "!",
    "=",
    "YTpi",
    "YQ==",
    "a.b",
    "a.b.c",
    ".",
    "e30.e30",
    "\u00e9",
    "\"",
    ",",
    "x ".repeat(50)
  ])

  it.effect.prop(
    "are all refused",
    [schemes, rests, rests],
    ([scheme, one, two]) =>
      Effect.gen(function*() {
        for (
          const authentication of [
            Authentication.basic({ check, authorize }),
            Authentication.bearer({ service: "registry.test", check, authorize })
          ]
        ) {
          const { ask } = yield* memory({ authentication })
          const headers = { authorization: scheme + one + two }
          for (const line of ["GET /v2/", "GET /v2/public/app/tags/list", "POST /v2/team/app/blobs/uploads/"]) {
            assert.strictEqual((yield* ask(line, { headers })).status, 401)
          }
          assert.isBelow((yield* ask("GET /token?scope=%&service=%00&offline_token", { headers })).status, 500)
        }
      }).pipe(Effect.scoped),
    { arbitrary: { runs: 50 } }
  )
})

describe("a registry with token authentication", () => {
  const open = Effect.fnUntraced(function*(options: Partial<Parameters<typeof Authentication.bearer>[0]> = {}) {
    const served = yield* memory({
      authentication: Authentication.bearer({ service: "registry.test", check, authorize, ...options })
    }).pipe(Effect.provide(Logger.layer([])))
    yield* pushImage(served.registry, app, ["layer"], { tags: [tag("1")] })
    return served
  })
  const bearer = (token: string): Sent => ({ headers: { authorization: `Bearer ${token}` } })
  const tokenOf = ({ text }: Response) => (JSON.parse(text) as { readonly token: string }).token
  const getToken = (ask: Ask, scope: string, user: Sent = {}) =>
    Effect.map(ask(`GET /token?service=registry.test&scope=${encodeURIComponent(scope)}`, user), tokenOf)
  const post = (ask: Ask, form: Readonly<Record<string, string>>) =>
    ask("POST /token", {
      body: `${new URLSearchParams(form)}`,
      headers: { "content-type": "application/x-www-form-urlencoded" }
    })

  it.live("names the realm, the service and the scope in its challenge", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* open()
      const service = `Bearer realm="http://${host}/token",service="registry.test"`
      for (
        const [line, scope] of [
          ["GET /v2/", ""],
          ["GET /v2/team/app/manifests/1", `,scope="repository:team/app:pull"`],
          ["PUT /v2/team/app/manifests/1", `,scope="repository:team/app:pull,push"`],
          ["PATCH /v2/team/app/blobs/uploads/1", `,scope="repository:team/app:pull,push"`],
          ["DELETE /v2/team/app/manifests/1", `,scope="repository:team/app:delete"`],
          ["GET /v2/_catalog", `,scope="registry:catalog:*"`]
        ]
      ) {
        const { code, headers, status } = yield* ask(`${line}`)
        assert.deepStrictEqual([status, code], [401, "UNAUTHORIZED"])
        assert.strictEqual(headers["www-authenticate"], service + scope)
      }
    }))

  it.live("mounts with permission to read the source, and opens a session after that permission was refused", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* open({
        authorize: (_, { name }) => Effect.succeed(name === "team/app" || name === "public/app")
      })
      const push = "repository:team/app:pull,push"
      for (const from of ["public/app", "private"]) yield* pushBlob(registry, repository(from), from)
      const mount = (from: string, token: string) =>
        ask(`POST /v2/team/app/blobs/uploads/?mount=${digestOf(from)}&from=${from}`, bearer(token))
      const narrow = yield* getToken(ask, push, ada)
      for (const from of ["public/app", "private"]) {
        const refused = yield* mount(from, narrow)
        assert.strictEqual(refused.status, 401)
        assert.include(refused.headers["www-authenticate"], `repository:${from}:pull`)
        assert.include(refused.headers["www-authenticate"], push)
        const wide = yield* getToken(ask, `${push} repository:${from}:pull`, ada)
        assert.strictEqual((yield* mount(from, wide)).status, from === "private" ? 202 : 201)
      }
    }))

  it.live("names another realm if one is configured", () =>
    Effect.gen(function*() {
      const { ask } = yield* open({ realm: "https://auth.example.com/token" })
      const { headers } = yield* ask("GET /v2/")
      assert.include(headers["www-authenticate"], `realm="https://auth.example.com/token"`)
    }))

  it.live("accepts a token for its scope, and otherwise names the missing scope", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const token = yield* getToken(ask, "repository:team/app:pull", ada)
      assert.strictEqual((yield* ask("GET /v2/", bearer(token))).status, 200)
      assert.strictEqual((yield* ask("GET /v2/team/app/manifests/1", bearer(token))).status, 200)
      for (const line of ["PUT /v2/team/app/manifests/1", "GET /v2/other/manifests/1", "GET /v2/_catalog"]) {
        const { headers, status } = yield* ask(line, bearer(token))
        assert.strictEqual(status, 401)
        assert.include(headers["www-authenticate"], `,error="insufficient_scope"`)
      }
    }))

  it.live("issues tokens for the part of the requested scope that the user has", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const scope = "repository:team/app:pull,push,delete repository:public/app:pull registry:catalog:* nonsense a:b:c"
      const granted = (user: Sent) =>
        Effect.map(
          ask(`GET /token?scope=${encodeURIComponent(scope)}`, user),
          ({ text }) => (JSON.parse(text) as { readonly scope: string }).scope
        )
      assert.strictEqual(
        yield* granted(ada),
        "registry:catalog:* repository:team/app:delete,pull,push repository:public/app:pull"
      )
      assert.strictEqual(yield* granted(bob), "repository:public/app:pull repository:team/app:pull")
      assert.strictEqual(yield* granted({}), "repository:public/app:pull")
    }))

  it.live("calls authorize only for names that repositories can have, and for the catalog", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const { ask } = yield* open({
        authorize: (_, { action, name, type }) =>
          Effect.sync(() => {
            asked.push(`${type}:${name}:${action}`)
            return true
          })
      })
      const scopes = [
        "repository:team/app:pull",
        "repository:../etc/passwd:pull",
        "repository:Team/App:pull",
        "repository:team/../app:push",
        "repository:team//app:push",
        "repository:127.0.0.1:5000/app:push",
        "repository:team/app:fly",
        "registry:catalog:*",
        "registry:../catalog:*",
        "registry:other:*"
      ]
      const query = scopes.map((scope) => `scope=${encodeURIComponent(scope)}`).join("&")
      const { text } = yield* ask(`GET /token?${query}`, ada)
      assert.deepStrictEqual(asked.toSorted(), ["registry:catalog:*", "repository:team/app:pull"])
      assert.strictEqual(JSON.parse(text).scope, "registry:catalog:* repository:team/app:pull")
    }))

  it.live("warns if its realm depends on the Host of requests, and not otherwise", () =>
    Effect.gen(function*() {
      for (const [realm, count] of [[{}, 1], [{ realm: "https://auth.example.com/token" }, 0]] as const) {
        const logged: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => void logged.push(`${logLevel} ${message}`))
        const authentication = Authentication.bearer({ service: "registry.test", check, ...realm })
        yield* memory({ authentication }).pipe(Effect.provide(Logger.layer([logger])))
        assert.strictEqual(logged.filter((line) => /^warn.*token realm/i.test(line)).length, count, logged.join())
      }
    }))

  it.live("accepts several scopes in one or in several parameters", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const { text } = yield* ask("GET /token?scope=repository:a:pull&scope=repository:b:pull", ada)
      assert.strictEqual(JSON.parse(text).scope, "repository:a:pull repository:b:pull")
    }))

  it.live("issues an anonymous token without credentials, and none for wrong credentials", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const token = yield* getToken(ask, "repository:public/app:pull")
      assert.strictEqual((yield* ask("GET /v2/public/app/manifests/1", bearer(token))).status, 404)
      const { code, headers, status } = yield* ask("GET /token", { headers: basicHeader("ada:wrong") })
      assert.deepStrictEqual([status, code], [401, "UNAUTHORIZED"])
      assert.match(`${headers["www-authenticate"]}`, /^Basic /)
    }))

  it.live("issues none for another service", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      assert.strictEqual((yield* ask("GET /token?service=other.test", ada)).status, 400)
    }))

  it.live("says how long a token is valid, and forbids caches to store it", () =>
    Effect.gen(function*() {
      const { ask } = yield* open({ lifetime: "2 minutes" })
      const { headers, text } = yield* ask("GET /token", ada)
      assert.deepInclude(JSON.parse(text), { expires_in: 120, token_type: "Bearer" })
      assert.strictEqual(JSON.parse(text).access_token, JSON.parse(text).token)
      assert.match(JSON.parse(text).issued_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/)
      assert.strictEqual(headers["cache-control"], "no-store")
    }))

  it.effect("refuses an expired token", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const token = yield* getToken(ask, "repository:team/app:pull", ada)
      yield* TestClock.adjust("299 seconds")
      assert.strictEqual((yield* ask("GET /v2/team/app/manifests/1", bearer(token))).status, 200)
      yield* TestClock.adjust("1 second")
      const { headers, status } = yield* ask("GET /v2/team/app/manifests/1", bearer(token))
      assert.strictEqual(status, 401)
      assert.include(headers["www-authenticate"], `,error="invalid_token"`)
    }))

  it.live("refuses forged tokens", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const token = yield* getToken(ask, "repository:team/app:pull", ada)
      const [claims = "", signature = ""] = token.split(".")
      const more = Buffer.from(claims, "base64url").toString().replace("team/app:pull", "team/app:push")
      const other = yield* getToken((yield* open()).ask, "repository:team/app:pull", ada)
      for (
        const made of [
          "",
          "nonsense",
          claims,
          `${claims}.`,
          `.${signature}`,
          `${Buffer.from(more).toString("base64url")}.${signature}`,
          `${claims}.${signature.slice(0, -2)}`,
          // other texts for the same bytes, and text after them
          `${token}.`,
          `${token}.${signature}`,
          `${claims}.${signature}=`,
          `${claims}.${signature.slice(0, -1)}${String.fromCharCode(signature.charCodeAt(signature.length - 1) + 1)}`,
          `${claims}=.${signature}`,
          `${claims}.${signature.split("").toReversed().join("")}`,
          other
        ]
      ) {
        assert.strictEqual((yield* ask("GET /v2/team/app/manifests/1", bearer(made))).status, 401)
      }
    }))

  it.live("accepts tokens of another server with the same key", () =>
    Effect.gen(function*() {
      const key = Redacted.make(new TextEncoder().encode("known to both"))
      const one = yield* open({ key })
      const two = yield* open({ key })
      const token = yield* getToken(one.ask, "repository:team/app:pull", ada)
      assert.strictEqual((yield* two.ask("GET /v2/team/app/manifests/1", bearer(token))).status, 200)
    }))

  it.live("refuses tokens for another service with the same key", () =>
    Effect.gen(function*() {
      const key = Redacted.make(new TextEncoder().encode("known to both"))
      const one = yield* open({ key })
      const two = yield* open({ key, service: "other.test" })
      const token = yield* getToken(one.ask, "repository:team/app:pull", ada)
      assert.strictEqual((yield* two.ask("GET /v2/team/app/manifests/1", bearer(token))).status, 401)
    }))

  it.live("issues tokens by OAuth 2, for a password and then for a refresh token", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const scope = "repository:team/app:pull"
      const first = yield* post(ask, {
        grant_type: "password",
        username: "ada",
        password: "s3cret",
        service: "registry.test",
        client_id: "test",
        access_type: "offline",
        scope
      })
      assert.strictEqual((yield* ask("GET /v2/team/app/manifests/1", bearer(tokenOf(first)))).status, 200)
      const { refresh_token } = JSON.parse(first.text)
      const second = yield* post(ask, { grant_type: "refresh_token", refresh_token, scope })
      assert.strictEqual((yield* ask("GET /v2/team/app/manifests/1", bearer(tokenOf(second)))).status, 200)
    }))

  it.live("issues a refresh token only on request and with credentials", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const refreshOf = (query: string, user: Sent) =>
        Effect.map(ask(`GET /token?${query}`, user), ({ text }) => typeof JSON.parse(text).refresh_token)
      assert.strictEqual(yield* refreshOf("offline_token=true", ada), "string")
      assert.strictEqual(yield* refreshOf("", ada), "undefined")
      assert.strictEqual(yield* refreshOf("offline_token=true", {}), "undefined")
    }))

  it.live("accepts neither a refresh token as a token nor a token as a refresh token", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const { text } = yield* ask("GET /token?offline_token=true&scope=repository:team/app:pull", ada)
      const { refresh_token, token } = JSON.parse(text)
      assert.strictEqual((yield* ask("GET /v2/", bearer(refresh_token))).status, 401)
      const answer = yield* post(ask, { grant_type: "refresh_token", refresh_token: token })
      assert.deepStrictEqual([answer.status, answer.text], [400, `{"error":"invalid_grant"}`])
    }))

  it.live("authorizes again when a token is refreshed", () =>
    Effect.gen(function*() {
      let isAllowed = true
      const { ask } = yield* open({ authorize: () => Effect.sync(() => isAllowed) })
      const { text } = yield* ask("GET /token?offline_token=true", ada)
      const refresh = () =>
        post(ask, {
          grant_type: "refresh_token",
          refresh_token: JSON.parse(text).refresh_token,
          scope: "repository:a:pull"
        })
      assert.strictEqual(JSON.parse((yield* refresh()).text).scope, "repository:a:pull")
      isAllowed = false
      assert.strictEqual(JSON.parse((yield* refresh()).text).scope, "")
    }))

  it.live.each(
    [
      [{}, "unsupported_grant_type"],
      [{ grant_type: "authorization_code" }, "unsupported_grant_type"],
      [{ grant_type: "password", username: "ada", password: "wrong" }, "invalid_grant"],
      [{ grant_type: "password" }, "invalid_grant"],
      [{ grant_type: "refresh_token" }, "invalid_grant"],
      [{ grant_type: "password", username: "ada", password: "s3cret", service: "other" }, "invalid_request"]
    ] as const
  )("refuses by OAuth 2 %j: %s", ([form, error]) =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const { status, text } = yield* post(ask, form)
      assert.deepStrictEqual([status, JSON.parse(text)], [400, { error }])
    }))

  it.live("does not read an endless form", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      assert.strictEqual((yield* post(ask, { grant_type: "password", username: "a".repeat(100_000) })).status, 413)
    }))

  it.live("has a token service for GET and POST only", () =>
    Effect.gen(function*() {
      const { ask } = yield* open()
      const { headers, status } = yield* ask("DELETE /token")
      assert.deepStrictEqual([status, headers.allow], [405, "GET, HEAD, POST"])
    }))

  it.live("allows our client what its user may do, and denies the rest", () =>
    Effect.gen(function*() {
      const { host } = yield* open()
      const clientOf = (credential: Credentials.Credential) =>
        HttpRegistry.make({ host, plainHttp: true, credentials: Credentials.static({ [host]: credential }) })
      const owner = yield* clientOf({ _tag: "Basic", username: "ada", password: Redacted.make("s3cret") })
      yield* pushImage(owner, app, ["another layer"], { tags: [tag("2")] })
      yield* owner.deleteTag(app, tag("1"))
      assert.include(yield* Stream.runCollect(owner.repositories()), app)
      const reader = yield* clientOf({ _tag: "Basic", username: "bob", password: Redacted.make("pass:word") })
      assert.deepStrictEqual(yield* Stream.runCollect(reader.tags(app)), [tag("2")])
      assert.strictEqual((yield* reasonOf(reader.startUpload(app)))._tag, "Denied")
      const stranger = yield* clientOf({ _tag: "Basic", username: "eve", password: Redacted.make("guess") })
      assert.oneOf((yield* reasonOf(Stream.runDrain(stranger.tags(app))))._tag, ["Denied", "Unauthorized"])
    }).pipe(Effect.provide(NodeHttp.layer())))

  it.live("accepts an identity token of our client", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* open()
      const { text } = yield* ask("GET /token?offline_token=true", ada)
      const credentials = Credentials.static({
        [host]: { _tag: "IdentityToken", token: Redacted.make(JSON.parse(text).refresh_token) }
      })
      const client = yield* HttpRegistry.make({ host, plainHttp: true, credentials })
      assert.deepStrictEqual(yield* Stream.runCollect(client.tags(app)), [tag("1")])
    }).pipe(Effect.provide(NodeHttp.layer())))
})
