import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope, Stream } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import type * as Registry from "effect-oci/Registry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { bytesOf, pushBlob, pushImage, pushManifest, repository, tag } from "../utils/images.ts"
import { blobPath, filesOf, temporaryFolder } from "../utils/layouts.ts"

const app = repository("team/app")

const withNode = <A, E>(effect: Effect.Effect<A, E, NodeServices.NodeServices | Scope.Scope>) =>
  Effect.provide(effect, NodeServices.layer)

const make = Effect.gen(function*() {
  const directory = Path.join(yield* temporaryFolder, "here")
  return { directory, registry: yield* LayoutRegistry.make({ directory }) }
})

const read = (registry: Registry.Registry, digest: Descriptor.Descriptor["digest"]) =>
  Effect.scoped(Effect.flatMap(
    registry.getBlob(app, digest),
    ({ stream }) => Stream.mkString(Stream.decodeText(stream))
  ))

describe("LayoutRegistry never leaves its folder", () => {
  /** Creates a folder with a link to another folder. */
  const linked = Effect.fnUntraced(function*(link: string, target: (outside: string) => string) {
    const { directory, registry } = yield* make
    const outside = yield* temporaryFolder
    Fs.writeFileSync(Path.join(outside, "secret"), "secret")
    Fs.mkdirSync(Path.join(outside, "folder"))
    const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
    const layer = yield* Descriptor.fromBytes(bytesOf("layer"))
    const at = Path.join(directory, link === "layer" ? Path.join(app, "blobs/sha256", layer.digest.slice(7)) : link)
    Fs.rmSync(at, { recursive: true, force: true })
    Fs.mkdirSync(Path.dirname(at), { recursive: true })
    Fs.symlinkSync(target(outside), at)
    return {
      digest,
      directory,
      layer,
      outside: () => filesOf(outside),
      registry: yield* LayoutRegistry.make({ directory })
    }
  })

  for (const link of ["team/app", "team", "team/app/blobs", "team/app/blobs/sha256"]) {
    it.effect(`to read or write through a link for ${link}`, () =>
      withNode(Effect.gen(function*() {
        const { layer, outside, registry } = yield* linked(link, (outside) => Path.join(outside, "folder"))
        yield* Effect.flip(registry.resolveBlob(app, layer.digest))
        for (
          const attempt of [
            pushBlob(registry, app, "more"),
            pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [] }, [tag("2")])
          ]
        ) {
          const error = yield* Effect.flip(attempt)
          assert.include(error.message, "a symbolic link leads out of")
        }
        assert.deepStrictEqual(outside(), ["secret"])
      })))
  }

  for (const link of ["layer", "team/app/index.json", "team/app/oci-layout"]) {
    it.effect(`to read through a link for the file ${link}`, () =>
      withNode(Effect.gen(function*() {
        const { layer, registry } = yield* linked(link, (outside) => Path.join(outside, "secret"))
        const { message, reason } = yield* link === "layer"
          ? Effect.flip(registry.getBlob(app, layer.digest))
          : Effect.flip(registry.getManifest(app, tag("1")))
        assert.strictEqual(reason._tag, "Storage")
        assert.include(message, "a symbolic link leads out of")
      })))
  }

  it.effect("but follows a link from a blob to another one inside", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      const { digest } = yield* pushBlob(registry, app, "content")
      const path = blobPath(Path.join(directory, app), digest)
      Fs.renameSync(path, `${path}-`)
      Fs.symlinkSync(`${path}-`, path)
      assert.strictEqual(yield* read(registry, digest), "content")
      assert.strictEqual((yield* registry.resolveBlob(app, digest)).size, 7)
      const mounted = yield* registry.startUpload(repository("other"), { mount: { digest, from: app } })
      assert.strictEqual(mounted._tag, "Mounted")
      assert.isTrue(Fs.lstatSync(blobPath(Path.join(directory, "other"), digest)).isFile())
    })))

  /** Invalid names, cast to the type of repositories or digests. */
  const forced = (text: string): never => text as never

  const names = [
    "..",
    "../outside",
    "a/../../outside",
    "/etc",
    "a\0b",
    "a/..",
    ".",
    "",
    "A",
    "team//app",
    ".effect-oci"
  ]
  it.effect.each(names)("for an invalid repository: %j", (name) =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      yield* pushBlob(registry, app, "content")
      const before = filesOf(Path.dirname(directory))
      const errors = [
        yield* Effect.flip(registry.resolveManifest(forced(name), tag("1"))),
        yield* Effect.flip(registry.startUpload(forced(name))),
        yield* Effect.flip(
          pushManifest(registry, forced(name), { mediaType: MediaType.imageIndex, manifests: [] }, [tag("1")])
        )
      ]
      assert.deepStrictEqual(errors.map(({ reason }) => reason._tag), ["NameInvalid", "NameInvalid", "NameInvalid"])
      assert.deepStrictEqual(filesOf(Path.dirname(directory)), before)
    })))

  const digests = ["sha256:../../../../../outside", "sha256:/etc/passwd", "../../../x:y", "sha256:a\0"]
  it.effect.each(digests)("for a blob with an invalid digest: %j", (digest) =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      yield* pushBlob(registry, app, "content")
      Fs.writeFileSync(Path.join(directory, "..", "outside"), "secret")
      yield* Effect.flip(registry.getBlob(app, forced(digest)))
      yield* Effect.flip(registry.deleteBlob(app, forced(digest)))
      assert.isTrue(Fs.existsSync(Path.join(directory, "..", "outside")))
    })))

  it.effect("and does not follow links in a circle", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      const { digest } = yield* pushBlob(registry, app, "content")
      const path = blobPath(Path.join(directory, app), digest)
      Fs.rmSync(path)
      Fs.symlinkSync(path, path)
      assert.strictEqual((yield* Effect.flip(registry.getBlob(app, digest))).reason._tag, "Storage")
    })))

  it.effect("and does not treat a folder as a blob", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      const { digest } = yield* pushBlob(registry, app, "content")
      const path = blobPath(Path.join(directory, app), digest)
      Fs.rmSync(path)
      Fs.mkdirSync(path)
      assert.strictEqual((yield* Effect.flip(registry.resolveBlob(app, digest))).reason._tag, "BlobUnknown")
      assert.strictEqual((yield* Effect.flip(registry.getBlob(app, digest))).reason._tag, "Storage")
    })))
})

