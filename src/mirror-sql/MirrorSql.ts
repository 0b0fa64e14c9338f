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
import * as Order from "effect/Order"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { MirrorJobs } from "../mirror/MirrorJobs.ts"
import type { MirrorRates } from "../mirror/MirrorRates.ts"
import { KeptDates, KeptRuns, MirrorState } from "../mirror/MirrorState.ts"
import type { MirrorStateError, TagKey } from "../mirror/MirrorState.ts"
import * as JobsSql from "./JobsSql.ts"
import * as Rates from "./Rates.ts"
import * as Rows from "./Rows.ts"
import * as StateCopy from "./StateCopy.ts"
import { migrate } from "./Store.ts"
import { attempt } from "./StoreAccess.ts"

type Service = MirrorState["Service"]

// number of rows in one statement, because a statement of SQLite has at most 32,766 parameters
const batch = 500

const tags = Rows.decoder(Rows.TagRow)

/** Orders tags as all processes lock their rows, so that no two of them wait for each other. */
const byKey = Order.Struct({ destination: Order.String, tag: Order.String })

const keyOf = ({ destination, tag }: TagKey): string => `${destination} ${tag}`

type Begun = Parameters<Service["begin"]>[0][number]
type Tags = Pick<Service, "tags" | "find" | "counts" | "begin" | "holds" | "record" | "remove" | "retry">

const makeTags = (sql: SqlClient.SqlClient): Tags => {
  const columns = sql.literal(Rows.columns(Rows.TagRow))
  // SQLite locks the whole file
  const locked = sql.literal(sql.onDialectOrElse({ pg: () => "FOR UPDATE", orElse: () => "" }))
  const filters = (filter: { readonly rule?: string | undefined; readonly status?: string | undefined }) =>
    sql.and([
      // a condition that always holds, because a list of conditions must not be empty
      sql`1 = 1`,
      ...filter.rule === undefined ? [] : [sql`rule = ${Rows.text(filter.rule)}`],
      ...filter.status === undefined ? [] : [sql`status = ${filter.status}`]
    ])
  const begin = Effect.fnUntraced(function*(values: Arr.NonEmptyReadonlyArray<Begun>, now: number) {
    const rows = Arr.map(values, (tag) => Rows.fromTag({ ...tag, generation: now, status: "pending" }))
    const begun = yield* tags(sql`INSERT INTO mirror_tag ${sql.insert(rows)}
      ON CONFLICT (destination, tag) DO UPDATE SET
        generation = mirror_tag.generation + 1, status = 'pending', rule = excluded.rule, source = excluded.source,
        source_tag = excluded.source_tag, filter_key = excluded.filter_key
      RETURNING ${columns}`)
    return begun.map(Rows.toTag)
  })
  const record = Effect.fnUntraced(function*(tag: Parameters<Service["record"]>[0][number]) {
    const { destination, generation, tag: name, ...rest } = Rows.fromTag(tag)
    const recorded = yield* sql`UPDATE mirror_tag SET ${sql.update(rest)}
      WHERE destination = ${destination} AND tag = ${name} AND generation = ${generation} RETURNING generation`
    if (recorded.length > 0) return []
    return yield* tags(sql`SELECT ${columns} FROM mirror_tag WHERE destination = ${destination} AND tag = ${name}`)
  })
  return {
    tags: (destination) =>
      tags(sql`SELECT ${columns} FROM mirror_tag WHERE destination = ${destination} ORDER BY tag`).pipe(
        Effect.map((rows) => rows.map(Rows.toTag)),
        attempt("tags")
      ),
    find: (filter) =>
      tags(sql`SELECT ${columns} FROM mirror_tag WHERE ${filters(filter)} ORDER BY destination, tag
        LIMIT ${filter.limit ?? 1000}`).pipe(
        Effect.map((rows) => rows.map(Rows.toTag)),
        attempt("find")
      ),
    counts: Rows.decoder(Rows.CountRow)(
      sql`SELECT rule, status, count(*) AS tags FROM mirror_tag GROUP BY rule, status ORDER BY rule, status`
    ).pipe(attempt("counts")),
    begin: (values) =>
      Clock.currentTimeMillis.pipe(
        Effect.flatMap((now) =>
          Effect.forEach(Arr.chunksOf(Arr.sort(values, byKey), batch), (values) => begin(values, now))
        ),
        Effect.map((begun) => {
          // the order of returned rows is not defined
          const rows = new Map(begun.flat().map((row) => [keyOf(row), row]))
          return values.flatMap((value) => rows.get(keyOf(value)) ?? [])
        }),
        sql.withTransaction,
        attempt("begin")
      ),
    holds: ({ destination, generation, tag }) =>
      sql`SELECT 1 FROM mirror_tag
        WHERE destination = ${destination} AND tag = ${tag} AND generation = ${generation}`.pipe(
        Effect.map((rows) => rows.length > 0),
        attempt("holds")
      ),
    record: (values) =>
      values.length === 0 ? Effect.succeed([]) : Effect.forEach(Arr.sort(values, byKey), record).pipe(
        Effect.map((lost) => lost.flat().map(Rows.toTag)),
        sql.withTransaction,
        attempt("record")
      ),
    remove: ({ destination, generation, tag }) =>
      sql`DELETE FROM mirror_tag
        WHERE destination = ${destination} AND tag = ${tag} AND generation = ${generation}`.pipe(
        Effect.asVoid,
        attempt("remove")
      ),
    retry: ({ rule }) =>
      sql`UPDATE mirror_tag SET attempts = 0, retry_at = NULL
        WHERE (destination, tag) IN (
          SELECT destination, tag FROM mirror_tag WHERE ${filters({ rule, status: "failed" })}
          ORDER BY destination, tag ${locked})
        RETURNING tag`.pipe(
        Effect.map((rows) => rows.length),
        attempt("retry")
      )
  }
}

