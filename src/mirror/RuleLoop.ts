/**
 * Runs of one rule, one after another: when its schedule says so, when a failed tag is due again, and on request.
 */
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { none } from "./Activity.ts"
import type { MirrorNotification } from "./MirrorNotification.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { Activity, MirrorRunner, RunRequest, Selection } from "./MirrorRunner.ts"
import * as MirrorSchedule from "./MirrorSchedule.ts"
import type { MirrorState, MirrorStateError, RunState } from "./MirrorState.ts"
import {
  delayAfter,
  earliest,
  failedRun,
  failuresOf,
  isComplete,
  isInterrupted,
  latestSlot,
  persistently,
  textOf
} from "./RuleHistory.ts"
import * as RunEvents from "./RunEvents.ts"

/** Work of a rule at this moment: none, a run that waits for others to end, or a run. */
export type Work =
  | { readonly _tag: "Idle" }
  | { readonly _tag: "Waiting"; readonly since: DateTime.Utc }
  | { readonly _tag: "Running"; readonly since: DateTime.Utc; readonly activity: Activity }

/** View of a rule. */
export interface View {
  readonly rule: MirrorRule
  readonly work: Work
  readonly lastRun: RunState | undefined
  /** Start of the last run that failed in no tag. */
  readonly completeAt: DateTime.Utc | undefined
  readonly nextRun: DateTime.Utc | undefined
}

