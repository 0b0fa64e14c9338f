/**
 * Days of pushes, moved and deleted tags, failing registries and short lists. After every run on a day without faults,
 * the destination is what the rule makes of the source.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MirrorState from "effect-oci/MirrorState"
import { TestClock } from "effect/testing"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import * as Days from "../utils/mirror-days.ts"
import { setup } from "../utils/mirrors.ts"

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined
const [repositories, tagsEach, days] = isLong ? [500, 20, 100] : [6, 8, 12]

V8.setFlagsFromString("--expose-gc")
const collect: () => void = Vm.runInNewContext("gc")

describe("a mirror over many days", () => {
  it.effect("makes the destination what the rule says, with few requests", () =>
    Effect.gen(function*() {
      const random = Days.makeRandom(7)
      const weather = Days.makeWeather(random)
      const { destination, forget, run, source } = yield* setup(weather)
      const world = yield* Days.make(random, source.memory, destination.memory, { repositories, tagsEach })
      const { config } = Days
      yield* run(config, { prune: true })

      let live = 0
      for (let day = 0; day < days; day++) {
        yield* TestClock.adjust("24 hours")
        yield* world.change
        weather.change()
        yield* run(config)
        // faults do not last
        weather.clear()
        yield* TestClock.adjust("7 hours")
        yield* run(config)
        yield* world.isExact(day)
        forget()
        const { rule } = yield* run(config)
        assert.deepStrictEqual([rule.planned, rule.failed, rule.problems], [0, 0, []], `day ${day}`)
        // one list for each repository and one for the catalog, and one request for each tag
        assert.deepStrictEqual(source.counts(), {
          repositories: 1,
          tags: repositories,
          resolveManifest: world.selected()
        })
        assert.deepStrictEqual(destination.counts(), {})
        collect()
        live = Math.max(live, process.memoryUsage().heapUsed)
      }
      assert.isBelow(live, 300 * 1024 * 1024)

      const before = process.cpuUsage()
      yield* run(config)
      const { system, user } = process.cpuUsage(before)
      assert.isBelow((system + user) / 1_000_000, 60)
    }).pipe(Effect.provide(MirrorState.layerMemory)), isLong ? 7_200_000 : 120_000)
})
