import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema, Stream } from "effect"
import * as Digest from "effect-oci/Digest"
import * as Hasher from "effect-oci/Hasher"
import { bytesOf } from "./utils/images.ts"

const none = new Uint8Array(0)
const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => Uint8Array.from(chunks.flatMap((chunk) => [...chunk]))

/** Each chunk in a pull of its own, as from a socket. */
const streamOf = (chunks: ReadonlyArray<Uint8Array>) => Stream.fromIterable(chunks, { chunkSize: 1 })
const hello = ["he", "l", "lo"].map(bytesOf)

/** Collects the bytes that a consumer received from a stream, and its exit. */
const consume = Effect.fnUntraced(function*<E>(stream: Stream.Stream<Uint8Array, E>) {
  const emitted: Array<Uint8Array> = []
  const result = yield* Effect.result(Stream.runForEach(stream, (chunk) => Effect.sync(() => emitted.push(chunk))))
  return { emitted, result }
})

/** A hasher that writes down what it is asked for. */
const recording = (log: Array<string>): Hasher.Hasher => ({
  make: (algorithm) =>
    Effect.as(
      Effect.acquireRelease(
        Effect.sync(() => log.push(`make ${algorithm}`)),
        () => Effect.sync(() => log.push("close"))
      ),
      {
        update: (chunks) => Effect.sync(() => log.push(`update ${new TextDecoder().decode(concat(chunks))}`)),
        digest: Effect.sync(() => {
          log.push("digest")
          return Digest.fromHash("sha256", new Uint8Array(32))
        })
      }
    )
})
const zeros = Digest.fromHash("sha256", new Uint8Array(32))
const blake3 = Digest.Digest.make("blake3:abc")

