/**
 * The command, and other programs, as processes.
 */
import { Effect } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as BuiltCommand from "./BuiltCommand.ts"

/** The file of the command. */
export const main = BuiltCommand.path()

/** Folder in which Node keeps what it compiled, also of the examples and of the source that they use. */
const compiled = Path.join(Path.dirname(main), "compiled")

const executable = process.env["EFFECT_OCI_COMMAND"]

/**
 * The command with its first arguments: the executable that `EFFECT_OCI_COMMAND` names, or else Node with the
 * built one.
 */
const command: readonly [program: string, ...args: ReadonlyArray<string>] = executable === undefined
  ? [process.execPath, main]
  : [executable]

/** The command as a word of a shell. */
export const shellCommand = command.map((word) => `"${word}"`).join(" ")

export interface Ended {
  /** The exit code, or `null` after a signal. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** Peak memory of the process, in bytes; 0 on systems other than Linux. */
  readonly memory: number
}

export interface Running {
  readonly pid: number | undefined
  /** The first line on stdout; blank if the process ends without one. */
  readonly firstLine: Effect.Effect<string>
  /** Closes the reading end of stderr. */
  readonly ignore: () => void
  readonly kill: (signal: NodeJS.Signals) => void
  readonly ended: Effect.Effect<Ended>
}

// Linux reports the high-water mark while the process lives
const peakMemory = (pid: number | undefined): number => {
  const status = `/proc/${pid}/status`
  if (pid === undefined || !Fs.existsSync(status)) return 0
  return Number(/VmHWM:\s+(\d+) kB/.exec(Fs.readFileSync(status, "utf8"))?.[1] ?? 0) * 1024
}

export interface Options {
  /** Variables that are added to the environment. */
  readonly env?: Readonly<Record<string, string>>
  /** The current folder. Default: that of this process. */
  readonly cwd?: string
}

const spawn = (options: Options, program: string, ...args: ReadonlyArray<string>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        ChildProcess.spawn(program, args, {
          stdio: ["ignore", "pipe", "pipe"],
          env: { NODE_COMPILE_CACHE: compiled, ...process.env, ...options.env },
          ...options.cwd === undefined ? {} : { cwd: options.cwd }
        })
      ),
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
        pid: child.pid,
        firstLine: Effect.promise(() => firstLine),
        ignore: () => void child.stderr.destroy(),
        kill: (signal) => void child.kill(signal),
        ended: Effect.promise(() => ended)
      }
    }
  )

/** Starts Node. The process is killed if it outlives the scope. */
export const startNode = (...args: ReadonlyArray<string>) => spawn({}, process.execPath, ...args)

/** Starts the command. The process is killed if it outlives the scope. */
export const start = (...args: ReadonlyArray<string>) => spawn({}, ...command, ...args)

/** Starts the command with options. The process is killed if it outlives the scope. */
export const startWith = (options: Options, ...args: ReadonlyArray<string>) => spawn(options, ...command, ...args)

/** Runs the command to its end. */
export const run = (...args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(start(...args), ({ ended }) => ended))

/** Runs the command to its end, with options. */
export const runWith = (options: Options, ...args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(spawn(options, ...command, ...args), ({ ended }) => ended))

/** Runs a program of others to its end. */
export const runOther = (program: string, options: Options, ...args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(spawn(options, program, ...args), ({ ended }) => ended))
