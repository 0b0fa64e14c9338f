import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Copy from "effect-oci/Copy"
import * as Descriptor from "effect-oci/Descriptor"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { Faults } from "effect-oci/testing"
import { from, setup, to } from "../utils/copies.ts"
import { bytesOf, pushBlob, pushImage, pushManifest, pushReferrer, pushSample, tag } from "../utils/images.ts"
import { recorded } from "../utils/registries.ts"

describe("what arrives", () => {
  it.effect("an image arrives completely, with the same bytes and its tag", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one", "two"], { tags: [tag("1")] })
      const report = yield* copy()
      const sent = yield* source.registry.getManifest(from, tag("1"))
      const arrived = yield* destination.registry.getManifest(to, tag("1"))
      assert.deepStrictEqual(arrived, sent)
      assert.strictEqual(report.root.digest, image.digest)
      for (const { descriptor, role } of report.entries) {
        if (role !== "blob") continue
        const { stream } = yield* destination.registry.getBlob(to, descriptor.digest)
        assert.strictEqual((yield* Stream.mkUint8Array(stream)).length, descriptor.size)
      }
    }))

  it.effect("formatting, field order and unknown fields of a manifest stay as they are", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const bytes = bytesOf(
        `{\n  "zzz": { "b": [1.0, 2e3], "a": null },\n\t"manifests": null, "schemaVersion":2,"mediaType": "${MediaType.imageIndex}" }\n\n`
      )
      yield* source.registry.pushManifest(from, { mediaType: MediaType.imageIndex, bytes }, [tag("1")])
      yield* copy()
      assert.deepStrictEqual((yield* destination.registry.getManifest(to, tag("1"))).bytes, bytes)
    }))

  it.effect("an index arrives with its children, and a nested index with its own", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const leaf = yield* pushImage(source.registry, from, ["deep"])
      const inner = yield* pushManifest(source.registry, from, { mediaType: MediaType.imageIndex, manifests: [leaf] })
      const other = yield* pushImage(source.registry, from, ["shallow"], { architecture: "arm64" })
      yield* pushManifest(
        source.registry,
        from,
        { mediaType: MediaType.dockerManifestList, manifests: [inner, other] },
        [tag("1")]
      )
      const report = yield* copy()
      for (const { digest } of [leaf, inner, other]) yield* destination.registry.getManifest(to, digest)
      const deep = report.entries.find(({ descriptor }) => descriptor.size === 4)
      assert.deepStrictEqual(deep?.path, [report.root.digest, inner.digest, leaf.digest])
    }))

  it.effect("a child of an index that is a blob is copied as a blob", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const blob = yield* pushBlob(source.registry, from, "a layer by itself", MediaType.imageLayerGzip)
      yield* pushManifest(source.registry, from, { mediaType: MediaType.imageIndex, manifests: [blob] }, [tag("1")])
      yield* copy()
      yield* destination.registry.resolveBlob(to, blob.digest)
    }))

  it.effect("empty layers and an image without layers are copied", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      yield* pushImage(source.registry, from, ["", "x", ""], { tags: [tag("1")] })
      yield* pushImage(source.registry, from, [], { tags: [tag("2")] })
      yield* copy()
      yield* copy({ tag: "2", as: "2" })
      const tags = yield* Stream.runCollect(destination.registry.tags(to))
      assert.deepStrictEqual(Array.from(tags), [tag("1"), tag("2")])
    }))

  it.effect("a withdrawn OCI artifact manifest is copied", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const blob = yield* pushBlob(source.registry, from, "signature", "text/plain")
      yield* pushManifest(source.registry, from, { mediaType: MediaType.artifactManifest, blobs: [blob] }, [tag("1")])
      yield* copy()
      yield* destination.registry.resolveBlob(to, blob.digest)
    }))

  it.effect("sha512 stays sha512, for manifests and for blobs", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const content = bytesOf("layer")
      const layer = yield* Descriptor.fromBytes(content, { mediaType: MediaType.imageLayer, algorithm: "sha512" })
      yield* source.registry.pushBlob(from, layer, BlobSource.fromBytes(content))
      const config = yield* pushBlob(source.registry, from, "{}", MediaType.imageConfig)
      const mediaType = MediaType.imageManifest
      const bytes = bytesOf({ schemaVersion: 2, mediaType, config, layers: [layer] })
      const { digest } = yield* Descriptor.fromBytes(bytes, { algorithm: "sha512" })
      yield* source.registry.pushManifest(from, { mediaType, bytes, digest }, [tag("1")])
      yield* copy()
      assert.strictEqual((yield* destination.registry.resolveManifest(to, tag("1"))).digest, digest)
      yield* destination.registry.resolveBlob(to, layer.digest)
    }))

  it.effect("layers that may not be distributed are left out, and reported", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const config = yield* pushBlob(source.registry, from, "{}", MediaType.imageConfig)
      const layer = {
        ...yield* Descriptor.fromBytes(bytesOf("windows"), {
          mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        }),
        urls: ["https://example.test/layer"]
      }
      const content = { mediaType: MediaType.dockerManifest, config, layers: [layer] }
      yield* pushManifest(source.registry, from, content, [tag("1")])
      const report = yield* copy()
      assert.deepStrictEqual(report.having("external").map(({ descriptor }) => descriptor.digest), [layer.digest])
      yield* destination.registry.getManifest(to, tag("1"))
    }))
})

