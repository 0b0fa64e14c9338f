/**
 * Processes that keep a mirror together, one of which is killed.
 */
import { NodeServices } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Accidents from "../utils/mirror-accidents.ts"
import * as Postgres from "../utils/Postgres.ts"

const rounds = Accidents.isLong ? 20 : 1

describe.skipIf(!Postgres.available)("processes of a mirror", { concurrent: false }, () => {
  it.live(
    `continue what a killed one has left (seed ${Accidents.seed})`,
    () =>
      Effect.gen(function*() {
        const { accident, countInFlight, members, mirror, settle, verify } = yield* Accidents.trial
        for (let round = 0; round < rounds; round++) {
          yield* accident(Effect.gen(function*() {
            const victim = yield* Accidents.choose(members)
            victim.kill("SIGKILL")
            yield* countInFlight
            members.splice(members.indexOf(victim), 1)
            yield* Effect.sleep(yield* Accidents.between(0, 1000))
          }))
          const again = yield* Effect.forkChild(mirror.start)
          yield* settle()
          members.push(yield* Fiber.join(again))
        }
        yield* verify
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )
})
