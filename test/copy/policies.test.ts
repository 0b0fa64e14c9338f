import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import * as Copy from "effect-oci/Copy"
import * as Descriptor from "effect-oci/Descriptor"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Platform } from "effect-oci/Platform"
import { type Registry, SparseIndex } from "effect-oci/Registry"
import { Faults } from "effect-oci/testing"
import { from, setup, to } from "../utils/copies.ts"
import {
  bytesOf,
  pushBlob,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  pushSample,
  tag
} from "../utils/images.ts"
import { listReferrers, override } from "../utils/registries.ts"

const isThere = (registry: Registry, digest: Descriptor.Descriptor["digest"]) =>
  Effect.map(Effect.exit(registry.resolveManifest(to, digest)), Exit.isSuccess)

const amd64: Platform = { os: "linux", architecture: "amd64" }
const arm64: Platform = { os: "linux", architecture: "arm64" }

describe("some platforms of an index", () => {
  const some = (index: "keep" | "rewrite" | "fail", platforms: ReadonlyArray<Platform> = [arm64]) =>
    ({ _tag: "Index", platforms, index }) as const

  it.effect("are those that match best", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      const [v3, v1] = [
        yield* pushImage(source.registry, from, ["v3"]),
        yield* pushImage(source.registry, from, ["v1"])
      ]
      const manifests = [{ ...v3, platform: { ...v3.platform, variant: "v3" } }, v1]
      yield* pushManifest(source.registry, from, { mediaType: MediaType.imageIndex, manifests }, [tag("1")])
      const { root } = yield* copy({ platforms: some("rewrite", [amd64]) })
      const { bytes } = yield* source.registry.getManifest(from, tag("1"))
      assert.notStrictEqual(root.size, bytes.length)
      assert.strictEqual(root.size, bytes.length - JSON.stringify(manifests[0]).length - 1)
    }))

  it.effect("keep all fields of their entries when the index is rewritten, known or not", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const kept = { ...yield* pushImage(source.registry, from, ["one"]), urls: null, "org.example": [1, null] }
      const odd = { ...yield* pushImage(source.registry, from, ["two"]), platform: { architecture: "odd" }, data: null }
      const left = { ...yield* pushImage(source.registry, from, ["three"]), platform: arm64 }
      const index = { mediaType: MediaType.imageIndex, manifests: [left, kept, odd], "org.example": null }
      yield* pushManifest(source.registry, from, index, [tag("1")])
      yield* copy({ platforms: some("rewrite", [amd64]) })
      const { bytes } = yield* destination.registry.getManifest(to, tag("1"))
      const content = JSON.parse(new TextDecoder().decode(bytes))
      assert.deepStrictEqual(
        content,
        JSON.parse(JSON.stringify({ schemaVersion: 2, ...index, manifests: [kept, odd] }))
      )
    }))

  it.effect("are copied with the unchanged index, with SparseIndex provided to the registry", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const sample = yield* pushSample(source.registry, from, [tag("1")])
      const report = yield* copy({ platforms: some("keep"), referrers: "skip" })
      assert.strictEqual(report.root.digest, sample.index.digest)
      assert.isTrue(yield* isThere(destination.registry, sample.arm64.digest))
      assert.isFalse(yield* isThere(destination.registry, sample.amd64.digest))
    }))

  it.effect("are added to an index that was kept for others before", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const sample = yield* pushSample(source.registry, from, [tag("1")])
      yield* copy({ platforms: some("keep", [amd64]), referrers: "skip" })
      yield* copy({ platforms: some("keep"), referrers: "skip" })
      assert.isTrue(yield* isThere(destination.registry, sample.arm64.digest))
    }))

  it.effect("are looked up again below an index that is kept, because no registry does so", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const sample = yield* pushSample(source.registry, from, [tag("1")])
      yield* copy({ platforms: some("keep"), referrers: "skip" })
      yield* destination.registry.deleteManifest(to, sample.index.digest)
      yield* destination.registry.deleteManifest(to, sample.arm64.digest)
      yield* copy({ platforms: some("keep"), referrers: "skip" })
      assert.isTrue(yield* isThere(destination.registry, sample.arm64.digest))
    }))

  it.effect("fail with SparseIndexRefused if the registry requires the others too", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      const strict = override(destination.registry, {
        pushManifest: (...args) =>
          Effect.provideService(destination.registry.pushManifest(...args), SparseIndex, "refuse")
      })
      const error = yield* Effect.flip(copy({ platforms: some("keep"), referrers: "skip", into: strict }))
      assert.strictEqual(error.reason._tag, "SparseIndexRefused")
    }))

  it.effect("are copied with a rewritten index, which the report contains", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const sample = yield* pushSample(source.registry, from, [tag("1")])
      const report = yield* copy({ platforms: some("rewrite") })
      assert.notStrictEqual(report.root.digest, sample.index.digest)
      assert.strictEqual(report.rewrittenFrom?.digest, sample.index.digest)
      const { bytes, descriptor } = yield* destination.registry.getManifest(to, tag("1"))
      assert.strictEqual(descriptor.digest, report.root.digest)
      const content = JSON.parse(new TextDecoder().decode(bytes))
      assert.deepStrictEqual(content.manifests.map(({ digest }: Descriptor.Descriptor) => digest), [
        sample.arm64.digest
      ])
      // referrers of a copied image are copied, referrers of the original index are not
      assert.deepStrictEqual(yield* listReferrers(destination.registry, to, sample.arm64.digest), [
        sample.onChild.digest
      ])
      assert.isFalse(yield* isThere(destination.registry, sample.onIndex.digest))
    }))

  it.effect("are looked up in nested indexes, which are rewritten as well", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const sample = yield* pushSample(source.registry, from, [])
      const { digest, mediaType, size } = sample.index
      yield* pushManifest(source.registry, from, {
        mediaType: MediaType.imageIndex,
        annotations: { kept: "yes" },
        manifests: [{ digest, mediaType, size }]
      }, [tag("1")])
      yield* copy({ platforms: some("rewrite") })
      const outer = JSON.parse(new TextDecoder().decode((yield* destination.registry.getManifest(to, tag("1"))).bytes))
      assert.deepStrictEqual(outer.annotations, { kept: "yes" })
      const inner = JSON.parse(
        new TextDecoder().decode((yield* destination.registry.getManifest(to, outer.manifests[0].digest)).bytes)
      )
      assert.deepStrictEqual(inner.manifests.map(({ digest }: Descriptor.Descriptor) => digest), [sample.arm64.digest])
    }))

  it.effect("leave the index as it is if it lists no others", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      const { index } = yield* pushSample(source.registry, from, [tag("1")])
      for (const policy of ["rewrite", "fail", "keep"] as const) {
        const platforms = some(policy, [arm64, { os: "linux", architecture: "amd64" }])
        assert.strictEqual((yield* copy({ platforms })).root.digest, index.digest)
      }
    }))

  it.effect("are copied with their attestations", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const [one, two] = [
        yield* pushImage(source.registry, from, ["one"]),
        yield* pushImage(source.registry, from, ["two"], { architecture: "arm64" })
      ]
      const attestation = (about: Descriptor.Descriptor) =>
        Effect.map(pushImage(source.registry, from, [about.digest]), (image) => ({
          ...image,
          platform: { os: "unknown", architecture: "unknown" },
          annotations: { "vnd.docker.reference.digest": about.digest }
        }))
      const about = [yield* attestation(one), yield* attestation(two)]
      yield* pushManifest(source.registry, from, { mediaType: MediaType.imageIndex, manifests: [one, two, ...about] }, [
        tag("1")
      ])
      yield* copy({ platforms: some("rewrite") })
      const { bytes } = yield* destination.registry.getManifest(to, tag("1"))
      const digests = JSON.parse(new TextDecoder().decode(bytes)).manifests.map((each: Descriptor.Descriptor) =>
        each.digest
      )
      assert.deepStrictEqual(digests, [two.digest, about[1]?.digest])
    }))

  it.effect("fail if the index lists others and the policy is `fail`, and nothing is sent", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      const error = yield* Effect.flip(copy({ platforms: some("fail") }))
      assert.include(error.message, "it also lists: linux/amd64")
      assert.isTrue(destination.calls.every((call) => call.startsWith("resolve")))
    }))

  it.effect("are an error if the index does not list them", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      const error = yield* Effect.flip(
        copy({ platforms: some("rewrite", [arm64, { os: "plan9", architecture: "386" }]) })
      )
      assert.include(error.message, "there is no image for plan9/386")
    }))
})

