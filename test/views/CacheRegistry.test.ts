import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Equal, Exit, Fiber, Layer, Scope, Stream } from "effect"
import * as CacheRegistry from "effect-oci/CacheRegistry"
import * as Descriptor from "effect-oci/Descriptor"
import type { Digest } from "effect-oci/Digest"
import * as Limiter from "effect-oci/Limiter"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Tag } from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import { Denied, ManifestUnknown, type RegistryError, TooManyRequests, Transport } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import { TestClock } from "effect/testing"
import { bytesOf, pushBlob, pushImage, pushManifest, repository, tag } from "../utils/images.ts"

const app = repository("team/app")
const full = new Denied({ detail: "there is no room" })
const down = new Transport({ code: "ECONNREFUSED" })
const index = { mediaType: MediaType.imageIndex, manifests: [] }

interface Options extends Omit<CacheRegistry.Options, "store"> {
  readonly upstream?: ReadonlyArray<Faults.Fault>
  readonly store?: ReadonlyArray<Faults.Fault>
}

const setup = Effect.fnUntraced(function*(options: Options = {}) {
  const origin = yield* MemoryRegistry.make({ name: "upstream.test" })
  const kept = yield* MemoryRegistry.make({ name: "store" })
  const upstream = yield* Faults.make(origin, options.upstream)
  const store = yield* Faults.make(kept, options.store)
  const cache = yield* CacheRegistry.make(upstream.registry, { ...options, store: store.registry })
  const asked = (operation: Faults.Operation) => upstream.calls.filter((call) => call.operation === operation).length
  return { origin, kept, upstream, store, cache, asked }
})

const noise = (size: number) => Uint8Array.from({ length: size }, (_, index) => (index * index) >> 3)

const read = (registry: Registry.Registry, digest: Digest, range?: Registry.Range) =>
  Effect.scoped(
    Effect.flatMap(
      registry.getBlob(app, digest, range === undefined ? {} : { range }),
      ({ stream }) => Stream.mkUint8Array(stream)
    )
  )

const has = (registry: Registry.Registry, digest: Digest, name = app) =>
  Effect.isSuccess(registry.resolveBlob(name, digest))

const digestOf = (registry: Registry.Registry, name: Tag) =>
  Effect.map(registry.resolveManifest(app, name), ({ digest }) => digest)

const reasonOf = <A>(effect: Effect.Effect<A, RegistryError>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

/** Compares bytes, because the assertion for values is slow with large arrays. */
const assertBytes = (found: Uint8Array, expected: Uint8Array) =>
  assert.isTrue(Equal.equals(found, expected), `${found.length} bytes are not the ${expected.length} expected`)

/** Yields until all fibers that can run have run. */
const settle = Effect.replicateEffect(Effect.yieldNow, 100, { discard: true })

/** A gate that is shut. */
const gate = Effect.map(Deferred.make<void>(), (deferred) => ({
  opened: Deferred.await(deferred),
  open: Deferred.succeed(deferred, undefined)
}))

describe("a blob", () => {
  it.effect("is kept after it was read, and not requested again", () =>
    Effect.gen(function*() {
      const { cache, kept, origin, upstream } = yield* setup()
      const bytes = noise(300_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      assertBytes(yield* read(cache, digest), bytes)
      yield* settle
      assertBytes(yield* read(kept, digest), bytes)
      const before = upstream.calls.length
      assertBytes(yield* read(cache, digest), bytes)
      assertBytes(yield* read(cache, digest, { offset: 5, length: 3 }), bytes.subarray(5, 8))
      assert.strictEqual((yield* cache.resolveBlob(app, digest)).size, 300_000)
      assert.strictEqual(upstream.calls.length, before)
    }))

  it.effect("needs one request", () =>
    Effect.gen(function*() {
      const { cache, origin, upstream } = yield* setup()
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* read(cache, digest)
      assert.deepStrictEqual(upstream.calls.map(({ operation }) => operation), ["getBlob", "read"])
    }))

  it.effect("is fetched once for 500 readers", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { asked, cache, kept, origin } = yield* setup({
        upstream: [Faults.wait(opened, { operation: "getBlob" })]
      })
      const bytes = noise(150_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      const readers = yield* Effect.forkChild(
        Effect.replicateEffect(read(cache, digest), 500, { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      yield* settle
      yield* open
      const found = yield* Fiber.join(readers)
      for (const each of found) assertBytes(each, bytes)
      assert.strictEqual(asked("getBlob"), 1)
      assert.isTrue(yield* has(kept, digest))
    }))

  it.effect("is fetched once for readers that arrive one after another during the transfer", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { asked, cache, origin } = yield* setup({ upstream: [Faults.stallAt(100_000, opened)] })
      const bytes = noise(200_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      const readers: Array<Fiber.Fiber<Uint8Array, RegistryError>> = []
      for (let count = 0; count < 10; count++) {
        readers.push(yield* Effect.forkChild(read(cache, digest), { startImmediately: true }))
        yield* settle
      }
      yield* open
      for (const reader of readers) assertBytes(yield* Fiber.join(reader), bytes)
      assert.strictEqual(asked("getBlob"), 1)
    }))

  it.effect("is read during the transfer", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup({ upstream: [Faults.stallAt(100_000, Effect.never)] })
      const bytes = noise(200_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      const { descriptor, stream } = yield* cache.getBlob(app, digest)
      let got = 0
      yield* Stream.runDrain(Stream.takeUntil(stream, ({ length }) => (got += length) === 100_000))
      assert.deepStrictEqual([descriptor.size, got], [200_000, 100_000])
      assert.isFalse(yield* has(kept, digest))
    }))

  it.effect("continues when a reader leaves, even the first", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { asked, cache, origin } = yield* setup({ upstream: [Faults.stallAt(100_000, opened)] })
      const bytes = noise(200_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      const readers = yield* Effect.replicateEffect(
        Effect.forkChild(read(cache, digest), { startImmediately: true }),
        3
      )
      yield* settle
      const [first, second, third] = readers
      assert(first !== undefined && second !== undefined && third !== undefined)
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(third)
      yield* open
      assertBytes(yield* Fiber.join(second), bytes)
      assert.strictEqual(asked("getBlob"), 1)
    }))

  it.effect("is kept even if all of its readers leave", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { cache, kept, origin } = yield* setup({ upstream: [Faults.stallAt(100_000, opened)] })
      const { digest } = yield* pushBlob(origin, app, noise(200_000))
      const reader = yield* Effect.forkChild(read(cache, digest), { startImmediately: true })
      yield* settle
      yield* Fiber.interrupt(reader)
      yield* open
      yield* settle
      assert.isTrue(yield* has(kept, digest))
    }))

  it.effect("of no bytes is kept", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup()
      const { digest } = yield* pushBlob(origin, app, "")
      assert.lengthOf(yield* read(cache, digest), 0)
      yield* settle
      assert.isTrue(yield* has(kept, digest))
    }))

  it.effect("that upstream does not have fails, and is requested again", () =>
    Effect.gen(function*() {
      const { cache, origin } = yield* setup()
      const { digest } = yield* pushBlob(yield* MemoryRegistry.make(), app, "content")
      yield* pushBlob(origin, app, "another")
      const error = yield* Effect.flip(read(cache, digest))
      assert.strictEqual(error.message, "upstream.test/team/app: there is no such blob (getBlob)")
      yield* pushBlob(origin, app, "content")
      assertBytes(yield* read(cache, digest), bytesOf("content"))
    }))

  it.effect("is mounted if the store has it in another repository, and not read again", () =>
    Effect.gen(function*() {
      const { asked, cache, kept, origin } = yield* setup()
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* pushBlob(kept, repository("other"), "content")
      assertBytes(yield* read(cache, digest), bytesOf("content"))
      assert.strictEqual(asked("read"), 0)
      assert.isTrue(yield* has(kept, digest))
    }))

  it.effect("that the store has in another repository is not served if upstream does not have it", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup()
      yield* pushBlob(origin, app, "another")
      const { digest } = yield* pushBlob(kept, repository("secret"), "content")
      assert.strictEqual(yield* reasonOf(read(cache, digest)), "BlobUnknown")
    }))

  it.effect("is kept in a store that does not mount without a source repository", () =>
    Effect.gen(function*() {
      const { kept, origin } = yield* setup()
      const store = Registry.make({ ...kept, capabilities: Effect.succeed({}) })
      const cache = yield* CacheRegistry.make(origin, { store })
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* read(cache, digest)
      yield* settle
      assert.isTrue(yield* has(kept, digest))
    }))
})

