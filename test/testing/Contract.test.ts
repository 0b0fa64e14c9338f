import { assert, describe, it } from "@effect/vitest"
import { Effect, Scope, Stream } from "effect"
import type { Digest } from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Repository, Tag } from "effect-oci/Reference"
import * as Registry from "effect-oci/Registry"
import {
  BlobUnknown,
  BlobUploadUnknown,
  ContentTooLarge,
  isRegistryError,
  ManifestUnknown,
  NameUnknown,
  RangeNotSatisfiable,
  type Reason,
  RegistryError,
  TooManyRequests,
  Transport,
  Unsupported
} from "effect-oci/RegistryError"
import { Contract, Faults, Images } from "effect-oci/testing"
import type { Upload } from "effect-oci/Upload"

type Operations = Partial<Omit<Registry.Registry, "~effect-oci/Registry">>

interface Bug {
  readonly name: string
  readonly operations: (registry: Registry.Registry) => Operations
  /** The cases that find it. */
  readonly found: ReadonlyArray<string>
}

const bug = (name: string, found: string | ReadonlyArray<string>, operations: Bug["operations"]): Bug => ({
  name,
  operations,
  found: typeof found === "string" ? [found] : found
})

const failing = (operation: string, repository: Repository, reason: Reason) =>
  Effect.fail(new RegistryError({ operation, registry: "memory", repository, reason }))

const withUpload = (registry: Registry.Registry, change: (upload: Upload) => Partial<Upload>): Operations => {
  const changed = (upload: Upload) => ({ ...upload, ...change(upload) })
  return {
    startUpload: (repository, options) =>
      Effect.map(
        registry.startUpload(repository, options),
        (started) => started._tag === "Upload" ? changed(started) : started
      ),
    resumeUpload: (repository, id) => Effect.map(registry.resumeUpload(repository, id), changed)
  }
}

const withRange = (
  registry: Registry.Registry,
  change: (range: Registry.Range) => Registry.Range | undefined
): Operations => ({
  getBlob: (repository, digest, options) => {
    const range = options?.range === undefined ? undefined : change(options.range)
    return registry.getBlob(repository, digest, range === undefined ? {} : { range })
  }
})

const withTags = (
  registry: Registry.Registry,
  change: (tags: ReadonlyArray<Tag>) => ReadonlyArray<Tag>
): Operations => ({
  pushManifest: (repository, manifest, tags = []) => registry.pushManifest(repository, manifest, change(tags))
})

