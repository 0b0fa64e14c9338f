import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schedule, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Copy from "effect-oci/Copy"
import * as Descriptor from "effect-oci/Descriptor"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import type { Registry } from "effect-oci/Registry"
import { Denied, Transport } from "effect-oci/RegistryError"
import * as Resolver from "effect-oci/Resolver"
import * as Upload from "effect-oci/Upload"
import { split } from "../../src/copy/FanOut.ts"
import { bytesOf, pushBlob, pushImage, pushManifest, pushSample, repository, tag } from "../utils/images.ts"
import { failing, override, recorded } from "../utils/registries.ts"

const from = repository("team/app")
const to = repository("mirror/app")

const setup = (...names: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const source = yield* recorded("source.test")
    const destinations = yield* Effect.forEach(names, (name) => recorded(`${name}.test`))
    const copy = (registries: ReadonlyArray<Registry>, options: Copy.Options = {}) =>
      Copy.copyToMany({
        ...options,
        source: { registry: source.registry, repository: from, tag: tag("1") },
        destinations: registries.map((registry) => ({ registry, repository: to, tag: tag("1") }))
      })
    return { source, destinations, copy }
  })

describe("copying to several destinations", () => {
  it.effect("reads each manifest and blob of the source once", () =>
    Effect.gen(function*() {
      const { copy, destinations, source } = yield* setup("a", "b", "c")
      const { index } = yield* pushSample(source.registry, from, [tag("1")])
      const exits = yield* copy(destinations.map(({ registry }) => registry))
      for (const exit of exits) assert.isTrue(Exit.isSuccess(exit))
      const reads = source.calls.filter((call) => call.startsWith("get"))
      assert.strictEqual(new Set(reads).size, reads.length)
      for (const { registry } of destinations) {
        assert.strictEqual((yield* registry.resolveManifest(to, tag("1"))).digest, index.digest)
      }
    }))

  it.effect("fails if the source has no image for the platform, even if a destination fails too", () =>
    Effect.gen(function*() {
      const { copy, destinations: [a, b], source } = yield* setup("a", "b")
      assert(a !== undefined && b !== undefined)
      yield* pushSample(source.registry, from, [tag("1")])
      const broken = override(a.registry, {
        resolveManifest: () => failing("resolveManifest", new Transport({ code: "ECONNREFUSED" }))
      })
      const platform = { os: "plan9", architecture: "mips" }
      const error = yield* Effect.flip(copy([broken, b.registry], { platforms: { _tag: "Image", platform } }))
      assert.deepStrictEqual([error.end, error.reason._tag], ["source", "PlatformNotFound"])
    }))

  it.effect("sends to each destination only the content that it lacks", () =>
    Effect.gen(function*() {
      const { copy, destinations: [a, b], source } = yield* setup("a", "b")
      assert(a !== undefined && b !== undefined)
      yield* pushSample(source.registry, from, [tag("1")])
      yield* copy([a.registry])
      a.forget()
      yield* copy([a.registry, b.registry])
      assert.deepStrictEqual(a.calls.filter((call) => /^(push|start)/.test(call)), [])
      assert.isAbove(b.calls.filter((call) => call.startsWith("pushManifest")).length, 3)
    }))

  it.effect("continues for the others while one starts an upload again", () =>
    Effect.gen(function*() {
      const { copy, destinations: [a, b], source } = yield* setup("a", "b")
      assert(a !== undefined && b !== undefined)
      const large = new Uint8Array(1_000_000)
      yield* pushImage(source.registry, from, [large], { tags: [tag("1")] })
      const isThere = yield* Deferred.make<void>()
      let breaks = 0
      const sessions = (registry: Registry, commit: (upload: Upload.Upload) => Upload.Upload["commit"]) =>
        override(registry, {
          capabilities: Effect.succeed({ anonymousMount: false, selfMount: false }),
          startUpload: (repository, options) =>
            Effect.map(
              registry.startUpload(repository, options),
              (started) => started._tag === "Upload" ? { ...started, commit: commit(started) } : started
            )
        })
      const breaking = sessions(a.registry, (upload) => (digest, last) => {
        if (last === undefined || last.size !== large.length) return upload.commit(digest, last)
        if (breaks++ > 0) return Effect.andThen(Deferred.await(isThere), upload.commit(digest, last))
        const first = Stream.runDrain(Stream.take(last.stream, 1))
        return Effect.andThen(first, failing("commit", new Transport({ code: "ECONNRESET" })))
      })
      const steady = sessions(b.registry, (upload) => (digest, last) =>
        Effect.tap(
          upload.commit(digest, last),
          () => last?.size === large.length ? Deferred.succeed(isThere, undefined) : Effect.void
        ))
      const exits = yield* Effect.provideService(
        copy([breaking, steady]),
        HttpRegistry.RetrySchedule,
        Schedule.recurs(1)
      )
      for (const exit of exits) assert(Exit.isSuccess(exit))
      assert.strictEqual(breaks, 2)
    }), 5000)

  it.effect("continues for the others if one fails, and returns its error", () =>
    Effect.gen(function*() {
      const { copy, destinations: [a, b, c], source } = yield* setup("a", "b", "c")
      assert(a !== undefined && b !== undefined && c !== undefined)
      const { index } = yield* pushSample(source.registry, from, [tag("1")])
      const denying = override(b.registry, { pushBlob: () => failing("pushBlob", new Denied({})) })
      const exits = yield* copy([a.registry, denying, c.registry])
      assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Success", "Failure", "Success"])
      const error = yield* Effect.flip(exits[1] ?? Effect.interrupt)
      assert.deepInclude(error, { _tag: "CopyError", end: "destination" })
      for (const { registry } of [a, c]) {
        assert.strictEqual((yield* registry.resolveManifest(to, tag("1"))).digest, index.digest)
      }
    }))

  it.effect("continues for the others if one fails in the middle of a blob", () =>
    Effect.gen(function*() {
      const { copy, destinations: [a, b], source } = yield* setup("a", "b")
      assert(a !== undefined && b !== undefined)
      yield* pushImage(source.registry, from, [new Uint8Array(1_000_000).fill(7)], { tags: [tag("1")] })
      const breaking = override(b.registry, {
        startUpload: (name, options) =>
          Effect.map(b.registry.startUpload(name, options), (started) =>
            started._tag === "Mounted" ? started : {
              ...started,
              commit: (_, last) =>
                Effect.andThen(
                  Stream.runDrain(Stream.take(last?.stream ?? Stream.empty, 1)),
                  failing("commit", new Denied({}))
                )
            })
      })
      const exits = yield* copy([breaking, a.registry])
      assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Failure", "Success"])
    }))

  it.effect("fails if the source does not exist, after one request", () =>
    Effect.gen(function*() {
      const { copy, destinations, source } = yield* setup("a", "b")
      const error = yield* Effect.flip(copy(destinations.map(({ registry }) => registry)))
      assert.deepStrictEqual([error.end, error.reason._tag], ["source", "NameUnknown"])
      assert.deepStrictEqual(source.calls, ["getManifest 1"])
    }))

  it.effect("sends a blob to one of two repositories of a registry, and mounts it in the other", () =>
    Effect.gen(function*() {
      const { destinations: [a], source } = yield* setup("a")
      assert(a !== undefined)
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const exits = yield* Copy.copyToMany({
        source: { registry: source.registry, repository: from, tag: tag("1") },
        destinations: ["one/app", "two/app"].map((name) => ({ registry: a.registry, repository: repository(name) }))
      })
      const outcomes = exits.map((exit) =>
        Exit.isSuccess(exit)
          ? exit.value.entries.filter(({ role }) => role === "blob").map(({ outcome }) => outcome)
          : []
      )
      assert.deepStrictEqual(outcomes, [["copied", "copied"], ["mounted", "mounted"]])
    }))
})

