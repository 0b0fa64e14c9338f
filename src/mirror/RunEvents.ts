/**
 * Notifications about runs that have ended, which are counted as well.
 */
import * as Effect from "effect/Effect"
import * as MirrorMetrics from "./MirrorMetrics.ts"
import type { MirrorNotification } from "./MirrorNotification.ts"
import type { RunState, TagState } from "./MirrorState.ts"
import { isFailed } from "./RuleHistory.ts"
import * as RunDocument from "./RunDocument.ts"

// number of failed tags in a notification
const maximumFailures = 20

/** Returns the events of a run that has ended. */
const eventsOf = (run: RunState, before: RunState | undefined): ReadonlyArray<MirrorNotification["event"]> => [
  ...isFailed(run) ? ["failed" as const] : [],
  ...!isFailed(run) && before !== undefined && isFailed(before) ? ["recovered" as const] : [],
  ...run.pruned > 0 ? ["pruned" as const] : [],
  "finished"
]

/** Creates a notification. */
export const make = (
  event: MirrorNotification["event"],
  run: RunState,
  failures: ReadonlyArray<TagState>
): MirrorNotification => ({
  version: 1,
  event,
  rule: run.rule,
  run: { id: run.id, planned: run.planned, ...RunDocument.resultOf(run) },
  failures: failures.slice(0, maximumFailures).map(({ attempts, destination, error = "", source, sourceTag, tag }) => ({
    destination,
    tag,
    source: `${source}:${sourceTag}`,
    error,
    attempts
  }))
})

/** Notifies of a run that has ended, and counts it. `before` is the run of the rule that ended before it. */
export const announce = Effect.fnUntraced(function*(
  notify: (notification: MirrorNotification) => Effect.Effect<void>,
  run: RunState,
  before: RunState | undefined,
  failures: ReadonlyArray<TagState>
) {
  for (const event of eventsOf(run, before)) yield* notify(make(event, run, failures))
  yield* MirrorMetrics.record(run)
})
