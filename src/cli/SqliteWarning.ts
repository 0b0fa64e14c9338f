/**
 * The warning that SQLite is experimental, which Node 22 prints when a program loads it.
 */
import * as Effect from "effect/Effect"

/** Runs an effect that loads SQLite, without that warning. */
export const withoutWarning = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const { emitWarning } = process
      const emit = emitWarning.bind(process)
      process.emitWarning = (warning: string | Error, ...rest: Array<never>) => {
        if (!(String(warning).includes("SQLite") && rest.some((each) => each === "ExperimentalWarning"))) {
          emit(warning, ...rest)
        }
      }
      return emitWarning
    }),
    () => effect,
    (emitWarning) =>
      Effect.sync(() => {
        process.emitWarning = emitWarning
      })
  )
