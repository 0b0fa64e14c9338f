/**
 * Finds the files of a bundle, and reads its list of contents.
 *
 * - A folder has the list as `bundle.json`, and is an image layout or has the pieces of one.
 * - A file in pieces, `FILE.001`, `FILE.002`, …, has the list beside them as `FILE.bundle.json`.
 * - A file in one piece is an image layout in a tar archive, with the list as its last member.
 */
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import { type ContentTooLarge, Storage } from "../RegistryError.ts"
import * as Files from "../stores/Files.ts"
import * as LayoutFormat from "../stores/LayoutFormat.ts"
import * as TarFile from "../stores/TarFile.ts"
import * as BundleContents from "./BundleContents.ts"
import { type BundleError, failing } from "./BundleError.ts"
import * as BundlePieces from "./BundlePieces.ts"

/** Name of the list of contents. */
export const listName = "bundle.json"

/** Returns the path of the list that is beside the pieces of a file. */
export const listBeside = (file: string): string => `${file}.${listName}`

/** A bundle whose list of contents has been read. */
export interface BundleFile {
  readonly path: string
  readonly contents: BundleContents.BundleContents
  /** Digest of the file `bundle.json`. */
  readonly digest: Digest
  /** Opens a piece by its name. The name of the only piece is ignored if the list is inside of it. */
  readonly piece: BundlePieces.OpenPiece
  /** Opens a file of the layout. Absent if the bundle has pieces. */
  readonly layoutFile: ((...path: ReadonlyArray<string>) => ReturnType<BundlePieces.OpenPiece>) | undefined
  /** Bytes that must follow the only piece, because they are the member with the list. */
  readonly tail: Uint8Array | undefined
}

/** Converts a failure of the system to an error about a bundle. */
const unreadable = (path: string) => (error: Storage | ContentTooLarge | Hasher.UnsupportedAlgorithm): BundleError =>
  failing(path)("Unreadable", error.message)

const parse = Effect.fnUntraced(function*(path: string, bytes: Uint8Array) {
  const contents = yield* Effect.mapError(
    BundleContents.parse(bytes),
    (problem) => failing(path)("Invalid", typeof problem === "string" ? problem : problem.message)
  )
  const digest = yield* Effect.mapError(Hasher.digest(bytes), unreadable(path))
  return { contents, digest }
})

const readList = Effect.fnUntraced(function*(path: string, file: Files.OpenFile | undefined) {
  if (file === undefined) return undefined
  if (file.size > BundleContents.maximumSize) {
    return yield* failing(path)("Invalid", `it has more than ${BundleContents.maximumSize} bytes`)
  }
  return yield* Effect.mapError(Stream.mkUint8Array(file.read(0, file.size)), unreadable(path))
})

/** Returns the bytes of the last member of an archive, and of the end of the archive. */
export const tailOf = (bytes: Uint8Array): Effect.Effect<Uint8Array, Storage> =>
  Stream.succeed(Tar.fileStream(listName, bytes.length, Stream.succeed(bytes))).pipe(
    Stream.pipeThroughChannel(Tar.encode<never, unknown, Tar.Entry<never>>()),
    Stream.mkUint8Array,
    Effect.mapError(({ message }) => new Storage({ path: listName, problem: message }))
  )

/** Opens a bundle whose list is a file, in the folder of its other files. */
const openFolder = Effect.fnUntraced(function*(
  path: string,
  files: Files.Files,
  list: string
): Effect.fn.Return<BundleFile | undefined, BundleError, Scope.Scope> {
  const at = files.join(files.root, list)
  const bytes = yield* readList(at, yield* Effect.mapError(files.open(at), unreadable(at)))
  if (bytes === undefined) return undefined
  const { contents, digest } = yield* parse(at, bytes)
  const layoutFile = (...parts: ReadonlyArray<string>) => files.open(files.join(files.root, ...parts))
  const isLayout = list === listName &&
    (contents.pieces.length === 0 ||
      (yield* Effect.mapError(files.stat(files.join(files.root, "blobs")), unreadable(at))) !== undefined)
  return {
    path,
    contents,
    digest,
    piece: (name) => files.open(files.join(files.root, name)),
    layoutFile: isLayout || contents.pieces.length === 0 ? layoutFile : undefined,
    tail: undefined
  }
})

