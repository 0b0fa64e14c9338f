/**
 * The command as a process.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Program from "./Program.ts"

// The first signal interrupts the command, which then cleans up; a second one, or a clean-up that drags on, ends it.
const end = Effect.sync(() => process.exit(130))
let interrupted = false
const interrupt = () => {
  Effect.runFork(interrupted ? end : Effect.delay(end, "1800 millis"))
  interrupted = true
}
process.on("SIGINT", interrupt)
process.on("SIGTERM", interrupt)
// a terminal that is closed is no reason to leave things behind
process.on("SIGHUP", () => process.emit("SIGTERM"))

// whoever does not want to hear more of it does not stop it; results that cannot be written are another matter
let lost: NodeJS.ErrnoException | undefined
process.stderr.on("error", () => {})
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  lost = error
})
const exitCode = (code: number): number => {
  if (lost === undefined || lost.code === "EPIPE" || code !== 0) return code
  process.stderr.write(`effect-oci: the result could not be written: ${lost.message}\n`)
  return 1
}

NodeRuntime.runMain(Effect.provide(Program.run(process.argv.slice(2)), NodeServices.layer), {
  disableErrorReporting: true,
  teardown: (exit, onExit) =>
    process.stdout.write("", () => setImmediate(() => onExit(exitCode(Program.exitCode(exit)))))
})
