/**
 * How a copy fails: at which end, over which content, and why.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import { Digest } from "../Digest.ts"
import { ManifestError } from "../Manifest.ts"
import { InvalidReference } from "../Reference.ts"
import * as RegistryError from "../RegistryError.ts"
import { ResolveFailed, UnknownHost } from "../Resolver.ts"
import { printable } from "../Text.ts"

const TypeId = "~effect-oci/CopyError"

/**
 * A reference names a tag and a digest, and the tag points elsewhere.
 *
 * @category errors
 * @since 0.1.0
 */
export class TagMismatch extends Schema.TaggedError<TagMismatch>("effect-oci/CopyError/TagMismatch")("TagMismatch", {
  tag: Schema.String,
  expected: Digest,
  actual: Digest
}) {
  override get message(): string {
    return `the tag ${this.tag} points at ${this.actual}, not at ${this.expected}`
  }
}

/**
 * A destination names another digest than the source has.
 *
 * @category errors
 * @since 0.1.0
 */
export class DigestConflict extends Schema.TaggedError<DigestConflict>("effect-oci/CopyError/DigestConflict")(
  "DigestConflict",
  { source: Digest, destination: Digest }
) {
  override get message(): string {
    return `the destination asks for ${this.destination}, the source has ${this.source}`
  }
}

/**
 * A reference lacks the part that the operation needs, or has one that makes no sense for it.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnfitReference extends Schema.TaggedError<UnfitReference>("effect-oci/CopyError/UnfitReference")(
  "UnfitReference",
  { problem: Schema.String }
) {
  override get message(): string {
    return this.problem
  }
}

/**
 * There is no image for the platform that was asked for.
 *
 * @category errors
 * @since 0.1.0
 */
export class PlatformNotFound extends Schema.TaggedError<PlatformNotFound>("effect-oci/CopyError/PlatformNotFound")(
  "PlatformNotFound",
  { platform: Schema.String, available: Schema.Array(Schema.String) }
) {
  override get message(): string {
    const available = this.available.length === 0 ? "none" : this.available.join(", ")
    return printable(`there is no image for ${this.platform}; there is: ${available}`)
  }
}

/**
 * A tag is at the destination already, and was not to be replaced.
 *
 * @category errors
 * @since 0.1.0
 */
export class TagExists extends Schema.TaggedError<TagExists>("effect-oci/CopyError/TagExists")("TagExists", {
  tag: Schema.String,
  /** What it points at. */
  actual: Digest
}) {
  override get message(): string {
    return `the tag ${this.tag} exists, and points at ${this.actual}`
  }
}

/**
 * Some platforms of an index were asked for, and the index can neither be left as it is nor, by this copy, changed: the
 * destination takes no index whose manifests are not all there, or the copy was told that there must be no other platforms.
 *
 * @category errors
 * @since 0.1.0
 */
export class SparseIndexRefused
  extends Schema.TaggedError<SparseIndexRefused>("effect-oci/CopyError/SparseIndexRefused")("SparseIndexRefused", {
    /** What the index lists besides. */
    others: Schema.Array(Schema.String)
  })
{
  override get message(): string {
    const others = this.others.length === 0 ? "" : ` besides: ${this.others.join(", ")}`
    return printable(`an index cannot be copied with some of its platforms as it is${others}; it could be rewritten`)
  }
}

/**
 * After the copy, the destination does not have what it should.
 *
 * @category errors
 * @since 0.1.0
 */
export class VerificationFailed
  extends Schema.TaggedError<VerificationFailed>("effect-oci/CopyError/VerificationFailed")("VerificationFailed", {
    problem: Schema.String
  })
{
  override get message(): string {
    return printable(`after the copy, ${this.problem}`)
  }
}

/**
 * What a plan was made for is not what is there now.
 *
 * @category errors
 * @since 0.1.0
 */
export class PlanOutdated
  extends Schema.TaggedError<PlanOutdated>("effect-oci/CopyError/PlanOutdated")("PlanOutdated", {
    expected: Digest,
    actual: Digest
  })
{
  override get message(): string {
    return `the plan is for ${this.expected}, and the source has ${this.actual} by now`
  }
}

/**
 * Manifests contain or refer to each other through more levels than anybody needs.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooDeep extends Schema.TaggedError<TooDeep>("effect-oci/CopyError/TooDeep")("TooDeep", {
  /** The number of levels that are followed. */
  limit: Schema.Natural
}) {
  override get message(): string {
    return `manifests contain or refer to each other through more than ${this.limit} levels`
  }
}

/**
 * Schema of every reason that a {@link CopyError} can have: those of a registry, of resolving, of reading references and
 * manifests, and its own.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Union([
  ...RegistryError.Reason.members,
  UnknownHost,
  ResolveFailed,
  InvalidReference,
  ManifestError,
  TagMismatch,
  DigestConflict,
  UnfitReference,
  PlatformNotFound,
  TagExists,
  SparseIndexRefused,
  VerificationFailed,
  PlanOutdated,
  TooDeep
])

/**
 * Every reason that a {@link CopyError} can have.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * A copy failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class CopyError extends Schema.TaggedError<CopyError>("effect-oci/CopyError")("CopyError", {
  /** Which end failed. */
  end: Schema.Literals(["source", "destination"]),
  /** That end, as a reference. */
  reference: Schema.String,
  /** The operation of `Registry` that failed, where one did. */
  operation: Schema.optionalKey(Schema.String),
  /** The content that was being copied, where it is known by then. */
  descriptor: Schema.optionalKey(Descriptor),
  /** The manifests above that content, from the root down. */
  path: Schema.Array(Digest),
  reason: Reason
}) {
  readonly [TypeId] = TypeId

  /** The reason, as the cause that error printers show. */
  override readonly cause = this.reason

  /** May the same copy succeed later? */
  get isRetryable(): boolean {
    return "isRetryable" in this.reason && this.reason.isRetryable
  }

  /** How long the registry asks to wait before that. */
  get retryAfter(): Duration.Duration | undefined {
    return "retryAfter" in this.reason ? this.reason.retryAfter : undefined
  }

  /** The HTTP status, where a registry behind HTTP gave one. */
  get status(): number | undefined {
    return "status" in this.reason ? this.reason.status : undefined
  }

  override get message(): string {
    const { descriptor, end, path, reason, reference } = this
    const type = descriptor === undefined || descriptor.mediaType === "" ? "" : ` (${descriptor.mediaType})`
    const content = descriptor === undefined ? "" : `; it was ${descriptor.digest}${type}`
    const above = path.length === 0 ? "" : `, of ${path.join(" > ")}`
    return printable(`${end} ${reference}: ${reason.message}${content}${above}`)
  }
}

/**
 * Tells copy errors from other values.
 *
 * @category guards
 * @since 0.1.0
 */
export const isCopyError = (u: unknown): u is CopyError => hasProperty(u, TypeId)