describe("a tag that exists", () => {
  const existing = Effect.gen(function*() {
    const { source, ...rest } = yield* setup
    const old = yield* pushImage(source.registry, from, ["old"], { tags: [tag("1")] })
    yield* rest.copy()
    const image = yield* pushImage(source.registry, from, ["new"], { tags: [tag("1")] })
    return { ...rest, source, old, image }
  })

  it.effect("is moved by default", () =>
    Effect.gen(function*() {
      const { copy, destination, image } = yield* existing
      yield* copy()
      assert.strictEqual((yield* destination.registry.resolveManifest(to, tag("1"))).digest, image.digest)
    }))

  it.effect("is kept, and nothing is copied", () =>
    Effect.gen(function*() {
      const { copy, destination, image, old } = yield* existing
      const report = yield* copy({ onTagExists: "keep" })
      assert.deepStrictEqual(report.entries.map(({ outcome }) => outcome), ["kept"])
      assert.strictEqual(report.root.digest, old.digest)
      assert.isFalse(yield* isThere(destination.registry, image.digest))
    }))

  it.effect("is an error, and nothing is copied", () =>
    Effect.gen(function*() {
      const { copy, destination, image, old } = yield* existing
      const { reason } = yield* Effect.flip(copy({ onTagExists: "fail" }))
      assert.deepInclude(reason, { _tag: "TagExists", tag: "1", actual: old.digest })
      assert.isFalse(yield* isThere(destination.registry, image.digest))
    }))

  it.effect.each(["keep", "fail"] as const)(
    "and points at the root already is neither kept nor an error: %s",
    (onTagExists) =>
      Effect.gen(function*() {
        const { copy } = yield* existing
        yield* copy()
        assert.deepStrictEqual(
          (yield* copy({ onTagExists })).entries.filter(({ role }) => role === "root").map(({ outcome }) => outcome),
          ["present"]
        )
      })
  )

  it.effect.each(["keep", "fail"] as const)(
    "in another repository only does not matter: %s",
    (onTagExists) =>
      Effect.gen(function*() {
        const { copy, source } = yield* setup
        yield* pushImage(source.registry, from, ["new"], { tags: [tag("1")] })
        assert.isAbove((yield* copy({ onTagExists })).having("copied").length, 0)
      })
  )
})

