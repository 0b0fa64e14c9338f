import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Descriptor from "effect-oci/Descriptor"
import * as Digest from "effect-oci/Digest"
import type * as Manifest from "effect-oci/Manifest"
import * as MediaType from "effect-oci/MediaType"
import type * as Platform from "effect-oci/Platform"
import { TestSchema } from "effect/testing"
import { bytesOf } from "./utils/images.ts"

const asserts = new TestSchema.Asserts(Descriptor.Descriptor)
const sha256OfHello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
const hello = { mediaType: "text/plain", digest: Digest.Digest.make(sha256OfHello), size: 5 }

describe("Descriptor", () => {
  it("does not compile if a field is misspelled", () => {
    const platform: Platform.Platform = { os: "linux", architecture: "arm64" }
    const descriptor: Descriptor.Descriptor = { ...hello, platform }
    // @ts-expect-error the field is misspelled
    assert.isUndefined(descriptor.mediatype)
    // @ts-expect-error the field is misspelled
    assert.isUndefined(platform.Variant)
    // @ts-expect-error the field is misspelled
    const misspelled: Descriptor.Descriptor = { ...hello, anotations: {} }
    assert.isUndefined(misspelled.annotations)
    const index: Manifest.ImageIndex = { manifests: [descriptor] }
    // @ts-expect-error an index has no layers
    assert.isUndefined(index.layers)
  })

  describe("schema", () => {
    it.effect("survives encoding, fields it does not declare included", () => asserts.verifyRoundTripEffect())

    it.effect("keeps fields that it does not declare", () =>
      Effect.gen(function*() {
        const input = { ...hello, "org.example": { deep: [1, null, "x"] }, urls: ["https://example.com/"] }
        const descriptor = yield* Schema.decodeUnknownEffect(Descriptor.Descriptor)(input)
        assert.deepStrictEqual({ ...descriptor }, { ...descriptor, ...input })
        assert.deepStrictEqual(Descriptor.otherFields(descriptor), { "org.example": { deep: [1, null, "x"] } })
      }))

    it.effect("accepts undefined for an absent field", () =>
      Effect.gen(function*() {
        const given: Descriptor.Descriptor = { ...hello, annotations: undefined, platform: undefined }
        const encoded = yield* Schema.encodeEffect(Schema.fromJsonString(Descriptor.Descriptor))(given)
        assert.deepStrictEqual<unknown>(JSON.parse(encoded), hello)
        assert.deepStrictEqual(Descriptor.otherFields(given), {})
      }))

    it.effect.each<readonly [input: object, message: string]>([
      [{ ...hello, digest: "sha256:abc" }, `expected 64 hexadecimal digits after sha256, found 3\n  at ["digest"]`],
      [{ mediaType: "text/plain", digest: sha256OfHello }, `Missing key\n  at ["size"]`],
      [{ ...hello, size: "5" }, `Expected number\n  at ["size"]`],
      [{ ...hello, annotations: { a: 1 } }, `Expected string\n  at ["annotations"]["a"]`]
    ])("does not take %j", ([input, message]) => asserts.decoding().failEffect(input, message))

    it.effect("has a blank media type if none is given", () =>
      asserts.decoding().succeedEffect({ digest: hello.digest, size: 5 }, { ...hello, mediaType: "" }))

    it.effect.each<object>([{}, { os: "linux" }, { architecture: "amd64" }, { os: "", architecture: "" }, { os: 1 }])(
      "has no platform if that is incomplete: %j",
      (platform) => asserts.decoding().succeedEffect({ ...hello, platform }, hello)
    )

    it.effect.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])(
      "a size is a natural number, which %s is not",
      (size) => Effect.flip(Schema.decodeUnknownEffect(Descriptor.Descriptor)({ ...hello, size }))
    )
  })

  describe("fromBytes", () => {
    it.effect("describes bytes of which no more is known", () =>
      Effect.gen(function*() {
        const descriptor = yield* Descriptor.fromBytes(bytesOf("hello"))
        assert.deepStrictEqual<object>(descriptor, { ...hello, mediaType: MediaType.octetStream })
      }))

    it.effect("takes a media type", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual<object>(
          yield* Descriptor.fromBytes(bytesOf("hello"), { mediaType: "text/plain" }),
          hello
        )
      }))

    it.effect("takes an algorithm", () =>
      Effect.gen(function*() {
        const { digest } = yield* Descriptor.fromBytes(new Uint8Array(0), { algorithm: "sha512" })
        assert.match(digest, /^sha512:cf83e1357eefb8bd/)
      }))

    it.effect("fails for an unsupported algorithm", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Descriptor.fromBytes(bytesOf("hello"), { algorithm: "blake3" }))
        assert.deepStrictEqual([error._tag, error.algorithm], ["UnsupportedAlgorithm", "blake3"])
      }))
  })
})
