import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Deferred, Effect, Fiber, type Layer, Schema, Stream } from "effect"
import type { Digest } from "effect-oci/Digest"
import * as Limiter from "effect-oci/Limiter"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Tag } from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import { Denied, Transport, Unauthorized, UnexpectedResponse, Unsupported } from "effect-oci/RegistryError"
import { Faults, Images } from "effect-oci/testing"
import * as UnionRegistry from "effect-oci/UnionRegistry"
import { bytesOf, pushBlob, pushImage, pushManifest, pushReferrer, repository, tag } from "../utils/images.ts"

const app = repository("team/app")
const down = new Transport({ code: "ECONNREFUSED" })
const policies = ["sequential", "concurrent"] as const

/** Creates two registries, which may have faults, and counts their calls. */
const setup = Effect.fnUntraced(function*(options?: {
  readonly one?: ReadonlyArray<Faults.Fault>
  readonly two?: ReadonlyArray<Faults.Fault>
}) {
  const one = yield* MemoryRegistry.make({ name: "one" })
  const two = yield* MemoryRegistry.make({ name: "two" })
  const faulty = [yield* Faults.make(one, options?.one), yield* Faults.make(two, options?.two)] as const
  return {
    one,
    two,
    calls: [faulty[0].calls, faulty[1].calls] as const,
    union: (options?: UnionRegistry.Options) => UnionRegistry.make([faulty[0].registry, faulty[1].registry], options)
  }
})

const read = (registry: Registry.Registry, digest: Digest) =>
  Effect.scoped(
    Effect.flatMap(registry.getBlob(app, digest), ({ stream }) => Stream.mkString(Stream.decodeText(stream)))
  )

const listed = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.map(Stream.runCollect(stream), (items) => Array.from(items))

const hasBlob = (registry: Registry.Registry, digest: Digest) => Effect.isSuccess(registry.resolveBlob(app, digest))

const digestOf = (registry: Registry.Registry, name: Tag) =>
  Effect.map(registry.resolveManifest(app, name), ({ digest }) => digest)

describe.each(policies)("content of a digest, in a %s union,", (policy) => {
  it.effect("is read from the registry that has it", () =>
    Effect.gen(function*() {
      const { two, union } = yield* setup()
      const { digest } = yield* pushBlob(two, app, "content")
      const image = yield* pushImage(two, app, ["layer"])
      const registry = union({ policy })
      assert.strictEqual(yield* read(registry, digest), "content")
      assert.strictEqual((yield* registry.resolveBlob(app, digest)).size, 7)
      assert.strictEqual((yield* registry.getManifest(app, image.digest)).descriptor.digest, image.digest)
      assert.strictEqual((yield* registry.resolveManifest(app, image.digest)).digest, image.digest)
    }))

  it.effect.each([down, new Denied({}), new Unauthorized({}), new UnexpectedResponse({ status: 500 })])(
    "is read from another registry if one fails with %s",
    (reason) =>
      Effect.gen(function*() {
        const { one, two, union } = yield* setup({ one: [Faults.fail(reason)] })
        const { digest } = yield* pushBlob(two, app, "content")
        yield* pushBlob(one, app, "content")
        assert.strictEqual(yield* read(union({ policy }), digest), "content")
      })
  )

  it.effect("is read from another registry if one has a corrupted manifest", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup({ one: [Faults.flipAt(0, { operation: "getManifest" })] })
      const image = yield* pushImage(one, app, ["layer"])
      yield* pushImage(two, app, ["layer"])
      assert.strictEqual((yield* union({ policy }).getManifest(app, image.digest)).descriptor.digest, image.digest)
    }))

  it.effect("is unknown if no registry has it", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const { digest } = yield* pushBlob(two, repository("other"), "content")
      yield* pushBlob(one, app, "another")
      const error = yield* Effect.flip(union({ policy }).resolveBlob(app, digest))
      assert.deepStrictEqual([error.registry, error.reason._tag], ["one", "BlobUnknown"])
    }))

  it.effect("is not reported as unknown if a registry failed", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup({ two: [Faults.fail(down)] })
      const { digest } = yield* pushBlob(two, app, "content")
      yield* pushBlob(one, app, "another")
      const error = yield* Effect.flip(union({ policy }).resolveBlob(app, digest))
      assert.deepStrictEqual([error.registry, error.reason._tag], ["two", "Transport"])
    }))

  it.effect("fails for a range that its registry cannot satisfy", () =>
    Effect.gen(function*() {
      const { one, union } = yield* setup()
      const { digest } = yield* pushBlob(one, app, "content")
      const error = yield* Effect.flip(union({ policy }).getBlob(app, digest, { range: { offset: 7 } }))
      assert.strictEqual(error.reason._tag, "RangeNotSatisfiable")
    }))
})

