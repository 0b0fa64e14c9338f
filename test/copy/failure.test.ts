import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Latch, Schema, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import { CopyError } from "effect-oci/CopyError"
import * as Descriptor from "effect-oci/Descriptor"
import * as Hasher from "effect-oci/Hasher"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import { Denied, RegistryError, Transport, UnexpectedResponse, Unsupported } from "effect-oci/RegistryError"
import { bytesOf, pushBlob, pushImage, pushManifest, pushSample, repository, tag } from "../utils/images.ts"
import { failing, override } from "../utils/registries.ts"
import { make, whileTimeFlies } from "../utils/ScriptedServer.ts"

const from = repository("team/app")
const to = repository("mirror/app")

const copy = (source: Registry, destination: Registry, options: Copy.Options = {}) =>
  Copy.copyManifest({
    ...options,
    source: { registry: source, repository: from, tag: tag("1") },
    destination: { registry: destination, repository: to, tag: tag("1") }
  })

const setup = Effect.all({
  source: MemoryRegistry.make({ name: "source.test" }),
  destination: MemoryRegistry.make({ name: "destination.test" })
})

/** Creates a registry that flips a bit of one blob, and verifies blobs like other registries. */
const corrupting = (registry: Registry, digest: Descriptor.Descriptor["digest"]) =>
  override(registry, {
    getBlob: Effect.fnUntraced(function*(repository, asked, options) {
      const blob = yield* registry.getBlob(repository, asked, options)
      if (asked !== digest) return blob
      const flipped = Stream.map(blob.stream, (chunk) => chunk.map((byte, i) => i === 0 ? byte ^ 1 : byte))
      return {
        ...blob,
        stream: flipped.pipe(
          Hasher.verify(blob.descriptor),
          Stream.mapError((reason) =>
            reason._tag === "RegistryError"
              ? reason
              : new RegistryError({ operation: "getBlob", registry: registry.name, repository, reason })
          )
        )
      }
    })
  })

