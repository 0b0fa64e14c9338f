/**
 * A registry whose content goes into a tar archive as it is pushed: blobs and manifests as the files of an image
 * layout. Manifests are kept in memory. The index is written at the end.
 *
 * Nothing can be deleted, because an archive only grows.
 */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Limiter from "../Limiter.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type { Upload } from "../Upload.ts"
import * as Blocks from "./Blocks.ts"
import type { OpenFile } from "./Files.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import { manifestLimit } from "./LayoutReader.ts"
import * as ManifestCheck from "./ManifestCheck.ts"
import * as MemoryContent from "./MemoryContent.ts"
import type { TarOutput } from "./TarOutput.ts"

/** A manifest of the archive with its names. */
export interface Root {
  readonly descriptor: Descriptor
  readonly names: ReadonlyArray<{ readonly repository: Repository; readonly tag: Tag }>
}

export interface ArchiveRegistry {
  readonly registry: Registry.Registry
  /** Returns the manifests that have names, and those that no other manifest contains. */
  readonly roots: () => ReadonlyArray<Root>
  /** Returns a manifest, decoded if its type is known. */
  readonly manifest: (digest: Digest.Digest) => Manifest.Manifest | undefined
  readonly hasBlob: (digest: Digest.Digest) => boolean
  /** Returns true if something was pushed that the archive did not have. */
  readonly isChanged: () => boolean
  /** Adds content of an earlier archive. Its blobs include its manifests. */
  readonly keep: (earlier: Earlier) => Effect.Effect<void, RegistryError.Reason>
}

/** Content of an earlier archive. */
export interface Earlier {
  readonly blobs: Iterable<readonly [digest: Digest.Digest, file: OpenFile]>
  readonly roots: ReadonlyArray<Root>
}

/** A blob in the archive. It has no file if the archive is a stream. */
interface Blob {
  readonly size: number
  readonly file: OpenFile | undefined
}

const pathOf = (digest: Digest.Digest): string => LayoutFormat.blobPath(digest).join("/")

const depthLimit = 16

/**
 * Creates a registry that writes to an archive. Repositories with the same key have the same tags.
 */