describe("a sequential union", () => {
  it.effect("asks no registry after the one that has the content", () =>
    Effect.gen(function*() {
      const { calls, one, union } = yield* setup()
      const { digest } = yield* pushBlob(one, app, "content")
      yield* read(union(), digest)
      assert.deepStrictEqual(calls[1], [])
    }))
})

describe("a concurrent union", () => {
  it.effect("reads a blob from the fastest registry, and closes the others", () =>
    Effect.gen(function*() {
      const { one, two } = yield* setup()
      const { digest } = yield* pushBlob(one, app, "content")
      yield* pushBlob(two, app, "content")
      const { registry: slow } = yield* Faults.make(one, [Faults.wait(Effect.never)])
      let open = 0
      const counting = Registry.make({
        ...slow,
        getBlob: (...args) =>
          Effect.andThen(
            Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--)),
            slow.getBlob(...args)
          )
      })
      const union = UnionRegistry.make([counting, two], { policy: "concurrent" })
      const { stream } = yield* union.getBlob(app, digest)
      assert.strictEqual(open, 0)
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(stream)), "content")
    }))

  it.effect("waits for the first registry to resolve a tag", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { one, two, union } = yield* setup({ one: [Faults.wait(Deferred.await(gate))] })
      const { digest } = yield* pushImage(one, app, ["ours"], { tags: [tag("1")] })
      yield* pushImage(two, app, ["theirs"], { tags: [tag("1")] })
      const fiber = yield* Effect.forkChild(digestOf(union({ policy: "concurrent" }), tag("1")), {
        startImmediately: true
      })
      yield* Effect.yieldNow
      assert.isUndefined(fiber.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(fiber), digest)
    }))

  it.effect("does not wait for others when the first registry knows a tag", () =>
    Effect.gen(function*() {
      const { one, union } = yield* setup({ two: [Faults.wait(Effect.never)] })
      const { digest } = yield* pushImage(one, app, ["ours"], { tags: [tag("1")] })
      assert.strictEqual(yield* digestOf(union({ policy: "concurrent" }), tag("1")), digest)
    }))
})

describe.each(policies)("a tag, in a %s union,", (policy) => {
  it.effect("is resolved by the first registry that knows it", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const ours = yield* pushImage(one, app, ["ours"], { tags: [tag("1")] })
      const theirs = yield* pushImage(two, app, ["theirs"], { tags: [tag("1"), tag("2")] })
      const registry = union({ policy })
      assert.strictEqual(yield* digestOf(registry, tag("1")), ours.digest)
      assert.strictEqual(yield* digestOf(registry, tag("2")), theirs.digest)
      assert.strictEqual((yield* registry.getManifest(app, tag("1"))).descriptor.digest, ours.digest)
    }))

  it.effect.each([down, new Denied({}), new Unauthorized({}), new UnexpectedResponse({ status: 500 })])(
    "is not resolved by another registry if the first fails with %s",
    (reason) =>
      Effect.gen(function*() {
        const { one, two, union } = yield* setup({ one: [Faults.fail(reason)] })
        yield* pushImage(one, app, ["ours"], { tags: [tag("1")] })
        yield* pushImage(two, app, ["theirs"], { tags: [tag("1")] })
        const error = yield* Effect.flip(union({ policy }).getManifest(app, tag("1")))
        assert.deepStrictEqual([error.registry, error.reason._tag], ["one", reason._tag])
      })
  )

  it.effect("is resolved by another registry if the first does not support it", () =>
    Effect.gen(function*() {
      const { two, union } = yield* setup({ one: [Faults.fail(new Unsupported({}))] })
      const { digest } = yield* pushImage(two, app, ["theirs"], { tags: [tag("1")] })
      assert.strictEqual(yield* digestOf(union({ policy }), tag("1")), digest)
    }))
})

