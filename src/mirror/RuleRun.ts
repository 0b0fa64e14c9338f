/**
 * The run of one rule: plans its units, runs their jobs, deletes what is left over, and counts what happens.
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as KeyedLock from "../KeyedLock.ts"
import type { MirrorEvent } from "./MirrorEvent.ts"
import type { Failure, RuleReport } from "./MirrorReport.ts"
import type { PartResult, SharedRun } from "./MirrorRunner.ts"
import type { MirrorStateError, RunState } from "./MirrorState.ts"
import * as Part from "./Part.ts"
import * as PlanDocument from "./PlanDocument.ts"
import * as PruneJob from "./PruneJob.ts"
import type { Session } from "./Session.ts"
import type { RuleUnits } from "./Unit.ts"
import * as UnitRun from "./UnitRun.ts"

/** Locks of the repositories of destinations: each has one job at a time in a process. Tests stand for several. */
export const Locks = Context.Reference("effect-oci/mirror/RuleRun/Locks", { defaultValue: KeyedLock.make })

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
// rules
// ---------------------------------------------------------------------------------------------------------------------

/** Runs an effect while no other one changes these repositories. */
const locked = (names: ReadonlyArray<string>) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Locks, (lock) =>
    // always in the same order, so that no two units wait for each other
    Array.from(new Set(names)).sort().reduceRight((inner, name) => lock(name)(inner), effect))

/** Settings of a run. */
export interface Settings {
  readonly id: string
  /** Process that runs it. */
  readonly by: string
  readonly slot: DateTime.Utc | undefined
  /** Number of units that run at the same time. */
  readonly concurrency: number
  /** When the run has begun, if another process has begun it. Default: now. */
  readonly startedAt?: DateTime.Utc | undefined
}

// number of units that wait for parts which other processes run
const sharedAtOnce = 64

/** Counts the parts that an earlier process has shared. Returns a predicate for the sources with failures. */
const addFormer = Effect.fnUntraced(function*(session: Session, account: Account) {
  const failed = new Set<string>()
  const former = session.share === undefined ? [] : yield* session.share.former
  const events = former.flatMap(({ events }) => events)
  for (const event of events) {
    if (Part.isOutcome(event)) account.planned++
    if (event._tag === "Failed") failed.add(event.source)
    yield* session.emit(event)
  }
  // a problem does not name its source
  const hasProblem = Part.hasProblem(events)
  return (source: string) => hasProblem || failed.has(source)
})

/** Runs the units of a rule, and then the deletions of those without failures. */
const runUnits = Effect.fnUntraced(function*(
  session: Session,
  { problem, rule, units }: RuleUnits,
  account: Account,
  concurrency: number
) {
  if (problem !== undefined) yield* session.emit({ _tag: "Problem", rule: rule.name, problem })
  const hasFailedBefore = yield* addFormer(session, account)
  const mayStart = () => rule.onError === "continue" || account.failed === 0 && account.problems.length === 0
  const deletions = yield* Effect.forEach(units, (unit) =>
    Effect.suspend(() => {
      if (!mayStart()) return Effect.succeed([])
      let hasFailed = hasFailedBefore(unit.source.name)
      const watched: Session = {
        ...session,
        emit: (event) => {
          hasFailed ||= event._tag === "Failed"
          return session.emit(event)
        }
      }
      return UnitRun.run(watched, unit, mayStart).pipe(
        locked(unit.destinations.map(({ name }) => name)),
        Effect.map((deletions) => hasFailed ? [] : deletions)
      )
    }), { concurrency: session.share === undefined ? concurrency : sharedAtOnce })
  if (session.only === "all" && account.tags === 0 && account.problems.length === 0) {
    const text = `it selects ${units.length === 0 ? "no repository" : "no tags"}`
    yield* session.emit({ _tag: "Warned", rule: rule.name, text })
  }
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

/** Adds the requests of parts to the account. */
const countingParts = (share: SharedRun, account: Account): SharedRun => {
  const add = ({ requests }: PartResult) => {
    account.requests += requests
  }
  return {
    ...share,
    former: Effect.tap(share.former, (results) => Effect.sync(() => results.forEach(add))),
    run: (part) => Effect.tap(share.run(part), (result) => Effect.sync(() => add(result)))
  }
}

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
  const startedAt = settings.startedAt ?? (yield* DateTime.now)
  const emit: Session["emit"] = (event) =>
    Effect.suspend(() => {
      count(account, event)
      return outer.emit(event)
    })
  const session: Session = { ...outer, emit, share: outer.share && countingParts(outer.share, account) }
  yield* state.recordRun(toState(units, settings, account, startedAt, undefined))
  yield* emit({ _tag: "Started", rule: name, run: settings.id, repositories: units.units.length })
  yield* Effect.matchEffect(hooks.beforeRun(name), {
    onFailure: ({ message }) => emit({ _tag: "Problem", rule: name, problem: message }),
    onSuccess: () => counting(account)(runUnits(session, units, account, settings.concurrency))
  }).pipe(
    // a run without an end is one that was interrupted. A shared one is continued, with the counts of its parts
    Effect.onInterrupt(() =>
      session.share === undefined
        ? Effect.ignore(state.recordRun(toState(units, settings, account, startedAt, undefined)))
        : Effect.void
    )
  )
  const ended = toState(units, settings, account, startedAt, yield* DateTime.now)
  if (session.share === undefined || (yield* session.share.isOpen)) {
    yield* state.recordRun(ended)
    yield* hooks.afterRun(ended)
  }
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
