/**
 * Timeouts that start again with every sign of progress.
 */
import * as Effect from "effect/Effect"

/**
 * Fails after `left` milliseconds. When they have passed, `left` is called again, so that progress in the meantime
 * extends the wait.
 */
export const overdue = <E>(left: () => number, late: () => E): Effect.Effect<never, E> =>
  Effect.suspend(() => {
    const millis = left()
    return millis > 0 ? Effect.andThen(Effect.sleep(millis), overdue(left, late)) : Effect.fail(late())
  })