describe("one source for several readers", () => {
  const chunks = Array.from({ length: 20 }, (_, index) => Uint8Array.of(index))

  it.effect("is read at the speed of the slowest reader", () =>
    Effect.gen(function*() {
      let read = 0
      const source = BlobSource.make(20, () =>
        Stream.fromIterable(chunks, { chunkSize: 1 }).pipe(Stream.tap(() => Effect.sync(() => read++))))
      const [fast, slow] = yield* split(source, source, 2)
      assert(fast !== undefined && slow !== undefined)
      const gate = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(Stream.runDrain(fast.source.open(0)))
      const slowly = yield* Effect.forkChild(
        Stream.runForEach(slow.source.open(0), () =>
          Deferred.await(gate))
      )
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow
      assert.isBelow(read, 8)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      yield* Fiber.join(slowly)
      assert.strictEqual(read, 20)
    }))

  it.effect("does not wait for a reader that has closed its share, before or after it began", () =>
    Effect.gen(function*() {
      const source = BlobSource.make(20, () => Stream.fromIterable(chunks, { chunkSize: 1 }))
      const [staying, leaving, never] = yield* split(source, source, 3)
      assert(staying !== undefined && leaving !== undefined && never !== undefined)
      yield* never.leave
      yield* Stream.runDrain(Stream.take(leaving.source.open(0), 3))
      yield* leaving.leave
      assert.strictEqual(yield* Stream.runCount(staying.source.open(0)), 20)
    }))

  it.effect("fails for every reader when it fails", () =>
    Effect.gen(function*() {
      const source = BlobSource.make(20, () =>
        Stream.concat(Stream.take(Stream.fromIterable(chunks), 3), Stream.fail("broken")))
      const shares = yield* split(source, source, 2)
      const errors = yield* Effect.forEach(shares, ({ source }) =>
        Effect.flip(Stream.runDrain(source.open(0))), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(errors, ["broken", "broken"])
    }))
})

describe("concurrent copies", () => {
  it.effect("send a blob to a registry once, for any repositories", () =>
    Effect.gen(function*() {
      const { destinations: [a], source } = yield* setup("a")
      assert(a !== undefined)
      yield* pushImage(source.registry, from, ["shared", "layers"], { tags: [tag("1")] })
      const reports = yield* Effect.forEach(
        ["one/app", "two/app", "one/app", "three/app"],
        (name) =>
          Copy.copyManifest({
            source: { registry: source.registry, repository: from, tag: tag("1") },
            destination: { registry: a.registry, repository: repository(name) }
          }),
        { concurrency: "unbounded" }
      )
      const sent = reports.flatMap((report) => report.having("copied").filter(({ role }) => role === "blob"))
      assert.strictEqual(sent.length, 3)
      assert.strictEqual(source.calls.filter((call) => call.startsWith("getBlob")).length, 3)
    }))

  it.effect("do not deadlock, in whatever order they name their destinations", () =>
    Effect.gen(function*() {
      const { destinations: [a, b], source } = yield* setup("a", "b")
      assert(a !== undefined && b !== undefined)
      yield* pushSample(source.registry, from, [tag("1")])
      const both = [a.registry, b.registry]
      const exits = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, index) => index),
        (index) =>
          Copy.copyToMany({
            source: { registry: source.registry, repository: from, tag: tag("1") },
            destinations: (index % 2 === 0 ? both : both.toReversed()).map((registry) => ({
              registry,
              repository: repository(`app/${index % 5}`)
            }))
          }).pipe(Effect.provideService(Copy.MaxInFlight, 1)),
        { concurrency: "unbounded" }
      )
      assert.isTrue(exits.flat().every(Exit.isSuccess))
    }))

  it.effect("send a blob themselves after another copy has failed to", () =>
    Effect.gen(function*() {
      const { destinations: [a], source } = yield* setup("a")
      assert(a !== undefined)
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const gate = yield* Deferred.make<void>()
      const broken = override(source.registry, {
        getBlob: () => Effect.andThen(Deferred.await(gate), failing("getBlob", new Transport({ code: "ECONNRESET" })))
      })
      const copy = (registry: Registry) =>
        Copy.copyManifest({
          source: { registry, repository: from, tag: tag("1") },
          destination: { registry: a.registry, repository: to, tag: tag("1") }
        })
      const first = yield* Effect.forkChild(copy(broken))
      yield* Effect.yieldNow
      const second = yield* Effect.forkChild(copy(source.registry))
      for (let i = 0; i < 20; i++) yield* Effect.yieldNow
      yield* Deferred.succeed(gate, undefined)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(first)))
      yield* Fiber.join(second)
      yield* a.registry.resolveManifest(to, tag("1"))
    }))
})

