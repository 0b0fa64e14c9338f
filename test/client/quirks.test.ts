/**
 * Behaviour of registries in use that is not in the specification, one test each.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import type { Registry } from "effect-oci/Registry"
import { ResumptionThreshold } from "effect-oci/Upload"
import { bytesOf, repository, tag } from "../utils/images.ts"
import {
  type Answer,
  digestOf,
  make,
  reasonOf,
  type Script,
  type Seen,
  whileTimeFlies
} from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const big = new Uint8Array(100_000)
const bigger = { digest: digestOf(big), size: big.length }
const uploads = "/v2/team/app/blobs/uploads/"
const session = "/v2/team/app/blobs/uploads/one"
const opened: Answer = { status: 202, headers: { location: session } }
const manifest = { mediaType: "application/vnd.oci.image.index.v1+json", bytes: bytesOf(`{"manifests":[]}`) }
const manifestDigest = digestOf(manifest.bytes)

const pushBig = (registry: Registry) =>
  Effect.provideService(registry.pushBlob(name, bigger, BlobSource.fromBytes(big)), ResumptionThreshold, 1000)

const mount = (registry: Registry, from?: string) =>
  Effect.scoped(Effect.map(
    registry.startUpload(name, { mount: { digest, ...from === undefined ? {} : { from: repository(from) } } }),
    ({ _tag }) => _tag
  ))

/** A session that counts the bytes that it receives, and reports any range. */
const counting = (answer: (held: number) => Answer): { readonly script: Script; readonly held: () => number } => {
  let held = 0
  const take = ({ receive }: Seen) =>
    Effect.map(receive, ({ length }) => {
      held += length
      return answer(held)
    })
  return {
    held: () => held,
    script: {
      [`POST ${uploads}`]: opened,
      [`PATCH ${session}`]: take,
      [`PUT ${session}`]: ({ receive }) =>
        Effect.map(receive, ({ length }) => {
          held += length
          return { status: 201 }
        })
    }
  }
}

describe("Docker Hub", () => {
  it.effect("does not say the digest of a blob", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`HEAD /v2/team/app/blobs/${digest}`]: { headers: { "content-length": "10" } }
      })
      assert.strictEqual((yield* registry.resolveBlob(name, digest)).digest, digest)
    }))

  it.effect("answers 400 to a mount from an absent repository: a session is opened", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`POST ${uploads}?mount=${encodeURIComponent(digest)}&from=foreign%2Fapp`]: { status: 400 },
        [`POST ${uploads}`]: opened,
        [`DELETE ${session}`]: {}
      })
      assert.strictEqual(yield* mount(registry, "foreign/app"), "Upload")
    }))

  it.effect("has no catalog", () =>
    Effect.gen(function*() {
      const body = { errors: [{ code: "UNSUPPORTED", message: "catalog is disabled" }] }
      const { registry } = yield* make({ "GET /v2/_catalog": { status: 405, body } })
      assert.strictEqual((yield* reasonOf(Stream.runDrain(registry.repositories())))._tag, "Unsupported")
    }))
})

describe("ECR", () => {
  it.effect("accepts no pages of more than 1000", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({ "GET /v2/team/app/tags/list": { body: { tags: [] } } })
      yield* Stream.runDrain(registry.tags(name))
      assert.include(requests[0]?.url, "n=1000")
    }))

  it.effect("does not say the digest of a tag: that of the bytes is used", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/team/app/manifests/1": { headers: { "content-type": manifest.mediaType }, body: manifest.bytes }
      })
      assert.strictEqual((yield* registry.getManifest(name, tag("1"))).descriptor.digest, manifestDigest)
    }))

  it.effect("answers 201 to a chunk, with a range that never moves", () =>
    Effect.gen(function*() {
      const { held, script } = counting(() => ({ status: 201, headers: { location: session, range: "0-9" } }))
      const { registry } = yield* make(script, { capabilities: { maximumChunk: 40_000 } })
      yield* pushBig(registry)
      assert.strictEqual(held(), big.length)
    }))

  it.effect("declines mounts by a session", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ [`POST ${uploads}`]: opened, [`DELETE ${session}`]: {} })
      assert.strictEqual(yield* mount(registry, "other/app"), "Upload")
    }))
})

