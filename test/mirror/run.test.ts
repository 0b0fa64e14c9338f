import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Stream } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Mirror from "effect-oci/Mirror"
import * as MirrorState from "effect-oci/MirrorState"
import type { Registry } from "effect-oci/Registry"
import { UnexpectedResponse } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import { TestClock } from "effect/testing"
import { pushImage, pushReferrer, pushSample, repository, tag } from "../utils/images.ts"
import { configOf, imagesOf, setup } from "../utils/mirrors.ts"
import { failing as failingWith, listReferrers, override } from "../utils/registries.ts"

const app = { name: "apps", from: "one.local/app", to: "two.local/app", referrers: false }
const config = configOf(app)

const mirrored = (name: string, test: Effect.Effect<void, unknown, MirrorState.MirrorState>) =>
  it.effect(name, () => Effect.provide(test, MirrorState.layerMemory))

/** Makes the lookups of tags fail while the switch says so. */
const failingLookups = (lookups: { readonly fail: boolean }) => (registry: Registry) =>
  override(registry, {
    resolveManifest: (name, reference) =>
      lookups.fail
        ? failingWith("resolveManifest", new UnexpectedResponse({ status: 500 }))
        : registry.resolveManifest(name, reference)
  })

describe("a run", () => {
  mirrored(
    "copies the tags that the rule selects, and does nothing if nothing changed",
    Effect.gen(function*() {
      const { destination, forget, push, run, source } = yield* setup()
      const one = yield* push("1", "one")
      const two = yield* push("2", "two")
      const first = yield* run(config)
      assert.strictEqual(first.rule.copied, 2)
      assert.isFalse(first.report.hasFailures)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "app"), { 1: one, 2: two })
      // one list, and no request for a tag that it lacks
      assert.strictEqual(destination.counts()["tags"], 1)
      assert.notProperty(destination.counts(), "resolveManifest")
      forget()
      const second = yield* run(config)
      assert.strictEqual(second.rule.planned, 0)
      // one list, and one request for each tag
      assert.deepStrictEqual(source.counts(), { tags: 1, resolveManifest: 2 })
      assert.deepStrictEqual(destination.counts(), {})
    })
  )

  mirrored(
    "copies a tag that moved, and no other",
    Effect.gen(function*() {
      const { destination, push, run } = yield* setup()
      yield* push("1", "one")
      yield* push("2", "two")
      yield* run(config)
      const moved = yield* push("1", "other")
      const { events, rule } = yield* run(config)
      assert.strictEqual(rule.planned, 1)
      assert.deepStrictEqual(events.flatMap((event) => event._tag === "Copied" ? [event.digest] : []), [moved])
      assert.strictEqual((yield* imagesOf(destination.memory, "app"))["1"], moved)
    })
  )

  mirrored(
    "looks at a destination again when it is not trusted any more",
    Effect.gen(function*() {
      const { destination, forget, push, run } = yield* setup()
      const one = yield* push("1", "one")
      yield* run(config)
      yield* destination.memory.deleteTag(repository("app"), tag("1"))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* run(config)).rule.planned, 0)
      yield* TestClock.adjust("12 hours")
      assert.strictEqual((yield* run(config)).rule.copied, 1)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "app"), { 1: one })
      yield* TestClock.adjust("12 hours")
      forget()
      yield* run(config)
      assert.deepStrictEqual(destination.counts(), { resolveManifest: 1 })
      forget()
      yield* run(config)
      assert.deepStrictEqual(destination.counts(), {})
    })
  )

  mirrored(
    "copies to several destinations, and reads the source once",
    Effect.gen(function*() {
      const { destination, other, push, run, source } = yield* setup()
      const one = yield* push("1", "one")
      const many = configOf({ ...app, to: ["two.local/app", "three.local/copies"] })
      const { rule } = yield* run(many)
      assert.strictEqual(rule.copied, 2)
      // the config and the layer
      assert.strictEqual(source.counts()["getBlob"], 2)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "app"), { 1: one })
      assert.deepStrictEqual(yield* imagesOf(other.memory, "copies"), { 1: one })
      assert.strictEqual((yield* run(many)).rule.planned, 0)
    })
  )

  mirrored(
    "lists immutable tags at most once at each end, and looks at none of them",
    Effect.gen(function*() {
      const { destination, forget, push, run, source } = yield* setup()
      const immutable = configOf({ ...app, immutable: "^v" })
      for (const name of ["v1", "v2", "v3"]) yield* push(name, name)
      yield* run(immutable)
      forget()
      yield* run(immutable)
      assert.deepStrictEqual(source.counts(), { tags: 1 })
      assert.deepStrictEqual(destination.counts(), {})
      // not trusted any more
      yield* TestClock.adjust("13 hours")
      yield* destination.memory.deleteTag(repository("app"), tag("v2"))
      forget()
      assert.strictEqual((yield* run(immutable)).rule.copied, 1)
      yield* TestClock.adjust("13 hours")
      forget()
      yield* run(immutable)
      assert.deepStrictEqual(source.counts(), { tags: 1 })
      assert.deepStrictEqual(destination.counts(), { tags: 1 })
    })
  )

  mirrored(
    "does not look up immutable tags that another tool has put there",
    Effect.gen(function*() {
      const { destination, push, run, source } = yield* setup()
      const immutable = configOf({ ...app, immutable: "^v" })
      yield* push("v1", "one")
      yield* pushImage(destination.memory, repository("app"), ["other"], { tags: [tag("v1")] })
      const { rule } = yield* run(immutable)
      assert.strictEqual(rule.failed, 0)
      assert.deepStrictEqual(source.counts(), { tags: 1 })
    })
  )

  mirrored(
    "looks at the referrers of an unchanged image once in each period",
    Effect.gen(function*() {
      const { destination, push, run, source } = yield* setup()
      const signed = configOf({ ...app, referrers: { every: "24h" }, trust: "30d" })
      const one = yield* push("1", "one")
      const { descriptor } = yield* source.memory.getManifest(repository("app"), one)
      yield* run(signed)
      yield* pushReferrer(source.memory, repository("app"), descriptor, "signature")
      yield* TestClock.adjust("23 hours")
      source.forget()
      yield* run(signed)
      assert.isUndefined(source.counts()["referrers"])
      assert.deepStrictEqual(yield* listReferrers(destination.memory, repository("app"), one), [])
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* run(signed)).rule.copied, 1)
      assert.lengthOf(yield* listReferrers(destination.memory, repository("app"), one), 1)
      assert.strictEqual((yield* run(signed)).rule.planned, 0)
    })
  )

  mirrored(
    "skips an index that was rewritten, until the index or the platforms change",
    Effect.gen(function*() {
      const { destination, run, source } = yield* setup()
      yield* pushSample(source.memory, repository("app"), [tag("1")])
      const some = (platform: string) => configOf({ ...app, platforms: [platform], index: "rewrite" })
      assert.strictEqual((yield* run(some("linux/amd64"))).rule.copied, 1)
      const before = yield* imagesOf(destination.memory, "app")
      assert.strictEqual((yield* run(some("linux/amd64"))).rule.planned, 0)
      assert.strictEqual((yield* run(some("linux/arm64"))).rule.copied, 1)
      assert.notDeepEqual(yield* imagesOf(destination.memory, "app"), before)
      assert.strictEqual((yield* run(some("linux/arm64"))).rule.planned, 0)
    })
  )

  mirrored(
    "maps repositories of a catalog by their captures",
    Effect.gen(function*() {
      const { destination, push, run } = yield* setup()
      const one = yield* push("1", "one", "team/a")
      const two = yield* push("1", "two", "team/b")
      yield* push("1", "three", "other/c")
      const { rule } = yield* run(configOf({ name: "team", from: "one.local/team/*", to: "two.local/mirror/$1" }))
      assert.strictEqual(rule.copied, 2)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "mirror/a"), { 1: one })
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "mirror/b"), { 1: two })
    })
  )

  mirrored(
    "refuses a tag that two rules select",
    Effect.gen(function*() {
      const { destination, push, run } = yield* setup()
      yield* push("1", "one", "team/a")
      yield* push("1", "two", "team/b")
      const both = configOf(
        { name: "a", from: "one.local/team/a", to: "two.local/x", tags: { match: "1" } },
        { name: "b", from: "one.local/team/b", to: "two.local/x", tags: { match: "^." } }
      )
      const { report } = yield* run(both)
      assert.deepStrictEqual(report.rules.map(({ failed }) => failed), [1, 1])
      assert.match(report.rules[0]?.failures[0]?.error ?? "", /rule a.*rule b|rule b.*rule a/)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "x"), {})
    })
  )
})

