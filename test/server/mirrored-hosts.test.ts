import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as Authentication from "effect-oci/Authentication"
import * as CacheRegistry from "effect-oci/CacheRegistry"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { Transport } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import { pushImage, repository, tag } from "../utils/images.ts"
import { memory, send, serve } from "../utils/Served.ts"

describe("a server that mirrors hosts", () => {
  const open = Effect.gen(function*() {
    const { ask, registry } = yield* memory({
      mirroredHosts: [{ host: "docker.io", prefix: "hub" }, { host: "own.test:5000", prefix: "" }]
    })
    const { digest } = yield* pushImage(registry, repository("hub/library/alpine"), ["a"], { tags: [tag("3")] })
    yield* pushImage(registry, repository("app"), ["a"], { tags: [tag("3")] })
    return { ask, digest }
  })

  it.live.each(["docker.io", "DOCKER.IO", "index.docker.io", "registry-1.docker.io"])(
    "finds what a client names by ns=%s below its prefix",
    (host) =>
      Effect.gen(function*() {
        const { ask, digest } = yield* open
        for (const method of ["GET", "HEAD"]) {
          const { headers, status } = yield* ask(`${method} /v2/library/alpine/manifests/3?ns=${host}`)
          assert.deepStrictEqual([status, headers["docker-content-digest"]], [200, digest])
        }
        const tags = yield* ask(`GET /v2/library/alpine/tags/list?n=1&ns=${host}`)
        assert.deepStrictEqual(JSON.parse(tags.text).tags, ["3"])
      })
  )

  it.live("finds what a host without a prefix has, and what the client names without ns", () =>
    Effect.gen(function*() {
      const { ask } = yield* open
      assert.strictEqual((yield* ask("HEAD /v2/app/manifests/3?ns=own.test:5000")).status, 200)
      assert.strictEqual((yield* ask("HEAD /v2/app/manifests/3?ns=")).status, 200)
      assert.strictEqual((yield* ask("HEAD /v2/hub/library/alpine/manifests/3")).status, 200)
      assert.strictEqual((yield* ask("GET /v2/?ns=quay.io")).status, 200)
    }))

  it.live("answers 404 for other hosts, so that a client asks these", () =>
    Effect.gen(function*() {
      const { ask } = yield* open
      for (const host of ["quay.io", "docker.io.evil.test", "own.test", "..%2F..", "__proto__", "constructor"]) {
        const { code, status } = yield* ask(`GET /v2/app/manifests/3?ns=${host}`)
        assert.deepStrictEqual([status, code], [404, "NAME_UNKNOWN"], host)
      }
    }))

  it.live("refuses a name that is too long with its prefix", () =>
    Effect.gen(function*() {
      const { ask } = yield* open
      const { code, status } = yield* ask(`GET /v2/${"a".repeat(253)}/manifests/3?ns=docker.io`)
      assert.deepStrictEqual([status, code], [400, "NAME_INVALID"])
    }))

  it.live("never serves for one host what another one has below its prefix", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory({
        mirroredHosts: [
          { host: "own.test", prefix: "" },
          { host: "docker.io", prefix: "hub" },
          { host: "other.test", prefix: "hub/other" }
        ]
      })
      yield* pushImage(registry, repository("hub/app"), ["a"], { tags: [tag("3")] })
      yield* pushImage(registry, repository("hub/other/app"), ["a"], { tags: [tag("3")] })
      assert.strictEqual((yield* ask("HEAD /v2/hub/app/manifests/3?ns=own.test")).status, 404)
      assert.strictEqual((yield* ask("HEAD /v2/other/app/manifests/3?ns=docker.io")).status, 404)
      assert.strictEqual((yield* ask("HEAD /v2/app/manifests/3?ns=other.test")).status, 200)
    }))

  it.live("serves a host that has two prefixes from the first, except for names below the second", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory({
        mirroredHosts: [{ host: "docker.io", prefix: "" }, { host: "docker.io", prefix: "hub" }]
      })
      yield* pushImage(registry, repository("app"), ["a"], { tags: [tag("3")] })
      yield* pushImage(registry, repository("hub/app"), ["a"], { tags: [tag("3")] })
      assert.strictEqual((yield* ask("HEAD /v2/app/manifests/3?ns=docker.io")).status, 200)
      assert.strictEqual((yield* ask("HEAD /v2/hub/app/manifests/3?ns=docker.io")).status, 404)
    }))

  it.live("checks rights for the name with the prefix", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory({
        mirroredHosts: [{ host: "docker.io", prefix: "hub" }],
        authentication: Authentication.basic({
          check: () => Effect.succeed(false),
          authorize: (_, { name }) => Effect.succeed(name.startsWith("hub/"))
        })
      })
      yield* pushImage(registry, repository("hub/library/alpine"), ["a"], { tags: [tag("3")] })
      assert.strictEqual((yield* ask("HEAD /v2/library/alpine/manifests/3?ns=docker.io")).status, 200)
      assert.strictEqual((yield* ask("HEAD /v2/library/alpine/manifests/3")).status, 401)
    }))

  it.live("ignores ns unless hosts are given", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      yield* pushImage(registry, repository("app"), ["a"], { tags: [tag("3")] })
      assert.strictEqual((yield* ask("HEAD /v2/app/manifests/3?ns=docker.io")).status, 200)
    }))
})

