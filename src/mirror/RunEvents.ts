/**
 * Notifications about runs that have ended.
 */
import type { MirrorNotification } from "./MirrorNotification.ts"
import type { RunState, TagState } from "./MirrorState.ts"
import * as RunDocument from "./RunDocument.ts"

// number of failed tags in a notification
const maximumFailures = 20

/** Returns true if the run or a tag of it failed. */
export const isFailed = ({ error, failed }: RunState): boolean => error !== undefined || failed > 0

/** Returns the events of a run that has ended. */
export const eventsOf = (run: RunState, before: RunState | undefined): ReadonlyArray<MirrorNotification["event"]> => [
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
