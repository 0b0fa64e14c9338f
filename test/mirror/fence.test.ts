/**
 * Two processes that run the same mirror, of which one is frozen at the worst moment. Each has its own namespace and
 * its own locks; they share the state and the registries.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as MirrorState from "effect-oci/MirrorState"
import type { Registry } from "effect-oci/Registry"
import { UnexpectedResponse } from "effect-oci/RegistryError"
import * as KeyedLock from "../../src/KeyedLock.ts"
import { Locks } from "../../src/mirror/RuleRun.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { configOf, imagesOf, setup } from "../utils/mirrors.ts"
import { failing, override } from "../utils/registries.ts"

const app = repository("app")
const config = configOf({ name: "apps", from: "one.local/app", to: "two.local/app", referrers: false })

/** A place in a process where it freezes, once. */
const freezer = Effect.gen(function*() {
  const reached = yield* Deferred.make<void>()
  const released = yield* Deferred.make<void>()
  let isUsed = false
  const freeze = Effect.suspend(() => {
    if (isUsed) return Effect.void
    isUsed = true
    return Effect.andThen(Deferred.succeed(reached, undefined), Deferred.await(released))
  })
  return { reached: Deferred.await(reached), release: Deferred.succeed(released, undefined), freeze }
})

/** Registries that several processes share, with the digests that the tag has had at the destination. */
const shared = Effect.gen(function*() {
  const source = yield* MemoryRegistry.make({ name: "one.local" })
  const destination = yield* MemoryRegistry.make({ name: "two.local" })
  const history: Array<string> = []
  const logged = override(destination, {
    pushManifest: (repository, manifest, tags = []) =>
      Effect.tap(
        destination.pushManifest(repository, manifest, tags),
        ({ digest }) => Effect.sync(() => tags.length > 0 && history.push(digest))
      )
  })
  const process = (view: (registry: Registry) => Registry) =>
    Effect.map(
      setup({ source: () => source, destination: () => view(logged) }),
      ({ run }) => Effect.provideService(run(config), Locks, KeyedLock.make())
    )
  const push = (content: string) =>
    Effect.map(pushImage(source, app, [content], { tags: [tag("1")] }), ({ digest }) => digest)
  return { destination, history, process, push }
})

type Push = Registry["pushManifest"]

/** A registry whose pushes of tags run otherwise. */
const pushing = (f: (push: Push) => Push) => (registry: Registry) =>
  override(registry, {
    pushManifest: (repository, manifest, tags = []) =>
      tags.length === 0
        ? registry.pushManifest(repository, manifest)
        : f(registry.pushManifest)(repository, manifest, tags)
  })

/** Freezes the first process, moves the tag, runs the second one to its end, and thaws the first. */
const race = Effect.fnUntraced(function*(view: (freeze: Effect.Effect<void>) => (registry: Registry) => Registry) {
  const { freeze, reached, release } = yield* freezer
  const { destination, history, process, push } = yield* shared
  const [frozen, other] = [yield* process(view(freeze)), yield* process((registry) => registry)]
  const a = yield* push("a")
  const fiber = yield* Effect.forkChild(frozen)
  yield* reached
  const b = yield* push("b")
  const second = yield* other
  assert.strictEqual(second.rule.copied, 1)
  assert.deepStrictEqual(yield* imagesOf(destination, "app"), { 1: b })
  yield* release
  const first = yield* Fiber.join(fiber)
  const state = yield* MirrorState.MirrorState
  const [row] = yield* state.tags("two.local/app")
  assert.deepStrictEqual(yield* imagesOf(destination, "app"), { 1: b })
  assert.strictEqual(row?.destinationDigest, b)
  assert.strictEqual(row?.status, "copied")
  assert.strictEqual((yield* other).rule.planned, 0)
  return { a, b, first, history }
})

const raced = (name: string, test: Effect.Effect<void, unknown, MirrorState.MirrorState>) =>
  it.effect(name, () => Effect.provide(test, MirrorState.layerMemory))

