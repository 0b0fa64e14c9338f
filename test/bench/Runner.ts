/**
 * Whole commands against each other: run in turn, measured by the system, told as medians and as ratios of pairs.
 */
import { Effect } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

export interface Competitor {
  readonly name: string
  readonly command: string
  /** To a place that no run has used before. */
  readonly args: (place: string) => ReadonlyArray<string>
  /** The environment, besides ours. */
  readonly env?: (place: string) => Readonly<Record<string, string>>
}

export interface Measured {
  /** In seconds. */
  readonly wall: number
  /** In seconds, of user and system. */
  readonly cpu: number
  /** The most that was resident, in MiB. */
  readonly memory: number
}

export const isInstalled = (command: string): boolean =>
  (process.env["PATH"] ?? "").split(Path.delimiter).some((directory) => Fs.existsSync(Path.join(directory, command)))

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] ?? NaN : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2
}

/** Runs a command to its end, which has to be a good one. GNU time tells what it took. */
export const run = ({ args, command, env, name }: Competitor, place: string): Effect.Effect<Measured> =>
  Effect.callback((resume) => {
    const report = Path.join(Os.tmpdir(), `bench-${process.pid}-${Math.random()}`)
    const begun = performance.now()
    const child = ChildProcess.spawn("time", ["-o", report, "-f", "%U %S %M", command, ...args(place)], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...env?.(place) }
    })
    let stderr = ""
    child.stderr.on("data", (text: Buffer) => void (stderr = (stderr + text.toString()).slice(-2000)))
    child.once("error", (error) => resume(Effect.die(error)))
    child.once("close", (code) => {
      const wall = (performance.now() - begun) / 1000
      if (code !== 0) return resume(Effect.die(new Error(`${name} ended with ${code}: ${stderr}`)))
      const [user = 0, system = 0, memory = 0] = Fs.readFileSync(report, "utf8").trim().split(" ").map(Number)
      Fs.rmSync(report)
      resume(Effect.succeed({ wall, cpu: user + system, memory: memory / 1024 }))
    })
  })

export interface Row extends Measured {
  readonly name: string
  /** Ours by theirs, in wall time: the median over the pairs of runs. */
  readonly ratio: number
}

/** Runs all of them in turn, several times. The first of them is ours. */
export const compare = Effect.fnUntraced(function*(competitors: ReadonlyArray<Competitor>, runs: number) {
  const results = competitors.map((competitor) => ({ competitor, runs: new Array<Measured>() }))
  for (let round = 0; round <= runs; round++) {
    for (const { competitor, runs } of results) {
      const measured = yield* run(competitor, `${competitor.name.replaceAll(/[^a-z]/g, "-")}/${round}`)
      // the first round warms up what there is to be warmed up
      if (round > 0) runs.push(measured)
    }
  }
  const ours = results[0]?.runs ?? []
  return results.map(({ competitor, runs }): Row => ({
    name: competitor.name,
    wall: median(runs.map(({ wall }) => wall)),
    cpu: median(runs.map(({ cpu }) => cpu)),
    memory: Math.max(...runs.map(({ memory }) => memory)),
    ratio: median(runs.map(({ wall }, round) => (ours[round]?.wall ?? NaN) / wall))
  }))
})

/** Numbers under names, in columns. */
export const table = (rows: ReadonlyArray<Readonly<Record<string, string | number | undefined>>>): string => {
  const columns = Array.from(new Set(rows.flatMap((row) => Object.keys(row))))
  const cells = rows.map((row) =>
    columns.map((column) => {
      const value = row[column]
      return typeof value === "number" ? (Number.isInteger(value) ? `${value}` : value.toFixed(2)) : value ?? ""
    })
  )
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...cells.map((row) => (row[index] ?? "").length))
  )
  const line = (row: ReadonlyArray<string>) =>
    row.map((cell, index) => index === 0 ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0)).join(
      "  "
    )
  return [line(columns), line(widths.map((width) => "-".repeat(width))), ...cells.map(line)].join("\n")
}
