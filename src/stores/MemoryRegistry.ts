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
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import type * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type { Chunk, Upload } from "../Upload.ts"
import * as Gathered from "./Gathered.ts"
import * as ManifestCheck from "./ManifestCheck.ts"
import * as MemoryContent from "./MemoryContent.ts"
import * as SortedMap from "./SortedMap.ts"
import * as Steps from "./Steps.ts"
import * as Usage from "./Usage.ts"

interface Session {
  readonly repository: Repository
  readonly received: Gathered.Gathered
  isOpen: boolean
  readonly lock: Semaphore.Semaphore
}

/** Number of tags that are removed without a pause. */
const tagsAtATime = 1000

/** Content that any repository has, and how many have it as a blob or as a manifest. */
interface Shared {
  readonly bytes: Uint8Array
  readonly holders: number
}

/**
 * What a registry in memory is called, and how much it may hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What errors call it. Default: `memory`. */
  readonly name?: string | undefined
  /** Largest size of a blob, in bytes. A larger one fails with `ContentTooLarge`. Default: no limit. */
  readonly maximumBlobSize?: number | undefined
  /**
   * Largest size of all blobs, manifests and open uploads of a repository, in bytes. The repository, and each of its
   * blobs, manifests and tags, counts 1 KiB more; a manifest with a subject counts twice, because its annotations are in
   * lists too. What goes beyond it fails with `Denied`. Default: no limit.
   */
  readonly maximumRepositorySize?: number | undefined
  /**
   * Largest size of all content and open uploads, in bytes; what several repositories share counts once, except for the
   * 1 KiB of each. What goes beyond it fails with `Denied`. Default: no limit.
   */
  readonly maximumSize?: number | undefined
  /** Largest number of upload sessions that are open. One more fails with `TooManyRequests`. Default: no limit. */
  readonly maximumUploads?: number | undefined
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
export const make = (options?: Options): Effect.Effect<Registry.Registry> =>
  Effect.sync(() => {
    const name = options?.name ?? "memory"
    const usage = Usage.make(options ?? {})
    let repositories = SortedMap.empty<Repository, MemoryContent.Content>()
    const shared = new Map<Digest.Digest, Shared>()
    const sessions = new Map<string, Session>()
    let sessionCount = 0

    const error = (operation: string, repository: Repository, reason: RegistryError.Reason) =>
      new RegistryError.RegistryError({ operation, registry: name, repository, reason })

    const existing = (
      operation: string,
      repository: Repository
    ): Effect.Effect<MemoryContent.Content, RegistryError.RegistryError> =>
      Effect.suspend(() => {
        const content = SortedMap.get(repositories, repository)
        return content === undefined
          ? Effect.fail(error(operation, repository, new RegistryError.NameUnknown({})))
          : Effect.succeed(content)
      })

    const created = (repository: Repository): MemoryContent.Content => {
      const known = SortedMap.get(repositories, repository)
      if (known !== undefined) return known
      const content = MemoryContent.make()
      repositories = SortedMap.set(repositories, repository, content)
      return content
    }

    /** Returns what new entries count for, in bytes, with the repository if it is new. */
    const costOf = (repository: Repository, entries: number): Usage.Amount => {
      const isNew = SortedMap.get(repositories, repository) === undefined
      return Usage.unshared(entries + (isNew ? MemoryContent.entryCost : 0))
    }

    /** Returns what a manifest and its tags count for, less what they count for already. */
    const costOfManifest = (
      repository: Repository,
      digest: Digest.Digest,
      subject: Digest.Digest | undefined,
      bytes: Uint8Array,
      tags: ReadonlyArray<Tag>
    ): Usage.Amount => {
      const content = SortedMap.get(repositories, repository)
      const newTags = tags.filter((tag) => content === undefined || SortedMap.get(content.tags, tag) === undefined)
      const before = MemoryContent.costOf(content?.manifests.get(digest))
      const after = MemoryContent.costOf({ bytes, ...subject === undefined ? {} : { subject } })
      return costOf(repository, new Set(newTags).size * MemoryContent.entryCost + after - before)
    }

    const costOfBlob = (repository: Repository, digest: Digest.Digest): Usage.Amount => {
      const isThere = SortedMap.get(repositories, repository)?.blobs.has(digest) === true
      return costOf(repository, isThere ? 0 : MemoryContent.entryCost)
    }

    /** What some content adds to a repository, and to all of them. */
    const amountOf = (repository: Repository, digest: Digest.Digest, size: number): Usage.Amount => {
      const content = SortedMap.get(repositories, repository)
      const isThere = content !== undefined && MemoryContent.has(content, digest)
      return { repository: isThere ? 0 : size, total: shared.has(digest) ? 0 : size }
    }

    /** Notes that one more repository has some content, as a blob or as a manifest, and returns the one copy of it. */
    const hold = (digest: Digest.Digest, bytes: Uint8Array): Uint8Array => {
      const known = shared.get(digest) ?? { bytes, holders: 0 }
      shared.set(digest, { bytes: known.bytes, holders: known.holders + 1 })
      return known.bytes
    }

    /** Notes that a repository has some content no longer, which counted for so many bytes besides. */
    const release = (repository: Repository, digest: Digest.Digest, cost: number) => {
      usage.remove(repository, Usage.unshared(cost))
      const known = shared.get(digest)
      if (known === undefined) return
      if (known.holders > 1) shared.set(digest, { ...known, holders: known.holders - 1 })
      else shared.delete(digest)
      usage.remove(repository, amountOf(repository, digest, known.bytes.length))
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
        const digest = Digest.isDigest(reference) ? reference : SortedMap.get(content.tags, reference)
        const manifest = digest === undefined ? undefined : content.manifests.get(digest)
        if (manifest === undefined) return yield* error(operation, repository, new RegistryError.ManifestUnknown({}))
        return manifest
      }
    )

    // -- writing blobs ------------------------------------------------------------------------------------------------

    const newSession = (repository: Repository): Session => ({
      repository,
      received: Gathered.make(),
      isOpen: true,
      lock: Semaphore.makeUnsafe(1)
    })

    const receive = Effect.fnUntraced(function*<E>(
      operation: string,
      repository: Repository,
      session: Session,
      chunk: Chunk<E>
    ) {
      const { received } = session
      const fail = (reason: RegistryError.Reason) => error(operation, repository, reason)
      if (chunk.offset !== received.size()) {
        const detail = `the upload is at ${received.size()}, the chunk begins at ${chunk.offset}`
        return yield* fail(new RegistryError.BlobUploadInvalid({ detail }))
      }
      const expected = chunk.size ?? Infinity
      /** Takes a piece, or returns why it does not. */
      const take = (piece: Uint8Array): RegistryError.Reason | undefined => {
        const size = received.size() + piece.length
        const refusal = !session.isOpen
          ? new RegistryError.BlobUploadUnknown({})
          : size - chunk.offset > expected
          ? new Hasher.SizeMismatch({ expected, actual: size - chunk.offset })
          : usage.checkBlob(size) ?? usage.add(repository, Usage.unshared(piece.length))
        if (refusal === undefined) received.push(piece)
        return refusal
      }
      const announced = chunk.size ?? 0
      yield* Effect.mapError(
        Usage.orFail(() =>
          usage.checkBlob(chunk.offset + announced) ?? usage.check(repository, Usage.unshared(announced))
        ),
        fail
      )
      yield* Stream.runForEachArray(chunk.stream, (pieces) =>
        Effect.suspend(() => {
          for (const piece of pieces) {
            const refusal = take(piece)
            if (refusal !== undefined) return Effect.fail(fail(refusal))
          }
          return Effect.void
        }))
      const actual = received.size() - chunk.offset
      if (chunk.size !== undefined && chunk.size !== actual) {
        return yield* fail(new Hasher.SizeMismatch({ expected: chunk.size, actual }))
      }
    })

    /** Makes room for others again that an upload took. */
    const discard = (session: Session) =>
      Effect.sync(() => {
        if (!session.isOpen) return
        session.isOpen = false
        usage.remove(session.repository, Usage.unshared(session.received.size()))
      })

    const putBlob = (repository: Repository, digest: Digest.Digest, bytes: Uint8Array) => {
      const content = created(repository)
      if (!content.blobs.has(digest)) content.blobs.set(digest, hold(digest, bytes))
    }

    /** Makes a blob of what was received. Its room is counted already. */
    const store = Effect.fnUntraced(
      function*(operation: string, digest: Digest.Digest, session: Session) {
        const { repository } = session
        const bytes = session.received.join()
        const fail = Effect.mapError((reason: RegistryError.Reason) => error(operation, repository, reason))
        yield* fail(Hasher.verifyBytes(bytes, digest))
        if (!session.isOpen) return yield* error(operation, repository, new RegistryError.BlobUploadUnknown({}))
        yield* fail(Usage.orFail(() => usage.add(repository, costOfBlob(repository, digest))))
        yield* discard(session)
        usage.found(repository, amountOf(repository, digest, bytes.length))
        putBlob(repository, digest, bytes)
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
        status: Effect.map(session("status"), ({ received }) => received.size()),
        append: Effect.fnUntraced(function*(chunk) {
          const into = yield* session("append")
          yield* into.lock.withPermit(receive("append", repository, into, chunk))
          return into.received.size()
        }),
        commit: Effect.fnUntraced(function*(digest, last) {
          const into = yield* session("commit")
          return yield* into.lock.withPermit(Effect.gen(function*() {
            if (last !== undefined) yield* receive("commit", repository, into, last)
            const descriptor = yield* store("commit", digest, into)
            sessions.delete(id)
            return descriptor
          }))
        })
      }
    }

    /** Ends a session, unless it was committed. */
    const cancel = (id: string) =>
      Effect.suspend(() => {
        const session = sessions.get(id)
        sessions.delete(id)
        return session === undefined ? Effect.void : discard(session)
      })

    const openSession = (repository: Repository) =>
      Effect.acquireRelease(
        Usage.orFail(() => usage.checkUploads(sessions.size)).pipe(Effect.mapBoth({
          onFailure: (reason) => error("startUpload", repository, reason),
          onSuccess: () => {
            const id = `${++sessionCount}`
            sessions.set(id, newSession(repository))
            return id
          }
        })),
        cancel
      ).pipe(Effect.map((id) => upload(repository, id)))

    const startUpload: Registry.Registry["startUpload"] = Effect.fnUntraced(function*(repository, options) {
      const mount = options?.mount
      if (mount === undefined) return yield* openSession(repository)
      const { digest, from } = mount
      const isThere = from === undefined || SortedMap.get(repositories, from)?.blobs.has(digest) === true
      const bytes = isThere ? shared.get(digest)?.bytes : undefined
      if (bytes === undefined) return yield* openSession(repository)
      const amount = Usage.plus(amountOf(repository, digest, bytes.length), costOfBlob(repository, digest))
      yield* Effect.mapError(
        Usage.orFail(() => usage.add(repository, amount)),
        (reason) => error("startUpload", repository, reason)
      )
      putBlob(repository, digest, bytes)
      return { _tag: "Mounted", digest }
    })

    const resumeUpload: Registry.Registry["resumeUpload"] = Effect.fnUntraced(function*(repository, id) {
      const resumed = upload(repository, id)
      yield* resumed.status
      yield* Effect.addFinalizer(() => cancel(id))
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
        return yield* receive("pushBlob", repository, session, chunk).pipe(
          Effect.andThen(store("pushBlob", descriptor.digest, session)),
          Effect.onError(() => discard(session))
        )
      }
    )

    // -- writing manifests --------------------------------------------------------------------------------------------

    /** Checks that what a manifest refers to is there, and has the size that it says. */
    const checkReferences = Effect.fnUntraced(function*(repository: Repository, manifest: Manifest.Manifest) {
      const content = SortedMap.get(repositories, repository)
      yield* ManifestCheck.checkReferences(
        yield* ManifestCheck.references(manifest),
        ({ descriptor: { digest }, kind }) => {
          const blob = kind === "manifest" ? undefined : content?.blobs.get(digest)?.length
          return Effect.succeed(kind === "blob" ? blob : content?.manifests.get(digest)?.descriptor.size ?? blob)
        }
      )
    })

    const pushManifest: Registry.Registry["pushManifest"] = Effect.fnUntraced(
      function*(repository, { bytes: given, digest: expected, mediaType }, tags = []) {
        const fail = Effect.mapError((reason: RegistryError.Reason) => error("pushManifest", repository, reason))
        const bytes = given.slice()
        const digest = yield* fail(Hasher.digest(bytes, expected === undefined ? "sha256" : Digest.algorithm(expected)))
        if (expected !== undefined && expected !== digest) {
          return yield* fail(Effect.fail(new Hasher.DigestMismatch({ expected, actual: digest })))
        }
        const descriptor: Descriptor = { mediaType, digest, size: bytes.length }
        const manifest = yield* fail(ManifestCheck.check(descriptor, bytes, tags))
        if (manifest !== undefined) yield* fail(checkReferences(repository, manifest))
        const amount = Usage.plus(
          amountOf(repository, digest, bytes.length),
          costOfManifest(repository, digest, manifest?.content.subject?.digest, bytes, tags)
        )
        yield* fail(Usage.orFail(() => usage.add(repository, amount)))
        const content = created(repository)
        const known = content.manifests.get(digest)?.bytes
        MemoryContent.putManifest(content, descriptor, known ?? hold(digest, bytes), manifest)
        for (const tag of tags) MemoryContent.point(content, tag, digest)
        return descriptor
      }
    )

    // -- deleting and listing -----------------------------------------------------------------------------------------

    const deleteBlob: Registry.Registry["deleteBlob"] = Effect.fnUntraced(function*(repository, digest) {
      yield* findBlob("deleteBlob", repository, digest)
      created(repository).blobs.delete(digest)
      release(repository, digest, MemoryContent.entryCost)
    })

    const removeTag = (repository: Repository, tag: Tag) => {
      MemoryContent.removeTag(created(repository), tag)
      usage.remove(repository, Usage.unshared(MemoryContent.entryCost))
    }

    const deleteManifest: Registry.Registry["deleteManifest"] = Effect.fnUntraced(function*(repository, digest) {
      const manifest = yield* findManifest("deleteManifest", repository, digest)
      const content = created(repository)
      const tags = MemoryContent.removeManifest(content, manifest)
      release(repository, digest, MemoryContent.costOf(manifest))
      yield* Steps.forEach(tags, tagsAtATime, (tag) => {
        if (SortedMap.get(content.tags, tag) === digest) removeTag(repository, tag)
      })
    })

    const deleteTag: Registry.Registry["deleteTag"] = Effect.fnUntraced(function*(repository, tag) {
      yield* findManifest("deleteTag", repository, tag)
      removeTag(repository, tag)
    })

    const listed = function*<A extends string, B>(items: SortedMap.SortedMap<A, B>, after: string = ""): Generator<A> {
      // as: what follows is compared with it only
      for (const [item] of SortedMap.entries(items, after as A)) if (item > after) yield item
    }

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
      repositories: (options) => Stream.suspend(() => Stream.fromIterable(listed(repositories, options?.after))),
      tags: (repository, options) =>
        Stream.unwrap(Effect.map(
          existing("tags", repository),
          ({ tags }) => Stream.fromIterable(listed(tags, options?.after))
        )),
      referrers: (repository, digest, options) =>
        Stream.suspend(() => {
          const found = SortedMap.get(repositories, repository)?.referrers.get(digest)?.values() ?? []
          const { artifactType } = options ?? {}
          return Stream.fromIterable(
            Array.from(found).filter((referrer) => artifactType === undefined || referrer.artifactType === artifactType)
          )
        })
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
export const layer = (options?: Options): Layer.Layer<Registry.Registry> =>
  Layer.effect(Registry.Registry, make(options))

function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += 65_536) yield bytes.slice(offset, offset + 65_536)
}