describe("a process that another one overtakes", () => {
  raced(
    "sets no tag if it freezes before the generation is checked",
    Effect.gen(function*() {
      const { b, first, history } = yield* race((freeze) => (registry) =>
        override(registry, {
          startUpload: (...args) => Effect.andThen(freeze, registry.startUpload(...args)),
          pushBlob: (...args) => Effect.andThen(freeze, registry.pushBlob(...args))
        })
      )
      assert.strictEqual(first.rule.superseded, 1)
      assert.strictEqual(first.rule.failed, 0)
      assert.deepStrictEqual(history, [b])
    })
  )

  raced(
    "repairs the tag if its request arrives late",
    Effect.gen(function*() {
      const { a, b, first, history } = yield* race((freeze) =>
        pushing((push) => (...args) => Effect.andThen(freeze, push(...args)))
      )
      assert.strictEqual(first.rule.failed, 0)
      // the late request is the only step back
      assert.deepStrictEqual(history, [b, a, b])
    })
  )

  raced(
    "leaves the tag alone if its request arrived in time, and the answer is late",
    Effect.gen(function*() {
      const { a, b, first, history } = yield* race((freeze) =>
        pushing((push) => (...args) => Effect.tap(push(...args), () => freeze))
      )
      assert.strictEqual(first.rule.failed, 0)
      assert.deepStrictEqual(history, [a, b])
    })
  )

  raced(
    "repairs the tag if its request arrives late, and its answer is lost",
    Effect.gen(function*() {
      const { a, b, first, history } = yield* race((freeze) => {
        let isFirst = true
        return pushing((push) => (...args) => {
          const wasFirst = isFirst
          isFirst = false
          return wasFirst
            ? freeze.pipe(
              Effect.andThen(push(...args)),
              Effect.andThen(failing("pushManifest", new UnexpectedResponse({ status: 504 })))
            )
            : push(...args)
        })
      })
      assert.strictEqual(first.rule.failed, 0)
      assert.deepStrictEqual(history, [b, a, b])
    })
  )
})

describe("a process that was killed", () => {
  raced(
    "has its tag looked at by the next run but one, because a request of it may arrive late",
    Effect.gen(function*() {
      const { freeze, reached } = yield* freezer
      const { destination, process, push } = yield* shared
      const killed = yield* process(pushing((push) => (...args) => Effect.andThen(freeze, push(...args))))
      const a = yield* push("a")
      const fiber = yield* Effect.forkChild(killed)
      yield* reached
      yield* Fiber.interrupt(fiber)
      const b = yield* push("b")
      const other = yield* process((registry) => registry)
      yield* other
      assert.deepStrictEqual(yield* imagesOf(destination, "app"), { 1: b })
      // the registry gets the request that was on its way
      const { digest } = yield* pushImage(destination, app, ["a"], { tags: [tag("1")] })
      assert.strictEqual(digest, a)
      yield* other
      assert.deepStrictEqual(yield* imagesOf(destination, "app"), { 1: b })
    })
  )

  raced(
    "leaves a pending tag, which the next run looks at again",
    Effect.gen(function*() {
      const { freeze, reached } = yield* freezer
      const { destination, process, push } = yield* shared
      const killed = yield* process(pushing((push) => (...args) => Effect.tap(push(...args), () => freeze)))
      yield* push("a")
      const fiber = yield* Effect.forkChild(killed)
      yield* reached
      yield* Fiber.interrupt(fiber)
      const state = yield* MirrorState.MirrorState
      assert.strictEqual((yield* state.tags("two.local/app"))[0]?.status, "pending")
      assert.isUndefined((yield* state.runs({ limit: 1 }))[0]?.endedAt)
      // its tag is at the destination, and is no tag of another tool, although the source has moved
      const b = yield* push("b")
      const next = yield* yield* process((registry) => registry)
      assert.strictEqual(next.rule.copied, 1)
      assert.deepStrictEqual(yield* imagesOf(destination, "app"), { 1: b })
      const [run] = yield* state.runs({ limit: 1 })
      assert.isDefined(run?.endedAt)
    })
  )
})

describe("a process that deletes a tag", () => {
  raced(
    "has it set again by the next run if the source gets it back, and the request arrives late",
    Effect.gen(function*() {
      const { freeze, reached, release } = yield* freezer
      const source = yield* MemoryRegistry.make({ name: "one.local" })
      const destination = yield* MemoryRegistry.make({ name: "two.local" })
      const pruning = configOf({
        name: "apps",
        from: "one.local/app",
        to: "two.local/app",
        referrers: false,
        trust: "1000d",
        prune: { policy: "gone", after: 1, max: "100%" }
      })
      const process = (view: (registry: Registry) => Registry) =>
        Effect.map(
          setup({ source: () => source, destination: () => view(destination) }),
          ({ run }) => Effect.provideService(run(pruning, { prune: true }), Locks, KeyedLock.make())
        )
      const push = (name: string) => pushImage(source, app, [name], { tags: [tag(name)] })
      const other = yield* process((registry) => registry)
      yield* push("1")
      yield* push("2")
      yield* other
      yield* source.deleteTag(app, tag("1"))
      const frozen = yield* process((registry) =>
        override(registry, { deleteTag: (...args) => Effect.andThen(freeze, registry.deleteTag(...args)) })
      )
      const fiber = yield* Effect.forkChild(frozen)
      yield* reached
      const { digest } = yield* push("1")
      yield* other
      yield* release
      const { rule } = yield* Fiber.join(fiber)
      assert.deepStrictEqual([rule.pruned, Object.keys(yield* imagesOf(destination, "app"))], [0, ["2"]])
      yield* other
      assert.strictEqual((yield* imagesOf(destination, "app"))["1"], digest)
      assert.strictEqual((yield* other).rule.planned, 0)
    })
  )
})