describe.each(policies)("lists of a %s union", (policy) => {
  it.effect("are merged in order without duplicates", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      yield* pushImage(one, app, ["layer"], { tags: ["a", "c", "d", "f"].map(tag) })
      yield* pushImage(two, app, ["layer"], { tags: ["b", "c", "e", "f", "g"].map(tag) })
      assert.deepStrictEqual(yield* listed(union({ policy }).tags(app)), ["a", "b", "c", "d", "e", "f", "g"].map(tag))
    }))

  it.effect("begin after a name, in each registry", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      yield* pushImage(one, app, ["layer"], { tags: ["a", "c"].map(tag) })
      yield* pushImage(two, app, ["layer"], { tags: ["b", "d"].map(tag) })
      assert.deepStrictEqual(yield* listed(union({ policy }).tags(app, { after: "b" })), ["c", "d"].map(tag))
    }))

  it.effect("contain the tags of a repository that one registry does not know", () =>
    Effect.gen(function*() {
      const { two, union } = yield* setup()
      yield* pushImage(two, app, ["layer"], { tags: [tag("1")] })
      assert.deepStrictEqual(yield* listed(union({ policy }).tags(app)), [tag("1")])
      const error = yield* Effect.flip(listed(union({ policy }).tags(repository("nowhere"))))
      assert.strictEqual(error.reason._tag, "NameUnknown")
    }))

  it.effect("fail if a registry fails, because an incomplete list looks like a complete one", () =>
    Effect.gen(function*() {
      const { one, union } = yield* setup({ two: [Faults.fail(down)] })
      const image = yield* pushImage(one, app, ["layer"], { tags: [tag("1")] })
      const registry = union({ policy })
      assert.strictEqual((yield* Effect.flip(listed(registry.tags(app)))).registry, "two")
      assert.strictEqual((yield* Effect.flip(listed(registry.repositories()))).registry, "two")
      assert.strictEqual((yield* Effect.flip(listed(registry.referrers(app, image.digest)))).registry, "two")
    }))

  it.effect("are complete and without duplicates if a registry lists out of order", () =>
    Effect.gen(function*() {
      const { one, two } = yield* setup()
      yield* pushImage(one, app, ["layer"], { tags: ["a", "b", "c"].map(tag) })
      yield* pushImage(two, app, ["layer"], { tags: ["a", "d"].map(tag) })
      const unordered = Registry.make({ ...one, tags: () => Stream.fromIterable(["c", "a", "b"].map(tag)) })
      const tags = yield* listed(UnionRegistry.make([unordered, two], { policy }).tags(app))
      assert.sameMembers(tags, ["a", "b", "c", "d"].map(tag))
    }))

  const Names = Schema.Array(Schema.Literals(["a", "b", "c", "d", "e", "f", "g", "h"])).check(Schema.isMaxLength(8))
  const Size = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4 }))

  it.effect.prop(
    "equal one sorted list, whatever the chunks",
    [Arbitrary.schema(Schema.Tuple([Names, Names, Names])), Arbitrary.schema(Schema.Tuple([Size, Size, Size]))],
    ([lists, sizes]) =>
      Effect.gen(function*() {
        const of = (place: 0 | 1 | 2) =>
          Registry.make({
            name: `${place}`,
            tags: () =>
              Stream.fromIterable(Array.from(new Set(lists[place])).sort().map(tag)).pipe(
                Stream.rechunk(sizes[place]),
                Stream.tap(() => Effect.yieldNow)
              )
          })
        const found = yield* listed(UnionRegistry.make([of(0), of(1), of(2)], { policy }).tags(app))
        assert.deepStrictEqual(found, Array.from(new Set(lists.flat())).sort().map(tag))
      })
  )

  it.effect("are read on demand", () =>
    Effect.gen(function*() {
      let pulled = 0
      const endless = (letter: string) =>
        Registry.make({
          name: letter,
          tags: () =>
            Stream.range(0, Infinity).pipe(
              Stream.map((number) => {
                pulled++
                return tag(`${letter}${number}`)
              }),
              Stream.rechunk(10)
            )
        })
      const tags = UnionRegistry.make([endless("a"), endless("b")], { policy }).tags(app)
      assert.lengthOf(yield* listed(Stream.take(tags, 25)), 25)
      assert.isAtMost(pulled, 20_000)
    }))

  it.effect("contain the repositories of all registries", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      for (const name of ["a", "c"]) yield* pushBlob(one, repository(name), "content")
      for (const name of ["b", "c"]) yield* pushBlob(two, repository(name), "content")
      assert.deepStrictEqual(yield* listed(union({ policy }).repositories()), ["a", "b", "c"].map(repository))
    }))

  it.effect("contain the referrers of all registries, each once", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const image = yield* pushImage(one, app, ["layer"])
      const ours = yield* pushReferrer(one, app, image, "ours")
      const both = yield* pushReferrer(one, app, image, "both")
      yield* pushReferrer(two, app, image, "both")
      const theirs = yield* pushReferrer(two, app, image, "theirs")
      const digests = (yield* listed(union({ policy }).referrers(app, image.digest))).map(({ digest }) => digest)
      assert.deepStrictEqual(digests, [ours.digest, both.digest, theirs.digest])
    }))
})

