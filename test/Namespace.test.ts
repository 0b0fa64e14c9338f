import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import type { CopyError } from "effect-oci/CopyError"
import * as Digest from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Namespace from "effect-oci/Namespace"
import * as Reference from "effect-oci/Reference"
import * as Resolver from "effect-oci/Resolver"
import {
  bytesOf,
  pushBlob,
  pushImage,
  pushManifest,
  pushReferrer,
  pushSample,
  repository,
  tag
} from "./utils/images.ts"

const app = repository("team/app")
const nowhere = Digest.fromHash("sha256", new Uint8Array(32))

/** Creates a namespace of two registries and a broken host. The first registry has an image and a blob. */
const setUp = Effect.gen(function*() {
  const one = yield* MemoryRegistry.make({ name: "one.local" })
  const two = yield* MemoryRegistry.make({ name: "two.local" })
  const broken = Resolver.Resolver.of({
    resolve: (host) =>
      Effect.fail(
        host === "broken.local"
          ? new Resolver.ResolveFailed({ host, cause: "out of order" })
          : new Resolver.UnknownHost({ host })
      )
  })
  const resolver = Resolver.firstOf(Resolver.static({ "one.local": one, "two.local": two }), broken)
  const image = yield* pushImage(one, app, ["layer"], { tags: [tag("1")] })
  const blob = yield* pushBlob(one, app, "0123456789")
  return { namespace: Namespace.make({ resolver }), one, two, image, blob }
})

const textOf = <E>(stream: Stream.Stream<Uint8Array, E>) => Stream.mkString(Stream.decodeText(stream))

const tagOf = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ _tag }) => _tag)

describe("an end", () => {
  it.effect("is a string", () =>
    Effect.gen(function*() {
      const { image, namespace } = yield* setUp
      assert.strictEqual((yield* namespace.resolveManifest("one.local/team/app:1")).digest, image.digest)
    }))

  it.effect("is a reference", () =>
    Effect.gen(function*() {
      const { image, namespace } = yield* setUp
      const reference = yield* Effect.fromResult(Reference.parse("one.local/team/app:1"))
      assert.strictEqual((yield* namespace.resolveManifest(reference)).digest, image.digest)
    }))

  it.effect("is a repository of a registry that no resolver knows", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      const registry = yield* MemoryRegistry.make()
      const { digest } = yield* pushImage(registry, app, ["private"], { tags: [tag("1")] })
      assert.strictEqual(
        (yield* namespace.resolveManifest({ registry, repository: app, tag: tag("1") })).digest,
        digest
      )
    }))

  it.effect("that is not a reference is an error", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.resolveManifest("one.local/Team/app:1")), "InvalidReference")
    }))

  it.effect("without a host is an error", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.resolveManifest("team/app:1")), "InvalidReference")
    }))

  it.effect("of an unknown host is an error", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.resolveManifest("three.local/team/app:1")), "UnknownHost")
    }))

  it.effect("of a broken host is an error", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.resolveManifest("broken.local/team/app:1")), "ResolveFailed")
    }))
})

describe("getManifest", () => {
  it.effect("reads by tag", () =>
    Effect.gen(function*() {
      const { image, namespace, one } = yield* setUp
      const found = yield* namespace.getManifest("one.local/team/app:1")
      assert.deepStrictEqual(found, yield* one.getManifest(app, image.digest))
    }))

  it.effect("reads by digest", () =>
    Effect.gen(function*() {
      const { image, namespace, one } = yield* setUp
      const found = yield* namespace.getManifest(`one.local/team/app@${image.digest}`)
      assert.deepStrictEqual(found, yield* one.getManifest(app, image.digest))
    }))

  it.effect("reads by a tag and its digest", () =>
    Effect.gen(function*() {
      const { image, namespace } = yield* setUp
      const { descriptor } = yield* namespace.getManifest(`one.local/team/app:1@${image.digest}`)
      assert.strictEqual(descriptor.digest, image.digest)
    }))

  it.effect("fails if the tag points at another digest than that of the reference", () =>
    Effect.gen(function*() {
      const { image, namespace } = yield* setUp
      const error = yield* Effect.flip(namespace.getManifest(`one.local/team/app:1@${nowhere}`))
      assert.strictEqual(error.message, `the tag 1 points at ${image.digest}, not at ${nowhere}`)
    }))

  it.effect("fails if the tag is absent, even if the digest is present", () =>
    Effect.gen(function*() {
      const { image, namespace } = yield* setUp
      const error = yield* Effect.flip(namespace.getManifest(`one.local/team/app:2@${image.digest}`))
      assert(error._tag === "RegistryError")
      assert.strictEqual(error.reason._tag, "ManifestUnknown")
    }))

  it.effect("needs a tag or a digest", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.getManifest("one.local/team/app")), "UnfitReference")
    }))
})

