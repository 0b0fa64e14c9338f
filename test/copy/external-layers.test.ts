/**
 * Layers that may not be distributed, fetched from the URLs of their descriptor.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import * as Descriptor from "effect-oci/Descriptor"
import { ExternalBlobs } from "effect-oci/ExternalBlobs"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as HttpResolver from "effect-oci/HttpResolver"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import { HttpClient, HttpClientRequest } from "effect/http"
import * as Zlib from "node:zlib"
import { bytesOf, pushBlob, pushManifest, repository, tag } from "../utils/images.ts"
import * as ScriptedServer from "../utils/ScriptedServer.ts"

const app = repository("team/app")
const foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
const layer = "a layer that is elsewhere"
const url = "https://files.test/layer"

/** Pushes an image with a layer at some URLs. Returns a function that copies it while a script answers all requests. */
const setup = Effect.fnUntraced(function*(script: ScriptedServer.Script, urls: ReadonlyArray<string> = [url]) {
  const { http, requests, sent } = ScriptedServer.client(script)
  const [source, destination] = [
    yield* MemoryRegistry.make({ name: "source.test" }),
    yield* MemoryRegistry.make({ name: "destination.test" })
  ]
  const config = yield* pushBlob(source, app, "{}", MediaType.imageConfig)
  const descriptor = { ...yield* Descriptor.fromBytes(bytesOf(layer), { mediaType: foreign }), urls }
  const image = { mediaType: MediaType.imageManifest, config, layers: [descriptor] }
  yield* pushManifest(source, app, image, [tag("1")])
  const client = Layer.succeed(HttpClient.HttpClient, http)
  const copy = Copy.copyManifest({
    source: { registry: source, repository: app, tag: tag("1") },
    destination: { registry: destination, repository: app, tag: tag("1") },
    externalLayers: "fetch",
    verify: "deep"
  })
  const run = copy.pipe(
    Effect.provide(Layer.provide(HttpResolver.layerExternalBlobs(), client)),
    Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(4))
  )
  return { client, copy, descriptor, destination, requests, run, sent, source }
})

const reasonOf = <A, E extends { readonly reason: unknown }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason as { readonly _tag: string; readonly message: string })

const broken = (bytes: Uint8Array) =>
  Stream.concat(
    Stream.succeed(bytes),
    Stream.fail(ScriptedServer.transportError(HttpClientRequest.get(url), new Error("broken")))
  )

