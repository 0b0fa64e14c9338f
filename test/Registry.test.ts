import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, type Scope, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Digest from "effect-oci/Digest"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import type { RegistryError } from "effect-oci/RegistryError"
import { pushBlob, repository, tag } from "./utils/images.ts"
import { recordingTracer } from "./utils/spans.ts"

const app = repository("team/app")
const digest = Result.getOrThrow(
  Digest.parse("sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882")
)

type Operation = Exclude<keyof Registry.Registry, "name" | "capabilities" | "limiter" | `~${string}`>

/** Each operation, called in some way. */
const calls: Readonly<
  Record<Operation, (registry: Registry.Registry) => Effect.Effect<unknown, RegistryError, Scope.Scope>>
> = {
  ping: (registry) => registry.ping,
  getBlob: (registry) => registry.getBlob(app, digest),
  resolveBlob: (registry) => registry.resolveBlob(app, digest),
  getManifest: (registry) => registry.getManifest(app, digest),
  resolveManifest: (registry) => registry.resolveManifest(app, digest),
  pushBlob: (registry) => registry.pushBlob(app, { digest, size: 0 }, BlobSource.fromBytes(new Uint8Array())),
  startUpload: (registry) => registry.startUpload(app),
  resumeUpload: (registry) => registry.resumeUpload(app, "1"),
  pushManifest: (registry) => registry.pushManifest(app, { mediaType: "text/plain", bytes: new Uint8Array() }),
  deleteBlob: (registry) => registry.deleteBlob(app, digest),
  deleteManifest: (registry) => registry.deleteManifest(app, digest),
  deleteTag: (registry) => registry.deleteTag(app, tag("1")),
  repositories: (registry) => Stream.runDrain(registry.repositories()),
  tags: (registry) => Stream.runDrain(registry.tags(app)),
  referrers: (registry) => Stream.runDrain(registry.referrers(app, digest))
}

/** Attributes of the span of an operation, besides the registry and the repository. */
const about: Readonly<Record<string, Readonly<Record<string, string | number>>>> = {
  getBlob: { "oci.digest": digest },
  resolveBlob: { "oci.digest": digest },
  deleteBlob: { "oci.digest": digest },
  pushBlob: { "oci.digest": digest, "oci.size": 0 },
  getManifest: { "oci.reference": digest },
  resolveManifest: { "oci.reference": digest },
  deleteManifest: { "oci.reference": digest },
  referrers: { "oci.reference": digest },
  deleteTag: { "oci.reference": "1" },
  pushManifest: { "oci.media_type": "text/plain", "oci.size": 0 }
}

const cases = Object.entries(calls).map(([operation, call]) => {
  const hasRepository = operation !== "ping" && operation !== "repositories"
  return { operation, call, hasRepository }
})

/** The spans that an effect makes. */
const spansOf = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const { spans, tracer } = recordingTracer()
  yield* Effect.withTracer(Effect.exit(effect), tracer)
  return spans.map(({ attributes, name }) => ({ name, attributes: Object.fromEntries(attributes) }))
})

/** A registry whose blobs hold ten digits, one a chunk, and what was asked of it. */
const recording = (content: string = "0123456789") => {
  const ranges: Array<Registry.Range | undefined> = []
  const registry = Registry.make({
    name: "mock",
    getBlob: (_, digest, options) =>
      Effect.sync(() => {
        ranges.push(options?.range)
        return {
          descriptor: { mediaType: "application/octet-stream", digest, size: 10 },
          stream: Stream.fromIterable(content.slice(options?.range?.offset), { chunkSize: 1 }).pipe(
            Stream.map((digit) => new TextEncoder().encode(digit))
          )
        }
      })
  })
  return { registry, ranges }
}

const textOf = <E>(stream: Stream.Stream<Uint8Array, E>) => Stream.mkString(Stream.decodeText(stream))

describe("Registry.make", () => {
  it.effect.each(cases)(
    "lets $operation fail as unsupported when it is not given",
    ({ call, hasRepository, operation }) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(call(Registry.make({ name: "mock" })))
        assert.deepStrictEqual(
          [error.reason._tag, error.operation, error.registry, error.repository],
          ["Unsupported", operation, "mock", hasRepository ? app : undefined]
        )
      })
  )

  it.effect.each(cases)("makes a span of $operation", ({ call, hasRepository, operation }) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* spansOf(call(Registry.make({ name: "mock" }))), [{
        name: `Registry.${operation}`,
        attributes: {
          "oci.registry": "mock",
          ...hasRepository ? { "oci.repository": app } : {},
          ...about[operation]
        }
      }])
    }))

  it.effect("passes on what is given", () =>
    Effect.gen(function*() {
      const descriptor = { mediaType: "application/octet-stream", digest, size: 7 }
      const registry = Registry.make({ name: "mock", resolveBlob: () => Effect.succeed(descriptor) })
      assert.strictEqual(yield* registry.resolveBlob(app, digest), descriptor)
    }))

  it.effect("knows no capabilities when none are given", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Registry.make({ name: "mock" }).capabilities, {})
    }))

  it("makes what isRegistry tells from other values", () => {
    assert.deepStrictEqual([Registry.make({ name: "mock" }), { name: "mock" }, null].map(Registry.isRegistry), [
      true,
      false,
      false
    ])
  })
})

