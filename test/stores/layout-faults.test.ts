import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, FileSystem, Option, Stream } from "effect"
import type { Descriptor } from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import type { Registry } from "effect-oci/Registry"
import { isRegistryError } from "effect-oci/RegistryError"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Files from "../utils/files.ts"
import { bytesOf, pushBlob, pushImage, pushManifest, pushReferrer, repository, tag } from "../utils/images.ts"
import { assertComplete, assertValid, leftovers, temporaryFolder } from "../utils/layouts.ts"

const app = repository("team/app")
const other = repository("other")

/** A manifest whose push succeeded, with the tags that were set. */
type Acknowledged = Map<string, Descriptor>

/** Runs one write after another, even after failures, and records the successful ones. */
const work = Effect.fnUntraced(function*(registry: Registry, acknowledged: Acknowledged) {
  const failures: Array<Cause.Cause<unknown>> = []
  const step = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.map(Effect.exit(effect), (exit) => {
      if (Exit.isSuccess(exit)) return exit.value
      failures.push(exit.cause)
      return undefined
    })
  const push = (name: string, effect: ReturnType<typeof pushManifest>) =>
    Effect.tap(effect, (descriptor) => Effect.sync(() => acknowledged.set(name, descriptor)))

  const image = yield* step(push("1", Effect.orDie(pushImage(registry, app, ["one"], { tags: [tag("1")] }))))
  yield* step(Effect.scoped(Effect.gen(function*() {
    const upload = yield* registry.startUpload(app)
    assert(upload._tag === "Upload")
    yield* upload.append({ offset: 0, stream: Stream.make(bytesOf("01"), bytesOf("23")) })
    const { digest } = yield* pushBlob(registry, app, "0123456789")
    yield* upload.commit(digest, { offset: yield* upload.status, stream: Stream.succeed(bytesOf("456789")) })
    yield* registry.startUpload(other, { mount: { digest, from: app } })
  })))
  if (image !== undefined) {
    const index = { mediaType: MediaType.imageIndex, manifests: [image] }
    yield* step(push("index", pushManifest(registry, app, index, [tag("index")])))
    yield* step(push("referrer", Effect.orDie(pushReferrer(registry, app, image, "about it"))))
  }
  const moved = yield* step(pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [] }, [tag("2")]))
  yield* step(registry.deleteTag(app, tag("2")))
  if (moved !== undefined) yield* step(registry.deleteManifest(app, moved.digest))
  yield* step(Stream.runDrain(registry.repositories()))
  if (image !== undefined) yield* step(Stream.runDrain(registry.referrers(app, image.digest)))
  return failures
})

const codes = ["ENOSPC", "EIO", "EACCES"] as const

const make = (directory: string, ask: Parameters<typeof Files.asking>[1]) =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (fs) => Effect.provideService(LayoutRegistry.make({ directory }), FileSystem.FileSystem, Files.asking(fs, ask))
  )

/** Checks that all content that was acknowledged exists. */
const assertKept = Effect.fnUntraced(function*(directory: string, acknowledged: Acknowledged) {
  const registry = yield* LayoutRegistry.make({ directory })
  for (const [name, { digest, mediaType, size }] of acknowledged) {
    const found = yield* registry.resolveManifest(app, name === "referrer" ? digest : tag(name))
    assert.deepStrictEqual(found, { digest, mediaType, size })
    assertComplete(Path.join(directory, app), { digest, mediaType, size })
  }
  for (const name of [app, other].map((name) => Path.join(directory, name))) {
    if (Fs.existsSync(Path.join(name, "oci-layout"))) assertValid(name)
  }
})

const program = Effect.fnUntraced(function*(at: number) {
  const directory = Path.join(yield* temporaryFolder, "here")
  const calls: Array<Files.Call> = []
  const code = codes[at % codes.length] ?? "EIO"
  const ask = (call: Files.Call) => calls.push(call) - 1 === at ? Effect.fail(Files.refusal(code, call)) : Effect.void
  const acknowledged: Acknowledged = new Map()
  const failures = yield* Effect.flatMap(make(directory, ask), (registry) => work(registry, acknowledged))
  const failed = calls[at]
  if (failed === undefined) return { count: calls.length }

  for (const cause of failures) {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause)) ?? Cause.squash(cause)
    assert(isRegistryError(error), Cause.pretty(cause))
    // writes after the fault may lack the content of the failed one
    assert.include(["Storage", "ManifestUnknown", "ManifestBlobUnknown", "NameUnknown"], error.reason._tag)
  }
  yield* assertKept(directory, acknowledged)
  if (failed.operation !== "remove") assert.deepStrictEqual(leftovers(directory), [], JSON.stringify(failed))

  // all writes succeed after the fault
  assert.deepStrictEqual(yield* Effect.flatMap(LayoutRegistry.make({ directory }), (r) => work(r, acknowledged)), [])
  yield* assertKept(directory, acknowledged)
  return { count: calls.length }
})

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined

describe("a file system that fails once, at any operation", () => {
  it.live("does no harm to a layout, and its error is returned", () =>
    Effect.gen(function*() {
      const { count } = yield* Effect.scoped(program(Infinity))
      assert.isAbove(count, 300)
      const step = isLong ? 1 : 13
      const places = Array.from({ length: Math.ceil(count / step) }, (_, index) => index * step)
      yield* Effect.forEach(places, (at) => Effect.scoped(program(at)), { concurrency: 4, discard: true })
    }).pipe(Effect.provide(NodeServices.layer)), 300_000)
})

describe("another process that takes the lock over while an index is written", () => {
  it.effect("keeps what it writes: the change fails, and can be retried", () =>
    Effect.gen(function*() {
      const directory = Path.join(yield* temporaryFolder, "here")
      const lock = Path.join(directory, app, ".effect-oci", "lock")
      let isOn = false
      const registry = yield* make(directory, (call) =>
        Effect.sync(() => {
          if (!isOn || call.operation !== "sync" || call.path !== Path.join(directory, app, "blobs", "sha256")) return
          const [own = "0"] = Fs.readdirSync(lock)
          Fs.writeFileSync(Path.join(lock, `${Number(own) + 1}`), "another machine")
        }))
      yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      const index = Fs.readFileSync(Path.join(directory, app, "index.json"))
      isOn = true
      const push = pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [] }, [tag("2")])
      const error = yield* Effect.flip(push)
      assert.include(error.message, "index.json: another process took over while it was written")
      assert.isTrue(error.isRetryable)
      assert.deepStrictEqual(Fs.readFileSync(Path.join(directory, app, "index.json")), index)
      assert.lengthOf(leftovers(directory), 1)
    }).pipe(Effect.provide(NodeServices.layer)))
})
