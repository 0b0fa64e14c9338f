/**
 * The view of the tags of a repository.
 */
import * as Result from "effect/Result"
import type * as Digest from "../../Digest.ts"
import type { Repository, Tag } from "../../Reference.ts"
import { excerpt } from "../../Text.ts"
import * as Chart from "../../web/Chart.ts"
import * as Format from "../../web/Format.ts"
import { type Html, html, type Value } from "../../web/Html.ts"
import type { Page } from "../../web/Page.ts"
import { column, none, table } from "../../web/Parts.ts"
import * as Address from "./Address.ts"
import type { Check } from "./Check.ts"
import * as Content from "./Content.ts"
import * as Frame from "./Frame.ts"

/** A tag with what it points at, or with the reason why that cannot be shown. */
export interface Line {
  readonly tag: Tag
  readonly summary: Result.Result<Content.Summary, string>
}

interface Values {
  readonly repository: Repository
  readonly names: Frame.Names<Line>
  /** Result of the last scrub, about this repository. */
  readonly check: Check | undefined
}

type Sizes = ReadonlyMap<Digest.Digest, number>

const kindOf = ({ artifactType, kind, node: { descriptor }, platforms }: Content.Summary): Value => {
  switch (kind) {
    case "image":
    case "index":
      return platforms.length === 0 ? kind : Frame.platforms(platforms)
    case "artifact":
      return html`<span class="type">${excerpt(artifactType ?? "artifact")}</span>`
    case "unknown":
      return html`<span class="type">${excerpt(descriptor.mediaType)}</span>`
  }
}

const bar = (sizes: Sizes, shared: ReadonlySet<Digest.Digest>, whole: number): Html => {
  const common = Array.from(sizes).reduce((total, [digest, size]) => total + (shared.has(digest) ? size : 0), 0)
  const total = Content.sum(sizes)
  return Chart.stack({
    description: `${Format.size(total)}, of which other tags have ${Format.size(common)}`,
    format: Format.size,
    parts: [
      { label: "in other tags as well", value: common, kind: "shared" },
      { label: "in this tag only", value: total - common, kind: "own" }
    ],
    whole
  })
}

const known = (
  summary: Content.Summary,
  shared: ReadonlySet<Digest.Digest>,
  whole: number,
  { at }: Frame.Context
): Html =>
  html`<td>${kindOf(summary)}</td>
<td class="nowrap">${Frame.created(summary.created, at)}</td>
<td class="number">${summary.layers.size === 0 ? none : Format.size(Content.sum(summary.layers))}${
    summary.isPartial && html`<small>at least</small>`
  }</td>
<td class="wide">${summary.layers.size > 0 && bar(summary.layers, shared, whole)}</td>`

const row = (
  context: Frame.Context,
  repository: Repository,
  { summary, tag }: Line,
  shared: ReadonlySet<Digest.Digest>,
  whole: number
): Html =>
  html`<tr>
<th scope="row" class="name"><a href="${Address.ofImage(repository, tag)}">${tag}</a>${
    Result.isSuccess(summary) && html`<small>${Frame.shortDigest(summary.success.node.descriptor.digest)}</small>`
  }</th>
${
    Result.isSuccess(summary)
      ? known(summary.success, shared, whole, context)
      : html`<td colspan="4" class="text"><span class="bad">cannot be read</span><small>${
        excerpt(summary.failure)
      }</small></td>`
  }
</tr>
`

const layersOf = ({ summary }: Line): ReadonlyArray<Sizes> => Result.isSuccess(summary) ? [summary.success.layers] : []

const tags = (context: Frame.Context, { names: { items, prefix }, repository }: Values): Value => {
  if (items.length === 0) {
    return prefix === "" ? html`<p>This repository has no tags.</p>` : html`<p>No tag begins with <b>${prefix}</b>.</p>`
  }
  const lists = items.flatMap(layersOf)
  const shared = Content.sharedOf(lists)
  const whole = Math.max(0, ...lists.map(Content.sum))
  const all = new Map(lists.flatMap((sizes) => Array.from(sizes)))
  return html`<p>${Format.plural(items.length, "tag")} with ${
    Format.size(Content.sum(all))
  } of layers, each counted once.</p>
${Frame.legend("in this tag only", "also in other tags of this list")}${
    table(
      "Tags",
      [
        column("Tag"),
        column("Content"),
        column("Created"),
        column("Size", "number"),
        column("Compared", "wide")
      ],
      html`<tbody>${items.map((line) => row(context, repository, line, shared, whole))}</tbody>`
    )
  }`
}

export const make = (context: Frame.Context, values: Values): Page => {
  const { check, names, repository } = values
  const address = Address.ofRepository(repository)
  return Frame.page(context, {
    title: repository,
    heading: repository,
    body: html`${Frame.search(address, "Tags that begin with", names.prefix)}
${tags(context, values)}
${Frame.pager(address, names)}
${
      check !== undefined && check.problems.length > 0 &&
      Frame.section("check", "Problems that the last scrub found", Frame.problems(check.problems))
    }`
  })
}
