/**
 * Decides which tags of a destination are deleted.
 *
 * A tag is deleted only if this mirror has put it there for this rule and source, and if the rule certainly does not
 * mean it any more. If anything about that is unknown, nothing is deleted.
 */
import type { Tag } from "../Reference.ts"
import type { Prune } from "./MirrorRule.ts"
import type { TagState } from "./MirrorState.ts"

/** A tag that a run deletes, now or later. */
export interface Deletion {
  readonly row: TagState
  readonly action: "delete" | "deleteLater"
  readonly why: string
  /** True if the source lacked the tag, so that it is looked up again before the deletion. */
  readonly isGone: boolean
}

export interface Facts {
  readonly prune: Extract<Prune, { readonly _tag: "Prune" }>
  /** Tags of the destination that this mirror has put there for this rule and source. */
  readonly rows: ReadonlyArray<TagState>
  /** Tags of the source that exist. */
  readonly present: ReadonlySet<Tag>
  /**
   * Number of tags of the source in its last list that was not suspiciously short. `undefined` if there is none, or if
   * the rule names its tags.
   */
  readonly previous: number | undefined
  /** Tags of the destination that the rule selects. */
  readonly selected: ReadonlySet<Tag>
  /** Tags of the destination that other rules or sources select, or the reason why they are unknown. */
  readonly others: ReadonlySet<Tag> | string
  /** True if a person has confirmed that the rule deletes tags. */
  readonly isConfirmed: boolean
}

export interface Decision {
  readonly deletions: ReadonlyArray<Deletion>
  /** Reason why nothing is deleted, although tags are missing. */
  readonly problem: string | undefined
}

// number of tags that may go whatever the share says
const always = 5

/** Returns the number of tags, of `count`, that may go at once. */
const allowance = ({ most }: Pick<Facts["prune"], "most">, count: number): number =>
  Math.max(always, Math.floor(most * count))

/** Returns true if a list has lost more tags than may go at once. */
export const isShort = (prune: Pick<Facts["prune"], "most">, previous: number | undefined, now: number): boolean =>
  now === 0 || previous !== undefined && previous - now > allowance(prune, previous)

/** Returns the tags that the rule does not mean any more. */
const candidatesOf = ({ others, present, prune, rows, selected }: Facts): ReadonlyArray<TagState> =>
  rows.filter(({ destinationDigest, sourceTag, tag }) =>
    destinationDigest !== undefined && !selected.has(tag) &&
    (prune.policy === "unmatched" || !present.has(sourceTag)) &&
    // unlike `test`, `search` ignores the `lastIndex` of a global pattern
    !prune.keep.some((pattern) => tag.search(pattern) >= 0) &&
    (typeof others === "string" || !others.has(tag))
  )

const problemOf = (facts: Facts, candidates: number): string | undefined => {
  const { others, present, previous, prune, rows } = facts
  const nothing = "nothing is deleted"
  if (typeof others === "string") return `${nothing}: ${others}`
  if (present.size === 0) return `${nothing}: the source has no tags`
  if (isShort(prune, previous, present.size)) {
    return `${nothing}: the source has ${present.size} tags after ${previous}, which is suspiciously few`
  }
  const most = allowance(prune, rows.length)
  return candidates > most
    ? `${nothing}: ${candidates} of ${rows.length} tags would go, and the rule allows ${most} at once`
    : undefined
}

const reasonOf = ({ isConfirmed, present, prune }: Facts, { missing, sourceTag }: TagState): Deletion["why"] => {
  const why = present.has(sourceTag) ? "the rule does not select it any more" : "the source no longer has it"
  if (missing + 1 < prune.runs) return `${why}; ${missing + 1} of ${prune.runs} runs have confirmed that`
  return isConfirmed ? why : `${why}; run once with --prune to let the rule delete tags`
}

/** Decides which tags go. */
export const decide = (facts: Facts): Decision => {
  const candidates = candidatesOf(facts)
  if (candidates.length === 0) return { deletions: [], problem: undefined }
  const problem = problemOf(facts, candidates.length)
  if (problem !== undefined) return { deletions: [], problem }
  return {
    problem,
    deletions: candidates.map((row) => ({
      row,
      action: row.missing + 1 >= facts.prune.runs && facts.isConfirmed ? "delete" : "deleteLater",
      why: reasonOf(facts, row),
      isGone: !facts.present.has(row.sourceTag)
    }))
  }
}

/** Returns the fingerprint of a policy, which a person confirms. */
export const policyKey = (prune: Facts["prune"]): string =>
  `${prune.policy}; keep ${prune.keep.map(String).join(" ")}; at most ${prune.most}; after ${prune.runs} runs`