const blobBugs: ReadonlyArray<Bug> = [
  bug("a byte of blobs is changed", "a blob that was pushed is read back", (registry) => ({
    getBlob: (...args) =>
      Effect.map(registry.getBlob(...args), (blob) => ({
        ...blob,
        stream: Stream.map(blob.stream, (chunk) => chunk.map((byte, index) => index === 0 ? byte + 1 : byte))
      }))
  })),
  bug("blobs end after a megabyte", "a blob of more than a megabyte is read back as it was", (registry) => ({
    getBlob: (...args) =>
      Effect.map(registry.getBlob(...args), (blob) => ({
        ...blob,
        stream: Stream.take(blob.stream, 16)
      }))
  })),
  bug("a blob has one reader at a time", "concurrent readers of a blob each receive all of it", (registry) => {
    const open = new Set<Digest>()
    return {
      getBlob: Effect.fnUntraced(function*(repository, digest, options) {
        if (open.has(digest)) return yield* failing("getBlob", repository, new Unsupported({}))
        open.add(digest)
        yield* Effect.addFinalizer(() => Effect.sync(() => open.delete(digest)))
        yield* Effect.yieldNow
        return yield* registry.getBlob(repository, digest, options)
      })
    }
  }),
  bug("connections are not released", [
    "a blob whose reader stopped in the middle is read again, any number of times",
    "a blob that was opened and not read is closed with its scope"
  ], (registry) => {
    let open = 0
    const refused = (operation: string, repository: Repository) =>
      failing(operation, repository, new TooManyRequests({}))
    return {
      getBlob: (repository, digest, options) =>
        Effect.suspend(() =>
          open++ < 10 ? registry.getBlob(repository, digest, options) : refused("getBlob", repository)
        ),
      resolveBlob: (repository, digest) =>
        open < 10 ? registry.resolveBlob(repository, digest) : refused("resolveBlob", repository)
    }
  }),
  bug("ranges are ignored", "a range of a blob is read", (registry) => withRange(registry, () => undefined)),
  bug(
    "a range begins one byte late",
    "a range of a blob is read",
    (registry) => withRange(registry, ({ offset, ...range }) => ({ offset: offset + 1, ...range }))
  ),
  bug(
    "a range has one byte more",
    "a range of a blob is read",
    (registry) =>
      withRange(registry, ({ length, offset }) => length === undefined ? { offset } : { offset, length: length + 1 })
  ),
  bug(
    "a range has its end for a length",
    "a range in the middle of more than a megabyte is read",
    (registry) =>
      withRange(
        registry,
        ({ length, offset }) => length === undefined ? { offset } : { offset, length: length + offset }
      )
  ),
  bug("a range beyond the end is refused", "a range that reaches beyond the end is cut there", (registry) => ({
    getBlob: Effect.fnUntraced(function*(repository, digest, options) {
      const blob = yield* registry.getBlob(repository, digest, options)
      const { length = 0, offset = 0 } = options?.range ?? {}
      return offset + length > blob.descriptor.size
        ? yield* failing("getBlob", repository, new RangeNotSatisfiable({}))
        : blob
    })
  })),
  bug("a range at the end is empty", "a range that begins at the end is not satisfiable", (registry) => ({
    getBlob: (repository, digest, options) =>
      Effect.catchReason(
        registry.getBlob(repository, digest, options),
        "RegistryError",
        "RangeNotSatisfiable",
        () => Effect.map(registry.getBlob(repository, digest), (blob) => ({ ...blob, stream: Stream.empty }))
      )
  })),
  bug("a range has its own size", "a range has the size of the whole blob", (registry) => ({
    getBlob: (repository, digest, options) =>
      Effect.map(registry.getBlob(repository, digest, options), (blob) => ({
        ...blob,
        descriptor: { ...blob.descriptor, size: options?.range?.length ?? blob.descriptor.size }
      }))
  })),
  bug("ranges are for sha256", "a range of a sha512 blob is read", (registry) => ({
    getBlob: (repository, digest, options) =>
      options?.range !== undefined && digest.startsWith("sha512")
        ? failing("getBlob", repository, new RangeNotSatisfiable({}))
        : registry.getBlob(repository, digest, options)
  })),
  bug("every blob is reported as present", [
    "an absent blob is unknown to resolveBlob",
    "an absent repository has no blobs"
  ], () => ({
    resolveBlob: (_, digest) => Effect.succeed({ mediaType: MediaType.octetStream, digest, size: 10 })
  })),
  bug("sizes are rounded up", "resolving a blob returns its digest and size", (registry) => ({
    resolveBlob: (...args) =>
      Effect.map(registry.resolveBlob(...args), (blob) => ({ ...blob, size: Math.ceil(blob.size / 512) * 512 }))
  })),
  bug("blobs of one repository are in all", "a blob of another repository is not in this one", (registry) => {
    const home = new Map<Digest, Repository>()
    return {
      pushBlob: (repository, descriptor, source) => {
        home.set(descriptor.digest, repository)
        return registry.pushBlob(repository, descriptor, source)
      },
      resolveBlob: (repository, digest) => registry.resolveBlob(home.get(digest) ?? repository, digest)
    }
  }),
  bug("deleted blobs stay", "a deleted blob is absent", () => ({ deleteBlob: () => Effect.void })),
  bug(
    "a blob is deleted from everywhere",
    "a blob that is deleted from one repository stays in another",
    (registry) => ({
      deleteBlob: (_, digest) =>
        Stream.runForEach(
          registry.repositories(),
          (repository) => Effect.ignore(registry.deleteBlob(repository, digest))
        )
    })
  ),
  bug("absent blobs are deleted without an error", "an absent blob cannot be deleted", (registry) => ({
    deleteBlob: (...args) => Effect.ignore(registry.deleteBlob(...args))
  }))
]

