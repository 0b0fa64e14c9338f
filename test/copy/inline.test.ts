/**
 * Content that a descriptor contains in its field `data`.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Copy from "effect-oci/Copy"
import * as Descriptor from "effect-oci/Descriptor"
import * as MediaType from "effect-oci/MediaType"
import * as Namespace from "effect-oci/Namespace"
import * as Resolver from "effect-oci/Resolver"
import { bytesOf, pushBlob, pushImage, pushManifest, repository, tag } from "../utils/images.ts"
import { recorded } from "../utils/registries.ts"

const app = repository("team/app")

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64")

const setup = Effect.gen(function*() {
  const [source, destination] = [yield* recorded("source.test"), yield* recorded("destination.test")]
  const copy = (options: Copy.Options = {}) =>
    Copy.copyManifest({
      ...options,
      source: { registry: source.registry, repository: app, tag: tag("1") },
      destination: { registry: destination.registry, repository: app, tag: tag("1") }
    })
  /** Digests of the blobs and manifests that are read, except the root. */
  const read = (root: Descriptor.Descriptor) =>
    source.calls.filter((call) => /^get(?:Blob|Manifest) sha256:/.test(call) && !call.endsWith(root.digest))
  return { copy, destination, read, source }
})

describe("inline content", () => {
  it.effect("of blobs is used instead of a request to the source", () =>
    Effect.gen(function*() {
      const { copy, destination, read, source } = yield* setup
      const config = yield* pushBlob(source.registry, app, "{}", MediaType.empty)
      const layer = { ...yield* pushBlob(source.registry, app, "small"), data: base64(bytesOf("small")) }
      const image = { mediaType: MediaType.imageManifest, config, layers: [layer] }
      const root = yield* pushManifest(source.registry, app, image, [tag("1")])
      yield* copy({ verify: "deep" })
      assert.deepStrictEqual(read(root), [])
      const blob = yield* Effect.scoped(destination.registry.getBlob(app, layer.digest))
      assert.deepStrictEqual(
        yield* BlobSource.collect(BlobSource.fromStream(5, blob.stream)),
        bytesOf("small")
      )
    }))

  it.effect.each([
    ["is another", base64(bytesOf("other"))],
    ["is too long", base64(bytesOf("small and more"))],
    ["is not Base64", "?".repeat(8)],
    ["is empty", ""]
  ])("of a blob is not used if it %s", ([, data]) =>
    Effect.gen(function*() {
      const { copy, read, source } = yield* setup
      const config = yield* pushBlob(source.registry, app, "{}", MediaType.empty)
      const layer = { ...yield* pushBlob(source.registry, app, "small"), data }
      const image = { mediaType: MediaType.imageManifest, config, layers: [layer] }
      const root = yield* pushManifest(source.registry, app, image, [tag("1")])
      yield* copy({ verify: "deep" })
      assert.deepStrictEqual(read(root), [`getBlob ${layer.digest}`])
    }))

  it.effect("of manifests in an index is used instead of a request to the source", () =>
    Effect.gen(function*() {
      const { copy, destination, read, source } = yield* setup
      const config = yield* pushBlob(source.registry, app, "{}", MediaType.empty)
      const child = yield* pushManifest(source.registry, app, {
        mediaType: MediaType.imageManifest,
        config,
        layers: []
      })
      const { bytes } = yield* source.registry.getManifest(app, child.digest)
      source.forget()
      const index = { mediaType: MediaType.imageIndex, manifests: [{ ...child, data: base64(bytes) }] }
      const root = yield* pushManifest(source.registry, app, index, [tag("1")])
      yield* copy({ verify: "deep" })
      assert.deepStrictEqual(read(root), [])
      assert.deepStrictEqual((yield* destination.registry.getManifest(app, child.digest)).bytes, bytes)
    }))

  it.effect("of a config provides the platform of an image", () =>
    Effect.gen(function*() {
      const { copy, read, source } = yield* setup
      const platform = { os: "linux", architecture: "arm64" }
      const config = yield* Descriptor.fromBytes(bytesOf(platform), { mediaType: MediaType.imageConfig })
      yield* pushBlob(source.registry, app, bytesOf(platform))
      const image = { mediaType: MediaType.imageManifest, config: { ...config, data: base64(bytesOf(platform)) } }
      const root = yield* pushManifest(source.registry, app, image, [tag("1")])
      yield* copy({ platforms: { _tag: "Image", platform } })
      assert.deepStrictEqual(read(root), [])
    }))

  it.effect("reduces the requests of a plan by one", () =>
    Effect.gen(function*() {
      const { source, destination } = yield* setup
      yield* pushImage(source.registry, app, ["plain"], { tags: [tag("1")] })
      const namespace = Namespace.make({
        resolver: Resolver.static({ "source.test": source.registry, "destination.test": destination.registry })
      })
      const config = yield* pushBlob(source.registry, app, "{}", MediaType.empty)
      yield* pushManifest(source.registry, app, { mediaType: MediaType.imageManifest, config }, [tag("1")])
      const plan = yield* namespace.planCopy({
        source: "source.test/team/app:1",
        destination: "destination.test/app:1"
      })
      const blob = plan.nodes.find(({ descriptor }) => descriptor.digest === config.digest)
      assert.deepStrictEqual(blob?.requests, { least: 1, most: 3 })
    }))
})
