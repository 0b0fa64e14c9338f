import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import * as MediaType from "effect-oci/MediaType"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { digestOf, make, reasonOf } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const mediaType = MediaType.imageIndex
// formatted as no encoder would do it
const bytes = bytesOf(`{ "manifests":[],\n "mediaType":"${mediaType}", "schemaVersion":2 }`)
const digest = digestOf(bytes)
const manifests = "/v2/team/app/manifests/"
const put = (reference: string) => `PUT ${manifests}${reference}`
const created = { status: 201 }
const accepting = (...tags: ReadonlyArray<string>) => ({ status: 201, headers: { "oci-tag": tags.join(", ") } })

describe("pushing a manifest", () => {
  it.effect("sends its bytes as they are, under its type (C26, C28)", () =>
    Effect.gen(function*() {
      const { registry, requests, sent } = yield* make({ [put("latest")]: created })
      const descriptor = yield* registry.pushManifest(name, { mediaType, bytes }, [tag("latest")])
      assert.deepStrictEqual(descriptor, { mediaType, digest, size: bytes.length })
      assert.deepStrictEqual(sent(), [put("latest")])
      assert.deepStrictEqual(requests[0]?.body, bytes)
      assert.deepInclude(requests[0]?.headers, { "content-type": mediaType, "content-length": `${bytes.length}` })
    }))

  it.effect("is by digest without a tag", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [put(digest)]: created })
      yield* registry.pushManifest(name, { mediaType, bytes })
      assert.deepStrictEqual(sent(), [put(digest)])
    }))

  it.effect("sends nothing if the digest is not that of the bytes", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({})
      const expected = digestOf("another")
      const reason = yield* reasonOf(registry.pushManifest(name, { mediaType, bytes, digest: expected }))
      assert.deepInclude(reason, { _tag: "DigestMismatch", expected, actual: digest })
      assert.deepStrictEqual(sent(), [])
    }))

  it.effect("fails if the registry stored another digest (C25)", () =>
    Effect.gen(function*() {
      const actual = digestOf("another")
      const { registry } = yield* make({
        [put("latest")]: { status: 201, headers: { "docker-content-digest": actual } }
      })
      const reason = yield* reasonOf(registry.pushManifest(name, { mediaType, bytes }, [tag("latest")]))
      assert.deepInclude(reason, { _tag: "DigestMismatch", expected: digest, actual })
    }))

  it.effect("accepts a digest of another algorithm in the response (C10)", () =>
    Effect.gen(function*() {
      const headers = { "docker-content-digest": digestOf(bytes, "sha512") }
      const { registry } = yield* make({ [put("latest")]: { status: 201, headers } })
      yield* registry.pushManifest(name, { mediaType, bytes }, [tag("latest")])
    }))

  it.effect("fails if the registry lacks content that the manifest refers to", () =>
    Effect.gen(function*() {
      const body = { errors: [{ code: "MANIFEST_BLOB_UNKNOWN", message: "blob unknown to registry" }] }
      const { registry } = yield* make({ [put("latest")]: { status: 400, body } })
      const reason = yield* reasonOf(registry.pushManifest(name, { mediaType, bytes }, [tag("latest")]))
      assert.deepInclude(reason, { _tag: "ManifestBlobUnknown", status: 400, detail: "blob unknown to registry" })
    }))
})

