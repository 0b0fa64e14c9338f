/**
 * Days of a mirror: a source whose tags are pushed, moved and deleted at random, and registries that fail in some
 * weathers. On any day, the destination is to be what the rule makes of the source.
 */
import { assert } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { Registry } from "effect-oci/Registry"
import { UnexpectedResponse } from "effect-oci/RegistryError"
import { pushImage, repository, tag } from "./images.ts"
import { configOf, imagesOf } from "./mirrors.ts"
import { failing, override } from "./registries.ts"

/** Returns a function whose results, from 0 to 1, depend on the seed and on the calls before. */
export const makeRandom = (seed: number): () => number => {
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
export const makeWeather = (random: () => number) => {
  let weather: Weather = "fine"
  const fails = (wanted: Weather) => weather === wanted && random() < 0.3
  const down = (operation: string) => failing(operation, new UnexpectedResponse({ status: 503 }))
  return {
    /** Ends all faults. */
    clear: () => {
      weather = "fine"
    },
    /** Chooses a weather at random. */
    change: () => {
      weather = weathers[Math.floor(random() * weathers.length)] ?? "fine"
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

/** The rule: all tags but `edge…`, and none that the source has no more. */
export const config = configOf({
  name: "all",
  from: "one.local/team/*",
  to: "two.local/mirror/$1",
  tags: { exclude: "^edge" },
  referrers: false,
  trust: "1000d",
  prune: { policy: "gone", after: 1, max: "100%" },
  atStart: "nothing"
})

const nameOf = (index: number) => `team/r${index}`

/** Creates the source, and what changes it. */
export const make = Effect.fnUntraced(function*(
  random: () => number,
  source: Registry,
  destination: Registry,
  size: { readonly repositories: number; readonly tagsEach: number }
) {
  const { repositories, tagsEach } = size
  const tags = new Map<number, Set<string>>()
  let version = 0
  const push = Effect.fnUntraced(function*(index: number, name: string) {
    yield* pushImage(source, repository(nameOf(index)), [`${version++}`], { tags: [tag(name)] })
    const known = tags.get(index) ?? new Set()
    tags.set(index, known.add(name))
  })
  for (let index = 0; index < repositories; index++) {
    for (let i = 0; i < tagsEach - 1; i++) yield* push(index, `1.${i}.0`)
    yield* push(index, "edge")
  }
  /** Changes a tag of a repository. */
  const changeOne = Effect.fnUntraced(function*(index: number) {
    const names = Array.from(tags.get(index) ?? [])
    const any = names[Math.floor(random() * names.length)] ?? "edge"
    const kind = random()
    if (kind < 0.4) return yield* push(index, `2.${version}.0`)
    if (kind < 0.8 || names.length < 5) return yield* push(index, any)
    yield* source.deleteTag(repository(nameOf(index)), tag(any))
    tags.get(index)?.delete(any)
  })
  const count = (isCounted: (name: string) => boolean) =>
    Array.from(tags.values()).reduce((sum, names) => sum + Array.from(names).filter(isCounted).length, 0)
  return {
    /** Changes a tenth of the repositories. */
    change: Effect.gen(function*() {
      const changed = Math.ceil(repositories * 0.1)
      for (let i = 0; i < changed; i++) yield* changeOne(Math.floor(random() * repositories))
    }),
    /** Returns the number of tags that the rule selects. */
    selected: () => count((name) => name !== "edge"),
    /** Checks that the destination is what the rule makes of the source. */
    isExact: Effect.fnUntraced(function*(day: number) {
      for (let index = 0; index < repositories; index++) {
        const { edge: _, ...selected } = yield* imagesOf(source, nameOf(index))
        const found = yield* imagesOf(destination, `mirror/r${index}`)
        assert.deepStrictEqual(found, selected, `day ${day}, repository ${index}`)
      }
    })
  }
})
