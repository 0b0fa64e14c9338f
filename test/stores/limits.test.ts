/**
 * Limits of registries in memory and in folders, which ensure that they can always be read and emptied.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, type FileSystem, type Path as EffectPath, type Scope, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import { longestStretch } from "../utils/EventLoop.ts"
import { bytesOf, pushBlob, pushImage, pushManifest, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { index, refusal, tags } from "../utils/limits.ts"

V8.setFlagsFromString("--expose-gc")
const collect: () => void = Vm.runInNewContext("gc")

/** Returns the number of bytes in use, without garbage. */
const inUse = (): number => {
  collect()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const app = repository("team/app")
const other = repository("team/other")
const MiB = 1024 * 1024

/** Sizes of content in tests of full registries, in bytes. What a registry in memory counts besides is less. */
const unit = 1000
const much = (letter: string, units: number) => letter.repeat(units * unit)
const limit = (units: number) => (units + 50) * unit

interface Kind {
  readonly name: string
  readonly make: (
    limits?: Omit<MemoryRegistry.Options, "name">
  ) => Effect.Effect<Registry, never, FileSystem.FileSystem | EffectPath.Path | Scope.Scope>
}

const kinds: ReadonlyArray<Kind> = [
  { name: "in memory", make: (limits) => MemoryRegistry.make(limits) },
  {
    name: "in a folder",
    make: (limits = {}) =>
      Effect.flatMap(
        temporaryFolder,
        (directory) => LayoutRegistry.make({ directory, durability: "process-end", ...limits })
      )
  },
  {
    name: "in a layout",
    make: (limits = {}) =>
      Effect.flatMap(
        temporaryFolder,
        (directory) => LayoutRegistry.make({ directory, form: "layout", durability: "process-end", ...limits })
      )
  }
]

const startUpload = (registry: Registry, name = app) =>
  Effect.map(registry.startUpload(name), (started) => {
    assert(started._tag === "Upload")
    return started
  })

describe("a registry", () => {
  for (const { make, name } of kinds) {
    const it_ = (
      promise: string,
      test: (make: Kind["make"]) => Effect.Effect<void, unknown, Scope.Scope | NodeServices.NodeServices>
    ) => it.effect(`${name} ${promise}`, () => Effect.provide(test(make), NodeServices.layer))

    it_(
      "refuses a media type of more than 255 characters",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make()
        const push = (length: number) =>
          registry.pushManifest(app, { mediaType: `a/${"b".repeat(length - 2)}`, bytes: index("") }, [tag("1")])
        yield* push(255)
        assert.strictEqual(
          yield* refusal(push(256)),
          "ManifestInvalid: the registry does not accept the manifest: a media type may have 255 characters"
        )
      })
    )

    it_(
      "refuses more than 1000 tags in one push",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make()
        const manifest = { mediaType: MediaType.imageIndex, bytes: index("") }
        assert.strictEqual(
          yield* refusal(registry.pushManifest(app, manifest, tags(1001))),
          "ContentTooLarge: the content is too large: one push may have 1000 tags"
        )
        yield* registry.pushManifest(app, manifest, tags(1000))
        assert.lengthOf(yield* Stream.runCollect(registry.tags(app)), 1000)
      })
    )

    it_(
      "refuses a referrer that would be too large to be listed",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make()
        const image = yield* pushImage(registry, app, ["layer"])
        const push = (size: number) =>
          pushManifest(registry, app, {
            mediaType: MediaType.imageIndex,
            manifests: [],
            subject: { mediaType: image.mediaType, digest: image.digest, size: image.size },
            annotations: { "org.example.much": "x".repeat(size) }
          })
        yield* push(2_000_000)
        assert.include(
          yield* refusal(push(2_200_000)),
          "annotations of a manifest with a subject may have 2097152 bytes"
        )
      })
    )

    it_(
      "refuses JSON that would take long to read, without reading it",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make()
        const push = (json: string) =>
          registry.pushManifest(app, {
            mediaType: MediaType.imageIndex,
            bytes: bytesOf(`{"schemaVersion":2,"manifests":[],"more":${json}}`)
          })
        yield* push("[".repeat(99) + "]".repeat(99))
        yield* push(`"${"[{,".repeat(1_000_000)}"`)
        for (
          const json of [
            "[".repeat(1_000_000) + "]".repeat(1_000_000),
            `[${"[],".repeat(1_000_000)}0]`,
            "[".repeat(4_000_000)
          ]
        ) {
          assert.include(yield* refusal(push(json)), "its JSON may have 100 levels and 300000 values")
        }
      })
    )

    it_(
      "takes a manifest of 28 000 layers",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make()
        const config = yield* pushBlob(registry, app, "{}", MediaType.imageConfig)
        const layer = yield* pushBlob(registry, app, "layer")
        const layers = Array.from({ length: 28_000 }, () => layer)
        const { digest } = yield* pushManifest(registry, app, { mediaType: MediaType.imageManifest, config, layers })
        assert.strictEqual((yield* registry.resolveManifest(app, digest)).digest, digest)
      })
    )

    it_(
      "lets other fibers run while it checks a large manifest",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make()
        const annotations = Object.fromEntries(Array.from({ length: 5000 }, (_, number) => [`${number}`, ""]))
        const config = yield* pushBlob(registry, app, "{}", MediaType.imageConfig)
        const layer = { ...yield* pushBlob(registry, app, "layer"), annotations }
        const layers = Array.from({ length: 55 }, () => layer)
        const content = { mediaType: MediaType.imageManifest, config: { ...config, annotations }, layers }
        const stretch = yield* longestStretch(pushManifest(registry, app, content, [tag("1")]))
        assert.lengthOf(yield* Stream.runCollect(registry.tags(app)), 1)
        // more than a second without a pause
        assert.isBelow(stretch, 300)
      })
    )

    it_(
      "refuses a manifest with more than 5000 annotations",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make()
        const push = (count: number) => {
          const annotations = Object.fromEntries(Array.from({ length: count }, (_, number) => [`${number}`, ""]))
          return pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [], annotations })
        }
        yield* push(5000)
        assert.include(yield* refusal(push(5001)), "an object in its JSON may have 5000 fields, and one has more")
      })
    )

    it_(
      "names the content whose size differs from that in a manifest",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make()
        const config = yield* pushBlob(registry, app, "{}", MediaType.imageConfig)
        const push = pushManifest(registry, app, {
          mediaType: MediaType.imageManifest,
          config: { ...config, size: 3 },
          layers: []
        })
        assert.strictEqual(
          yield* refusal(push),
          "ManifestInvalid: the registry does not accept the manifest: " +
            `it states a size of 3 bytes for ${config.digest}, which has 2`
        )
      })
    )

    it_(
      "takes a subject that lacks its size",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make()
        const image = yield* pushImage(registry, app, ["layer"])
        const content = { mediaType: MediaType.imageIndex, manifests: [], subject: { digest: image.digest } }
        const { digest } = yield* pushManifest(registry, app, content)
        const referrers = yield* Stream.runCollect(registry.referrers(app, image.digest))
        assert.deepStrictEqual(referrers.map((referrer) => referrer.digest), [digest])
      })
    )

    it_(
      "refuses a blob that exceeds the limit, however it is uploaded",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make({ maximumBlobSize: 10 })
        yield* pushBlob(registry, app, "0123456789")
        const expected = "ContentTooLarge: the content is larger than 10 bytes"
        assert.strictEqual(yield* refusal(pushBlob(registry, app, "0123456789a")), expected)
        const upload = yield* startUpload(registry)
        yield* upload.append({ offset: 0, stream: Stream.succeed(bytesOf("01234567")) })
        assert.strictEqual(
          yield* refusal(upload.append({ offset: 8, stream: Stream.succeed(bytesOf("abc")) })),
          expected
        )
        const { digest } = yield* Descriptor.fromBytes(bytesOf("01234567"))
        yield* upload.commit(digest)
      })
    )

    it_(
      "refuses more open upload sessions than the limit",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make({ maximumUploads: 2 })
        yield* startUpload(registry)
        yield* Effect.scoped(Effect.gen(function*() {
          yield* startUpload(registry, other)
          assert.strictEqual(
            yield* refusal(startUpload(registry)),
            "TooManyRequests: the registry asks for a pause: it has 2 open upload sessions, which is the limit"
          )
          yield* pushBlob(registry, app, "without a session")
        }))
        yield* startUpload(registry)
      })
    )

    it_(
      "has room again after deletes and cancelled uploads",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make({ maximumSize: limit(1000) })
        const full = `Denied: access is denied: the registry is full: it may have ${limit(1000)} bytes`
        const twice = yield* pushBlob(registry, app, much("x", 400))
        yield* pushBlob(registry, app, much("x", 400))
        yield* registry.deleteBlob(app, twice.digest)
        const { digest } = yield* pushBlob(registry, app, much("a", 600))
        assert.strictEqual(yield* refusal(pushBlob(registry, app, much("b", 600))), full)
        yield* Effect.scoped(Effect.gen(function*() {
          const upload = yield* startUpload(registry)
          yield* upload.append({ offset: 0, stream: Stream.succeed(bytesOf(much("c", 300))) })
          assert.strictEqual(yield* refusal(pushBlob(registry, app, much("b", 200))), full)
          assert.strictEqual(
            yield* refusal(upload.append({ offset: 300 * unit, stream: Stream.succeed(bytesOf(much("c", 200))) })),
            full
          )
          yield* Effect.exit(upload.commit(digest, { offset: 300 * unit, stream: Stream.succeed(bytesOf("d")) }))
        }))
        yield* pushBlob(registry, app, much("b", 400))
        const manifest = (size: number) => ({
          mediaType: MediaType.imageIndex,
          bytes: index("", { more: much("m", size) })
        })
        assert.strictEqual(yield* refusal(registry.pushManifest(app, manifest(100))), full)
        yield* registry.deleteBlob(app, digest)
        const pushed = yield* registry.pushManifest(app, manifest(400), [tag("1")])
        yield* registry.pushManifest(app, manifest(400), [tag("2")])
        assert.strictEqual(yield* refusal(pushBlob(registry, app, much("a", 600))), full)
        yield* registry.deleteManifest(app, pushed.digest)
        yield* pushBlob(registry, app, much("a", 600))
        assert.strictEqual(yield* refusal(pushBlob(registry, app, much("e", 100))), full)
      })
    )

    it_(
      "counts the bytes of an upload once if its commit is refused",
      Effect.fnUntraced(function*(make) {
        const registry = yield* make({ maximumSize: limit(1000) })
        const bytes = bytesOf(much("a", 800))
        const { digest } = yield* Descriptor.fromBytes(bytes)
        const wrong = yield* Descriptor.fromBytes(bytesOf("b"))
        const failing = registry.pushBlob(
          app,
          { digest: wrong.digest, size: bytes.length },
          BlobSource.fromBytes(bytes)
        )
        for (let count = 0; count < 3; count++) assert.include(yield* refusal(failing), "DigestMismatch")
        yield* registry.pushBlob(app, { digest, size: bytes.length }, BlobSource.fromBytes(bytes))
        assert.include(yield* refusal(pushBlob(registry, app, much("c", 300))), "Denied")
      })
    )
  }

  for (const { make, name } of kinds.slice(0, 2)) {
    it.effect(`${name} limits each repository, and counts shared content once for all of them`, () =>
      Effect.gen(function*() {
        const registry = yield* make({ maximumRepositorySize: limit(700), maximumSize: limit(1000) })
        const full = `Denied: access is denied: the repository is full: it may have ${limit(700)} bytes`
        const allFull = `the registry is full: it may have ${limit(1000)} bytes`
        const { digest } = yield* pushBlob(registry, app, much("a", 600))
        assert.strictEqual(yield* refusal(pushBlob(registry, app, much("b", 200))), full)
        yield* Effect.scoped(registry.startUpload(other, { mount: { digest, from: app } }))
        yield* Effect.scoped(registry.startUpload(other, { mount: { digest, from: app } }))
        assert.strictEqual(yield* refusal(pushBlob(registry, other, much("b", 200))), full)
        const third = repository("team/third")
        yield* pushBlob(registry, third, much("c", 400))
        assert.include(yield* refusal(pushBlob(registry, third, much("d", 100))), allFull)
        assert.strictEqual(
          yield* refusal(Effect.scoped(registry.startUpload(third, { mount: { digest, from: app } }))),
          full
        )
        yield* registry.deleteBlob(app, digest)
        assert.include(yield* refusal(pushBlob(registry, third, much("d", 100))), allFull)
        yield* registry.deleteBlob(other, digest)
        yield* pushBlob(registry, app, much("e", 600))
      }).pipe(Effect.provide(NodeServices.layer)))
  }

  describe("in memory", () => {
    const KiB = 1024
    const full = Effect.fnUntraced(function*<A, E>(push: (number: number) => Effect.Effect<A, E>, limit: number) {
      let number = 0
      const refused = yield* Effect.flip(Effect.forever(Effect.suspend(() => push(number++))))
      assert.include(`${refused}`, "access is denied")
      // with a repository, and what was there before
      assert.isAtMost(number, limit)
      return number
    })
    const repositories = (registry: Registry) => Stream.runCount(registry.repositories())

    it.effect("counts repositories, though they share their content", () =>
      Effect.gen(function*() {
        const registry = yield* MemoryRegistry.make({ maximumSize: 100 * KiB })
        const { digest } = yield* pushBlob(registry, app, "{}")
        const mount = (number: number) =>
          Effect.scoped(registry.startUpload(repository(`r${number}`), { mount: { digest, from: app } }))
        yield* full(mount, 60)
        assert.isAtMost(yield* repositories(registry), 60)
      }))

    it.effect("counts blobs that are empty or very small", () =>
      Effect.gen(function*() {
        const registry = yield* MemoryRegistry.make({ maximumRepositorySize: 100 * KiB })
        yield* full((number) => pushBlob(registry, app, `${number}`), 101)
        yield* registry.deleteBlob(app, yield* Effect.map(Descriptor.fromBytes(bytesOf("0")), ({ digest }) => digest))
        yield* pushBlob(registry, app, "another")
      }))

    it.effect("counts tags, until they are deleted", () =>
      Effect.gen(function*() {
        const registry = yield* MemoryRegistry.make({ maximumRepositorySize: 100 * KiB })
        const push = (number: number) =>
          registry.pushManifest(app, { mediaType: MediaType.imageIndex, bytes: index("") }, [tag(`${number}`)])
        yield* full(push, 101)
        yield* push(0)
        yield* registry.deleteTag(app, tag("0"))
        yield* push(1000)
        const { digest } = yield* registry.resolveManifest(app, tag("1"))
        yield* registry.deleteManifest(app, digest)
        for (let number = 0; number < 90; number++) yield* push(number)
      }))

    it.effect("counts the annotations of referrers twice", () =>
      Effect.gen(function*() {
        const registry = yield* MemoryRegistry.make({ maximumSize: 100 * KiB })
        const image = yield* pushImage(registry, app, ["layer"])
        const push = (number: number) =>
          registry.pushManifest(app, {
            mediaType: MediaType.imageIndex,
            bytes: index(`${number}`, { subject: image, annotations: { much: "x".repeat(10 * KiB) } })
          })
        const count = yield* full(push, 6)
        const referrers = yield* Stream.runCollect(registry.referrers(app, image.digest))
        assert.lengthOf(referrers, count - 1)
        for (const { digest } of referrers) yield* registry.deleteManifest(app, digest)
        assert.strictEqual(yield* full(push, 6), count)
      }))
  })

  it.live("in a folder buffers at most 32 MiB of idle uploads, and writes the rest", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const registry = yield* LayoutRegistry.make({ directory, durability: "process-end" })
      const [count, size] = [200, 250_000]
      const piece = new Uint8Array(10_000)
      const taken = yield* Effect.forEach(Array.from({ length: count }), () => Deferred.make<void>())
      for (const arrived of taken) {
        const pieces = Stream.fromIterable(Array.from({ length: size / piece.length }, () => piece), { chunkSize: 1 })
        // pulled after the last piece was taken
        const standing = Stream.fromEffectDrain(Effect.andThen(Deferred.succeed(arrived, undefined), Effect.never))
        const upload = yield* startUpload(registry)
        yield* Effect.forkScoped(upload.append({ offset: 0, stream: Stream.concat(pieces, standing) }))
      }
      yield* Effect.forEach(taken, Deferred.await)
      const folder = Path.join(directory, ".effect-oci", "uploads")
      const sizes = Fs.readdirSync(folder).map((name) => Fs.statSync(Path.join(folder, name)).size)
      assert.isAtLeast(sizes.reduce((sum, size) => sum + size), count * size - 34 * MiB)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

  it.effect("in a folder counts existing content when it is opened", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const before = yield* LayoutRegistry.make({ directory })
      const { digest } = yield* pushBlob(before, app, "a".repeat(600))
      yield* Effect.scoped(before.startUpload(other, { mount: { digest, from: app } }))
      yield* pushBlob(before, other, "b".repeat(200))
      const limited = yield* LayoutRegistry.make({ directory, maximumSize: 1000, maximumRepositorySize: 900 })
      assert.include(yield* refusal(pushBlob(limited, app, "c".repeat(201))), "1000 bytes")
      assert.include(yield* refusal(pushBlob(limited, other, "c".repeat(101))), "900 bytes")
      yield* pushBlob(limited, app, "c".repeat(200))
      assert.include(yield* refusal(pushBlob(limited, app, "d")), "1000 bytes")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live(
    "in memory holds a blob that arrives in chunks of one byte in little more than its size",
    () =>
      Effect.gen(function*() {
        const registry = yield* MemoryRegistry.make()
        const upload = yield* startUpload(registry)
        const size = process.env["EFFECT_OCI_LONG"] === undefined ? 1_000_000 : 12_000_000
        const chunks = Stream.rechunk(Stream.map(Stream.range(1, size), (number) => Uint8Array.of(number)), 4096)
        const before = inUse()
        yield* upload.append({ offset: 0, size, stream: chunks })
        assert.isBelow((inUse() - before) / MiB, 16 + 3 * size / MiB)
        assert.strictEqual(yield* upload.status, size)
      }),
    // alone, because it collects garbage, for which all other tests would wait
    { timeout: 120_000, concurrent: false }
  )
})
