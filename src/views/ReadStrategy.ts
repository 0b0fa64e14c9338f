/**
 * Reading of content that one of several registries may have.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { isAbsence, type RegistryError } from "../RegistryError.ts"

/**
 * Order in which registries are asked: one after another, or all at the same time.
 *
 * @category models
 * @since 0.1.0
 */
export type Policy = "sequential" | "concurrent"

type Attempts<A, R> = ReadonlyArray<Effect.Effect<A, RegistryError, R>>

const cannotTell = (error: RegistryError): boolean => isAbsence(error) || error.reason._tag === "Unsupported"

// a registry that cannot satisfy a range has the blob, so the others are not asked
const isMissing = (error: RegistryError): boolean => error.reason._tag !== "RangeNotSatisfiable"

/** Ranks errors by how well they explain the failure. The highest rank is returned. */
const weight = (error: RegistryError): number =>
  error.reason._tag === "Unsupported" ? 0 : error.reason._tag === "NameUnknown" ? 1 : isAbsence(error) ? 2 : 3

const mostTelling = (errors: ReadonlyArray<RegistryError>, last: RegistryError): RegistryError =>
  errors.reduceRight((best, error) => weight(error) >= weight(best) ? error : best, last)

/** Runs attempts one after another, while they fail with errors that `goesOn` accepts. */
const inTurn = <A, R>(
  attempts: Attempts<A, R>,
  goesOn: (error: RegistryError) => boolean
): Effect.Effect<A, RegistryError, R> => {
  const ask = (index: number, errors: ReadonlyArray<RegistryError>): Effect.Effect<A, RegistryError, R> => {
    const attempt = attempts[index] ?? Effect.die("there are no registries")
    return Effect.catch(attempt, (error) => {
      if (!goesOn(error)) return Effect.fail(error)
      return index + 1 < attempts.length ? ask(index + 1, [...errors, error]) : Effect.fail(mostTelling(errors, error))
    })
  }
  return Effect.suspend(() => ask(0, []))
}

/** Starts all attempts at once, and takes their results in order. */
const atOnceInOrder = <A, R>(
  attempts: Attempts<A, R>,
  goesOn: (error: RegistryError) => boolean
): Effect.Effect<A, RegistryError, R> =>
  Effect.scoped(Effect.flatMap(
    Effect.forEach(attempts, (attempt) => Effect.forkScoped(attempt)),
    (fibers) => inTurn(fibers.map((fiber) => Fiber.join(fiber)), goesOn)
  ))

/** Starts all attempts at once, and returns the first success. Whatever the other attempts have opened is closed. */
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

/** Returns the content of a digest, which is the same in every registry. */
export const byDigest = <A, R>(
  policy: Policy,
  attempts: Attempts<A, R>
): Effect.Effect<A, RegistryError, R | Scope.Scope> =>
  policy === "sequential" ? inTurn(attempts, isMissing) : race(attempts)

/** Returns the manifest that a tag points at in the first registry that knows the tag. */
export const byTag = <A, R>(policy: Policy, attempts: Attempts<A, R>): Effect.Effect<A, RegistryError, R> =>
  policy === "sequential" ? inTurn(attempts, cannotTell) : atOnceInOrder(attempts, cannotTell)