describe("when upstream fails during a transfer", () => {
  const failing = Effect.gen(function*() {
    const { open, opened } = yield* gate
    const rig = yield* setup({
      upstream: [Faults.stallAt(50_000, opened), Faults.breakAt(100_000, { calls: [1] })]
    })
    const bytes = noise(200_000)
    const { digest } = yield* pushBlob(rig.origin, app, bytes)
    const readers = yield* Effect.replicateEffect(
      Effect.forkChild(Effect.flip(read(rig.cache, digest)), { startImmediately: true }),
      5
    )
    yield* settle
    yield* open
    const errors = yield* Effect.forEach(readers, (fiber) => Fiber.join(fiber))
    return { ...rig, bytes, digest, errors }
  })

  it.effect("all readers get the error", () =>
    Effect.gen(function*() {
      const { errors } = yield* failing
      assert.deepStrictEqual(
        errors.map(({ message }) => message),
        Array.from({ length: 5 }, () => "upstream.test/team/app: the connection was reset (getBlob)")
      )
    }))

  it.effect("nothing is kept", () =>
    Effect.gen(function*() {
      const { digest, kept } = yield* failing
      assert.isFalse(yield* has(kept, digest))
      assert.deepStrictEqual(yield* Stream.runCollect(kept.repositories()), [])
    }))

  it.effect("the next reader starts a new transfer", () =>
    Effect.gen(function*() {
      const { bytes, cache, digest } = yield* failing
      assertBytes(yield* read(cache, digest), bytes)
    }))
})

describe("content with another digest", () => {
  const wrong: ReadonlyArray<[string, Faults.Fault, string]> = [
    ["with a bit flipped", Faults.flipAt(150_000, {}, { isNoticed: false }), "DigestMismatch"],
    ["that ends early", Faults.truncateAt(150_000, {}, { isNoticed: false }), "SizeMismatch"]
  ]

  it.effect.each(wrong)(
    "a blob %s fails its readers before its end, and is not kept",
    ([, fault, reason]) =>
      Effect.gen(function*() {
        const { cache, kept, origin } = yield* setup({ upstream: [fault] })
        const { digest } = yield* pushBlob(origin, app, noise(200_000))
        const { stream } = yield* cache.getBlob(app, digest)
        let got = 0
        const error = yield* Effect.flip(
          Stream.runForEach(stream, ({ length }) => Effect.sync(() => got += length))
        )
        assert.strictEqual(error.reason._tag, reason)
        assert.isBelow(got, 200_000)
        yield* settle
        assert.isFalse(yield* has(kept, digest))
      })
  )

  it.effect("a manifest fails, and is not kept", () =>
    Effect.gen(function*() {
      const fault = Faults.flipAt(0, { operation: "getManifest" }, { isNoticed: false })
      const { cache, kept, origin } = yield* setup({ upstream: [fault] })
      const { digest } = yield* pushManifest(origin, app, index, [tag("1")])
      assert.strictEqual(yield* reasonOf(cache.getManifest(app, tag("1"))), "DigestMismatch")
      assert.strictEqual(yield* reasonOf(cache.getManifest(app, digest)), "DigestMismatch")
      assert.deepStrictEqual(yield* Stream.runCollect(kept.repositories()), [])
    }))

  it.effect("a blob that was corrupted in the store fails, is deleted, and fetched again", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup({ store: [Faults.flipAt(0, { calls: [1] })] })
      const bytes = noise(1_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      yield* pushBlob(kept, app, bytes)
      assert.strictEqual(yield* reasonOf(read(cache, digest)), "DigestMismatch")
      assert.isFalse(yield* has(kept, digest))
      assertBytes(yield* read(cache, digest), bytes)
      yield* settle
      assert.isTrue(yield* has(kept, digest))
    }))

  it.effect("a manifest that was corrupted in the store is fetched again", () =>
    Effect.gen(function*() {
      const { asked, cache, kept, origin } = yield* setup({ store: [Faults.flipAt(0, { operation: "getManifest" })] })
      const { digest } = yield* pushManifest(origin, app, index)
      yield* pushManifest(kept, app, index)
      assert.strictEqual((yield* cache.getManifest(app, digest)).descriptor.digest, digest)
      assert.strictEqual(asked("getManifest"), 1)
    }))
})

