/**
 * Bodies that are labelled with a coding that was not requested, and may have it or not.
 */
import { assert, describe } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MediaType from "effect-oci/MediaType"
import type * as Registry from "effect-oci/Registry"
import * as Zlib from "node:zlib"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { digestOf, make, reasonOf } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const layer = Zlib.gzipSync(bytesOf("x".repeat(50_000)))
const layerDigest = digestOf(layer)
const content = bytesOf("0123456789".repeat(1000))
const digest = digestOf(content)
const urlOf = (of: string) => `/v2/team/app/blobs/${of}`

const read = Effect.fnUntraced(function*(
  script: Parameters<typeof make>[0],
  of: typeof digest,
  options?: Parameters<Registry.Registry["getBlob"]>[2]
) {
  const { registry, sent } = yield* make(script)
  const { descriptor, stream } = yield* registry.getBlob(name, of, options)
  return { bytes: yield* Stream.mkUint8Array(stream), size: descriptor.size, sent: sent() }
})

it.effect("a request asks for an unencoded body", () =>
  Effect.gen(function*() {
    const { registry, requests } = yield* make({ [`GET ${urlOf(digest)}`]: { body: content } })
    yield* registry.getBlob(name, digest)
    assert.strictEqual(requests[0]?.headers["accept-encoding"], "identity")
  }))

describe("a blob", () => {
  it.effect.each(["gzip", "x-gzip"])(
    "that is only labelled as %s is not decoded (mod_mime)",
    (label) =>
      Effect.gen(function*() {
        const script = { [`GET ${urlOf(layerDigest)}`]: { headers: { "content-encoding": label }, body: layer } }
        const known = yield* read(script, layerDigest, { size: layer.length })
        assert.deepStrictEqual(known.bytes, new Uint8Array(layer))
        assert.lengthOf(known.sent, 1)
        assert.deepStrictEqual((yield* read(script, layerDigest)).bytes, new Uint8Array(layer))
      })
  )

  it.effect.each(
    [["gzip", Zlib.gzipSync(content)], ["deflate", Zlib.deflateSync(content)]] as const
  )("that is encoded as %s on the way is decoded", ([label, body]) =>
    Effect.gen(function*() {
      for (const length of [{}, { "content-length": null }]) {
        const script = { [`GET ${urlOf(digest)}`]: { headers: { "content-encoding": label, ...length }, body } }
        for (const options of [{}, { size: content.length }, { range: { offset: 0 }, size: content.length }]) {
          const found = yield* read(script, digest, options)
          assert.deepStrictEqual(found.bytes, content)
          assert.strictEqual(found.size, content.length)
        }
      }
    }))

  it.effect("that is encoded on the way is read in ranges of the whole", () =>
    Effect.gen(function*() {
      const script = {
        [`GET ${urlOf(digest)}`]: { headers: { "content-encoding": "gzip" }, body: Zlib.gzipSync(content) }
      }
      const { bytes } = yield* read(script, digest, { range: { offset: 12, length: 3 }, size: content.length })
      assert.deepStrictEqual(bytes, bytesOf("234"))
    }))

  it.effect("that decodes to more than its size fails at that point", () =>
    Effect.gen(function*() {
      const bomb = Zlib.gzipSync(new Uint8Array(10_000_000))
      const headers = { "content-encoding": "gzip", "content-length": null }
      const script = { [`GET ${urlOf(digest)}`]: { headers, body: bomb } }
      const reason = yield* reasonOf(read(script, digest, { size: content.length }))
      assert(reason._tag === "SizeMismatch")
      assert.isBelow(reason.actual, 1_000_000)
    }))

  it.effect.each(
    [["br", "which is not known here"], ["gzip", "and cannot be decoded"]] as const
  )("that is not readable as %s fails", ([label, problem]) =>
    Effect.gen(function*() {
      const script = { [`GET ${urlOf(digest)}`]: { headers: { "content-encoding": label }, body: "nonsense" } }
      const reason = yield* reasonOf(read(script, digest, { size: content.length }))
      assert.deepInclude(reason, {
        _tag: "UnexpectedResponse",
        detail: `the answer is encoded as ${label}, ${problem}`
      })
    }))
})

describe("a document", () => {
  const index = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] })
  const gzipped = (body: Uint8Array, more = {}) => ({
    headers: { "content-encoding": "gzip", ...more },
    body: Zlib.gzipSync(body)
  })

  it.effect("that is encoded is decoded: a manifest, a list, an error", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/team/app/manifests/1": gzipped(index, { "content-type": MediaType.imageIndex }),
        "GET /v2/team/app/tags/list": gzipped(bytesOf({ tags: ["1"] })),
        "GET /v2/team/app/manifests/2": {
          ...gzipped(bytesOf({ errors: [{ code: "NAME_UNKNOWN", message: "no such project" }] })),
          status: 404
        }
      })
      const { bytes, descriptor } = yield* registry.getManifest(name, tag("1"))
      assert.deepStrictEqual([bytes, descriptor.digest], [index, digestOf(index)])
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(name)), [tag("1")])
      assert.deepInclude(yield* reasonOf(registry.getManifest(name, tag("2"))), { detail: "no such project" })
    }))

  it.effect("that is only labelled is not decoded", () =>
    Effect.gen(function*() {
      const headers = { "content-encoding": "gzip", "content-type": MediaType.imageIndex }
      const { registry } = yield* make({ "GET /v2/team/app/manifests/1": { headers, body: index } })
      assert.deepStrictEqual((yield* registry.getManifest(name, tag("1"))).bytes, index)
    }))

  it.effect("that decodes to more than the limit fails", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ "GET /v2/team/app/manifests/1": gzipped(new Uint8Array(1_000_000)) })
      const reading = Effect.provideService(registry.getManifest(name, tag("1")), HttpRegistry.ManifestLimit, 10_000)
      assert.deepInclude(yield* reasonOf(reading), { _tag: "ContentTooLarge", limit: 10_000 })
    }))
})
