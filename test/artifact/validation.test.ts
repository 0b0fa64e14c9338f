import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import * as Decompressor from "effect-oci/Decompressor"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import { Denied, type Reason, RegistryError, Unsupported } from "effect-oci/RegistryError"
import * as Validation from "effect-oci/Validation"
import * as Fs from "node:fs"
import * as Zlib from "node:zlib"
import { app, diffIdOf, layer, pushImageOf, within } from "../utils/image-layers.ts"
import { pushBlob, pushIndex, pushManifest, pushReferrer, repository, tag } from "../utils/images.ts"
import { blobPath, temporaryFolder } from "../utils/layouts.ts"
import { override } from "../utils/registries.ts"

const one = layer({ name: "a", content: "one" })
const two = Zlib.gzipSync(layer({ name: "b", content: "two" }))
const layers = [[one], [two, Zlib.gunzipSync(two)]] as const

/** Makes a layout with an index of one image and a referrer, whose files can be damaged. */
const setUp = Effect.gen(function*() {
  const directory = yield* temporaryFolder
  const registry = yield* LayoutRegistry.make({ directory, form: "layout" })
  const image = yield* pushImageOf(registry, layers)
  const index = yield* pushIndex(registry, app, [image], { tags: [tag("1")] })
  const referrer = yield* pushReferrer(registry, app, index, "about")
  const pathOf = (digest: string) => blobPath(directory, digest)
  // a registry that knows nothing of what was damaged
  const validate = (options?: Validation.Options) =>
    Effect.flatMap(
      LayoutRegistry.make({ directory, form: "layout" }),
      (registry) => Validation.validateRegistry({ registry, repository: app, tag: tag("1") }, options)
    )
  return { registry, image, index, referrer, pathOf, validate }
})

const kinds = ({ problems }: Validation.Report) => problems.map(({ kind }) => kind)

const withNode = Effect.provide(NodeServices.layer)

