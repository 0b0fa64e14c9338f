import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Layer, Result, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import type { Digest } from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import { Denied, Timeout, Transport } from "effect-oci/RegistryError"
import { Contract, Faults, Images } from "effect-oci/testing"
import { TestClock } from "effect/testing"

const app = Images.repository("team/app")
const broken = new Transport({ code: "ECONNRESET" })

const setup = Effect.fnUntraced(function*(...faults: ReadonlyArray<Faults.Fault>) {
  const memory = yield* MemoryRegistry.make()
  const { digest } = yield* Images.pushBlob(memory, app, "0123456789")
  return { memory, digest, ...yield* Faults.make(memory, faults) }
})

/** Returns the text that was read from a blob, and how the reading ended. */
const read = Effect.fnUntraced(
  function*(registry: Registry.Registry, digest: Digest, options?: Parameters<Registry.Registry["getBlob"]>[2]) {
    const { stream } = yield* registry.getBlob(app, digest, options)
    let text = ""
    const result = yield* Effect.result(
      Stream.runForEach(Stream.decodeText(stream), (part) => Effect.sync(() => text += part))
    )
    return [text, Result.isSuccess(result) ? "ended" : result.failure.reason._tag]
  },
  Effect.scoped
)

const outcomes = (registry: Registry.Registry, digest: Digest, times: number) =>
  Effect.map(
    Effect.replicateEffect(Effect.result(registry.resolveBlob(app, digest)), times),
    (results) => results.map(Result.isSuccess)
  )

describe("without faults", () => {
  it.effect.each(Contract.cases)(
    "a wrapped registry keeps the contract: $name",
    ({ effect }) => Effect.flatMap(setup(), ({ registry }) => effect(registry))
  )

  it.effect("the calls are recorded with their references", () =>
    Effect.gen(function*() {
      const { calls, digest, registry } = yield* setup()
      yield* read(registry, digest)
      yield* registry.startUpload(Images.repository("other"), { mount: { digest, from: app } })
      yield* Images.pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [] }, [Images.tag("1")])
      assert.deepStrictEqual(calls, [
        { operation: "getBlob", registry: "memory", repository: app, reference: digest },
        { operation: "read", registry: "memory", repository: app, reference: digest },
        {
          operation: "startUpload",
          registry: "memory",
          repository: Images.repository("other"),
          reference: digest,
          from: app
        },
        { operation: "pushManifest", registry: "memory", repository: app, tags: [Images.tag("1")] }
      ])
    }))
})

describe("as a layer", () => {
  it.effect("faults happen to the service", () =>
    Effect.gen(function*() {
      const layer = Faults.layer([Faults.fail(broken)]).pipe(Layer.provide(MemoryRegistry.layer()))
      const error = yield* Effect.flip(Effect.provide(Registry.Registry.use(({ ping }) => ping), layer))
      assert.strictEqual(error.reason._tag, "Transport")
    }))
})

describe("which calls", () => {
  it.effect("all of an operation", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.fail(broken, { operation: "resolveBlob" }))
      assert.deepStrictEqual(yield* outcomes(registry, digest, 2), [false, false])
      assert.deepStrictEqual(yield* read(registry, digest), ["0123456789", "ended"])
    }))

  it.effect("those with given numbers", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.fail(broken, { calls: [2, 4] }))
      assert.deepStrictEqual(yield* outcomes(registry, digest, 5), [true, false, true, false, true])
    }))

  it.effect("the first ones", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.fail(broken, { calls: { first: 2 } }))
      assert.deepStrictEqual(yield* outcomes(registry, digest, 4), [false, false, true, true])
    }))

  it.effect("all from a number on", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.fail(broken, { calls: { from: 3 } }))
      assert.deepStrictEqual(yield* outcomes(registry, digest, 4), [true, true, false, false])
    }))

  it.effect("a share of them, the same for the same seed", () =>
    Effect.gen(function*() {
      const of = (seed: number) =>
        Effect.flatMap(
          setup(Faults.fail(broken, { calls: { share: 0.25, seed } })),
          ({ digest, registry }) => outcomes(registry, digest, 400)
        )
      const [one, again, other] = [yield* of(1), yield* of(1), yield* of(2)]
      assert.deepStrictEqual(one, again)
      assert.notDeepEqual(one, other)
      assert.approximately(one.filter((isSuccess) => !isSuccess).length, 100, 30)
    }))

  it.effect("those for some content", () =>
    Effect.gen(function*() {
      const { digest, memory } = yield* setup()
      const other = yield* Images.pushBlob(memory, app, "other")
      const { registry } = yield* Faults.make(memory, [Faults.fail(broken, { reference: digest })])
      assert.deepStrictEqual(yield* outcomes(registry, digest, 1), [false])
      assert.deepStrictEqual(yield* outcomes(registry, other.digest, 1), [true])
    }))

  it.effect("those in some repository", () =>
    Effect.gen(function*() {
      const { memory } = yield* setup()
      const { digest } = yield* Images.pushBlob(memory, Images.repository("other"), "0123456789")
      const { registry } = yield* Faults.make(memory, [Faults.fail(broken, { repository: Images.repository("other") })])
      assert.deepStrictEqual(yield* outcomes(registry, digest, 1), [true])
    }))
})

