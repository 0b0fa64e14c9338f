/**
 * The two ends of a copy, and what goes wrong at either.
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Reference from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import { orAbsent, type RegistryError } from "../RegistryError.ts"
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
export interface ContentPath {
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
  end: End,
  side: keyof Ends,
  reason: Reason,
  place?: ContentPath,
  operation?: string
): CopyError =>
  new CopyError({
    end: side,
    ...operation === undefined ? {} : { operation },
    reference: format(end),
    ...place === undefined ? {} : { descriptor: place.descriptor },
    path: place?.path ?? [],
    reason
  })

export const failureOf =
  (end: End, side: keyof Ends, place?: ContentPath) => ({ operation, reason }: RegistryError): CopyError =>
    failure(end, side, reason, place, operation)

const refusals: ReadonlySet<RegistryError["reason"]["_tag"]> = new Set([
  "Denied",
  "DigestInvalid",
  "ManifestInvalid",
  "NameInvalid",
  "Unauthorized",
  "UnexpectedResponse",
  "Unsupported"
])

/**
 * Returns what a registry has, as far as it tells: some refuse to say what they do not have (Artifactory denies it),
 * and some know no HEAD. A push will show whether it refuses that as well. A registry that cannot be reached, or that
 * asks for a pause, has not refused anything.
 */
export const orAbsentOrDenied = <A, R>(
  effect: Effect.Effect<A, RegistryError, R>
): Effect.Effect<A | undefined, RegistryError, R> =>
  Effect.catchIf(orAbsent(effect), ({ reason }) => refusals.has(reason._tag), () => Effect.undefined)
