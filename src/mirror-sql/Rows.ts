/**
 * Rows of the tables of a mirror, and the values that they stand for.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import { Digest } from "../Digest.ts"
import type { ListState, RunState, TagState } from "../mirror/MirrorState.ts"
import { Tag } from "../Reference.ts"

/** A BIGINT, which drivers return as a bigint (PostgreSQL) or as text, because it may be too large for a number. */
export const Integer = Schema.Union([
  Schema.Int,
  Schema.BigInt.pipe(Schema.decodeTo(Schema.Int, {
    decode: SchemaGetter.transform(Number),
    encode: SchemaGetter.transform(BigInt)
  })),
  Schema.NumberFromString
])
const Text = Schema.NullOr(Schema.String)
const Time = Schema.NullOr(Integer)

const Status = Schema.Literals(["pending", "copied", "kept", "failed"])

export const TagRow = Schema.Struct({
  destination: Schema.String,
  tag: Tag,
  rule: Schema.String,
  source: Schema.String,
  source_tag: Tag,
  source_digest: Schema.NullOr(Digest),
  destination_digest: Schema.NullOr(Digest),
  filter_key: Schema.String,
  generation: Integer,
  status: Status,
  error: Text,
  attempts: Integer,
  retry_at: Time,
  checked_at: Time,
  copied_at: Time,
  referrers_at: Time,
  missing: Integer
})

export const RunRow = Schema.Struct({
  id: Schema.String,
  rule: Schema.String,
  slot: Time,
  started_at: Integer,
  ended_at: Time,
  process: Schema.String,
  planned: Integer,
  copied: Integer,
  failed: Integer,
  pruned: Integer,
  bytes: Integer,
  requests: Integer,
  error: Text
})

export const ListRow = Schema.Struct({ rule: Schema.String, source: Schema.String, tags: Integer, listed_at: Integer })

export const CountRow = Schema.Struct({ rule: Schema.String, status: Status, tags: Integer })

export const PruneRow = Schema.Struct({ policy: Schema.String })

export const ImageRow = Schema.Struct({ digest: Digest, created_at: Integer })

/** Returns the names of the columns of a row, so that a column of a newer version is not selected. */
export const columns = (row: { readonly fields: Schema.Struct.Fields }): string => Object.keys(row.fields).join(", ")

/** Returns a text that every database stores: PostgreSQL refuses NUL, and surrogates have to be in pairs. */
export const text = (value: string): string => value.replaceAll("\0", "\uFFFD").toWellFormed()

/** Replaces the texts of a record by those that every database stores. */
export const storable = <A extends Readonly<Record<string, unknown>>>(record: A): A =>
  // the keys, and the types of the values, stay the same
  Object.fromEntries(
    Object.entries(record).map(([name, value]) => [name, typeof value === "string" ? text(value) : value])
  ) as A

/** Returns a function that decodes rows. */
export const decoder = <A>(schema: Schema.Codec<A, unknown>) => {
  const decode = Schema.decodeUnknownEffect(Schema.Array(schema))
  return <E, R>(rows: Effect.Effect<unknown, E, R>) => Effect.flatMap(rows, (rows) => decode(rows))
}

const orNull = <A>(value: A | undefined): A | null => value ?? null
const orUndefined = <A>(value: A | null): A | undefined => value ?? undefined

export const toTime = (time: DateTime.Utc | undefined): number | null =>
  time === undefined ? null : DateTime.toEpochMillis(time)

/** Returns the time of a number of milliseconds. A number outside the range of dates is the epoch. */
export const fromTime = (millis: number): DateTime.Utc =>
  Option.getOrElse(Option.map(DateTime.make(millis), DateTime.toUtc), () => DateTime.makeUnsafe(0))

const fromTimeOrNull = (millis: number | null): DateTime.Utc | undefined =>
  millis === null ? undefined : fromTime(millis)

export const toTag = (row: typeof TagRow.Type): TagState => ({
  destination: row.destination,
  tag: row.tag,
  rule: row.rule,
  source: row.source,
  sourceTag: row.source_tag,
  sourceDigest: orUndefined(row.source_digest),
  destinationDigest: orUndefined(row.destination_digest),
  filterKey: row.filter_key,
  generation: row.generation,
  status: row.status,
  error: orUndefined(row.error),
  attempts: row.attempts,
  retryAt: fromTimeOrNull(row.retry_at),
  checkedAt: fromTimeOrNull(row.checked_at),
  copiedAt: fromTimeOrNull(row.copied_at),
  referrersAt: fromTimeOrNull(row.referrers_at),
  missing: row.missing
})

export const fromTag = (tag: TagState) =>
  storable({
    destination: tag.destination,
    tag: tag.tag,
    rule: tag.rule,
    source: tag.source,
    source_tag: tag.sourceTag,
    source_digest: orNull(tag.sourceDigest),
    destination_digest: orNull(tag.destinationDigest),
    filter_key: tag.filterKey,
    generation: tag.generation,
    status: tag.status,
    error: orNull(tag.error),
    attempts: tag.attempts,
    retry_at: toTime(tag.retryAt),
    checked_at: toTime(tag.checkedAt),
    copied_at: toTime(tag.copiedAt),
    referrers_at: toTime(tag.referrersAt),
    missing: tag.missing
  })

export const toRun = (row: typeof RunRow.Type): RunState => ({
  id: row.id,
  rule: row.rule,
  slot: fromTimeOrNull(row.slot),
  startedAt: fromTime(row.started_at),
  endedAt: fromTimeOrNull(row.ended_at),
  by: row.process,
  planned: row.planned,
  copied: row.copied,
  failed: row.failed,
  pruned: row.pruned,
  bytes: row.bytes,
  requests: row.requests,
  error: orUndefined(row.error)
})

export const fromRun = (run: RunState) =>
  storable({
    id: run.id,
    rule: run.rule,
    slot: toTime(run.slot),
    started_at: DateTime.toEpochMillis(run.startedAt),
    ended_at: toTime(run.endedAt),
    process: run.by,
    planned: run.planned,
    copied: run.copied,
    failed: run.failed,
    pruned: run.pruned,
    bytes: run.bytes,
    requests: run.requests,
    error: orNull(run.error)
  })

export const toList = (row: typeof ListRow.Type): ListState => ({
  rule: row.rule,
  source: row.source,
  tags: row.tags,
  listedAt: fromTime(row.listed_at)
})
