/**
 * Garbage collection, of registries in memory and in folders.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, type Scope, Stream } from "effect"
import type { Digest } from "effect-oci/Digest"
import type * as GarbageCollection from "effect-oci/GarbageCollection"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import type { RegistryError } from "effect-oci/RegistryError"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Files from "../utils/files.ts"
import {
  bytesOf,
  pushBlob,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  repository,
  tag
} from "../utils/images.ts"
import { assertValid, blobPath, leaveInQuarantine, temporaryFolder } from "../utils/layouts.ts"

const app = repository("team/app")

interface Collected extends Registry {
  readonly collect: (
    options: GarbageCollection.Options
  ) => Effect.Effect<GarbageCollection.Report, RegistryError>
}

interface Store {
  readonly name: string
  readonly make: Effect.Effect<Collected, never, NodeServices.NodeServices | Scope.Scope>
}

const layoutIn = (form: "registry" | "layout") =>
  Effect.flatMap(temporaryFolder, (folder) => LayoutRegistry.make({ directory: Path.join(folder, "here"), form }))

const stores: ReadonlyArray<Store> = [
  { name: "MemoryRegistry", make: MemoryRegistry.make() },
  { name: "LayoutRegistry as a registry", make: layoutIn("registry") },
  { name: "LayoutRegistry as a layout", make: layoutIn("layout") }
]

/** Sets the clock to a time after the files that exist now. */
const later = (hours: number) => TestClock.setTime(Date.now() + Duration.toMillis(Duration.hours(hours)))

const everything = { untagged: "collect", danglingReferrers: "collect" } as const

const run = <A, E>(
  make: Store["make"],
  test: (registry: Collected) => Effect.Effect<A, E, NodeServices.NodeServices>
) => Effect.scoped(Effect.flatMap(make, test)).pipe(Effect.provide(NodeServices.layer))

const has = (effect: Effect.Effect<unknown, RegistryError>) => Effect.isSuccess(effect)

const hasBlob = (registry: Registry, digest: Digest) => has(Effect.scoped(registry.getBlob(app, digest)))

const hasManifest = (registry: Registry, digest: Digest) => has(registry.getManifest(app, digest))

const removedBy = ({ removed }: GarbageCollection.Report) =>
  removed.map(({ digest, kind, reason }) => `${reason} ${kind} ${digest}`).sort()

