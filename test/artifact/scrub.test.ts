import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import type * as Digest from "effect-oci/Digest"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Repository } from "effect-oci/Reference"
import { Denied } from "effect-oci/RegistryError"
import * as Scrub from "effect-oci/Scrub"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { noise } from "../utils/BadNetwork.ts"
import { pushBlob, pushManifest, repository, tag } from "../utils/images.ts"
import { blobPath, filesOf, temporaryFolder } from "../utils/layouts.ts"
import { failing, override } from "../utils/registries.ts"

const [app, other] = [repository("team/app"), repository("other")]

const artifact = { mediaType: MediaType.imageManifest, artifactType: "application/vnd.example" }

/** Makes a registry in a folder with an artifact in two repositories, which have files of their own. */
const setUp = Effect.gen(function*() {
  const directory = yield* temporaryFolder
  const store = yield* LayoutRegistry.make({ directory })
  const push = Effect.fnUntraced(function*(name: Repository) {
    const config = yield* pushBlob(store, name, "{}", MediaType.empty)
    const layer = yield* pushBlob(store, name, noise(100_000), "application/octet-stream")
    const manifest = yield* pushManifest(store, name, { ...artifact, config, layers: [layer] }, [tag("1")])
    return { layer: layer.digest, manifest: manifest.digest }
  })
  const content = yield* push(app)
  yield* push(other)
  const pathOf = (name: Repository, digest: Digest.Digest) => blobPath(Path.join(directory, name), digest)
  /** Damages a file without a trace in its metadata, as a disk does. */
  const damage = (name: Repository, digest: Digest.Digest) => {
    const path = pathOf(name, digest)
    const { atime, mtime } = Fs.statSync(path)
    const bytes = Fs.readFileSync(path)
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
    Fs.writeFileSync(path, bytes)
    Fs.utimesSync(path, atime, mtime)
  }
  const scrub = (options?: Scrub.Options) =>
    Effect.flatMap(
      LayoutRegistry.make({ directory, verification: "always" }),
      (registry) => Scrub.run(registry, { rate: 1e9, ...options })
    )
  return { ...content, directory, store, push, pathOf, damage, scrub }
})

const found = ({ problems }: Scrub.Report) =>
  problems.map(({ digest, kind, outcome, repository }) => [kind, repository, digest, outcome])

const withNode = Effect.provide(NodeServices.layer)

