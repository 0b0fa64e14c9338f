/**
 * Days of pushes, moved and deleted tags, failing registries and short lists. After every run on a day without faults,
 * the destination is what the rule makes of the source.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MirrorState from "effect-oci/MirrorState"
import type { Registry } from "effect-oci/Registry"
import { UnexpectedResponse } from "effect-oci/RegistryError"
import { TestClock } from "effect/testing"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import { pushImage, repository, tag } from "../utils/images.ts"
import { configOf, imagesOf, setup } from "../utils/mirrors.ts"
import { failing, override } from "../utils/registries.ts"

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined
const [repositories, tagsEach, days] = isLong ? [500, 20, 100] : [6, 8, 12]

/** A number from 0 to 1 that depends on the seed and on the calls before. */
const makeRandom = (seed: number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    const mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    const more = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((more ^ (more >>> 14)) >>> 0) / 2 ** 32
  }
}

type Weather = "fine" | "sourceDown" | "shortLists" | "destinationDown"
const weathers: ReadonlyArray<Weather> = ["fine", "fine", "sourceDown", "shortLists", "destinationDown"]

/** Registries whose calls fail in some weathers, for a share of the calls. */
const makeWeather = (random: () => number) => {
  let weather: Weather = "fine"
  const fails = (wanted: Weather) => weather === wanted && random() < 0.3
  const down = (operation: string) => failing(operation, new UnexpectedResponse({ status: 503 }))
  return {
    set: (next: Weather) => {
      weather = next
    },
    source: (registry: Registry) =>
      override(registry, {
        tags: (name) =>
          Stream.suspend(() => {
            if (fails("sourceDown")) return Stream.fromEffect(down("tags"))
            const keeps = fails("shortLists") ? random() : 1
            return Stream.filter(registry.tags(name), () => random() < keeps)
          }),
        resolveManifest: (name, reference) =>
          Effect.suspend(() =>
            fails("sourceDown") ? down("resolveManifest") : registry.resolveManifest(name, reference)
          )
      }),
    destination: (registry: Registry) =>
      override(registry, {
        pushManifest: (...args) =>
          Effect.suspend(() => fails("destinationDown") ? down("pushManifest") : registry.pushManifest(...args)),
        deleteTag: (...args) =>
          Effect.suspend(() => fails("destinationDown") ? down("deleteTag") : registry.deleteTag(...args))
      })
  }
}

V8.setFlagsFromString("--expose-gc")
const collect: () => void = Vm.runInNewContext("gc")

const config = configOf({
  name: "all",
  from: "one.local/team/*",
  to: "two.local/mirror/$1",
  tags: { exclude: "^edge" },
  referrers: false,
  trust: "1000d",
  prune: { policy: "gone", after: 1, max: "100%" }
})

const nameOf = (index: number) => `team/r${index}`

describe("a mirror over many days", () => {
  it.effect("makes the destination what the rule says, with few requests", () =>
    Effect.gen(function*() {
      const random = makeRandom(7)
      const weather = makeWeather(random)
      const { destination, forget, run, source } = yield* setup(weather)
      const tags = new Map<number, Set<string>>()
      let version = 0
      const push = Effect.fnUntraced(function*(index: number, name: string) {
        yield* pushImage(source.memory, repository(nameOf(index)), [`${version++}`], { tags: [tag(name)] })
        const known = tags.get(index) ?? new Set()
        tags.set(index, known.add(name))
      })
      for (let index = 0; index < repositories; index++) {
        for (let i = 0; i < tagsEach - 1; i++) yield* push(index, `1.${i}.0`)
        yield* push(index, "edge")
      }
      const total = () => Array.from(tags.values()).reduce((sum, { size }) => sum + size, 0)
      yield* run(config, { prune: true })

      /** Changes some tags of a repository. */
      const change = Effect.fnUntraced(function*(index: number) {
        const names = Array.from(tags.get(index) ?? [])
        const any = names[Math.floor(random() * names.length)] ?? "edge"
        const kind = random()
        if (kind < 0.4) return yield* push(index, `2.${version}.0`)
        if (kind < 0.8 || names.length < 5) return yield* push(index, any)
        yield* source.memory.deleteTag(repository(nameOf(index)), tag(any))
        tags.get(index)?.delete(any)
      })

      let live = 0
      for (let day = 0; day < days; day++) {
        yield* TestClock.adjust("24 hours")
        const changed = Math.ceil(repositories * 0.1)
        for (let i = 0; i < changed; i++) yield* change(Math.floor(random() * repositories))
        weather.set(weathers[Math.floor(random() * weathers.length)] ?? "fine")
        yield* run(config)
        // faults do not last
        weather.set("fine")
        yield* TestClock.adjust("7 hours")
        yield* run(config)
        for (let index = 0; index < repositories; index++) {
          const wanted = yield* imagesOf(source.memory, nameOf(index))
          const { edge: _, ...selected } = wanted
          const found = yield* imagesOf(destination.memory, `mirror/r${index}`)
          assert.deepStrictEqual(found, selected, `day ${day}, repository ${index}`)
        }
        forget()
        const { rule } = yield* run(config)
        assert.deepStrictEqual([rule.planned, rule.failed, rule.problems], [0, 0, []], `day ${day}`)
        const edges = Array.from(tags.values()).filter((names) => names.has("edge")).length
        // one list for each repository and one for the catalog, and one request for each tag
        assert.deepStrictEqual(source.counts(), {
          repositories: 1,
          tags: repositories,
          resolveManifest: total() - edges
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