describe.each(stores)("a collection of $name", ({ make }) => {
  it.effect("removes blobs that no manifest needs", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
        const blob = yield* pushBlob(registry, app, "alone")
        yield* later(2)
        const report = yield* registry.collect({ olderThan: "1 hour" })
        assert.deepStrictEqual(removedBy(report), [`unreferenced blob ${blob.digest}`])
        assert.strictEqual(report.bytes, 5)
        assert.isFalse(report.dryRun)
        assert.strictEqual(report.repositories, 1)
        assert.isFalse(yield* hasBlob(registry, blob.digest))
        const { bytes } = yield* registry.getManifest(app, image.digest)
        const { config, layers } = JSON.parse(new TextDecoder().decode(bytes))
        for (const { digest } of [config, ...layers]) assert.isTrue(yield* hasBlob(registry, digest))
      })))

  it.effect("removes nothing in a dry run, and reports the same", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const image = yield* pushImage(registry, app, ["layer"])
        const referrer = yield* pushReferrer(registry, app, image, "signature")
        yield* later(2)
        const options = { olderThan: "1 hour", ...everything } as const
        const dry = yield* registry.collect({ ...options, dryRun: true })
        assert.isTrue(dry.dryRun)
        assert.isTrue(yield* hasManifest(registry, image.digest))
        assert.isTrue(yield* hasManifest(registry, referrer.digest))
        const report = yield* registry.collect(options)
        assert.deepStrictEqual(removedBy(dry), removedBy(report))
        assert.strictEqual(dry.bytes, report.bytes)
        assert.isFalse(yield* hasManifest(registry, image.digest))
      })))

  it.effect("keeps what was written within the grace period", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        yield* later(0)
        const image = yield* pushImage(registry, app, ["layer"])
        const blob = yield* pushBlob(registry, app, "alone")
        yield* TestClock.adjust("50 minutes")
        assert.deepStrictEqual(removedBy(yield* registry.collect({ olderThan: "1 hour", ...everything })), [])
        assert.isTrue(yield* hasManifest(registry, image.digest))
        assert.isTrue(yield* hasBlob(registry, blob.digest))
      })))

  const mentions: ReadonlyArray<[string, (registry: Registry, digest: Digest) => Effect.Effect<unknown, unknown>]> = [
    ["a client asks for", (registry, digest) => registry.resolveBlob(app, digest)],
    [
      "a client mounts",
      (registry, digest) => Effect.scoped(registry.startUpload(app, { mount: { digest, from: app } }))
    ],
    ["a client pushes again", (registry) => pushBlob(registry, app, "alone")]
  ]
  it.effect.each(mentions)(
    "keeps an old blob that %s",
    ([, mention]) =>
      run(make, (registry) =>
        Effect.gen(function*() {
          const { digest } = yield* pushBlob(registry, app, "alone")
          yield* later(2)
          yield* mention(registry, digest)
          yield* registry.collect({ olderThan: "1 hour" })
          assert.isTrue(yield* hasBlob(registry, digest))
        }))
  )

  it.effect("keeps a mounted blob in both repositories", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const { digest } = yield* pushBlob(registry, app, "alone")
        yield* later(2)
        const other = repository("other")
        const mounted = yield* Effect.scoped(registry.startUpload(other, { mount: { digest, from: app } }))
        assert.strictEqual(mounted._tag, "Mounted")
        yield* registry.collect({ olderThan: "1 hour" })
        assert.isTrue(yield* has(registry.resolveBlob(other, digest)))
      })))

  it.effect("keeps the blobs of an old untagged manifest that a client asks for", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const image = yield* pushImage(registry, app, ["layer"])
        const index = yield* pushIndex(registry, app, [image])
        const referrer = yield* pushReferrer(registry, app, image, "signature")
        yield* later(2)
        yield* registry.resolveManifest(app, index.digest)
        const report = yield* registry.collect({ olderThan: "1 hour", ...everything })
        assert.deepStrictEqual(removedBy(report), [])
        for (const { digest } of [index, image, referrer]) assert.isTrue(yield* hasManifest(registry, digest))
      })))

  it.effect("keeps a manifest whose tag was moved or deleted within the grace period", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const one = yield* pushImage(registry, app, ["one"], { tags: [tag("a"), tag("b")] })
        const two = yield* pushImage(registry, app, ["two"], { tags: [tag("c")] })
        yield* later(2)
        yield* pushImage(registry, app, ["three"], { tags: [tag("a"), tag("b")] })
        yield* registry.deleteTag(app, tag("c"))
        yield* registry.collect({ olderThan: "1 hour", ...everything })
        assert.isTrue(yield* hasManifest(registry, one.digest))
        assert.isTrue(yield* hasManifest(registry, two.digest))
        yield* TestClock.adjust("2 hours")
        yield* registry.collect({ olderThan: "1 hour", ...everything })
        assert.isFalse(yield* hasManifest(registry, one.digest))
        assert.isFalse(yield* hasManifest(registry, two.digest))
      })))

  it.effect("keeps untagged manifests by default", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const image = yield* pushImage(registry, app, ["layer"])
        yield* later(2)
        assert.deepStrictEqual(removedBy(yield* registry.collect({ olderThan: 0 })), [])
        assert.isTrue(yield* hasManifest(registry, image.digest))
      })))

  it.effect("removes untagged manifests with their children, referrers and blobs if asked to", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const image = yield* pushImage(registry, app, ["layer"])
        const index = yield* pushIndex(registry, app, [image])
        const referrer = yield* pushReferrer(registry, app, image, "signature")
        const kept = yield* pushImage(registry, app, ["kept"], { tags: [tag("1")] })
        yield* later(2)
        const report = yield* registry.collect({ olderThan: "1 hour", untagged: "collect" })
        const manifests = report.removed.filter(({ kind }) => kind === "manifest")
        assert.deepStrictEqual(manifests.map(({ reason }) => reason), ["untagged", "untagged", "untagged"])
        assert.strictEqual(manifests[0]?.digest, index.digest)
        for (const { digest } of [index, image, referrer]) assert.isFalse(yield* hasManifest(registry, digest))
        assert.isTrue(yield* hasManifest(registry, kept.digest))
        assert.isTrue(report.removed.some(({ kind }) => kind === "blob"))
      })))

  it.effect("keeps untagged manifests that a tagged index contains, and referrers of all that stays", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const image = yield* pushImage(registry, app, ["layer"])
        const nested = yield* pushIndex(registry, app, [image])
        yield* pushIndex(registry, app, [nested], { tags: [tag("1")] })
        const referrer = yield* pushReferrer(registry, app, image, "signature")
        const second = yield* pushReferrer(registry, app, referrer, "of the signature")
        yield* later(2)
        assert.deepStrictEqual(removedBy(yield* registry.collect({ olderThan: 0, ...everything })), [])
        assert.isTrue(yield* hasManifest(registry, second.digest))
      })))

  it.effect("lists a child that stays after the index that contained it goes", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const image = yield* pushImage(registry, app, ["layer"])
        const index = yield* pushIndex(registry, app, [image])
        yield* later(2)
        yield* registry.resolveManifest(app, image.digest)
        yield* registry.collect({ olderThan: "1 hour", ...everything })
        assert.isFalse(yield* hasManifest(registry, index.digest))
        assert.isTrue(yield* hasManifest(registry, image.digest))
      })))

  it.effect.each(["keep", "collect"] as const)(
    "takes a child that no longer exists for no subject (%s)",
    (policy) =>
      run(make, (registry) =>
        Effect.gen(function*() {
          const image = yield* pushImage(registry, app, ["layer"])
          yield* pushIndex(registry, app, [image], { tags: [tag("1")] })
          const referrer = yield* pushReferrer(registry, app, image, "signature")
          yield* registry.deleteManifest(app, image.digest)
          yield* later(2)
          yield* registry.collect({ olderThan: 0, untagged: "collect", danglingReferrers: policy })
          assert.strictEqual(yield* hasManifest(registry, referrer.digest), policy === "keep")
        }))
  )

  it.effect("removes dangling referrers, and digest tags without their image, only if asked to", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
        const gone = yield* pushImage(registry, app, ["gone"])
        const prefix = (digest: string) => digest.replace(":", "-")
        const referrer = yield* pushReferrer(registry, app, gone, "signature")
        const signed = yield* pushImage(registry, app, ["sig"], { tags: [tag(`${prefix(image.digest)}.sig`)] })
        const lost = yield* pushImage(registry, app, ["lost"], { tags: [tag(`${prefix(gone.digest)}.sig`)] })
        const schema = yield* pushIndex(registry, app, [lost], { tags: [tag(prefix(gone.digest))] })
        yield* registry.deleteManifest(app, gone.digest)
        yield* later(2)
        const before = yield* registry.collect({ olderThan: 0, untagged: "collect" })
        assert.deepStrictEqual(before.removed.filter(({ kind }) => kind === "manifest"), [])
        const report = yield* registry.collect({ olderThan: 0, danglingReferrers: "collect" })
        const manifests = report.removed.filter(({ kind }) => kind === "manifest")
        assert.sameMembers(manifests.map(({ digest }) => digest), [referrer.digest, lost.digest, schema.digest])
        assert.isTrue(manifests.every(({ reason }) => reason === "dangling"))
        assert.isTrue(yield* hasManifest(registry, signed.digest))
        assert.deepStrictEqual(
          yield* Stream.runCollect(registry.tags(app)),
          ["1", `${prefix(image.digest)}.sig`].map(tag)
        )
      })))

  it.effect("removes the signatures of an untagged image together with it", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const image = yield* pushImage(registry, app, ["layer"])
        const signature = tag(`${image.digest.replace(":", "-")}.sig`)
        const signed = yield* pushImage(registry, app, ["sig"], { tags: [signature] })
        yield* later(2)
        yield* registry.collect({ olderThan: 0, untagged: "collect", danglingReferrers: "collect" })
        assert.isFalse(yield* hasManifest(registry, signed.digest))
        assert.isFalse(yield* hasManifest(registry, image.digest))
      })))

  it.effect("keeps all that a manifest of an unknown type mentions", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const blob = yield* pushBlob(registry, app, "needed")
        yield* registry.pushManifest(app, {
          mediaType: "application/vnd.example+json",
          bytes: bytesOf({ parts: [{ at: blob.digest }] })
        }, [tag("1")])
        yield* later(2)
        assert.deepStrictEqual(removedBy(yield* registry.collect({ olderThan: 0, ...everything })), [])
      })))

  it.effect("keeps blobs if asked to", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const { digest } = yield* pushBlob(registry, app, "alone")
        yield* later(2)
        assert.deepStrictEqual(removedBy(yield* registry.collect({ olderThan: 0, blobs: "keep" })), [])
        assert.isTrue(yield* hasBlob(registry, digest))
      })))

  it.effect("keeps an upload session", () =>
    run(make, (registry) =>
      Effect.scoped(Effect.gen(function*() {
        const upload = yield* registry.startUpload(app)
        assert(upload._tag === "Upload")
        yield* upload.append({ offset: 0, size: 3, stream: Stream.succeed(bytesOf("one")) })
        yield* later(2)
        yield* registry.collect({ olderThan: 0 })
        const { digest } = yield* pushBlob(registry, repository("other"), "one")
        yield* upload.commit(digest)
        yield* registry.collect({ olderThan: "1 hour" })
        assert.isTrue(yield* hasBlob(registry, digest))
      }))))

  it.effect("lets a push finish that goes on meanwhile", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const layers = Array.from({ length: 20 }, (_, index) => `layer ${index}`)
        for (const layer of layers) yield* pushBlob(registry, app, layer)
        yield* later(2)
        const collecting = yield* Effect.forkChild(registry.collect({ olderThan: "1 hour", ...everything }))
        const images = yield* Effect.forEach(
          layers,
          (layer) => pushImage(registry, app, [layer, "shared"], { tags: [tag(layer.replace(" ", "-"))] }),
          { concurrency: 4 }
        )
        yield* Fiber.join(collecting)
        for (const { digest } of images) {
          const { bytes } = yield* registry.getManifest(app, digest)
          const { config, layers } = JSON.parse(new TextDecoder().decode(bytes))
          for (const { digest } of [config, ...layers]) assert.isTrue(yield* hasBlob(registry, digest))
        }
      })))
})

