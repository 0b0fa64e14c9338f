import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import type { Upload } from "effect-oci/Upload"
import { createHash, randomBytes } from "node:crypto"
import * as Http from "node:http"
import * as Body from "../../src/server/Body.ts"
import { digestOf } from "../utils/digests.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { send, serve } from "../utils/Served.ts"

const KiB = 1024
const sizes = [1, 64 * KiB, 512 * KiB, 512 * KiB + 1, 1536 * KiB - 1, 3 * 1024 * KiB + 1000]

/** Reads a blob on a connection of its own, with a pause before each piece, and returns its digest. */
const readSlowly = (host: string, digest: string) =>
  Effect.callback<string>((resume) => {
    Http.get(`http://${host}/v2/app/blobs/${digest}`, { agent: false }, (response) => {
      const hash = createHash("sha256")
      response.on("data", (piece: Uint8Array) => {
        hash.update(piece)
        response.pause()
        setImmediate(() => response.resume())
      })
      response.on("end", () => resume(Effect.succeed(`sha256:${hash.digest("hex")}`)))
    })
  })

const push = Effect.fnUntraced(function*(host: string, bytes: Uint8Array) {
  const { headers } = yield* send(host, "POST /v2/app/blobs/uploads/")
  const half = bytes.length >> 1
  yield* send(host, `PATCH ${headers.location}`, { body: bytes.subarray(0, half) })
  const digest = digestOf(bytes)
  const { status } = yield* send(host, `PUT ${headers.location}?digest=${digest}`, { body: bytes.subarray(half) })
  assert.strictEqual(status, 201)
  return digest
})

const stores = {
  "in memory": MemoryRegistry.make({ pieces: "lent" }),
  "in a folder": Effect.flatMap(
    temporaryFolder,
    (directory) => LayoutRegistry.make({ directory, pieces: "lent", durability: "process-end" })
  ).pipe(Effect.provide(NodeServices.layer))
}

describe("pieces are lent", () => {
  it.live.each(Object.entries(stores))(
    "between a server and a registry %s without changing a byte",
    ([, make]) =>
      Effect.gen(function*() {
        const { host } = yield* serve(yield* make, { pieces: "lent" })
        yield* Effect.forEach(sizes, (size) =>
          Effect.gen(function*() {
            const bytes = randomBytes(size)
            const digest = yield* push(host, bytes)
            const reads = Array.from({ length: 4 }, () => readSlowly(host, digest))
            assert.deepStrictEqual(
              yield* Effect.all(reads, { concurrency: "unbounded" }),
              reads.map(() => digest)
            )
            const [first, last] = [size >> 2, Math.min(size - 1, (size >> 2) + 700 * KiB)]
            const part = yield* send(host, `GET /v2/app/blobs/${digest}`, {
              headers: { range: `bytes=${first}-${last}` }
            })
            assert.isTrue(bytes.subarray(first, last + 1).equals(part.bytes))
          }), { concurrency: 3 })
      })
  )

  it.live("to a server that has sent a piece before it asks for the next one", () =>
    Effect.gen(function*() {
      const whole = randomBytes(8 * 512 * KiB + 100)
      const digest = digestOf(whole)
      const blob = () => {
        const buffer = new Uint8Array(512 * KiB)
        return Stream.range(0, 8).pipe(
          Stream.rechunk(1),
          Stream.map((index) => {
            // the last piece is overwritten before the next one is read
            buffer.fill(0xff)
            const piece = whole.subarray(index * buffer.length, (index + 1) * buffer.length)
            buffer.set(piece)
            return buffer.subarray(0, piece.length)
          })
        )
      }
      const { host } = yield* serve(Registry.make({
        name: "reusing",
        getBlob: () =>
          Effect.sync(() => ({
            descriptor: { mediaType: "application/octet-stream", digest, size: whole.length },
            stream: blob()
          }))
      }))
      const reads = Array.from({ length: 8 }, () => readSlowly(host, digest))
      assert.deepStrictEqual(yield* Effect.all(reads, { concurrency: "unbounded" }), reads.map(() => digest))
    }))

  it.live.each([["owned", false], ["lent", true]] as const)(
    "to a registry that receives %s pieces, which are freed: %s",
    ([pieces, isFreed]) =>
      Effect.gen(function*() {
        const received: Array<Uint8Array> = []
        const upload: Upload = {
          _tag: "Upload",
          id: Effect.succeed("1"),
          minimumChunk: 0,
          maximumChunk: Infinity,
          resumable: true,
          status: Effect.succeed(0),
          append: ({ stream }) =>
            Effect.as(Stream.runForEach(stream, (piece) => Effect.sync(() => void received.push(piece))), 1),
          commit: () => Effect.never
        }
        const registry = Registry.make({ name: "keeping", startUpload: () => Effect.succeed(upload) })
        const { host } = yield* serve(registry, { pieces })
        const { headers } = yield* send(host, "POST /v2/app/blobs/uploads/")
        yield* send(host, `PATCH ${headers.location}`, { body: new Uint8Array(1024 * KiB) })
        assert.isAbove(received.length, 1)
        assert.strictEqual(received.every(({ length }) => length === 0), isFreed)
      })
  )
})

describe("a response", () => {
  const partsOf = (milliseconds: number) =>
    Body.answer(
      { watch: () => Effect.succeed({ wait: () => {}, proceed: () => milliseconds }) },
      Stream.make(new Uint8Array(1024 * KiB), new Uint8Array(10), new Uint8Array(20))
    ).pipe(
      Stream.chunks,
      Stream.map((pieces) => pieces.reduce((sum, { length }) => sum + length, 0) / KiB),
      Stream.runCollect
    )

  it.effect("has parts that grow while the client takes them quickly", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* partsOf(10), [64, 128, 256, 512, 64 + 30 / KiB])
    }))

  it.effect("has small parts while the client is slow", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* partsOf(1000), [...Array.from({ length: 16 }, () => 64), 30 / KiB])
    }))
})