describe("resolveManifest", () => {
  it.effect("returns the descriptor of a tag", () =>
    Effect.gen(function*() {
      const { image: { digest, mediaType, size }, namespace } = yield* setUp
      assert.deepStrictEqual(yield* namespace.resolveManifest("one.local/team/app:1"), { digest, mediaType, size })
    }))

  it.effect("returns the descriptor of a digest", () =>
    Effect.gen(function*() {
      const { image: { digest, mediaType, size }, namespace } = yield* setUp
      const descriptor = yield* namespace.resolveManifest(`one.local/team/app@${digest}`)
      assert.deepStrictEqual(descriptor, { digest, mediaType, size })
    }))

  it.effect("fails if the tag points at another digest than that of the reference", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.resolveManifest(`one.local/team/app:1@${nowhere}`)), "TagMismatch")
    }))

  it.effect("needs a tag or a digest", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.resolveManifest("one.local/team/app")), "UnfitReference")
    }))
})

describe("getBlob", () => {
  it.effect("opens a blob", () =>
    Effect.gen(function*() {
      const { blob, namespace } = yield* setUp
      const { stream } = yield* namespace.getBlob(`one.local/team/app@${blob.digest}`)
      assert.strictEqual(yield* textOf(stream), "0123456789")
    }))

  it.effect("opens a range of a blob", () =>
    Effect.gen(function*() {
      const { blob, namespace } = yield* setUp
      const range = { offset: 2, length: 3 }
      const { stream } = yield* namespace.getBlob(`one.local/team/app@${blob.digest}`, { range })
      assert.strictEqual(yield* textOf(stream), "234")
    }))

  it.effect("fails with the error of the registry", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      const error = yield* Effect.flip(namespace.getBlob(`one.local/team/app@${nowhere}`))
      assert(error._tag === "RegistryError")
      assert.strictEqual(error.reason._tag, "BlobUnknown")
    }))

  it.effect("needs a digest", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      const error = yield* Effect.flip(namespace.getBlob("one.local/team/app"))
      assert.strictEqual(error.message, "a blob needs a digest")
    }))

  it.effect("fails for a tag", () =>
    Effect.gen(function*() {
      const { blob, namespace } = yield* setUp
      const error = yield* Effect.flip(namespace.getBlob(`one.local/team/app:1@${blob.digest}`))
      assert.strictEqual(error.message, "a blob has no tag")
    }))
})

describe("resolveBlob", () => {
  it.effect("returns the size of a blob", () =>
    Effect.gen(function*() {
      const { blob, namespace } = yield* setUp
      assert.strictEqual((yield* namespace.resolveBlob(`one.local/team/app@${blob.digest}`)).size, 10)
    }))

  it.effect("needs a digest", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.resolveBlob("one.local/team/app")), "UnfitReference")
    }))

  it.effect("fails for a tag", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.resolveBlob("one.local/team/app:1")), "UnfitReference")
    }))
})

const good = { source: "one.local/team/app:1", destination: "two.local/mirror:1" }

