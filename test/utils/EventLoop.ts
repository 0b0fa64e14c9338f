/**
 * How long the event loop stands still.
 */
import { Effect } from "effect"

/**
 * Runs an effect, and returns the longest time that the thread computed between two turns of the event loop, in
 * milliseconds. It is time of the processor, so that other processes do not count.
 */
export const longestStretch = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.suspend(() => {
    let longest = 0
    let last = process.threadCpuUsage()
    let isOver = false
    const turn = () => {
      const { system, user } = process.threadCpuUsage(last)
      longest = Math.max(longest, (system + user) / 1000)
      last = process.threadCpuUsage()
      if (!isOver) setImmediate(turn)
    }
    setImmediate(turn)
    return effect.pipe(
      Effect.andThen(Effect.sync(() => longest)),
      Effect.ensuring(Effect.sync(() => {
        isOver = true
      }))
    )
  })
