/**
 * Clauses of the specification that concern more than one operation.
 */
import { assert, describe, it as patient } from "@effect/vitest"
import { Effect, Redacted, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Credentials from "effect-oci/Credentials"
import * as MediaType from "effect-oci/MediaType"
import type { Registry } from "effect-oci/Registry"
import type { RegistryError } from "effect-oci/RegistryError"
import { ResumptionThreshold } from "effect-oci/Upload"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
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
const big = new Uint8Array(100_000).fill(200)
const bigger = { digest: digestOf(big), size: big.length }
const uploads = "/v2/team/app/blobs/uploads/"
const session = `${uploads}one`
const opened: Answer = { status: 202, headers: { location: session } }
const index = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] })
const indexDigest = digestOf(index)

describe("an extension of Docker", () => {
  it.effect("is not required: a registry need not identify itself (C1)", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        "GET /v2/": {},
        "GET /v2/team/app/manifests/1": { headers: { "content-type": MediaType.imageIndex }, body: index },
        [`GET /v2/team/app/blobs/${digest}`]: { body: content }
      })
      yield* registry.ping
      assert.strictEqual((yield* registry.getManifest(name, tag("1"))).descriptor.digest, indexDigest)
      const { stream } = yield* registry.getBlob(name, digest)
      assert.deepStrictEqual(yield* Stream.mkUint8Array(stream), content)
      for (const { headers } of requests) assert.notProperty(headers, "docker-distribution-api-version")
    }))

  it.effect.each(
    [
      ["TAG_INVALID", 400, "UnexpectedResponse"],
      ["TAG_INVALID", 404, "NameUnknown"],
      ["MANIFEST_UNVERIFIED", 400, "UnexpectedResponse"]
    ] as const
  )(
    "such as a generic code yields to the status (C1): %s %i",
    ([code, status, expected]) =>
      Effect.gen(function*() {
        const { registry } = yield* make({
          "PUT /v2/team/app/manifests/1": { status, body: { errors: [{ code, message: "so it says" }] } }
        })
        const reason = yield* reasonOf(
          registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes: index }, [tag("1")])
        )
        assert.deepInclude(reason, { _tag: expected, status, detail: "so it says" })
      })
  )
})

describe("a redirect", () => {
  const headers = { "content-type": MediaType.imageIndex, "docker-content-digest": indexDigest }
  const operations: ReadonlyArray<
    readonly [
      line: string,
      answer: Answer,
      run: (registry: Registry) => Effect.Effect<unknown, RegistryError>
    ]
  > = [
    ["GET /v2/", {}, ({ ping }) => ping],
    ["GET /v2/team/app/manifests/1", { headers, body: index }, (registry) => registry.getManifest(name, tag("1"))],
    ["HEAD /v2/team/app/manifests/1", { headers, body: index }, (registry) => registry.resolveManifest(name, tag("1"))],
    [`HEAD /v2/team/app/blobs/${digest}`, { body: content }, (registry) => registry.resolveBlob(name, digest)],
    [
      `GET /v2/team/app/blobs/${digest}`,
      { body: content },
      (registry) =>
        Effect.scoped(Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.runDrain(stream)))
    ],
    ["GET /v2/team/app/tags/list", { body: { tags: [] } }, (registry) => Stream.runDrain(registry.tags(name))],
    ["GET /v2/_catalog", { body: { repositories: [] } }, (registry) => Stream.runDrain(registry.repositories())],
    [
      `GET /v2/team/app/referrers/${digest}`,
      { body: index },
      (registry) => Stream.runDrain(registry.referrers(name, digest))
    ],
    [
      `PUT /v2/team/app/manifests/1`,
      { status: 201 },
      (registry) => registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes: index }, [tag("1")])
    ],
    [
      `POST ${uploads}`,
      { status: 201 },
      (registry) => registry.pushBlob(name, { digest, size: content.length }, BlobSource.fromBytes(content))
    ],
    ["DELETE /v2/team/app/manifests/1", { status: 202 }, (registry) => registry.deleteTag(name, tag("1"))],
    [`DELETE /v2/team/app/blobs/${digest}`, { status: 202 }, (registry) => registry.deleteBlob(name, digest)]
  ]

  it.effect.each(operations)(
    "of %s is followed, without credentials (C2)",
    ([line, answer, run]) =>
      Effect.gen(function*() {
        const [method, path = ""] = line.split(" ")
        const ask = ({ headers, receive }: Seen) =>
          Effect.as(
            receive,
            headers["authorization"] === undefined
              ? { status: 401, headers: { "www-authenticate": "Basic realm=r" } }
              : { status: 307, headers: { location: `https://storage.test${path}` } }
          )
        const { registry, requests } = yield* make({
          [line]: ask,
          [`${method} https://storage.test${path}`]: answer
        }, { credentials: Credentials.basic("ada", Redacted.make("secret")) })
        yield* run(registry)
        assert.deepStrictEqual(
          requests.map(({ headers, url }) => [url.split("?")[0], headers["authorization"] !== undefined]),
          [[path, false], [path, true], [`https://storage.test${path}`, false]]
        )
        assert.strictEqual(requests[2]?.method, method)
        assert.deepStrictEqual(requests[2]?.body, requests[1]?.body)
      })
  )
})

