/**
 * Notifications about the runs of a mirror.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import type { RunState, TagState } from "./MirrorState.ts"

const Time = Schema.String.annotate({ description: "Time in UTC, such as 2026-11-27T12:00:00.000Z" })

/**
 * Notification about a run, as webhooks receive it in JSON.
 *
 * - `failed`: the run failed, or tags of it did.
 * - `recovered`: the run failed in no tag, unlike the one before.
 * - `pruned`: the run deleted tags.
 * - `finished`: the run ended.
 *
 * @category schemas
 * @since 0.1.0
 */
export const MirrorNotification = Schema.Struct({
  version: Schema.Literal(1),
  event: Schema.Literals(["failed", "recovered", "pruned", "finished"]),
  rule: Schema.String,
  run: Schema.Struct({
    id: Schema.String,
    startedAt: Time,
    endedAt: Schema.optionalKey(Time),
    planned: Schema.Natural,
    copied: Schema.Natural,
    failed: Schema.Natural,
    pruned: Schema.Natural,
    bytes: Schema.Natural,
    requests: Schema.Natural,
    error: Schema.optionalKey(Schema.String)
  }),
  failures: Schema.Array(Schema.Struct({
    destination: Schema.String,
    tag: Schema.String,
    source: Schema.String,
    error: Schema.String,
    attempts: Schema.Natural
  })).annotate({ description: "Failed tags of the rule, at most 20" })
})

/**
 * Notification about a run.
 *
 * @category models
 * @since 0.1.0
 */
export type MirrorNotification = typeof MirrorNotification.Type

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
  run: {
    id: run.id,
    startedAt: DateTime.formatIso(run.startedAt),
    ...run.endedAt === undefined ? {} : { endedAt: DateTime.formatIso(run.endedAt) },
    planned: run.planned,
    copied: run.copied,
    failed: run.failed,
    pruned: run.pruned,
    bytes: run.bytes,
    requests: run.requests,
    ...run.error === undefined ? {} : { error: run.error }
  },
  failures: failures.slice(0, maximumFailures).map(({ attempts, destination, error = "", source, sourceTag, tag }) => ({
    destination,
    tag,
    source: `${source}:${sourceTag}`,
    error,
    attempts
  }))
})
