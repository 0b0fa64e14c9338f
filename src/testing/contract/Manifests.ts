/**
 * Promises of the contract about manifests and their tags.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Descriptor from "../../Descriptor.ts"
import * as Digest from "../../Digest.ts"
import * as MediaType from "../../MediaType.ts"
import { bytesOf, pushBlob, pushImage, pushIndex, pushManifest, pushReferrer, repository, tag } from "../Images.ts"
import { type Case, promise } from "./Case.ts"
import * as Expect from "./Expect.ts"
import { fresh, hasNoManifest, nowhere } from "./Helpers.ts"

// with white space that an encoder would not write
const index = bytesOf(`{\n  "schemaVersion": 2,  "mediaType": "${MediaType.imageIndex}", "manifests": [ ] }\n`)

const reading: ReadonlyArray<Case> = [
  promise("a manifest without a tag is read by digest, to the byte", [], function*(registry, origin) {
    const name = yield* fresh
    const pushed = yield* origin.pushManifest(name, { mediaType: MediaType.imageIndex, bytes: index })
    yield* Expect.equal((yield* registry.getManifest(name, pushed.digest)).bytes, index)
  }),
  promise("a manifest with a tag is read by tag, to the byte", [], function*(registry, origin) {
    const name = yield* fresh
    yield* origin.pushManifest(name, { mediaType: MediaType.imageIndex, bytes: index }, [tag("1")])
    yield* Expect.equal((yield* registry.getManifest(name, tag("1"))).bytes, index)
  }),
  promise("a manifest is read with its descriptor", [], function*(registry, origin) {
    const name = yield* fresh
    const { digest, mediaType, size } = yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    const { descriptor } = yield* registry.getManifest(name, tag("1"))
    yield* Expect.equal(descriptor, { digest, mediaType, size })
  }),
  promise("resolving a tag returns the descriptor of its manifest", [], function*(registry, origin) {
    const name = yield* fresh
    const { digest, mediaType, size } = yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    yield* Expect.equal(yield* registry.resolveManifest(name, tag("1")), { digest, mediaType, size })
  }),
  promise("resolving a digest returns the descriptor of its manifest", [], function*(registry, origin) {
    const name = yield* fresh
    const { digest, mediaType, size } = yield* pushImage(origin, name, ["layer"])
    yield* Expect.equal(yield* registry.resolveManifest(name, digest), { digest, mediaType, size })
  }),
  promise("every tag of a manifest resolves to it", [], function*(registry, origin) {
    const name = yield* fresh
    const tags = ["1", "1.2", "1.2.3"].map(tag)
    const { digest } = yield* pushImage(origin, name, ["layer"], { tags })
    const found = yield* Effect.forEach(tags, (tag) => registry.resolveManifest(name, tag))
    yield* Expect.equal(found.map((descriptor) => descriptor.digest), [digest, digest, digest])
  }),
  ...[MediaType.dockerManifest, MediaType.imageManifest].map((mediaType) =>
    promise(`a manifest of type ${mediaType} keeps its type`, [], function*(registry, origin) {
      const name = yield* fresh
      const config = yield* pushBlob(origin, name, "{}", "application/vnd.docker.container.image.v1+json")
      const { digest } = yield* pushManifest(origin, name, { mediaType, config, layers: [] })
      yield* Expect.equal((yield* registry.resolveManifest(name, digest)).mediaType, mediaType)
    })
  ),
  ...[MediaType.dockerManifestList, MediaType.imageIndex].map((mediaType) =>
    promise(`an index of type ${mediaType} keeps its type`, [], function*(registry, origin) {
      const name = yield* fresh
      const { digest } = yield* pushManifest(origin, name, { mediaType, manifests: [] }, [tag("1")])
      const found = yield* registry.getManifest(name, tag("1"))
      yield* Expect.equal(found.descriptor, { mediaType, digest, size: found.bytes.length })
    })
  ),
  promise("a manifest of an unknown media type is stored unchanged", ["mediaTypes"], function*(registry, origin) {
    const name = yield* fresh
    const manifest = { mediaType: "application/vnd.example.unheard-of.v1+json", bytes: bytesOf("{ \"any\":  1 }\r\n") }
    const { digest } = yield* origin.pushManifest(name, manifest, [tag("1")])
    const found = yield* registry.getManifest(name, tag("1"))
    yield* Expect.equal(found.bytes, manifest.bytes)
    yield* Expect.equal(found.descriptor, { mediaType: manifest.mediaType, digest, size: manifest.bytes.length })
  }),
  promise("a manifest of 4 MB is read as it was", [], function*(registry, origin) {
    const name = yield* fresh
    const annotations = { "org.example.much": "x".repeat(4_000_000) }
    const bytes = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [], annotations })
    const { digest } = yield* origin.pushManifest(name, { mediaType: MediaType.imageIndex, bytes })
    yield* Expect.equal((yield* registry.getManifest(name, digest)).bytes, bytes)
  }),
  promise("an index of an index is read", [], function*(registry, origin) {
    const name = yield* fresh
    const image = yield* pushImage(origin, name, ["layer"])
    const inner = yield* pushIndex(origin, name, [image])
    const { digest } = yield* pushIndex(origin, name, [inner, image], { tags: [tag("1")] })
    yield* Expect.equal((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
  }),
  promise("an absent tag is unknown to getManifest", [], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    yield* Expect.reason(registry.getManifest(name, tag("2")), "ManifestUnknown")
  }),
  promise("an absent digest is unknown to getManifest", [], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"])
    yield* Expect.reason(registry.getManifest(name, nowhere), "ManifestUnknown")
  }),
  promise("an absent tag is unknown to resolveManifest", [], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    yield* hasNoManifest(registry, name, tag("2"))
  }),
  promise("a manifest of another repository is not in this one", ["repositories"], function*(registry, origin) {
    const [here, elsewhere] = [yield* fresh, yield* fresh]
    yield* pushImage(origin, here, ["here"])
    const { digest } = yield* pushImage(origin, elsewhere, [`in ${elsewhere}`])
    yield* hasNoManifest(registry, here, digest)
  }),
  promise("an absent repository has no manifests", [], function*(registry) {
    yield* hasNoManifest(registry, yield* fresh, tag("1"))
  }),
  promise("a blob is no manifest", ["kinds"], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, name, "a blob")
    yield* hasNoManifest(registry, name, digest)
  })
]

const names: ReadonlyArray<Case> = [
  ...["_", "A.b-C_1", "1".repeat(128), "0".repeat(64), "sha256-1"].map((name) =>
    promise(`a tag may be ${name.length > 20 ? `${name[0]}, ${name.length} times` : name}`, [], function*(
      registry,
      origin
    ) {
      const repository = yield* fresh
      const { digest } = yield* pushImage(origin, repository, ["layer"], { tags: [tag(name)] })
      yield* Expect.equal((yield* registry.resolveManifest(repository, tag(name))).digest, digest)
    })
  ),
  promise("tags are case-sensitive", [], function*(registry, origin) {
    const name = yield* fresh
    const lower = yield* pushImage(origin, name, ["lower"], { tags: [tag("rc")] })
    const upper = yield* pushImage(origin, name, ["upper"], { tags: [tag("RC")] })
    const found = yield* Effect.forEach(["rc", "RC"].map(tag), (tag) => registry.resolveManifest(name, tag))
    yield* Expect.equal(found.map(({ digest }) => digest), [lower.digest, upper.digest])
  }),
  promise("a repository's name may be deep, and have every separator", [], function*(registry, origin) {
    const name = repository(`${yield* fresh}/${"a/b.c/d_e/f__g/h-i/j---k/".repeat(4)}0`)
    const { digest } = yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    yield* Expect.equal((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
  }),
  promise("a repository below another is separate from it", ["repositories"], function*(registry, origin) {
    const outer = yield* fresh
    const inner = repository(`${outer}/inner`)
    yield* pushImage(origin, outer, ["outer"], { tags: [tag("1")] })
    yield* pushImage(origin, inner, ["inner"], { tags: [tag("2")] })
    yield* hasNoManifest(registry, outer, tag("2"))
    yield* hasNoManifest(registry, inner, tag("1"))
  }),
  promise("the name of a repository may contain the names of endpoints", [], function*(registry, origin) {
    const name = repository(`${yield* fresh}/blobs/uploads/tags/list/manifests/referrers`)
    const { digest } = yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    yield* Expect.equal((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
  })
]

const pushing: ReadonlyArray<Case> = [
  promise("a push of a manifest returns its descriptor", ["push"], function*(registry) {
    const pushed = yield* registry.pushManifest(yield* fresh, { mediaType: MediaType.imageIndex, bytes: index })
    yield* Expect.equal(pushed, yield* Descriptor.fromBytes(index, { mediaType: MediaType.imageIndex }))
  }),
  promise("a manifest that exists is pushed again with another tag, and has both", ["push"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
    yield* pushImage(registry, name, ["layer"], { tags: [tag("2")] })
    const found = yield* Effect.forEach(["1", "2"].map(tag), (tag) => registry.resolveManifest(name, tag))
    yield* Expect.equal(found.map((descriptor) => descriptor.digest), [digest, digest])
  }),
  promise("a manifest that is pushed again without a tag keeps those it has", ["push"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
    yield* pushImage(registry, name, ["layer"])
    yield* Expect.equal((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
  }),
  promise("manifests that are pushed concurrently are all stored with their tags", ["push"], function*(registry) {
    const name = yield* fresh
    const tags = ["1", "2", "3", "4", "5", "6"].map(tag)
    const pushed = yield* Effect.forEach(tags, (tag) => pushImage(registry, name, [tag], { tags: [tag] }), {
      concurrency: "unbounded"
    })
    const found = yield* Effect.forEach(tags, (tag) => registry.resolveManifest(name, tag))
    yield* Expect.equal(found.map(({ digest }) => digest), pushed.map(({ digest }) => digest))
  }),
  promise("a tag moves to the manifest that is pushed with it", ["push", "retag"], function*(registry) {
    const name = yield* fresh
    yield* pushImage(registry, name, ["before"], { tags: [tag("latest")] })
    const { digest } = yield* pushImage(registry, name, ["after"], { tags: [tag("latest")] })
    yield* Expect.equal((yield* registry.resolveManifest(name, tag("latest"))).digest, digest)
  }),
  promise("a tag that was read before moves as well", ["push", "retag"], function*(registry) {
    const name = yield* fresh
    yield* pushImage(registry, name, ["before"], { tags: [tag("latest")] })
    yield* registry.getManifest(name, tag("latest"))
    const { digest } = yield* pushImage(registry, name, ["after"], { tags: [tag("latest")] })
    yield* Expect.equal((yield* registry.getManifest(name, tag("latest"))).descriptor.digest, digest)
  }),
  promise("a manifest that lost its tag stays", ["push", "retag"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* pushImage(registry, name, ["before"], { tags: [tag("latest")] })
    yield* pushImage(registry, name, ["after"], { tags: [tag("latest")] })
    yield* Expect.equal((yield* registry.resolveManifest(name, digest)).digest, digest)
  }),
  promise("a manifest under a wrong digest is refused, and not stored", ["push"], function*(registry) {
    const name = yield* fresh
    const manifest = { mediaType: MediaType.imageIndex, bytes: index, digest: nowhere }
    yield* Expect.reason(registry.pushManifest(name, manifest, [tag("1")]), "DigestInvalid", "DigestMismatch")
    yield* hasNoManifest(registry, name, tag("1"))
    yield* hasNoManifest(registry, name, nowhere)
  }),
  promise("a manifest that is not JSON is refused", ["push"], function*(registry) {
    const manifest = { mediaType: MediaType.imageManifest, bytes: bytesOf("{") }
    yield* Expect.reason(registry.pushManifest(yield* fresh, manifest), "ManifestInvalid")
  }),
  promise("a manifest that contradicts the media type of the push is refused", ["push"], function*(registry) {
    const bytes = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageManifest, manifests: [] })
    yield* Expect.reason(
      registry.pushManifest(yield* fresh, { mediaType: MediaType.imageIndex, bytes }),
      "ManifestInvalid"
    )
  }),
  promise("a manifest whose layer is absent is refused, and not stored", ["push"], function*(registry) {
    const name = yield* fresh
    const config = yield* pushBlob(registry, name, "{}", MediaType.imageConfig)
    const layers = [{ mediaType: MediaType.imageLayer, digest: nowhere, size: 1 }]
    const content = { mediaType: MediaType.imageManifest, config, layers }
    yield* Expect.reason(pushManifest(registry, name, content, [tag("1")]), "ManifestBlobUnknown")
    yield* hasNoManifest(registry, name, tag("1"))
  }),
  promise("an index whose manifest is absent is refused", ["push"], function*(registry) {
    const push = pushIndex(registry, yield* fresh, [{ mediaType: MediaType.imageManifest, digest: nowhere, size: 1 }])
    yield* Expect.reason(push, "ManifestBlobUnknown")
  }),
  promise("a manifest whose subject is absent is stored", ["push"], function*(registry) {
    const name = yield* fresh
    const subject = { mediaType: MediaType.imageManifest, digest: nowhere, size: 1 }
    const { digest } = yield* pushReferrer(registry, name, subject, "about nothing")
    yield* Expect.equal((yield* registry.resolveManifest(name, digest)).digest, digest)
  }),
  promise("a non-distributable layer may be absent", ["push", "nonDistributable"], function*(registry) {
    const name = yield* fresh
    const config = yield* pushBlob(registry, name, "{}", MediaType.imageConfig)
    const layer = {
      mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
      digest: nowhere,
      size: 1,
      urls: ["https://example.com/layer"]
    }
    const content = { mediaType: MediaType.imageManifest, config, layers: [layer] }
    const { digest } = yield* pushManifest(registry, name, content)
    yield* Expect.equal((yield* registry.resolveManifest(name, digest)).digest, digest)
  }),
  promise("a manifest is pushed under a sha512 digest", ["push", "sha512Manifests"], function*(registry) {
    const name = yield* fresh
    const mediaType = MediaType.imageIndex
    const { digest } = yield* Descriptor.fromBytes(index, { algorithm: "sha512" })
    yield* registry.pushManifest(name, { mediaType, bytes: index, digest })
    yield* Expect.equal(yield* registry.getManifest(name, digest), {
      descriptor: { mediaType, digest, size: index.length },
      bytes: index
    })
  }),
  promise(
    "a manifest is pushed under a sha512 digest and a tag",
    ["push", "sha512Manifests", "sha512Tags"],
    function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(index, { algorithm: "sha512" })
      yield* registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes: index, digest }, [tag("1")])
      yield* Expect.equal((yield* registry.resolveManifest(name, tag("1"))).digest, digest)
    }
  ),
  promise("a manifest under a digest of an unknown algorithm is refused", ["push"], function*(registry) {
    const digest = Digest.Digest.make("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8")
    const push = registry.pushManifest(yield* fresh, { mediaType: MediaType.imageIndex, bytes: index, digest })
    yield* Expect.reason(push, "DigestInvalid", "Unsupported", "UnsupportedAlgorithm")
  })
]

/** Returns a descriptor with the digest of existing content and a wrong size. */
const longer = <A extends { readonly size: number }>(descriptor: A): A => ({ ...descriptor, size: descriptor.size + 1 })

