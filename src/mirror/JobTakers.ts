/**
 * Jobs that a process takes: runs of rules, whose copies it shares, and copies that any process has shared.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { JobProcess } from "./JobProcess.ts"
import { type Job, Retention, type Taken } from "./MirrorJobs.ts"
import type { PartResult, SharedRun } from "./MirrorRunner.ts"
import type { MirrorStateError, RunState } from "./MirrorState.ts"
import * as Part from "./Part.ts"
import { patiently } from "./PatientState.ts"
import { newId } from "./RandomId.ts"
import { failedRun, failuresOf, textOf } from "./RuleHistory.ts"
import type { Shared } from "./RuleLoop.ts"
import { oldSlot, type RuleOffers } from "./RuleOffers.ts"
import * as RunEvents from "./RunEvents.ts"

/** This process leaves a job to the others: it does not know the rule, or the rule runs already. */
class LeftToOthers extends Data.TaggedError("LeftToOthers")<{}> {}

type RunJob = Extract<Job, { readonly _tag: "Run" }>
type CopyJob = Extract<Job, { readonly _tag: "Copy" }>

/** The parts of a service that take jobs. */
export interface Options {
  readonly process: JobProcess
  readonly shared: Shared
  /** Returns the offers of a rule, if this process has it. */
  readonly offersOf: (rule: string) => RuleOffers | undefined
}

const noResult: PartResult = { requests: 0, events: [] }

// number of parts of a run that an earlier process has shared
const maximumParts = 1_000_000

// ---------------------------------------------------------------------------------------------------------------------
// runs
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the result of a part. One that is unknown was forgotten with its run, which another process has ended. */
const resultOf = (part: { readonly rule: string; readonly source: string }, text: string | undefined): PartResult =>
  text === undefined ? noResult : Part.decode(part, text)

/**
 * Waits for the parts that an earlier process has shared. Those with other settings of the rule are not run any more.
 */
const formerParts = Effect.fnUntraced(function*({ process }: Options, id: string, { settings }: RuleOffers) {
  const found = yield* patiently(process.jobs.find({ kind: "Copy", run: id, limit: maximumParts }))
  return yield* Effect.forEach(found, ({ endedAt, id, job, result }) => {
    if (job._tag !== "Copy") return Effect.succeed(noResult)
    if (endedAt !== undefined) return Effect.succeed(resultOf(job, result))
    return job.settings === settings
      ? Effect.map(process.ended(id), (result) => resultOf(job, result))
      : Effect.as(process.end(id, Part.encode(noResult)), noResult)
  }, { concurrency: "unbounded" })
})

/** Shares the copies of a run with the other processes. */
const makeShare = (
  options: Options,
  offers: RuleOffers,
  id: string,
  job: RunJob,
  startedAt: DateTime.Utc
): SharedRun => {
  const { process } = options
  const { rule, selection } = job
  return {
    id,
    startedAt,
    former: formerParts(options, id, offers),
    isOpen: Effect.map(patiently(process.jobs.begin(id)), (turn) => turn === "begun"),
    run: Effect.fnUntraced(function*({ source, tags }) {
      const part = `${yield* newId}${yield* newId}`
      const { settings } = offers
      const copy: Job = { _tag: "Copy", rule, run: id, settings, source, selection, tags }
      yield* process.offer({ id: part, job: copy })
      return resultOf({ rule, source }, yield* process.ended(part))
    })
  }
}

/** Notifies of a run that has ended. */
const announce = Effect.fnUntraced(function*({ shared }: Options, { rule }: RuleOffers, run: RunState) {
  const { state } = shared
  const runs = yield* patiently(state.runs({ rule: rule.name, limit: 10 }))
  const before = runs.find(({ endedAt, id }) => id !== run.id && endedAt !== undefined)
  const failures = yield* failuresOf(state, rule)
  yield* RunEvents.announce(shared.notify, run, before, failures)
})

/** Returns true if the slot of a run is old, and a later one is waiting. */
const isOvertaken = Effect.fnUntraced(function*({ process }: Options, { rule, slot }: RunJob) {
  if (slot === undefined) return false
  const before = DateTime.subtractDuration(yield* DateTime.now, oldSlot)
  if (DateTime.isGreaterThan(slot, before)) return false
  const open = yield* patiently(process.jobs.find({ kind: "Run", rule, isOpen: true }))
  return open.some(({ job }) => job._tag === "Run" && job.slot !== undefined && DateTime.isGreaterThan(job.slot, slot))
})

/**
 * Runs a rule, or continues its run, and returns the run. A failure, also one of the program itself, is a failed run.
 */
