/**
 * The command, and other programs, as processes.
 */
import { Effect } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"

/** Its file. */
export const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url))

export interface Ended {
  /** The exit code. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** The most memory it held at any time, in bytes; 0 where the system does not tell. */
  readonly memory: number
}

export interface Running {
  /** Its first line on stdout; empty if it ends without one. */
  readonly firstLine: Effect.Effect<string>
  /** Stops listening to stderr. */
  readonly ignore: () => void
  readonly kill: (signal: NodeJS.Signals) => void
  readonly ended: Effect.Effect<Ended>
}

// Linux keeps the high-water mark for as long as the process lives
const peakMemory = (pid: number | undefined): number => {
  const status = `/proc/${pid}/status`
  if (pid === undefined || !Fs.existsSync(status)) return 0
  return Number(/VmHWM:\s+(\d+) kB/.exec(Fs.readFileSync(status, "utf8"))?.[1] ?? 0) * 1024
}

/** Starts Node. It is killed if it outlives the scope. */
export const startNode = (...args: ReadonlyArray<string>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => ChildProcess.spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] })),
      (child) => Effect.sync(() => void child.kill("SIGKILL"))
    ),
    (child): Running => {
      let stdout = ""
      let stderr = ""
      let memory = 0
      child.stdout.setEncoding("utf8").on("data", (text: string) => void (stdout += text))
      child.stderr.setEncoding("utf8").on("data", (text: string) => void (stderr += text))
      const watch = setInterval(() => void (memory = Math.max(memory, peakMemory(child.pid))), 50)
      const ended = new Promise<Ended>((resolve) =>
        child.once("close", (code) => {
          clearInterval(watch)
          resolve({ code, stdout, stderr, memory })
        })
      )
      const firstLine = new Promise<string>((resolve) => {
        child.stdout.on("data", () => stdout.includes("\n") && resolve(stdout.slice(0, stdout.indexOf("\n"))))
        child.once("close", () => resolve(""))
      })
      return {
        firstLine: Effect.promise(() => firstLine),
        ignore: () => void child.stderr.destroy(),
        kill: (signal) => void child.kill(signal),
        ended: Effect.promise(() => ended)
      }
    }
  )

/** Starts the command. It is killed if it outlives the scope. */
export const start = (...args: ReadonlyArray<string>) => startNode(main, ...args)

/** Runs the command to its end. */
export const run = (...args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(start(...args), ({ ended }) => ended))
