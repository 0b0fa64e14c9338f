/**
 * Text of other parties in errors and plans.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Copy from "effect-oci/Copy"
import * as CopyPlan from "effect-oci/CopyPlan"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { Denied } from "effect-oci/RegistryError"
import { pushBlob, pushManifest, repository, tag } from "../utils/images.ts"
import { failing, override } from "../utils/registries.ts"

const app = repository("team/app")
const hostile = "a\u001b[31m\nroot ok\u0085\u202e\u2066\u2028\u2029\u200b\ud800b"
const isObeyed = /[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]|(?!\n)\p{Cc}/u

const setup = Effect.gen(function*() {
  const [source, destination] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
  const config = yield* pushBlob(source, app, "{}", MediaType.imageConfig)
  const layer = { ...yield* pushBlob(source, app, "one"), mediaType: hostile }
  yield* pushManifest(source, app, { mediaType: MediaType.imageManifest, config, layers: [layer] }, [tag("1")])
  const ends = {
    source: { registry: source, repository: app, tag: tag("1") },
    destination: { registry: destination, repository: app, tag: tag("1") }
  }
  return { ends, layer }
})

describe("text of other parties", () => {
  it.effect("is printable in a plan, and does not break its lines", () =>
    Effect.gen(function*() {
      const { ends } = yield* setup
      const plan = yield* Copy.planCopy(ends)
      assert.strictEqual(plan.nodes.filter(({ descriptor }) => descriptor.mediaType === hostile).length, 1)
      const text = CopyPlan.format(plan)
      assert.notMatch(text, isObeyed)
      assert.strictEqual(text.split("\n").length, plan.nodes.length + 1)
    }))

  it.effect("is printable on one line in the message of an error, and unchanged in its fields", () =>
    Effect.gen(function*() {
      const { ends, layer } = yield* setup
      const { registry } = ends.source
      const refusing = override(registry, {
        getBlob: (name, digest, options) =>
          digest === layer.digest
            ? failing("getBlob", new Denied({ detail: hostile }))
            : registry.getBlob(name, digest, options)
      })
      const error = yield* Effect.flip(Copy.copyManifest({ ...ends, source: { ...ends.source, registry: refusing } }))
      assert(error.reason._tag === "Denied")
      assert.deepStrictEqual([error.descriptor?.mediaType, error.reason.detail], [hostile, hostile])
      for (const message of [error.message, error.reason.message]) {
        assert.notMatch(message, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u)
      }
    }))

  it.effect("is omitted from a plan if it is an empty media type", () =>
    Effect.gen(function*() {
      const { ends, layer } = yield* setup
      const plan = yield* Copy.planCopy(ends)
      const blank = new CopyPlan.CopyPlan({
        ...plan,
        nodes: plan.nodes.map((node) => ({ ...node, descriptor: { ...node.descriptor, mediaType: "" } }))
      })
      assert.include(CopyPlan.format(blank), `${layer.digest} (3 B):`)
    }))
})