const pushBugs: ReadonlyArray<Bug> = [
  bug("wrong content is accepted", [
    "a push under a wrong digest fails, and stores nothing under either",
    "a push of 10 bytes as 9 fails, and stores nothing",
    "a push of 10 bytes as 11 fails, and stores nothing"
  ], (registry) => ({
    pushBlob: (repository, descriptor, source) =>
      Effect.catchIf(
        registry.pushBlob(repository, descriptor, source),
        isRegistryError,
        () => Effect.succeed({ mediaType: MediaType.octetStream, ...descriptor })
      )
  })),
  bug(
    "wrong content is refused, but stored under its own digest",
    "a push under a wrong digest fails, and stores nothing under either",
    (
      registry
    ) => ({
      pushBlob: (repository, descriptor, source) =>
        Effect.tapError(registry.pushBlob(repository, descriptor, source), () =>
          Effect.ignore(Effect.flatMap(
            Stream.mkUint8Array(source.open(0)),
            (bytes) => Images.pushBlob(registry, repository, bytes)
          )))
    })
  ),
  bug("sources are read twice", [
    "a source of 10 bytes that can be read once is read once",
    "a source of 100000 bytes that can be read once is read once"
  ], (registry) => ({
    pushBlob: (repository, descriptor, source) =>
      Effect.andThen(Stream.runDrain(source.open(0)), registry.pushBlob(repository, descriptor, source))
  })),
  bug(
    "a failed source is reported as a broken connection",
    "a source of 10 bytes that fails fails the push with its own error, and nothing is stored",
    (
      registry
    ) => ({
      pushBlob: (repository, descriptor, source) =>
        Effect.catch(
          registry.pushBlob(repository, descriptor, source),
          () => failing("pushBlob", repository, new Transport({}))
        )
    })
  ),
  bug("a blob exists when its push begins", "a blob of 100000 bytes is absent until its source ends", (
    registry
  ) => {
    const begun = new Set<Digest>()
    return {
      pushBlob: (repository, descriptor, source) => {
        begun.add(descriptor.digest)
        return registry.pushBlob(repository, descriptor, source)
      },
      resolveBlob: (repository, digest) =>
        begun.has(digest)
          ? Effect.succeed({ mediaType: MediaType.octetStream, digest, size: 1 })
          : registry.resolveBlob(repository, digest)
    }
  }),
  bug(
    "an interrupted push continues to read",
    "a push of 10 bytes that is interrupted stores nothing, and closes its source",
    (
      registry
    ) => ({
      pushBlob: (repository, descriptor, source) =>
        Effect.flatMap(
          Effect.forkDetach(registry.pushBlob(repository, descriptor, source), { startImmediately: true }),
          (fiber) => Effect.interruptible(Effect.flatMap(Effect.exit(Effect.never), () => Effect.die(fiber)))
        )
    })
  ),
  bug("a source is read beyond its size", "an endless source is aborted soon after the 10 bytes that it announced", (
    registry
  ) => ({
    pushBlob: (repository, descriptor, source) =>
      Effect.tapError(
        registry.pushBlob(repository, descriptor, source),
        () => Effect.ignore(Stream.runDrain(Stream.take(source.open(0), 100)))
      )
  })),
  bug("a second push of a blob fails", [
    "a blob that exists is pushed again",
    "a blob that is pushed several times at once is stored"
  ], (registry) => {
    const begun = new Set<string>()
    return {
      pushBlob: (repository, descriptor, source) =>
        Effect.suspend(() => {
          const key = `${repository}@${descriptor.digest}`
          if (begun.has(key)) return failing("pushBlob", repository, new Unsupported({}))
          begun.add(key)
          return registry.pushBlob(repository, descriptor, source)
        })
    }
  })
]

