/**
 * The command as a process.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Terminal from "effect/Terminal"
import * as Program from "./Program.ts"
import * as streams from "./streams.ts"

// The first signal interrupts the command, which then cleans up; a second one, or a clean-up that drags on, ends it.
const end = Effect.sync(() => process.exit(130))
let interrupted = false
const interrupt = () => {
  Effect.runFork(interrupted ? end : Effect.delay(end, "1500 millis"))
  interrupted = true
}
process.on("SIGINT", interrupt)
process.on("SIGTERM", interrupt)
// a terminal that is closed is no reason to leave things behind
process.on("SIGHUP", () => process.emit("SIGTERM"))

// stderr may be a terminal where stdout is none
const command = Program.run(process.argv.slice(2)).pipe(
  Effect.updateService(Terminal.Terminal, (terminal) =>
    Terminal.make({
      ...terminal,
      columns: Effect.sync(() => process.stdout.columns ?? process.stderr.columns ?? 0),
      rows: Effect.sync(() => process.stdout.rows ?? process.stderr.rows ?? 0)
    })),
  Effect.provide(NodeServices.layer)
)

NodeRuntime.runMain(command, {
  disableErrorReporting: true,
  teardown: (exit, onExit) => streams.end(Program.exitCode(exit), onExit)
})
