/**
 * The run of one rule: plans its units, runs their jobs, deletes what is left over, and counts what happens.
 */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as KeyedLock from "../KeyedLock.ts"
import * as CopyJob from "./CopyJob.ts"
import type { MirrorEvent } from "./MirrorEvent.ts"
import type { Failure, RuleReport } from "./MirrorReport.ts"
import type { MirrorStateError, RunState } from "./MirrorState.ts"
import * as PlanDocument from "./PlanDocument.ts"
import * as PruneDecision from "./PruneDecision.ts"
import * as PruneJob from "./PruneJob.ts"
import type { Session } from "./Session.ts"
import * as TagRecord from "./TagRecord.ts"
import type { RuleUnits, Unit } from "./Unit.ts"
import * as UnitPlanner from "./UnitPlanner.ts"

/** Locks of the repositories of destinations: each has one job at a time in a process. Tests stand for several. */
export const Locks = Context.Reference("effect-oci/mirror/RuleRun/Locks", { defaultValue: KeyedLock.make })

// maximum number of source tags of a job
const maximumTags = 50

// maximum numbers of failures, problems and warnings in a report
const maximumFailures = 1000
const maximumTexts = 100

/** Counts of a run. */
export interface Account {
  tags: number
  planned: number
  copied: number
  failed: number
  refused: number
  later: number
  superseded: number
  pruned: number
  bytes: number
  requests: number
  readonly failures: Array<Failure>
  readonly problems: Array<string>
  readonly warnings: Array<string>
}

const makeAccount = (): Account => ({
  tags: 0,
  planned: 0,
  copied: 0,
  failed: 0,
  refused: 0,
  later: 0,
  superseded: 0,
  pruned: 0,
  bytes: 0,
  requests: 0,
  failures: [],
  problems: [],
  warnings: []
})

const addText = (texts: Array<string>, text: string): void => {
  if (texts.length < maximumTexts && !texts.includes(text)) texts.push(text)
}

