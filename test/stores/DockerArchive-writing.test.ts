import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Copy from "effect-oci/Copy"
import * as Descriptor from "effect-oci/Descriptor"
import * as DockerArchive from "effect-oci/DockerArchive"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as OciArchive from "effect-oci/OciArchive"
import { Host } from "effect-oci/Reference"
import type { Registry } from "effect-oci/Registry"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import { pushImageOf } from "../utils/image-layers.ts"
import { bytesOf, pushImage, pushIndex, pushReferrer, pushSample, repository, tag } from "../utils/images.ts"
import { has, temporaryFolder } from "../utils/layouts.ts"
import { tar } from "../utils/tars.ts"

const app = repository("team/app")
const one = tag("1")

const withNode = Effect.provide(NodeServices.layer)

/** Unpacks an archive to a folder, and returns its path. */
const unpack = Effect.fnUntraced(function*(file: string) {
  const folder = yield* temporaryFolder
  ChildProcess.execFileSync("tar", ["-xf", file, "-C", folder])
  return folder
})

const read = (folder: string, name: string) => JSON.parse(Fs.readFileSync(Path.join(folder, name), "utf8"))

/** Writes an archive, and returns its path. */
const write = Effect.fnUntraced(function*<A, E>(
  use: (registry: Registry) => Effect.Effect<A, E>,
  options: DockerArchive.WriteOptions = {}
) {
  const file = Path.join(yield* temporaryFolder, "saved.tar")
  yield* DockerArchive.update({ ...options, file }, use)
  return file
})

