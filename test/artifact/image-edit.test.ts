import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Stream } from "effect"
import * as Image from "effect-oci/Image"
import * as ImageEdit from "effect-oci/ImageEdit"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import type { Registry } from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"
import * as Validation from "effect-oci/Validation"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import { write } from "../utils/artifacts.ts"
import { app, diffIdOf, layer, pushImageOf } from "../utils/image-layers.ts"
import { pushIndex, repository, tag } from "../utils/images.ts"
import { has, temporaryFolder } from "../utils/layouts.ts"
import { recorded } from "../utils/registries.ts"
import * as Served from "../utils/Served.ts"

const one = layer({ name: "etc/motd", content: "one" })
const two = layer({ name: "app/run", content: "two" })

const source = "a.test/app:1"
const destination = "a.test/made:1"
const made = repository("made")

/** Runs an effect with a registry at `a.test`, and another one at `b.test`. */
const withRegistries = (registry: Registry, other: Registry = registry) =>
  Effect.provide([
    Namespace.layer.pipe(Layer.provide(Resolver.layerStatic({ "a.test": registry, "b.test": other }))),
    NodeServices.layer
  ])

const history = [{ created_by: "base" }, { created_by: "CMD", empty_layer: true }]

/** Pushes a base, runs an edit of it, and returns the image that was made. */
const edited = Effect.fnUntraced(function*(
  options: Omit<ImageEdit.EditOptions, "source" | "destination">,
  config: object = {},
  types?: Parameters<typeof pushImageOf>[3]
) {
  const registry = yield* MemoryRegistry.make()
  const base = yield* pushImageOf(registry, [[one]], config, types)
  return yield* Effect.gen(function*() {
    yield* ImageEdit.edit({ ...options, source, destination })
    const report = yield* Validation.validate(destination)
    assert.deepStrictEqual(report.problems, [])
    return { base, image: yield* Image.open(destination) }
  }).pipe(withRegistries(registry))
})

const text = (image: Image.Image, path: string) =>
  Effect.map(Image.readFile(image, path), (bytes) => new TextDecoder().decode(bytes))

/** Writes a file to a temporary folder, and returns its path. */
const file = Effect.fnUntraced(function*(name: string, content: Uint8Array) {
  const path = Path.join(yield* temporaryFolder, name)
  Fs.writeFileSync(path, content)
  return path
})

const withNode = Effect.provide(NodeServices.layer)