describe("Hasher", () => {
  describe("digest", () => {
    it.effect.each(
      [
        ["", "sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
        ["abc", "sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
        [
          "abc",
          "sha512",
          "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ]
      ] as const
    )("of %j", ([content, algorithm, encoded]) =>
      Effect.gen(function*() {
        const digest = yield* Hasher.digest(bytesOf(content), algorithm)
        assert.strictEqual<string>(digest, `${algorithm}:${encoded}`)
      }))

    it.effect("is of sha256 unless said otherwise", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Hasher.digest(none), yield* Hasher.digest(none, "sha256"))
      }))

    it.effect("fails for an unsupported algorithm", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Hasher.digest(none, "md5"))
        assert.strictEqual(error._tag, "UnsupportedAlgorithm")
        assert.strictEqual(error.message, `content cannot be verified: no digests of algorithm "md5" here`)
        assert.isFalse(error.isRetryable)
      }))

    it("says what to provide if the runtime computes none", () => {
      assert.strictEqual(
        new Hasher.UnsupportedAlgorithm({ algorithm: "sha256" }).message,
        "content cannot be verified: this runtime does not compute sha256; provide NobleHasher.layer"
      )
    })
  })

  describe("verifyBytes", () => {
    it.effect("succeeds where bytes have the digest", () =>
      Effect.gen(function*() {
        yield* Hasher.verifyBytes(bytesOf("abc"), yield* Hasher.digest(bytesOf("abc")))
        yield* Hasher.verifyBytes(bytesOf("abc"), yield* Hasher.digest(bytesOf("abc"), "sha512"))
      }))

    it.effect("fails where they have another", () =>
      Effect.gen(function*() {
        const actual = yield* Hasher.digest(bytesOf("abc"))
        const error = yield* Effect.flip(Hasher.verifyBytes(bytesOf("abc"), zeros))
        assert(error._tag === "DigestMismatch")
        assert.deepStrictEqual([error.expected, error.actual, error.isRetryable], [zeros, actual, false])
        assert.strictEqual(
          error.message,
          `the content does not match its digest: expected ${zeros}, got ${actual}`
        )
      }))

    it.effect("fails where the algorithm is unknown", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Hasher.verifyBytes(none, blake3))
        assert.strictEqual(error._tag, "UnsupportedAlgorithm")
      }))
  })

  describe("verify", () => {
    const verified = (size: number, chunks: ReadonlyArray<Uint8Array>) =>
      Effect.flatMap(
        Hasher.digest(concat(hello)),
        (digest) => consume(streamOf(chunks).pipe(Hasher.verify({ digest, size })))
      )
    const sizeOf = (chunks: ReadonlyArray<Uint8Array>) => concat(chunks).length

    it.effect.prop("lets good content through, however it is cut", [
      Schema.Array(Schema.Uint8Array),
      Schema.Literals([1, 2, 100]),
      Schema.Literals(["sha256", "sha512"])
    ], ([chunks, chunkSize, algorithm]) =>
      Effect.gen(function*() {
        const expected = { digest: yield* Hasher.digest(concat(chunks), algorithm), size: sizeOf(chunks) }
        const content = Stream.fromIterable(chunks, { chunkSize })
        const { emitted, result } = yield* consume(content.pipe(Hasher.verify(expected)))
        assert.isTrue(Result.isSuccess(result))
        assert.deepStrictEqual(concat(emitted), concat(chunks))
      }))

    it.effect.prop("fails before the last bytes of bad content are handed on, however it is cut", [
      Schema.Array(Schema.Uint8Array),
      Schema.Literals([1, 2, 100]),
      Schema.Literals(["sha256", "sha512"])
    ], ([chunks, chunkSize, algorithm]) =>
      Effect.gen(function*() {
        const digest = yield* Hasher.digest(concat([...chunks, bytesOf("!")]), algorithm)
        const content = Stream.fromIterable(chunks, { chunkSize })
        const { emitted, result } = yield* consume(content.pipe(Hasher.verify({ digest, size: sizeOf(chunks) })))
        assert(Result.isFailure(result) && result.failure._tag === "DigestMismatch")
        assert.strictEqual(result.failure.expected, digest)
        assert.strictEqual(result.failure.actual, yield* Hasher.digest(concat(chunks), algorithm))
        const last = chunks.findLast((chunk) => chunk.length > 0)
        assert.isAtMost(concat(emitted).length, concat(chunks).length - (last?.length ?? 0))
      }))

    it.effect("hands on all but the last chunk of bad content", () =>
      Effect.gen(function*() {
        const { emitted } = yield* consume(streamOf(hello).pipe(Hasher.verify({ digest: zeros, size: sizeOf(hello) })))
        assert.deepStrictEqual(emitted, hello.slice(0, -1))
      }))

    it.effect("does not take an empty chunk for the last one", () =>
      Effect.gen(function*() {
        const chunks = [none, ...hello, none, none]
        const { emitted } = yield* consume(streamOf(chunks).pipe(Hasher.verify({ digest: zeros, size: sizeOf(hello) })))
        assert.deepStrictEqual(concat(emitted), concat(hello.slice(0, -1)))
      }))

    it.effect("verifies content without any bytes", () =>
      Effect.gen(function*() {
        const digest = yield* Hasher.digest(none)
        for (const chunks of [[], [none], [none, none]]) {
          const good = yield* consume(streamOf(chunks).pipe(Hasher.verify({ digest, size: sizeOf([]) })))
          assert.isTrue(Result.isSuccess(good.result))
          const bad = yield* consume(streamOf(chunks).pipe(Hasher.verify({ digest: zeros, size: sizeOf([]) })))
          assert(Result.isFailure(bad.result))
          assert.strictEqual(bad.result.failure._tag, "DigestMismatch")
        }
      }))

    it.effect("fails before anything is read where the algorithm is unknown", () =>
      Effect.gen(function*() {
        let read = false
        const content = Stream.sync(() => {
          read = true
          return bytesOf("abc")
        })
        const { result } = yield* consume(content.pipe(Hasher.verify({ digest: blake3, size: sizeOf(hello) })))
        assert(Result.isFailure(result) && result.failure._tag === "UnsupportedAlgorithm")
        assert.strictEqual(result.failure.algorithm, "blake3")
        assert.isFalse(read)
      }))

    it.effect("fails as the content does", () =>
      Effect.gen(function*() {
        const content = Stream.concat(streamOf(hello.slice(0, 1)), Stream.fail("broken"))
        const { result } = yield* consume(content.pipe(Hasher.verify({ digest: zeros, size: sizeOf(hello) })))
        assert.deepStrictEqual(result, Result.fail("broken"))
      }))

    it.effect("starts again each time that the stream is run", () =>
      Effect.gen(function*() {
        const expected = { digest: yield* Hasher.digest(concat(hello)), size: sizeOf(hello) }
        const verified = streamOf(hello).pipe(Hasher.verify(expected))
        for (const _ of ["first", "second"]) {
          const { emitted, result } = yield* consume(verified)
          assert.isTrue(Result.isSuccess(result))
          assert.deepStrictEqual(emitted, hello)
        }
      }))

    it.effect("asks the hasher that the program provides, and closes its hash", () =>
      Effect.gen(function*() {
        const log: Array<string> = []
        const verified = streamOf(hello).pipe(Hasher.verify({ digest: zeros, size: sizeOf(hello) }))
        const { result } = yield* Effect.provideService(consume(verified), Hasher.Hasher, recording(log))
        assert.isTrue(Result.isSuccess(result))
        assert.deepStrictEqual(log, ["make sha256", "update he", "update l", "update lo", "digest", "close"])
      }))

    it.effect("closes the hash when content fails, is bad, or is left in the middle", () =>
      Effect.gen(function*() {
        const bad = Digest.fromHash("sha256", new Uint8Array(32).fill(1))
        const verified = streamOf(hello).pipe(Hasher.verify({ digest: bad, size: sizeOf(hello) }))
        const broken = Stream.fail("broken").pipe(Hasher.verify({ digest: bad, size: sizeOf(hello) }))
        for (const stream of [verified, broken, Stream.take(verified, 1)]) {
          const log: Array<string> = []
          yield* Effect.provideService(consume<unknown>(stream), Hasher.Hasher, recording(log))
          assert.strictEqual(log.filter((line) => line.startsWith("make")).length, 1)
          assert.strictEqual(log.filter((line) => line === "close").length, 1)
          assert.strictEqual(log.at(-1), "close")
        }
      }))

    it.effect("fails where content that is too short ends", () =>
      Effect.gen(function*() {
        const { result } = yield* verified(6, hello)
        assert(Result.isFailure(result) && result.failure._tag === "SizeMismatch")
        assert.deepStrictEqual([result.failure.expected, result.failure.actual], [6, 5])
        assert.strictEqual(result.failure.message, "the content has 5 bytes, not 6")
        assert.isFalse(result.failure.isRetryable)
      }))

    it.effect("fails at the first byte too many, which is not handed on", () =>
      Effect.gen(function*() {
        const { emitted, result } = yield* verified(5, [...hello, bytesOf("!"), bytesOf("!!")])
        assert(Result.isFailure(result) && result.failure._tag === "SizeMismatch")
        assert.deepStrictEqual([result.failure.expected, result.failure.actual], [5, 6])
        assert.strictEqual(result.failure.message, "the content has 6 bytes or more, not 5")
        assert.deepStrictEqual(emitted, hello)
      }))

    it.effect("does not hand on a chunk that goes too far", () =>
      Effect.gen(function*() {
        const { emitted, result } = yield* verified(4, hello)
        assert(Result.isFailure(result) && result.failure._tag === "SizeMismatch")
        assert.deepStrictEqual([result.failure.expected, result.failure.actual], [4, 5])
        assert.deepStrictEqual(emitted, hello.slice(0, -1))
      }))

    it.effect("fails at once where there should be no bytes", () =>
      Effect.gen(function*() {
        const { emitted, result } = yield* verified(0, hello)
        assert(Result.isFailure(result) && result.failure._tag === "SizeMismatch")
        assert.deepStrictEqual([result.failure.expected, result.failure.actual, emitted], [0, 2, []])
      }))

    it.effect("hands each chunk on before it asks for the next", () =>
      Effect.gen(function*() {
        let log = ""
        const text = (chunk: Uint8Array) => new TextDecoder().decode(chunk)
        const content = Stream.tap(streamOf(hello), (chunk) => Effect.sync(() => log += `<${text(chunk)}>`))
        const digest = yield* Hasher.digest(concat(hello))
        yield* Stream.runForEach(
          content.pipe(Hasher.verify({ digest, size: 5 })),
          (chunk) => Effect.sync(() => log += text(chunk))
        )
        assert.strictEqual(log, "<he>he<l>l<lo>lo")
      }))
  })

  it.effect("can be replaced for everything that hashes, and is closed", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const digest = yield* Effect.provideService(Hasher.digest(bytesOf("abc"), "md5"), Hasher.Hasher, recording(log))
      assert.strictEqual(digest, zeros)
      assert.deepStrictEqual(log, ["make md5", "update abc", "digest", "close"])
    }))
})
