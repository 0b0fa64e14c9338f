/**
 * Runs of one rule that several processes share. Each process offers them: for each slot of the schedule, when a failed
 * tag is due again, and on request. What is due follows from the store, so that all of them offer the same ids.
 */
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { JobProcess } from "./JobProcess.ts"
import type { Job, JobState } from "./MirrorJobs.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { Selection } from "./MirrorRunner.ts"
import * as MirrorSchedule from "./MirrorSchedule.ts"
import type { MirrorState, MirrorStateError, RunState } from "./MirrorState.ts"
import { patiently } from "./PatientState.ts"
import { newId } from "./RandomId.ts"
import { delayAfter, earliest, failuresOf, isComplete, isInterrupted, latestSlot, persistently } from "./RuleHistory.ts"
import type { RuleLoop, Work } from "./RuleLoop.ts"

/** The offers of one rule, and its part in the jobs of this process. */
export interface RuleOffers extends RuleLoop {
  readonly rule: MirrorRule
  /** Digest of its settings. */
  readonly settings: string
  /** Interrupts an effect when the rule is removed or changed. */
  readonly whileServed: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** Reads the store again, because a run has ended. */
  readonly wake: Effect.Effect<void>
}

/** The parts of a service that its rules share. */
export interface Shared {
  readonly process: JobProcess
  readonly state: MirrorState["Service"]
  /** Returns the work of a rule, as it was last read. */
  readonly workOf: (rule: string) => Work
}

// longest sleeps: one without a run, so that the runs of other processes are noticed, and one while a run is open
const longestSleep = 60_000
const openSleep = 5_000

/** Waits until the store can be used. It is tried often, because slots are due meanwhile. */
const wait = <A>(effect: Effect.Effect<A, MirrorStateError>): Effect.Effect<A> => persistently(patiently(effect))

/** Age from which on a slot is left out if a later one is due as well. */
export const oldSlot: Duration.Duration = Duration.minutes(10)

/** Returns the id of the run of a slot. */
const slotId = (rule: string, slot: DateTime.Utc): string => `${rule}@${DateTime.formatIso(slot)}`

/** Runs of a rule in the store, and what they have left to do. */
interface Facts {
  readonly runs: ReadonlyArray<RunState>
  readonly jobs: ReadonlyArray<JobState>
  readonly lastSlot: DateTime.Utc | undefined
  readonly retryAt: DateTime.Utc | undefined
  /** Tags that are looked at by the next attempt. */
  readonly retrySelection: Selection
}

const slotOf = ({ job }: JobState): DateTime.Utc | undefined => job._tag === "Run" ? job.slot : undefined

/** Reads the runs of a rule, and what they have left to do. */
const read = Effect.fnUntraced(function*({ process, state }: Shared, rule: MirrorRule): Effect.fn.Return<Facts> {
  const jobs = yield* wait(process.jobs.find({ kind: "Run", rule: rule.name, limit: 50 }))
  const runs = yield* wait(state.runs({ rule: rule.name, limit: 50 }))
  const failures = yield* failuresOf(state, rule)
  const lastSlot = latestSlot([...runs.map(({ slot }) => slot), ...jobs.map(slotOf)], yield* DateTime.now)
  const [last] = runs
  const isFailed = last?.error !== undefined && last.endedAt !== undefined
  const failed = runs.findIndex(({ error }) => error === undefined)
  return {
    runs,
    jobs,
    lastSlot,
    retryAt: isFailed
      ? DateTime.addDuration(last.endedAt, delayAfter(failed < 0 ? runs.length : failed))
      // a tag that was due before the last run is one that it has left alone, and the next one would do so as well
      : earliest(
        failures.map(({ retryAt }) => retryAt).filter((time) =>
          time !== undefined && (last === undefined || DateTime.isGreaterThan(time, last.startedAt))
        )
      ),
    retrySelection: isFailed ? "all" : "failed"
  }
})

/**
 * Returns the slots after `since` that are due, oldest first, and when the next one is. Each slot of the last ten
 * minutes has its run. Of older ones, which were missed while there was no process, only the latest one has.
 */
const slotsAfter = (rule: MirrorRule, since: DateTime.Utc, now: DateTime.Utc) => {
  const isRecent = DateTime.isGreaterThan(since, DateTime.subtractDuration(now, oldSlot))
  const due: Array<DateTime.Utc> = []
  let slot = Option.getOrUndefined(
    isRecent ? MirrorSchedule.next(rule, since) : MirrorSchedule.upcoming(rule, since, now)
  )
  while (slot !== undefined && DateTime.isLessThanOrEqualTo(slot.startAt, now)) {
    due.push(slot.at)
    slot = Option.getOrUndefined(MirrorSchedule.next(rule, slot.at))
  }
  return { due, next: slot?.startAt }
}

/**
 * Creates the offers of a rule. `isNew` is false at the start of the process, true for a rule of a new configuration.
 */
