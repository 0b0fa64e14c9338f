/**
 * Processes that keep a mirror together, and run each slot of a schedule once, although they are killed, frozen and
 * ended.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Accidents from "../utils/mirror-accidents.ts"
import * as Postgres from "../utils/Postgres.ts"

const wanted = 100

describe.skipIf(!Postgres.available)("processes of a mirror", { concurrent: false }, () => {
  // the other tests check their slots as well
  it.live.skipIf(!Accidents.isLong)(
    `run each slot once (seed ${Accidents.seed})`,
    () =>
      Effect.gen(function*() {
        const postgres = yield* Postgres.Postgres
        const mirror = yield* Accidents.make({ repositories: 2, tags: 2, every: 2 })
        const members = yield* mirror.startAll(3)
        const accidents = [
          Effect.gen(function*() {
            const victim = yield* Accidents.choose(members)
            victim.kill("SIGKILL")
            members.splice(members.indexOf(victim), 1, yield* mirror.start)
          }),
          Effect.gen(function*() {
            const victim = yield* Accidents.choose(members)
            victim.kill("SIGSTOP")
            yield* Effect.sleep(yield* Accidents.between(1000, 20_000))
            victim.kill("SIGCONT")
          }),
          Effect.gen(function*() {
            const victim = yield* Accidents.choose(members)
            victim.kill("SIGTERM")
            yield* victim.ended
            members.splice(members.indexOf(victim), 1, yield* mirror.start)
          }),
          postgres.restart("immediate")
        ]
        yield* mirror.whileMoving(Effect.gen(function*() {
          while ((yield* mirror.endedSlots) < wanted) {
            yield* Accidents.randomMoment
            yield* yield* Accidents.choose(accidents)
          }
        }))
        const time = yield* mirror.settle()
        const slots = yield* mirror.checkSlots
        mirror.report({ time, slots })
        assert.isAtLeast(slots, wanted)
      }).pipe(Accidents.seeded, Effect.provide([Postgres.layer, NodeServices.layer])),
    900_000
  )
})
