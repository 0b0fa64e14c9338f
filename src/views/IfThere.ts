/**
 * Telling that something is not there from other failures.
 */
import * as Effect from "effect/Effect"
import type { RegistryError } from "../RegistryError.ts"

const absences: ReadonlySet<string> = new Set(["BlobUnknown", "ManifestUnknown", "NameUnknown"])

/** Does the registry say that it has no such thing? */
export const isAbsence = (error: RegistryError): boolean => absences.has(error.reason._tag)

/** What a registry has, or nothing where it says that it has no such thing. */
export const ifThere = <A, R>(
  effect: Effect.Effect<A, RegistryError, R>
): Effect.Effect<A | undefined, RegistryError, R> => Effect.catchIf(effect, isAbsence, () => Effect.undefined)
