import { assert, describe } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as MediaType from "effect-oci/MediaType"
import { HttpClient } from "effect/http"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { listReferrers } from "../utils/registries.ts"
import { digestOf, keeping, make, reasonOf } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const other = digestOf("other")
const blob = `/v2/team/app/blobs/${digest}`
const manifests = "/v2/team/app/manifests/"
const uploads = "/v2/team/app/blobs/uploads/"
const page = { headers: { "content-type": "text/html", "content-length": "5" }, body: "<h1/>" }

describe("a web server that answers 200 to everything", () => {
  it.effect("has no blob", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`HEAD ${blob}`]: page })
      assert.strictEqual((yield* reasonOf(registry.resolveBlob(name, digest)))._tag, "UnexpectedResponse")
    }))

  it.effect("has no manifest", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`HEAD ${manifests}${digest}`]: page, [`GET ${manifests}${digest}`]: page })
      for (
        const operation of [
          Effect.asVoid(registry.resolveManifest(name, digest)),
          Effect.asVoid(registry.getManifest(name, digest))
        ]
      ) {
        assert.deepInclude(yield* reasonOf(operation), {
          _tag: "UnexpectedResponse",
          detail: "the answer is not a manifest, but a web page"
        })
      }
    }))

  it.effect("has no manifest for a tag, whatever the type of its page", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`HEAD ${manifests}1`]: { headers: { "content-type": "text/plain", "content-length": "30" } },
        [`GET ${manifests}1`]: { headers: { "content-type": "text/plain" }, body: "<!DOCTYPE html><title>app</title>" }
      })
      for (
        const operation of [
          Effect.asVoid(registry.resolveManifest(name, tag("1"))),
          Effect.asVoid(registry.getManifest(name, tag("1")))
        ]
      ) {
        assert.deepInclude(yield* reasonOf(operation), {
          _tag: "UnexpectedResponse",
          detail: "the answer is not a manifest, but a web page"
        })
      }
    }))

  it.effect("has no manifest for a tag in a document of another kind", () =>
    Effect.gen(function*() {
      const answer = { headers: { "content-type": "application/json" }, body: { status: "up" } }
      const { registry } = yield* make({ [`GET ${manifests}1`]: answer })
      assert.deepInclude(yield* reasonOf(registry.getManifest(name, tag("1"))), {
        _tag: "UnexpectedResponse",
        detail: "the answer is not a manifest, but application/json"
      })
    }))

  it.effect("accepts no manifest", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`PUT ${manifests}1`]: page })
      const push = registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes: bytesOf("{}") }, [tag("1")])
      assert.strictEqual((yield* reasonOf(push))._tag, "UnexpectedResponse")
    }))
})

describe("a registry that reports another digest than the requested one", () => {
  it.effect("does not have the blob", () =>
    Effect.gen(function*() {
      const headers = { "docker-content-digest": other, "content-length": "10" }
      const { registry } = yield* make({ [`HEAD ${blob}`]: { headers } })
      assert.strictEqual((yield* reasonOf(registry.resolveBlob(name, digest)))._tag, "DigestMismatch")
    }))

  it.effect("does not have the manifest", () =>
    Effect.gen(function*() {
      const headers = { "docker-content-digest": other, "content-length": "10" }
      const { registry } = yield* make({ [`HEAD ${manifests}${digest}`]: { headers } })
      assert.strictEqual((yield* reasonOf(registry.resolveManifest(name, digest)))._tag, "DigestMismatch")
    }))
})

