import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Result, Schedule, Schema } from "effect"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as Manifest from "effect-oci/Manifest"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import { Transport } from "effect-oci/RegistryError"
import { Faults, Images } from "effect-oci/testing"
import * as UnionRegistry from "effect-oci/UnionRegistry"
import { pushImage, repository, tag } from "../utils/images.ts"

const app = repository("team/app")
const latest = tag("latest")
const runs = process.env["EFFECT_OCI_LONG"] === undefined ? 60 : 1500

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const Mishap = Schema.Struct({ kind: Schema.Literals(["fail", "loseAnswer", "break"]), call: between(1, 50) })
const Mishaps = Schema.Array(Mishap).check(Schema.isMaxLength(3))

const faultOf = ({ call, kind }: typeof Mishap.Type): Faults.Fault => {
  const which = { calls: [call] }
  switch (kind) {
    case "fail":
      return Faults.fail(new Transport({}), which)
    case "loseAnswer":
      return Faults.loseAnswer(which)
    case "break":
      return Faults.breakAt(3, { ...which, operation: ["read", "pushBlob"] })
  }
}

/** Returns all content of a tag, down to the last blob. */
const complete = Effect.fnUntraced(function*(registry: Registry) {
  const { bytes, descriptor } = yield* registry.getManifest(app, latest)
  const { manifests } = Result.getOrThrow(Manifest.digests(descriptor.mediaType, bytes))
  for (const { digest } of manifests) {
    const child = yield* registry.getManifest(app, digest)
    const { blobs } = Result.getOrThrow(Manifest.digests(child.descriptor.mediaType, child.bytes))
    for (const blob of blobs) yield* registry.resolveBlob(app, blob.digest)
  }
  return descriptor.digest
})

const push = Effect.fnUntraced(function*(registry: Registry, content: string) {
  const amd64 = yield* pushImage(registry, app, ["shared", `${content} amd64`])
  const arm64 = yield* pushImage(registry, app, ["shared", `${content} arm64`], { architecture: "arm64" })
  return (yield* Images.pushIndex(registry, app, [amd64, arm64], { tags: [latest] })).digest
})

describe("a union that writes to all, wherever its registries fail,", () => {
  it.effect.prop(
    "has all acknowledged content in each registry and only complete images under tags, and the same push completes it",
    [
      Arbitrary.schema(Schema.Tuple([Mishaps, Mishaps, Mishaps])),
      Arbitrary.schema(Schema.Literals(["sequential", "concurrent"]))
    ],
    ([mishaps, policy]) =>
      Effect.gen(function*() {
        const member = Effect.fnUntraced(function*(name: string, faults: typeof Mishaps.Type) {
          const memory = yield* MemoryRegistry.make({ name })
          return { memory, ...yield* Faults.make(memory, faults.map(faultOf)) }
        })
        const [one, two, three] = [
          yield* member("one", mishaps[0]),
          yield* member("two", mishaps[1]),
          yield* member("three", mishaps[2])
        ]
        const options = { policy, writes: "all" } as const
        const before = yield* push(UnionRegistry.make([one.memory, two.memory, three.memory], options), "before")

        const union = UnionRegistry.make([one.registry, two.registry, three.registry], options)
        const first = yield* Effect.result(push(union, "after"))
        // readers of the union never see a tag before it was set everywhere
        const seen = yield* complete(one.memory)
        if (Result.isSuccess(first)) assert.strictEqual(seen, first.success)
        const others = [yield* complete(two.memory), yield* complete(three.memory)]
        if (seen !== before) assert.deepStrictEqual(others, [seen, seen])
        // until all faults have occurred
        const after = yield* Effect.retry(push(union, "after"), { times: 20 })
        assert.include([before, after], seen)
        for (const { memory } of [one, two, three]) assert.strictEqual(yield* complete(memory), after)
      }).pipe(Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(0))),
    { timeout: 600_000, arbitrary: { runs } }
  )
})
