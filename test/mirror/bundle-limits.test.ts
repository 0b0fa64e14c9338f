import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Digest } from "effect-oci/Digest"
import * as Fs from "node:fs"
import * as BundleContents from "../../src/mirror/BundleContents.ts"
import * as BundleOutput from "../../src/mirror/BundleOutput.ts"
import { setup, test } from "../utils/bundles.ts"

const hash = Digest.make(`sha256:${"0".repeat(64)}`)

const empty: BundleOutput.Listed = {
  at: "2026-01-01T00:00:00.000Z",
  base: [],
  content: [],
  images: [],
  repositories: [],
  omitted: []
}

const entry = { name: "outside.test/app", tag: "1", problem: "" }

const tooMany = Array.from({ length: 200_001 }, () => entry)

describe("a list of contents that no import would accept", () => {
  it.effect.each<readonly [problem: string, listed: Partial<BundleOutput.Listed>]>([
    ["it has more than 200000 entries in omitted", { omitted: tooMany }],
    ["it has more than 67108864 bytes", { omitted: [{ ...entry, problem: "x".repeat(BundleContents.maximumSize) }] }]
  ])("is not written: %s", ([problem, listed]) =>
    Effect.gen(function*() {
      const sealed = BundleContents.seal({ ...empty, ...listed, pieces: [], index: { size: 0, digest: hash } })
      assert.strictEqual(yield* Effect.flip(sealed), problem)
    }))

  for (const [name, maximumSize] of [["bundle", undefined], ["bundle.tar", undefined], ["bundle.tar", 1500]] as const) {
    test(
      `fails the export to ${name}${maximumSize === undefined ? "" : " in pieces"} before an archive is written`,
      Effect.gen(function*() {
        const { folder, path } = yield* setup()
        const { finish } = yield* BundleOutput.open(path(name), maximumSize)
        const error = yield* Effect.flip(finish({ ...empty, omitted: tooMany }))
        assert.strictEqual(error.kind, "Invalid")
        assert.include(error.message, "its list of contents would be refused: it has more than 200000 entries")
        const left = Fs.readdirSync(folder, { recursive: true }).map(String)
        assert.deepStrictEqual(left.filter((name) => /\.tar$|\.draft$|\.001$|bundle\.json$/.test(name)), [])
      })
    )
  }
})