describe("a scrub", () => {
  it.live("reads all repositories, and finds nothing in whole ones", () =>
    Effect.gen(function*() {
      const { scrub } = yield* setUp
      const { blobs, manifests, problems, repositories } = yield* scrub()
      assert.deepStrictEqual([repositories, manifests, blobs, problems], [2, 2, 2, []])
    }).pipe(withNode))

  it.live("finds a damaged blob in the repository that has it, although that of another is whole", () =>
    Effect.gen(function*() {
      const { damage, layer, pathOf, scrub } = yield* setUp
      damage(app, layer)
      assert.deepStrictEqual(found(yield* scrub()), [["WrongDigest", app, layer, "reported"]])
      assert.isTrue(Fs.existsSync(pathOf(app, layer)))
      damage(other, layer)
      damage(app, layer)
      assert.deepStrictEqual(found(yield* scrub()), [["WrongDigest", other, layer, "reported"]])
    }).pipe(withNode))

  it.live("moves a damaged blob aside, so that it can be pushed again", () =>
    Effect.gen(function*() {
      const { damage, directory, layer, manifest, pathOf, push, scrub, store } = yield* setUp
      damage(app, layer)
      assert.deepStrictEqual(found(yield* scrub({ broken: store })), [["WrongDigest", app, layer, "quarantined"]])
      assert.isFalse(Fs.existsSync(pathOf(app, layer)))
      const aside = filesOf(Path.join(directory, app, ".effect-oci")).filter((file) => file.startsWith("broken"))
      assert.deepStrictEqual(aside, [`broken/${layer.replace(":", "-")}`])
      const missing = yield* Effect.flip(store.resolveBlob(app, layer))
      assert.strictEqual(missing.reason._tag, "BlobUnknown")
      assert.strictEqual((yield* store.resolveManifest(app, tag("1"))).digest, manifest)
      // missing until then
      assert.deepStrictEqual(found(yield* scrub({ broken: store })), [["MissingBlob", app, layer, "reported"]])
      assert.deepStrictEqual(found(yield* scrub({ broken: store, missing: "ignore" })), [])
      yield* push(app)
      assert.deepStrictEqual(found(yield* scrub({ broken: store })), [])
    }).pipe(withNode))

  it.live("moves a damaged manifest aside, whose tag stays", () =>
    Effect.gen(function*() {
      const { damage, manifest, push, scrub, store } = yield* setUp
      damage(app, manifest)
      assert.deepStrictEqual(found(yield* scrub({ broken: store })), [["WrongDigest", app, manifest, "quarantined"]])
      assert.deepStrictEqual(yield* Stream.runCollect(store.tags(app)), [tag("1")])
      const missing = yield* Effect.flip(store.getManifest(app, tag("1")))
      assert.strictEqual(missing.reason._tag, "ManifestUnknown")
      yield* push(app)
      assert.strictEqual((yield* store.getManifest(app, tag("1"))).descriptor.digest, manifest)
      assert.deepStrictEqual(found(yield* scrub()), [])
    }).pipe(withNode))

  it.live("does not let a collection remove what a manifest needs that was moved aside", () =>
    Effect.gen(function*() {
      const { damage, layer, manifest, pathOf, push, scrub, store } = yield* setUp
      damage(app, manifest)
      yield* scrub({ broken: store })
      const { skipped } = yield* store.collect({ olderThan: 0 })
      assert.match(skipped[0]?.problem ?? "", /it was broken, and moved aside, .*push or delete this manifest/)
      assert.isTrue(Fs.existsSync(pathOf(app, layer)))
      yield* push(app)
      assert.deepStrictEqual((yield* store.collect({ olderThan: 0 })).skipped, [])
      damage(app, manifest)
      yield* scrub({ broken: store })
      yield* store.deleteManifest(app, manifest)
      const { removed } = yield* store.collect({ olderThan: 0 })
      assert.deepStrictEqual(removed.map(({ digest }) => digest).includes(layer), true)
    }).pipe(withNode))

  it.live("moves nothing aside that was pushed again after it was read", () =>
    Effect.gen(function*() {
      const { damage, layer, push, scrub, store } = yield* setUp
      damage(app, layer)
      const quarantine: Scrub.Quarantine["quarantine"] = (name, digest) =>
        Effect.andThen(Effect.orDie(push(app)), store.quarantine(name, digest))
      assert.deepStrictEqual(found(yield* scrub({ broken: { quarantine } })), [])
      yield* store.resolveBlob(app, layer)
      assert.deepStrictEqual(found(yield* scrub()), [])
    }).pipe(withNode))

  it.live("keeps what clients push while it moves damaged content aside", () =>
    Effect.gen(function*() {
      const { damage, layer, push, scrub, store } = yield* setUp
      for (let round = 0; round < 30; round++) {
        damage(app, layer)
        yield* Effect.all([store.quarantine(app, layer), push(app), store.quarantine(app, layer)], { concurrency: 3 })
        yield* store.resolveBlob(app, layer)
      }
      assert.deepStrictEqual(found(yield* scrub()), [])
    }).pipe(withNode))

  it.effect("waits, so that it reads no more bytes per second than it may", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const layer = yield* pushBlob(registry, app, noise(10_000_000), "application/octet-stream")
      const config = yield* pushBlob(registry, app, "{}", MediaType.empty)
      yield* pushManifest(registry, app, { ...artifact, config, layers: [layer] }, [tag("1")])
      const fiber = yield* Effect.forkChild(Scrub.run(registry, { rate: 1_000_000 }), { startImmediately: true })
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).bytes, 10_000_000)
    }))

  it.effect("does not report content that was deleted meanwhile", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make({ deletableBlobs: "all" })
      const config = yield* pushBlob(registry, app, "{}", MediaType.empty)
      const { digest } = yield* pushManifest(registry, app, { ...artifact, config, layers: [] }, [tag("1")])
      const deleting = override(registry, {
        getBlob: (name, blob, options) =>
          registry.deleteManifest(name, digest).pipe(
            Effect.andThen(registry.deleteBlob(name, blob)),
            Effect.andThen(registry.getBlob(name, blob, options))
          )
      })
      assert.deepStrictEqual(found(yield* Scrub.run(deleting)), [])
    }))

  it.effect("reports a repository that cannot be listed, and reads the others", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const config = yield* pushBlob(registry, app, "{}", MediaType.empty)
      yield* pushManifest(registry, app, { ...artifact, config, layers: [] }, [tag("1")])
      const [gone, locked] = [repository("gone"), repository("locked")]
      const odd = override(registry, {
        repositories: () => Stream.make(gone, locked, app),
        tags: (name) => name === locked ? Stream.fromEffect(failing("tags", new Denied({}))) : registry.tags(name)
      })
      const report = yield* Scrub.run(odd)
      assert.strictEqual(report.manifests, 1)
      assert.deepStrictEqual(found(report), [["Unreadable", locked, undefined, "reported"]])
    }))
})

describe("quarantine", () => {
  it.live("leaves whole content and absent content as it is", () =>
    Effect.gen(function*() {
      const { layer, pathOf, store } = yield* setUp
      const { mtimeMs } = Fs.statSync(pathOf(app, layer))
      assert.strictEqual(yield* store.quarantine(app, layer), "intact")
      assert.strictEqual(Fs.statSync(pathOf(app, layer)).mtimeMs, mtimeMs)
      Fs.rmSync(pathOf(app, layer))
      assert.strictEqual(yield* store.quarantine(app, layer), "absent")
    }).pipe(withNode))

  it.live("makes room for content within the limit of a repository", () =>
    Effect.gen(function*() {
      const { damage, directory, layer } = yield* setUp
      const store = yield* LayoutRegistry.make({ directory, maximumRepositorySize: 150_000 })
      damage(app, layer)
      assert.strictEqual(yield* store.quarantine(app, layer), "quarantined")
      yield* pushBlob(store, app, noise(120_000))
    }).pipe(withNode))
})
