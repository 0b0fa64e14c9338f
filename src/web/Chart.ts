/**
 * Bar charts as SVG, which need neither scripts nor styles of their own.
 */
import { type Html, html } from "./Html.ts"

/** Bar of a chart. */
export interface Bar {
  readonly label: string
  readonly value: number
}

const width = 480
const height = 140
const top = 16
const bottom = 20

/** Returns a figure with a bar chart. The description stands for it where it cannot be seen. */
export const bars = (
  { caption, description, format, values }: {
    readonly caption: string
    readonly description: string
    readonly values: ReadonlyArray<Bar>
    /** Returns the text of a value. */
    readonly format: (value: number) => string
  }
): Html => {
  const largest = Math.max(0, ...values.map(({ value }) => value))
  const step = width / Math.max(1, values.length)
  const span = height - top - bottom
  const floor = height - bottom
  const first = values[0]
  const last = values.at(-1)
  return html`<figure>
<figcaption>${caption}</figcaption>
<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${description}">
<line class="axis" x1="0" y1="${floor}" x2="${width}" y2="${floor}"/>
<text x="0" y="11">${largest > 0 && format(largest)}</text>
${
    values.map(({ label, value }, index) => {
      const size = largest === 0 ? 0 : Math.round(span * value / largest * 10) / 10
      return size > 0 &&
        html`<rect class="bar" x="${Math.round((index + 0.1) * step * 10) / 10}" y="${
          Math.round((floor - size) * 10) / 10
        }" width="${Math.round(step * 8) / 10}" height="${size}"><title>${label}: ${format(value)}</title></rect>
`
    })
  }${first !== undefined && html`<text x="0" y="${height - 5}">${first.label}</text>`}${
    last !== undefined && last !== first &&
    html`<text x="${width}" y="${height - 5}" text-anchor="end">${last.label}</text>`
  }
</svg>
</figure>`
}
