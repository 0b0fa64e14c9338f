/**
 * Tests a program with a registry in memory, which needs no network. All tests of the block share the registry.
 *
 *     npx vitest run examples/memory.test.ts
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Result } from "effect"
import * as Manifest from "effect-oci/Manifest"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import { Images } from "effect-oci/testing"

// the program

/** How many bytes there are to pull. */
const sizeOf = Effect.fn("sizeOf")(function*(...image: Parameters<Registry.Registry["getManifest"]>) {
  const registry = yield* Registry.Registry
  const { bytes, descriptor } = yield* registry.getManifest(...image)
  const { blobs } = yield* Effect.fromResult(Manifest.digests(descriptor.mediaType, bytes))
  return blobs.reduce((size, blob) => size + blob.size, 0)
})

// its tests

const app = Images.repository("team/app")

layer(MemoryRegistry.layer())("sizeOf", (it) => {
  it.effect("counts the config and the layers", () =>
    Effect.gen(function*() {
      const registry = yield* Registry.Registry
      const { digest } = yield* Images.pushImage(registry, app, ["0123456789", "0123456789"])
      assert.strictEqual(yield* sizeOf(app, digest), 57)
    }))

  it.effect("fails where there is no image", () =>
    Effect.gen(function*() {
      const outcome = yield* Effect.result(sizeOf(app, Images.tag("missing")))
      assert.isTrue(Result.isFailure(outcome))
    }))
})
