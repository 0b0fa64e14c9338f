/**
 * Measures `effect-oci serve`, as built, under attacks: its peak memory, and how long a client waits for `GET /v2/`.
 *
 *     npm run bench:attacks
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { fileURLToPath } from "node:url"
import { all, attacked } from "../utils/attacked.ts"
import { temporaryFolder } from "../utils/layouts.ts"

const built = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))

const measure = Effect.fnUntraced(function*(name: string, ...flags: ReadonlyArray<string>) {
  const { memory, waits } = yield* attacked(all, flags, built)
  const longest = Object.entries(waits).map(([attack, wait]) => `${attack} ${wait} ms`).join(", ")
  yield* Console.log(`${name}: ${memory} MiB; longest wait during ${longest}`)
})

const program = Effect.gen(function*() {
  yield* measure("in memory")
  yield* measure("in a folder", "--dir", yield* temporaryFolder)
})

NodeRuntime.runMain(Effect.provide(Effect.scoped(program), NodeServices.layer))
