import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, FileSystem, Scope, Stream } from "effect"
import * as CacheRegistry from "effect-oci/CacheRegistry"
import type { Digest } from "effect-oci/Digest"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import {
  Denied,
  type Reason,
  type RegistryError,
  Storage,
  TooManyRequests,
  Transport,
  Unauthorized,
  UnexpectedResponse
} from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import { TestClock } from "effect/testing"
import { pushBlob, pushManifest, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"

const app = repository("team/app")
const other = repository("other")
const down = new Transport({ code: "ECONNREFUSED" })
const index = { mediaType: MediaType.imageIndex, manifests: [] }

interface Options extends Partial<CacheRegistry.Options> {
  readonly faults?: ReadonlyArray<Faults.Fault>
  readonly storeFaults?: ReadonlyArray<Faults.Fault>
}

const setup = Effect.fnUntraced(function*({ faults, storeFaults, ...options }: Options = {}) {
  const origin = yield* MemoryRegistry.make({ name: "upstream.test" })
  const kept = options.store ?? (yield* MemoryRegistry.make({ name: "store", deletableBlobs: "all" }))
  const store = (yield* Faults.make(kept, storeFaults)).registry
  const upstream = yield* Faults.make(origin, faults)
  const events: Array<Registry.RegistryEvent> = []
  const observe = (event: Registry.RegistryEvent) => Effect.sync(() => void events.push(event))
  const cache = yield* CacheRegistry.make(upstream.registry, { ...options, store }).pipe(
    Effect.provideService(Registry.Observer, observe)
  )
  const asked = (operation: Faults.Operation) => upstream.calls.filter((call) => call.operation === operation).length
  const watched = Effect.provideService(Registry.Observer, observe)
  return { origin, store: kept, cache, asked, events, watched, calls: upstream.calls }
})

const settle = Effect.replicateEffect(Effect.yieldNow, 200, { discard: true })

const read = (registry: Registry.Registry, digest: Digest, name = app) =>
  Effect.tap(
    Effect.scoped(Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.mkUint8Array(stream))),
    () => settle
  )

const has = (registry: Registry.Registry, digest: Digest, name = app) =>
  Effect.isSuccess(registry.resolveBlob(name, digest))

const reasonOf = <A>(effect: Effect.Effect<A, RegistryError>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

const noise = (size: number, seed: number) => Uint8Array.from({ length: size }, (_, index) => index * seed)

/** A journal in memory. */
const memoryJournal = () => {
  let text: string | undefined
  const journal: CacheRegistry.Journal = {
    load: Effect.sync(() => text),
    save: (saved) =>
      Effect.sync(() => {
        text = saved
      })
  }
  return { journal, text: () => text }
}

describe("a tag of a cache whose upstream is away", () => {
  const staleFor = (reason: Reason, options: Options = {}) =>
    Effect.gen(function*() {
      const made = yield* setup({ faults: [Faults.fail(reason, { operation: "resolveManifest" })], ...options })
      const { digest } = yield* pushManifest(made.origin, app, index, [tag("1")])
      yield* made.cache.resolveManifest(app, tag("1"))
      return { ...made, digest }
    })

  it.effect.each([
    down,
    new TooManyRequests({ status: 429 }),
    new UnexpectedResponse({ detail: "internal error", status: 500 })
  ])("is served as last known after %s, with its age", (reason) =>
    Effect.gen(function*() {
      const { cache, digest, events, watched } = yield* staleFor(reason)
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* watched(cache.resolveManifest(app, tag("1")))).digest, digest)
      const event = events.find(({ _tag }) => _tag === "ServedStale")
      assert(event?._tag === "ServedStale" && event.age !== undefined)
      assert.strictEqual(Duration.toHours(event.age), 2)
    }))

  it.effect("is not served after 401", () =>
    Effect.gen(function*() {
      const { cache } = yield* staleFor(new Unauthorized({ status: 401 }))
      yield* TestClock.adjust("2 hours")
      assert.strictEqual(yield* reasonOf(cache.resolveManifest(app, tag("1"))), "Unauthorized")
    }))

  it.effect("is served until its maximum age", () =>
    Effect.gen(function*() {
      const { cache, digest } = yield* staleFor(down, { stale: { maximumAge: "1 hour" } })
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* cache.resolveManifest(app, tag("1"))).digest, digest)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* reasonOf(cache.resolveManifest(app, tag("1"))), "Transport")
    }))

  it.effect("has an age after a restart if there is a journal", () =>
    Effect.gen(function*() {
      const { journal } = memoryJournal()
      const { digest, store } = yield* Effect.scoped(staleFor(down, { journal }))
      const options = { faults: [Faults.fail(down)], store, stale: { maximumAge: "1 hour" } as const }
      yield* TestClock.adjust("30 minutes")
      const { cache } = yield* setup({ ...options, journal })
      assert.strictEqual((yield* cache.resolveManifest(app, tag("1"))).digest, digest)
      const forgetful = yield* setup(options)
      assert.strictEqual(yield* reasonOf(forgetful.cache.resolveManifest(app, tag("1"))), "Transport")
    }))

  it.effect("is served after ten seconds if upstream does not answer", () =>
    Effect.gen(function*() {
      const { cache, digest } = yield* staleFor(down, {
        faults: [Faults.wait(Effect.never, { operation: "resolveManifest" })]
      })
      yield* TestClock.adjust("5 minutes")
      const fiber = yield* Effect.forkChild(cache.resolveManifest(app, tag("1")), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).digest, digest)
    }))
})

