import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MediaType from "effect-oci/MediaType"
import { digestOf } from "../utils/digests.ts"
import { bytesOf, pushBlob, pushImage, repository } from "../utils/images.ts"
import { memory, type Sent } from "../utils/Served.ts"

const app = repository("team/app")
const index = bytesOf(`{\n  "schemaVersion": 2,  "manifests": [ ] }\n`)
const digest = digestOf(index)
const nowhere = digestOf("nowhere")

const manifest = (body: string | object | Uint8Array, type: string = MediaType.imageIndex, headers = {}): Sent => ({
  body,
  headers: { "content-type": type, ...headers }
})

describe("a pushed manifest", () => {
  it.live("by tag is readable by tag, by digest and at its Location", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { headers, status } = yield* ask("PUT /v2/team/app/manifests/1.0", manifest(index))
      assert.deepStrictEqual([status, headers.location], [201, `/v2/team/app/manifests/${digest}`])
      assert.strictEqual(headers["docker-content-digest"], digest)
      for (const path of [headers.location, "/v2/team/app/manifests/1.0"]) {
        assert.deepStrictEqual((yield* ask(`GET ${path}`)).bytes, index)
      }
    }))

  it.live("by digest is readable by digest", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { headers, status } = yield* ask(`PUT /v2/team/app/manifests/${digest}`, manifest(index))
      assert.deepStrictEqual([status, headers.location], [201, `/v2/team/app/manifests/${digest}`])
      assert.deepStrictEqual((yield* ask(`GET ${headers.location}`)).bytes, index)
    }))

  it.live("by a sha512 digest has that digest in responses", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const sha512 = digestOf(index, "sha512")
      const { headers, status } = yield* ask(`PUT /v2/team/app/manifests/${sha512}`, manifest(index))
      assert.deepStrictEqual([status, headers["docker-content-digest"]], [201, sha512])
      assert.strictEqual((yield* ask(`HEAD ${headers.location}`)).headers["docker-content-digest"], sha512)
    }))

  it.live("may have an unknown length", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const sent = manifest(index, MediaType.imageIndex, { "transfer-encoding": "chunked" })
      assert.strictEqual((yield* ask("PUT /v2/team/app/manifests/1.0", sent)).status, 201)
    }))

  it.live("keeps its type, without parameters", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      yield* ask("PUT /v2/team/app/manifests/1.0", manifest(index, `${MediaType.imageIndex}; charset=utf-8`))
      const { headers } = yield* ask("GET /v2/team/app/manifests/1.0")
      assert.strictEqual(headers["content-type"], MediaType.imageIndex)
    }))

  it.live("may state its media type itself", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const body = { schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] }
      yield* ask("PUT /v2/team/app/manifests/1.0", { body })
      const { headers } = yield* ask("GET /v2/team/app/manifests/1.0")
      assert.strictEqual(headers["content-type"], MediaType.imageIndex)
    }))

  it.live.each([undefined, "", "nonsense", "a/b/c", "text/ html"])(
    "with the type %j is refused",
    (type) =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        const sent = { body: index, ...type === undefined ? {} : { headers: { "content-type": type } } }
        const { code, status } = yield* ask("PUT /v2/team/app/manifests/1.0", sent)
        assert.deepStrictEqual([status, code], [400, "MANIFEST_INVALID"])
      })
  )

  it.live("by a wrong digest is refused with JSON, and is absent", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      for (const other of [nowhere, digestOf("nowhere", "sha512")]) {
        const { code, status } = yield* ask(`PUT /v2/team/app/manifests/${other}`, manifest(index))
        assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
        assert.strictEqual((yield* ask(`HEAD /v2/team/app/manifests/${other}`)).status, 404)
      }
    }))

  it.live.each(["sha256:baddigeststring", `sha256:${"A".repeat(64)}`, "md5:12"])(
    "by %s is refused",
    (reference) =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        const { code, status } = yield* ask(`PUT /v2/team/app/manifests/${reference}`, manifest(index))
        assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
      })
  )

  it.live.each([".hidden", "-", "a".repeat(129), "a%20b", "%F0%9F%8F%B7"])(
    "by the invalid tag %s is refused",
    (tag) =>
      Effect.gen(function*() {
        const { ask } = yield* memory()
        const { code, status } = yield* ask(`PUT /v2/team/app/manifests/${tag}`, manifest(index))
        assert.deepStrictEqual([status, code], [400, "MANIFEST_INVALID"])
      })
  )

  it.live.each(
    [
      ["{", MediaType.imageIndex],
      ["", MediaType.imageIndex],
      ["null", MediaType.imageManifest],
      [`{"schemaVersion":2}`, MediaType.imageManifest],
      [`{"schemaVersion":2,"mediaType":"${MediaType.imageManifest}","manifests":[]}`, MediaType.imageIndex]
    ] as const
  )("as %j of type %s is refused", ([body, type]) =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { code, status } = yield* ask("PUT /v2/team/app/manifests/1.0", manifest(body, type))
      assert.deepStrictEqual([status, code], [400, "MANIFEST_INVALID"])
    }))

  it.live("with an absent layer is refused", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      const config = yield* pushBlob(registry, app, "{}", MediaType.imageConfig)
      const layers = [{ mediaType: MediaType.imageLayer, digest: nowhere, size: 1 }]
      const sent = manifest({ schemaVersion: 2, config, layers }, MediaType.imageManifest)
      const { code, status } = yield* ask("PUT /v2/team/app/manifests/1.0", sent)
      assert.deepStrictEqual([status, code], [400, "MANIFEST_BLOB_UNKNOWN"])
    }))

  it.live.each(
    [
      ["application/json", 400],
      ["application/x-www-form-urlencoded", 400],
      [MediaType.dockerManifestList, 400],
      [`${MediaType.imageIndex}; charset=utf-8`, 201],
      [MediaType.imageIndex.toUpperCase(), 201]
    ] as const
  )("with the mediaType of an index and the Content-Type %s: %i", ([type, status]) =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const body = { schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] }
      const answer = yield* ask("PUT /v2/team/app/manifests/1.0", manifest(body, type))
      assert.deepStrictEqual([answer.status, answer.code], [status, status === 400 ? "MANIFEST_INVALID" : ""])
      if (status !== 201) return
      const { headers } = yield* ask("GET /v2/team/app/manifests/1.0")
      assert.strictEqual(headers["content-type"], MediaType.imageIndex)
    }))

  it.live("without a mediaType has the type of the request", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const body = { schemaVersion: 2, mediaType: "", manifests: [] }
      assert.strictEqual((yield* ask("PUT /v2/team/app/manifests/1.0", manifest(body))).status, 201)
    }))

  it.live.each<readonly [form: string, body: string, mediaType: string, asText: 201 | 400, subject?: string]>([
    ["twice", `{"mediaType":"text/plain","mediaType":"${MediaType.imageIndex}"}`, MediaType.imageIndex, 400],
    ["with escapes", `{ "x" : ["]", {}], "media\\u0054ype"\n:\t"a\\/b", "y": 1e3}`, "a/b", 400],
    ["in another object", `{"x":{"mediaType":"c/d"}}`, "a/b", 201],
    ["as a number", `{"mediaType":5,"subject":7}`, "a/b", 201],
    ["with a subject", `{"subject":{"digest":"${nowhere}","x":[{"digest":1}]},"mediaType":"a/b"}`, "a/b", 400, nowhere]
  ])("states its media type in any JSON spelling: %s", ([, body, type, asText, subject]) =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const path = "/v2/team/app/manifests/1.0"
      const { headers, status } = yield* ask(`PUT ${path}`, manifest(body, type))
      assert.deepStrictEqual([status, headers["oci-subject"]], [201, subject])
      assert.strictEqual((yield* ask(`PUT ${path}`, manifest(body, "text/plain"))).status, asText)
    }))

  it.live.each<readonly [string, string]>([
    ["levels", `{"schemaVersion":2,"manifests":[],"x":${"[".repeat(2_000_000)}${"]".repeat(2_000_000)}}`],
    ["levels that never end", "[".repeat(4_000_000)],
    ["lists", `{"schemaVersion":2,"manifests":[],"x":[${"[],".repeat(1_300_000)}[]]}`],
    ["numbers", `{"schemaVersion":2,"manifests":[],"x":[${"1,".repeat(2_000_000)}1]}`]
  ])("with millions of %s is refused", ([, body]) =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { code, status, text } = yield* ask("PUT /v2/team/app/manifests/1.0", manifest(body))
      assert.deepStrictEqual([status, code], [400, "MANIFEST_INVALID"])
      assert.include(text, "too complex")
    }))

  it.live("may have brackets in strings, and 28 000 layers", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      const config = yield* pushBlob(registry, app, "{}", MediaType.imageConfig)
      const layer = { ...config, mediaType: MediaType.imageLayer }
      const annotations = { brackets: "[{\"".repeat(100_000) }
      for (const content of [{ layers: Array.from({ length: 28_000 }, () => layer) }, { layers: [], annotations }]) {
        const sent = manifest({ schemaVersion: 2, config, ...content }, MediaType.imageManifest)
        assert.strictEqual((yield* ask("PUT /v2/team/app/manifests/1.0", sent)).status, 201)
      }
    }))

  it.live("may have 4 MB", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const annotations = Object.fromEntries(
        Array.from({ length: 390 }, (_, index) => [`org.example.${index}`, "x".repeat(10_000)])
      )
      const body = bytesOf({ schemaVersion: 2, manifests: [], annotations })
      assert.strictEqual((yield* ask("PUT /v2/team/app/manifests/large", manifest(body))).status, 201)
      assert.deepStrictEqual((yield* ask("GET /v2/team/app/manifests/large")).bytes, body)
    }))

  it.live("is refused above the limit, announced or not", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ manifestLimit: index.length - 1 })
      for (const headers of [{}, { "transfer-encoding": "chunked" }]) {
        const sent = manifest(index, MediaType.imageIndex, headers)
        const { code, status } = yield* ask("PUT /v2/team/app/manifests/1.0", sent)
        assert.deepStrictEqual([status, code], [413, "SIZE_INVALID"])
      }
    }))

  it.live("is accepted at the limit", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ manifestLimit: index.length })
      assert.strictEqual((yield* ask("PUT /v2/team/app/manifests/1.0", manifest(index))).status, 201)
    }))

  it.live("pushed again by another tag has both tags", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      for (const tag of ["1", "2"]) yield* ask(`PUT /v2/team/app/manifests/${tag}`, manifest(index))
      assert.deepStrictEqual(JSON.parse((yield* ask("GET /v2/team/app/tags/list")).text).tags, ["1", "2"])
    }))
})