describe("when the store fails", () => {
  it.effect("blobs come from upstream", () =>
    Effect.gen(function*() {
      const { cache, origin } = yield* setup({ store: [Faults.fail(down)] })
      const bytes = noise(300_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      assertBytes(yield* read(cache, digest), bytes)
      assertBytes(yield* read(cache, digest, { offset: 7, length: 2 }), bytes.subarray(7, 9))
      assert.strictEqual((yield* cache.resolveBlob(app, digest)).size, 300_000)
    }))

  it.effect("manifests come from upstream, and are kept in memory", () =>
    Effect.gen(function*() {
      const { asked, cache, origin } = yield* setup({ store: [Faults.fail(down)] })
      const { digest } = yield* pushManifest(origin, app, index, [tag("1")])
      assert.strictEqual((yield* cache.getManifest(app, tag("1"))).descriptor.digest, digest)
      assert.strictEqual((yield* cache.getManifest(app, digest)).descriptor.digest, digest)
      assert.strictEqual(asked("getManifest"), 1)
    }))

  it.effect.each([0, 100_000, 300_000])(
    "after %i bytes, readers get the rest from upstream",
    (at) =>
      Effect.gen(function*() {
        const { open, opened } = yield* gate
        const { asked, cache, kept, origin } = yield* setup({
          upstream: [Faults.wait(opened, { operation: "getBlob", calls: [1] })],
          store: [Faults.breakAt(at, { operation: "commit" }, full)]
        })
        const bytes = noise(300_000)
        const { digest } = yield* pushBlob(origin, app, bytes)
        const readers = yield* Effect.forkChild(
          Effect.replicateEffect(read(cache, digest), 3, { concurrency: "unbounded" }),
          { startImmediately: true }
        )
        yield* settle
        yield* open
        for (const each of yield* Fiber.join(readers)) assertBytes(each, bytes)
        yield* settle
        assert.isFalse(yield* has(kept, digest))
        assert.isAtMost(asked("getBlob"), 2)
      })
  )
})

describe("when the store takes nothing", () => {
  const watching = Effect.gen(function*() {
    const events: Array<Registry.RegistryEvent> = []
    const observe = (event: Registry.RegistryEvent) => Effect.sync(() => void events.push(event))
    const rig = yield* Effect.provideService(
      setup({ store: [Faults.fail(full, { operation: ["startUpload", "pushManifest"] })] }),
      Registry.Observer,
      observe
    )
    return { ...rig, events, observe }
  })

  it.effect("a blob that is not cached is reported", () =>
    Effect.gen(function*() {
      const { cache, events, origin } = yield* watching
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* read(cache, digest)
      yield* settle
      assert.deepStrictEqual(events, [{
        _tag: "Warning",
        registry: "store",
        text: `team/app@${digest} is not cached: access is denied: there is no room`
      }])
    }))

  it.effect("a manifest that is kept in memory is reported", () =>
    Effect.gen(function*() {
      const { cache, events, observe, origin } = yield* watching
      const { digest } = yield* pushManifest(origin, app, index)
      yield* Effect.provideService(cache.getManifest(app, digest), Registry.Observer, observe)
      assert.deepStrictEqual(events, [{
        _tag: "Warning",
        registry: "store",
        text: `team/app@${digest} is kept in memory: access is denied: there is no room`
      }])
    }))
})

describe("when the store fails temporarily", () => {
  it.effect("a transfer continues where it was", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup({
        store: [Faults.breakAt(100_000, { operation: "commit", calls: [1] })]
      })
      const bytes = noise(300_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      const reader = yield* Effect.forkChild(read(cache, digest), { startImmediately: true })
      yield* settle
      yield* TestClock.adjust("1 second")
      assertBytes(yield* Fiber.join(reader), bytes)
      yield* settle
      assert.isTrue(yield* has(kept, digest))
    }))
})

