import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Result, Schema } from "effect"
import type * as Descriptor from "effect-oci/Descriptor"
import * as Digest from "effect-oci/Digest"
import * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import { TestSchema } from "effect/testing"
import { bytesOf } from "./utils/images.ts"

/** A descriptor of its own for every number. */
const of = (mediaType: string, n: number): Descriptor.Descriptor => ({
  mediaType,
  digest: Digest.fromHash("sha256", new Uint8Array(32).fill(n)),
  size: n
})
const config = of(MediaType.imageConfig, 1)
const layer = (n: number) => of(MediaType.imageLayerGzip, n)
const child = (n: number) => of(MediaType.imageManifest, n)
const image = { config, layers: [layer(2), layer(3)] }
const index = { manifests: [child(4), child(5)] }

const decode = (mediaType: string, content: string | object) =>
  Result.getOrThrow(Manifest.decode(mediaType, bytesOf(content)))
const failure = (mediaType: string, content: string | object | Uint8Array) => {
  const bytes = content instanceof Uint8Array ? content : bytesOf(content)
  return Result.getOrThrow(Result.flip(Manifest.decode(mediaType, bytes)))
}
const digests = (mediaType: string, content: object) => Result.getOrThrow(Manifest.digests(mediaType, bytesOf(content)))

/** Texts that look like manifests at first. */
const texts = Arbitrary.array(Arbitrary.schema(Schema.Union([
  Schema.Literals([
    "{",
    "}",
    "[",
    "]",
    ",",
    `"layers":`,
    `"manifests":`,
    `"config":`,
    `"":`,
    JSON.stringify(config),
    "null"
  ]),
  Schema.String
]))).pipe(Arbitrary.map((parts) => bytesOf(parts.join(""))))