describe("unusual images", () => {
  it.effect("a layer that is external in one image only is copied for the other", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const layer = yield* pushBlob(source.registry, from, "windows base", MediaType.imageLayerGzip)
      const config = yield* pushBlob(source.registry, from, "{}", MediaType.imageConfig)
      const mediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
      const image = (layers: ReadonlyArray<Descriptor.Descriptor>) =>
        pushManifest(source.registry, from, { mediaType: MediaType.imageManifest, config, layers })
      const manifests = [yield* image([{ ...layer, mediaType }]), yield* image([layer])]
      yield* pushManifest(source.registry, from, { mediaType: MediaType.imageIndex, manifests }, [tag("1")])
      const report = yield* copy()
      assert.deepStrictEqual(report.having("external"), [])
      yield* destination.registry.resolveBlob(to, layer.digest)
    }))

  it.effect("an endless chain of referrers fails with TooDeep", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      let subject: Descriptor.Descriptor = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      for (let i = 0; i < 300; i++) {
        subject = yield* pushReferrer(source.registry, from, subject, `number ${i}`)
      }
      const error = yield* Effect.flip(copy())
      assert.strictEqual(error.reason._tag, "TooDeep")
    }))
})

describe("the order of pushes", () => {
  it.effect("puts everything after the content that it refers to, and the tag last", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { amd64, arm64, index, onChild, onIndex } = yield* pushSample(source.registry, from, [tag("1")])
      yield* copy()
      const pushes = destination.calls.filter((call) => call.startsWith("push"))
      const at = (digest: string) => pushes.findIndex((call) => call.includes(digest))
      assert.strictEqual(pushes.at(-1), `pushManifest ${index.digest} 1`)
      assert.isBelow(at(amd64.digest), at(index.digest))
      assert.isBelow(at(onChild.digest), at(arm64.digest))
      assert.isBelow(at(onIndex.digest), at(index.digest))
    }))

  // a memory registry refuses a manifest with missing parts, so success proves the order
  it.effect("is kept with any concurrency, including 1", () =>
    Effect.forEach([1, 2, 64], (concurrency) =>
      Effect.gen(function*() {
        const { copy, source } = yield* setup
        yield* pushSample(source.registry, from, [tag("1")])
        yield* Effect.provideService(copy(), Copy.MaxInFlight, concurrency)
      })))
})