describe("DockerArchive writes", () => {
  it.effect("an image as docker 25 saves it", () =>
    Effect.gen(function*() {
      const file = yield* write((registry) => pushImage(registry, app, ["one", "two"], { tags: [one] }))
      const folder = yield* unpack(file)
      assert.deepStrictEqual(read(folder, "oci-layout"), { imageLayoutVersion: "1.0.0" })
      const [entry] = read(folder, "index.json").manifests
      assert.deepStrictEqual(entry.annotations, {
        "org.opencontainers.image.ref.name": "1",
        "io.containerd.image.name": "docker.io/team/app:1"
      })
      const [image, ...others] = read(folder, "manifest.json")
      assert.deepStrictEqual([image.RepoTags, others], [["team/app:1"], []])
      assert.deepStrictEqual(
        image.Layers.map((path: string) => Fs.readFileSync(Path.join(folder, path), "utf8")),
        ["one", "two"]
      )
      assert.deepStrictEqual(read(folder, image.Config), { os: "linux", architecture: "amd64" })
    }).pipe(withNode))

  it.effect("names as docker shows them", () =>
    Effect.gen(function*() {
      const named = Effect.fnUntraced(function*(name: string, host?: string) {
        const use = (registry: Registry) => pushImage(registry, repository(name), ["one"], { tags: [one] })
        const folder = yield* unpack(yield* write(use, host === undefined ? {} : { host: Host.make(host) }))
        return [
          read(folder, "manifest.json")[0].RepoTags[0],
          read(folder, "index.json").manifests[0].annotations["io.containerd.image.name"]
        ]
      })
      assert.deepStrictEqual(yield* named("alpine"), ["alpine:1", "docker.io/library/alpine:1"])
      assert.deepStrictEqual(yield* named("library/alpine"), ["alpine:1", "docker.io/library/alpine:1"])
      assert.deepStrictEqual(yield* named("team/app", "ghcr.io"), ["ghcr.io/team/app:1", "ghcr.io/team/app:1"])
    }).pipe(withNode))

  it.effect("several tags of an image as one image", () =>
    Effect.gen(function*() {
      const file = yield* write((registry) => pushImage(registry, app, ["one"], { tags: [one, tag("2")] }))
      const folder = yield* unpack(file)
      assert.deepStrictEqual(read(folder, "manifest.json").map(({ RepoTags }: { RepoTags: unknown }) => RepoTags), [
        ["team/app:1", "team/app:2"]
      ])
      assert.lengthOf(read(folder, "index.json").manifests, 2)
    }).pipe(withNode))

  it.effect("an image without a tag without a name", () =>
    Effect.gen(function*() {
      const folder = yield* unpack(yield* write((registry) => pushImage(registry, app, ["one"])))
      assert.isNull(read(folder, "manifest.json")[0].RepoTags)
    }).pipe(withNode))

  it.effect("the image that a name was moved to", () =>
    Effect.gen(function*() {
      const file = yield* write((registry) =>
        Effect.andThen(
          pushImage(registry, app, ["old"], { tags: [one] }),
          pushImage(registry, app, ["new"], { tags: [one] })
        )
      )
      const images: ReadonlyArray<{ RepoTags: unknown }> = read(yield* unpack(file), "manifest.json")
      assert.deepStrictEqual(images.map(({ RepoTags }) => RepoTags), [null, ["team/app:1"]])
    }).pipe(withNode))

  it.effect("an index with all platforms and referrers, represented by one of its images", () =>
    Effect.gen(function*() {
      const source = yield* MemoryRegistry.make()
      const sample = yield* pushSample(source, app, [one])
      const copied = (platform?: string) =>
        write(
          (registry) =>
            Copy.copyManifest({
              source: { registry: source, repository: app, tag: one },
              destination: { registry, repository: app, tag: one }
            }),
          platform === undefined ? {} : { platform: { os: "linux", architecture: platform } }
        )
      const file = yield* copied("arm64")
      const folder = yield* unpack(file)
      const images = read(folder, "manifest.json")
      assert.lengthOf(images, 1)
      assert.deepStrictEqual(images[0].RepoTags, ["team/app:1"])
      assert.strictEqual(read(folder, images[0].Config).architecture, "arm64")
      const other = yield* unpack(yield* copied("riscv64"))
      assert.strictEqual(read(other, read(other, "manifest.json")[0].Config).architecture, "amd64")

      const archive = yield* DockerArchive.make({ file })
      assert.strictEqual((yield* archive.resolveManifest(app, one)).digest, sample.index.digest)
      const referrers = yield* Stream.runCollect(archive.referrers(app, sample.index.digest))
      assert.deepStrictEqual(referrers.map(({ digest }) => digest), [sample.onIndex.digest])
      for (const { digest } of [sample.amd64, sample.arm64, sample.onChild]) {
        assert.strictEqual((yield* archive.getManifest(app, digest)).descriptor.digest, digest)
      }
    }).pipe(withNode))

  it.effect("no image into manifest.json for an artifact", () =>
    Effect.gen(function*() {
      const file = yield* write(Effect.fnUntraced(function*(registry) {
        const image = yield* pushImage(registry, app, ["one"])
        yield* pushReferrer(registry, app, image, "about")
        yield* pushIndex(registry, app, [], { tags: [tag("empty")] })
      }))
      const folder = yield* unpack(file)
      assert.lengthOf(read(folder, "manifest.json"), 1)
      assert.lengthOf(read(folder, "index.json").manifests, 3)
    }).pipe(withNode))

  it.effect("each blob once, also if it is pushed several times at once", () =>
    Effect.gen(function*() {
      const bytes = bytesOf("blob")
      const descriptor = yield* Descriptor.fromBytes(bytes)
      const file = yield* write((registry) =>
        Effect.andThen(
          Effect.forEach(
            [1, 2, 3],
            () => registry.pushBlob(app, descriptor, BlobSource.fromBytes(bytes)),
            { concurrency: 3 }
          ),
          pushImage(registry, app, ["blob"], { tags: [one] })
        )
      )
      const names = ChildProcess.execFileSync("tar", ["-tf", file], { encoding: "utf8" }).split("\n")
      assert.lengthOf(names.filter((name) => name.includes(descriptor.digest.slice(7))), 1)
    }).pipe(withNode))

  it.effect("digests of sha512", () =>
    Effect.gen(function*() {
      const bytes = bytesOf("long")
      const layer = yield* Descriptor.fromBytes(bytes, { algorithm: "sha512", mediaType: MediaType.imageLayer })
      const file = yield* write(Effect.fnUntraced(function*(registry) {
        yield* registry.pushBlob(app, layer, BlobSource.fromBytes(bytes))
        const config = yield* Descriptor.fromBytes(bytesOf("{}"), { mediaType: MediaType.imageConfig })
        yield* registry.pushBlob(app, config, BlobSource.fromBytes(bytesOf("{}")))
        const manifest = { schemaVersion: 2, mediaType: MediaType.imageManifest, config, layers: [layer] }
        yield* registry.pushManifest(app, { mediaType: MediaType.imageManifest, bytes: bytesOf(manifest) }, [one])
      }))
      const folder = yield* unpack(file)
      assert.strictEqual(Fs.readFileSync(Path.join(folder, read(folder, "manifest.json")[0].Layers[0]), "utf8"), "long")
    }).pipe(withNode))

  it.effect.skipIf(!has("skopeo"))("what skopeo reads", () =>
    Effect.gen(function*() {
      const layers = [tar({ name: "a", content: "one" }), Zlib.gzipSync(tar({ name: "b", content: "two" }))] as const
      const file = yield* write(Effect.fnUntraced(function*(registry) {
        const image = yield* pushImageOf(registry, [[layers[0]], [layers[1], Zlib.gunzipSync(layers[1])]])
        yield* pushIndex(registry, app, [{ ...image, platform: { os: "linux", architecture: "amd64" } }], {
          tags: [one]
        })
        yield* pushReferrer(registry, app, image, "about")
      }))
      const folder = yield* temporaryFolder
      for (const [index, name] of ["", ":team/app:1"].entries()) {
        const copy = Path.join(folder, String(index))
        ChildProcess.execFileSync("skopeo", ["copy", "-q", `docker-archive:${file}${name}`, `dir:${copy}`])
        const { layers: copied } = read(copy, "manifest.json")
        assert.lengthOf(copied, 2)
      }
    }).pipe(withNode))
})