const uploadBugs: ReadonlyArray<Bug> = [
  bug("chunks are accepted at any offset", [
    "a chunk at a wrong offset is refused",
    "a chunk that is sent again is refused"
  ], (registry) =>
    withUpload(registry, (upload) => ({
      append: (chunk) => Effect.flatMap(upload.status, (offset) => upload.append({ ...chunk, offset }))
    }))),
  bug(
    "append returns the size of the chunk",
    "append returns the number of bytes so far",
    (registry) =>
      withUpload(registry, (upload) => ({
        append: (chunk) => Effect.map(upload.append(chunk), (size) => size - chunk.offset)
      }))
  ),
  bug("the status is the offset of the last byte", [
    "the status is the number of bytes so far",
    "a session begins with no bytes"
  ], (registry) => withUpload(registry, (upload) => ({ status: Effect.map(upload.status, (size) => size - 1) }))),
  bug("a chunk is stored whole or not at all", [
    "the received bytes of a chunk that broke are kept",
    "the received bytes of an interrupted chunk are kept"
  ], (registry) =>
    withUpload(registry, (upload) => ({
      append: (chunk) =>
        Effect.flatMap(
          Stream.mkUint8Array(chunk.stream),
          (bytes) => upload.append({ ...chunk, stream: Stream.succeed(bytes) })
        )
    }))),
  bug(
    "the bytes of an interrupted chunk are lost",
    "an upload continues at its offset after a chunk was interrupted",
    (registry) =>
      withUpload(registry, (upload) => {
        let isLost = false
        return {
          append: (chunk) => Effect.onInterrupt(upload.append(chunk), () => Effect.sync(() => isLost = true)),
          status: Effect.suspend(() => isLost ? Effect.succeed(0) : upload.status)
        }
      })
  ),
  bug(
    "a chunk that breaks is reported as a broken connection",
    "a chunk that breaks fails with its own error",
    (registry) =>
      withUpload(registry, (upload) => ({
        append: (chunk) =>
          Effect.catch(upload.append(chunk), () => failing("append", Images.repository("somewhere"), new Transport({})))
      }))
  ),
  bug(
    "a commit never fails",
    "a commit of other content fails, and stores nothing",
    (registry) =>
      withUpload(registry, (upload) => ({
        commit: (digest, last) =>
          Effect.catchIf(
            upload.commit(digest, last),
            isRegistryError,
            () => Effect.succeed({ mediaType: MediaType.octetStream, digest, size: 0 })
          )
      }))
  ),
  bug(
    "a commit returns the size of the last chunk",
    "a commit returns the digest and size of the whole blob",
    (registry) =>
      withUpload(registry, (upload) => ({
        commit: (digest, last) =>
          Effect.map(upload.commit(digest, last), (blob) => ({ ...blob, size: last?.size ?? blob.size }))
      }))
  ),
  bug(
    "the last chunk is forgotten",
    "the last chunk may come with the commit",
    (registry) => withUpload(registry, (upload) => ({ commit: (digest) => upload.commit(digest) }))
  ),
  bug("an unknown id opens a new session", [
    "a session of another id is unknown",
    "a session ends with its commit"
  ], (registry) => ({
    resumeUpload: (repository, id) =>
      Effect.catch(
        registry.resumeUpload(repository, id),
        () =>
          Effect.flatMap(registry.startUpload(repository), (started) =>
            started._tag === "Upload"
              ? Effect.succeed(started)
              : failing("resumeUpload", repository, new BlobUploadUnknown({})))
      )
  })),
  bug("sessions outlive their scopes", [
    "a session ends with its scope",
    "a session that has bytes ends with its scope",
    "the session of a declined mount ends with its scope"
  ], (registry) => ({
    startUpload: (repository, options) =>
      Effect.provideService(registry.startUpload(repository, options), Scope.Scope, Scope.makeUnsafe())
  })),
  bug("a resumed session outlives its scope", "a resumed session ends with its own scope", (
    registry
  ) => ({
    resumeUpload: (repository, id) =>
      Effect.provideService(registry.resumeUpload(repository, id), Scope.Scope, Scope.makeUnsafe())
  })),
  bug("the minimum chunk of a session exceeds the maximum", "a session has the chunk sizes that its registry reports", (
    registry
  ) => withUpload(registry, () => ({ minimumChunk: 10, maximumChunk: 5 }))),
  bug("a registry denies that it accepts chunks", "a session has the chunk sizes that its registry reports", () => ({
    capabilities: Effect.succeed({ chunks: false })
  })),
  bug("all sessions are one", "two sessions at once do not mix", (registry) => {
    const scope = Scope.makeUnsafe()
    let only: Upload | undefined
    return {
      startUpload: Effect.fnUntraced(function*(repository) {
        only ??= yield* Effect.flatMap(
          Scope.provide(registry.startUpload(repository), scope),
          (started) => started._tag === "Upload" ? Effect.succeed(started) : Effect.die("mounted")
        )
        return only
      })
    }
  }),
  bug("mounts mount nothing", "a blob is mounted from another repository", (registry) => ({
    startUpload: (repository, options) =>
      options?.mount === undefined
        ? registry.startUpload(repository, options)
        : Effect.succeed({ _tag: "Mounted", digest: options.mount.digest })
  })),
  bug("a mount moves the blob", "a mounted blob stays in its source repository", (registry) => ({
    startUpload: (repository, options) =>
      Effect.tap(
        registry.startUpload(repository, options),
        (started) =>
          started._tag === "Mounted" && options?.mount?.from !== undefined
            ? registry.deleteBlob(options.mount.from, started.digest)
            : Effect.void
      )
  })),
  bug("a declined mount fails", [
    "a declined mount opens a session",
    "a mount from an absent repository opens a session"
  ], (registry) => ({
    startUpload: (repository, options) =>
      Effect.flatMap(
        registry.startUpload(repository, options),
        (started) =>
          started._tag === "Upload" && options?.mount !== undefined
            ? failing("startUpload", repository, new BlobUnknown({}))
            : Effect.succeed(started)
      )
  })),
  bug(
    "a registry mounts from anywhere and denies that",
    "a registry mounts without a source repository if its capabilities say so, and only then",
    () => ({
      capabilities: Effect.succeed({ anonymousMount: false })
    })
  ),
  bug(
    "a registry mounts from the same repository and denies that",
    "a registry mounts from the same repository if its capabilities say so, and only then",
    () => ({
      capabilities: Effect.succeed({ selfMount: false })
    })
  )
]

