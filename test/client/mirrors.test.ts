import { assert, describe } from "@effect/vitest"
import { Effect, Redacted, Stream } from "effect"
import * as Credentials from "effect-oci/Credentials"
import * as HttpResolver from "effect-oci/HttpResolver"
import { Host } from "effect-oci/Reference"
import { HttpClient } from "effect/http"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { type Answer, client, digestOf, type Script } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const blob = `/v2/team/app/blobs/${digest}`
const manifest: Answer = { headers: { "content-type": "application/vnd.oci.image.index.v1+json" }, body: "{}" }

const resolve = Effect.fnUntraced(function*(
  script: Script,
  mirrors: Readonly<Record<string, ReadonlyArray<string>>>,
  credentials: Credentials.Credentials["Service"] = Credentials.anonymous
) {
  const { http, requests, sent } = client(script)
  const resolver = yield* Effect.provideService(
    HttpResolver.make({ mirrors, credentials }),
    HttpClient.HttpClient,
    http
  )
  return { registry: yield* resolver.resolve(Host.make("registry.test")), requests, sent }
})

describe("a host with mirrors", () => {
  it.effect("is read from the first that has the content, which receives the name of the host (C6)", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* resolve({
        [`GET https://one.test${blob}`]: { status: 404 },
        [`GET https://two.test${blob}`]: { body: content }
      }, { "registry.test": ["one.test", "two.test", "three.test"] })
      const { stream } = yield* registry.getBlob(name, digest)
      assert.deepStrictEqual(yield* Stream.mkUint8Array(stream), content)
      assert.deepStrictEqual(sent(), [
        `GET https://one.test${blob}?ns=registry.test`,
        `GET https://two.test${blob}?ns=registry.test`
      ])
    }))

  it.effect.each([404, 401, 403, 500])(
    "is read itself if its mirrors answer %i, without that parameter (C6)",
    (status) =>
      Effect.gen(function*() {
        const { registry, sent } = yield* resolve({
          "GET https://one.test/v2/team/app/manifests/1": { status },
          "GET /v2/team/app/manifests/1": manifest
        }, { "registry.test": ["one.test"] })
        yield* registry.getManifest(name, tag("1"))
        assert.strictEqual(sent().at(-1), "GET /v2/team/app/manifests/1")
      })
  )

  it.effect("does not share its credentials with its mirrors (C6)", () =>
    Effect.gen(function*() {
      const challenge = { status: 401, headers: { "www-authenticate": "Basic realm=r" } }
      const { registry, requests } = yield* resolve(
        {
          "GET https://one.test/v2/team/app/manifests/1": challenge,
          "GET /v2/team/app/manifests/1": [challenge, manifest]
        },
        { "registry.test": ["one.test"] },
        Credentials.static({
          "registry.test": { _tag: "Basic", username: "ada", password: Redacted.make("secret") }
        })
      )
      yield* registry.getManifest(name, tag("1"))
      assert.deepStrictEqual(
        requests.map((
          { headers, url }
        ) => [url.startsWith("https://one.test"), headers["authorization"] !== undefined]),
        [[true, false], [false, false], [false, true]]
      )
    }))

  it.effect("fails with its own error if no mirror has the content", () =>
    Effect.gen(function*() {
      const missing = { status: 404 }
      const { registry } = yield* resolve({
        "HEAD https://one.test/v2/team/app/manifests/1": missing,
        "HEAD /v2/team/app/manifests/1": missing
      }, { "registry.test": ["one.test"] })
      const error = yield* Effect.flip(registry.resolveManifest(name, tag("1")))
      assert.deepStrictEqual([error.registry, error.reason._tag], ["registry.test", "ManifestUnknown"])
    }))

  it.effect("may have them below names of their own, and they are not asked for content of others", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* resolve(
        { "GET https://harbor.test/v2/hub/team/app/manifests/1": manifest },
        { "registry.test": ["harbor.test/hub"] }
      )
      yield* registry.getManifest(name, tag("1"))
      assert.deepStrictEqual(sent(), ["GET https://harbor.test/v2/hub/team/app/manifests/1"])
    }))

  it.effect("is written to and listed itself", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* resolve({
        [`PUT /v2/team/app/manifests/${digestOf("{}")}`]: { status: 201 },
        "GET /v2/team/app/tags/list": { body: { tags: [] } }
      }, { "registry.test": ["one.test"] })
      yield* registry.pushManifest(name, { mediaType: "application/vnd.oci.image.index.v1+json", bytes: bytesOf("{}") })
      yield* Stream.runDrain(registry.tags(name))
      assert.isTrue(sent().every((line) => !line.includes("one.test") && !line.includes("ns=")))
    }))

  it.effect("cannot be resolved if a mirror is not a host", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(resolve({}, { "registry.test": ["one.test/HUB"] }))
      assert.strictEqual(error._tag, "ResolveFailed")
    }))
})
