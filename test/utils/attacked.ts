/**
 * `serve`, attacked by clients of another process, while one client measures how long it waits.
 */
import { assert } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { fileURLToPath } from "node:url"
import * as Program from "./Program.ts"
import { send } from "./Served.ts"

const attacks = fileURLToPath(new URL("attacks.ts", import.meta.url))
const MiB = 1024 * 1024

/** Numbers of upload sessions, slow clients, manifests of 4 MB at once, and chunks of one byte. */
export interface Counts {
  readonly sessions: number
  readonly slow: number
  readonly manifests: number
  readonly chunks: number
}

/** The full counts. */
export const all: Counts = { sessions: 20_000, slow: 1_000, manifests: 8, chunks: 12_000_000 }

/** Sends requests without end, and notes how long the longest response took. */
const probe = Effect.fnUntraced(function*(host: string, longest: { milliseconds: number }) {
  const began = performance.now()
  const { status } = yield* send(host, "GET /v2/")
  assert.strictEqual(status, 200)
  longest.milliseconds = Math.max(longest.milliseconds, performance.now() - began)
  yield* Effect.sleep("5 millis")
})

/**
 * Attacks a server: this program, with these flags. Returns its answers to each attack, its peak memory in MiB, and the
 * longest wait for `GET /v2/` during each attack, in milliseconds.
 */
export const attacked = Effect.fnUntraced(function*(counts: Counts, flags: ReadonlyArray<string>, main = Program.main) {
  const server = yield* Program.startNode(main, "serve", "--port", "0", ...flags)
  const host = (yield* server.firstLine).replace("listening on http://", "")
  const attack = Effect.fnUntraced(function*(name: keyof Counts) {
    return yield* (yield* Program.startNode(attacks, name, host, `${counts[name]}`)).firstLine
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
