/**
 * Metrics and spans of requests, and what registries learn from them.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric, Option, Redacted, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Copy from "effect-oci/Copy"
import * as Credentials from "effect-oci/Credentials"
import * as MediaType from "effect-oci/MediaType"
import { ResumptionThreshold } from "effect-oci/Upload"
import { bytesOf, repository, tag } from "../utils/images.ts"
import { digestOf, host, make, transportError, whileTimeFlies } from "../utils/ScriptedServer.ts"
import { recordingTracer } from "../utils/spans.ts"

const name = repository("team/app")
const content = bytesOf("0123456789")
const digest = digestOf(content)
const blob = `/v2/team/app/blobs/${digest}`
const uploads = "/v2/team/app/blobs/uploads/"
const session = `${uploads}one`
const big = new Uint8Array(100_000).fill(200)
const bigDigest = digestOf(big)

/** Counts of metrics while an effect runs, by name and host. */
const counted = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    yield* effect
    const counts = (yield* Metric.snapshot).flatMap(({ attributes = {}, id, state }) => {
      const direction = attributes["oci.direction"]
      const key = [id, attributes["oci.registry"], ...direction === undefined ? [] : [direction]].join(" ")
      return "count" in state ? [[key, Number(state.count)] as const] : []
    })
    return Object.fromEntries(counts)
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))

const broken = (bytes: Uint8Array) =>
  Stream.concat(Stream.succeed(bytes), Stream.suspend(() => Stream.fail(transportError({} as never, "cut off")))) // not read

describe("metrics", () => {
  it.effect("count requests and the bytes of blobs for each registry", () =>
    Effect.gen(function*() {
      const image = bytesOf({
        schemaVersion: 2,
        mediaType: MediaType.imageManifest,
        config: { mediaType: MediaType.empty, digest, size: 10 },
        layers: [{ mediaType: MediaType.imageLayer, digest: bigDigest, size: big.length }]
      })
      const type = {
        headers: { "content-type": MediaType.imageManifest, "docker-content-digest": digestOf(image) }
      }
      const source = yield* make({
        "GET /v2/team/app/manifests/1": { ...type, body: image },
        [`GET ${blob}`]: { body: content },
        [`GET /v2/team/app/blobs/${bigDigest}`]: { body: big }
      })
      const far = "https://far.test"
      const destination = yield* make({
        [`HEAD ${far}/v2/team/app/manifests/1`]: { status: 404 },
        [`HEAD ${far}${blob}`]: { status: 404 },
        [`HEAD ${far}/v2/team/app/blobs/${bigDigest}`]: { status: 404 },
        [`POST ${far}${uploads}`]: { status: 202, headers: { location: session } },
        [`PUT ${far}${session}`]: { status: 201 },
        [`PUT ${far}/v2/team/app/manifests/1`]: { status: 201 }
      }, { host: "far.test" })
      const counts = yield* counted(Copy.copyManifest({
        source: { registry: source.registry, repository: name, tag: tag("1") },
        destination: { registry: destination.registry, repository: name, tag: tag("1") },
        referrers: "skip"
      }))
      assert.deepStrictEqual(counts, {
        [`oci.requests ${host}`]: source.requests.length,
        "oci.requests far.test": destination.requests.length,
        [`oci.blob.io ${host} pull`]: content.length + big.length,
        "oci.blob.io far.test push": destination.requests.reduce(
          (sum, { body, url }) => sum + (url.includes("/blobs/") ? body.length : 0),
          0
        )
      })
      assert.isAtLeast(counts["oci.blob.io far.test push"] ?? 0, content.length + big.length)
    }))

  it.effect("count retries, and requests that wait for the end of a pause", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        "GET /v2/": [{ status: 503 }, { status: 503 }, {}],
        [`HEAD ${blob}`]: [{ status: 429, headers: { "retry-after": "30" } }, {}]
      })
      const counts = yield* counted(
        whileTimeFlies(Effect.andThen(registry.ping, registry.resolveBlob(name, digest)).pipe(Effect.ignore))
      )
      assert.deepStrictEqual(counts, {
        [`oci.requests ${host}`]: 5,
        [`oci.retries ${host}`]: 3,
        [`oci.pauses ${host}`]: 1
      })
    }))

  it.effect("count each byte of a download that broke off once", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`GET /v2/team/app/blobs/${bigDigest}`]: [
          { headers: { "content-length": `${big.length}` }, body: broken(big.subarray(0, 40_000)) },
          {
            status: 206,
            headers: { "content-range": `bytes 40000-${big.length - 1}/${big.length}` },
            body: big.subarray(40_000)
          }
        ]
      })
      const read = Effect.scoped(
        Effect.flatMap(registry.getBlob(name, bigDigest), ({ stream }) => Stream.runDrain(stream))
      )
      assert.strictEqual((yield* counted(whileTimeFlies(read)))[`oci.blob.io ${host} pull`], big.length)
    }))

  it.effect("count the bytes that were read of a blob when it is released", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`GET /v2/team/app/blobs/${bigDigest}`]: {
          headers: { "content-length": `${big.length}` },
          body: Stream.fromIterable([big.subarray(0, 40_000), big.subarray(40_000)]).pipe(Stream.rechunk(1))
        }
      })
      const read = Effect.scoped(
        Effect.flatMap(registry.getBlob(name, bigDigest), ({ stream }) => Stream.runDrain(Stream.take(stream, 1)))
      )
      assert.strictEqual((yield* counted(read))[`oci.blob.io ${host} pull`], 40_000)
    }))

  it.effect("count all bytes that were sent, including those that were sent again", () =>
    Effect.gen(function*() {
      const { registry } = yield* make({
        [`POST ${uploads}`]: { status: 202, headers: { location: session } },
        [`PATCH ${session}`]: [{ status: 502 }, { status: 202 }],
        [`GET ${session}`]: { status: 204, headers: { range: "0-39999" } },
        [`PUT ${session}`]: { status: 201 }
      })
      const push = registry.pushBlob(name, { digest: bigDigest, size: big.length }, BlobSource.fromBytes(big)).pipe(
        Effect.provideService(ResumptionThreshold, 1000)
      )
      assert.strictEqual((yield* counted(whileTimeFlies(push)))[`oci.blob.io ${host} push`], 160_000)
    }))
})

