/**
 * Errors of a copy: the end that failed, the content, and the reason.
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
 * A reference names a tag and a digest, but the tag points at another digest.
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
 * The destination names another digest than that of the source.
 *
 * @category errors
 * @since 0.1.0
 */
export class DigestConflict extends Schema.TaggedError<DigestConflict>("effect-oci/CopyError/DigestConflict")(
  "DigestConflict",
  { source: Digest, destination: Digest }
) {
  override get message(): string {
    return `the destination names ${this.destination}, but the source has ${this.source}`
  }
}

/**
 * A reference lacks a part that the operation needs, or has a part that the operation does not allow.
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
 * No image exists for the requested platform.
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
    return printable(`there is no image for ${this.platform}; available: ${available}`)
  }
}

/**
 * The destination already has a tag, which the copy may not replace.
 *
 * @category errors
 * @since 0.1.0
 */
export class TagExists extends Schema.TaggedError<TagExists>("effect-oci/CopyError/TagExists")("TagExists", {
  tag: Schema.String,
  /** Digest that the tag points at. */
  actual: Digest
}) {
  override get message(): string {
    return `the tag ${this.tag} exists and points at ${this.actual}`
  }
}

/**
 * An index cannot be copied with some of its platforms only, and the copy may not rewrite it. The destination refuses
 * an index that lists absent manifests (`index: "keep"`), or the index lists other platforms (`index: "fail"`).
 *
 * @category errors
 * @since 0.1.0
 */
export class SparseIndexRefused
  extends Schema.TaggedError<SparseIndexRefused>("effect-oci/CopyError/SparseIndexRefused")("SparseIndexRefused", {
    /** Other platforms, or digests, that the index lists. Empty if the destination refused the index. */
    others: Schema.Array(Schema.String)
  })
{
  override get message(): string {
    const others = this.others.length === 0 ? "" : `; it also lists: ${this.others.join(", ")}`
    return printable(`the index cannot be copied with some of its platforms unless it is rewritten${others}`)
  }
}

/**
 * Verification after the copy found that the destination lacks content, or has other content.
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
 * The source has another root than the one that a plan was made for.
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
    return `the plan is for ${this.expected}, but the source now has ${this.actual}`
  }
}

/**
 * The option `beforeTag` of the copy refused to set tags.
 *
 * @category errors
 * @since 0.1.0
 */
export class TagRefused extends Schema.TaggedError<TagRefused>("effect-oci/CopyError/TagRefused")("TagRefused", {
  tags: Schema.Array(Schema.String),
  problem: Schema.String
}) {
  override get message(): string {
    return printable(`the tag ${this.tags.join(", ")} was not set: ${this.problem}`)
  }
}

/**
 * Manifests contain or refer to each other through more levels than a copy follows.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooDeep extends Schema.TaggedError<TooDeep>("effect-oci/CopyError/TooDeep")("TooDeep", {
  /** Maximum number of levels that a copy follows. */
  limit: Schema.Natural
}) {
  override get message(): string {
    return `manifests contain or refer to each other through more than ${this.limit} levels`
  }
}

/**
 * Schema of every reason that a {@link CopyError} can have: the reasons of a registry, of a resolver, of invalid
 * references and manifests, and those of copies.
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
  TagRefused,
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
  /** End that failed. */
  end: Schema.Literals(["source", "destination"]),
  /** Reference of that end. */
  reference: Schema.String,
  /** Operation of `Registry` that failed, if one did. */
  operation: Schema.optionalKey(Schema.String),
  /** Content that was being copied, if it was known. */
  descriptor: Schema.optionalKey(Descriptor),
  /** Manifests above that content, from the root down. */
  path: Schema.Array(Digest),
  reason: Reason
}) {
  readonly [TypeId] = TypeId

  /** The reason again, because error printers show the cause. */
  override readonly cause = this.reason

  /** True if the same copy may succeed later. */
  get isRetryable(): boolean {
    return "isRetryable" in this.reason && this.reason.isRetryable
  }

  /** Time for which the registry asks to wait before that. */
  get retryAfter(): Duration.Duration | undefined {
    return "retryAfter" in this.reason ? this.reason.retryAfter : undefined
  }

  /** HTTP status of the response, if the registry sent one. */
  get status(): number | undefined {
    return "status" in this.reason ? this.reason.status : undefined
  }

  override get message(): string {
    const { descriptor, end, path, reason, reference } = this
    const type = descriptor === undefined || descriptor.mediaType === "" ? "" : ` (${descriptor.mediaType})`
    const content = descriptor === undefined ? "" : `; content: ${descriptor.digest}${type}`
    const above = path.length === 0 ? "" : `, below ${path.join(" > ")}`
    return printable(`${end} ${reference}: ${reason.message}${content}${above}`)
  }
}

/**
 * Returns true if a value is a copy error.
 *
 * @category guards
 * @since 0.1.0
 */
export const isCopyError = (u: unknown): u is CopyError => hasProperty(u, TypeId)