describe("a list of a cache whose upstream is away", () => {
  const listsOf = (registry: Registry.Registry, name = app) =>
    Effect.all([Stream.runCollect(registry.repositories()), Stream.runCollect(registry.tags(name))])

  const awayFrom = Effect.fnUntraced(function*(reason: Reason, options: Options = {}) {
    const faults = [
      Faults.fail(reason, { operation: "tags" }),
      Faults.fail(reason, { operation: "repositories" })
    ]
    const made = yield* setup({ faults, ...options })
    for (const name of ["1", "2", "3"]) yield* pushManifest(made.origin, app, { ...index, name }, [tag(name)])
    yield* made.cache.getManifest(app, tag("2"))
    yield* made.cache.getManifest(app, tag("3"))
    return made
  })

  it.effect("has what is kept, with a warning", () =>
    Effect.gen(function*() {
      const { cache, events, watched } = yield* awayFrom(down)
      assert.deepStrictEqual(yield* watched(listsOf(cache)), [[app], [tag("2"), tag("3")]])
      assert.deepStrictEqual(yield* Stream.runCollect(cache.tags(app, { after: tag("2") })), [tag("3")])
      assert.isTrue(events.some((event) => event._tag === "Warning" && event.text.startsWith("the tags of team/app")))
    }))

  it.effect("has what upstream has confirmed within the maximum age", () =>
    Effect.gen(function*() {
      const { cache } = yield* awayFrom(down, { stale: { maximumAge: "1 hour" }, tagTimeToLive: 0 })
      yield* TestClock.adjust("45 minutes")
      yield* cache.resolveManifest(app, tag("3"))
      yield* TestClock.adjust("45 minutes")
      assert.deepStrictEqual(yield* listsOf(cache), [[app], [tag("3")]])
      yield* TestClock.adjust("45 minutes")
      assert.deepStrictEqual(yield* listsOf(cache), [[], []])
    }))

  it.effect("fails with the error of upstream if nothing is kept, or the policy does not permit it", () =>
    Effect.gen(function*() {
      const { cache } = yield* awayFrom(down)
      assert.strictEqual(yield* reasonOf(Stream.runCollect(cache.tags(other))), "Transport")
      const strict = yield* awayFrom(down, { stale: "fail" })
      assert.strictEqual(yield* reasonOf(listsOf(strict.cache)), "Transport")
    }))

  it.effect("fails if upstream refuses it", () =>
    Effect.gen(function*() {
      const { cache } = yield* awayFrom(new Denied({ status: 403 }))
      assert.strictEqual(yield* reasonOf(listsOf(cache)), "Denied")
    }))

  it.effect("has what is kept after ten seconds if upstream does not answer", () =>
    Effect.gen(function*() {
      const { origin, store } = yield* awayFrom(down)
      const silent = { ...origin, tags: () => Stream.never }
      const cache = yield* CacheRegistry.make(silent, { store })
      const listing = yield* Effect.forkChild(Stream.runCollect(cache.tags(app)))
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(listing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(listing), [tag("2"), tag("3")])
    }))
})

