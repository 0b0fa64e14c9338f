import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { Contract, type Quirks } from "effect-oci/testing"
import { digestOf } from "../utils/digests.ts"
import { pushBlob, pushImage, pushReferrer, repository, tag } from "../utils/images.ts"
import { connect as client } from "../utils/ScriptedServer.ts"
import { connect, memory, serve } from "../utils/Served.ts"

const app = repository("team/app")
const content = "0123456789"
const digest = digestOf(content)

const having = (...quirks: ReadonlyArray<Quirks.Quirk>) => memory({ quirks, pageSize: 4 })

describe("a registry with the quirk", () => {
  it.live("noReferrers lists none, and does not acknowledge subjects", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* having("noReferrers")
      const image = yield* pushImage(registry, app, ["layer"])
      const referrer = yield* pushReferrer(registry, app, image, "about it")
      const { code, status } = yield* ask(`GET /v2/team/app/referrers/${image.digest}`)
      assert.deepStrictEqual([status, code], [404, "UNSUPPORTED"])
      const { bytes } = yield* registry.getManifest(app, referrer.digest)
      const sent = { body: bytes, headers: { "content-type": MediaType.imageManifest } }
      const { headers } = yield* ask("PUT /v2/team/app/manifests/1", sent)
      assert.isUndefined(headers["oci-subject"])
    }))

  it.live("noFilter lists all referrers, and does not claim to filter", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* having("noFilter")
      const image = yield* pushImage(registry, app, ["layer"])
      yield* pushReferrer(registry, app, image, "about it")
      const { headers, text } = yield* ask(`GET /v2/team/app/referrers/${image.digest}?artifactType=application/none`)
      assert.strictEqual(JSON.parse(text).manifests.length, 1)
      assert.isUndefined(headers["oci-filters-applied"])
    }))

  it.live("noSinglePost opens a session instead", () =>
    Effect.gen(function*() {
      const { ask } = yield* having("noSinglePost")
      const { headers, status } = yield* ask(`POST /v2/team/app/blobs/uploads/?digest=${digest}`, { body: content })
      assert.strictEqual(status, 202)
      assert.strictEqual((yield* ask(`GET /v2/team/app/blobs/${digest}`)).status, 404)
      assert.strictEqual((yield* ask(`PUT ${headers.location}?digest=${digest}`, { body: content })).status, 201)
    }))

  it.live("noChunks accepts none", () =>
    Effect.gen(function*() {
      const { ask } = yield* having("noChunks")
      const { headers } = yield* ask("POST /v2/team/app/blobs/uploads/")
      const refused = yield* ask(`PATCH ${headers.location}`, { body: content })
      assert.deepStrictEqual([refused.status, refused.code], [405, "UNSUPPORTED"])
      assert.strictEqual(refused.headers.allow, "GET, HEAD, PUT, DELETE")
    }))

  it.live("noResumption loses the session of an upload that breaks off", () =>
    Effect.gen(function*() {
      const { ask, host } = yield* having("noResumption")
      const { headers } = yield* ask("POST /v2/team/app/blobs/uploads/")
      const { close, write } = yield* connect(host)
      yield* write(`PATCH ${headers.location} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 10\r\n\r\n01234`)
      yield* close
      const { status } = yield* ask(`GET ${headers.location}`).pipe(
        Effect.repeat({ until: ({ status }) => status !== 204, times: 50 })
      )
      assert.strictEqual(status, 404)
      assert.strictEqual((yield* ask(`PUT ${headers.location}?digest=${digest}`, { body: content })).status, 404)
    }))

  it.live("noResumption keeps the sessions of other uploads", () =>
    Effect.gen(function*() {
      const { ask } = yield* having("noResumption")
      const lost = (yield* ask("POST /v2/team/app/blobs/uploads/")).headers.location
      const kept = (yield* ask("POST /v2/team/app/blobs/uploads/")).headers.location
      const wrong = yield* ask(`PUT ${lost}?digest=${digestOf("other")}`, { body: content })
      assert.strictEqual(wrong.status, 400)
      assert.strictEqual((yield* ask(`GET ${lost}`)).status, 404)
      assert.strictEqual((yield* ask(`PUT ${kept}?digest=${digest}`, { body: content })).status, 201)
    }))

  it.live("noCancel cancels nothing", () =>
    Effect.gen(function*() {
      const { ask } = yield* having("noCancel")
      const { headers } = yield* ask("POST /v2/team/app/blobs/uploads/")
      assert.strictEqual((yield* ask(`DELETE ${headers.location}`)).status, 405)
      assert.strictEqual((yield* ask(`GET ${headers.location}`)).status, 204)
    }))

  it.live("noMount opens a session instead", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* having("noMount")
      yield* pushBlob(registry, repository("other"), content)
      assert.strictEqual((yield* ask(`POST /v2/team/app/blobs/uploads/?mount=${digest}&from=other`)).status, 202)
      const { code, status } = yield* ask("POST /v2/team/app/blobs/uploads/?mount=none&from=other")
      assert.deepStrictEqual([status, code], [400, "DIGEST_INVALID"])
    }))

  it.live("noRanges sends the whole blob", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* having("noRanges")
      yield* pushBlob(registry, app, content)
      const { status, text } = yield* ask(`GET /v2/team/app/blobs/${digest}`, { headers: { range: "bytes=1-2" } })
      assert.deepStrictEqual([status, text], [200, content])
    }))

  it.live("noLink has no link to the next page", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* having("noLink")
      yield* pushImage(registry, app, ["layer"], { tags: ["1", "2", "3"].map(tag) })
      const { headers, text } = yield* ask("GET /v2/team/app/tags/list?n=2")
      assert.deepStrictEqual([JSON.parse(text).tags, headers.link], [["1", "2"], undefined])
    }))

  it.live("shortPages sends half of the entries, and a link to the next page", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* having("shortPages")
      yield* pushImage(registry, app, ["layer"], { tags: ["1", "2", "3"].map(tag) })
      const { headers, text } = yield* ask("GET /v2/team/app/tags/list?n=3")
      assert.deepStrictEqual(JSON.parse(text).tags, ["1", "2"])
      assert.strictEqual(headers.link, `</v2/team/app/tags/list?n=3&last=2>; rel="next"`)
    }))

  it.live("shortPages lists all referrers over several pages, of one artifact type if asked", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* having("shortPages")
      const image = yield* pushImage(registry, app, ["layer"])
      const referrers = yield* Effect.forEach(["1", "2", "3"], (text) => pushReferrer(registry, app, image, text))
      const listed: Array<string> = []
      const sizes: Array<number> = []
      let next = `/v2/team/app/referrers/${image.digest}?artifactType=application/vnd.example.sbom`
      while (next !== "") {
        const { headers, text } = yield* ask(`GET ${next}`)
        const page: ReadonlyArray<{ readonly digest: string }> = JSON.parse(text).manifests
        sizes.push(page.length)
        listed.push(...page.map(({ digest }) => digest))
        next = /^<(.*)>/.exec(`${headers.link ?? ""}`)?.[1] ?? ""
        assert.isTrue(next === "" || next.includes("artifactType="))
      }
      assert.deepStrictEqual(sizes, [2, 1])
      assert.deepStrictEqual(listed, referrers.map(({ digest }) => digest).sort())
    }))

  it.live("noLink hides the links of shortPages, in whichever order they are given", () =>
    Effect.gen(function*() {
      for (const quirks of [["noLink", "shortPages"], ["shortPages", "noLink"]] as const) {
        const { ask, registry } = yield* having(...quirks)
        yield* pushImage(registry, app, ["layer"], { tags: ["1", "2", "3"].map(tag) })
        const { headers, text } = yield* ask("GET /v2/team/app/tags/list")
        assert.deepStrictEqual([JSON.parse(text).tags, headers.link], [["1", "2"], undefined])
      }
    }))

  it.live("noDigestHeader names no digest in any response", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* having("noDigestHeader")
      const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      const { bytes } = yield* registry.getManifest(app, digest)
      const sent = { body: bytes, headers: { "content-type": MediaType.imageManifest } }
      for (
        const answer of [
          yield* ask("GET /v2/team/app/manifests/1"),
          yield* ask("HEAD /v2/team/app/manifests/1"),
          yield* ask(`HEAD /v2/team/app/blobs/${digestOf("layer")}`),
          yield* ask("PUT /v2/team/app/manifests/1", sent)
        ]
      ) {
        assert.oneOf(answer.status, [200, 201])
        assert.isUndefined(answer.headers["docker-content-digest"])
        assert.isUndefined(answer.headers.etag)
      }
    }))

  it.live("noHeadLength has no length in responses to HEAD, but to GET", () =>
    Effect.gen(function*() {
      const { ask, registry } = yield* having("noHeadLength")
      yield* pushBlob(registry, app, content)
      assert.isUndefined((yield* ask(`HEAD /v2/team/app/blobs/${digest}`)).headers["content-length"])
      assert.strictEqual((yield* ask(`GET /v2/team/app/blobs/${digest}`)).headers["content-length"], "10")
    }))

  it.live("noTagParameters ignores tags in parameters", () =>
    Effect.gen(function*() {
      const { ask } = yield* having("noTagParameters")
      const body = "{\"manifests\":[]}"
      const sent = { body, headers: { "content-type": MediaType.imageIndex } }
      const { headers, status } = yield* ask(`PUT /v2/team/app/manifests/${digestOf(body)}?tag=1`, sent)
      assert.deepStrictEqual([status, headers["oci-tag"]], [201, undefined])
      assert.strictEqual((yield* ask("HEAD /v2/team/app/manifests/1")).status, 404)
    }))
})

/** Quirks with which our client keeps the contract. */
const survivable: ReadonlyArray<Quirks.Quirk> = [
  "noReferrers",
  "noFilter",
  "noSinglePost",
  "noRanges",
  "shortPages",
  "noDigestHeader",
  "noTagParameters"
]

describe(`a registry with ${survivable.join(", ")} keeps the contract through our client (C3):`, () => {
  for (const { effect, name } of Contract.without("sha512Tags")) {
    it.live(name, () =>
      Effect.gen(function*() {
        const { host } = yield* serve(yield* MemoryRegistry.make(), { quirks: survivable })
        yield* effect(yield* client({ host }))
      }))
  }
})
