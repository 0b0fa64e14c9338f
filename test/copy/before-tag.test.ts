/**
 * The option `beforeTag`: it runs last before a tag is set, and can refuse that.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import type * as Copy from "effect-oci/Copy"
import { TagRefused } from "effect-oci/CopyError"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import type * as Registry from "effect-oci/Registry"
import { DigestInvalid } from "effect-oci/RegistryError"
import * as Resolver from "effect-oci/Resolver"
import { Faults } from "effect-oci/testing"
import { from, setup, to } from "../utils/copies.ts"
import { pushSample, tag } from "../utils/images.ts"
import { listReferrers, override } from "../utils/registries.ts"

const refuse = ({ tags }: Copy.TagPush) => Effect.fail(new TagRefused({ tags, problem: "superseded" }))

const tagsOf = (registry: Registry.Registry) =>
  registry.tags(to).pipe(
    Stream.runCollect,
    Effect.orElseSucceed(() => [])
  )

describe("beforeTag", () => {
  it.effect("runs after all other pushes, immediately before the push that sets the tags", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { index } = yield* pushSample(source.registry, from, [tag("1")])
      const seen: Array<Copy.TagPush & { readonly after: number }> = []
      yield* copy({
        tags: [tag("latest")],
        beforeTag: (push) => Effect.sync(() => seen.push({ ...push, after: destination.calls.length }))
      })
      const [push, ...others] = seen
      assert.isDefined(push)
      assert.lengthOf(others, 0)
      assert.deepStrictEqual(
        { ...push, registry: push.registry.name, after: destination.calls.slice(push.after) },
        {
          registry: "destination.test",
          repository: to,
          digest: index.digest,
          tags: [tag("1"), tag("latest")],
          after: [`pushManifest ${index.digest} 1 latest`]
        }
      )
    }))

  it.effect("makes the copy fail without a tag if it refuses", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { amd64 } = yield* pushSample(source.registry, from, [tag("1")])
      const { end, reason } = yield* Effect.flip(copy({ tags: [tag("latest")], beforeTag: refuse }))
      assert.strictEqual(end, "destination")
      assert.deepStrictEqual(reason, new TagRefused({ tags: ["1", "latest"], problem: "superseded" }))
      assert.deepStrictEqual(yield* tagsOf(destination.registry), [])
      // what was pushed by digest stays
      assert.strictEqual((yield* destination.registry.resolveManifest(to, amd64.digest)).digest, amd64.digest)
    }))

  it.effect("refuses tags of a manifest that the destination has", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      yield* copy()
      yield* Effect.flip(copy({ as: "2", beforeTag: refuse }))
      assert.deepStrictEqual(yield* tagsOf(destination.registry), [tag("1")])
    }))

  it.effect("does not run if the tag already points at the manifest", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      yield* copy()
      yield* copy({ beforeTag: refuse })
    }))

  it.effect("runs before tags that are pushed after a referrer that came late", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { index } = yield* pushSample(source.registry, from, [tag("1")])
      const { registry } = yield* Faults.make(destination.registry, [Faults.refuseSubjects()])
      yield* Effect.flip(copy({ into: registry, beforeTag: refuse }))
      assert.deepStrictEqual(yield* tagsOf(destination.registry), [])
      assert.isNotEmpty(yield* listReferrers(destination.registry, to, index.digest))
    }))

  it.effect("runs again before a push that is repeated", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { index } = yield* pushSample(source.registry, from, [tag("1")])
      const { registry } = yield* Faults.make(destination.registry, [
        Faults.fail(new DigestInvalid({}), { operation: "pushManifest", reference: index.digest, calls: [1] })
      ])
      let runs = 0
      yield* copy({ into: registry, beforeTag: () => Effect.sync(() => runs++) })
      assert.strictEqual(runs, 2)
    }))

  it.effect("decides on the tags of its own copy only, if others copy the same image", () =>
    Effect.gen(function*() {
      const source = yield* MemoryRegistry.make()
      const memory = yield* MemoryRegistry.make()
      const destination = override(memory, { capabilities: Effect.succeed({ tagParameters: true }) })
      yield* pushSample(source, from, [tag("1")])
      const namespace = Namespace.make({ resolver: Resolver.static({}) })
      const copies = [refuse, undefined, refuse, undefined].map((beforeTag, i) => ({
        source: { registry: source, repository: from, tag: tag("1") },
        destination: { registry: destination, repository: to, tag: tag(`${i}`) },
        beforeTag
      }))
      const copied = yield* Stream.runCollect(namespace.copyAll(Stream.fromIterable(copies)))
      assert.lengthOf(copied.filter(({ exit }) => Exit.isSuccess(exit)), 2)
      assert.deepStrictEqual(yield* tagsOf(memory), [tag("1"), tag("3")])
    }))
})
