import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Load from "../utils/load.ts"
import { start } from "../utils/Program.ts"

const load = process.env["EFFECT_OCI_LONG"] === undefined ? Load.brief : Load.full

describe("effect-oci serve", () => {
  it.live(
    `loses and spoils nothing when ${load.clients} clients push and pull ${load.small} blobs, and ${load.large} large ones`,
    () =>
      Effect.gen(function*() {
        const { ended, firstLine, kill } = yield* start("serve", "--port", "0")
        const host = (yield* firstLine).replace("listening on http://", "")
        yield* Load.run(host, load)
        kill("SIGTERM")
        assert.notMatch((yield* ended).stderr, / 5[0-9]{2} [0-9]+ms/)
      }),
    600_000
  )
})
