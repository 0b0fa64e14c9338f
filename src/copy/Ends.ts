/**
 * The two ends of a copy, and what goes wrong at either.
 */
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

export const failure = (ends: Ends, end: keyof Ends, reason: Reason, place?: Place): CopyError =>
  new CopyError({
    end,
    reference: format(ends[end]),
    ...place === undefined ? {} : { descriptor: place.descriptor },
    path: place?.path ?? [],
    reason
  })

export const failureOf = (ends: Ends, end: keyof Ends, place?: Place) => (error: RegistryError): CopyError =>
  failure(ends, end, error.reason, place)