describe("external layers", () => {
  it.effect("are fetched, verified and sent to the destination", () =>
    Effect.gen(function*() {
      const { descriptor, destination, requests, run } = yield* setup({ [`GET ${url}`]: { body: layer } })
      const report = yield* run
      assert.deepStrictEqual(report.having("external"), [])
      assert.strictEqual((yield* destination.resolveBlob(app, descriptor.digest)).size, layer.length)
      const [request] = requests
      assert.deepStrictEqual([request?.headers["authorization"], request?.headers["accept-encoding"]], [
        undefined,
        "identity"
      ])
    }))

  it.effect("are not fetched if the source has them", () =>
    Effect.gen(function*() {
      const { run, sent, source } = yield* setup({})
      yield* pushBlob(source, app, layer)
      yield* run
      assert.deepStrictEqual(sent(), [])
    }))

  it.effect("come from the next URL if one does not have them", () =>
    Effect.gen(function*() {
      const script = {
        [`GET ${url}`]: { status: 404 },
        "GET https://empty.test/layer": { body: "a page" },
        "GET https://other.test/layer": { body: layer }
      }
      const { run, sent } = yield* setup(script, [
        "ftp://files.test/layer",
        url,
        "https://empty.test/layer",
        "https://other.test/layer"
      ])
      yield* run
      assert.deepStrictEqual(sent(), Object.keys(script))
    }))

  it.effect("are fetched along redirects", () =>
    Effect.gen(function*() {
      const { run } = yield* setup({
        [`GET ${url}`]: { status: 302, headers: { location: "https://storage.test/blob?signature=1" } },
        "GET https://storage.test/blob": { body: layer }
      })
      yield* run
    }))

  it.effect("are fetched without the name and password in a URL", () =>
    Effect.gen(function*() {
      const { requests, run, sent } = yield* setup({ [`GET ${url}`]: { body: layer } }, [
        "https://ada:secret@files.test/layer"
      ])
      yield* run
      assert.deepStrictEqual(sent(), [`GET ${url}`])
      assert.notProperty(requests[0]?.headers, "authorization")
    }))

  it.effect("resume at the offset where the transfer was interrupted", () =>
    Effect.gen(function*() {
      const bytes = bytesOf(layer)
      const { requests, run } = yield* setup({
        [`GET ${url}`]: [
          { headers: { "content-length": `${bytes.length}` }, body: broken(bytes.subarray(0, 7)) },
          {
            status: 206,
            headers: { "content-range": `bytes 7-${bytes.length - 1}/${bytes.length}` },
            body: bytes.subarray(7)
          }
        ]
      })
      yield* run
      assert.deepStrictEqual(requests.map(({ headers }) => headers["range"]), [undefined, "bytes=7-"])
    }))

  it.effect("are read again from the beginning if the host ignores ranges, without duplicate bytes", () =>
    Effect.gen(function*() {
      const bytes = bytesOf(layer)
      const { run } = yield* setup({
        [`GET ${url}`]: [{ headers: { "content-length": null }, body: broken(bytes.subarray(0, 7)) }, { body: layer }]
      })
      yield* run
    }))

  it.effect("are decoded if the server encodes them", () =>
    Effect.gen(function*() {
      const encoded = Zlib.gzipSync(layer)
      const { run } = yield* setup({ [`GET ${url}`]: { headers: { "content-encoding": "gzip" }, body: encoded } })
      yield* run
    }))

  it.effect("that are labelled as encoded, and are not, stay as they are", () =>
    Effect.gen(function*() {
      const { run } = yield* setup({ [`GET ${url}`]: { headers: { "content-encoding": "x-gzip" }, body: layer } })
      yield* run
    }))

  it.effect("that the server encodes are read again from the beginning if the transfer breaks off", () =>
    Effect.gen(function*() {
      const headers = { "content-encoding": "gzip", "content-length": null }
      const encoded = Zlib.gzipSync(layer)
      const { requests, run } = yield* setup({
        [`GET ${url}`]: [{ headers, body: broken(encoded.subarray(0, 15)) }, { headers, body: encoded }]
      })
      yield* run
      assert.deepStrictEqual(requests.map(({ headers }) => headers["range"]), [undefined, undefined])
    }))

  it.effect.each([
    "http://files.test/layer",
    "https://127.0.0.1/layer",
    "https://169.254.169.254/latest",
    "https://[fd00::1]/layer",
    "https://localhost/layer"
  ])("are not fetched from where a registry must not lead: %s", (address) =>
    Effect.gen(function*() {
      for (
        const { run } of [
          yield* setup({}, [address]),
          yield* setup({ [`GET ${url}`]: { status: 302, headers: { location: address } } })
        ]
      ) {
        const reason = yield* reasonOf(run)
        assert.strictEqual(reason._tag, "UnexpectedResponse")
        assert.include(reason.message, "it leads to")
      }
    }))

  it.effect("are refused if the content does not match the digest", () =>
    Effect.gen(function*() {
      const { destination, run } = yield* setup({ [`GET ${url}`]: { body: layer.replace("a", "b") } })
      assert.strictEqual((yield* reasonOf(run))._tag, "DigestMismatch")
      yield* Effect.flip(destination.resolveManifest(app, tag("1")))
    }))

  it.effect("are not read beyond the size of the descriptor", () =>
    Effect.gen(function*() {
      let chunks = 0
      const endless = Stream.forever(Stream.sync(() => {
        chunks++
        return bytesOf("x".repeat(10))
      }))
      const { run } = yield* setup({ [`GET ${url}`]: { headers: { "content-length": null }, body: endless } })
      assert.strictEqual((yield* reasonOf(run))._tag, "SizeMismatch")
      assert.isBelow(chunks, 10)
    }))

  it.effect("are an error if none of their URLs uses HTTP", () =>
    Effect.gen(function*() {
      const { run } = yield* setup({}, ["ftp://files.test/layer", "file:///etc/passwd", "nonsense"])
      const reason = yield* reasonOf(run)
      assert.strictEqual(reason._tag, "BlobUnknown")
      assert.include(reason.message, "ftp://files.test/layer")
    }))

  it.effect("are an error if the program provides no ExternalBlobs", () =>
    Effect.gen(function*() {
      const { copy } = yield* setup({})
      assert.strictEqual((yield* reasonOf(copy))._tag, "Unsupported")
    }))

  it.effect("are fetched with the ExternalBlobs of the program", () =>
    Effect.gen(function*() {
      const { copy } = yield* setup({})
      yield* Effect.provideService(
        copy,
        ExternalBlobs,
        (_, { offset }) => Stream.succeed(bytesOf(layer).subarray(offset))
      )
    }))

  it.effect("are fetched by a namespace over HTTP", () =>
    Effect.gen(function*() {
      const { client, destination, source } = yield* setup({ [`GET ${url}`]: { body: layer } })
      const end = { registry: source, repository: app, tag: tag("1") }
      const copies = Namespace.Namespace.use((namespace) =>
        Effect.gen(function*() {
          yield* namespace.copyManifest({
            source: end,
            destination: { ...end, registry: destination },
            externalLayers: "fetch"
          })
          const other = yield* MemoryRegistry.make()
          const events = namespace.copyEvents({
            source: end,
            destination: { ...end, registry: other },
            externalLayers: "fetch"
          })
          yield* Stream.runDrain(events)
          return yield* other.resolveManifest(app, tag("1"))
        })
      )
      const { size } = yield* Effect.provide(
        copies,
        Namespace.layer.pipe(Layer.provide(HttpResolver.layer()), Layer.provide(client))
      )
      assert.isAbove(size, 0)
    }))
})
