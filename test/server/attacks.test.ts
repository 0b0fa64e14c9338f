/**
 * `serve`, attacked by clients of another process, while one client looks how long it waits.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { fileURLToPath } from "node:url"
import { temporaryFolder } from "../utils/layouts.ts"
import { start, startNode } from "../utils/Program.ts"
import { send } from "../utils/Served.ts"

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined
const attacks = fileURLToPath(new URL("../utils/attacks.ts", import.meta.url))
const MiB = 1024 * 1024

/** Sessions, slow clients, manifests of 4 MB at once, and chunks of one byte. */
const counts = isLong
  ? { sessions: 20_000, slow: 1_000, manifests: 8, chunks: 12_000_000 }
  : { sessions: 1_500, slow: 200, manifests: 3, chunks: 500_000 }

// other tests run at the same time unless all counts are asked for
const longestWait = isLong ? 200 : 10_000

/** Asks whether the registry is there, again and again, and returns how long the longest answer took. */
const probe = Effect.fnUntraced(function*(host: string, longest: { milliseconds: number }) {
  const began = performance.now()
  const { status } = yield* send(host, "GET /v2/")
  assert.strictEqual(status, 200)
  longest.milliseconds = Math.max(longest.milliseconds, performance.now() - began)
  yield* Effect.sleep("5 millis")
})

const attacked = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const server = yield* start("serve", "--port", "0", ...args)
  const host = (yield* server.firstLine).replace("listening on http://", "")
  const attack = Effect.fnUntraced(function*(name: keyof typeof counts) {
    return yield* (yield* startNode(attacks, name, host, `${counts[name]}`)).firstLine
  })
  yield* send(host, "GET /v2/")
  const longest = { milliseconds: 0 }
  const probing = yield* Effect.forkChild(Effect.forever(probe(host, longest)))
  const waits: Record<string, number> = {}
  const answers: Record<string, string> = {}
  // the slow clients stay while the others come
  for (const name of ["slow", "chunks", "manifests", "sessions"] as const) {
    longest.milliseconds = 0
    answers[name] = yield* attack(name)
    waits[name] = Math.round(longest.milliseconds)
  }
  yield* Fiber.interrupt(probing)
  server.kill("SIGTERM")
  const { code, memory } = yield* server.ended
  return { answers, code, memory: Math.round(memory / MiB), waits }
})

describe("effect-oci serve that is attacked", () => {
  it.live.each([["in memory", false], ["in a folder", true]] as const)(
    "stays small and answers at once: %s",
    ([, isFolder]) =>
      Effect.gen(function*() {
        const { answers, code, memory, waits } = yield* attacked(
          ...isFolder ? ["--dir", yield* temporaryFolder] : []
        )
        assert.deepStrictEqual(answers, {
          slow: `${counts.slow}`,
          chunks: `202 0-${counts.chunks - 1}`,
          manifests: `201:${counts.manifests}`,
          // one of the thousand that a client may have is that of the chunks
          sessions: `202:999 429:${counts.sessions - 999}`
        })
        assert.strictEqual(code, 0)
        assert.isBelow(memory, 400)
        for (const [name, wait] of Object.entries(waits)) assert.isBelow(wait, longestWait, name)
      }).pipe(Effect.provide(NodeServices.layer)),
    600_000
  )
})