describe("tags of a manifest that is pushed by digest", () => {
  it.live("are set and acknowledged", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const tags = Array.from({ length: 12 }, (_, index) => `v${index}`)
      const query = tags.map((tag) => `tag=${tag}`).join("&")
      const { headers, status } = yield* ask(`PUT /v2/team/app/manifests/${digest}?${query}`, manifest(index))
      assert.strictEqual(status, 201)
      assert.deepStrictEqual(`${headers["oci-tag"]}`.split(/, */), tags)
      for (const tag of tags) {
        assert.strictEqual((yield* ask(`HEAD /v2/team/app/manifests/${tag}`)).headers["docker-content-digest"], digest)
      }
    }))

  it.live("may belong to a sha512 digest", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const sha512 = digestOf(index, "sha512")
      yield* ask(`PUT /v2/team/app/manifests/${sha512}?tag=long`, manifest(index))
      const { headers } = yield* ask("HEAD /v2/team/app/manifests/long")
      assert.strictEqual(headers["docker-content-digest"], sha512)
    }))

  it.live("must all be valid, otherwise nothing is stored", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { code, status } = yield* ask(`PUT /v2/team/app/manifests/${digest}?tag=1&tag=.no`, manifest(index))
      assert.deepStrictEqual([status, code], [400, "MANIFEST_INVALID"])
      assert.strictEqual((yield* ask(`HEAD /v2/team/app/manifests/${digest}`)).status, 404)
    }))

  it.live("are not acknowledged if there are none", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { headers } = yield* ask(`PUT /v2/team/app/manifests/${digest}`, manifest(index))
      assert.isUndefined(headers["oci-tag"])
    }))
})