describe("GitHub's and Google's registries", () => {
  it.effect.each(["ghcr.io", "europe-docker.pkg.dev", "gcr.io", "eu.gcr.io"])(
    "get a blob whole, however large it is: %s",
    (host) =>
      Effect.gen(function*() {
        const origin = `https://${host}`
        const { registry, requests } = yield* make({
          [`POST ${origin}${uploads}`]: opened,
          [`PUT ${origin}${session}`]: { status: 201 }
        }, { host })
        yield* pushBig(registry)
        assert.deepStrictEqual(requests.map(({ body, method }) => [method, body.length]), [["POST", 0], [
          "PUT",
          big.length
        ]])
      })
  )

  it.effect("ask for pauses in fractions of seconds", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        "GET /v2/": [{ status: 429, headers: { "retry-after": "880.927µs" } }, {}]
      })
      yield* whileTimeFlies(registry.ping)
      assert.lengthOf(requests, 2)
    }))

  it.effect("redirect the list of referrers to a web page: the tag is used", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`GET /v2/team/app/referrers/${digest}`]: { status: 303, headers: { location: "/elsewhere" } },
        "GET /elsewhere": { status: 404 },
        [`GET /v2/team/app/manifests/sha256-${digest.slice(7)}`]: { status: 404 }
      })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.referrers(name, digest)), [])
    }))

  it.effect("do not support pages, and send all tags", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({ "GET /v2/team/app/tags/list": { body: { tags: ["1", "2", "3"] } } })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(name, { after: "2" })), [tag("3")])
    }))
})

describe("Quay", () => {
  it.effect("refuses a mount without a source, and gets no other such request", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [`POST ${uploads}?mount=${encodeURIComponent(digest)}`]: { status: 400 },
        [`POST ${uploads}`]: opened,
        [`DELETE ${session}`]: {}
      })
      assert.deepStrictEqual([yield* mount(registry), yield* mount(registry)], ["Upload", "Upload"])
      assert.lengthOf(sent().filter((line) => line.includes("mount")), 1)
      assert.deepInclude(yield* registry.capabilities, { anonymousMount: false })
    }))
})

describe("Azure's registry", () => {
  it.effect("accepts 20 MB in a request: larger blobs are sent in pieces", () =>
    Effect.gen(function*() {
      const host = "team.azurecr.io"
      const size = 50_000_000
      const { script } = counting(() => ({ status: 202, headers: { location: session } }))
      const { registry, requests } = yield* make(
        Object.fromEntries(
          Object.entries(script).map(([line, step]) => [line.replace(" /", ` https://${host}/`), step])
        ),
        { host }
      )
      const source = BlobSource.make(size, (offset) =>
        Stream.map(
          Stream.range(offset / 1_000_000, size / 1_000_000 - 1).pipe(Stream.rechunk(1)),
          () => new Uint8Array(1_000_000)
        ))
      yield* registry.pushBlob(name, { digest, size }, source)
      assert.deepStrictEqual(
        requests.map(({ headers, method }) => [method, headers["content-range"]]),
        [
          ["POST", undefined],
          ["PATCH", "0-19999999"],
          ["PATCH", "20000000-39999999"],
          ["PATCH", "40000000-49999999"],
          ["PUT", undefined]
        ]
      )
    }))

  it.effect("refuses a manifest because of too many requests: it is pushed again, after the pause", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [`PUT /v2/team/app/manifests/${manifestDigest}`]: [
          { status: 429, headers: { "retry-after": "5" } },
          { status: 201 }
        ]
      })
      yield* whileTimeFlies(registry.pushManifest(name, manifest))
      assert.lengthOf(sent(), 2)
    }))
})

describe("Artifactory", () => {
  it.effect("names another repository in links", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/team/app/tags/list?n=1000": {
          headers: { link: `</v2/app/tags/list?last=1&n=1000>; rel="next"` },
          body: { tags: ["1"] }
        },
        "GET /v2/team/app/tags/list?last=1&n=1000": { body: { tags: ["2"] } }
      })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(name)), [tag("1"), tag("2")])
    }))
})

