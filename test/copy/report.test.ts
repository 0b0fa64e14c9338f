/**
 * Reports of copies as text.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import * as CopyReport from "effect-oci/CopyReport"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { Denied } from "effect-oci/RegistryError"
import { pushBlob, pushManifest, pushSample, repository, tag } from "../utils/images.ts"
import { failing, override } from "../utils/registries.ts"

const app = repository("team/app")
const hostile = "a\u001b[31m\nroot ok\u2028b"

const setup = Effect.gen(function*() {
  const source = yield* MemoryRegistry.make({ name: "source.test" })
  const destination = yield* MemoryRegistry.make({ name: "destination.test" })
  const ends = {
    source: { registry: source, repository: app, tag: tag("1") },
    destination: { registry: destination, repository: app, tag: tag("1") }
  }
  return { source, ends }
})

describe("a report", () => {
  it.effect("is printed as a tree, with one line for each manifest and blob", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      const { arm64, index, onChild } = yield* pushSample(source, app, [tag("1")])
      const report = yield* Copy.copyManifest(ends)
      const lines = CopyReport.format(report).split("\n")
      assert.lengthOf(lines, report.entries.length + 1)
      assert.match(lines[0] ?? "", /^source\.test\/team\/app:1 to destination\.test\/team\/app:1@sha256:[^:]+: .+B$/)
      const indentOf = (digest: string) => lines.findLast((line) => line.includes(digest))?.search(/\S/)
      assert.deepStrictEqual([index, arm64, onChild].map(({ digest }) => indentOf(digest)), [2, 4, 6])
      assert.isTrue(lines[1]?.startsWith(`  copied root ${index.digest} (`))
      assert.isTrue(lines.some((line) => line.startsWith(`    copied child ${arm64.digest} (`)))
      assert.strictEqual(String(report), CopyReport.format(report))
    }))

  it.effect("is printed with the original of a rewritten index, unknown referrers and warnings", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      const { amd64, index } = yield* pushSample(source, app, [tag("1")])
      const refusing = override(source, {
        referrers: (_, digest) =>
          digest === amd64.digest ? Stream.unwrap(failing("referrers", new Denied({ status: 403 }))) : Stream.empty
      })
      const report = yield* Copy.copyManifest({
        ...ends,
        source: { ...ends.source, registry: refusing },
        platforms: { _tag: "Index", platforms: [{ os: "linux", architecture: "amd64" }], index: "rewrite" }
      })
      const text = CopyReport.format(report)
      assert.include(text, `\n  rewritten from ${index.digest}\n`)
      assert.include(text, `\n  the referrers of ${amd64.digest} at the source are unknown: access is denied`)
      assert.include(text, "\n  warning: it does not list the referrers of ")
    }))

  it.effect("is printable, whatever the media types are", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      const config = yield* pushBlob(source, app, "{}", MediaType.imageConfig)
      const layer = { ...yield* pushBlob(source, app, "one"), mediaType: hostile }
      yield* pushManifest(source, app, { mediaType: MediaType.imageManifest, config, layers: [layer] }, [tag("1")])
      const report = yield* Copy.copyManifest(ends)
      const text = CopyReport.format(report)
      assert.strictEqual(text.split("\n").length, report.entries.length + 1)
      assert.notMatch(text, /[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]|(?!\n)\p{Cc}/u)
    }))

  it.effect("is printed, although it contradicts itself", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      const { index } = yield* pushSample(source, app, [tag("1")])
      const report = yield* Copy.copyManifest(ends)
      const entry = { descriptor: index, role: "root" as const, outcome: "copied" as const }
      const twice = new CopyReport.CopyReport({
        ...report,
        entries: [{ ...entry, path: [] }, { ...entry, path: [index.digest] }]
      })
      assert.lengthOf(CopyReport.format(twice).split("\n"), 3)
    }))
})
