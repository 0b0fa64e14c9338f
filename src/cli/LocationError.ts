/**
 * Errors of operations on a place that an argument names.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import { ArtifactError, isArtifactError } from "../artifact/ArtifactError.ts"
import type { NamespaceError } from "../Namespace.ts"
import type { RegistryError } from "../RegistryError.ts"

/** Why an operation on a place failed. */
export type Reason = Exclude<NamespaceError, RegistryError> | RegistryError["reason"]

/** An operation on a place failed. */
export class LocationError extends Data.TaggedError("LocationError")<{
  /** The place, as a reference. */
  readonly reference: string
  /** The operation of `Registry` that failed, if any. */
  readonly operation?: string | undefined
  readonly reason: Reason
}> {
  override get message(): string {
    return `${this.reference}: ${this.reason.message}`
  }
}

const tags = {
  RegistryError: true,
  UnknownHost: true,
  ResolveFailed: true,
  InvalidReference: true,
  TagMismatch: true,
  UnfitReference: true,
  PlatformNotFound: true,
  ManifestError: true
} satisfies Record<NamespaceError["_tag"], true>

// the tag identifies the class
const isNamespaceError = (error: unknown): error is NamespaceError =>
  hasProperty(error, "_tag") && typeof error._tag === "string" && Object.hasOwn(tags, error._tag)

/**
 * Converts the errors of an operation on a place to `LocationError`. Those of artifacts get the reference of the place.
 */
export const at = (reference: string) =>
<A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, NamespaceError> | LocationError, R> =>
  Effect.mapError(effect, (error) => {
    // with the reference as it was typed
    if (isArtifactError(error)) {
      return new ArtifactError({ reference, reason: error.reason }) as Exclude<E, NamespaceError>
    }
    if (!isNamespaceError(error)) {
      return error as Exclude<E, NamespaceError> // the guard has excluded the others
    }
    return error._tag === "RegistryError"
      ? new LocationError({ reference, operation: error.operation, reason: error.reason })
      : new LocationError({ reference, reason: error })
  })