describe("Harbor and Red Hat's registry", () => {
  it.effect("say UNKNOWN for absent content: the status is used", () =>
    Effect.gen(function*() {
      const answer = { status: 404, body: { errors: [{ code: "UNKNOWN", message: "Not Found" }] } }
      const { registry } = yield* make({
        "GET /v2/team/app/manifests/1": answer,
        [`GET /v2/team/app/blobs/${digest}`]: answer
      })
      assert.strictEqual((yield* reasonOf(registry.getManifest(name, tag("1"))))._tag, "ManifestUnknown")
      assert.strictEqual((yield* reasonOf(Effect.scoped(registry.getBlob(name, digest))))._tag, "BlobUnknown")
    }))
})

describe("Nexus, keppel and others", () => {
  it.effect.each([200, 204, 404, 405, 500])(
    "answer a mount with %i: a session is opened",
    (status) =>
      Effect.gen(function*() {
        const { registry } = yield* make({
          [`POST ${uploads}?mount=${encodeURIComponent(digest)}&from=other%2Fapp`]: { status },
          [`POST ${uploads}`]: opened,
          [`DELETE ${session}`]: {}
        })
        assert.strictEqual(yield* whileTimeFlies(mount(registry, "other/app")), "Upload")
      })
  )

  it.effect("answer a mount with a session that has no address: another is opened", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`POST ${uploads}?mount=${encodeURIComponent(digest)}&from=other%2Fapp`]: { status: 202 },
        [`POST ${uploads}`]: opened,
        [`DELETE ${session}`]: {}
      })
      assert.strictEqual(yield* mount(registry, "other/app"), "Upload")
    }))
})

describe("CNCF distribution 2.8", () => {
  it.effect("refuses every offset of a session that broke: the blob is sent again, once", () =>
    Effect.gen(function*() {
      const broken = { status: 400, body: { errors: [{ code: "BLOB_UPLOAD_INVALID" }] } }
      const two = "/v2/team/app/blobs/uploads/two"
      const { registry, requests } = yield* make({
        [`POST ${uploads}`]: [opened, { status: 202, headers: { location: two } }],
        [`PATCH ${session}`]: { status: 502 },
        [`GET ${session}`]: broken,
        [`DELETE ${session}`]: {},
        [`PATCH ${two}`]: { status: 202, headers: { location: two } },
        [`PUT ${two}`]: { status: 201 }
      })
      yield* whileTimeFlies(pushBig(registry))
      assert.deepStrictEqual(
        requests.map(({ method }) => method),
        ["POST", "PATCH", "GET", "GET", "POST", "PATCH", "PUT", "DELETE"]
      )
    }))
})

