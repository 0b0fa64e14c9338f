import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import { Images } from "effect-oci/testing"
import * as Overlap from "../../src/mirror/Overlap.ts"

const lines = (rules: ReadonlyArray<unknown>) =>
  Result.match(MirrorConfig.decode({ version: 1, rules }), {
    onSuccess: (): ReadonlyArray<string> => [],
    onFailure: ({ lines }) => lines
  })

const app = { from: "a.test/app", to: "m.test/app" }
const copy = { from: "b.test/app", to: "m.test/app" }

describe("an overlap that is certain without a list is an error of the configuration", () => {
  it.each<readonly [name: string, rules: ReadonlyArray<unknown>, message: string]>([
    [
      "two rules for all tags",
      [app, copy],
      "rules[1].to: tags of m.test/app would come from a.test/app (rule a.test-app) and from b.test/app (rule b.test-app)"
    ],
    [
      "all tags, and some",
      [app, { ...copy, tags: { match: "^v" } }],
      "rules[1].to: tags of m.test/app would come from"
    ],
    [
      "the same selection",
      [{ ...app, tags: { semver: "^1", newest: 2 } }, { ...copy, tags: { semver: "^1", newest: 2 } }],
      "rules[1].to: tags of m.test/app would come from"
    ],
    [
      "the same exact tag",
      [{ ...app, tags: ["1", "2"] }, { ...copy, tags: ["2", "3"] }],
      "rules[1].to: m.test/app:2 would come from"
    ],
    [
      "an exact tag that another rule selects",
      [{ ...app, tags: { match: "^v" } }, { ...copy, tags: ["1", "v2"] }],
      "rules[1].to: m.test/app:v2 would come from"
    ],
    [
      "exact tags that templates make the same",
      [{ ...app, to: "m.test/app:{tag}-x", tags: ["1"] }, { ...copy, tags: ["1-x"] }],
      "rules[1].to: m.test/app:1-x would come from"
    ],
    [
      "several sources of one rule",
      [{ from: ["a.test/app", "b.test/app"], to: "m.test/$0" }],
      "rules[0].to: tags of m.test/app would come from a.test/app and from b.test/app"
    ],
    [
      "two destinations of one rule",
      [{ from: "a.test/app", to: ["m.test/app", "m.test/$0"] }],
      "rules[0].to: tags of m.test/app would come from a.test/app more than once"
    ]
  ])("%s", (_, rules, message) => {
    const found = lines(rules)
    assert.strictEqual(found.length, 1, found.join("\n"))
    assert.isTrue(found[0]?.startsWith(message), found[0])
  })
})

describe("rules that may be disjoint are accepted", () => {
  it.each<readonly [name: string, rules: ReadonlyArray<unknown>]>([
    ["other repositories", [app, { ...copy, to: "m.test/other" }]],
    ["other registries", [app, { ...copy, to: "n.test/app" }]],
    ["other tags", [{ ...app, tags: ["1"] }, { ...copy, tags: ["2"] }]],
    ["other ranges", [{ ...app, tags: { semver: "1.x" } }, { ...copy, tags: { semver: "2.x" } }]],
    ["an exact tag that the other rule does not select", [{ ...app, tags: ["x"] }, { ...copy, tags: { match: "^v" } }]],
    ["other templates", [app, { ...copy, to: "m.test/app:{tag}-b" }]],
    ["repositories of a catalog", [{ ...app, from: "a.test/*", to: "m.test/$1" }, {
      ...copy,
      from: "b.test/*",
      to: "m.test/$1"
    }]]
  ])("%s", (_, rules) => {
    assert.deepStrictEqual(lines(rules), [])
  })
})

describe("among", () => {
  const claim = (rule: string, tag: string, destination = "m.test/app") => ({
    rule,
    source: `${rule}.test/app`,
    destination,
    tag: Images.tag(tag)
  })

  it("finds the tags that two rules claim in the same repository", () => {
    const overlaps = Overlap.among([
      claim("a", "1"),
      claim("a", "2"),
      claim("b", "2"),
      claim("b", "1", "m.test/other")
    ])
    assert.deepStrictEqual(overlaps.map(Overlap.format), [
      "m.test/app:2 would come from a.test/app (rule a) and from b.test/app (rule b)"
    ])
  })
})
