import { assert, describe, layer } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { available, Chromium, layer as chromium, lowestContrast } from "../utils/Chromium.ts"
import { tag } from "../utils/images.ts"
import { served, shop } from "../utils/registry-page.ts"

const openTab = Effect.gen(function*() {
  const page = yield* served({ changes: "all" })
  const tab = yield* (yield* Chromium).tab
  const textOf = (selector: string) =>
    tab.evaluate(`document.querySelector(${JSON.stringify(selector)})?.innerText ?? ""`)
  const views = [
    ["repositories", "/"],
    ["space", "/ui/-/space"],
    ["repository", "/ui/team/shop"],
    ["index", "/ui/team/shop:1.0"],
    ["image", `/ui/team/shop@${page.amd64.digest}`],
    ["artifact", "/ui/public/docs:odd"]
  ] as const
  const open = (address: string) => tab.open(`http://${page.host}${address}`)
  return { ...page, open, tab, textOf, views }
})

// a browser is slow on a busy machine
const timeout = 60_000

describe.skipIf(!available)("the page of a registry in Chromium", { timeout }, () => {
  layer(chromium, { excludeTestServices: true })((it) => {
    it.effect("loads nothing but itself, without errors and without violations of its policy", () =>
      Effect.gen(function*() {
        const { host, open, tab, views } = yield* openTab
        for (const [, address] of views) {
          yield* open(address)
          assert.strictEqual(yield* tab.evaluate("document.scripts.length + document.images.length"), 0)
        }
        const own = [...views.map(([, address]) => address), "/icon.svg", "/style.css"].map((path) =>
          `http://${host}${path}`
        )
        assert.include(tab.requested, `http://${host}/style.css`)
        assert.deepStrictEqual(tab.requested.filter((url) => !own.includes(url)), [])
        assert.deepStrictEqual(tab.problems, [])
      }))

    it.effect("leads from the repositories to a layer by its links, and searches", () =>
      Effect.gen(function*() {
        const { amd64, open, tab, textOf } = yield* openTab
        yield* open("/")
        yield* tab.click(`a[href="/ui/team/shop"]`)
        assert.strictEqual(yield* textOf("h1"), "team/shop")
        yield* tab.click(`a[href="/ui/team/shop:1.0"]`)
        assert.strictEqual(yield* textOf("h1"), "team/shop:1.0")
        yield* tab.click(`a[href="/ui/team/shop@${amd64.digest}"]`)
        assert.include(yield* textOf("#layers ~ .scroll"), "ADD file:1234 in /")
        yield* open("/?prefix=pub")
        assert.strictEqual(yield* tab.evaluate(`document.querySelectorAll("tbody tr").length`), 1)
        assert.deepStrictEqual(tab.problems, [])
      }))

    it.effect("selects a command by one click", () =>
      Effect.gen(function*() {
        const { host, open, tab } = yield* openTab
        yield* open("/ui/team/shop:1.0")
        yield* tab.select(".commands code")
        assert.strictEqual(yield* tab.evaluate("getSelection().toString()"), `docker pull ${host}/team/shop:1.0`)
      }))

    it.effect("deletes a tag by two clicks, without scripts", () =>
      Effect.gen(function*() {
        const { open, registry, tab, textOf } = yield* openTab
        yield* open("/ui/team/shop:latest")
        yield* tab.select("details summary")
        yield* tab.click(`button[aria-label="Delete the tag for good"]`)
        assert.strictEqual(yield* textOf("[role=status]"), "The tag was deleted.")
        assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(shop)), [tag("1.0")])
        assert.deepStrictEqual(tab.problems, [])
      }))

    it.effect("has landmarks, one order of headings, and a name for each control", () =>
      Effect.gen(function*() {
        const { open, tab, views } = yield* openTab
        const count = (selector: string) =>
          tab.evaluate(`document.querySelectorAll(${JSON.stringify(selector)}).length`)
        for (const [name, address] of views) {
          yield* open(address)
          assert.deepStrictEqual(
            yield* Effect.all([
              count("main"),
              count("header"),
              count("h1"),
              count("html[lang]"),
              count("section:not([aria-labelledby])")
            ]),
            [1, 1, 1, 1, 0],
            name
          )
          assert.strictEqual(
            yield* count("button:not([aria-label]), svg:not([aria-label]), th:not([scope]), nav:not([aria-label])"),
            0,
            name
          )
          const levels = yield* tab.evaluate(
            "[...document.querySelectorAll('h1,h2,h3')].map((h) => h.tagName).join(' ')"
          )
          assert.match(String(levels), /^H1( H2( H3)*)*$/, name)
        }
      }))

    it.effect.each(["light", "dark"] as const)(
      "is readable in %s colors, and fits a narrow screen",
      (scheme) =>
        Effect.gen(function*() {
          const { open, tab, views } = yield* openTab
          yield* tab.colors(scheme)
          const folder = process.env["EFFECT_OCI_SCREENSHOTS"]
          for (const [name, address] of views) {
            yield* open(address)
            assert.isAtLeast(Number(yield* tab.evaluate(lowestContrast)), 4.5, name)
            if (folder !== undefined) {
              yield* tab.screenshot(`${folder}/registry-${name}-${scheme}.png`)
              yield* tab.screenshot(`${folder}/registry-${name}-${scheme}-narrow.png`, 400)
            }
            yield* tab.resize(400)
            assert.isAtMost(Number(yield* tab.evaluate("document.documentElement.scrollWidth")), 400, name)
          }
        })
    )
  })
})
