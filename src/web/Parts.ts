/**
 * Parts that pages share: tables, buttons, times.
 */
import * as DateTime from "effect/DateTime"
import * as Format from "./Format.ts"
import { type Html, html, type Value } from "./Html.ts"

/** Returns a time relative to now, with the time itself for those who point at it. */
export const timeOf = (time: DateTime.Utc, now: DateTime.Utc): Html =>
  html`<time datetime="${DateTime.formatIso(time)}" title="${Format.time(time)}">${Format.relative(time, now)}</time>`

/** Stands for a value that does not exist. */
export const none = html`<span class="quiet">–</span>`

/** Returns a button that sends a form with these fields. `label` names its object for those who hear the page. */
export const button = (
  formToken: string | undefined,
  action: string,
  text: string,
  label: string,
  fields: Readonly<Record<string, string>>
): Value =>
  formToken !== undefined &&
  html`<form method="post" action="${action}"><input type="hidden" name="token" value="${formToken}">${
    Object.entries(fields).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)
  }<button type="submit" aria-label="${label}">${text}</button></form>`

/** Returns a table in a frame that scrolls on narrow screens. */
export const table = (caption: Value, columns: ReadonlyArray<Value>, rows: Value): Html =>
  html`<div class="scroll" role="region" tabindex="0" aria-label="${caption}"><table>
<thead><tr>${columns}</tr></thead>
${rows}
</table></div>`

/** Returns the head of a column. */
export const column = (text: string, className?: string): Html =>
  html`<th scope="col"${className !== undefined && html` class="${className}"`}>${text}</th>`

/** Returns the head of a column whose text is only heard. */
export const hidden = (text: string): Html => html`<th scope="col" aria-label="${text}"></th>`