describe("readers of different speed", () => {
  const bytes = noise(1_000_000)

  /** Creates a cache that keeps at most 200 000 bytes for its readers. */
  const small = Effect.fnUntraced(function*(options?: Options) {
    const rig = yield* Effect.provideService(setup(options), CacheRegistry.ReadAhead, 200_000)
    const { digest } = yield* pushBlob(rig.origin, app, bytes)
    return { ...rig, digest }
  })

  /** Creates a reader that reads some bytes, and continues when its gate opens. */
  const pausing = Effect.fnUntraced(function*(registry: Registry.Registry, digest: Digest, at: number) {
    const { open, opened } = yield* gate
    let got = 0
    const fiber = yield* Effect.forkChild(
      Effect.scoped(
        Effect.flatMap(
          registry.getBlob(app, digest),
          ({ stream }) =>
            Stream.mkUint8Array(Stream.tap(stream, ({ length }) =>
              Effect.suspend(() => {
                const isThere = got < at && got + length >= at
                got += length
                return isThere ? opened : Effect.void
              })))
        )
      ),
      { startImmediately: true }
    )
    yield* settle
    return { open, join: Fiber.join(fiber) }
  })

  it.effect("a slow one gets the rest from the store, and does not delay others", () =>
    Effect.gen(function*() {
      const { asked, cache, digest } = yield* small()
      const slow = yield* pausing(cache, digest, 100_000)
      assertBytes(yield* read(cache, digest), bytes)
      yield* slow.open
      assertBytes(yield* slow.join, bytes)
      assert.strictEqual(asked("getBlob"), 1)
    }))

  it.effect("a late one gets all bytes from the store", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { asked, cache, digest } = yield* small({ upstream: [Faults.stallAt(800_000, opened)] })
      const early = yield* Effect.forkChild(read(cache, digest), { startImmediately: true })
      yield* settle
      const late = yield* Effect.forkChild(read(cache, digest), { startImmediately: true })
      yield* settle
      yield* open
      assertBytes(yield* Fiber.join(late), bytes)
      assertBytes(yield* Fiber.join(early), bytes)
      assert.strictEqual(asked("getBlob"), 1)
    }))

  it.effect("the only one slows the transfer, which reads no more than the window", () =>
    Effect.gen(function*() {
      let pulled = 0
      const { digest, origin } = yield* small()
      const counting = Registry.make({
        ...origin,
        getBlob: (...args) =>
          Effect.map(origin.getBlob(...args), (blob) => ({
            ...blob,
            stream: Stream.tap(blob.stream, ({ length }) => Effect.sync(() => pulled += length))
          }))
      })
      const cache = yield* CacheRegistry.make(counting, { store: yield* MemoryRegistry.make() }).pipe(
        Effect.provideService(CacheRegistry.ReadAhead, 200_000)
      )
      const reader = yield* pausing(cache, digest, 100_000)
      assert.isAtMost(pulled, 100_000 + 65_536 + 200_000 + 65_536)
      yield* reader.open
      assertBytes(yield* reader.join, bytes)
    }))

  it.effect("one that stops delays the transfer no longer than the timeout", () =>
    Effect.gen(function*() {
      const { cache, digest, kept } = yield* small()
      const stopped = yield* pausing(cache, digest, 100_000)
      yield* TestClock.adjust("4 seconds")
      yield* settle
      assert.isFalse(yield* has(kept, digest))
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.isTrue(yield* has(kept, digest))
      yield* stopped.open
      assertBytes(yield* stopped.join, bytes)
    }))

  it.effect("one that fell behind fails if the store did not take the blob", () =>
    Effect.gen(function*() {
      const { cache, digest } = yield* small({ store: [Faults.breakAt(900_000, { operation: "commit" }, full)] })
      const slow = yield* pausing(cache, digest, 100_000)
      assertBytes(yield* read(cache, digest), bytes)
      yield* slow.open
      const error = yield* Effect.flip(slow.join)
      assert.deepStrictEqual([error.registry, error.reason._tag], ["store", "Denied"])
    }))

  it.effect("a late one reads from upstream if the store did not take the blob", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { cache, digest } = yield* small({
        upstream: [Faults.stallAt(800_000, opened, { calls: [1] })],
        store: [Faults.breakAt(900_000, { operation: "commit" }, full)]
      })
      const early = yield* Effect.forkChild(read(cache, digest), { startImmediately: true })
      yield* settle
      const late = yield* Effect.forkChild(read(cache, digest), { startImmediately: true })
      yield* settle
      yield* open
      assertBytes(yield* Fiber.join(early), bytes)
      assertBytes(yield* Fiber.join(late), bytes)
    }))
})

describe("a range", () => {
  it.effect("of an absent blob transfers the whole blob, which is verified first", () =>
    Effect.gen(function*() {
      const { asked, cache, kept, origin } = yield* setup()
      const bytes = noise(300_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      assertBytes(yield* read(cache, digest, { offset: 100, length: 50 }), bytes.subarray(100, 150))
      assert.isTrue(yield* has(kept, digest))
      assert.strictEqual(asked("getBlob"), 1)
    }))

  it.effect.each([{ offset: 100, length: 50 }, { offset: 100 }, { offset: 0, length: 200_000 }])(
    "%j of a blob with another digest is never complete",
    (range) =>
      Effect.gen(function*() {
        const { cache, origin } = yield* setup({ upstream: [Faults.flipAt(150_000, {}, { isNoticed: false })] })
        const { digest } = yield* pushBlob(origin, app, noise(200_000))
        assert.strictEqual(yield* reasonOf(read(cache, digest, range)), "DigestMismatch")
      })
  )

  it.effect("that is large fails if the store does not take the blob", () =>
    Effect.gen(function*() {
      const { cache, origin } = yield* setup({ store: [Faults.fail(down)] })
      const { digest } = yield* pushBlob(origin, app, noise(300_000))
      assert.strictEqual(yield* reasonOf(read(cache, digest, { offset: 7, length: 100_001 })), "Transport")
    }).pipe(Effect.provideService(CacheRegistry.ReadAhead, 100_000)))

  it.effect("that is the whole blob keeps it", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup()
      const bytes = noise(300_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      assertBytes(yield* read(cache, digest, { offset: 0 }), bytes)
      yield* settle
      assert.isTrue(yield* has(kept, digest))
    }))

  it.effect("of a blob in transfer follows if it reaches the end, and waits otherwise", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { asked, cache, origin } = yield* setup({ upstream: [Faults.stallAt(100_000, opened)] })
      const bytes = noise(300_000)
      const { digest } = yield* pushBlob(origin, app, bytes)
      const whole = yield* Effect.forkChild(read(cache, digest), { startImmediately: true })
      yield* settle
      const part = { offset: 5_000, length: 50 }
      const waiting = yield* Effect.forkChild(read(cache, digest, part), { startImmediately: true })
      const later = yield* Effect.forkChild(read(cache, digest, { offset: 200_000 }), { startImmediately: true })
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      yield* open
      assertBytes(yield* Fiber.join(waiting), bytes.subarray(5_000, 5_050))
      assertBytes(yield* Fiber.join(later), bytes.subarray(200_000))
      assertBytes(yield* Fiber.join(whole), bytes)
      assert.strictEqual(asked("getBlob"), 1)
    }))

  it.effect("beyond the end of a blob in transfer fails", () =>
    Effect.gen(function*() {
      const { cache, origin } = yield* setup({ upstream: [Faults.stallAt(0, Effect.never)] })
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* Effect.forkChild(read(cache, digest), { startImmediately: true })
      yield* settle
      assert.strictEqual(yield* reasonOf(read(cache, digest, { offset: 7 })), "RangeNotSatisfiable")
    }))
})

