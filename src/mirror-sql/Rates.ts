/**
 * Rates and budgets in the database of a mirror. All times are those of the database.
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import { MirrorRates } from "../mirror/MirrorRates.ts"
import { RetryTime } from "../mirror/MirrorState.ts"
import type { MirrorStateError } from "../mirror/MirrorState.ts"
import * as Rows from "./Rows.ts"
import { migrate } from "./Store.ts"
import { attempt } from "./StoreAccess.ts"

// intervals, in milliseconds
const seenInterval = 5000
const seenFor = 60_000

// resets that differ by less are those of one window, and responses that differ by less may have changed places
const sameWindow = 2000

// time for which a budget without a reset and a window is believed
const unknownWindow = 60_000

const LeaseRow = Schema.Struct({ wait: Schema.Number })
const ProcessRow = Schema.Struct({ processes: Rows.Integer })
const BudgetRow = Schema.Struct({
  budget_remaining: Schema.NullOr(Rows.Integer),
  budget_limit: Schema.NullOr(Rows.Integer),
  budget_reset: Schema.NullOr(Schema.Number),
  budget_window: Schema.NullOr(Rows.Integer),
  budget_age: Schema.NullOr(Schema.Number),
  budget_version: Rows.Integer
})

type Service = MirrorRates["Service"]

/** Returns the fragment with the time of the database, in milliseconds, at the moment when it is evaluated. */
const nowOf = (sql: SqlClient.SqlClient) =>
  sql.literal(sql.onDialectOrElse({
    pg: () => "(EXTRACT(EPOCH FROM clock_timestamp())::float8 * 1000)",
    orElse: () => "(unixepoch('subsec') * 1000.0)"
  }))

/** Returns a parameter with a type, which PostgreSQL cannot infer in arithmetic. */
const typed = (sql: SqlClient.SqlClient, type: "DOUBLE PRECISION" | "BIGINT") => (value: number | null | undefined) =>
  sql`CAST(${value ?? null} AS ${sql.literal(type)})`

const makeLease = (sql: SqlClient.SqlClient): Service["lease"] => {
  const now = nowOf(sql)
  const real = typed(sql, "DOUBLE PRECISION")
  const rows = Rows.decoder(LeaseRow)
  return ({ count, host, rate }) => {
    const interval = 1000 / rate
    const length = real(count * interval)
    // after a time without requests, a tenth of a second of requests may follow each other at once
    const earliest = sql`${now} - ${real((Math.max(1, Math.floor(rate / 10)) - 1) * interval)}`
    return rows(sql`INSERT INTO mirror_rate (host, due) VALUES (${host}, ${earliest} + ${length})
      ON CONFLICT (host) DO UPDATE SET due = ${length} + CASE
        WHEN mirror_rate.due > ${earliest} THEN mirror_rate.due ELSE ${earliest} END
      RETURNING due - ${length} - ${now} AS wait`).pipe(
      Effect.map(([row]) => row?.wait ?? 0),
      attempt("lease")
    )
  }
}

/** Returns a budget that is not full again yet. */
const budgetOf = (row: typeof BudgetRow.Type) => {
  const window = row.budget_window ?? undefined
  const reset = row.budget_reset ?? undefined
  const left = reset ?? (window ?? unknownWindow) - (row.budget_age ?? 0)
  return row.budget_remaining === null || left <= 0 ? undefined : {
    remaining: row.budget_remaining,
    limit: row.budget_limit ?? undefined,
    reset,
    window,
    version: row.budget_version
  }
}

const makeBudget = (sql: SqlClient.SqlClient): Service["budget"] => {
  const now = nowOf(sql)
  const real = typed(sql, "DOUBLE PRECISION")
  const whole = typed(sql, "BIGINT")
  const rows = Rows.decoder(BudgetRow)
  const columns = sql`budget_remaining, budget_limit, budget_reset_at - ${now} AS budget_reset, budget_window,
    ${now} - budget_at AS budget_age, budget_version`
  const record = ({ limit, remaining, reset, window }: NonNullable<Parameters<Service["budget"]>[1]>, host: string) => {
    const resetAt = reset === undefined ? real(null) : sql`${now} + ${real(reset)}`
    // a response of the same window shows how much was used, and so does one of the same moment
    const isSame = reset === undefined
      ? sql`mirror_rate.budget_reset_at IS NULL AND ${now} - mirror_rate.budget_at < ${real(sameWindow)}`
      : sql`ABS(mirror_rate.budget_reset_at - excluded.budget_reset_at) <= ${real(sameWindow)}`
    const lower = sql`mirror_rate.budget_remaining < excluded.budget_remaining`
    return sql`INSERT INTO mirror_rate
        (host, due, budget_remaining, budget_limit, budget_reset_at, budget_window, budget_at, budget_version)
      VALUES (${host}, 0, ${whole(remaining)}, ${whole(limit)}, ${resetAt}, ${whole(window)}, ${now}, 1)
      ON CONFLICT (host) DO UPDATE SET
        budget_remaining = CASE WHEN ${isSame} AND ${lower} THEN mirror_rate.budget_remaining
          ELSE excluded.budget_remaining END,
        budget_reset_at = CASE WHEN ${isSame} THEN mirror_rate.budget_reset_at ELSE excluded.budget_reset_at END,
        budget_limit = excluded.budget_limit, budget_window = excluded.budget_window, budget_at = excluded.budget_at,
        budget_version = mirror_rate.budget_version + 1
      RETURNING ${columns}`
  }
  return (host, seen) =>
    rows(seen === undefined ? sql`SELECT ${columns} FROM mirror_rate WHERE host = ${host}` : record(seen, host)).pipe(
      Effect.map(([row]) => row === undefined ? undefined : budgetOf(row)),
      attempt("budget")
    )
}

/** Reports this process to the others, and counts them, again and again until the scope closes. */
const countProcesses = Effect.fnUntraced(function*(sql: SqlClient.SqlClient) {
  const now = nowOf(sql)
  const process = SecureRandom.uuidV4Unsafe()
  const rows = Rows.decoder(ProcessRow)
  let processes = 1
  const count = Effect.gen(function*() {
    yield* sql`INSERT INTO mirror_rate_process (process, seen_at) VALUES (${process}, ${now})
      ON CONFLICT (process) DO UPDATE SET seen_at = excluded.seen_at`
    const [row] = yield* rows(sql`SELECT count(*) AS processes FROM mirror_rate_process
      WHERE seen_at > ${now} - ${typed(sql, "DOUBLE PRECISION")(seenFor)}`)
    processes = Math.max(1, row?.processes ?? 1)
  }).pipe(attempt("processes"))
  const forget = sql`DELETE FROM mirror_rate_process
    WHERE process = ${process} OR seen_at < ${now} - ${typed(sql, "DOUBLE PRECISION")(60 * seenFor)}`.pipe(
    attempt("processes"),
    Effect.provideService(RetryTime, Duration.zero),
    Effect.timeout("2 seconds"),
    Effect.ignore
  )
  yield* count
  yield* Effect.addFinalizer(() => forget)
  yield* Effect.forkScoped(Effect.repeat(Effect.ignore(count), Schedule.spaced(Duration.millis(seenInterval))))
  return Effect.sync(() => processes)
})

/** Provides rates and budgets in the database. */
export const layer: Layer.Layer<MirrorRates, MirrorStateError, SqlClient.SqlClient> = Layer.effect(
  MirrorRates,
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* migrate
    return MirrorRates.of({
      lease: makeLease(sql),
      budget: makeBudget(sql),
      processes: yield* countProcesses(sql)
    })
  })
)
