/**
 * Processes that keep a mirror together, and come and go.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Accidents from "../utils/mirror-accidents.ts"
import * as Postgres from "../utils/Postgres.ts"
import * as Program from "../utils/Program.ts"

const rounds = 5

// time in which jobs that are given back are done by the others, which do not wait for their locks
const handover = "10 seconds"

describe.skipIf(!Postgres.available || !Accidents.isLong)("processes of a mirror", { concurrent: false }, () => {
  it.live(
    `share the work with one that is added, and finish that of one that drains (seed ${Accidents.seed})`,
    () =>
      Effect.gen(function*() {
        const { accident, members, mirror, settle, verify } = yield* Accidents.trial
        for (let round = 0; round < rounds; round++) {
          yield* accident(Effect.gen(function*() {
            members.push(yield* mirror.start)
            const leaving = yield* Accidents.choose(members)
            members.splice(members.indexOf(leaving), 1)
            const name = yield* mirror.nameOf(leaving)
            const drained = yield* Program.run("mirror", "drain", "-c", mirror.file, "--store", mirror.url, name)
            assert.strictEqual(drained.code, 0, drained.stderr)
            const { code, stderr } = yield* Effect.timeout(leaving.ended, Accidents.recovery)
            assert.strictEqual(code, 0, stderr)
          }))
          yield* settle(handover)
        }
        assert.deepStrictEqual(
          (yield* mirror.query("SELECT name FROM mirror_process")).toSorted(),
          (yield* Effect.forEach(members, mirror.nameOf)).toSorted()
        )
        yield* verify
        assert.strictEqual(mirror.stepsBack(), 0)
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )

  it.live(
    `take the jobs of one that gets SIGTERM at once (seed ${Accidents.seed})`,
    () =>
      Effect.gen(function*() {
        const { accident, countInFlight, members, mirror, settle, verify } = yield* Accidents.trial
        for (let round = 0; round < rounds; round++) {
          yield* accident(Effect.gen(function*() {
            const leaving = yield* Accidents.choose(members)
            leaving.kill("SIGTERM")
            yield* countInFlight
            const { code, stderr } = yield* Effect.timeout(leaving.ended, "10 seconds")
            assert.strictEqual(code, 0, stderr)
            members.splice(members.indexOf(leaving), 1, yield* mirror.start)
          }))
          yield* settle(handover)
        }
        yield* verify
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )
})
