/**
 * A `SqlClient` over the SQLite that Node contains.
 *
 * Statements run on one connection, one after another, and block the process while they run. Several processes may use
 * one file: transactions take the write lock when they begin, so that they never fail halfway because of another one.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

/**
 * Options of {@link layer}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Path of the file, which is created if it does not exist, or `:memory:`. */
  readonly filename: string
  /** Time for which a statement waits for the lock of another process. Default: 5 seconds. */
  readonly busyTimeout?: Duration.Input | undefined
}

// number of prepared statements that are kept
const maximumPrepared = 200

/** Converts an exception of SQLite. */
const failed = (operation: string) => (cause: unknown): SqlError => {
  // Node has the number of the error in `errcode`; `classifySqliteError` expects it in `errno`
  if (cause instanceof Error && hasProperty(cause, "errcode")) Object.assign(cause, { errno: cause.errcode })
  const message = `SQLite: ${cause instanceof Error ? cause.message : String(cause)}`
  return new SqlError({ reason: classifySqliteError(cause, { message, operation }) })
}

const attempt = <A>(operation: string, run: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({ try: run, catch: failed(operation) })

/** Opens a file, and closes it with the scope. */
const open = ({ busyTimeout = "5 seconds", filename }: Options): Effect.Effect<DatabaseSync, SqlError, Scope.Scope> =>
  Effect.gen(function*() {
    // loaded when it is needed, because other runtimes lack it
    const { DatabaseSync } = yield* Effect.tryPromise({ try: () => import("node:sqlite"), catch: failed("load") })
    const database = yield* Effect.acquireRelease(
      attempt("open", () => new DatabaseSync(filename)),
      (database) => Effect.sync(() => database.close())
    )
    const timeout = Math.round(Duration.toMillis(Duration.fromInputUnsafe(busyTimeout)))
    yield* attempt("open", () => {
      database.exec(`PRAGMA busy_timeout = ${timeout}`)
      database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
    })
    return database
  })

/** Converts a parameter to a type that SQLite has. */
const toInput = (value: unknown): SQLInputValue => {
  switch (typeof value) {
    case "boolean":
      return value ? 1 : 0
    case "number":
    case "bigint":
    case "string":
      return value
  }
  if (value === null || value === undefined) return null
  if (value instanceof Uint8Array) return value
  return value instanceof Date ? value.toISOString() : String(value)
}

type Transform = Parameters<Connection["execute"]>[2]

const transformed = <A>(rows: ReadonlyArray<A>, transform: Transform): ReadonlyArray<unknown> =>
  // rows of SQLite are objects
  transform === undefined ? rows : transform(rows as ReadonlyArray<A & object>)

// number of rows that a stream reads at a time
const chunk = 128

/** Streams the rows of a statement, which is ended with the scope of the stream. */
const rowsOf = (statement: StatementSync, params: ReadonlyArray<unknown>, transform: Transform) =>
  Stream.unwrap(Effect.gen(function*() {
    const iterator = yield* Effect.acquireRelease(
      attempt("stream", () => statement.iterate(...params.map(toInput))),
      (iterator) => Effect.sync(() => iterator.return?.())
    )
    const next = attempt("stream", () => {
      const rows: Array<unknown> = []
      let isLast = false
      while (rows.length < chunk && !isLast) {
        const { done = false, value } = iterator.next()
        if (!done) rows.push(value)
        isLast = done
      }
      return [transformed(rows, transform), isLast ? Option.none<void>() : Option.some<void>(undefined)] as const
    })
    return Stream.paginate(undefined, () => next)
  }))

/** Creates the connection of a database. */
const connect = (database: DatabaseSync): Connection => {
  const prepared = new Map<string, StatementSync>()
  const prepare = (sql: string, isKept: boolean): StatementSync => {
    const statement = prepared.get(sql) ?? database.prepare(sql)
    if (isKept && !prepared.has(sql)) {
      const [oldest] = prepared.keys()
      if (prepared.size >= maximumPrepared && oldest !== undefined) prepared.delete(oldest)
      prepared.set(sql, statement)
    }
    return statement
  }
  const run = (
    sql: string,
    params: ReadonlyArray<unknown>,
    how: { readonly isKept: boolean; readonly isArray: boolean }
  ) =>
    Effect.flatMap(SqlClient.SafeIntegers, (isBigInt) =>
      attempt("execute", () => {
        const statement = prepare(sql, how.isKept)
        statement.setReadBigInts(isBigInt)
        statement.setReturnArrays(how.isArray)
        if (statement.columns().length > 0) return statement.all(...params.map(toInput))
        return statement.run(...params.map(toInput))
      }))
  const rows = (sql: string, params: ReadonlyArray<unknown>, isKept: boolean, transform: Transform) =>
    Effect.map(
      run(sql, params, { isKept, isArray: false }),
      (result) => Array.isArray(result) ? transformed(result, transform) : []
    )
  const values = (sql: string, params: ReadonlyArray<unknown>, isKept: boolean) =>
    Effect.map(
      run(sql, params, { isKept, isArray: true }),
      // with `setReturnArrays`, rows are arrays
      (result) => Array.isArray(result) ? result as unknown as ReadonlyArray<ReadonlyArray<unknown>> : []
    )
  return {
    execute: (sql, params, transform) => rows(sql, params, true, transform),
    executeRaw: (sql, params) => run(sql, params, { isKept: true, isArray: false }),
    executeValues: (sql, params) => values(sql, params, true),
    executeValuesUnprepared: (sql, params) => values(sql, params, false),
    executeUnprepared: (sql, params, transform) => rows(sql, params, false, transform),
    executeStream: (sql, params, transform) =>
      Stream.unwrap(
        Effect.flatMap(SqlClient.SafeIntegers, (isBigInt) =>
          attempt("stream", () => {
            // a statement of its own, because another use of a kept one would end the stream
            const statement = database.prepare(sql)
            statement.setReadBigInts(isBigInt)
            return rowsOf(statement, params, transform)
          }))
      )
  }
}

/**
 * Provides a SQL client for a file of SQLite, in WAL mode. The file is closed with the layer.
 *
 * **Example** (A table in memory)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as SqlClient from "effect/sql/SqlClient"
 * import * as NodeSqlite from "effect-oci/NodeSqlite"
 *
 * const program = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   yield* sql`CREATE TABLE image (name TEXT)`
 *   yield* sql`INSERT INTO image ${sql.insert({ name: "alpine" })}`
 *   const rows = yield* sql<{ readonly name: string }>`SELECT name FROM image`
 *   return rows.map(({ name }) => name)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, NodeSqlite.layer({ filename: ":memory:" }))) // => ["alpine"]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(
    SqlClient.SqlClient,
    Effect.gen(function*() {
      const database = yield* open(options)
      const acquirers = SqlClient.makeSqliteAcquirers({
        connection: Effect.succeed(connect(database)),
        semaphore: Semaphore.makeUnsafe(1),
        isTransaction: () => database.isTransaction
      })
      return yield* SqlClient.make({
        ...acquirers,
        compiler: Statement.makeCompilerSqlite(),
        driver: "node:sqlite",
        beginTransaction: "BEGIN IMMEDIATE",
        releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
        spanAttributes: [["db.system.name", "sqlite"]]
      })
    })
  ).pipe(Layer.provide(Reactivity.layer))