/** Invalid ends of a copy: the end, and what is wrong with it. */
const badManifestEnds: ReadonlyArray<{
  readonly problem: string
  readonly end: CopyError["end"]
  readonly reference: string
  readonly reason: CopyError["reason"]["_tag"]
}> = [
  { problem: "not a reference", end: "source", reference: "one.local/Team/app:1", reason: "InvalidReference" },
  { problem: "not a reference", end: "destination", reference: "mirror:1", reason: "InvalidReference" },
  { problem: "of an unknown host", end: "source", reference: "three.local/team/app:1", reason: "UnknownHost" },
  { problem: "of an unknown host", end: "destination", reference: "three.local/mirror:1", reason: "UnknownHost" },
  { problem: "of a broken host", end: "source", reference: "broken.local/team/app:1", reason: "ResolveFailed" },
  { problem: "of a broken host", end: "destination", reference: "broken.local/mirror:1", reason: "ResolveFailed" },
  { problem: "without tag and digest", end: "source", reference: "one.local/team/app", reason: "UnfitReference" },
  { problem: "absent", end: "source", reference: "one.local/team/app:2", reason: "ManifestUnknown" },
  {
    problem: "a tag with another digest",
    end: "source",
    reference: `one.local/team/app:1@${nowhere}`,
    reason: "TagMismatch"
  },
  {
    problem: "of another digest than the source",
    end: "destination",
    reference: `two.local/mirror@${nowhere}`,
    reason: "DigestConflict"
  }
]

const summary = ({ end, reason, reference }: CopyError) => ({ end, reference, reason: reason._tag })

describe("copyManifest", () => {
  it.effect.each(badManifestEnds)(
    "fails for a $end that is $problem",
    ({ end, reason, reference }) =>
      Effect.gen(function*() {
        const { namespace } = yield* setUp
        const error = yield* Effect.flip(namespace.copyManifest({ ...good, [end]: reference }))
        assert.deepStrictEqual(summary(error), { end, reference, reason })
      })
  )

  it.effect("formats a reference in its error like a string", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      const source = yield* Effect.fromResult(Reference.parse("three.local/team/app:1"))
      const error = yield* Effect.flip(namespace.copyManifest({ ...good, source }))
      assert.strictEqual(error.reference, "three.local/team/app:1")
    }))

  it.effect("sends nothing to a destination with another digest", () =>
    Effect.gen(function*() {
      const { namespace, two } = yield* setUp
      yield* Effect.flip(namespace.copyManifest({ ...good, destination: `two.local/mirror:1@${nowhere}` }))
      assert.deepStrictEqual(yield* Stream.runCollect(two.repositories()), [])
    }))
})

describe("copyBlob", () => {
  const badBlobEnds: typeof badManifestEnds = [
    ...badManifestEnds.filter(({ reason }) => ["InvalidReference", "UnknownHost", "ResolveFailed"].includes(reason)),
    { problem: "without a digest", end: "source", reference: "one.local/team/app", reason: "UnfitReference" },
    { problem: "a tag", end: "source", reference: "one.local/team/app:1", reason: "UnfitReference" },
    { problem: "a tag", end: "destination", reference: "two.local/mirror:1", reason: "UnfitReference" },
    { problem: "absent", end: "source", reference: `one.local/team/app@${nowhere}`, reason: "BlobUnknown" },
    {
      problem: "of another digest than the source",
      end: "destination",
      reference: `two.local/mirror@${nowhere}`,
      reason: "DigestConflict"
    }
  ]

  it.effect.each(badBlobEnds)(
    "fails for a $end that is $problem",
    ({ end, reason, reference }) =>
      Effect.gen(function*() {
        const { blob, namespace } = yield* setUp
        const ends = { source: `one.local/team/app@${blob.digest}`, destination: "two.local/mirror" }
        const error = yield* Effect.flip(namespace.copyBlob({ ...ends, [end]: reference }))
        assert.deepStrictEqual(summary(error), { end, reference, reason })
      })
  )
})