/** Adds an event to the counts. */
const count = (account: Account, event: MirrorEvent): void => {
  switch (event._tag) {
    case "Planned": {
      const { tags } = event.plan
      account.tags += tags.length
      account.later += tags.filter(({ action }) => action === "later").length
      account.planned +=
        tags.filter(({ action }) => PlanDocument.copying.has(action) || action === "adopt" || action === "delete")
          .length
      account.refused += tags.filter(({ action }) => action === "refused").length
      return
    }
    case "Copied":
      account.copied++
      account.bytes += event.bytes
      return
    case "Failed": {
      const { destination, error, retryAt, tag } = event
      account.failed++
      if (account.failures.length < maximumFailures) {
        account.failures.push({ destination, tag, error, ...retryAt === undefined ? {} : { retryAt } })
      }
      return
    }
    case "Superseded":
      account.superseded++
      return
    case "Pruned":
      account.pruned++
      return
    case "Problem":
      addText(account.problems, event.problem)
      return
    case "Warned":
      addText(account.warnings, event.text)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// units
// ---------------------------------------------------------------------------------------------------------------------

/** Runs an effect while no other one changes these repositories. */
const locked = (names: ReadonlyArray<string>) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Locks, (lock) =>
    // always in the same order, so that no two units wait for each other
    Array.from(new Set(names)).sort().reduceRight((inner, name) => lock(name)(inner), effect))

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

/** Reports the tags that are not copied, and the problems of a unit. */
const reportPlan = Effect.fnUntraced(function*(session: Session, plan: UnitPlanner.UnitPlan) {
  const { emit } = session
  const { rule, source } = plan.unit
  for (const document of PlanDocument.make(plan)) yield* emit({ _tag: "Planned", plan: document })
  const problem = (problem: string) => emit({ _tag: "Problem", rule: rule.name, problem })
  if (plan.problem !== undefined) yield* problem(`${source.name}: ${plan.problem}`)
  for (const { destination, problems, targets } of plan.destinations) {
    yield* Effect.forEach(problems, (text) => problem(`${destination.name}: ${text}`), { discard: true })
    for (const target of targets) {
      if (target.action === "failed" && target.hasFailed) yield* CopyJob.recordLookup(session, target)
      else if (target.action === "failed" || target.action === "refused") {
        yield* emit({ ...TagRecord.subjectOf(target), _tag: "Failed", error: target.why, retryAt: undefined })
      }
    }
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

/** Copies the tags of a unit in jobs, each with at most 50 tags of the source. */
const copyAll = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit,
  targets: ReadonlyArray<UnitPlanner.Target>,
  mayStart: () => boolean
) {
  const byTag = Array.from(Map.groupBy(targets, ({ sourceTag }) => sourceTag).values())
  for (const tags of Arr.chunksOf(byTag, maximumTags)) {
    if (mayStart()) yield* CopyJob.run(session, unit, tags.flat())
  }
})

/** Runs a unit. Returns the deletions that are left to do. */
const runUnit = Effect.fnUntraced(function*(
  session: Session,
  unit: Unit,
  mayStart: () => boolean
): Effect.fn.Return<ReadonlyArray<PruneJob.Input>, MirrorStateError> {
  const plan = yield* UnitPlanner.plan(session, unit)
  yield* reportPlan(session, plan)
  const wanted = yield* Effect.forEach(plan.destinations, (destination) => prepareRepositories(session, destination))
  yield* adopt(session, plan.destinations.flatMap(({ targets }) => targets))
  yield* session.state.record(plan.destinations.flatMap(({ updates }) => updates))
  yield* copyAll(session, unit, wanted.flat(), mayStart)
  yield* recordList(session, plan)
  return plan.destinations.flatMap(({ deletions, destination }): ReadonlyArray<PruneJob.Input> => {
    const due = deletions.filter(({ action }) => action === "delete")
    return due.length === 0 ? [] : [{ unit, destination, deletions: due, listed: plan.listed }]
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// rules
// ---------------------------------------------------------------------------------------------------------------------

/** Settings of a run. */
export interface Settings {
  readonly id: string
  /** Process that runs it. */
  readonly by: string
  readonly slot: DateTime.Utc | undefined
  /** Number of units that run at the same time. */
  readonly concurrency: number
}

/** Runs the units of a rule, and then the deletions of those without failures. */
const runUnits = Effect.fnUntraced(function*(
  session: Session,
  { problem, rule, units }: RuleUnits,
  account: Account,
  concurrency: number
) {
  if (problem !== undefined) yield* session.emit({ _tag: "Problem", rule: rule.name, problem })
  const mayStart = () => rule.onError === "continue" || account.failed === 0 && account.problems.length === 0
  const deletions = yield* Effect.forEach(units, (unit) =>
    Effect.suspend(() => {
      if (!mayStart()) return Effect.succeed([])
      let hasFailed = false
      const watched: Session = {
        ...session,
        emit: (event) => {
          hasFailed ||= event._tag === "Failed"
          return session.emit(event)
        }
      }
      return runUnit(watched, unit, mayStart).pipe(
        locked(unit.destinations.map(({ name }) => name)),
        Effect.map((deletions) => hasFailed ? [] : deletions)
      )
    }), { concurrency })
  for (const input of deletions.flat()) {
    if (mayStart()) yield* locked([input.destination.name])(PruneJob.run(session, input))
  }
})

const toState = (
  { rule }: RuleUnits,
  { by, id, slot }: Settings,
  account: Account,
  startedAt: DateTime.Utc,
  endedAt: DateTime.Utc | undefined
): RunState => ({
  id,
  rule: rule.name,
  slot,
  startedAt,
  endedAt,
  by,
  planned: account.planned,
  copied: account.copied,
  failed: account.failed,
  pruned: account.pruned,
  bytes: account.bytes,
  requests: account.requests,
  error: account.problems.length === 0 ? undefined : account.problems.slice(0, 3).join("; ")
})

/** Runs a rule. `counting` adds the requests of an effect to the account. */
export const run = Effect.fnUntraced(function*(
  outer: Session,
  units: RuleUnits,
  settings: Settings,
  counting: (account: Account) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
): Effect.fn.Return<RuleReport, MirrorStateError> {
  const account = makeAccount()
  const { hooks, state } = outer
  const { name } = units.rule
  const startedAt = yield* DateTime.now
  const emit: Session["emit"] = (event) =>
    Effect.suspend(() => {
      count(account, event)
      return outer.emit(event)
    })
  const session: Session = { ...outer, emit }
  yield* state.recordRun(toState(units, settings, account, startedAt, undefined))
  yield* emit({ _tag: "Started", rule: name, run: settings.id, repositories: units.units.length })
  const end = Effect.gen(function*() {
    const run = toState(units, settings, account, startedAt, yield* DateTime.now)
    yield* state.recordRun(run)
    return run
  })
  yield* Effect.matchEffect(hooks.beforeRun(name), {
    onFailure: ({ message }) => emit({ _tag: "Problem", rule: name, problem: message }),
    onSuccess: () => counting(account)(runUnits(session, units, account, settings.concurrency))
  }).pipe(Effect.onInterrupt(() => Effect.ignore(end)))
  const ended = yield* end
  yield* hooks.afterRun(ended)
  const report: RuleReport = {
    rule: name,
    run: settings.id,
    startedAt,
    endedAt: ended.endedAt ?? startedAt,
    ...account
  }
  yield* emit({ _tag: "Ended", report })
  return report
})
