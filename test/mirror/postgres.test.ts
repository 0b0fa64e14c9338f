/**
 * The state of a mirror in PostgreSQL: several processes, older and newer ones, and connections that are lost.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Fiber, Layer, Redacted } from "effect"
import * as MirrorState from "effect-oci/MirrorState"
import * as NodePostgres from "effect-oci/NodePostgres"
import * as SqlClient from "effect/sql/SqlClient"
import { digestOf } from "../utils/digests.ts"
import { layerUrl, row, run } from "../utils/mirror-states.ts"
import * as Postgres from "../utils/Postgres.ts"

const State = MirrorState.MirrorState

/** Opens the state in a database, with connections of its own, as another process does. */
const open = (url: string) => Effect.map(Layer.build(Layer.fresh(layerUrl(url))), Context.get(State))

/** URL of an empty database on the server of this file. */
const database = Postgres.Postgres.use(({ database }) => database)

const destinations = ["two.local/B", "two.local/a", "two.local/a-b", "two.local/a/b", "two.local/a_b", "two.local/ab"]

describe.skipIf(!Postgres.available)(
  "a state in PostgreSQL",
  () =>
    it.layer(Postgres.layer, { timeout: "1 minute", excludeTestServices: true })((it) => {
      it.effect("is created by several processes that start at the same time", () =>
        Effect.gen(function*() {
          const url = yield* database
          const states = yield* Effect.all(Array.from({ length: 8 }, () => open(url)), { concurrency: "unbounded" })
          const begun = yield* Effect.forEach(states, (state) => state.begin([row("1")]), { concurrency: "unbounded" })
          const holding = yield* Effect.forEach(begun.flat(), (held) => states[0]?.holds(held) ?? Effect.succeed(false))
          assert.lengthOf(holding.filter((holds) => holds), 1)
        }))

      it.effect("is refused if a newer version has written it, in one sentence", () =>
        Effect.gen(function*() {
          const url = yield* database
          const { execute } = yield* Postgres.Postgres
          yield* Effect.scoped(open(url))
          yield* execute("INSERT INTO mirror_migrations (migration_id, name) VALUES (99, 'later')", url)
          const error = yield* Effect.flip(Effect.scoped(open(url)))
          assert.match(
            error.message,
            /^the state of the mirror \(open\): it has version 99, but this program knows versions up to \d+ only$/
          )
        }))

      it.effect("is used on by a process while a newer version adds columns", () =>
        Effect.gen(function*() {
          const url = yield* database
          const { execute } = yield* Postgres.Postgres
          const state = yield* open(url)
          const before = yield* state.begin([row("1")])
          yield* state.record(before)
          yield* state.recordRun(run("a", 1))
          yield* state.runs({ limit: 1 })
          for (const table of ["mirror_tag", "mirror_run", "mirror_list", "mirror_prune", "mirror_image"]) {
            yield* execute(`ALTER TABLE ${table} ADD COLUMN later TEXT NOT NULL DEFAULT 'x'`, url)
          }
          const after = yield* state.begin([row("1"), row("2")])
          yield* state.record(after)
          yield* state.recordRun(run("b", 2))
          assert.deepStrictEqual(yield* state.tags("two.local/app"), after)
          assert.deepStrictEqual(yield* state.runs({ limit: 2 }), [run("b", 2), run("a", 1)])
        }))

      it.effect("is changed by several processes in any order without a deadlock", () =>
        Effect.gen(function*() {
          const url = yield* database
          const { execute } = yield* Postgres.Postgres
          const states = yield* Effect.all([open(url), open(url), open(url)])
          const names = Array.from({ length: 10 }, (_, i) => `v${i}`)
          const change = Effect.fnUntraced(function*(state: MirrorState.MirrorState["Service"], i: number) {
            const ordered = i % 2 === 0 ? names : names.toReversed()
            const begun = yield* state.begin(ordered.map((name) => row(name)))
            yield* state.record(begun.toReversed().map((tag) => ({ ...tag, status: "failed" })))
            yield* state.retry({})
            yield* state.recordCreated(
              new Map(
                begun.flatMap(({ checkedAt, tag }) =>
                  checkedAt === undefined ? [[digestOf(tag), run("", i).startedAt]] : []
                )
              )
            )
          })
          yield* Effect.forEach(
            states,
            (state) => Effect.forEach(Array.from({ length: 6 }), (_, i) => change(state, i), { concurrency: 4 }),
            { concurrency: "unbounded" }
          )
          const deadlocks = yield* execute(
            `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`,
            url
          )
          assert.strictEqual(deadlocks.trim(), "0")
        }))

      it.effect("stores texts that PostgreSQL refuses, with a replacement", () =>
        Effect.gen(function*() {
          const state = yield* open(yield* database)
          const begun = yield* state.begin([row("1", { rule: "a\0b", filterKey: "\uD800" })])
          yield* state.record(begun.map((tag) => ({ ...tag, status: "failed", error: "\0 no \uDFFF" })))
          yield* state.recordRun(run("a", 1, { rule: "a\0b", error: "\0" }))
          yield* state.confirmPrune("a\0b", "\0")
          const [found] = yield* state.find({ rule: "a\0b" })
          assert.strictEqual(found?.error, "\uFFFD no \uFFFD")
          assert.strictEqual((yield* state.runs({ rule: "a\0b", limit: 1 }))[0]?.error, "\uFFFD")
          assert.strictEqual(yield* state.confirmedPrune("a\0b"), "\uFFFD")
        }))

      it.effect("orders tags and counts as SQLite does", () =>
        Effect.gen(function*() {
          const url = yield* database
          const state = yield* open(url)
          yield* state.begin(
            destinations.toReversed().map((destination, i) =>
              row("1", { destination, rule: ["b", "B", "_", "a"][i % 4] ?? "" })
            )
          )
          const found = yield* state.find({})
          assert.deepStrictEqual(found.map(({ destination }) => destination), destinations)
          assert.deepStrictEqual((yield* state.counts).map(({ rule }) => rule), ["B", "_", "a", "b"])
        }))

      it.effect("goes on after its connections were cut, also during a transaction", () =>
        Effect.gen(function*() {
          const url = yield* database
          const { execute } = yield* Postgres.Postgres
          const state = yield* open(url)
          yield* state.begin([row("1")])
          const cut = execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'effect-oci' " +
              "AND datname = current_database()",
            url
          )
          const many = Array.from({ length: 50 }, (_, i) => row(`v${i}`))
          const change = Effect.flatMap(state.begin(many), state.record)
          const changing = yield* Effect.forkChild(Effect.forEach(Array.from({ length: 20 }), () => change))
          for (let i = 0; i < 5; i++) yield* Effect.andThen(Effect.sleep("50 millis"), cut)
          assert.isTrue((yield* Fiber.join(changing)).every((lost) => lost.length === 0))
          assert.lengthOf(yield* state.tags("two.local/app"), 51)
        }))

      it.effect("waits while the database is stopped, and records what was in flight", () =>
        Effect.gen(function*() {
          const server = yield* Postgres.make
          const state = yield* open(yield* server.database)
          const begun = yield* state.begin([row("1")])
          yield* server.stop("fast")
          const recording = yield* Effect.forkChild(state.record(begun.map((tag) => ({ ...tag, status: "copied" }))))
          const holding = yield* Effect.forkChild(Effect.forEach(begun, state.holds))
          yield* Effect.sleep("1 second")
          yield* server.start
          assert.deepStrictEqual(yield* Fiber.join(recording), [])
          assert.deepStrictEqual(yield* Fiber.join(holding), [true])
          yield* server.restart("immediate")
          assert.strictEqual((yield* state.tags("two.local/app"))[0]?.status, "copied")
        }))

      it.effect("fails in a way that can be tried again if the database stays away", () =>
        Effect.gen(function*() {
          const server = yield* Postgres.make
          const state = yield* open(yield* server.database)
          yield* server.stop("immediate")
          const error = yield* Effect.flip(Effect.provideService(state.counts, MirrorState.RetryTime, Duration.zero))
          assert.isTrue(error.isRetryable)
          assert.match(
            error.message,
            /^the state of the mirror \(counts\): PostgreSQL: Failed to connect: .*ECONNREFUSED/
          )
        }))

      it.effect("says why it cannot be opened, and does not show the password", () =>
        Effect.gen(function*() {
          const url = yield* database
          const failing = (url: string) =>
            Effect.map(Effect.flip(Effect.scoped(open(url))), (error) => {
              assert.notInclude(`${error} ${JSON.stringify(error)}`, Postgres.password)
              return error.message
            })
          assert.include(yield* failing(url.replace(Postgres.password, "other")), "password authentication failed")
          assert.include(yield* failing(url.replace(/[^/]*$/, "absent")), "database \"absent\" does not exist")
          assert.include(yield* failing(`${url}?sslmode=require`), "Server refused TLS")
          assert.include(yield* failing(`${url}?max_connections=0`), "max_connections must be a number from 1 to 1000")
          assert.include(yield* failing(`${url}?sslrootcert=/does/not/exist.pem`), "cannot read the certificates")
          assert.include(
            yield* failing(`postgres://mirror:${Postgres.password}/#@127.0.0.1/mirror`),
            "special characters in a password have to be percent-encoded"
          )
        }))

      it.effect("opens at most the number of connections that the URL names", () =>
        Effect.gen(function*() {
          const url = yield* database
          const { execute } = yield* Postgres.Postgres
          const state = yield* open(`${url}?max_connections=3`)
          const peak = execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'effect-oci' " +
              "AND datname = current_database()",
            url
          )
          yield* Effect.forEach(Array.from({ length: 60 }), (_, i) => state.begin([row(`v${i}`)]), {
            concurrency: "unbounded"
          })
          assert.strictEqual((yield* peak).trim(), "3")
        }))

      it.effect("lets others change a tag after a process was frozen during a transaction", () =>
        Effect.gen(function*() {
          const url = yield* database
          const frozen = Context.get(
            yield* Layer.build(NodePostgres.layer({ url: Redacted.make(url) })),
            SqlClient.SqlClient
          )
          const [limit] = yield* frozen`SHOW idle_in_transaction_session_timeout`
          assert.deepStrictEqual(limit, { idle_in_transaction_session_timeout: "10s" })
        }))

      it.effect("uses no state of a session if PgBouncer pools its connections", () =>
        Effect.gen(function*() {
          const url = yield* database
          const { execute } = yield* Postgres.Postgres
          const state = yield* open(`${url}?pgbouncer=true&max_connections=1`)
          yield* state.record(yield* state.begin([row("1")]))
          const sql = Context.get(
            yield* Layer.build(NodePostgres.layer({ url: Redacted.make(`${url}?pgbouncer=true&max_connections=1`) })),
            SqlClient.SqlClient
          )
          assert.deepStrictEqual(yield* sql`SHOW statement_timeout`, [{ statement_timeout: "0" }])
          assert.deepStrictEqual(yield* sql`SELECT name FROM pg_prepared_statements`, [])
          assert.strictEqual(
            (yield* execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", url)).trim(),
            "0"
          )
        }))
    })
)
