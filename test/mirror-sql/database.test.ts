/**
 * Processes that keep a mirror together, whose database is away for a time, or cuts their connections.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Accidents from "../utils/mirror-accidents.ts"
import * as Postgres from "../utils/Postgres.ts"

const rounds = Accidents.isLong ? 5 : 1
const outage = Accidents.isLong ? "10 seconds" : "1 second"

const cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity " +
  "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"

describe.skipIf(!Postgres.available)("processes of a mirror", { concurrent: false }, () => {
  it.live(
    `copy nothing again because their database was away (seed ${Accidents.seed})`,
    () =>
      Effect.gen(function*() {
        const postgres = yield* Postgres.Postgres
        const { accident, mirror, settle, verify } = yield* Accidents.trial
        for (let round = 0; round < rounds; round++) {
          yield* accident(Effect.gen(function*() {
            yield* postgres.stop()
            yield* Effect.sleep(outage)
            yield* postgres.start
          }))
          yield* settle()
        }
        yield* verify
        assert.strictEqual(mirror.stepsBack(), 0)
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )

  it.live.skipIf(!Accidents.isLong)(
    `go on after their connections were cut, and after a crash of the database (seed ${Accidents.seed})`,
    () =>
      Effect.gen(function*() {
        const postgres = yield* Postgres.Postgres
        const { accident, mirror, settle, verify } = yield* Accidents.trial
        for (let round = 0; round < rounds; round++) {
          yield* accident(Effect.gen(function*() {
            for (let cuts = 0; cuts < 3; cuts++) {
              yield* postgres.execute(cut)
              yield* Effect.sleep(yield* Accidents.between(0, 300))
            }
            yield* Effect.sleep(yield* Accidents.between(0, 1000))
            yield* postgres.restart("immediate")
          }))
          yield* settle()
        }
        yield* verify
        assert.strictEqual(mirror.stepsBack(), 0)
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )
})