describe("an error", () => {
  it.effect("is that of the response to GET if the registry fails for HEAD", () =>
    Effect.gen(function*() {
      const manifest = "/v2/team/app/manifests/1"
      const { registry } = yield* make({ [`HEAD ${manifest}`]: { status: 500 }, [`GET ${manifest}`]: { status: 403 } })
      const { reason } = yield* whileTimeFlies(Effect.flip(copy(registry, yield* MemoryRegistry.make())))
      assert.strictEqual(reason._tag, "Denied")
    }))

  it.effect("of the source has the detail of the response to GET, because a response to HEAD has none", () =>
    Effect.gen(function*() {
      const manifest = "/v2/team/app/manifests/1"
      const errors = [{ code: "DENIED", message: "the team has left" }]
      const { registry, sent } = yield* make({
        [`HEAD ${manifest}`]: { status: 403 },
        [`GET ${manifest}`]: { status: 403, body: { errors } }
      })
      // of Docker Hub, the root is looked up before it is read
      const { reason } = yield* Effect.flip(copy({ ...registry, name: "docker.io" }, yield* MemoryRegistry.make()))
      assert.deepInclude(reason, { _tag: "Denied", detail: "the team has left" })
      assert.deepStrictEqual(sent(), [`HEAD ${manifest}`, `GET ${manifest}`])
    }))

  it.effect("names the end, the content, the path to it, and the reason", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const image = yield* pushImage(source, from, ["one", "two"])
      const index = yield* pushManifest(source, from, { mediaType: MediaType.imageIndex, manifests: [image] }, [
        tag("1")
      ])
      const layer = yield* Descriptor.fromBytes(bytesOf("two"), { mediaType: MediaType.imageLayer })
      const error = yield* Effect.flip(copy(corrupting(source, layer.digest), destination))
      assert.strictEqual(error.end, "source")
      assert.strictEqual(error.reference, "source.test/team/app:1")
      assert.deepStrictEqual(error.descriptor, layer)
      assert.deepStrictEqual(error.path, [index.digest, image.digest])
      assert.strictEqual(error.reason._tag, "DigestMismatch")
      assert.notInclude(error.message, "\n")
    }))

  it.effect("names the end that failed", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
      const denying = override(destination, { pushBlob: () => failing("pushBlob", new Denied({ status: 403 })) })
      const error = yield* Effect.flip(copy(source, denying))
      assert.strictEqual(error.end, "destination")
      assert.strictEqual(error.reason._tag, "Denied")
      const breaking = override(source, { getBlob: () => failing("getBlob", new Transport({ code: "ECONNRESET" })) })
      assert.strictEqual((yield* Effect.flip(copy(breaking, destination))).end, "source")
    }))

  it.effect.each([
    new Denied({ status: 403 }),
    new Unsupported({ status: 405 }),
    new UnexpectedResponse({ status: 400 })
  ])(
    "does not occur if a destination denies requests for absent content (Artifactory): $_tag",
    (reason) =>
      Effect.gen(function*() {
        const { destination, source } = yield* setup
        const image = yield* pushImage(source, from, ["one"])
        const index = yield* pushManifest(source, from, { mediaType: MediaType.imageIndex, manifests: [image] }, [
          tag("1")
        ])
        const denied = <A>(effect: Effect.Effect<A, RegistryError>) =>
          Effect.catch(effect, ({ operation }) => failing(operation, reason))
        const discreet = override(destination, {
          capabilities: Effect.succeed({}),
          resolveBlob: (...args) => denied(destination.resolveBlob(...args)),
          resolveManifest: (...args) => denied(destination.resolveManifest(...args))
        })
        yield* copy(source, discreet)
        assert.strictEqual((yield* destination.resolveManifest(to, tag("1"))).digest, index.digest)
      })
  )

  it.effect("occurs if a destination denies the lookup of a tag that may not be moved", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
      const discreet = override(destination, {
        resolveManifest: () => failing("resolveManifest", new Denied({ status: 403 }))
      })
      for (const onTagExists of ["keep", "fail"] as const) {
        const error = yield* Effect.flip(copy(source, discreet, { onTagExists }))
        assert.strictEqual(error.reason._tag, "Denied")
      }
    }))

  it.effect("can be caught by its reason, and encoded", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const caught = yield* copy(source, destination).pipe(
        Effect.catchReason("CopyError", "NameUnknown", (_, error) => Effect.succeed(error))
      )
      assert.instanceOf(caught, CopyError)
      const json = yield* Schema.encodeUnknownEffect(Schema.fromJsonString(CopyError))(caught)
      const decoded = yield* Schema.decodeUnknownEffect(Schema.fromJsonString(CopyError))(json)
      assert.strictEqual(decoded.message, (caught as CopyError).message)
    }))
})