describe("Manifest", () => {
  describe("decode", () => {
    it.each([
      [MediaType.imageManifest, "Image", image],
      [MediaType.dockerManifest, "Image", image],
      [MediaType.imageIndex, "Index", index],
      [MediaType.dockerManifestList, "Index", index],
      [MediaType.artifactManifest, "Artifact", { blobs: [layer(2)] }]
    ])("understands %s", (mediaType, tag, fields) => {
      const content = { schemaVersion: 2, mediaType, annotations: { a: "b" }, ...fields }
      const manifest = decode(mediaType, content)
      assert.strictEqual(manifest._tag, tag)
      assert.strictEqual(manifest.mediaType, mediaType)
      assert.deepStrictEqual<object>(manifest.content, content)
    })

    it("keeps the very bytes that it was given", () => {
      const bytes = bytesOf(`\n{ "x": 1.0, "layers": [],\t"config": ${JSON.stringify(config)} }\n`)
      assert.strictEqual(Result.getOrThrow(Manifest.decode(MediaType.imageManifest, bytes)).bytes, bytes)
    })

    it("keeps fields that it does not know", () => {
      const content = { manifests: [{ ...child(1), "x-child": [1] }], "x-index": { a: { b: null } } }
      assert.deepStrictEqual<object>(decode(MediaType.imageIndex, content).content, content)
    })

    it("accepts null for an empty list and for an absent field, as Go writes it", () => {
      const nothing = { schemaVersion: null, mediaType: null, artifactType: null, subject: null, annotations: null }
      const platform = { os: "linux", architecture: "arm64", variant: null, "os.features": null }
      const manifests = [{ ...child(1), urls: null, annotations: null, data: null, platform }]
      // undefined is as good as absent
      const decoded = (mediaType: string, content: object): object =>
        JSON.parse(JSON.stringify(decode(mediaType, { ...nothing, ...content }).content))
      assert.deepStrictEqual(decoded(MediaType.imageManifest, { config, layers: null }), { config, layers: [] })
      assert.deepStrictEqual(decoded(MediaType.imageIndex, { manifests: null }), { manifests: [] })
      assert.deepStrictEqual(decoded(MediaType.artifactManifest, { blobs: null }), {})
      assert.deepStrictEqual(decoded(MediaType.imageIndex, { manifests }), {
        manifests: [{ ...child(1), platform: { os: "linux", architecture: "arm64" } }]
      })
    })

    it.each<readonly [mediaType: string, content: object]>([
      [MediaType.imageManifest, { config }],
      [MediaType.imageManifest, { config, layers: null }],
      [MediaType.imageManifest, { config, layers: [], manifests: [] }],
      [MediaType.imageIndex, {}],
      [MediaType.imageIndex, { manifests: null }],
      [MediaType.imageIndex, { manifests: [], layers: [], config: null }],
      [MediaType.artifactManifest, { manifests: [], layers: [] }]
    ])("takes null, absent and [] for the same list: %s %j", (mediaType, content) => {
      const { blobs, manifests } = digests(mediaType, content)
      assert.deepStrictEqual([blobs.filter((blob) => blob.digest !== config.digest), manifests], [[], []])
    })

    it("takes a subject that has only a digest", () => {
      const subject = { digest: child(1).digest, mediaType: null, size: null }
      const { content } = decode(MediaType.imageManifest, { ...image, subject })
      assert.deepStrictEqual(content.subject, { digest: child(1).digest, mediaType: undefined, size: undefined })
    })

    it("takes any number for the version of the schema", () => {
      assert.strictEqual(decode(MediaType.imageIndex, { ...index, schemaVersion: 1 }).content.schemaVersion, 1)
    })

    it("takes a child without a media type, and one whose platform is incomplete", () => {
      const { digest, size } = child(1)
      const manifests = [{ digest, size, platform: { architecture: "amd64" } }]
      assert.deepStrictEqual(digests(MediaType.imageIndex, { manifests }).manifests, [{ mediaType: "", digest, size }])
    })

    it.each(["", "text/html", "application/json", `${MediaType.imageIndex}; charset=utf-8`, MediaType.imageConfig])(
      "knows no manifests of type %j",
      (mediaType) => {
        const error = failure(mediaType, index)
        assert.strictEqual(error.kind, "UnknownMediaType")
        assert.strictEqual(error.message, `${JSON.stringify(mediaType)} is not a known type of manifest`)
      }
    )

    it.each<readonly [what: string, content: string | object | Uint8Array, problem: string]>([
      ["what is not UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), "not UTF-8"],
      ["what is UTF-16", Uint8Array.of(0xff, 0xfe, 0x7b, 0, 0x7d, 0), "not UTF-8"],
      ["nothing", "", "Expected a valid JSON string"],
      ["what is not JSON", "<html>", "Expected a valid JSON string"],
      ["JSON that does not end", "[".repeat(100_000), "Expected a valid JSON string"],
      ["a byte order mark", `\ufeff${JSON.stringify(index)}`, "Expected a valid JSON string"],
      ["a number", "1", "Expected object"],
      ["a list", "[]", "Expected object"],
      ["null", "null", "Expected object"],
      ["a list that is none", { manifests: {} }, `Expected array | null at ["manifests"]`],
      ["a list of something else", { manifests: [null] }, `Expected object at ["manifests"][0]`],
      ["a version that is none", { ...index, schemaVersion: "2" }, `Expected number | null at ["schemaVersion"]`],
      ["another media type", { ...index, mediaType: "a/b" }, `its mediaType field says "a/b"`],
      [
        "a digest that is none",
        { manifests: [child(1), { ...child(2), digest: "../x" }] },
        `expected an algorithm, a colon and the encoded hash at ["manifests"][1]["digest"]`
      ],
      [
        "an index that reads as an image",
        { ...index, layers: [layer(1)] },
        "it has a field layers, which that type does not have"
      ],
      ["an index that has a config", { ...index, config }, "it has a field config, which that type does not have"]
    ])("does not take %s for an index", (_, content, problem) => {
      const error = failure(MediaType.imageIndex, content)
      assert.deepStrictEqual([error.kind, error.mediaType, error.problem], ["Malformed", MediaType.imageIndex, problem])
      assert.strictEqual(error.message, `not a manifest of type "${MediaType.imageIndex}": ${problem}`)
    })

    it.each([
      [MediaType.imageManifest, { layers: [] }, `Missing key at ["config"]`],
      [MediaType.imageManifest, { config: null, layers: [] }, `Expected object at ["config"]`],
      [
        MediaType.imageManifest,
        { ...image, manifests: [child(1)] },
        "it has a field manifests, which that type does not have"
      ],
      [MediaType.dockerManifest, { ...image, ...index }, "it has a field manifests, which that type does not have"],
      [
        MediaType.dockerManifest,
        { ...image, mediaType: MediaType.imageManifest },
        `its mediaType field says "${MediaType.imageManifest}"`
      ],
      [MediaType.dockerManifestList, { ...index, ...image }, "it has a field layers, which that type does not have"],
      [
        MediaType.artifactManifest,
        { manifests: [child(1)] },
        "it has a field manifests, which that type does not have"
      ],
      [MediaType.artifactManifest, { layers: [layer(1)] }, "it has a field layers, which that type does not have"]
    ])("does not take for %s what it is not: %j", (mediaType, content, problem) => {
      assert.strictEqual(failure(mediaType, content).problem, problem)
    })

    it("does not look for fields in prototypes", () => {
      const json = `{ "manifests": [], "__proto__": { "layers": [], "subject": 1 }, "constructor": 1 }`
      assert.isUndefined(decode(MediaType.imageIndex, json).content.subject)
    })

    it("does not fall over deep nesting", () => {
      for (const [open, close] of [["[", "]"], [`{"a":`, "}"]] as const) {
        const deep = `${open.repeat(100_000)}1${close.repeat(100_000)}`
        assert.strictEqual(decode(MediaType.imageIndex, `{ "manifests": [], "x": ${deep} }`)._tag, "Index")
        assert.strictEqual(failure(MediaType.imageIndex, `{ "manifests": ${deep} }`).kind, "Malformed")
      }
    })

    it("says what is wrong on one line, however long the names of fields are", () => {
      for (const name of [" ".repeat(100_000), "\n".repeat(100_000), "a".repeat(100_000)]) {
        const { message } = failure(MediaType.imageIndex, { ...index, annotations: { [name]: 1 } })
        assert.isBelow(message.length, 500)
        assert.notInclude(message, "\n")
      }
      assert.isBelow(failure(MediaType.imageIndex, { ...index, mediaType: "a".repeat(100_000) }).message.length, 500)
      assert.isBelow(failure("a".repeat(100_000), index).message.length, 500)
    })

    it.prop("never throws, whatever the bytes", [Schema.Literals(MediaType.manifests), Schema.Uint8Array, texts], ([
      mediaType,
      ...documents
    ]) => {
      for (const bytes of documents) {
        const decoded = Manifest.decode(mediaType, bytes)
        assert.strictEqual(
          Result.isFailure(decoded) ? decoded.failure.mediaType : decoded.success.bytes,
          Result.isFailure(decoded) ? mediaType : bytes
        )
      }
    }, { arbitrary: { runs: 300 } })
  })

  it.effect("its schemas survive encoding, fields they do not declare included", () =>
    Effect.all([
      new TestSchema.Asserts(Manifest.ImageManifest).verifyRoundTripEffect(),
      new TestSchema.Asserts(Manifest.ImageIndex).verifyRoundTripEffect(),
      new TestSchema.Asserts(Manifest.ArtifactManifest).verifyRoundTripEffect()
    ], { discard: true }))

  describe("digests", () => {
    it("of an image are its config, then its layers in order, as often as they are there", () => {
      const layers = [layer(3), layer(2), layer(3), layer(1)]
      assert.deepStrictEqual(digests(MediaType.imageManifest, { config, layers }), {
        blobs: [config, ...layers],
        manifests: []
      })
    })

    it("of an image without layers are its config", () => {
      for (const layers of [[], null]) {
        assert.deepStrictEqual(digests(MediaType.dockerManifest, { config, layers }), {
          blobs: [config],
          manifests: []
        })
      }
    })

    it("of an index are its children in order, as often as they are there", () => {
      const manifests = [child(2), of(MediaType.imageIndex, 3), child(1), child(2), of("application/x-unknown", 4)]
      assert.deepStrictEqual(digests(MediaType.imageIndex, { manifests }), { blobs: [], manifests })
    })

    it("of an index may be blobs, where a child has the type of a config or layer", () => {
      const manifests = [layer(1), child(2), config, of(MediaType.octetStream, 3), layer(1)]
      assert.deepStrictEqual(digests(MediaType.dockerManifestList, { manifests }), {
        blobs: [layer(1), config, of(MediaType.octetStream, 3), layer(1)],
        manifests: [child(2)]
      })
    })

    it("of an artifact are its blobs, if it has any", () => {
      assert.deepStrictEqual(digests(MediaType.artifactManifest, {}), { blobs: [], manifests: [] })
      assert.deepStrictEqual(digests(MediaType.artifactManifest, { blobs: [layer(1), config] }), {
        blobs: [layer(1), config],
        manifests: []
      })
    })

    it("keep all that a descriptor says", () => {
      const manifests = [{ ...child(1), platform: { os: "linux", architecture: "386" }, annotations: { a: "b" }, x: 1 }]
      assert.deepStrictEqual<object>(digests(MediaType.imageIndex, { manifests }), { blobs: [], manifests })
    })

    it("do not contain the subject", () => {
      const subject = child(9)
      assert.deepStrictEqual(digests(MediaType.imageManifest, { ...image, subject }).manifests, [])
      assert.deepStrictEqual(digests(MediaType.imageIndex, { ...index, subject }).manifests, index.manifests)
    })

    it("fail as decode does", () => {
      const error = Result.getOrThrow(Result.flip(Manifest.digests("text/html", bytesOf(index))))
      assert.deepStrictEqual([error._tag, error.kind, error.isRetryable], ["ManifestError", "UnknownMediaType", false])
    })
  })

  describe("artifactType", () => {
    it.each([
      ["of an image is its own", MediaType.imageManifest, { ...image, artifactType: "a/b" }, "a/b"],
      ["of an image without one is that of its config", MediaType.imageManifest, image, MediaType.imageConfig],
      [
        "of an image with an empty one too",
        MediaType.imageManifest,
        { ...image, artifactType: "" },
        MediaType.imageConfig
      ],
      ["of an index is its own", MediaType.imageIndex, { ...index, artifactType: "a/b" }, "a/b"],
      ["of an index without one is none", MediaType.imageIndex, index, undefined],
      ["of an index with an empty one too", MediaType.imageIndex, { ...index, artifactType: "" }, undefined],
      ["of an artifact is its own", MediaType.artifactManifest, { artifactType: "a/b" }, "a/b"]
    ])("%s", (_, mediaType, content, expected) => {
      assert.strictEqual(Manifest.artifactType(decode(mediaType, content)), expected)
    })
  })

  describe("mediaTypeOf", () => {
    const typeOf = (contentType: string, content: string | object) =>
      Result.getOrUndefined(Manifest.mediaTypeOf(contentType, bytesOf(content)))

    it.each([
      ["", index, MediaType.imageIndex],
      ["text/plain", image, MediaType.imageManifest],
      ["application/json; charset=utf-8", { ...image, mediaType: MediaType.dockerManifest }, MediaType.dockerManifest],
      ["text/html", index, MediaType.imageIndex],
      [`${MediaType.imageIndex}; charset=utf-8`, index, MediaType.imageIndex],
      [MediaType.imageManifest, "no JSON", MediaType.imageManifest],
      ["application/vnd.example.thing+json", { things: [] }, "application/vnd.example.thing+json"],
      ["application/vnd.example.thing+json", { mediaType: "a/b" }, "a/b"],
      ["application/json", { mediaType: "", things: [] }, undefined],
      ["application/json", { ...image, ...index }, undefined],
      ["application/json", [], undefined],
      ["application/vnd.example.thing+json", "no JSON", undefined],
      ["text/html", "<html>", undefined]
    ])("of a document that came as %s, %j, is %s", (contentType, content, expected) => {
      assert.strictEqual(typeOf(contentType, content), expected)
    })

    it("is none where the header names another type of manifest than the document", () => {
      const found = Manifest.mediaTypeOf(MediaType.imageIndex, bytesOf({ mediaType: MediaType.imageManifest }))
      assert.isTrue(Result.isFailure(found) && found.failure.kind === "Malformed")
    })
  })

  describe("toReferrer", () => {
    it("is the descriptor of the manifest, with artifactType and all annotations", () => {
      const annotations = { "org.example.a": "1", "": "" }
      const manifest = decode(MediaType.imageManifest, { ...image, subject: child(9), annotations })
      assert.deepStrictEqual(Manifest.toReferrer(manifest, child(7)), {
        ...child(7),
        artifactType: MediaType.imageConfig,
        annotations
      })
    })

    it("has no field that the manifest gives no value for", () => {
      const descriptor = { ...of("text/plain", 7), annotations: { other: "one" }, artifactType: "other/one", urls: [] }
      assert.deepStrictEqual(
        Manifest.toReferrer(decode(MediaType.imageIndex, { ...index, subject: child(9) }), descriptor),
        of(MediaType.imageIndex, 7)
      )
    })
  })
})
