/**
 * The frame of all views, and parts that several views have.
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Platform from "../../Platform.ts"
import { excerpt, printable } from "../../Text.ts"
import * as Format from "../../web/Format.ts"
import { type Html, html, type Value } from "../../web/Html.ts"
import type { Page } from "../../web/Page.ts"
import { column, none, table, timeOf } from "../../web/Parts.ts"
import * as Address from "./Address.ts"
import type { CheckProblem } from "./Check.ts"

/** Values that every view knows. */
export interface Context {
  readonly at: DateTime.Utc
  /** Host of the registry for its clients. */
  readonly host: string
  readonly isSecure: boolean
  /** Remark about the registry. */
  readonly remark: string | undefined
  /** Name of the user. `undefined` for an anonymous request. */
  readonly user: string | undefined
  readonly canSignIn: boolean
  /** Result of the form that led to the page. */
  readonly notice: string | undefined
  /** Address of the view in the navigation. */
  readonly current: Address.Address["_tag"]
}

const link = (address: string, text: string, isCurrent: boolean): Html =>
  html`<a href="${address}"${isCurrent && html` aria-current="page"`}>${text}</a>`

const userOf = ({ canSignIn, user }: Context): Value => {
  if (user !== undefined) return html`<span class="quiet">signed in as ${excerpt(user)}</span>`
  return canSignIn && html`<a href="${Address.signIn}">Sign in</a>`
}

/** Returns a page. `heading` is the text of its first heading. */
export const page = (
  context: Context,
  { body, heading, summary, title }: {
    readonly title: string
    readonly heading: Value
    readonly summary?: Value | undefined
    readonly body: Value
  }
): Page => ({
  title: `${title} – ${context.host}`,
  body: html`<a class="skip" href="#content">Skip to the content</a>
<header>
<nav aria-label="Views">${link("/", "Repositories", context.current === "Repositories")}${
    link(Address.space, "What takes space", context.current === "Space")
  }${userOf(context)}</nav>
<h1>${heading}</h1>
${summary !== undefined && html`<p>${summary}</p>`}
${context.remark !== undefined && html`<p>${context.remark}</p>`}
</header>
<main id="content">
${context.notice !== undefined && html`<p class="notice" role="status">${context.notice}</p>`}
${body}
</main>`
})

/** Returns a section with a heading. */
export const section = (id: string, heading: Value, body: Value): Html =>
  html`<section aria-labelledby="${id}"><h2 id="${id}">${heading}</h2>
${body}</section>
`

/** Returns a text of at most `length` characters. Line breaks become spaces. */
export const shortened = (text: string, length: number): string => {
  // never half of a surrogate pair
  const line = printable(text.slice(0, length + 1)).replace(/[\ud800-\udbff]$/, "")
  return text.length > length ? `${line.slice(0, length)} …` : line
}

/** Returns the beginning of a digest, which is enough to tell content apart. */
export const shortDigest = (digest: string): Html =>
  html`<code title="${digest}">${digest.slice(0, digest.indexOf(":") + 13)}</code>`

const parseTime = (text: string): DateTime.Utc | undefined =>
  Option.getOrUndefined(Option.map(DateTime.make(text.slice(0, 64)), DateTime.toUtc))

/** Returns a time that an image says, relative to now. Reproducible builds say 1970. */
export const created = (text: string | undefined, now: DateTime.Utc): Html => {
  if (text === undefined) return none
  const time = parseTime(text)
  if (time === undefined) return html`${excerpt(text)}`
  return DateTime.toEpochMillis(time) < 86_400_000 ? html`<span class="quiet">not set</span>` : timeOf(time, now)
}

/** Maximum number of platforms in one line. */
const platformLimit = 6

export const platforms = (list: ReadonlyArray<Platform.Platform>): Value => {
  if (list.length === 0) return none
  const rest = list.length - platformLimit
  return html`${
    list.slice(0, platformLimit).map((platform) =>
      html`<span class="chip">${excerpt(Platform.format(platform))}</span> `
    )
  }${rest > 0 && html`<span class="quiet">and ${rest} more</span>`}`
}

/** Returns the form that searches names by their beginning. */
export const search = (action: string, label: string, prefix: string): Html =>
  html`<form class="search" method="get" action="${action}" role="search">
<input type="search" name="prefix" value="${prefix}" aria-label="${label}" placeholder="${label}" maxlength="255">
<button type="submit" aria-label="Search">Search</button>
</form>`

/** Names of one page of a list. */
export interface Names<A> {
  readonly items: ReadonlyArray<A>
  /** Last name of the page, if others follow. */
  readonly last: string | undefined
  readonly prefix: string
  readonly after: string | undefined
  /** True if the search ended before the end of the list. */
  readonly isCutOff: boolean
}

/** Returns the links to the first page and to the next one. */
export const pager = (address: string, { after, isCutOff, last, prefix }: Names<unknown>): Value => {
  const query = (parameters: Readonly<Record<string, string>>) => {
    const text = new URLSearchParams({ ...prefix === "" ? {} : { prefix }, ...parameters }).toString()
    return text === "" ? address : `${address}?${text}`
  }
  return html`${isCutOff && html`<p class="notice">The list is too long to be searched to its end.</p>`}${
    (after !== undefined || last !== undefined) &&
    html`<nav class="pager" aria-label="Pages">${after !== undefined && html`<a href="${query({})}">First page</a>`}${
      last !== undefined && html`<a href="${query({ after: last })}" rel="next">Next page</a>`
    }</nav>`
  }`
}

/** Explains the colors of bars. */
export const legend = (own: string, shared: string): Html =>
  html`<p class="legend quiet"><span class="own"></span> ${own} <span class="shared"></span> ${shared}</p>`

/** Maximum number of entries of a list of facts. */
const factLimit = 100
const factLength = 500

/** Returns names with values, such as annotations. */
export const facts = (entries: ReadonlyArray<readonly [name: string, value: string]>): Html =>
  html`<dl class="facts">${
    entries.slice(0, factLimit).map(([name, value]) =>
      html`<div><dt>${shortened(name, 200)}</dt><dd>${shortened(value, factLength)}</dd></div>
`
    )
  }</dl>${
    entries.length > factLimit && html`<p class="quiet">${Format.plural(entries.length - factLimit, "more entry")}</p>`
  }`

const problemLimit = 50

/** Returns a table of problems. */
export const problems = (list: ReadonlyArray<CheckProblem>): Html =>
  html`${
    table(
      "Problems",
      [column("Content"), column("Problem"), column("Outcome")],
      html`<tbody>${
        list.slice(0, problemLimit).map(({ digest, message, outcome, repository, tag }) =>
          html`<tr><th scope="row" class="name">${
            tag === undefined
              ? html`<a href="${Address.ofRepository(repository)}">${repository}</a>`
              : html`<a href="${Address.ofImage(repository, tag)}">${repository}:${tag}</a>`
          }${digest !== undefined && html`<small>${shortDigest(digest)}</small>`}</th>
<td class="text">${excerpt(message)}</td><td>${
            outcome === "quarantined" ? "moved aside" : html`<span class="bad">still there</span>`
          }</td></tr>
`
        )
      }</tbody>`
    )
  }${list.length > problemLimit && html`<p class="quiet">and ${list.length - problemLimit} more</p>`}`
