import { assert, describe, it } from "@effect/vitest"
import * as Chart from "../../src/web/Chart.ts"
import { html, joined } from "../../src/web/Html.ts"

describe("a template of HTML", () => {
  it("escapes texts in elements and attributes", () => {
    const text = `<b title="x">'&`
    assert.strictEqual(
      html`<p class="${text}">${text}</p>`.toString(),
      "<p class=\"&lt;b title=&quot;x&quot;&gt;&#39;&amp;\">&lt;b title=&quot;x&quot;&gt;&#39;&amp;</p>"
    )
  })

  it("keeps markup, also in lists, and omits what is absent", () => {
    const items = ["a", "<"].map((item) => html`<li>${item}</li>`)
    assert.strictEqual(html`<ul>${items}</ul>${undefined}${false}${0}`.toString(), "<ul><li>a</li><li>&lt;</li></ul>0")
  })

  it("replaces characters that are not printable", () => {
    assert.strictEqual(html`${"a\u0000b\u202ec\u2028d"}`.toString(), "a b c d")
  })

  it("joins values", () => {
    assert.strictEqual(html`${joined(["a", html`<b>b</b>`, "<"], ", ")}`.toString(), "a, <b>b</b>, &lt;")
  })
})

describe("a bar chart", () => {
  const bars = (values: ReadonlyArray<number>) =>
    Chart.bars({
      caption: "Bytes",
      description: "Bytes in each hour",
      format: (value) => `${value} B`,
      values: values.map((value, index) => ({ label: `${index}:00`, value }))
    }).toString()

  it("has a bar for each value but zero, whose heights are in proportion", () => {
    const heights = Array.from(bars([0, 50, 100, 25]).matchAll(/<rect [^>]*height="([\d.]+)"/g), ([, height]) => height)
    assert.deepStrictEqual(heights, ["52", "104", "26"])
  })

  it("names its values and itself", () => {
    const text = bars([1, 2])
    assert.include(text, "aria-label=\"Bytes in each hour\"")
    assert.include(text, "<title>1:00: 2 B</title>")
  })

  it("is empty without values", () => {
    assert.notInclude(bars([]), "<rect")
    assert.notInclude(bars([0, 0]), "NaN")
  })
})
