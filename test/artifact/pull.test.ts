import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Stream } from "effect"
import * as Artifact from "effect-oci/Artifact"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import { Images } from "effect-oci/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Artifacts from "../utils/artifacts.ts"
import { bytesOf } from "../utils/images.ts"
import { override } from "../utils/registries.ts"
import { tar } from "../utils/tars.ts"

const { app, folderLayer, pushTitled, read, reference, within, write } = Artifacts

const reasonOf = (error: Artifact.PullError): string => "reason" in error ? error.reason._tag : error._tag

describe("Artifact.pull", () => {
  it.effect("writes the files of an artifact, in folders of their own", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(registry, { title: "a.txt", content: "aa" }, { title: "sub/b.txt", content: "b" })
        const directory = Path.join(folder, "new", "out")
        const report = yield* Artifact.pull({ source: reference, directory })
        assert.deepStrictEqual(read(directory), { "a.txt": "aa", sub: "/", "sub/b.txt": "b" })
        assert.deepStrictEqual(report.files.map(({ name, outcome, path }) => [name, outcome, path]), [
          ["a.txt", "pulled", Path.join(directory, "a.txt")],
          ["sub/b.txt", "pulled", Path.join(directory, "sub/b.txt")]
        ])
        assert.strictEqual(report.bytes, 3)
      })
    ))

  it.effect("restores a folder that was pushed, with its links and permissions", () =>
    within(({ folder }) =>
      Effect.gen(function*() {
        write(folder, { "data/a.txt": "a", "data/sub/run.sh": "run" })
        Fs.mkdirSync(Path.join(folder, "data/empty"))
        Fs.chmodSync(Path.join(folder, "data/sub/run.sh"), 0o755)
        Fs.symlinkSync("sub/run.sh", Path.join(folder, "data/link"))
        Fs.symlinkSync("../a.txt", Path.join(folder, "data/sub/up"))
        const before = read(Path.join(folder, "data"))
        yield* Artifact.push({ destination: reference, files: [{ path: Path.join(folder, "data") }] })
        const directory = Path.join(folder, "out")
        yield* Artifact.pull({ source: reference, directory })
        assert.deepStrictEqual(read(Path.join(directory, "data")), before)
        assert.deepStrictEqual(Fs.readdirSync(directory), ["data"])
        assert.strictEqual(Fs.statSync(Path.join(directory, "data/sub/run.sh")).mode & 0o100, 0o100)
        assert.strictEqual(Fs.statSync(Path.join(directory, "data/a.txt")).mode & 0o111, 0)
      })
    ))

  it.effect("merges a folder into one that exists, and the folder itself into the folder of the pull", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        write(folder, { "out/dir/mine.txt": "mine" })
        yield* pushTitled(
          registry,
          folderLayer("dir", tar({ name: "dir/", type: "5" }, { name: "dir/theirs.txt", content: "theirs" })),
          folderLayer(".", tar({ name: "./root.txt", content: "root" }))
        )
        const directory = Path.join(folder, "out")
        yield* Artifact.pull({ source: reference, directory })
        assert.deepStrictEqual(read(directory), {
          dir: "/",
          "dir/mine.txt": "mine",
          "dir/theirs.txt": "theirs",
          "root.txt": "root"
        })
      })
    ))

  it.effect("writes a folder as an archive on request", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(registry, folderLayer("dir", tar({ name: "dir/a", content: "a" })))
        yield* Artifact.pull({ source: reference, directory: folder, folders: "archive" })
        assert.isTrue(Fs.statSync(Path.join(folder, "dir")).isFile())
      })
    ))

  it.effect("pulls nothing twice: a file that exists with the same content stays", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(
          registry,
          { title: "a.txt", content: "aa" },
          folderLayer("dir", tar({ name: "dir/b", content: "b" }, { name: "dir/c", type: "2", link: "b" }))
        )
        yield* Artifact.pull({ source: reference, directory: folder })
        const { ino } = Fs.statSync(Path.join(folder, "a.txt"))
        const { bytes, files } = yield* Artifact.pull({ source: reference, directory: folder })
        assert.deepStrictEqual(files.map(({ outcome }) => outcome), ["present", "present"])
        assert.strictEqual(Fs.statSync(Path.join(folder, "a.txt")).ino, ino)
        assert.isAbove(bytes, 0)
      })
    ))

  it.effect("finds a file that exists with the same content by a digest of any algorithm", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const bytes = new TextEncoder().encode("aa")
        const descriptor = yield* Descriptor.fromBytes(bytes, { algorithm: "sha512" })
        yield* registry.pushBlob(app, descriptor, BlobSource.fromBytes(bytes))
        yield* Images.pushBlob(registry, app, "{}", MediaType.empty)
        const layer = { ...descriptor, annotations: { "org.opencontainers.image.title": "a.txt" } }
        yield* registry.pushManifest(app, yield* Manifest.artifact({ layers: [layer] }), [Images.tag("1")])
        yield* Artifact.pull({ source: reference, directory: folder })
        const { files } = yield* Artifact.pull({ source: reference, directory: folder })
        assert.deepStrictEqual(files.map(({ outcome }) => outcome), ["present"])
      })
    ))

  it.effect("overwrites no file unless asked, and looks at all of them before it downloads one", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        write(folder, { "b.txt": "mine" })
        yield* pushTitled(registry, { title: "a.txt", content: "aa" }, { title: "b.txt", content: "theirs" })
        const error = yield* Effect.flip(Artifact.pull({ source: reference, directory: folder }))
        assert.strictEqual(reasonOf(error), "FileExists")
        assert.deepStrictEqual(read(folder), { "b.txt": "mine" })
        yield* Artifact.pull({ source: reference, directory: folder, onFileExists: "replace" })
        assert.deepStrictEqual(read(folder), { "a.txt": "aa", "b.txt": "theirs" })
      })
    ))

  it.effect("overwrites no file within a folder unless asked, and then moves nothing", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        write(folder, { "dir/b": "mine" })
        yield* pushTitled(
          registry,
          folderLayer("dir", tar({ name: "dir/a", content: "a" }, { name: "dir/b", content: "theirs" }))
        )
        const error = yield* Effect.flip(Artifact.pull({ source: reference, directory: folder }))
        assert.strictEqual(reasonOf(error), "FileExists")
        assert.deepStrictEqual(read(folder), { dir: "/", "dir/b": "mine" })
        yield* Artifact.pull({ source: reference, directory: folder, onFileExists: "replace" })
        assert.deepStrictEqual(read(folder), { dir: "/", "dir/a": "a", "dir/b": "theirs" })
      })
    ))

  it.effect("moves nothing of a folder if a file or a link stands at the place of a folder in it", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(
          registry,
          folderLayer("dir", tar({ name: "dir/a", content: "a" }, { name: "dir/sub/b", content: "b" }))
        )
        for (const place of [Fs.writeFileSync, (path: string) => Fs.symlinkSync("..", path)]) {
          Fs.mkdirSync(Path.join(folder, "dir"))
          place(Path.join(folder, "dir/sub"), "mine")
          for (const onFileExists of ["fail", "replace"] as const) {
            yield* Effect.flip(Artifact.pull({ source: reference, directory: folder, onFileExists }))
            assert.deepStrictEqual(Fs.readdirSync(folder), ["dir"])
            assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "dir")), ["sub"])
          }
          Fs.rmSync(Path.join(folder, "dir"), { recursive: true })
        }
      })
    ))

  it.effect("replaces a link at the place of a file, and never writes through it", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        write(folder, { "secret.txt": "secret", "out/other": "" })
        const directory = Path.join(folder, "out")
        Fs.symlinkSync("../secret.txt", Path.join(directory, "a.txt"))
        yield* pushTitled(registry, { title: "a.txt", content: "aa" })
        assert.strictEqual(reasonOf(yield* Effect.flip(Artifact.pull({ source: reference, directory }))), "FileExists")
        yield* Artifact.pull({ source: reference, directory, onFileExists: "replace" })
        assert.strictEqual(Fs.readFileSync(Path.join(folder, "secret.txt"), "utf8"), "secret")
        assert.strictEqual(read(directory)["a.txt"], "aa")
      })
    ))

  it.effect("follows no link on the way to a file, not even one that stays inside", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const directory = Path.join(folder, "out")
        write(folder, { "out/inside/x": "" })
        Fs.symlinkSync("..", Path.join(directory, "up"))
        Fs.symlinkSync("inside", Path.join(directory, "in"))
        for (const title of ["up/a.txt", "in/a.txt"]) {
          yield* pushTitled(registry, { title, content: "aa" })
          for (const onFileExists of ["fail", "replace"] as const) {
            const error = yield* Effect.flip(Artifact.pull({ source: reference, directory, onFileExists }))
            assert.include(error.message, "a symbolic link, which a pull does not follow")
          }
        }
        assert.deepStrictEqual(Fs.readdirSync(folder), ["out"])
        assert.deepStrictEqual(Fs.readdirSync(Path.join(directory, "inside")), ["x"])
      })
    ))

  it.effect("never replaces a folder by a file", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        write(folder, { "a.txt/mine": "mine" })
        yield* pushTitled(registry, { title: "a.txt", content: "aa" })
        const error = yield* Effect.flip(
          Artifact.pull({ source: reference, directory: folder, onFileExists: "replace" })
        )
        assert.include(error.message, "it is a folder")
        assert.deepStrictEqual(read(folder), { "a.txt": "/", "a.txt/mine": "mine" })
      })
    ))

  it.effect("downloads content once for several names", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(registry, { title: "a", content: "same" }, { title: "b", content: "same" })
        const { bytes } = yield* Artifact.pull({ source: reference, directory: folder })
        assert.deepStrictEqual(read(folder), { a: "same", b: "same" })
        assert.strictEqual(bytes, 4)
      })
    ))

  it.effect("reports content without a name", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(registry, { content: "unnamed" }, { title: "a", content: "a" })
        const { files, unnamed } = yield* Artifact.pull({ source: reference, directory: folder })
        assert.deepStrictEqual([files.length, unnamed.map(({ size }) => size)], [1, [7]])
      })
    ))

  it.effect("pulls the files of an index, or of the manifest for one platform", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const app = Artifacts.app
        const titled = (content: string, architecture: string) =>
          Effect.gen(function*() {
            const layer = yield* Images.pushBlob(registry, app, content, "text/plain")
            const annotations = { "org.opencontainers.image.title": content }
            return yield* Images.pushImage(registry, app, [], {
              architecture,
              extra: { layers: [{ ...layer, annotations }] }
            })
          })
        const manifests = [yield* titled("for-amd64", "amd64"), yield* titled("for-arm64", "arm64")]
        yield* Images.pushIndex(registry, app, manifests, { tags: [Images.tag("1")] })
        yield* Artifact.pull({ source: reference, directory: Path.join(folder, "all") })
        yield* Artifact.pull({
          source: reference,
          directory: Path.join(folder, "one"),
          platform: { os: "linux", architecture: "arm64" }
        })
        assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "all")).sort(), ["for-amd64", "for-arm64"])
        assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "one")), ["for-arm64"])
      })
    ))

  it.effect("leaves nothing of content that does not match its digest", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const { content } = yield* pushTitled(registry, { title: "a.txt", content: "aa" })
        const lying = override(registry, {
          getBlob: () =>
            Effect.succeed({
              descriptor: content.layers[0] ?? content.config,
              stream: Stream.make(bytesOf("a"), bytesOf("!"))
            })
        })
        const end = { registry: lying, repository: Artifacts.app, tag: Images.tag("1") }
        const error = yield* Effect.flip(Artifact.pull({ source: end, directory: folder }))
        assert.strictEqual(reasonOf(error), "DigestMismatch")
        assert.deepStrictEqual(read(folder), {})
      })
    ))

  it.effect("leaves nothing after it is interrupted", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        const { content } = yield* pushTitled(registry, { title: "sub/a.txt", content: "aa" })
        const begun = yield* Latch.make()
        const endless = override(registry, {
          getBlob: () =>
            Effect.succeed({
              descriptor: content.layers[0] ?? content.config,
              stream: Stream.concat(
                Stream.make(bytesOf("a")),
                Stream.fromEffect(Effect.andThen(begun.open, Effect.never))
              )
            })
        })
        const end = { registry: endless, repository: Artifacts.app, tag: Images.tag("1") }
        const fiber = yield* Effect.forkChild(Artifact.pull({ source: end, directory: folder }))
        yield* begun.await
        assert.lengthOf(Fs.readdirSync(folder), 1)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(read(folder), {})
      })
    ))

  it.effect("emits its events, the last of which has the report", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(registry, { title: "a.txt", content: "aa" })
        const events = yield* Stream.runCollect(Artifact.pullEvents({ source: reference, directory: folder }))
        assert.deepStrictEqual(events.map(({ _tag }) => _tag), ["Planned", "Started", "Settled", "Done"])
      })
    ))
})

describe("Artifact.list", () => {
  it.effect("lists the files of an artifact", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        yield* pushTitled(registry, { title: "a.txt", content: "aa" }, { content: "unnamed" })
        const { artifactType, files, unnamed } = yield* Artifact.list(reference)
        assert.strictEqual(artifactType, "application/vnd.example")
        assert.deepStrictEqual(files.map(({ descriptor, name }) => [name, descriptor.size]), [["a.txt", 2]])
        assert.lengthOf(unnamed, 1)
      })
    ))
})
