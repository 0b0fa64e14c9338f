import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"
import * as TokenScope from "../src/TokenScope.ts"

const resource = Schema.Literals([
  "repository:team/app",
  "repository:team/other",
  "repository:localhost:5000/app",
  "registry:catalog",
  "repository(plugin):a/b",
  "cloud:x"
])
const action = Schema.Literals(["pull", "push", "delete", "*", "metadata_read"])
const word = Schema.Union([Schema.Literals(["opaque", "*", "a:b", "::", "repository:x:", ":,", "a::b"]), Schema.String])
const scopes = Arbitrary.array(Arbitrary.schema(Schema.Union([
  Schema.Tuple([resource, Schema.NonEmptyArray(action)]),
  word
]))).pipe(
  Arbitrary.map((parts) => parts.map((part) => typeof part === "string" ? part : `${part[0]}:${part[1].join(",")}`)),
  Arbitrary.map((words) => TokenScope.parse(words.join(" ")))
)
const same = (a: TokenScope.TokenScope, b: TokenScope.TokenScope) => {
  assert.isTrue(TokenScope.equals(a, b), `${TokenScope.format(a)} is not ${TokenScope.format(b)}`)
  assert.strictEqual(TokenScope.format(a), TokenScope.format(b))
}

describe("Scope", () => {
  it.each([
    ["repository:team/app:pull", "repository:team/app:pull"],
    ["repository:team/app:push,pull,push", "repository:team/app:pull,push"],
    ["repository:a:pull repository:a:push", "repository:a:pull,push"],
    ["  registry:catalog:*\trepository:a:pull ", "registry:catalog:* repository:a:pull"],
    ["repository:a:pull repository:b:pull,push", "repository:b:pull,push repository:a:pull"],
    ["repository:localhost:5000/a:pull", "repository:localhost:5000/a:pull"],
    ["repository:a: * x:y", "* repository:a: x:y"],
    ["", ""]
  ])("%j is written %j", (text, expected) => {
    assert.strictEqual(TokenScope.format(TokenScope.parse(text)), expected)
  })

  it("has what it was made of", () => {
    same(TokenScope.repository("a", "push", "pull"), TokenScope.parse("repository:a:pull,push"))
    same(TokenScope.catalog, TokenScope.parse("registry:catalog:*"))
    assert.isTrue(TokenScope.isEmpty(TokenScope.empty))
    assert.isFalse(TokenScope.isEmpty(TokenScope.catalog))
  })

  it("does not take * for every action, nor one resource for another", () => {
    assert.isFalse(TokenScope.contains(TokenScope.parse("repository:a:*"), TokenScope.parse("repository:a:pull")))
    assert.isFalse(TokenScope.contains(TokenScope.parse("repository:a:pull"), TokenScope.parse("repository:b:pull")))
    assert.isFalse(
      TokenScope.contains(TokenScope.parse("repository:a:pull"), TokenScope.parse("repository:a:pull,push"))
    )
  })

  it.prop("is read again as it was written", [scopes], ([a]) => {
    same(TokenScope.parse(TokenScope.format(a)), a)
  })

  it.prop("has a union that is commutative, associative and idempotent", [scopes, scopes, scopes], ([a, b, c]) => {
    same(TokenScope.union(a, b), TokenScope.union(b, a))
    same(TokenScope.union(TokenScope.union(a, b), c), TokenScope.union(a, TokenScope.union(b, c)))
    same(TokenScope.union(a, a), a)
    same(TokenScope.union(a, TokenScope.empty), a)
    same(TokenScope.union(TokenScope.empty, a), a)
  })

  it.prop("has a union that contains both, and nothing else does that is not in it", [scopes, scopes], ([a, b]) => {
    const both = TokenScope.union(a, b)
    assert.isTrue(TokenScope.contains(both, a) && TokenScope.contains(both, b))
    assert.strictEqual(TokenScope.contains(a, b), TokenScope.equals(both, a))
    assert.strictEqual(TokenScope.isEmpty(both), TokenScope.isEmpty(a) && TokenScope.isEmpty(b))
  })

  it.prop("is contained in itself and in what contains what contains it", [scopes, scopes, scopes], ([a, b, c]) => {
    assert.isTrue(TokenScope.contains(a, a))
    assert.isTrue(TokenScope.contains(a, TokenScope.empty))
    if (TokenScope.contains(a, b) && TokenScope.contains(b, c)) assert.isTrue(TokenScope.contains(a, c))
    assert.isTrue(TokenScope.contains(TokenScope.union(TokenScope.union(a, b), c), a))
  })
})
