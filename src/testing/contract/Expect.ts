/**
 * Assertions as effects: they fail with what they found instead of the expected value.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Formatter from "effect/Formatter"
import { hasProperty } from "effect/Predicate"
import { isRegistryError, type Reason, type RegistryError } from "../../RegistryError.ts"

const TypeId = "~effect-oci/testing/Mismatch"

/** Difference between an expected and a found value. */
export class Mismatch extends Data.TaggedError("Mismatch")<{ readonly expected: string; readonly found: string }> {
  readonly [TypeId] = TypeId
}

export const isMismatch = (u: unknown): u is Mismatch => hasProperty(u, TypeId)

/** Creates a mismatch from descriptions in words. */
export const mismatch = (expected: string, found: string): Mismatch => new Mismatch({ expected, found })

const format = (value: unknown): string =>
  value instanceof Uint8Array && value.length > 64
    ? `${value.length} bytes, which begin with ${Formatter.format(value.subarray(0, 16))}`
    : Formatter.format(value)

/** Fails unless both values are structurally equal. */
export const equal = <A>(found: A, expected: A): Effect.Effect<void, Mismatch> =>
  Equal.equals(found, expected) ? Effect.void : Effect.fail(mismatch(format(expected), format(found)))

/** Fails unless both contain the same values, in any order. */
export const members = (found: Iterable<string>, expected: Iterable<string>): Effect.Effect<void, Mismatch> =>
  equal(Array.from(found).sort(), Array.from(expected).sort())

/** Fails unless the condition is true. */
export const holds = (condition: boolean, expected: string, found: string): Effect.Effect<void, Mismatch> =>
  condition ? Effect.void : Effect.fail(mismatch(expected, found))

/** Returns the error of an effect. Fails if the effect succeeds. */
export const failure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, Mismatch, R> =>
  Effect.matchEffect(effect, {
    onFailure: Effect.succeed,
    onSuccess: (found) => Effect.fail(mismatch("a failure", format(found)))
  })

/** Returns the error of an effect. Fails unless it is a `RegistryError` with one of the reasons. */
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
