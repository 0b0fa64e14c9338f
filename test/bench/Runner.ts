/**
 * Comparison of whole commands: they run in turn, are measured by GNU time, and are reported as medians.
 */
import { Console, Effect, Exit } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

export interface Competitor {
  readonly name: string
  readonly command: string
  /** Arguments of a run. The place is a name that no other run has. */
  readonly args: (place: string) => ReadonlyArray<string>
  /** Variables that are added to the environment. */
  readonly env?: (place: string) => Readonly<Record<string, string>>
}

export interface Measured {
  /** Wall time in seconds. */
  readonly wall: number
  /** User and system time in seconds. */
  readonly cpu: number
  /** Peak memory in MiB. */
  readonly memory: number
  /** Number of requests, if the registries count them. */
  readonly requests: number
}

/** Results of one competitor: the medians of its runs, or why it failed. */
export interface Row {
  readonly name: string
  readonly result: Measured | string
}

/** Returns the median of numbers. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return ((sorted[middle] ?? NaN) + (sorted[sorted.length % 2 === 1 ? middle : middle - 1] ?? NaN)) / 2
}

/** Runs a command to its end. Fails with its last words if its exit code is not 0. */
export const run = (
  { args, command, env, name }: Competitor,
  place: string,
  requests: () => number = () => NaN
): Effect.Effect<Measured, string> =>
  Effect.callback((resume) => {
    const report = Path.join(Os.tmpdir(), `bench-${process.pid}-${Math.random()}`)
    const before = requests()
    const begun = performance.now()
    const child = ChildProcess.spawn("time", ["-o", report, "-f", "%U %S %M", command, ...args(place)], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...env?.(place) }
    })
    let stderr = ""
    child.stderr.on("data", (text: Buffer) => void (stderr = (stderr + text.toString()).slice(-2000)))
    child.once("error", (error) => resume(Effect.fail(`${name}: ${error.message}`)))
    child.once("close", (code) => {
      const wall = (performance.now() - begun) / 1000
      const [user = 0, system = 0, memory = 0] = Fs.existsSync(report)
        ? (Fs.readFileSync(report, "utf8").trim().split("\n").at(-1) ?? "").split(" ").map(Number)
        : []
      Fs.rmSync(report, { force: true })
      resume(
        code === 0
          ? Effect.succeed({ wall, cpu: user + system, memory: memory / 1024, requests: requests() - before })
          : Effect.fail(`failed with exit code ${code}: ${stderr.trim().split("\n").at(-1) ?? ""}`)
      )
    })
  })

const medians = (runs: ReadonlyArray<Measured>): Measured => {
  const of = (key: keyof Measured) => median(runs.map((run) => run[key]))
  return {
    wall: of("wall"),
    cpu: of("cpu"),
    memory: Math.max(...runs.map(({ memory }) => memory)),
    requests: of("requests")
  }
}

/** Name of a place for a round of a competitor. */
export const placeOf = ({ name }: Competitor, round: number | string): string =>
  `${name.replaceAll(/[^a-z0-9]+/g, "-")}/${round}`

/** Runs all competitors in turn, several times, after a round that is not counted. One that fails runs no more. */
export const compare = Effect.fnUntraced(function*(
  competitors: ReadonlyArray<Competitor>,
  runs: number,
  options: { readonly requests?: () => number; readonly place?: typeof placeOf } = {}
) {
  const { place = placeOf, requests } = options
  const results = competitors.map((competitor) => ({ competitor, runs: new Array<Measured>(), failure: "" }))
  for (let round = 0; round <= runs; round++) {
    for (const result of results.filter(({ failure }) => failure === "")) {
      const exit = yield* Effect.exit(run(result.competitor, place(result.competitor, round), requests))
      if (Exit.isFailure(exit)) result.failure = String(exit.cause.reasons[0] ?? "failed")
      else if (round > 0) result.runs.push(exit.value)
    }
  }
  return results.map(({ competitor: { name }, failure, runs }): Row => ({
    name,
    result: failure === "" ? medians(runs) : failure
  }))
})

/** Returns rows of values under names as lines of columns. */
const table = (rows: ReadonlyArray<Readonly<Record<string, string>>>): string => {
  const columns = Array.from(new Set(rows.flatMap((row) => Object.keys(row))))
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => (row[column] ?? "").length)))
  const line = (cells: ReadonlyArray<string>) =>
    cells.map((cell, at) => at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)).join("  ")
  return [columns, ...rows.map((row) => columns.map((column) => row[column] ?? ""))].map(line).join("\n")
}

/** Prints the rows of a work, ours first, with the ratio of ours to the best of the others. */
export const show = Effect.fnUntraced(function*(title: string, rows: ReadonlyArray<Row>) {
  const measured = rows.flatMap(({ name, result }) => typeof result === "string" ? [] : [{ name, ...result }])
  yield* Console.log(`\n${title}\n${
    table(measured.map(({ cpu, memory, name, requests, wall }) => ({
      "": name,
      "wall s": wall.toFixed(2),
      "cpu s": cpu.toFixed(2),
      "peak MiB": memory.toFixed(0),
      ...Number.isNaN(requests) ? {} : { requests: requests.toFixed(0) }
    })))
  }`)
  for (const { name, result } of rows) if (typeof result === "string") yield* Console.log(`${name}: ${result}`)
  const [ours, ...others] = measured
  if (ours === undefined || ours.name !== rows[0]?.name) return
  for (const key of ["wall", "cpu"] as const) {
    const best = others.filter(({ name }) => !name.startsWith("effect-oci")).toSorted((a, b) => a[key] - b[key])[0]
    if (best !== undefined && best[key] > 0) {
      yield* Console.log(`${key}: ${(ours[key] / best[key]).toFixed(2)} times ${best.name}`)
    }
  }
})