describe("several tags", () => {
  it.effect("are pushed together, unless they point at the root already", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      yield* copy({ tags: [tag("1.2"), tag("latest"), tag("1")] })
      assert.strictEqual(destination.calls.at(-1), `pushManifest ${image.digest} 1 1.2 latest`)
      destination.forget()
      yield* copy({ tags: [tag("latest"), tag("2")], referrers: "skip" })
      assert.deepStrictEqual(destination.calls.filter((call) => call.startsWith("push")), [
        `pushManifest ${image.digest} 2`
      ])
    }))
})

describe("layers that may not be distributed", () => {
  const foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

  it.effect("are copied from the source if the policy is `copy`", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const config = yield* pushBlob(source.registry, from, "{}", MediaType.imageConfig)
      const layer = yield* pushBlob(source.registry, from, "foreign", foreign)
      yield* pushManifest(source.registry, from, {
        mediaType: MediaType.imageManifest,
        config,
        layers: [{ ...layer, urls: ["https://elsewhere.test/layer"] }]
      }, [tag("1")])
      const report = yield* copy({ externalLayers: "copy" })
      assert.strictEqual(report.having("external").length, 0)
      yield* destination.registry.resolveBlob(to, layer.digest)
    }))

  it.effect("are an error at the source if it does not have them", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      const config = yield* pushBlob(source.registry, from, "{}", MediaType.imageConfig)
      const layer = yield* Descriptor.fromBytes(bytesOf("absent"), { mediaType: foreign })
      yield* pushManifest(source.registry, from, { mediaType: MediaType.imageManifest, config, layers: [layer] }, [
        tag("1")
      ])
      const error = yield* Effect.flip(copy({ externalLayers: "copy" }))
      assert.deepStrictEqual([error.end, error.reason._tag], ["source", "BlobUnknown"])
    }))
})