describe("a union that writes to its first registry", () => {
  it.effect("does not write to the others", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const { digest } = yield* pushImage(union(), app, ["layer"], { tags: [tag("1")] })
      assert.strictEqual(yield* digestOf(one, tag("1")), digest)
      assert.deepStrictEqual(yield* listed(two.repositories()), [])
    }))

  it.effect("overrides a tag of another registry", () =>
    Effect.gen(function*() {
      const { two, union } = yield* setup()
      const theirs = yield* pushImage(two, app, ["theirs"], { tags: [tag("1")] })
      const ours = yield* pushImage(union(), app, ["ours"], { tags: [tag("1")] })
      assert.strictEqual(yield* digestOf(union(), tag("1")), ours.digest)
      assert.strictEqual(yield* digestOf(two, tag("1")), theirs.digest)
    }))

  it.effect("copies content that a manifest needs from another registry", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const amd64 = yield* pushImage(two, app, ["shared", "amd64"])
      const arm64 = yield* pushImage(two, app, ["shared", "arm64"])
      // a client that checks first finds all of it
      const index = yield* Images.pushIndex(union(), app, [amd64, arm64], { tags: [tag("1")] })
      assert.strictEqual(yield* digestOf(one, tag("1")), index.digest)
      assert.strictEqual((yield* one.resolveManifest(app, arm64.digest)).digest, arm64.digest)
      const shared = yield* pushBlob(two, app, "shared")
      assert.isTrue(yield* hasBlob(one, shared.digest))
    }))

  it.effect("refuses a manifest whose parts no registry has", () =>
    Effect.gen(function*() {
      const { one, union } = yield* setup()
      const elsewhere = yield* pushImage(yield* MemoryRegistry.make(), app, ["layer"])
      const push = Images.pushIndex(union(), app, [elsewhere], { tags: [tag("1")] })
      assert.strictEqual((yield* Effect.flip(push)).reason._tag, "ManifestBlobUnknown")
      assert.deepStrictEqual(yield* listed(one.repositories()), [])
    }))

  it.effect("deletes its own content, so that content of another registry is visible again", () =>
    Effect.gen(function*() {
      const { two, union } = yield* setup()
      const theirs = yield* pushImage(two, app, ["theirs"], { tags: [tag("1")] })
      yield* pushImage(union(), app, ["ours"], { tags: [tag("1")] })
      yield* union().deleteTag(app, tag("1"))
      assert.strictEqual(yield* digestOf(union(), tag("1")), theirs.digest)
    }))

  it.effect("does not delete content that only another registry has, and names that registry", () =>
    Effect.gen(function*() {
      const { two, union } = yield* setup()
      const image = yield* pushImage(two, app, ["theirs"], { tags: [tag("1")] })
      const { digest } = yield* pushBlob(two, app, "theirs")
      for (
        const removal of [
          union().deleteBlob(app, digest),
          union().deleteManifest(app, image.digest),
          union().deleteTag(app, tag("1"))
        ]
      ) {
        const error = yield* Effect.flip(removal)
        assert.strictEqual(error.reason._tag, "Unsupported")
        assert.include(error.message, "it is in two, which this union only reads")
      }
    }))

  it.effect("resumes its upload sessions by their ids", () =>
    Effect.gen(function*() {
      const { one, union } = yield* setup()
      const upload = yield* union().startUpload(app)
      assert(upload._tag === "Upload")
      yield* upload.append({ offset: 0, stream: Stream.succeed(bytesOf("con")) })
      const resumed = yield* union().resumeUpload(app, yield* upload.id)
      const { digest } = yield* pushBlob(yield* MemoryRegistry.make(), app, "content")
      yield* resumed.commit(digest, { offset: 3, stream: Stream.succeed(bytesOf("tent")) })
      assert.isTrue(yield* hasBlob(one, digest))
    }))
})

