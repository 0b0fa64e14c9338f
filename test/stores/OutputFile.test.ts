import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, FileSystem, Stream } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as OciArchive from "effect-oci/OciArchive"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as OutputFile from "../../src/stores/OutputFile.ts"
import * as Files from "../utils/files.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { assertValid, temporaryFolder } from "../utils/layouts.ts"

const withNode = Effect.provide(NodeServices.layer)

const app = repository("app")

const content = (text: string) => Stream.succeed(new TextEncoder().encode(text))

const setUp = Effect.gen(function*() {
  const folder = yield* temporaryFolder
  const at = (name: string) => Path.join(folder, name)
  const read = (name: string) => Fs.readFileSync(at(name), "utf8")
  return { folder, at, read, names: () => Fs.readdirSync(folder).sort() }
})

/** Creates a device that discards its input, if this user is permitted to. */
const makeNull = (path: string): boolean =>
  ChildProcess.spawnSync("mknod", ["-m", "666", path, "c", "1", "3"]).status === 0

const makePipe = (path: string) => void ChildProcess.execFileSync("mknod", [path, "p"])

/** Reads a pipe to its end, in another process. */
const reading = (path: string) =>
  Effect.promise(() =>
    new Promise<Buffer>((resolve) =>
      ChildProcess.execFile("cat", [path], { encoding: "buffer" }, (_, stdout) => resolve(stdout))
    )
  )

const mayMakeDevices = process.getuid?.() === 0 && process.platform === "linux"

