/**
 * Reading of an image layout, whose files are in a folder or in an archive.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type { OpenFile } from "./Files.ts"
import * as LayoutCatalog from "./LayoutCatalog.ts"
import * as LayoutIndex from "./LayoutIndex.ts"
import * as VerifiedFiles from "./VerifiedFiles.ts"

/** Maximum size of a manifest, in bytes. A larger one is neither read into memory nor stored. */
export const manifestLimit = 8 * 1024 * 1024

/** The files of a layout. */
export interface Content {
  /** The current index. */
  readonly index: Effect.Effect<LayoutIndex.LayoutIndex, RegistryError.Reason>
  /** Path of the index in errors. */
  readonly indexPath: string
  /** Returns the size of a blob in bytes, if it exists. */
  readonly size: (digest: Digest.Digest) => Effect.Effect<number | undefined, RegistryError.Reason>
  /**
   * Returns the size of a blob in bytes, if it exists, and marks the blob as mentioned, so that a collection does not
   * remove it within its grace period.
   */
  readonly mention: (digest: Digest.Digest) => Effect.Effect<number | undefined, RegistryError.Reason>
  /** Opens a blob if it exists. */
  readonly open: (
    digest: Digest.Digest
  ) => Effect.Effect<OpenFile | undefined, RegistryError.Reason, Scope.Scope>
}

export interface Layout extends Content {
  readonly catalog: LayoutCatalog.Catalog
}

/** Reads a blob of at most {@link manifestLimit} bytes if it exists, and verifies its digest. */
export const readBlob = (content: Content, digest: Digest.Digest) =>
  Effect.scoped(Effect.gen(function*() {
    const file = yield* content.open(digest)
    if (file === undefined) return undefined
    if (file.size > manifestLimit) return yield* new RegistryError.ContentTooLarge({ limit: manifestLimit })
    const bytes = yield* Stream.mkUint8Array(file.read(0, file.size))
    yield* Hasher.verifyBytes(bytes, digest)
    return bytes
  }))

export const make = (content: Content): Layout => ({
  ...content,
  catalog: LayoutCatalog.make({
    // a broken manifest fails only when it is read itself, not when another one is looked up
    read: ({ digest }) =>
      Effect.catchTags(readBlob(content, digest), {
        ContentTooLarge: () => Effect.undefined,
        DigestMismatch: () => Effect.undefined,
        UnsupportedAlgorithm: () => Effect.undefined
      }),
    exists: (digest) => Effect.map(content.size(digest), (size) => size !== undefined)
  })
})

export type Operations = Pick<
  Registry.Registry,
  "getBlob" | "resolveBlob" | "getManifest" | "resolveManifest" | "tags" | "referrers"
>

/** Returns the descriptor of a tag or digest. Fails with `ManifestUnknown` if it is not listed. */
const lookUp = Effect.fnUntraced(
  function*(layout: Layout, reference: Tag | Digest.Digest) {
    const index = yield* layout.index
    const found = Digest.isDigest(reference)
      ? yield* layout.catalog.find(index, reference)
      : yield* Effect.mapError(
        Effect.fromResult(LayoutIndex.resolve(index, reference)),
        (problem) =>
          typeof problem === "string"
            ? new RegistryError.Storage({ path: layout.indexPath, problem: `the entry ${reference}: ${problem}` })
            : problem
      )
    return found ?? (yield* new RegistryError.ManifestUnknown({}))
  }
)

const missing = ({ digest }: Descriptor) =>
  new RegistryError.ManifestUnknown({ detail: `${digest} is listed, but its content is missing` })

/** Returns the type of a manifest that is listed without one. */
const typeOf = (bytes: Uint8Array | undefined): string =>
  bytes === undefined
    ? MediaType.octetStream
    : Result.getOrElse(Manifest.mediaTypeOf("", bytes), () => MediaType.octetStream)

/** Options of the read operations. */
interface Reading {
  /** Files that need not be verified. */
  readonly verified: VerifiedFiles.VerifiedFiles
  /** Owner of the pieces of blobs. */
  readonly pieces: "owned" | "lent"
}