describe("the subject of a manifest", () => {
  const subject = { mediaType: MediaType.imageManifest, digest: nowhere, size: 1 }

  it.live("is acknowledged and may be absent, for images and indexes, by tag and by digest", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory()
      const config = yield* pushBlob(registry, app, "{}", MediaType.empty)
      const image = bytesOf({ schemaVersion: 2, config, layers: [], subject })
      const list = bytesOf({ schemaVersion: 2, manifests: [], subject })
      for (const [body, type] of [[image, MediaType.imageManifest], [list, MediaType.imageIndex]] as const) {
        for (const reference of ["1", digestOf(body)]) {
          const { headers, status } = yield* ask(`PUT /v2/team/app/manifests/${reference}`, manifest(body, type))
          assert.deepStrictEqual([status, headers["oci-subject"]], [201, nowhere])
        }
      }
    }))

  it.live("is not acknowledged if there is none", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory()
      const { headers } = yield* ask("PUT /v2/team/app/manifests/1", manifest(index))
      assert.isUndefined(headers["oci-subject"])
    }))
})

describe("deleted content", () => {
  const withImage = Effect.gen(function*() {
    const served = yield* memory()
    const image = yield* pushImage(served.registry, app, ["layer"])
    const { bytes } = yield* served.registry.getManifest(app, image.digest)
    for (const tag of ["1", "2"]) {
      yield* served.ask(`PUT /v2/team/app/manifests/${tag}`, manifest(bytes, image.mediaType))
    }
    return { ...served, image, layer: digestOf("layer") }
  })

  it.live("by tag is absent under that tag only", () =>
    Effect.gen(function*() {
      const { ask, image } = yield* withImage
      assert.strictEqual((yield* ask("DELETE /v2/team/app/manifests/1")).status, 202)
      assert.strictEqual((yield* ask("GET /v2/team/app/manifests/1")).status, 404)
      assert.strictEqual((yield* ask("GET /v2/team/app/manifests/2")).status, 200)
      assert.strictEqual((yield* ask(`GET /v2/team/app/manifests/${image.digest}`)).status, 200)
    }))

  it.live("by digest is absent with all its tags", () =>
    Effect.gen(function*() {
      const { ask, image } = yield* withImage
      assert.strictEqual((yield* ask(`DELETE /v2/team/app/manifests/${image.digest}`)).status, 202)
      for (const reference of ["1", "2", image.digest]) {
        assert.strictEqual((yield* ask(`HEAD /v2/team/app/manifests/${reference}`)).status, 404)
      }
      assert.deepStrictEqual(JSON.parse((yield* ask("GET /v2/team/app/tags/list")).text).tags, [])
    }))

  it.live("is absent if it was a blob that no manifest needs", () =>
    Effect.gen(function*() {
      const { ask, image, layer } = yield* withImage
      assert.strictEqual((yield* ask(`DELETE /v2/team/app/blobs/${layer}`)).status, 403)
      assert.strictEqual((yield* ask(`DELETE /v2/team/app/manifests/${image.digest}`)).status, 202)
      assert.strictEqual((yield* ask(`DELETE /v2/team/app/blobs/${layer}`)).status, 202)
      assert.strictEqual((yield* ask(`HEAD /v2/team/app/blobs/${layer}`)).status, 404)
    }))

  it.live("must have existed", () =>
    Effect.gen(function*() {
      const { ask } = yield* withImage
      for (
        const path of [
          "app/manifests/3",
          `app/manifests/${nowhere}`,
          `app/blobs/${nowhere}`,
          "other/manifests/1",
          `other/manifests/${nowhere}`,
          `other/blobs/${nowhere}`
        ]
      ) {
        assert.strictEqual((yield* ask(`DELETE /v2/team/${path}`)).status, 404, path)
      }
    }))

  it.live("is kept if deletion is not allowed", () =>
    Effect.gen(function*() {
      for (const changes of ["no-deletes", "none"] as const) {
        const { ask, registry } = yield* memory({ changes })
        const { digest } = yield* pushImage(registry, app, ["layer"])
        for (const path of [`manifests/1`, `manifests/${digest}`, `blobs/${digestOf("layer")}`]) {
          const { code, headers, status } = yield* ask(`DELETE /v2/team/app/${path}`)
          assert.deepStrictEqual([status, code], [405, "UNSUPPORTED"])
          assert.notInclude(headers.allow, "DELETE")
        }
        assert.strictEqual((yield* ask(`HEAD /v2/team/app/manifests/${digest}`)).status, 200)
      }
    }))
})

describe("a read-only registry", () => {
  it.live("is read, and refuses every change", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* memory({ changes: "none" })
      const image = yield* pushImage(registry, app, ["layer"])
      assert.strictEqual((yield* ask(`GET /v2/team/app/manifests/${image.digest}`)).status, 200)
      for (
        const line of [
          "PUT /v2/team/app/manifests/1",
          "POST /v2/team/app/blobs/uploads/",
          `POST /v2/team/app/blobs/uploads/?digest=${digest}`,
          `POST /v2/team/app/blobs/uploads/?mount=${digest}`,
          "PATCH /v2/team/app/blobs/uploads/00000000-0000-4000-8000-000000000000"
        ]
      ) {
        const { code, status } = yield* ask(line, manifest(index))
        assert.deepStrictEqual([status, code], [405, "UNSUPPORTED"], line)
      }
    }))

  it.live("that allows no deletion allows clients to cancel uploads", () =>
    Effect.gen(function*() {
      const { ask } = yield* memory({ changes: "no-deletes" })
      const { headers } = yield* ask("POST /v2/team/app/blobs/uploads/")
      assert.strictEqual((yield* ask(`DELETE ${headers.location}`)).status, 204)
    }))
})
