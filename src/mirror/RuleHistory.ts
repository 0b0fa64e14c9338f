/**
 * Former runs of a rule, and what follows from them.
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type { MirrorRule } from "./MirrorRule.ts"
import type { RunRequest } from "./MirrorRunner.ts"
import type { MirrorState, MirrorStateError, RunState } from "./MirrorState.ts"

// delays after a run that failed as a whole, in minutes
const shortestRetry = 1
const longestRetry = 60

/** Returns the delay after so many consecutive runs that failed as a whole. */
export const delayAfter = (failures: number): Duration.Duration =>
  Duration.minutes(Math.min(longestRetry, shortestRetry * 2 ** (failures - 1)))

const retries = Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")])

/** Waits until the store of the state can be used again. */
export const persistently = <A>(effect: Effect.Effect<A, MirrorStateError>): Effect.Effect<A> =>
  effect.pipe(
    Effect.tapError((error) => Effect.logWarning("the state of the mirror cannot be used", error)),
    Effect.retry(retries),
    Effect.orDie
  )

/** Returns the earliest of some times. */
export const earliest = (times: ReadonlyArray<DateTime.Utc | undefined>): DateTime.Utc | undefined =>
  times.flatMap((time) => time ?? []).sort(DateTime.Order)[0]

/** Returns the latest slot that has passed. A process whose clock was ahead may have run later ones. */
export const latestSlot = (
  slots: ReadonlyArray<DateTime.Utc | undefined>,
  now: DateTime.Utc
): DateTime.Utc | undefined =>
  slots.flatMap((slot) => slot !== undefined && DateTime.isLessThanOrEqualTo(slot, now) ? [slot] : [])
    .sort(DateTime.Order).at(-1)

/** Reads the failed tags of a rule. */
export const failuresOf = (state: MirrorState["Service"], { name }: MirrorRule) =>
  persistently(state.find({ rule: name, status: "failed", limit: 1000 }))

/** Returns true if a run did not get to its end: the process ended, or a signal interrupted it. */
export const isInterrupted = ({ endedAt }: RunState): boolean => endedAt === undefined

/** Returns true if the run or a tag of it failed. */
export const isFailed = ({ error, failed }: RunState): boolean => error !== undefined || failed > 0

/** Returns true if a run has ended without failures. */
export const isComplete = (run: RunState): boolean => !isFailed(run) && !isInterrupted(run)

/** Returns the state of a run that failed as a whole, and that the runner could not record. */
export const failedRun = (rule: string, { slot }: RunRequest, startedAt: DateTime.Utc, error: string): RunState => ({
  id: `${rule}@${DateTime.formatIso(startedAt)}`,
  rule,
  slot,
  startedAt,
  endedAt: undefined,
  by: "",
  planned: 0,
  copied: 0,
  failed: 0,
  pruned: 0,
  bytes: 0,
  requests: 0,
  error
})

/** Returns the message of a failure or defect. */
export const textOf = (cause: Cause.Cause<{ readonly message: string }>): string => {
  const error = Cause.squash(cause)
  return hasProperty(error, "message") ? String(error.message) : String(error)
}
