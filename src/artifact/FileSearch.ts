/**
 * The search for one file of an image. Layers are read from the top, and no more of them than are needed. Each layer is
 * read to its end, so that it is verified.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { FileNotFound, ImageError, NotAFile, TooManyLinks } from "./ImageError.ts"
import * as Layers from "./Layers.ts"
import * as Overlay from "./Overlay.ts"

/** Maximum number of links from a path to a file, as on Linux. */
const linkLimit = 40

/** Size up to which a file is kept while its layer is read, in bytes. The layer of a larger file is read again. */
const keptSize = 8 * 1024 * 1024

/** Something at a path of an image. */
interface Found {
  /** Position of the layer, from the top. */
  readonly layer: number
  readonly entry: Omit<Layers.LayerEntry, "body">
  /** The content, if it was kept. */
  readonly bytes?: Uint8Array | undefined
}

/** A file of an image. */
export interface FoundFile extends Pick<Found, "entry"> {
  readonly layer: Layers.Described
  readonly content: Stream.Stream<Uint8Array, Layers.Failure>
}

/** The layers of an image, the top layer first, and where they are. */
export interface Stack {
  readonly source: Layers.Source
  readonly layers: ReadonlyArray<Layers.Described>
}

/** Result of a lookup in the layers that were read. */
type Lookup =
  | { readonly _tag: "Found"; readonly found: Found }
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Folder"; readonly path: string }
  | { readonly _tag: "TooManyLinks" }
  /** The next layer may have this path, or a link on the way to it. */
  | { readonly _tag: "Unknown"; readonly path: string }

/** Looks up a path in the layers that were read. Symbolic links are followed within the image. */
const lookUp = (
  known: ReadonlyMap<string, Found>,
  overlay: Overlay.Overlay,
  isComplete: boolean,
  path: string
): Lookup => {
  let parts = path.split("/")
  let at = ""
  let links = 0
  while (parts.length > 0) {
    const [part = "", ...rest] = parts
    parts = rest
    if (part === "" || part === ".") continue
    if (part === "..") {
      at = at.slice(0, Math.max(0, at.lastIndexOf("/")))
      continue
    }
    const next = at === "" ? part : `${at}/${part}`
    const found = known.get(next)
    if (found === undefined) {
      if (overlay.isFolder(next)) {
        at = next
        continue
      }
      if (isComplete || overlay.isHidden(next, false)) return { _tag: "Absent" }
      return { _tag: "Unknown", path: Overlay.normalize([next, ...rest].join("/")) }
    }
    const { linkTarget = "", type } = found.entry.header
    if (type === "Symlink") {
      if (++links > linkLimit) return { _tag: "TooManyLinks" }
      if (linkTarget.startsWith("/")) at = ""
      parts = [...linkTarget.split("/"), ...rest]
      continue
    }
    if (type === "Directory") {
      at = next
      continue
    }
    return rest.some((part) => part !== "" && part !== ".") ? { _tag: "Absent" } : { _tag: "Found", found }
  }
  return { _tag: "Folder", path: at }
}

/** Hands on the last chunk of a stream after the stream has ended without an error. */
const withLastAtEnd = <E>(stream: Stream.Stream<Uint8Array, E>): Stream.Stream<Uint8Array, E> =>
  Stream.suspend(() => {
    let last: Uint8Array | undefined
    return stream.pipe(
      Stream.map((chunk) => {
        const previous = last
        last = chunk
        return previous
      }),
      Stream.concat(Stream.sync(() => last)),
      Stream.filter((chunk) => chunk !== undefined)
    )
  })

/** Returns the content of an entry of a layer. The rest of the layer is read as well, so that it is verified. */
export const contentOf = (
  source: Layers.Source,
  layer: Layers.Described,
  ordinal: number
): Stream.Stream<Uint8Array, Layers.Failure> =>
  withLastAtEnd(Stream.flatMap(
    Layers.entries(source, layer),
    (entry) => entry.ordinal === ordinal ? entry.body : Stream.empty
  ))

