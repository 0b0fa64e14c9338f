/**
 * Plans which tags of a destination are deleted: collects what {@link PruneDecision} has to know.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { parseTag, type Tag } from "../Reference.ts"
import type { MirrorStateError, TagState } from "./MirrorState.ts"
import type * as Overlap from "./Overlap.ts"
import * as PruneDecision from "./PruneDecision.ts"
import * as RepositoryRule from "./RepositoryRule.ts"
import type { Session } from "./Session.ts"
import * as TagRule from "./TagRule.ts"
import type { Destination, Unit } from "./Unit.ts"

/** Returns the tags of a destination that a unit selects, or the reason why they are unknown. */
export const claimsOf = (
  session: Session,
  unit: Unit,
  destination: Destination
): Effect.Effect<ReadonlyArray<Overlap.TagClaim> | string> =>
  Effect.map(session.select(unit), (selection) => {
    if (selection._tag === "Unknown") return selection.problem
    return unit.destinations.filter(({ name }) => name === destination.name).flatMap((own) =>
      selection.tags.flatMap((tag) =>
        Result.match(parseTag(RepositoryRule.tagOf(own.tag, tag)), {
          onFailure: () => [],
          onSuccess: (tag) => [{ rule: unit.rule.name, source: unit.source.name, destination: own.name, tag }]
        })
      )
    )
  })

/** Returns the tags of a destination that other units select, or the reason why they are unknown. */
const othersOf = Effect.fnUntraced(function*(session: Session, unit: Unit, destination: Destination) {
  const [unknown] = session.units.unknown(unit, destination)
  if (unknown !== undefined) return `the repositories of rule ${unknown.name} are unknown`
  const others = yield* Effect.forEach(
    session.units.sharing(unit, destination),
    (other) => claimsOf(session, other, destination)
  )
  const problem = others.find((claims) => typeof claims === "string")
  if (problem !== undefined) return problem
  return new Set(others.flatMap((claims) => typeof claims === "string" ? [] : claims.map(({ tag }) => tag)))
})

export interface Pruning {
  readonly deletions: ReadonlyArray<PruneDecision.Deletion>
  /** Rows of tags that were found missing once more. */
  readonly updates: ReadonlyArray<TagState>
  readonly problem: string | undefined
}

const nothing: Pruning = { deletions: [], updates: [], problem: undefined }

/** Returns the rows of a destination that a unit has put there, and that it does not select any more. */
const leftOver = (
  { rule, source }: Unit,
  { rows, selected }: { readonly rows: ReadonlyMap<Tag, TagState>; readonly selected: ReadonlySet<Tag> }
) => {
  const own = Array.from(rows.values()).filter((row) => row.rule === rule.name && row.source === source.name)
  return { own, isAny: own.some(({ tag }) => !selected.has(tag)) }
}

/**
 * Plans the deletions at a destination. `findPresent` returns the tags that the source has, or the reason why they are
 * unknown. It runs only if a tag may have to go.
 */
export const plan = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit,
  drafts: {
    readonly destination: Destination
    readonly rows: ReadonlyMap<Tag, TagState>
    readonly selected: ReadonlySet<Tag>
  },
  findPresent: Effect.Effect<ReadonlySet<Tag> | string>
): Effect.fn.Return<Pruning, MirrorStateError> {
  const { rule, source } = unit
  const { prune } = rule
  if (prune._tag === "None" || session.only !== "all") return nothing
  const { isAny, own } = leftOver(unit, drafts)
  if (!isAny) return nothing
  const present = yield* findPresent
  if (typeof present === "string") return { ...nothing, problem: `nothing is deleted: ${present}` }
  const isListed = TagRule.exactTags(rule.tags) === undefined
  const { deletions, problem } = PruneDecision.decide({
    prune,
    rows: own,
    present,
    previous: isListed ? (yield* session.state.list(rule.name, source.name))?.tags : undefined,
    selected: drafts.selected,
    others: yield* othersOf(session, unit, drafts.destination),
    isConfirmed: session.isPruning(rule)
  })
  return {
    deletions,
    updates: deletions.flatMap(({ action, row }) =>
      action === "deleteLater" && row.status !== "pending" && row.missing < prune.runs
        ? [{ ...row, missing: row.missing + 1 }]
        : []
    ),
    problem
  }
})
