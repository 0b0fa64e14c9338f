/**
 * The view of an image, an index or another artifact.
 */
import * as Result from "effect/Result"
import type { Descriptor } from "../../Descriptor.ts"
import type * as Digest from "../../Digest.ts"
import * as Manifest from "../../Manifest.ts"
import * as Platform from "../../Platform.ts"
import type { Repository, Tag } from "../../Reference.ts"
import { excerpt } from "../../Text.ts"
import * as Chart from "../../web/Chart.ts"
import * as Format from "../../web/Format.ts"
import { type Html, html, type Value } from "../../web/Html.ts"
import type { Page } from "../../web/Page.ts"
import { column, none, table } from "../../web/Parts.ts"
import * as Address from "./Address.ts"
import * as Commands from "./Commands.ts"
import * as ConfigView from "./ConfigView.ts"
import * as Content from "./Content.ts"
import * as Forms from "./Forms.ts"
import * as Frame from "./Frame.ts"

interface Values {
  readonly repository: Repository
  readonly tag: Tag | undefined
  readonly node: Content.Node
  /** Children of an index. */
  readonly children: ReadonlyArray<Content.Child>
  readonly config: ConfigView.Config | undefined
  readonly referrers: Result.Result<ReadonlyArray<Descriptor>, string>
  readonly forms: Forms.Forms
}

type Sizes = ReadonlyMap<Digest.Digest, number>

const decodedOf = ({ node }: Values): Manifest.Manifest | undefined => Result.getOrUndefined(node.manifest)

// ---------------------------------------------------------------------------------------------------------------------
// platforms of an index
// ---------------------------------------------------------------------------------------------------------------------

const nameOf = (child: Descriptor): string => {
  if (Content.isAttestation(child)) return "attestation"
  return child.platform === undefined ? child.artifactType ?? "no platform" : Platform.format(child.platform)
}

const layerBar = (sizes: Sizes, shared: ReadonlySet<Digest.Digest>, whole: number): Html =>
  Chart.stack({
    description: `${Format.plural(sizes.size, "layer")} with ${Format.size(Content.sum(sizes))}`,
    format: Format.size,
    parts: Array.from(sizes, ([digest, value]) => ({
      label: `layer ${digest.slice(0, 19)}`,
      value,
      kind: shared.has(digest) ? "shared" as const : "own" as const
    })),
    whole
  })

const childRow = (
  repository: Repository,
  { descriptor, node }: Content.Child,
  shared: ReadonlySet<Digest.Digest>,
  whole: number
): Html => {
  const sizes = Result.isSuccess(node) ? Content.sizes(Content.layersOf(node.success)) : undefined
  return html`<tr>
<th scope="row" class="name"><a href="${Address.ofImage(repository, descriptor.digest)}">${
    excerpt(nameOf(descriptor))
  }</a><small>${Frame.shortDigest(descriptor.digest)}</small></th>
${
    sizes === undefined
      ? html`<td colspan="3" class="text"><span class="bad">cannot be read</span><small>${
        Result.isFailure(node) && excerpt(node.failure)
      }</small></td>`
      : html`<td class="number">${sizes.size}</td><td class="number">${Format.size(Content.sum(sizes))}</td>
<td class="wide">${layerBar(sizes, shared, whole)}</td>`
  }
</tr>
`
}

const listsOf = ({ children }: Values): ReadonlyArray<readonly [name: string, sizes: Sizes]> =>
  children.flatMap(({ descriptor, node }) =>
    Result.isSuccess(node) ? [[nameOf(descriptor), Content.sizes(Content.layersOf(node.success))] as const] : []
  )