describe("onTagMoved", () => {
  const moving = Effect.fnUntraced(function*(onTagMoved: unknown) {
    const fixture = yield* setup()
    const rules = configOf({ ...app, onTagMoved })
    const one = yield* fixture.push("1", "one")
    yield* fixture.run(rules)
    const two = yield* fixture.push("1", "two")
    return { ...fixture, rules, one, two, images: imagesOf(fixture.destination.memory, "app") }
  })

  mirrored(
    "keep leaves the previous image",
    Effect.gen(function*() {
      const { images, one, rules, run, state } = yield* moving("keep")
      const { rule } = yield* run(rules)
      assert.strictEqual(rule.failed + rule.planned, 0)
      assert.deepStrictEqual(yield* images, { 1: one })
      assert.strictEqual((yield* state.find({ status: "kept" })).length, 1)
    })
  )

  mirrored(
    "fail leaves the previous image, and is a failure",
    Effect.gen(function*() {
      const { images, one, rules, run } = yield* moving("fail")
      const { report, rule } = yield* run(rules)
      assert.strictEqual(rule.failed, 1)
      assert.isTrue(report.hasFailures)
      assert.deepStrictEqual(yield* images, { 1: one })
    })
  )

  mirrored(
    "backup keeps the previous image under another tag",
    Effect.gen(function*() {
      const { images, one, rules, run, two } = yield* moving({ backup: "old-{tag}-{date}-{digest}" })
      const { rule } = yield* run(rules)
      assert.strictEqual(rule.failed, 0)
      assert.deepStrictEqual(yield* images, { 1: two, [`old-1-1970-01-01-${one.slice(7, 19)}`]: one })
    })
  )

  mirrored(
    "backup does not replace a tag whose previous image it cannot keep",
    Effect.gen(function*() {
      const { destination, images, one, rules, run } = yield* moving({ backup: "old" })
      const other = yield* pushImage(destination.memory, repository("app"), ["other"], { tags: [tag("old")] })
      const { rule } = yield* run(rules)
      assert.strictEqual(rule.failed, 1)
      assert.deepStrictEqual(yield* images, { 1: one, old: other.digest })
    })
  )
})

