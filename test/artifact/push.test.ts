import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Result, Stream } from "effect"
import * as Artifact from "effect-oci/Artifact"
import * as BlobSource from "effect-oci/BlobSource"
import * as Manifest from "effect-oci/Manifest"
import type { Registry } from "effect-oci/Registry"
import { Images } from "effect-oci/testing"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { gunzipSync } from "node:zlib"
import * as Artifacts from "../utils/artifacts.ts"
import { bytesOf } from "../utils/images.ts"

const { app, reference, within, write } = Artifacts

const one = Images.tag("1")

const manifestAt = Effect.fnUntraced(function*(registry: Registry, tag = one) {
  const { bytes, descriptor } = yield* registry.getManifest(app, tag)
  const manifest = Result.getOrThrow(Manifest.decode(descriptor.mediaType, bytes))
  if (manifest._tag !== "Image") return yield* Effect.die("no image")
  return manifest.content
})

const blob = (registry: Registry, digest: Parameters<Registry["getBlob"]>[1]) =>
  registry.getBlob(app, digest).pipe(
    Effect.flatMap(({ stream }) => Stream.mkUint8Array(stream)),
    Effect.scoped
  )

const sha256 = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`

const reasonOf = (error: { readonly _tag: string }): string =>
  error._tag === "ArtifactError" && "reason" in error ? (error.reason as { readonly _tag: string })._tag : error._tag

describe("Artifact.push", () => {
  it.effect("pushes a file with its name as the title", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        write(folder, { "sbom.json": "{}" })
        const report = yield* Artifact.push({
          destination: reference,
          artifactType: "application/spdx+json",
          files: [{ path: Path.join(folder, "sbom.json"), mediaType: "application/json" }],
          annotations: { "org.example.team": "a" }
        })
        const { annotations, artifactType, config, layers } = yield* manifestAt(registry)
        assert.strictEqual(artifactType, "application/spdx+json")
        assert.deepStrictEqual(annotations, { "org.example.team": "a" })
        assert.strictEqual(config.mediaType, "application/vnd.oci.empty.v1+json")
        assert.deepStrictEqual(
          layers.map(({ annotations, mediaType, size }) => ({ annotations, mediaType, size })),
          [{ mediaType: "application/json", size: 2, annotations: { "org.opencontainers.image.title": "sbom.json" } }]
        )
        assert.strictEqual(report.files[0]?.name, "sbom.json")
        assert.strictEqual(report.reference, `mem.local/app@${report.descriptor.digest}`)
      })
    ))

  it.effect("pushes bytes, and a stream that is read once", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        yield* Artifact.push({
          destination: reference,
          files: [
            { name: "a.txt", source: BlobSource.fromBytes(bytesOf("aaa")) },
            { name: "b.txt", source: BlobSource.fromStream(3, Stream.make(bytesOf("b"), bytesOf("bb"))) }
          ]
        })
        const { artifactType, layers } = yield* manifestAt(registry)
        const contents = yield* Effect.forEach(layers, ({ digest }) => blob(registry, digest))
        assert.deepStrictEqual(contents.map((bytes) => new TextDecoder().decode(bytes)), ["aaa", "bbb"])
        assert.strictEqual(artifactType, "application/vnd.unknown.artifact.v1")
      })
    ))

  it.effect("pushes a config of its own, without a title", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        write(folder, { "config.json": "{\"a\":1}" })
        yield* Artifact.push({
          destination: reference,
          config: { path: Path.join(folder, "config.json"), mediaType: "application/vnd.example.config+json" }
        })
        const { artifactType, config } = yield* manifestAt(registry)
        assert.strictEqual(config.mediaType, "application/vnd.example.config+json")
        assert.isUndefined(config.annotations)
        assert.isUndefined(artifactType)
      })
    ))

  it.effect("archives a folder in the form of oras, the same on every call", () =>
    within(({ folder, registry }) =>
      Effect.gen(function*() {
        write(folder, { "data/b.txt": "b", "data/a/x.sh": "x" })
        Fs.chmodSync(Path.join(folder, "data/a/x.sh"), 0o750)
        Fs.symlinkSync("a/x.sh", Path.join(folder, "data/link"))
        const push = Artifact.push({ destination: reference, files: [{ path: Path.join(folder, "data") }] })
        const { descriptor: first } = yield* push
        Fs.utimesSync(Path.join(folder, "data/b.txt"), 1, 1)
        Fs.chmodSync(Path.join(folder, "data/b.txt"), 0o600)
        const { descriptor: second } = yield* push
        assert.strictEqual(first.digest, second.digest)

        const [layer] = (yield* manifestAt(registry)).layers
        if (layer === undefined) return assert.fail("no layer")
        const archive = yield* blob(registry, layer.digest)
        const tar = gunzipSync(archive)
        assert.deepStrictEqual(layer.annotations, {
          "io.deis.oras.content.digest": sha256(tar),
          "io.deis.oras.content.unpack": "true",
          "org.opencontainers.image.title": "data"
        })
        assert.strictEqual(layer.mediaType, "application/vnd.oci.image.layer.v1.tar+gzip")
        // neither a time nor the operating system
        assert.deepStrictEqual(Array.from(archive.subarray(4, 10)), [0, 0, 0, 0, 0, 0xff])
        const names = [0, 512, 1024].map((offset) => tar.subarray(offset, offset + 100).toString().replaceAll("\0", ""))
        assert.deepStrictEqual(names, ["data/", "data/a/", "data/a/x.sh"])
      })
    ))

  it.effect("keeps times and permissions of a folder on request", () =>
    within(({ folder }) =>
      Effect.gen(function*() {
        write(folder, { "data/a": "a" })
        const push = Artifact.push({
          destination: reference,
          files: [{ path: Path.join(folder, "data") }],
          metadata: "kept"
        })
        const { descriptor: first } = yield* push
        Fs.utimesSync(Path.join(folder, "data/a"), 1, 1)
        const { descriptor: second } = yield* push
        assert.notStrictEqual(first.digest, second.digest)
      })
    ))

  it.effect("does not send content again that the destination has", () =>
    within(({ folder }) =>
      Effect.gen(function*() {
        write(folder, { "a.txt": "aaaa", "b.txt": "bb" })
        const files = ["a.txt", "b.txt"].map((name) => ({ path: Path.join(folder, name), name }))
        yield* Artifact.push({ destination: reference, files: files.slice(0, 1) })
        const events = yield* Stream.runCollect(Artifact.pushEvents({ destination: reference, files }))
        const outcomes = events.flatMap((event) =>
          event._tag === "Settled" && event.entry.role === "blob" ? [event.entry.outcome] : []
        )
        assert.deepStrictEqual(outcomes.sort(), ["copied", "present", "present"])
        assert.strictEqual(events.at(-1)?._tag, "Done")
      })
    ))

  it.effect("names a file by the last part of its path if other programs would refuse the path", () =>
    within(({ folder }) =>
      Effect.gen(function*() {
        write(folder, { "in/a.txt": "a" })
        const path = Path.relative(process.cwd(), Path.join(folder, "in/a.txt"))
        const { files } = yield* Artifact.push({ destination: reference, files: [{ path }] })
        assert.strictEqual(files[0]?.name, "a.txt")
      })
    ))

  it.effect("refuses two files of one name, and names that are not safe to pull", () =>
    within(() =>
      Effect.gen(function*() {
        const named = (...names: ReadonlyArray<string>) =>
          Effect.flip(Artifact.push({
            destination: reference,
            files: names.map((name) => ({ name, source: BlobSource.fromBytes(bytesOf(name)) }))
          }))
        assert.strictEqual(reasonOf(yield* named("a", "a")), "DuplicateName")
        assert.strictEqual(reasonOf(yield* named("a", "A")), "DuplicateName")
        assert.strictEqual(reasonOf(yield* named("../a")), "UnsafeName")
        assert.strictEqual(reasonOf(yield* named("nul.txt")), "UnsafeName")
      })
    ))

  it.effect("refuses a link that leads out of its folder", () =>
    within(({ folder }) =>
      Effect.gen(function*() {
        write(folder, { "data/a": "a" })
        Fs.symlinkSync("/etc/passwd", Path.join(folder, "data/link"))
        const error = yield* Effect.flip(
          Artifact.push({ destination: reference, files: [{ path: Path.join(folder, "data") }] })
        )
        assert.include(error.message, "has an absolute target")
      })
    ))

  it.effect("fails with the error of a source, and pushes no manifest", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        let opened = 0
        const source = BlobSource.make(1, () =>
          opened++ === 0 ? Stream.make(bytesOf("a")) : Stream.fail("broken" as const))
        const error = yield* Effect.flip(Artifact.push({ destination: reference, files: [{ name: "a", source }] }))
        assert.strictEqual(error, "broken")
        assert.strictEqual((yield* Effect.flip(registry.resolveManifest(app, one))).reason._tag, "ManifestUnknown")
      })
    ))

  it.effect("fails if a file changes between its hash and its transfer", () =>
    within(() =>
      Effect.gen(function*() {
        let opened = 0
        const source = BlobSource.make(1, () => Stream.make(bytesOf(opened++ === 0 ? "a" : "b")))
        const error = yield* Effect.flip(Artifact.push({ destination: reference, files: [{ name: "a", source }] }))
        assert.include(error.message, "it changed while it was sent")
      })
    ))

  it.effect("fails if a file does not exist", () =>
    within(({ folder }) =>
      Effect.gen(function*() {
        const path = Path.join(folder, "absent")
        const error = yield* Effect.flip(Artifact.push({ destination: reference, files: [{ path }] }))
        assert.include(error.message, "there is no such file or folder")
      })
    ))

  it.effect("removes its temporary files", () =>
    within(({ folder }) =>
      Effect.gen(function*() {
        write(folder, { "data/a": "a" })
        const made: Array<string> = []
        const fs = yield* FileSystem.FileSystem
        const watched = FileSystem.FileSystem.of({
          ...fs,
          makeTempDirectoryScoped: (options) =>
            Effect.tap(fs.makeTempDirectoryScoped(options), (path) => Effect.sync(() => made.push(path)))
        })
        yield* Artifact.push({ destination: reference, files: [{ path: Path.join(folder, "data") }] }).pipe(
          Effect.provideService(FileSystem.FileSystem, watched)
        )
        assert.lengthOf(made, 1)
        assert.deepStrictEqual(made.filter((path) => Fs.existsSync(path)), [])
      })
    ))
})

describe("Artifact.attach", () => {
  it.effect("attaches an artifact to an image, which lists it among its referrers", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        const image = yield* Images.pushImage(registry, app, ["layer"], { tags: [one] })
        const { descriptor, subject } = yield* Artifact.attach({
          subject: reference,
          artifactType: "application/vnd.example.report",
          files: [{ name: "report.txt", source: BlobSource.fromBytes(bytesOf("fine")) }],
          annotations: { "org.example.result": "fine" }
        })
        const listed = yield* Stream.runCollect(registry.referrers(app, image.digest))
        assert.deepStrictEqual(
          listed.map(({ annotations, artifactType, digest }) => [digest, artifactType, annotations]),
          [
            [descriptor.digest, "application/vnd.example.report", { "org.example.result": "fine" }]
          ]
        )
        assert.strictEqual(subject?.digest, image.digest)
        assert.strictEqual((yield* registry.resolveManifest(app, one)).digest, image.digest)
      })
    ))

  it.effect("attaches to the image for a platform of an index", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        const { arm64 } = yield* Images.pushSample(registry, app, [one])
        const { subject } = yield* Artifact.attach({
          subject: reference,
          platform: { os: "linux", architecture: "arm64" },
          artifactType: "application/vnd.example.report"
        })
        assert.strictEqual(subject?.digest, arm64.digest)
      })
    ))

  it.effect("fails if the subject does not exist", () =>
    within(() =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Artifact.attach({ subject: reference, artifactType: "text/x-test" }))
        assert.strictEqual(error._tag === "RegistryError" ? error.reason._tag : error._tag, "NameUnknown")
      })
    ))
})
