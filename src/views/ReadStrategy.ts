/**
 * Asking several registries for what one of them may have.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { isAbsence, type RegistryError } from "../RegistryError.ts"

/**
 * One registry after another, or all at once.
 *
 * @category models
 * @since 0.1.0
 */
export type Policy = "sequential" | "concurrent"

type Attempts<A, R> = ReadonlyArray<Effect.Effect<A, RegistryError, R>>

const cannotTell = (error: RegistryError): boolean => isAbsence(error) || error.reason._tag === "Unsupported"

// it has the blob; that it has no such bytes of it is an answer
const isMissing = (error: RegistryError): boolean => error.reason._tag !== "RangeNotSatisfiable"

/** How much an error tells of why nobody has it: the more, the later. */
const weight = (error: RegistryError): number =>
  error.reason._tag === "Unsupported" ? 0 : error.reason._tag === "NameUnknown" ? 1 : isAbsence(error) ? 2 : 3

const mostTelling = (errors: ReadonlyArray<RegistryError>, last: RegistryError): RegistryError =>
  errors.reduceRight((told, error) => weight(error) >= weight(told) ? error : told, last)

/** Goes from one to the next while failures say that it may. */
const inTurn = <A, R>(
  attempts: Attempts<A, R>,
  goesOn: (error: RegistryError) => boolean
): Effect.Effect<A, RegistryError, R> => {
  const ask = (index: number, errors: ReadonlyArray<RegistryError>): Effect.Effect<A, RegistryError, R> => {
    const attempt = attempts[index] ?? Effect.die("nobody is asked")
    return Effect.catch(attempt, (error) => {
      if (!goesOn(error)) return Effect.fail(error)
      return index + 1 < attempts.length ? ask(index + 1, [...errors, error]) : Effect.fail(mostTelling(errors, error))
    })
  }
  return Effect.suspend(() => ask(0, []))
}

/** All begin at once; their results count in order. */
const atOnceInOrder = <A, R>(
  attempts: Attempts<A, R>,
  goesOn: (error: RegistryError) => boolean
): Effect.Effect<A, RegistryError, R> =>
  Effect.scoped(Effect.flatMap(
    Effect.forEach(attempts, (attempt) => Effect.forkScoped(attempt)),
    (fibers) => inTurn(fibers.map((fiber) => Fiber.join(fiber)), goesOn)
  ))

/** All begin at once, and the first that has it wins. What others have opened by then is let go of. */
const race = <A, R>(attempts: Attempts<A, R>): Effect.Effect<A, RegistryError, R | Scope.Scope> =>
  Effect.gen(function*() {
    const outer = yield* Effect.scope
    const errors: Array<RegistryError> = []
    const entries = yield* Effect.forEach(
      attempts,
      (attempt) => Effect.map(Scope.fork(outer), (scope) => ({ attempt, scope }))
    )
    const winner = yield* Effect.raceAll(entries.map(({ attempt, scope }) =>
      attempt.pipe(
        Effect.map((value) => ({ scope, value })),
        Effect.tapError((error) => Effect.sync(() => errors.push(error))),
        Effect.provideService(Scope.Scope, scope)
      )
    )).pipe(Effect.mapError((error) => mostTelling(errors, error)))
    for (const { scope } of entries) {
      if (scope !== winner.scope) yield* Scope.close(scope, Exit.void)
    }
    return winner.value
  })

/** What a digest names: the same from whomever. */
export const byDigest = <A, R>(
  policy: Policy,
  attempts: Attempts<A, R>
): Effect.Effect<A, RegistryError, R | Scope.Scope> =>
  policy === "sequential" ? inTurn(attempts, isMissing) : race(attempts)

/** What a tag points at: for the first to say that knows. */
export const byTag = <A, R>(policy: Policy, attempts: Attempts<A, R>): Effect.Effect<A, RegistryError, R> =>
  policy === "sequential" ? inTurn(attempts, cannotTell) : atOnceInOrder(attempts, cannotTell)