/** Opens a bundle that is one archive with the list inside. */
const openArchive = Effect.fnUntraced(function*(path: string, files: Files.Files, name: string) {
  const unknown = failing(path)("Invalid", `it is not a bundle: there is no ${listName}`)
  const tar = yield* Effect.mapError(TarFile.open(path, "refuse"), unreadable(path))
  const bytes = yield* readList(path, tar.open(listName))
  if (bytes === undefined) return yield* unknown
  const { contents, digest } = yield* parse(path, bytes)
  if (contents.pieces.length !== 1) {
    return yield* failing(path)("Invalid", "its list of contents is for a bundle in several pieces")
  }
  return {
    path,
    contents,
    digest,
    piece: () => files.open(files.join(files.root, name)),
    layoutFile: undefined,
    tail: yield* Effect.mapError(tailOf(bytes), unreadable(path))
  } satisfies BundleFile
})

/** Opens a bundle until the scope closes. Only its list of contents is read and checked. */
export const open = Effect.fnUntraced(function*(
  path: string
): Effect.fn.Return<BundleFile, BundleError, FileSystem.FileSystem | Path.Path | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const paths = yield* Path.Path
  const info = yield* Effect.mapError(Files.orAbsent(path, fs.stat(path)), unreadable(path))
  if (info?.type === "Directory") {
    const files = yield* Files.make(path, { isDurable: true })
    const opened = yield* openFolder(path, files, listName)
    if (opened !== undefined) return opened
    const isBegun = yield* Effect.mapError(files.stat(files.join(files.root, "oci-layout")), unreadable(path))
    return yield* failing(path)(
      "Invalid",
      `it is not a bundle: there is no ${listName}${isBegun === undefined ? "" : ", or its export has not ended"}`
    )
  }
  const folder = paths.dirname(paths.resolve(path))
  const name = paths.basename(path)
  const files = yield* Files.make(folder, { isDurable: true })
  const archive = name.endsWith(`.${listName}`) ? name.slice(0, -listName.length - 1) : name.replace(/\.\d{3,}$/, "")
  if (name === listName) return yield* open(folder)
  for (const list of new Set([listBeside(name), listBeside(archive)])) {
    const opened = yield* openFolder(path, files, list)
    if (opened !== undefined) return opened
  }
  if (info === undefined) {
    return yield* failing(path)("Unreadable", `there is neither this file nor ${listBeside(name)}`)
  }
  // a list of contents that was stored without its bundle
  const opened = (yield* isText(path, files, name)) ? yield* openFolder(path, files, name) : undefined
  return opened ?? (yield* openArchive(path, files, name))
})

/** Returns true if a file begins as JSON does. */
const isText = (path: string, files: Files.Files, name: string): Effect.Effect<boolean, BundleError> =>
  Effect.scoped(Effect.gen(function*() {
    const file = yield* files.open(files.join(files.root, name))
    const [first] = file === undefined ? [] : yield* Stream.mkUint8Array(file.read(0, Math.min(1, file.size)))
    return first === 0x7b
  })).pipe(Effect.mapError(unreadable(path)))

/** Opens content of a bundle, if it has it. */
export const openContent = (
  { contents, layoutFile, piece }: BundleFile,
  { digest, offset = 0, size }: BundleContents.BundleContent
): Effect.Effect<Files.OpenFile | undefined, Storage, Scope.Scope> =>
  layoutFile === undefined
    ? Effect.succeed(BundlePieces.fileAt(piece, contents.pieces, offset, size))
    : layoutFile(...LayoutFormat.blobPath(digest))