describe("An archive in a file", () => {
  const content = (file: string) =>
    Effect.scoped(
      Effect.map(DockerArchive.make({ file }), ({ images }) =>
        images.flatMap(({ names }) => names.map(({ name }) => name)).sort())
    )

  it.effect("keeps its content when more is added", () =>
    Effect.gen(function*() {
      const file = yield* write((registry) => pushSample(registry, app, [one]), { host: Host.make("ghcr.io") })
      yield* DockerArchive.update(
        { file },
        (registry) => pushImage(registry, repository("alpine"), ["other"], { tags: [tag("3")] })
      )
      assert.deepStrictEqual(yield* content(file), ["docker.io/library/alpine:3", "ghcr.io/team/app:1"])
      const archive = yield* DockerArchive.make({ file })
      const { bytes } = yield* archive.getManifest(app, one)
      assert.lengthOf(JSON.parse(new TextDecoder().decode(bytes)).manifests, 2)
    }).pipe(withNode))

  it.effect("of an older docker gets the form of docker 25 when more is added", () =>
    Effect.gen(function*() {
      const file = Path.join(yield* temporaryFolder, "saved.tar")
      const config = JSON.stringify({ rootfs: { diff_ids: [] } })
      const manifests = [{ Config: "config.json", RepoTags: ["old:1"], Layers: [] }]
      Fs.writeFileSync(
        file,
        tar({ name: "config.json", content: config }, { name: "manifest.json", content: JSON.stringify(manifests) })
      )
      yield* DockerArchive.update({ file }, (registry) => pushImage(registry, app, ["new"], { tags: [one] }))
      assert.deepStrictEqual(yield* content(file), ["docker.io/library/old:1", "docker.io/team/app:1"])
      const folder = yield* unpack(file)
      assert.deepStrictEqual(
        read(folder, "manifest.json").map(({ RepoTags }: { RepoTags: unknown }) => RepoTags),
        [["old:1"], ["team/app:1"]]
      )
    }).pipe(withNode))

  it.effect("is not written again if nothing has changed", () =>
    Effect.gen(function*() {
      const push = (registry: Registry) => pushImage(registry, app, ["one"], { tags: [one] })
      const file = yield* write(push)
      const before = Fs.statSync(file)
      yield* DockerArchive.update({ file }, push)
      assert.strictEqual(Fs.statSync(file).ino, before.ino)
    }).pipe(withNode))

  it.effect("stays as it was if the update fails or is interrupted, and nothing is left beside it", () =>
    Effect.gen(function*() {
      const file = yield* write((registry) => pushImage(registry, app, ["one"], { tags: [one] }))
      const before = Fs.readFileSync(file)
      const push = (registry: Registry) => pushImage(registry, app, ["two"], { tags: [one] })
      yield* Effect.flip(
        DockerArchive.update({ file }, (registry) => Effect.andThen(push(registry), Effect.fail("stop")))
      )
      const reached = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        DockerArchive.update(
          { file },
          (registry) =>
            push(registry).pipe(Effect.andThen(Deferred.succeed(reached, undefined)), Effect.andThen(Effect.never))
        )
      )
      yield* Deferred.await(reached)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(Fs.readFileSync(file), before)
      assert.deepStrictEqual(Fs.readdirSync(Path.dirname(file)), ["saved.tar"])
    }).pipe(withNode))

  it.effect("has nothing of a blob that failed", () =>
    Effect.gen(function*() {
      const bytes = new Uint8Array(300_000).fill(1)
      const good = yield* Descriptor.fromBytes(bytes)
      const failing = BlobSource.make(bytes.length, () =>
        Stream.concat(Stream.succeed(bytes.subarray(0, 200_000)), Stream.fail("broken off" as const)))
      const file = yield* write(Effect.fnUntraced(function*(registry) {
        assert.strictEqual(yield* Effect.flip(registry.pushBlob(app, good, failing)), "broken off")
        const wrong = BlobSource.fromBytes(new Uint8Array(300_000).fill(2))
        assert.propertyVal(yield* Effect.flip(registry.pushBlob(app, good, wrong)), "_tag", "RegistryError")
        yield* registry.pushBlob(app, good, BlobSource.fromBytes(bytes))
        yield* pushImage(registry, app, [bytes], { tags: [one] })
      }))
      const folder = yield* unpack(file)
      assert.deepStrictEqual(
        new Uint8Array(Fs.readFileSync(Path.join(folder, read(folder, "manifest.json")[0].Layers[0]))),
        bytes
      )
    }).pipe(withNode))
})

