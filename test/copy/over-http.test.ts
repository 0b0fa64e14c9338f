/**
 * Copies between registries over HTTP: over unreliable networks, and with few connections.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Random } from "effect"
import * as Copy from "effect-oci/Copy"
import { isCopyError } from "effect-oci/CopyError"
import * as Limiter from "effect-oci/Limiter"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import * as BadNetwork from "../utils/BadNetwork.ts"
import { pushImage, pushReferrer, repository, tag } from "../utils/images.ts"
import { listReferrers } from "../utils/registries.ts"
import { connect } from "../utils/ScriptedServer.ts"
import { type Options, serve } from "../utils/Served.ts"

const from = repository("team/app")
const to = repository("mirror/app")

const copy = (source: Registry, destination: Registry) =>
  Copy.copyManifest({
    source: { registry: source, repository: from, tag: tag("1") },
    destination: { registry: destination, repository: to, tag: tag("1") },
    // a copy that does not require referrers succeeds without them if the network fails there
    referrers: "require"
  })

/** Serves a registry in memory over HTTP. */
const served = Effect.fnUntraced(function*(options?: Options) {
  const store = yield* MemoryRegistry.make()
  return { store, host: (yield* serve(store, options)).host }
})

describe("a copy over an unreliable network", () => {
  const trial = Effect.fnUntraced(function*(seed: number) {
    const fates = yield* Random.withSeed(Effect.all([BadNetwork.someFates, BadNetwork.someFates]), seed)
    const [source, destination] = [yield* served(), yield* served()]
    const layers = [10, 70_000, 300_000].map(BadNetwork.noise)
    const image = yield* pushImage(source.store, from, layers, { tags: [tag("1")] })
    const referrer = yield* pushReferrer(source.store, from, image, "about it")

    const near = yield* connect(yield* BadNetwork.make(source.host, fates[0]))
    const far = yield* connect(yield* BadNetwork.make(destination.host, fates[1]))
    const copied = yield* Effect.exit(BadNetwork.hasty(copy(near, far)))
    if (Exit.isFailure(copied)) {
      const error = Exit.findErrorOption(copied)
      assert(error._tag === "Some" && isCopyError(error.value), `no typed error: ${copied}`)
      const { end, reason } = error.value
      // resent bytes of an interrupted upload are not hashed again: the destination detects a flipped bit in them
      const own = BadNetwork.reasonsOf(fates[end === "source" ? 0 : 1])
      const flips = BadNetwork.reasonsOf(fates[0]).filter((reason) => reason === "DigestInvalid")
      assert.include([...own, ...flips], reason._tag, error.value.message)
      yield* Effect.flip(destination.store.resolveManifest(to, tag("1")))
      yield* copy(yield* connect(source), yield* connect(destination))
    }
    assert.strictEqual((yield* destination.store.resolveManifest(to, tag("1"))).digest, image.digest)
    assert.include(yield* listReferrers(destination.store, to, image.digest), referrer.digest)
  })

  it.live.each(BadNetwork.seeds)(
    "succeeds, or fails with an error of the network, and the next one succeeds (seed %i)",
    trial
  )
})

describe("with one concurrent request per registry", () => {
  const layers = (seed: string) => Array.from({ length: 100 }, (_, index) => `${seed} ${index}`)
  const client = ({ host }: { readonly host: string }) =>
    Effect.provide(connect({ host }, { maxConnections: 1 }), Limiter.layerFixed(1))

  it.live.each([[], ["noMount"]] as const)(
    "an image of 100 layers is copied within a registry (%j)",
    (quirks) =>
      Effect.gen(function*() {
        const { host, store } = yield* served({ quirks })
        const { digest } = yield* pushImage(store, from, layers("a"), { tags: [tag("1")] })
        const registry = yield* client({ host })
        yield* copy(registry, registry)
        assert.strictEqual((yield* store.resolveManifest(to, tag("1"))).digest, digest)
      })
  )

  it.live("two of them are copied in opposite directions", () =>
    Effect.gen(function*() {
      const ends = [yield* served(), yield* served()] as const
      const there = yield* pushImage(ends[0].store, from, layers("there"), { tags: [tag("1")] })
      const back = yield* pushImage(ends[1].store, from, layers("back"), { tags: [tag("1")] })
      const [a, b] = [yield* client(ends[0]), yield* client(ends[1])]
      yield* Effect.all([copy(a, b), copy(b, a)], { concurrency: 2 })
      assert.strictEqual((yield* ends[1].store.resolveManifest(to, tag("1"))).digest, there.digest)
      assert.strictEqual((yield* ends[0].store.resolveManifest(to, tag("1"))).digest, back.digest)
    }))
})
