/**
 * Copies of content with unknown media types.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type FileSystem, type Path, Result, type Scope } from "effect"
import * as Copy from "effect-oci/Copy"
import type { CopyError } from "effect-oci/CopyError"
import type { Descriptor } from "effect-oci/Descriptor"
import type { UnsupportedAlgorithm } from "effect-oci/Hasher"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as OciArchive from "effect-oci/OciArchive"
import type { Registry } from "effect-oci/Registry"
import { BlobUnknown, ManifestInvalid, type RegistryError } from "effect-oci/RegistryError"
import { bytesOf, pushBlob, pushImage, pushManifest, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { failing, override, recorded } from "../utils/registries.ts"
import { connect } from "../utils/ScriptedServer.ts"
import { serve } from "../utils/Served.ts"

const app = repository("team/app")
const thing = "application/vnd.example.thing.v1+json"

const copy = (source: Registry, destination: Registry, options: Copy.Options = {}) =>
  Copy.copyManifest({
    ...options,
    source: { registry: source, repository: app, tag: tag("1") },
    destination: { registry: destination, repository: app, tag: tag("1") }
  })

type Failure = RegistryError | CopyError | UnsupportedAlgorithm
type Needs = FileSystem.FileSystem | Path.Path | Scope.Scope

/** A registry that is written first, and read after that. */
interface End {
  readonly write: <A>(
    work: (registry: Registry) => Effect.Effect<A, Failure, Needs>
  ) => Effect.Effect<A, Failure, Needs>
  readonly read: Effect.Effect<Registry, Failure, Needs>
}

const constant = (registry: Registry): End => ({ write: (work) => work(registry), read: Effect.succeed(registry) })

const ends: Readonly<Record<string, Effect.Effect<End, Failure, Needs>>> = {
  memory: Effect.map(MemoryRegistry.make(), constant),
  folder: Effect.gen(function*() {
    return constant(yield* LayoutRegistry.make({ directory: `${yield* temporaryFolder}/images`, form: "layout" }))
  }),
  archive: Effect.map(temporaryFolder, (folder): End => ({
    write: (work) => OciArchive.update({ file: `${folder}/images.tar` }, work),
    read: OciArchive.make({ file: `${folder}/images.tar` })
  })),
  http: Effect.gen(function*() {
    const host = yield* Effect.orDie(serve(yield* MemoryRegistry.make()))
    return constant(yield* Effect.orDie(connect(host)))
  })
}

/** Pushes an index with an image, a manifest of an unknown type, and a blob of an unknown type. */
const pushOdd = Effect.fnUntraced(function*(registry: Registry) {
  const image = yield* pushImage(registry, app, ["one"])
  const manifest = yield* pushManifest(registry, app, { mediaType: thing, things: [1.0] })
  const blob = yield* pushBlob(registry, app, "xyz", "a/b")
  const index = yield* pushManifest(
    registry,
    app,
    { mediaType: MediaType.imageIndex, manifests: [image, manifest, blob] },
    [tag("1")]
  )
  return { image, manifest, blob, index }
})

const kinds = Object.keys(ends)
const pairs = kinds.flatMap((from) => kinds.map((to) => [from, to] as const))

const opened = (kind: string) => ends[kind] ?? Effect.die(kind)

