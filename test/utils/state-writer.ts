/**
 * A program that starts changes of one tag of a mirror whose state is in a file: `FILE COUNT`. It records each change,
 * and prints how many of them another process has superseded.
 */
import { Effect } from "effect"
import * as MirrorState from "effect-oci/MirrorState"
import { layerFile, row } from "./mirror-states.ts"

const [, , file = "", count = "0"] = process.argv

const program = Effect.gen(function*() {
  const state = yield* MirrorState.MirrorState
  let lost = 0
  for (let i = 0; i < Number(count); i++) {
    const begun = yield* state.begin([row("1")])
    lost += (yield* state.record(begun.map((row) => ({ ...row, status: "copied" })))).length
  }
  process.stdout.write(`${lost}\n`)
})

void Effect.runPromise(Effect.provide(program, layerFile(file)))
