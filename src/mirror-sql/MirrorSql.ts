/**
 * State of a mirror in a SQL database: a file of SQLite (see `NodeSqlite`), or another database that a `SqlClient`
 * reaches. Several processes may use it at the same time.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { MirrorJobs } from "../mirror/MirrorJobs.ts"
import { KeptDates, KeptRuns, MirrorState, MirrorStateError } from "../mirror/MirrorState.ts"
import * as JobsSql from "./JobsSql.ts"
import * as Migrations from "./Migrations.ts"
import * as Rows from "./Rows.ts"

type Service = MirrorState["Service"]

/** Converts the failures of an operation. */
const failing = (operation: string) =>
<A, R>(
  effect: Effect.Effect<A, SqlError | Schema.SchemaError, R>
): Effect.Effect<A, MirrorStateError, R> =>
  Effect.mapError(effect, (cause) =>
    new MirrorStateError({
      operation,
      problem: cause.message,
      cause,
      isRetryable: cause._tag === "SqlError" && cause.isRetryable
    }))

// number of rows in one statement, because a statement of SQLite has at most 32,766 parameters
const batch = 500

const tags = Rows.decoder(Rows.TagRow)

type Begun = Parameters<Service["begin"]>[0][number]
type Tags = Pick<Service, "tags" | "find" | "counts" | "begin" | "holds" | "record" | "remove" | "retry">

const makeTags = (sql: SqlClient.SqlClient): Tags => {
  const filters = (filter: { readonly rule?: string | undefined; readonly status?: string | undefined }) =>
    sql.and([
      // a condition that always holds, because a list of conditions must not be empty
      sql`1 = 1`,
      ...filter.rule === undefined ? [] : [sql`rule = ${filter.rule}`],
      ...filter.status === undefined ? [] : [sql`status = ${filter.status}`]
    ])
  const begin = Effect.fnUntraced(function*(values: Arr.NonEmptyReadonlyArray<Begun>, now: number) {
    const rows = Arr.map(values, (tag) => Rows.fromTag({ ...tag, generation: now, status: "pending" }))
    const begun = yield* tags(sql`INSERT INTO mirror_tag ${sql.insert(rows)}
      ON CONFLICT (destination, tag) DO UPDATE SET
        generation = mirror_tag.generation + 1, status = 'pending', rule = excluded.rule, source = excluded.source,
        source_tag = excluded.source_tag, filter_key = excluded.filter_key
      RETURNING *`)
    // the order of returned rows is not defined
    const byTag = new Map(begun.map((row) => [`${row.destination} ${row.tag}`, Rows.toTag(row)]))
    return rows.flatMap(({ destination, tag }) => byTag.get(`${destination} ${tag}`) ?? [])
  })
  const record = Effect.fnUntraced(function*(tag: Parameters<Service["record"]>[0][number]) {
    const { destination, generation, tag: name, ...rest } = Rows.fromTag(tag)
    const recorded = yield* sql`UPDATE mirror_tag SET ${sql.update(rest)}
      WHERE destination = ${destination} AND tag = ${name} AND generation = ${generation} RETURNING generation`
    if (recorded.length > 0) return []
    return yield* tags(sql`SELECT * FROM mirror_tag WHERE destination = ${destination} AND tag = ${name}`)
  })
  return {
    tags: (destination) =>
      tags(sql`SELECT * FROM mirror_tag WHERE destination = ${destination} ORDER BY tag`).pipe(
        Effect.map((rows) => rows.map(Rows.toTag)),
        failing("tags")
      ),
    find: (filter) =>
      tags(sql`SELECT * FROM mirror_tag WHERE ${filters(filter)} ORDER BY destination, tag
        LIMIT ${filter.limit ?? 1000}`).pipe(
        Effect.map((rows) => rows.map(Rows.toTag)),
        failing("find")
      ),
    counts: Rows.decoder(Rows.CountRow)(
      sql`SELECT rule, status, count(*) AS tags FROM mirror_tag GROUP BY rule, status ORDER BY rule, status`
    ).pipe(failing("counts")),
    begin: (values) =>
      Clock.currentTimeMillis.pipe(
        Effect.flatMap((now) => Effect.forEach(Arr.chunksOf(values, batch), (values) => begin(values, now))),
        Effect.map((begun) => begun.flat()),
        sql.withTransaction,
        failing("begin")
      ),
    holds: ({ destination, generation, tag }) =>
      sql`SELECT 1 FROM mirror_tag
        WHERE destination = ${destination} AND tag = ${tag} AND generation = ${generation}`.pipe(
        Effect.map((rows) => rows.length > 0),
        failing("holds")
      ),
    record: (values) =>
      values.length === 0 ? Effect.succeed([]) : Effect.forEach(values, record).pipe(
        Effect.map((lost) => lost.flat().map(Rows.toTag)),
        sql.withTransaction,
        failing("record")
      ),
    remove: ({ destination, generation, tag }) =>
      sql`DELETE FROM mirror_tag
        WHERE destination = ${destination} AND tag = ${tag} AND generation = ${generation}`.pipe(
        Effect.asVoid,
        failing("remove")
      ),
    retry: ({ rule }) =>
      sql`UPDATE mirror_tag SET attempts = 0, retry_at = NULL WHERE ${filters({ rule, status: "failed" })}
        RETURNING tag`.pipe(
        Effect.map((rows) => rows.length),
        failing("retry")
      )
  }
}

type Runs = Pick<Service, "list" | "recordList" | "recordRun" | "runs">

