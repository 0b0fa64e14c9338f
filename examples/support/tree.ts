/**
 * Formats the report of a copy as a tree.
 */
import { ByteSize } from "effect"
import type { CopyReport, Entry } from "effect-oci/CopyReport"
import * as Platform from "effect-oci/Platform"

const label = ({ descriptor, role }: Entry): string => {
  if (descriptor.platform !== undefined) return `image for ${Platform.format(descriptor.platform)}`
  if (role === "referrer") return `referrer ${descriptor.artifactType ?? ""}`
  if (role !== "blob") return "image index"
  return /config/.test(descriptor.mediaType) ? "config" : /layer/.test(descriptor.mediaType) ? "layer" : "blob"
}

const describe = (entry: Entry): string => {
  const { digest, size } = entry.descriptor
  const bytes = ByteSize.format(ByteSize.bytes(size), { precision: 1 })
  return `${label(entry)}  ${digest.slice(0, 19)}…  ${bytes}  ${entry.outcome}`
}

const order = ["blob", "child", "referrer"]

const lines = (entries: ReadonlyArray<Entry>, entry: Entry, indent: string): ReadonlyArray<string> => {
  const below = entries
    .filter(({ path, role }) => role !== "root" && path.at(-1) === entry.descriptor.digest)
    .sort((a, b) => order.indexOf(a.role) - order.indexOf(b.role))
  return below.flatMap((child, i) => {
    const isLast = i === below.length - 1
    return [
      `${indent}${isLast ? "└─" : "├─"} ${describe(child)}`,
      ...lines(entries, child, `${indent}${isLast ? "   " : "│  "}`)
    ]
  })
}

export const tree = ({ entries }: CopyReport): string =>
  entries.filter(({ role }) => role === "root").flatMap((root) => [describe(root), ...lines(entries, root, "")]).join(
    "\n"
  )
