/**
 * References of a manifest according to a function of the caller.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import * as Copy from "effect-oci/Copy"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import { Denied, DigestInvalid, Unauthorized, UnexpectedResponse, Unsupported } from "effect-oci/RegistryError"
import { bytesOf, pushBlob, pushImage, pushIndex, repository, tag } from "../utils/images.ts"
import { failing, override, recorded } from "../utils/registries.ts"

const from = repository("team/app")
const to = repository("mirror/app")

const setup = Effect.gen(function*() {
  const source = yield* recorded("source.test")
  const destination = yield* MemoryRegistry.make()
  const copy = (options: Copy.Options = {}, into: Registry = destination) =>
    Copy.copyManifest({
      ...options,
      source: { registry: source.registry, repository: from, tag: tag("1") },
      destination: { registry: into, repository: to, tag: tag("1") }
    })
  return { copy, destination, source }
})

/** Returns the references of `Manifest.digests`, without sizes and media types. */
const digestsAlone: Copy.ManifestDigests = (mediaType, bytes) =>
  Result.map(Manifest.digests(mediaType, bytes), ({ blobs, manifests }) => ({
    blobs: blobs.map(({ digest }) => ({ digest })),
    manifests: manifests.map(({ digest }) => ({ digest }))
  }))

describe("manifestDigests", () => {
  it.effect("may omit sizes and types, which are looked up at the source", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one", "two"])
      const index = yield* pushIndex(source.registry, from, [image], { tags: [tag("1")] })
      const report = yield* copy({ manifestDigests: digestsAlone, verify: "deep" })
      assert.strictEqual((yield* destination.resolveManifest(to, tag("1"))).digest, index.digest)
      const found = report.entries.map(({ descriptor: { mediaType, size }, role }) => `${role} ${mediaType} ${size}`)
      assert.include(found, `child ${image.mediaType} ${image.size}`)
      assert.include(found, `blob ${MediaType.octetStream} 3`)
      const lookups = source.calls.filter((call) => call.startsWith("resolve"))
      assert.deepStrictEqual([lookups.length, new Set(lookups).size], [4, 4])
    }))

  it.effect("fails at the source if it does not have the content", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const { digest } = yield* pushBlob(yield* MemoryRegistry.make(), from, "elsewhere")
      const manifestDigests = () => Result.succeed({ blobs: [{ digest }], manifests: [] })
      const error = yield* Effect.flip(copy({ manifestDigests }))
      assert.deepStrictEqual(
        [error.end, error.operation, error.reason._tag, error.descriptor?.digest],
        ["source", "resolveBlob", "BlobUnknown", image.digest]
      )
    }))

  const bad: ReadonlyArray<readonly [problem: string, manifestDigests: () => unknown]> = [
    ["threw: Error: no idea", () => {
      throw new Error("no idea")
    }],
    ["returned no Result", () => undefined],
    ["returned no Result", () => Promise.resolve(Result.succeed({ blobs: [], manifests: [] }))],
    ["failed", () => Result.fail("no")],
    ["returned no lists", () => Result.succeed({ blobs: [] })],
    ["returned content without a digest", () => Result.succeed({ blobs: [{ digest: "sha256:12" }], manifests: [] })],
    ["returned content without a digest", () => Result.succeed({ blobs: [], manifests: [null] })],
    [
      "returned content with an invalid size",
      () => Result.succeed({ blobs: [{ digest: `sha256:${"0".repeat(64)}`, size: -1 }], manifests: [] })
    ],
    [
      "returned content with an invalid type",
      () => Result.succeed({ blobs: [{ digest: `sha256:${"0".repeat(64)}`, mediaType: 1 }], manifests: [] })
    ]
  ]

  it.effect.each(bad)("fails with ManifestError if it %s", ([problem, manifestDigests]) =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      // a caller without type checks may do that
      const error = yield* Effect.flip(copy({ manifestDigests: manifestDigests as Copy.ManifestDigests }))
      assert.deepStrictEqual([error.end, error.reason._tag], ["source", "ManifestError"])
      assert.include(error.message, `manifestDigests ${problem}`)
    }))
})

describe("a destination that refuses lookups", () => {
  const refusals = [
    new Denied({ status: 403 }),
    new Unauthorized({ status: 401 }),
    new Unsupported({ status: 405 }),
    new DigestInvalid({ status: 400 }),
    new UnexpectedResponse({ status: 400 }),
    new UnexpectedResponse({ status: 500 })
  ]

  it.effect.each(refusals)("gets everything (%s)", (reason) =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one", "two"])
      const index = yield* pushIndex(source.registry, from, [image], { tags: [tag("1")] })
      const prefix = index.digest.replace(":", "-")
      const { bytes, descriptor } = yield* source.registry.getManifest(from, image.digest)
      yield* source.registry.pushManifest(from, { mediaType: descriptor.mediaType, bytes }, [tag(`${prefix}.sig`)])
      const silent = override(destination, {
        capabilities: Effect.succeed({}),
        resolveBlob: () => failing("resolveBlob", reason),
        resolveManifest: () => failing("resolveManifest", reason)
      })
      yield* copy({ digestTags: "copy" }, silent)
      assert.strictEqual((yield* destination.resolveManifest(to, tag("1"))).digest, index.digest)
      assert.strictEqual((yield* destination.resolveManifest(to, tag(`${prefix}.sig`))).digest, image.digest)
      assert.deepStrictEqual((yield* destination.getManifest(to, image.digest)).bytes, bytes)
    }))

  it.effect("fails a copy that keeps tags, because it has to know them", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const silent = override(destination, {
        resolveManifest: () => failing("resolveManifest", new Denied({ status: 403 }))
      })
      assert.strictEqual((yield* Effect.flip(copy({ onTagExists: "keep" }, silent))).operation, "resolveManifest")
    }))
})

describe("a manifest of an unknown type", () => {
  it.effect("is copied with its references if the caller returns them", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const mediaType = "application/vnd.example.list+json"
      const blob = yield* pushBlob(source.registry, from, "content")
      yield* source.registry.pushManifest(from, { mediaType, bytes: bytesOf("{}") }, [tag("1")])
      yield* copy({
        manifestDigests: () => Result.succeed({ blobs: [{ digest: blob.digest }], manifests: [] }),
        verify: "deep"
      })
      assert.strictEqual((yield* destination.resolveBlob(to, blob.digest)).size, 7)
    }))
})