describe("a manifest", () => {
  it.effect("is fetched once, and then served by digest", () =>
    Effect.gen(function*() {
      const { cache, origin, upstream } = yield* setup()
      const { digest } = yield* pushManifest(origin, app, index)
      const found = yield* Effect.replicateEffect(cache.getManifest(app, digest), 100, { concurrency: "unbounded" })
      assert.deepStrictEqual(new Set(found.map(({ descriptor }) => descriptor.digest)), new Set([digest]))
      assert.strictEqual((yield* cache.resolveManifest(app, digest)).digest, digest)
      assert.strictEqual(upstream.calls.length, 1)
    }))

  it.effect("may be changed by a reader without affecting others", () =>
    Effect.gen(function*() {
      const { cache, origin } = yield* setup({ store: [Faults.fail(down)] })
      const { digest } = yield* pushManifest(origin, app, index)
      const first = yield* cache.getManifest(app, digest)
      const before = first.bytes.slice()
      first.bytes.fill(0)
      assert.deepStrictEqual((yield* cache.getManifest(app, digest)).bytes, before)
    }))

  it.effect("is fetched and verified when it is only resolved", () =>
    Effect.gen(function*() {
      const { cache, origin, upstream } = yield* setup()
      const { digest } = yield* pushManifest(origin, app, index)
      yield* cache.resolveManifest(app, digest)
      assert.deepStrictEqual(upstream.calls.map(({ operation }) => operation), ["getManifest"])
    }))

  it.effect("that is a web page fails, and is not kept", () =>
    Effect.gen(function*() {
      const bytes = new TextEncoder().encode("<html>gallery</html>")
      const { digest } = yield* Descriptor.fromBytes(bytes)
      for (const mediaType of ["text/html", MediaType.imageIndex, MediaType.octetStream]) {
        const descriptor = { mediaType, digest, size: bytes.length }
        const store = yield* MemoryRegistry.make()
        const page = Registry.make({
          name: "gallery",
          getManifest: () => Effect.succeed({ descriptor, bytes }),
          resolveManifest: () => Effect.succeed(descriptor)
        })
        const cache = yield* CacheRegistry.make(page, { store })
        for (const reference of [tag("1"), digest]) {
          assert.strictEqual(yield* reasonOf(cache.getManifest(app, reference)), "UnexpectedResponse")
          assert.strictEqual(yield* reasonOf(cache.resolveManifest(app, reference)), "UnexpectedResponse")
        }
        assert.deepStrictEqual(yield* Stream.runCollect(store.repositories()), [])
      }
    }))

  it.effect.each(["text/html", MediaType.octetStream])(
    "that is a web page is not resolved even if an earlier version has kept it: %s",
    (mediaType) =>
      Effect.gen(function*() {
        const bytes = new TextEncoder().encode("<html>gallery</html>")
        const store = yield* MemoryRegistry.make()
        const descriptor = yield* store.pushManifest(app, { mediaType, bytes }, [tag("1")])
        const page = Registry.make({
          name: "gallery",
          getManifest: () => Effect.succeed({ descriptor, bytes }),
          resolveManifest: () => Effect.succeed(descriptor)
        })
        const cache = yield* CacheRegistry.make(page, { store })
        for (const reference of [tag("1"), descriptor.digest]) {
          assert.strictEqual(yield* reasonOf(cache.resolveManifest(app, reference)), "UnexpectedResponse")
          assert.strictEqual(yield* reasonOf(cache.getManifest(app, reference)), "UnexpectedResponse")
        }
      })
  )

  it.effect("by digest fails if upstream has sent another one", () =>
    Effect.gen(function*() {
      const other = yield* Descriptor.fromBytes(new TextEncoder().encode("other"))
      const bytes = new TextEncoder().encode(JSON.stringify(index))
      const descriptor = { ...yield* Descriptor.fromBytes(bytes), mediaType: MediaType.imageIndex }
      const upstream = Registry.make({ name: "liar", getManifest: () => Effect.succeed({ descriptor, bytes }) })
      const cache = yield* CacheRegistry.make(upstream, { store: yield* MemoryRegistry.make() })
      assert.strictEqual(yield* reasonOf(cache.getManifest(app, other.digest)), "DigestMismatch")
    }))

  it.effect("is stored after its parts if the store requires that", () =>
    Effect.gen(function*() {
      const { asked, cache, kept, origin } = yield* setup()
      const image = yield* pushImage(origin, app, ["one", "two"], { tags: [tag("1")] })
      yield* cache.getManifest(app, tag("1"))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(kept.resolveManifest(app, image.digest))))
      for (const content of [JSON.stringify(image.platform), "one", "two"]) {
        yield* read(cache, (yield* pushBlob(origin, app, content)).digest)
        yield* settle
      }
      assert.strictEqual(yield* digestOf(kept, tag("1")), image.digest)
      yield* cache.getManifest(app, image.digest)
      assert.strictEqual(asked("getManifest"), 1)
    }))

  it.effect("whose tag has moved before its parts arrived does not get the tag back", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup()
      const before = yield* pushImage(origin, app, ["before"], { tags: [tag("1")] })
      yield* cache.getManifest(app, tag("1"))
      const after = yield* pushImage(origin, app, ["after"], { tags: [tag("1")] })
      yield* TestClock.adjust("5 minutes")
      yield* cache.getManifest(app, tag("1"))
      for (const content of [JSON.stringify(before.platform), "after", "before"]) {
        yield* read(cache, (yield* pushBlob(origin, app, content)).digest)
        yield* settle
      }
      assert.strictEqual(yield* digestOf(kept, tag("1")), after.digest)
      assert.strictEqual((yield* kept.resolveManifest(app, before.digest)).digest, before.digest)
    }))

  it.effect("causes manifests that waited for it to be stored", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup()
      const inner = yield* pushManifest(origin, app, index)
      const outer = yield* pushManifest(origin, app, { mediaType: MediaType.imageIndex, manifests: [inner] }, [
        tag("1")
      ])
      yield* cache.getManifest(app, tag("1"))
      yield* cache.getManifest(app, inner.digest)
      assert.strictEqual(yield* digestOf(kept, tag("1")), outer.digest)
    }))
})

