import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { available, Chromium, layer as chromium, lowestContrast } from "../utils/Chromium.ts"
import { served } from "../utils/mirror-page.ts"

const openPage = Effect.gen(function*() {
  const page = yield* served()
  const tab = yield* (yield* Chromium).tab
  yield* tab.open(`http://${page.host}/`)
  const textOf = (selector: string) =>
    tab.evaluate(`document.querySelector(${JSON.stringify(selector)})?.innerText ?? ""`)
  return { ...page, tab, textOf }
})

describe.skipIf(!available)("the page of a mirror in Chromium", () => {
  layer(chromium, { excludeTestServices: true })((it) => {
    it.effect("loads nothing but itself, without errors and without violations of its policy", () =>
      Effect.gen(function*() {
        const { host, tab } = yield* openPage
        // the icon may be requested later, or not at all
        const own = ["/", "/icon.svg", "/style.css"].map((path) => `http://${host}${path}`)
        assert.include(tab.requested, `http://${host}/style.css`)
        assert.deepStrictEqual(tab.requested.filter((url) => !own.includes(url)), [])
        assert.deepStrictEqual(tab.problems, [])
        assert.strictEqual(yield* tab.evaluate("document.scripts.length + document.images.length"), 0)
      }))

    it.effect("tries a failed tag again by its button, without scripts", () =>
      Effect.gen(function*() {
        const { state, tab, textOf } = yield* openPage
        yield* tab.click(`button[aria-label="Retry mirror.test/copies/bases:3.20"]`)
        assert.strictEqual(yield* textOf("[role=status]"), "1 failed tag will be tried again at once.")
        const rows = yield* state.find({ status: "failed" })
        assert.deepStrictEqual(rows.map(({ attempts, tag }) => [tag, attempts]), [["3.20", 0], ["3.21", 3], [
          "v1.4.0",
          3
        ]])
        assert.deepStrictEqual(tab.problems, [])
      }))

    it.effect("starts a run by its button, with the keyboard as well", () =>
      Effect.gen(function*() {
        const { asked, tab, textOf } = yield* openPage
        yield* tab.click(`button[aria-label="Run by-hand now"]`)
        assert.strictEqual(yield* textOf("[role=status]"), "The run was started.")
        for (let step = 0; step < 100; step++) {
          yield* tab.press("Tab")
          if ((yield* tab.evaluate("document.activeElement.getAttribute('aria-label')")) === "Run tools now") break
        }
        yield* tab.press("Enter")
        while (!asked.some(({ rule }) => rule.name === "tools")) yield* Effect.sleep("10 millis")
        assert.deepStrictEqual(tab.problems, [])
      }))

    it.effect("has landmarks, one order of headings, and a name for each control", () =>
      Effect.gen(function*() {
        const { tab } = yield* openPage
        const count = (selector: string) =>
          tab.evaluate(`document.querySelectorAll(${JSON.stringify(selector)}).length`)
        assert.deepStrictEqual(
          yield* Effect.all([
            count("main"),
            count("header"),
            count("h1"),
            count("html[lang]"),
            count("section:not([aria-labelledby])")
          ]),
          [1, 1, 1, 1, 0]
        )
        assert.strictEqual(yield* count("button:not([aria-label]), svg:not([aria-label]), th:not([scope])"), 0)
        const levels = yield* tab.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((h) => h.tagName).join(' ')")
        assert.strictEqual(levels, "H1 H2 H2 H2 H2 H2 H3")
      }))

    it.effect.each(["light", "dark"] as const)(
      "is readable in %s colors, and fits a narrow screen",
      (scheme) =>
        Effect.gen(function*() {
          const { tab } = yield* openPage
          yield* tab.colors(scheme)
          assert.isAtLeast(Number(yield* tab.evaluate(lowestContrast)), 4.5)
          const folder = process.env["EFFECT_OCI_SCREENSHOTS"]
          if (folder !== undefined) {
            yield* tab.screenshot(`${folder}/mirror-${scheme}.png`)
            yield* tab.screenshot(`${folder}/mirror-${scheme}-narrow.png`, 400)
          }
          yield* tab.resize(400)
          assert.isAtMost(Number(yield* tab.evaluate("document.documentElement.scrollWidth")), 400)
        })
    )
  })
})