export const make = Effect.fnUntraced(function*(
  shared: Shared,
  rule: MirrorRule,
  settings: string,
  isNew: boolean
): Effect.fn.Return<RuleOffers> {
  const { process } = shared
  const stopped = Deferred.makeUnsafe<void>()
  let wake = Deferred.makeUnsafe<void>()
  let since: DateTime.Utc | undefined
  let facts: Facts | undefined
  let nextRun: DateTime.Utc | undefined

  const jobOf = (selection: Selection, slot?: DateTime.Utc): Job => ({
    _tag: "Run",
    rule: rule.name,
    selection,
    ...slot === undefined ? {} : { slot }
  })
  const offer = (id: string, selection: Selection, slot?: DateTime.Utc) =>
    process.jobs.offer([{ id, job: jobOf(selection, slot) }])
  const isFirst = Effect.map(
    wait(process.processes),
    (processes) => processes.find(({ isLate }) => !isLate)?.name === process.name
  )

  /** Offers the run at the start, once for all processes that start together. */
  const begin = Effect.gen(function*() {
    const now = yield* DateTime.now
    facts = yield* read(shared, rule)
    const isDue = facts.lastSlot !== undefined && slotsAfter(rule, facts.lastSlot, now).due.length > 0
    const [last] = facts.runs
    const isOpen = facts.jobs.some(({ endedAt, id }) => endedAt === undefined || id === last?.id)
    since = facts.lastSlot ?? now
    if (last !== undefined && isInterrupted(last) && !isOpen) {
      yield* wait(offer(`${rule.name}~again@${last.id}`, "all", last.slot))
      return
    }
    if (rule.atStart === "nothing") {
      if (yield* isFirst) since = now
      return
    }
    if (isDue) return
    const minute = DateTime.formatIso(DateTime.startOf(now, "minute"))
    // older processes may not have the rule yet
    if (facts.runs.length === 0 && facts.jobs.length === 0) yield* wait(offer(`${rule.name}~first`, rule.atStart))
    else if (isNew) yield* wait(offer(`${rule.name}~new@${minute} ${settings}`, rule.atStart))
    else if (yield* isFirst) yield* wait(offer(`${rule.name}~start@${process.name}`, rule.atStart))
  })

  /** Offers what is due. */
  const step = Effect.gen(function*() {
    const signal = wake
    facts = yield* read(shared, rule)
    const now = yield* DateTime.now
    const from = DateTime.max(since ?? now, facts.lastSlot ?? since ?? now)
    const { due, next } = slotsAfter(rule, from, now)
    for (const slot of due) yield* wait(offer(slotId(rule.name, slot), "all", slot))
    since = due.at(-1) ?? from
    const isOpen = due.length > 0 || facts.jobs.some(({ endedAt }) => endedAt === undefined)
    const { retryAt, retrySelection } = facts
    nextRun = earliest([next, retryAt])
    if (!isOpen && retryAt !== undefined && DateTime.isLessThanOrEqualTo(retryAt, now)) {
      yield* wait(
        offer(`${rule.name}~${retrySelection}@${DateTime.formatIso(retryAt)}`, retrySelection)
      )
      nextRun = next
      return yield* Effect.raceFirst(Deferred.await(signal), Effect.sleep(openSleep))
    }
    const left = [next, isOpen ? undefined : retryAt].flatMap((time) =>
      time === undefined ? [] : [DateTime.toEpochMillis(time) - DateTime.toEpochMillis(now)]
    )
    const sleep = Math.max(0, Math.min(isOpen ? openSleep : longestSleep, ...left))
    yield* Effect.raceFirst(Deferred.await(signal), Effect.sleep(sleep))
  })

  const request = Effect.fnUntraced(function*(selection: Selection) {
    const open = yield* process.jobs.find({ kind: "Run", rule: rule.name, isOpen: true })
    const isWaiting = open.some(({ job, startedAt }) =>
      startedAt === undefined && job._tag === "Run" && (job.selection === "all" || job.selection === selection)
    )
    if (isWaiting) return "queued"
    const now = DateTime.formatIso(yield* DateTime.now)
    yield* offer(`${rule.name}~request@${now} ${yield* newId}`, selection)
    return open.length === 0 ? "started" : "queued"
  })

  return {
    rule,
    settings,
    view: () => ({
      rule,
      work: shared.workOf(rule.name),
      lastRun: facts?.runs[0],
      completeAt: facts?.runs.find(isComplete)?.startedAt,
      nextRun
    }),
    request,
    run: Effect.andThen(begin, Effect.forever(step)).pipe(
      Effect.ensuring(Deferred.succeed(stopped, undefined))
    ),
    whileServed: (effect) => Effect.raceFirst(effect, Effect.andThen(Deferred.await(stopped), Effect.interrupt)),
    wake: Effect.suspend(() => {
      const signal = wake
      wake = Deferred.makeUnsafe()
      return Effect.asVoid(Deferred.succeed(signal, undefined))
    })
  }
})
