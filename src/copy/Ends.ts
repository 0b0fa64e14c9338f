/**
 * The two ends of a copy, and failures at either of them.
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Reference from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import { orAbsent, type RegistryError } from "../RegistryError.ts"
import { CopyError, type Reason } from "./CopyError.ts"

/**
 * A repository of a registry, with a tag or a digest that names content there.
 *
 * @category models
 * @since 0.1.0
 */
export interface End {
  readonly registry: Registry
  readonly repository: Reference.Repository
  readonly tag?: Reference.Tag | undefined
  readonly digest?: Digest | undefined
}

export interface Ends {
  readonly source: End
  readonly destination: End
}

/** Content, and the manifests above it from the root down. */
export interface ContentPath {
  readonly descriptor: Descriptor
  readonly path: ReadonlyArray<Digest>
}

/** Formats an end as a reference. */
export const format = (end: End): string =>
  Reference.format({
    registry: end.registry.name,
    repository: end.repository,
    ...end.tag === undefined ? {} : { tag: end.tag },
    ...end.digest === undefined ? {} : { digest: end.digest }
  })

/** Creates the error of a copy that fails at one end. */
export const failure = (
  end: End,
  side: keyof Ends,
  reason: Reason,
  content?: ContentPath,
  operation?: string
): CopyError =>
  new CopyError({
    end: side,
    ...operation === undefined ? {} : { operation },
    reference: format(end),
    ...content === undefined ? {} : { descriptor: content.descriptor },
    path: content?.path ?? [],
    reason
  })

/** Converts a failure of the registry at one end. */
export const failureOf =
  (end: End, side: keyof Ends, content?: ContentPath) => ({ operation, reason }: RegistryError): CopyError =>
    failure(end, side, reason, content, operation)

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
 * Returns `undefined` if a registry does not have content, or refuses to answer. Some registries refuse requests for
 * content that they do not have (Artifactory denies them), and some do not implement HEAD. The push then shows whether
 * the registry accepts the content. Fails if the registry cannot be reached or asks for a pause, because neither is a
 * refusal.
 */
export const orAbsentOrDenied = <A, R>(
  effect: Effect.Effect<A, RegistryError, R>
): Effect.Effect<A | undefined, RegistryError, R> =>
  Effect.catchIf(orAbsent(effect), ({ reason }) => refusals.has(reason._tag), () => Effect.undefined)
