/**
 * Finds the newest version of an image, and tests that with a registry of one operation.
 *
 *     node examples/mock.ts
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Stream } from "effect"
import * as Reference from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"

// the program

const newest = Effect.fn("newest")(function*(repository: Reference.Repository) {
  const registry = yield* Registry.Registry
  const tags = yield* Stream.runCollect(registry.tags(repository))
  const versions = tags.filter((tag) => /^\d+\.\d+$/.test(tag))
  return versions.sort((a, b) => b.localeCompare(a, "en", { numeric: true }))[0]
})

// its test

const registry = Registry.make({
  name: "mock",
  tags: () => Stream.fromIterable(["1.2", "latest", "1.10", "1.9"].map((tag) => Reference.Tag.make(tag)))
})

const test = Effect.gen(function*() {
  const version = yield* newest(Reference.Repository.make("team/app"))
  if (version !== "1.10") return yield* Effect.die(`expected 1.10, got ${version}`)
  yield* Console.log("the newest of 1.2, latest, 1.10 and 1.9 is 1.10")
})

NodeRuntime.runMain(Effect.provide(test, Layer.succeed(Registry.Registry, registry)))
