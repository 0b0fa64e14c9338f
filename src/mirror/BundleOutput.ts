/**
 * The files of a bundle while it is being written.
 *
 * Content is collected in a folder: the bundle itself if it is a folder without pieces, otherwise a hidden folder that
 * is removed at the end. It has a mark, so that a folder with other content is not touched. `bundle.json` is written
 * last, so that a bundle that is not complete has none.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import { Storage } from "../RegistryError.ts"
import * as Files from "../stores/Files.ts"
import * as LayoutFormat from "../stores/LayoutFormat.ts"
import * as LayoutRegistry from "../stores/LayoutRegistry.ts"
import * as TarOutput from "../stores/TarOutput.ts"
import * as BundleContents from "./BundleContents.ts"
import { type BundleError, failing } from "./BundleError.ts"
import * as BundleFile from "./BundleFile.ts"
import * as BundlePieces from "./BundlePieces.ts"

/** The form of a bundle. */
export type Form = "folder" | "archive"

/** A bundle that is being written. */
export interface BundleOutput {
  readonly layout: LayoutRegistry.LayoutRegistry
  /** Writes the files of the bundle, when all content is in the layout. */
  readonly finish: (listed: Listed) => Effect.Effect<Finished, BundleError>
}

/** A list of contents without what depends on the files. */
export type Listed = Omit<BundleContents.BundleContents, "id" | "index" | "mediaType" | "pieces" | "version">

export interface Finished {
  readonly contents: BundleContents.BundleContents
  /** Path of `bundle.json`, or of the archive that has it. */
  readonly list: string
  /** Digest of `bundle.json`. */
  readonly digest: Digest
  /** Number of bytes of all files. */
  readonly bytes: number
}

// names in the folder that collects the content
const mark = ".effect-oci-export"
const ownFolder = ".effect-oci"

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

// ---------------------------------------------------------------------------------------------------------------------
// the layout
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the `index.json` of a bundle: its tagged images by their full name, and its referrers. */
const indexOf = ({ content, images, repositories }: Listed): Uint8Array => {
  const entryOf = (position: number, annotations?: Readonly<Record<string, string>>) =>
    content.slice(position, position + 1).flatMap(({ assumed, digest, mediaType, size }) =>
      assumed === true ? [] : [{ mediaType, digest, size, ...annotations === undefined ? {} : { annotations } }]
    )
  const tagged = repositories.flatMap(({ name, tags }) =>
    tags.flatMap(({ manifest, tag }) =>
      entryOf(manifest, {
        "org.opencontainers.image.ref.name": `${name}:${tag}`,
        "io.containerd.image.name": `${name}:${tag}`
      })
    )
  )
  const named = new Set(repositories.flatMap(({ tags }) => tags.map(({ manifest }) => manifest)))
  const others = new Set([
    ...images.map(({ manifest }) => manifest),
    ...repositories.flatMap(({ referrers }) => referrers.map(({ manifest }) => manifest))
  ])
  const manifests = [
    ...tagged,
    ...Array.from(others).filter((position) => !named.has(position)).flatMap((position) => entryOf(position))
  ]
  return encode(JSON.stringify({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests }))
}

/** Replaces a file in one step. */
const writeFile = Effect.fnUntraced(function*(files: Files.Files, name: string, bytes: Uint8Array) {
  const draft = files.join(files.root, `.${name}.draft`)
  yield* files.remove(draft)
  yield* files.write(draft, bytes)
  yield* files.rename(draft, files.join(files.root, name))
  yield* files.syncFolder(files.root)
})

/** Removes blobs of an earlier attempt that the bundle does not need. Fails if one is missing that it needs. */
const removeOthers = Effect.fnUntraced(function*(files: Files.Files, { content }: Listed) {
  const needed = new Map(content.flatMap((each) => each.assumed === true ? [] : [[pathOf(each.digest), each] as const]))
  const blobs = files.join(files.root, "blobs")
  for (const algorithm of yield* files.list(blobs, "Directory")) {
    for (const name of yield* files.list(files.join(blobs, algorithm))) {
      if (!needed.delete(`blobs/${algorithm}/${name}`)) yield* files.remove(files.join(blobs, algorithm, name))
    }
  }
  for (const path of needed.keys()) return yield* new Storage({ path, problem: "it is missing after the export" })
})

const pathOf = (digest: Digest): string => LayoutFormat.blobPath(digest).join("/")

// ---------------------------------------------------------------------------------------------------------------------
// archives
// ---------------------------------------------------------------------------------------------------------------------

