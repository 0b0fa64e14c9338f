/**
 * A real terminal, by `tmux`.
 */
import { Effect } from "effect"
import * as ChildProcess from "node:child_process"
import { promisify } from "node:util"

const execFile = promisify(ChildProcess.execFile)

/** True if tmux is on PATH. */
export const available = ChildProcess.spawnSync("tmux", ["-V"]).status === 0

let terminals = 0

/** A terminal of some size in which a line of shell runs, and which stays when that has ended. */
export const open = Effect.fnUntraced(function*(line: string, columns: number, rows: number) {
  const server = `effect-oci-${process.pid}-${terminals++}`
  const tmux = (...args: ReadonlyArray<string>) =>
    Effect.map(
      Effect.promise(() => execFile("tmux", ["-L", server, "-f", "/dev/null", ...args])),
      ({ stdout }) => stdout
    )
  const size = ["-x", `${columns}`, "-y", `${rows}`]
  yield* Effect.acquireRelease(
    tmux("new-session", "-d", ...size, `${line}; exec cat`),
    () => Effect.ignore(tmux("kill-server"))
  )
  const screen = Effect.map(
    tmux("capture-pane", "-p"),
    (text) => text.trimEnd().split("\n").map((line) => line.trimEnd())
  )
  return {
    /** The lines that can be seen, up to the last that is not empty. */
    screen,
    /** The lines that can be seen, as soon as one of them is like this. */
    when: (pattern: RegExp) => Effect.repeat(screen, { until: (lines) => lines.some((line) => pattern.test(line)) }),
    press: (key: string) => tmux("send-keys", key),
    resize: (columns: number) => tmux("resize-window", "-x", `${columns}`)
  }
})