const sizes: ReadonlyArray<Case> = [
  promise(
    "a manifest with a wrong size of its config is refused, and not stored",
    ["push", "sizes"],
    function*(registry) {
      const name = yield* fresh
      const config = longer(yield* pushBlob(registry, name, "{}", MediaType.imageConfig))
      const content = { mediaType: MediaType.imageManifest, config, layers: [] }
      yield* Expect.reason(pushManifest(registry, name, content, [tag("1")]), "ManifestInvalid")
      yield* hasNoManifest(registry, name, tag("1"))
    }
  ),
  promise("a manifest with a wrong size of a layer is refused, and not stored", ["push", "sizes"], function*(registry) {
    const name = yield* fresh
    const config = yield* pushBlob(registry, name, "{}", MediaType.imageConfig)
    const layer = yield* pushBlob(registry, name, "layer")
    const content = { mediaType: MediaType.imageManifest, config, layers: [layer, longer(layer)] }
    yield* Expect.reason(pushManifest(registry, name, content, [tag("1")]), "ManifestInvalid")
    yield* hasNoManifest(registry, name, tag("1"))
  }),
  promise(
    "an index with a wrong size of a manifest is refused, and not stored",
    ["push", "sizes"],
    function*(registry) {
      const name = yield* fresh
      const { digest, mediaType, size } = yield* pushImage(registry, name, ["layer"])
      const push = pushIndex(registry, name, [longer({ digest, mediaType, size })], { tags: [tag("1")] })
      yield* Expect.reason(push, "ManifestInvalid")
      yield* hasNoManifest(registry, name, tag("1"))
    }
  ),
  promise(
    "a manifest with a wrong size of its subject is refused, and not listed",
    ["push", "sizes", "referrers"],
    function*(registry) {
      const name = yield* fresh
      const image = yield* pushImage(registry, name, ["layer"])
      yield* Expect.reason(pushReferrer(registry, name, longer(image), "about it"), "ManifestInvalid")
      yield* Expect.equal(yield* Stream.runCollect(registry.referrers(name, image.digest)), [])
    }
  )
]

