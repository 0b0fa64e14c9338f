import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"
import * as MirrorSql from "effect-oci/MirrorSql"
import * as MirrorState from "effect-oci/MirrorState"
import * as NodeSqlite from "effect-oci/NodeSqlite"
import * as SqlClient from "effect/sql/SqlClient"
import * as TestClock from "effect/testing/TestClock"
import * as ChildProcess from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { file, layerFile, row } from "../utils/mirror-states.ts"

const program = fileURLToPath(new URL("../utils/state-writer.ts", import.meta.url))
const execute = promisify(ChildProcess.execFile)

const write = (filename: string, count: number) =>
  Effect.promise(() => execute(process.execPath, ["--conditions=effect-oci:source", program, filename, `${count}`]))

const State = MirrorState.MirrorState

describe("a state in SQLite", () => {
  it.live("is used by several processes at the same time, and loses no change", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const layer = layerFile(filename)
      const before = yield* Effect.provide(State.use((state) => state.begin([row("1")])), layer)
      yield* Effect.all([write(filename, 100), write(filename, 100)], { concurrency: 2 })
      const after = yield* Effect.provide(State.use((state) => state.tags("two.local/app")), layer)
      assert.strictEqual(after[0]?.generation, (before[0]?.generation ?? 0) + 200)
    }).pipe(Effect.scoped))

  it.effect("is kept between programs", () =>
    Effect.gen(function*() {
      const layer = layerFile(yield* file)
      const begun = yield* Effect.provide(State.use((state) => state.begin([row("1")])), layer)
      const found = yield* Effect.provide(State.use((state) => state.tags("two.local/app")), layer)
      assert.deepStrictEqual(found, begun)
    }).pipe(Effect.scoped))

  it.effect("is refused if a newer version has written it", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.provide(State.use((state) => state.counts), layerFile(filename))
      const upgrade = SqlClient.SqlClient.use((sql) =>
        sql`INSERT INTO mirror_migrations ${sql.insert({ migration_id: 99, name: "later" })}`
      )
      yield* Effect.provide(upgrade, NodeSqlite.layer({ filename }))
      const error = yield* Effect.flip(Effect.provide(State.use((state) => state.counts), layerFile(filename)))
      assert.match(
        error.message,
        /^the state of the mirror \(open\): it has version 99, but this program knows versions up to \d+ only$/
      )
    }).pipe(Effect.scoped))

  it.effect("fails in a way that can be tried again while another program holds the lock", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const state = yield* Effect.provide(State, layerFile(filename)).pipe(Effect.as(undefined))
      assert.isUndefined(state)
      const other = NodeSqlite.layer({ filename })
      const held = SqlClient.SqlClient.use((sql) =>
        sql.withTransaction(
          Effect.flip(
            Effect.provide(
              SqlClient.SqlClient.use((sql) => sql`DELETE FROM mirror_tag`),
              NodeSqlite.layer({ filename, busyTimeout: 10 })
            )
          )
        )
      )
      const error = yield* Effect.provide(held, other)
      assert.isTrue(error.isRetryable)
      assert.strictEqual(error.reason._tag, "LockTimeoutError")
    }).pipe(Effect.scoped))
})

describe("MirrorSql.copyState", () => {
  it.effect("may take any time, as a large state does", () =>
    Effect.gen(function*() {
      const slow = Layer.effect(
        SqlClient.SqlClient,
        Effect.map(SqlClient.SqlClient, (sql) =>
          new Proxy(sql, {
            get: (target, name) =>
              name === "withTransaction"
                ? <A, E, R>(effect: Effect.Effect<A, E, R>) =>
                  sql.withTransaction(Effect.andThen(TestClock.adjust("1 minute"), effect))
                : Reflect.get(target, name)
          }))
      ).pipe(Layer.provide(NodeSqlite.layer({ filename: ":memory:" })))
      const counted = yield* Effect.provideService(
        MirrorSql.copyState({ from: slow, to: NodeSqlite.layer({ filename: ":memory:" }) }),
        MirrorState.RetryTime,
        Duration.zero
      )
      assert.deepStrictEqual(counted, { tags: 0, runs: 0, lists: 0, prunes: 0, images: 0 })
    }))
})
