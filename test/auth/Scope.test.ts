import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"
import * as Scope from "../../src/auth/Scope.ts"

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
  Arbitrary.map((words) => Scope.parse(words.join(" ")))
)
const same = (a: Scope.Scope, b: Scope.Scope) => {
  assert.isTrue(Scope.equals(a, b), `${Scope.format(a)} is not ${Scope.format(b)}`)
  assert.strictEqual(Scope.format(a), Scope.format(b))
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
    assert.strictEqual(Scope.format(Scope.parse(text)), expected)
  })

  it("has what it was made of", () => {
    same(Scope.repository("a", "push", "pull"), Scope.parse("repository:a:pull,push"))
    same(Scope.catalog, Scope.parse("registry:catalog:*"))
    assert.isTrue(Scope.isEmpty(Scope.empty))
    assert.isFalse(Scope.isEmpty(Scope.catalog))
  })

  it("does not take * for every action, nor one resource for another", () => {
    assert.isFalse(Scope.contains(Scope.parse("repository:a:*"), Scope.parse("repository:a:pull")))
    assert.isFalse(Scope.contains(Scope.parse("repository:a:pull"), Scope.parse("repository:b:pull")))
    assert.isFalse(Scope.contains(Scope.parse("repository:a:pull"), Scope.parse("repository:a:pull,push")))
  })

  it.prop("is read again as it was written", [scopes], ([a]) => {
    same(Scope.parse(Scope.format(a)), a)
  })

  it.prop("has a union that is commutative, associative and idempotent", [scopes, scopes, scopes], ([a, b, c]) => {
    same(Scope.union(a, b), Scope.union(b, a))
    same(Scope.union(Scope.union(a, b), c), Scope.union(a, Scope.union(b, c)))
    same(Scope.union(a, a), a)
    same(Scope.union(a, Scope.empty), a)
    same(Scope.union(Scope.empty, a), a)
  })

  it.prop("has a union that contains both, and nothing else does that is not in it", [scopes, scopes], ([a, b]) => {
    const both = Scope.union(a, b)
    assert.isTrue(Scope.contains(both, a) && Scope.contains(both, b))
    assert.strictEqual(Scope.contains(a, b), Scope.equals(both, a))
    assert.strictEqual(Scope.isEmpty(both), Scope.isEmpty(a) && Scope.isEmpty(b))
  })

  it.prop("is contained in itself and in what contains what contains it", [scopes, scopes, scopes], ([a, b, c]) => {
    assert.isTrue(Scope.contains(a, a))
    assert.isTrue(Scope.contains(a, Scope.empty))
    if (Scope.contains(a, b) && Scope.contains(b, c)) assert.isTrue(Scope.contains(a, c))
    assert.isTrue(Scope.contains(Scope.union(Scope.union(a, b), c), a))
  })
})
