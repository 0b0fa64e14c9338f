/**
 * Result of a scrub, which validates all content.
 */
import type * as DateTime from "effect/DateTime"

/**
 * A problem of content.
 *
 * @category models
 * @since 0.1.0
 */
export interface CheckProblem {
  readonly repository: string
  readonly tag?: string | undefined
  readonly digest?: string | undefined
  readonly message: string
  /** Fate of the content: it is where it was, or it was moved aside. */
  readonly outcome: "reported" | "quarantined"
}

/**
 * Result of a scrub.
 *
 * @category models
 * @since 0.1.0
 */
export interface Check {
  readonly endedAt: DateTime.Utc
  readonly manifests: number
  readonly blobs: number
  /** Number of bytes of the blobs. */
  readonly bytes: number
  readonly problems: ReadonlyArray<CheckProblem>
}