describe.each(policies)("a %s union that writes to all", (policy) => {
  const options = { policy, writes: "all" } as const

  it.effect("has the content in each registry when a call returns", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const { digest } = yield* pushImage(union(options), app, ["layer"], { tags: [tag("1"), tag("2")] })
      const layer = yield* pushBlob(yield* MemoryRegistry.make(), app, "layer")
      for (const registry of [one, two]) {
        assert.isTrue(yield* hasBlob(registry, layer.digest))
        assert.strictEqual(yield* digestOf(registry, tag("1")), digest)
        assert.strictEqual(yield* digestOf(registry, tag("2")), digest)
      }
    }))

  it.effect("reads a source once", () =>
    Effect.gen(function*() {
      const { two, union } = yield* setup()
      let opened = 0
      const bytes = bytesOf("content")
      const { digest } = yield* pushBlob(yield* MemoryRegistry.make(), app, bytes)
      yield* union(options).pushBlob(app, { digest, size: 7 }, {
        size: 7,
        replay: "any",
        open: () =>
          Stream.suspend(() => {
            opened++
            return Stream.succeed(bytes)
          })
      })
      assert.isTrue(yield* hasBlob(two, digest))
      assert.strictEqual(opened, 1)
    }))

  it.effect("copies a blob of an upload session to each registry", () =>
    Effect.gen(function*() {
      const { two, union } = yield* setup()
      const { digest } = yield* pushBlob(yield* MemoryRegistry.make(), app, "content")
      const upload = yield* union(options).startUpload(app)
      assert(upload._tag === "Upload")
      yield* upload.commit(digest, { offset: 0, stream: Stream.succeed(bytesOf("content")) })
      assert.isTrue(yield* hasBlob(two, digest))
    }))

  it.effect("copies a mounted blob to each registry", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const { digest } = yield* pushBlob(one, repository("from"), "content")
      const started = yield* union(options).startUpload(app, { mount: { digest, from: repository("from") } })
      assert.strictEqual(started._tag, "Mounted")
      assert.isTrue(yield* hasBlob(two, digest))
    }))

  it.effect("names the registry that did not take a blob, and the same call completes the push", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup({ two: [Faults.breakAt(3, { operation: "pushBlob", calls: [1] })] })
      const registry = union(options)
      const error = yield* Effect.flip(pushBlob(registry, app, "content"))
      assert(error._tag === "RegistryError")
      assert.deepStrictEqual([error.registry, error.operation, error.isRetryable], ["two", "pushBlob", true])
      const { digest } = yield* pushBlob(one, app, "content")
      assert.isFalse(yield* hasBlob(two, digest))
      yield* pushBlob(registry, app, "content")
      assert.isTrue(yield* hasBlob(two, digest))
    }))

  it.effect("does not write to the others if the first registry refuses", () =>
    Effect.gen(function*() {
      const { calls, union } = yield* setup({ one: [Faults.fail(new Denied({}))] })
      const error = yield* Effect.flip(pushBlob(union(options), app, "content"))
      assert(error._tag === "RegistryError")
      assert.deepStrictEqual([error.registry, error.reason._tag], ["one", "Denied"])
      const push = pushManifest(union(options), app, { mediaType: MediaType.imageIndex, manifests: [] }, [tag("1")])
      assert.strictEqual((yield* Effect.flip(push)).registry, "one")
      assert.deepStrictEqual(calls[1], [])
    }))

  it.effect("leaves a tag unchanged if another registry refuses it, and the same call completes the push", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const before = yield* pushImage(union(options), app, ["before"], { tags: [tag("1")] })
      const { registry: faulty } = yield* Faults.make(two, [
        Faults.fail(down, { operation: "pushManifest", calls: [1] })
      ])
      const registry = UnionRegistry.make([one, faulty], options)
      const push = pushImage(registry, app, ["after"], { tags: [tag("1")] })
      const error = yield* Effect.flip(push)
      assert(error._tag === "RegistryError")
      assert.strictEqual(error.registry, "two")
      assert.strictEqual(yield* digestOf(registry, tag("1")), before.digest)
      const after = yield* push
      for (const each of [one, two]) assert.strictEqual(yield* digestOf(each, tag("1")), after.digest)
    }))

  it.effect("tries all others even if one of them fails", () =>
    Effect.gen(function*() {
      const { one, two } = yield* setup()
      const three = yield* MemoryRegistry.make({ name: "three" })
      const { registry: faulty } = yield* Faults.make(two, [Faults.fail(down)])
      const registry = UnionRegistry.make([one, faulty, three], options)
      const error = yield* Effect.flip(pushBlob(registry, app, "content"))
      assert(error._tag === "RegistryError")
      assert.strictEqual(error.registry, "two")
      const { digest } = yield* pushBlob(one, app, "content")
      assert.isTrue(yield* hasBlob(three, digest))
    }))

  it.effect("completes a registry that lacks content of a manifest", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const image = yield* pushImage(one, app, ["layer"])
      yield* Images.pushIndex(union(options), app, [image], { tags: [tag("1")] })
      assert.strictEqual((yield* two.resolveManifest(app, image.digest)).digest, image.digest)
    }))

  it.effect("deletes from each registry that has it", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup()
      const { digest } = yield* pushBlob(two, app, "content")
      yield* union(options).deleteBlob(app, digest)
      assert.isFalse(yield* hasBlob(two, digest))
      yield* pushBlob(one, app, "another")
      assert.strictEqual((yield* Effect.flip(union(options).deleteBlob(app, digest))).reason._tag, "BlobUnknown")
    }))

  it.effect("deletes from all registries that it can, and names the one that failed", () =>
    Effect.gen(function*() {
      const { one, two, union } = yield* setup({ one: [Faults.fail(down, { operation: "deleteBlob", calls: [1] })] })
      const { digest } = yield* pushBlob(one, app, "content")
      yield* pushBlob(two, app, "content")
      assert.strictEqual((yield* Effect.flip(union(options).deleteBlob(app, digest))).registry, "one")
      assert.isFalse(yield* hasBlob(two, digest))
    }))
})