const platforms = (values: Values): Value => {
  const { children, repository } = values
  const manifest = decodedOf(values)
  if (manifest?._tag !== "Index") return undefined
  const count = manifest.content.manifests.length
  if (count === 0) return Frame.section("platforms", "Platforms", html`<p>The index is empty.</p>`)
  const lists = listsOf(values).map(([, sizes]) => sizes)
  const shared = Content.sharedOf(lists)
  const whole = Math.max(0, ...lists.map(Content.sum))
  return Frame.section(
    "platforms",
    "Platforms",
    html`${Frame.legend("layer of one platform", "layer that platforms share")}${
      table(
        "Platforms",
        [column("Platform"), column("Layers", "number"), column("Size", "number"), column("Layers by size", "wide")],
        html`<tbody>${children.map((child) => childRow(repository, child, shared, whole))}</tbody>`
      )
    }${count > children.length && html`<p class="quiet">and ${Format.number(count - children.length)} more</p>`}${
      sharedLayers(values, shared)
    }`
  )
}

/** Maximum number of shared layers that are listed. */
const sharedLimit = 50

const sharedLayers = (values: Values, shared: ReadonlySet<Digest.Digest>): Value => {
  if (shared.size === 0) return undefined
  const lists = listsOf(values)
  const rows = Array.from(shared, (digest) => {
    const having = lists.filter(([, sizes]) => sizes.has(digest))
    return { digest, size: having[0]?.[1].get(digest) ?? 0, names: having.map(([name]) => name) }
  }).toSorted((a, b) => b.size - a.size)
  return html`<h3>Shared layers</h3>
${
    table(
      "Shared layers",
      [column("Layer"), column("Size", "number"), column("Platforms")],
      html`<tbody>${
        rows.slice(0, sharedLimit).map(({ digest, names, size }) =>
          html`<tr><th scope="row">${Frame.shortDigest(digest)}</th><td class="number">${Format.size(size)}</td><td>${
            names.map((name) => html`<span class="chip">${excerpt(name)}</span> `)
          }</td></tr>
`
        )
      }</tbody>`
    )
  }${rows.length > sharedLimit && html`<p class="quiet">and ${rows.length - sharedLimit} more</p>`}`
}

// ---------------------------------------------------------------------------------------------------------------------
// layers of an image
// ---------------------------------------------------------------------------------------------------------------------

/** Maximum number of layers that are listed. */
const layerLimit = 200

const titleOf = ({ annotations }: Descriptor): string | undefined => annotations?.["org.opencontainers.image.title"]

const layerRow = (layer: Descriptor, index: number, whole: number, command: string | undefined): Html =>
  html`<tr>
<td class="number">${index + 1}</td>
<td class="number">${Format.size(layer.size)}</td>
<td class="wide">${
    Chart.stack({
      description: Format.size(layer.size),
      format: Format.size,
      parts: [{ label: `layer ${index + 1}`, value: layer.size, kind: "own" }],
      whole
    })
  }</td>
<td class="text">${
    titleOf(layer) !== undefined
      ? html`<b>${excerpt(titleOf(layer) ?? "")}</b>`
      : command !== undefined && html`<code class="step">${command}</code>`
  }<small>${Frame.shortDigest(layer.digest)} ${excerpt(layer.mediaType)}</small></td>
</tr>
`

