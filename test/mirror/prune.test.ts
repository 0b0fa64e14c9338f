import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MirrorState from "effect-oci/MirrorState"
import type { Registry } from "effect-oci/Registry"
import { ManifestUnknown, type Reason, Unauthorized, UnexpectedResponse } from "effect-oci/RegistryError"
import { pushImage, repository, tag } from "../utils/images.ts"
import { configOf, imagesOf, setup } from "../utils/mirrors.ts"
import { failing, override } from "../utils/registries.ts"

const app = repository("app")

const down = new UnexpectedResponse({ status: 503 })

const rule = (prune: unknown, more: object = {}) =>
  configOf({ name: "apps", from: "one.local/app", to: "two.local/app", referrers: false, prune, ...more })

/** Tags of the source that its list leaves out, or the reason why it fails. */
type List = { readonly hidden: ReadonlySet<string> } | { readonly reason: Reason }

/** A source whose list a test can break. */
const withLists = Effect.fnUntraced(
  function*(options: { readonly destination?: (registry: Registry) => Registry } = {}) {
    let list: List = { hidden: new Set() }
    const fixture = yield* setup({
      ...options,
      source: (registry) =>
        override(registry, {
          tags: (name) =>
            Stream.suspend(() => {
              const now = list
              if ("reason" in now) return Stream.fromEffect(failing("tags", now.reason))
              return Stream.filter(registry.tags(name), (tag) => !now.hidden.has(tag))
            })
        })
    })
    return {
      ...fixture,
      setList: (next: List) => {
        list = next
      },
      drop: (name: string) => fixture.source.memory.deleteTag(app, tag(name)),
      names: Effect.map(imagesOf(fixture.destination.memory, "app"), (images) => Object.keys(images).sort())
    }
  }
)

const pruned = (name: string, test: Effect.Effect<void, unknown, MirrorState.MirrorState>) =>
  it.effect(name, () => Effect.provide(test, MirrorState.layerMemory))