/** Creates a registry in a folder with one repository. */
const folder = Effect.gen(function*() {
  const directory = Path.join(yield* temporaryFolder, "here")
  const registry = yield* LayoutRegistry.make({ directory })
  return { directory, layout: Path.join(directory, "team", "app"), registry }
})

const withNode = <A, E>(effect: Effect.Effect<A, E, NodeServices.NodeServices | Scope.Scope>) =>
  Effect.provide(Effect.scoped(effect), NodeServices.layer)

describe("a collection of a folder", () => {
  it.effect("leaves nothing but a valid layout", () =>
    withNode(Effect.gen(function*() {
      const { layout, registry } = yield* folder
      yield* pushImage(registry, app, ["gone"])
      const { digest } = yield* pushImage(registry, app, ["kept"], { tags: [tag("1")] })
      yield* later(2)
      yield* registry.collect({ olderThan: 0, ...everything })
      assertValid(layout)
      assert.lengthOf(Fs.readdirSync(Path.join(layout, "blobs", "sha256")), 3)
      assert.deepStrictEqual(Fs.readdirSync(Path.join(layout, ".effect-oci", "collected")), [])
      assert.isTrue(
        yield* hasManifest(yield* LayoutRegistry.make({ directory: Path.dirname(Path.dirname(layout)) }), digest)
      )
    })))

  it.effect("counts a file with links in several repositories once, after the last of them", () =>
    withNode(Effect.gen(function*() {
      const { registry } = yield* folder
      const { digest } = yield* pushBlob(registry, app, "alone")
      yield* Effect.scoped(registry.startUpload(repository("other"), { mount: { digest, from: app } }))
      yield* later(2)
      const dry = yield* registry.collect({ olderThan: 0, dryRun: true })
      const report = yield* registry.collect({ olderThan: 0 })
      assert.deepStrictEqual([dry.bytes, report.bytes], [5, 5])
      assert.lengthOf(report.removed, 2)
    })))

  it.effect("skips a repository with a broken manifest, and collects the others", () =>
    withNode(Effect.gen(function*() {
      const { layout, registry } = yield* folder
      const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      yield* pushBlob(registry, app, "alone")
      const other = yield* pushBlob(registry, repository("other"), "alone")
      Fs.writeFileSync(blobPath(layout, image.digest), "broken")
      yield* later(2)
      const report = yield* registry.collect({ olderThan: 0 })
      assert.deepStrictEqual(report.removed.map(({ digest, repository }) => `${repository}@${digest}`), [
        `other@${other.digest}`
      ])
      assert.deepStrictEqual(report.skipped.map(({ repository }) => repository), [app])
      assert.include(report.skipped[0]?.problem, "does not match its digest")
    })))

  const isMove = ({ operation, to = "" }: Files.Call) => operation === "rename" && to.includes("collected")

  it.effect("moves files and removes blobs without the lock, so that pushes do not wait for that", () =>
    withNode(Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const locks = Path.join(directory, "team", "app", ".effect-oci", "lock")
      const seen = { locked: 0, free: 0 }
      const registry = yield* Files.askingRegistry(directory, (call) =>
        Effect.sync(() => {
          const isRemoval = call.operation === "remove" && call.path.includes("collected")
          if (!isMove(call) && !isRemoval) return
          seen[Fs.readdirSync(locks).some((name) => /^[0-9]+$/.test(name)) ? "locked" : "free"]++
        }))
      yield* pushImage(registry, app, ["layer"])
      yield* Effect.forEach(["a", "b", "c"], (text) => pushBlob(registry, app, text))
      yield* later(2)
      assert.lengthOf((yield* registry.collect({ olderThan: "1 hour", ...everything })).removed, 6)
      // the manifest is removed with the lock
      assert.deepStrictEqual(seen, { locked: 1, free: 11 })
    })))

  it.effect("moves a blob back that a manifest needs that was listed before it was moved", () =>
    withNode(Effect.gen(function*() {
      const directory = yield* temporaryFolder
      // a process that may not change the time of the file
      const other = yield* Files.askingRegistry(
        directory,
        (call) => call.operation === "utimes" ? Effect.fail(Files.refusal("EACCES", call)) : Effect.void
      )
      const blob = yield* pushBlob(other, app, "alone")
      const listed = yield* Effect.cached(Effect.orDie(pushManifest(other, app, {
        schemaVersion: 2,
        mediaType: MediaType.imageManifest,
        config: { ...blob, mediaType: "application/vnd.example" },
        layers: []
      })))
      const registry = yield* Files.askingRegistry(
        directory,
        (call) => isMove(call) ? Effect.asVoid(listed) : Effect.void
      )
      yield* later(2)
      assert.deepStrictEqual((yield* registry.collect({ olderThan: "1 hour" })).removed, [])
      assert.isTrue(yield* hasManifest(registry, (yield* listed).digest))
      assert.isTrue(Fs.existsSync(blobPath(Path.join(directory, "team", "app"), blob.digest)))
    })))

  it.effect.each(["while it moves files", "after it has moved them"] as const)(
    "moves all files back if it fails %s",
    (time) =>
      withNode(Effect.gen(function*() {
        const { directory, layout, registry } = yield* folder
        const images = yield* Effect.forEach(["a", "b"], (layer) => pushImage(registry, app, [layer]))
        yield* later(2)
        let moves = 0
        const failing = yield* Files.askingRegistry(directory, (call) => {
          if (isMove(call)) moves++
          const isIndex = call.operation === "rename" && call.to === Path.join(layout, "index.json")
          const isFailing = time === "while it moves files" ? isMove(call) && moves === 2 : isIndex
          return isFailing ? Effect.fail(Files.refusal("EIO", call)) : Effect.void
        })
        const { removed, skipped } = yield* failing.collect({ olderThan: "1 hour", ...everything })
        assert.deepStrictEqual(removed, [])
        assert.include(skipped[0]?.problem, "the device failed")
        assert.isAbove(moves, 1)
        for (const { digest } of images) assert.isTrue(Fs.existsSync(blobPath(layout, digest)))
        assertValid(layout)
      }))
  )

  it.effect("finds a blob that is moved back while it is looked for", () =>
    withNode(Effect.gen(function*() {
      const { directory, layout, registry } = yield* folder
      const { digest } = yield* pushBlob(registry, app, "alone")
      const seized = leaveInQuarantine(layout, digest)
      const looking = yield* Files.askingRegistry(directory, ({ path }) =>
        Effect.sync(() => {
          if (path === seized && Fs.existsSync(seized)) Fs.renameSync(seized, blobPath(layout, digest))
        }))
      assert.strictEqual((yield* looking.resolveBlob(app, digest)).size, 5)
    })))

  it.effect("waits for another collection, but not longer than a minute", () =>
    withNode(Effect.gen(function*() {
      const { directory, layout, registry } = yield* folder
      const [moving, proceed] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const first = yield* Files.askingRegistry(
        directory,
        (call) =>
          isMove(call) ? Effect.andThen(Deferred.succeed(moving, undefined), Deferred.await(proceed)) : Effect.void
      )
      yield* pushBlob(first, app, "alone")
      const { digest } = yield* pushImage(first, app, ["layer"])
      yield* later(2)
      const collecting = yield* Effect.forkChild(first.collect({ olderThan: "1 hour" }))
      yield* Deferred.await(moving)
      Fs.writeFileSync(blobPath(layout, digest), "broken")
      const second = yield* Effect.forkChild(registry.collect({ olderThan: "1 hour" }))
      const quarantine = yield* Effect.forkChild(Effect.flip(registry.quarantine(app, digest)))
      const time = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(TestClock.adjust("2 seconds"), TestClock.withLive(Effect.sleep("1 millis"))))
      )
      const { removed, skipped } = yield* Fiber.join(second)
      const error = yield* Fiber.join(quarantine)
      yield* Fiber.interrupt(time)
      assert.deepStrictEqual(removed, [])
      assert.include(skipped[0]?.problem, "another collection of it runs")
      assert.include(error.message, "another collection of it runs")
      yield* Deferred.succeed(proceed, undefined)
      assert.lengthOf((yield* Fiber.join(collecting)).removed, 1)
      assert.strictEqual(yield* registry.quarantine(app, digest), "quarantined")
    })))

  it.effect.each(["moves", "removes"] as const)(
    "lets pushes go on while it %s files",
    (what) =>
      withNode(Effect.gen(function*() {
        const directory = yield* temporaryFolder
        const [reached, pushed] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const registry = yield* Files.askingRegistry(directory, (call) => {
          const isRemoval = call.operation === "remove" && call.path.includes("collected")
          return (what === "moves" ? isMove(call) : isRemoval)
            ? Effect.andThen(Deferred.succeed(reached, undefined), Deferred.await(pushed))
            : Effect.void
        })
        yield* pushBlob(registry, app, "alone")
        yield* later(2)
        const collecting = yield* Effect.forkChild(registry.collect({ olderThan: "1 hour" }))
        yield* Deferred.await(reached)
        yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [] })
        yield* Deferred.succeed(pushed, undefined)
        assert.lengthOf((yield* Fiber.join(collecting)).removed, 1)
      }))
  )

  it.effect.each(["keep", "collect"] as const)(
    "treats broken content that was moved aside by its policy: %s",
    (broken) =>
      Effect.gen(function*() {
        const directory = yield* temporaryFolder
        const registry = yield* LayoutRegistry.make({ directory })
        const folder = Path.join(directory, app, ".effect-oci/broken")
        const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
        const blob = yield* pushBlob(registry, app, "a blob")
        Fs.writeFileSync(blobPath(Path.join(directory, app), blob.digest), "b blob")
        yield* later(-48)
        assert.strictEqual(yield* registry.quarantine(app, blob.digest), "quarantined")
        const collect = (dryRun: boolean) => registry.collect({ olderThan: "1 hour", broken, dryRun })
        yield* later(-48)
        assert.deepStrictEqual(removedBy(yield* collect(false)), [])
        yield* later(-46)
        const expected = broken === "keep" ? [] : [`broken blob ${blob.digest}`]
        assert.deepStrictEqual(removedBy(yield* collect(true)), expected)
        assert.lengthOf(Fs.readdirSync(folder), 1)
        const report = yield* collect(false)
        assert.deepStrictEqual([removedBy(report), report.bytes], [expected, broken === "keep" ? 0 : 6])
        assert.lengthOf(Fs.readdirSync(folder), 1 - expected.length)
        assert.isTrue(yield* hasManifest(registry, image.digest))
      }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("keeps a broken manifest that was moved aside until it is pushed again", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const registry = yield* LayoutRegistry.make({ directory })
      const folder = Path.join(directory, app, ".effect-oci/broken")
      const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      Fs.writeFileSync(blobPath(Path.join(directory, app), image.digest), "{}")
      assert.strictEqual(yield* registry.quarantine(app, image.digest), "quarantined")
      yield* later(2)
      assert.lengthOf((yield* registry.collect({ olderThan: "1 hour" })).skipped, 1)
      assert.lengthOf(Fs.readdirSync(folder), 1)
      yield* later(0)
      yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      yield* later(2)
      const report = yield* registry.collect({ olderThan: "1 hour" })
      assert.deepStrictEqual(removedBy(report), [`broken blob ${image.digest}`])
      assert.isEmpty(Fs.readdirSync(folder))
      assertValid(Path.join(directory, app))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("ignores files that are not blobs", () =>
    withNode(Effect.gen(function*() {
      const { layout, registry } = yield* folder
      yield* pushBlob(registry, app, "alone")
      const file = Path.join(layout, "blobs", "sha256", "README")
      Fs.writeFileSync(file, "not a blob")
      yield* later(2)
      yield* registry.collect({ olderThan: 0 })
      assert.isTrue(Fs.existsSync(file))
    })))

  it.effect("keeps what an entry without a valid descriptor mentions", () =>
    withNode(Effect.gen(function*() {
      const { layout, registry } = yield* folder
      const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      const index = Path.join(layout, "index.json")
      const text = Fs.readFileSync(index, "utf8").replace(/"size":[0-9]+/, "\"size\":\"unknown\"")
      Fs.writeFileSync(index, text)
      yield* later(2)
      const { removed } = yield* registry.collect({ olderThan: 0, ...everything })
      assert.notInclude(removed.map(({ digest }) => digest), image.digest)
    })))

  it.live("takes a tag into account that another process sets meanwhile", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* folder
      const image = yield* pushImage(registry, app, ["layer"])
      const other = yield* LayoutRegistry.make({ directory })
      const { bytes, descriptor } = yield* other.getManifest(app, image.digest)
      yield* Effect.all([
        registry.collect({ olderThan: 0, untagged: "collect" }),
        Effect.ignore(other.pushManifest(app, { mediaType: descriptor.mediaType, bytes }, [tag("1")]))
      ], { concurrency: 2 })
      const tags = yield* Stream.runCollect(registry.tags(app))
      if (tags.length > 0) {
        assert.isTrue(yield* hasManifest(registry, image.digest))
        assertValid(Path.join(directory, "team", "app"))
      }
    })))

  it.effect("moves a file back that a crash left in quarantine", () =>
    withNode(Effect.gen(function*() {
      const { directory, layout, registry } = yield* folder
      const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      const blob = yield* pushBlob(registry, app, "alone")
      for (const { digest } of [image, blob]) leaveInQuarantine(layout, digest)
      const restarted = yield* LayoutRegistry.make({ directory })
      assert.isTrue(yield* hasManifest(restarted, image.digest))
      assert.strictEqual((yield* restarted.resolveManifest(app, image.digest)).size, image.size)
      assert.strictEqual((yield* restarted.resolveBlob(app, blob.digest)).size, 5)
      assert.deepStrictEqual(Fs.readdirSync(Path.join(layout, ".effect-oci", "collected")), [])
    })))

  it.effect("accepts a manifest that needs a file that a crash left in quarantine", () =>
    withNode(Effect.gen(function*() {
      const { layout, registry } = yield* folder
      const blob = yield* pushBlob(registry, app, "alone")
      leaveInQuarantine(layout, blob.digest)
      yield* pushManifest(registry, app, {
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: { ...blob, mediaType: "application/vnd.example" },
        layers: []
      })
      assert.isTrue(Fs.existsSync(blobPath(layout, blob.digest)))
    })))

  it.effect("lets a client delete a manifest whose file a crash left in quarantine", () =>
    withNode(Effect.gen(function*() {
      const { layout, registry } = yield* folder
      const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      yield* pushIndex(registry, app, [image], { tags: [tag("2")] })
      leaveInQuarantine(layout, image.digest)
      yield* registry.deleteManifest(app, image.digest)
      assert.isFalse(yield* hasManifest(registry, image.digest))
    })))

  it.effect("moves broken content aside that a crash left in quarantine", () =>
    withNode(Effect.gen(function*() {
      const { layout, registry } = yield* folder
      const { digest } = yield* pushBlob(registry, app, "alone")
      Fs.writeFileSync(blobPath(layout, digest), "other")
      leaveInQuarantine(layout, digest)
      assert.strictEqual(yield* registry.quarantine(app, digest), "quarantined")
    })))

  it.effect("keeps a blob that was pushed again after a crash left an old file of it in quarantine", () =>
    withNode(Effect.gen(function*() {
      const { layout, registry } = yield* folder
      const blob = yield* pushBlob(registry, app, "alone")
      const seized = leaveInQuarantine(layout, blob.digest)
      Fs.utimesSync(seized, 1, 1)
      yield* pushBlob(registry, app, "alone")
      yield* TestClock.setTime(Date.now())
      assert.deepStrictEqual((yield* registry.collect({ olderThan: "1 hour" })).removed, [])
      assert.isTrue(yield* hasBlob(registry, blob.digest))
      assert.deepStrictEqual(Fs.readdirSync(Path.dirname(seized)), [])
    })))

  it.effect("reports and removes abandoned upload sessions", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* folder
      yield* pushBlob(registry, app, "alone")
      const file = Path.join(directory, ".effect-oci", "uploads", `${crypto.randomUUID()}.0123456789abcdef.0`)
      Fs.writeFileSync(file, "half")
      yield* later(12)
      assert.strictEqual((yield* registry.collect({ olderThan: 0 })).uploads, 0)
      yield* later(30)
      assert.strictEqual((yield* registry.collect({ olderThan: 0, dryRun: true })).uploads, 1)
      assert.isTrue(Fs.existsSync(file))
      assert.strictEqual((yield* registry.collect({ olderThan: 0 })).uploads, 1)
      assert.isFalse(Fs.existsSync(file))
    })))

  it.effect("does not hash a blob again that it marks as mentioned", () =>
    withNode(Effect.gen(function*() {
      const { layout, registry } = yield* folder
      const blob = yield* pushBlob(registry, app, "alone")
      yield* later(2)
      const before = Fs.statSync(blobPath(layout, blob.digest)).mtimeMs
      yield* registry.resolveBlob(app, blob.digest)
      assert.isAbove(Fs.statSync(blobPath(layout, blob.digest)).mtimeMs, before)
    })))
})

