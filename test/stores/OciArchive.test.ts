import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, FileSystem, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as OciArchive from "effect-oci/OciArchive"
import * as Registry from "effect-oci/Registry"
import { isRegistryError } from "effect-oci/RegistryError"
import { Contract } from "effect-oci/testing"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import * as Files from "../utils/files.ts"
import { pushBlob, pushImage, pushManifest, pushSample, repository, tag } from "../utils/images.ts"
import { assertValid, entriesOf, has, temporaryFolder } from "../utils/layouts.ts"
import { listReferrers } from "../utils/registries.ts"
import { tar } from "../utils/tars.ts"

const app = repository("team/app")

const withNode = Effect.provide(NodeServices.layer)

/** Returns a path for an archive. */
const makeFile = Effect.map(temporaryFolder, (folder) => ({ folder, file: Path.join(folder, "image.tar") }))

/** Writes an archive of one image. */
const written = Effect.gen(function*() {
  const { file, folder } = yield* makeFile
  const image = yield* OciArchive.update(
    { file },
    (registry) => pushImage(registry, app, ["layer"], { tags: [tag("1")] })
  )
  return { file, folder, image, bytes: () => Fs.readFileSync(file) }
})

/** Unpacks an archive, and returns its files. */
const unpacked = Effect.fnUntraced(function*(file: string) {
  const folder = yield* temporaryFolder
  ChildProcess.execFileSync("tar", ["-C", folder, "-xf", file])
  return folder
})

