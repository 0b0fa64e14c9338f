/**
 * Jobs of a mirror in a SQL database: queues of `PersistedQueue`, and tables for all that is shown.
 *
 * The tables of the queues are private to `PersistedQueue`. A job and its element are added in one transaction.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PersistedQueue from "effect/persistence/PersistedQueue"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { SqlError } from "effect/sql/SqlError"
import { Job, MirrorJobs } from "../mirror/MirrorJobs.ts"
import * as Jobs from "../mirror/MirrorJobs.ts"
import type { MirrorStateError } from "../mirror/MirrorState.ts"
import { newId } from "../mirror/RandomId.ts"
import * as JobRows from "./JobRows.ts"
import * as Rows from "./Rows.ts"
import { attempt, failure } from "./StoreAccess.ts"

type Service = MirrorJobs["Service"]

// number of rows in one statement
const batch = 500

// an element stays in its queue until its job has ended
const maximumAttempts = 2_000_000_000

/** Fails with the error of the database that made a queue fail. */
const ofDatabase = ({ cause }: PersistedQueue.PersistedQueueError): Effect.Effect<never, SqlError> => {
  const error = Cause.isCause(cause) ? Cause.squash(cause) : cause
  return error instanceof SqlError ? Effect.fail(error) : Effect.die(error)
}

// ---------------------------------------------------------------------------------------------------------------------
// queues
// ---------------------------------------------------------------------------------------------------------------------

/** An element of a queue. A job that this version cannot decode is left to other processes. */
const Element = Schema.Struct({ id: Schema.String, job: Schema.fromJsonString(Job) })

/** Hides the warnings of the queue: while the database is away, it would log each attempt. The process reports that. */
const quietly = Effect.provideService(References.MinimumLogLevel, "Error")

const decodeElement = Schema.decodeUnknownEffect(Element)

const makeTake = (
  store: PersistedQueue.PersistedQueueStore["Service"],
  retry: Duration.Duration
): Service["take"] =>
(kind, run) =>
  Effect.scopedWith((scope) =>
    store.take({ name: kind, maxAttempts: maximumAttempts, retryDelay: () => Effect.succeed(retry) }).pipe(
      quietly,
      Scope.provide(scope),
      Effect.flatMap(({ attempts, element }) =>
        Effect.map(decodeElement(element), ({ id, job }) => ({ id, job, isRepeated: attempts > 1 }))
      ),
      Effect.catchTag("PersistedQueueError", ofDatabase),
      Effect.mapError(failure("take")),
      Effect.flatMap(run)
    )
  )

// ---------------------------------------------------------------------------------------------------------------------
// jobs
// ---------------------------------------------------------------------------------------------------------------------

type Tables = Pick<Service, "offer" | "begin" | "end" | "find">