describe("LayoutRegistry leaves broken content unchanged, and reports it:", () => {
  const content = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] })
  const entry = (digest: string) => ({
    mediaType: MediaType.imageIndex,
    digest,
    size: content.length,
    annotations: { "org.opencontainers.image.ref.name": "1" }
  })
  const index = (...manifests: ReadonlyArray<object>) => JSON.stringify({ schemaVersion: 2, manifests })
  const marker = `{"imageLayoutVersion": "1.0.0"}`
  const absent = `sha256:${"0".repeat(64)}`

  const table: ReadonlyArray<
    readonly [what: string, files: Readonly<Record<string, string>>, tag: string, says: string, blocks: boolean]
  > = [
    ["an index without oci-layout", { "index.json": index() }, "Storage", "oci-layout: it is missing", true],
    ["an oci-layout that is empty", { "oci-layout": "", "index.json": index() }, "Storage", "does not declare", true],
    [
      "an oci-layout of another version",
      { "oci-layout": `{"imageLayoutVersion":"2.0.0"}`, "index.json": index() },
      "Storage",
      "does not declare an image layout of version 1",
      true
    ],
    ["no index", { "oci-layout": marker }, "Storage", "index.json: it is missing", true],
    [
      "an index that is empty",
      { "oci-layout": marker, "index.json": "" },
      "Storage",
      "index.json: it is not JSON",
      true
    ],
    [
      "an index that is cut off",
      { "oci-layout": marker, "index.json": index(entry(absent)).slice(0, -3) },
      "Storage",
      "index.json: it is not JSON",
      true
    ],
    [
      "an index that is not UTF-8",
      { "oci-layout": marker, "index.json": "{}" },
      "Storage",
      "index.json: it is not UTF-8",
      true
    ],
    [
      "an index whose manifests are not a list",
      { "oci-layout": marker, "index.json": `{"manifests":1}` },
      "Storage",
      "index.json: its manifests are not a list",
      true
    ],
    [
      "an entry with a bad digest",
      { "oci-layout": marker, "index.json": index(entry("sha256:xyz")) },
      "Storage",
      "index.json: the entry 1: ",
      false
    ],
    [
      "an entry without a size",
      { "oci-layout": marker, "index.json": index({ ...entry(absent), size: undefined }) },
      "Storage",
      "size",
      false
    ],
    [
      "an entry whose manifest is missing",
      { "oci-layout": marker, "index.json": index(entry(absent)) },
      "ManifestUnknown",
      `${absent} is listed, but its content is missing`,
      false
    ],
    [
      "a manifest with another digest",
      {
        "oci-layout": marker,
        "index.json": index(entry(absent)),
        [`blobs/sha256/${"0".repeat(64)}`]: "other"
      },
      "DigestMismatch",
      "the content does not match its digest",
      false
    ],
    [
      "a manifest with a digest of an unknown algorithm",
      { "oci-layout": marker, "index.json": index(entry("blake3:abc")), "blobs/blake3/abc": "other" },
      "UnsupportedAlgorithm",
      "blake3",
      false
    ]
  ]

  for (const [what, files, tagOfReason, says, blocks] of table) {
    it.effect(what, () =>
      withNode(Effect.gen(function*() {
        const { directory, registry } = yield* make
        const layout = Path.join(directory, app)
        for (const [name, text] of Object.entries(files)) {
          Fs.mkdirSync(Path.dirname(Path.join(layout, name)), { recursive: true })
          const bytes = what.endsWith("UTF-8") && name === "index.json" ? Buffer.from([0x7b, 0xff, 0x7d]) : text
          Fs.writeFileSync(Path.join(layout, name), bytes)
        }
        const error = yield* Effect.flip(registry.getManifest(app, tag("1")))
        assert.strictEqual(error.reason._tag, tagOfReason)
        assert.include(error.message, says)

        const pushed = yield* Effect.exit(
          pushManifest(registry, app, { mediaType: MediaType.imageIndex, manifests: [] }, [tag("2")])
        )
        assert.strictEqual(pushed._tag, blocks ? "Failure" : "Success")
        for (const [name, text] of Object.entries(files)) {
          const now = Fs.readFileSync(Path.join(layout, name), "utf8")
          if (blocks && !what.endsWith("UTF-8")) assert.strictEqual(now, text)
          // broken entries of the index are preserved to the byte
          if (!blocks) assert.include(now, name === "index.json" ? text.slice(1, -2).split("[")[1] ?? "" : text)
        }
      })))
  }

  it.effect("a blob with another digest", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      const { digest } = yield* pushBlob(registry, app, "content")
      Fs.writeFileSync(blobPath(Path.join(directory, app), digest), "CONTENT")
      assert.strictEqual((yield* Effect.flip(read(registry, digest))).reason._tag, "DigestMismatch")
      yield* pushBlob(registry, app, "content")
      assert.strictEqual(yield* read(registry, digest), "content")
    })))

  it.effect("a blob that becomes shorter while it is read", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      const { digest } = yield* pushBlob(registry, app, "content")
      for (const range of [undefined, { offset: 1 }]) {
        const blob = yield* registry.getBlob(app, digest, range === undefined ? {} : { range })
        Fs.truncateSync(blobPath(Path.join(directory, app), digest), 1)
        const error = yield* Effect.flip(Stream.runDrain(blob.stream))
        assert.include(error.message, "it became shorter while it was read")
        yield* pushBlob(registry, app, "content")
      }
    })))

  it.effect("a manifest that exceeds the size limit", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      Fs.truncateSync(blobPath(Path.join(directory, app), digest), 9 * 1024 * 1024)
      const error = yield* Effect.flip(registry.getManifest(app, tag("1")))
      assert.include(error.message, "the content is larger than 8388608 bytes")
      const bytes = new Uint8Array(9 * 1024 * 1024)
      const push = registry.pushManifest(app, { mediaType: "text/plain", bytes })
      assert.strictEqual((yield* Effect.flip(push)).reason._tag, "ContentTooLarge")
    })))

  it.effect("a layout that was removed", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      Fs.rmSync(Path.join(directory, app), { recursive: true })
      const error = yield* Effect.flip(registry.getManifest(app, tag("1")))
      assert.strictEqual(error.reason._tag, "NameUnknown")
      const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      assert.strictEqual((yield* registry.resolveManifest(app, tag("1"))).digest, digest)
    })))
})

describe("LayoutRegistry creates a layout", () => {
  it.effect("again after a crash left half of one", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      yield* pushBlob(registry, app, "content")
      Fs.rmSync(Path.join(directory, app, "oci-layout"))
      const restarted = yield* LayoutRegistry.make({ directory })
      assert.strictEqual((yield* Effect.flip(restarted.resolveManifest(app, tag("1")))).reason._tag, "NameUnknown")
      yield* pushImage(restarted, app, ["layer"], { tags: [tag("1")] })
      assert.isTrue(Fs.existsSync(Path.join(directory, app, "oci-layout")))
    })))

  it.effect("beside other files in the folder", () =>
    withNode(Effect.gen(function*() {
      const { directory, registry } = yield* make
      Fs.mkdirSync(Path.join(directory, app), { recursive: true })
      Fs.writeFileSync(Path.join(directory, app, "README"), "mine")
      yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      assert.strictEqual(Fs.readFileSync(Path.join(directory, app, "README"), "utf8"), "mine")
    })))
})
