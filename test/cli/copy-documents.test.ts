import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { CopyReport } from "effect-oci/CopyReport"
import * as CopyDocuments from "../../src/cli/CopyDocuments.ts"
import { longestStretch } from "../utils/EventLoop.ts"
import { digestOf } from "../utils/ScriptedServer.ts"

const decodeReport = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.toCodecJson(CopyReport)))
const decodeResults = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.toCodecJson(CopyDocuments.CopyResults)))

const descriptor = {
  mediaType: "application/octet-stream",
  digest: digestOf("blob"),
  size: 4,
  other: { "\"": ["entries"] }
}

const reportOf = (count: number) =>
  new CopyReport({
    source: "a.test/b:1",
    destination: "c.test/d:\"entries\":[]",
    root: descriptor,
    entries: Array.from({ length: count }, () => ({ descriptor, role: "blob", path: [], outcome: "copied" } as const)),
    unknownReferrers: [],
    bytes: 1,
    requests: 2,
    warnings: ["\"entries\":[]"]
  })

const textOf = (pieces: Stream.Stream<string>) => Effect.map(Stream.runCollect(pieces), (texts) => texts.join(""))

describe("the JSON of a report", () => {
  it.effect.each([0, 1, 200, 201, 1000])(
    "is the report, however many entries it has: %i",
    (count) =>
      Effect.gen(function*() {
        const report = reportOf(count)
        assert.deepStrictEqual(yield* decodeReport(yield* textOf(CopyDocuments.report(report))), report)
      })
  )

  it.live("is encoded without a long turn of the event loop", () =>
    Effect.gen(function*() {
      const report = reportOf(20_000)
      const longest = yield* longestStretch(Stream.runDrain(CopyDocuments.report(report)))
      assert.isBelow(longest, 100)
    }))

  it.effect("is the same within the results of several copies", () =>
    Effect.gen(function*() {
      const names = { source: "a.test/b", destination: "c.test/d" }
      const results = [
        { ...names, report: reportOf(300) },
        { ...names, error: { message: "failed" } },
        { ...names, report: reportOf(0) }
      ]
      assert.deepStrictEqual(yield* decodeResults(yield* textOf(CopyDocuments.results(results))), results)
      assert.strictEqual(yield* textOf(CopyDocuments.results([])), "[]")
    }))
})