/** Verifies the whole content of a blob, unless its file is known to be verified. */
const verify = (file: OpenFile, descriptor: Descriptor, verified: VerifiedFiles.VerifiedFiles) => {
  const { info } = file
  return <E>(
    content: Stream.Stream<Uint8Array, E>
  ): Stream.Stream<Uint8Array, E | Hasher.DigestMismatch | Hasher.SizeMismatch | Hasher.UnsupportedAlgorithm> => {
    if (info !== undefined && verified.has(descriptor.digest, info)) return content
    const checked = Hasher.verify(descriptor)(content)
    const record = Effect.sync(() => info === undefined ? undefined : verified.add(descriptor.digest, info))
    return Stream.onEnd(checked, record)
  }
}

/** Creates the read operations of a registry. `find` returns the layout of a repository. */
export const operations = (
  find: (repository: Repository) => Effect.Effect<Layout, RegistryError.Reason>,
  failed: (operation: string, repository: Repository) => (reason: RegistryError.Reason) => RegistryError.RegistryError,
  { pieces, verified }: Reading = { pieces: "owned", verified: VerifiedFiles.none }
): Operations => ({
  getBlob: Effect.fnUntraced(function*(repository, digest, options) {
    const file = yield* (yield* find(repository)).open(digest)
    if (file === undefined) return yield* new RegistryError.BlobUnknown({})
    const descriptor = { mediaType: MediaType.octetStream, digest, size: file.size }
    const fail = failed("getBlob", repository)
    const read = pieces === "lent" ? file.lend ?? file.read : file.read
    if (options?.range === undefined) {
      const whole = read(0, file.size).pipe(verify(file, descriptor, verified), Stream.mapError(fail))
      return { descriptor, stream: whole }
    }
    const { length = file.size, offset } = options.range
    if (offset < 0 || offset >= file.size || length < 1) return yield* new RegistryError.RangeNotSatisfiable({})
    const end = Math.min(file.size, offset + length)
    return { descriptor, stream: Stream.mapError(read(offset, end), fail) }
  }, (effect, repository) => Effect.mapError(effect, failed("getBlob", repository))),
  resolveBlob: Effect.fnUntraced(function*(repository, digest) {
    const size = yield* (yield* find(repository)).mention(digest)
    if (size === undefined) return yield* new RegistryError.BlobUnknown({})
    return { mediaType: MediaType.octetStream, digest, size }
  }, (effect, repository) => Effect.mapError(effect, failed("resolveBlob", repository))),
  getManifest: Effect.fnUntraced(function*(repository, reference) {
    const layout = yield* find(repository)
    const descriptor = yield* lookUp(layout, reference)
    const { digest, mediaType } = descriptor
    const bytes = yield* readBlob(layout, digest)
    if (bytes === undefined) return yield* missing(descriptor)
    return { descriptor: { mediaType: mediaType || typeOf(bytes), digest, size: bytes.length }, bytes }
  }, (effect, repository) => Effect.mapError(effect, failed("getManifest", repository))),
  resolveManifest: Effect.fnUntraced(function*(repository, reference) {
    const layout = yield* find(repository)
    const descriptor = yield* lookUp(layout, reference)
    const { digest, mediaType } = descriptor
    // from the file, because the size in the index may be wrong
    const size = yield* layout.mention(digest)
    if (size === undefined) return yield* missing(descriptor)
    if (mediaType !== "") return { mediaType, digest, size }
    return { mediaType: typeOf(yield* readBlob(layout, digest)), digest, size }
  }, (effect, repository) => Effect.mapError(effect, failed("resolveManifest", repository))),
  tags: (repository, options) =>
    find(repository).pipe(
      Effect.flatMap(({ index }) => index),
      Effect.map((index) => Stream.fromIterable(LayoutIndex.tags(index, options?.after))),
      Stream.unwrap,
      Stream.mapError(failed("tags", repository))
    ),
  referrers: (repository, digest, options) =>
    Effect.gen(function*() {
      const layout = yield* find(repository)
      return yield* layout.catalog.referrers(yield* layout.index, digest)
    }).pipe(
      // a subject need not exist, and neither need its repository
      Effect.catchTag("NameUnknown", () => Effect.succeed([])),
      Effect.map((found) =>
        options?.artifactType === undefined
          ? found
          : found.filter(({ artifactType }) => artifactType === options.artifactType)
      ),
      Stream.fromArrayEffect,
      Stream.mapError(failed("referrers", repository))
    )
})