describe("tags of another tool", () => {
  const foreign = Effect.fnUntraced(function*(content: string, adopt: boolean) {
    const fixture = yield* setup()
    const one = yield* fixture.push("1", "one")
    const theirs = yield* pushImage(fixture.destination.memory, repository("app"), [content], { tags: [tag("1")] })
    const outcome = yield* fixture.run(configOf({ ...app, adopt }))
    return { ...fixture, ...outcome, one, theirs: theirs.digest, images: imagesOf(fixture.destination.memory, "app") }
  })

  mirrored(
    "are refused",
    Effect.gen(function*() {
      const { images, rule, state, theirs } = yield* foreign("other", false)
      assert.strictEqual(rule.refused, 1)
      assert.strictEqual(rule.failed, 1)
      assert.deepStrictEqual(yield* images, { 1: theirs })
      assert.deepStrictEqual(yield* state.find({}), [])
    })
  )

  mirrored(
    "are left alone if they have the image already, and do not become those of this mirror",
    Effect.gen(function*() {
      const { rule, state } = yield* foreign("one", false)
      assert.strictEqual(rule.failed + rule.planned, 0)
      assert.deepStrictEqual(yield* state.find({}), [])
    })
  )

  mirrored(
    "are replaced if the rule adopts them",
    Effect.gen(function*() {
      const { images, one, rule } = yield* foreign("other", true)
      assert.strictEqual(rule.copied, 1)
      assert.deepStrictEqual(yield* images, { 1: one })
    })
  )

  mirrored(
    "are recorded if the rule adopts them and they have the image already",
    Effect.gen(function*() {
      const { destination, forget, one, push, run, state } = yield* foreign("one", true)
      const [row] = yield* state.find({ status: "copied" })
      assert.strictEqual(row?.destinationDigest, one)
      forget()
      yield* run(configOf({ ...app, adopt: true }))
      assert.deepStrictEqual(destination.counts(), {})
      yield* push("1", "two")
      assert.strictEqual((yield* run(configOf({ ...app, adopt: true }))).rule.copied, 1)
    })
  )
})

