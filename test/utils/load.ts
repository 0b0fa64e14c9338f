/**
 * Many clients at one registry at a time, who look whether they get what they gave.
 */
import { assert } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import type * as Digest from "effect-oci/Digest"
import * as Hasher from "effect-oci/Hasher"
import { repository } from "./images.ts"
import { connect } from "./ScriptedServer.ts"

export interface Load {
  readonly clients: number
  /** How many blobs of 64 KiB they push. */
  readonly small: number
  /** How many large blobs they push meanwhile. */
  readonly large: number
  /** In bytes; a multiple of 64 KiB. */
  readonly largeSize: number
}

/** The load: 64 clients, 2 000 blobs of 64 KiB, 4 of 256 MiB. */
export const full: Load = { clients: 64, small: 2_000, large: 4, largeSize: 256 * 1024 * 1024 }

/** The same in small. */
export const brief: Load = { clients: 64, small: 256, large: 2, largeSize: 16 * 1024 * 1024 }

const app = repository("load/app")
const piece = 64 * 1024

/** Some content of its own for each number. */
const pieceOf = (seed: number): Uint8Array => new Uint8Array(new Uint32Array(piece / 4).fill(seed).buffer)

const sourceOf = (seed: number, size: number): BlobSource.BlobSource =>
  BlobSource.make(size, (offset) =>
    Stream.range(0, size / piece - 1).pipe(
      Stream.rechunk(1),
      Stream.drop(Math.floor(offset / piece)),
      Stream.map((index) => pieceOf(seed + index).subarray(index === Math.floor(offset / piece) ? offset % piece : 0))
    ))

const digestOf = (source: BlobSource.BlobSource): Effect.Effect<Digest.Digest> =>
  Effect.gen(function*() {
    const hash = yield* (yield* Hasher.Hasher).make("sha256")
    yield* Stream.runForEachArray(source.open(0), hash.update)
    return yield* hash.digest
  }).pipe(Effect.scoped, Effect.orDie)

/** Lets many clients push and pull at once. Fails where anything is lost, or other than it was. */
export const run = Effect.fnUntraced(function*(host: string, { clients, large, largeSize, small }: Load) {
  const connections = yield* Effect.forEach(
    Array.from({ length: clients }),
    () => connect({ host }, { maxConnections: 1 })
  )
  const work = [
    ...Array.from({ length: large }, (_, index) => ({ seed: 1_000_000 * (index + 1), size: largeSize })),
    ...Array.from({ length: small }, (_, index) => ({ seed: index, size: piece }))
  ]
  const pushed: Array<{ readonly digest: Digest.Digest; readonly size: number }> = []
  const queue = work.values()

  // a blob that was pushed is there at once, for others too; its client verifies it
  const pull = (client: typeof connections[number], { digest, size }: typeof pushed[number]) =>
    client.getBlob(app, digest).pipe(
      Effect.flatMap(({ stream }) => Stream.runFold(stream, () => 0, (sum, { length }) => sum + length)),
      Effect.map((received) => assert.strictEqual(received, size)),
      Effect.scoped
    )
  yield* Effect.forEach(connections, (client, index) =>
    Effect.gen(function*() {
      for (const { seed, size } of queue) {
        const source = sourceOf(seed, size)
        const digest = yield* digestOf(source)
        yield* client.pushBlob(app, { digest, size }, source)
        pushed.push({ digest, size })
        const other = pushed[(index * 7919) % pushed.length]
        yield* pull(client, { digest, size })
        if (other !== undefined && other.size === piece) yield* pull(client, other)
      }
    }), { concurrency: "unbounded", discard: true })

  assert.strictEqual(pushed.length, small + large)
  yield* Effect.forEach(connections, (client, index) =>
    Effect.forEach(
      pushed.filter((_, position) => position % clients === index),
      ({ digest, size }) =>
        Effect.map(client.resolveBlob(app, digest), (found) => assert.strictEqual(found.size, size)),
      { discard: true }
    ), { concurrency: "unbounded", discard: true })
})
