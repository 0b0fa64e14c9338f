/**
 * The command within this process.
 */
import { NodeServices } from "@effect/platform-node"
import { ConfigProvider, Console, Effect, Layer, Sink, Stdio, Stream, Terminal } from "effect"
import * as Program from "../../src/cli/Program.ts"

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface Options {
  readonly stdin?: string | Uint8Array
  /** The environment. Default: empty. */
  readonly env?: Readonly<Record<string, string>>
  /** Width of the terminal that stdout and stderr are. Default: they are not terminals. */
  readonly columns?: number
}

const textOf = (chunk: string | Uint8Array) => typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("latin1")

/** Runs the command to its end. Bytes on stdout are decoded as latin1. */
export const runWith = Effect.fnUntraced(function*(options: Options, ...args: ReadonlyArray<string>) {
  const { columns, env = {}, stdin = "" } = options
  let stdout = ""
  let stderr = ""
  const isTerminal = Effect.succeed(columns !== undefined)
  const console: Console.Console = Object.assign(Object.create(globalThis.console), {
    log: (...words: ReadonlyArray<unknown>) => void (stdout += `${words.join(" ")}\n`),
    error: (...words: ReadonlyArray<unknown>) => void (stderr += `${words.join(" ")}\n`)
  })
  const services = Layer.mergeAll(
    NodeServices.layer,
    Stdio.layerTest({
      stdin: Stream.succeed(typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin),
      stdoutIsTerminal: isTerminal,
      stderrIsTerminal: isTerminal,
      stdout: () => Sink.forEach((chunk: string | Uint8Array) => Effect.sync(() => void (stdout += textOf(chunk)))),
      stderr: () => Sink.forEach((chunk: string | Uint8Array) => Effect.sync(() => void (stderr += textOf(chunk))))
    }),
    Layer.succeed(
      Terminal.Terminal,
      Terminal.make({
        columns: Effect.succeed(columns ?? 0),
        rows: Effect.succeed(24),
        size: Effect.die("unused"),
        readInput: Effect.die("unused"),
        readLine: Effect.die("unused"),
        display: () => Effect.void
      })
    )
  )
  const exit = yield* Effect.exit(Effect.scoped(
    Program.run(args).pipe(
      Effect.provide(services),
      Effect.provideService(Console.Console, console),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
    )
  ))
  return { code: Program.exitCode(exit), stdout, stderr } satisfies Ended
})

/** Runs the command to its end. */
export const run = (...args: ReadonlyArray<string>) => runWith({}, ...args)
