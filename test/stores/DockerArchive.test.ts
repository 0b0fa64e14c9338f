import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import type * as Digest from "effect-oci/Digest"
import * as DockerArchive from "effect-oci/DockerArchive"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as OciArchive from "effect-oci/OciArchive"
import * as ChildProcess from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import { pushSample, repository, tag } from "../utils/images.ts"
import { has, temporaryFolder } from "../utils/layouts.ts"
import { type Member, tar } from "../utils/tars.ts"

const app = repository("app")

const withNode = Effect.provide(NodeServices.layer)

const sha256 = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex")

const open = Effect.fnUntraced(function*(...members: ReadonlyArray<Member>) {
  const file = Path.join(yield* temporaryFolder, "saved.tar")
  Fs.writeFileSync(file, tar(...members))
  return yield* DockerArchive.make({ file })
})

const layers = ["one", "two"].map((content) => new Uint8Array(tar({ name: "file", content })))
const diffIds = layers.map((layer) => `sha256:${sha256(layer)}`)
const config = JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: diffIds } })

const json = (name: string, content: unknown): Member => ({ name, content: JSON.stringify(content) })

/** Creates an archive as docker wrote it before version 25. */
const saved = (options: {
  readonly tags?: ReadonlyArray<string> | null
  readonly layers?: ReadonlyArray<Uint8Array>
  readonly config?: string
} = {}): ReadonlyArray<Member> => {
  const text = options.config ?? config
  const contents = options.layers ?? layers
  return [
    { name: `${sha256(text)}.json`, content: text },
    ...contents.map((content, index) => ({ name: `${index}/layer.tar`, content })),
    json("manifest.json", [{
      Config: `${sha256(text)}.json`,
      RepoTags: options.tags === undefined ? ["app:1"] : options.tags,
      Layers: contents.map((_, index) => `${index}/layer.tar`)
    }])
  ]
}

/** Returns the manifest of a tag, with all content that it refers to. */
const readAll = Effect.fnUntraced(function*(archive: DockerArchive.DockerArchive, name = "1") {
  const { bytes, descriptor } = yield* archive.getManifest(app, tag(name))
  const manifest = Result.getOrThrow(Manifest.decode(descriptor.mediaType, bytes))
  assert(manifest._tag === "Image")
  const read = ({ digest }: { readonly digest: Digest.Digest }) =>
    Effect.scoped(Effect.flatMap(archive.getBlob(app, digest), ({ stream }) => Stream.mkUint8Array(stream)))
  return {
    manifest: manifest.content,
    config: new TextDecoder().decode(yield* read(manifest.content.config)),
    layers: yield* Effect.forEach(manifest.content.layers, read)
  }
})