describe("a registry", () => {
  it.effect("that does not support HEAD of manifests is asked by GET", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`HEAD ${manifests}1`]: { status: 405 },
        [`GET ${manifests}1`]: { headers: { "content-type": MediaType.imageIndex }, body: content }
      })
      assert.deepStrictEqual(yield* registry.resolveManifest(name, tag("1")), {
        mediaType: MediaType.imageIndex,
        digest,
        size: 10
      })
    }))

  it.effect.each([400, 405, 411, 500])(
    "that answers a single POST with %s gets the blob in a session",
    (status) =>
      Effect.gen(function*() {
        const { registry, sent } = yield* make({
          [`POST ${uploads}?digest=${encodeURIComponent(digest)}`]: { status },
          [`POST ${uploads}`]: { status: 202, headers: { location: `${uploads}one` } },
          [`PUT ${uploads}one`]: { status: 201 }
        })
        yield* registry.pushBlob(name, { digest, size: 10 }, BlobSource.fromBytes(content))
        assert.strictEqual(sent().length, 3)
        assert.deepStrictEqual(yield* registry.capabilities, { singlePost: false })
      })
  )

  it.effect("that refuses a blob is not asked in another way", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [`POST ${uploads}`]: { status: 403 } })
      const push = registry.pushBlob(name, { digest, size: 10 }, BlobSource.fromBytes(content))
      assert.strictEqual((yield* reasonOf(push))._tag, "Denied")
      assert.strictEqual(sent().length, 1)
    }))

  it.effect("that fails for one page of referrers still has the API", () =>
    Effect.gen(function*() {
      const listed = { mediaType: MediaType.imageManifest, digest: other, size: 5 }
      const { registry } = yield* make({
        [`GET /v2/team/app/referrers/${digest}`]: [
          {
            headers: {
              "content-type": MediaType.imageIndex,
              link: `</v2/team/app/referrers/${digest}?page=2>; rel="next"`
            },
            body: { schemaVersion: 2, manifests: [listed] }
          },
          { status: 404 }
        ]
      })
      const error = yield* Effect.flip(listReferrers(registry, name, digest))
      assert.strictEqual(error.status, 404)
      assert.deepStrictEqual(yield* registry.capabilities, { referrers: true, pages: true })
    }))

  it.effect("that checks whether a list of referrers is complete gets one without deleted entries", () =>
    Effect.gen(function*() {
      const gone = { mediaType: MediaType.imageManifest, digest: digestOf("gone"), size: 4 }
      const referrer = bytesOf({
        schemaVersion: 2,
        mediaType: MediaType.imageIndex,
        manifests: [],
        subject: { mediaType: MediaType.imageIndex, digest, size: 10 }
      })
      const list = `${manifests}sha256-${digest.slice(7)}`
      const { registry, requests } = yield* make({
        [`PUT ${manifests}${digestOf(referrer)}`]: { status: 201 },
        ...keeping(list, {
          headers: { "content-type": MediaType.imageIndex },
          body: { schemaVersion: 2, manifests: [gone] }
        }, {
          refuse: (body) =>
            body.includes(gone.digest)
              ? { status: 400, body: { errors: [{ code: "MANIFEST_BLOB_UNKNOWN" }] } }
              : undefined
        }),
        [`HEAD ${manifests}${gone.digest}`]: { status: 404 },
        [`HEAD ${manifests}${digestOf(referrer)}`]: {
          headers: {
            "content-type": MediaType.imageIndex,
            "docker-content-digest": digestOf(referrer),
            "content-length": `${referrer.length}`
          }
        }
      })
      yield* registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes: referrer })
      const written = JSON.parse(new TextDecoder().decode(requests.findLast(({ method }) => method === "PUT")?.body))
      assert.deepStrictEqual(written.manifests.map((entry: { digest: string }) => entry.digest), [digestOf(referrer)])
    }))
})

it.effect("a client that sends a request again sends its body from the beginning", () =>
  Effect.gen(function*() {
    const big = new Uint8Array(100_000).fill(1)
    const { registry, requests } = yield* make({
      [`POST ${uploads}`]: { status: 202, headers: { location: `${uploads}one` } },
      [`PUT ${uploads}one`]: [{ status: 401 }, { status: 201 }]
    }, {
      // running the same request once more is what a client does that has got a token meanwhile
      transformClient: HttpClient.transformResponse((response) =>
        Effect.flatMap(response, (first) => first.status === 401 ? response : Effect.succeed(first))
      )
    })
    const source = BlobSource.make(big.length, () => Stream.succeed(big))
    yield* registry.pushBlob(name, { digest: digestOf(big), size: big.length }, source)
    assert.deepStrictEqual(requests.map(({ body }) => body.length), [0, big.length, big.length])
  }))
