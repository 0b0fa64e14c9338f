/**
 * A registry in memory: complete, and gone with the program. For tests, caches and small tools.
 *
 * It is strict where the specification lets registries choose: a manifest of a type that is known must be well-formed,
 * and what it refers to must be there, other than its subject and layers that may not be distributed.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type { Chunk, Upload } from "../Upload.ts"

interface StoredManifest {
  readonly descriptor: Descriptor
  readonly bytes: Uint8Array
  /** What it is a referrer of, and how it is listed there. */
  readonly subject?: Digest.Digest
  readonly referrer?: Descriptor
}

interface Session {
  readonly repository: Repository
  chunks: Array<Uint8Array>
  size: number
  readonly lock: Semaphore.Semaphore
}

interface Content {
  readonly blobs: Map<Digest.Digest, Uint8Array>
  readonly manifests: Map<Digest.Digest, StoredManifest>
  readonly tags: Map<Tag, Digest.Digest>
}

/**
 * Makes an empty registry.
 *
 * **Example** (Pushing a blob)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as BlobSource from "effect-oci/BlobSource"
 * import * as Descriptor from "effect-oci/Descriptor"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Reference from "effect-oci/Reference"
 *
 * const app = Reference.Repository.make("app")
 * const bytes = new TextEncoder().encode("hello")
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const descriptor = yield* Descriptor.fromBytes(bytes)
 *   yield* registry.pushBlob(app, descriptor, BlobSource.fromBytes(bytes))
 *   return yield* registry.resolveBlob(app, descriptor.digest)
 * })
 *
 * Effect.runSync(program).size // => 5
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: {
  /** What errors call it; `memory` unless given. */
  readonly name?: string
}): Effect.Effect<Registry.Registry> =>
  Effect.sync(() => {
    const name = options?.name ?? "memory"
    const repositories = new Map<Repository, Content>()
    const sessions = new Map<string, Session>()
    let sessionCount = 0

    const error = (operation: string, repository: Repository, reason: RegistryError.Reason) =>
      new RegistryError.RegistryError({ operation, registry: name, repository, reason })

    const existing = (operation: string, repository: Repository): Effect.Effect<Content, RegistryError.RegistryError> =>
      Effect.suspend(() => {
        const content = repositories.get(repository)
        return content === undefined
          ? Effect.fail(error(operation, repository, new RegistryError.NameUnknown({})))
          : Effect.succeed(content)
      })

    const created = (repository: Repository): Content => {
      const content = repositories.get(repository) ?? { blobs: new Map(), manifests: new Map(), tags: new Map() }
      repositories.set(repository, content)
      return content
    }

    const describeBlob = (digest: Digest.Digest, bytes: Uint8Array): Descriptor => ({
      mediaType: MediaType.octetStream,
      digest,
      size: bytes.length
    })

    // -- reading ------------------------------------------------------------------------------------------------------

    const findBlob = Effect.fnUntraced(function*(operation: string, repository: Repository, digest: Digest.Digest) {
      const bytes = (yield* existing(operation, repository)).blobs.get(digest)
      if (bytes === undefined) return yield* error(operation, repository, new RegistryError.BlobUnknown({}))
      return bytes
    })

    const getBlob: Registry.Registry["getBlob"] = Effect.fnUntraced(function*(repository, digest, options) {
      const bytes = yield* findBlob("getBlob", repository, digest)
      const { offset, length } = options?.range ?? { offset: 0 }
      if (
        options?.range !== undefined && (offset < 0 || offset >= bytes.length || length !== undefined && length < 1)
      ) {
        return yield* error("getBlob", repository, new RegistryError.RangeNotSatisfiable({}))
      }
      const part = bytes.subarray(offset, length === undefined ? bytes.length : offset + length)
      return {
        descriptor: describeBlob(digest, bytes),
        stream: Stream.suspend(() => Stream.fromIterable(pieces(part), { chunkSize: 1 }))
      }
    })

    const findManifest = Effect.fnUntraced(
      function*(operation: string, repository: Repository, reference: Tag | Digest.Digest) {
        const content = yield* existing(operation, repository)
        const digest = Digest.isDigest(reference) ? reference : content.tags.get(reference)
        const manifest = digest === undefined ? undefined : content.manifests.get(digest)
        if (manifest === undefined) return yield* error(operation, repository, new RegistryError.ManifestUnknown({}))
        return manifest
      }
    )

    // -- writing blobs ------------------------------------------------------------------------------------------------

    const newSession = (repository: Repository): Session => ({
      repository,
      chunks: [],
      size: 0,
      lock: Semaphore.makeUnsafe(1)
    })

    const receive = Effect.fnUntraced(function*<E>(
      operation: string,
      repository: Repository,
      session: Session,
      chunk: Chunk<E>
    ) {
      if (chunk.offset !== session.size) {
        const detail = `the upload is at ${session.size}, the chunk begins at ${chunk.offset}`
        return yield* error(operation, repository, new RegistryError.BlobUploadInvalid({ detail }))
      }
      const wrongSize = (expected: number) =>
        error(operation, repository, new Hasher.SizeMismatch({ expected, actual: session.size - chunk.offset }))
      yield* Stream.runForEach(chunk.stream, (bytes) =>
        Effect.suspend(() => {
          session.chunks.push(bytes.slice())
          session.size += bytes.length
          const isTooMuch = chunk.size !== undefined && session.size - chunk.offset > chunk.size
          return isTooMuch ? Effect.fail(wrongSize(chunk.size)) : Effect.void
        }))
      if (chunk.size !== undefined && chunk.size !== session.size - chunk.offset) return yield* wrongSize(chunk.size)
    })

    const store = Effect.fnUntraced(
      function*(operation: string, repository: Repository, digest: Digest.Digest, bytes: Uint8Array) {
        yield* Effect.mapError(Hasher.verifyBytes(bytes, digest), (reason) => error(operation, repository, reason))
        created(repository).blobs.set(digest, bytes)
        return describeBlob(digest, bytes)
      }
    )

    const upload = (repository: Repository, id: string): Upload => {
      const session = (operation: string) =>
        Effect.suspend(() => {
          const found = sessions.get(id)
          return found?.repository !== repository
            ? Effect.fail(error(operation, repository, new RegistryError.BlobUploadUnknown({})))
            : Effect.succeed(found)
        })
      return {
        _tag: "Upload",
        id: Effect.succeed(id),
        minimumChunk: 0,
        maximumChunk: Infinity,
        resumable: true,
        status: Effect.map(session("status"), ({ size }) => size),
        append: Effect.fnUntraced(function*(chunk) {
          const into = yield* session("append")
          yield* into.lock.withPermit(receive("append", repository, into, chunk))
          return into.size
        }),
        commit: Effect.fnUntraced(function*(digest, last) {
          const into = yield* session("commit")
          return yield* into.lock.withPermit(Effect.gen(function*() {
            if (last !== undefined) yield* receive("commit", repository, into, last)
            const descriptor = yield* store("commit", repository, digest, concat(into))
            sessions.delete(id)
            return descriptor
          }))
        })
      }
    }

    const openSession = (repository: Repository) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const id = `${++sessionCount}`
            sessions.set(id, newSession(repository))
            return id
          }),
          (id) => Effect.sync(() => sessions.delete(id))
        ),
        (id) => upload(repository, id)
      )

    const startUpload: Registry.Registry["startUpload"] = Effect.fnUntraced(function*(repository, options) {
      const mount = options?.mount
      if (mount === undefined) return yield* openSession(repository)
      const origins = mount.from === undefined ? repositories.values() : [repositories.get(mount.from)]
      for (const origin of origins) {
        const bytes = origin?.blobs.get(mount.digest)
        if (bytes === undefined) continue
        created(repository).blobs.set(mount.digest, bytes)
        return { _tag: "Mounted", digest: mount.digest }
      }
      return yield* openSession(repository)
    })

    const resumeUpload: Registry.Registry["resumeUpload"] = Effect.fnUntraced(function*(repository, id) {
      const resumed = upload(repository, id)
      yield* resumed.status
      yield* Effect.addFinalizer(() => Effect.sync(() => sessions.delete(id)))
      return resumed
    })

    const pushBlob: Registry.Registry["pushBlob"] = Effect.fnUntraced(
      function*<E>(
        repository: Repository,
        descriptor: Pick<Descriptor, "digest" | "size">,
        source: BlobSource.BlobSource<E>
      ) {
        if (source.size !== descriptor.size) {
          const reason = new Hasher.SizeMismatch({ expected: descriptor.size, actual: source.size })
          return yield* error("pushBlob", repository, reason)
        }
        const session = newSession(repository)
        const chunk = { offset: 0, size: descriptor.size, stream: source.open(0) }
        yield* receive("pushBlob", repository, session, chunk)
        return yield* store("pushBlob", repository, descriptor.digest, concat(session))
      }
    )

    // -- writing manifests --------------------------------------------------------------------------------------------

    const check = Effect.fnUntraced(function*(repository: Repository, mediaType: string, bytes: Uint8Array) {
      if (!MediaType.isManifest(mediaType)) return undefined
      const decoded = Manifest.decode(mediaType, bytes)
      if (Result.isFailure(decoded)) {
        const reason = new RegistryError.ManifestInvalid({ detail: decoded.failure.message })
        return yield* error("pushManifest", repository, reason)
      }
      const content = repositories.get(repository)
      const { blobs, manifests } = Manifest.references(decoded.success)
      const isSparse = (yield* Registry.SparseIndex) === "accept"
      const missing = [
        ...blobs.filter((blob) => !content?.blobs.has(blob.digest) && !MediaType.isNonDistributable(blob.mediaType)),
        ...manifests.filter(({ digest, mediaType }) =>
          !isSparse && !content?.manifests.has(digest) &&
          // what has an unknown type may be a blob
          (MediaType.isManifest(mediaType) || !content?.blobs.has(digest))
        )
      ]
      const [first] = missing
      if (first !== undefined) {
        return yield* error("pushManifest", repository, new RegistryError.ManifestBlobUnknown({ detail: first.digest }))
      }
      return decoded.success
    })

    const pushManifest: Registry.Registry["pushManifest"] = Effect.fnUntraced(
      function*(repository, { bytes, digest: expected, mediaType }, tags = []) {
        const algorithm = expected === undefined ? "sha256" : Digest.algorithm(expected)
        const digest = yield* Effect.mapError(
          Hasher.digest(bytes, algorithm),
          (reason) => error("pushManifest", repository, reason)
        )
        if (expected !== undefined && expected !== digest) {
          const reason = new Hasher.DigestMismatch({ expected, actual: digest })
          return yield* error("pushManifest", repository, reason)
        }
        const manifest = yield* check(repository, mediaType, bytes)
        const descriptor: Descriptor = { mediaType, digest, size: bytes.length }
        const subject = manifest?.content.subject?.digest
        const content = created(repository)
        content.manifests.set(digest, {
          descriptor,
          bytes: bytes.slice(),
          ...manifest === undefined || subject === undefined
            ? {}
            : { subject, referrer: Manifest.toReferrer(manifest, descriptor) }
        })
        for (const tag of tags) content.tags.set(tag, digest)
        return descriptor
      }
    )

    // -- deleting and listing -----------------------------------------------------------------------------------------

    const deleteBlob: Registry.Registry["deleteBlob"] = Effect.fnUntraced(function*(repository, digest) {
      yield* findBlob("deleteBlob", repository, digest)
      created(repository).blobs.delete(digest)
    })

    const deleteManifest: Registry.Registry["deleteManifest"] = Effect.fnUntraced(function*(repository, digest) {
      yield* findManifest("deleteManifest", repository, digest)
      const content = created(repository)
      content.manifests.delete(digest)
      for (const [tag, target] of content.tags) {
        if (target === digest) content.tags.delete(tag)
      }
    })

    const deleteTag: Registry.Registry["deleteTag"] = Effect.fnUntraced(function*(repository, tag) {
      yield* findManifest("deleteTag", repository, tag)
      created(repository).tags.delete(tag)
    })

    const listed = <A extends string>(items: Iterable<A>, after: string = ""): ReadonlyArray<A> =>
      Array.from(items).filter((item) => item > after).sort()

    const isReferrer = (subject: Digest.Digest, artifactType?: string) => (manifest: StoredManifest) =>
      manifest.subject === subject && (artifactType === undefined || manifest.referrer?.artifactType === artifactType)

    return Registry.make({
      name,
      capabilities: Effect.succeed({
        referrers: true,
        singlePost: true,
        tagParameters: true,
        anonymousMount: true,
        selfMount: true,
        chunks: true
      }),
      ping: Effect.void,
      getBlob,
      resolveBlob: (repository, digest) =>
        Effect.map(findBlob("resolveBlob", repository, digest), (bytes) => describeBlob(digest, bytes)),
      getManifest: (repository, reference) =>
        Effect.map(
          findManifest("getManifest", repository, reference),
          ({ bytes, descriptor }) => ({ descriptor, bytes: bytes.slice() })
        ),
      resolveManifest: (repository, reference) =>
        Effect.map(findManifest("resolveManifest", repository, reference), ({ descriptor }) => descriptor),
      pushBlob,
      startUpload,
      resumeUpload,
      pushManifest,
      deleteBlob,
      deleteManifest,
      deleteTag,
      repositories: (options) => Stream.suspend(() => Stream.fromArray(listed(repositories.keys(), options?.after))),
      tags: (repository, options) =>
        Stream.unwrap(Effect.map(
          existing("tags", repository),
          ({ tags }) => Stream.fromArray(listed(tags.keys(), options?.after))
        )),
      referrers: (repository, digest, options) =>
        Stream.suspend(() =>
          Stream.fromIterable(
            Array.from(repositories.get(repository)?.manifests.values() ?? [])
              .filter(isReferrer(digest, options?.artifactType))
              .flatMap(({ referrer }) => referrer ?? [])
          )
        )
    })
  })

/**
 * Provides an empty registry as the `Registry` service.
 *
 * **Example** (The registry of a test)
 *
 * ```ts import.meta.vitest
 * import { Effect, Stream } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Registry from "effect-oci/Registry"
 *
 * const program = Registry.Registry.use((registry) => Stream.runCount(registry.repositories()))
 *
 * Effect.runSync(Effect.provide(program, MemoryRegistry.layer())) // => 0
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: { readonly name?: string }): Layer.Layer<Registry.Registry> =>
  Layer.effect(Registry.Registry, make(options))

const concat = ({ chunks, size }: Session): Uint8Array => {
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.length
  }
  return bytes
}

function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += 65_536) yield bytes.slice(offset, offset + 65_536)
}
