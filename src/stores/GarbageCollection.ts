/**
 * Garbage collection of registries that hold content themselves: options, policies and reports.
 *
 * A collection removes manifests without a tag and referrers without a subject if their policies ask for that, and
 * blobs that no manifest needs. It runs while the registry is in use. Content that was written or mentioned within the
 * grace period stays, together with all that it refers to. Content is mentioned if a client asks whether it exists,
 * mounts it, or pushes a manifest that refers to it.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { Digest } from "../Digest.ts"
import { Repository } from "../Reference.ts"
import { printable } from "../Text.ts"

/**
 * Policy for a kind of content.
 *
 * @category models
 * @since 0.1.0
 */
export type Policy = "keep" | "collect"

/**
 * Grace period and policies of a collection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Grace period: content that was written or mentioned later than this long ago stays. It must exceed the time that a
   * push takes from its first blob to its manifest. With zero, content may go while a client pushes.
   */
  readonly olderThan: Duration.Input
  /** True to report what would go, and remove nothing. Default: false. */
  readonly dryRun?: boolean | undefined
  /**
   * Policy for manifests that have no tag, have no subject, and are not contained in a manifest that stays. Default:
   * `keep`, because they can be pulled by digest.
   */
  readonly untagged?: Policy | undefined
  /**
   * Policy for referrers whose subject does not exist, and for tags made of the digest of such a subject, which are
   * those of the referrers tag schema and of cosign. A referrer whose subject exists stays or goes together with its
   * subject. Default: `keep`, because a subject may be in another repository, or be pushed later.
   */
  readonly danglingReferrers?: Policy | undefined
  /** Policy for blobs that no manifest needs. Default: `collect`. */
  readonly blobs?: Policy | undefined
  /**
   * Policy for broken content that `LayoutRegistry.quarantine` has moved to `.effect-oci/broken`. It goes when it was
   * moved longer ago than the grace period. A manifest that is still listed, or contained in one that is, stays until
   * it is pushed again or deleted. Default: `collect`.
   */
  readonly broken?: Policy | undefined
}

/**
 * Schema of the kind of content that goes.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Kind = Schema.Literals(["manifest", "blob"])

/**
 * Schema of the reason why content goes.
 *
 * - `untagged`: a manifest without a tag that no manifest that stays contains, or a referrer of one.
 * - `dangling`: a referrer whose subject does not exist, or a referrer of one.
 * - `unreferenced`: a blob that no manifest needs.
 * - `broken`: content that did not match its digest, and was moved aside. Whether it is a manifest is not known.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Literals(["untagged", "dangling", "unreferenced", "broken"])

/**
 * The reason why content goes.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * Schema of a manifest or blob that goes.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Entry = Schema.Struct({
  /** Absent if all repositories share one layout. */
  repository: Schema.optionalKey(Repository),
  kind: Kind,
  digest: Digest,
  /** Size in bytes. */
  size: Schema.Natural,
  reason: Reason,
  /** Tags that go with the manifest. */
  tags: Schema.optionalKey(Schema.Array(Schema.String))
})

/**
 * A manifest or blob that goes.
 *
 * @category models
 * @since 0.1.0
 */
export type Entry = typeof Entry.Type

/**
 * Schema of a repository that was left as it is.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Skipped = Schema.Struct({
  /** Absent if all repositories share one layout. */
  repository: Schema.optionalKey(Repository),
  problem: Schema.String
})

/**
 * A repository that was left as it is.
 *
 * @category models
 * @since 0.1.0
 */
export type Skipped = typeof Skipped.Type

/**
 * Schema of the report of a collection.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Report = Schema.Struct({
  /** True if nothing was removed. */
  dryRun: Schema.Boolean,
  /** Number of repositories that were examined. */
  repositories: Schema.Natural,
  /** Content that went, or would go. */
  removed: Schema.Array(Entry),
  /** Size of this content and of the uploads, in bytes. Content that other repositories still have does not count. */
  bytes: Schema.Natural,
  /** Number of abandoned upload sessions and drafts that went, or would go. */
  uploads: Schema.Natural,
  /** Repositories that were left as they are, with the reason. */
  skipped: Schema.Array(Skipped)
})

/**
 * The report of a collection.
 *
 * @category models
 * @since 0.1.0
 */
export type Report = typeof Report.Type

const count = (number: number, one: string, many: string) => `${number} ${number === 1 ? one : many}`

/**
 * Returns the report as lines of text: one for each manifest and blob, one for each repository that was skipped, and a
 * summary.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = ({ bytes, dryRun, removed, repositories, skipped, uploads }: Report): ReadonlyArray<string> => {
  const manifests = removed.filter(({ kind }) => kind === "manifest").length
  const sum = [
    count(manifests, "manifest", "manifests"),
    count(removed.length - manifests, "blob", "blobs"),
    ...uploads === 0 ? [] : [count(uploads, "abandoned upload", "abandoned uploads")]
  ].join(", ")
  return [
    ...removed.map(({ digest, kind, reason, repository, size, tags = [] }) =>
      [reason, kind, repository === undefined ? digest : `${repository}@${digest}`, size, ...tags].join(" ")
    ),
    ...skipped.map(({ problem, repository }) =>
      printable(repository === undefined ? `skipped: ${problem}` : `skipped ${repository}: ${problem}`)
    ),
    `${dryRun ? "would remove" : "removed"} ${sum}, ${count(bytes, "byte", "bytes")}, in ${
      count(repositories, "repository", "repositories")
    }`
  ]
}
