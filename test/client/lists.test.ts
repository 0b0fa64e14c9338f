import { assert, describe } from "@effect/vitest"
import { Effect, Result, Stream } from "effect"
import * as Registry from "effect-oci/Registry"
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
    [undefined, undefined],
    ["</v2/a?last=1>; rel='next'", "/v2/a?last=1"],
    ["/v2/a?last=1&n=2; rel=\"next\"", "/v2/a?last=1&n=2"],
    ["https://other.test/a;rel=next", "https://other.test/a"],
    ["/c; title=\"a\"; rel=next", "/c"],
    ["</b>; rel=\"prev\", /c; rel=\"next\"", "/c"],
    ["/b; rel=\"prev\"", undefined]
  ])("of %s is %s", (header, target) => {
    assert.deepStrictEqual(nextLink(header), Result.succeed(target))
  })

  it.each([
    "</v2/a?last=1; rel=\"next\"",
    "</v2/a> rel=\"next\"",
    "/a b; rel=next",
    "; rel=next",
    "\"/a\"; rel=next",
    "/a; rel=prev, /b; rel=next"
  ])("is unreadable in %s", (header) => {
    assert.isTrue(Result.isFailure(nextLink(header)))
  })

  it.each([
    ["parameters without values", `/a; rel=next${";aaa".repeat(4000)}"`],
    ["parameters with blank values", `/a; rel=next${";a =  ".repeat(2500)}"`],
    ["blanks", `/a; rel=next${" ".repeat(15_000)}"`],
    ["brackets", `${"<".repeat(15_000)}; rel=next`]
  ])("is read fast, however the registry writes it: with many %s", (_, header) => {
    const start = performance.now()
    assert.isTrue(Result.isFailure(nextLink(header)))
    assert.isBelow(performance.now() - start, 100)
  })
})

