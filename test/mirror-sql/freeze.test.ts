/**
 * Processes that keep a mirror together, one of which is frozen for a time.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Accidents from "../utils/mirror-accidents.ts"
import * as Postgres from "../utils/Postgres.ts"

const rounds = 3
const frozen = "40 seconds"

describe.skipIf(!Postgres.available || !Accidents.isLong)("processes of a mirror", { concurrent: false }, () => {
  it.live(
    `take over from a frozen one, which sets no tag to an older image when it wakes (seed ${Accidents.seed})`,
    () =>
      Effect.gen(function*() {
        const mirror = yield* Accidents.make()
        const members = yield* mirror.startAll(3)
        let inFlight = 0
        const times: Array<number> = []
        for (let round = 0; round < rounds; round++) {
          yield* mirror.caughtUp
          const victim = yield* Accidents.choose(members)
          yield* mirror.whileMoving(Effect.gen(function*() {
            yield* Accidents.randomMoment
            victim.kill("SIGSTOP")
            inFlight += yield* mirror.inFlight
          }))
          // the others do not need it
          times.push(yield* mirror.settle())
          yield* mirror.whileMoving(Effect.gen(function*() {
            yield* Effect.sleep(frozen)
            victim.kill("SIGCONT")
            inFlight += yield* mirror.inFlight
            yield* Effect.sleep(yield* Accidents.between(0, 1000))
          }))
          times.push(yield* mirror.settle())
        }
        const slots = yield* mirror.checkSlots
        mirror.report({ times, slots, inFlight })
        assert.isAtMost(mirror.repeated(), inFlight)
        assert.isAtMost(mirror.repeatedUploads(), 2 * inFlight)
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )
})