describe("a tag", () => {
  const tagged = Effect.fnUntraced(function*(options?: Options) {
    const rig = yield* setup(options)
    const { digest } = yield* pushManifest(rig.origin, app, index, [tag("1")])
    return { ...rig, digest }
  })
  const move = (origin: Registry.Registry) =>
    pushManifest(origin, app, { ...index, annotations: { new: "1" } }, [tag("1")])

  it.effect("is requested once for many readers", () =>
    Effect.gen(function*() {
      const { cache, digest, upstream } = yield* tagged()
      yield* Effect.replicateEffect(cache.getManifest(app, tag("1")), 100, { concurrency: "unbounded" })
      assert.strictEqual(yield* digestOf(cache, tag("1")), digest)
      assert.deepStrictEqual(upstream.calls.map(({ operation }) => operation), ["getManifest"])
    }))

  it.effect("is cached for five minutes by default", () =>
    Effect.gen(function*() {
      const { cache, digest, origin } = yield* tagged()
      assert.strictEqual(yield* digestOf(cache, tag("1")), digest)
      const moved = yield* move(origin)
      yield* TestClock.adjust("299 seconds")
      assert.strictEqual(yield* digestOf(cache, tag("1")), digest)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* digestOf(cache, tag("1")), moved.digest)
      assert.strictEqual((yield* cache.getManifest(app, tag("1"))).descriptor.digest, moved.digest)
    }))

  it.effect("is cached for tagTimeToLive", () =>
    Effect.gen(function*() {
      const { cache, digest, origin } = yield* tagged({ tagTimeToLive: "1 minute" })
      assert.strictEqual(yield* digestOf(cache, tag("1")), digest)
      const moved = yield* move(origin)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* digestOf(cache, tag("1")), moved.digest)
    }))

  it.effect("that has not moved is checked without fetching its manifest", () =>
    Effect.gen(function*() {
      const { asked, cache } = yield* tagged()
      yield* cache.getManifest(app, tag("1"))
      yield* TestClock.adjust("5 minutes")
      yield* cache.getManifest(app, tag("1"))
      assert.deepStrictEqual([asked("getManifest"), asked("resolveManifest")], [1, 1])
    }))

  it.effect("that was deleted is unknown, and forgotten", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* tagged()
      yield* cache.getManifest(app, tag("1"))
      yield* origin.deleteTag(app, tag("1"))
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* reasonOf(cache.getManifest(app, tag("1"))), "ManifestUnknown")
      assert.strictEqual(yield* reasonOf(kept.resolveManifest(app, tag("1"))), "ManifestUnknown")
    }))

  it.effect("that does not exist is requested again after ten seconds", () =>
    Effect.gen(function*() {
      const { asked, cache, origin } = yield* tagged()
      assert.strictEqual(yield* reasonOf(cache.resolveManifest(app, tag("2"))), "ManifestUnknown")
      const { digest } = yield* pushManifest(origin, app, index, [tag("2")])
      assert.strictEqual(yield* reasonOf(cache.resolveManifest(app, tag("2"))), "ManifestUnknown")
      assert.strictEqual(asked("getManifest"), 1)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* digestOf(cache, tag("2")), digest)
    }))

  it.effect("that does not exist is found as soon as it was pushed through the cache", () =>
    Effect.gen(function*() {
      const { cache } = yield* tagged()
      assert.strictEqual(yield* reasonOf(cache.resolveManifest(app, tag("2"))), "ManifestUnknown")
      const { digest } = yield* pushManifest(cache, app, index, [tag("2")])
      assert.strictEqual(yield* digestOf(cache, tag("2")), digest)
    }))

  const unreachable = [down, new TooManyRequests({ status: 429 })]

  it.effect.each(unreachable)(
    "is served stale if upstream fails with %s, which is reported",
    (reason) =>
      Effect.gen(function*() {
        const { cache, digest, upstream } = yield* tagged({
          upstream: [Faults.fail(reason, { operation: "resolveManifest" })]
        })
        yield* cache.getManifest(app, tag("1"))
        yield* TestClock.adjust("5 minutes")
        const events: Array<Registry.RegistryEvent> = []
        const found = yield* Effect.provideService(
          cache.getManifest(app, tag("1")),
          Registry.Observer,
          (event) => Effect.sync(() => void events.push(event))
        )
        assert.strictEqual(found.descriptor.digest, digest)
        assert.deepStrictEqual(events.map((event) => event._tag), ["Warning", "ServedStale"])
        const [event] = events
        assert(event?._tag === "Warning")
        assert.match(event.text, /^team\/app:1 is served as last known:/)
        assert.strictEqual(upstream.calls.length, 2)
      })
  )

  it.effect("is requested again ten seconds after upstream failed", () =>
    Effect.gen(function*() {
      const { asked, cache, digest, origin } = yield* tagged({
        upstream: [Faults.fail(down, { operation: "resolveManifest", calls: { first: 2 } })]
      })
      yield* cache.getManifest(app, tag("1"))
      const moved = yield* move(origin)
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* digestOf(cache, tag("1")), digest)
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual(yield* digestOf(cache, tag("1")), digest)
      assert.strictEqual(asked("resolveManifest"), 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* digestOf(cache, tag("1")), digest)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* digestOf(cache, tag("1")), moved.digest)
    }))

  it.effect("fails if upstream fails and stale tags are not wanted", () =>
    Effect.gen(function*() {
      const { cache } = yield* tagged({
        stale: "fail",
        upstream: [Faults.fail(down, { operation: "resolveManifest" })]
      })
      yield* cache.getManifest(app, tag("1"))
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* reasonOf(cache.getManifest(app, tag("1"))), "Transport")
    }))

  it.effect("is not served if upstream denies access", () =>
    Effect.gen(function*() {
      const { cache } = yield* tagged({
        upstream: [Faults.fail(new Denied({ status: 403 }), { operation: "resolveManifest" })]
      })
      yield* cache.getManifest(app, tag("1"))
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* reasonOf(cache.getManifest(app, tag("1"))), "Denied")
    }))

  it.effect("that was never known fails if upstream fails", () =>
    Effect.gen(function*() {
      const { cache } = yield* tagged({ upstream: [Faults.fail(down)] })
      assert.strictEqual(yield* reasonOf(cache.getManifest(app, tag("1"))), "Transport")
    }))

  it.effect("is served from the store of an earlier run if upstream fails", () =>
    Effect.gen(function*() {
      const { digest, kept, origin } = yield* tagged()
      yield* Effect.scoped(
        Effect.flatMap(CacheRegistry.make(origin, { store: kept }), (cache) => cache.getManifest(app, tag("1")))
      )
      const { registry } = yield* Faults.make(origin, [Faults.fail(down)])
      const cache = yield* CacheRegistry.make(registry, { store: kept })
      assert.strictEqual((yield* cache.getManifest(app, tag("1"))).descriptor.digest, digest)
    }))

  it.effect("whose new manifest cannot be fetched is served stale", () =>
    Effect.gen(function*() {
      const { cache, digest, origin } = yield* tagged({
        upstream: [Faults.fail(down, { operation: "getManifest", calls: { from: 2 } })]
      })
      yield* cache.getManifest(app, tag("1"))
      yield* move(origin)
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual((yield* cache.getManifest(app, tag("1"))).descriptor.digest, digest)
    }))
})

