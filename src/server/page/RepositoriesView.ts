/**
 * The view of all repositories.
 */
import type { Repository } from "../../Reference.ts"
import * as Chart from "../../web/Chart.ts"
import * as Format from "../../web/Format.ts"
import { type Html, html, type Value } from "../../web/Html.ts"
import type { Page } from "../../web/Page.ts"
import { column, none, table, timeOf } from "../../web/Parts.ts"
import * as Address from "./Address.ts"
import type { Check } from "./Check.ts"
import * as Content from "./Content.ts"
import * as Frame from "./Frame.ts"
import type { Report } from "./Space.ts"

interface Values {
  readonly names: Frame.Names<Repository>
  readonly space: Report | undefined
  /** Result of the last scrub, about what the viewer may see. */
  readonly check: Check | undefined
}

const row = (repository: Repository, space: Report | undefined, whole: number): Html => {
  const found = space?.repositories.get(repository)
  const bytes = found === undefined ? 0 : Content.sum(found.blobs)
  return html`<tr>
<th scope="row" class="name"><a href="${Address.ofRepository(repository)}">${repository}</a></th>
<td class="number">${found === undefined ? none : Format.number(found.tags)}</td>
<td class="number">${found === undefined ? none : Format.size(bytes)}</td>
<td class="wide">${
    found !== undefined && Chart.stack({
      description: `${Format.size(bytes)}, beside the largest repository with ${Format.size(whole)}`,
      format: Format.size,
      parts: [{ label: repository, value: bytes, kind: "own" }],
      whole
    })
  }</td>
</tr>
`
}

const list = ({ names, space }: Values): Value => {
  const { items, prefix } = names
  if (items.length === 0) {
    return prefix === ""
      ? html`<p>There are no repositories that you can pull from. A push creates one.</p>`
      : html`<p>No repository begins with <b>${prefix}</b>.</p>`
  }
  const whole = Math.max(0, ...items.map((name) => Content.sum(space?.repositories.get(name)?.blobs ?? new Map())))
  return table(
    "Repositories",
    [column("Repository"), column("Tags", "number"), column("Size", "number"), column("Compared", "wide")],
    html`<tbody>${items.map((name) => row(name, space, whole))}</tbody>`
  )
}

const checked = ({ check }: Values, { at }: Frame.Context): Value =>
  check !== undefined && Frame.section(
    "check",
    "Last scrub",
    html`<p>${timeOf(check.endedAt, at)}, ${Format.plural(check.manifests, "manifest")} and ${
      Format.plural(check.blobs, "blob")
    } with ${Format.size(check.bytes)} were read. ${
      check.problems.length === 0
        ? html`<span class="good">Nothing is broken.</span>`
        : html`<span class="bad">${Format.plural(check.problems.length, "problem")}</span>`
    }</p>
${check.problems.length > 0 && Frame.problems(check.problems)}`
  )

export const make = (context: Frame.Context, values: Values): Page =>
  Frame.page(context, {
    title: "Repositories",
    heading: context.host,
    body: html`${Frame.search("/", "Repositories that begin with", values.names.prefix)}
${list(values)}
${Frame.pager("/", values.names)}
${values.space === undefined && html`<p class="quiet">Sizes are being computed. Load the page again in a while.</p>`}
${checked(values, context)}`
  })