const runRule = Effect.fnUntraced(function*(
  options: Options,
  offers: RuleOffers,
  id: string,
  job: RunJob
): Effect.fn.Return<RunState, MirrorStateError> {
  const { process, shared: { state, withRunner } } = options
  // the process that ran it was killed between the end of the run and that of the job
  const recorded = (yield* patiently(state.runs({ rule: job.rule, limit: 20 }))).find((run) => run.id === id)
  if (recorded?.endedAt !== undefined) return recorded
  const [known] = yield* patiently(process.jobs.find({ ids: [id] }))
  const startedAt = known?.startedAt ?? (yield* DateTime.now)
  const request = { selection: job.selection, slot: job.slot, shared: makeShare(options, offers, id, job, startedAt) }
  const exit = yield* Effect.exit(
    process.holding({ id, kind: "Run", rule: job.rule, source: undefined })((watch) =>
      offers.whileServed(withRunner((runner) => runner.run(offers.rule, request, watch)))
    )
  )
  if (Exit.isSuccess(exit)) return exit.value
  if (Cause.hasInterruptsOnly(exit.cause)) return yield* Effect.interrupt
  yield* Effect.logWarning(`the run of ${job.rule} failed`, exit.cause)
  const failed = failedRun(job.rule, request, startedAt, textOf(exit.cause))
  const run = { ...failed, id, by: process.name, endedAt: yield* DateTime.now }
  const isOpen = (yield* patiently(process.jobs.begin(id))) === "begun"
  if (isOpen) yield* patiently(state.recordRun(run))
  return run
})

/** Leaves a run to the processes that have its rule. A run is ended if none of them has taken it for a long time. */
const leaveRun = Effect.fnUntraced(function*({ process }: Options, id: string) {
  const [known] = yield* patiently(process.jobs.find({ ids: [id] }))
  const before = DateTime.subtractDuration(yield* DateTime.now, yield* Retention)
  if (known !== undefined && DateTime.isGreaterThan(known.offeredAt, before)) return yield* new LeftToOthers()
  yield* process.end(id)
})

/** Runs the rule of a job, unless it has ended, or another run of the rule goes on. */
const takeRun = Effect.fnUntraced(function*(options: Options, { id }: Taken, job: RunJob) {
  const { process } = options
  const offers = options.offersOf(job.rule)
  if (offers === undefined) return yield* leaveRun(options, id)
  if (yield* isOvertaken(options, job)) return yield* process.end(id)
  const turn = yield* patiently(process.jobs.begin(id))
  if (turn === "ended") return
  if (turn === "busy") return yield* new LeftToOthers()
  const run = yield* runRule(options, offers, id, job)
  // another process has ended the run if this one was frozen
  if ((yield* patiently(process.jobs.begin(id))) !== "begun") return
  yield* process.end(id)
  yield* announce(options, offers, run)
  yield* offers.wake
})

// ---------------------------------------------------------------------------------------------------------------------
// copies
// ---------------------------------------------------------------------------------------------------------------------

/** Leaves a copy to the processes with its settings, unless its run has ended. */
const leaveCopy = Effect.fnUntraced(function*(process: JobProcess, id: string, { run }: CopyJob) {
  const open = yield* patiently(process.jobs.find({ ids: [run], isOpen: true }))
  if (open.length > 0) return yield* new LeftToOthers()
  yield* process.end(id, Part.encode(noResult))
})

/** Runs a part, unless it has ended. A failure of the program itself is a problem of the run. */
const takeCopy = Effect.fnUntraced(function*(
  { offersOf, process, shared: { withRunner } }: Options,
  { id, isRepeated }: Taken,
  job: CopyJob
) {
  if (isRepeated) {
    const [known] = yield* patiently(process.jobs.find({ ids: [id] }))
    if (known === undefined || known.endedAt !== undefined) return
  }
  const offers = offersOf(job.rule)
  if (offers === undefined || offers.settings !== job.settings) return yield* leaveCopy(process, id, job)
  const exit = yield* Effect.exit(
    process.holding({ id, kind: "Copy", rule: job.rule, source: job.source })((watch) =>
      withRunner((runner) => runner.copy(offers.rule, job, watch))
    )
  )
  if (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) return yield* Effect.interrupt
  const result: PartResult = Exit.isSuccess(exit) ? exit.value : {
    requests: 0,
    events: [{ _tag: "Problem", rule: job.rule, problem: `${job.source}: ${textOf(exit.cause)}` }]
  }
  yield* process.end(id, Part.encode(result))
})

/** Takes jobs until the process drains: so many runs, and so many copies, at the same time. */
export const run = (
  options: Options,
  limits: { readonly runs: number; readonly copies: number }
): Effect.Effect<void> => {
  const { process } = options
  const taken = (each: Taken): Effect.Effect<void, LeftToOthers | MirrorStateError> =>
    each.job._tag === "Run" ? takeRun(options, each, each.job) : takeCopy(options, each, each.job)
  const takers = (kind: Job["_tag"], count: number) => Array.from({ length: count }, () => process.take(kind, taken))
  return Effect.all([...takers("Run", limits.runs), ...takers("Copy", limits.copies)], {
    concurrency: "unbounded",
    discard: true
  })
}