describe("prune", () => {
  pruned(
    "deletes a tag that is gone, after two runs, once a person has confirmed that",
    Effect.gen(function*() {
      const { drop, names, plan, push, run } = yield* withLists()
      for (const name of ["1", "2", "3"]) yield* push(name, name)
      const config = rule("gone")
      yield* run(config)
      yield* drop("2")
      assert.strictEqual((yield* run(config)).rule.pruned, 0)
      const waiting = yield* plan(config)
      assert.match(`${waiting}`, /delete later two\.local\/app:2: .*--prune/)
      assert.strictEqual((yield* run(config)).rule.pruned, 0)
      const due = yield* plan(config, { prune: true })
      // deletions come first
      assert.match(`${due}`, /^rule apps\none\.local\/app to two\.local\/app\n {2}delete two\.local\/app:2/)
      assert.isTrue(due.hasWork)
      assert.strictEqual((yield* run(config, { prune: true })).rule.pruned, 1)
      assert.deepStrictEqual(yield* names, ["1", "3"])
      // later runs need no confirmation
      yield* drop("3")
      yield* run(config)
      assert.strictEqual((yield* run(config)).rule.pruned, 1)
      assert.deepStrictEqual(yield* names, ["1"])
    })
  )

  pruned(
    "asks again after the policy has changed",
    Effect.gen(function*() {
      const { drop, names, push, run } = yield* withLists()
      for (const name of ["1", "2"]) yield* push(name, name)
      yield* run(rule("gone"), { prune: true })
      yield* drop("2")
      for (let i = 0; i < 3; i++) yield* run(rule({ policy: "gone", max: "50%" }))
      assert.deepStrictEqual(yield* names, ["1", "2"])
    })
  )

  pruned(
    "starts to count again if the tag is there again",
    Effect.gen(function*() {
      const { names, push, run, setList } = yield* withLists()
      for (const name of ["1", "2"]) yield* push(name, name)
      const config = rule({ policy: "gone", after: 2 })
      yield* run(config, { prune: true })
      for (let i = 0; i < 4; i++) {
        setList({ hidden: new Set(i % 2 === 0 ? ["2"] : []) })
        yield* run(config)
      }
      assert.deepStrictEqual(yield* names, ["1", "2"])
    })
  )

  pruned(
    "deletes tags that the rule does not select any more, if the policy says so",
    Effect.gen(function*() {
      const { names, push, run } = yield* withLists()
      for (const name of ["1.0.0", "1.1.0"]) yield* push(name, name)
      const newest = { tags: { newest: 2 } }
      yield* run(rule("unmatched", newest), { prune: true })
      yield* push("1.2.0", "new")
      for (let i = 0; i < 2; i++) yield* run(rule("gone", newest), { prune: true })
      assert.deepStrictEqual(yield* names, ["1.0.0", "1.1.0", "1.2.0"])
      for (let i = 0; i < 2; i++) yield* run(rule("unmatched", newest), { prune: true })
      assert.deepStrictEqual(yield* names, ["1.1.0", "1.2.0"])
    })
  )

  pruned(
    "deletes tags that are no longer among the names of a rule",
    Effect.gen(function*() {
      const { names, push, run } = yield* withLists()
      for (const name of ["1", "2"]) yield* push(name, name)
      yield* run(rule("unmatched", { tags: { names: ["1", "2"] } }), { prune: true })
      for (let i = 0; i < 2; i++) yield* run(rule("unmatched", { tags: { names: "1" } }))
      assert.deepStrictEqual(yield* names, ["1"])
    })
  )

  pruned(
    "deletes such tags also if those that are left are immutable, and not looked up any more",
    Effect.gen(function*() {
      const { drop, names, plan, push, run } = yield* withLists()
      for (const name of ["1", "2", "3"]) yield* push(name, name)
      const immutable = (...names: ReadonlyArray<string>) =>
        rule("unmatched", { immutable: "", trust: "1h", tags: { names } })
      yield* run(immutable("1", "2", "3"), { prune: true })
      yield* drop("3")
      assert.match(
        `${yield* plan(immutable("1"))}`,
        /delete later two\.local\/app:2: the rule does not select it any more/
      )
      for (let i = 0; i < 2; i++) yield* run(immutable("1"))
      assert.deepStrictEqual(yield* names, ["1"])
    })
  )

  pruned(
    "keeps a tag that the rule does not name any more while the source has it, if the policy says so",
    Effect.gen(function*() {
      const { drop, names, plan, push, run } = yield* withLists()
      for (const name of ["1", "2"]) yield* push(name, name)
      const named = (...names: ReadonlyArray<string>) => rule({ policy: "gone", after: 1 }, { tags: { names } })
      yield* run(named("1", "2"), { prune: true })
      const kept = yield* plan(named("1"))
      assert.deepStrictEqual([kept.hasWork, kept.hasProblems], [false, false])
      assert.deepStrictEqual((yield* run(named("1"))).rule.problems, [])
      assert.deepStrictEqual(yield* names, ["1", "2"])
      yield* drop("2")
      assert.strictEqual((yield* run(named("1"))).rule.pruned, 1)
    })
  )

  pruned(
    "deletes nothing while a named tag cannot be looked up at the source",
    Effect.gen(function*() {
      let isDown = false
      const { names, push, run } = yield* setup({
        source: (registry) =>
          override(registry, {
            resolveManifest: (name, reference) =>
              isDown ? failing("resolveManifest", down) : registry.resolveManifest(name, reference)
          })
      }).pipe(Effect.map((fixture) => ({
        ...fixture,
        names: Effect.map(imagesOf(fixture.destination.memory, "app"), (images) => Object.keys(images).sort())
      })))
      for (const name of ["1", "2"]) yield* push(name, name)
      const named = (...names: ReadonlyArray<string>) =>
        rule({ policy: "unmatched", after: 1 }, { immutable: "", trust: "1h", tags: { names } })
      yield* run(named("1", "2"), { prune: true })
      isDown = true
      assert.match((yield* run(named("1"))).rule.problems.join(), /nothing is deleted: .*503/)
      assert.deepStrictEqual(yield* names, ["1", "2"])
    })
  )

  pruned(
    "does not compare the names of a rule with the list of an earlier rule that selected among all tags",
    Effect.gen(function*() {
      const { names, push, run } = yield* withLists()
      for (let name = 1; name <= 12; name++) yield* push(`${name}`, `${name}`)
      yield* run(rule("unmatched", { tags: { match: "^[12]$" } }), { prune: true })
      assert.deepStrictEqual(yield* names, ["1", "2"])
      for (let i = 0; i < 2; i++) yield* run(rule("unmatched", { tags: { names: "1" } }))
      assert.deepStrictEqual(yield* names, ["1"])
    })
  )

  pruned(
    "keeps tags of another tool, tags that match `keep`, and tags that another client has moved",
    Effect.gen(function*() {
      const { destination, drop, names, push, run } = yield* withLists()
      for (const name of ["1", "2", "keep", "moved"]) yield* push(name, name)
      yield* pushImage(destination.memory, app, ["theirs"], { tags: [tag("theirs")] })
      const config = rule({ policy: "unmatched", keep: "^keep$", after: 1 })
      yield* run(config, { prune: true })
      yield* pushImage(destination.memory, app, ["other"], { tags: [tag("moved")] })
      for (const name of ["2", "keep", "moved"]) yield* drop(name)
      const { rule: report } = yield* run(config)
      assert.strictEqual(report.pruned, 1)
      assert.deepStrictEqual(yield* names, ["1", "keep", "moved", "theirs"])
      assert.match(report.problems.join(), /another client has moved the tag/)
    })
  )

  pruned(
    "deletes nothing if more tags would go than the rule allows at once",
    Effect.gen(function*() {
      const { drop, names, push, run } = yield* withLists()
      const all = Array.from({ length: 20 }, (_, i) => `t${i}`)
      for (const name of all) yield* push(name, name)
      const config = rule({ policy: "gone", max: "10%", after: 1 })
      yield* run(config, { prune: true })
      for (const name of all.slice(0, 6)) yield* drop(name)
      for (let i = 0; i < 3; i++) {
        const { rule: report } = yield* run(config)
        assert.strictEqual(report.pruned, 0)
        assert.match(report.problems.join(), /nothing is deleted/)
      }
      assert.lengthOf(yield* names, 20)
    })
  )

  pruned(
    "keeps tags that another rule selects, also if that rule is not part of the run",
    Effect.gen(function*() {
      const { names, push, run, source } = yield* withLists()
      for (const name of ["1", "2"]) yield* push(name, name)
      const one = { name: "one", from: "one.local/app", to: "two.local/app", prune: { policy: "unmatched", after: 1 } }
      yield* run(configOf({ ...one, tags: { match: "[12]" } }), { prune: true })
      const both = configOf(
        { ...one, tags: { match: "1" } },
        { name: "other", from: "one.local/app", to: "two.local/app", tags: { match: "2" } }
      )
      yield* run(both, { prune: true, rules: ({ name }) => name === "one" })
      assert.deepStrictEqual(yield* names, ["1", "2"])
      yield* source.memory.deleteTag(app, tag("2"))
      yield* run(configOf({ ...one, tags: { match: "1" } }))
      assert.deepStrictEqual(yield* names, ["1"])
    })
  )

  pruned(
    "sets the other tags of an image again if the registry deletes the image with a tag",
    Effect.gen(function*() {
      const { drop, names, push, run } = yield* withLists({
        destination: (registry) =>
          override(registry, {
            deleteTag: (name, tag) =>
              Effect.flatMap(
                registry.resolveManifest(name, tag),
                ({ digest }) => registry.deleteManifest(name, digest)
              )
          })
      })
      for (const name of ["1", "2", "3"]) yield* push(name, "same")
      yield* push("4", "other")
      const config = rule({ policy: "gone", after: 1 })
      yield* run(config, { prune: true })
      yield* drop("2")
      const { rule: report } = yield* run(config)
      assert.deepStrictEqual(yield* names, ["1", "3", "4"])
      assert.match(report.problems.join(), /deletes the image with the tag/)
    })
  )
})