describe("a tag that fails", () => {
  const failing = Effect.fnUntraced(function*(faults: ReadonlyArray<Faults.Fault>) {
    const memory = yield* MemoryRegistry.make({ name: "two.local" })
    const { registry } = yield* Faults.make(memory, faults)
    const fixture = yield* setup({ destination: () => registry })
    return { ...fixture, memory }
  })
  const down = (times: number) =>
    Faults.fail(new UnexpectedResponse({ status: 503 }), { operation: "pushManifest", calls: { first: times } })

  mirrored(
    "does not stop the others, and is tried again after a pause that grows",
    Effect.gen(function*() {
      const { memory, push, run, state } = yield* failing([down(2)])
      const one = yield* push("1", "one")
      const first = yield* run(config)
      assert.strictEqual(first.rule.failed, 1)
      assert.match(first.rule.failures[0]?.error ?? "", /503/)
      const two = yield* push("2", "two")
      // the next attempt is not due
      yield* TestClock.adjust("59 seconds")
      const second = yield* run(configOf({ ...app, tags: { match: "1" } }))
      assert.strictEqual(second.rule.later, 1)
      assert.strictEqual(second.rule.failed, 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* run(configOf({ ...app, tags: { match: "1" } }))).rule.failed, 1)
      yield* TestClock.adjust("119 seconds")
      const fourth = yield* run(config)
      assert.strictEqual(fourth.rule.later, 1)
      assert.strictEqual(fourth.rule.copied, 1)
      // a person need not wait
      assert.strictEqual(yield* state.retry({}), 1)
      assert.strictEqual((yield* run(config)).rule.copied, 1)
      assert.deepStrictEqual(yield* imagesOf(memory, "app"), { 1: one, 2: two })
      assert.deepStrictEqual(yield* state.find({ status: "failed" }), [])
    })
  )

  mirrored(
    "stops the rule if it says so",
    Effect.gen(function*() {
      const { push, run } = yield* failing([down(100)])
      for (const name of ["a", "b", "c"]) yield* push("1", name, `team/${name}`)
      const stopping = { name: "team", from: "one.local/team/*", to: "two.local/mirror/$1", onError: "stop" }
      const { rule } = yield* run(configOf(stopping), { repositories: 1 })
      assert.strictEqual(rule.failed, 1)
    })
  )

  mirrored(
    "is one whose source cannot be looked up",
    Effect.gen(function*() {
      const { push, run, state } = yield* setup({
        source: (registry) =>
          override(registry, {
            resolveManifest: () => failingWith("resolveManifest", new UnexpectedResponse({ status: 500 }))
          })
      })
      yield* push("1", "one")
      assert.strictEqual((yield* run(config)).rule.failed, 1)
      const [row] = yield* state.find({ status: "failed" })
      assert.strictEqual(row?.attempts, 1)
      assert.strictEqual((yield* run(config)).rule.later, 1)
    })
  )

  mirrored(
    "is a tag that the rule names and the source lacks",
    Effect.gen(function*() {
      const { push, run } = yield* setup()
      yield* push("1", "one")
      const { rule } = yield* run(configOf({ ...app, tags: { names: ["1", "2"] } }))
      assert.deepStrictEqual([rule.copied, rule.failed], [1, 1])
    })
  )
})

