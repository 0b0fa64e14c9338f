/**
 * Costs of jobs that have nothing to do, in PostgreSQL: transactions of the database, and CPU of the process.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Deferred, Effect, Layer } from "effect"
import { MirrorJobs } from "effect-oci/MirrorJobs"
import type { MirrorRunner } from "effect-oci/MirrorRunner"
import * as MirrorService from "effect-oci/MirrorService"
import { MirrorState } from "effect-oci/MirrorState"
import * as mirrors from "../utils/mirror-services.ts"
import { layerProcess } from "../utils/mirror-states.ts"
import * as Postgres from "../utils/Postgres.ts"

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined
const jobs = isLong ? 10_000 : 500

/** A runner whose run shares many parts, as that of many repositories does. The parts do nothing. */
const runnerOf = (ended: Deferred.Deferred<void>): MirrorRunner => ({
  hosts: Effect.succeed([]),
  copy: () => Effect.succeed({ requests: 0, events: [] }),
  run: (rule, { shared }) =>
    Effect.gen(function*() {
      const parts = Array.from({ length: jobs }, (_, index) => ({ source: `source.test/team/r${index}`, tags: [] }))
      yield* Effect.forEach(parts, (part) => shared?.run(part) ?? Effect.void, { concurrency: 64, discard: true })
      yield* Deferred.succeed(ended, undefined)
      return mirrors.runState(rule.name, yield* DateTime.now, { id: shared?.id ?? "" })
    })
})

/** Returns the number of transactions of a database. */
const transactions = Effect.fnUntraced(function*(url: string) {
  const { execute } = yield* Postgres.Postgres
  // statistics arrive after a second
  yield* Effect.sleep("1500 millis")
  const name = url.slice(url.lastIndexOf("/") + 1)
  return Number(yield* execute(`SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '${name}'`))
})

describe.skipIf(!Postgres.available)(
  "a job that has nothing to do",
  () =>
    it.layer(Postgres.layer, { timeout: "1 minute", excludeTestServices: true })((it) => {
      it.effect("takes at most 3 transactions and 1 ms of CPU", () =>
        Effect.gen(function*() {
          const url = yield* Postgres.Postgres.use(({ database }) => database)
          const context = yield* Layer.build(layerProcess(url))
          const ended = yield* Deferred.make<void>()
          const service = yield* MirrorService.make(mirrors.config([mirrors.rule("a")]), {
            runner: () => Effect.succeed(runnerOf(ended)),
            shared: { jobs: Context.get(context, MirrorJobs), name: "p" }
          }).pipe(Effect.provideService(MirrorState, Context.get(context, MirrorState)))
          const before = yield* transactions(url)
          const cpu = process.cpuUsage()
          yield* service.runNow("a")
          yield* Deferred.await(ended)
          const { system, user } = process.cpuUsage(cpu)
          const each = (yield* transactions(url)) - before
          assert.isAtMost(each / jobs, 3)
          if (isLong) assert.isBelow((system + user) / 1000 / jobs, 1)
        }), isLong ? 600_000 : 60_000)
    })
)
