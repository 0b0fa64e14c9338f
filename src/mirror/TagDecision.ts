/**
 * Decides what a run does with one tag of a destination, from what is known about both ends.
 */
import * as DateTime from "effect/DateTime"
import type { Digest } from "../Digest.ts"
import type { Action } from "./MirrorPlan.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { TagState } from "./MirrorState.ts"

export interface Decision {
  readonly action: Action
  readonly why: string
}

/** Digest that a tag of the destination points at. `trusted`: it was not looked up, and is believed to be recorded. */
export type Found = Digest | "absent" | "trusted"

export interface Facts {
  readonly rule: MirrorRule
  readonly filterKey: string
  readonly now: DateTime.Utc
  readonly row: TagState | undefined
  readonly source: Digest
  readonly found: Found
}

/**
 * Returns true if this mirror has put a tag at the destination, or was about to: a pending row is that of a job that
 * has begun, after it was clear that the tag was absent or its own.
 */
export const isOurs = (row: TagState | undefined): row is TagState =>
  row !== undefined && (row.destinationDigest !== undefined || row.status === "pending")

/** Returns true if a destination need not be asked whether it still has a tag. */
export const isTrusted = ({ trust }: MirrorRule, row: TagState, now: DateTime.Utc): boolean =>
  row.checkedAt !== undefined && (row.status === "copied" || row.status === "kept") &&
  DateTime.isLessThan(now, DateTime.addDuration(row.checkedAt, trust))

/** Returns true if a tag is not looked at again, because the destination has it. */
export const isSettled = ({ immutable }: MirrorRule, row: TagState | undefined): row is TagState =>
  row !== undefined && row.status === "copied" && row.destinationDigest !== undefined &&
  isImmutable({ immutable }, row.sourceTag)

export const isImmutable = ({ immutable }: Pick<MirrorRule, "immutable">, tag: string): boolean =>
  // unlike `test`, `search` ignores the `lastIndex` of a global pattern
  immutable.some((pattern) => tag.search(pattern) >= 0)

/** Returns true if the referrers of an image are due. */
const areReferrersDue = ({ referrers }: MirrorRule, row: TagState, now: DateTime.Utc): boolean =>
  referrers._tag === "Copy" &&
  (row.referrersAt === undefined ||
    DateTime.isLessThanOrEqualTo(DateTime.addDuration(row.referrersAt, referrers.every), now))

/** Decides on a tag that should point at another image. */
const moved = ({ onTagMoved }: MirrorRule, why: string): Decision => {
  if (onTagMoved === "keep") return { action: "keep", why: `${why}; onTagMoved is keep` }
  if (onTagMoved === "fail") return { action: "refused", why: `${why}; onTagMoved is fail` }
  return { action: onTagMoved === "replace" ? "replace" : "backup", why }
}

/** Decides on a tag that this mirror has not put there. */
const foreign = ({ found, rule, source }: Facts & { readonly found: Digest }): Decision => {
  const isSame = rule.platforms === "all" && found === source
  if (rule.foreignTags === "adopt") {
    return isSame
      ? { action: "adopt", why: "the destination has the image already" }
      : moved(rule, "another tool has put another image there")
  }
  return isSame
    ? { action: "unchanged", why: "the destination has the image already; another tool has put it there" }
    : { action: "refused", why: "another tool has put the tag there; foreignTags is refuse" }
}

/** Decides on a tag of this mirror that still is as it was recorded. */
const recorded = (facts: Facts, row: TagState): Decision => {
  const { filterKey, now, rule, source } = facts
  if (row.sourceDigest !== source) return moved(rule, "the tag of the source moved")
  if (row.filterKey !== filterKey) return { action: "replace", why: "the settings of the rule changed" }
  if (areReferrersDue(rule, row, now)) {
    return { action: "referrers", why: "it is time to look at the referrers again" }
  }
  return { action: "unchanged", why: "the destination has the image" }
}

/** Decides on a tag. */
export const decide = (facts: Facts): Decision => {
  const { found, row, rule, source } = facts
  if (!isOurs(row)) {
    return found === "absent" || found === "trusted"
      ? { action: "copy", why: "the destination lacks the tag" }
      : foreign({ ...facts, found })
  }
  if (found === "absent") {
    return {
      action: "copy",
      why: row.copiedAt === undefined ? "the destination lacks the tag" : "the tag is gone there"
    }
  }
  const isRecorded = found === "trusted" || found === row.destinationDigest
  if (isRecorded && row.sourceDigest !== undefined && row.sourceDigest !== source) return recorded(facts, row)
  // a job sets the filter key before it copies
  if (row.status === "pending") return { action: "replace", why: "an earlier run did not finish" }
  if (row.status === "failed") return { action: "replace", why: "the last attempt failed" }
  return isRecorded
    ? recorded(facts, row)
    : { action: "replace", why: `another client has moved the tag at the destination; ${rule.name} sets it again` }
}
