/**
 * Rows of the tables of jobs and processes, and the values that they stand for.
 */
import type * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { type Holding, Job, type JobState, type ProcessState } from "../mirror/MirrorJobs.ts"
import * as Rows from "./Rows.ts"

const { Integer } = Rows
const Time = Schema.NullOr(Integer)

/** A row of `mirror_job`. */
export const JobRow = Schema.Struct({
  id: Schema.String,
  job: Schema.fromJsonString(Job),
  offered_at: Integer,
  started_at: Time,
  ended_at: Time,
  result: Schema.NullOr(Schema.String)
})

/** A row of `mirror_process`. */
export const ProcessRow = Schema.Struct({
  name: Schema.String,
  version: Schema.String,
  started_at: Integer,
  seen_at: Integer,
  draining: Integer,
  holds: Schema.String
})

/** The same, with the time of the database. */
export const SeenProcessRow = Schema.Struct({ ...ProcessRow.fields, now: Integer })

export const IdRow = Schema.Struct({ id: Schema.String })

export const DrainingRow = Schema.Struct({ draining: Integer })

const Activity = Schema.Struct({
  planned: Schema.Finite,
  copied: Schema.Finite,
  failed: Schema.Finite,
  pruned: Schema.Finite,
  bytes: Schema.Finite,
  copies: Schema.Array(Schema.Struct({
    source: Schema.String,
    destination: Schema.String,
    startedAt: Schema.DateTimeUtcFromString,
    bytes: Schema.Finite
  }))
})

const Holdings = Schema.fromJsonString(Schema.Array(Schema.Struct({
  id: Schema.String,
  kind: Schema.Literals(["Run", "Copy"]),
  rule: Schema.String,
  source: Schema.optionalKey(Schema.String),
  since: Schema.DateTimeUtcFromString,
  activity: Activity
})))

const encodeHoldings = Schema.encodeSync(Holdings)
const decodeHoldings = Schema.decodeUnknownOption(Holdings)

/** Returns the text of what a process holds. */
export const fromHoldings = (holds: ReadonlyArray<Holding>): string =>
  encodeHoldings(holds.map(({ source, ...rest }) => ({ ...rest, ...source === undefined ? {} : { source } })))

export const fromJob: (job: Job) => string = Schema.encodeSync(Schema.fromJsonString(Job))

const fromTimeOrNull = (millis: number | null): DateTime.Utc | undefined =>
  millis === null ? undefined : Rows.fromTime(millis)

export const toJob = (row: typeof JobRow.Type): JobState => ({
  id: row.id,
  job: row.job,
  offeredAt: Rows.fromTime(row.offered_at),
  startedAt: fromTimeOrNull(row.started_at),
  endedAt: fromTimeOrNull(row.ended_at),
  result: row.result ?? undefined
})

/** Returns a process. What a newer version holds may be unreadable, and is left out. */
export const toProcess = (row: typeof ProcessRow.Type, isLate: boolean): ProcessState => ({
  name: row.name,
  version: row.version,
  startedAt: Rows.fromTime(row.started_at),
  seenAt: Rows.fromTime(row.seen_at),
  isLate,
  isDraining: row.draining !== 0,
  holds: Option.getOrElse(decodeHoldings(row.holds), () => []).map((holding) => ({ source: undefined, ...holding }))
})
