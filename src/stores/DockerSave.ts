/**
 * The form in which docker 25 and later save images: an image layout, with a `manifest.json` beside its `index.json`.
 *
 * - `index.json` lists every manifest with a name, and those that no other manifest contains: indexes with all their
 *   platforms, artifacts and referrers too. containerd's image store, podman and other readers of layouts use it.
 * - `manifest.json` has one image for each of them, which docker's own image store, skopeo and older tools read. An
 *   index is represented by its image for one platform. Content that is not an image, and an image with a layer that
 *   the archive lacks, is not in this file.
 *
 * There is no file `repositories`, because it describes the layers in a form that these archives do not have.
 */
import * as DockerHub from "../DockerHub.ts"
import type * as Manifest from "../Manifest.ts"
import * as Platform from "../Platform.ts"
import type { Host, Repository, Tag } from "../Reference.ts"
import type * as ArchiveRegistry from "./ArchiveRegistry.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as LayoutIndexText from "./LayoutIndexText.ts"

interface Options {
  /** Host in the full names of images that are pushed. */
  readonly host: Host
  /** Platform of the images that represent indexes in `manifest.json`. */
  readonly platform: Platform.Platform
  /** Full names of the images of an earlier archive, by their repository and tag. */
  readonly names: ReadonlyMap<string, string>
}

const keyOf = ({ repository, tag }: { readonly repository: Repository; readonly tag: Tag }): string =>
  `${repository}:${tag}`

/** Returns a full name, such as `docker.io/library/alpine:3`. */
const fullName = ({ host, names }: Options, name: { readonly repository: Repository; readonly tag: Tag }): string => {
  const { repository, tag } = name
  const full = DockerHub.isHost(host) ? DockerHub.fullName(repository) : repository
  return names.get(keyOf(name)) ?? `${DockerHub.isHost(host) ? DockerHub.host : host}/${full}:${tag}`
}

/** Returns a full name as docker shows it, such as `alpine:3`. */
const familiarName = (name: string): string => {
  const [, host = "", rest = ""] = /^([^/]+)\/(.*)$/s.exec(name) ?? []
  return DockerHub.isHost(host) ? rest.replace(/^library\/(?=[^/]+$)/, "") : name
}

type Image = Manifest.Manifest & { readonly _tag: "Image" }

const depthLimit = 16

/** Returns the images of a manifest that the archive has, with their platforms. */
const imagesOf = (
  archive: ArchiveRegistry.ArchiveRegistry,
  digest: Parameters<ArchiveRegistry.ArchiveRegistry["manifest"]>[0],
  platform: Platform.Platform | undefined,
  depth: number = 0
): ReadonlyArray<{ readonly image: Image; readonly platform: Platform.Platform | undefined }> => {
  const manifest = archive.manifest(digest)
  if (manifest?._tag === "Image") return [{ image: manifest, platform }]
  if (manifest?._tag !== "Index" || depth > depthLimit) return []
  return manifest.content.manifests.flatMap((child) => imagesOf(archive, child.digest, child.platform, depth + 1))
}

const isLoadable = (archive: ArchiveRegistry.ArchiveRegistry, { content: { config, layers } }: Image): boolean =>
  /\.(?:config|image)\.v1\+json$/.test(config.mediaType) &&
  [config, ...layers].every(({ digest }) => archive.hasBlob(digest))

/** Returns the image that represents a manifest. */
const representative = (archive: ArchiveRegistry.ArchiveRegistry, root: ArchiveRegistry.Root, options: Options) => {
  const images = imagesOf(archive, root.descriptor.digest, undefined).filter(({ image, platform }) =>
    (platform === undefined || Platform.isKnown(platform)) && isLoadable(archive, image)
  )
  const [selected = images[0]] = Platform.select(options.platform, images, ({ platform }) => platform)
  return selected?.image
}

const pathOf = ({ digest }: { readonly digest: Parameters<typeof LayoutFormat.blobPath>[0] }): string =>
  LayoutFormat.blobPath(digest).join("/")

const manifestFile = (archive: ArchiveRegistry.ArchiveRegistry, options: Options): string => {
  const tags = new Map<Image, Array<string>>()
  for (const root of archive.roots()) {
    const image = representative(archive, root, options)
    if (image === undefined) continue
    const own = tags.get(image) ?? []
    tags.set(image, [...own, ...root.names.map((name) => familiarName(fullName(options, name)))])
  }
  return JSON.stringify(Array.from(tags, ([{ content: { config, layers } }, names]) => ({
    Config: pathOf(config),
    RepoTags: names.length === 0 ? null : names,
    Layers: layers.map(pathOf)
  })))
}

/** Returns the files at the end of an archive. */
export const files = (
  archive: ArchiveRegistry.ArchiveRegistry,
  options: Options
): ReadonlyArray<readonly [name: string, content: string]> => {
  const index = LayoutIndex.make(
    archive.roots().flatMap(({ descriptor, names }) =>
      names.length === 0
        ? [{ descriptor }]
        : names.map((name) => ({ descriptor, tag: name.tag, name: fullName(options, name) }))
    )
  )
  return [["index.json", LayoutIndexText.format(index)], ["manifest.json", manifestFile(archive, options)]]
}