describe("pushing a manifest with several tags (C29)", () => {
  const tags = [tag("1.2"), tag("1"), tag("latest")]
  const all = put(`${digest}?tag=1.2&tag=1&tag=latest`)

  it.effect("is one request if the registry supports them as parameters", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [all]: accepting("1.2", "1", "latest") })
      yield* registry.pushManifest(name, { mediaType, bytes }, tags)
      assert.deepStrictEqual(sent(), [all])
      assert.deepInclude(yield* registry.capabilities, { tagParameters: true })
    }))

  it.effect("pushes the tags that the registry omitted one by one", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [all]: accepting("1.2"), [put("1")]: created, [put("latest")]: created })
      yield* registry.pushManifest(name, { mediaType, bytes }, tags)
      assert.deepStrictEqual(sent(), [all, put("1"), put("latest")])
    }))

  it.effect("does not try again if the registry ignores the parameters", () =>
    Effect.gen(function*() {
      const single = tags.map(put)
      const { registry, sent } = yield* make(Object.fromEntries([all, ...single].map((line) => [line, created])))
      yield* registry.pushManifest(name, { mediaType, bytes }, tags)
      assert.deepStrictEqual(sent(), [all, ...single])
      assert.deepInclude(yield* registry.capabilities, { tagParameters: false })
      yield* registry.pushManifest(name, { mediaType, bytes }, tags)
      assert.sameMembers(sent().slice(4), single)
      assert.lengthOf(sent(), 7)
    }))

  it.effect.each([414, 431])(
    "pushes them one by one if they are too many for a request: %i",
    (status) =>
      Effect.gen(function*() {
        const single = tags.map(put)
        const { registry, sent } = yield* make({
          [all]: { status },
          ...Object.fromEntries([put(digest), ...single].map((line) => [line, created]))
        })
        yield* registry.pushManifest(name, { mediaType, bytes }, tags)
        assert.sameMembers(sent().filter((line) => line !== put(digest)), [all, ...single])
      })
  )
})

describe("pushing a manifest under a sha512 digest", () => {
  const sha512 = digestOf(bytes, "sha512")

  it.effect("is by digest, the tag a parameter", () =>
    Effect.gen(function*() {
      const line = put(`${sha512}?tag=latest`)
      const { registry, sent } = yield* make({ [line]: accepting("latest") })
      const descriptor = yield* registry.pushManifest(name, { mediaType, bytes, digest: sha512 }, [tag("latest")])
      assert.strictEqual(descriptor.digest, sha512)
      assert.deepStrictEqual(sent(), [line])
    }))

  it.effect("gets its tag by another request if the registry ignores the parameter", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [put(sha512)]: { status: 201, headers: { "docker-content-digest": sha512 } },
        [put("latest")]: { status: 201, headers: { "docker-content-digest": digest } }
      })
      yield* registry.pushManifest(name, { mediaType, bytes, digest: sha512 }, [tag("latest")])
      assert.deepStrictEqual(sent(), [put(`${sha512}?tag=latest`), put("latest")])
    }))
})

describe("deleting", () => {
  const answer = { headers: { "content-type": mediaType, "docker-content-digest": digest }, body: bytes }

  it.effect("a tag is a DELETE of the tag", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`DELETE ${manifests}latest`]: { status: 202 } })
      yield* registry.deleteTag(name, tag("latest"))
      assert.deepStrictEqual(sent(), [`DELETE ${manifests}latest`])
    }))

  it.effect("a manifest without a subject changes nothing else", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [`GET ${manifests}${digest}`]: answer,
        [`DELETE ${manifests}${digest}`]: { status: 202 }
      })
      yield* registry.deleteManifest(name, digest)
      assert.deepStrictEqual(sent(), [`GET ${manifests}${digest}`, `DELETE ${manifests}${digest}`])
    }))

  it.effect.each([[404, "ManifestUnknown"], [405, "Unsupported"]] as const)(
    "a tag fails if the registry answers %i",
    ([status, expected]) =>
      Effect.gen(function*() {
        const { registry } = yield* make({ [`DELETE ${manifests}latest`]: { status } })
        assert.strictEqual((yield* reasonOf(registry.deleteTag(name, tag("latest"))))._tag, expected)
      })
  )

  it.effect("a blob is a DELETE of the blob", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`DELETE /v2/team/app/blobs/${digest}`]: { status: 202 } })
      yield* registry.deleteBlob(name, digest)
      assert.deepStrictEqual(sent(), [`DELETE /v2/team/app/blobs/${digest}`])
    }))
})
