/**
 * The files of an image: the entries of all layers, without those that an upper layer replaces or deletes.
 */
import * as Effect from "effect/Effect"
import type * as Tar from "effect/encoding/Tar"
import * as Stream from "effect/Stream"
import * as FileSearch from "./FileSearch.ts"
import * as Layers from "./Layers.ts"
import * as Overlay from "./Overlay.ts"

/**
 * A file, folder or link of an image.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  /** Path without a slash at its beginning and its end, such as `etc/os-release`. */
  readonly path: string
  /** Type, permissions, owner, time and further metadata. `path` and `linkTarget` are as the layer writes them. */
  readonly header: Tar.Header
  /** The layer that has the entry. */
  readonly layer: Layers.Described
  /**
   * Path of the file that a hard link shares, or target of a symbolic link as it is written. The file of a hard link
   * comes before the link.
   */
  readonly linkTarget?: string | undefined
  /** The bytes of a file. They can be read until the next entry is read. */
  readonly content: Stream.Stream<Uint8Array, Layers.Failure>
}

/**
 * Returns the visible entry for an entry of a layer. `hidden` are the files of the layer that are not listed, by their
 * path.
 */
const visible = (
  source: Layers.Source,
  layer: Layers.Described,
  { body, header, path }: Layers.LayerEntry,
  hidden: ReadonlyMap<string, Pick<Layers.LayerEntry, "ordinal" | "header">>
): Entry => {
  const { linkTarget } = header
  if (header.type !== "Hardlink" || linkTarget === undefined) {
    return { path, header, layer, content: body, ...linkTarget === undefined ? {} : { linkTarget } }
  }
  const target = Overlay.normalize(linkTarget)
  const file = hidden.get(target)
  // the other name of the file is not listed, such as one that an upper layer has replaced
  return file === undefined
    ? { path, header, layer, content: body, linkTarget: target }
    : {
      path,
      header: { ...file.header, path: header.path },
      layer,
      content: FileSearch.contentOf(source, layer, file.ordinal)
    }
}

/** Lists the files of an image at and below a path. `layers` begins with the top layer. */
export const list = ({ layers, source }: FileSearch.Stack, path: string): Stream.Stream<Entry, Layers.Failure> =>
  Stream.unwrap(Effect.map(Layers.counter(source), (count) => {
    const root = Overlay.normalize(path)
    const isBelow = (path: string) => root === "" || path === root || path.startsWith(`${root}/`)
    const overlay = Overlay.make()
    const inLayer = (layer: Layers.Described, position: number) => {
      const isLowest = position === layers.length - 1
      const hidden = new Map<string, Pick<Layers.LayerEntry, "ordinal" | "header">>()
      const choose = (entry: Layers.LayerEntry): ReadonlyArray<Entry> => {
        const { header, ordinal, path } = entry
        const isFolder = header.type === "Directory"
        const meaning = Overlay.meaningOf(path)
        if (meaning._tag === "Deleted" || meaning._tag === "Cleared") overlay.remove(meaning)
        if (meaning._tag !== "Entry" || path === "") return []
        const isHidden = overlay.isHidden(path, isFolder)
        // nothing is below the lowest layer, so that its entries need not be remembered
        if (!isHidden && !isLowest) overlay.add(path, isFolder)
        if (isHidden || !isBelow(path)) {
          if (header.type === "File") hidden.set(path, { ordinal, header })
          return []
        }
        return [visible(source, layer, entry, hidden)]
      }
      return Layers.entries(source, layer).pipe(
        Stream.tap(() => count(layer)),
        Stream.map(choose),
        Stream.filter((chosen) => chosen.length > 0),
        Stream.flattenIterable,
        Stream.onEnd(Effect.sync(() => {
          overlay.descend()
        }))
      )
    }
    return Stream.flatMap(
      Stream.fromIterable(layers.entries()),
      ([position, layer]) => Stream.suspend(() => inLayer(layer, position))
    )
  }))