describe("DockerArchive", () => {
  it.effect("creates an OCI manifest of the unchanged config and layers", () =>
    Effect.gen(function*() {
      const all = yield* readAll(yield* open(...saved()))
      assert.deepStrictEqual(all.manifest.config.mediaType, MediaType.imageConfig)
      assert.deepStrictEqual(all.manifest.layers.map(({ mediaType }) => mediaType), [
        MediaType.imageLayer,
        MediaType.imageLayer
      ])
      assert.deepStrictEqual(all.manifest.layers.map(({ digest }) => digest), diffIds)
      assert.deepStrictEqual([all.config, all.layers], [config, layers])
    }).pipe(withNode))

  it.effect("gives the same image the same digest, whatever the names of its files", () =>
    Effect.gen(function*() {
      const renamed = [
        { name: "other", content: config },
        { name: "f/a", content: layers[0] ?? "" },
        { name: "f/b", content: layers[1] ?? "" },
        { name: "g/layer.tar", type: "2", link: "../f/b" },
        json("manifest.json", [{ Config: "other", RepoTags: null, Layers: ["f/a", "g/layer.tar"] }])
      ]
      const digests = yield* Effect.forEach([saved(), renamed], (members) =>
        Effect.map(open(...members), ({ images }) => images.map(({ descriptor }) => descriptor.digest)))
      assert.deepStrictEqual(digests[0], digests[1])
      assert.deepStrictEqual(digests[0], ["sha256:67b3b448c93aaf27fe97eed5b96b9482bfce6db4d6f2543479da2010a7df625a"])
    }).pipe(withNode))

  it.effect("keeps compressed layers compressed", () =>
    Effect.gen(function*() {
      const zipped = layers.map((layer) => new Uint8Array(Zlib.gzipSync(layer)))
      const all = yield* readAll(yield* open(...saved({ layers: zipped })))
      assert.deepStrictEqual(all.layers, zipped)
      assert.deepStrictEqual(all.manifest.layers.map(({ mediaType }) => mediaType), [
        MediaType.imageLayerGzip,
        MediaType.imageLayerGzip
      ])
    }).pipe(withNode))

  it.effect("detects zstd by its first bytes", () =>
    Effect.gen(function*() {
      const zstd = new Uint8Array([0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3])
      const [layer = new Uint8Array()] = layers
      const all = yield* readAll(yield* open(...saved({ layers: [layer, zstd] })))
      assert.strictEqual(all.manifest.layers[1]?.mediaType, "application/vnd.oci.image.layer.v1.tar+zstd")
      assert.deepStrictEqual(all.layers, [layer, zstd])
    }).pipe(withNode))

  it.effect("verifies the digests of layers in a config when they are read", () =>
    Effect.gen(function*() {
      const archive = yield* open(...saved({ layers: [...layers].reverse() }))
      const error = yield* Effect.flip(readAll(archive))
      assert.strictEqual("reason" in error ? error.reason._tag : undefined, "DigestMismatch")
    }).pipe(withNode))

  describe("names images", () => {
    const names: ReadonlyArray<readonly [name: string, repository: string, tag: string]> = [
      ["app:1", "app", "1"],
      ["docker.io/library/app:1", "app", "1"],
      ["library/app:1", "app", "1"],
      ["docker.io/team/app:1", "team/app", "1"],
      ["localhost:5000/team/app:1.0", "team/app", "1.0"]
    ]
    it.effect.each(names)("as docker does: %s", ([name, repositoryName, tagName]) =>
      Effect.gen(function*() {
        const archive = yield* open(...saved({ tags: [name] }))
        const [image] = archive.images
        assert.deepStrictEqual(image?.names, [{ repository: repository(repositoryName), tag: tag(tagName), name }])
        assert.deepStrictEqual(yield* Stream.runCollect(archive.repositories()), [repository(repositoryName)])
        const found = yield* archive.resolveManifest(repository(repositoryName), tag(tagName))
        assert.strictEqual(found.digest, image?.descriptor.digest)
      }).pipe(withNode))

    it.effect("by all of their names, and by no other", () =>
      Effect.gen(function*() {
        const archive = yield* open(...saved({ tags: ["app:1", "app:2", "other:1", "not a name", "app"] }))
        assert.deepStrictEqual(yield* Stream.runCollect(archive.tags(app)), ["1", "2"].map(tag))
        assert.deepStrictEqual(yield* Stream.runCollect(archive.tags(repository("library/app"))), ["1", "2"].map(tag))
        assert.deepStrictEqual(yield* Stream.runCollect(archive.tags(repository("other"))), [tag("1")])
        const error = yield* Effect.flip(archive.resolveManifest(repository("third"), tag("1")))
        assert.strictEqual(error.reason._tag, "NameUnknown")
      }).pipe(withNode))

    it.effect("without a name by digest, in any repository", () =>
      Effect.gen(function*() {
        const archive = yield* open(...saved({ tags: null }))
        const digest = archive.images[0]?.descriptor.digest
        assert(digest !== undefined)
        assert.strictEqual((yield* archive.resolveManifest(repository("any"), digest)).digest, digest)
        assert.deepStrictEqual(yield* Stream.runCollect(archive.repositories()), [])
      }).pipe(withNode))
  })

  it.effect("has several images", () =>
    Effect.gen(function*() {
      const other = config.replace("amd64", "arm64")
      const archive = yield* open(
        { name: "a.json", content: config },
        { name: "b.json", content: other },
        { name: "0", content: layers[0] ?? "" },
        { name: "1", content: layers[1] ?? "" },
        json("manifest.json", [
          { Config: "a.json", RepoTags: ["app:a"], Layers: ["0", "1"] },
          { Config: "b.json", RepoTags: ["app:b"], Layers: ["0", "1"] }
        ])
      )
      assert.strictEqual((yield* readAll(archive, "a")).config, config)
      assert.strictEqual((yield* readAll(archive, "b")).config, other)
    }).pipe(withNode))

  it.effect("reads the layout of newer versions of docker, with its own manifests", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const file = Path.join(folder, "saved.tar")
      const { index } = yield* OciArchive.update({ file }, (registry) => pushSample(registry, app, [tag("1")]))
      ChildProcess.execFileSync("tar", ["-C", folder, "-xf", file])
      const text = Fs.readFileSync(Path.join(folder, "index.json"), "utf8")
      const name = `"io.containerd.image.name":"docker.io/library/app:1",`
      Fs.writeFileSync(
        Path.join(folder, "index.json"),
        text.replace(`"org.opencontainers.image.ref.name"`, `${name}"org.opencontainers.image.ref.name"`)
      )
      Fs.writeFileSync(Path.join(folder, "manifest.json"), "[]")
      const members = ["oci-layout", "index.json", "manifest.json", "blobs"]
      ChildProcess.execFileSync("tar", ["-C", folder, "-cf", file, ...members])
      const archive = yield* DockerArchive.make({ file })
      assert.deepStrictEqual(archive.images.map(({ names }) => names.length), [1, 0, 0])
      assert.strictEqual((yield* archive.resolveManifest(app, tag("1"))).digest, index.digest)
      const { root } = yield* Copy.copyManifest({
        source: { registry: archive, repository: app, tag: tag("1") },
        destination: { registry: yield* MemoryRegistry.make(), repository: app }
      })
      assert.strictEqual(root.digest, index.digest)
    }).pipe(withNode))

  it.effect("is read-only", () =>
    Effect.gen(function*() {
      const archive = yield* open(...saved())
      const error = yield* Effect.flip(archive.deleteTag(app, tag("1")))
      assert.strictEqual(error.reason._tag, "Unsupported")
    }).pipe(withNode))

  describe("refuses a broken archive:", () => {
    const without = (name: RegExp) => saved().filter((member) => !name.test(member.name))
    const table: ReadonlyArray<readonly [what: string, members: ReadonlyArray<Member>, says: string]> = [
      ["no manifest.json", without(/manifest/), "manifest.json: it is missing"],
      ["a manifest.json that is no JSON", [{ name: "manifest.json", content: "[" }], "manifest.json: "],
      ["a manifest.json that is no list", [{ name: "manifest.json", content: "{}" }], "manifest.json: "],
      ["no config", without(/json$/).concat(json("manifest.json", [{ Config: "c" }])), "c: it is missing"],
      ["a config without layers", saved({ config: "{}" }), "rootfs"],
      ["a config of other layers", saved({ layers: [] }), "it lists 2 layers, but the archive has 0"],
      ["no layer", without(/^1\//), "1/layer.tar: it is missing"],
      [
        "a layer with a compression that layers do not have",
        saved({ layers: [layers[0] ?? new Uint8Array(), new Uint8Array(Buffer.from("BZh91AY"))] }),
        "1/layer.tar: it is compressed with bzip2, for which layers have no media type"
      ],
      [
        "a layer that leads out of the archive",
        [...without(/^1\//), { name: "1/layer.tar", type: "2", link: "../../x" }],
        "leads out"
      ],
      [
        "an invalid digest",
        saved({ config: config.replace(/sha256:./, "sha256:X") }),
        "lower-case hexadecimal"
      ]
    ]
    it.effect.each(table)("%s", ([, members, says]) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(open(...members))
        assert.strictEqual(error.reason._tag, "Storage")
        assert.include(error.message, says)
      }).pipe(withNode))
  })

  const skopeo = "skopeo"
  it.effect.skipIf(!has(skopeo))(
    "reads an archive of skopeo, with the original digests",
    () =>
      Effect.gen(function*() {
        const folder = yield* temporaryFolder
        const file = Path.join(folder, "saved.tar")
        Fs.writeFileSync(file, tar(...saved()))
        const run = (...args: ReadonlyArray<string>) => ChildProcess.execFileSync(skopeo, args, { cwd: folder })
        run("copy", "docker-archive:saved.tar:app:1", "docker-archive:again.tar:app:2")
        const [before, after] = yield* Effect.forEach(
          ["saved.tar", "again.tar"],
          (name) => DockerArchive.make({ file: Path.join(folder, name) })
        )
        assert.deepStrictEqual(
          after?.images.map(({ descriptor }) => descriptor),
          before?.images.map(({ descriptor }) => descriptor)
        )
        assert.deepStrictEqual(yield* Stream.runCollect(after?.tags(app) ?? Stream.empty), [tag("2")])
      }).pipe(withNode)
  )
})