const emptyIndex = Images.bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] })

const manifestBugs: ReadonlyArray<Bug> = [
  bug("manifests are encoded again", [
    "a manifest without a tag is read by digest, to the byte",
    "a manifest with a tag is read by tag, to the byte"
  ], (registry) => ({
    getManifest: (...args) =>
      Effect.map(registry.getManifest(...args), ({ bytes, descriptor }) => ({
        descriptor,
        bytes: Images.bytesOf(JSON.parse(new TextDecoder().decode(bytes)))
      }))
  })),
  bug("every manifest has the same type", `an index of type ${MediaType.dockerManifestList} keeps its type`, (
    registry
  ) => ({
    getManifest: (...args) =>
      Effect.map(registry.getManifest(...args), (manifest) => ({
        ...manifest,
        descriptor: { ...manifest.descriptor, mediaType: MediaType.imageIndex }
      }))
  })),
  bug(
    "only the first tag is set",
    "every tag of a manifest resolves to it",
    (registry) => withTags(registry, (tags) => tags.slice(0, 1))
  ),
  bug("tags are in lower case", "tags are case-sensitive", (registry) => {
    const lower = (reference: Tag | Digest) => reference.includes(":") ? reference : Images.tag(reference.toLowerCase())
    return {
      ...withTags(registry, (tags) => tags.map((tag) => Images.tag(tag.toLowerCase()))),
      resolveManifest: (repository, reference) => registry.resolveManifest(repository, lower(reference))
    }
  }),
  bug(
    "long tags are cut",
    "a tag may be 1, 128 times",
    (registry) => withTags(registry, (tags) => tags.map((tag) => Images.tag(tag.slice(0, 100))))
  ),
  bug("sizes are not compared", [
    "a manifest with a wrong size of its config is refused, and not stored",
    "a manifest with a wrong size of a layer is refused, and not stored",
    "an index with a wrong size of a manifest is refused, and not stored",
    "a manifest with a wrong size of its subject is refused, and not listed"
  ], (registry) => ({
    pushManifest: (repository, manifest, tags) =>
      Effect.catchReason(
        registry.pushManifest(repository, manifest, tags),
        "RegistryError",
        "ManifestInvalid",
        () => registry.pushManifest(repository, { mediaType: MediaType.imageIndex, bytes: emptyIndex }, tags)
      )
  })),
  bug("hexadecimal tags are digests", "a tag may be 0, 64 times", (registry) => ({
    resolveManifest: (repository, reference) =>
      /^[a-f0-9]{64}$/.test(reference)
        ? failing("resolveManifest", repository, new ManifestUnknown({}))
        : registry.resolveManifest(repository, reference)
  })),
  bug("a repository is the beginning of its name", "a repository below another is separate from it", (registry) => {
    const top = (repository: Repository) => Images.repository(repository.split("/").slice(0, 2).join("/"))
    return {
      resolveManifest: (repository, reference) => registry.resolveManifest(top(repository), reference),
      pushBlob: (repository, descriptor, source) => registry.pushBlob(top(repository), descriptor, source),
      pushManifest: (repository, ...args) => registry.pushManifest(top(repository), ...args)
    }
  }),
  bug("deep names are refused", "a repository's name may be deep, and have every separator", (registry) => ({
    pushBlob: (repository, descriptor, source) =>
      repository.length > 100
        ? failing("pushBlob", repository, new Unsupported({}))
        : registry.pushBlob(repository, descriptor, source)
  })),
  bug("tags do not move", [
    "a tag moves to the manifest that is pushed with it",
    "a tag that was read before moves as well"
  ], (
    registry
  ) => ({
    pushManifest: Effect.fnUntraced(function*(repository, manifest, tags = []) {
      const missing = yield* Effect.filter(tags, (tag) => Effect.isFailure(registry.resolveManifest(repository, tag)))
      return yield* registry.pushManifest(repository, manifest, missing)
    })
  })),
  bug("a manifest without a tag is deleted", "a manifest that lost its tag stays", (registry) => ({
    pushManifest: Effect.fnUntraced(function*(repository, manifest, tags = []) {
      for (const tag of tags) {
        const before = yield* Effect.option(registry.resolveManifest(repository, tag))
        if (before._tag === "Some") yield* registry.deleteManifest(repository, before.value.digest)
      }
      return yield* registry.pushManifest(repository, manifest, tags)
    })
  })),
  bug(
    "a push deletes earlier tags",
    "a manifest that is pushed again without a tag keeps those it has",
    (registry) => ({
      pushManifest: Effect.fnUntraced(function*(repository, manifest, tags = []) {
        const pushed = yield* registry.pushManifest(repository, manifest)
        yield* registry.deleteManifest(repository, pushed.digest)
        return yield* registry.pushManifest(repository, manifest, tags)
      })
    })
  ),
  bug("refused manifests are reported as stored", [
    "a manifest whose layer is absent is refused, and not stored",
    "an index whose manifest is absent is refused",
    "a manifest that is not JSON is refused",
    "a manifest that contradicts the media type of the push is refused",
    "a manifest under a wrong digest is refused, and not stored"
  ], (registry) => ({
    pushManifest: (repository, manifest, tags) =>
      Effect.catch(
        registry.pushManifest(repository, manifest, tags),
        () =>
          Effect.flatMap(MemoryRegistry.make(), (other) =>
            other.pushManifest(repository, { mediaType: "text/plain", bytes: manifest.bytes }))
      )
  })),
  bug("manifests of more than a megabyte are refused", "a manifest of 4 MB is read as it was", (registry) => ({
    pushManifest: (repository, manifest, tags) =>
      manifest.bytes.length > 1_000_000
        ? failing("pushManifest", repository, new ContentTooLarge({}))
        : registry.pushManifest(repository, manifest, tags)
  })),
  bug("only known media types are accepted", "a manifest of an unknown media type is stored unchanged", (registry) => ({
    pushManifest: (repository, manifest, tags) =>
      MediaType.isManifest(manifest.mediaType)
        ? registry.pushManifest(repository, manifest, tags)
        : failing("pushManifest", repository, new Unsupported({}))
  })),
  bug(
    "manifests are read from other repositories",
    "a manifest of another repository is not in this one",
    (registry) => {
      const home = new Map<Digest, Repository>()
      return {
        pushManifest: (repository, manifest, tags) =>
          Effect.tap(
            registry.pushManifest(repository, manifest, tags),
            ({ digest }) => Effect.sync(() => home.set(digest, repository))
          ),
        resolveManifest: (repository, reference) =>
          registry.resolveManifest(
            reference.includes(":") ? home.get(reference as Digest) ?? repository : repository,
            reference
          )
      }
    }
  ),
  bug("deleted manifests stay", [
    "a deleted manifest is absent",
    "deleting a manifest deletes its tags",
    "a deleted referrer is not listed"
  ], () => ({ deleteManifest: () => Effect.void })),
  bug("a tag is deleted with its manifest", "deleting a tag keeps its manifest", (registry) => ({
    deleteTag: (repository, tag) =>
      Effect.flatMap(
        registry.resolveManifest(repository, tag),
        ({ digest }) => registry.deleteManifest(repository, digest)
      )
  })),
  bug("absent tags are deleted without an error", "an absent tag cannot be deleted", (registry) => ({
    deleteTag: (...args) => Effect.ignore(registry.deleteTag(...args))
  }))
]