const makeRuns = (sql: SqlClient.SqlClient, kept: number): Runs => {
  const runs = Rows.decoder(Rows.RunRow)
  const lists = Rows.decoder(Rows.ListRow)
  return {
    list: (rule, source) =>
      lists(sql`SELECT * FROM mirror_list WHERE rule = ${rule} AND source = ${source}`).pipe(
        Effect.map(([row]) => row === undefined ? undefined : Rows.toList(row)),
        failing("list")
      ),
    recordList: ({ listedAt, rule, source, tags }) =>
      sql`INSERT INTO mirror_list ${sql.insert({ rule, source, tags, listed_at: Rows.toTime(listedAt) })}
        ON CONFLICT (rule, source) DO UPDATE SET tags = excluded.tags, listed_at = excluded.listed_at`.pipe(
        Effect.asVoid,
        failing("recordList")
      ),
    recordRun: (run) =>
      Effect.gen(function*() {
        yield* sql`DELETE FROM mirror_run WHERE id = ${run.id}`
        yield* sql`INSERT INTO mirror_run ${sql.insert(Rows.fromRun(run))}`
        yield* sql`DELETE FROM mirror_run WHERE rule = ${run.rule} AND id NOT IN (
          SELECT id FROM mirror_run WHERE rule = ${run.rule} ORDER BY started_at DESC, id DESC LIMIT ${kept})`
      }).pipe(sql.withTransaction, failing("recordRun")),
    runs: ({ limit, rule }) =>
      runs(sql`SELECT * FROM mirror_run WHERE ${rule === undefined ? sql`1 = 1` : sql`rule = ${rule}`}
        ORDER BY started_at DESC, id DESC LIMIT ${limit}`).pipe(
        Effect.map((rows) => rows.map(Rows.toRun)),
        failing("runs")
      )
  }
}

type Images = Pick<Service, "confirmedPrune" | "confirmPrune" | "created" | "recordCreated">

const makeImages = (sql: SqlClient.SqlClient, kept: number): Images => {
  const images = Rows.decoder(Rows.ImageRow)
  const confirmed = Rows.decoder(Rows.PruneRow)
  return {
    confirmedPrune: (rule) =>
      confirmed(sql`SELECT policy FROM mirror_prune WHERE rule = ${rule}`).pipe(
        Effect.map(([row]) => row?.policy),
        failing("confirmedPrune")
      ),
    confirmPrune: (rule, policy) =>
      sql`INSERT INTO mirror_prune ${sql.insert({ rule, policy })}
        ON CONFLICT (rule) DO UPDATE SET policy = excluded.policy`.pipe(Effect.asVoid, failing("confirmPrune")),
    created: (digests) =>
      Effect.forEach(
        Arr.chunksOf(digests, batch),
        (digests) => images(sql`SELECT digest, created_at FROM mirror_image WHERE ${sql.in("digest", digests)}`)
      ).pipe(
        Effect.map((rows) => new Map(rows.flat().map(({ created_at, digest }) => [digest, Rows.fromTime(created_at)]))),
        failing("created")
      ),
    recordCreated: (dates) =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const rows = Array.from(dates, ([digest, date]) => ({
          digest,
          created_at: Rows.toTime(date),
          recorded_at: now
        }))
        for (const some of Arr.chunksOf(rows, batch)) {
          yield* sql`INSERT INTO mirror_image ${sql.insert(some)}
            ON CONFLICT (digest) DO UPDATE SET recorded_at = excluded.recorded_at`
        }
        yield* sql`DELETE FROM mirror_image WHERE digest IN (
          SELECT digest FROM mirror_image ORDER BY recorded_at DESC, digest LIMIT ${kept} OFFSET ${kept})`
      }).pipe(sql.withTransaction, failing("recordCreated"))
  }
}

/** Applies the migrations, unless a newer version has written the database. */
const migrate = Effect.gen(function*() {
  const applied = yield* Migrations.applied
  if (applied > Migrations.latest) {
    return yield* new MirrorStateError({
      operation: "open",
      problem: `it has version ${applied}, but this program knows versions up to ${Migrations.latest} only`,
      isRetryable: false
    })
  }
  yield* Migrations.apply.pipe(
    Effect.catchIf(
      (error) => error instanceof Migrator.MigrationError,
      (error) =>
        Effect.fail(
          new MirrorStateError({
            operation: "open",
            problem: error.message,
            cause: error,
            isRetryable: error.kind === "Locked"
          })
        )
    )
  )
})

const open = Effect.catchTag(migrate, "SqlError", (error) => failing("open")(Effect.fail(error)))

/**
 * Provides a state in the database of the program. Creates its tables, whose names begin with `mirror_`. Fails if a
 * newer version of this package has written them.
 *
 * **Example** (A state in SQLite)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as MirrorSql from "effect-oci/MirrorSql"
 * import * as MirrorState from "effect-oci/MirrorState"
 * import * as NodeSqlite from "effect-oci/NodeSqlite"
 *
 * const layer = MirrorSql.layer.pipe(Layer.provide(NodeSqlite.layer({ filename: ":memory:" })))
 *
 * const program = MirrorState.MirrorState.use((state) => state.runs({ limit: 10 }))
 *
 * await Effect.runPromise(Effect.provide(program, layer)) // => []
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<MirrorState, MirrorStateError, SqlClient.SqlClient> = Layer.effect(
  MirrorState,
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* open
    return MirrorState.of({
      ...makeTags(sql),
      ...makeRuns(sql, yield* KeptRuns),
      ...makeImages(sql, yield* KeptDates)
    })
  })
)

/**
 * Provides the jobs of a mirror in the database of the program, so that several processes keep it together. Creates its
 * tables, whose names begin with `mirror_`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerJobs: Layer.Layer<MirrorJobs, MirrorStateError, SqlClient.SqlClient> = Layer.effect(
  MirrorJobs,
  Effect.andThen(open, JobsSql.make)
)
