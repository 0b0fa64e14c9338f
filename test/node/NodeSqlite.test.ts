import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import * as NodeSqlite from "effect-oci/NodeSqlite"
import * as SqlClient from "effect/sql/SqlClient"

const inMemory = <A, E>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, E>) =>
  Effect.provide(SqlClient.SqlClient.use(f), NodeSqlite.layer({ filename: ":memory:" }))

const numbers = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, count: number) {
  yield* sql`CREATE TABLE number (n INTEGER PRIMARY KEY)`
  for (let n = 0; n < count; n++) yield* sql`INSERT INTO number ${sql.insert({ n })}`
})

const all = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<{ readonly n: number }>`SELECT n FROM number`, (rows) => rows.map(({ n }) => n))

describe("NodeSqlite", () => {
  it.effect("streams the rows of a statement", () =>
    inMemory(Effect.fnUntraced(function*(sql) {
      yield* numbers(sql, 300)
      const rows = yield* Stream.runCollect(sql<{ readonly n: number }>`SELECT n FROM number ORDER BY n`.stream)
      assert.deepStrictEqual(rows.map(({ n }) => n), Array.from({ length: 300 }, (_, n) => n))
    })))

  it.effect("ends a stream that is not read to its end, so that the table can be changed", () =>
    inMemory(Effect.fnUntraced(function*(sql) {
      yield* numbers(sql, 300)
      yield* Stream.runDrain(Stream.take(sql`SELECT n FROM number`.stream, 1))
      yield* sql`DROP TABLE number`
    })))

  it.effect("rolls back a transaction that fails, and one inside another alone", () =>
    inMemory(Effect.fnUntraced(function*(sql) {
      yield* numbers(sql, 0)
      const insert = (n: number) => sql`INSERT INTO number ${sql.insert({ n })}`
      yield* Effect.exit(sql.withTransaction(Effect.andThen(insert(1), Effect.fail("no"))))
      yield* sql.withTransaction(
        Effect.andThen(insert(2), Effect.exit(sql.withTransaction(Effect.andThen(insert(3), Effect.fail("no")))))
      )
      assert.deepStrictEqual(yield* all(sql), [2])
    })))

  it.effect("says which constraint a statement violates", () =>
    inMemory(Effect.fnUntraced(function*(sql) {
      yield* numbers(sql, 1)
      const error = yield* Effect.flip(sql`INSERT INTO number ${sql.insert({ n: 0 })}`)
      assert.match(error.message, /^SQLite: UNIQUE constraint failed: number\.n/)
      assert.include(["UniqueViolation", "ConstraintError"], error.reason._tag)
      assert.isFalse(error.isRetryable)
    })))

  it.effect("stores booleans, dates, bytes and nothing", () =>
    inMemory(Effect.fnUntraced(function*(sql) {
      const date = new Date(0)
      const [row] = yield* sql.unsafe("SELECT ? AS a, ? AS b, ? AS c, ? AS d", [true, date, new Uint8Array([7]), null])
      assert.deepStrictEqual({ ...row }, { a: 1, b: date.toISOString(), c: new Uint8Array([7]), d: null })
      assert.deepStrictEqual(yield* sql`SELECT 1, 2`.values, [[1, 2]])
    })))

  it.effect("cannot open a file in a folder that does not exist", () =>
    Effect.gen(function*() {
      const layer = NodeSqlite.layer({ filename: "/does/not/exist/mirror.db" })
      const exit = yield* Effect.exit(Effect.provide(SqlClient.SqlClient, layer))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), "unable to open database file")
    }))
})