describe("OciArchive", () => {
  describe("while it is written does what every registry must do:", () => {
    const cases = Contract.cases.filter(({ needs = [] }) => !needs.includes("repositories"))
    it.effect.each(cases)("$name", ({ effect }) =>
      Effect.gen(function*() {
        const { file, folder } = yield* makeFile
        yield* OciArchive.update({ file }, (registry) => Effect.scoped(effect(registry)))
        if (Fs.existsSync(file)) assertValid(yield* unpacked(file))
        assert.includeMembers(["image.tar"], Fs.readdirSync(folder))
      }).pipe(withNode))
  })

  it.effect("has the content that was pushed to it, with tags, platforms and referrers", () =>
    Effect.gen(function*() {
      const { file } = yield* makeFile
      const { arm64, index, onChild } = yield* OciArchive.update({ file }, (registry) =>
        pushSample(registry, app, [tag("1")]))
      const archive = yield* OciArchive.make({ file })
      const copy = yield* MemoryRegistry.make()
      const end = { repository: app, tag: tag("1") }
      const { root } = yield* Copy.copyManifest({
        source: { ...end, registry: archive },
        destination: { ...end, registry: copy }
      })
      assert.strictEqual(root.digest, index.digest)
      assert.deepStrictEqual(yield* listReferrers(copy, app, arm64.digest), [onChild.digest])
      assert.deepStrictEqual(yield* Stream.runCollect(archive.tags(app)), [tag("1")])
    }).pipe(withNode))

  it.effect("reads any part of a blob", () =>
    Effect.gen(function*() {
      const { file } = yield* makeFile
      const { digest } = yield* OciArchive.update({ file }, (registry) => pushBlob(registry, app, "0123456789"))
      const archive = yield* OciArchive.make({ file })
      const { stream } = yield* archive.getBlob(app, digest, { range: { offset: 2, length: 3 } })
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(stream)), "234")
    }).pipe(withNode))

  it.effect("is provided as a registry", () =>
    Effect.gen(function*() {
      const { file, image } = yield* written
      const { digest } = yield* Effect.provide(
        Registry.Registry.use((registry) => registry.resolveManifest(app, tag("1"))),
        OciArchive.layer({ file })
      )
      assert.strictEqual(digest, image.digest)
    }).pipe(withNode))

  it.effect("is read-only when it is opened for reading", () =>
    Effect.gen(function*() {
      const { bytes, file } = yield* written
      const before = bytes()
      const archive = yield* OciArchive.make({ file })
      const error = yield* Effect.flip(pushManifest(archive, app, { mediaType: MediaType.imageIndex, manifests: [] }))
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.deepStrictEqual(bytes(), before)
    }).pipe(withNode))

  it.effect("of the same content is the same to the byte", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* written, yield* written]
      assert.deepStrictEqual(one.bytes(), two.bytes())
    }).pipe(withNode))

  it.effect("keeps its content when more is added", () =>
    Effect.gen(function*() {
      const { file, image } = yield* written
      const other = yield* OciArchive.update({ file }, (registry) =>
        pushImage(registry, app, ["other"], { tags: [tag("2")] }))
      const archive = yield* OciArchive.make({ file })
      assert.strictEqual((yield* archive.resolveManifest(app, tag("1"))).digest, image.digest)
      assert.strictEqual((yield* archive.resolveManifest(app, tag("2"))).digest, other.digest)
      assertValid(yield* unpacked(file))
    }).pipe(withNode))

  it.effect("preserves entries of other tools to the byte when more is added", () =>
    Effect.gen(function*() {
      const { file, folder } = yield* written
      const layout = yield* unpacked(file)
      const index = Fs.readFileSync(Path.join(layout, "index.json"), "utf8").replace(
        "{\"mediaType",
        "{ \"x\" : 1.0, \"mediaType"
      )
      Fs.writeFileSync(Path.join(layout, "index.json"), index)
      ChildProcess.execFileSync("tar", ["-C", layout, "-cf", file, "."])
      yield* OciArchive.update({ file }, (registry) => pushImage(registry, app, ["other"], { tags: [tag("2")] }))
      const now = Fs.readFileSync(Path.join(yield* unpacked(file), "index.json"), "utf8")
      assert.include(now, "{ \"x\" : 1.0, \"mediaType")
      assert.lengthOf(entriesOf(yield* unpacked(file)), 2)
      assert.deepStrictEqual(Fs.readdirSync(folder), ["image.tar"])
    }).pipe(withNode))

  it.effect("replaces an empty file", () =>
    Effect.gen(function*() {
      const { file } = yield* makeFile
      Fs.writeFileSync(file, "")
      yield* OciArchive.update({ file }, (registry) => pushImage(registry, app, ["layer"], { tags: [tag("1")] }))
      assertValid(yield* unpacked(file))
    }).pipe(withNode))

  it.effect("is not written again if nothing has changed", () =>
    Effect.gen(function*() {
      const { file } = yield* written
      const before = Fs.statSync(file)
      yield* OciArchive.update({ file }, (registry) => pushImage(registry, app, ["layer"], { tags: [tag("1")] }))
      assert.strictEqual(Fs.statSync(file).ino, before.ino)
    }).pipe(withNode))

  it.effect("is written to the target of a link", () =>
    Effect.gen(function*() {
      const { file, folder } = yield* written
      const link = Path.join(yield* temporaryFolder, "link.tar")
      Fs.symlinkSync(file, link)
      yield* OciArchive.update({ file: link }, (registry) => pushImage(registry, app, ["other"], { tags: [tag("2")] }))
      assert.isTrue(Fs.lstatSync(link).isSymbolicLink())
      assert.deepStrictEqual(Fs.readdirSync(folder), ["image.tar"])
      assert.lengthOf(entriesOf(yield* unpacked(file)), 2)
    }).pipe(withNode))

  describe("is unchanged", () => {
    it.effect("if the update fails, and no file is left beside it", () =>
      Effect.gen(function*() {
        const { bytes, file, folder } = yield* written
        const before = bytes()
        const failing = OciArchive.update({ file }, (registry) =>
          Effect.andThen(pushImage(registry, app, ["other"], { tags: [tag("2")] }), Effect.fail("no")))
        assert.strictEqual(yield* Effect.flip(failing), "no")
        assert.deepStrictEqual(bytes(), before)
        assert.deepStrictEqual(Fs.readdirSync(folder), ["image.tar"])
      }).pipe(withNode))

    it.effect("if the update is interrupted, and no file is left beside it", () =>
      Effect.gen(function*() {
        const { file, folder } = yield* makeFile
        const pushed = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkChild(OciArchive.update({ file }, (registry) =>
          pushImage(registry, app, ["layer"]).pipe(
            Effect.andThen(Deferred.succeed(pushed, undefined)),
            Effect.andThen(Effect.never)
          )))
        yield* Deferred.await(pushed)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(Fs.readdirSync(folder), [])
      }).pipe(withNode))

    const broken: ReadonlyArray<readonly [what: string, bytes: (valid: Buffer) => Uint8Array, says: string]> = [
      ["compressed", (valid) => Zlib.gzipSync(valid), "it is compressed with gzip"],
      ["no archive", () => Buffer.alloc(1024, "text"), "it is not a readable tar archive"],
      ["no layout", () => tar({ name: "a", content: "a" }), "oci-layout: it is missing"],
      [
        "without an index",
        () => tar({ name: "oci-layout", content: `{"imageLayoutVersion":"1.0.0"}` }),
        "index.json: it is missing"
      ],
      [
        "with a broken index",
        () =>
          tar({ name: "oci-layout", content: `{"imageLayoutVersion":"1.0.0"}` }, { name: "index.json", content: "{" }),
        "index.json: it is not JSON"
      ],
      [
        "with a broken blob",
        () =>
          tar(
            { name: "oci-layout", content: `{"imageLayoutVersion":"1.0.0"}` },
            { name: "index.json", content: "{}" },
            { name: `blobs/sha256/${"0".repeat(64)}`, content: "other" }
          ),
        "the content does not match its digest"
      ]
    ]
    it.effect.each(broken)("if it is %s", ([, make, says]) =>
      Effect.gen(function*() {
        const { bytes, file, folder } = yield* written
        Fs.writeFileSync(file, make(bytes()))
        const before = bytes()
        const error = yield* Effect.flip(OciArchive.update({ file }, (registry) => pushBlob(registry, app, "content")))
        assert.include(error.message, says)
        assert.deepStrictEqual(bytes(), before)
        assert.deepStrictEqual(Fs.readdirSync(folder), ["image.tar"])
      }).pipe(withNode))

    it.effect("or complete, whichever operation on files fails", () =>
      Effect.gen(function*() {
        const { bytes, file, folder } = yield* written
        const before = bytes()
        const fs = yield* FileSystem.FileSystem
        const attempt = Effect.fnUntraced(function*(at: number) {
          const calls: Array<Files.Call> = []
          const asking = Files.asking(fs, (call) =>
            calls.push(call) - 1 === at ? Effect.fail(Files.refusal("ENOSPC", call)) : Effect.void)
          const exit = yield* OciArchive.update({ file }, (registry) =>
            pushImage(registry, app, ["other"], { tags: [tag("2")] })).pipe(
              Effect.provideService(FileSystem.FileSystem, asking),
              Effect.exit
            )
          const failed = calls[at]
          if (failed === undefined) {
            return calls.length
          }
          if (Exit.isFailure(exit)) {
            const error = yield* Effect.flip(exit)
            assert(isRegistryError(error))
            assert.strictEqual(error.reason._tag, "Storage")
          }
          // a folder that is not synced does no harm here, and one that is not removed stays
          const isOld = bytes().equals(before)
          assert.strictEqual(isOld, Exit.isFailure(exit), JSON.stringify(failed))
          assertValid(yield* unpacked(file))
          if (failed.operation !== "remove") {
            assert.deepStrictEqual(Fs.readdirSync(folder), ["image.tar"])
          }
          for (const name of Fs.readdirSync(folder)) {
            if (name !== "image.tar") {
              Fs.rmSync(Path.join(folder, name), { recursive: true })
            }
          }
          Fs.writeFileSync(file, before)
          return calls.length
        })
        const count = yield* attempt(Infinity)
        Fs.writeFileSync(file, before)
        const step = process.env["EFFECT_OCI_LONG"] === undefined ? 23 : 1
        for (let at = 0; at < count; at += step) {
          yield* attempt(at)
        }
      }).pipe(withNode), 300_000)
  })

  describe("refuses to be read", () => {
    it.effect("if it does not exist", () =>
      Effect.gen(function*() {
        const { file } = yield* makeFile
        const error = yield* Effect.flip(OciArchive.make({ file }))
        assert.strictEqual(error.message, `oci-archive:${file}: ${file}: there is no such file or folder (open)`)
      }).pipe(withNode))
  })

  it.effect.skipIf(!has("tar"))("is what tar makes of a layout", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const registry = yield* LayoutRegistry.make({ directory: Path.join(folder, "layout"), form: "layout" })
      const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      ChildProcess.execFileSync("tar", ["-C", Path.join(folder, "layout"), "-cf", Path.join(folder, "out.tar"), "."])
      const archive = yield* OciArchive.make({ file: Path.join(folder, "out.tar") })
      assert.strictEqual((yield* archive.getManifest(app, tag("1"))).descriptor.digest, digest)
    }).pipe(withNode))
})
