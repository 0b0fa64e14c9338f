import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Result } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import { bytesOf } from "./utils/images.ts"

const described = (content: string, mediaType: string) => Descriptor.fromBytes(bytesOf(content), { mediaType })

const text = ({ bytes }: { readonly bytes: Uint8Array }): string => new TextDecoder().decode(bytes)

describe("making manifests", () => {
  it.effect("returns the bytes, the digest, the descriptor and the decoded content in one value", () =>
    Effect.gen(function*() {
      const config = yield* described("{}", MediaType.imageConfig)
      const layer = yield* described("layer", MediaType.imageLayer)
      const made = yield* Manifest.image({ config, layers: [layer] })
      assert.deepStrictEqual(
        yield* Descriptor.fromBytes(made.bytes, { mediaType: MediaType.imageManifest }),
        made.descriptor
      )
      assert.strictEqual(made.digest, made.descriptor.digest)
      const decoded = Result.getOrThrow(Manifest.decode(made.mediaType, made.bytes))
      assert.deepStrictEqual(decoded.content, { ...made.content })
      assert.strictEqual(decoded._tag, "Image")
    }))

  it.effect("writes equal manifests as equal bytes, whatever the order of their parts", () =>
    Effect.gen(function*() {
      const layer = yield* described("layer", "text/plain")
      const one = yield* Manifest.artifact({
        artifactType: "text/x-test",
        layers: [{ ...layer, annotations: { b: "2", a: "1" } }],
        annotations: { z: "1", a: "2" }
      })
      const { digest, mediaType, size } = layer
      const two = yield* Manifest.artifact({
        annotations: { a: "2", z: "1" },
        layers: [{ annotations: { a: "1", b: "2" }, size, digest, mediaType }],
        artifactType: "text/x-test"
      })
      assert.strictEqual(text(one), text(two))
    }))

  it.effect("makes an artifact as oras does: an empty config, and an empty layer if it has no content", () =>
    Effect.gen(function*() {
      const made = yield* Manifest.artifact({ artifactType: "application/vnd.example" })
      const empty = {
        mediaType: MediaType.empty,
        digest: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        size: 2,
        data: "e30="
      }
      assert.strictEqual(
        text(made),
        JSON.stringify({
          schemaVersion: 2,
          mediaType: MediaType.imageManifest,
          artifactType: "application/vnd.example",
          config: empty,
          layers: [empty]
        })
      )
      assert.strictEqual(made.descriptor.artifactType, "application/vnd.example")
    }))

  it.effect("gives an artifact without a type and a config the type that oras gives it", () =>
    Effect.gen(function*() {
      const config = yield* described("{}", "application/vnd.example.config+json")
      assert.strictEqual((yield* Manifest.artifact({})).content.artifactType, Manifest.unknownArtifact)
      assert.isUndefined((yield* Manifest.artifact({ config })).content.artifactType)
    }))

  it.effect("writes of the subject only its media type, digest and size", () =>
    Effect.gen(function*() {
      const subject = { ...yield* described("{}", MediaType.imageManifest), annotations: { a: "b" } }
      const { content } = yield* Manifest.artifact({ artifactType: "text/x-test", subject })
      const { digest, mediaType, size } = subject
      assert.deepStrictEqual(content.subject, { mediaType, digest, size })
    }))

  it.effect("writes the time of creation only on request, in whole seconds", () =>
    Effect.gen(function*() {
      const created = DateTime.makeUnsafe("2026-02-03T04:05:06.789Z")
      const without = yield* Manifest.index({ manifests: [] })
      const made = yield* Manifest.index({ manifests: [], created })
      assert.isUndefined(without.content.annotations)
      assert.deepStrictEqual(made.content.annotations, { "org.opencontainers.image.created": "2026-02-03T04:05:06Z" })
    }))

  it.effect("uses another digest algorithm on request", () =>
    Effect.gen(function*() {
      const { digest } = yield* Manifest.index({ manifests: [], algorithm: "sha512" })
      assert.match(digest, /^sha512:/)
    }))

  it.effect("refuses what is not a media type", () =>
    Effect.gen(function*() {
      const layer = yield* described("layer", "text")
      const errors = [
        yield* Effect.flip(Manifest.artifact({ artifactType: "an sbom" })),
        yield* Effect.flip(Manifest.artifact({ artifactType: "text/x-test", layers: [layer] })),
        yield* Effect.flip(Manifest.index({ manifests: [], artifactType: "a/b/c" }))
      ]
      assert.deepStrictEqual(errors.map((error) => error._tag === "ManifestError" ? error.problem : error._tag), [
        `"an sbom" is not a media type`,
        `"text" is not a media type`,
        `"a/b/c" is not a media type`
      ])
    }))

  it.effect("keeps fields that are not declared when an index is encoded again", () =>
    Effect.gen(function*() {
      const child = { mediaType: MediaType.imageManifest, digest: Descriptor.empty.digest, size: 2, "x-child": 1 }
      const bytes = bytesOf({ "x-index": [1], manifests: [child], schemaVersion: 2 })
      const index = Result.getOrThrow(Manifest.decode(MediaType.imageIndex, bytes))
      assert.strictEqual(index._tag, "Index")
      if (index._tag !== "Index") return
      const made = yield* Manifest.withContent(index, { ...index.content, annotations: { a: "b" } })
      assert.deepStrictEqual(JSON.parse(text(made)), {
        schemaVersion: 2,
        manifests: [child],
        annotations: { a: "b" },
        "x-index": [1]
      })
    }))
})
