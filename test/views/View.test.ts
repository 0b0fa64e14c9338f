import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Logger, References, Result, Stream } from "effect"
import type { Digest } from "effect-oci/Digest"
import * as Limiter from "effect-oci/Limiter"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Repository } from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import { isRegistryError, Transport } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import * as View from "effect-oci/View"
import { TestClock } from "effect/testing"
import { bytesOf, pushBlob, pushImage, pushManifest, pushReferrer, repository, tag } from "../utils/images.ts"

const app = repository("team/app")

const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => isRegistryError(error) ? error.reason._tag : undefined)

const listed = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.map(Stream.runCollect(stream), (items) => Array.from(items))

/** Creates a registry that records its calls. */
const watched = Effect.gen(function*() {
  const memory = yield* MemoryRegistry.make({ name: "mem.local" })
  return { memory, ...yield* Faults.make(memory) }
})

describe("a read-only view", () => {
  it.effect.each<[string, (registry: Registry.Registry, digest: Digest) => Effect.Effect<unknown, unknown>]>([
    ["a push of a blob", (registry) => pushBlob(registry, app, "another")],
    ["an upload", (registry) => Effect.scoped(registry.startUpload(app))],
    ["a mount", (registry, digest) => Effect.scoped(registry.startUpload(app, { mount: { digest, from: app } }))],
    ["a resumed session", (registry) => Effect.scoped(registry.resumeUpload(app, "1"))],
    ["a push of a manifest", (registry) => pushManifest(registry, app, { mediaType: MediaType.imageIndex })],
    ["a deleted blob", (registry, digest) => registry.deleteBlob(app, digest)],
    ["a deleted manifest", (registry, digest) => registry.deleteManifest(app, digest)],
    ["a deleted tag", (registry) => registry.deleteTag(app, tag("1"))]
  ])("refuses %s, without a call", ([, run]) =>
    Effect.gen(function*() {
      const { calls, memory, registry } = yield* watched
      const { digest } = yield* pushBlob(memory, app, "content")
      assert.strictEqual(yield* reasonOf(run(View.readOnly(registry), digest)), "Unsupported")
      assert.deepStrictEqual(calls, [])
    }))

  it.effect("has no write capabilities", () =>
    Effect.gen(function*() {
      const { memory } = yield* watched
      assert.deepStrictEqual(yield* View.readOnly(memory).capabilities, {
        referrers: true,
        singlePost: false,
        tagParameters: false,
        anonymousMount: false,
        selfMount: false,
        chunks: false
      })
    }))
})

describe("an immutable view", () => {
  const setup = Effect.map(watched, (watched) => ({ ...watched, view: View.immutable(watched.registry) }))

  it.effect("does not move a tag, and stores nothing of the push", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      const before = yield* pushImage(view, app, ["before"], { tags: [tag("1")] })
      const after = { mediaType: MediaType.imageIndex, bytes: bytesOf({ schemaVersion: 2, manifests: [] }) }
      assert.strictEqual(yield* reasonOf(view.pushManifest(app, after, [tag("2"), tag("1")])), "Denied")
      assert.deepStrictEqual(yield* listed(memory.tags(app)), [tag("1")])
      assert.strictEqual((yield* memory.resolveManifest(app, tag("1"))).digest, before.digest)
    }))

  it.effect("takes the same content again without a write", () =>
    Effect.gen(function*() {
      const { calls, memory, view } = yield* setup
      const image = yield* pushImage(memory, app, ["layer"], { tags: [tag("1")] })
      const { bytes } = yield* memory.getManifest(app, image.digest)
      const pushed = yield* view.pushManifest(app, { mediaType: image.mediaType, bytes }, [tag("1")])
      assert.strictEqual(pushed.digest, image.digest)
      assert.notInclude(calls.map(({ operation }) => operation), "pushManifest")
    }))

  it.effect("adds a tag to existing content", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      yield* pushImage(view, app, ["layer"], { tags: [tag("1")] })
      yield* pushImage(view, app, ["layer"], { tags: [tag("1"), tag("2")] })
      assert.deepStrictEqual(yield* listed(memory.tags(app)), [tag("1"), tag("2")])
    }))

  it.effect("keeps the type of a manifest", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      const bytes = bytesOf("content")
      const { digest } = yield* view.pushManifest(app, { mediaType: "text/plain", bytes })
      assert.strictEqual(yield* reasonOf(view.pushManifest(app, { mediaType: "text/html", bytes })), "Denied")
      assert.strictEqual((yield* memory.resolveManifest(app, digest)).mediaType, "text/plain")
    }))

  it.effect("lets one of several concurrent pushes of a tag succeed", () =>
    Effect.gen(function*() {
      const { memory } = yield* setup
      // other fibers run between a request and its response, as across a network
      const { registry } = yield* Faults.make(memory, [Faults.wait(Effect.yieldNow)])
      const view = View.immutable(registry)
      const pushes = yield* Effect.forEach(
        ["a", "b", "c", "d"],
        (content) => Effect.result(pushImage(view, app, [content], { tags: [tag("1")] })),
        { concurrency: "unbounded" }
      )
      const winners = pushes.filter(Result.isSuccess).map(({ success }) => success.digest)
      assert.deepStrictEqual(winners, [(yield* memory.resolveManifest(app, tag("1"))).digest])
    }))

  it.effect("refuses deletes", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      const { digest } = yield* pushImage(memory, app, ["layer"], { tags: [tag("1")] })
      const blob = yield* pushBlob(memory, app, "layer")
      assert.strictEqual(yield* reasonOf(view.deleteManifest(app, digest)), "Unsupported")
      assert.strictEqual(yield* reasonOf(view.deleteTag(app, tag("1"))), "Unsupported")
      assert.strictEqual(yield* reasonOf(view.deleteBlob(app, blob.digest)), "Unsupported")
      assert.strictEqual((yield* memory.resolveManifest(app, tag("1"))).digest, digest)
    }))

  it.effect("does not treat a failing registry as one without the tag", () =>
    Effect.gen(function*() {
      const { memory } = yield* setup
      yield* pushImage(memory, app, ["before"], { tags: [tag("1")] })
      const fault = Faults.fail(new Transport({}), { operation: "resolveManifest" })
      const { registry } = yield* Faults.make(memory, [fault])
      const push = pushImage(View.immutable(registry), app, ["after"], { tags: [tag("1")] })
      assert.strictEqual(yield* reasonOf(push), "Transport")
    }))
})

