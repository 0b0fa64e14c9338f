import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as Authentication from "effect-oci/Authentication"
import * as MediaType from "effect-oci/MediaType"
import { isExecutable } from "../../src/server/BrowserSafety.ts"
import { isLoopback } from "../../src/web/SameSite.ts"
import { memory } from "../utils/Served.ts"

const index = `{"schemaVersion":2,"manifests":[]}`
const nowhere = `sha256:${"0".repeat(64)}`

describe("every response below /v2/", () => {
  it.live.each([
    "GET /v2/",
    "GET /v2/_catalog",
    "GET /v2/team/app/manifests/1",
    "GET /v2/team/app/tags/list",
    `GET /v2/team/app/blobs/${nowhere}`,
    `GET /v2/team/app/referrers/${nowhere}`,
    "POST /v2/team/app/blobs/uploads/",
    "PUT /v2/team/app/manifests/.",
    "GET /v2/nonsense",
    "OPTIONS /v2/"
  ])("is never executed by a browser: %s", (line) =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      yield* ask("PUT /v2/team/app/manifests/1", { body: index, headers: { "content-type": MediaType.imageIndex } })
      const { headers } = yield* ask(line)
      assert.strictEqual(headers["x-content-type-options"], "nosniff")
      assert.strictEqual(headers["content-security-policy"], "default-src 'none'; sandbox")
    }))

  it.live("has these headers also if it is refused", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({
        allowedHosts: [],
        authentication: Authentication.basic({ check: Authentication.passwords({ ada: Redacted.make("s3cret") }) })
      })
      for (const host of ["localhost", "evil.test"]) {
        const { headers, status } = yield* ask("GET /v2/", { headers: { host } })
        assert.strictEqual(status, host === "localhost" ? 401 : 403)
        assert.strictEqual(headers["x-content-type-options"], "nosniff")
      }
    }))
})

describe("a manifest of a type that browsers execute", () => {
  const types = [
    "text/html",
    "TEXT/HTML; charset=utf-8",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/xml",
    "application/xml",
    "application/rss+xml",
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
    "text/ecmascript",
    "text/javascript1.5",
    "multipart/x-mixed-replace"
  ]

  it.live.each(types)("is refused: %s", (type) =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const sent = { body: "<script>1</script>", headers: { "content-type": type } }
      const { code, status } = yield* ask("PUT /v2/team/app/manifests/1", sent)
      assert.deepStrictEqual([status, code], [400, "MANIFEST_INVALID"])
      assert.strictEqual((yield* ask("GET /v2/team/app/manifests/1")).status, 404)
    }))

  it.live("is refused if only the manifest itself has the type", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { status } = yield* ask("PUT /v2/team/app/manifests/1", { body: { mediaType: "image/svg+xml" } })
      assert.strictEqual(status, 400)
    }))

  it("does not exist in registries", () => {
    for (const type of [...MediaType.manifests, "application/json", "application/vnd.cncf.helm.config.v1+json"]) {
      assert.isFalse(isExecutable(type), type)
    }
  })
})

describe("names of this machine", () => {
  it("are loopback names and addresses, and no others", () => {
    const names = ["localhost", "LOCALHOST", "registry.localhost", "127.0.0.1", "127.1.2.3", "[::1]", "::1"]
    for (const name of names) assert.isTrue(isLoopback(name), name)
    for (const name of ["127.0.0.1.evil.test", "localhost.evil.test", "evillocalhost", "0.0.0.0", "10.0.0.1", ""]) {
      assert.isFalse(isLoopback(name), name)
    }
  })
})

describe("a registry with allowed hosts", () => {
  it.live("accepts these and loopback names in Host, and no others", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ allowedHosts: ["Registry.test", "10.0.0.1:5000"] })
      for (
        const [host, status] of [
          ["localhost", 200],
          ["localhost.:5000", 200],
          ["127.0.0.1:1", 200],
          ["[::1]:5000", 200],
          ["registry.test", 200],
          ["registry.TEST:80", 200],
          ["10.0.0.1:5000", 200],
          ["10.0.0.1:5001", 403],
          ["evil.test", 403],
          ["localhost.evil.test", 403],
          ["evil.test:5000", 403],
          ["registry.test.evil.test", 403]
        ] as const
      ) {
        for (const line of ["GET /v2/", "POST /v2/team/app/blobs/uploads/"]) {
          const { status: found } = yield* ask(line, { headers: { host } })
          assert.strictEqual(found, status === 200 && line.startsWith("POST") ? 202 : status, `${line} of ${host}`)
        }
      }
    }))

  it.live("accepts any name if none are given", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      assert.strictEqual((yield* ask("GET /v2/", { headers: { host: "registry.example.com" } })).status, 200)
    }))
})

describe("a request from a web page", () => {
  it.live("is accepted from the registry's own origin and from allowed hosts only", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* memory({ allowedHosts: ["ui.test"] })
      for (
        const [headers, status] of [
          [{ origin: `http://${host}` }, 202],
          [{ origin: "https://ui.test" }, 202],
          [{ origin: "https://ui.test:8443" }, 202],
          [{ origin: "https://evil.test" }, 403],
          [{ origin: "http://127.0.0.1:1" }, 403],
          [{ origin: "null" }, 403],
          [{ origin: `file://${host}` }, 403],
          [{ "sec-fetch-site": "same-origin" }, 202],
          [{ "sec-fetch-site": "none" }, 202],
          [{ "sec-fetch-site": "cross-site" }, 403],
          [{}, 202]
        ] as const
      ) {
        const { code, status: found } = yield* ask("POST /v2/team/app/blobs/uploads/", { headers })
        assert.deepStrictEqual([found, code], [status, status === 403 ? "DENIED" : ""], JSON.stringify(headers))
      }
    }))

  it.live("of another site is refused, also if it only reads", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      assert.strictEqual((yield* ask("GET /v2/_catalog", { headers: { "sec-fetch-site": "cross-site" } })).status, 403)
      assert.strictEqual((yield* ask("GET /v2/_catalog", { headers: { origin: "https://evil.test" } })).status, 403)
    }))
})
