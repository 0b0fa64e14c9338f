import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import type * as Digest from "effect-oci/Digest"
import * as Hasher from "effect-oci/Hasher"
import * as NobleHasher from "effect-oci/NobleHasher"

const digestOf = Effect.fnUntraced(function*(chunks: ReadonlyArray<Uint8Array>, algorithm: string) {
  const hasher = yield* Hasher.Hasher
  const hash = yield* hasher.make(algorithm)
  for (const chunk of chunks) yield* hash.update([chunk])
  return yield* hash.digest
}, Effect.scoped)

describe("NobleHasher", () => {
  it.effect.prop("computes the digests that Node computes, however the content is cut", [
    Schema.Array(Schema.Uint8Array),
    Schema.Literals(["sha256", "sha512"])
  ], ([chunks, algorithm]) =>
    Effect.gen(function*() {
      const noble: Digest.Digest = yield* Effect.provide(digestOf(chunks, algorithm), NobleHasher.layer)
      assert.strictEqual(noble, yield* digestOf(chunks, algorithm))
    }))

  it.effect("fails for another algorithm", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.provide(digestOf([], "md5"), NobleHasher.layer))
      assert.strictEqual(error._tag, "UnsupportedAlgorithm")
    }))
})