const withList = (
  registry: Registry.Registry,
  change: (tags: ReadonlyArray<Tag>) => ReadonlyArray<Tag>
): Operations => ({
  tags: (repository, options) =>
    Stream.unwrap(Effect.map(
      Stream.runCollect(registry.tags(repository, options)),
      (tags) => Stream.fromIterable(change(tags))
    ))
})

const listBugs: ReadonlyArray<Bug> = [
  bug(
    "tags are listed backwards",
    "tags are listed in order",
    (registry) => withList(registry, (tags) => [...tags].reverse())
  ),
  bug(
    "tags are listed twice",
    ["tags are listed", "many tags are all listed, each once"],
    (registry) => withList(registry, (tags) => tags.flatMap((tag) => [tag, tag]))
  ),
  bug(
    "a hundred tags are listed",
    "many tags are all listed, each once",
    (registry) => withList(registry, (tags) => tags.slice(0, 100))
  ),
  bug("tags are listed from the beginning", [
    "tags are listed after one of them",
    "no tags are listed after the last one"
  ], (registry) => ({ tags: (repository) => registry.tags(repository) })),
  bug("a list after an absent tag begins anywhere", "tags are listed after an absent one", (
    registry
  ) => ({
    tags: (repository, options) =>
      Stream.unwrap(Effect.map(Stream.runCollect(registry.tags(repository)), (tags) =>
        Stream.fromIterable(
          tags.slice(
            options?.after === undefined
              ? 0
              : 1 + (tags.indexOf(Images.tag(options.after)) + tags.length + 1) % (tags.length + 1)
          )
        )))
  })),
  bug("an absent repository has an empty list of tags", [
    "listing the tags of an absent repository fails",
    "a cancelled session leaves no repository",
    "an error of a list names the operation and the repository"
  ], (registry) => ({
    tags: (repository, options) => Stream.catch(registry.tags(repository, options), () => Stream.empty)
  })),
  bug("repositories are listed twice", "repositories are listed, each once", (registry) => ({
    repositories: (options) => Stream.flatMap(registry.repositories(options), (name) => Stream.make(name, name))
  })),
  bug("repositories are listed from the beginning", "repositories are listed after one of them", (registry) => ({
    repositories: () => registry.repositories()
  })),
  bug("a filter does not filter", [
    "referrers are filtered by artifact type",
    "a filter that matches no referrer lists none"
  ], (
    registry
  ) => ({ referrers: (repository, digest) => registry.referrers(repository, digest) })),
  bug("referrers have no annotations", "a referrer is listed with its type, artifact type, size and annotations", (
    registry
  ) => ({
    referrers: (...args) =>
      Stream.map(registry.referrers(...args), (descriptor) => ({ ...descriptor, annotations: {} }))
  })),
  bug(
    "referrers do not have the type of their config",
    "a referrer without an artifact type is listed with the type of its config",
    (
      registry
    ) => ({
      referrers: (...args) =>
        Stream.map(registry.referrers(...args), (descriptor) => {
          const { artifactType, ...others } = descriptor
          return artifactType === MediaType.imageConfig ? others : descriptor
        })
    })
  ),
  bug("a list of referrers needs the subject", [
    "referrers of an absent manifest are listed",
    "an absent repository has no referrers",
    "referrers stay after their subject is deleted"
  ], (registry) => ({
    referrers: (repository, digest, options) =>
      Stream.concat(
        Stream.fromEffectDrain(registry.resolveManifest(repository, digest)),
        registry.referrers(repository, digest, options)
      )
  })),
  bug("all referrers refer to all", [
    "a referrer of one manifest is not listed for another",
    "a manifest without referrers has none"
  ], (registry) => {
    const pushed: Array<Digest> = []
    return {
      pushManifest: (...args) =>
        Effect.tap(registry.pushManifest(...args), ({ digest }) => Effect.sync(() => pushed.push(digest))),
      referrers: (repository) =>
        Stream.map(Stream.fromIterable(pushed), (digest) => ({ mediaType: repository, digest, size: 1 }))
    }
  }),
  bug("a referrer needs its subject", "a manifest whose subject is absent is stored", (registry) => {
    const { registry: strict } = Effect.runSync(Faults.make(registry, [Faults.refuseSubjects()]))
    return { pushManifest: strict.pushManifest }
  })
]

