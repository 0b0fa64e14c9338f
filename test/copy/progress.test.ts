import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import type { CopyEvent } from "effect-oci/CopyEvent"
import * as CopyProgress from "effect-oci/CopyProgress"
import type { Outcome, Role } from "effect-oci/CopyReport"
import * as Descriptor from "effect-oci/Descriptor"
import { RegistryError, Timeout } from "effect-oci/RegistryError"
import { bytesOf } from "../utils/images.ts"

const of = (name: string, size: number): Descriptor.Descriptor => ({
  ...Effect.runSync(Descriptor.fromBytes(bytesOf(name))),
  size
})

const planned = (descriptor: Descriptor.Descriptor, role: Role = "blob"): CopyEvent => ({
  _tag: "Planned",
  descriptor,
  role
})
const settled = (descriptor: Descriptor.Descriptor, outcome: Outcome, role: Role = "blob"): CopyEvent => ({
  _tag: "Settled",
  entry: { descriptor, role, path: [], outcome }
})
const started = (descriptor: Descriptor.Descriptor): CopyEvent => ({ _tag: "Started", descriptor })
const progressed = (descriptor: Descriptor.Descriptor, bytes: number): CopyEvent => ({
  _tag: "Progressed",
  descriptor,
  bytes
})

const after = (...events: ReadonlyArray<CopyEvent>) =>
  events.reduce((progress, event) => CopyProgress.update(progress, event, 0), CopyProgress.empty)

const [large, small, image] = [of("large", 1000), of("small", 10), of("image", 5)]

describe("the progress of a copy", () => {
  it("counts blobs and manifests separately, and both as pieces", () => {
    const progress = after(
      planned(image, "root"),
      planned(large),
      planned(small),
      settled(small, "copied"),
      settled(image, "copied", "root")
    )
    assert.deepStrictEqual(progress.blobs, { done: 1, total: 2 })
    assert.deepStrictEqual(progress.manifests, { done: 1, total: 1 })
    assert.deepStrictEqual(CopyProgress.pieces(progress), { done: 2, total: 3 })
    assert.deepStrictEqual(progress.bytes, { done: 15, total: 1015 })
  })

  it.each(["mounted", "present", "external", "missing", "kept"] as const)(
    "counts no bytes of content that is %s",
    (outcome) => {
      const progress = after(planned(large), settled(large, outcome))
      assert.deepStrictEqual([progress.bytes, progress.blobs], [{ done: 0, total: 0 }, { done: 1, total: 1 }])
    }
  )

  it("counts the bytes of a transfer, and fewer if it resumes at an earlier offset", () => {
    const progress = after(planned(large), started(large), progressed(large, 600))
    assert.strictEqual(progress.bytes.done, 600)
    assert.deepStrictEqual(Array.from(progress.moving), [[large.digest, { size: 1000, bytes: 600 }]])
    const resumed = CopyProgress.update(progress, progressed(large, 200), 0)
    assert.strictEqual(resumed.bytes.done, 200)
    assert.deepStrictEqual(CopyProgress.update(resumed, settled(large, "copied"), 0).bytes, { done: 1000, total: 1000 })
  })

  it("ignores progress of a blob after it is settled", () => {
    const progress = after(planned(large), started(large), settled(large, "copied"), progressed(large, 900))
    assert.deepStrictEqual([progress.bytes.done, progress.moving.size], [1000, 0])
  })

  it("counts retries", () => {
    const error = new RegistryError({
      operation: "getBlob",
      registry: "r.test",
      reason: new Timeout({ phase: "headers", after: Duration.seconds(1) })
    })
    assert.strictEqual(after({ _tag: "Retried", error, delay: Duration.seconds(1) }).retries, 1)
  })

  it("does not change the previous progress", () => {
    const before = after(planned(large), started(large))
    CopyProgress.update(before, progressed(large, 600), 0)
    assert.deepStrictEqual(before.bytes.done, 0)
    assert.deepStrictEqual(CopyProgress.empty, { ...CopyProgress.empty, blobs: { done: 0, total: 0 } })
  })

  describe("has a rate", () => {
    const huge = of("huge", 1_000_000)
    const begun = after(planned(huge), started(huge))
    /** Sends a number of bytes in each second, in ten steps. */
    const over = (
      from: CopyProgress.CopyProgress,
      since: number,
      seconds: number,
      perSecond: number
    ): CopyProgress.CopyProgress => {
      const before = from.bytes.done
      let progress = from
      for (let step = 1; step <= seconds * 10; step++) {
        const bytes = before + (perSecond * step) / 10
        progress = CopyProgress.update(progress, progressed(huge, bytes), since + step * 100)
      }
      return progress
    }

    it("that is 0 before the first transfer", () => {
      assert.strictEqual(CopyProgress.rate(CopyProgress.empty, 1000), 0)
      assert.strictEqual(CopyProgress.rate(begun, 0), 0)
      assert.isUndefined(CopyProgress.timeLeft(begun, 1000))
    })

    it("of all transfers, in the first ten seconds", () => {
      assert.strictEqual(CopyProgress.rate(over(begun, 0, 4, 1000), 4000), 1000)
    })

    it("of the last ten seconds, after that", () => {
      const progress = over(over(begun, 0, 60, 1000), 60_000, 15, 100)
      assert.closeTo(CopyProgress.rate(progress, 75_000), 100, 5)
    })

    it("that falls to 0 if all transfers stop", () => {
      const progress = over(begun, 0, 20, 1000)
      assert.closeTo(CopyProgress.rate(progress, 25_000), 500, 50)
      assert.strictEqual(CopyProgress.rate(progress, 31_000), 0)
    })

    it("that rises again after a pause", () => {
      const paused = CopyProgress.update(over(begun, 0, 1, 1000), progressed(huge, 1100), 61_000)
      assert.closeTo(CopyProgress.rate(paused, 61_000), 100 / 60, 1)
      assert.isAbove(CopyProgress.rate(paused, 61_000), 0)
    })

    it("from which the remaining time is computed", () => {
      const left = CopyProgress.timeLeft(over(begun, 0, 10, 10_000), 10_000)
      assert.strictEqual(left === undefined ? 0 : Duration.toSeconds(left), 90)
    })

    it("without samples from before its window", () => {
      assert.isAtMost(over(begun, 0, 600, 10).samples.length, 60)
    })
  })
})