describe("a call", () => {
  it.effect("fails with the given reason, and names the operation", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.fail(new Denied({ status: 403 }), { operation: "resolveBlob" }))
      const { operation, reason, repository } = yield* Effect.flip(registry.resolveBlob(app, digest))
      assert.deepStrictEqual([operation, repository, reason._tag], ["resolveBlob", app, "Denied"])
    }))

  it.effect("that fails does not reach the registry", () =>
    Effect.gen(function*() {
      const { digest, memory, registry } = yield* setup(Faults.fail(broken, { operation: "deleteBlob" }))
      yield* Effect.flip(registry.deleteBlob(app, digest))
      assert.strictEqual((yield* memory.resolveBlob(app, digest)).size, 10)
    }))

  it.effect("whose response is lost has been executed", () =>
    Effect.gen(function*() {
      const { digest, memory, registry } = yield* setup(Faults.loseAnswer({ operation: "deleteBlob" }))
      assert.strictEqual((yield* Effect.flip(registry.deleteBlob(app, digest))).reason._tag, "Transport")
      assert.strictEqual((yield* Effect.flip(memory.resolveBlob(app, digest))).reason._tag, "BlobUnknown")
    }))

  it.effect("is throttled as often as configured", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.throttle({ times: 2, retryAfter: "3 seconds" }))
      const error = yield* Effect.flip(registry.resolveBlob(app, digest))
      assert.deepStrictEqual([error.status, error.retryAfter], [429, Duration.seconds(3)])
      assert.deepStrictEqual(yield* outcomes(registry, digest, 2), [false, true])
    }))

  it.effect("waits until an effect has completed", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { digest, registry } = yield* setup(Faults.wait(Deferred.await(gate)))
      const fiber = yield* Effect.forkChild(registry.resolveBlob(app, digest), { startImmediately: true })
      assert.isUndefined(fiber.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual((yield* Fiber.join(fiber)).size, 10)
    }))

  it.effect("is delayed", () =>
    Effect.gen(function*() {
      const { registry } = yield* setup(Faults.delay("5 seconds", { operation: "ping" }))
      const fiber = yield* Effect.forkChild(registry.ping, { startImmediately: true })
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(fiber)
    }))

  it.effect("of a list fails too", () =>
    Effect.gen(function*() {
      const { registry } = yield* setup(Faults.fail(broken, { operation: "repositories" }))
      assert.strictEqual((yield* Effect.flip(Stream.runCollect(registry.repositories()))).reason._tag, "Transport")
    }))
})

describe("a blob that is read", () => {
  it.effect.each([0, 4, 10])("breaks off after %i bytes", (at) =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.breakAt(at))
      assert.deepStrictEqual(yield* read(registry, digest), ["0123456789".slice(0, at), "Transport"])
    }))

  it.effect("breaks off with the given reason", () =>
    Effect.gen(function*() {
      const reason = new Timeout({ phase: "body", after: Duration.seconds(60) })
      const { digest, registry } = yield* setup(Faults.breakAt(4, {}, reason))
      assert.deepStrictEqual(yield* read(registry, digest), ["0123", "Timeout"])
    }))

  it.effect("breaks off as often as configured", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.breakAt(4, { calls: { first: 1 } }))
      assert.deepStrictEqual(yield* read(registry, digest), ["0123", "Transport"])
      assert.deepStrictEqual(yield* read(registry, digest), ["0123456789", "ended"])
    }))

  it.effect("counts the bytes of a range from its offset", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.breakAt(2))
      assert.deepStrictEqual(yield* read(registry, digest, { range: { offset: 5 } }), ["56", "Transport"])
    }))

  it.effect("stalls in the middle", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.stallAt(4, Effect.sleep("1 minute")))
      const fiber = yield* Effect.forkChild(read(registry, digest), { startImmediately: true })
      yield* TestClock.adjust("59 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["0123456789", "ended"])
    }))

  it.effect("with a bit flipped fails before its last bytes", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.flipAt(9))
      assert.deepStrictEqual(yield* read(registry, digest), ["", "DigestMismatch"])
    }))

  it.effect("with a bit flipped unnoticed is other content", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.flipAt(3, {}, { isNoticed: false }))
      assert.deepStrictEqual(yield* read(registry, digest), ["0122456789", "ended"])
    }))

  it.effect("that ends early fails", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.truncateAt(4))
      assert.deepStrictEqual(yield* read(registry, digest), ["0123", "SizeMismatch"])
    }))

  it.effect("that ends early unnoticed is shorter", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.truncateAt(4, {}, { isNoticed: false }))
      assert.deepStrictEqual(yield* read(registry, digest), ["0123", "ended"])
    }))

  it.effect("is absent although it is reported as present", () =>
    Effect.gen(function*() {
      const digest = (yield* Images.pushBlob(yield* MemoryRegistry.make(), app, "elsewhere")).digest
      const { registry } = yield* setup(Faults.claim({ mediaType: MediaType.octetStream, digest, size: 9 }))
      assert.strictEqual((yield* registry.resolveBlob(app, digest)).size, 9)
      assert.strictEqual((yield* Effect.flip(Effect.scoped(registry.getBlob(app, digest)))).reason._tag, "BlobUnknown")
    }))
})