describe("a platform", () => {
  /** Pushes an index of two images below another index, and an image without an index. */
  const withPlatforms = Effect.gen(function*() {
    const { namespace, one } = yield* setUp
    const { amd64, arm64, index } = yield* pushSample(one, app, [])
    const mediaType = MediaType.imageIndex
    const nested = yield* pushManifest(one, app, { mediaType, manifests: [index] }, [tag("nested")])
    const lone = yield* pushImage(one, app, ["lone"], { architecture: "s390x", tags: [tag("lone")] })
    const { platform } = lone
    return { namespace, amd64, arm64, nested, lone, platform }
  })
  const arm64 = { os: "linux", architecture: "arm64" }

  it.effect("selects an image of an index at any depth", () =>
    Effect.gen(function*() {
      const { arm64: image, namespace } = yield* withPlatforms
      const found = yield* namespace.resolveManifest("one.local/team/app:nested", { platform: arm64 })
      assert.strictEqual(found.digest, image.digest)
      const { descriptor } = yield* namespace.getManifest("one.local/team/app:nested", { platform: arm64 })
      assert.strictEqual(descriptor.digest, image.digest)
    }))

  it.effect("of an image without an index is in its config", () =>
    Effect.gen(function*() {
      const { lone, namespace, platform } = yield* withPlatforms
      const found = yield* namespace.resolveManifest("one.local/team/app:lone", { platform })
      assert.strictEqual(found.digest, lone.digest)
    }))

  it.effect("without an image is an error that lists the available ones", () =>
    Effect.gen(function*() {
      const { namespace } = yield* withPlatforms
      const riscv = { os: "linux", architecture: "riscv64" }
      const error = yield* Effect.flip(namespace.getManifest("one.local/team/app:nested", { platform: riscv }))
      assert.strictEqual(error.message, "there is no image for linux/riscv64; available: linux/amd64, linux/arm64")
    }))
})

describe("pushManifest", () => {
  const bytes = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] })
  const manifest = { mediaType: MediaType.imageIndex, bytes }

  it.effect("sets the tag of the reference, and further tags", () =>
    Effect.gen(function*() {
      const { namespace, two } = yield* setUp
      const { digest } = yield* namespace.pushManifest("two.local/app:1", manifest, [tag("2"), tag("1")])
      for (const name of ["1", "2"]) {
        assert.strictEqual((yield* two.resolveManifest(repository("app"), tag(name))).digest, digest)
      }
    }))

  it.effect("needs no tag, and fails for another digest than that of the manifest", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      const { digest } = yield* namespace.pushManifest("two.local/app", manifest)
      assert.strictEqual((yield* namespace.resolveManifest(`two.local/app@${digest}`)).digest, digest)
      const error = yield* Effect.flip(namespace.pushManifest(`two.local/app@${nowhere}`, manifest))
      assert(error._tag === "RegistryError")
      assert.strictEqual(error.reason._tag, "DigestMismatch")
    }))
})

describe("pushBlob", () => {
  it.effect("accepts only content with the digest of the reference", () =>
    Effect.gen(function*() {
      const { blob, namespace } = yield* setUp
      const place = `two.local/app@${blob.digest}`
      yield* namespace.pushBlob(place, BlobSource.fromBytes(bytesOf("0123456789")))
      assert.strictEqual((yield* namespace.resolveBlob(place)).size, 10)
      const other = `two.local/app@${nowhere}`
      const error = yield* Effect.flip(namespace.pushBlob(other, BlobSource.fromBytes(bytesOf("0123456789"))))
      assert(error._tag === "RegistryError")
      assert.strictEqual(error.reason._tag, "DigestMismatch")
    }))

  it.effect("needs a digest and no tag", () =>
    Effect.gen(function*() {
      const { blob, namespace } = yield* setUp
      for (const place of ["two.local/app", `two.local/app:1@${blob.digest}`]) {
        assert.strictEqual(yield* tagOf(namespace.pushBlob(place, BlobSource.fromBytes(bytesOf("")))), "UnfitReference")
      }
    }))
})