describe("referrers", () => {
  const pushBoth = Effect.fnUntraced(function*(registry: Registry) {
    const image = yield* pushImage(registry, from, ["one"], { tags: [tag("1")] })
    const sbom = yield* pushReferrer(registry, from, image, "sbom")
    const signature = yield* pushManifest(registry, from, {
      mediaType: MediaType.imageIndex,
      artifactType: "application/vnd.example.signature",
      manifests: [],
      subject: { digest: image.digest, mediaType: image.mediaType, size: image.size },
      annotations: { by: "ada" }
    })
    return { image, sbom, signature }
  })

  it.effect("are selected by artifact type", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { image, signature } = yield* pushBoth(source.registry)
      yield* copy({ referrerFilter: { artifactTypes: ["application/vnd.example.signature"] } })
      assert.deepStrictEqual(yield* listReferrers(destination.registry, to, image.digest), [signature.digest])
    }))

  it.effect("are selected by annotations", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { image, sbom } = yield* pushBoth(source.registry)
      yield* copy({ referrerFilter: { annotations: { "org.example.content": "sbom" } } })
      assert.deepStrictEqual(yield* listReferrers(destination.registry, to, image.digest), [sbom.digest])
    }))

  it.effect("are selected for each manifest separately", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const sample = yield* pushSample(source.registry, from, [tag("1")])
      yield* copy({ override: ({ role }) => role === "child" ? { referrers: "skip" } : {} })
      assert.deepStrictEqual(yield* listReferrers(destination.registry, to, sample.index.digest), [
        sample.onIndex.digest
      ])
      assert.deepStrictEqual(yield* listReferrers(destination.registry, to, sample.arm64.digest), [])
    }))
})