describe("a blob that is written", () => {
  it.effect("breaks off with the given reason, and is not stored", () =>
    Effect.gen(function*() {
      const { memory, registry } = yield* setup(Faults.breakAt(4, { operation: "pushBlob" }))
      const error = yield* Effect.flip(Images.pushBlob(registry, app, "another"))
      assert(error._tag === "RegistryError")
      assert.deepStrictEqual([error.operation, error.reason._tag], ["pushBlob", "Transport"])
      const { digest } = yield* Images.pushBlob(yield* MemoryRegistry.make(), app, "another")
      assert.strictEqual((yield* Effect.flip(memory.resolveBlob(app, digest))).reason._tag, "BlobUnknown")
    }))

  it.effect("breaks off in a session, which keeps the received bytes", () =>
    Effect.gen(function*() {
      const { registry } = yield* setup(Faults.breakAt(4, { operation: "append" }))
      const upload = yield* registry.startUpload(app)
      assert(upload._tag === "Upload")
      const chunk = { offset: 0, stream: Stream.succeed(Images.bytesOf("0123456789")) }
      assert.strictEqual((yield* Effect.flip(upload.append(chunk))).reason._tag, "Transport")
      assert.strictEqual(yield* upload.status, 4)
    }))

  it.effect("keeps the failure of its source", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.breakAt(8, { operation: "pushBlob" }))
      const source = BlobSource.fromStream(10, Stream.fail("the disk is full"))
      assert.strictEqual(yield* Effect.flip(registry.pushBlob(app, { digest, size: 10 }, source)), "the disk is full")
    }))

  it.effect("is not mounted", () =>
    Effect.gen(function*() {
      const { digest, registry } = yield* setup(Faults.declineMounts())
      const started = yield* registry.startUpload(Images.repository("other"), { mount: { digest, from: app } })
      assert.strictEqual(started._tag, "Upload")
    }))
})

describe("a manifest", () => {
  it.effect("with a bit flipped fails", () =>
    Effect.gen(function*() {
      const { memory, registry } = yield* setup(Faults.flipAt(0, { operation: "getManifest" }))
      yield* Images.pushImage(memory, app, ["layer"], { tags: [Images.tag("1")] })
      const error = yield* Effect.flip(registry.getManifest(app, Images.tag("1")))
      assert.deepStrictEqual([error.operation, error.reason._tag], ["getManifest", "DigestMismatch"])
    }))

  it.effect("with a bit flipped unnoticed is another one", () =>
    Effect.gen(function*() {
      const { memory, registry } = yield* setup(
        Faults.flipAt(0, { operation: "getManifest" }, { isNoticed: false })
      )
      yield* Images.pushImage(memory, app, ["layer"], { tags: [Images.tag("1")] })
      const { bytes } = yield* registry.getManifest(app, Images.tag("1"))
      assert.strictEqual(bytes[0], "{".charCodeAt(0) ^ 1)
    }))

  it.effect("is refused if its subject is absent, and only then", () =>
    Effect.gen(function*() {
      const { registry } = yield* setup(Faults.refuseSubjects())
      const elsewhere = yield* Images.pushImage(yield* MemoryRegistry.make(), app, ["elsewhere"])
      const error = yield* Effect.flip(Images.pushReferrer(registry, app, elsewhere, "about it"))
      assert(error._tag === "RegistryError")
      assert.strictEqual(error.reason._tag, "ManifestBlobUnknown")
      const here = yield* Images.pushImage(registry, app, ["here"])
      yield* Images.pushReferrer(registry, app, here, "about it")
    }))

  it.effect("loses its tags", () =>
    Effect.gen(function*() {
      const { registry } = yield* setup(Faults.loseTags({}, [Images.tag("1")]))
      const { digest } = yield* Images.pushImage(registry, app, ["layer"], { tags: ["1", "2"].map(Images.tag) })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(app)), [Images.tag("2")])
      assert.strictEqual((yield* registry.resolveManifest(app, digest)).digest, digest)
    }))
})