describe("A result", () => {
  it.effect("becomes a new file", () =>
    Effect.gen(function*() {
      const { at, names, read } = yield* setUp
      yield* OutputFile.write(at("new"), content("new"))
      assert.deepStrictEqual([names(), read("new")], [["new"], "new"])
    }).pipe(withNode))

  it.effect("replaces a file after it is complete, and not before", () =>
    Effect.gen(function*() {
      const { at, names, read } = yield* setUp
      Fs.writeFileSync(at("file"), "old")
      const half = yield* Deferred.make<void>()
      const rest = yield* Deferred.make<void>()
      const stream = Stream.concat(
        content("new "),
        Stream.unwrap(Effect.andThen(
          Deferred.succeed(half, undefined),
          Effect.as(Deferred.await(rest), content("content"))
        ))
      )
      const writing = yield* Effect.forkChild(OutputFile.write(at("file"), stream))
      yield* Deferred.await(half)
      assert.strictEqual(read("file"), "old")
      yield* Deferred.succeed(rest, undefined)
      yield* Fiber.join(writing)
      assert.deepStrictEqual([names(), read("file")], [["file"], "new content"])
    }).pipe(withNode))

  it.effect("that fails or is interrupted changes nothing", () =>
    Effect.gen(function*() {
      const { at, names, read } = yield* setUp
      Fs.writeFileSync(at("file"), "old")
      const failing = OutputFile.write(at("file"), Stream.concat(content("new"), Stream.fail("broken")))
      assert.strictEqual(yield* Effect.flip(failing), "broken")
      const reached = yield* Deferred.make<void>()
      const endless = Stream.concat(
        content("new"),
        Stream.fromEffectDrain(Effect.andThen(Deferred.succeed(reached, undefined), Effect.never))
      )
      const writing = yield* Effect.forkChild(OutputFile.write(at("file"), endless))
      yield* Deferred.await(reached)
      yield* Fiber.interrupt(writing)
      assert.deepStrictEqual([names(), read("file")], [["file"], "old"])
    }).pipe(withNode))

  for (const mode of [0o600, 0o664, 0o755]) {
    it.effect(`keeps the permissions ${mode.toString(8)} of the file that it replaces`, () =>
      Effect.gen(function*() {
        const { at } = yield* setUp
        Fs.writeFileSync(at("file"), "old")
        Fs.chmodSync(at("file"), mode)
        yield* OutputFile.write(at("file"), content("new"))
        assert.strictEqual(Fs.statSync(at("file")).mode & 0o777, mode)
      }).pipe(withNode))
  }

  it.effect("follows links, which are preserved", () =>
    Effect.gen(function*() {
      const { at, names, read } = yield* setUp
      Fs.mkdirSync(at("real"))
      Fs.mkdirSync(at("other"))
      Fs.writeFileSync(at("real/target"), "old")
      Fs.symlinkSync("../other/second", at("real/first"))
      Fs.symlinkSync(at("real/target"), at("other/second"))
      Fs.symlinkSync("real", at("folder"))
      yield* OutputFile.write(at("folder/first"), content("new"))
      assert.strictEqual(read("real/target"), "new")
      assert.isTrue(Fs.lstatSync(at("real/first")).isSymbolicLink())
      assert.isTrue(Fs.lstatSync(at("other/second")).isSymbolicLink())
      assert.deepStrictEqual(names(), ["folder", "other", "real"])
    }).pipe(withNode))

  it.effect("is created at the target of a dangling link", () =>
    Effect.gen(function*() {
      const { at, names, read } = yield* setUp
      Fs.symlinkSync("target", at("link"))
      yield* OutputFile.write(at("link"), content("new"))
      assert.deepStrictEqual([names(), read("target")], [["link", "target"], "new"])
      assert.isTrue(Fs.lstatSync(at("link")).isSymbolicLink())
    }).pipe(withNode))

  it.effect("is an error for links in a circle, and for a folder", () =>
    Effect.gen(function*() {
      const { at, names } = yield* setUp
      Fs.symlinkSync("b", at("a"))
      Fs.symlinkSync("a", at("b"))
      Fs.mkdirSync(at("folder"))
      const circle = yield* Effect.flip(OutputFile.write(at("a"), content("new")))
      assert.strictEqual(circle.message, `${at("a")}: symbolic links lead in a circle`)
      const folder = yield* Effect.flip(OutputFile.write(at("folder"), content("new")))
      assert.strictEqual(folder.message, `${at("folder")}: it is a folder`)
      assert.deepStrictEqual(names(), ["a", "b", "folder"])
    }).pipe(withNode))

  for (const operations of [["makeTempDirectory", "rename"], ["rename"]]) {
    it.effect(`is written over a file if its folder does not permit ${operations.join(" and ")}`, () =>
      Effect.gen(function*() {
        const { at, folder, names, read } = yield* setUp
        Fs.writeFileSync(at("file"), "old, and longer than the new content")
        const { ino } = Fs.statSync(at("file"))
        const fs = Files.asking(
          yield* FileSystem.FileSystem,
          (call) =>
            operations.includes(call.operation) && `${call.to ?? call.path}/`.startsWith(folder)
              ? Effect.fail(Files.refusal("EACCES", call))
              : Effect.void
        )
        yield* Effect.provideService(OutputFile.write(at("file"), content("new")), FileSystem.FileSystem, fs)
        assert.deepStrictEqual([names(), read("file"), Fs.statSync(at("file")).ino], [["file"], "new", ino])
        const fresh = OutputFile.write(at("fresh"), content("new"))
        const error = yield* Effect.flip(Effect.provideService(fresh, FileSystem.FileSystem, fs))
        assert.include(error.message, "permission is denied")
        assert.deepStrictEqual(names(), ["file"])
      }).pipe(withNode))
  }

  it.effect.skipIf(process.platform === "win32")("is written to a pipe, which stays", () =>
    Effect.gen(function*() {
      const { at, names } = yield* setUp
      makePipe(at("pipe"))
      const reader = yield* Effect.forkChild(reading(at("pipe")))
      yield* OutputFile.write(at("pipe"), Stream.concat(content("a".repeat(100_000)), content("b")))
      assert.strictEqual(String(yield* Fiber.join(reader)), `${"a".repeat(100_000)}b`)
      assert.isTrue(Fs.lstatSync(at("pipe")).isFIFO())
      assert.deepStrictEqual(names(), ["pipe"])
    }).pipe(withNode))

  it.effect.skipIf(process.platform === "win32")(
    "can be interrupted while it waits for the reader of a pipe",
    () =>
      Effect.gen(function*() {
        const { at } = yield* setUp
        makePipe(at("pipe"))
        const opening = yield* Deferred.make<void>()
        const fs = Files.asking(
          yield* FileSystem.FileSystem,
          ({ operation }) => operation === "open" ? Deferred.succeed(opening, undefined) : Effect.void
        )
        const writing = yield* Effect.forkChild(
          Effect.provideService(OutputFile.write(at("pipe"), content("new")), FileSystem.FileSystem, fs)
        )
        yield* Deferred.await(opening)
        yield* Fiber.interrupt(writing)
        assert.isTrue(Fs.lstatSync(at("pipe")).isFIFO())
      }).pipe(withNode)
  )

  it.effect.skipIf(!mayMakeDevices)("is written to a device, which stays", () =>
    Effect.gen(function*() {
      const { at, names } = yield* setUp
      if (!makeNull(at("null"))) return
      Fs.symlinkSync("null", at("link"))
      yield* OutputFile.write(at("link"), content("new"))
      assert.isTrue(Fs.lstatSync(at("null")).isCharacterDevice())
      assert.deepStrictEqual(names(), ["link", "null"])
    }).pipe(withNode))

  it.effect.skipIf(process.platform !== "linux")(
    "is written to an open descriptor, whatever its file is",
    () =>
      Effect.gen(function*() {
        const { at, names, read } = yield* setUp
        const descriptor = Fs.openSync(at("file"), "w")
        Fs.symlinkSync(`/dev/fd/${descriptor}`, at("link"))
        const { ino } = Fs.statSync(at("file"))
        yield* OutputFile.write(at("link"), content("new"))
        Fs.closeSync(descriptor)
        assert.deepStrictEqual([names(), read("file"), Fs.statSync(at("file")).ino], [["file", "link"], "new", ino])
      }).pipe(withNode)
  )
})