describe("a view of the repositories below a prefix", () => {
  const setup = Effect.map(watched, (watched) => ({
    ...watched,
    view: View.sub(watched.registry, repository("team"))
  }))

  it.effect("is named after the registry and the prefix", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* setup).view.name, "mem.local/team")
    }))

  it.effect("removes the prefix from names", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      const { digest } = yield* pushImage(view, repository("app"), ["layer"], { tags: [tag("1")] })
      assert.strictEqual((yield* memory.resolveManifest(repository("team/app"), tag("1"))).digest, digest)
    }))

  it.effect("lists repositories below the prefix, and no others with a similar name", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      for (const name of ["a", "team", "team-b/x", "team/b/c", "team/d", "teams/e", "x/team/f"]) {
        yield* pushBlob(memory, repository(name), "content")
      }
      assert.deepStrictEqual(yield* listed(view.repositories()), ["b/c", "d"])
    }))

  it.effect("lists the names after one of its own", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      for (const name of ["b", "team/a", "team/b", "team/c", "z"]) {
        yield* pushBlob(memory, repository(name), "content")
      }
      assert.deepStrictEqual(yield* listed(view.repositories({ after: "a" })), ["b", "c"])
      assert.deepStrictEqual(yield* listed(view.repositories({ after: "c" })), [])
    }))

  it.effect("has its own names in errors", () =>
    Effect.gen(function*() {
      const { view } = yield* setup
      const error = yield* Effect.flip(view.resolveManifest(repository("app"), tag("1")))
      assert.strictEqual(error.message, "mem.local/team/app: there is no such repository (resolveManifest)")
      assert.strictEqual(error.repository, "app")
    }))

  it.effect("has its own names in errors of uploads and streams", () =>
    Effect.gen(function*() {
      const { memory } = yield* setup
      const { digest } = yield* pushBlob(memory, app, "0123456789")
      const { registry } = yield* Faults.make(memory, [
        Faults.breakAt(4),
        Faults.fail(new Transport({}), { operation: ["append", "tags"] })
      ])
      const view = View.sub(registry, repository("team"))
      const { stream } = yield* view.getBlob(repository("app"), digest)
      const upload = yield* view.startUpload(repository("app"))
      assert(upload._tag === "Upload")
      const errors = [
        yield* Effect.flip(Stream.runDrain(stream)),
        yield* Effect.flip(Stream.runDrain(view.tags(repository("app")))),
        yield* Effect.flip(upload.append({ offset: 0, stream: Stream.empty }))
      ]
      assert.deepStrictEqual(
        errors.map(({ operation, registry, repository }) => [operation, registry, repository]),
        [["getBlob", "mem.local/team", "app"], ["tags", "mem.local/team", "app"], ["append", "mem.local/team", "app"]]
      )
    }))

  it.effect("does not change errors of a source", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      const elsewhere = yield* MemoryRegistry.make({ name: "elsewhere" })
      const { digest } = yield* pushBlob(memory, app, "content")
      const source = yield* Registry.blobSource(elsewhere, app, { digest, size: 7 })
      const error = yield* Effect.flip(view.pushBlob(repository("app"), { digest, size: 7 }, source))
      assert.deepStrictEqual([error.registry, error.repository], ["elsewhere", app])
    }))

  it.effect("mounts from a repository below the prefix", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      const { digest } = yield* pushBlob(memory, repository("team/from"), "content")
      const mounted = yield* view.startUpload(repository("to"), { mount: { digest, from: repository("from") } })
      assert.strictEqual(mounted._tag, "Mounted")
      assert.strictEqual((yield* memory.resolveBlob(repository("team/to"), digest)).size, 7)
    }))

  it.effect("does not mount from wherever the registry finds a blob", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      const { digest } = yield* pushBlob(memory, repository("secret"), "content")
      assert.strictEqual((yield* view.startUpload(repository("to"), { mount: { digest } }))._tag, "Upload")
      assert.strictEqual((yield* view.capabilities).anonymousMount, false)
    }))

  it.effect("refuses a name that is too long with the prefix", () =>
    Effect.gen(function*() {
      const { calls, view } = yield* setup
      const name = repository("a".repeat(251))
      assert.strictEqual(yield* reasonOf(view.resolveManifest(name, tag("1"))), "NameInvalid")
      assert.strictEqual(yield* reasonOf(Stream.runDrain(view.tags(name))), "NameInvalid")
      assert.deepStrictEqual(calls, [])
      assert.strictEqual(yield* reasonOf(view.resolveManifest(repository("a".repeat(250)), tag("1"))), "NameUnknown")
    }))
})