describe("an upload in chunks", () => {
  const push = (registry: Registry) =>
    Effect.provideService(registry.pushBlob(name, bigger, BlobSource.fromBytes(big)), ResumptionThreshold, 1000)
  const ranges = (requests: ReadonlyArray<Seen>) =>
    requests.map(({ body, headers, method }) => [method, headers["content-range"], body.length])

  it.effect("has none below the minimum of the registry, except the last (C18)", () =>
    Effect.gen(function*() {
      const { registry, requests } = yield* make({
        [`POST ${uploads}`]: { status: 202, headers: { location: session, "oci-chunk-min-length": "40000" } },
        [`PATCH ${session}`]: opened,
        [`PUT ${session}`]: { status: 201 }
      }, { capabilities: { maximumChunk: 30_000 } })
      yield* push(registry)
      assert.deepStrictEqual(ranges(requests), [
        ["POST", undefined, 0],
        ["PATCH", "0-39999", 40_000],
        ["PATCH", "40000-79999", 40_000],
        ["PATCH", "80000-99999", 20_000],
        ["PUT", undefined, 0]
      ])
    }))

  // the specification says 416, CNCF distribution 400
  patient.effect.each([416, 400])(
    "continues at the offset of the session if the registry answers %i (C22)",
    (status) =>
      Effect.gen(function*() {
        const body = { errors: [{ code: "BLOB_UPLOAD_INVALID" }] }
        const { registry, requests } = yield* make({
          [`POST ${uploads}`]: opened,
          [`PATCH ${session}`]: { status, body },
          [`GET ${session}`]: { status: 204, headers: { location: `${session}-again`, range: "0-39999" } },
          [`PATCH ${session}-again`]: { status: 202, headers: { location: `${session}-again` } },
          [`PUT ${session}-again`]: { status: 201 }
        })
        yield* whileTimeFlies(push(registry))
        assert.deepStrictEqual(ranges(requests), [
          ["POST", undefined, 0],
          ["PATCH", "0-99999", 100_000],
          ["GET", undefined, 0],
          ["PATCH", "40000-99999", 60_000],
          ["PUT", undefined, 0]
        ])
      })
  )
})

describe("a manifest", () => {
  it.effect("is not sent with a type that contradicts its mediaType field (C26)", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({})
      const reason = yield* reasonOf(
        registry.pushManifest(name, { mediaType: MediaType.imageManifest, bytes: index }, [tag("1")])
      )
      assert.strictEqual(reason._tag, "ManifestInvalid")
      assert.include(reason.message, MediaType.imageIndex)
      assert.deepStrictEqual(sent(), [])
    }))

  it.effect("may have 4 MiB (C28)", () =>
    Effect.gen(function*() {
      const bytes = bytesOf({ mediaType: MediaType.imageIndex, manifests: [], annotations: { a: "x".repeat(4 << 20) } })
      const { registry, requests } = yield* make({
        "PUT /v2/team/app/manifests/1": { status: 201 },
        "GET /v2/team/app/manifests/1": { headers: { "content-type": MediaType.imageIndex }, body: bytes }
      })
      yield* registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes }, [tag("1")])
      assert.strictEqual(requests[0]?.body.length, bytes.length)
      assert.strictEqual((yield* registry.getManifest(name, tag("1"))).bytes.length, bytes.length)
    }))
})

describe("a referrer", () => {
  it.effect("is listed by the tag if the response names no subject, even if the registry lists others (C31)", () =>
    Effect.gen(function*() {
      const subject = { mediaType: MediaType.imageManifest, digest, size: content.length }
      const bytes = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [], subject })
      const behindTag = `/v2/team/app/manifests/${digest.replace(":", "-")}`
      const listing = { headers: { "content-type": MediaType.imageIndex } }
      const script: Script = {
        [`GET /v2/team/app/referrers/${digest}`]: { ...listing, body: index },
        [`PUT /v2/team/app/manifests/${digestOf(bytes)}`]: { status: 201 },
        [`GET ${behindTag}`]: [
          { status: 404 },
          {
            ...listing,
            body: {
              schemaVersion: 2,
              manifests: [{ mediaType: MediaType.imageIndex, digest: digestOf(bytes), size: bytes.length }]
            }
          }
        ],
        [`PUT ${behindTag}`]: { status: 201 }
      }
      const { registry, requests } = yield* make(script)
      yield* Stream.runDrain(registry.referrers(name, digest))
      assert.deepInclude(yield* registry.capabilities, { referrers: true })
      yield* registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes })
      const written = requests.find(({ method, url }) => method === "PUT" && url === behindTag)
      assert.include(new TextDecoder().decode(written?.body), digestOf(bytes))
    }))
})
