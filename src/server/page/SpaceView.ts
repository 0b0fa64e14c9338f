/**
 * The view of what takes space.
 */
import type * as Digest from "../../Digest.ts"
import * as Chart from "../../web/Chart.ts"
import * as Format from "../../web/Format.ts"
import { type Html, html } from "../../web/Html.ts"
import type { Page } from "../../web/Page.ts"
import { column, table, timeOf } from "../../web/Parts.ts"
import * as Address from "./Address.ts"
import * as Frame from "./Frame.ts"
import type { RepositorySpace } from "./Space.ts"

interface Values {
  /** Repositories that the viewer may see. `undefined` while they are being measured. */
  readonly repositories: ReadonlyArray<RepositorySpace> | undefined
  readonly measuredAt: Frame.Context["at"] | undefined
  readonly isPartial: boolean
}

/** Number of entries of each list. */
const length = 25

interface Blob {
  readonly digest: Digest.Digest
  readonly size: number
  readonly repositories: Array<string>
}

/** Returns all blobs with the repositories that they are in. */
const blobsOf = (repositories: ReadonlyArray<RepositorySpace>): ReadonlyArray<Blob> => {
  const blobs = new Map<Digest.Digest, Blob>()
  for (const { blobs: sizes, repository } of repositories) {
    for (const [digest, size] of sizes) {
      const known = blobs.get(digest)
      if (known === undefined) blobs.set(digest, { digest, size, repositories: [repository] })
      else known.repositories.push(repository)
    }
  }
  return Array.from(blobs.values())
}

const largest = <A extends { readonly size: number }>(items: ReadonlyArray<A>): ReadonlyArray<A> =>
  items.toSorted((a, b) => b.size - a.size).slice(0, length)

const bytesOf = (blobs: Iterable<number>): number => Array.from(blobs).reduce((total, size) => total + size, 0)

const repositoryRow = (
  { blobs, manifests, repository, tags }: RepositorySpace,
  bytes: number,
  shared: ReadonlySet<Digest.Digest>,
  whole: number
): Html => {
  const common = bytesOf(Array.from(blobs).flatMap(([digest, size]) => shared.has(digest) ? [size] : []))
  return html`<tr>
<th scope="row" class="name"><a href="${Address.ofRepository(repository)}">${repository}</a></th>
<td class="number">${Format.number(tags)}</td>
<td class="number">${Format.number(manifests)}</td>
<td class="number">${Format.size(bytes)}</td>
<td class="wide">${
    Chart.stack({
      description: `${Format.size(bytes)}, of which other repositories have ${Format.size(common)}`,
      format: Format.size,
      parts: [
        { label: "also in other repositories", value: common, kind: "shared" },
        { label: "only here", value: bytes - common, kind: "own" }
      ],
      whole
    })
  }</td>
</tr>
`
}

const blobRow = ({ digest, repositories, size }: Blob, whole: number): Html =>
  html`<tr>
<th scope="row">${Frame.shortDigest(digest)}</th>
<td class="number">${Format.size(size)}</td>
<td class="wide">${
    Chart.stack({
      description: Format.size(size),
      format: Format.size,
      parts: [{ label: digest, value: size, kind: repositories.length > 1 ? "shared" : "own" }],
      whole
    })
  }</td>
<td class="text">${repositories.slice(0, 3).map((name) => html`<a href="${Address.ofRepository(name)}">${name}</a> `)}${
    repositories.length > 3 && html`<span class="quiet">and ${repositories.length - 3} more</span>`
  }</td>
</tr>
`

const measured = (repositories: ReadonlyArray<RepositorySpace>, blobs: ReadonlyArray<Blob>): Html => {
  const shared = new Set(blobs.flatMap(({ digest, repositories }) => repositories.length > 1 ? [digest] : []))
  const sized = repositories.map((space) => ({ space, size: bytesOf(space.blobs.values()) }))
  const first = largest(sized)
  const large = largest(blobs)
  return html`${
    Frame.section(
      "repositories",
      `Largest repositories`,
      html`${Frame.legend("only here", "also in other repositories")}${
        table(
          "Largest repositories",
          [
            column("Repository"),
            column("Tags", "number"),
            column("Manifests", "number"),
            column("Size", "number"),
            column("Compared", "wide")
          ],
          html`<tbody>${
            first.map(({ size, space }) => repositoryRow(space, size, shared, first[0]?.size ?? 0))
          }</tbody>`
        )
      }`
    )
  }${
    Frame.section(
      "blobs",
      "Largest blobs",
      table(
        "Largest blobs",
        [column("Blob"), column("Size", "number"), column("Compared", "wide"), column("Repositories")],
        html`<tbody>${large.map((blob) => blobRow(blob, large[0]?.size ?? 0))}</tbody>`
      )
    )
  }`
}

export const make = (context: Frame.Context, { isPartial, measuredAt, repositories }: Values): Page => {
  const blobs = blobsOf(repositories ?? [])
  return Frame.page(context, {
    title: "What takes space",
    heading: "What takes space",
    summary: repositories === undefined
      ? "The content is being measured. Load the page again in a while."
      : html`${Format.size(bytesOf(blobs.map(({ size }) => size)))} in ${
        Format.plural(repositories.length, "repository")
      }, measured ${
        measuredAt !== undefined && timeOf(measuredAt, context.at)
      }. Content that no tag needs is not counted.`,
    body: html`${
      isPartial &&
      html`<p class="notice">There is too much content to measure all of it, so that some is missing here.</p>`
    }${repositories !== undefined && repositories.length > 0 && measured(repositories, blobs)}`
  })
}
