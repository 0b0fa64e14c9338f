import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, DateTime, Duration, Result, Schema } from "effect"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import type * as MirrorRule from "effect-oci/MirrorRule"
import * as TagRule from "effect-oci/TagRule"
import { Images } from "effect-oci/testing"

const ruleOf = (tags: unknown): MirrorRule.TagRule => {
  const { rules: [rule] } = Result.getOrThrow(
    MirrorConfig.decode({ version: 1, rules: [{ from: "a.test/app", to: "b.test/app", tags }] })
  )
  return assert.isDefined(rule), (rule as MirrorRule.MirrorRule).tags // the assertion has just checked it
}

const digestTag = `sha256-${"a".repeat(64)}.sig`

const all = ["latest", "edge", "v1.2.3", "1.3.0", "1.3.1", "1.4.0-rc.1", "2.0.0", "2.1", "3", "3.20-alpine", digestTag]

const selected = (rule: MirrorRule.TagRule, tags: ReadonlyArray<string> = all): ReadonlyArray<string> =>
  TagRule.decide(rule, tags.map(Images.tag)).filter(({ selected }) => selected).map(({ tag }) => tag)

const without = (...others: ReadonlyArray<string>) => all.filter((tag) => !others.includes(tag))

describe("decide selects", () => {
  it.each<readonly [name: string, tags: unknown, expected: ReadonlyArray<string>]>([
    ["all tags but those made of digests", {}, without(digestTag)],
    ["those made of digests on request", { digestTags: true }, all],
    ["those made of digests by name", [digestTag], [digestTag]],
    ["names", ["latest", "2.1", "absent"], ["latest", "2.1"]],
    ["tags that match one of the patterns", { match: ["^v", "^e"] }, ["edge", "v1.2.3"]],
    ["tags that match no excluded pattern", { match: "^[12]", exclude: ["rc", "^2"] }, ["1.3.0", "1.3.1"]],
    ["tags that match whatever their case", { match: "(?i)^LATEST$" }, ["latest"]],
    ["versions", { semver: "*" }, ["v1.2.3", "1.3.0", "1.3.1", "2.0.0"]],
    ["versions of a range", { semver: "^1.3" }, ["1.3.0", "1.3.1"]],
    ["pre-releases that are named", { semver: ">=1.4.0-rc.0 <2" }, ["1.4.0-rc.1"]],
    ["all pre-releases", { semver: ">=1.3.1 <2", preReleases: "all" }, ["1.3.1", "1.4.0-rc.1"]],
    ["partial versions", { semver: ">=2", versions: "partial" }, ["2.0.0", "2.1", "3"]],
    [
      "partial versions with pre-releases",
      { semver: ">=2", versions: "partial", preReleases: "all" },
      ["2.0.0", "2.1", "3", "3.20-alpine"]
    ],
    ["the newest versions", { newest: 2 }, ["1.4.0-rc.1", "2.0.0"]],
    ["the newest of each major version", { newest: 1, per: "major", semver: "*" }, ["1.3.1", "2.0.0"]],
    [
      "the newest of each minor version",
      { newest: 1, per: "minor", versions: "partial" },
      ["v1.2.3", "1.3.1", "1.4.0-rc.1", "2.0.0", "2.1", "3", "3.20-alpine"]
    ],
    ["the newest after the other conditions", { exclude: "^2", semver: "*", newest: 1 }, ["1.3.1"]],
    ["included tags whatever the other conditions say", { semver: "^2", include: ["^latest$", "^v"] }, [
      "latest",
      "v1.2.3",
      "2.0.0"
    ]],
    ["included tags that are excluded", { exclude: "e", include: "^edge$", match: "^[el]" }, ["edge"]],
    ["no included tag that is made of a digest", { match: "^$", include: "^sha256" }, []],
    ["what one of several selections has", ["edge", { semver: "^1", newest: 1 }, { semver: "^2" }], [
      "edge",
      "1.3.1",
      "2.0.0"
    ]]
  ])("%s", (_, tags, expected) => {
    assert.deepStrictEqual(selected(ruleOf(tags)), expected)
  })
})