describe("no work twice", () => {
  it.effect("a blob that several manifests refer to is sent once", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      yield* copy()
      const pushed = destination.calls.filter((call) => call.startsWith("pushBlob"))
      assert.strictEqual(new Set(pushed).size, pushed.length)
    }))

  it.effect("a second copy reads only the tag and sends nothing", () =>
    Effect.gen(function*() {
      const { copy, destination, forget, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      yield* copy({ referrers: "skip" })
      forget()
      const report = yield* copy({ referrers: "skip" })
      assert.deepStrictEqual(source.calls, ["resolveManifest 1"])
      assert.deepStrictEqual(destination.calls, ["resolveManifest 1"])
      assert.deepStrictEqual(report.entries.map(({ outcome }) => outcome), ["present"])
      assert.strictEqual(report.bytes, 0)
    }))

  it.effect("a manifest that is present with another tag only gets the tag", () =>
    Effect.gen(function*() {
      const { copy, destination, forget, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      yield* copy()
      forget()
      yield* copy({ as: "2" })
      assert.deepStrictEqual(destination.calls, ["resolveManifest 2", `pushManifest ${image.digest} 2`])
    }))

  it.effect("only the changed content of an image is sent", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      yield* pushImage(source.registry, from, ["base", "old"], { tags: [tag("1")] })
      yield* pushImage(source.registry, from, ["base", "new"], { tags: [tag("2")] })
      yield* copy()
      const report = yield* copy({ tag: "2", as: "1" })
      assert.deepStrictEqual(
        report.having("copied").map(({ descriptor }) => descriptor.size).sort((a, b) => a - b)[0],
        3
      )
      assert.strictEqual(report.having("copied").length, 2)
      assert.strictEqual(report.having("present").length, 2)
    }))

  it.effect("blobs are mounted between repositories of one registry", () =>
    Effect.gen(function*() {
      const { registry } = yield* recorded("both.test")
      yield* pushSample(registry, from, [tag("1")])
      const report = yield* Copy.copyManifest({
        source: { registry, repository: from, tag: tag("1") },
        destination: { registry, repository: to, tag: tag("1") }
      })
      const blobs = report.entries.filter(({ role }) => role === "blob")
      assert.isTrue(blobs.every(({ outcome }) => outcome === "mounted"))
      yield* registry.getManifest(to, tag("1"))
    }))

  it.effect("a declined mount continues in the session that it opened", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const { calls, registry: declining } = yield* Faults.make(registry, [Faults.declineMounts()])
      yield* pushImage(registry, from, ["one"], { tags: [tag("1")] })
      const report = yield* Copy.copyManifest({
        source: { registry: declining, repository: from, tag: tag("1") },
        destination: { registry: declining, repository: to }
      })
      assert.strictEqual(report.having("copied").length, 3)
      const operations = calls.map(({ operation }) => operation)
      assert.include(operations, "startUpload")
      // a session that a push opened besides would be a third one
      assert.lengthOf(operations.filter((operation) => operation === "startUpload" || operation === "pushBlob"), 2)
    }))

  it.effect("a copy within one repository only sets the tag", () =>
    Effect.gen(function*() {
      const both = yield* recorded("both.test")
      const { registry } = both
      const image = yield* pushImage(registry, from, ["one"], { tags: [tag("1")] })
      both.forget()
      yield* Copy.copyManifest({
        source: { registry, repository: from, tag: tag("1") },
        destination: { registry, repository: from, tag: tag("stable") },
        referrers: "skip"
      })
      assert.deepStrictEqual(both.calls, [
        "resolveManifest stable",
        "getManifest 1",
        `pushManifest ${image.digest} stable`
      ])
    }))
})

