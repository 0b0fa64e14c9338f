/**
 * The two ends of a copy, and what goes wrong at either.
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Reference from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import { CopyError, type Reason } from "./CopyError.ts"

/**
 * A place in a registry.
 *
 * @category models
 * @since 0.1.0
 */
export interface End {
  readonly registry: Registry
  readonly repository: Reference.Repository
  readonly tag?: Reference.Tag
  readonly digest?: Digest
}

export interface Ends {
  readonly source: End
  readonly destination: End
}

/** Some content, and the manifests above it. */
export interface Place {
  readonly descriptor: Descriptor
  readonly path: ReadonlyArray<Digest>
}

export const format = (end: End): string =>
  Reference.format({
    registry: end.registry.name,
    repository: end.repository,
    ...end.tag === undefined ? {} : { tag: end.tag },
    ...end.digest === undefined ? {} : { digest: end.digest }
  })

export const failure = (
  ends: Ends,
  end: keyof Ends,
  reason: Reason,
  place?: Place,
  operation?: string
): CopyError =>
  new CopyError({
    end,
    ...operation === undefined ? {} : { operation },
    reference: format(ends[end]),
    ...place === undefined ? {} : { descriptor: place.descriptor },
    path: place?.path ?? [],
    reason
  })

export const failureOf =
  (ends: Ends, end: keyof Ends, place?: Place) => ({ operation, reason }: RegistryError): CopyError =>
    failure(ends, end, reason, place, operation)

/** What a registry has, or nothing where it says that it has no such thing. */
export const ifThere = <A, R>(
  effect: Effect.Effect<A, RegistryError, R>
): Effect.Effect<A | undefined, RegistryError, R> => {
  const absent = () => Effect.undefined
  return Effect.catchReasons(effect, "RegistryError", {
    BlobUnknown: absent,
    ManifestUnknown: absent,
    NameUnknown: absent
  })
}

/** Returns true if a registry refuses to say what it has. */
const isUntold = ({ reason, status = 0 }: RegistryError): boolean =>
  reason._tag === "Denied" || reason._tag === "Unsupported" ||
  reason._tag === "UnexpectedResponse" && status >= 400 && status < 500

/**
 * What a registry has, as far as it tells: some deny what they do not have (Artifactory), and a push will show whether it
 * denies that as well.
 */
export const ifTold = <A, R>(
  effect: Effect.Effect<A, RegistryError, R>
): Effect.Effect<A | undefined, RegistryError, R> => Effect.catchIf(ifThere(effect), isUntold, () => Effect.undefined)
