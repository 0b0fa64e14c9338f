/**
 * The contract of the state of a mirror, for every place where it can be.
 */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, type Layer } from "effect"
import * as MirrorState from "effect-oci/MirrorState"
import { digestOf } from "../utils/digests.ts"
import { tag } from "../utils/images.ts"
import { layerPostgres, layerSqlite, row, run } from "../utils/mirror-states.ts"
import * as Postgres from "../utils/Postgres.ts"

const one = digestOf("one")
const at = (millis: number) => DateTime.makeUnsafe(millis)
const State = MirrorState.MirrorState

/** Runs a test with services `R`. */
type Run<R> = (name: string, test: () => Effect.Effect<void, unknown, R>) => void

const contract = <R>(layer: Layer.Layer<MirrorState.MirrorState, unknown, R>, execute: Run<R>) => {
  const holds = (name: string, test: Effect.Effect<void, unknown, MirrorState.MirrorState>) =>
    execute(name, () => Effect.provide(test, layer))

  holds(
    "keeps every field of a tag",
    Effect.gen(function*() {
      const state = yield* State
      const [begun] = yield* state.begin([row("1")])
      assert.isDefined(begun)
      const full: MirrorState.TagState = {
        ...begun,
        sourceDigest: one,
        destinationDigest: digestOf("two"),
        status: "failed",
        error: "it said \"no\"\nand ended",
        attempts: 3,
        retryAt: at(1_764_000_000_001),
        checkedAt: at(2),
        copiedAt: at(3),
        referrersAt: at(4),
        missing: 2
      }
      assert.deepStrictEqual(yield* state.record([full]), [])
      assert.deepStrictEqual(yield* state.tags("two.local/app"), [full])
      assert.deepStrictEqual(yield* state.tags("two.local/other"), [])
    })
  )

  holds(
    "raises the generation of each tag when a job begins, and returns the rows in order",
    Effect.gen(function*() {
      const state = yield* State
      const first = yield* state.begin([row("b"), row("a")])
      const second = yield* state.begin([row("a"), row("c"), row("b")])
      assert.deepStrictEqual(first.map(({ tag }) => tag), [tag("b"), tag("a")])
      assert.deepStrictEqual(second.map(({ tag }) => tag), [tag("a"), tag("c"), tag("b")])
      const holding = yield* Effect.forEach([...first, ...second], state.holds)
      assert.deepStrictEqual(holding, [false, false, true, true, true])
      assert.deepStrictEqual(yield* state.begin([]), [])
    })
  )

  holds(
    "keeps what is known about a tag when another job begins",
    Effect.gen(function*() {
      const state = yield* State
      const [begun] = yield* state.begin([row("1")])
      assert.isDefined(begun)
      yield* state.record([{ ...begun, status: "copied", sourceDigest: one, destinationDigest: one, copiedAt: at(1) }])
      const [again] = yield* state.begin([row("1", { rule: "others", filterKey: "some" })])
      assert.deepStrictEqual(again, {
        ...begun,
        generation: begun.generation + 1,
        rule: "others",
        filterKey: "some",
        sourceDigest: one,
        destinationDigest: one,
        copiedAt: at(1)
      })
    })
  )

  holds(
    "does not record a tag that another job has begun, and returns its row",
    Effect.gen(function*() {
      const state = yield* State
      const [first] = yield* state.begin([row("1")])
      const [second, other] = yield* state.begin([row("1"), row("2")])
      assert.isDefined(first)
      assert.isDefined(second)
      assert.isDefined(other)
      const lost = yield* state.record([{ ...first, status: "copied" }, { ...other, status: "copied" }])
      assert.deepStrictEqual(lost, [second])
      assert.deepStrictEqual(yield* state.tags("two.local/app"), [second, { ...other, status: "copied" }])
    })
  )

  holds(
    "removes a tag only for the job that holds it",
    Effect.gen(function*() {
      const state = yield* State
      const [first] = yield* state.begin([row("1")])
      const [second] = yield* state.begin([row("1")])
      assert.isDefined(first)
      assert.isDefined(second)
      yield* state.remove(first)
      assert.deepStrictEqual(yield* state.tags("two.local/app"), [second])
      yield* state.remove(second)
      assert.deepStrictEqual(yield* state.tags("two.local/app"), [])
      assert.deepStrictEqual(yield* state.record([second]), [])
      assert.deepStrictEqual(yield* state.tags("two.local/app"), [])
    })
  )

  holds(
    "finds and counts tags by rule and status",
    Effect.gen(function*() {
      const state = yield* State
      const begun = yield* state.begin([
        row("b"),
        row("a"),
        row("c", { rule: "bases" }),
        row("a", { destination: "three.local/app" })
      ])
      yield* state.record(begun.slice(0, 3).map((row) => ({ ...row, status: "copied" })))
      const find = (filter: Parameters<typeof state.find>[0]) =>
        Effect.map(state.find(filter), (rows) => rows.map(({ destination, tag }) => `${destination}:${tag}`))
      assert.deepStrictEqual(yield* find({}), [
        "three.local/app:a",
        "two.local/app:a",
        "two.local/app:b",
        "two.local/app:c"
      ])
      assert.deepStrictEqual(yield* find({ rule: "apps", status: "copied" }), ["two.local/app:a", "two.local/app:b"])
      assert.deepStrictEqual(yield* find({ limit: 1 }), ["three.local/app:a"])
      assert.deepStrictEqual(yield* state.counts, [
        { rule: "apps", status: "copied", tags: 2 },
        { rule: "apps", status: "pending", tags: 1 },
        { rule: "bases", status: "copied", tags: 1 }
      ])
    })
  )

  holds(
    "lets failed tags be tried again",
    Effect.gen(function*() {
      const state = yield* State
      const begun = yield* state.begin([row("1"), row("2", { rule: "bases" }), row("3")])
      const [first, second, third] = begun
      assert.isDefined(first)
      assert.isDefined(second)
      assert.isDefined(third)
      const failed = { status: "failed", error: "no", attempts: 4, retryAt: at(99) } as const
      yield* state.record([{ ...first, ...failed }, { ...second, ...failed }])
      assert.strictEqual(yield* state.retry({ rule: "apps" }), 1)
      assert.deepStrictEqual(yield* state.tags("two.local/app"), [
        { ...first, ...failed, attempts: 0, retryAt: undefined },
        { ...second, ...failed },
        third
      ])
      assert.strictEqual(yield* state.retry({}), 2)
    })
  )

  holds(
    "keeps the last list of each rule and source",
    Effect.gen(function*() {
      const state = yield* State
      const list = { rule: "apps", source: "one.local/app", tags: 7, listedAt: at(5) }
      assert.isUndefined(yield* state.list("apps", "one.local/app"))
      yield* state.recordList(list)
      yield* state.recordList({ ...list, tags: 9 })
      yield* state.recordList({ ...list, rule: "bases" })
      assert.deepStrictEqual(yield* state.list("apps", "one.local/app"), { ...list, tags: 9 })
    })
  )

  holds(
    "lists runs, the latest first, and replaces a run that has ended",
    Effect.gen(function*() {
      const state = yield* State
      const ended = run("a", 1, { endedAt: at(9), slot: at(0), copied: 2, bytes: 3_000_000_000, error: "no list" })
      yield* state.recordRun(run("a", 1))
      yield* state.recordRun(run("b", 2, { rule: "bases" }))
      yield* state.recordRun(run("c", 3))
      yield* state.recordRun(ended)
      assert.deepStrictEqual(yield* state.runs({ limit: 2 }), [run("c", 3), run("b", 2, { rule: "bases" })])
      assert.deepStrictEqual(yield* state.runs({ rule: "apps", limit: 10 }), [run("c", 3), ended])
    })
  )

  execute("keeps only the latest runs of a rule, and the latest dates of images", () =>
    Effect.gen(function*() {
      const state = yield* State
      for (const i of [1, 2, 3, 4]) yield* state.recordRun(run(`${i}`, i))
      yield* state.recordRun(run("other", 0, { rule: "bases" }))
      const ids = (yield* state.runs({ limit: 10 })).map(({ id }) => id)
      assert.deepStrictEqual(ids, ["4", "3", "other"])
      for (const name of ["a", "b", "c"]) yield* state.recordCreated(new Map([[digestOf(name), at(1)]]))
      assert.strictEqual((yield* state.created(["a", "b", "c"].map((name) => digestOf(name)))).size, 2)
    }).pipe(
      Effect.provide(layer),
      Effect.provideService(MirrorState.KeptRuns, 2),
      Effect.provideService(MirrorState.KeptDates, 2)
    ))

  holds(
    "keeps when images were created, and which rules may delete",
    Effect.gen(function*() {
      const state = yield* State
      yield* state.recordCreated(new Map([[one, at(7)], [digestOf("two"), at(8)]]))
      assert.deepStrictEqual(yield* state.created([one, digestOf("three")]), new Map([[one, at(7)]]))
      assert.deepStrictEqual(yield* state.created([]), new Map())
      yield* state.recordCreated(new Map())
      assert.isUndefined(yield* state.confirmedPrune("apps"))
      yield* state.confirmPrune("apps", "gone")
      yield* state.confirmPrune("apps", "unmatched")
      assert.strictEqual(yield* state.confirmedPrune("apps"), "unmatched")
    })
  )

  holds(
    "gives a tag to one of many jobs that begin at the same time",
    Effect.gen(function*() {
      const state = yield* State
      const begun = yield* Effect.forEach(Array.from({ length: 20 }), () => state.begin([row("1"), row("2")]), {
        concurrency: "unbounded"
      })
      const holding = yield* Effect.forEach(begun.flat(), state.holds)
      assert.lengthOf(holding.filter((holds) => holds), 2)
    })
  )
}

describe("MirrorState in memory", () => contract(MirrorState.layerMemory, it.effect))
describe("MirrorState in SQLite", () => contract(layerSqlite, it.effect))
describe.skipIf(!Postgres.available)(
  "MirrorState in PostgreSQL",
  () => it.layer(Postgres.layer, { timeout: "1 minute" })((it) => contract(layerPostgres, it.effect))
)