describe("any registry", () => {
  it.effect("may require chunks of an absurd length: they are streamed", () =>
    Effect.gen(function*() {
      const { held, script } = counting(() => ({ status: 202, headers: { location: session } }))
      const { registry } = yield* make({
        ...script,
        [`POST ${uploads}`]: { ...opened, headers: { location: session, "oci-chunk-min-length": "999999999999999" } }
      })
      yield* pushBig(registry)
      assert.strictEqual(held(), big.length)
      assert.deepInclude(yield* registry.capabilities, { minimumChunk: 999_999_999_999_999, chunks: true })
    }))

  it.effect("may not support chunks: blobs are sent whole from then on", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`POST ${uploads}`]: opened,
        [`PATCH ${session}`]: { status: 405 },
        [`PUT ${session}`]: { status: 201 },
        [`DELETE ${session}`]: {}
      })
      yield* pushBig(registry)
      yield* pushBig(registry)
      assert.deepStrictEqual(
        requests.map(({ method }) => method),
        ["POST", "PATCH", "POST", "PUT", "DELETE", "POST", "PUT"]
      )
      assert.deepInclude(yield* registry.capabilities, { chunks: false })
    }))

  it.effect.each([400, 404])(
    "may answer the first chunk with %i: the blob is sent whole in a new session",
    (status) =>
      Effect.gen(function*() {
        const { registry, requests } = yield* make({
          [`POST ${uploads}`]: opened,
          [`PATCH ${session}`]: { status },
          [`PUT ${session}`]: { status: 201 },
          [`DELETE ${session}`]: {}
        })
        yield* pushBig(registry)
        assert.deepStrictEqual(requests.map(({ method }) => method), ["POST", "PATCH", "POST", "PUT", "DELETE"])
        assert.strictEqual(requests[3]?.body.length, big.length)
      })
  )

  it.effect("may refuse a later chunk, which is not a refusal of chunks", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`POST ${uploads}`]: opened,
        [`PATCH ${session}`]: [{ status: 202 }, { status: 404 }, { status: 202 }],
        [`GET ${session}`]: { status: 404 },
        [`PUT ${session}`]: { status: 201 },
        [`DELETE ${session}`]: {}
      }, { capabilities: { maximumChunk: 60_000 } })
      yield* pushBig(registry)
      assert.deepStrictEqual(
        requests.map(({ method }) => method),
        ["POST", "PATCH", "PATCH", "POST", "PATCH", "PATCH", "PUT", "DELETE"]
      )
    }))

  const MiB = 1024 * 1024

  /** A session with a maximum size of requests. */
  const limited = (limit: number): Script => {
    let held = 0
    return {
      [`POST ${uploads}`]: () =>
        Effect.sync(() => {
          held = 0
          return opened
        }),
      [`PATCH ${session}`]: ({ receive }) =>
        Effect.map(receive, ({ length }) => {
          if (length > limit) return { status: 413 }
          held += length
          return { status: 202 }
        }),
      [`GET ${session}`]: () =>
        Effect.sync(() => ({ status: 204, headers: held === 0 ? {} : { range: `0-${held - 1}` } })),
      [`PUT ${session}`]: ({ receive }) =>
        Effect.map(receive, ({ length }) => ({ status: length > limit ? 413 : 201 })),
      [`DELETE ${session}`]: {}
    }
  }
  const pushMiB = (registry: Registry, size: number) => {
    const bytes = new Uint8Array(size * MiB)
    return registry.pushBlob(name, { digest: digestOf(bytes), size: bytes.length }, BlobSource.fromBytes(bytes))
  }

  it.effect.each([40, 10])(
    "may find a request too large: this blob and the next are sent in halves of it (%i MiB)",
    (size) =>
      Effect.gen(function*() {
        const { registry, requests } = yield* make(limited(3 * MiB))
        yield* pushMiB(registry, size)
        const refused = requests.filter(({ body }) => body.length > 3 * MiB).length
        assert.strictEqual(refused, size === 40 ? 4 : 2)
        assert.deepInclude(yield* registry.capabilities, { maximumChunk: 2.5 * MiB })
        yield* pushMiB(registry, size)
        assert.strictEqual(requests.filter(({ body }) => body.length > 3 * MiB).length, refused)
      })
  )

  it.effect("may find even a MiB too large, which is an error", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make(limited(MiB - 1))
      assert.strictEqual((yield* reasonOf(pushMiB(registry, 4)))._tag, "ContentTooLarge")
      const sizes = requests.map(({ body }) => body.length / MiB).filter((size) => size > 0)
      assert.deepStrictEqual(sizes, [4, 2, 1])
    }))

  it.effect("has the capabilities that the program sets", () =>
    Effect.gen(function*() {
      const { registry } = yield* make(
        { [`POST ${uploads}`]: opened, [`PUT ${session}`]: { status: 201 } },
        { capabilities: { chunks: false, singlePost: false } }
      )
      yield* pushBig(registry)
      assert.deepInclude(yield* registry.capabilities, { chunks: false, singlePost: false })
    }))

  it.effect.each([["1.5", 1500], ["1m30s", 90_000], ["2h", 7_200_000], ["250ms", 250], ["soon", undefined]] as const)(
    "may ask for a pause in another notation: %s",
    ([header, millis]) =>
      Effect.gen(function*() {
        const { registry } = yield* make({ "GET /v2/": { status: 429, headers: { "retry-after": header } } })
        const error = yield* whileTimeFlies(Effect.flip(registry.ping))
        assert.strictEqual(
          error.retryAfter === undefined ? undefined : Duration.toMillis(error.retryAfter),
          millis
        )
      })
  )
})