describe("a cache", () => {
  it.effect("confirms a tag without GET if it has not moved, and fetches it once if it has", () =>
    Effect.gen(function*() {
      const { asked, cache, origin } = yield* setup()
      yield* pushManifest(origin, app, index, [tag("1")])
      yield* cache.getManifest(app, tag("1"))
      for (let count = 0; count < 3; count++) {
        yield* TestClock.adjust("5 minutes")
        yield* cache.getManifest(app, tag("1"))
      }
      assert.deepStrictEqual([asked("resolveManifest"), asked("getManifest")], [3, 1])
      const moved = yield* pushManifest(origin, app, { ...index, annotations: { a: "b" } }, [tag("1")])
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual((yield* cache.getManifest(app, tag("1"))).descriptor.digest, moved.digest)
      assert.deepStrictEqual([asked("resolveManifest"), asked("getManifest")], [4, 2])
    }))

  it.effect("asks once for an absent manifest within ten seconds", () =>
    Effect.gen(function*() {
      const { asked, cache, origin } = yield* setup()
      yield* pushBlob(origin, app, "a")
      const { digest } = yield* pushManifest(yield* MemoryRegistry.make(), app, index)
      yield* Effect.replicateEffect(Effect.flip(cache.getManifest(app, digest)), 5)
      assert.strictEqual(asked("getManifest"), 1)
      yield* TestClock.adjust("10 seconds")
      yield* pushManifest(origin, app, index)
      assert.strictEqual((yield* cache.getManifest(app, digest)).descriptor.digest, digest)
    }))

  it.effect("does not remember failures that are not absence", () =>
    Effect.gen(function*() {
      const { cache, origin } = yield* setup({ faults: [Faults.fail(down, { calls: { first: 1 } })] })
      const { digest } = yield* pushManifest(origin, app, index, [tag("1")])
      assert.strictEqual(yield* reasonOf(cache.resolveManifest(app, tag("1"))), "Transport")
      assert.strictEqual((yield* cache.resolveManifest(app, tag("1"))).digest, digest)
    }))
})

describe("a cache with a maximum size", () => {
  const blobs = Effect.fnUntraced(function*(origin: Registry.Registry) {
    const one = yield* pushBlob(origin, app, noise(400, 1))
    const two = yield* pushBlob(origin, other, noise(400, 2))
    const three = yield* pushBlob(origin, app, noise(400, 3))
    return { one: one.digest, two: two.digest, three: three.digest }
  })

  it.effect("evicts what was used longest ago, in whatever repository", () =>
    Effect.gen(function*() {
      const { asked, cache, origin, store } = yield* setup({ maximumSize: 1000 })
      const { one, three, two } = yield* blobs(origin)
      yield* read(cache, one)
      yield* read(cache, two, other)
      yield* read(cache, one)
      yield* read(cache, three)
      assert.deepStrictEqual(
        [yield* has(store, one), yield* has(store, two, other), yield* has(store, three)],
        [true, false, true]
      )
      const before = asked("getBlob")
      assert.lengthOf(yield* read(cache, two, other), 400)
      assert.strictEqual(asked("getBlob"), before + 1)
      assert.isFalse(yield* has(store, one))
    }))

  it.effect("evicts manifests as well, and fetches them again", () =>
    Effect.gen(function*() {
      const { asked, cache, origin, store } = yield* setup({ maximumSize: 500 })
      const { one } = yield* blobs(origin)
      const { digest } = yield* pushManifest(origin, app, { ...index, annotations: { a: "b".repeat(100) } }, [tag("1")])
      yield* cache.getManifest(app, tag("1"))
      yield* TestClock.adjust("1 second")
      yield* read(cache, one)
      assert.isTrue(yield* has(store, one))
      assert.isTrue(yield* Effect.isFailure(store.resolveManifest(app, digest)))
      assert.strictEqual((yield* cache.getManifest(app, tag("1"))).descriptor.digest, digest)
      assert.strictEqual(asked("getManifest"), 2)
    }))

  it.effect("passes on a blob that is larger, keeps what it has, and warns", () =>
    Effect.gen(function*() {
      const { cache, events, origin, store } = yield* setup({ maximumSize: 1000 })
      const { one } = yield* blobs(origin)
      const { digest } = yield* pushBlob(origin, app, noise(1001, 7))
      yield* read(cache, one)
      assert.lengthOf(yield* read(cache, digest), 1001)
      assert.deepStrictEqual([yield* has(store, one), yield* has(store, digest)], [true, false])
      assert.match(JSON.stringify(events), /is not cached: .*the cache is full: it may have 1000 bytes/)
    }))

  it.effect("never evicts a blob that is being read", () =>
    Effect.gen(function*() {
      const { cache, origin, store } = yield* setup({ maximumSize: 1000 })
      const { one, three, two } = yield* blobs(origin)
      yield* read(cache, one)
      yield* read(cache, two, other)
      const scope = yield* Scope.make()
      yield* Scope.provide(cache.getBlob(app, one), scope)
      yield* read(cache, two, other)
      yield* read(cache, three)
      assert.deepStrictEqual([yield* has(store, one), yield* has(store, two, other)], [true, false])
      yield* Scope.close(scope, Exit.void)
      yield* read(cache, two, other)
      assert.isFalse(yield* has(store, one))
    }))

  it.effect("never evicts a blob that is being written, and does not keep one that does not fit beside it", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { cache, origin, store } = yield* setup({
        maximumSize: 1000,
        faults: [Faults.stallAt(300, Deferred.await(gate), { calls: { first: 1 } })]
      })
      const { digest: large } = yield* pushBlob(origin, app, noise(700, 5))
      const { one } = yield* blobs(origin)
      yield* Effect.forkChild(read(cache, large), { startImmediately: true })
      yield* settle
      assert.lengthOf(yield* read(cache, one), 400)
      assert.isFalse(yield* has(store, one))
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.isTrue(yield* has(store, large))
    }))

  it.effect("knows after a restart what was used longest ago", () =>
    Effect.gen(function*() {
      const { journal, text } = memoryJournal()
      const options = { maximumSize: 1000, journal }
      const first = yield* Effect.scoped(Effect.gen(function*() {
        const made = yield* setup(options)
        const { one, two } = yield* blobs(made.origin)
        yield* read(made.cache, one)
        yield* TestClock.adjust("1 second")
        yield* read(made.cache, two, other)
        yield* TestClock.adjust("1 second")
        yield* read(made.cache, one)
        assert.isUndefined(text(), "a read writes nothing")
        return { ...made, one, two }
      }))
      const { cache, origin } = yield* setup({ ...options, store: first.store })
      const { three } = yield* blobs(origin)
      yield* read(cache, three)
      assert.deepStrictEqual([yield* has(first.store, first.one), yield* has(first.store, first.two, other)], [
        true,
        false
      ])
    }))

  it.effect("keeps content in the table that the store does not delete, and warns", () =>
    Effect.gen(function*() {
      const { cache, events, origin } = yield* setup({
        maximumSize: 500,
        storeFaults: [Faults.fail(new Denied({ detail: "no" }), { operation: "deleteBlob" })]
      })
      const { one, three } = yield* blobs(origin)
      yield* read(cache, one)
      assert.lengthOf(yield* read(cache, three), 400)
      assert.match(JSON.stringify(events), /is not evicted: /)
      assert.match(JSON.stringify(events), /the cache is full/)
    }))

  it.effect("passes blobs on if the disk is full", () =>
    Effect.gen(function*() {
      const full = new Storage({ path: "blobs", problem: "the disk is full", code: "ENOSPC" })
      const { cache, events, origin } = yield* setup({
        maximumSize: 1000,
        storeFaults: [Faults.fail(full, { operation: "startUpload" }), Faults.fail(full, { operation: "pushBlob" })]
      })
      const { one } = yield* blobs(origin)
      assert.lengthOf(yield* read(cache, one), 400)
      assert.lengthOf(yield* read(cache, one), 400)
      assert.match(JSON.stringify(events), /is not cached/)
    }))
})

