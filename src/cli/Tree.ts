/**
 * Formats the content of an image as a tree of lines, or as a Mermaid flowchart.
 */
import * as Annotations from "../Annotations.ts"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Platform from "../Platform.ts"
import { printable } from "../Text.ts"
import * as Format from "./Format.ts"
import type { ImageContent } from "./ImageContent.ts"

const ends: Readonly<Record<NonNullable<ImageContent["ends"]>, string>> = {
  repeated: "shown above",
  missing: "missing",
  unknown: "unknown type",
  deep: "too deep to follow"
}

/** Returns the properties of a manifest, the most important first. */
const words = ({ artifactType, ends: end, mediaType, platform, size }: ImageContent): ReadonlyArray<string> => [
  ...platform === undefined ? [] : [Platform.format(platform)],
  artifactType || Format.kind(mediaType) || "manifest",
  Format.size(size),
  ...end === undefined ? [] : [ends[end]]
]

/** Returns the format of a layer, such as `tar+gzip`, or its media type if it is not a layer of an image. */
const packing = ({ mediaType }: Descriptor): string =>
  /^application\/vnd\.(?:oci\.image\.layer|docker\.image\.rootfs)\..*?(tar.*)$/s.exec(mediaType)?.[1] ?? mediaType

/** Returns the name of the file that a layer of an artifact is, or a blank. */
const titleOf = ({ annotations }: Descriptor): string => annotations?.[Annotations.title] ?? ""

/** Returns the sizes of the blobs of a tree by digest. */
const blobsOf = (content: ImageContent, blobs: Map<Digest, number> = new Map()): ReadonlyMap<Digest, number> => {
  for (const { digest, size } of [...content.config === undefined ? [] : [content.config], ...content.layers ?? []]) {
    blobs.set(digest, size)
  }
  for (const below of [...content.manifests ?? [], ...content.referrers ?? []]) blobsOf(below, blobs)
  return blobs
}

// ---------------------------------------------------------------------------------------------------------------------
// text
// ---------------------------------------------------------------------------------------------------------------------

interface Line {
  readonly text: string
  readonly below: ReadonlyArray<Line>
}

const draw = ({ below, text }: Line): ReadonlyArray<string> => [
  text,
  ...below.flatMap((line, index) => {
    const isLast = index === below.length - 1
    const [first = "", ...rest] = draw(line)
    return [`${isLast ? "└─ " : "├─ "}${first}`, ...rest.map((line) => (isLast ? "   " : "│  ") + line)]
  })
]

const leaf = (name: string, descriptor: Descriptor, ...more: ReadonlyArray<string>): Line => ({
  text: [name, descriptor.digest, Format.size(descriptor.size), ...more].filter((column) => column !== "").join("  "),
  below: []
})

const below = (content: ImageContent): ReadonlyArray<Line> => [
  ...content.config === undefined ? [] : [leaf("config", content.config)],
  ...(content.layers ?? []).map((layer) => leaf("layer", layer, packing(layer), titleOf(layer))),
  ...(content.manifests ?? []).map((manifest) => lineOf(manifest)),
  ...(content.referrers ?? []).map((referrer) => lineOf(referrer, "referrer"))
]

const lineOf = (content: ImageContent, ...names: ReadonlyArray<string>): Line => {
  const [first = "", ...rest] = words(content)
  return { text: [...names, first, content.digest, ...rest].join("  "), below: below(content) }
}

/** Formats a tree as lines. */
export const text = (name: string, content: ImageContent): ReadonlyArray<string> => {
  const blobs = blobsOf(content)
  const bytes = Array.from(blobs.values()).reduce((sum, size) => sum + size, 0)
  const total = `${Format.plural(blobs.size, "blob")}, ${Format.size(bytes)}`
  return [...draw(lineOf(content, name)), `total: ${total}`]
}

// ---------------------------------------------------------------------------------------------------------------------
// mermaid
// ---------------------------------------------------------------------------------------------------------------------

const escaped = (text: string): string =>
  printable(text).replace(/[#"<>&`]/g, (character) => `#${character.charCodeAt(0)};`)

const short = (digest: Digest): string => digest.slice(0, digest.indexOf(":") + 13)

/** Formats a tree as a flowchart. Repeated content is one node, and referrers point at their subject. */
export const mermaid = (name: string, content: ImageContent): ReadonlyArray<string> => {
  const ids = new Map<Digest, string>()
  const lines = new Set<string>()
  const node = (digest: Digest, label: ReadonlyArray<string>, [open, close]: readonly [string, string]): string => {
    const known = ids.get(digest)
    if (known !== undefined) return known
    const id = `n${ids.size}`
    ids.set(digest, id)
    lines.add(`${id}${open}"${[...label, short(digest)].map(escaped).join("<br>")}"${close}`)
    return id
  }
  const blob = (name: string, descriptor: Descriptor) => {
    const label = [name, titleOf(descriptor), Format.size(descriptor.size)].filter((part) => part !== "")
    return node(descriptor.digest, label, ["([", "])"])
  }
  const manifest = (content: ImageContent, ...names: ReadonlyArray<string>): string => {
    const id = node(content.digest, [...names, ...words(content)], ["[", "]"])
    if (content.config !== undefined) lines.add(`${id} --> ${blob("config", content.config)}`)
    for (const layer of content.layers ?? []) lines.add(`${id} --> ${blob("layer", layer)}`)
    for (const child of content.manifests ?? []) lines.add(`${id} --> ${manifest(child)}`)
    for (const referrer of content.referrers ?? []) lines.add(`${manifest(referrer)} -. refers to .-> ${id}`)
    return id
  }
  manifest(content, name)
  return ["flowchart TD", ...Array.from(lines, (line) => `  ${line}`)]
}