type Runs = Pick<Service, "list" | "recordList" | "recordRun" | "runs">

/** Returns the assignments of the new values to the columns of a row that exists. */
const excluded = (sql: SqlClient.SqlClient, fields: Readonly<Record<string, unknown>>) =>
  sql.csv(Object.keys(fields).map((name) => sql`${sql(name)} = excluded.${sql(name)}`))

/** Returns what lets a deletion of old rows leave those that another process uses. SQLite locks the whole file. */
const skipLocked = (sql: SqlClient.SqlClient) =>
  sql.literal(sql.onDialectOrElse({ pg: () => "FOR UPDATE SKIP LOCKED", orElse: () => "" }))

const makeRuns = (sql: SqlClient.SqlClient, kept: number): Runs => {
  const runs = Rows.decoder(Rows.RunRow)
  const lists = Rows.decoder(Rows.ListRow)
  const runColumns = sql.literal(Rows.columns(Rows.RunRow))
  const listColumns = sql.literal(Rows.columns(Rows.ListRow))
  return {
    list: (rule, source) =>
      lists(sql`SELECT ${listColumns} FROM mirror_list
        WHERE rule = ${Rows.text(rule)} AND source = ${Rows.text(source)}`).pipe(
        Effect.map(([row]) => row === undefined ? undefined : Rows.toList(row)),
        attempt("list")
      ),
    recordList: ({ listedAt, rule, source, tags }) =>
      sql`INSERT INTO mirror_list ${sql.insert(Rows.storable({ rule, source, tags, listed_at: Rows.toTime(listedAt) }))}
        ON CONFLICT (rule, source) DO UPDATE SET tags = excluded.tags, listed_at = excluded.listed_at`.pipe(
        Effect.asVoid,
        attempt("recordList")
      ),
    recordRun: (run) =>
      Effect.gen(function*() {
        const { id, ...fields } = Rows.fromRun(run)
        yield* sql`INSERT INTO mirror_run ${sql.insert({ id, ...fields })}
          ON CONFLICT (id) DO UPDATE SET ${excluded(sql, fields)}`
        yield* sql`DELETE FROM mirror_run WHERE id IN (
          SELECT id FROM mirror_run WHERE rule = ${fields.rule}
          ORDER BY started_at DESC, id DESC LIMIT ${kept} OFFSET ${kept} ${skipLocked(sql)})`
      }).pipe(sql.withTransaction, attempt("recordRun")),
    runs: ({ limit, rule }) =>
      runs(sql`SELECT ${runColumns} FROM mirror_run
        WHERE ${rule === undefined ? sql`1 = 1` : sql`rule = ${Rows.text(rule)}`}
        ORDER BY started_at DESC, id DESC LIMIT ${limit}`).pipe(
        Effect.map((rows) => rows.map(Rows.toRun)),
        attempt("runs")
      )
  }
}

type Images = Pick<Service, "confirmedPrune" | "confirmPrune" | "created" | "recordCreated">