describe("Validation", () => {
  it.effect("finds nothing wrong with an index, its image and its referrer, and reads everything once", () =>
    Effect.gen(function*() {
      const { validate } = yield* setUp
      const report = yield* validate()
      assert.deepStrictEqual(report.problems, [])
      // the config of the referrer is in its descriptor
      assert.deepStrictEqual([report.manifests, report.blobs, report.truncated], [3, 4, false])
      assert.isAbove(report.bytes, one.length + two.length)
      assert.deepStrictEqual(yield* Schema.encodeEffect(Validation.Report)(report), report)
    }).pipe(withNode))

  const digestOfLayer = diffIdOf(two)

  it.effect("reports a missing blob with the way to it", () =>
    Effect.gen(function*() {
      const { image, index, pathOf, validate } = yield* setUp
      Fs.rmSync(pathOf(digestOfLayer))
      const { problems } = yield* validate()
      assert.lengthOf(problems, 1)
      const { digest, kind, path, tag: name } = problems[0] ?? assert.fail("no problem")
      assert.deepStrictEqual([kind, digest, name, path], [
        "MissingBlob",
        digestOfLayer,
        "1",
        [index.digest, image.digest]
      ])
    }).pipe(withNode))

  it.effect("reports other content than the digest says, also if it cannot be unpacked", () =>
    Effect.gen(function*() {
      const { pathOf, validate } = yield* setUp
      const bytes = Fs.readFileSync(pathOf(digestOfLayer))
      Fs.writeFileSync(pathOf(digestOfLayer), Buffer.from(bytes).fill(0, 20, 40))
      assert.deepStrictEqual(kinds(yield* validate()), ["WrongDigest"])
      assert.deepStrictEqual(kinds(yield* validate({ layers: "digest" })), ["WrongDigest"])
    }).pipe(withNode))

  it.effect("reports another size than the descriptor says", () =>
    Effect.gen(function*() {
      const { pathOf, validate } = yield* setUp
      Fs.appendFileSync(pathOf(digestOfLayer), "x")
      const [kind] = kinds(yield* validate())
      assert.include(["WrongSize", "WrongDigest"], kind)
    }).pipe(withNode))

  it.effect("reports a missing child of an index, and a missing tag", () =>
    Effect.gen(function*() {
      const { image, pathOf, registry, validate } = yield* setUp
      Fs.rmSync(pathOf(image.digest))
      assert.deepStrictEqual(kinds(yield* validate()), ["MissingManifest"])
      const none = yield* Validation.validateRegistry({ registry, repository: app, tag: tag("none") })
      assert.deepStrictEqual(kinds(none), ["MissingManifest"])
    }).pipe(withNode))

  it.effect("reports a damaged manifest with a tag once, with its digest", () =>
    Effect.gen(function*() {
      const { index, pathOf, registry } = yield* setUp
      Fs.appendFileSync(pathOf(index.digest), " ")
      const { problems } = yield* Validation.validateRegistry({ registry, repository: app })
      const about = problems.filter(({ digest }) => digest === undefined || digest === index.digest)
      assert.deepStrictEqual(about.map(({ digest, tag }) => [digest, tag]), [[index.digest, "1"]])
    }).pipe(withNode))

  it.effect("does not take the config of another artifact for that of an image", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const config = yield* pushBlob(registry, app, "{}", "application/vnd.cncf.helm.config.v1+json")
      const chart = yield* pushBlob(registry, app, "chart", "application/vnd.cncf.helm.chart.content.v1.tar")
      yield* pushManifest(registry, app, { mediaType: MediaType.imageManifest, config, layers: [chart] }, [tag("1")])
      const { problems } = yield* Validation.validateRegistry({ registry, repository: app }, { layers: "digest" })
      assert.deepStrictEqual(problems, [])
      const unpacked = yield* Validation.validateRegistry({ registry, repository: app })
      assert.notInclude(kinds(unpacked), "LayerCount")
    }))

  it.effect("reports a damaged manifest", () =>
    Effect.gen(function*() {
      const { image, pathOf, referrer, registry, validate } = yield* setUp
      Fs.appendFileSync(pathOf(image.digest), " ")
      assert.lengthOf((yield* validate()).problems, 1)
      // a damaged manifest is not known as a referrer, but the layout lists it
      Fs.appendFileSync(pathOf(referrer.digest), " ")
      assert.lengthOf((yield* validate()).problems, 1)
      const whole = yield* Validation.validateRegistry({ registry, repository: app })
      assert.lengthOf(whole.problems, 2)
    }).pipe(withNode))

  /** Validates an image in memory. */
  const ofImage = Effect.fnUntraced(function*(
    layers: Parameters<typeof pushImageOf>[1],
    config: object = {},
    options: Validation.Options = {}
  ) {
    const registry = yield* MemoryRegistry.make()
    yield* pushImageOf(registry, layers, config)
    return yield* within(registry)(Validation.validate("a.test/app:1", options))
  })

  it.effect("reports a layer with another diff_id than the config says", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(kinds(yield* ofImage([[two, one]])), ["WrongDiffId"])
      assert.deepStrictEqual(kinds(yield* ofImage([[two, one]], {}, { layers: "digest" })), [])
    }))

  it.effect("reports a layer that cannot be unpacked", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(kinds(yield* ofImage([[two.subarray(0, 30), one]])), ["NotDecompressible"])
      const limited = Effect.provideService(ofImage([[two, Zlib.gunzipSync(two)]]), Decompressor.UnpackLimits, {
        size: 100,
        ratio: 100,
        ratioFrom: 100
      })
      assert.deepStrictEqual(kinds(yield* limited), ["NotDecompressible"])
    }))

  it.effect("reports a config that is not valid, or has another number of layers", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(kinds(yield* ofImage(layers, { rootfs: { diff_ids: [diffIdOf(one)] } })), ["LayerCount"])
      assert.deepStrictEqual(kinds(yield* ofImage(layers, { rootfs: { diff_ids: "none" } })), ["InvalidConfig"])
    }))

  it.effect("reports a manifest that cannot be decoded", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const broken = Registry.make({
        ...registry,
        getManifest: () =>
          Effect.succeed({
            descriptor: { mediaType: MediaType.imageManifest, digest: diffIdOf(one) as never, size: 2 },
            bytes: new TextEncoder().encode("{}")
          })
      })
      const report = yield* Validation.validateRegistry({ registry: broken, repository: app, tag: tag("1") })
      assert.deepStrictEqual(kinds(report), ["InvalidManifest"])
    }))

  it.effect("validates everything in a registry, and reads shared content once", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushImageOf(registry, layers)
      const other = repository("other")
      for (const bytes of [one, two]) yield* pushBlob(registry, other, bytes)
      const config = yield* pushBlob(
        registry,
        other,
        JSON.stringify({ rootfs: { diff_ids: [] } }),
        MediaType.imageConfig
      )
      const shared = { mediaType: MediaType.imageLayer, digest: diffIdOf(one), size: one.length }
      yield* pushManifest(registry, other, { mediaType: MediaType.imageManifest, config, layers: [shared] }, [tag("x")])
      const report = yield* Validation.validateRegistry({ registry })
      assert.deepStrictEqual([report.manifests, report.blobs], [2, 4])
      assert.deepStrictEqual(report.problems.map(({ kind, repository, tag }) => [kind, repository, tag]), [
        ["LayerCount", "other", "x"]
      ])
    }))

  it.effect("validates manifests without a tag that a layout lists", () =>
    Effect.gen(function*() {
      const registry = yield* LayoutRegistry.make({ directory: yield* temporaryFolder, form: "layout" })
      const { config, layers } = { config: yield* pushBlob(registry, app, "{}", MediaType.imageConfig), layers: [] }
      yield* pushManifest(registry, app, { mediaType: MediaType.imageManifest, config, layers })
      assert.strictEqual((yield* Validation.validateRegistry({ registry, repository: app })).manifests, 1)
    }).pipe(withNode))

  it.effect("reports referrers that cannot be listed, unless the registry lists none", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const image = yield* pushImageOf(registry, layers)
      const validate = (reason: Reason) => {
        const failing = override(registry, {
          referrers: () =>
            Stream.fail(new RegistryError({ operation: "referrers", registry: "a.test", repository: app, reason }))
        })
        return Validation.validateRegistry({ registry: failing, repository: app, tag: tag("1") })
      }
      const { problems } = yield* validate(new Denied({}))
      assert.deepStrictEqual(
        problems.map(({ digest, kind, path }) => [kind, digest, path]),
        [["Unreadable", image.digest, []]]
      )
      assert.deepStrictEqual(kinds(yield* validate(new Unsupported({}))), [])
    }).pipe(withNode))

  it.effect("limits the problems in the report, and passes on all of them", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushImageOf(registry, [[two, one], [two.subarray(0, 30), one], [one, two]])
      const seen: Array<string> = []
      const report = yield* Validation.validateRegistry({ registry, repository: app }, {
        problemLimit: 1,
        concurrency: 1,
        onProblem: ({ kind }) => Effect.sync(() => void seen.push(kind))
      })
      assert.deepStrictEqual([kinds(report), report.truncated], [["WrongDiffId"], true])
      assert.deepStrictEqual(seen, ["WrongDiffId", "NotDecompressible", "WrongDiffId"])
    }))
})