describe("a server of a cache", () => {
  it.live("says in headers that a tag is stale", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryRegistry.make({ name: "upstream.test" })
      const { digest } = yield* pushImage(origin, repository("app"), ["a"], { tags: [tag("1")] })
      const away = [Faults.fail(new Transport({ code: "ECONNREFUSED" }), { operation: "resolveManifest" })]
      const { registry } = yield* Faults.make(origin, away)
      const store = yield* MemoryRegistry.make()
      const { host } = yield* serve(yield* CacheRegistry.make(registry, { store, tagTimeToLive: 0 }))
      const fresh = yield* send(host, "GET /v2/app/manifests/1")
      assert.deepStrictEqual([fresh.status, fresh.headers["warning"], fresh.headers["age"]], [
        200,
        undefined,
        undefined
      ])
      for (const line of ["GET /v2/app/manifests/1", "HEAD /v2/app/manifests/1"]) {
        const { headers, status } = yield* send(host, line)
        assert.deepStrictEqual([status, headers["docker-content-digest"]], [200, digest])
        assert.match(String(headers["age"]), /^\d+$/)
        assert.strictEqual(headers["warning"], `299 - "upstream is not available: 1 is as last known 0m ago"`)
      }
      assert.isUndefined((yield* send(host, `GET /v2/app/manifests/${digest}`)).headers["warning"])
    }))
})

describe("a server with tokens that accepts passwords everywhere", () => {
  const basic = (user: string) => ({ headers: { authorization: `Basic ${Buffer.from(user).toString("base64")}` } })
  const open = memory({
    authentication: Authentication.bearer({
      service: "registry.test",
      check: Authentication.passwords({ ada: Redacted.make("s3cret") }),
      authorize: (username, { action }) => Effect.succeed(username === "ada" && action === "pull"),
      passwords: "everywhere",
      refreshLifetime: 0
    })
  })

  it.live("admits a user with a password to what it may do, and challenges others for a token", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* open
      yield* pushImage(registry, repository("app"), ["a"], { tags: [tag("1")] })
      assert.strictEqual((yield* ask("HEAD /v2/app/manifests/1", basic("ada:s3cret"))).status, 200)
      assert.strictEqual((yield* ask("DELETE /v2/app/manifests/1", basic("ada:s3cret"))).status, 403)
      for (const sent of [{}, basic("ada:wrong"), basic("eve:s3cret")]) {
        const { headers, status } = yield* ask("HEAD /v2/app/manifests/1", sent)
        assert.strictEqual(status, 401)
        assert.match(String(headers["www-authenticate"]), /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token",service=/)
      }
    }))

  it.live("issues no refresh token if its lifetime is zero", () =>
    Effect.gen(function*() {
      const { ask } = yield* open
      const { status, text } = yield* ask("GET /token?offline_token=true", basic("ada:s3cret"))
      assert.deepStrictEqual([status, "refresh_token" in JSON.parse(text)], [200, false])
    }))
})
