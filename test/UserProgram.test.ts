/**
 * A program that a user could write with effect-oci, and its tests.
 *
 * The program asks for the `Registry` service. Its tests provide either `Registry.make` with only those operations that
 * the program should need (any other fails with `Unsupported`, and the test with it), which can also misbehave on
 * demand; or `MemoryRegistry.layer`, a whole registry without a network.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule, Stream } from "effect"
import * as Digest from "effect-oci/Digest"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Platform from "effect-oci/Platform"
import * as Reference from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import { ManifestUnknown, RegistryError, TooManyRequests } from "effect-oci/RegistryError"
import { TestClock } from "effect/testing"
import { pushSample } from "./utils/images.ts"

// ---------------------------------------------------------------------------------------------------------------------
// the program: on which platforms does the image behind a tag run?
// ---------------------------------------------------------------------------------------------------------------------

const platforms = Effect.fn("platforms")(function*(repository: Reference.Repository, tag: Reference.Tag) {
  const registry = yield* Registry.Registry
  const { bytes, descriptor } = yield* Effect.retry(registry.getManifest(repository, tag), {
    while: (error) => error.isRetryable,
    schedule: Schedule.exponential("1 second"),
    times: 3
  })
  const manifest = yield* Effect.fromResult(Manifest.decode(descriptor.mediaType, bytes))
  switch (manifest._tag) {
    case "Index":
      return manifest.content.manifests.flatMap(({ platform }) => platform ?? []).map(Platform.format)
    case "Image": {
      const config = yield* registry.getBlob(repository, manifest.content.config.digest)
      const json = yield* Stream.mkString(Stream.decodeText(config.stream))
      return [Platform.format(yield* Effect.fromResult(Platform.fromJson(json)))]
    }
    case "Artifact":
      return []
  }
}, Effect.scoped)

// ---------------------------------------------------------------------------------------------------------------------
// its tests
// ---------------------------------------------------------------------------------------------------------------------

const app = Reference.Repository.make("team/app")
const latest = Reference.Tag.make("latest")
const digest = Digest.fromHash("sha256", new Uint8Array(32))

const manifestOf = (mediaType: string, content: object): Registry.ManifestBytes => {
  const bytes = new TextEncoder().encode(JSON.stringify(content))
  return { descriptor: { mediaType, digest, size: bytes.length }, bytes }
}

const index = manifestOf(MediaType.imageIndex, {
  schemaVersion: 2,
  manifests: ["amd64", "arm64"].map((architecture) => ({
    mediaType: MediaType.imageManifest,
    digest,
    size: 1,
    platform: { os: "linux", architecture }
  }))
})

const image = manifestOf(MediaType.imageManifest, {
  schemaVersion: 2,
  config: { mediaType: MediaType.imageConfig, digest, size: 1 },
  layers: []
})

const mock = (operations: Omit<Parameters<typeof Registry.make>[0], "name">) =>
  Layer.succeed(Registry.Registry, Registry.make({ name: "mock", ...operations }))

const failure = (reason: RegistryError["reason"]) =>
  new RegistryError({ operation: "getManifest", registry: "mock", repository: app, reason })

describe("platforms, with a mock", () => {
  it.effect("of an index are those that it lists, and nothing else is read", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* platforms(app, latest), ["linux/amd64", "linux/arm64"])
    }).pipe(Effect.provide(mock({ getManifest: () => Effect.succeed(index) }))))

  it.effect("of an image is the one that its config tells", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* platforms(app, latest), ["linux/riscv64"])
    }).pipe(Effect.provide(mock({
      getManifest: () => Effect.succeed(image),
      getBlob: (_, digest) =>
        Effect.succeed({
          descriptor: { mediaType: MediaType.imageConfig, digest, size: 1 },
          stream: Stream.succeed(new TextEncoder().encode(`{ "os": "linux", "architecture": "riscv64" }`))
        })
    }))))

  it.effect("of a tag that does not exist are an error", () =>
    Effect.gen(function*() {
      const said = yield* Effect.catchReason(
        platforms(app, latest),
        "RegistryError",
        "ManifestUnknown",
        () => Effect.succeed("no such tag")
      )
      assert.strictEqual(said, "no such tag")
    }).pipe(Effect.provide(mock({ getManifest: () => Effect.fail(failure(new ManifestUnknown({}))) }))))

  it.effect("are asked for again when the registry is busy", () => {
    let asked = 0
    const getManifest = () =>
      Effect.suspend(() => ++asked < 3 ? Effect.fail(failure(new TooManyRequests({}))) : Effect.succeed(index))
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(platforms(app, latest))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(asked, 2)
      yield* TestClock.adjust("2 seconds")
      assert.lengthOf(yield* Fiber.join(fiber), 2)
    }).pipe(Effect.provide(mock({ getManifest })))
  })
})

describe("platforms, with a registry in memory", () => {
  it.effect("are found for a real image", () =>
    Effect.gen(function*() {
      yield* pushSample(yield* Registry.Registry, app, [latest])
      assert.deepStrictEqual(yield* platforms(app, latest), ["linux/amd64", "linux/arm64"])
    }).pipe(Effect.provide(MemoryRegistry.layer())))

  it.effect("are an error in a registry that is empty", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(platforms(app, latest))
      assert.strictEqual(error.message, "memory/team/app: there is no such repository (getManifest)")
    }).pipe(Effect.provide(MemoryRegistry.layer())))
})
