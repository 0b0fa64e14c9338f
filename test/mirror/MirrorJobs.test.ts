import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Fiber, Layer, Schedule, type Scope } from "effect"
import * as MirrorJobs from "effect-oci/MirrorJobs"
import * as SqlClient from "effect/sql/SqlClient"
import { file, layerClient, layerJobs } from "../utils/mirror-states.ts"
import * as Postgres from "../utils/Postgres.ts"

type Jobs = MirrorJobs.MirrorJobs["Service"]

/** Intervals that a test can wait for. SQLite has whole seconds. */
const quick = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.provideService(MirrorJobs.PollInterval, Duration.millis(20)),
    Effect.provideService(MirrorJobs.RefreshInterval, Duration.millis(300)),
    Effect.provideService(MirrorJobs.LockExpiration, Duration.seconds(1)),
    Effect.provideService(MirrorJobs.RetryInterval, Duration.seconds(3))
  )

const build = (layer: Layer.Layer<MirrorJobs.MirrorJobs, unknown>): Effect.Effect<Jobs, never, Scope.Scope> =>
  Effect.orDie(quick(Effect.map(Layer.build(layer), Context.get(MirrorJobs.MirrorJobs))))

interface Opened {
  /** Opens the store once more, as another process does. */
  readonly open: Effect.Effect<Jobs, never, Scope.Scope>
  /** Database of the store. It has none in memory. */
  readonly url: string
}

/** Creates an empty store. */
class Store extends Context.Service<Store, {
  readonly make: Effect.Effect<Opened, never, Scope.Scope>
}>()("effect-oci/test/Store") {}

const memory = Layer.succeed(Store, {
  make: Effect.map(build(MirrorJobs.layerMemory), (jobs) => ({ open: Effect.succeed(jobs), url: "" }))
})

const opened = (url: string): Opened => ({ open: build(layerJobs(url)), url })

const sqlite = Layer.succeed(Store, { make: Effect.orDie(Effect.map(file, opened)) })

const postgres = Layer.effect(
  Store,
  Postgres.Postgres.use(({ database }) => Effect.succeed({ make: Effect.map(database, opened) }))
).pipe(Layer.provide(Postgres.layer))

const run = (id: string, rule = "apps") => ({ id, job: { _tag: "Run", rule, selection: "all" } }) as const
const copy = (id: string, ofRun: string) =>
  ({
    id,
    job: {
      _tag: "Copy",
      rule: "apps",
      run: ofRun,
      settings: "1",
      source: "one.local/app",
      selection: "all",
      tags: []
    }
  }) as const

const idsOf = (jobs: ReadonlyArray<MirrorJobs.JobState>) => jobs.map(({ id }) => id)

/** Takes jobs until there are none for two seconds, and returns their ids. */
const drain = Effect.fnUntraced(function*(jobs: Jobs, kind: MirrorJobs.Job["_tag"]) {
  const taken: Array<string> = []
  for (;;) {
    const job = yield* Effect.timeoutOption(jobs.take(kind, Effect.succeed), "2 seconds")
    if (job._tag === "None") return taken
    taken.push(job.value.id)
  }
})

type Test = (jobs: Jobs, open: Opened["open"], url: string) => Effect.Effect<void, unknown, Scope.Scope>

/** Tests that hold for every store. */
const contract: Record<string, Test> = {}

/** Tests that hold for stores outside the process. */
const persistent: Record<string, Test> = {}

contract["are run once, each by one of the processes"] = (one, open) =>
  Effect.gen(function*() {
    const two = yield* open
    const ids = Array.from({ length: 50 }, (_, index) => `job ${index}`)
    assert.sameMembers(Array.from(yield* one.offer(ids.map((id) => run(id)))), ids)
    assert.deepStrictEqual(yield* two.offer(ids.map((id) => run(id))), [])
    const taken = yield* Effect.all([drain(one, "Run"), drain(two, "Run")], { concurrency: 2 })
    assert.sameMembers(taken.flat(), ids)
    assert.deepStrictEqual(yield* one.offer([run("job 1")]), [])
  })

contract["are taken as they were offered"] = (jobs) =>
  Effect.gen(function*() {
    const offered = copy("1", "r")
    yield* jobs.offer([offered])
    assert.deepStrictEqual(yield* jobs.take("Copy", Effect.succeed), { ...offered, isRepeated: false })
  })

contract["can be taken again at once after an interruption, and later after a failure"] = (jobs, open) =>
  Effect.gen(function*() {
    yield* jobs.offer([run("1")])
    const started = yield* Deferred.make<void>()
    const fiber = yield* Effect.forkChild(
      jobs.take("Run", () => Effect.andThen(Deferred.succeed(started, undefined), Effect.never))
    )
    yield* Deferred.await(started)
    yield* Fiber.interrupt(fiber)
    const other = yield* open
    const before = Date.now()
    const error = yield* Effect.flip(other.take("Run", () => Effect.fail("no")))
    assert.strictEqual(error, "no")
    assert.isBelow(Date.now() - before, 2000)
    const repeated = yield* jobs.take("Run", ({ isRepeated }) => Effect.succeed(isRepeated))
    assert.isTrue(repeated)
    assert.isAtLeast(Date.now() - before, 1900)
  })

contract["of one rule begin one after another"] = (jobs) =>
  Effect.gen(function*() {
    yield* jobs.offer([run("1"), run("2"), run("3", "other")])
    assert.strictEqual(yield* jobs.begin("1"), "begun")
    assert.strictEqual(yield* jobs.begin("1"), "begun")
    assert.deepStrictEqual([yield* jobs.begin("2"), yield* jobs.begin("3")], ["busy", "begun"])
    yield* jobs.end("1")
    assert.deepStrictEqual([yield* jobs.begin("1"), yield* jobs.begin("2")], ["ended", "begun"])
    assert.strictEqual(yield* jobs.begin("unknown"), "ended")
  })

