import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import { Contract } from "effect-oci/testing"
import { bytesOf, pushBlob, pushImage, pushIndex, repository, tag } from "../utils/images.ts"

const app = repository("team/app")

describe("MemoryRegistry", () => {
  describe("does what every registry must do:", () => {
    it.effect.each(Contract.cases)("$name", ({ effect }) => Effect.flatMap(MemoryRegistry.make(), effect))
  })

  it.effect("is named memory by default", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* MemoryRegistry.make()).name, "memory")
    }))

  it.effect("has its name in errors", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make({ name: "mem.local" })
      const error = yield* Effect.flip(registry.resolveManifest(app, tag("1")))
      assert.strictEqual(error.message, "mem.local/team/app: there is no such repository (resolveManifest)")
    }))

  it.effect("reports its capabilities", () =>
    Effect.gen(function*() {
      const { capabilities } = yield* MemoryRegistry.make()
      assert.deepStrictEqual(yield* capabilities, {
        referrers: true,
        singlePost: true,
        tagParameters: true,
        anonymousMount: true,
        selfMount: true,
        chunks: true
      })
    }))

  it.effect("takes an index with missing children if sparse indexes are accepted", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const there = yield* pushImage(registry, app, ["there"])
      const away = yield* Effect.flatMap(MemoryRegistry.make(), (other) => pushImage(other, app, ["away"]))
      const push = pushIndex(registry, app, [there, away], { tags: [tag("1")] })
      assert.strictEqual((yield* Effect.flip(push)).reason._tag, "ManifestBlobUnknown")
      const index = yield* Effect.provideService(push, Registry.SparseIndex, "accept")
      assert.strictEqual((yield* registry.resolveManifest(app, tag("1"))).digest, index.digest)
      const missing = yield* Effect.flip(registry.resolveManifest(app, away.digest))
      assert.strictEqual(missing.reason._tag, "ManifestUnknown")
    }))

  it.effect("refuses an image with missing blobs even if sparse indexes are accepted", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const image = yield* pushImage(registry, app, ["layer"])
      const { bytes, descriptor } = yield* registry.getManifest(app, image.digest)
      const push = registry.pushManifest(repository("elsewhere"), { mediaType: descriptor.mediaType, bytes })
      const error = yield* Effect.flip(Effect.provideService(push, Registry.SparseIndex, "accept"))
      assert.strictEqual(error.reason._tag, "ManifestBlobUnknown")
    }))

  it.effect("lists tags in the order of their character codes", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushImage(registry, app, ["layer"], { tags: ["b", "_", "B", "a", "1"].map(tag) })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(app)), ["1", "B", "_", "a", "b"].map(tag))
    }))

  it.effect("mounts from any repository if none is named", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const { digest } = yield* pushBlob(registry, repository("elsewhere"), "content")
      assert.deepStrictEqual(yield* registry.startUpload(app, { mount: { digest } }), { _tag: "Mounted", digest })
    }))

  it.effect("mounts from no other repository if one is named", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const { digest } = yield* pushBlob(registry, repository("elsewhere"), "content")
      const started = yield* registry.startUpload(app, { mount: { digest, from: repository("here") } })
      assert.strictEqual(started._tag, "Upload")
    }))

  it.effect("knows a session in its own repository only", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const upload = yield* registry.startUpload(app)
      assert(upload._tag === "Upload")
      const error = yield* Effect.flip(registry.resumeUpload(repository("elsewhere"), yield* upload.id))
      assert.strictEqual(error.reason._tag, "BlobUploadUnknown")
    }))

  it.effect("takes one chunk at a time", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const upload = yield* registry.startUpload(app)
      assert(upload._tag === "Upload")
      const stream = Stream.make("01", "23").pipe(Stream.map(bytesOf), Stream.tap(() => Effect.yieldNow))
      const append = Effect.result(upload.append({ offset: 0, stream }))
      const [one, two] = yield* Effect.all([append, append], { concurrency: "unbounded" })
      assert.deepStrictEqual([Result.isSuccess(one), Result.isSuccess(two)], [true, false])
    }))

  it.effect("takes a manifest of an unknown type", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const manifest = { mediaType: "application/vnd.example+text", bytes: bytesOf("not even JSON") }
      const { digest } = yield* registry.pushManifest(app, manifest)
      assert.deepStrictEqual((yield* registry.getManifest(app, digest)).bytes, manifest.bytes)
    }))

  it.effect("names the content that a manifest lacks", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make({ deletableBlobs: "all" })
      const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      const { bytes, descriptor } = yield* registry.getManifest(app, digest)
      const layer = yield* pushBlob(registry, app, "layer")
      yield* registry.deleteBlob(app, layer.digest)
      const error = yield* Effect.flip(registry.pushManifest(app, { mediaType: descriptor.mediaType, bytes }))
      assert.include(error.message, layer.digest)
    }))

  it.effect("keeps a manifest unchanged when the pushed bytes are changed", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const bytes = bytesOf("manifest")
      const { digest } = yield* registry.pushManifest(app, { mediaType: "application/vnd.example+text", bytes })
      bytes.fill(0)
      assert.deepStrictEqual((yield* registry.getManifest(app, digest)).bytes, bytesOf("manifest"))
    }))

  it.effect("keeps a manifest unchanged when the returned bytes are changed", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const mediaType = "application/vnd.example+text"
      const { digest } = yield* registry.pushManifest(app, { mediaType, bytes: bytesOf("manifest") })
      const first = yield* registry.getManifest(app, digest)
      first.bytes.fill(0)
      assert.deepStrictEqual((yield* registry.getManifest(app, digest)).bytes, bytesOf("manifest"))
    }))

  it.effect("keeps a chunk unchanged when its source reuses the buffer", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123"))
      const buffer = new Uint8Array(2)
      const stream = Stream.mapEffect(Stream.make("01", "23"), (content) =>
        Effect.sync(() => {
          buffer.set(bytesOf(content))
          return buffer
        }))
      yield* registry.pushBlob(app, { digest, size: 4 }, BlobSource.fromStream(4, stream))
      assert.strictEqual((yield* registry.resolveBlob(app, digest)).size, 4)
    }))

  it.effect("keeps a blob unchanged when the returned bytes are changed", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const { digest } = yield* pushBlob(registry, app, "content")
      const first = yield* registry.getBlob(app, digest)
      yield* Stream.runForEach(first.stream, (bytes) => Effect.sync(() => bytes.fill(0)))
      const again = yield* registry.getBlob(app, digest)
      assert.deepStrictEqual(yield* Stream.mkUint8Array(again.stream), bytesOf("content"))
    }))

  it.effect("of one layer does not share content with another", () =>
    Effect.gen(function*() {
      const repositories = Effect.flatMap(Registry.Registry, (registry) => Stream.runCollect(registry.repositories()))
      const push = Effect.flatMap(Registry.Registry, (registry) => pushImage(registry, app, ["layer"]))
      yield* Effect.provide(push, MemoryRegistry.layer())
      assert.deepStrictEqual(yield* Effect.provide(repositories, MemoryRegistry.layer()), [])
    }))
})