const renamed =
  (change: (error: RegistryError) => ConstructorParameters<typeof RegistryError>[0]) =>
  (registry: Registry.Registry): Operations => ({
    resolveBlob: (...args) =>
      Effect.mapError(registry.resolveBlob(...args), (error) => new RegistryError(change(error))),
    getManifest: (...args) =>
      Effect.mapError(registry.getManifest(...args), (error) => new RegistryError(change(error)))
  })

const errorBugs: ReadonlyArray<Bug> = [
  bug("the ping fails", "a registry answers a ping", () => ({
    ping: failing("ping", Images.repository("none"), new Transport({}))
  })),
  bug(
    "errors name another operation",
    "an error of resolveBlob names the operation and the repository",
    renamed(
      ({ reason, registry, repository = "none" }) => ({ operation: "any", registry, repository, reason })
    )
  ),
  bug(
    "errors name no repository",
    "an error of getManifest names the operation and the repository",
    renamed(
      ({ operation, reason, registry }) => ({ operation, registry, reason })
    )
  ),
  bug(
    "errors name another registry",
    "an error of getManifest names the registry",
    renamed(
      ({ operation, reason, repository = "none" }) => ({ operation, registry: "another", repository, reason })
    )
  ),
  bug(
    "absent content has an unexpected reason",
    "an absent digest is unknown to getManifest",
    renamed(
      ({ operation, registry, repository = "none" }) => ({
        operation,
        registry,
        repository,
        reason: new NameUnknown({})
      })
    )
  )
]