describe("An archive that is written to a stream", () => {
  const collect = () => {
    const chunks: Array<Uint8Array> = []
    return {
      write: (bytes: Uint8Array) => Effect.sync(() => void chunks.push(bytes.slice())),
      bytes: () => Buffer.concat(chunks)
    }
  }

  it.effect("is the same as one in a file", () =>
    Effect.gen(function*() {
      const push = (registry: Registry) => pushSample(registry, app, [one])
      const { bytes, write: writeBytes } = collect()
      yield* DockerArchive.writeTo({ write: writeBytes }, push)
      assert.deepStrictEqual(bytes(), Fs.readFileSync(yield* write(push)))
    }).pipe(withNode))

  it.effect("has an image layout as an oci-archive", () =>
    Effect.gen(function*() {
      const { bytes, write } = collect()
      const { index } = yield* OciArchive.writeTo({ write }, (registry) => pushSample(registry, app, [one]))
      const file = Path.join(yield* temporaryFolder, "image.tar")
      Fs.writeFileSync(file, bytes())
      const archive = yield* OciArchive.make({ file })
      assert.strictEqual((yield* archive.resolveManifest(app, one)).digest, index.digest)
      assert.lengthOf(yield* archive.roots(app), 3)
    }).pipe(withNode))

  it.effect("fails for good after a blob failed in the middle", () =>
    Effect.gen(function*() {
      const bytes = new Uint8Array(300_000).fill(1)
      const blob = yield* Descriptor.fromBytes(bytes)
      const failing = BlobSource.make(bytes.length, () =>
        Stream.concat(Stream.succeed(bytes.subarray(0, 200_000)), Stream.fail("broken off" as const)))
      const error = yield* Effect.flip(
        OciArchive.writeTo({ write: collect().write }, (registry) =>
          Effect.andThen(
            Effect.ignore(registry.pushBlob(app, blob, failing)),
            registry.pushBlob(app, blob, BlobSource.fromBytes(bytes))
          ))
      )
      assert.include(error.message, "it is incomplete")
    }))
})
