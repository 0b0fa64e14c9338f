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
        const mirror = yield* Accidents.make()
        const members = yield* mirror.startAll(3)
        const times: Array<number> = []
        for (let round = 0; round < rounds; round++) {
          yield* mirror.caughtUp
          yield* mirror.whileMoving(Effect.gen(function*() {
            yield* Accidents.randomMoment
            members.push(yield* mirror.start)
            const leaving = yield* Accidents.choose(members)
            members.splice(members.indexOf(leaving), 1)
            const name = yield* mirror.nameOf(leaving)
            const drained = yield* Program.run("mirror", "drain", "-c", mirror.file, "--store", mirror.url, name)
            assert.strictEqual(drained.code, 0, drained.stderr)
            const { code, stderr } = yield* Effect.timeout(leaving.ended, Accidents.recovery)
            assert.strictEqual(code, 0, stderr)
          }))
          times.push(yield* mirror.settle(handover))
        }
        assert.deepStrictEqual(
          (yield* mirror.query("SELECT name FROM mirror_process")).toSorted(),
          (yield* Effect.forEach(members, mirror.nameOf)).toSorted()
        )
        const slots = yield* mirror.checkSlots
        mirror.report({ times, slots })
        assert.strictEqual(mirror.repeated(), 0)
        assert.strictEqual(mirror.repeatedUploads(), 0)
        assert.strictEqual(mirror.stepsBack(), 0)
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )

  it.live(
    `take the jobs of one that gets SIGTERM at once (seed ${Accidents.seed})`,
    () =>
      Effect.gen(function*() {
        const mirror = yield* Accidents.make()
        const members = yield* mirror.startAll(3)
        let inFlight = 0
        const times: Array<number> = []
        for (let round = 0; round < rounds; round++) {
          yield* mirror.caughtUp
          yield* mirror.whileMoving(Effect.gen(function*() {
            yield* Accidents.randomMoment
            const leaving = yield* Accidents.choose(members)
            leaving.kill("SIGTERM")
            inFlight += yield* mirror.inFlight
            const { code, stderr } = yield* Effect.timeout(leaving.ended, "10 seconds")
            assert.strictEqual(code, 0, stderr)
            members.splice(members.indexOf(leaving), 1, yield* mirror.start)
          }))
          times.push(yield* mirror.settle(handover))
        }
        const slots = yield* mirror.checkSlots
        mirror.report({ times, slots, inFlight })
        assert.isAtMost(mirror.repeated(), inFlight)
        assert.isAtMost(mirror.repeatedUploads(), 2 * inFlight)
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )
})
