/**
 * Waiting for no longer than allowed, where what is allowed begins anew with everything that moves.
 */
import * as Effect from "effect/Effect"

/** Fails once nothing is left of a time, in milliseconds; when it was told to be over, it is asked for again. */
export const overdue = <E>(left: () => number, late: () => E): Effect.Effect<never, E> =>
  Effect.suspend(() => {
    const millis = left()
    return millis > 0 ? Effect.andThen(Effect.sleep(millis), overdue(left, late)) : Effect.fail(late())
  })