describe("one platform", () => {
  it.effect("gives the destination the manifest of that image", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      const { arm64, onIndex } = yield* pushSample(source.registry, from, [tag("1")])
      const report = yield* copy({ platforms: { _tag: "Image", platform: { os: "linux", architecture: "arm64" } } })
      assert.strictEqual(report.root.digest, arm64.digest)
      assert.strictEqual((yield* destination.registry.resolveManifest(to, tag("1"))).digest, arm64.digest)
      const absent = yield* Effect.flip(destination.registry.getManifest(to, onIndex.digest))
      assert.strictEqual(absent.reason._tag, "ManifestUnknown")
    }))

  it.effect("is found in a nested index", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      const { arm64, index } = yield* pushSample(source.registry, from, [])
      const { digest, mediaType, size } = index
      const outer = { mediaType: MediaType.imageIndex, manifests: [{ digest, mediaType, size }] }
      yield* pushManifest(source.registry, from, outer, [tag("1")])
      const report = yield* copy({ platforms: { _tag: "Image", platform: { os: "linux", architecture: "arm64" } } })
      assert.strictEqual(report.root.digest, arm64.digest)
      const error = yield* Effect.flip(
        copy({ platforms: { _tag: "Image", platform: { os: "plan9", architecture: "386" } } })
      )
      assert.include(error.message, "available: linux/amd64, linux/arm64")
    }))

  it.effect("of an image without an index is that of its config", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")], architecture: "riscv64" })
      yield* copy({ platforms: { _tag: "Image", platform: { os: "linux", architecture: "riscv64" } } })
      const error = yield* Effect.flip(
        copy({ platforms: { _tag: "Image", platform: { os: "linux", architecture: "s390x" } } })
      )
      assert.strictEqual(error.reason._tag, "PlatformNotFound")
      assert.include(error.message, "there is no image for linux/s390x; available: linux/riscv64")
    }))

  it.effect("is the variant that runs on every machine, wherever it is in the index", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      const [v3, v1] = [
        yield* pushImage(source.registry, from, ["v3"]),
        yield* pushImage(source.registry, from, ["v1"])
      ]
      const manifests = [{ ...v3, platform: { ...v3.platform, variant: "v3" } }, v1]
      yield* pushManifest(source.registry, from, { mediaType: MediaType.imageIndex, manifests }, [tag("1")])
      const report = yield* copy({ platforms: { _tag: "Image", platform: { os: "linux", architecture: "amd64" } } })
      assert.strictEqual(report.root.digest, v1.digest)
    }))

  it.effect("is read from the configs of images if the index does not contain platforms", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      const images = yield* Effect.forEach(
        ["amd64", "arm64"],
        (architecture) => pushImage(source.registry, from, ["one"], { architecture })
      )
      const manifests = images.map(({ platform: { architecture }, ...image }) => ({
        ...image,
        platform: { architecture }
      }))
      yield* pushManifest(source.registry, from, { mediaType: MediaType.imageIndex, manifests }, [tag("1")])
      const report = yield* copy({ platforms: { _tag: "Image", platform: { os: "linux", architecture: "arm64" } } })
      assert.strictEqual(report.root.digest, images[1]?.digest)
    }))

  it.effect("is never that of an attestation, which the error does not list either", () =>
    Effect.gen(function*() {
      const { copy, source } = yield* setup
      const platform = { os: "unknown", architecture: "unknown" }
      const image = yield* pushImage(source.registry, from, ["one"])
      const attestation = { ...yield* pushImage(source.registry, from, ["about it"]), platform }
      const index = { mediaType: MediaType.imageIndex, manifests: [attestation, image] }
      yield* pushManifest(source.registry, from, index, [tag("1")])
      for (const wanted of [platform, { os: "linux", architecture: "s390x" }]) {
        const { reason } = yield* Effect.flip(copy({ platforms: { _tag: "Image", platform: wanted } }))
        assert(reason._tag === "PlatformNotFound")
        assert.deepStrictEqual(reason.available, ["linux/amd64"])
      }
    }))

  it.effect("that the index lacks is an error that lists the available ones", () =>
    Effect.gen(function*() {
      const { copy, destination, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      const error = yield* Effect.flip(
        copy({ platforms: { _tag: "Image", platform: { os: "windows", architecture: "amd64" } } })
      )
      assert.include(error.message, "available: linux/amd64, linux/arm64")
      assert.deepStrictEqual(destination.calls, ["resolveManifest 1"])
    }))
})

describe("tags and digests", () => {
  it.effect("of the source must match", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const one = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const two = yield* pushImage(source.registry, from, ["two"], { tags: [tag("2")] })
      const copy = (digest: typeof one.digest) =>
        Copy.copyManifest({
          source: { registry: source.registry, repository: from, tag: tag("1"), digest },
          destination: { registry: destination.registry, repository: to, tag: tag("1") }
        })
      yield* copy(one.digest)
      const error = yield* Effect.flip(copy(two.digest))
      assert.strictEqual(error.reason._tag, "TagMismatch")
      assert.strictEqual(error.end, "source")
    }))

  it.effect("of the destination must match that of the source, before anything is sent", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const one = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const two = yield* pushImage(source.registry, from, ["two"], { tags: [tag("2")] })
      const copy = (digest: typeof one.digest) =>
        Copy.copyManifest({
          source: { registry: source.registry, repository: from, tag: tag("1") },
          destination: { registry: destination.registry, repository: to, digest }
        })
      const error = yield* Effect.flip(copy(two.digest))
      assert.strictEqual(error.reason._tag, "DigestConflict")
      assert.deepStrictEqual(destination.calls, [])
      yield* copy(one.digest)
    }))

  it.effect("may both be omitted at the destination, which then has the content by digest only", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"])
      yield* Copy.copyManifest({
        source: { registry: source.registry, repository: from, digest: image.digest },
        destination: { registry: destination.registry, repository: to }
      })
      yield* destination.registry.getManifest(to, image.digest)
      assert.deepStrictEqual(Array.from(yield* Stream.runCollect(destination.registry.tags(to))), [])
    }))

  it.effect("may not both be omitted at the source", () =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const error = yield* Effect.flip(Copy.copyManifest({
        source: { registry: source.registry, repository: from },
        destination: { registry: destination.registry, repository: to }
      }))
      assert.strictEqual(error.reason._tag, "UnfitReference")
    }))
})