describe("An archive", () => {
  const archive = (file: string) =>
    OciArchive.update({ file }, (registry) => pushImage(registry, app, ["layer"], { tags: [tag("1")] }))

  it.effect.skipIf(process.platform === "win32")("is written to a pipe, which stays", () =>
    Effect.gen(function*() {
      const { at, names } = yield* setUp
      makePipe(at("pipe"))
      const reader = yield* Effect.forkChild(reading(at("pipe")))
      yield* archive(at("pipe"))
      Fs.mkdirSync(at("layout"))
      ChildProcess.execFileSync("tar", ["-C", at("layout"), "-xf", "-"], { input: yield* Fiber.join(reader) })
      assertValid(at("layout"))
      assert.isTrue(Fs.lstatSync(at("pipe")).isFIFO())
      assert.deepStrictEqual(names(), ["layout", "pipe"])
    }).pipe(withNode))

  it.effect.skipIf(!mayMakeDevices)("is written to a device, which stays", () =>
    Effect.gen(function*() {
      const { at, names } = yield* setUp
      if (!makeNull(at("null"))) return
      yield* archive(at("null"))
      assert.isTrue(Fs.lstatSync(at("null")).isCharacterDevice())
      assert.deepStrictEqual(names(), ["null"])
    }).pipe(withNode))

  it.effect("keeps the permissions of the file that it replaces", () =>
    Effect.gen(function*() {
      const { at } = yield* setUp
      Fs.writeFileSync(at("file"), "")
      Fs.chmodSync(at("file"), 0o600)
      yield* archive(at("file"))
      assert.strictEqual(Fs.statSync(at("file")).mode & 0o777, 0o600)
    }).pipe(withNode))
})

describe("The index of a layout", () => {
  it.effect("keeps its permissions, and links to it, when it changes", () =>
    Effect.gen(function*() {
      const { at } = yield* setUp
      const registry = yield* LayoutRegistry.make({ directory: at("layout"), form: "layout" })
      yield* pushImage(registry, app, ["one"], { tags: [tag("1")] })
      Fs.renameSync(at("layout/index.json"), at("layout/real.json"))
      Fs.chmodSync(at("layout/real.json"), 0o600)
      Fs.symlinkSync("real.json", at("layout/index.json"))
      yield* pushImage(registry, app, ["two"], { tags: [tag("2")] })
      assert.isTrue(Fs.lstatSync(at("layout/index.json")).isSymbolicLink())
      assert.strictEqual(Fs.statSync(at("layout/real.json")).mode & 0o777, 0o600)
      assertValid(at("layout"))
      assert.lengthOf(JSON.parse(Fs.readFileSync(at("layout/real.json"), "utf8")).manifests, 2)
    }).pipe(withNode))
})