describe("edit", () => {
  it.effect("adds the files of an archive", () =>
    Effect.gen(function*() {
      const path = yield* file("layer.tar", two)
      const { image } = yield* edited({ layers: [{ path }] }, { history })
      assert.deepStrictEqual([yield* text(image, "etc/motd"), yield* text(image, "app/run")], ["one", "two"])
      assert.deepStrictEqual(image.layers.map(({ diffId }) => String(diffId)), [diffIdOf(one), diffIdOf(two)])
      assert.strictEqual(image.layers[1]?.descriptor.mediaType, MediaType.imageLayerGzip)
      assert.strictEqual(image.layers[1]?.history?.created_by, `effect-oci append ${path}`)
      assert.lengthOf(image.config.history ?? [], 3)
    }).pipe(withNode))

  it.effect.each<readonly [string, Uint8Array, string]>([
    ["gzip", Zlib.gzipSync(two), MediaType.imageLayerGzip],
    ["zstd", Zlib.zstdCompressSync(two), "application/vnd.oci.image.layer.v1.tar+zstd"]
  ])("keeps an archive that is compressed with %s", ([, bytes, mediaType]) =>
    Effect.gen(function*() {
      const { image } = yield* edited({ layers: [{ path: yield* file("layer", bytes) }] })
      const [, added] = image.layers
      assert.deepStrictEqual(
        [added?.descriptor.digest, added?.descriptor.mediaType, added?.diffId],
        [diffIdOf(bytes), mediaType, diffIdOf(two)]
      )
    }).pipe(withNode))

  it.effect("makes the same layer of the same folder, whatever its times, and keeps links", () =>
    Effect.gen(function*() {
      const digests: Array<unknown> = []
      for (const time of [1000, 2000]) {
        const folder = yield* temporaryFolder
        write(folder, { "b/run": "two", a: "a" })
        Fs.symlinkSync("/etc/motd", Path.join(folder, "motd"))
        Fs.utimesSync(Path.join(folder, "a"), time, time)
        const { image } = yield* edited({ layers: [{ path: folder, target: "/srv/app" }] })
        digests.push(image.layers[1]?.descriptor.digest)
        assert.deepStrictEqual([yield* text(image, "srv/app/b/run"), yield* text(image, "srv/app/motd")], [
          "two",
          "one"
        ])
      }
      assert.strictEqual(digests[0], digests[1])
    }).pipe(withNode))

  it.effect("refuses what is not an archive", () =>
    Effect.gen(function*() {
      for (
        const [bytes, says] of [
          ["x".repeat(1000), "it is not a readable tar archive"],
          [Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), "compressed with xz"],
          [Zlib.gzipSync(two).subarray(0, 30), "it is cut off"]
        ] as const
      ) {
        const path = yield* file("layer", Buffer.from(bytes))
        const error = yield* Effect.flip(edited({ layers: [{ path }] }))
        assert.include(String(error), says)
      }
    }).pipe(withNode))

  it.effect("changes the config, and keeps everything else in its place", () =>
    Effect.gen(function*() {
      const config = {
        author: "somewhere",
        config: {
          Env: ["PATH=/bin", "A=1", "B=2"],
          Cmd: ["sh"],
          Labels: { old: "1", kept: "2" },
          Healthcheck: { Test: ["NONE"] },
          ExposedPorts: { "80/tcp": {} }
        },
        "moby.buildkit": { deep: [1] }
      }
      const { base, image } = yield* edited({
        config: {
          labels: { old: undefined, new: "3" },
          env: { A: "changed", B: undefined, C: "=" },
          entrypoint: ["/app/run"],
          user: "1000:1000",
          workingDirectory: "/srv",
          exposedPorts: ["8080", "53/udp"],
          created: DateTime.makeUnsafe("2024-05-06T07:08:09.123Z")
        },
        annotations: { "org.example": "x" }
      }, config)
      const { config: run, ...rest } = image.config
      assert.deepStrictEqual(run as unknown, {
        Env: ["PATH=/bin", "A=changed", "C=="],
        Labels: { kept: "2", new: "3" },
        Healthcheck: { Test: ["NONE"] },
        ExposedPorts: { "80/tcp": {}, "8080/tcp": {}, "53/udp": {} },
        User: "1000:1000",
        Entrypoint: ["/app/run"],
        WorkingDir: "/srv"
      })
      assert.deepInclude(rest as unknown as object, { author: "somewhere", "moby.buildkit": { deep: [1] } })
      assert.strictEqual(rest.created, "2024-05-06T07:08:09Z")
      assert.deepStrictEqual(image.manifest.annotations, { "org.example": "x" })
      assert.notStrictEqual(image.descriptor.digest, base.digest)
      const keys = Object.keys(JSON.parse(new TextDecoder().decode(image.configBytes)))
      assert.deepStrictEqual(keys, ["os", "architecture", "rootfs", "author", "config", "moby.buildkit", "created"])
    }).pipe(withNode))

  it.effect("changes platform and command", () =>
    Effect.gen(function*() {
      const { image } = yield* edited({
        config: { platform: { os: "linux", architecture: "arm64", variant: "v8" }, cmd: ["a", "b"] }
      })
      const { architecture, config, os, variant } = image.config
      assert.deepStrictEqual([os, architecture, variant, config?.Cmd], ["linux", "arm64", "v8", ["a", "b"]])
    }).pipe(withNode))

  it.effect("makes an image for docker of an image for docker", () =>
    Effect.gen(function*() {
      const { image } = yield* edited({ layers: [{ path: yield* file("layer", two) }], baseAnnotations: "set" }, {}, {
        manifest: MediaType.dockerManifest,
        config: "application/vnd.docker.container.image.v1+json",
        layer: "application/vnd.docker.image.rootfs.diff.tar"
      })
      assert.strictEqual(image.descriptor.mediaType, MediaType.dockerManifest)
      assert.strictEqual(image.layers[1]?.descriptor.mediaType, "application/vnd.docker.image.rootfs.diff.tar.gzip")
      assert.isUndefined(image.manifest.annotations)
    }).pipe(withNode))

  it.effect("makes an image without a base", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const path = yield* file("layer", two)
      const image = yield* Effect.andThen(
        ImageEdit.edit({ destination, layers: [{ path }], config: { cmd: ["/app/run"] } }),
        Image.open(destination)
      ).pipe(withRegistries(registry))
      assert.deepStrictEqual([image.config.architecture, image.layers.length], ["amd64", 1])
    }).pipe(withNode))

  it.effect("mounts the layers of the base within a registry, and sends only what is new", () =>
    Effect.gen(function*() {
      const record = yield* recorded("a.test")
      yield* pushImageOf(record.registry, [[one]])
      record.forget()
      const report = yield* withRegistries(record.registry)(
        ImageEdit.edit({ source, destination, config: { user: "me" } })
      )
      assert.notInclude(record.calls.filter((call) => call.includes("getBlob")).join(), diffIdOf(one))
      assert.deepStrictEqual(
        report.entries.map(({ outcome }) => outcome).sort(),
        ["copied", "copied", "present"]
      )
    }).pipe(withNode))

  it.effect("copies the layers of the base between registries", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const other = yield* MemoryRegistry.make()
      yield* pushImageOf(registry, [[one]])
      const image = yield* Effect.andThen(
        ImageEdit.edit({ source, destination: "b.test/made:1", config: { user: "me" }, baseAnnotations: "set" }),
        Image.open("b.test/made:1")
      ).pipe(withRegistries(registry, other))
      assert.strictEqual(yield* text(image, "etc/motd"), "one")
      assert.strictEqual(image.manifest.annotations?.["org.opencontainers.image.base.name"], source)
      // neither the manifest nor the config of the base
      assert.lengthOf(yield* Stream.runCollect(other.tags(made)), 1)
    }).pipe(withNode))

  it.effect("changes all images of an index, or the one for a platform", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const platform = (architecture: string) => ({ os: "linux", architecture })
      const amd64 = yield* pushImageOf(registry, [[one]])
      const arm64 = yield* pushImageOf(registry, [[two]], { architecture: "arm64" })
      const attestation = yield* pushImageOf(registry, [], { architecture: "unknown" })
      yield* pushIndex(registry, app, [
        { ...amd64, platform: platform("amd64") },
        { ...arm64, platform: platform("arm64"), annotations: { "org.example": "arm" } },
        { ...attestation, platform: { os: "unknown", architecture: "unknown" } }
      ], { tags: [tag("1")] })
      yield* Effect.gen(function*() {
        const namespace = yield* Namespace.Namespace
        yield* ImageEdit.edit({ source, destination, config: { user: "me" }, annotations: { made: "yes" } })
        const { bytes } = yield* namespace.getManifest(destination)
        const index = JSON.parse(new TextDecoder().decode(bytes))
        assert.deepStrictEqual(
          index.manifests.map((
            child: { platform: unknown; annotations?: unknown }
          ) => [child.platform, child.annotations]),
          [[platform("amd64"), undefined], [platform("arm64"), { "org.example": "arm" }]]
        )
        assert.deepStrictEqual(index.annotations, { made: "yes" })
        for (const architecture of ["amd64", "arm64"]) {
          const image = yield* Image.open(destination, { platform: platform(architecture) })
          assert.deepStrictEqual([image.config.architecture, image.config.config?.User], [architecture, "me"])
        }
        assert.deepStrictEqual((yield* Validation.validate(destination)).problems, [])

        yield* ImageEdit.edit({ source, destination, platform: platform("arm64"), config: { user: "me" } })
        assert.strictEqual((yield* Image.open(destination)).config.architecture, "arm64")
      }).pipe(withRegistries(registry))
    }).pipe(withNode))

  it.effect("lists the image that replaces a nested index with the media type of an image", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const nested = yield* pushIndex(registry, app, [yield* pushImageOf(registry, [[one]])])
      yield* pushIndex(registry, app, [nested], { tags: [tag("1")] })
      yield* Effect.gen(function*() {
        const namespace = yield* Namespace.Namespace
        yield* ImageEdit.edit({ source, destination, config: { user: "me" } })
        const { bytes } = yield* namespace.getManifest(destination)
        const index = JSON.parse(new TextDecoder().decode(bytes))
        assert.strictEqual(index.manifests[0].mediaType, MediaType.imageManifest)
      }).pipe(withRegistries(registry))
    }).pipe(withNode))

  it.live.skipIf(!has("crane"))("makes images that crane validates", () =>
    Effect.gen(function*() {
      const { host, registry } = yield* Served.memory()
      yield* pushImageOf(registry, [[Zlib.gzipSync(one), one]], { history })
      const path = yield* file("layer", two)
      const options = { layers: [{ path }], config: { labels: { a: "b" } } }
      yield* ImageEdit.edit({
        ...options,
        source: { registry, repository: app, tag: tag("1") },
        destination: { registry, repository: made, tag: tag("1") }
      }).pipe(withRegistries(registry))
      const output = yield* Effect.callback<string>((resume) => {
        const args = ["validate", "--insecure", "--remote", `${host}/made:1`]
        ChildProcess.execFile("crane", args, (_, stdout, stderr) => resume(Effect.succeed(stdout + stderr)))
      })
      assert.include(output, "PASS")
    }).pipe(withNode))
})

