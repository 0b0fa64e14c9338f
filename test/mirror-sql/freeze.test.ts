/**
 * Processes that keep a mirror together, one of which is frozen for a time.
 */
import { NodeServices } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
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
        const { accident, countInFlight, members, mirror, settle, verify } = yield* Accidents.trial
        for (let round = 0; round < rounds; round++) {
          const victim = yield* Accidents.choose(members)
          yield* accident(Effect.gen(function*() {
            victim.kill("SIGSTOP")
            yield* countInFlight
          }))
          // the others do not need it
          yield* settle()
          yield* mirror.whileMoving(Effect.gen(function*() {
            yield* Effect.sleep(frozen)
            victim.kill("SIGCONT")
            yield* countInFlight
            yield* Effect.sleep(yield* Accidents.between(0, 1000))
          }))
          yield* settle()
        }
        yield* verify
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )
})
