import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { all, attacked } from "../utils/attacked.ts"
import { temporaryFolder } from "../utils/layouts.ts"

const counts = process.env["EFFECT_OCI_LONG"] === undefined
  ? { sessions: 1_500, slow: 200, manifests: 3, chunks: 500_000 }
  : all

// `test/bench/attacks.ts` measures how long clients wait; other tests run at the same time as these
const longestWait = 10_000

describe("effect-oci serve under attack", () => {
  it.live.each([["in memory", false], ["in a folder", true]] as const)(
    "keeps its memory small and serves other clients: %s",
    ([, isFolder]) =>
      Effect.gen(function*() {
        const flags = isFolder ? ["--dir", yield* temporaryFolder] : []
        const { answers, code, memory, waits } = yield* attacked(counts, flags)
        assert.deepStrictEqual(answers, {
          slow: `${counts.slow}`,
          chunks: `202 0-${counts.chunks - 1}`,
          manifests: `201:${counts.manifests}`,
          // one of the thousand sessions that a client may have is that of the chunks
          sessions: `202:999 429:${counts.sessions - 999}`
        })
        assert.strictEqual(code, 0)
        assert.isBelow(memory, 400)
        for (const [name, wait] of Object.entries(waits)) assert.isBelow(wait, longestWait, name)
      }).pipe(Effect.provide(NodeServices.layer)),
    600_000
  )
})