describe("rebase", () => {
  const oldBase = layer({ name: "etc/version", content: "old" })
  const newBase = [layer({ name: "etc/version", content: "new" }), layer({ name: "etc/more", content: "more" })]

  /** Pushes two versions of a base, and an image on the first one. */
  const setUp = Effect.fnUntraced(function*(annotations: Readonly<Record<string, string>> = {}) {
    const registry = yield* MemoryRegistry.make()
    const old = yield* pushImageOf(registry, [[oldBase]], { history: [{ created_by: "old" }] })
    const run = withRegistries(registry)
    yield* run(ImageEdit.edit({
      source,
      destination: "a.test/made:old",
      layers: [{ path: yield* file("layer", two) }],
      config: { cmd: ["run"] },
      annotations
    }))
    const next = yield* pushImageOf(registry, newBase.map((bytes) => [bytes]), {
      architecture: "arm64",
      config: { Cmd: ["sh"] },
      history: [{ created_by: "new" }, { created_by: "more" }]
    })
    return { registry, run, old, next }
  })

  const check = Effect.fnUntraced(function*() {
    const image = yield* Image.open("a.test/made:new")
    assert.deepStrictEqual(
      yield* Effect.forEach(["etc/version", "etc/more", "app/run"], (path) => text(image, path)),
      ["new", "more", "two"]
    )
    assert.deepStrictEqual((yield* Validation.validate("a.test/made:new")).problems, [])
    return image
  })

  it.effect("exchanges the layers of the base, and keeps the config", () =>
    Effect.gen(function*() {
      const { next, old, run } = yield* setUp()
      const image = yield* run(Effect.andThen(
        ImageEdit.rebase({
          source: "a.test/made:old",
          destination: "a.test/made:new",
          oldBase: `a.test/app@${old.digest}`,
          newBase: "a.test/app:1"
        }),
        check()
      ))
      assert.deepStrictEqual([image.config.architecture, image.config.config?.Cmd], ["arm64", ["run"]])
      assert.deepStrictEqual(
        image.layers.map(({ history }) => history?.created_by?.replace(/ \/.*/, "")),
        ["new", "more", "effect-oci append"]
      )
      assert.deepStrictEqual(image.manifest.annotations, {
        "org.opencontainers.image.base.name": "a.test/app:1",
        "org.opencontainers.image.base.digest": next.digest
      })
    }).pipe(withNode))

  it.effect("finds the bases in the annotations", () =>
    Effect.gen(function*() {
      // the digest of the old base is always the same
      const { old } = yield* setUp()
      const named = yield* setUp({
        "org.opencontainers.image.base.name": "a.test/app:1",
        "org.opencontainers.image.base.digest": old.digest
      })
      yield* named.run(Effect.andThen(
        ImageEdit.rebase({ source: "a.test/made:old", destination: "a.test/made:new" }),
        check()
      ))
    }).pipe(withNode))

  it.effect("fails without bases, and if the image has another one", () =>
    Effect.gen(function*() {
      const { run } = yield* setUp()
      const rebased = (options: Partial<ImageEdit.RebaseOptions>) =>
        Effect.flip(run(ImageEdit.rebase({ source: "a.test/made:old", destination: "a.test/made:new", ...options })))
      assert.include(String((yield* rebased({})).message), "its new base is unknown")
      assert.include(String((yield* rebased({ newBase: "a.test/app:1" })).message), "its old base is unknown")
      const other = yield* rebased({ newBase: "a.test/app:1", oldBase: "a.test/app:1" })
      assert.include(String(other.message), "its layer 1 is not that of a.test/app:1")
    }).pipe(withNode))
})