const layers = (values: Values): Value => {
  const manifest = decodedOf(values)
  if (manifest === undefined || manifest._tag === "Index") return undefined
  const list = Content.layersOf(values.node)
  const isImage = manifest._tag === "Image" && Content.isImageConfig(manifest.content.config)
  const heading = isImage ? "Layers" : "Files"
  if (list.length === 0) return Frame.section("layers", heading, html`<p>There are none.</p>`)
  const whole = Math.max(0, ...list.map(({ size }) => size))
  const commands = isImage ? ConfigView.layerCommands(values.config, list.length) : []
  return Frame.section(
    "layers",
    heading,
    html`${
      table(
        heading,
        [
          column("#", "number"),
          column("Size", "number"),
          column("Compared", "wide"),
          column(isImage ? "Layer" : "File")
        ],
        html`<tbody>${
          list.slice(0, layerLimit).map((layer, index) => layerRow(layer, index, whole, commands[index]))
        }</tbody>`
      )
    }${list.length > layerLimit && html`<p class="quiet">and ${Format.number(list.length - layerLimit)} more</p>`}`
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// referrers
// ---------------------------------------------------------------------------------------------------------------------

/** Maximum number of referrers that are listed. */
export const referrerLimit = 100

const createdOf = ({ annotations }: Descriptor): string | undefined => annotations?.["org.opencontainers.image.created"]

const referrers = ({ at }: Frame.Context, { referrers, repository }: Values): Html => {
  if (Result.isFailure(referrers)) {
    return Frame.section("referrers", "Referrers", html`<p class="quiet">${excerpt(referrers.failure)}</p>`)
  }
  const list = referrers.success
  return Frame.section(
    "referrers",
    "Referrers",
    list.length === 0
      ? html`<p class="quiet">No signature, SBOM or other artifact refers to this.</p>`
      : html`${
        table(
          "Referrers",
          [column("Type"), column("Created"), column("Size", "number")],
          html`<tbody>${
            list.slice(0, referrerLimit).map((referrer) =>
              html`<tr><th scope="row" class="name"><a href="${Address.ofImage(repository, referrer.digest)}">${
                excerpt(referrer.artifactType ?? referrer.mediaType)
              }</a><small>${Frame.shortDigest(referrer.digest)}</small></th>
<td class="nowrap">${Frame.created(createdOf(referrer), at)}</td><td class="number">${
                Format.size(referrer.size)
              }</td></tr>
`
            )
          }</tbody>`
        )
      }${list.length > referrerLimit && html`<p class="quiet">and more</p>`}`
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// the view
// ---------------------------------------------------------------------------------------------------------------------

const about = (values: Values): Html => {
  const { node: { descriptor }, repository } = values
  const manifest = decodedOf(values)
  const subject = manifest?.content.subject?.digest
  const type = manifest === undefined ? undefined : Manifest.artifactType(manifest)
  return html`<dl class="facts">
<div><dt>Digest</dt><dd><code class="all" tabindex="0">${descriptor.digest}</code></dd></div>
<div><dt>Media type</dt><dd>${excerpt(descriptor.mediaType)}</dd></div>
${
    type !== undefined && !(manifest?._tag === "Image" && Content.isImageConfig(manifest.content.config)) &&
    html`<div><dt>Artifact type</dt><dd>${excerpt(type)}</dd></div>`
  }
<div><dt>Manifest</dt><dd>${Format.size(descriptor.size)}</dd></div>
${
    subject !== undefined &&
    html`<div><dt>Refers to</dt><dd><a href="${Address.ofImage(repository, subject)}">${
      Frame.shortDigest(subject)
    }</a></dd></div>`
  }
</dl>`
}

const unreadable = ({ node: { manifest } }: Values): Value =>
  Result.isFailure(manifest) && html`<p class="notice">The manifest cannot be shown: ${excerpt(manifest.failure)}.</p>`

const totalOf = ({ children, node }: Values): Value => {
  const sizes = Content.sizes(Content.allLayers(node, children))
  return sizes.size === 0 ? none : html`${Format.plural(sizes.size, "layer")}, ${Format.size(Content.sum(sizes))}`
}

export const make = (context: Frame.Context, values: Values): Page => {
  const { config, forms, node, repository, tag } = values
  const { host, isSecure } = context
  const { digest } = node.descriptor
  const annotations = Object.entries(decodedOf(values)?.content.annotations ?? {})
  return Frame.page(context, {
    title: tag === undefined ? `${repository}@${digest.slice(0, 19)}` : `${repository}:${tag}`,
    heading: html`<a href="${Address.ofRepository(repository)}">${repository}</a>${
      tag === undefined ? html`@${Frame.shortDigest(digest)}` : `:${tag}`
    }`,
    summary: totalOf(values),
    body: html`${unreadable(values)}
${about(values)}
${
      Frame.section(
        "pull",
        "Pull",
        Commands.make({ host, isSecure, repository, tag, digest, isRunnable: Content.isRunnable(node) })
      )
    }
${platforms(values)}
${layers(values)}
${referrers(context, values)}
${ConfigView.make(context, config)}
${annotations.length > 0 && Frame.section("annotations", "Annotations", Frame.facts(annotations))}
${Forms.make(forms, repository, tag, digest)}`
  })
}