describe("a view of a selection", () => {
  const mine = (name: Repository) => name.startsWith("team/")
  const setup = Effect.gen(function*() {
    const { calls, memory, registry } = yield* watched
    const secret = repository("secret/app")
    const image = yield* pushImage(memory, secret, ["layer"], { tags: [tag("1")] })
    yield* pushReferrer(memory, secret, image, "an SBOM")
    yield* pushImage(memory, app, ["layer"], { tags: [tag("1")] })
    const layer = yield* pushBlob(memory, secret, "only here")
    return { calls, memory, registry, secret, image, layer, view: View.select(registry, mine) }
  })

  it.effect("hides a repository that may not be read, without a call", () =>
    Effect.gen(function*() {
      const { calls, layer, secret, view } = yield* setup
      assert.strictEqual(yield* reasonOf(view.getManifest(secret, tag("1"))), "NameUnknown")
      assert.strictEqual(yield* reasonOf(view.resolveManifest(secret, tag("1"))), "NameUnknown")
      assert.strictEqual(yield* reasonOf(Effect.scoped(view.getBlob(secret, layer.digest))), "NameUnknown")
      assert.strictEqual(yield* reasonOf(view.resolveBlob(secret, layer.digest)), "NameUnknown")
      assert.deepStrictEqual(calls, [])
    }))

  it.effect("hides a repository that may not be listed, without a call", () =>
    Effect.gen(function*() {
      const { calls, image, secret, view } = yield* setup
      assert.strictEqual(yield* reasonOf(Stream.runDrain(view.tags(secret))), "NameUnknown")
      assert.deepStrictEqual(yield* listed(view.referrers(secret, image.digest)), [])
      assert.deepStrictEqual(calls, [])
    }))

  it.effect("lists repositories that may be listed", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* listed((yield* setup).view.repositories()), [app])
    }))

  it.effect("denies writes that are not allowed, without a call", () =>
    Effect.gen(function*() {
      const { calls, secret, view } = yield* setup
      assert.strictEqual(yield* reasonOf(pushBlob(view, secret, "content")), "Denied")
      assert.strictEqual(yield* reasonOf(Effect.scoped(view.startUpload(secret))), "Denied")
      assert.strictEqual(yield* reasonOf(Effect.scoped(view.resumeUpload(secret, "1"))), "Denied")
      assert.strictEqual(
        yield* reasonOf(pushManifest(view, secret, { mediaType: MediaType.imageIndex, manifests: [] })),
        "Denied"
      )
      assert.deepStrictEqual(calls, [])
    }))

  it.effect("denies deletes that are not allowed, without a call", () =>
    Effect.gen(function*() {
      const { calls, image, layer, secret, view } = yield* setup
      assert.strictEqual(yield* reasonOf(view.deleteBlob(secret, layer.digest)), "Denied")
      assert.strictEqual(yield* reasonOf(view.deleteManifest(secret, image.digest)), "Denied")
      assert.strictEqual(yield* reasonOf(view.deleteTag(secret, tag("1"))), "Denied")
      assert.deepStrictEqual(calls, [])
    }))

  it.effect("fails in the same way for absent repositories", () =>
    Effect.gen(function*() {
      const { secret, view } = yield* setup
      const nowhere = repository("secret/nowhere")
      for (const name of [secret, nowhere]) {
        const error = yield* Effect.flip(view.getManifest(name, tag("1")))
        assert.strictEqual(error.message, `mem.local/${name}: there is no such repository (getManifest)`)
      }
    }))

  it.effect("distinguishes kinds of access", () =>
    Effect.gen(function*() {
      const { registry } = yield* setup
      const view = View.select(registry, (_, access) => access === "read" || access === "write")
      const { digest } = yield* pushImage(view, app, ["another"], { tags: [tag("2")] })
      assert.strictEqual((yield* view.resolveManifest(app, tag("2"))).digest, digest)
      assert.strictEqual(yield* reasonOf(view.deleteManifest(app, digest)), "Denied")
      assert.strictEqual(yield* reasonOf(Stream.runDrain(view.tags(app))), "NameUnknown")
    }))

  it.effect("does not mount from a repository that may not be read", () =>
    Effect.gen(function*() {
      const { calls, layer, secret, view } = yield* setup
      const started = yield* view.startUpload(app, { mount: { digest: layer.digest, from: secret } })
      assert.strictEqual(started._tag, "Upload")
      assert.isUndefined(calls[0]?.reference)
    }))

  it.effect("does not mount from wherever the registry finds a blob", () =>
    Effect.gen(function*() {
      const { layer, view } = yield* setup
      assert.strictEqual((yield* view.startUpload(app, { mount: { digest: layer.digest } }))._tag, "Upload")
      assert.strictEqual((yield* view.capabilities).anonymousMount, false)
    }))

  it.effect("mounts from a repository that may be read", () =>
    Effect.gen(function*() {
      const { memory, view } = yield* setup
      const { digest } = yield* pushBlob(memory, repository("team/other"), "content")
      const started = yield* view.startUpload(app, { mount: { digest, from: repository("team/other") } })
      assert.strictEqual(started._tag, "Mounted")
    }))
})

