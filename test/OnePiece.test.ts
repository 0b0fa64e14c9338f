import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as OnePiece from "../src/OnePiece.ts"
import { bytesOf } from "./utils/images.ts"

const piece = Effect.sync(() => bytesOf("piece"))
const chunks = Stream.make(bytesOf("one"), bytesOf("two"), bytesOf("three"))

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

/** Marks a piece and the chunks of a stream differently. */
const marked = (stream: Stream.Stream<Uint8Array>) =>
  OnePiece.transform(
    stream,
    Effect.map((bytes) => bytesOf(`piece ${textOf(bytes)}`)),
    Stream.map((bytes) => bytesOf(`chunk ${textOf(bytes)};`))
  )

describe("OnePiece", () => {
  it.effect("has the same content as a stream and as an effect", () =>
    Effect.gen(function*() {
      const stream = OnePiece.make(piece)
      assert.strictEqual(textOf(yield* Stream.mkUint8Array(stream)), "piece")
      assert.strictEqual(textOf(yield* OnePiece.collect(stream, 5)), "piece")
    }))

  it("does not belong to a stream that is derived otherwise", () => {
    assert.isDefined(OnePiece.of(OnePiece.make(piece)))
    assert.isUndefined(OnePiece.of(Stream.map(OnePiece.make(piece), (bytes) => bytes.subarray(1))))
  })

  it.effect("is transformed as a piece, and other streams as chunks, also after they have been opened", () =>
    Effect.gen(function*() {
      const streams = [
        OnePiece.make(piece),
        chunks,
        OnePiece.unwrap(Effect.succeed(OnePiece.make(piece))),
        OnePiece.unwrap(Effect.succeed(chunks))
      ]
      const expected = ["piece piece", "chunk one;chunk two;chunk three;"]
      for (const [index, stream] of streams.map(marked).entries()) {
        assert.strictEqual(textOf(yield* OnePiece.collect(stream, 100)), expected[index % 2])
        assert.strictEqual(textOf(yield* Stream.mkUint8Array(stream)), expected[index % 2])
      }
    }))

  it.effect("is closed after it has been collected", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const opening = Effect.as(Effect.addFinalizer(() => Effect.sync(() => void seen.push("closed"))), chunks)
      yield* OnePiece.collect(OnePiece.unwrap(opening), 100)
      assert.deepStrictEqual(seen, ["closed"])
    }))

  it.effect("collects no more than the chunk that exceeds the limit", () =>
    Effect.gen(function*() {
      assert.strictEqual(textOf(yield* OnePiece.collect(chunks, 4)), "onetwo")
    }))
})
