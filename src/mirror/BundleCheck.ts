/**
 * Verifies a bundle by itself: its pieces, the digest of all content, and that every manifest has its content in the
 * bundle, or among what the destination is expected to have. No registry is asked.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as LargeManifest from "../LargeManifest.ts"
import type * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import { Storage } from "../RegistryError.ts"
import { digestOf } from "../stores/BlobWriter.ts"
import type * as Files from "../stores/Files.ts"
import * as LayoutFormat from "../stores/LayoutFormat.ts"
import { manifestLimit } from "../stores/LayoutReader.ts"
import type { BundleContent } from "./BundleContents.ts"
import { type BundleError, failing } from "./BundleError.ts"
import * as BundleFile from "./BundleFile.ts"

/** A bundle that has been verified. */
export interface CheckedBundle {
  readonly file: BundleFile.BundleFile
  readonly content: ReadonlyMap<Digest, BundleContent>
  /** Digests that each manifest of the bundle refers to, as far as they are listed. */
  readonly references: ReadonlyMap<Digest, ReadonlyArray<Digest>>
}

// number of files that are read at the same time
const concurrency = 4

type Progress = (text: string) => Effect.Effect<void>

/** Converts a failure of the system. Anything else is damage. */
const damaged =
  (path: string) => (error: Storage | Hasher.DigestMismatch | Hasher.SizeMismatch | Hasher.UnsupportedAlgorithm) =>
    failing(path)(
      error._tag === "Storage" || error._tag === "UnsupportedAlgorithm" ? "Unreadable" : "Damaged",
      error.message
    )

const isSame = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && one.every((byte, index) => byte === other[index])

// ---------------------------------------------------------------------------------------------------------------------
// files
// ---------------------------------------------------------------------------------------------------------------------

const missingPieces = "pieces of the bundle are missing"

/** Verifies one piece, and what follows it. */
const checkPiece = Effect.fnUntraced(function*(
  { path, piece, tail = new Uint8Array() }: BundleFile.BundleFile,
  { digest, name, size }: { readonly digest: Digest; readonly name: string; readonly size: number }
) {
  const wrong = failing(path)
  const file = yield* Effect.mapError(piece(name), damaged(path))
  // it was removed since its name was looked up
  if (file === undefined) return yield* wrong("MissingPieces", missingPieces, [name])
  if (file.size !== size + tail.length) {
    return yield* wrong("Damaged", `${name} has ${file.size} bytes instead of ${size + tail.length}`)
  }
  const actual = yield* Effect.mapError(digestOf(file.read(0, size)), damaged(path))
  if (actual !== digest) return yield* wrong("Damaged", `${name} has the digest ${actual} instead of ${digest}`)
  const rest = yield* Effect.mapError(Stream.mkUint8Array(file.read(size, file.size)), damaged(path))
  if (!isSame(rest, tail)) return yield* wrong("Damaged", `${name} has other bytes after its content`)
}, Effect.scoped)

const checkPieces = Effect.fnUntraced(function*(file: BundleFile.BundleFile, progress: Progress) {
  const { contents: { pieces }, path } = file
  const missing: Array<string> = []
  // names of missing pieces are collected before the others are read
  for (const { name } of pieces) {
    const found = yield* Effect.scoped(Effect.mapError(file.piece(name), damaged(path)))
    if (found === undefined) missing.push(name)
  }
  if (missing.length > 0) return yield* failing(path)("MissingPieces", missingPieces, missing)
  for (const [index, piece] of pieces.entries()) {
    yield* checkPiece(file, piece)
    yield* progress(`verified piece ${index + 1} of ${pieces.length}`)
  }
})

/** Verifies the two small files of an image layout. */
const checkLayout = Effect.fnUntraced(function*(
  path: string,
  { digest, size }: { readonly digest: Digest; readonly size: number },
  open: NonNullable<BundleFile.BundleFile["layoutFile"]>
) {
  const read = Effect.fnUntraced(function*(name: string, expected: number) {
    const file = yield* Effect.mapError(open(name), damaged(path))
    if (file === undefined) return yield* failing(path)("MissingPieces", "files of the bundle are missing", [name])
    if (file.size !== expected) {
      return yield* failing(path)("Damaged", `${name} has ${file.size} bytes, not ${expected}`)
    }
    return yield* Effect.mapError(Stream.mkUint8Array(file.read(0, expected)), damaged(path))
  }, Effect.scoped)
  const marker = new TextEncoder().encode(LayoutFormat.marker)
  if (!isSame(yield* read("oci-layout", marker.length), marker)) {
    return yield* failing(path)("Damaged", "oci-layout was changed")
  }
  if (size > LayoutFormat.indexLimit) return yield* failing(path)("Invalid", "index.json is too large")
  const index = yield* read("index.json", size)
  yield* Effect.mapError(
    Hasher.verifyBytes(index, digest),
    ({ message }) => failing(path)("Damaged", `index.json was changed: ${message}`)
  )
})

