/**
 * The run of one unit: plans it, records what needs no job, and runs or shares its jobs.
 */
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { KnownTags } from "../KnownTags.ts"
import * as CopyJob from "./CopyJob.ts"
import type { MirrorStateError } from "./MirrorState.ts"
import * as Part from "./Part.ts"
import * as PlanDocument from "./PlanDocument.ts"
import * as PruneDecision from "./PruneDecision.ts"
import type * as PruneJob from "./PruneJob.ts"
import type { Session } from "./Session.ts"
import * as TagRecord from "./TagRecord.ts"
import type { Unit } from "./Unit.ts"
import * as UnitPlanner from "./UnitPlanner.ts"

// maximum number of source tags of a job
const maximumTags = 50

/** Creates the repositories that the destinations lack. Returns the targets whose repository exists. */
const prepareRepositories = Effect.fnUntraced(function*(
  session: Session,
  { isRepositoryMissing, targets, destination: { registry, repository } }: UnitPlanner.DestinationPlan
) {
  const wanted = targets.filter(({ action }) => PlanDocument.copying.has(action))
  if (!isRepositoryMissing || wanted.length === 0) return wanted
  const created = yield* Effect.result(session.hooks.onRepositoryMissing(registry, repository))
  if (created._tag === "Success") return wanted
  const why = `the repository is missing: ${created.failure.message}`
  yield* Effect.forEach(wanted, (target) => CopyJob.recordLookup(session, { ...target, why }), { discard: true })
  return []
})

/** Records the tags that the destination has already, as those of this mirror. */
const adopt = Effect.fnUntraced(function*(session: Session, targets: ReadonlyArray<UnitPlanner.Target>) {
  const now = yield* DateTime.now
  const adopted = targets.filter(({ action }) => action === "adopt")
  if (adopted.length === 0) return
  const begun = yield* TagRecord.begin(session.state, adopted)
  yield* session.state.record(begun.flatMap(([target, row]) => {
    const { source } = target
    // the referrers of an adopted image are looked at by the next run
    return source === undefined
      ? []
      : [{ ...TagRecord.copied(row, target, source, source, now), referrersAt: undefined }]
  }))
  for (const target of adopted) {
    const { source } = target
    if (source !== undefined) {
      yield* session.emit({ ...TagRecord.subjectOf(target), _tag: "Copied", digest: source, bytes: 0 })
    }
  }
})

/** Reports the tags of a destination that are not copied although they should be. */
const reportTargets = Effect.fnUntraced(function*(session: Session, targets: ReadonlyArray<UnitPlanner.Target>) {
  for (const target of targets) {
    if (target.action === "failed" && target.hasFailed) yield* CopyJob.recordLookup(session, target)
    else if (target.action === "failed" || target.action === "refused") {
      yield* session.emit({ ...TagRecord.subjectOf(target), _tag: "Failed", error: target.why, retryAt: undefined })
    }
  }
})

/** Reports the tags that are not copied, and the problems of a unit. */
const reportPlan = Effect.fnUntraced(function*(session: Session, plan: UnitPlanner.UnitPlan) {
  const { emit } = session
  const { rule, source } = plan.unit
  for (const document of PlanDocument.make(plan)) yield* emit({ _tag: "Planned", plan: document })
  const problem = (problem: string) => emit({ _tag: "Problem", rule: rule.name, problem })
  // texts of registries begin with the name of the repository
  const place = plan.problem?.startsWith(`${source.name}:`) === true ? "" : `${source.name}: `
  if (plan.problem !== undefined) yield* problem(`${place}${plan.problem}`)
  for (const { destination, problems, targets } of plan.destinations) {
    yield* Effect.forEach(problems, (text) => problem(`${destination.name}: ${text}`), { discard: true })
    yield* reportTargets(session, targets)
  }
})

/** Records the number of tags of the source, if the rule deletes tags and the list is not suspiciously short. */
const recordList = Effect.fnUntraced(
  function*({ state }: Session, { listed, unit: { rule, source } }: UnitPlanner.UnitPlan) {
    if (rule.prune._tag === "None" || listed === undefined) return
    const previous = (yield* state.list(rule.name, source.name))?.tags
    if (previous === listed.size || PruneDecision.isShort(rule.prune, previous, listed.size)) return
    yield* state.recordList({ rule: rule.name, source: source.name, tags: listed.size, listedAt: yield* DateTime.now })
  }
)

/** Runs a job in this process, or shares it with the others. Returns true if a shared one has not got to its end. */
const runJob = Effect.fnUntraced(function*(session: Session, unit: Unit, targets: ReadonlyArray<UnitPlanner.Target>) {
  if (session.share === undefined) {
    yield* CopyJob.run(session, unit, targets)
    return false
  }
  const tags = Array.from(new Set(targets.map(({ sourceTag }) => sourceTag)))
  const { events } = yield* session.share.run({ source: unit.source.name, tags })
  yield* Effect.forEach(events, session.emit, { discard: true })
  return Part.hasProblem(events)
})

/** Copies the tags of a unit in jobs, each with at most 50 tags of the source. Returns true if one has a problem. */
const copyAll = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit,
  targets: ReadonlyArray<UnitPlanner.Target>,
  mayStart: () => boolean
) {
  const byTag = Array.from(Map.groupBy(targets, ({ sourceTag }) => sourceTag).values())
  let hasProblem = false
  for (const tags of Arr.chunksOf(byTag, maximumTags)) {
    if (mayStart()) hasProblem = (yield* runJob(session, unit, tags.flat())) || hasProblem
  }
  return hasProblem
})

/** Runs a unit. Returns the deletions that are left to do. */
export const run = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit,
  mayStart: () => boolean
): Effect.fn.Return<ReadonlyArray<PruneJob.Input>, MirrorStateError> {
  const plan = yield* session.planning.withPermit(UnitPlanner.plan(session, unit))
  yield* reportPlan(session, plan)
  const wanted = yield* Effect.forEach(plan.destinations, (destination) => prepareRepositories(session, destination))
  yield* adopt(session, plan.destinations.flatMap(({ targets }) => targets))
  yield* session.state.record(plan.destinations.flatMap(({ updates }) => updates))
  yield* Effect.forEach(plan.destinations.flatMap(({ forgotten }) => forgotten), session.state.remove)
  const hasProblem = yield* Effect.provideService(
    copyAll(session, unit, wanted.flat(), mayStart),
    KnownTags,
    plan.lists
  )
  yield* recordList(session, plan)
  if (hasProblem) return []
  return plan.destinations.flatMap(({ deletions, destination }): ReadonlyArray<PruneJob.Input> => {
    const due = deletions.filter(({ action }) => action === "delete")
    return due.length === 0 ? [] : [{ unit, destination, deletions: due, listed: plan.listed }]
  })
})

/**
 * Runs a job that another process has shared. Its tags are planned again, because they may have changed, or may have
 * been copied, since they were compared.
 */
export const runPart = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit
): Effect.fn.Return<void, MirrorStateError> {
  const plan = yield* UnitPlanner.plan(session, unit)
  const targets = plan.destinations.flatMap(({ targets }) => targets)
  yield* reportTargets(session, targets)
  const wanted = yield* Effect.forEach(plan.destinations, (destination) => prepareRepositories(session, destination))
  yield* adopt(session, targets)
  yield* Effect.provideService(CopyJob.run(session, unit, wanted.flat()), KnownTags, plan.lists)
})
