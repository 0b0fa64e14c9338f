import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Stream } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import type { Registry } from "effect-oci/Registry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Files from "../utils/files.ts"
import { bytesOf, pushBlob, pushImage, pushManifest, pushReferrer, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"

const app = repository("team/app")

/** Creates a registry that records every operation on files, by paths within its folder. */
const recorded = Effect.fnUntraced(function*(options: Partial<LayoutRegistry.Options> = {}) {
  const directory = Path.join(yield* temporaryFolder, "here")
  const fs = yield* FileSystem.FileSystem
  const calls: Array<Files.Call> = []
  const within = (path: string) => Path.relative(directory, path)
  const asking = Files.asking(
    fs,
    ({ operation, path, to }) =>
      Effect.sync(() =>
        void calls.push({ operation, path: within(path), ...to === undefined ? {} : { to: within(to) } })
      )
  )
  const registry = yield* Effect.provideService(
    LayoutRegistry.make({ directory, ...options }),
    FileSystem.FileSystem,
    asking
  )
  return { calls, registry }
})

/** Creates such a registry with an image, and a function that pushes an empty index with a tag. */
const prepared = Effect.gen(function*() {
  const { calls, registry } = yield* recorded()
  yield* pushImage(registry, app, ["layer"])
  const push = (name: string) =>
    pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [], name }, [tag(name)])
  return { calls, push, registry }
})

const uploadInChunks = Effect.fnUntraced(function*(registry: Registry) {
  const upload = yield* registry.startUpload(app)
  assert(upload._tag === "Upload")
  const { digest } = yield* Descriptor.fromBytes(bytesOf("0123"), { algorithm: "sha512" })
  yield* upload.append({ offset: 0, stream: Stream.succeed(bytesOf("01")) })
  yield* upload.commit(digest, { offset: 2, stream: Stream.succeed(bytesOf("23")) })
}, Effect.scoped)

/** Writes every kind of content. */
const work = Effect.fnUntraced(function*(registry: Registry) {
  yield* uploadInChunks(registry)
  const image = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
  yield* pushReferrer(registry, app, image, "about it")
  const { digest } = yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [image] }, [
    tag("2")
  ])
  yield* registry.deleteTag(app, tag("1"))
  yield* registry.deleteManifest(app, digest)
})

const withNode = Effect.provide(NodeServices.layer)

describe("LayoutRegistry protects from a loss of power:", () => {
  it.effect("it renames nothing into a layout that is not on disk", () =>
    Effect.gen(function*() {
      const { calls, registry } = yield* recorded()
      yield* work(registry)
      const renames = calls.flatMap((call, index) =>
        call.operation === "rename" && call.to?.startsWith(app) === true && !call.to.includes("lock")
          ? [{ ...call, index }]
          : []
      )
      assert.isAbove(renames.length, 10)
      for (const { index, path, to } of renames) {
        const before = calls.slice(0, index).filter((call) => call.path === path && call.operation !== "stat")
        assert.deepStrictEqual(before.map(({ operation }) => operation).slice(-1), ["sync"], to)
      }
    }).pipe(withNode))

  it.effect("it lists a manifest after its blobs are on disk, and returns after the index is", () =>
    Effect.gen(function*() {
      const { calls, registry } = yield* recorded()
      yield* work(registry)
      const isIndex = ({ to }: Files.Call) => to === `${app}/index.json`
      const lists = calls.flatMap((call, index) => isIndex(call) ? [index] : []).slice(1)
      assert.isAbove(lists.length, 4)
      for (const at of lists) {
        const before = calls.slice(0, at)
        for (const folder of [`${app}/blobs/sha256`, `${app}/blobs/sha512`]) {
          const named = before.findLastIndex(({ to }) => to !== undefined && Path.dirname(to) === folder)
          const synced = before.findLastIndex(({ operation, path }) => operation === "sync" && path === folder)
          assert.isAbove(synced, named, folder)
        }
        const after = calls.slice(at + 1)
        const synced = after.findIndex(({ operation, path }) => operation === "sync" && path === app)
        const released = after.findIndex(({ to }) => to?.endsWith(".free") === true)
        assert.isAtLeast(synced, 0)
        assert.isBelow(synced, released)
      }
    }).pipe(withNode))

  it.effect("it syncs the folders that it creates", () =>
    Effect.gen(function*() {
      const { calls, registry } = yield* recorded()
      yield* work(registry)
      const made = calls.flatMap(({ operation, path }, index) =>
        operation === "makeDirectory" && !path.includes(".effect-oci") ? [{ index, path }] : []
      )
      assert.includeMembers(made.map(({ path }) => path), ["", "team", app, `${app}/blobs`, `${app}/blobs/sha512`])
      for (const { index, path } of made) {
        const folder = Path.join(path, "..")
        assert.isTrue(
          calls.slice(index).some((call) => call.operation === "sync" && Path.join(call.path, ".") === folder),
          path
        )
      }
    }).pipe(withNode))

  it.effect("it removes the file of a manifest after the entry", () =>
    Effect.gen(function*() {
      const { calls, registry } = yield* recorded()
      const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      calls.length = 0
      yield* registry.deleteManifest(app, digest)
      const order = calls.map(({ operation, path, to }) => `${operation} ${to ?? path}`)
      const listed = order.indexOf(`sync ${app}`)
      const removed = order.indexOf(`remove ${app}/blobs/sha256/${digest.slice(7)}`)
      assert.isAtLeast(listed, 0)
      assert.isBelow(listed, removed)
    }).pipe(withNode))

  it.effect("it does not wait for the disk if only the end of the process is to be survived", () =>
    Effect.gen(function*() {
      const { calls, registry } = yield* recorded({ durability: "process-end" })
      yield* work(registry)
      assert.deepStrictEqual(calls.filter(({ operation }) => operation === "sync"), [])
    }).pipe(withNode))

  it.effect("it continues if folders cannot be synced", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const fs = yield* FileSystem.FileSystem
      for (const code of ["EISDIR", "EINVAL"]) {
        const operation = code === "EISDIR" ? "open" : "sync"
        const asking = Files.asking(fs, (call) =>
          call.operation === operation && Fs.statSync(call.path, { throwIfNoEntry: false })?.isDirectory() === true
            ? Effect.fail(Files.refusal(code, call))
            : Effect.void)
        const registry = yield* Effect.provideService(
          LayoutRegistry.make({ directory: Path.join(directory, code) }),
          FileSystem.FileSystem,
          asking
        )
        yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      }
    }).pipe(withNode))
})