/** The parts of a service that its rules share. */
export interface Shared {
  readonly state: MirrorState["Service"]
  /** Runs an effect with the runner of the current configuration. */
  readonly withRunner: <A, E>(use: (runner: MirrorRunner) => Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** Waits until fewer runs than the limit are running. */
  readonly limited: <A, E>(run: Effect.Effect<A, E>) => Effect.Effect<A, E>
  readonly notify: (notification: MirrorNotification) => Effect.Effect<void>
}

/** The runs of one rule. */
export interface RuleLoop {
  readonly view: () => View
  /** Requests a run. If one is running, another one follows. */
  readonly request: (selection: Selection) => Effect.Effect<"started" | "queued", MirrorStateError>
  /** Runs for ever. */
  readonly run: Effect.Effect<never>
}

// longest sleep, so that a change of the clock is noticed
const longestSleep = 60_000

/** Mutable state of the runs of a rule. */
interface Progress {
  work: Work
  pending: RunRequest | undefined
  /** Completed and replaced when a run is requested. */
  wake: Deferred.Deferred<void>
  /** Latest slot that needs no run any more. */
  since: DateTime.Utc
  lastRun: RunState | undefined
  completeAt: DateTime.Utc | undefined
  nextRun: DateTime.Utc | undefined
  /** When a failed tag, or the whole rule, is tried again. */
  retryAt: DateTime.Utc | undefined
  /** Number of consecutive runs that failed as a whole. */
  failures: number
}

/** Returns the later of two selections if they are equal, or else all tags. */
const merge = (a: RunRequest | undefined, b: RunRequest): RunRequest =>
  a === undefined || a.selection === b.selection ? { ...b, slot: a?.slot ?? b.slot } : {
    selection: "all",
    slot: a.slot ?? b.slot
  }

/** Reads the former runs of a rule, and decides what to do at the start. */
const recall = Effect.fnUntraced(function*({ state }: Shared, rule: MirrorRule, progress: Progress) {
  const now = yield* DateTime.now
  const runs = yield* persistently(state.runs({ rule: rule.name, limit: 100 }))
  progress.lastRun = runs[0]
  progress.completeAt = runs.find(isComplete)?.startedAt
  const lastSlot = latestSlot(runs.map(({ slot }) => slot), now)
  const missed = lastSlot === undefined
    ? undefined
    : Option.getOrUndefined(Option.filter(
      MirrorSchedule.upcoming(rule, lastSlot, now),
      ({ at }) => DateTime.isLessThanOrEqualTo(at, now)
    ))?.at
  progress.since = missed ?? lastSlot ?? now
  progress.retryAt = earliest((yield* failuresOf(state, rule)).map(({ retryAt }) => retryAt))
  if (progress.lastRun !== undefined && isInterrupted(progress.lastRun)) {
    progress.pending = { selection: "all", slot: missed ?? progress.lastRun.slot }
    return
  }
  if (rule.atStart === "nothing") {
    progress.since = now
    return
  }
  const selection = missed !== undefined || rule.atStart === "all" ? "all" : "missing"
  progress.pending = merge(progress.pending, { selection, slot: missed })
})

/** Returns the run to start now, if there is one, and records when the next one is. */
const decide = Effect.fnUntraced(function*(rule: MirrorRule, progress: Progress) {
  const now = yield* DateTime.now
  const slot = Option.getOrUndefined(MirrorSchedule.upcoming(rule, progress.since, now))
  const isDue = (time: DateTime.Utc | undefined) => time !== undefined && DateTime.isLessThanOrEqualTo(time, now)
  progress.nextRun = earliest([slot?.startAt, progress.retryAt])
  if (slot !== undefined && isDue(slot.startAt)) return merge(progress.pending, { selection: "all", slot: slot.at })
  if (progress.pending !== undefined) return progress.pending
  if (!isDue(progress.retryAt)) return undefined
  const selection = progress.failures > 0 ? "all" : "failed"
  return { selection, slot: undefined } satisfies RunRequest
})

/** Waits until the next run is due or requested. */
const sleep = Effect.fnUntraced(function*({ nextRun, wake }: Progress) {
  const now = yield* DateTime.now
  const left = nextRun === undefined ? longestSleep : DateTime.toEpochMillis(nextRun) - DateTime.toEpochMillis(now)
  yield* Effect.raceFirst(Deferred.await(wake), Effect.sleep(Math.min(longestSleep, Math.max(0, left))))
})

/** Runs the rule once. A failure, also one of the program itself, is a failed run. */
const runOnce = Effect.fnUntraced(function*(shared: Shared, rule: MirrorRule, progress: Progress, request: RunRequest) {
  const { state, withRunner } = shared
  const since = yield* DateTime.now
  progress.work = { _tag: "Waiting", since }
  const exit = yield* shared.limited(Effect.gen(function*() {
    const startedAt = yield* DateTime.now
    progress.work = { _tag: "Running", since: startedAt, activity: none }
    const watch = (activity: Activity) =>
      Effect.sync(() => {
        progress.work = { _tag: "Running", since: startedAt, activity }
      })
    return yield* Effect.exit(withRunner((runner) => runner.run(rule, request, watch)))
  }))
  if (Exit.isSuccess(exit)) return exit.value
  yield* Effect.logWarning(`the run of ${rule.name} failed`, exit.cause)
  const run = { ...failedRun(rule.name, request, since, textOf(exit.cause)), endedAt: yield* DateTime.now }
  yield* Effect.ignore(state.recordRun(run))
  return run
})

/** Records the result of a run that began at `startedAt`, and notifies of it. */
const conclude = Effect.fnUntraced(function*(
  shared: Shared,
  rule: MirrorRule,
  progress: Progress,
  run: RunState,
  startedAt: DateTime.Utc
) {
  const failures = yield* failuresOf(shared.state, rule)
  yield* RunEvents.announce(shared.notify, run, progress.lastRun, failures)
  progress.lastRun = run
  if (isComplete(run)) progress.completeAt = run.startedAt
  progress.failures = run.error === undefined ? 0 : progress.failures + 1
  const now = yield* DateTime.now
  progress.retryAt = progress.failures > 0
    ? DateTime.addDuration(now, delayAfter(progress.failures))
    // a tag that was due already is one that the run has left alone, and the next one would do so as well
    : earliest(
      failures.map(({ retryAt }) => retryAt).filter((time) =>
        time !== undefined && DateTime.isGreaterThan(time, startedAt)
      )
    )
})

/** Creates the runs of a rule. With `continues`, it takes the place of a run that was interrupted. */
export const make = Effect.fnUntraced(function*(shared: Shared, rule: MirrorRule, continues: boolean) {
  const progress: Progress = {
    work: { _tag: "Idle" },
    pending: continues ? { selection: "all", slot: undefined } : undefined,
    wake: Deferred.makeUnsafe(),
    since: yield* DateTime.now,
    lastRun: undefined,
    completeAt: undefined,
    nextRun: undefined,
    retryAt: undefined,
    failures: 0
  }
  const step = Effect.gen(function*() {
    const request = yield* decide(rule, progress)
    if (request === undefined) return yield* sleep(progress)
    progress.pending = undefined
    if (request.slot !== undefined) progress.since = request.slot
    const startedAt = yield* DateTime.now
    const run = yield* Effect.ensuring(
      runOnce(shared, rule, progress, request),
      Effect.sync(() => {
        progress.work = { _tag: "Idle" }
      })
    )
    yield* conclude(shared, rule, progress, run, startedAt)
  })
  const loop: RuleLoop = {
    view: () => ({ rule, ...progress }),
    request: (selection) =>
      Effect.suspend(() => {
        const { wake, work } = progress
        progress.pending = merge(progress.pending, { selection, slot: undefined })
        progress.wake = Deferred.makeUnsafe()
        return Effect.as(Deferred.succeed(wake, undefined), work._tag === "Idle" ? "started" : "queued")
      }),
    run: Effect.andThen(recall(shared, rule, progress), Effect.forever(step))
  }
  return loop
})