describe("children of unknown types", () => {
  it.live.each(pairs)("are copied exactly from %s to %s", ([from, to]) =>
    Effect.gen(function*() {
      const [source, destination] = [yield* opened(from), yield* opened(to)]
      const pushed = yield* source.write(pushOdd)
      const origin = yield* source.read
      yield* destination.write((registry) => copy(origin, registry, { verify: "deep" }))
      const copied = yield* destination.read
      assert.strictEqual((yield* copied.resolveManifest(app, tag("1"))).digest, pushed.index.digest)
      const manifest = yield* copied.getManifest(app, pushed.manifest.digest)
      assert.strictEqual(manifest.descriptor.mediaType, thing)
      assert.deepStrictEqual(manifest.bytes, bytesOf({ schemaVersion: 2, mediaType: thing, things: [1.0] }))
      assert.strictEqual((yield* copied.resolveBlob(app, pushed.blob.digest)).size, 3)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("are not sent again", () =>
    Effect.gen(function*() {
      const [source, destination] = [yield* MemoryRegistry.make(), yield* recorded("destination.test")]
      yield* pushOdd(source)
      yield* copy(source, destination.registry)
      destination.forget()
      yield* copy(source, destination.registry)
      assert.deepStrictEqual(destination.calls.filter((call) => /^push|^start/.test(call)), [])
    }))

  it.effect("are pushed as blobs to a registry that refuses manifests of unknown types", () =>
    Effect.gen(function*() {
      const [source, store] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      const pushed = yield* pushOdd(source)
      const strict = override(store, {
        pushManifest: (name, manifest, tags) =>
          MediaType.isManifest(manifest.mediaType)
            ? store.pushManifest(name, manifest, tags)
            : failing("pushManifest", new ManifestInvalid({}))
      })
      yield* copy(source, strict)
      yield* store.resolveBlob(app, pushed.manifest.digest)
      assert.strictEqual((yield* store.resolveManifest(app, tag("1"))).digest, pushed.index.digest)
    }))

  it.effect("are an error at the source if it has neither a manifest nor a blob with that digest", () =>
    Effect.gen(function*() {
      const [source, destination] = [
        yield* MemoryRegistry.make({ deletableBlobs: "all" }),
        yield* MemoryRegistry.make()
      ]
      const { blob, index } = yield* pushOdd(source)
      yield* source.deleteBlob(app, blob.digest)
      const error = yield* Effect.flip(copy(source, destination))
      assert.deepStrictEqual([error.end, error.reason._tag, error.path], ["source", "ManifestUnknown", [index.digest]])
    }))

  it.effect("are sent again to a destination that has lost them", () =>
    Effect.gen(function*() {
      const [source, store] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      const { blob, index } = yield* pushOdd(source)
      let isLost = true
      const forgetful = override(store, {
        // reports the blob as present until a push has failed
        startUpload: (name, options) =>
          options?.mount?.digest === blob.digest && isLost
            ? Effect.succeed({ _tag: "Mounted" as const, digest: blob.digest })
            : store.startUpload(name, options),
        resolveBlob: (name, digest) =>
          digest === blob.digest && isLost
            ? Effect.andThen(Effect.sync(() => (isLost = false)), failing("resolveBlob", new BlobUnknown({})))
            : store.resolveBlob(name, digest)
      })
      yield* copy(source, forgetful, { referrers: "skip" })
      assert.strictEqual((yield* store.resolveManifest(app, tag("1"))).digest, index.digest)
      yield* store.resolveBlob(app, blob.digest)
    }))
})

describe("a child without a media type", () => {
  it.live.each(["folder", "archive"])("has the media type of its content, in %s", (kind) =>
    Effect.gen(function*() {
      const source = yield* opened(kind)
      const destination = yield* MemoryRegistry.make()
      const { digest } = yield* source.write(Effect.fnUntraced(function*(registry: Registry) {
        const { digest, size } = yield* pushImage(registry, app, ["one"])
        const manifests = [{ digest, size }]
        yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests }, [tag("1")])
        return { digest }
      }))
      yield* copy(yield* source.read, destination)
      const { bytes, descriptor } = yield* destination.getManifest(app, digest)
      assert.strictEqual(descriptor.mediaType, MediaType.imageManifest)
      for (const { digest } of Result.getOrThrow(Manifest.digests(descriptor.mediaType, bytes)).blobs) {
        yield* destination.resolveBlob(app, digest)
      }
    }).pipe(Effect.provide(NodeServices.layer)))
})

describe("a root of an unknown type", () => {
  const pushRoot = (registry: Registry): Effect.Effect<Descriptor, RegistryError> =>
    pushManifest(registry, app, { mediaType: thing, things: [] }, [tag("1")])

  it.live.each(pairs)("is copied exactly from %s to %s", ([from, to]) =>
    Effect.gen(function*() {
      const [source, destination] = [yield* opened(from), yield* opened(to)]
      const { digest } = yield* source.write(pushRoot)
      const origin = yield* source.read
      yield* destination.write((registry) => copy(origin, registry, { verify: "deep" }))
      const { descriptor } = yield* (yield* destination.read).getManifest(app, tag("1"))
      assert.deepStrictEqual([descriptor.digest, descriptor.mediaType], [digest, thing])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("is reported, because content that it may refer to is not copied", () =>
    Effect.gen(function*() {
      const [source, destination] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      const { digest } = yield* pushRoot(source)
      assert.deepStrictEqual((yield* copy(source, destination)).warnings, [
        `${digest} has an unknown type (${thing}): it is copied as it is, without content that it may refer to`
      ])
    }))

  it.effect("is copied with the references that the caller returns, without a warning", () =>
    Effect.gen(function*() {
      const [source, destination] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      yield* pushRoot(source)
      const blob = yield* pushBlob(source, app, "part of it")
      const report = yield* copy(source, destination, {
        manifestDigests: () => Result.succeed({ blobs: [blob], manifests: [] })
      })
      yield* destination.resolveBlob(app, blob.digest)
      assert.deepStrictEqual(report.warnings, [])
    }))
})