describe("a cache in a folder", () => {
  it.effect("counts what an earlier process left there without a journal", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const store = yield* LayoutRegistry.make({ directory, deletableBlobs: "all", durability: "process-end" })
      const { digest: old } = yield* pushBlob(store, app, noise(400, 1))
      yield* pushBlob(store, other, noise(400, 2))
      assert.lengthOf(yield* Stream.runCollect(store.contents), 2)
      yield* TestClock.setTime(4_000_000_000_000)
      const { cache, origin } = yield* setup({ store, maximumSize: 1000, inventory: store.contents })
      const { digest } = yield* pushBlob(origin, app, noise(700, 3))
      yield* Effect.scoped(Effect.flatMap(cache.getBlob(app, digest), ({ stream }) => Stream.runDrain(stream)))
      assert.deepStrictEqual([yield* has(store, old), yield* has(store, digest)], [false, true])
      assert.lengthOf(yield* Stream.runCollect(store.contents), 1)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("saves its journal in a file, and starts without it if that is damaged", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* temporaryFolder}/below/cache.json`
      const journal = yield* CacheRegistry.fileJournal(file)
      assert.isUndefined(yield* journal.load)
      const { origin, store } = yield* Effect.scoped(Effect.gen(function*() {
        const made = yield* setup({ journal, maximumSize: 1000 })
        const { digest } = yield* pushBlob(made.origin, app, "content")
        yield* read(made.cache, digest)
        return made
      }))
      assert.include(yield* fs.readFileString(file), "\"content\":[[\"team/app\"")
      yield* fs.writeFileString(file, "{")
      const { cache } = yield* setup({ journal, maximumSize: 1000, store })
      const { digest } = yield* pushBlob(origin, app, "content")
      assert.lengthOf(yield* read(cache, digest), 7)
    }).pipe(Effect.provide(NodeServices.layer)))
})
