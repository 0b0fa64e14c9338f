/**
 * Measures 10,000 jobs with nothing to do in PostgreSQL: CPU time and transactions of each. Runs the server itself.
 *
 *     node --conditions=effect-oci:source test/bench/jobs.ts [NUMBER]
 */
import { Context, Effect, Fiber, Layer, type Scope } from "effect"
import { MirrorJobs } from "effect-oci/MirrorJobs"
import { layerJobs } from "../utils/mirror-states.ts"
import * as Postgres from "../utils/Postgres.ts"

const count = Number(process.argv[2] ?? 10_000)

// jobs that are offered in one transaction, and jobs that a process takes at the same time
const batch = 50
const takers = 8

const transactions = (url: string) =>
  Effect.gen(function*() {
    const { execute } = yield* Postgres.Postgres
    // the statistics of a connection are written with a delay
    yield* Effect.sleep("2 seconds")
    const query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return Number(yield* execute(query, url))
  })

const program: Effect.Effect<void, unknown, Postgres.Postgres | Scope.Scope> = Effect.gen(function*() {
  const url = yield* Postgres.Postgres.use(({ database }) => database)
  const jobs = Context.get(yield* Layer.build(layerJobs(url)), MirrorJobs)
  const before = yield* transactions(url)
  const cpu = process.cpuUsage()
  const start = performance.now()
  let done = 0
  const taker = Effect.forever(
    jobs.take("Copy", ({ id }) => Effect.andThen(jobs.end(id, "{}"), Effect.sync(() => done++)))
  )
  const fiber = yield* Effect.forkChild(
    Effect.all(Array.from({ length: takers }, () => taker), { concurrency: "unbounded", discard: true })
  )
  for (let first = 0; first < count; first += batch) {
    yield* jobs.offer(Array.from({ length: Math.min(batch, count - first) }, (_, index) => ({
      id: `job ${first + index}`,
      job: {
        _tag: "Copy",
        rule: "apps",
        run: "run",
        settings: "sha256:1",
        source: `one.local/team/app${first + index}`,
        selection: "all",
        tags: []
      }
    })))
  }
  yield* Effect.repeat(Effect.sleep("20 millis"), { until: () => done >= count })
  const { system, user } = process.cpuUsage(cpu)
  const seconds = (performance.now() - start) / 1000
  yield* Fiber.interrupt(fiber)
  const used = (yield* transactions(url)) - before
  console.log(
    `${count} jobs in ${seconds.toFixed(1)} s: ${((system + user) / 1000 / count).toFixed(3)} ms of CPU and ` +
      `${(used / count).toFixed(2)} transactions each`
  )
})

await Effect.runPromise(Effect.scoped(Effect.provide(program, Postgres.layer)))
