import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MirrorState from "effect-oci/MirrorState"
import { TestClock } from "effect/testing"
import { repository, tag } from "../utils/images.ts"
import { configOf, imagesOf, setup } from "../utils/mirrors.ts"

const app = { name: "apps", from: "one.local/app", to: "two.local/app", referrers: false }
const config = configOf(app)

const mirrored = (name: string, test: Effect.Effect<void, unknown, MirrorState.MirrorState>) =>
  it.effect(name, () => Effect.provide(test, MirrorState.layerMemory))

describe("a run", () => {
  mirrored(
    "copies the tags that the rule selects, and does nothing if nothing changed",
    Effect.gen(function*() {
      const { destination, forget, push, run, source } = yield* setup()
      const one = yield* push("1", "one")
      const two = yield* push("2", "two")
      const first = yield* run(config)
      assert.strictEqual(first.rule.copied, 2)
      assert.isFalse(first.report.hasFailures)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "app"), { 1: one, 2: two })
      forget()
      const second = yield* run(config)
      assert.strictEqual(second.rule.planned, 0)
      // one list, and one request for each tag
      assert.deepStrictEqual(source.counts(), { tags: 1, resolveManifest: 2 })
      assert.deepStrictEqual(destination.counts(), {})
    })
  )

  mirrored(
    "copies a tag that moved, and no other",
    Effect.gen(function*() {
      const { destination, push, run } = yield* setup()
      yield* push("1", "one")
      yield* push("2", "two")
      yield* run(config)
      const moved = yield* push("1", "other")
      const { events, rule } = yield* run(config)
      assert.strictEqual(rule.planned, 1)
      assert.deepStrictEqual(events.flatMap((event) => event._tag === "Copied" ? [event.digest] : []), [moved])
      assert.strictEqual((yield* imagesOf(destination.memory, "app"))["1"], moved)
    })
  )

  mirrored(
    "looks at a destination again when it is not trusted any more",
    Effect.gen(function*() {
      const { destination, forget, push, run } = yield* setup()
      const one = yield* push("1", "one")
      yield* run(config)
      yield* destination.memory.deleteTag(repository("app"), tag("1"))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* run(config)).rule.planned, 0)
      yield* TestClock.adjust("12 hours")
      assert.strictEqual((yield* run(config)).rule.copied, 1)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "app"), { 1: one })
      yield* TestClock.adjust("12 hours")
      forget()
      yield* run(config)
      assert.deepStrictEqual(destination.counts(), { resolveManifest: 1 })
      forget()
      yield* run(config)
      assert.deepStrictEqual(destination.counts(), {})
    })
  )
})
