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

/** Part of a stacked bar. `shared` parts have another color. */
export interface Part {
  readonly label: string
  readonly value: number
  readonly kind: "own" | "shared"
}

const stackWidth = 600
const stackHeight = 14

/** Smallest width of a part. Smaller neighbours are drawn together. */
const smallestWidth = 2

/** Space between two parts. */
const gap = 2

const rounded = (value: number): number => Math.round(value * 10) / 10

/** Maximum number of parts that are drawn apart. */
const maximumParts = 300

/** Joins the parts after the maximum number of them. */
const limited = (parts: ReadonlyArray<Part>): ReadonlyArray<Part> => {
  const rest = parts.slice(maximumParts)
  const value = rest.reduce((total, part) => total + part.value, 0)
  return rest.length === 0
    ? parts
    : [...parts.slice(0, maximumParts), { label: `${rest.length} more parts`, value, kind: "own" }]
}

/** Joins neighbours of the same kind that are too small to be seen apart. */
const joinSmall = (parts: ReadonlyArray<Part>, limit: number): ReadonlyArray<Part> => {
  const joined: Array<Part & { readonly count: number }> = []
  for (const part of parts) {
    const last = joined.at(-1)
    if (last === undefined || last.kind !== part.kind || last.value >= limit || part.value >= limit) {
      joined.push({ ...part, count: 1 })
      continue
    }
    const count = last.count + 1
    joined[joined.length - 1] = {
      kind: last.kind,
      label: `${count} small parts`,
      value: last.value + part.value,
      count
    }
  }
  return joined
}

/**
 * Returns a horizontal bar whose parts lie side by side. Its length is in proportion to `whole`, so that several bars
 * can be compared. The description stands for it where it cannot be seen.
 */
export const stack = (
  { description, format, parts, whole }: {
    readonly description: string
    readonly format: (value: number) => string
    readonly parts: ReadonlyArray<Part>
    readonly whole: number
  }
): Html => {
  const scale = stackWidth / Math.max(1, whole)
  let end = 0
  const bars = limited(joinSmall(parts.filter(({ value }) => value > 0), smallestWidth / scale)).map(
    ({ kind, label, value }) => {
      const start = end
      end += value * scale
      return html`<rect class="${kind === "shared" ? "bar shared" : "bar"}" x="${rounded(start)}" y="0" width="${
        rounded(Math.max(1, value * scale - gap))
      }" height="${stackHeight}"><title>${label}: ${format(value)}</title></rect>`
    }
  )
  return html`<svg class="stack" viewBox="0 0 ${stackWidth} ${stackHeight}" preserveAspectRatio="none" role="img" aria-label="${description}">${bars}</svg>`
}