describe("Registry.blobSource", () => {
  it.effect("hashes every byte once, however often it is opened", () =>
    Effect.gen(function*() {
      const source = yield* Registry.blobSource(recording().registry, app, { digest, size: 10 })
      yield* Stream.runDrain(Stream.take(source.open(0), 4))
      assert.strictEqual(yield* textOf(source.open(4)), "456789")
      const wrong = yield* Registry.blobSource(recording("012345678X").registry, app, { digest, size: 10 })
      yield* Stream.runDrain(Stream.take(wrong.open(0), 4))
      const emitted: Array<string> = []
      const read = Stream.runForEach(wrong.open(2), (bytes) =>
        Effect.sync(() => emitted.push(...new TextDecoder().decode(bytes))))
      assert.strictEqual((yield* Effect.flip(read)).reason._tag, "DigestMismatch")
      assert.deepStrictEqual(emitted, Array.from("2345678"))
    }))

  it.effect("asks for a blob from its beginning on, which it verifies itself", () =>
    Effect.gen(function*() {
      const { ranges, registry } = recording()
      assert.strictEqual(
        yield* textOf((yield* Registry.blobSource(registry, app, { digest, size: 10 })).open(0)),
        "0123456789"
      )
      assert.deepStrictEqual(ranges, [{ offset: 0 }])
    }))

  it.effect("reads a blob from the middle by range", () =>
    Effect.gen(function*() {
      const { ranges, registry } = recording()
      assert.strictEqual(
        yield* textOf((yield* Registry.blobSource(registry, app, { digest, size: 10 })).open(3)),
        "3456789"
      )
      assert.deepStrictEqual(ranges, [{ offset: 3 }])
    }))

  it.effect("is opened again and again", () =>
    Effect.gen(function*() {
      const source = yield* Registry.blobSource(recording().registry, app, { digest, size: 10 })
      const read = [yield* textOf(source.open(0)), yield* textOf(source.open(8)), yield* textOf(source.open(5))]
      assert.deepStrictEqual([source.replay, ...read], ["any", "0123456789", "89", "56789"])
    }))

  it.effect("has nothing at its end, and does not ask for it", () =>
    Effect.gen(function*() {
      const { ranges, registry } = recording()
      assert.strictEqual(yield* textOf((yield* Registry.blobSource(registry, app, { digest, size: 10 })).open(10)), "")
      assert.deepStrictEqual(ranges, [])
    }))

  it.effect("reads an empty blob", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const empty = yield* pushBlob(registry, app, "")
      assert.strictEqual(yield* textOf((yield* Registry.blobSource(registry, app, empty)).open(0)), "")
    }))

  it.effect.each([9, 11])("fails for a blob of 10 bytes that should have %i", (size) =>
    Effect.gen(function*() {
      const source = yield* Registry.blobSource(recording().registry, app, { digest, size })
      const { reason } = yield* Effect.flip(Stream.runDrain(source.open(0)))
      assert(reason._tag === "SizeMismatch")
      assert.deepStrictEqual([reason.expected, reason.actual], [size, 10])
    }))

  it.effect("fails in the middle of a blob that has another length, too", () =>
    Effect.gen(function*() {
      const source = yield* Registry.blobSource(recording().registry, app, { digest, size: 11 })
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(source.open(3)))).reason._tag, "SizeMismatch")
    }))

  it.effect("fails as its registry does", () =>
    Effect.gen(function*() {
      const source = yield* Registry.blobSource(yield* MemoryRegistry.make(), app, { digest, size: 10 })
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(source.open(0)))).reason._tag, "NameUnknown")
    }))

  it.effect("carries a blob from one registry to another", () =>
    Effect.gen(function*() {
      const [from, to] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      const descriptor = yield* pushBlob(from, app, "to be carried")
      yield* to.pushBlob(app, descriptor, yield* Registry.blobSource(from, app, descriptor))
      assert.strictEqual(yield* textOf((yield* to.getBlob(app, descriptor.digest)).stream), "to be carried")
    }))
})

describe("Registry.Observer", () => {
  it.effect("discards events, unless there is an observer", () =>
    Effect.gen(function*() {
      const observe = yield* Registry.Observer
      assert.isUndefined(yield* observe({ _tag: "Warning", registry: "mock", text: "will be shut down" }))
    }))
})
