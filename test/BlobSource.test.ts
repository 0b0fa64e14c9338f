import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import { bytesOf } from "./utils/images.ts"

const concat = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<number> => chunks.flatMap((chunk) => [...chunk])

const read = <E>(source: BlobSource.BlobSource<E>, offset: number): Effect.Effect<ReadonlyArray<number>, E> =>
  Effect.map(Stream.runCollect(source.open(offset)), concat)

const chunks = Schema.Array(Schema.Uint8Array)

describe("BlobSource", () => {
  it.effect.prop(
    "of bytes gives them from any offset on, any number of times",
    [Schema.Uint8Array],
    ([bytes]) =>
      Effect.gen(function*() {
        const source = BlobSource.fromBytes(bytes)
        assert.deepStrictEqual([source.size, source.replay], [bytes.length, "any"])
        for (let offset = 0; offset <= bytes.length; offset++) {
          assert.deepStrictEqual(yield* read(source, offset), [...bytes.subarray(offset)])
        }
        assert.deepStrictEqual(yield* read(source, 0), [...bytes])
      })
  )

  it.effect.prop(
    "of a stream skips to any offset, wherever the stream is cut into chunks",
    [chunks],
    ([chunks]) =>
      Effect.gen(function*() {
        const bytes = concat(chunks)
        for (let offset = 0; offset <= bytes.length; offset++) {
          const source = BlobSource.fromStream(bytes.length, Stream.fromIterable(chunks, { chunkSize: 1 }))
          assert.deepStrictEqual([source.size, source.replay], [bytes.length, "once"])
          assert.deepStrictEqual(yield* read(source, offset), bytes.slice(offset))
        }
      })
  )

  it.effect("of a stream hands on no empty chunks in place of what it skips", () =>
    Effect.gen(function*() {
      const source = BlobSource.fromStream(6, Stream.make(bytesOf("ab"), bytesOf("cd"), bytesOf("ef")))
      assert.deepStrictEqual(yield* Stream.runCollect(source.open(3)), [bytesOf("d"), bytesOf("ef")])
      assert.deepStrictEqual(yield* Stream.runCollect(source.open(6)), [])
    }))

  it.effect("of a stream fails as the stream does, also while skipping", () =>
    Effect.gen(function*() {
      const source = BlobSource.fromStream(4, Stream.concat(Stream.make(bytesOf("ab")), Stream.fail("broken")))
      assert.strictEqual(yield* Effect.flip(read(source, 3)), "broken")
    }))

  it.effect("of a function calls the function with the offset each time that it is opened", () =>
    Effect.gen(function*() {
      const opened: Array<number> = []
      const source = BlobSource.make(3, (offset) =>
        Stream.sync(() => {
          opened.push(offset)
          return bytesOf("abc").subarray(offset)
        }))
      assert.deepStrictEqual([source.size, source.replay], [3, "any"])
      assert.deepStrictEqual(yield* read(source, 0), [...bytesOf("abc")])
      assert.deepStrictEqual(yield* read(source, 2), [...bytesOf("c")])
      assert.deepStrictEqual(opened, [0, 2])
    }))
})

it.effect("a beginning that was fetched is released with its first reader, and read again by the next", () =>
  Effect.gen(function*() {
    const open: Array<string> = []
    const source = BlobSource.make(3, () =>
      Stream.fromIterable([1, 2, 3], { chunkSize: 1 }).pipe(
        Stream.map((byte) => Uint8Array.of(byte)),
        Stream.onStart(Effect.sync(() => void open.push("opened"))),
        Stream.ensuring(Effect.sync(() => void open.push("closed")))
      ))
    const primed = yield* BlobSource.primed(source)
    assert.deepStrictEqual(open, ["opened"])
    yield* Stream.runDrain(Stream.take(primed.open(0), 1))
    assert.deepStrictEqual(open, ["opened", "closed"])
    assert.deepStrictEqual(yield* Stream.mkUint8Array(primed.open(0)), Uint8Array.of(1, 2, 3))
    assert.deepStrictEqual(open, ["opened", "closed", "opened", "closed"])
  }))
