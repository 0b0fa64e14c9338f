/**
 * Copies of the state of a mirror from one database to another.
 */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { MirrorStateError } from "../mirror/MirrorState.ts"
import * as Rows from "./Rows.ts"
import { migrate } from "./Store.ts"
import { failure, inTime, retrying } from "./StoreAccess.ts"

/**
 * Number of rows of each kind in a state.
 *
 * @category models
 * @since 0.1.0
 */
export interface CopiedState {
  readonly tags: number
  readonly runs: number
  /** Number of repositories of sources that a rule has listed. */
  readonly lists: number
  /** Number of rules that may delete tags. */
  readonly prunes: number
  /** Number of images whose date of creation is known. */
  readonly images: number
}

interface Table {
  readonly name: string
  readonly keys: ReadonlyArray<string>
  readonly columns: string
  readonly read: (rows: Effect.Effect<unknown, SqlError>) => Effect.Effect<
    ReadonlyArray<Readonly<Record<string, unknown>>>,
    SqlError | Schema.SchemaError
  >
}

const table = <Row extends Schema.Codec<Readonly<Record<string, unknown>>, unknown>>(
  name: string,
  row: Row & { readonly fields: Schema.Struct.Fields },
  keys: ReadonlyArray<string>
): Table => ({
  name,
  keys,
  columns: Rows.columns(row),
  read: Rows.decoder<Readonly<Record<string, unknown>>>(row)
})

const tables: Readonly<Record<keyof CopiedState, Table>> = {
  tags: table("mirror_tag", Rows.TagRow, ["destination", "tag"]),
  runs: table("mirror_run", Rows.RunRow, ["id"]),
  lists: table("mirror_list", Rows.ListRow, ["rule", "source"]),
  prunes: table("mirror_prune", Schema.Struct({ rule: Schema.String, ...Rows.PruneRow.fields }), ["rule"]),
  images: table("mirror_image", Schema.Struct({ ...Rows.ImageRow.fields, recorded_at: Rows.Integer }), ["digest"])
}

type Row = Readonly<Record<string, unknown>>

// a copy of a large state takes any time, but each of its statements does not
const statement = inTime("copy")

// number of rows that are in memory at the same time
const pageSize = 500

/** Reads the rows of a table after a row, in the order of their keys. */
const page = (sql: SqlClient.SqlClient, { columns, keys, name, read }: Table, after: Row | undefined) => {
  const key = sql.literal(keys.join(", "))
  const rest = after === undefined
    ? sql`1 = 1`
    : sql`(${key}) > (${sql.csv(keys.map((name) => sql`${after[name]}`))})`
  return Effect.map(
    statement(read(
      sql`SELECT ${sql.literal(columns)} FROM ${sql(name)} WHERE ${rest}
        ORDER BY ${key} LIMIT ${sql.literal(`${pageSize}`)}`
    )),
    (rows) => rows.map(Rows.storable)
  )
}

/** Copies the rows of a table that the destination lacks. */
const copyTable = Effect.fnUntraced(function*(from: SqlClient.SqlClient, to: SqlClient.SqlClient, table: Table) {
  let last: Row | undefined
  do {
    const rows = yield* page(from, table, last)
    if (Arr.isReadonlyArrayNonEmpty(rows)) {
      yield* statement(to`INSERT INTO ${to(table.name)} ${to.insert(rows)} ON CONFLICT DO NOTHING`)
    }
    last = rows.length < pageSize ? undefined : rows.at(-1)
  } while (last !== undefined)
})

/** Compares the rows of a table. Returns their number. */
const verifyTable = Effect.fnUntraced(function*(from: SqlClient.SqlClient, to: SqlClient.SqlClient, table: Table) {
  let count = 0
  let last: Row | undefined
  do {
    const [rows, copies] = yield* Effect.all([page(from, table, last), page(to, table, last)])
    const other = Array.from({ length: Math.max(rows.length, copies.length) }, (_, i) => i)
      .find((i) => JSON.stringify(rows[i]) !== JSON.stringify(copies[i]))
    if (other !== undefined) {
      const row = copies[other] ?? rows[other] ?? {}
      const key = table.keys.map((key) => String(row[key])).join(" ")
      return yield* new MirrorStateError({
        operation: "copy",
        problem: `the destination has another state: ${table.name} differs at ${JSON.stringify(key)}`,
        isRetryable: false
      })
    }
    count += rows.length
    last = rows.length < pageSize ? undefined : rows.at(-1)
  } while (last !== undefined)
  return count
})

/** Opens a database whose tables are those of this version. */
const open = Effect.fnUntraced(function*(layer: Layer.Layer<SqlClient.SqlClient, SqlError>) {
  const context = yield* Effect.mapError(Layer.build(layer), failure("open"))
  yield* Effect.provideContext(migrate, context)
  return Context.get(context, SqlClient.SqlClient)
})

/** Copies the state of one database to another, in one transaction of the latter. Compares all rows afterwards. */
export const copy = Effect.fnUntraced(function*(
  layers: Readonly<Record<"from" | "to", Layer.Layer<SqlClient.SqlClient, SqlError>>>
) {
  const from = yield* open(layers.from)
  const to = yield* open(layers.to)
  const transaction = Effect.gen(function*() {
    for (const table of Object.values(tables)) yield* copyTable(from, to, table)
    const counted: CopiedState = yield* Effect.all({
      tags: verifyTable(from, to, tables.tags),
      runs: verifyTable(from, to, tables.runs),
      lists: verifyTable(from, to, tables.lists),
      prunes: verifyTable(from, to, tables.prunes),
      images: verifyTable(from, to, tables.images)
    })
    return counted
  })
  return yield* retrying("copy")(from.withTransaction(to.withTransaction(transaction)))
}, Effect.scoped)
