/**
 * Settings with which V8 collects the garbage of the command.
 */
import * as Effect from "effect/Effect"
import { getHeapStatistics, setFlagsFromString } from "node:v8"

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