const deleting: ReadonlyArray<Case> = [
  promise("a deleted manifest is absent", ["delete"], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushImage(origin, name, ["layer"])
    yield* registry.deleteManifest(name, digest)
    yield* hasNoManifest(registry, name, digest)
  }),
  promise("a manifest that was read and then deleted is absent", ["delete"], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    yield* registry.getManifest(name, tag("1"))
    yield* registry.deleteManifest(name, digest)
    yield* hasNoManifest(registry, name, tag("1"))
    yield* hasNoManifest(registry, name, digest)
  }),
  promise("deleting a manifest deletes its tags", ["delete", "tags"], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushImage(origin, name, ["one"], { tags: [tag("1"), tag("1.1")] })
    yield* pushImage(origin, name, ["two"], { tags: [tag("2")] })
    yield* registry.deleteManifest(name, digest)
    yield* Expect.equal(yield* Stream.runCollect(registry.tags(name)), [tag("2")])
  }),
  promise("a deleted manifest is pushed again", ["delete", "push"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* pushImage(registry, name, ["layer"])
    yield* registry.deleteManifest(name, digest)
    yield* pushImage(registry, name, ["layer"])
    yield* Expect.equal((yield* registry.resolveManifest(name, digest)).digest, digest)
  }),
  promise("an absent manifest cannot be deleted", ["delete"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"])
    yield* Expect.reason(registry.deleteManifest(name, nowhere), "ManifestUnknown")
  }),
  promise("a deleted tag is absent", ["tagDelete", "tags"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: [tag("1"), tag("2")] })
    yield* registry.deleteTag(name, tag("1"))
    yield* hasNoManifest(registry, name, tag("1"))
    yield* Expect.equal(yield* Stream.runCollect(registry.tags(name)), [tag("2")])
  }),
  promise("a tag that was read and then deleted is absent", ["tagDelete"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    yield* registry.getManifest(name, tag("1"))
    yield* registry.deleteTag(name, tag("1"))
    yield* hasNoManifest(registry, name, tag("1"))
  }),
  promise("deleting a tag keeps its manifest", ["tagDelete"], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    yield* registry.deleteTag(name, tag("1"))
    yield* Expect.equal((yield* registry.resolveManifest(name, digest)).digest, digest)
  }),
  promise("an absent tag cannot be deleted", ["tagDelete"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
    yield* Expect.reason(registry.deleteTag(name, tag("2")), "ManifestUnknown")
  })
]

export const manifests: ReadonlyArray<Case> = [...reading, ...names, ...pushing, ...sizes, ...deleting]