describe("a logged view", () => {
  const setup = Effect.fnUntraced(function*(...faults: ReadonlyArray<Faults.Fault>) {
    const memory = yield* MemoryRegistry.make({ name: "mem.local" })
    const { registry } = yield* Faults.make(memory, faults)
    const events: Array<View.CallEnded> = []
    const onCall = (event: View.CallEnded) => Effect.sync(() => void events.push(event))
    return { memory, events, view: View.logged(registry, { onCall }) }
  })

  it.effect("reports the call, its outcome, and its duration", () =>
    Effect.gen(function*() {
      const { events, memory, view } = yield* setup(Faults.delay("3 seconds"))
      const { digest } = yield* pushImage(memory, app, ["layer"], { tags: [tag("1")] })
      const fiber = yield* Effect.forkChild(view.resolveManifest(app, tag("1")), { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).digest, digest)
      assert.deepStrictEqual(events, [{
        call: { operation: "resolveManifest", registry: "mem.local", repository: app, reference: tag("1") },
        outcome: "succeeded",
        duration: Duration.seconds(3)
      }])
    }))

  it.effect("reports the reason of a failure, which is returned unchanged", () =>
    Effect.gen(function*() {
      const { events, view } = yield* setup()
      assert.strictEqual(yield* reasonOf(view.resolveManifest(app, tag("1"))), "NameUnknown")
      assert.deepStrictEqual(events.map(({ error, outcome }) => [outcome, error]), [
        ["failed", "there is no such repository"]
      ])
    }))

  it.effect("reports that a call was interrupted", () =>
    Effect.gen(function*() {
      const { events, view } = yield* setup(Faults.wait(Effect.never))
      const fiber = yield* Effect.forkChild(view.resolveManifest(app, tag("1")), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(events.map(({ outcome }) => outcome), ["interrupted"])
    }))

  it.effect("reports the number of bytes that were read of a blob", () =>
    Effect.gen(function*() {
      const { events, memory, view } = yield* setup(Faults.breakAt(4))
      const { digest } = yield* pushBlob(memory, app, "0123456789")
      const { stream } = yield* view.getBlob(app, digest)
      yield* Effect.flip(Stream.runDrain(stream))
      assert.deepStrictEqual(
        events.map(({ call, count, outcome }) => [call.operation, outcome, count]),
        [["getBlob", "succeeded", undefined], ["read", "failed", 4]]
      )
    }))

  it.effect("reports the number of listed items", () =>
    Effect.gen(function*() {
      const { events, memory, view } = yield* setup()
      yield* pushImage(memory, app, ["layer"], { tags: ["1", "2", "3"].map(tag) })
      yield* Stream.runDrain(view.tags(app))
      assert.deepStrictEqual(events.map(({ call, count }) => [call.operation, count]), [["tags", 3]])
    }))

  it.effect("reports each step of an upload", () =>
    Effect.gen(function*() {
      const { events, view } = yield* setup()
      const upload = yield* view.startUpload(app)
      assert(upload._tag === "Upload")
      yield* upload.append({ offset: 0, stream: Stream.succeed(bytesOf("content")) })
      yield* upload.status
      const { digest } = yield* pushBlob(yield* MemoryRegistry.make(), app, "content")
      yield* upload.commit(digest)
      assert.deepStrictEqual(
        events.map(({ call }) => call.operation),
        ["startUpload", "append", "status", "commit"]
      )
    }))

  it.effect("writes a line at level Debug for each call", () =>
    Effect.gen(function*() {
      const { view } = yield* setup()
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
      yield* Effect.ignore(view.resolveManifest(app, tag("1"))).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "Debug")
      )
      assert.deepStrictEqual(lines, ["Debug resolveManifest team/app 1 failed: there is no such repository"])
    }))

  it.effect("does not log the id of an upload", () =>
    Effect.gen(function*() {
      const { events, view } = yield* setup()
      yield* Effect.ignore(Effect.scoped(view.resumeUpload(app, "https://example.com/?secret")))
      assert.notInclude(JSON.stringify(events), "secret")
    }))
})