/** Verifies the digest of one blob or manifest. Returns its name if it is missing. */
const checkContent = Effect.fnUntraced(function*(file: BundleFile.BundleFile, content: BundleContent) {
  const name = LayoutFormat.blobPath(content.digest).join("/")
  const opened = yield* Effect.mapError(BundleFile.openContent(file, content), damaged(file.path))
  if (opened === undefined) return [name]
  if (opened.size !== content.size) {
    return yield* failing(file.path)("Damaged", `${name} has ${opened.size} bytes instead of ${content.size}`)
  }
  yield* Stream.runDrain(Hasher.verify(content)(opened.read(0, content.size))).pipe(
    Effect.mapError((error) =>
      error._tag === "Storage" ? damaged(file.path)(error) : failing(file.path)("Damaged", `${name}: ${error.message}`)
    )
  )
  return []
}, Effect.scoped)

// ---------------------------------------------------------------------------------------------------------------------
// references
// ---------------------------------------------------------------------------------------------------------------------

/** Reads all bytes of content of the bundle, which has been verified. */
export const readContent = (
  file: BundleFile.BundleFile,
  content: BundleContent
): Effect.Effect<Uint8Array, Storage> =>
  Effect.scoped(
    Effect.flatMap(BundleFile.openContent(file, content), (opened: Files.OpenFile | undefined) =>
      opened === undefined
        ? Effect.fail(new Storage({ path: content.digest, problem: "it is missing" }))
        : Stream.mkUint8Array(opened.read(0, content.size)))
  )

const nothing: Manifest.Digests = { blobs: [], manifests: [] }

/** Returns what a manifest refers to. A manifest of an unknown type is copied without references. */
export const referencesOf = (
  mediaType: string,
  bytes: Uint8Array
): Effect.Effect<Manifest.Digests, Manifest.ManifestError> =>
  Effect.catchIf(
    LargeManifest.digests(mediaType, bytes),
    ({ kind }) => kind === "UnknownMediaType",
    () => Effect.succeed(nothing)
  )

/** Manifests whose images are listed without some of their platforms. */
const sparseRoots = ({ contents: { content, repositories } }: BundleFile.BundleFile): ReadonlySet<Digest> =>
  new Set(
    repositories.filter(({ platforms }) => platforms !== undefined).flatMap(({ tags }) =>
      tags.flatMap(({ manifest }) => content[manifest]?.digest ?? [])
    )
  )

const findReferences = Effect.fnUntraced(function*(
  file: BundleFile.BundleFile,
  content: ReadonlyMap<Digest, BundleContent>
) {
  const broken = failing(file.path)
  const sparse = sparseRoots(file)
  const found = new Map<Digest, ReadonlyArray<Digest>>()
  for (const each of file.contents.content) {
    const { assumed, digest, mediaType, size } = each
    if (assumed === true || mediaType === undefined) continue
    if (size > manifestLimit) {
      return yield* broken("Invalid", `the manifest ${digest} has more than ${manifestLimit} bytes`)
    }
    const bytes = yield* Effect.mapError(readContent(file, each), damaged(file.path))
    const { blobs, manifests } = yield* Effect.mapError(
      referencesOf(mediaType, bytes),
      ({ message }) => broken("Invalid", `the manifest ${digest} cannot be read: ${message}`)
    )
    const unlisted = [
      ...blobs.filter((blob) => !MediaType.isNonDistributable(blob.mediaType)),
      ...sparse.has(digest) ? [] : manifests
    ].filter((each) => !content.has(each.digest)).map((each) => each.digest)
    if (unlisted.length > 0) {
      return yield* broken("Invalid", `it neither has nor expects content of the manifest ${digest}`, unlisted)
    }
    found.set(digest, [...blobs, ...manifests].flatMap((each) => content.has(each.digest) ? [each.digest] : []))
  }
  return found
})

// ---------------------------------------------------------------------------------------------------------------------
// checking
// ---------------------------------------------------------------------------------------------------------------------

/** Verifies a bundle. */
export const check = Effect.fnUntraced(function*(
  file: BundleFile.BundleFile,
  progress: Progress
): Effect.fn.Return<CheckedBundle, BundleError> {
  const { contents, layoutFile, path } = file
  yield* layoutFile === undefined
    ? checkPieces(file, progress)
    : Effect.scoped(checkLayout(path, contents.index, layoutFile))
  const carried = contents.content.filter(({ assumed }) => assumed !== true)
  const missing = yield* Effect.forEach(carried, (content) => checkContent(file, content), { concurrency })
  const names = missing.flat()
  if (names.length > 0) return yield* failing(path)("MissingPieces", "files of the bundle are missing", names)
  yield* progress(`verified ${carried.length} blobs and manifests`)
  const content = new Map(contents.content.map((each) => [each.digest, each]))
  return { file, content, references: yield* findReferences(file, content) }
})
