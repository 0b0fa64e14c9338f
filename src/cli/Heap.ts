/**
 * Settings with which V8 collects the garbage of the command.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { getHeapSpaceStatistics, getHeapStatistics, setFlagsFromString } from "node:v8"

// size from which on the heap grows by less between two collections, in bytes
const largeHeap = 64 * 1024 * 1024

/**
 * Limits the growth of the heap to a percentage once it is large. V8 would let garbage grow to several times what is in
 * use, for example while a registry lists very much. A small heap grows as V8 likes, because frequent collections take
 * a fifth of the time of a copy.
 */
export const limitGrowth = (percent: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (getHeapStatistics().used_heap_size < largeHeap) {
      return Effect.andThen(Effect.sleep("250 millis"), limitGrowth(percent))
    }
    setFlagsFromString(`--heap-growing-percent=${percent}`)
    return Effect.void
  })

// size of the young generation from which on it does not grow, in bytes. V8 would let it grow to three times as much
const largeYoung = 16 * 1024 * 1024

/**
 * Stops the growth of the young generation, to which a command that works for long lets V8 add memory that it does not
 * need. Smaller ones cost time, because then most of what a copy or a request uses lives until the second collection.
 * The size is read after each period, because V8 doubles it at a time.
 */
export const limitYoung = (period: Duration.Input): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { space_size: size = 0 } = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space") ?? {}
    if (size < largeYoung) return Effect.andThen(Effect.sleep(period), limitYoung(period))
    setFlagsFromString("--semi-space-growth-factor=1")
    return Effect.void
  })
