import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Result, SemVer, SemVerRange, Stream } from "effect"
import * as Reference from "effect-oci/Reference"
import * as TagFilter from "effect-oci/TagFilter"

const digestTag = `sha256-${"a".repeat(64)}.sig`
const tags = ["latest", "v1.4.0", "1.4.2", "1.5.0-rc.1", "1.10.0", "2.0.0_build.7", digestTag].map((tag) =>
  Reference.Tag.make(tag)
)

const range = (text: string) => Result.getOrThrow(SemVerRange.parse(text))

const selected = (filter: TagFilter.TagFilter) =>
  Effect.map(Stream.runCollect(TagFilter.apply(Stream.fromIterable(tags), filter)), (tags) => tags.map(String))

describe("apply", () => {
  it.effect.each<readonly [name: string, filter: TagFilter.TagFilter, expected: ReadonlyArray<string>]>([
    ["no condition", {}, tags],
    ["include", { include: [/^1\./, /^l/] }, ["latest", "1.4.2", "1.5.0-rc.1", "1.10.0"]],
    ["no pattern to include", { include: [], exclude: [] }, tags],
    ["exclude", { include: [/^1\./], exclude: [/rc/] }, ["1.4.2", "1.10.0"]],
    ["semver", { semver: range("^1.4") }, ["v1.4.0", "1.4.2", "1.10.0"]],
    ["latest", { latest: 2 }, ["2.0.0_build.7", "1.10.0"]],
    ["latest of fewer", { latest: 9, semver: range("2.x") }, ["2.0.0_build.7"]],
    ["digestTags", { digestTags: "exclude", include: [/^[ls]/] }, ["latest"]]
  ])("selects the tags that meet the conditions: %s", ([, filter, expected]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* selected(filter), [...expected])
    }))

  it.effect("starts a global or sticky pattern at the beginning of each tag", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* selected({ include: [/1\.(?:4|10)/g] }), ["v1.4.0", "1.4.2", "1.10.0"])
      assert.deepStrictEqual(yield* selected({ include: [/1\.(?:4|10)/y] }), ["1.4.2", "1.10.0"])
    }))

  it.effect("is a function of the filter as well", () =>
    Effect.gen(function*() {
      const found = yield* Stream.fromIterable(tags).pipe(TagFilter.apply({ latest: 1 }), Stream.runCollect)
      assert.deepStrictEqual(found.map(String), ["2.0.0_build.7"])
    }))
})

describe("version", () => {
  it("is that of the tag, with or without a v, with _ for +", () => {
    assert.deepStrictEqual(
      ["v1.2.3", "2.0.0_build.7"].map((tag) =>
        Option.getOrUndefined(Option.map(TagFilter.version(tag), SemVer.format))
      ),
      ["1.2.3", "2.0.0+build.7"]
    )
    for (const tag of ["latest", "1.2", "vv1.2.3", digestTag]) assert.isTrue(Option.isNone(TagFilter.version(tag)))
  })
})
