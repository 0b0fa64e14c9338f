import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Result } from "effect"
import * as Authentication from "effect-oci/Authentication"
import * as Access from "../../src/cli/Access.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { memory } from "../utils/Served.ts"
import { basicHeader } from "../utils/serving.ts"

const parsed = (text: string) => Result.getOrThrow(Access.parse("access.yml", text))

const linesOf = (text: string) =>
  Result.match(Access.parse("access.yml", text), { onSuccess: () => [], onFailure: ({ lines }) => lines })

const file = `
groups:
  developers: [ada, bob]
rules:
  - repositories: public/**
    anonymous: true
    allow: pull
  - repositories: [team/*, tools]
    groups: developers
    allow: push
  - repositories: "**"
    users: root
    allow: [pull, push, delete]
  - repositories: shared/app
    users: "*"
    allow: pull
metrics: { users: prometheus }
`

describe("the rights in a file", () => {
  const { anonymousRules, authorize, rules, users } = parsed(file)
  const may = (username: string | undefined, action: Authentication.Permission["action"], name: string) =>
    authorize(username, { type: "repository", name, action })

  it.effect.each(
    [
      [undefined, "pull", "public/app", true],
      [undefined, "pull", "public/a/b", true],
      [undefined, "push", "public/app", false],
      [undefined, "pull", "public", false],
      [undefined, "pull", "team/app", false],
      ["eve", "pull", "public/app", true],
      ["eve", "pull", "shared/app", true],
      ["eve", "pull", "team/app", false],
      ["ada", "push", "team/app", true],
      ["bob", "pull", "team/app", true],
      ["ada", "delete", "team/app", false],
      ["ada", "push", "team/a/b", false],
      ["ada", "push", "tools", true],
      ["ada", "push", "toolsx", false],
      ["root", "delete", "any/thing", true],
      ["root", "*", "any/thing", true],
      ["ada", "*", "team/app", false],
      ["constructor", "push", "team/app", false]
    ] as const
  )("let %s %s %s: %s", ([username, action, name, expected]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* may(username, action, name), expected)
    }))

  it.effect("let only the named clients read the metrics", () =>
    Effect.gen(function*() {
      const reads = (username: string | undefined) =>
        authorize(username, { type: "registry", name: "metrics", action: "*" })
      assert.deepStrictEqual(yield* Effect.all([reads("prometheus"), reads("ada"), reads(undefined)]), [
        true,
        false,
        false
      ])
    }))

  it("are counted, with the names of their users", () => {
    assert.deepStrictEqual([rules, anonymousRules], [4, 1])
    assert.deepStrictEqual(Array.from(users).sort(), ["ada", "bob", "prometheus", "root"])
  })

  it.each([
    ["rules: [{ repositories: a, users: ada, allow: pulll }]", "rules[0].allow: ", "did you mean pull?"],
    ["rules: [{ repository: a, users: ada, allow: pull }]", "rules[0].repository: ", "did you mean repositories?"],
    ["rules: [{ repositories: a, allow: pull }]", "rules[0]: is for no client"],
    ["rules: [{ repositories: Team/*, users: ada, allow: pull }]", "rules[0].repositories: write a repository"],
    ["rules: [{ repositories: '*a*b*c*d*', users: ada, allow: pull }]", "a pattern with at most 4 stars"],
    ["rules: [{ repositories: a, groups: devs, allow: pull }]", "rules[0].groups: unknown group \"devs\""],
    ["groups: { devs: [ada] }\nrules: [{ repositories: a, groups: devz, allow: pull }]", "did you mean devs?"],
    ["rules: []\nmetrics: {}", "metrics: is for no client"],
    ["users: []", "rules: is missing"],
    ["rules: [", "access.yml:1: invalid YAML"]
  ])("are refused: %j", (text, ...says) => {
    for (const part of says) assert.include(linesOf(text).join("\n"), part)
  })

  it("may be JSON or TOML", () => {
    const json = JSON.stringify({ rules: [{ repositories: "a", users: "ada", allow: "pull" }] })
    assert.isTrue(Result.isSuccess(Access.parse("access.json", json)))
    const toml = "[[rules]]\nrepositories = \"a\"\nusers = [\"ada\"]\nallow = [\"pull\"]\n"
    assert.isTrue(Result.isSuccess(Access.parse("access.toml", toml)))
  })
})

describe("the catalog of a server with rights", () => {
  const check = Authentication.passwords({ ada: Redacted.make("a"), root: Redacted.make("r") })
  const { authorize } = parsed(file)
  const fill = Effect.fnUntraced(function*(authentication: Authentication.Authentication) {
    const served = yield* memory({ authentication })
    for (const name of ["public/app", "secret/app", "shared/app", "team/app"]) {
      yield* pushImage(served.registry, repository(name), ["layer"], { tags: [tag("1")] })
    }
    return served
  })
  const expected = [["root:r", ["public/app", "secret/app", "shared/app", "team/app"]], [
    "ada:a",
    ["public/app", "shared/app", "team/app"]
  ]] as const

  it.live("contains the repositories from which the client may pull", () =>
    Effect.gen(function*() {
      const { ask } = yield* fill(Authentication.basic({ check, authorize }))
      for (const [user, repositories] of expected) {
        const { text } = yield* ask("GET /v2/_catalog", { headers: basicHeader(user) })
        assert.deepStrictEqual(JSON.parse(text), { repositories })
      }
      const anonymous = yield* ask("GET /v2/_catalog")
      assert.deepStrictEqual(JSON.parse(anonymous.text), { repositories: ["public/app"] })
      const page = yield* ask("GET /v2/_catalog?n=1&last=public/app", { headers: basicHeader("ada:a") })
      assert.deepStrictEqual(JSON.parse(page.text), { repositories: ["shared/app"] })
      assert.strictEqual(page.headers.link, "</v2/_catalog?n=1&last=shared%2Fapp>; rel=\"next\"")
    }))

  it.live("contains the same with tokens", () =>
    Effect.gen(function*() {
      const { ask } = yield* fill(Authentication.bearer({ service: "registry.test", check, authorize }))
      for (const [user, repositories] of expected) {
        const issued = yield* ask("GET /token?scope=registry:catalog:*", { headers: basicHeader(user) })
        const { token } = JSON.parse(issued.text) as { readonly token: string }
        const { text } = yield* ask("GET /v2/_catalog", { headers: { authorization: `Bearer ${token}` } })
        assert.deepStrictEqual(JSON.parse(text), { repositories })
      }
    }))
})
