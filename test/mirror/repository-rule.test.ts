import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Stream } from "effect"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import type { MirrorRule } from "effect-oci/MirrorRule"
import type { Host } from "effect-oci/Reference"
import * as RepositoryRule from "effect-oci/RepositoryRule"
import { Images } from "effect-oci/testing"

const ruleOf = (rule: unknown): MirrorRule => {
  const { rules: [first] } = Result.getOrThrow(MirrorConfig.decode({ version: 1, rules: [rule] }))
  return assert.isDefined(first), first as MirrorRule // the assertion has just checked it
}

const catalog = (...names: ReadonlyArray<string>) => (registry: Host) =>
  registry === "a.test" ? Stream.fromIterable(names.map(Images.repository)) : Stream.die(`no catalog of ${registry}`)

const expanded = (rule: unknown, ...names: ReadonlyArray<string>) =>
  RepositoryRule.expand(ruleOf(rule), catalog(...names)).pipe(
    Stream.map(({ destinations, source }) =>
      `${source.registry}/${source.repository} > ${
        destinations.map(({ registry, repository, tag }) => `${registry}/${repository}:${tag}`).join(" ")
      }`
    ),
    Stream.runCollect
  )

describe("expand", () => {
  it.effect.each<readonly [name: string, rule: unknown, names: ReadonlyArray<string>, expected: ReadonlyArray<string>]>(
    [
      [
        "needs no catalog for named repositories",
        { from: ["b.test/x/{app,db}", "c.test/y"], to: ["m.test/$0", "n.test/z/$0:{tag}-1"] },
        [],
        [
          "b.test/x/app > m.test/x/app:{tag} n.test/z/x/app:{tag}-1",
          "b.test/x/db > m.test/x/db:{tag} n.test/z/x/db:{tag}-1",
          "c.test/y > m.test/y:{tag} n.test/z/y:{tag}-1"
        ]
      ],
      [
        "matches * within a part of a name",
        { from: "a.test/team/*", to: "m.test/$1" },
        ["team/app", "team/x/y", "other/app", "team"],
        ["a.test/team/app > m.test/app:{tag}"]
      ],
      [
        "matches ** over several parts",
        { from: "a.test/team/**", to: "m.test/$1" },
        ["team/app", "team/x/y", "other/app"],
        ["a.test/team/app > m.test/app:{tag}", "a.test/team/x/y > m.test/x/y:{tag}"]
      ],
      [
        "numbers alternatives and stars from left to right",
        { from: "a.test/{x,y}/*-app", to: "m.test/$2/$1" },
        ["x/b-app", "y/c-app", "z/d-app", "x/b"],
        ["a.test/x/b-app > m.test/b/x:{tag}", "a.test/y/c-app > m.test/c/y:{tag}"]
      ],
      [
        "matches a pattern anywhere, and fills groups that did not take part with nothing",
        { from: { registry: "a.test", match: "a(b)?(p+)" }, to: "m.test/x$1/$2" },
        ["app", "xabpp/y", "z"],
        ["a.test/app > m.test/x/pp:{tag}", "a.test/xabpp/y > m.test/xb/pp:{tag}"]
      ],
      [
        "has a repository once",
        { from: ["a.test/team/app", "a.test/team/*"], to: "m.test/$0" },
        ["team/app", "team/db"],
        ["a.test/team/app > m.test/team/app:{tag}", "a.test/team/db > m.test/team/db:{tag}"]
      ]
    ]
  )("%s", ([, rule, names, expected]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* expanded(rule, ...names), [...expected])
    }))

  it.effect("fails for a repository whose destination has no valid name", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        expanded({ from: "a.test/*", to: "m.test/$1/x" }, "ok", "ok2", `a${"b".repeat(254)}`)
      )
      assert.include(error.message, "has no destination m.test/$1/x: it has 257 characters, 255 are allowed")
    }))
})

it("tagOf fills the template of a tag", () => {
  assert.strictEqual(RepositoryRule.tagOf("{tag}-{tag}", "1"), "1-1")
})
