/**
 * HTML that is escaped by construction: text becomes HTML only through the template, which escapes it.
 */
import { printable } from "../Text.ts"

/** Markup. Only {@link html} creates it. */
export class Html {
  readonly #markup: string
  constructor(markup: TemplateStringsArray, values: ReadonlyArray<Value>) {
    this.#markup = markup.map((part, index) => part + render(values[index])).join("")
  }
  toString(): string {
    return this.#markup
  }
}

/** Value within a template: markup, text, a number, a list of values, or nothing. */
export type Value = Html | string | number | undefined | false | ReadonlyArray<Value>

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  "'": "&#39;"
}

/** Escapes a text for an element or a quoted attribute. Characters that are not printable become spaces. */
const escape = (text: string): string => printable(text).replace(/[&<>"']/g, (character) => entities[character] ?? "")

const render = (value: Value): string => {
  if (value === undefined || value === false) return ""
  if (value instanceof Html) return value.toString()
  return typeof value === "object" ? value.map(render).join("") : escape(String(value))
}

/**
 * Creates markup from a template. Every value that is not markup is escaped. Attributes must be in quotes, and values
 * must not be names of elements or attributes, scripts or styles.
 */
export const html = (strings: TemplateStringsArray, ...values: ReadonlyArray<Value>): Html => new Html(strings, values)

/** Joins values by a separator. */
export const joined = (values: ReadonlyArray<Value>, separator: string): ReadonlyArray<Value> =>
  values.flatMap((value, index) => index === 0 ? [value] : [separator, value])