describe("a union", () => {
  it.effect("is named after its registries by default", () =>
    Effect.gen(function*() {
      const { union } = yield* setup()
      assert.strictEqual(union().name, "one+two")
      assert.strictEqual(union({ name: "both" }).name, "both")
    }))

  it.effect("answers a ping if all registries do", () =>
    Effect.gen(function*() {
      yield* (yield* setup()).union().ping
      const { union } = yield* setup({ two: [Faults.fail(down)] })
      assert.strictEqual((yield* Effect.flip(union().ping)).registry, "two")
    }))

  it.effect("has the write capabilities of its first registry, and the list capabilities of all", () =>
    Effect.gen(function*() {
      const having = (capabilities: Registry.Capabilities) =>
        Registry.make({ name: "any", capabilities: Effect.succeed(capabilities) })
      const one = having({ singlePost: true, referrers: true, pages: true, minimumChunk: 5 })
      const two = having({ singlePost: false, referrers: false, chunks: false })
      assert.deepStrictEqual(yield* UnionRegistry.make([one, two]).capabilities, {
        singlePost: true,
        minimumChunk: 5,
        referrers: false
      })
    }))

  it.effect("has the limits of all of its registries", () =>
    Effect.gen(function*() {
      const limited = (limit: number) => ({ ...Registry.make({ name: "any" }), limiter: Limiter.fixed(limit) })
      const [one, two] = [limited(1), limited(3)]
      const { limiter } = UnionRegistry.make([one, two])
      assert(limiter !== undefined)
      assert.strictEqual(yield* limiter.limit, 1)
      const gate = yield* Deferred.make<void>()
      yield* Effect.forkChild(Limiter.withPermits(limiter)(Deferred.await(gate)), { startImmediately: true })
      const other = yield* Effect.forkChild(Limiter.withPermits(one.limiter)(Effect.void), { startImmediately: true })
      assert.isUndefined(other.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(other)
    }))

  it.effect("takes no second permit of a registry within a permit of the union", () =>
    Effect.gen(function*() {
      const { one, two } = yield* setup()
      const limiter = Limiter.fixed(1)
      const limited = Registry.make({
        ...one,
        limiter,
        resolveBlob: (...args) => Effect.scoped(Effect.andThen(Limiter.permit(limiter), one.resolveBlob(...args)))
      })
      const union = UnionRegistry.make([limited, two])
      const { digest } = yield* pushBlob(one, app, "content")
      assert.strictEqual((yield* Limiter.withPermits(union.limiter)(union.resolveBlob(app, digest))).size, 7)
    }))

  it.effect("has a limit only if one of its registries has one", () =>
    Effect.gen(function*() {
      assert.notProperty((yield* setup()).union(), "limiter")
    }))

  it.effect("is created from layers, each of which provides a registry of its own", () =>
    Effect.gen(function*() {
      const memory: Layer.Layer<Registry.Registry> = MemoryRegistry.layer({ name: "mem" })
      const program = Registry.Registry.use((registry) => Effect.as(pushBlob(registry, app, "content"), registry.name))
      assert.strictEqual(yield* Effect.provide(program, UnionRegistry.layer([memory, memory])), "mem+mem")
    }))

  it.effect("of unions is one", () =>
    Effect.gen(function*() {
      const { one, two } = yield* setup()
      const three = yield* MemoryRegistry.make({ name: "three" })
      const union = UnionRegistry.make([UnionRegistry.make([one, two]), three])
      const { digest } = yield* pushImage(three, app, ["layer"], { tags: [tag("1")] })
      assert.strictEqual(yield* digestOf(union, tag("1")), digest)
    }))
})
