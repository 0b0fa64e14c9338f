import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, FileSystem, Schema, Scope, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as Reference from "effect-oci/Reference"
import { type Registry, SparseIndex } from "effect-oci/Registry"
import type { RegistryError } from "effect-oci/RegistryError"
import { Contract } from "effect-oci/testing"
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
  pushSample,
  repository,
  tag
} from "../utils/images.ts"
import { assertValid, blobPath, entriesOf, filesOf, leftovers, tagOf, temporaryFolder } from "../utils/layouts.ts"
import { listReferrers } from "../utils/registries.ts"

const app = repository("team/app")

type Form = "registry" | "layout"

/** Creates a registry in a new folder. */
const make = Effect.fnUntraced(function*(form: Form, options: Partial<LayoutRegistry.Options> = {}) {
  const directory = Path.join(yield* temporaryFolder, "here")
  return { directory, registry: yield* LayoutRegistry.make({ directory, form, ...options }) }
})

/** Creates a registry that runs an effect before each operation on files. */
const asking = (directory: string, ask: Parameters<typeof Files.asking>[1], form: Form = "registry") =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (fs) =>
      Effect.provideService(LayoutRegistry.make({ directory, form }), FileSystem.FileSystem, Files.asking(fs, ask))
  )

const reason = <A, R>(effect: Effect.Effect<A, RegistryError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

const read = (registry: Registry, digest: Descriptor.Descriptor["digest"], name = app) =>
  Effect.scoped(Effect.flatMap(
    registry.getBlob(name, digest),
    ({ stream }) => Stream.mkString(Stream.decodeText(stream))
  ))

const startUpload = (registry: Registry, name = app) =>
  Effect.map(registry.startUpload(name), (started) => {
    assert(started._tag === "Upload")
    return started
  })

const chunk = (offset: number, content: string) => ({
  offset,
  size: content.length,
  stream: Stream.succeed(bytesOf(content))
})

const withNode = <A, E>(effect: Effect.Effect<A, E, NodeServices.NodeServices | Scope.Scope>) =>
  Effect.provide(effect, NodeServices.layer)

describe("LayoutRegistry", () => {
  for (const form of ["registry", "layout"] as const) {
    describe(`as a ${form} does what every registry must do:`, () => {
      const cases = Contract.cases.filter(({ needs = [] }) => form === "registry" || !needs.includes("repositories"))
      it.effect.each(cases)("$name", ({ effect }) =>
        withNode(Effect.gen(function*() {
          const durability = form === "registry" ? "power-loss" : "process-end"
          const { directory, registry } = yield* make(form, { durability })
          yield* Effect.scoped(effect(registry))
          for (const file of filesOf(directory)) {
            if (file.endsWith("oci-layout")) assertValid(Path.join(directory, Path.dirname(file)))
          }
          assert.deepStrictEqual(leftovers(directory), [])
        })))
    })
  }

  describe("a registry", () => {
    it.effect("has a layout for each repository, with nothing else in it but a lock", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
        const layout = Path.join(directory, "team", "app")
        assertValid(layout)
        assert.deepStrictEqual(
          filesOf(directory).filter((file) => !file.includes("blobs")),
          [
            ".effect-oci/registry",
            ...["lock/2.free"].map((file) => `team/app/.effect-oci/${file}`),
            "team/app/index.json",
            "team/app/oci-layout"
          ]
        )
        assert.lengthOf(Fs.readdirSync(Path.join(layout, "blobs", "sha256")), 3)
        assert.deepStrictEqual(entriesOf(layout).map(({ digest }) => digest), [digest])
      })))

    it.effect("has the name of its folder", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const error = yield* Effect.flip(registry.resolveManifest(app, tag("1")))
        assert.strictEqual(error.message, `${directory}/team/app: there is no such repository (resolveManifest)`)
      })))

    it.effect("writes nothing when it is read", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        yield* registry.ping
        assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), [])
        yield* Effect.flip(registry.deleteTag(app, tag("1")))
        yield* Effect.flip(registry.resumeUpload(app, crypto.randomUUID()))
        assert.isFalse(Fs.existsSync(directory))
      })))

    it.effect("has the same content after a restart", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const { arm64, index, onChild, onIndex } = yield* pushSample(registry, app, [tag("1")])
        const restarted = yield* LayoutRegistry.make({ directory })
        assert.deepStrictEqual(yield* restarted.getManifest(app, tag("1")), yield* registry.getManifest(app, tag("1")))
        assert.strictEqual((yield* restarted.resolveManifest(app, arm64.digest)).size, arm64.size)
        assert.deepStrictEqual(yield* listReferrers(restarted, app, index.digest), [onIndex.digest])
        assert.deepStrictEqual(yield* listReferrers(restarted, app, arm64.digest), [onChild.digest])
      })))

    const inTheWay = ["blobs", "index.json", "oci-layout", "nul", "con.d", "blobs/sha256", "b/blobs/c"]
    it.effect("keeps nested repositories apart, whatever their names", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const names = ["a", ...inTheWay, ...inTheWay.map((name) => `a/${name}`)].map(repository)
        for (const name of names) yield* pushImage(registry, name, [name], { tags: [tag("1")] })
        assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), [...names].sort())
        const layouts = filesOf(directory).filter((file) => file.endsWith("oci-layout"))
        assert.lengthOf(layouts, names.length)
        layouts.forEach((file) => assertValid(Path.join(directory, Path.dirname(file))))
        for (const name of names) {
          const { digest } = yield* Descriptor.fromBytes(bytesOf(name))
          assert.strictEqual(yield* read(registry, digest, name), name)
        }
      })))

    it.effect("lists repositories in the order of their character codes", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("registry")
        const names = ["a", "a-b", "a-b/c", "a.b", "a/b", "a/b/c", "a0", "a_b", "b/a"].map(repository)
        for (const name of [...names].reverse()) yield* pushBlob(registry, name, "content")
        assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), names)
      })))

    it.effect.prop(
      "lists the repositories after any name",
      [Reference.Repository, Reference.Repository, Reference.Repository],
      ([one, two, after]) =>
        withNode(Effect.gen(function*() {
          const { registry } = yield* make("registry", { durability: "process-end" })
          const names = [one, repository(`${one}/x`), two].filter((name, index, all) => all.indexOf(name) === index)
          for (const name of names) yield* pushBlob(registry, name, "content")
          for (const behind of [after, one, two, `${one}/`, `${one}-`, ""]) {
            assert.deepStrictEqual(
              yield* Stream.runCollect(registry.repositories({ after: behind })),
              names.filter((name) => name > behind).sort()
            )
          }
        })),
      { arbitrary: { runs: 10 } }
    )

    it.effect("does not list folders that are not layouts", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        yield* pushBlob(registry, app, "content")
        for (const folder of ["team/other", "Upper", "team/app/blobs/oci-layout"]) {
          Fs.mkdirSync(Path.join(directory, folder), { recursive: true })
        }
        Fs.writeFileSync(Path.join(directory, "Upper", "oci-layout"), "{}")
        assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), [app])
      })))

    it.effect("mounts a blob as a link to the same file", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const other = repository("other")
        const { digest } = yield* pushBlob(registry, app, "content")
        assert.deepStrictEqual(yield* registry.startUpload(other, { mount: { digest, from: app } }), {
          _tag: "Mounted",
          digest
        })
        const [from, to] = ["team/app", "other"].map((name) =>
          Fs.statSync(blobPath(Path.join(directory, name), digest))
        )
        assert.strictEqual(from?.ino, to?.ino)
        yield* registry.deleteBlob(app, digest)
        assert.strictEqual(yield* read(registry, digest, other), "content")
      })))

    for (const code of ["EPERM", "EMLINK", "EXDEV"]) {
      it.effect(`mounts a blob as a copy if the file system refuses a link: ${code}`, () =>
        withNode(Effect.gen(function*() {
          const registry = yield* asking(
            yield* temporaryFolder,
            (call) => call.operation === "link" ? Effect.fail(Files.refusal(code, call)) : Effect.void
          )
          const { digest } = yield* pushBlob(registry, app, "content")
          const mounted = yield* registry.startUpload(repository("other"), { mount: { digest, from: app } })
          assert.strictEqual(mounted._tag, "Mounted")
          assert.strictEqual(yield* read(registry, digest, repository("other")), "content")
        })))
    }

    it.effect("mounts nothing from a repository that does not exist, or lacks the blob", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("registry")
        const { digest } = yield* pushBlob(registry, app, "content")
        const other = repository("other")
        const mount = registry.startUpload(repository("third"), { mount: { digest, from: other } })
        assert.strictEqual((yield* mount)._tag, "Upload")
        yield* startUpload(registry, other)
        assert.strictEqual((yield* mount)._tag, "Upload")
      })))

    it.effect("does not mount without a source repository", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("registry")
        const { digest } = yield* pushBlob(registry, app, "content")
        assert.strictEqual((yield* registry.startUpload(repository("other"), { mount: { digest } }))._tag, "Upload")
      })))

    it.effect("cannot be opened in a folder that is a single layout", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        yield* pushBlob(registry, app, "content")
        const other = yield* LayoutRegistry.make({ directory })
        for (const attempt of [other.ping, pushBlob(other, app, "more"), other.resolveManifest(app, tag("1"))]) {
          assert.include(
            (yield* Effect.flip(attempt)).message,
            `${directory}: it is an image layout itself, not a registry of them`
          )
        }
      })))
  })

  describe("a single layout", () => {
    it.effect("serves every repository name", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
        assertValid(directory)
        assert.strictEqual((yield* registry.resolveManifest(repository("any"), tag("1"))).digest, digest)
        assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(repository("any"))), [tag("1")])
      })))

    it.effect("mounts its blobs from any repository name", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("layout")
        const { digest } = yield* pushBlob(registry, app, "content")
        for (const mount of [{ digest }, { digest, from: app }, { digest, from: repository("other") }]) {
          assert.strictEqual((yield* registry.startUpload(repository("any"), { mount }))._tag, "Mounted")
        }
      })))

    it.effect("lists no repositories", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("layout")
        assert.strictEqual(yield* reason(Stream.runCollect(registry.repositories())), "Unsupported")
      })))

    it.effect("that does not exist fails with NameUnknown and its path", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const error = yield* Effect.flip(registry.resolveManifest(app, tag("1")))
        assert.strictEqual(error.reason._tag, "NameUnknown")
        assert.include(
          error.message,
          `oci:${directory}/team/app: there is no such repository: ${directory} is not an image`
        )
      })))

    it.effect("cannot be opened in a folder that is a registry", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        yield* pushBlob(registry, app, "content")
        const other = yield* LayoutRegistry.make({ directory, form: "layout" })
        assert.include(
          (yield* Effect.flip(pushBlob(other, app, "more"))).message,
          `${directory}: it is a registry of image layouts, not a layout itself`
        )
        assert.isFalse(Fs.existsSync(Path.join(directory, "oci-layout")))
      })))

    it.effect("can also be a repository of a registry", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
        const layout = yield* LayoutRegistry.make({ directory: Path.join(directory, app), form: "layout" })
        const { digest } = yield* pushImage(layout, app, ["more"], { tags: [tag("2")] })
        assert.strictEqual((yield* registry.resolveManifest(app, tag("2"))).digest, digest)
      })))
  })

  it.effect("does not read an index again that it has just written, also while the write is not complete", () =>
    withNode(Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const fs = yield* FileSystem.FileSystem
      const reads: Array<string> = []
      const [renamed, proceed] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const slow = FileSystem.FileSystem.of({
        ...fs,
        rename: (from, to) =>
          Path.basename(to) === "index.json" && Fs.existsSync(to)
            ? fs.rename(from, to).pipe(
              Effect.andThen(Deferred.succeed(renamed, undefined)),
              Effect.andThen(Deferred.await(proceed))
            )
            : fs.rename(from, to)
      })
      const watched = Files.asking(
        slow,
        ({ operation, path }) =>
          Effect.sync(() => operation === "open" && path.endsWith("index.json") && reads.push(path))
      )
      const registry = yield* LayoutRegistry.make({ directory }).pipe(
        Effect.provideService(FileSystem.FileSystem, watched)
      )
      const pushing = yield* Effect.forkChild(pushImage(registry, app, ["layer"], { tags: [tag("1")] }))
      yield* Deferred.await(renamed)
      reads.length = 0
      const { digest } = yield* registry.resolveManifest(app, tag("1"))
      yield* Deferred.succeed(proceed, undefined)
      assert.strictEqual((yield* Fiber.join(pushing)).digest, digest)
      assert.deepStrictEqual(reads, [])
    })))

  describe("lists in index.json", () => {
    const entries = Effect.fnUntraced(function*<E>(push: (registry: Registry) => Effect.Effect<unknown, E>) {
      const { directory, registry } = yield* make("layout")
      yield* push(registry)
      return entriesOf(directory).map((entry) => [entry.digest, tagOf(entry)])
    })

    it.effect("an image index without its children", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const images = [yield* pushImage(registry, app, ["one"]), yield* pushImage(registry, app, ["two"])]
        assert.lengthOf(entriesOf(directory), 2)
        const index = { mediaType: MediaType.imageIndex, manifests: images }
        const { digest } = yield* pushManifest(registry, app, index, [tag("1")])
        assert.deepStrictEqual(entriesOf(directory).map((entry) => [entry.digest, tagOf(entry)]), [[digest, "1"]])
        yield* pushImage(registry, app, ["one"])
        assert.lengthOf(entriesOf(directory), 1)
      })))

    it.effect("a manifest without a tag", () =>
      withNode(Effect.gen(function*() {
        const found = yield* entries((registry) => pushImage(registry, app, ["layer"]))
        assert.deepStrictEqual(found.map(([, tag]) => tag), [undefined])
      })))

    it.effect("a manifest once for each of its tags", () =>
      withNode(Effect.gen(function*() {
        const tags = ["1", "1.2", "latest"]
        const found = yield* entries((registry) => pushImage(registry, app, ["layer"], { tags: tags.map(tag) }))
        assert.deepStrictEqual(found.map(([, tag]) => tag), tags)
      })))

    it.effect("the children of an index that was deleted", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const { amd64, arm64, index } = yield* pushSample(registry, app, [tag("1")])
        yield* registry.deleteManifest(app, index.digest)
        const restarted = yield* LayoutRegistry.make({ directory, form: "layout" })
        for (const { digest } of [amd64, arm64]) {
          assert.strictEqual((yield* restarted.resolveManifest(app, digest)).digest, digest)
        }
        assert.isFalse(Fs.existsSync(blobPath(directory, index.digest)))
      })))

    it.effect("the children of an index that was deleted from another index", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const image = yield* pushImage(registry, app, ["layer"])
        const inner = yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [image] })
        yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [inner] }, [tag("1")])
        yield* registry.deleteManifest(app, inner.digest)
        const restarted = yield* LayoutRegistry.make({ directory, form: "layout" })
        assert.strictEqual((yield* restarted.resolveManifest(app, image.digest)).digest, image.digest)
        assert.strictEqual(yield* reason(restarted.resolveManifest(app, inner.digest)), "ManifestUnknown")
      })))

    it.effect("no children of a deleted index that another index contains", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const image = yield* pushImage(registry, app, ["layer"])
        const push = (name: string) =>
          pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [image], name }, [tag(name)])
        const one = yield* push("one")
        yield* push("two")
        yield* registry.deleteManifest(app, one.digest)
        assert.deepStrictEqual(entriesOf(directory).map(tagOf), ["two"])
        assert.strictEqual((yield* registry.resolveManifest(app, image.digest)).digest, image.digest)
      })))
  })

  describe("finds", () => {
    /** Writes a layout as another tool would. */
    const foreign = Effect.gen(function*() {
      const { directory, registry } = yield* make("layout")
      const sample = yield* pushSample(registry, app, [tag("1")])
      const index = JSON.parse(Fs.readFileSync(Path.join(directory, "index.json"), "utf8"))
      return {
        ...sample,
        directory,
        registry,
        index,
        write: (index: unknown) => Fs.writeFileSync(Path.join(directory, "index.json"), JSON.stringify(index))
      }
    })

    it.effect("content that other tools write meanwhile", () =>
      withNode(Effect.gen(function*() {
        const { index, registry, write } = yield* foreign
        const [entry] = index.manifests
        write({ ...index, manifests: [{ ...entry, annotations: { "org.opencontainers.image.ref.name": "2" } }] })
        assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(app)), [tag("2")])
      })))

    it.effect("the referrers in the tag of a referrers tag schema", () =>
      withNode(Effect.gen(function*() {
        const { directory, index, onIndex, registry, write } = yield* foreign
        const bytes = bytesOf({
          schemaVersion: 2,
          mediaType: MediaType.imageIndex,
          manifests: [{ mediaType: MediaType.imageManifest, digest: onIndex.digest, size: onIndex.size }]
        })
        const list = yield* Descriptor.fromBytes(bytes, { mediaType: MediaType.imageIndex })
        Fs.writeFileSync(blobPath(directory, list.digest), bytes)
        const [root] = index.manifests
        const name = `sha256-${root.digest.slice(7)}`
        write({
          ...index,
          manifests: [root, { ...list, annotations: { "org.opencontainers.image.ref.name": name } }]
        })
        assert.deepStrictEqual(yield* listReferrers(registry, app, root.digest), [onIndex.digest])
      })))

    it.effect("manifests in an index within an index", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const image = yield* pushImage(registry, app, ["layer"])
        const inner = yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [image] })
        yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [inner] }, [tag("1")])
        assert.lengthOf(entriesOf(directory), 1)
        const restarted = yield* LayoutRegistry.make({ directory, form: "layout" })
        assert.strictEqual((yield* restarted.resolveManifest(app, image.digest)).digest, image.digest)
      })))

    it.effect("a sparse index if it is accepted, and its children when they arrive later", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const elsewhere = yield* Effect.map(make("layout"), ({ registry }) => registry)
        const there = yield* pushImage(registry, app, ["there"])
        const away = yield* pushImage(elsewhere, app, ["away"])
        const push = pushIndex(registry, app, [there, away], { tags: [tag("1")] })
        assert.strictEqual(yield* reason(push), "ManifestBlobUnknown")
        const index = yield* Effect.provideService(push, SparseIndex, "accept")
        assert.deepStrictEqual(entriesOf(directory).map(({ digest }) => digest), [index.digest])
        const restarted = yield* LayoutRegistry.make({ directory, form: "layout" })
        assert.strictEqual((yield* restarted.resolveManifest(app, there.digest)).digest, there.digest)
        assert.strictEqual(yield* reason(restarted.resolveManifest(app, away.digest)), "ManifestUnknown")
        yield* pushImage(restarted, app, ["away"])
        assert.strictEqual((yield* restarted.resolveManifest(app, away.digest)).digest, away.digest)
        assertValid(directory)
      })))

    it.effect("a child of an index that arrives later", () =>
      withNode(Effect.gen(function*() {
        const { arm64, directory, index: sample, onChild, registry } = yield* foreign
        const { bytes } = yield* registry.getManifest(app, arm64.digest)
        Fs.rmSync(blobPath(directory, arm64.digest))
        assert.strictEqual(yield* reason(registry.resolveManifest(app, arm64.digest)), "ManifestUnknown")
        assert.deepStrictEqual(yield* listReferrers(registry, app, arm64.digest), [onChild.digest])
        yield* registry.pushManifest(app, { mediaType: arm64.mediaType, bytes })
        assert.strictEqual((yield* registry.resolveManifest(app, arm64.digest)).digest, arm64.digest)
        assert.lengthOf(entriesOf(directory), sample.manifests.length)
      })))

    it.effect("the descendants and the subject of a child that arrives later", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const image = yield* pushImage(registry, app, ["layer"])
        const referrer = yield* pushReferrer(registry, app, image, "about it")
        const inner = { mediaType: MediaType.imageIndex, manifests: [image] }
        const { digest, size } = yield* pushManifest(registry, app, inner)
        const manifests = [{ mediaType: inner.mediaType, digest, size }, referrer]
        const outer = yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests }, [tag("1")])
        assert.deepStrictEqual(entriesOf(directory).map((entry) => entry.digest), [outer.digest])
        const lost = [digest, referrer.digest].map((digest) => {
          const path = blobPath(directory, digest)
          const bytes = new Uint8Array(Fs.readFileSync(path))
          Fs.rmSync(path)
          return bytes
        })
        const restarted = yield* LayoutRegistry.make({ directory, form: "layout" })
        assert.strictEqual(yield* reason(restarted.resolveManifest(app, image.digest)), "ManifestUnknown")
        assert.deepStrictEqual(yield* listReferrers(restarted, app, image.digest), [])
        const [innerBytes, referrerBytes] = lost
        assert(innerBytes !== undefined && referrerBytes !== undefined)
        yield* restarted.pushManifest(app, { mediaType: MediaType.imageIndex, bytes: innerBytes })
        yield* restarted.pushManifest(app, { mediaType: MediaType.imageManifest, bytes: referrerBytes })
        assert.lengthOf(entriesOf(directory), 1)
        assert.strictEqual((yield* restarted.resolveManifest(app, image.digest)).digest, image.digest)
        assert.deepStrictEqual(yield* listReferrers(restarted, app, image.digest), [referrer.digest])
      })))

    it.effect("no referrer that was deleted from within an index", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("layout")
        const image = yield* pushImage(registry, app, ["layer"])
        const referrer = yield* pushReferrer(registry, app, image, "about it")
        yield* pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [image, referrer] }, [
          tag("1")
        ])
        const other = yield* LayoutRegistry.make({ directory, form: "layout" })
        assert.deepStrictEqual(yield* listReferrers(other, app, image.digest), [referrer.digest])
        yield* registry.deleteManifest(app, referrer.digest)
        assert.deepStrictEqual(yield* listReferrers(registry, app, image.digest), [])
        assert.deepStrictEqual(yield* listReferrers(other, app, image.digest), [])
      })))

    it.effect("the actual size of a manifest, whatever the index contains", () =>
      withNode(Effect.gen(function*() {
        const { index, registry, write } = yield* foreign
        const [entry] = index.manifests
        write({ ...index, manifests: [{ ...entry, size: 1 }] })
        assert.strictEqual((yield* registry.resolveManifest(app, tag("1"))).size, entry.size)
        assert.strictEqual((yield* registry.getManifest(app, tag("1"))).descriptor.size, entry.size)
      })))

    it.effect("manifests that no other manifest contains as its roots", () =>
      withNode(Effect.gen(function*() {
        const { directory, index, onChild, onIndex } = yield* foreign
        const layout = yield* LayoutRegistry.make({ directory, form: "layout" })
        const roots = yield* layout.roots(app)
        assert.deepStrictEqual(
          roots.map(({ digest }) => digest),
          [index.manifests[0].digest, onIndex.digest, onChild.digest]
        )
      })))
  })

  describe("an upload session", () => {
    it.effect("is resumed after a restart", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
        const upload = yield* startUpload(registry)
        yield* upload.append(chunk(0, "0123"))
        const restarted = yield* LayoutRegistry.make({ directory })
        const resumed = yield* restarted.resumeUpload(app, yield* upload.id)
        assert.strictEqual(yield* resumed.status, 4)
        yield* resumed.append(chunk(4, "45"))
        yield* resumed.commit(digest, chunk(6, "6789"))
        assert.strictEqual(yield* read(restarted, digest), "0123456789")
        assert.deepStrictEqual(leftovers(directory), [])
      })))

    it.effect("that another process resumed has ended for the first one, whose writes do no harm", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        // more than the write buffer
        const beginning = "0123".repeat(100_000)
        const { digest } = yield* Descriptor.fromBytes(bytesOf(beginning + "456789"))
        const upload = yield* startUpload(registry)
        const begun = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        const rest = Effect.as(Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(go)), bytesOf("xxx"))
        const slow = Stream.concat(Stream.succeed(bytesOf(beginning)), Stream.fromEffect(rest))
        const writing = yield* Effect.forkChild(upload.append({ offset: 0, stream: slow }))
        yield* Deferred.await(begun)
        const other = yield* LayoutRegistry.make({ directory })
        const resumed = yield* other.resumeUpload(app, yield* upload.id)
        yield* resumed.append(chunk(beginning.length, "456789"))
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(writing)
        yield* resumed.commit(digest)
        const end = chunk(beginning.length + 3, "789")
        assert.strictEqual(yield* reason(upload.append(end)), "BlobUploadUnknown")
        assert.strictEqual(yield* reason(upload.status), "BlobUploadUnknown")
        assertValid(Path.join(directory, app))
      })))

    it.effect("keeps buffered pieces unchanged when the source reuses its buffer", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("registry")
        const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
        const buffer = new Uint8Array(2)
        const stream = Stream.mapEffect(Stream.make("01", "23", "45", "67", "89"), (content) =>
          Effect.sync(() => {
            buffer.set(bytesOf(content))
            return buffer
          }))
        const upload = yield* startUpload(registry)
        yield* upload.commit(digest, { offset: 0, stream })
        assert.strictEqual(yield* read(registry, digest), "0123456789")
      })))

    it.effect.prop(
      "or a push has every byte, whatever the size of its pieces",
      [Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 400_000 })))],
      ([sizes]) =>
        withNode(Effect.gen(function*() {
          const { registry } = yield* make("registry", { durability: "process-end" })
          const bytes = Uint8Array.from(
            { length: sizes.reduce((sum, size) => sum + size, 0) },
            (_, index) => index % 251
          )
          const { digest } = yield* Descriptor.fromBytes(bytes)
          let offset = 0
          const pieces = sizes.map((size) => bytes.subarray(offset, offset += size))
          const source = BlobSource.fromStream(bytes.length, Stream.fromIterable(pieces))
          yield* registry.pushBlob(app, { digest, size: bytes.length }, source)
          const { stream } = yield* registry.getBlob(app, digest)
          assert.deepStrictEqual(yield* Stream.mkUint8Array(stream), bytes)
        })).pipe(Effect.scoped),
      { arbitrary: { runs: 15 } }
    )

    it.effect("keeps the received bytes of an interrupted chunk", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("registry")
        const upload = yield* startUpload(registry)
        const written = yield* Deferred.make<void>()
        const stream = Stream.concat(
          Stream.succeed(bytesOf("0123")),
          Stream.fromEffect(Effect.andThen(Deferred.succeed(written, undefined), Effect.never))
        )
        const appending = yield* Effect.forkChild(upload.append({ offset: 0, stream }))
        yield* Deferred.await(written)
        yield* Fiber.interrupt(appending)
        assert.strictEqual(yield* upload.status, 4)
      })))

    it.effect("keeps the received bytes of a last chunk that fails", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("registry")
        const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
        const upload = yield* startUpload(registry)
        const stream = Stream.concat(Stream.succeed(bytesOf("0123")), Stream.fail("broken"))
        assert.strictEqual(yield* Effect.flip(upload.commit(digest, { offset: 0, stream })), "broken")
        yield* upload.commit(digest, chunk(yield* upload.status, "456789"))
        assert.strictEqual(yield* read(registry, digest), "0123456789")
      })))

    it.effect("continues after a commit with a wrong digest", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("registry")
        const [wrong, right] = yield* Effect.forEach(["x", "0123"], (content) => Descriptor.fromBytes(bytesOf(content)))
        assert(wrong !== undefined && right !== undefined)
        const upload = yield* startUpload(registry)
        yield* upload.append(chunk(0, "0123"))
        assert.strictEqual(yield* reason(upload.commit(wrong.digest)), "DigestMismatch")
        yield* upload.commit(right.digest)
        assert.strictEqual(yield* read(registry, right.digest), "0123")
      })))

    it.effect("may be committed with another algorithm than announced", () =>
      withNode(Effect.gen(function*() {
        const { registry } = yield* make("registry")
        const { digest } = yield* Descriptor.fromBytes(bytesOf("0123"), { algorithm: "sha512" })
        const upload = yield* startUpload(registry)
        yield* upload.append(chunk(0, "01"))
        yield* upload.commit(digest, chunk(2, "23"))
        assert.strictEqual(yield* read(registry, digest), "0123")
      })))

    it.effect("is known in its own repository only", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const id = yield* (yield* startUpload(registry)).id
        const restarted = yield* LayoutRegistry.make({ directory })
        for (const other of [registry, restarted]) {
          assert.strictEqual(yield* reason(other.resumeUpload(repository("other"), id)), "BlobUploadUnknown")
        }
        assert.strictEqual(yield* (yield* registry.resumeUpload(app, id)).status, 0)
      })))

    it.effect("has a UUID as its id, and other ids are unknown without a lookup", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const id = yield* (yield* startUpload(registry)).id
        assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        const restarted = yield* LayoutRegistry.make({ directory })
        for (
          const other of ["", ".", "..", `../uploads/${id}`, `${id}/`, `${id}\0`, id.toUpperCase(), "a".repeat(1e5)]
        ) {
          assert.strictEqual(yield* reason(restarted.resumeUpload(app, other)), "BlobUploadUnknown")
        }
      })))

    it.effect("is removed with its scope, even if it was resumed from another process", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const id = yield* (yield* startUpload(registry)).id
        const restarted = yield* LayoutRegistry.make({ directory })
        assert.lengthOf(leftovers(directory), 1)
        const scope = yield* Scope.make()
        yield* Scope.provide(restarted.resumeUpload(app, id), scope)
        assert.lengthOf(leftovers(directory), 1)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(leftovers(directory), [])
      })))

    it.effect("that was not resumed is removed after a day, and not before", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const uploads = Path.join(directory, ".effect-oci", "uploads")
        yield* pushBlob(registry, app, "content")
        for (const name of ["old", "young"]) Fs.writeFileSync(Path.join(uploads, name), "")
        const day = 24 * 60 * 60
        Fs.utimesSync(Path.join(uploads, "old"), 0, day - 1)
        Fs.utimesSync(Path.join(uploads, "young"), 0, day + 1)
        yield* TestClock.setTime(2 * day * 1000)
        yield* pushBlob(registry, app, "content")
        assert.deepStrictEqual(Fs.readdirSync(uploads), ["young"])
      })))

    it.effect("that is open is not removed", () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make("registry")
        const upload = yield* startUpload(registry)
        const [file = ""] = leftovers(directory)
        Fs.utimesSync(Path.join(directory, file), 0, 0)
        yield* TestClock.setTime(1e12)
        yield* pushBlob(registry, app, "content")
        assert.strictEqual(yield* upload.status, 0)
        yield* upload.append(chunk(0, "0123"))
      })).pipe(Effect.provideService(LayoutRegistry.UploadTimeToLive, Duration.seconds(1))))
  })
})
