/**
 * The command as a process.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import * as Terminal from "effect/Terminal"
import * as Heap from "./Heap.ts"
import * as Program from "./Program.ts"
import * as Signals from "./Signals.ts"
import * as streams from "./streams.ts"

const exitAfter = (code: number, delay: Duration.Duration) =>
  Effect.runFork(Effect.delay(Effect.sync(() => process.exit(code)), delay))

let isEnding = false

// the first signal interrupts the command, unless its verb handles the signal; a second signal ends the process, and so
// does a cleanup of more than 1.5 seconds
const runMain = Runtime.makeRunMain(({ fiber, teardown }) => {
  const interrupt = () => {
    exitAfter(130, isEnding ? Duration.zero : Duration.millis(1500))
    isEnding = true
    fiber.interruptUnsafe(fiber.id)
  }
  const terminate = () => {
    const limit = isEnding ? undefined : Signals.raise("SIGTERM")
    if (limit === undefined) return interrupt()
    isEnding = true
    exitAfter(0, limit)
  }
  process.on("SIGINT", interrupt)
  process.on("SIGTERM", terminate)
  // a closed terminal interrupts the command as well, so that it cleans up
  process.on("SIGHUP", () => Signals.raise("SIGHUP") ?? terminate())
  fiber.addObserver((exit) =>
    teardown(exit, (code) => {
      if (isEnding || code !== 0) process.exit(code)
    })
  )
})

streams.watch()

const args = process.argv.slice(2)

// a server may run for long under attack, so that its heap is limited more
const limitHeap = Effect.forkChild(Heap.limitGrowth(args[0] === "serve" ? 20 : 50))

// a server and a run of a mirror work for long. A server is often idle, so that it looks less often
const limitYoung = args[0] === "serve"
  ? Effect.forkChild(Heap.limitYoung("250 millis"))
  : args[0] === "mirror" && args[1] === "run"
  ? Effect.forkChild(Heap.limitYoung("50 millis"))
  : Effect.void

// stderr may be a terminal even if stdout is not
const command = Effect.andThen(Effect.andThen(limitHeap, limitYoung), Program.run(args)).pipe(
  Effect.updateService(Terminal.Terminal, (terminal) =>
    Terminal.make({
      ...terminal,
      columns: Effect.sync(() => process.stdout.columns ?? process.stderr.columns ?? 0),
      rows: Effect.sync(() => process.stdout.rows ?? process.stderr.rows ?? 0)
    })),
  Effect.provide(NodeServices.layer)
)

runMain(command, {
  disableErrorReporting: true,
  teardown: (exit, onExit) => streams.end(Program.exitCode(exit), onExit)
})