/** Returns the last entry of a layer with a path, even if an upper layer hides it. */
const entryIn = (source: Layers.Source, layer: Layers.Described, path: string) =>
  Stream.runFold(
    Layers.entries(source, layer),
    (): Omit<Layers.LayerEntry, "body"> | undefined => undefined,
    (found, { header, ordinal, path: own }) => own === path ? { ordinal, path, header } : found
  )

/**
 * Follows a hard link. Its target is in the same layer, or else in a lower one, because an upper layer that replaces
 * the target does not change the link.
 */
const followHardLink = Effect.fnUntraced(
  function*({ layers, source }: Stack, path: string, from: Found): Effect.fn.Return<Found, Layers.Failure> {
    let { entry, layer } = from
    for (let links = 0; links < linkLimit; links++) {
      const target = Overlay.normalize(entry.header.linkTarget ?? "")
      let next: Omit<Layers.LayerEntry, "body"> | undefined
      for (; layer < layers.length && next === undefined; layer++) {
        const described = layers[layer]
        next = described === undefined ? undefined : yield* entryIn(source, described, target)
      }
      if (next === undefined) {
        return yield* new ImageError({ reference: source.reference, reason: new FileNotFound({ path: target }) })
      }
      layer--
      entry = next
      if (entry.header.type !== "Hardlink") return { entry, layer }
    }
    return yield* new ImageError({
      reference: source.reference,
      reason: new TooManyLinks({ path, limit: linkLimit })
    })
  }
)

/** Finds a file. Symbolic links and hard links are followed within the image. */
export const find = Effect.fnUntraced(
  function*(stack: Stack, path: string): Effect.fn.Return<FoundFile, Layers.Failure> {
    const { layers, source } = stack
    const fail = (reason: ImageError["reason"]) => new ImageError({ reference: source.reference, reason })
    const known = new Map<string, Found>()
    const overlay = Overlay.make()
    const count = yield* Layers.counter(source)

    const read = (layer: Layers.Described, position: number, wanted: string) =>
      Stream.runForEach(
        Layers.entries(source, layer),
        Effect.fnUntraced(function*({ body, ...entry }) {
          yield* count(layer)
          const isFolder = entry.header.type === "Directory"
          const meaning = Overlay.meaningOf(entry.path)
          if (meaning._tag === "Deleted" || meaning._tag === "Cleared") return overlay.remove(meaning)
          if (meaning._tag === "Ignored" || entry.path === "" || overlay.isHidden(entry.path, isFolder)) return
          overlay.add(entry.path, isFolder)
          const { size, type } = entry.header
          const bytes = entry.path === wanted && type === "File" && size <= keptSize
            ? yield* Stream.mkUint8Array(body)
            : undefined
          known.set(entry.path, { layer: position, entry, bytes })
        })
      )

    let next = 0
    while (true) {
      const lookup = lookUp(known, overlay, next === layers.length, path)
      switch (lookup._tag) {
        case "Absent":
          return yield* fail(new FileNotFound({ path }))
        case "TooManyLinks":
          return yield* fail(new TooManyLinks({ path, limit: linkLimit }))
        case "Folder":
          return yield* fail(new NotAFile({ path, type: "Directory" }))
        case "Unknown": {
          const layer = layers[next]
          if (layer !== undefined) yield* read(layer, next, lookup.path)
          overlay.descend()
          next++
          continue
        }
      }
      const { found } = lookup
      const file = found.entry.header.type === "Hardlink" ? yield* followHardLink(stack, path, found) : found
      const layer = layers[file.layer]
      const { type } = file.entry.header
      if (type !== "File" || layer === undefined) return yield* fail(new NotAFile({ path, type }))
      return {
        layer,
        // the metadata of a hard link are those of its target
        entry: { ...file.entry, path: found.entry.path },
        content: file.bytes === undefined
          ? contentOf(source, layer, file.entry.ordinal)
          : Stream.succeed(file.bytes)
      }
    }
  }
)