describe("any view", () => {
  const views: ReadonlyArray<[string, (registry: Registry.Registry) => Registry.Registry]> = [
    ["readOnly", View.readOnly],
    ["immutable", View.immutable],
    ["sub", View.sub(repository("team"))],
    ["select", View.select(() => true)],
    ["logged", View.logged]
  ]

  it.effect.each(views)("%s reads no more of a blob than is requested", ([, view]) =>
    Effect.gen(function*() {
      let pulled = 0
      const memory = yield* MemoryRegistry.make()
      const bytes = new Uint8Array(1_000_000)
      const { digest } = yield* pushBlob(memory, app, bytes)
      yield* pushBlob(memory, repository("team/team/app"), bytes)
      const counting = Registry.make({
        ...memory,
        getBlob: (...args) =>
          Effect.map(memory.getBlob(...args), (blob) => ({
            ...blob,
            stream: Stream.tap(blob.stream, ({ length }) => Effect.sync(() => pulled += length))
          }))
      })
      const { stream } = yield* view(counting).getBlob(app, digest)
      yield* Stream.runHead(stream)
      assert.isAtMost(pulled, 131_072)
    }))

  it.effect.each(views)("%s has the limiter of its registry", ([, view]) =>
    Effect.gen(function*() {
      const memory = yield* MemoryRegistry.make()
      const limiter = Limiter.fixed(3)
      assert.strictEqual(view({ ...memory, limiter }).limiter, limiter)
      assert.isUndefined(view(memory).limiter)
    }))

  it.effect("is a layer over the one that provides its registry", () =>
    Effect.gen(function*() {
      const layer = View.layer(View.readOnly).pipe(Layer.provide(MemoryRegistry.layer()))
      const push = Registry.Registry.use((registry) => pushBlob(registry, app, "content"))
      assert.strictEqual(yield* reasonOf(Effect.provide(push, layer)), "Unsupported")
    }))

  it.effect("can be combined with another", () =>
    Effect.gen(function*() {
      const memory = yield* MemoryRegistry.make({ name: "mem.local" })
      yield* pushImage(memory, app, ["layer"], { tags: [tag("1")] })
      const view = View.readOnly(View.sub(View.select(memory, (name) => name === app), repository("team")))
      assert.deepStrictEqual(yield* listed(view.repositories()), [repository("app")])
      assert.deepStrictEqual(yield* listed(view.tags(repository("app"))), [tag("1")])
    }))
})
