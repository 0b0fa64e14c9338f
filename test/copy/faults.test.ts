import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Schema, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import type { Descriptor } from "effect-oci/Descriptor"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import { Transport } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import { pushImage, pushManifest, pushReferrer, repository, tag } from "../utils/images.ts"
import { listReferrers } from "../utils/registries.ts"

const from = repository("team/app")
const to = repository("mirror/app")

/** How to grow an image: each step adds a manifest to those that are there, which it names by their places. */
const Step = Schema.Struct({
  kind: Schema.Literals(["image", "index", "referrer"]),
  on: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 6 }))).check(Schema.isMaxLength(3)),
  layers: Schema.Array(Schema.Literals(["", "a", "b", "c"])).check(Schema.isMaxLength(3))
})
const Plan = Schema.Array(Step).check(Schema.isMaxLength(6))

const build = Effect.fnUntraced(function*(registry: Registry, plan: typeof Plan.Type) {
  const made: Array<Descriptor> = [yield* pushImage(registry, from, ["base"])]
  const referrers: Array<{ readonly subject: Descriptor; readonly referrer: Descriptor }> = []
  for (const [place, { kind, layers, on }] of plan.entries()) {
    const targets = on.flatMap((i) => made[i] ?? [])
    const [subject] = targets
    if (kind === "index") {
      const manifests = targets.map(({ digest, mediaType, size }) => ({ mediaType, digest, size }))
      made.push(yield* pushManifest(registry, from, { mediaType: MediaType.imageIndex, manifests, place }))
    } else if (kind === "referrer" && subject !== undefined) {
      const referrer = yield* pushReferrer(registry, from, subject, `number ${place}`)
      referrers.push({ subject, referrer })
      made.push(referrer)
    } else {
      made.push(yield* pushImage(registry, from, layers, { extra: { place } }))
    }
  }
  const manifests = made.map(({ digest, mediaType, size }) => ({ mediaType, digest, size }))
  const root = yield* pushManifest(registry, from, { mediaType: MediaType.imageIndex, manifests }, [tag("1")])
  return { root, made, referrers }
})

/** A registry whose n-th operation fails. */
const faulty = (registry: Registry, at: ReadonlyArray<number>) =>
  Effect.map(
    Faults.make(registry, [
      Faults.fail(new Transport({ code: "ECONNRESET" }), {
        operation: ["getManifest", "resolveManifest", "getBlob", "resolveBlob", "pushBlob", "pushManifest"],
        calls: at
      })
    ]),
    ({ registry }) => registry
  )

const faults = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 41 }))).check(
  Schema.isMaxLength(3)
)
const runs = process.env["EFFECT_OCI_LONG"] === undefined ? 100 : 2000

// a memory registry takes no manifest whose parts it does not have: what it accepts was pushed in order
describe("whatever an image consists of, and wherever it fails", () => {
  it.effect.prop(
    "a copy sets the tag only when all is there, and the next one finishes it",
    [
      Arbitrary.schema(Plan),
      Arbitrary.schema(faults),
      Arbitrary.schema(faults),
      Arbitrary.schema(Schema.Literals([1, 2, 8]))
    ],
    ([plan, sourceFaults, destinationFaults, concurrency]) =>
      Effect.gen(function*() {
        const source = yield* MemoryRegistry.make({ name: "source.test" })
        const destination = yield* MemoryRegistry.make({ name: "destination.test" })
        const { made, referrers, root } = yield* build(source, plan)
        const copy = (source: Registry, destination: Registry) =>
          Copy.copyManifest({
            source: { registry: source, repository: from, tag: tag("1") },
            destination: { registry: destination, repository: to, tag: tag("1") }
          }).pipe(Effect.provideService(Copy.MaxInFlight, concurrency))
        const isComplete = Effect.gen(function*() {
          for (const { digest } of [root, ...made]) yield* destination.resolveManifest(to, digest)
          for (const { referrer, subject } of referrers) {
            assert.include(yield* listReferrers(destination, to, subject.digest), referrer.digest)
          }
        })

        const first = yield* Effect.exit(
          copy(yield* faulty(source, sourceFaults), yield* faulty(destination, destinationFaults))
        )
        const tags = yield* Effect.orElseSucceed(Stream.runCollect(destination.tags(to)), () => [])
        assert.strictEqual(tags.length, Exit.isSuccess(first) ? 1 : 0)
        yield* copy(source, destination)
        yield* isComplete
        assert.strictEqual((yield* destination.resolveManifest(to, tag("1"))).digest, root.digest)
      }),
    { arbitrary: { runs } }
  )
})
