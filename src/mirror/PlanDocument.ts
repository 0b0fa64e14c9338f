/**
 * Makes the documents of a plan from the plans of units.
 */
import * as Effect from "effect/Effect"
import * as CopyJob from "./CopyJob.ts"
import type { Action, Bounds, RepositoryPlan, TagPlan } from "./MirrorPlan.ts"
import type * as PruneDecision from "./PruneDecision.ts"
import type { Session } from "./Session.ts"
import { reference } from "./Unit.ts"
import type { DestinationPlan, Target, UnitPlan } from "./UnitPlanner.ts"

const exactly = (count: number): Bounds => ({ least: count, most: count })
const atLeast = (count: number): Bounds => ({ least: count })

/** Actions that copy an image. */
export const copying: ReadonlySet<Action> = new Set<Action>(["copy", "replace", "backup", "referrers"])

/** Number of requests for an action, without those for blobs and referrers, which are unknown. */
const requestsOf = (action: Action): Bounds => {
  switch (action) {
    case "copy":
    case "replace":
      return atLeast(3)
    case "backup":
      return atLeast(6)
    case "referrers":
      return atLeast(2)
    case "delete":
      return atLeast(2)
    default:
      return exactly(0)
  }
}

const tagPlan = (target: Target): TagPlan => {
  const { action, found, row, source, sourceTag, tag, why } = target
  const destination = found === "trusted" ? row?.destinationDigest : found
  return {
    tag,
    sourceTag,
    action,
    why,
    ...source === undefined ? {} : { sourceDigest: source },
    ...destination === undefined || destination === "absent" ? {} : { destinationDigest: destination },
    bytes: copying.has(action) ? atLeast(0) : exactly(0),
    requests: requestsOf(action)
  }
}

const deletionPlan = ({ action, row, why }: PruneDecision.Deletion): TagPlan => ({
  tag: row.tag,
  sourceTag: row.sourceTag,
  action,
  why,
  ...row.destinationDigest === undefined ? {} : { destinationDigest: row.destinationDigest },
  bytes: exactly(0),
  requests: requestsOf(action)
})

/** Returns the documents of a unit, one for each destination. */
export const make = ({ destinations, dropped, problem, unit: { destinations: places, rule, source } }: UnitPlan) => {
  const names = { rule: rule.name, source: source.name }
  const document = ({ deletions, destination, problems, targets }: DestinationPlan): RepositoryPlan => ({
    ...names,
    destination: destination.name,
    tags: [...targets.map(tagPlan), ...deletions.map(deletionPlan)],
    dropped,
    problems
  })
  return problem === undefined
    ? destinations.map(document)
    : places.map(({ name }): RepositoryPlan => ({
      ...names,
      destination: name,
      tags: [],
      dropped: [],
      problems: [problem]
    }))
}

// number of copies that are planned at the same time
const concurrency = 8

/** Replaces the bounds of the copies of a unit by those of their plans. A copy that cannot be planned keeps its own. */
export const deepen = (
  { namespace }: Session,
  unitPlan: UnitPlan,
  documents: ReadonlyArray<RepositoryPlan>
): Effect.Effect<ReadonlyArray<RepositoryPlan>> => {
  const { destinations, unit: { rule, source } } = unitPlan
  const deepTag = (document: TagPlan, destination: DestinationPlan["destination"]) =>
    copying.has(document.action)
      ? namespace.planCopy({
        ...CopyJob.optionsOf(rule),
        source: reference(source, { tag: document.sourceTag }),
        destination: reference(destination, { tag: document.tag })
      }).pipe(
        Effect.map(({ bytes, requests }): TagPlan => ({ ...document, bytes, requests })),
        Effect.orElseSucceed(() => document)
      )
      : Effect.succeed(document)
  return Effect.forEach(documents, (document, index) => {
    const destination = destinations[index]?.destination
    return destination === undefined ? Effect.succeed(document) : Effect.map(
      Effect.forEach(document.tags, (tag) => deepTag(tag, destination), { concurrency }),
      (tags) => ({ ...document, tags })
    )
  })
}