describe("listing tags", () => {
  it.effect("requests a page", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* tagsOf({ [first]: page(["1", "2"]) }), { tags: ["1", "2"], sent: [first] })
    }))

  it.effect("accepts null for no tags", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* tagsOf({ [first]: page(null) })).tags, [])
    }))

  it.effect("starts after a tag", () =>
    Effect.gen(function*() {
      const line = `GET ${list}?n=1000&last=1`
      assert.deepStrictEqual((yield* tagsOf({ [line]: page(["2"]) }, { after: "1" })).sent, [line])
    }))

  it.effect.each([
    `<${list}?n=1000&last=2>; rel="next"`,
    `<${list}?n=1000&last=2>; rel=next`,
    `<list?n=1000&last=2>; rel="next"`,
    `<https://registry.test${list}?n=1000&last=2>; rel="next"`
  ])("continues at the Link, however few tags came (C43): %s", (link) =>
    Effect.gen(function*() {
      const { sent, tags } = yield* tagsOf({
        [first]: page(["1", "2"], link),
        [`GET ${list}?n=1000&last=2`]: page([], `<${list}?n=1000&last=3>; rel="next"`),
        [`GET ${list}?n=1000&last=3`]: page(["3"])
      })
      assert.deepStrictEqual(tags, ["1", "2", "3"])
      assert.deepStrictEqual(sent, [first, `GET ${list}?n=1000&last=2`, `GET ${list}?n=1000&last=3`])
    }))

  it.effect("returns tags in the order of the registry (C44)", () =>
    Effect.gen(function*() {
      const { tags } = yield* tagsOf({
        [first]: page(["b", "A"], `<${list}?last=A>; rel="next"`),
        [`GET ${list}?last=A`]: page(["a", "B"])
      })
      assert.deepStrictEqual(tags, ["b", "A", "a", "B"])
    }))

  it.effect("requests no more pages than are read", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({ [first]: page(["1", "2"], `<${list}?last=2>; rel="next"`) })
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(registry.tags(name), 2)), ["1", "2"].map(tag))
      assert.deepStrictEqual(sent(), [first])
    }))

  it.effect("fails if the pages lead in a circle", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [first]: page(["1"], `<${list}?last=1>; rel="next"`),
        [`GET ${list}?last=1`]: page(["2"], `<${list}?n=1000>; rel="next"`)
      })
      assert.strictEqual((yield* reasonOf(Stream.runDrain(registry.tags(name))))._tag, "UnexpectedResponse")
      assert.lengthOf(sent(), 2)
    }))

  it.effect("fails if Link is not a URL", () =>
    Effect.gen(function*() {
      const reason = yield* reasonOf(tagsOf({ [first]: page(["1"], "<http://[>; rel=\"next\"") }))
      assert.strictEqual(reason._tag, "UnexpectedResponse")
    }))

  it.effect("continues at a bare URL in Link (quay.io)", () =>
    Effect.gen(function*() {
      const { tags } = yield* tagsOf({
        [first]: page(["1"], `${list}?page=2; rel="next"`),
        [`GET ${list}?page=2`]: page(["2"])
      })
      assert.deepStrictEqual(tags, ["1", "2"])
    }))

  it.effect("fails if Link names a next page and cannot be read: a list is never cut silently", () =>
    Effect.gen(function*() {
      const reason = yield* reasonOf(tagsOf({ [first]: page(["1"], `<${list}?page=2; rel="next"`) }))
      assert.deepInclude(reason, {
        _tag: "UnexpectedResponse",
        detail: `the Link to the next page cannot be read: <${list}?page=2; rel="next"`
      })
    }))

  it.effect("skips invalid tags, with one warning for all pages", () =>
    Effect.gen(function*() {
      const warnings: Array<string> = []
      const { tags } = yield* tagsOf({
        [first]: { headers: { link: `<${list}?page=2>; rel="next"` }, body: { tags: ["1", "sha256:ab", 7] } },
        [`GET ${list}?page=2`]: { body: { tags: ["-ot", "2", null, { a: ["]"] }] } }
      }).pipe(Effect.provideService(Registry.Observer, (event) =>
        Effect.sync(() => {
          if (event._tag === "Warning") warnings.push(event.text)
        })))
      assert.deepStrictEqual(tags, ["1", "2"])
      assert.deepStrictEqual(warnings, [`tags of team/app: 5 invalid entries skipped: "sha256:ab"`])
    }))

  it.effect("lists a repeated tag once", () =>
    Effect.gen(function*() {
      const { tags } = yield* tagsOf({
        [first]: page(["1", "2", "1"], `<${list}?page=2>; rel="next"`),
        [`GET ${list}?page=2`]: page(["2", "3"])
      })
      assert.deepStrictEqual(tags, ["1", "2", "3"])
    }))

  it.effect("reads a list of many batches whole, in its order", () =>
    Effect.gen(function*() {
      const all = Array.from({ length: 1001 }, (_, index) => `v${index}`)
      assert.deepStrictEqual((yield* tagsOf({ [first]: page(all) })).tags, all)
    }))

  it.effect("reads a list whose name is written with an escape", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* tagsOf({ [first]: { body: `{"t\\u0061gs":["1","2"]}` } })).tags, ["1", "2"])
    }))

  it.effect("starts after a tag in all batches if the registry ignores the start", () =>
    Effect.gen(function*() {
      const all = Array.from({ length: 1000 }, (_, index) => `v${1000 + index}`)
      const { tags } = yield* tagsOf({ [`${first}&last=v1900`]: page(all) }, { after: "v1900" })
      assert.deepStrictEqual(tags, all.slice(901))
    }))

  it.effect.each([
    "<html>",
    "",
    "[]",
    "{}",
    `{"tags":{"1":{}}}`,
    `{"tags":["1"`,
    `{"tags":["1",]}`,
    `{"tags":[1 2]}`,
    `{"tags":[]]}`,
    `{"tags":["1"],"tags":["2"]}`,
    `{"tags":["1"],"tags":null}`,
    `{"tags":["1"],"t\\u0061gs":["2"]}`,
    `{"tags":${"[".repeat(200)}${"]".repeat(200)}}`
  ])(
    "fails if the response is not a list: %s",
    (body) =>
      Effect.gen(function*() {
        assert.deepInclude(yield* reasonOf(tagsOf({ [first]: { body } })), { _tag: "UnexpectedResponse", status: 200 })
      })
  )

  it.effect("fails if there is no such repository", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* reasonOf(tagsOf({ [first]: { status: 404 } })))._tag, "NameUnknown")
    }))
})

describe("listing repositories", () => {
  const catalog = "GET /v2/_catalog?n=1000"

  it.effect("continues at the Link", () =>
    Effect.gen(function*() {
      const { registry, sent } = yield* make({
        [catalog]: { headers: { link: "</v2/_catalog?last=a>; rel=\"next\"" }, body: { repositories: ["a"] } },
        "GET /v2/_catalog?last=a": { body: { repositories: ["b/c"] } }
      })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.repositories()), ["a", "b/c"].map(repository))
      assert.lengthOf(sent(), 2)
    }))

  it.effect.each([[401, "Unauthorized"], [405, "Unsupported"], [404, "UnexpectedResponse"]] as const)(
    "fails if the registry answers %i",
    ([status, expected]) =>
      Effect.gen(function*() {
        const { registry } = yield* make({ [catalog]: { status } })
        assert.strictEqual((yield* reasonOf(Stream.runDrain(registry.repositories())))._tag, expected)
      })
  )
})
