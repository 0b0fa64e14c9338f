import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import * as Digest from "effect-oci/Digest"
import { TestSchema } from "effect/testing"

const hex = "0123456789abcdef"
const sha256 = `sha256:${hex.repeat(4)}`
const sha512 = `sha512:${hex.repeat(8)}`

const failure = (input: string): Digest.InvalidDigest => Result.getOrThrow(Result.flip(Digest.parse(input)))

/** Strings that look like digests at first, and any others. */
const strings = Arbitrary.array(Arbitrary.schema(Schema.Union([
  Schema.Literals(["sha256", "sha512", ":", "+", "=", "A", hex, hex.repeat(4), sha256]),
  Schema.String
]))).pipe(Arbitrary.map((parts) => parts.join("")))

describe("Digest", () => {
  describe("parse", () => {
    it.each([
      sha256,
      sha512,
      "blake3:Xyz=",
      "sha384:abc",
      "a+b.c_d-e:0",
      "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
      "sha256+b64:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564="
    ])("reads %s", (input) => assert.strictEqual<string>(Result.getOrThrow(Digest.parse(input)), input))

    it.each([
      ["", 0, "expected an algorithm, a colon and the encoded hash"],
      ["sha256", 6, "expected an algorithm, a colon and the encoded hash"],
      [":abc", 0, "not an algorithm name"],
      ["SHA256:abc", 0, "not an algorithm name"],
      ["sha--256:abc", 0, "not an algorithm name"],
      ["sha256-:abc", 0, "not an algorithm name"],
      ["sha256:", 7, "expected 64 hexadecimal digits after sha256, found 0"],
      ["sha256:abc", 10, "expected 64 hexadecimal digits after sha256, found 3"],
      [`${sha256}0`, 71, "expected 64 hexadecimal digits after sha256, found 65"],
      [`sha512:${hex.repeat(4)}`, 71, "expected 128 hexadecimal digits after sha512, found 64"],
      ["sha256:abC", 9, "expected a lower-case hexadecimal digit"],
      [`${sha256}\n`, 71, "expected a lower-case hexadecimal digit"],
      [`${sha256}@x`, 71, "expected a lower-case hexadecimal digit"],
      ["blake3:", 7, "the hash is empty"],
      ["blake3:ab/c", 9, "character not allowed in a hash"],
      ["blake3:a:b", 8, "character not allowed in a hash"]
    ])("says what is wrong with %j, and where", (input, offset, problem) => {
      const error = failure(input)
      assert.deepStrictEqual([error.input, error.offset, error.problem], [input, offset, problem])
    })

    it("counts characters from 1 in the message, which stays on one line", () => {
      assert.strictEqual(
        failure("sha256:\n").message,
        `invalid digest "sha256:\\n": expected a lower-case hexadecimal digit (character 8)`
      )
      assert.isBelow(failure("a".repeat(100_000)).message.length, 500)
    })

    it.prop("never throws, and reads nothing but the whole string", [strings], ([input]) => {
      const parsed = Digest.parse(input)
      assert.strictEqual(Digest.isDigest(input), Result.isSuccess(parsed))
      assert.strictEqual<string>(Result.getOrElse(parsed, (error) => error.input), input)
    })

    it.each([
      ["an algorithm of many parts", "a-".repeat(50_000)],
      ["an algorithm of many letters", `${"a".repeat(100_000)}!:0`],
      ["a long hash", `blake3:${"=".repeat(100_000)}!`]
    ])("is not slowed down by %s", (_, input) => assert.strictEqual(failure(input).input, input))
  })

  describe("schema", () => {
    it.effect("survives encoding", () => new TestSchema.Asserts(Digest.Digest).verifyRoundTripEffect())

    it.effect("says what is wrong", () =>
      new TestSchema.Asserts(Digest.Digest).decoding().failEffect(
        "sha256:abc",
        "expected 64 hexadecimal digits after sha256, found 3"
      ))

    it.prop("makes digests that parse reads", [Digest.Digest], ([digest]) => {
      assert.strictEqual(Result.getOrThrow(Digest.parse(digest)), digest)
    })
  })

  it("tells digests from other values", () => {
    assert.isTrue(Digest.isDigest(sha256))
    for (const other of ["sha256:abc", undefined, null, 7, [sha256]]) assert.isFalse(Digest.isDigest(other))
  })

  it.prop("consists of algorithm and encoded hash", [Digest.Digest], ([digest]) => {
    assert.strictEqual<string>(`${Digest.algorithm(digest)}:${Digest.encoded(digest)}`, digest)
    assert.include(["sha256", "sha512"], Digest.algorithm(digest))
  })

  it("is assembled from the bytes of a hash", () => {
    const bytes = Uint8Array.from({ length: 32 }, (_, i) => i)
    const digest = Digest.fromHash("sha256", bytes)
    assert.strictEqual<string>(digest, "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
    assert.isTrue(Digest.isDigest(digest))
  })
})
