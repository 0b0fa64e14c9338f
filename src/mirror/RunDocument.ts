/**
 * The result of a run in the JSON documents that contain runs.
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import type { RunState } from "./MirrorState.ts"

export const Time = Schema.String.annotate({ description: "Time in UTC, such as 2026-11-27T12:00:00.000Z" })

/** Schema of the result. */
export const Result = Schema.Struct({
  startedAt: Time,
  endedAt: Schema.optionalKey(Time),
  copied: Schema.Natural,
  failed: Schema.Natural,
  pruned: Schema.Natural,
  bytes: Schema.Natural,
  requests: Schema.Natural,
  error: Schema.optionalKey(Schema.String)
})

/** Returns the result of a run. */
export const resultOf = (run: RunState): typeof Result.Type => ({
  startedAt: DateTime.formatIso(run.startedAt),
  ...run.endedAt === undefined ? {} : { endedAt: DateTime.formatIso(run.endedAt) },
  copied: run.copied,
  failed: run.failed,
  pruned: run.pruned,
  bytes: run.bytes,
  requests: run.requests,
  ...run.error === undefined ? {} : { error: run.error }
})
