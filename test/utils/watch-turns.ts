/**
 * Loaded into a process before its program: measures the longest time that the program computes without letting the
 * event loop turn, from its first connection on, and tells it at the end. It is CPU time, so that a busy machine adds
 * nothing.
 */
import { subscribe } from "node:diagnostics_channel"
import { writeSync } from "node:fs"

const now = (): number => {
  const { system, user } = process.threadCpuUsage()
  return (system + user) / 1000
}

let longest = 0
let isWatching = false

subscribe("net.client.socket", () => {
  if (isWatching) return
  isWatching = true
  let last = now()
  const turn = (): void => {
    const time = now()
    longest = Math.max(longest, time - last)
    last = time
    setImmediate(turn).unref()
  }
  setImmediate(turn).unref()
})

process.on("exit", () => writeSync(2, `longest turn: ${Math.round(longest)} ms\n`))
