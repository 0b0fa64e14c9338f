import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { temporaryFolder } from "../utils/layouts.ts"
import * as Load from "../utils/load.ts"
import { start } from "../utils/Program.ts"

const load = process.env["EFFECT_OCI_LONG"] === undefined ? Load.brief : Load.full
const MiB = 1024 * 1024

const serveUnderLoad = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const { ended, firstLine, kill } = yield* start("serve", "--port", "0", ...args)
  const host = (yield* firstLine).replace("listening on http://", "")
  yield* Load.run(host, load)
  kill("SIGTERM")
  const { memory, stderr } = yield* ended
  assert.notMatch(stderr, / 5[0-9]{2} [0-9]+ms/)
  return memory
})

describe(`when ${load.clients} clients push and pull ${load.small} blobs, and ${load.large} large ones, effect-oci serve`, () => {
  it.live("loses and damages nothing in memory", () => serveUnderLoad(), 600_000)

  it.live("loses and damages nothing in a folder, in less than 300 MiB", () =>
    Effect.gen(function*() {
      const memory = yield* serveUnderLoad("--dir", yield* temporaryFolder)
      assert.isBelow(memory / MiB, 300)
    }).pipe(Effect.provide(NodeServices.layer)), 600_000)
})