it.effect("each request has a span below that of its operation, with its address and its outcome", () =>
  Effect.gen(function*() {
    const { spans, tracer } = recordingTracer()
    const { registry } = yield* make({
      [`GET ${blob}`]: { status: 307, headers: { location: "https://storage.test:8443/one?sig=secret" } },
      "GET https://storage.test:8443/one": { status: 404 }
    })
    yield* Effect.withTracer(Effect.flip(Effect.scoped(registry.getBlob(name, digest))), tracer)
    const [operation, ...requests] = spans
    assert(operation?.name === "Registry.getBlob")
    assert.deepInclude(Object.fromEntries(operation.attributes), { "oci.registry": host, "oci.digest": digest })
    assert.deepStrictEqual<ReadonlyArray<object>>(
      requests.map(({ attributes, kind, name, parent }) => ({
        name,
        kind,
        isBelow: Option.getOrUndefined(parent)?.spanId === operation.spanId,
        ...Object.fromEntries(attributes)
      })),
      [
        {
          name: "GET",
          kind: "client",
          isBelow: true,
          "http.request.method": "GET",
          "http.response.status_code": 307,
          "server.address": host,
          "server.port": 443,
          "url.full": `https://${host}${blob}`,
          "url.path": blob,
          "url.scheme": "https"
        },
        {
          name: "GET",
          kind: "client",
          isBelow: true,
          "error.type": "404",
          "http.request.method": "GET",
          "http.response.status_code": 404,
          "server.address": "storage.test",
          "server.port": 8443,
          "url.full": "https://storage.test:8443/one",
          "url.path": "/one",
          "url.scheme": "https"
        }
      ]
    )
  }))

it.effect("no header reveals the spans of this program, to registries or to addresses that they lead to", () =>
  Effect.gen(function*() {
    const realm = "https://auth.test/token"
    const challenge = { status: 401, headers: { "www-authenticate": `Bearer realm="${realm}"` } }
    const { registry, requests } = yield* make({
      "GET /v2/": [challenge, {}],
      [`GET ${realm}`]: { body: { token: "t" } },
      [`GET ${blob}`]: { status: 307, headers: { location: "https://storage.test/blob" } },
      "GET https://storage.test/blob": { body: content },
      [`GET /v2/team/app/tags/list`]: { body: { tags: [] } },
      "PUT /v2/team/app/manifests/1": { status: 201 },
      [`POST ${uploads}`]: { status: 202, headers: { location: "https://uploads.test/one" } },
      "PATCH https://uploads.test/one": { status: 202 },
      "PUT https://uploads.test/one": { status: 201 }
    }, { credentials: Credentials.basic("ada", Redacted.make("secret")) })
    yield* Effect.gen(function*() {
      yield* registry.ping
      const { stream } = yield* registry.getBlob(name, digest)
      yield* Stream.runDrain(stream)
      yield* Stream.runDrain(registry.tags(name))
      yield* registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes: bytesOf("{}") }, [tag("1")])
      yield* registry.pushBlob(name, { digest: bigDigest, size: big.length }, BlobSource.fromBytes(big)).pipe(
        Effect.provideService(ResumptionThreshold, 1000)
      )
    }).pipe(Effect.withSpan("parent"))
    for (const origin of ["https://auth.test", "https://storage.test", "https://uploads.test"]) {
      assert(requests.some(({ url }) => url.startsWith(origin)), `nothing was sent to ${origin}`)
    }
    for (const { headers } of requests) {
      for (const header of ["traceparent", "tracestate", "b3", "x-b3-traceid", "baggage"]) {
        assert.notProperty(headers, header)
      }
    }
  }))