contract["are found by what they are"] = (jobs) =>
  Effect.gen(function*() {
    yield* jobs.offer([run("1"), run("2", "other"), copy("a", "1"), copy("b", "1"), copy("c", "2")])
    yield* jobs.end("a", "the result")
    assert.deepStrictEqual(idsOf(yield* jobs.find({ kind: "Run" })).sort(), ["1", "2"])
    assert.deepStrictEqual(idsOf(yield* jobs.find({ kind: "Run", rule: "other" })), ["2"])
    assert.deepStrictEqual(idsOf(yield* jobs.find({ run: "1", isOpen: true })), ["b"])
    assert.deepStrictEqual(idsOf(yield* jobs.find({ ids: [] })), [])
    const [ended] = yield* jobs.find({ ids: ["a"], isOpen: false })
    assert.deepStrictEqual([ended?.result, ended?.job], ["the result", copy("a", "1").job])
    // the copies of a run are forgotten with its end
    yield* jobs.end("1")
    assert.deepStrictEqual(idsOf(yield* jobs.find({ kind: "Copy" })), ["c"])
  })

contract["have any text as their id"] = (jobs) =>
  Effect.gen(function*() {
    const id = `${"ä".repeat(300)}'"\\`
    assert.deepStrictEqual(yield* jobs.offer([run(id, id)]), [id])
    assert.deepStrictEqual(yield* drain(jobs, "Run"), [id])
    assert.strictEqual(yield* jobs.begin(id), "begun")
  })

contract["are held by processes, which can be late and can drain"] = (jobs, open) =>
  Effect.gen(function*() {
    const other = yield* open
    const activity = { planned: 3, copied: 1, failed: 0, pruned: 0, bytes: 5, copies: [] }
    const since = (yield* Effect.succeed(yield* jobs.find({}))).length
    assert.strictEqual(since, 0)
    const [found] = [yield* jobs.report({ name: "p", version: "1", holds: [] }), yield* jobs.processes]
    assert.isFalse(found)
    const startedAt = (yield* jobs.processes)[0]?.startedAt
    if (startedAt === undefined) return assert.fail("the process is unknown")
    const holding = {
      id: "1",
      kind: "Copy",
      rule: "apps",
      source: "one.local/app",
      since: startedAt,
      activity
    } as const
    yield* jobs.report({ name: "p", version: "1", holds: [holding] })
    const [seen] = yield* other.processes
    assert.deepInclude(seen, { name: "p", version: "1", startedAt, isLate: false, isDraining: false, holds: [holding] })
    yield* Effect.sleep("700 millis")
    assert.isTrue((yield* other.processes)[0]?.isLate)
    assert.deepStrictEqual([yield* other.drain("p"), yield* other.drain("q")], [true, false])
    assert.isTrue(yield* jobs.report({ name: "p", version: "1", holds: [] }))
    yield* jobs.leave("p")
    assert.deepStrictEqual(yield* other.processes, [])
  })

persistent["are kept by a process that runs them for longer than the lock lasts"] = (one, open) =>
  Effect.gen(function*() {
    const two = yield* open
    yield* one.offer([run("1")])
    const fiber = yield* Effect.forkChild(one.take("Run", () => Effect.sleep("3 seconds")))
    yield* Effect.sleep("100 millis")
    const taken = yield* Effect.timeoutOption(two.take("Run", Effect.succeed), "3500 millis")
    assert.isTrue(taken._tag === "None")
    yield* Fiber.join(fiber)
  })

persistent["are forgotten a day after their end, as processes are a day after their last report"] = (jobs, open, url) =>
  Effect.gen(function*() {
    const names = ["a day ago", "less than a day ago"]
    yield* jobs.offer(["open", ...names].map((id) => run(id)))
    for (const name of names) {
      yield* jobs.end(name)
      yield* jobs.report({ name, version: "1", holds: [] })
    }
    const makeOlder = SqlClient.SqlClient.use((sql) =>
      Effect.forEach(
        [["open", 90_000_000], ["a day ago", 86_400_001], ["less than a day ago", 86_000_000]],
        ([id, age]) =>
          Effect.andThen(
            sql`UPDATE mirror_job SET offered_at = offered_at - ${age}, ended_at = ended_at - ${age} WHERE id = ${id}`,
            sql`UPDATE mirror_process SET seen_at = seen_at - ${age} WHERE name = ${id}`
          )
      )
    )
    yield* Effect.provide(makeOlder, layerClient(url))
    const other = yield* open
    const processes = yield* Effect.repeat(other.processes, {
      until: ({ length }) => length < names.length,
      schedule: Schedule.spaced("20 millis")
    })
    assert.deepStrictEqual(processes.map(({ name }) => name), ["less than a day ago"])
    assert.sameMembers(idsOf(yield* other.find({})), ["open", "less than a day ago"])
  })

const suite = (name: string, layer: Layer.Layer<Store>, tests: Record<string, Test>) =>
  describe(name, () =>
    it.layer(layer, { timeout: "1 minute", excludeTestServices: true })((it) => {
      for (const [name, test] of Object.entries(tests)) {
        it.effect(name, () =>
          Effect.gen(function*() {
            const { open, url } = yield* Store.use(({ make }) => make)
            yield* test(yield* open, open, url)
          }), 30_000)
      }
    }))

suite("jobs in memory", memory, contract)
suite("jobs in SQLite", sqlite, { ...contract, ...persistent })
if (Postgres.available) suite("jobs in PostgreSQL", postgres, { ...contract, ...persistent })