describe("prune beside other runs", () => {
  pruned(
    "keeps a tag that its source has, also if the registry deletes images with their tags",
    Effect.gen(function*() {
      const { drop, names, push, run, setList } = yield* withLists({
        destination: (registry) =>
          override(registry, {
            deleteTag: (name, tag) =>
              Effect.flatMap(
                registry.resolveManifest(name, tag),
                ({ digest }) => registry.deleteManifest(name, digest)
              )
          })
      })
      for (const name of ["1", "2"]) yield* push(name, "same")
      yield* push("3", "other")
      const config = rule({ policy: "gone", after: 1 })
      yield* run(config, { prune: true })
      yield* drop("1")
      setList({ hidden: new Set(["2"]) })
      yield* run(config)
      assert.deepStrictEqual(yield* names, ["2", "3"])
    })
  )

  pruned(
    "keeps a tag that another run has found again since the deletion was planned",
    Effect.gen(function*() {
      let before: Effect.Effect<unknown> = Effect.void
      const { destination, push, run, source, state } = yield* setup({
        source: (registry) =>
          override(registry, {
            resolveManifest: (name, reference) =>
              Effect.andThen(Effect.suspend(() => before), registry.resolveManifest(name, reference))
          })
      })
      for (const name of ["1", "2"]) yield* push(name, name)
      const config = rule({ policy: "gone", after: 2 })
      yield* run(config, { prune: true })
      yield* source.memory.deleteTag(app, tag("1"))
      yield* run(config)
      // the source has the tag again, another run sees that, and it is gone once more when this run asks for it
      before = Effect.gen(function*() {
        const rows = yield* state.tags("two.local/app")
        yield* state.record(rows.map((row) => ({ ...row, missing: 0 })))
      }).pipe(Effect.orDie)
      const { rule: report } = yield* run(config)
      assert.hasAllKeys(yield* imagesOf(destination.memory, "app"), ["1", "2"])
      assert.match(report.problems.join(), /another run has taken the tag over/)
    })
  )
})