describe("a copy that fails", () => {
  it.effect("over a corrupted blob leaves neither the blob nor the manifest nor the tag", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      yield* pushSample(source, from, [tag("1")])
      const { digest } = yield* Descriptor.fromBytes(bytesOf("shared layer"))
      yield* Effect.flip(copy(corrupting(source, digest), destination))
      const blob = yield* Effect.flip(destination.resolveBlob(to, digest))
      assert.include(["BlobUnknown", "NameUnknown"], blob.reason._tag)
      const manifest = yield* Effect.flip(destination.resolveManifest(to, tag("1")))
      assert.include(["ManifestUnknown", "NameUnknown"], manifest.reason._tag)
    }))

  it.effect("is completed by the next copy, which sends only the rest", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      yield* pushImage(source, from, ["first", "second"], { tags: [tag("1")] })
      const { digest } = yield* Descriptor.fromBytes(bytesOf("second"))
      const failingOnce = Effect.provideService(copy(corrupting(source, digest), destination), Copy.MaxInFlight, 1)
      yield* Effect.flip(failingOnce)
      const report = yield* copy(source, destination)
      assert.isAtLeast(report.having("present").length, 1)
      yield* destination.getManifest(to, tag("1"))
    }))

  it.effect("stops its other transfers", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      yield* pushImage(source, from, ["one", "two", "three"], { tags: [tag("1")] })
      const { digest } = yield* Descriptor.fromBytes(bytesOf("two"))
      const begun = yield* Latch.make()
      const running = new Set<string>()
      const stopped: Array<string> = []
      const stuck = override(source, {
        getBlob: (_, asked) =>
          asked === digest
            ? Effect.andThen(begun.await, failing("getBlob", new Denied({})))
            : Effect.suspend(() => {
              running.add(asked)
              if (running.size === 3) begun.openUnsafe()
              return Effect.onInterrupt(Effect.never, () => Effect.sync(() => stopped.push(asked)))
            })
      })
      yield* Effect.flip(copy(stuck, destination))
      assert.strictEqual(stopped.length, 3)
    }))

  it.effect("over a blob of another size than in its descriptor fails with SizeMismatch", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const layer = yield* pushBlob(source, from, "some layer")
      const config = yield* pushBlob(source, from, "{}", MediaType.imageConfig)
      yield* pushManifest(source, from, { mediaType: MediaType.imageManifest, config, layers: [layer] }, [tag("1")])
      const shorter = override(source, {
        getBlob: (repository, _digest, options) => source.getBlob(repository, config.digest, options)
      })
      const error = yield* Effect.flip(copy(shorter, destination))
      assert.strictEqual(error.reason._tag, "SizeMismatch")
      assert.strictEqual(error.end, "source")
    }))

  it.effect("over a manifest that is not JSON fails with ManifestError", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const garbled = override(source, {
        getManifest: (repository, reference) =>
          Effect.map(source.getManifest(repository, reference), ({ descriptor }) => ({
            descriptor,
            bytes: bytesOf("<html>")
          }))
      })
      yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
      const error = yield* Effect.flip(copy(garbled, destination))
      assert.strictEqual(error.reason._tag, "ManifestError")
      assert.include(error.message, "valid JSON")
    }))
})

it.effect("an interrupted copy leaves no tag, and no upload session open", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    yield* pushImage(source, from, ["one", "two"], { tags: [tag("1")] })
    const begun = yield* Deferred.make<void>()
    const open = new Set<string>()
    const slow = override(destination, {
      pushBlob: (repository, descriptor) =>
        Effect.scoped(Effect.gen(function*() {
          yield* destination.startUpload(repository)
          open.add(descriptor.digest)
          yield* Effect.addFinalizer(() => Effect.sync(() => open.delete(descriptor.digest)))
          yield* Deferred.succeed(begun, undefined)
          return yield* Effect.never
        }))
    })
    const fiber = yield* Effect.forkChild(copy(source, slow))
    yield* Deferred.await(begun)
    assert.isAbove(open.size, 0)
    yield* Fiber.interrupt(fiber)
    assert.strictEqual(open.size, 0)
    const error = yield* Effect.flip(destination.resolveManifest(to, tag("1")))
    assert.include(["ManifestUnknown", "NameUnknown"], error.reason._tag)
  }))

describe("copyBlob", () => {
  it.effect("copies one blob, and does not send it again", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const { digest } = yield* pushBlob(source, from, "content")
      const ends = {
        source: { registry: source, repository: from, digest },
        destination: { registry: destination, repository: to }
      }
      assert.strictEqual((yield* Copy.copyBlob(ends)).bytes, 7)
      assert.strictEqual((yield* Copy.copyBlob(ends)).bytes, 0)
    }))

  it.effect("needs a digest of the source, no tags, and no other digest of the destination", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const { digest } = yield* pushBlob(source, from, "content")
      const other = yield* pushBlob(source, from, "other")
      const there = { registry: destination, repository: to }
      const here = { registry: source, repository: from }
      const reasonOf = (ends: Parameters<typeof Copy.copyBlob>[0]) =>
        Effect.map(Effect.flip(Copy.copyBlob(ends)), ({ end, reason }) => [end, reason._tag])
      assert.deepStrictEqual(
        yield* Effect.forEach([
          { source: { ...here, digest, tag: tag("1") }, destination: there },
          { source: { ...here, digest }, destination: { ...there, tag: tag("1") } },
          { source: here, destination: there },
          { source: { ...here, digest }, destination: { ...there, digest: other.digest } }
        ], reasonOf),
        [
          ["source", "UnfitReference"],
          ["destination", "UnfitReference"],
          ["source", "UnfitReference"],
          ["destination", "DigestConflict"]
        ]
      )
    }))
})