describe("copying many images", () => {
  const mirror = Effect.gen(function*() {
    const { destinations: [a], source } = yield* setup("a")
    assert(a !== undefined)
    const namespace = Namespace.make({
      resolver: Resolver.static({ "source.test": source.registry, "a.test": a.registry })
    })
    return { source, destination: a, namespace }
  })

  it.effect("continues after failures, and emits the exit of each", () =>
    Effect.gen(function*() {
      const { namespace, source } = yield* mirror
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      yield* pushImage(source.registry, from, ["two"], { tags: [tag("2")] })
      const copied = yield* Stream.runCollect(namespace.copyAll(Stream.make(
        { source: "source.test/team/app:1", destination: "a.test/mirror/app:1" },
        { source: "source.test/team/app:missing", destination: "a.test/mirror/app:missing" },
        { source: "not a reference", destination: "a.test/mirror/app:nothing" },
        { source: "source.test/team/app:2", destination: "a.test/mirror/app:2" }
      )))
      assert.deepStrictEqual(
        new Map(copied.map(({ destination, exit }) => [String(destination), String(exit._tag)])),
        new Map([
          ["a.test/mirror/app:1", "Success"],
          ["a.test/mirror/app:missing", "Failure"],
          ["a.test/mirror/app:nothing", "Failure"],
          ["a.test/mirror/app:2", "Success"]
        ])
      )
    }))

  it.effect("transfers shared content once", () =>
    Effect.gen(function*() {
      const { namespace, source } = yield* mirror
      const tags = Array.from({ length: 8 }, (_, index) => tag(`${index}`))
      yield* Effect.forEach(tags, (name) =>
        pushImage(source.registry, from, ["base", "common", `own ${name}`], { tags: [name] }))
      const copied = yield* Stream.runCollect(
        namespace.copyAll(Stream.fromIterable(tags.map((name) => ({
          source: `source.test/team/app:${name}`,
          destination: `a.test/mirror/${name}/app:${name}`
        }))))
      )
      const sent = copied.flatMap(({ exit }) =>
        Exit.isSuccess(exit) ? exit.value.having("copied") : []
      )
        .filter(({ role }) => role === "blob")
      // the config, two layers of all images, and one layer of each image
      assert.strictEqual(sent.length, 3 + tags.length)
    }))

  it.effect("fails if the stream of copies fails", () =>
    Effect.gen(function*() {
      const { namespace } = yield* mirror
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(namespace.copyAll(Stream.fail("no list")))), "no list")
    }))

  it.effect("to several destinations returns an error for each invalid reference, and copies to the others", () =>
    Effect.gen(function*() {
      const { namespace, source } = yield* mirror
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const exits = yield* namespace.copyToMany({
        source: "source.test/team/app:1",
        destinations: ["a.test/one:1", "UPPER", "unknown.test/two:1", "a.test/two:1"]
      })
      assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Success", "Failure", "Failure", "Success"])
      const error = yield* Effect.flip(
        namespace.copyToMany({ source: "unknown.test/app:1", destinations: ["a.test/one:1"] })
      )
      assert.deepStrictEqual([error.end, error.reason._tag], ["source", "UnknownHost"])
    }))
})

