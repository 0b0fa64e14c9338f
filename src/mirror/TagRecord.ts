/**
 * Rows of the state for tags that a job changes.
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Digest } from "../Digest.ts"
import { excerpt } from "../Text.ts"
import * as Backoff from "./Backoff.ts"
import * as FilterKey from "./FilterKey.ts"
import type { Subject } from "./MirrorEvent.ts"
import type { MirrorState, MirrorStateError, TagState } from "./MirrorState.ts"
import type { Target } from "./UnitPlanner.ts"

/** Returns the names in events about a tag. */
export const subjectOf = ({ destination, sourceTag, tag, unit: { rule, source } }: Target): Subject => ({
  rule: rule.name,
  source: source.name,
  sourceTag,
  destination: destination.name,
  tag
})

/** Returns the row of a tag with which a job begins, if the state has none. */
const initial = (target: Target): Omit<TagState, "generation"> => ({
  ...subjectOf(target),
  sourceDigest: undefined,
  destinationDigest: undefined,
  filterKey: FilterKey.make(target.unit.rule),
  status: "pending",
  error: undefined,
  attempts: 0,
  retryAt: undefined,
  checkedAt: undefined,
  copiedAt: undefined,
  referrersAt: undefined,
  missing: 0
})

/** Begins a change of some tags. Returns them with their rows. */
export const begin = Effect.fnUntraced(function*<A extends Target>(
  state: MirrorState["Service"],
  targets: ReadonlyArray<A>
): Effect.fn.Return<ReadonlyArray<readonly [A, TagState]>, MirrorStateError> {
  const rows = yield* state.begin(targets.map(initial))
  return targets.flatMap((target, index) => {
    const row = rows[index]
    return row === undefined ? [] : [[target, row] as const]
  })
})

/** Returns the row of a tag that the destination has got, or was found to have. */
export const copied = (
  row: TagState,
  { unit: { rule } }: Target,
  source: Digest,
  destination: Digest,
  now: DateTime.Utc
): TagState => ({
  ...row,
  status: "copied",
  sourceDigest: source,
  destinationDigest: destination,
  error: undefined,
  attempts: 0,
  retryAt: undefined,
  checkedAt: now,
  copiedAt: now,
  referrersAt: rule.referrers._tag === "Copy" ? now : undefined,
  missing: 0
})

/** Returns the row of a tag that has failed once more. `sent` is the digest that the tag may have got nevertheless. */
export const failed = (
  row: TagState,
  error: string,
  now: DateTime.Utc,
  options: { readonly retryAfter?: Duration.Duration | undefined; readonly sent?: Digest | undefined } = {}
): TagState => {
  const attempts = row.attempts + 1
  return {
    ...row,
    status: "failed",
    destinationDigest: row.destinationDigest ?? options.sent,
    error: excerpt(error),
    attempts,
    retryAt: Backoff.nextAttempt(now, attempts, options.retryAfter)
  }
}
