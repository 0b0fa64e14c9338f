/**
 * A plan says what the run that follows does: in random states of both ends, under random rules.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type * as MirrorPlan from "effect-oci/MirrorPlan"
import * as MirrorState from "effect-oci/MirrorState"
import { TestClock } from "effect/testing"
import { pushImage, repository, tag } from "../utils/images.ts"
import { configOf, imagesOf, setup } from "../utils/mirrors.ts"

const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 25 : 400
const steps = 6

/** A number from 0 to 1 that depends on the seed and on the calls before. */
const makeRandom = (seed: number) => {
  let state = seed * 7919
  return () => {
    state = (state + 0x6d2b79f5) | 0
    const mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    const more = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((more ^ (more >>> 14)) >>> 0) / 2 ** 32
  }
}

const names = ["1.0.0", "1.1.0", "1.2.0", "2.0.0", "2.1.0", "latest"]
const [app, other] = [repository("app"), repository("other")]

/** Returns rules with settings of every kind. */
const rulesOf = (pick: <A>(values: ReadonlyArray<A>) => A) => {
  const settings = {
    referrers: false,
    onTagMoved: pick<unknown>(["replace", "keep", "fail", { backup: "old-{tag}-{digest}" }]),
    adopt: pick([true, false]),
    immutable: pick([[], ["^1"]]),
    trust: pick<unknown>(["12h", 0]),
    prune: pick<unknown>(["none", { policy: "gone", after: 1 }, { policy: "unmatched", after: 2, max: "100%" }])
  }
  return [
    {
      ...settings,
      name: "one",
      from: "one.local/app",
      to: "two.local/app",
      tags: pick<unknown>([{ match: "^[12]" }, { newest: 2 }, { semver: "1.x", include: "latest" }, { names: "1.0.0" }])
    },
    ...pick([true, false])
      ? [{ ...settings, name: "two", from: "one.local/other", to: "two.local/app", tags: { match: "^(2|latest)" } }]
      : []
  ]
}

const lineOf = ({ destination, rule }: MirrorPlan.RepositoryPlan) => ({ action, tag }: MirrorPlan.TagPlan) =>
  `${rule} ${destination}:${tag} ${action}`

const linesOf = (plans: ReadonlyArray<MirrorPlan.RepositoryPlan>): ReadonlyArray<string> =>
  plans.flatMap((plan) => plan.tags.map(lineOf(plan))).sort()

const agree = Effect.fnUntraced(function*(seed: number) {
  const random = makeRandom(seed)
  const pick = <A>(values: ReadonlyArray<A>): A =>
    values[Math.floor(random() * values.length)] ?? assert.fail("no value")
  const { destination, forget, plan, run, source } = yield* setup()
  let version = 0
  /** Changes one end, or lets time pass. */
  const change = Effect.suspend((): Effect.Effect<unknown, unknown> => {
    const name = tag(pick(names))
    const registry = pick([source.memory, source.memory, destination.memory])
    const place = registry === source.memory ? pick([app, other]) : app
    const kind = random()
    if (kind < 0.2) return TestClock.adjust(pick(["2 minutes", "13 hours"]))
    return kind < 0.4
      ? Effect.ignore(registry.deleteTag(place, name))
      : pushImage(registry, place, [`${kind < 0.6 ? 0 : version++}`], { tags: [name] })
  })
  for (const place of [app, other]) {
    for (const name of names) yield* pushImage(source.memory, place, [name], { tags: [tag(name)] })
  }
  let config = configOf(...rulesOf(pick))
  for (let step = 0; step < steps; step++) {
    const at = `seed ${seed}, step ${step}`
    if (random() < 0.2) config = configOf(...rulesOf(pick))
    for (let count = Math.floor(random() * 4); count > 0; count--) yield* change
    const planned = yield* plan(config, { prune: true })
    const before = yield* imagesOf(destination.memory, "app")
    forget()
    const { events, report } = yield* run(config, { prune: true })
    const ran = events.flatMap((event) => event._tag === "Planned" ? [event.plan] : [])
    assert.deepStrictEqual(linesOf(ran), linesOf(planned.repositories), at)
    const done = report.rules.reduce(
      (sum, { copied, failures, problems, pruned }) => sum + copied + pruned + failures.length + problems.length,
      0
    )
    if (planned.hasWork) assert.isAbove(done, 0, at)
    else {
      const { deleteTag, pushManifest, startUpload } = destination.counts()
      assert.deepStrictEqual([deleteTag, pushManifest, startUpload], [undefined, undefined, undefined], at)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "app"), before, at)
    }
    // a run that has ended leaves no work but deletions, which wait for another run, or for one without failures
    const left = yield* plan(config, { prune: true })
    const lines = linesOf(left.repositories).filter((line) =>
      !/ (?:unchanged|immutable|keep|refused|later|failed|delete|deleteLater)$/.test(line)
    )
    assert.deepStrictEqual(lines, [], at)
  }
})

describe("a plan", () => {
  it.effect("says what the run that follows does", () =>
    Effect.gen(function*() {
      for (let seed = 0; seed < rounds; seed++) yield* Effect.provide(agree(seed), MirrorState.layerMemory)
    }), 120_000)
})