it.effect("a blob of a large image is transferred before the whole image is known", () =>
  Effect.gen(function*() {
    const source = yield* MemoryRegistry.make({ name: "source.test" })
    const destination = yield* MemoryRegistry.make({ name: "destination.test" })
    const gate = yield* Deferred.make<void>()
    const [first, second] = [
      yield* pushImage(source, from, ["first"]),
      yield* pushImage(source, from, ["second"], { architecture: "arm64" })
    ]
    yield* pushManifest(source, from, { mediaType: MediaType.imageIndex, manifests: [first, second] }, [tag("1")])
    const layer = yield* Descriptor.fromBytes(bytesOf("first"))
    const slow = override(source, {
      getManifest: (name, reference) =>
        reference === second.digest
          ? Effect.andThen(Deferred.await(gate), source.getManifest(name, reference))
          : source.getManifest(name, reference)
    })
    const fiber = yield* Effect.forkChild(Copy.copyManifest({
      source: { registry: slow, repository: from, tag: tag("1") },
      destination: { registry: destination, repository: to, tag: tag("1") }
    }))
    for (let i = 0; i < 200; i++) yield* Effect.yieldNow
    yield* destination.resolveBlob(to, layer.digest)
    yield* destination.resolveManifest(to, first.digest)
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.join(fiber)
  }))

it.effect("large blobs leave permits for small ones", () =>
  Effect.gen(function*() {
    const source = yield* MemoryRegistry.make({ name: "source.test" })
    const destination = yield* MemoryRegistry.make({ name: "destination.test" })
    const large = Array.from({ length: 8 }, (_, index) => new Uint8Array(20).fill(index))
    yield* pushImage(source, from, [...large, "small"], { tags: [tag("1")] })
    const gate = yield* Deferred.make<void>()
    const slow = override(source, {
      getBlob: (name, digest, options) =>
        Effect.flatMap(source.getBlob(name, digest, options), (blob) =>
          Effect.as(blob.descriptor.size === 20 ? Deferred.await(gate) : Effect.void, blob))
    })
    const fiber = yield* Effect.forkChild(
      Copy.copyManifest({
        source: { registry: slow, repository: from, tag: tag("1") },
        destination: { registry: destination, repository: to, tag: tag("1") }
      }).pipe(Effect.provideService(Copy.MaxInFlight, 6), Effect.provideService(Upload.ResumptionThreshold, 20))
    )
    for (let i = 0; i < 200; i++) {
      yield* Effect.yieldNow
    }
    yield* destination.resolveBlob(to, (yield* Descriptor.fromBytes(bytesOf("small"))).digest)
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.join(fiber)
  }))

it.effect("a copy of one blob shares transfers with other copies", () =>
  Effect.gen(function*() {
    const { destinations: [a], source } = yield* setup("a")
    assert(a !== undefined)
    const { digest } = yield* pushBlob(source.registry, from, "shared")
    yield* Effect.forEach(["one/app", "two/app"], (name) =>
      Copy.copyBlob({
        source: { registry: source.registry, repository: from, digest },
        destination: { registry: a.registry, repository: repository(name) }
      }), { concurrency: "unbounded" })
    assert.lengthOf(source.calls.filter((call) => call.startsWith("getBlob")), 1)
  }))