describe("prune with broken lists", () => {
  /** A number from 0 to 1 that depends on the seed and the index only. */
  const random = (seed: number) => {
    let state = seed * 2_654_435_761 + 1
    return () => {
      state = Math.imul(state ^ (state >>> 15), 2_246_822_507) ^ Math.imul(state ^ (state >>> 13), 3_266_489_909)
      return (state >>> 0) / 2 ** 32
    }
  }
  const reasons: ReadonlyArray<Reason> = [
    new Unauthorized({}),
    new UnexpectedResponse({ status: 500 }),
    new ManifestUnknown({})
  ]
  const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 30 : 1000

  it.effect("never deletes a tag that the rule means", () =>
    Effect.gen(function*() {
      for (let seed = 0; seed < rounds; seed++) {
        yield* Effect.provide(
          Effect.gen(function*() {
            const next = random(seed)
            const { names, push, run, setList } = yield* withLists()
            const all = Array.from({ length: 3 + Math.floor(next() * 20) }, (_, i) => `1.${i}.0`)
            for (const name of all) yield* push(name, name)
            const policy = next() < 0.5 ? "gone" : "unmatched"
            const config = rule({ policy, after: 1 + Math.floor(next() * 2), max: next() < 0.5 ? "10%" : "100%" })
            yield* run(config, { prune: true })
            const before = yield* names
            for (let i = 0; i < 5; i++) {
              const kind = next()
              const cut = all.slice(0, Math.floor(next() * all.length))
              setList(
                kind < 0.3
                  ? { reason: reasons[Math.floor(next() * reasons.length)] ?? new Unauthorized({}) }
                  : { hidden: new Set(kind < 0.4 ? all : kind < 0.8 ? all.filter((name) => !cut.includes(name)) : []) }
              )
              yield* run(config)
              assert.deepStrictEqual(yield* names, before, `seed ${seed}`)
            }
          }),
          MirrorState.layerMemory
        )
      }
    }), 120_000)
})