describe("writing through a cache", () => {
  it.effect("goes to upstream, and content is not kept before it is read", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup()
      const { digest } = yield* pushImage(cache, app, ["layer"], { tags: [tag("1")] })
      assert.strictEqual(yield* digestOf(origin, tag("1")), digest)
      assert.deepStrictEqual(yield* Stream.runCollect(kept.repositories()), [])
    }))

  it.effect("a tag is seen at once", () =>
    Effect.gen(function*() {
      const { cache } = yield* setup()
      yield* pushManifest(cache, app, index, [tag("1")])
      yield* cache.getManifest(app, tag("1"))
      const moved = yield* pushManifest(cache, app, { ...index, annotations: { new: "1" } }, [tag("1")])
      assert.strictEqual(yield* digestOf(cache, tag("1")), moved.digest)
    }))

  it.effect("a tag whose response is lost is seen at once", () =>
    Effect.gen(function*() {
      const { cache, origin } = yield* setup({ upstream: [Faults.loseAnswer({ operation: "pushManifest" })] })
      yield* pushManifest(origin, app, index, [tag("1")])
      yield* cache.getManifest(app, tag("1"))
      yield* Effect.flip(pushManifest(cache, app, { ...index, annotations: { new: "1" } }, [tag("1")]))
      assert.strictEqual(yield* digestOf(cache, tag("1")), yield* digestOf(origin, tag("1")))
    }))

  it.effect("deleted content is forgotten", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup()
      const image = yield* pushManifest(origin, app, index, [tag("1")])
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* cache.getManifest(app, tag("1"))
      yield* read(cache, digest)
      yield* settle
      yield* cache.deleteManifest(app, image.digest)
      yield* cache.deleteBlob(app, digest)
      assert.isFalse(yield* has(kept, digest))
      assert.strictEqual(yield* reasonOf(kept.resolveManifest(app, image.digest)), "ManifestUnknown")
      assert.strictEqual(yield* reasonOf(cache.getManifest(app, tag("1"))), "ManifestUnknown")
    }))

  it.effect("a blob that is deleted during its transfer is not kept", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { cache, kept, origin } = yield* setup({ store: [Faults.stallAt(7, opened, { operation: "commit" })] })
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* read(cache, digest)
      yield* cache.deleteBlob(app, digest)
      assert.strictEqual(yield* reasonOf(read(cache, digest)), "BlobUnknown")
      yield* open
      yield* settle
      assert.isFalse(yield* has(kept, digest))
    }))

  it.effect("a blob that is deleted during its transfer and pushed again is fetched again", () =>
    Effect.gen(function*() {
      const [first, second] = [yield* gate, yield* gate]
      const { asked, cache, origin } = yield* setup({
        store: [
          Faults.stallAt(7, first.opened, { operation: "commit", calls: [1] }),
          Faults.stallAt(7, second.opened, { operation: "commit", calls: [2] })
        ]
      })
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* read(cache, digest)
      yield* cache.deleteBlob(app, digest)
      yield* pushBlob(cache, app, "content")
      yield* read(cache, digest)
      yield* first.open
      yield* settle
      assertBytes(yield* read(cache, digest), bytesOf("content"))
      assert.strictEqual(asked("getBlob"), 2)
      yield* second.open
    }))

  it.effect("a manifest that is deleted while it is stored is not kept", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { cache, kept, origin } = yield* setup({
        store: [Faults.wait(opened, { operation: "pushManifest", calls: { from: 2 } })]
      })
      const image = yield* pushImage(origin, app, [], { tags: [tag("1")] })
      yield* cache.getManifest(app, tag("1"))
      yield* read(cache, (yield* pushBlob(origin, app, JSON.stringify(image.platform))).digest)
      yield* settle
      yield* cache.deleteManifest(app, image.digest)
      yield* open
      yield* settle
      assert.strictEqual(yield* reasonOf(kept.resolveManifest(app, image.digest)), "ManifestUnknown")
    }))

  it.effect("content that another client deleted is forgotten after a delete", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup()
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* read(cache, digest)
      yield* settle
      yield* origin.deleteBlob(app, digest)
      assert.strictEqual(yield* reasonOf(cache.deleteBlob(app, digest)), "BlobUnknown")
      assert.isFalse(yield* has(kept, digest))
    }))

  it.effect("content whose delete failed stays", () =>
    Effect.gen(function*() {
      const { cache, kept, origin } = yield* setup({ upstream: [Faults.fail(down, { operation: "deleteBlob" })] })
      const { digest } = yield* pushBlob(origin, app, "content")
      yield* read(cache, digest)
      yield* settle
      yield* Effect.flip(cache.deleteBlob(app, digest))
      assert.isTrue(yield* has(kept, digest))
    }))
})

