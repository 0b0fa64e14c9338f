/**
 * Limits of concurrency and memory, for lists of any length.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import type { Digest } from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import type { Registry } from "effect-oci/Registry"
import { ManifestUnknown } from "effect-oci/RegistryError"
import * as Resolver from "effect-oci/Resolver"
import * as TaskPool from "../../src/copy/TaskPool.ts"
import * as WaitGraph from "../../src/copy/WaitGraph.ts"
import { longestStretch } from "../utils/EventLoop.ts"
import { pushImage, pushIndex, pushReferrer, repository, tag } from "../utils/images.ts"
import { failing, listReferrers, override } from "../utils/registries.ts"
import { digestOf } from "../utils/ScriptedServer.ts"

const from = repository("team/app")
const to = repository("mirror/app")

/** Records the maximum number of calls that run at the same time. */
const counting = () => {
  const counter = { running: 0, most: 0 }
  const counted = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      counter.most = Math.max(counter.most, ++counter.running)
      return Effect.andThen(Effect.replicateEffect(Effect.yieldNow, 3), effect)
    }).pipe(Effect.ensuring(Effect.sync(() => counter.running--)))
  return { counter, counted }
}

describe("MaxInFlight", () => {
  it.effect("applies to each copy, independently of earlier copies", () =>
    Effect.gen(function*() {
      const { counted, counter } = counting()
      const source = yield* MemoryRegistry.make()
      const store = yield* MemoryRegistry.make()
      const destination = override(store, {
        pushBlob: (...args) => counted(store.pushBlob(...args)),
        resolveBlob: (...args) => counted(store.resolveBlob(...args))
      })
      const namespace = Namespace.make({ resolver: Resolver.static({}) })
      const seen: Array<number> = []
      for (const maximum of [2, 16, 1]) {
        const layers = Array.from({ length: 40 }, (_, index) => `layer ${index} of ${maximum}`)
        const name = tag(`${maximum}`)
        yield* pushImage(source, from, layers, { tags: [name] })
        counter.most = 0
        yield* namespace.copyManifest({
          source: { registry: source, repository: from, tag: name },
          destination: { registry: destination, repository: to, tag: name }
        }).pipe(Effect.provideService(Copy.MaxInFlight, maximum))
        seen.push(counter.most)
      }
      assert.deepStrictEqual(seen, [2, 16, 1])
    }))
})

describe("KnownRegistries", () => {
  const copies = Effect.fnUntraced(function*(known: () => Copy.KnownRegistries) {
    const [source, store] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
    let lookups = 0
    const destination = override(store, {
      capabilities: Effect.succeed({ anonymousMount: false, selfMount: false }),
      resolveBlob: (...args) => {
        lookups++
        return store.resolveBlob(...args)
      }
    })
    for (const name of ["1", "2"]) {
      yield* pushImage(source, from, ["shared"], { tags: [tag(name)], extra: { annotations: { name } } })
      yield* Copy.copyManifest({
        source: { registry: source, repository: from, tag: tag(name) },
        destination: { registry: destination, repository: to, tag: tag(name) }
      }).pipe(Effect.provideService(Copy.KnownRegistries, known()))
    }
    return lookups
  })

  it.effect("is shared by copies with the same value", () =>
    Effect.gen(function*() {
      const known = Copy.makeKnownRegistries()
      assert.isBelow(yield* copies(() => known), yield* copies(Copy.makeKnownRegistries))
    }))
})

