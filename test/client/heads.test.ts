/**
 * HEAD that is refused: some registries do not support it, others redirect it to storage whose URLs are signed for GET.
 */
import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import * as MediaType from "effect-oci/MediaType"
import { HttpClientRequest } from "effect/http"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { digestOf, make, reasonOf, transportError } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const blob = `/v2/team/app/blobs/${digest}`
const manifest = "/v2/team/app/manifests/1"
const stored = "https://storage.test/content?X-Amz-Signature=abc"
const moved = { status: 307, headers: { location: stored } }
const index = { headers: { "content-type": MediaType.imageIndex }, body: content }
const challenge = { status: 401, headers: { "www-authenticate": "Basic realm=\"test\"" } }

const refusals = [400, 401, 403, 405]

describe("a manifest whose HEAD is refused", () => {
  it.effect.each(refusals)("with %i is read by GET", (status) =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`HEAD ${manifest}`]: { status }, [`GET ${manifest}`]: index })
      assert.strictEqual((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
      assert.deepStrictEqual(sent(), [`HEAD ${manifest}`, `GET ${manifest}`])
    }))

  it.effect.each([403, 404, 500])(
    "with %i by the storage that it leads to is read by GET",
    (status) =>
      Effect.gen(function*() {
        const { registry } = yield* make({
          [`HEAD ${manifest}`]: moved,
          [`HEAD ${stored}`]: { status },
          [`GET ${manifest}`]: moved,
          [`GET ${stored}`]: index
        })
        assert.strictEqual((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
      })
  )

  it.effect("by storage that does not answer is read by GET", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`HEAD ${manifest}`]: moved,
        [`HEAD ${stored}`]: () => Effect.fail(transportError(HttpClientRequest.head(stored), "reset")),
        [`GET ${manifest}`]: moved,
        [`GET ${stored}`]: index
      })
      assert.strictEqual((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
    }))

  it.effect("by a challenge without a reply is not read by GET", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`HEAD ${manifest}`]: challenge })
      assert.strictEqual((yield* reasonOf(registry.resolveManifest(name, tag("1"))))._tag, "Unauthorized")
      assert.lengthOf(sent(), 1)
    }))

  it.effect("and that is absent is not read by GET", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`HEAD ${manifest}`]: { status: 404 } })
      assert.strictEqual((yield* reasonOf(registry.resolveManifest(name, tag("1"))))._tag, "ManifestUnknown")
      assert.lengthOf(sent(), 1)
    }))
})

describe("a blob whose HEAD is refused", () => {
  const first = { status: 206, headers: { "content-range": "bytes 0-0/10" }, body: "0" }

  it.effect.each(refusals)("with %i is looked up by GET of its first byte", (status) =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({ [`HEAD ${blob}`]: { status }, [`GET ${blob}`]: first })
      assert.strictEqual((yield* registry.resolveBlob(name, digest)).size, 10)
      assert.strictEqual(requests[1]?.headers["range"], "bytes=0-0")
    }))

  it.effect("by the storage that it leads to is looked up by GET of its first byte", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`HEAD ${blob}`]: moved,
        [`HEAD ${stored}`]: { status: 403 },
        [`GET ${blob}`]: moved,
        [`GET ${stored}`]: first
      })
      assert.strictEqual((yield* registry.resolveBlob(name, digest)).size, 10)
    }))

  it.effect.each([[401, "Unauthorized"], [403, "Denied"]] as const)(
    "with %i, as everything in the repository, is looked up by GET only once",
    ([status, reason]) =>
      Effect.gen(function*() {
        const { registry, sent } = yield* make({ [`HEAD ${blob}`]: { status }, [`GET ${blob}`]: { status } })
        for (const _ of [1, 2]) assert.strictEqual((yield* reasonOf(registry.resolveBlob(name, digest)))._tag, reason)
        assert.deepStrictEqual(sent(), [`HEAD ${blob}`, `GET ${blob}`, `HEAD ${blob}`])
      })
  )
})