describe("LayoutRegistry takes many manifests in little time:", () => {
  it.effect("it writes concurrent changes together", () =>
    Effect.gen(function*() {
      const { calls, registry } = yield* recorded()
      yield* pushImage(registry, app, ["layer"])
      calls.length = 0
      const tags = Array.from({ length: 50 }, (_, index) => tag(`${index}`))
      yield* Effect.forEach(
        tags,
        (tag) => pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [], tag }, [tag]),
        { concurrency: "unbounded", discard: true }
      )
      assert.isBelow(calls.filter(({ to }) => to === `${app}/index.json`).length, 10)
      assert.sameMembers(yield* Stream.runCollect(registry.tags(app)), tags)
    }).pipe(withNode))

  it.effect("it keeps the lock while more of them wait", () =>
    Effect.gen(function*() {
      const { calls, registry } = yield* recorded()
      yield* pushImage(registry, app, ["layer"])
      calls.length = 0
      yield* Effect.forEach(
        ["a", "b", "c", "d"],
        (client, other) =>
          Effect.forEach(
            Array.from({ length: 10 }, (_, index) => `${client}${index}`),
            Effect.fnUntraced(function*(name) {
              // so that they do not all push at the same moment
              yield* Effect.forEach(
                Array.from({ length: other }),
                (_, index) => pushBlob(registry, app, `${name} ${index}`)
              )
              yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [], name }, [
                tag(client)
              ])
            }),
            { discard: true }
          ),
        { concurrency: "unbounded", discard: true }
      )
      const writes = calls.filter(({ to }) => to === `${app}/index.json`).length
      const releases = calls.filter(({ to }) => to?.endsWith(".free")).length
      assert.isBelow(releases, writes)
      assert.match(Fs.readdirSync(Path.join(registry.name, app, ".effect-oci/lock")).join(), /^[0-9]+\.free$/)
    }).pipe(withNode))

  it.effect("it reads the index again only if the file has changed", () =>
    Effect.gen(function*() {
      const { calls, push, registry } = yield* prepared
      const reads = () => calls.filter(({ operation, path }) => operation === "open" && path === `${app}/index.json`)
      yield* push("1")
      const before = reads().length
      yield* push("2")
      assert.lengthOf(reads(), before)
      const other = yield* LayoutRegistry.make({ directory: registry.name })
      yield* other.deleteTag(app, tag("1"))
      yield* push("3")
      assert.isAbove(reads().length, before)
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(app)), ["2", "3"].map(tag))
    }).pipe(withNode))

  it.effect("it keeps the file of a manifest that is deleted and pushed at the same time", () =>
    Effect.gen(function*() {
      const { push, registry } = yield* prepared
      for (let round = 0; round < 10; round++) {
        const { digest } = yield* push("twice")
        yield* Effect.all([
          push(`${round}`),
          Effect.ignore(registry.deleteManifest(app, digest)),
          Effect.andThen(Effect.forEach(Array.from({ length: round }), () => Effect.yieldNow), push("twice"))
        ], { concurrency: "unbounded" })
        const isListed = (yield* Stream.runCollect(registry.tags(app))).includes(tag("twice"))
        if (isListed) yield* registry.getManifest(app, tag("twice"))
      }
    }).pipe(withNode))

  it.effect("it makes the other concurrent changes if one is refused", () =>
    Effect.gen(function*() {
      const { registry } = yield* recorded()
      yield* pushImage(registry, app, ["layer"])
      const push = (name: string, manifests: ReadonlyArray<object>) =>
        Effect.exit(pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests, name }, [tag(name)]))
      const missing = { mediaType: MediaType.imageManifest, digest: `sha256:${"0".repeat(64)}`, size: 1 }
      const [one, two, three] = yield* Effect.all(
        [push("1", []), push("2", [missing]), Effect.exit(registry.deleteTag(app, tag("none"))), push("3", [])],
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual([one._tag, two._tag, three._tag], ["Success", "Failure", "Failure"])
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(app)), ["1", "3"].map(tag))
    }).pipe(withNode))

  it.effect("it makes a change whose neighbour is interrupted", () =>
    Effect.gen(function*() {
      const { push, registry } = yield* prepared
      const names = Array.from({ length: 20 }, (_, index) => `${index}`)
      yield* Effect.forEach(
        names,
        (name, index) => index % 2 === 0 ? push(name) : Effect.ignore(Effect.race(push(name), Effect.yieldNow)),
        { concurrency: "unbounded", discard: true }
      )
      assert.includeMembers(
        Array.from(yield* Stream.runCollect(registry.tags(app))),
        names.filter((_, index) => index % 2 === 0).map(tag)
      )
    }).pipe(withNode))
})