const makeImages = (sql: SqlClient.SqlClient, kept: number): Images => {
  const images = Rows.decoder(Rows.ImageRow)
  const confirmed = Rows.decoder(Rows.PruneRow)
  return {
    confirmedPrune: (rule) =>
      confirmed(sql`SELECT policy FROM mirror_prune WHERE rule = ${Rows.text(rule)}`).pipe(
        Effect.map(([row]) => row?.policy),
        attempt("confirmedPrune")
      ),
    confirmPrune: (rule, policy) =>
      sql`INSERT INTO mirror_prune ${sql.insert(Rows.storable({ rule, policy }))}
        ON CONFLICT (rule) DO UPDATE SET policy = excluded.policy`.pipe(Effect.asVoid, attempt("confirmPrune")),
    created: (digests) =>
      Effect.forEach(
        Arr.chunksOf(digests, batch),
        (digests) => images(sql`SELECT digest, created_at FROM mirror_image WHERE ${sql.in("digest", digests)}`)
      ).pipe(
        Effect.map((rows) => new Map(rows.flat().map(({ created_at, digest }) => [digest, Rows.fromTime(created_at)]))),
        attempt("created")
      ),
    recordCreated: (dates) =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const rows = Arr.sortWith(
          Array.from(dates, ([digest, date]) => ({ digest, created_at: Rows.toTime(date), recorded_at: now })),
          ({ digest }) => digest,
          Order.String
        )
        for (const some of Arr.chunksOf(rows, batch)) {
          yield* sql`INSERT INTO mirror_image ${sql.insert(some)}
            ON CONFLICT (digest) DO UPDATE SET recorded_at = excluded.recorded_at`
        }
        yield* sql`DELETE FROM mirror_image WHERE digest IN (
          SELECT digest FROM mirror_image ORDER BY recorded_at DESC, digest LIMIT ${kept} OFFSET ${kept}
          ${skipLocked(sql)})`
      }).pipe(sql.withTransaction, attempt("recordCreated"))
  }
}

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
    yield* migrate
    return MirrorState.of({
      ...makeTags(sql),
      ...makeRuns(sql, yield* KeptRuns),
      ...makeImages(sql, yield* KeptDates)
    })
  })
)

/**
 * Provides rates and budgets that all processes with the same database share. Creates its tables, as {@link layer}
 * does.
 *
 * **Example** (Processes with one file)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import { MirrorRates } from "effect-oci/MirrorRates"
 * import * as MirrorSql from "effect-oci/MirrorSql"
 * import * as NodeSqlite from "effect-oci/NodeSqlite"
 *
 * const layer = MirrorSql.layerRates.pipe(Layer.provide(NodeSqlite.layer({ filename: ":memory:" })))
 *
 * const program = MirrorRates.use((rates) => rates.processes)
 *
 * await Effect.runPromise(Effect.provide(program, layer)) // => 1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerRates: Layer.Layer<MirrorRates, MirrorStateError, SqlClient.SqlClient> = Rates.layer

export type { CopiedState } from "./StateCopy.ts"

/**
 * Copies the state of one database to another, for example from a file of SQLite to PostgreSQL. The destination has to
 * be empty, or to have the same rows, such as after a copy that was interrupted. All rows are compared afterwards; if
 * one differs, nothing is copied. Rates and budgets are not copied. No process may use either database meanwhile.
 *
 * **Example** (From one file to another)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MirrorSql from "effect-oci/MirrorSql"
 * import * as NodeSqlite from "effect-oci/NodeSqlite"
 *
 * const copying = MirrorSql.copyState({
 *   from: NodeSqlite.layer({ filename: ":memory:" }),
 *   to: NodeSqlite.layer({ filename: ":memory:" })
 * })
 *
 * await Effect.runPromise(copying) // => { tags: 0, runs: 0, lists: 0, prunes: 0, images: 0 }
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const copyState: (databases: {
  readonly from: Layer.Layer<SqlClient.SqlClient, SqlError>
  readonly to: Layer.Layer<SqlClient.SqlClient, SqlError>
}) => Effect.Effect<StateCopy.CopiedState, MirrorStateError> = StateCopy.copy

/**
 * Provides the jobs of a mirror in the database of the program, so that several processes keep it together. Creates its
 * tables, as {@link layer} does.
 *
 * **Example** (Jobs in SQLite)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as MirrorJobs from "effect-oci/MirrorJobs"
 * import * as MirrorSql from "effect-oci/MirrorSql"
 * import * as NodeSqlite from "effect-oci/NodeSqlite"
 *
 * const layer = MirrorSql.layerJobs.pipe(Layer.provide(NodeSqlite.layer({ filename: ":memory:" })))
 *
 * const program = MirrorJobs.MirrorJobs.use((jobs) => jobs.find({ isOpen: true }))
 *
 * await Effect.runPromise(Effect.provide(program, layer)) // => []
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerJobs: Layer.Layer<MirrorJobs, MirrorStateError, SqlClient.SqlClient> = Layer.effect(
  MirrorJobs,
  Effect.andThen(migrate, JobsSql.make)
)