describe("a list of a registry", () => {
  const copy = (source: Registry, destination: Registry) =>
    Copy.copyManifest({
      source: { registry: source, repository: from, tag: tag("1") },
      destination: { registry: destination, repository: to, tag: tag("1") }
    })

  it.effect("of referrers is read with limited concurrency", () =>
    Effect.gen(function*() {
      const { counted, counter } = counting()
      const [store, destination] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      const image = yield* pushImage(store, from, ["one"], { tags: [tag("1")] })
      const count = 3000
      const listed = Array.from({ length: count }, (_, index) => ({
        mediaType: MediaType.imageManifest,
        digest: digestOf(`referrer ${index}`),
        size: 10
      }))
      const source = override(store, {
        referrers: (_, digest) => digest === image.digest ? Stream.fromIterable(listed) : Stream.empty,
        getManifest: (repository, reference) =>
          reference.startsWith("sha256:") && reference !== image.digest
            ? counted(failing("getManifest", new ManifestUnknown({})))
            : store.getManifest(repository, reference)
      })
      const report = yield* copy(source, destination)
      assert.strictEqual(report.having("missing").length, count)
      assert.isAtMost(counter.most, 256)
    }))

  it.effect("of 600 images, and of 600 referrers, is copied completely", () =>
    Effect.gen(function*() {
      const [source, destination] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      const numbers = Array.from({ length: 600 }, (_, index) => index)
      const images = yield* Effect.forEach(numbers, (number) => pushImage(source, from, [`image ${number}`]))
      const index = yield* pushIndex(source, from, images, { tags: [tag("1")] })
      yield* Effect.forEach(numbers, (number) => pushReferrer(source, from, index, `referrer ${number}`))
      yield* copy(source, destination)
      assert.lengthOf(yield* listReferrers(destination, to, index.digest), 600)
      assert.strictEqual((yield* destination.resolveManifest(to, tag("1"))).digest, index.digest)
    }))

  it.effect("may be a chain of 20 000 referrers that wait for each other", () =>
    Effect.sync(() => {
      const waits = WaitGraph.make()
      const digests = Array.from({ length: 20_000 }, (_, index) => digestOf(`${index}`))
      const next = (index: number): Digest => digests[(index + 1) % digests.length] ?? digestOf("none")
      const waiting = digests.filter((digest, index) => waits.forReferrer(digest, next(index)))
      assert.lengthOf(waiting, digests.length - 1)
    }))

  it.effect("takes a limited number of steps, even if all manifests wait for each other", () =>
    Effect.sync(() => {
      const waits = WaitGraph.make()
      const digests = Array.from({ length: 6000 }, (_, index) => digestOf(`${index}`))
      const [root] = digests
      assert(root !== undefined)
      for (const digest of digests) waits.forReferrer(root, digest)
      let late = 0
      for (const digest of digests.slice(1)) {
        // the search for each one begins at the root, over all manifests that the root waits for
        late += waits.forContained(digest, digestOf(`below ${digest}`))?.length ?? 0
        late += waits.forContained(digestOf(`below ${digest}`), root)?.length ?? 0
      }
      assert.strictEqual(late, digests.length - 1)
    }))
})

describe("a pool of tasks", () => {
  it.effect("runs a limited number at the same time, with the tasks that they add, until none is left", () =>
    Effect.gen(function*() {
      const { counted, counter } = counting()
      const pool = TaskPool.make<never>(3)
      let done = 0
      const task = (depth: number): Effect.Effect<void> =>
        counted(Effect.suspend(() => {
          done++
          return depth === 0 ? Effect.void : pool.add([task(depth - 1), task(depth - 1)])
        }))
      yield* pool.run([task(6)])
      assert.deepStrictEqual([done, counter.most, counter.running], [127, 3, 0])
    }))

  it.effect("starts hundreds of them at the same time", () =>
    Effect.gen(function*() {
      const { counted, counter } = counting()
      const pool = TaskPool.make<never>(512)
      yield* pool.run(Array.from({ length: 2000 }, () => counted(Effect.void)))
      assert.strictEqual(counter.most, 512)
    }))

  it.effect("takes a task from a list only when it can run", () =>
    Effect.gen(function*() {
      const pool = TaskPool.make<string>(2)
      let taken = 0
      const endless = function*() {
        for (;;) {
          taken++
          yield taken < 10 ? Effect.yieldNow : Effect.fail("enough")
        }
      }
      assert.strictEqual(yield* Effect.flip(pool.run(endless())), "enough")
      assert.isAtMost(taken, 12)
    }))

  it.effect("interrupts all of them when one fails", () =>
    Effect.gen(function*() {
      let ended = 0
      const pool = TaskPool.make<string>(8)
      const waiting = Effect.never.pipe(Effect.ensuring(Effect.sync(() => ended++)))
      assert.strictEqual(yield* Effect.flip(pool.run([waiting, waiting, Effect.fail("no")])), "no")
      assert.strictEqual(ended, 2)
    }))
})

describe("tags that are made of a digest", () => {
  it.effect("are processed with pauses for the event loop, however many a registry lists for one manifest", () =>
    Effect.gen(function*() {
      const store = yield* MemoryRegistry.make()
      const destination = yield* MemoryRegistry.make()
      const { digest } = yield* pushImage(store, from, ["layer"], { tags: [tag("1")] })
      const names = Array.from({ length: 100_000 }, (_, index) => tag(`${digest.replace(":", "-")}.${index}`))
      const source = override(store, {
        tags: () => Stream.fromIterable(names),
        resolveManifest: (name, reference) =>
          reference === "1"
            ? store.resolveManifest(name, reference)
            : failing("resolveManifest", new ManifestUnknown({}))
      })
      const copy = Namespace.make({ resolver: Resolver.static({}) }).copyManifest({
        source: { registry: source, repository: from, tag: tag("1") },
        destination: { registry: destination, repository: to, tag: tag("1") },
        digestTags: "copy"
      })
      assert.isBelow(yield* longestStretch(Effect.flip(copy)), 100)
    }))
})