describe("hooks", () => {
  mirrored(
    "run before and after, and may refuse a copy",
    Effect.gen(function*() {
      const { push, run } = yield* setup()
      yield* push("1", "one")
      yield* push("2", "two")
      const seen: Array<string> = []
      const note = (text: string) => Effect.sync(() => void seen.push(text))
      const hooks: Mirror.Hooks = {
        beforeRun: (rule) => note(`before ${rule}`),
        beforeCopy: ({ sourceTag }) =>
          sourceTag === "2" ? Effect.fail(new Mirror.Refused({ reason: "not scanned" })) : note("copy 1"),
        afterCopy: ({ destinations }) => note(`copied ${destinations}`),
        onRepositoryMissing: (host, repository) => note(`create ${host}/${repository}`),
        onFailure: ({ error, tag }) => note(`failed ${tag}: ${error}`),
        afterRun: ({ copied, failed }) => note(`after ${copied} ${failed}`)
      }
      yield* Effect.provideService(run(config, { copies: 1 }), Mirror.Hooks, hooks)
      assert.deepStrictEqual(seen, [
        "before apps",
        "create two.local/app",
        "copy 1",
        "copied two.local/app:1",
        "failed 2: refused: not scanned",
        "after 1 1"
      ])
    })
  )

  mirrored(
    "refuse a rule, or a repository",
    Effect.gen(function*() {
      const { destination, push, run } = yield* setup()
      yield* push("1", "one")
      const no = () => Effect.fail(new Mirror.Refused({ reason: "no" }))
      const refused = yield* Effect.provideService(run(config), Mirror.Hooks, { ...Mirror.noHooks, beforeRun: no })
      assert.deepStrictEqual(refused.rule.problems, ["refused: no"])
      const missing = { ...Mirror.noHooks, onRepositoryMissing: no }
      const failed = yield* Effect.provideService(run(config), Mirror.Hooks, missing)
      assert.match(failed.rule.failures[0]?.error ?? "", /the repository is missing: refused: no/)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "app"), {})
    })
  )
})

describe("a run that is killed while it records a failed lookup", () => {
  mirrored(
    "does not make the tag of another tool its own",
    Effect.gen(function*() {
      const lookups = { fail: true }
      const { destination, push, run, state } = yield* setup({ source: failingLookups(lookups) })
      yield* push("1", "one")
      const { digest } = yield* pushImage(destination.memory, repository("app"), ["other"], { tags: [tag("1")] })
      yield* run(config)
      const [row] = yield* state.tags("two.local/app")
      // the row as it is before the failure is recorded
      yield* state.record(
        row === undefined ? [] : [{ ...row, status: "pending", error: undefined, retryAt: undefined }]
      )
      lookups.fail = false
      const { rule } = yield* run(config)
      assert.match(rule.failures[0]?.error ?? "", /another tool/)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "app"), { 1: digest })
    })
  )
})

describe("a rule that selects nothing", () => {
  mirrored(
    "is a warning, and no failure",
    Effect.gen(function*() {
      const { push, run } = yield* setup()
      yield* push("1", "one")
      const tags = yield* run(configOf({ ...app, tags: { match: "^2" } }))
      assert.deepStrictEqual([tags.rule.warnings, tags.report.hasFailures], [["it selects no tags"], false])
      const repositories = yield* run(configOf({ ...app, from: "one.local/team/*", to: "two.local/$1" }))
      assert.deepStrictEqual(repositories.rule.warnings, ["it selects no repository"])
      assert.deepStrictEqual((yield* run(config, { only: "failed" })).rule.warnings, [])
    })
  )
})