const makeTables = (sql: SqlClient.SqlClient, store: PersistedQueue.PersistedQueueStore["Service"]): Tables => {
  const columns = sql.literal(Rows.columns(JobRows.JobRow))
  const jobs = Rows.decoder(JobRows.JobRow)
  const ids = Rows.decoder(JobRows.IdRow)
  const add = Effect.fnUntraced(function*(
    offered: Arr.NonEmptyReadonlyArray<{ readonly id: string; readonly job: Job }>,
    now: number
  ) {
    const rows = Arr.map(offered, ({ id, job }) =>
      Rows.storable({
        id,
        kind: job._tag,
        rule: job.rule,
        run: job._tag === "Copy" ? job.run : null,
        job: JobRows.fromJob(job),
        offered_at: now
      }))
    const added = yield* ids(sql`INSERT INTO mirror_job ${sql.insert(rows)} ON CONFLICT (id) DO NOTHING RETURNING id`)
    const isAdded = new Set(added.map(({ id }) => id))
    for (const { id, job, kind } of rows) {
      if (!isAdded.has(id)) continue
      // another id, because the queue limits their length
      const element = { name: kind, id: `${yield* newId}${yield* newId}`, element: { id, job }, isCustomId: false }
      yield* Effect.catchTag(store.offer(element), "PersistedQueueError", ofDatabase)
    }
    return Array.from(isAdded)
  })
  const begin = Effect.fnUntraced(function*(given: string): Effect.fn.Return<Jobs.Turn, SqlError> {
    const now = yield* Clock.currentTimeMillis
    const id = Rows.text(given)
    const taken = yield* sql`INSERT INTO mirror_turn (rule, job)
      SELECT rule, id FROM mirror_job WHERE id = ${id} AND ended_at IS NULL
      ON CONFLICT (rule) DO UPDATE SET job = excluded.job
        WHERE mirror_turn.job = excluded.job OR NOT EXISTS (
          SELECT 1 FROM mirror_job AS other WHERE other.id = mirror_turn.job AND other.ended_at IS NULL)
      RETURNING job`
    if (taken.length > 0) {
      yield* sql`UPDATE mirror_job SET started_at = COALESCE(started_at, ${now}) WHERE id = ${id}`
      return "begun"
    }
    const open = yield* sql`SELECT 1 FROM mirror_job WHERE id = ${id} AND ended_at IS NULL`
    return open.length > 0 ? "busy" : "ended"
  })
  const setEnd = Effect.fnUntraced(function*(id: string, result: string | null) {
    const now = yield* Clock.currentTimeMillis
    yield* sql`UPDATE mirror_job SET ended_at = ${now}, result = ${result} WHERE id = ${
      Rows.text(id)
    } AND ended_at IS NULL`
  })
  return {
    offer: (offered) =>
      Clock.currentTimeMillis.pipe(
        Effect.flatMap((now) => Effect.forEach(Arr.chunksOf(offered, batch), (offered) => add(offered, now))),
        Effect.map((added) => added.flat()),
        sql.withTransaction,
        attempt("offer")
      ),
    begin: (id) => begin(id).pipe(sql.withTransaction, attempt("begin")),
    end: (id, result) =>
      result === undefined
        ? Effect.andThen(setEnd(id, null), sql`DELETE FROM mirror_job WHERE run = ${Rows.text(id)}`).pipe(
          Effect.asVoid,
          sql.withTransaction,
          attempt("end")
        )
        : attempt("end")(setEnd(id, result)),
    find: ({ ids, isOpen, kind, limit = 1000, rule, run }) =>
      ids?.length === 0 ? Effect.succeed([]) : jobs(sql`SELECT ${columns} FROM mirror_job WHERE ${
        sql.and([
          // a condition that always holds, because a list of conditions must not be empty
          sql`1 = 1`,
          ...kind === undefined ? [] : [sql`kind = ${kind}`],
          ...rule === undefined ? [] : [sql`rule = ${Rows.text(rule)}`],
          ...run === undefined ? [] : [sql`run = ${Rows.text(run)}`],
          ...ids === undefined ? [] : [sql.in("id", ids.map(Rows.text))],
          ...isOpen === undefined ? [] : [isOpen ? sql`ended_at IS NULL` : sql`ended_at IS NOT NULL`]
        ])
      } ORDER BY offered_at DESC, id DESC LIMIT ${limit}`).pipe(
        Effect.map((rows) => rows.map(JobRows.toJob)),
        attempt("find")
      )
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// processes
// ---------------------------------------------------------------------------------------------------------------------

type Processes = Pick<Service, "report" | "leave" | "processes" | "drain">

/** Time of the database in milliseconds, because the clocks of the processes may differ. */
const nowOf = (sql: SqlClient.SqlClient) =>
  sql.onDialectOrElse({
    pg: () => sql.literal("CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"),
    orElse: () => sql.literal("CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)")
  })

const makeProcesses = (sql: SqlClient.SqlClient, refresh: Duration.Duration): Processes => {
  const now = nowOf(sql)
  const columns = sql.literal(Rows.columns(JobRows.ProcessRow))
  const processes = Rows.decoder(JobRows.SeenProcessRow)
  const draining = Rows.decoder(JobRows.DrainingRow)
  return {
    report: ({ holds, name, version }) =>
      draining(sql`INSERT INTO mirror_process (name, version, started_at, seen_at, draining, holds)
        VALUES (${name}, ${version}, ${now}, ${now}, 0, ${JobRows.fromHoldings(holds)})
        ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at, holds = excluded.holds
        RETURNING draining`).pipe(
        Effect.map(([row]) => row?.draining === 1),
        attempt("report")
      ),
    leave: (name) => sql`DELETE FROM mirror_process WHERE name = ${name}`.pipe(Effect.asVoid, attempt("leave")),
    processes: processes(sql`SELECT ${columns}, ${now} AS now FROM mirror_process ORDER BY started_at, name`).pipe(
      Effect.map((rows) => rows.map((row) => JobRows.toProcess(row, Jobs.isLate(row.seen_at, row.now, refresh)))),
      attempt("processes")
    ),
    drain: (name) =>
      sql`UPDATE mirror_process SET draining = 1 WHERE name = ${name} RETURNING name`.pipe(
        Effect.map((rows) => rows.length > 0),
        attempt("drain")
      )
  }
}

/** Deletes jobs that have ended, and processes that have vanished, from time to time. */
const clean = (
  sql: SqlClient.SqlClient,
  store: PersistedQueue.PersistedQueueStore["Service"],
  retention: Duration.Duration
) => {
  const kept = Duration.toMillis(retention)
  return Effect.gen(function*() {
    const before = (yield* Clock.currentTimeMillis) - kept
    yield* sql`DELETE FROM mirror_job WHERE ended_at < ${before}`
    yield* sql`DELETE FROM mirror_process WHERE seen_at < ${nowOf(sql)} - ${sql.literal(`${kept}`)}`
    yield* store.cleanup({ timeToLive: Duration.hours(1), failedTimeToLive: retention })
  }).pipe(
    Effect.ignore,
    Effect.repeat(Schedule.spaced("1 hour"))
  )
}

/** Creates the jobs of the database of the program, whose tables exist. */
export const make: Effect.Effect<Service, MirrorStateError, SqlClient.SqlClient | Scope.Scope> = Effect.gen(
  function*() {
    const sql = yield* SqlClient.SqlClient
    const refresh = yield* Jobs.RefreshInterval
    const store = yield* PersistedQueue.makeStoreSql({
      tableName: "mirror_queue",
      pollInterval: yield* Jobs.PollInterval,
      lockRefreshInterval: refresh,
      lockExpiration: yield* Jobs.LockExpiration
    }).pipe(
      quietly,
      Effect.mapError(failure("open"))
    )
    yield* Effect.forkScoped(clean(sql, store, yield* Jobs.Retention))
    return MirrorJobs.of({
      ...makeTables(sql, store),
      ...makeProcesses(sql, refresh),
      take: makeTake(store, yield* Jobs.RetryInterval)
    })
  }
)