describe.each(stores)("deleting a blob of $name", ({ make }) => {
  it.effect("fails if a manifest needs it, and names the manifest", () =>
    run(make, (registry) =>
      Effect.gen(function*() {
        const layer = yield* pushBlob(registry, app, "layer")
        const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
        const { reason } = yield* Effect.flip(registry.deleteBlob(app, layer.digest))
        assert.strictEqual(reason._tag, "Denied")
        assert.include(reason.message, digest)
        assert.isTrue(yield* hasBlob(registry, layer.digest))
        yield* registry.deleteManifest(app, digest)
        yield* registry.deleteBlob(app, layer.digest)
        assert.isFalse(yield* hasBlob(registry, layer.digest))
      })))
})

describe("deleting a blob that a manifest needs", () => {
  const makes = [
    MemoryRegistry.make({ deletableBlobs: "all" }),
    Effect.flatMap(temporaryFolder, (directory) => LayoutRegistry.make({ directory, deletableBlobs: "all" }))
  ]
  it.effect("succeeds if all blobs are deletable", () =>
    withNode(Effect.gen(function*() {
      for (const make of makes) {
        const registry = yield* make
        const layer = yield* pushBlob(registry, app, "layer")
        yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
        yield* registry.deleteBlob(app, layer.digest)
        assert.isFalse(yield* hasBlob(registry, layer.digest))
      }
    })))
})