describe("rules that are run one at a time", () => {
  const only = (name: string) => ({ rules: (rule: { readonly name: string }) => rule.name === name })
  const one = { ...app, name: "one", from: "one.local/app", tags: { match: "^1" } }
  const two = { ...app, name: "two", from: "one.local/other", tags: { match: "^[12]" } }

  mirrored(
    "do not take tags from each other",
    Effect.gen(function*() {
      const { destination, push, run } = yield* setup()
      const first = yield* push("1", "one")
      yield* push("1", "other", "other")
      const second = yield* push("2", "two", "other")
      const config = configOf(one, two)
      yield* run(config, only("one"))
      const { rule } = yield* run(config, only("two"))
      assert.deepStrictEqual(yield* imagesOf(destination.memory, "app"), { 1: first, 2: second })
      assert.match(rule.failures[0]?.error ?? "", /two\.local\/app:1 would come from .* and from /)
      assert.isFalse((yield* run(config, only("one"))).report.hasFailures)
    })
  )

  mirrored(
    "have the tags of a rule that was renamed, or that has another source now",
    Effect.gen(function*() {
      const { forget, push, run, destination, state } = yield* setup()
      yield* push("1", "one")
      yield* push("1", "one", "other")
      yield* run(configOf(one))
      forget()
      const { rule } = yield* run(configOf({ ...two, tags: { match: "^1" } }))
      assert.strictEqual(rule.planned, 0)
      assert.deepStrictEqual(destination.counts(), {})
      const rows = yield* state.tags("two.local/app")
      assert.deepStrictEqual(rows.map(({ rule, source }) => [rule, source]), [["two", "one.local/other"]])
    })
  )
})

describe("a failed tag that the rule does not select any more", () => {
  mirrored(
    "is no failure, whether the destination has got it or not",
    Effect.gen(function*() {
      const lookups = { fail: false }
      const { push, run, source, state } = yield* setup({ source: failingLookups(lookups) })
      yield* push("1", "one")
      yield* push("3", "three")
      yield* run(config)
      yield* push("2", "two")
      lookups.fail = true
      assert.strictEqual((yield* run(config)).rule.failed, 3)
      lookups.fail = false
      for (const name of ["1", "2"]) yield* source.memory.deleteTag(repository("app"), tag(name))
      yield* TestClock.adjust("1 hour")
      yield* run(config)
      const rows = yield* state.tags("two.local/app")
      assert.deepStrictEqual(rows.map(({ status, tag }) => [tag, status]), [["1", "kept"], ["3", "copied"]])
    })
  )
})

describe("a clock that was set back", () => {
  mirrored(
    "makes neither an old success trusted nor an old failure wait for ever",
    Effect.gen(function*() {
      const { destination, push, run, state } = yield* setup()
      const image = yield* push("1", "one")
      yield* push("2", "two")
      yield* TestClock.setTime(Date.UTC(2036, 0))
      yield* run(config)
      const rows = yield* state.tags("two.local/app")
      const retryAt = DateTime.makeUnsafe(Date.UTC(2036, 0, 1, 6))
      yield* state.record(rows.filter(({ tag }) => tag === "2").map((row) => ({ ...row, status: "failed", retryAt })))
      yield* destination.memory.deleteTag(repository("app"), tag("1"))
      yield* TestClock.setTime(Date.UTC(2026, 10, 27))
      const { rule } = yield* run(config)
      assert.deepStrictEqual([rule.copied, rule.later], [2, 0])
      assert.strictEqual((yield* imagesOf(destination.memory, "app"))["1"], image)
    })
  )
})

describe("a rule over a catalog", () => {
  mirrored(
    "fails if it selects too many repositories",
    Effect.gen(function*() {
      const { run } = yield* setup({
        source: (registry) =>
          override(registry, {
            repositories: () => Stream.map(Stream.range(1, 100_000), (number) => repository(`team/${number}`))
          })
      })
      const { rule } = yield* run(configOf({ ...app, from: "one.local/team/*", to: "two.local/mirror/$1" }))
      assert.match(rule.problems.join(), /the rule selects more than 50000 repositories/)
    })
  )
})
