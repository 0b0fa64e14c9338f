/**
 * Tables of the state of a mirror, in the order in which they were added. A migration that was released never changes.
 *
 * Times are milliseconds since the epoch. Older processes may run while a migration is applied and after it: it only
 * adds tables, indexes, and columns that have a default.
 */
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"

/** Table with the migrations that were applied. */
const table = "mirror_migrations"

const tables = [
  `CREATE TABLE mirror_tag (
    destination TEXT NOT NULL,
    tag TEXT NOT NULL,
    rule TEXT NOT NULL,
    source TEXT NOT NULL,
    source_tag TEXT NOT NULL,
    source_digest TEXT,
    destination_digest TEXT,
    filter_key TEXT NOT NULL,
    generation BIGINT NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    attempts INTEGER NOT NULL,
    retry_at BIGINT,
    checked_at BIGINT,
    copied_at BIGINT,
    referrers_at BIGINT,
    missing INTEGER NOT NULL,
    PRIMARY KEY (destination, tag)
  )`,
  "CREATE INDEX mirror_tag_status ON mirror_tag (status, rule)",
  `CREATE TABLE mirror_run (
    id TEXT NOT NULL PRIMARY KEY,
    rule TEXT NOT NULL,
    slot BIGINT,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    process TEXT NOT NULL,
    planned BIGINT NOT NULL,
    copied BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    pruned BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    error TEXT
  )`,
  "CREATE INDEX mirror_run_started ON mirror_run (rule, started_at)",
  `CREATE TABLE mirror_list (
    rule TEXT NOT NULL,
    source TEXT NOT NULL,
    tags BIGINT NOT NULL,
    listed_at BIGINT NOT NULL,
    PRIMARY KEY (rule, source)
  )`,
  "CREATE TABLE mirror_prune (rule TEXT NOT NULL PRIMARY KEY, policy TEXT NOT NULL)",
  "CREATE TABLE mirror_image (digest TEXT NOT NULL PRIMARY KEY, created_at BIGINT NOT NULL, recorded_at BIGINT NOT NULL)",
  "CREATE INDEX mirror_image_recorded ON mirror_image (recorded_at)"
]

/** Rates and budgets. Their times are those of the database, because the clocks of processes differ. */
const rates = [
  `CREATE TABLE mirror_rate (
    host TEXT NOT NULL PRIMARY KEY,
    due DOUBLE PRECISION NOT NULL,
    budget_remaining BIGINT,
    budget_limit BIGINT,
    budget_reset_at DOUBLE PRECISION,
    budget_window BIGINT,
    budget_at DOUBLE PRECISION,
    budget_version BIGINT NOT NULL DEFAULT 0
  )`,
  "CREATE TABLE mirror_rate_process (process TEXT NOT NULL PRIMARY KEY, seen_at DOUBLE PRECISION NOT NULL)"
]

/** Jobs of several processes, and these processes. */
const jobs = [
  `CREATE TABLE mirror_job (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    rule TEXT NOT NULL,
    run TEXT,
    job TEXT NOT NULL,
    offered_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    result TEXT
  )`,
  "CREATE INDEX mirror_job_run ON mirror_job (run)",
  "CREATE INDEX mirror_job_rule ON mirror_job (rule, kind, offered_at)",
  "CREATE INDEX mirror_job_ended ON mirror_job (ended_at)",
  "CREATE TABLE mirror_turn (rule TEXT NOT NULL PRIMARY KEY, job TEXT NOT NULL)",
  `CREATE TABLE mirror_process (
    name TEXT NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    draining INTEGER NOT NULL,
    holds TEXT NOT NULL
  )`
]

/** Runs statements. In PostgreSQL, texts sort by their bytes, as they do in SQLite. */
const run = (statements: ReadonlyArray<string>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => {
    const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
    return Effect.forEach(
      statements.map((statement) => isPostgres ? statement.replaceAll(/\bTEXT\b/g, "TEXT COLLATE \"C\"") : statement),
      (statement) => sql.unsafe(statement),
      { discard: true }
    )
  })

const migrations = { "1_state": run(tables), "2_rates": run(rates), "3_jobs": run(jobs) }

/** Number of the latest migration that this version knows. */
export const latest = Object.keys(migrations).length

/** Returns the number of the latest migration that was applied, or 0. */
export const applied = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql<{ readonly id: number }>`SELECT max(migration_id) AS id FROM ${sql(table)}`.pipe(
    // the table does not exist yet
    Effect.orElseSucceed(() => [])
  )
  return rows[0]?.id ?? 0
})

/** Applies the migrations that are missing, in one transaction. */
export const apply = Migrator.make({})({ loader: Migrator.fromRecord(migrations), table })
