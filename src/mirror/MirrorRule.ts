/**
 * Rules of a mirror: which tags of which repositories belong where.
 *
 * A rule is decoded and complete: every default is applied, every pattern is compiled. `MirrorConfig` makes rules from
 * files.
 *
 * @since 0.1.0
 */
import type * as Cron from "effect/Cron"
import type * as Duration from "effect/Duration"
import type * as SemVerRange from "effect/SemVerRange"
import type { Platforms, ReferrerFilter } from "../copy/Options.ts"
import type { Host, Repository, Tag } from "../Reference.ts"

/**
 * Repositories of one registry: some names, or those of its catalog that match a pattern. The groups of the pattern are
 * captures for {@link Destination}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Source {
  readonly registry: Host
  readonly repositories:
    | {
      readonly _tag: "Named"
      readonly repositories: ReadonlyArray<{ readonly name: Repository; readonly captures: ReadonlyArray<string> }>
    }
    | { readonly _tag: "Catalog"; readonly pattern: RegExp }
}

/**
 * Place that a rule copies to. `repository` is a template with the captures `$1`, `$2`, … of the source, and `$0` for
 * the whole repository of the source. `tag` is a template in which `{tag}` stands for the tag of the source.
 *
 * @category models
 * @since 0.1.0
 */
export interface Destination {
  readonly registry: Host
  readonly repository: string
  readonly tag: string
}

/**
 * The tags that a rule selects. The steps apply in this order: `names` or the list of the registry, `match` and
 * `exclude`, `semver`, `newest` per `per`, `pushedWithin`, `include`, `digestTags`, `atLeast`.
 *
 * A tag that one of the `alternatives` selects is selected as well. `atLeast` is about all selected tags together, and
 * counts only here, not in the alternatives. `TagRule.decide` applies the steps.
 *
 * @category models
 * @since 0.1.0
 */
export interface TagRule {
  /** Exact tags. If they are the only selection, the tags of the source are not listed. */
  readonly names: ReadonlyArray<Tag> | undefined
  /** Patterns of which at least one must match. */
  readonly match: ReadonlyArray<RegExp>
  /** Patterns of which none may match. */
  readonly exclude: ReadonlyArray<RegExp>
  /** Patterns of tags that are selected whatever the other steps say. */
  readonly include: ReadonlyArray<RegExp>
  readonly semver: SemVerRange.SemVerRange | undefined
  /**
   * Tags that are versions. `full`: `1.2.3` only. `partial`: also `1.2` and `1`, whose missing numbers count as 0. Both
   * may have a leading `v`, a pre-release and build metadata.
   */
  readonly versions: "full" | "partial"
  /**
   * Pre-releases that `semver` contains. `named`: only those of a version that the range names with a pre-release.
   * `all`: all that are between the bounds.
   */
  readonly preReleases: "named" | "all"
  /** Number of the highest versions that are selected in each group of `per`. */
  readonly newest: number | undefined
  readonly per: "all" | "major" | "minor"
  /** Largest age of the image, by its annotation or config. */
  readonly pushedWithin: Duration.Duration | undefined
  /** Policy for tags that are made of a digest, such as `sha256-<hex>.sig`. Exact tags of `names` are kept. */
  readonly digestTags: "include" | "exclude"
  /** The rule fails if it selects fewer tags of a repository. */
  readonly atLeast: number
  readonly alternatives: ReadonlyArray<TagRule>
}

/**
 * Policy for the referrers of the images of a rule. They are looked at again after `every`, even if the image did not
 * change.
 *
 * @category models
 * @since 0.1.0
 */
export type Referrers =
  | { readonly _tag: "Skip" }
  | {
    readonly _tag: "Copy"
    readonly filter: ReferrerFilter
    readonly required: boolean
    readonly every: Duration.Duration
  }

/**
 * Policy for a tag of the source that moved to another digest. `Backup` keeps the previous image of the destination
 * under another tag, whose template contains `{tag}`, `{date}` or `{digest}`.
 *
 * @category models
 * @since 0.1.0
 */
export type OnTagMoved = "replace" | "keep" | "fail" | { readonly _tag: "Backup"; readonly tag: string }

/**
 * Policy for tags that this mirror has put at the destination.
 *
 * - `None`: no tag is deleted.
 * - `Prune` with `gone`: tags that the source no longer has are deleted.
 * - `Prune` with `unmatched`: tags that the rule no longer selects are deleted as well.
 *
 * A tag is deleted only after `runs` consecutive runs found it missing. A run deletes nothing in a repository if more
 * than `most` of its tags, but at least five, would go.
 *
 * @category models
 * @since 0.1.0
 */
export type Prune =
  | { readonly _tag: "None" }
  | {
    readonly _tag: "Prune"
    readonly policy: "gone" | "unmatched"
    /** Patterns of tags that are never deleted. */
    readonly keep: ReadonlyArray<RegExp>
    /** Largest share of the tags of a repository that one run deletes, from 0 to 1. */
    readonly most: number
    readonly runs: number
  }

/**
 * When a rule runs. A run starts up to `jitter` later than the schedule says.
 *
 * @category models
 * @since 0.1.0
 */
export type Timing =
  | { readonly _tag: "Manual" }
  | { readonly _tag: "Every"; readonly interval: Duration.Duration; readonly jitter: Duration.Duration }
  | { readonly _tag: "Cron"; readonly cron: Cron.Cron; readonly jitter: Duration.Duration }

/**
 * A rule of a mirror.
 *
 * @category models
 * @since 0.1.0
 */
export interface MirrorRule {
  /** Name of the rule, which is unique in its mirror. */
  readonly name: string
  readonly from: ReadonlyArray<Source>
  readonly to: ReadonlyArray<Destination>
  readonly tags: TagRule
  readonly platforms: Platforms
  readonly referrers: Referrers
  readonly digestTags: "skip" | "copy"
  readonly onTagMoved: OnTagMoved
  /** Patterns of tags that are not looked at again once the destination has them. */
  readonly immutable: ReadonlyArray<RegExp>
  /** How long the destination is believed to have what this mirror has put there. Zero means that it is asked. */
  readonly trust: Duration.Duration
  /** Policy for tags of the destination that this mirror has not put there: `adopt` treats them as its own. */
  readonly foreignTags: "refuse" | "adopt"
  readonly prune: Prune
  readonly timing: Timing
  /** Runs of the rule that a service makes when it starts. */
  readonly atStart: "missing" | "all" | "nothing"
  readonly onError: "continue" | "stop"
}
