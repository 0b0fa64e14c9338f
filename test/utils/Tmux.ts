/**
 * Terminals of `tmux`.
 */
import { Effect } from "effect"
import * as ChildProcess from "node:child_process"
import { promisify } from "node:util"

const execFile = promisify(ChildProcess.execFile)

/** True if tmux is on PATH. */
export const available = ChildProcess.spawnSync("tmux", ["-V"]).status === 0

let terminals = 0

/** Opens a terminal and runs a line of shell in it. The terminal stays open after the line has ended. */
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
    /** Visible lines, without blank lines at the end. */
    screen,
    /** Waits until a visible line matches, and returns the visible lines. */
    when: (pattern: RegExp) => Effect.repeat(screen, { until: (lines) => lines.some((line) => pattern.test(line)) }),
    press: (key: string) => tmux("send-keys", key),
    resize: (columns: number) => tmux("resize-window", "-x", `${columns}`)
  }
})