const bugs = [...blobBugs, ...pushBugs, ...uploadBugs, ...manifestBugs, ...listBugs, ...errorBugs]

describe("the contract", () => {
  it("has no two cases of one name", () => {
    const names = Contract.cases.map(({ name }) => name)
    assert.deepStrictEqual(names.filter((name, index) => names.indexOf(name) !== index), [])
  })

  describe("detects a registry in which", () => {
    it.effect.each(bugs)("$name", ({ found, operations }) =>
      Effect.gen(function*() {
        const cases = Contract.cases.filter(({ name }) => found.includes(name))
        assert.lengthOf(cases, found.length)
        for (const each of cases) {
          const registry = yield* MemoryRegistry.make()
          const wrong = Registry.make({ ...registry, ...operations(registry) })
          const violation = yield* Effect.flip(each.effect(wrong))
          assert.strictEqual(violation._tag, "Violation")
          assert.strictEqual(violation.promise, each.name)
        }
      }))
  })

  it.effect("reports what was expected and what was found", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const wrong = Registry.make({ ...registry, ping: Effect.void, deleteBlob: () => Effect.void })
      const [violation] = yield* Contract.violations(wrong, {
        cases: Contract.cases.filter(({ name }) => name === "a deleted blob is absent")
      })
      assert.strictEqual(violation?.expected, "a failure with BlobUnknown or NameUnknown")
      assert.include(violation?.found, "sha256:")
    }))

  it.effect("reports an unexpected failure", () =>
    Effect.gen(function*() {
      const wrong = Registry.make({ name: "empty" })
      const [violation] = yield* Contract.violations(wrong, { cases: Contract.cases.slice(0, 1) })
      assert.strictEqual(
        violation?.message,
        "a registry answers a ping: expected no error, found empty: the registry does not support this (ping)"
      )
    }))

  it.effect("omits the cases that need what a registry lacks", () =>
    Effect.gen(function*() {
      const memory = yield* MemoryRegistry.make()
      const registry = Registry.make({
        ...memory,
        repositories: () =>
          Stream.fail(new RegistryError({ operation: "repositories", registry: "memory", reason: new Unsupported({}) }))
      })
      assert.notDeepEqual(yield* Contract.violations(registry), [])
      assert.deepStrictEqual(yield* Contract.violations(registry, { cases: Contract.without("repositories") }), [])
    }))

  it.effect("does not use chunks if a registry accepts none", () =>
    Effect.gen(function*() {
      const memory = yield* MemoryRegistry.make()
      const registry = Registry.make({
        ...memory,
        capabilities: Effect.map(memory.capabilities, (capabilities) => ({ ...capabilities, chunks: false })),
        ...withUpload(memory, () => ({
          resumable: false,
          append: () => failing("append", Images.repository("any"), new Unsupported({}))
        }))
      })
      assert.deepStrictEqual(yield* Contract.violations(registry, { cases: Contract.without("chunks") }), [])
    }))

  it.effect("can be kept without ping, tags and referrers", () =>
    Effect.gen(function*() {
      const { ping: _, referrers: __, tags: ___, ...operations } = yield* MemoryRegistry.make()
      const cases = Contract.without("ping", "tags", "referrers")
      assert.deepStrictEqual(yield* Contract.violations(Registry.make(operations), { cases }), [])
    }))

  it.effect("fills a read-only registry through another one", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryRegistry.make()
      const { getBlob, getManifest, name, ping, referrers, resolveBlob, resolveManifest, tags } = origin
      const reader = Registry.make({ name, ping, getBlob, resolveBlob, getManifest, resolveManifest, tags, referrers })
      const cases = Contract.without("push", "sessions", "mount", "delete", "tagDelete", "retag", "repositories")
      assert.deepStrictEqual(yield* Contract.violations(reader, { cases, origin }), [])
    }))
})
