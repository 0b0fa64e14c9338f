/**
 * Rules of layers that lie on each other (image-spec, `layer.md`, "Whiteouts"). Layers are read from the top to the
 * bottom, so that what an upper layer has or deletes hides what lower layers have.
 */

/** Returns a path of an archive below the root of the image, without a slash at its beginning and its end. */
export const normalize = (path: string): string => {
  const parts: Array<string> = []
  for (const part of path.split("/")) {
    if (part === "..") parts.pop()
    else if (part !== "" && part !== ".") parts.push(part)
  }
  return parts.join("/")
}

/** Meaning of an entry of a layer. */
export type Meaning =
  | { readonly _tag: "Entry" }
  /** Deletes a path from the lower layers. */
  | { readonly _tag: "Deleted"; readonly path: string }
  /** Deletes everything in a folder from the lower layers. */
  | { readonly _tag: "Cleared"; readonly path: string }
  /** Metadata of AUFS. */
  | { readonly _tag: "Ignored" }

const prefix = ".wh."

/** Returns the meaning of an entry with a normalized path. */
export const meaningOf = (path: string): Meaning => {
  const slash = path.lastIndexOf("/")
  const name = path.slice(slash + 1)
  if (/(?:^|\/)\.wh\.\.wh\.(?!\.opq$)/.test(path) || name === prefix) return { _tag: "Ignored" }
  if (!name.startsWith(prefix)) return { _tag: "Entry" }
  const folder = path.slice(0, Math.max(0, slash))
  if (name === ".wh..wh..opq") return { _tag: "Cleared", path: folder }
  return { _tag: "Deleted", path: `${folder}${folder === "" ? "" : "/"}${name.slice(prefix.length)}` }
}

export interface Overlay {
  /** Returns true if an upper layer hides a path of the current layer. */
  readonly isHidden: (path: string, isFolder: boolean) => boolean
  /** Returns true if an upper layer has something below a path, which therefore is a folder. */
  readonly isFolder: (path: string) => boolean
  /** Records an entry of the current layer. */
  readonly add: (path: string, isFolder: boolean) => void
  /** Records a deletion in the current layer. */
  readonly remove: (meaning: Meaning & { readonly _tag: "Deleted" | "Cleared" }) => void
  /** Goes on to the next lower layer. */
  readonly descend: () => void
}

const folder = 1
const other = 2
/** A folder that a layer has no entry of, but entries below it. */
const implied = 4
const deleted = 8
const cleared = 16

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")))

export const make = (): Overlay => {
  const upper = new Map<string, number>()
  const current = new Map<string, number>()
  const note = (path: string, bits: number) => void current.set(path, (current.get(path) ?? 0) | bits)

  return {
    isHidden: (path, isFolder) => {
      const own = upper.get(path) ?? 0
      if ((own & (folder | other | deleted)) !== 0 || (own & implied) !== 0 && !isFolder) return true
      for (let at = path; at !== "";) {
        at = parentOf(at)
        if (((upper.get(at) ?? 0) & (other | deleted | cleared)) !== 0) return true
      }
      return false
    },
    isFolder: (path) => ((upper.get(path) ?? 0) & (folder | implied)) !== 0,
    add: (path, isFolder) => {
      note(path, isFolder ? folder : other)
      for (let at = parentOf(path); at !== "" && (current.get(at) ?? 0) === 0; at = parentOf(at)) note(at, implied)
    },
    remove: ({ _tag, path }) => note(path, _tag === "Deleted" ? deleted : cleared),
    descend: () => {
      for (const [path, bits] of current) upper.set(path, (upper.get(path) ?? 0) | bits)
      current.clear()
    }
  }
}