/** Writes a layout as a tar archive, and returns the content with its position in it. */
const pack = Effect.fnUntraced(function*(
  files: Files.Files,
  content: Listed["content"],
  index: Uint8Array,
  pieces: BundlePieces.PieceWriter
) {
  const output = TarOutput.toStream("bundle", pieces.write)
  const marker = encode(LayoutFormat.marker)
  yield* output.append("oci-layout", marker.length, Stream.succeed(marker))
  yield* output.append("index.json", index.length, Stream.succeed(index))
  const packed: Array<BundleContents.BundleContent> = []
  for (const each of content) {
    if (each.assumed === true) {
      packed.push(each)
      continue
    }
    const blob = yield* Effect.scoped(Effect.gen(function*() {
      const at = files.join(files.root, ...LayoutFormat.blobPath(each.digest))
      const file = yield* files.open(at)
      if (file === undefined) return yield* new Storage({ path: at, problem: "it is missing" })
      yield* output.append(pathOf(each.digest), each.size, file.read(0, file.size))
      return { ...each, offset: pieces.position() - Math.ceil(each.size / 512) * 512 }
    }))
    packed.push(blob)
  }
  return { packed, end: output.end }
})

/** Writes an archive in pieces, and the list of contents beside them. */
const writePieces = Effect.fnUntraced(function*(
  staging: Files.Files,
  beside: Files.Files,
  names: { readonly archive: string; readonly list: string },
  maximumSize: number,
  listed: Listed,
  index: Uint8Array
) {
  const written = yield* Effect.scoped(Effect.gen(function*() {
    const writer = yield* BundlePieces.writer(beside, names.archive, maximumSize)
    const { end, packed } = yield* pack(staging, listed.content, index, writer)
    yield* end
    return { content: packed, pieces: yield* writer.end }
  }))
  const sealed = yield* BundleContents.seal({ ...listed, ...written, index: yield* fileOf(index) })
  yield* writeFile(beside, names.list, sealed.text)
  return {
    ...sealed,
    list: beside.join(beside.root, names.list),
    bytes: written.pieces.reduce((sum, { size }) => sum + size, sealed.text.length)
  }
})

/** Writes an archive in one piece, with the list of contents as its last member. */
const writeArchive = Effect.fnUntraced(function*(
  staging: Files.Files,
  beside: Files.Files,
  name: string,
  listed: Listed,
  index: Uint8Array
) {
  const draft = `.${name}.draft`
  const sealed = yield* Effect.scoped(Effect.gen(function*() {
    const hasher = yield* Hasher.Hasher
    const hash = yield* hasher.make("sha256")
    const at = beside.join(beside.root, draft)
    yield* beside.remove(at)
    const file = yield* beside.create(at)
    let position = 0
    const write = (bytes: Uint8Array) =>
      Effect.uninterruptible(Effect.mapError(file.writeAll(bytes), Files.refusal(at))).pipe(
        Effect.andThen(hash.update([bytes])),
        Effect.tap(() => Effect.sync(() => position += bytes.length))
      )
    const { packed } = yield* pack(staging, listed.content, index, {
      write,
      position: () => position,
      end: Effect.succeed([])
    })
    const piece = { name, size: position, digest: yield* hash.digest }
    const sealed = yield* BundleContents.seal({
      ...listed,
      content: packed,
      pieces: [piece],
      index: yield* fileOf(index)
    })
    const tail = yield* BundleFile.tailOf(sealed.text)
    yield* Effect.uninterruptible(Effect.mapError(file.writeAll(tail), Files.refusal(at)))
    yield* beside.sync(at, file)
    return { ...sealed, bytes: position + tail.length }
  }))
  yield* beside.rename(beside.join(beside.root, draft), beside.join(beside.root, name))
  yield* beside.syncFolder(beside.root)
  return { ...sealed, list: beside.join(beside.root, name) }
})

const fileOf = (bytes: Uint8Array) => Effect.map(Hasher.digest(bytes), (digest) => ({ size: bytes.length, digest }))

// ---------------------------------------------------------------------------------------------------------------------
// opening
// ---------------------------------------------------------------------------------------------------------------------

/** Prepares the folder that collects the content. Refuses one with other content. */
const prepare = Effect.fnUntraced(function*(files: Files.Files, path: string) {
  const at = files.join(files.root, mark)
  const names = yield* files.list(files.root)
  if (names.length > 0 && !names.includes(mark)) {
    return yield* failing(path)("Refused", "the folder has other content; choose an empty one")
  }
  yield* files.makeFolder(files.root)
  if (!names.includes(mark)) yield* files.write(at, new Uint8Array())
})

/** Returns the form of a bundle at a path: an existing folder, or a name without `.tar`, is a folder. */
const formOf = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  const info = yield* Files.orAbsent(path, fs.stat(path))
  return info?.type === "Directory" || info === undefined && !path.endsWith(".tar") ? "folder" : "archive"
})

