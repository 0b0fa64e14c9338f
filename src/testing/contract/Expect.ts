/**
 * Saying what is expected, in effects that fail with what was found instead.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Formatter from "effect/Formatter"
import { hasProperty } from "effect/Predicate"
import { isRegistryError, type Reason, type RegistryError } from "../../RegistryError.ts"

const TypeId = "~effect-oci/testing/Mismatch"

/** What was found is not what was expected. */
export class Mismatch extends Data.TaggedError("Mismatch")<{ readonly expected: string; readonly found: string }> {
  readonly [TypeId] = TypeId
}

export const isMismatch = (u: unknown): u is Mismatch => hasProperty(u, TypeId)

/** Fails with what was found instead of what was expected, in words. */
export const mismatch = (expected: string, found: string): Mismatch => new Mismatch({ expected, found })

const format = (value: unknown): string =>
  value instanceof Uint8Array && value.length > 64
    ? `${value.length} bytes, which begin with ${Formatter.format(value.subarray(0, 16))}`
    : Formatter.format(value)

/** The same value, down to its parts. */
export const equal = <A>(found: A, expected: A): Effect.Effect<void, Mismatch> =>
  Equal.equals(found, expected) ? Effect.void : Effect.fail(mismatch(format(expected), format(found)))

/** The same values, in any order. */
export const members = (found: Iterable<string>, expected: Iterable<string>): Effect.Effect<void, Mismatch> =>
  equal(Array.from(found).sort(), Array.from(expected).sort())

/** Something that holds. */
export const holds = (condition: boolean, expected: string, found: string): Effect.Effect<void, Mismatch> =>
  condition ? Effect.void : Effect.fail(mismatch(expected, found))

/** A failure, whatever it is. */
export const failure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, Mismatch, R> =>
  Effect.matchEffect(effect, {
    onFailure: Effect.succeed,
    onSuccess: (found) => Effect.fail(mismatch("a failure", format(found)))
  })

/** A failure of a registry, of one of some reasons. */
export const reason = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  ...tags: ReadonlyArray<Reason["_tag"]>
): Effect.Effect<RegistryError, Mismatch, R> => {
  const expected = `a failure with ${tags.join(" or ")}`
  return Effect.matchEffect(effect, {
    onFailure: (error) =>
      isRegistryError(error) && tags.includes(error.reason._tag)
        ? Effect.succeed(error)
        : Effect.fail(
          mismatch(expected, isRegistryError(error) ? `${error.reason._tag}: ${error.message}` : String(error))
        ),
    onSuccess: (found) => Effect.fail(mismatch(expected, format(found)))
  })
}