describe("a cache", () => {
  it.effect("has the name and the capabilities of its upstream", () =>
    Effect.gen(function*() {
      const { cache, origin } = yield* setup()
      assert.strictEqual(cache.name, "upstream.test")
      assert.deepStrictEqual(yield* cache.capabilities, yield* origin.capabilities)
    }))

  it.effect("does not fetch with the permit of the first reader, which may leave", () =>
    Effect.gen(function*() {
      const { open, opened } = yield* gate
      const { origin } = yield* setup()
      const { digest } = yield* pushBlob(origin, app, "content")
      const limiter = Limiter.fixed(2)
      const upstream = Registry.make({
        ...origin,
        limiter,
        getBlob: (...args) =>
          Limiter.permit(limiter).pipe(Effect.andThen(opened), Effect.andThen(origin.getBlob(...args)))
      })
      const cache = yield* CacheRegistry.make(upstream, { store: yield* MemoryRegistry.make() })
      assert.isUndefined(cache.limiter)
      const withPermit = Limiter.withPermits(limiter)
      const reader = yield* Effect.forkChild(withPermit(read(cache, digest)), { startImmediately: true })
      const third = yield* Effect.forkChild(withPermit(Effect.void), { startImmediately: true })
      yield* settle
      assert.isUndefined(third.pollUnsafe())
      yield* Fiber.interrupt(reader)
      yield* Fiber.join(third)
      yield* open
    }))

  it.effect("interrupts its transfers when its scope closes", () =>
    Effect.gen(function*() {
      let isOpen = false
      const { kept, origin } = yield* setup()
      const { digest } = yield* pushBlob(origin, app, "content")
      const stalling = Registry.make({
        ...origin,
        getBlob: (...args) =>
          Effect.andThen(
            Effect.acquireRelease(Effect.sync(() => isOpen = true), () => Effect.sync(() => isOpen = false)),
            Effect.map(origin.getBlob(...args), (blob) => ({ ...blob, stream: Stream.never }))
          )
      })
      const scope = yield* Scope.make()
      const cache = yield* Scope.provide(CacheRegistry.make(stalling, { store: kept }), scope)
      const reader = yield* Effect.forkChild(read(cache, digest), { startImmediately: true })
      yield* settle
      assert.isTrue(isOpen)
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(isOpen)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(reader)))
      assert.isFalse(yield* has(kept, digest))
    }))

  it.effect("is a layer over the one of its upstream", () =>
    Effect.gen(function*() {
      const upstream: Layer.Layer<Registry.Registry> = MemoryRegistry.layer({ name: "upstream.test" })
      const layer = CacheRegistry.layer({ store: MemoryRegistry.layer() }).pipe(Layer.provide(upstream))
      const program = Registry.Registry.use((registry) =>
        Effect.andThen(
          pushManifest(registry, app, index, [tag("1")]),
          Effect.map(registry.getManifest(app, tag("1")), () => registry.name)
        )
      )
      assert.strictEqual(yield* Effect.provide(program, layer), "upstream.test")
    }))

  it.effect("does not find a manifest that upstream does not have", () =>
    Effect.gen(function*() {
      const { cache } = yield* setup({ upstream: [Faults.fail(new ManifestUnknown({ status: 404 }))] })
      assert.strictEqual(yield* reasonOf(cache.getManifest(app, tag("1"))), "ManifestUnknown")
    }))
})
