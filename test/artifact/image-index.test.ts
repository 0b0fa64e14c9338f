import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as ImageIndex from "effect-oci/ImageIndex"
import type * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import * as Platform from "effect-oci/Platform"
import { Images } from "effect-oci/testing"
import * as Artifacts from "../utils/artifacts.ts"
import { bytesOf } from "../utils/images.ts"

const { app, reference, within } = Artifacts

const pushBoth = Effect.fnUntraced(function*(registry: Parameters<typeof Images.pushImage>[0], repository = app) {
  const amd64 = yield* Images.pushImage(registry, repository, ["l"], { tags: [Images.tag("amd64")] })
  const arm64 = yield* Images.pushImage(registry, repository, ["l"], {
    architecture: "arm64",
    tags: [Images.tag("arm64")]
  })
  return { amd64, arm64 }
})

const platforms = ({ content }: Manifest.EncodedManifest<"Index">) =>
  content.manifests.map(({ platform }) => platform === undefined ? "" : Platform.format(platform))

const linux = (architecture: string) => ({ os: "linux", architecture })

describe("ImageIndex", () => {
  it.effect("makes an index of images, with the platforms of their configs, and tags it", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        const { amd64 } = yield* pushBoth(registry)
        const made = yield* ImageIndex.create({
          destination: reference,
          manifests: [{ source: "mem.local/app:amd64", annotations: { a: "1" } }, { source: "mem.local/app:arm64" }],
          annotations: { "org.example.team": "a" }
        })
        assert.deepStrictEqual(platforms(made), ["linux/amd64", "linux/arm64"])
        assert.deepStrictEqual(made.content.annotations, { "org.example.team": "a" })
        assert.deepStrictEqual(made.content.manifests[0]?.annotations, { a: "1" })
        assert.strictEqual(made.content.manifests[0]?.digest, amd64.digest)
        assert.strictEqual((yield* registry.resolveManifest(app, Images.tag("1"))).digest, made.digest)
      })
    ))

  it.effect("copies images from other repositories", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        const other = Images.repository("other")
        const { amd64 } = yield* pushBoth(registry, other)
        yield* ImageIndex.create({ destination: reference, manifests: [{ source: "mem.local/other:amd64" }] })
        assert.strictEqual((yield* registry.resolveManifest(app, amd64.digest)).digest, amd64.digest)
      })
    ))

  it.effect("adds images, and describes those again that it lists", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        yield* pushBoth(registry)
        yield* ImageIndex.create({ destination: reference, manifests: [{ source: "mem.local/app:amd64" }] })
        const made = yield* ImageIndex.add({
          index: reference,
          manifests: [
            { source: "mem.local/app:arm64" },
            { source: "mem.local/app:amd64", platform: { os: "linux", architecture: "amd64", variant: "v2" } }
          ]
        })
        assert.deepStrictEqual(platforms(made), ["linux/amd64/v2", "linux/arm64"])
      })
    ))

  it.effect("removes images by platform and by digest, and keeps the original under another tag", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        const { amd64 } = yield* pushBoth(registry)
        const whole = yield* ImageIndex.create({
          destination: reference,
          manifests: [{ source: "mem.local/app:amd64" }, { source: "mem.local/app:arm64" }]
        })
        const one = yield* ImageIndex.remove({
          index: reference,
          destination: "mem.local/app:one",
          manifests: [{ platform: linux("arm64") }]
        })
        assert.deepStrictEqual(platforms(one), ["linux/amd64"])
        assert.strictEqual((yield* registry.resolveManifest(app, Images.tag("1"))).digest, whole.digest)
        const none = yield* ImageIndex.remove({ index: "mem.local/app:one", manifests: [{ digest: amd64.digest }] })
        assert.deepStrictEqual(platforms(none), [])
        const error = yield* Effect.flip(
          ImageIndex.remove({ index: reference, manifests: [{ platform: linux("riscv64") }] })
        )
        assert.include(error.message, "does not list linux/riscv64; it lists: linux/amd64, linux/arm64")
      })
    ))

  it.effect("annotates the index, and images in it", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        yield* pushBoth(registry)
        yield* ImageIndex.create({
          destination: reference,
          manifests: [{ source: "mem.local/app:amd64" }, { source: "mem.local/app:arm64" }],
          annotations: { old: "1", kept: "2" }
        })
        yield* ImageIndex.annotate({ index: reference, annotations: { old: undefined, added: "3" } })
        const made = yield* ImageIndex.annotate({
          index: reference,
          annotations: { arm: "yes" },
          manifests: [{ platform: linux("arm64") }]
        })
        assert.deepStrictEqual(made.content.annotations, { added: "3", kept: "2" })
        assert.deepStrictEqual(made.content.manifests.map(({ annotations }) => annotations), [
          undefined,
          { arm: "yes" }
        ])
      })
    ))

  it.effect("changes an index by its digest, which stays as it is", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        const { digest } = yield* ImageIndex.create({ destination: reference, manifests: [] })
        const made = yield* ImageIndex.annotate({ index: `mem.local/app@${digest}`, annotations: { a: "b" } })
        assert.strictEqual((yield* registry.resolveManifest(app, made.digest)).digest, made.digest)
        assert.strictEqual((yield* registry.resolveManifest(app, Images.tag("1"))).digest, digest)
      })
    ))

  it.effect("keeps the type of a docker list, and fields that it does not know", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        yield* pushBoth(registry)
        const bytes = bytesOf({ schemaVersion: 2, mediaType: MediaType.dockerManifestList, manifests: [], "x-a": 1 })
        yield* registry.pushManifest(app, { mediaType: MediaType.dockerManifestList, bytes }, [Images.tag("1")])
        const made = yield* ImageIndex.add({ index: reference, manifests: [{ source: "mem.local/app:amd64" }] })
        assert.strictEqual(made.mediaType, MediaType.dockerManifestList)
        assert.strictEqual(JSON.parse(new TextDecoder().decode(made.bytes))["x-a"], 1)
      })
    ))

  it.effect("refuses to change an image", () =>
    within(({ registry }) =>
      Effect.gen(function*() {
        yield* pushBoth(registry)
        const error = yield* Effect.flip(ImageIndex.annotate({ index: "mem.local/app:amd64", annotations: {} }))
        assert.include(error.message, "it is not an image index")
      })
    ))
})