describe("tags that are made of digests", () => {
  const push = Effect.fnUntraced(function*(registry: Registry) {
    const image = yield* pushImage(registry, from, ["one"], { tags: [tag("1")] })
    const name = tag(`${image.digest.replace(":", "-")}.sig`)
    const signature = yield* pushImage(registry, from, ["signature"], { tags: [name] })
    yield* pushImage(registry, from, ["another"], { tags: [tag(`sha256-${"0".repeat(64)}.sig`)] })
    return { image, name, signature }
  })

  it.effect("are copied before the tag of their subject if the policy is `copy`", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { image, name, signature } = yield* push(source.registry)
      const report = yield* copy({ digestTags: "copy" })
      assert.strictEqual((yield* destination.registry.resolveManifest(to, name)).digest, signature.digest)
      assert.deepStrictEqual(destination.calls.filter((call) => call.startsWith("pushManifest")), [
        `pushManifest ${signature.digest} ${name}`,
        `pushManifest ${image.digest} 1`
      ])
      assert.strictEqual(report.entries.filter(({ role }) => role === "digestTag").length, 1)
    }))

  it.effect("are not copied by default", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { signature } = yield* push(source.registry)
      yield* copy()
      assert.isFalse(yield* isThere(destination.registry, signature.digest))
    }))

  it.effect("are copied to a registry that refuses referrers without their subject", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const { image, name, signature } = yield* push(source.registry)
      yield* pushReferrer(source.registry, from, image, "sbom")
      const { registry } = yield* Faults.make(destination.registry, [Faults.refuseSubjects()])
      yield* Copy.copyManifest({
        source: { registry: source.registry, repository: from, tag: tag("1") },
        destination: { registry, repository: to, tag: tag("1") },
        digestTags: "copy"
      })
      assert.strictEqual((yield* registry.resolveManifest(to, name)).digest, signature.digest)
      assert.strictEqual((yield* registry.resolveManifest(to, tag("1"))).digest, image.digest)
    }))

  it.effect("are pushed if they were found after their manifest was copied", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const one = yield* pushImage(source.registry, from, ["one"])
      const name = tag(`${one.digest.replace(":", "-")}.sig`)
      const two = yield* pushImage(source.registry, from, ["two"], { tags: [name] })
      yield* pushIndex(source.registry, from, [two, one], { tags: [tag("1")] })
      yield* copy({ digestTags: "copy" })
      assert.strictEqual((yield* destination.registry.resolveManifest(to, name)).digest, two.digest)
    }))

  it.effect("that were added after the last copy are copied by the next", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      yield* copy()
      const { name, signature } = yield* push(source.registry)
      yield* copy({ digestTags: "copy" })
      assert.strictEqual((yield* destination.registry.resolveManifest(to, name)).digest, signature.digest)
      destination.forget()
      yield* copy({ digestTags: "copy" })
      assert.deepStrictEqual(destination.calls.filter((call) => call.startsWith("push")), [])
    }))
})

describe("trust in manifests of the destination", () => {
  /** Creates a destination that has a manifest, but none of its parts. */
  const hollow = Effect.fnUntraced(function*(source: Registry, mediaType: string) {
    const destination = yield* MemoryRegistry.make({ name: "hollow.test" })
    const { bytes, descriptor } = yield* source.getManifest(from, tag("1"))
    // a type whose parts it does not check
    yield* destination.pushManifest(to, { mediaType: "application/hollow", bytes, digest: descriptor.digest }, [
      tag("1")
    ])
    return override(destination, {
      getManifest: (repository, reference) =>
        Effect.map(destination.getManifest(repository, reference), ({ bytes, descriptor }) => ({
          bytes,
          descriptor: descriptor.mediaType === "application/hollow" ? { ...descriptor, mediaType } : descriptor
        }))
    })
  })

  it.effect.each(
    [["manifest", false], ["children", true], ["deep", true]] as const
  )("%s: children that it lacks are copied: %s", ([trust, isCopied]) =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      const sample = yield* pushSample(source.registry, from, [tag("1")])
      const into = yield* hollow(source.registry, MediaType.imageIndex)
      yield* copy({ into, referrers: "skip", trust })
      assert.strictEqual(yield* isThere(into, sample.arm64.digest), isCopied)
    }))

  it.effect.each(
    [["manifest", 0], ["children", 0], ["deep", 2]] as const
  )("%s: of its blobs that it lacks are copied: %i", ([trust, count]) =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const into = yield* hollow(source.registry, MediaType.imageManifest)
      assert.strictEqual((yield* copy({ into, trust })).having("copied").length, count)
    }))
})

describe("beforePush", () => {
  it.effect("runs once, before anything is pushed", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      const asked: Array<string> = []
      const beforePush: Copy.Options["beforePush"] = ({ repository }) =>
        Effect.sync(() => {
          assert.isFalse(destination.calls.some((call) => /^(push|start)/.test(call)))
          asked.push(repository)
        })
      yield* copy({ beforePush })
      yield* copy({ beforePush })
      assert.deepStrictEqual(asked, [to])
    }))

  it.effect("does not run if there is nothing to push", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      yield* copy()
      yield* copy({ beforePush: () => Effect.die("asked") })
    }))
})
