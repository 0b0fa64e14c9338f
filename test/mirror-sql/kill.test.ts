/**
 * Processes that keep a mirror together, one of which is killed.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Accidents from "../utils/mirror-accidents.ts"
import * as Postgres from "../utils/Postgres.ts"

const rounds = Accidents.isLong ? 20 : 1

describe.skipIf(!Postgres.available)("processes of a mirror", { concurrent: false }, () => {
  it.live(
    `continue what a killed one has left (seed ${Accidents.seed})`,
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
            const victim = yield* Accidents.choose(members)
            victim.kill("SIGKILL")
            inFlight += yield* mirror.inFlight
            members.splice(members.indexOf(victim), 1)
            yield* Effect.sleep(yield* Accidents.between(0, 1000))
          }))
          const again = yield* Effect.forkChild(mirror.start)
          times.push(yield* mirror.settle())
          members.push(yield* Fiber.join(again))
        }
        const slots = yield* mirror.checkSlots
        mirror.report({ times, slots, inFlight })
        assert.isAtMost(mirror.repeated(), inFlight)
        assert.isAtMost(mirror.repeatedUploads(), 2 * inFlight)
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )
})
