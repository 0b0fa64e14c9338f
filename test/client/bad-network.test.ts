/**
 * A client over a network that breaks, in every way that the seeds produce.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Random, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { isRegistryError, type RegistryError } from "effect-oci/RegistryError"
import * as BadNetwork from "../utils/BadNetwork.ts"
import { repository } from "../utils/images.ts"
import { connect, digestOf } from "../utils/ScriptedServer.ts"
import { serve } from "../utils/Served.ts"

const app = repository("team/app")
const KiB = 1024
const MiB = 1024 * KiB

const assertRight = (exit: Exit.Exit<unknown, RegistryError>, fates: ReadonlyArray<BadNetwork.Fate>) => {
  if (Exit.isSuccess(exit)) return
  const error = Exit.findErrorOption(exit)
  assert(error._tag === "Some" && isRegistryError(error.value), `no typed error: ${exit}`)
  assert.include(BadNetwork.reasonsOf(fates), error.value.reason._tag, error.value.message)
}

describe("a client over a network that breaks", () => {
  const trial = Effect.fnUntraced(function*(seed: number) {
    const { fates, size } = yield* Random.withSeed(
      Effect.all({
        fates: BadNetwork.someFates,
        size: BadNetwork.pick([0, 10, 64 * KiB, 100 * KiB, 300 * KiB])
      }),
      seed
    )
    const content = BadNetwork.noise(size)
    const digest = digestOf(content)
    const source = BlobSource.fromBytes(content)
    const store = yield* MemoryRegistry.make()
    const { host } = yield* serve(store)

    const near = yield* connect(yield* BadNetwork.make(host, fates))
    const pushed = yield* Effect.exit(BadNetwork.hasty(near.pushBlob(app, { digest, size }, source)))
    assertRight(pushed, fates)
    if (Exit.isSuccess(pushed)) assert.strictEqual((yield* store.resolveBlob(app, digest)).size, size)

    yield* store.pushBlob(app, { digest, size }, source)
    const far = yield* connect(yield* BadNetwork.make(host, fates))
    // a body whose size is known beforehand is received in another way
    const pulled = yield* far.getBlob(app, digest, seed % 2 === 0 ? { size } : {}).pipe(
      Effect.flatMap(({ stream }) => Stream.mkUint8Array(stream)),
      Effect.scoped,
      BadNetwork.hasty,
      Effect.exit
    )
    assertRight(pulled, fates)
    if (Exit.isSuccess(pulled)) assert.deepStrictEqual(pulled.value, content)
  })

  it.live.each(BadNetwork.seeds)("pushes and pulls the right content, or fails with the cause (seed %i)", trial)
})

describe("of a blob whose connection breaks at nine tenths", () => {
  const content = BadNetwork.noise(64 * MiB)
  const digest = digestOf(content)
  const after = 0.9 * content.length

  it.live.each(["cut", "end"] as const)("less than a tenth is sent again (%s)", (kind) =>
    Effect.gen(function*() {
      const store = yield* MemoryRegistry.make()
      const { host } = yield* serve(store)
      const network = yield* BadNetwork.make(host, [{ kind, direction: "there", after }])
      const registry = yield* connect(network)
      yield* registry.pushBlob(app, { digest, size: content.length }, BlobSource.fromBytes(content))
      assert.strictEqual((yield* store.resolveBlob(app, digest)).size, content.length)
      assert.isBelow(network.moved.there(), 1.1 * content.length)
    }), 60_000)

  it.live.each(["cut", "end"] as const)("less than a tenth is received again (%s)", (kind) =>
    Effect.gen(function*() {
      const store = yield* MemoryRegistry.make()
      yield* store.pushBlob(app, { digest, size: content.length }, BlobSource.fromBytes(content))
      const { host } = yield* serve(store)
      const network = yield* BadNetwork.make(host, [{ kind, direction: "back", after }])
      const { stream } = yield* (yield* connect(network)).getBlob(app, digest, { size: content.length })
      assert.strictEqual(yield* Stream.runFold(stream, () => 0, (sum, { length }) => sum + length), content.length)
      assert.isBelow(network.moved.back(), 1.1 * content.length)
    }), 60_000)
})