export const make = (
  output: TarOutput,
  name: string,
  keyOf: (repository: Repository) => Repository
): ArchiveRegistry => {
  const failed = RegistryError.failing(name)
  const lock = Semaphore.makeUnsafe(1)
  const blobs = new Map<Digest.Digest, Blob>()
  const content = MemoryContent.make()
  const tags = new Map<Repository, Map<Tag, Digest.Digest>>()
  const decoded = new Map<Digest.Digest, Manifest.Manifest | undefined>()
  let isChanged = false

  /** Appends a blob unless the archive has it. */
  const store = <E>(
    { digest, size }: Pick<Descriptor, "digest" | "size">,
    stream: Stream.Stream<Uint8Array, E>
  ) =>
    lock.withPermit(Effect.gen(function*() {
      if (blobs.has(digest)) return
      const file = yield* output.append(pathOf(digest), size, Hasher.verify({ digest, size })(stream))
      blobs.set(digest, { size, file })
    }))

  const point = (repository: Repository, tag: Tag, digest: Digest.Digest) => {
    const key = keyOf(repository)
    const own = tags.get(key) ?? new Map<Tag, Digest.Digest>()
    tags.set(key, own.set(tag, digest))
  }

  /** Records a manifest that the archive has. */
  const record = (descriptor: Descriptor, bytes: Uint8Array, manifest: Manifest.Manifest | undefined) => {
    MemoryContent.putManifest(content, descriptor, Blocks.ofBytes(bytes), manifest)
    decoded.set(descriptor.digest, manifest)
  }

  const push = Effect.fnUntraced(function*(
    repository: Repository,
    { bytes: given, digest: expected, mediaType }: Parameters<Registry.Registry["pushManifest"]>[1],
    names: ReadonlyArray<Tag>
  ): Effect.fn.Return<Descriptor, RegistryError.Reason> {
    if (given.length > manifestLimit) return yield* new RegistryError.ContentTooLarge({ limit: manifestLimit })
    const bytes = given.slice()
    const digest = yield* Hasher.digest(bytes, expected === undefined ? "sha256" : Digest.algorithm(expected))
    if (expected !== undefined && expected !== digest) {
      return yield* new Hasher.DigestMismatch({ expected, actual: digest })
    }
    const descriptor: Descriptor = { mediaType, digest, size: bytes.length }
    const manifest = yield* ManifestCheck.check(descriptor, bytes, names)
    if (manifest !== undefined) {
      yield* ManifestCheck.checkReferences(
        yield* ManifestCheck.references(manifest),
        ({ descriptor: { digest } }) => Effect.succeed(blobs.get(digest)?.size)
      )
    }
    isChanged ||= !content.manifests.has(digest) ||
      names.some((tag) => tags.get(keyOf(repository))?.get(tag) !== digest)
    yield* store(descriptor, Stream.succeed(bytes))
    record(descriptor, bytes, manifest)
    for (const tag of names) point(repository, tag, digest)
    return descriptor
  })

  const pushBlob: Registry.Registry["pushBlob"] = Effect.fnUntraced(function*(repository, { digest, size }, source) {
    const fail = failed("pushBlob", repository)
    if (source.size !== size) {
      return yield* fail(new Hasher.SizeMismatch({ expected: size, actual: source.size }))
    }
    yield* appendBlob({ digest, size }, source.open(0), fail)
    return { mediaType: MediaType.octetStream, digest, size }
  })

  /** Appends a blob, and converts the errors of the archive. */
  const appendBlob = <E>(
    descriptor: Pick<Descriptor, "digest" | "size">,
    stream: Stream.Stream<Uint8Array, E>,
    fail: (reason: RegistryError.Reason) => RegistryError.RegistryError
  ): Effect.Effect<void, E | RegistryError.RegistryError> => {
    isChanged ||= !blobs.has(descriptor.digest)
    const wrapped = Stream.mapError(stream, (error) => ({ _tag: "Source", error }) as const)
    return Effect.mapError(store(descriptor, wrapped), (error) => error._tag === "Source" ? error.error : fail(error))
  }

  /** Creates a session that accepts the whole blob at once. */
  const session = (repository: Repository): Upload => {
    const fail = failed("commit", repository)
    const unsupported = Effect.fail(fail(new RegistryError.Unsupported({})))
    return {
      _tag: "Upload",
      id: Effect.succeed("archive"),
      minimumChunk: 0,
      maximumChunk: Infinity,
      resumable: false,
      status: Effect.succeed(0),
      append: () => unsupported,
      commit: Effect.fnUntraced(function*(digest, last) {
        const size = last?.size
        if (last !== undefined && (size === undefined || last.offset !== 0)) return yield* unsupported
        yield* appendBlob({ digest, size: size ?? 0 }, last?.stream ?? Stream.empty, fail)
        return { mediaType: MediaType.octetStream, digest, size: size ?? 0 }
      })
    }
  }

  const find = (operation: string, repository: Repository, reference: Tag | Digest.Digest) =>
    Effect.suspend(() => {
      const digest = Digest.isDigest(reference) ? reference : tags.get(keyOf(repository))?.get(reference)
      const found = digest === undefined ? undefined : content.manifests.get(digest)
      return found === undefined
        ? Effect.fail(failed(operation, repository)(new RegistryError.ManifestUnknown({})))
        : Effect.succeed(found)
    })

  const getBlob: Registry.Registry["getBlob"] = Effect.fnUntraced(function*(repository, digest, options) {
    const fail = failed("getBlob", repository)
    const { file, size } = blobs.get(digest) ?? (yield* fail(new RegistryError.BlobUnknown({})))
    if (file === undefined) {
      const detail = "an archive that is written as a stream cannot be read"
      return yield* fail(new RegistryError.Unsupported({ detail }))
    }
    const { length = size, offset } = options?.range ?? { offset: 0 }
    if (options?.range !== undefined && (offset < 0 || offset >= size || length < 1)) {
      return yield* fail(new RegistryError.RangeNotSatisfiable({}))
    }
    const stream = file.read(offset, Math.min(size, offset + length))
    return {
      descriptor: { mediaType: MediaType.octetStream, digest, size },
      stream: Stream.mapError(options?.range === undefined ? Hasher.verify({ digest, size })(stream) : stream, fail)
    }
  })

  /** Records a manifest of an earlier archive, and the manifests that it contains. */
  const keepManifest = (
    descriptor: Descriptor,
    files: ReadonlyMap<Digest.Digest, OpenFile>,
    depth: number
  ): Effect.Effect<void, RegistryError.Reason> =>
    Effect.gen(function*() {
      const file = files.get(descriptor.digest)
      if (file === undefined || file.size > manifestLimit || depth > depthLimit) return
      if (content.manifests.has(descriptor.digest)) return
      const bytes = yield* Stream.mkUint8Array(file.read(0, file.size))
      const manifest = yield* Effect.orElseSucceed(ManifestCheck.check(descriptor, bytes, []), () => undefined)
      record({ ...descriptor, size: bytes.length }, bytes, manifest)
      const children = manifest === undefined ? [] : Manifest.references(manifest).manifests
      yield* Effect.forEach(children, (child) => keepManifest(child, files, depth + 1), { discard: true })
    })

  return {
    registry: Registry.make({
      name,
      capabilities: Effect.succeed({
        referrers: true,
        singlePost: true,
        tagParameters: true,
        chunks: false,
        selfMount: true,
        anonymousMount: true
      }),
      // the blobs of an archive are written one after another
      limiter: Limiter.fixed(1),
      ping: Effect.void,
      getBlob,
      resolveBlob: (repository, digest) => {
        const blob = blobs.get(digest)
        return blob === undefined
          ? Effect.fail(failed("resolveBlob", repository)(new RegistryError.BlobUnknown({})))
          : Effect.succeed({ mediaType: MediaType.octetStream, digest, size: blob.size })
      },
      getManifest: (repository, reference) =>
        Effect.map(
          find("getManifest", repository, reference),
          ({ bytes, descriptor }) => ({ descriptor, bytes: Blocks.join(bytes) })
        ),
      resolveManifest: (repository, reference) =>
        Effect.map(find("resolveManifest", repository, reference), ({ descriptor }) => descriptor),
      pushBlob,
      startUpload: (repository, options) =>
        Effect.sync(() => {
          const digest = options?.mount?.digest
          return digest !== undefined && blobs.has(digest) ? { _tag: "Mounted", digest } : session(repository)
        }),
      pushManifest: (repository, manifest, tags = []) =>
        Effect.mapError(push(repository, manifest, tags), failed("pushManifest", repository)),
      tags: (repository, options) =>
        Stream.suspend(() => {
          const { after = "" } = options ?? {}
          const own = Array.from(tags.get(keyOf(repository))?.keys() ?? [])
          return Stream.fromIterable(own.filter((tag) => tag > after).sort())
        }),
      referrers: (_, digest, options) =>
        Stream.suspend(() => {
          const { artifactType } = options ?? {}
          const listed = Array.from(content.referrers.get(digest)?.values() ?? [])
          return Stream.fromIterable(
            listed.filter((referrer) => artifactType === undefined || referrer.artifactType === artifactType)
          )
        })
    }),
    roots: () => {
      const names = Map.groupBy(
        Array.from(tags).flatMap(([repository, own]) =>
          Array.from(own, ([tag, digest]) => ({ digest, name: { repository, tag } }))
        ),
        ({ digest }) => digest
      )
      const contained = new Set(
        Array.from(decoded.values()).flatMap((manifest) =>
          manifest === undefined ? [] : Manifest.references(manifest).manifests.map(({ digest }) => digest)
        )
      )
      return Array.from(content.manifests.values()).flatMap(({ descriptor }): ReadonlyArray<Root> => {
        const own = names.get(descriptor.digest)?.map(({ name }) => name) ?? []
        return own.length === 0 && contained.has(descriptor.digest) ? [] : [{ descriptor, names: own }]
      })
    },
    manifest: (digest) => decoded.get(digest),
    hasBlob: (digest) => blobs.has(digest),
    isChanged: () => isChanged,
    keep: Effect.fnUntraced(function*(earlier) {
      const files = new Map(earlier.blobs)
      for (const [digest, file] of files) yield* store({ digest, size: file.size }, file.read(0, file.size))
      for (const { descriptor, names } of earlier.roots) {
        yield* keepManifest(descriptor, files, 0)
        for (const { repository, tag } of names) point(repository, tag, descriptor.digest)
      }
    })
  }
}