describe("deleting", () => {
  it.effect("a tag keeps the manifest", () =>
    Effect.gen(function*() {
      const { image, namespace } = yield* setUp
      yield* namespace.deleteTag(`one.local/team/app:1@${image.digest}`)
      assert.strictEqual(yield* tagOf(namespace.resolveManifest("one.local/team/app:1")), "RegistryError")
      assert.strictEqual(
        (yield* namespace.resolveManifest(`one.local/team/app@${image.digest}`)).digest,
        image.digest
      )
    }))

  it.effect("a tag fails if it points at another digest than that of the reference", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      assert.strictEqual(yield* tagOf(namespace.deleteTag(`one.local/team/app:1@${nowhere}`)), "TagMismatch")
      yield* namespace.resolveManifest("one.local/team/app:1")
    }))

  it.effect("a manifest deletes its tags, and needs its digest and no tag", () =>
    Effect.gen(function*() {
      const { image, namespace } = yield* setUp
      for (const place of ["one.local/team/app:1", "one.local/team/app", `one.local/team/app:1@${image.digest}`]) {
        assert.strictEqual(yield* tagOf(namespace.deleteManifest(place)), "UnfitReference")
      }
      yield* namespace.deleteManifest(`one.local/team/app@${image.digest}`)
      assert.strictEqual(yield* tagOf(namespace.resolveManifest("one.local/team/app:1")), "RegistryError")
    }))

  it.effect("a blob needs its digest", () =>
    Effect.gen(function*() {
      const { blob, namespace } = yield* setUp
      yield* namespace.deleteBlob(`one.local/team/app@${blob.digest}`)
      assert.strictEqual(yield* tagOf(namespace.resolveBlob(`one.local/team/app@${blob.digest}`)), "RegistryError")
      assert.strictEqual(yield* tagOf(namespace.deleteTag("one.local/team/app")), "UnfitReference")
    }))
})

describe("listing", () => {
  it.effect("the tags of a repository needs neither tag nor digest", () =>
    Effect.gen(function*() {
      const { image, namespace } = yield* setUp
      assert.deepStrictEqual(yield* Stream.runCollect(namespace.tags("one.local/team/app")), [tag("1")])
      for (const place of ["one.local/team/app:1", `one.local/team/app@${image.digest}`]) {
        assert.strictEqual(yield* tagOf(Stream.runDrain(namespace.tags(place))), "UnfitReference")
      }
    }))

  it.effect("the referrers of a tag or a digest, of one type or of any", () =>
    Effect.gen(function*() {
      const { image, namespace, one } = yield* setUp
      const referrer = yield* pushReferrer(one, app, image, "about")
      const digestsOf = (place: string, options?: { readonly artifactType?: string }) =>
        Effect.map(Stream.runCollect(namespace.referrers(place, options)), (found) => found.map(({ digest }) => digest))
      assert.deepStrictEqual(yield* digestsOf("one.local/team/app:1"), [referrer.digest])
      assert.deepStrictEqual(yield* digestsOf(`one.local/team/app@${image.digest}`), [referrer.digest])
      assert.deepStrictEqual(yield* digestsOf("one.local/team/app:1", { artifactType: "text/none" }), [])
      assert.deepStrictEqual(yield* digestsOf(`one.local/team/app@${nowhere}`), [])
    }))

  it.effect("the repositories of a registry, by its host", () =>
    Effect.gen(function*() {
      const { namespace } = yield* setUp
      const registry = yield* namespace.registry(Reference.Host.make("one.local"))
      assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), [app])
    }))
})

describe("Namespace.layer", () => {
  it.effect("uses the resolver of the program", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const { digest } = yield* pushImage(registry, app, ["layer"], { tags: [tag("1")] })
      const found = yield* Effect.flatMap(
        Namespace.Namespace,
        (namespace) => namespace.resolveManifest("mem.local/team/app:1")
      ).pipe(Effect.provide(Layer.provide(Namespace.layer, Resolver.layerStatic({ "mem.local": registry }))))
      assert.strictEqual(found.digest, digest)
    }))
})