describe("decide says why", () => {
  it.each<readonly [tags: unknown, tag: string, why: string]>([
    [{}, "edge", "all tags are selected"],
    [["1"], "edge", "is not among the names"],
    [["edge"], "edge", "is among the names"],
    [{ match: ["^v", "^x"] }, "edge", "does not match ^v or ^x"],
    [{ match: ["^x", "^e"] }, "edge", "matches ^e"],
    [{ exclude: ["(?i)E"] }, "edge", "is excluded by (?i)E"],
    [{ semver: "^1" }, "edge", "is not a version"],
    [{ semver: "^1" }, "2.0.0", "is not in ^1"],
    [{ semver: "^1", newest: 1 }, "1.3.0", "is not among the newest 1"],
    [{ semver: "^1", newest: 1, per: "major" }, "1.3.0", "is not among the newest 1 of 1"],
    [{ semver: "^1", newest: 1, per: "minor" }, "1.3.1", "is in ^1, is among the newest 1 per minor"],
    [{ newest: 1 }, "edge", "is not a version"],
    [{ semver: "^1", include: "^e" }, "edge", "is included by ^e"],
    [{}, digestTag, "is made of a digest"],
    [{ pushedWithin: "1d" }, "edge", "its date is not known yet"]
  ])("%j: %s %s", (tags, tag, why) => {
    const decision = TagRule.decide(ruleOf(tags), all.map(Images.tag)).find((decision) => decision.tag === tag)
    assert.strictEqual(decision?.why, why)
  })
})

describe("decideByDate", () => {
  const now = DateTime.makeUnsafe("2026-06-30T00:00:00Z")
  const ago = (days: number) => DateTime.subtractDuration(now, Duration.days(days))
  const dates = new Map([["latest", ago(1)], ["edge", ago(11)], ["v1.2.3", ago(10)], ["1.3.0", undefined]])
  const decided = (tags: unknown) =>
    TagRule.decideByDate(TagRule.decide(ruleOf(tags), all.map(Images.tag)), { now, dates })

  it("selects the tags that are younger", () => {
    const decisions = decided({ pushedWithin: "10d" })
    assert.deepStrictEqual(decisions.filter(({ selected }) => selected).map(({ tag }) => String(tag)), [
      "latest",
      "v1.2.3"
    ])
    assert.deepStrictEqual(
      ["latest", "edge", "1.3.0"].map((tag) => decisions.find((decision) => decision.tag === tag)?.why),
      ["was made within 10d", "was made longer ago than 10d", "has no date"]
    )
  })

  it("is needed only for tags that the other steps leave, and that are not included", () => {
    const decisions = TagRule.decide(
      ruleOf({ match: "^[el]", include: "^latest$", pushedWithin: "1d" }),
      all.map(Images.tag)
    )
    assert.deepStrictEqual(
      decisions.filter(({ within }) => within !== undefined).map(({ tag }) => String(tag)),
      ["edge"]
    )
  })

  it("uses the largest age of several selections", () => {
    const decisions = decided([{ match: "^e", pushedWithin: "1d" }, { match: "^[el]", pushedWithin: "20d" }])
    assert.deepStrictEqual(decisions.filter(({ selected }) => selected).map(({ tag }) => String(tag)), [
      "latest",
      "edge"
    ])
  })
})

describe("selected", () => {
  it("fails if the rule selects too few tags", () => {
    const rule = ruleOf({ match: "^v", atLeast: 2 })
    const error = Result.getOrThrow(Result.flip(TagRule.selected(rule, TagRule.decide(rule, all.map(Images.tag)))))
    assert.strictEqual(error.message, "the rule selects 1 of 11 tags, and requires at least 2")
  })

  it("counts the tags of all selections together", () => {
    const rule = ruleOf(["latest", { match: "^v", atLeast: 2 }])
    assert.isTrue(Result.isSuccess(TagRule.selected(rule, TagRule.decide(rule, all.map(Images.tag)))))
  })
})

describe("exactTags", () => {
  it.each<readonly [tags: unknown, expected: ReadonlyArray<string> | undefined]>([
    [["a", "b"], ["a", "b"]],
    [{ names: ["a"], versions: "partial" }, ["a"]],
    [["a", { names: ["b", "a"] }], ["a", "b"]],
    [{}, undefined],
    [{ names: ["a"], exclude: "x" }, undefined],
    [["a", { match: "x" }], undefined]
  ])("of %j", (tags, expected) => {
    assert.deepStrictEqual(TagRule.exactTags(ruleOf(tags))?.map(String), expected)
  })
})

const lists = Arbitrary.array(Arbitrary.schema(Schema.Literals(all))).pipe(
  Arbitrary.map((tags) => Array.from(new Set(tags)))
)

const rules: ReadonlyArray<unknown> = [
  {},
  { newest: 2, per: "minor", versions: "partial" },
  { match: "^v?1", exclude: "rc", include: "^e" },
  ["edge", { semver: ">=1", preReleases: "all" }]
]

it.prop(
  "every tag gets one decision, in the order of the tags, on which the choice does not depend",
  [lists],
  ([tags]) => {
    for (const rule of rules.map(ruleOf)) {
      assert.deepStrictEqual(TagRule.decide(rule, tags.map(Images.tag)).map(({ tag }) => String(tag)), tags)
      assert.deepStrictEqual(
        new Set(selected(rule, tags)),
        new Set(selected(rule, all.filter((tag) => tags.includes(tag))))
      )
    }
  }
)
