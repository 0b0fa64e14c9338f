/**
 * Timers of connections. They belong to no fiber, and do not keep the process alive.
 */
import * as Timers from "node:timers"

/** Runs a function after some time, in milliseconds. The returned function cancels that. */
export const start = (within: number, run: () => void): () => void => {
  // @effect-diagnostics-next-line globalTimers:off
  const timer = Timers.setTimeout(run, within).unref()
  return () => Timers.clearTimeout(timer)
}
