#!/usr/bin/env node
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import { setFlagsFromString } from "node:v8"
import * as Program from "./Program.ts"

// V8 would let the chunks of blobs pile up in a growing young generation: kept small, it frees them soon
setFlagsFromString("--semi-space-growth-factor=1")

// The first signal interrupts the command, which then cleans up; a second one, or a clean-up that drags on, ends it.
const end = Effect.sync(() => process.exit(130))
let interrupted = false
const interrupt = () => {
  Effect.runFork(interrupted ? end : Effect.delay(end, "1800 millis"))
  interrupted = true
}
process.on("SIGINT", interrupt)
process.on("SIGTERM", interrupt)

NodeRuntime.runMain(Effect.provide(Program.run(process.argv.slice(2)), NodeServices.layer), {
  disableErrorReporting: true,
  teardown: (exit, onExit) => onExit(Program.exitCode(exit))
})
