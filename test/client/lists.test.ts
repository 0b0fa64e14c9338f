import { assert, describe } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { nextLink } from "../../src/client/Pages.ts"
import { repository, tag } from "../utils/images.ts"
import { it } from "../utils/impatient.ts"
import { make, reasonOf, type Script } from "../utils/ScriptedServer.ts"

const name = repository("team/app")
const list = "/v2/team/app/tags/list"
const first = `GET ${list}?n=1000`

const page = (tags: ReadonlyArray<string> | null, link?: string) => ({
  headers: link === undefined ? {} : { link },
  body: { name, tags }
})
const tagsOf = (script: Script, options?: { readonly after: string }) =>
  Effect.gen(function*() {
    const { registry, sent } = yield* make(script)
    const tags: ReadonlyArray<string> = yield* Stream.runCollect(registry.tags(name, options))
    return { tags, sent: sent() }
  })

describe("the next page in a Link header", () => {
  it.each([
    ["</v2/a?last=1>; rel=\"next\"", "/v2/a?last=1"],
    ["</v2/a?last=1>; rel=next", "/v2/a?last=1"],
    ["</v2/a?last=1>;rel=next", "/v2/a?last=1"],
    ["</v2/a?last=1> ; REL = \"Next\"", "/v2/a?last=1"],
    ["</v2/a?last=1>; title=\"a; b, c\"; rel=\"next\"", "/v2/a?last=1"],
    ["</v2/a>; rel=\"start next\"", "/v2/a"],
    ["</v2/a?x=1,2;3>; rel=next", "/v2/a?x=1,2;3"],
    ["<https://other.test/a>; rel=\"next\"", "https://other.test/a"],
    ["</b>; rel=\"prev\", </c>; rel=\"next\"", "/c"],
    ["</b>; rel=prev,</c>;rel=next", "/c"],
    ["</b>; rel=\"prev\"; title=\"</c>; rel=next\"", undefined],
    ["</b>; rel=nextish", undefined],
    ["</b>; rel=\"nextish\"", undefined],
    ["</b>; norel=next", undefined],
    ["</b>", undefined],
    ["", undefined],
    [undefined, undefined]
  ])("of %s is %s", (header, target) => {
    assert.strictEqual(nextLink(header), target)
  })
})

describe("listing tags", () => {
  it.effect("asks for a page", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* tagsOf({ [first]: page(["1", "2"]) }), { tags: ["1", "2"], sent: [first] })
    }))

  it.effect("takes null for none", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* tagsOf({ [first]: page(null) })).tags, [])
    }))

  it.effect("begins behind a tag", () =>
    Effect.gen(function*() {
      const line = `GET ${list}?n=1000&last=1`
      assert.deepStrictEqual((yield* tagsOf({ [line]: page(["2"]) }, { after: "1" })).sent, [line])
    }))

  it.effect.each([
    `<${list}?n=1000&last=2>; rel="next"`,
    `<${list}?n=1000&last=2>; rel=next`,
    `<list?n=1000&last=2>; rel="next"`,
    `<https://registry.test${list}?n=1000&last=2>; rel="next"`
  ])("goes on where Link leads, however few came (C43): %s", (link) =>
    Effect.gen(function*() {
      const { sent, tags } = yield* tagsOf({
        [first]: page(["1", "2"], link),
        [`GET ${list}?n=1000&last=2`]: page([], `<${list}?n=1000&last=3>; rel="next"`),
        [`GET ${list}?n=1000&last=3`]: page(["3"])
      })
      assert.deepStrictEqual(tags, ["1", "2", "3"])
      assert.deepStrictEqual(sent, [first, `GET ${list}?n=1000&last=2`, `GET ${list}?n=1000&last=3`])
    }))

  it.effect("tells tags in the order that the registry has them in, whatever that is (C44)", () =>
    Effect.gen(function*() {
      const { tags } = yield* tagsOf({
        [first]: page(["b", "A"], `<${list}?last=A>; rel="next"`),
        [`GET ${list}?last=A`]: page(["a", "B"])
      })
      assert.deepStrictEqual(tags, ["b", "A", "a", "B"])
    }))

  it.effect("asks for no more pages than are read", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [first]: page(["1", "2"], `<${list}?last=2>; rel="next"`) })
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(registry.tags(name), 2)), ["1", "2"].map(tag))
      assert.deepStrictEqual(sent(), [first])
    }))

  it.effect("fails where the pages lead in a circle", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [first]: page(["1"], `<${list}?last=1>; rel="next"`),
        [`GET ${list}?last=1`]: page(["2"], `<${list}?n=1000>; rel="next"`)
      })
      assert.strictEqual((yield* reasonOf(Stream.runDrain(registry.tags(name))))._tag, "UnexpectedResponse")
      assert.lengthOf(sent(), 2)
    }))

  it.effect("fails where Link leads nowhere", () =>
    Effect.gen(function*() {
      const reason = yield* reasonOf(tagsOf({ [first]: page(["1"], "<http://[>; rel=\"next\"") }))
      assert.strictEqual(reason._tag, "UnexpectedResponse")
    }))

  it.effect.each(["<html>", "", "[]", "{}", `{"tags":[1]}`, `{"tags":["../../etc"]}`, `{"tags":{"1":{}}}`])(
    "fails where the answer is no list: %s",
    (body) =>
      Effect.gen(function*() {
        assert.deepInclude(yield* reasonOf(tagsOf({ [first]: { body } })), { _tag: "UnexpectedResponse", status: 200 })
      })
  )

  it.effect("fails where there is no such repository", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* reasonOf(tagsOf({ [first]: { status: 404 } })))._tag, "NameUnknown")
    }))
})

describe("listing repositories", () => {
  const catalog = "GET /v2/_catalog?n=1000"

  it.effect("goes on where Link leads", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [catalog]: { headers: { link: "</v2/_catalog?last=a>; rel=\"next\"" }, body: { repositories: ["a"] } },
        "GET /v2/_catalog?last=a": { body: { repositories: ["b/c"] } }
      })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), ["a", "b/c"].map(repository))
      assert.lengthOf(sent(), 2)
    }))

  it.effect.each([[401, "Unauthorized"], [405, "Unsupported"], [404, "UnexpectedResponse"]] as const)(
    "fails where the registry says %i",
    ([status, expected]) =>
      Effect.gen(function*() {
        const { registry } = yield* make({ [catalog]: { status } })
        assert.strictEqual((yield* reasonOf(Stream.runDrain(registry.repositories())))._tag, expected)
      })
  )
})