/** Returns true if one of some files exists. */
const isFinished = Effect.fnUntraced(function*(files: Files.Files, names: ReadonlyArray<string>) {
  for (const name of names) {
    if ((yield* files.stat(files.join(files.root, name))) !== undefined) return true
  }
  return false
})

/** Returns true if a folder collects the content of an export. */
const isMarked = (files: Files.Files) =>
  Effect.map(files.stat(files.join(files.root, mark)), (info) => info !== undefined)

/** Opens a bundle for writing. Continues with the content of an export that was interrupted. */
export const open = Effect.fnUntraced(function*(
  path: string,
  maximumSize: number | undefined
): Effect.fn.Return<BundleOutput, BundleError, FileSystem.FileSystem | Path.Path | Scope.Scope> {
  const context = yield* Effect.context<FileSystem.FileSystem | Path.Path>()
  const fs = yield* FileSystem.FileSystem
  const paths = yield* Path.Path
  const toError = Effect.mapError((error: BundleError | Storage | Hasher.UnsupportedAlgorithm | string) => {
    if (typeof error === "string") {
      return failing(path)("Invalid", `its list of contents would be refused: ${error}; write several smaller bundles`)
    }
    return error._tag === "BundleError" ? error : failing(path)("Unreadable", error.message)
  })
  if (maximumSize !== undefined && !(Number.isSafeInteger(maximumSize) && maximumSize > 0)) {
    return yield* failing(path)("Invalid", `a piece cannot have ${maximumSize} bytes`)
  }
  const remove = (at: string) => Effect.ignore(fs.remove(at, { recursive: true, force: true }))
  const form: Form = yield* toError(formOf(path))
  const isPlain = form === "folder" && maximumSize === undefined
  const folder = form === "folder" ? paths.resolve(path) : paths.dirname(paths.resolve(path))
  const archive = form === "folder" ? "bundle.tar" : paths.basename(path)
  const list = form === "folder" ? BundleFile.listName : BundleFile.listBeside(archive)
  const beside = yield* Files.make(folder, { isDurable: true })
  const hidden = yield* Files.make(beside.join(folder, `.${archive}.export`), { isDurable: true })
  if (yield* toError(isFinished(beside, form === "archive" ? [list, archive] : [list]))) {
    // an export that was interrupted at its very end may have left its folder
    if (yield* toError(isMarked(hidden))) yield* remove(hidden.root)
    return yield* failing(path)("Refused", "it exists; choose another name")
  }
  const first = BundlePieces.nameOf(archive, 1)
  if (form === "archive" && !(yield* toError(isMarked(hidden))) && (yield* toError(isFinished(beside, [first])))) {
    return yield* failing(path)("Refused", `${first} exists; choose another name`)
  }
  if (form === "folder") yield* toError(prepare(beside, path))
  const staging = isPlain ? beside : hidden
  if (!isPlain) yield* toError(prepare(staging, staging.root))
  const layout = yield* LayoutRegistry.make({ directory: staging.root, form: "layout", name: "bundle" }).pipe(
    Effect.mapError(({ message }) => failing(path)("Unreadable", message))
  )

  const finish = Effect.fnUntraced(function*(listed: Listed) {
    yield* removeOthers(staging, listed)
    const index = indexOf(listed)
    if (index.length > LayoutFormat.indexLimit) {
      return yield* failing(path)("Invalid", `its index.json would have more than ${LayoutFormat.indexLimit} bytes`)
    }
    // also for an archive, so that none is written whose list is refused
    const sealed = yield* BundleContents.seal({ ...listed, pieces: [], index: yield* fileOf(index) })
    if (!isPlain) {
      const finished = maximumSize === undefined
        ? yield* writeArchive(staging, beside, archive, listed, index)
        : yield* writePieces(staging, beside, { archive, list }, maximumSize, listed, index)
      yield* remove(staging.root)
      if (form === "folder") yield* remove(beside.join(folder, mark))
      return finished
    }
    yield* writeFile(staging, "oci-layout", encode(LayoutFormat.marker))
    yield* writeFile(staging, "index.json", index)
    yield* remove(beside.join(folder, ownFolder))
    yield* writeFile(staging, list, sealed.text)
    yield* remove(beside.join(folder, mark))
    const carried = listed.content.reduce((sum, { assumed, size }) => assumed === true ? sum : sum + size, 0)
    return {
      ...sealed,
      list: beside.join(folder, list),
      bytes: carried + index.length + sealed.text.length + LayoutFormat.marker.length
    }
  })

  return {
    layout,
    finish: (listed) =>
      finish(listed).pipe(
        toError,
        Effect.provideContext(context)
      )
  }
})
