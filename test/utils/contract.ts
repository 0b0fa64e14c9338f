/**
 * What every registry must do, as data: run it over each one that there is.
 *
 * A case works in repositories of its own, so that all of them can share one registry, which others may use meanwhile.
 */
import { assert } from "@effect/vitest"
import { Data, Effect, Exit, Scope, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import * as Digest from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import type { Repository } from "effect-oci/Reference"
import type { Blob, Registry } from "effect-oci/Registry"
import type { RegistryError } from "effect-oci/RegistryError"
import type { Upload } from "effect-oci/Upload"
import { bytesOf, pushBlob, pushImage, pushManifest, pushReferrer, repository, tag } from "./images.ts"

/** What registries in use are known to lack. CNCF distribution 2.8 lacks all but the first. */
export type Need =
  /** Blobs have digests of sha512. */
  | "sha512"
  /** Manifests have digests of sha512. */
  | "sha512Manifests"
  /** A chunk that does not begin where the last one ended is refused. */
  | "offsets"
  /** What came of a chunk whose connection broke is kept. */
  | "partialChunks"
  /** A digest of a blob is not taken for one of a manifest. */
  | "kinds"
  /** A manifest may refer to layers that may not be distributed, and are not there. */
  | "nonDistributable"
  /** Tags are listed in order. */
  | "tagOrder"
  /** The list of tags can begin behind one. */
  | "tagsAfter"
  /** A tag can be deleted without its manifest. */
  | "tagDelete"
  /** Repositories are apart, and are listed. A single image layout has one for all names. */
  | "repositories"

export interface Case {
  readonly name: string
  readonly needs?: ReadonlyArray<Need>
  readonly effect: (registry: Registry) => Effect.Effect<void, unknown, Scope.Scope>
}

class Broken extends Data.TaggedError("Broken") {}

const fresh: Effect.Effect<Repository> = Effect.sync(() => repository(`contract/${crypto.randomUUID()}`))

const nowhere = Digest.fromHash("sha256", new Uint8Array(32))

const reason = <A, R>(effect: Effect.Effect<A, RegistryError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

const text = ({ stream }: Blob) => Stream.mkString(Stream.decodeText(stream))

const read = (registry: Registry, name: Repository, digest: Digest.Digest) =>
  Effect.flatMap(registry.getBlob(name, digest), text)

const assertNoBlob = Effect.fnUntraced(function*(registry: Registry, name: Repository, digest: Digest.Digest) {
  assert.oneOf(yield* reason(registry.resolveBlob(name, digest)), ["BlobUnknown", "NameUnknown"])
})

const assertNoManifest = Effect.fnUntraced(
  function*(registry: Registry, name: Repository, reference: Parameters<Registry["resolveManifest"]>[1]) {
    assert.oneOf(yield* reason(registry.resolveManifest(name, reference)), ["ManifestUnknown", "NameUnknown"])
  }
)

const startUpload = (registry: Registry, name: Repository): Effect.Effect<Upload, RegistryError, Scope.Scope> =>
  Effect.flatMap(
    registry.startUpload(name),
    (started) => started._tag === "Upload" ? Effect.succeed(started) : Effect.die("mounted what nobody asked for")
  )

const chunk = (offset: number, content: string) => ({
  offset,
  size: content.length,
  stream: Stream.succeed(bytesOf(content))
})

const breaking = (content: string) => Stream.concat(Stream.succeed(bytesOf(content)), Stream.fail(new Broken()))

const referrersOf = (registry: Registry, name: Repository, digest: Digest.Digest, artifactType?: string) =>
  Stream.runCollect(registry.referrers(name, digest, artifactType === undefined ? {} : { artifactType }))

const general: ReadonlyArray<Case> = [
  {
    name: "a registry answers a ping",
    effect: (registry) => registry.ping
  }
]

const blobs: ReadonlyArray<Case> = [
  {
    name: "a blob that was pushed is read back",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "0123456789")
      assert.strictEqual(yield* read(registry, name, digest), "0123456789")
    })
  },
  {
    name: "a push of a blob returns its digest and size",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const bytes = bytesOf("0123456789")
      const expected = yield* Descriptor.fromBytes(bytes)
      const { digest, size } = yield* registry.pushBlob(name, expected, BlobSource.fromBytes(bytes))
      assert.deepStrictEqual({ digest, size }, { digest: expected.digest, size: 10 })
    })
  },
  {
    name: "a blob of a megabyte is read back as it was",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const bytes = Uint8Array.from({ length: 1_000_003 }, (_, index) => index * index)
      const { digest } = yield* pushBlob(registry, name, bytes)
      const { stream } = yield* registry.getBlob(name, digest)
      assert.deepStrictEqual(yield* Stream.mkUint8Array(stream), bytes)
    })
  },
  {
    name: "an empty blob is pushed and read",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "")
      assert.strictEqual(yield* read(registry, name, digest), "")
    })
  },
  {
    name: "an open blob tells its digest and size",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const expected = yield* pushBlob(registry, name, "0123456789")
      const { digest, size } = (yield* registry.getBlob(name, expected.digest)).descriptor
      assert.deepStrictEqual({ digest, size }, { digest: expected.digest, size: 10 })
    })
  },
  {
    name: "resolving a blob tells its digest and size",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const expected = yield* pushBlob(registry, name, "0123456789")
      const { digest, size } = yield* registry.resolveBlob(name, expected.digest)
      assert.deepStrictEqual({ digest, size }, { digest: expected.digest, size: 10 })
    })
  },
  {
    name: "a range of a blob is read",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "0123456789")
      const part = yield* registry.getBlob(name, digest, { range: { offset: 2, length: 3 } })
      assert.strictEqual(yield* text(part), "234")
    })
  },
  {
    name: "a range without a length reaches to the end",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "0123456789")
      const part = yield* registry.getBlob(name, digest, { range: { offset: 7 } })
      assert.strictEqual(yield* text(part), "789")
    })
  },
  {
    name: "a range that reaches beyond the end is cut there",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "0123456789")
      const part = yield* registry.getBlob(name, digest, { range: { offset: 8, length: 100 } })
      assert.strictEqual(yield* text(part), "89")
    })
  },
  {
    name: "a range tells the size of the whole blob",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "0123456789")
      const { descriptor } = yield* registry.getBlob(name, digest, { range: { offset: 2, length: 3 } })
      assert.strictEqual(descriptor.size, 10)
    })
  },
  {
    name: "a range that begins at the end is not satisfiable",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "0123456789")
      const part = registry.getBlob(name, digest, { range: { offset: 10 } })
      assert.strictEqual(yield* reason(part), "RangeNotSatisfiable")
    })
  },
  {
    name: "a range of no bytes is not satisfiable",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "0123456789")
      const part = registry.getBlob(name, digest, { range: { offset: 2, length: 0 } })
      assert.strictEqual(yield* reason(part), "RangeNotSatisfiable")
    })
  },
  {
    name: "a blob that is not there is unknown to getBlob",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushBlob(registry, name, "another")
      assert.oneOf(yield* reason(registry.getBlob(name, nowhere)), ["BlobUnknown", "NameUnknown"])
    })
  },
  {
    name: "a blob that is not there is unknown to resolveBlob",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushBlob(registry, name, "another")
      yield* assertNoBlob(registry, name, nowhere)
    })
  },
  {
    name: "a blob of another repository is not in this one",
    needs: ["repositories"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushBlob(registry, name, "another")
      const { digest } = yield* pushBlob(registry, yield* fresh, "here")
      yield* assertNoBlob(registry, name, digest)
    })
  },
  {
    name: "a repository that is not there has no blobs",
    effect: Effect.fnUntraced(function*(registry) {
      yield* assertNoBlob(registry, yield* fresh, nowhere)
    })
  },
  {
    name: "a blob that was deleted is not there",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "to be deleted")
      yield* registry.deleteBlob(name, digest)
      yield* assertNoBlob(registry, name, digest)
    })
  },
  {
    name: "a blob that is deleted from one repository stays in another",
    needs: ["repositories"],
    effect: Effect.fnUntraced(function*(registry) {
      const [one, two] = [yield* fresh, yield* fresh]
      const { digest } = yield* pushBlob(registry, one, "in two places")
      yield* pushBlob(registry, two, "in two places")
      yield* registry.deleteBlob(one, digest)
      assert.strictEqual(yield* read(registry, two, digest), "in two places")
    })
  },
  {
    name: "a blob that is not there cannot be deleted",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushBlob(registry, name, "another")
      assert.oneOf(yield* reason(registry.deleteBlob(name, nowhere)), ["BlobUnknown", "NameUnknown"])
    })
  },
  {
    name: "a push under a wrong digest fails, and stores nothing under either",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const bytes = bytesOf("0123456789")
      const { digest } = yield* Descriptor.fromBytes(bytes)
      const push = registry.pushBlob(name, { digest: nowhere, size: 10 }, BlobSource.fromBytes(bytes))
      assert.oneOf(yield* reason(push), ["DigestInvalid", "DigestMismatch"])
      yield* assertNoBlob(registry, name, nowhere)
      yield* assertNoBlob(registry, name, digest)
    })
  },
  ...[9, 11].map((size): Case => ({
    name: `a push of 10 bytes as ${size} fails, and stores nothing`,
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const bytes = bytesOf("0123456789")
      const { digest } = yield* Descriptor.fromBytes(bytes)
      const push = registry.pushBlob(name, { digest, size }, BlobSource.fromBytes(bytes))
      assert.oneOf(yield* reason(push), ["SizeInvalid", "SizeMismatch"])
      yield* assertNoBlob(registry, name, digest)
    })
  })),
  // small enough for one POST, and not
  ...[10, 100_000].map((size): Case => ({
    name: `a source of ${size} bytes that can be read once is read once`,
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const bytes = new Uint8Array(size)
      const { digest } = yield* Descriptor.fromBytes(bytes)
      let opened = 0
      const stream = Stream.suspend(() => {
        opened++
        return Stream.make(bytes.subarray(0, 4), bytes.subarray(4))
      })
      yield* registry.pushBlob(name, { digest, size }, BlobSource.fromStream(size, stream))
      assert.strictEqual(opened, 1)
    })
  })),
  ...[10, 100_000].map((size): Case => ({
    name: `a source of ${size} bytes that fails fails the push with its own error, and nothing is stored`,
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(new Uint8Array(size))
      const source = BlobSource.fromStream(size, breaking("0123"))
      const error = yield* Effect.flip(registry.pushBlob(name, { digest, size }, source))
      assert.instanceOf(error, Broken)
      yield* assertNoBlob(registry, name, digest)
    })
  })),
  {
    name: "a blob is pushed under a sha512 digest",
    needs: ["sha512"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const bytes = bytesOf("0123456789")
      const descriptor = yield* Descriptor.fromBytes(bytes, { algorithm: "sha512" })
      yield* registry.pushBlob(name, descriptor, BlobSource.fromBytes(bytes))
      assert.strictEqual(yield* read(registry, name, descriptor.digest), "0123456789")
    })
  }
]

const uploads: ReadonlyArray<Case> = [
  {
    name: "chunks become the blob that is committed",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
      const upload = yield* startUpload(registry, name)
      yield* upload.append(chunk(0, "0123"))
      yield* upload.append(chunk(4, "456789"))
      yield* upload.commit(digest)
      assert.strictEqual(yield* read(registry, name, digest), "0123456789")
    })
  },
  {
    name: "the last chunk may come with the commit",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
      const upload = yield* startUpload(registry, name)
      yield* upload.append(chunk(0, "0123"))
      yield* upload.commit(digest, chunk(4, "456789"))
      assert.strictEqual(yield* read(registry, name, digest), "0123456789")
    })
  },
  {
    name: "the only chunk may come with the commit",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
      const upload = yield* startUpload(registry, name)
      yield* upload.commit(digest, chunk(0, "0123456789"))
      assert.strictEqual(yield* read(registry, name, digest), "0123456789")
    })
  },
  {
    name: "a chunk need not say its size",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
      const upload = yield* startUpload(registry, name)
      yield* upload.append({ offset: 0, stream: Stream.make(bytesOf("0123"), bytesOf("456789")) })
      yield* upload.commit(digest)
      assert.strictEqual(yield* read(registry, name, digest), "0123456789")
    })
  },
  {
    name: "a commit returns the digest and size of the whole blob",
    effect: Effect.fnUntraced(function*(registry) {
      const expected = yield* Descriptor.fromBytes(bytesOf("0123456789"))
      const upload = yield* startUpload(registry, yield* fresh)
      yield* upload.append(chunk(0, "0123"))
      const { digest, size } = yield* upload.commit(expected.digest, chunk(4, "456789"))
      assert.deepStrictEqual({ digest, size }, { digest: expected.digest, size: 10 })
    })
  },
  {
    name: "appending tells how many bytes there are now",
    effect: Effect.fnUntraced(function*(registry) {
      const upload = yield* startUpload(registry, yield* fresh)
      const sizes = [yield* upload.append(chunk(0, "0123")), yield* upload.append(chunk(4, "456789"))]
      assert.deepStrictEqual(sizes, [4, 10])
    })
  },
  {
    name: "a session begins with no bytes",
    effect: Effect.fnUntraced(function*(registry) {
      const upload = yield* startUpload(registry, yield* fresh)
      assert.strictEqual(yield* upload.status, 0)
    })
  },
  {
    name: "the status tells how many bytes there are",
    effect: Effect.fnUntraced(function*(registry) {
      const upload = yield* startUpload(registry, yield* fresh)
      yield* upload.append(chunk(0, "0123"))
      assert.strictEqual(yield* upload.status, 4)
    })
  },
  {
    name: "a chunk at a wrong offset is refused",
    needs: ["offsets"],
    effect: Effect.fnUntraced(function*(registry) {
      const upload = yield* startUpload(registry, yield* fresh)
      yield* upload.append(chunk(0, "0123"))
      assert.strictEqual(yield* reason(upload.append(chunk(5, "56789"))), "BlobUploadInvalid")
    })
  },
  {
    name: "a last chunk at a wrong offset is refused",
    needs: ["offsets"],
    effect: Effect.fnUntraced(function*(registry) {
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
      const upload = yield* startUpload(registry, yield* fresh)
      yield* upload.append(chunk(0, "0123"))
      assert.strictEqual(yield* reason(upload.commit(digest, chunk(5, "456789"))), "BlobUploadInvalid")
    })
  },
  {
    name: "a session goes on after a chunk that was refused",
    needs: ["offsets"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
      const upload = yield* startUpload(registry, name)
      yield* upload.append(chunk(0, "0123"))
      yield* Effect.flip(upload.append(chunk(5, "56789")))
      yield* upload.commit(digest, chunk(yield* upload.status, "456789"))
      assert.strictEqual(yield* read(registry, name, digest), "0123456789")
    })
  },
  {
    name: "a chunk that breaks fails with its own error",
    effect: Effect.fnUntraced(function*(registry) {
      const upload = yield* startUpload(registry, yield* fresh)
      assert.instanceOf(yield* Effect.flip(upload.append({ offset: 0, size: 10, stream: breaking("0123") })), Broken)
    })
  },
  {
    name: "what came of a chunk before it broke is kept",
    needs: ["partialChunks"],
    effect: Effect.fnUntraced(function*(registry) {
      const upload = yield* startUpload(registry, yield* fresh)
      yield* Effect.flip(upload.append({ offset: 0, size: 10, stream: breaking("0123") }))
      assert.strictEqual(yield* upload.status, 4)
    })
  },
  {
    name: "a commit of other content fails, and stores nothing",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const upload = yield* startUpload(registry, name)
      yield* upload.append(chunk(0, "0123"))
      assert.oneOf(yield* reason(upload.commit(nowhere)), ["DigestInvalid", "DigestMismatch"])
      yield* assertNoBlob(registry, name, nowhere)
    })
  },
  {
    name: "a session is taken up by its id",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123456789"))
      const upload = yield* startUpload(registry, name)
      yield* upload.append(chunk(0, "0123"))
      const resumed = yield* registry.resumeUpload(name, yield* upload.id)
      yield* resumed.commit(digest, chunk(yield* resumed.status, "456789"))
      assert.strictEqual(yield* read(registry, name, digest), "0123456789")
    })
  },
  {
    name: "a session ends with its scope",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const id = yield* Effect.scoped(Effect.flatMap(startUpload(registry, name), ({ id }) => id))
      assert.strictEqual(yield* reason(registry.resumeUpload(name, id)), "BlobUploadUnknown")
    })
  },
  {
    name: "a session that has bytes ends with its scope",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const scope = yield* Scope.make()
      const upload = yield* Scope.provide(startUpload(registry, name), scope)
      yield* upload.append(chunk(0, "0123"))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* reason(upload.append(chunk(4, "456789"))), "BlobUploadUnknown")
    })
  },
  {
    name: "a session that was taken up ends with the scope of that",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const upload = yield* startUpload(registry, name)
      yield* Effect.scoped(Effect.flatMap(upload.id, (id) => registry.resumeUpload(name, id)))
      assert.strictEqual(yield* reason(upload.status), "BlobUploadUnknown")
    })
  },
  {
    name: "a session ends with its commit",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123"))
      const upload = yield* startUpload(registry, name)
      yield* upload.commit(digest, chunk(0, "0123"))
      assert.strictEqual(yield* reason(registry.resumeUpload(name, yield* upload.id)), "BlobUploadUnknown")
    })
  },
  {
    name: "a blob outlives the scope of its session",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123"))
      yield* Effect.scoped(
        Effect.flatMap(startUpload(registry, name), (upload) => upload.commit(digest, chunk(0, "0123")))
      )
      assert.strictEqual(yield* read(registry, name, digest), "0123")
    })
  },
  {
    name: "a session of another id is unknown",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushBlob(registry, name, "something")
      assert.strictEqual(yield* reason(registry.resumeUpload(name, "no-such-session")), "BlobUploadUnknown")
    })
  },
  {
    name: "a session of a repository that is not there is unknown",
    effect: Effect.fnUntraced(function*(registry) {
      assert.strictEqual(yield* reason(registry.resumeUpload(yield* fresh, "no-such-session")), "BlobUploadUnknown")
    })
  },
  {
    name: "a session that was cancelled leaves no repository",
    needs: ["repositories"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* Effect.scoped(startUpload(registry, name))
      assert.strictEqual(yield* reason(Stream.runCollect(registry.tags(name))), "NameUnknown")
    })
  },
  {
    name: "a session of a sha512 blob is announced and committed",
    needs: ["sha512"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123"), { algorithm: "sha512" })
      const upload = yield* registry.startUpload(name, { algorithm: "sha512" })
      assert(upload._tag === "Upload")
      yield* upload.commit(digest, chunk(0, "0123"))
      assert.strictEqual(yield* read(registry, name, digest), "0123")
    })
  }
]

const mounts: ReadonlyArray<Case> = [
  {
    name: "a blob is mounted from another repository",
    effect: Effect.fnUntraced(function*(registry) {
      const [from, to] = [yield* fresh, yield* fresh]
      const { digest } = yield* pushBlob(registry, from, "to be mounted")
      const mounted = yield* registry.startUpload(to, { mount: { digest, from } })
      assert.deepStrictEqual(mounted, { _tag: "Mounted", digest })
      assert.strictEqual(yield* read(registry, to, digest), "to be mounted")
    })
  },
  {
    name: "a blob that is asked for from anywhere is mounted, or can be uploaded",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, yield* fresh, "anywhere")
      const started = yield* registry.startUpload(name, { mount: { digest } })
      if (started._tag === "Upload") yield* started.commit(digest, chunk(0, "anywhere"))
      assert.strictEqual(yield* read(registry, name, digest), "anywhere")
    })
  },
  {
    name: "a mount that is declined is a session",
    effect: Effect.fnUntraced(function*(registry) {
      const [from, to] = [yield* fresh, yield* fresh]
      yield* pushBlob(registry, from, "another")
      // a content of its own: some registries mount what any repository has
      const content = `not in ${from}`
      const { digest } = yield* Descriptor.fromBytes(bytesOf(content))
      const started = yield* registry.startUpload(to, { mount: { digest, from } })
      assert(started._tag === "Upload")
      yield* started.commit(digest, chunk(0, content))
      assert.strictEqual(yield* read(registry, to, digest), content)
    })
  }
]

const manifests: ReadonlyArray<Case> = [
  {
    name: "a manifest without a tag is read by digest, to the byte",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const bytes = bytesOf(`{\n  "schemaVersion": 2,  "mediaType": "${MediaType.imageIndex}", "manifests": [ ] }\n`)
      const pushed = yield* registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes })
      assert.deepStrictEqual((yield* registry.getManifest(name, pushed.digest)).bytes, bytes)
    })
  },
  {
    name: "a manifest with a tag is read by tag, to the byte",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const bytes = bytesOf(`{\n  "schemaVersion": 2,  "mediaType": "${MediaType.imageIndex}", "manifests": [ ] }\n`)
      yield* registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes }, [tag("1")])
      assert.deepStrictEqual((yield* registry.getManifest(name, tag("1"))).bytes, bytes)
    })
  },
  {
    name: "a push of a manifest returns its descriptor",
    effect: Effect.fnUntraced(function*(registry) {
      const bytes = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] })
      const pushed = yield* registry.pushManifest(yield* fresh, { mediaType: MediaType.imageIndex, bytes })
      assert.deepStrictEqual(pushed, yield* Descriptor.fromBytes(bytes, { mediaType: MediaType.imageIndex }))
    })
  },
  {
    name: "a manifest is read with its descriptor",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest, mediaType, size } = yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
      const { descriptor } = yield* registry.getManifest(name, tag("1"))
      assert.deepStrictEqual(descriptor, { digest, mediaType, size })
    })
  },
  {
    name: "resolving tells the descriptor behind a tag",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest, mediaType, size } = yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
      assert.deepStrictEqual(yield* registry.resolveManifest(name, tag("1")), { digest, mediaType, size })
    })
  },
  {
    name: "resolving tells the descriptor of a digest",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest, mediaType, size } = yield* pushImage(registry, name, ["layer"])
      assert.deepStrictEqual(yield* registry.resolveManifest(name, digest), { digest, mediaType, size })
    })
  },
  {
    name: "a manifest with several tags is behind each of them",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const tags = ["1", "1.2", "1.2.3"].map(tag)
      const { digest } = yield* pushImage(registry, name, ["layer"], { tags })
      const found = yield* Effect.forEach(tags, (tag) => registry.resolveManifest(name, tag))
      assert.deepStrictEqual(found.map((descriptor) => descriptor.digest), [digest, digest, digest])
    })
  },
  {
    name: "a tag moves to the manifest that is pushed with it",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["before"], { tags: [tag("latest")] })
      const { digest } = yield* pushImage(registry, name, ["after"], { tags: [tag("latest")] })
      assert.strictEqual((yield* registry.resolveManifest(name, tag("latest"))).digest, digest)
    })
  },
  {
    name: "a manifest that lost its tag stays",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushImage(registry, name, ["before"], { tags: [tag("latest")] })
      yield* pushImage(registry, name, ["after"], { tags: [tag("latest")] })
      assert.strictEqual((yield* registry.resolveManifest(name, digest)).digest, digest)
    })
  },
  ...[MediaType.dockerManifest, MediaType.imageManifest].map((mediaType): Case => ({
    name: `a manifest of type ${mediaType} keeps its type`,
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const config = yield* pushBlob(registry, name, "{}", "application/vnd.docker.container.image.v1+json")
      const { digest } = yield* pushManifest(registry, name, { mediaType, config, layers: [] })
      assert.strictEqual((yield* registry.resolveManifest(name, digest)).mediaType, mediaType)
    })
  })),
  {
    name: "a manifest under a wrong digest is refused, and not stored",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const bytes = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageIndex, manifests: [] })
      const push = registry.pushManifest(name, { mediaType: MediaType.imageIndex, bytes, digest: nowhere }, [tag("1")])
      assert.oneOf(yield* reason(push), ["DigestInvalid", "DigestMismatch"])
      yield* assertNoManifest(registry, name, tag("1"))
    })
  },
  {
    name: "a manifest that is not JSON is refused",
    effect: Effect.fnUntraced(function*(registry) {
      const manifest = { mediaType: MediaType.imageManifest, bytes: bytesOf("{") }
      assert.strictEqual(yield* reason(registry.pushManifest(yield* fresh, manifest)), "ManifestInvalid")
    })
  },
  {
    name: "a manifest that says another type of itself is refused",
    effect: Effect.fnUntraced(function*(registry) {
      const bytes = bytesOf({ schemaVersion: 2, mediaType: MediaType.imageManifest, manifests: [] })
      const manifest = { mediaType: MediaType.imageIndex, bytes }
      assert.strictEqual(yield* reason(registry.pushManifest(yield* fresh, manifest)), "ManifestInvalid")
    })
  },
  {
    name: "a manifest whose layer is not there is refused",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const config = yield* pushBlob(registry, name, "{}", MediaType.imageConfig)
      const layers = [{ mediaType: MediaType.imageLayer, digest: nowhere, size: 1 }]
      const push = pushManifest(registry, name, { mediaType: MediaType.imageManifest, config, layers })
      assert.strictEqual(yield* reason(push), "ManifestBlobUnknown")
    })
  },
  {
    name: "an index whose manifest is not there is refused",
    effect: Effect.fnUntraced(function*(registry) {
      const push = pushManifest(registry, yield* fresh, {
        mediaType: MediaType.imageIndex,
        manifests: [{ mediaType: MediaType.imageManifest, digest: nowhere, size: 1 }]
      })
      assert.strictEqual(yield* reason(push), "ManifestBlobUnknown")
    })
  },
  {
    name: "a manifest whose subject is not there is stored",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const subject = { mediaType: MediaType.imageManifest, digest: nowhere, size: 1 }
      const { digest } = yield* pushReferrer(registry, name, subject, "about nothing")
      assert.strictEqual((yield* registry.resolveManifest(name, digest)).digest, digest)
    })
  },
  {
    name: "a layer that may not be distributed need not be there",
    needs: ["nonDistributable"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const config = yield* pushBlob(registry, name, "{}", MediaType.imageConfig)
      const layer = {
        mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        digest: nowhere,
        size: 1,
        urls: ["https://example.com/layer"]
      }
      const content = { mediaType: MediaType.imageManifest, config, layers: [layer] }
      const { digest } = yield* pushManifest(registry, name, content)
      assert.strictEqual((yield* registry.resolveManifest(name, digest)).digest, digest)
    })
  },
  {
    name: "a tag that is not there is unknown to getManifest",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
      assert.strictEqual(yield* reason(registry.getManifest(name, tag("2"))), "ManifestUnknown")
    })
  },
  {
    name: "a digest that is not there is unknown to getManifest",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"])
      assert.strictEqual(yield* reason(registry.getManifest(name, nowhere)), "ManifestUnknown")
    })
  },
  {
    name: "a tag that is not there is unknown to resolveManifest",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
      yield* assertNoManifest(registry, name, tag("2"))
    })
  },
  {
    name: "a blob is no manifest",
    needs: ["kinds"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(registry, name, "a blob")
      yield* assertNoManifest(registry, name, digest)
    })
  },
  {
    name: "a manifest that was deleted is not there",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushImage(registry, name, ["layer"])
      yield* registry.deleteManifest(name, digest)
      yield* assertNoManifest(registry, name, digest)
    })
  },
  {
    name: "a manifest that is deleted takes its tags along",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushImage(registry, name, ["one"], { tags: [tag("1"), tag("1.1")] })
      yield* pushImage(registry, name, ["two"], { tags: [tag("2")] })
      yield* registry.deleteManifest(name, digest)
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(name)), [tag("2")])
    })
  },
  {
    name: "a manifest that is not there cannot be deleted",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"])
      assert.strictEqual(yield* reason(registry.deleteManifest(name, nowhere)), "ManifestUnknown")
    })
  },
  {
    name: "a manifest is pushed under a sha512 digest",
    needs: ["sha512Manifests"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const mediaType = MediaType.imageIndex
      const bytes = bytesOf({ schemaVersion: 2, mediaType, manifests: [] })
      const { digest } = yield* Descriptor.fromBytes(bytes, { algorithm: "sha512" })
      yield* registry.pushManifest(name, { mediaType, bytes, digest })
      assert.deepStrictEqual(yield* registry.getManifest(name, digest), {
        descriptor: { mediaType, digest, size: bytes.length },
        bytes
      })
    })
  },
  {
    name: "a manifest is pushed under a sha512 digest and a tag",
    needs: ["sha512Manifests"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const mediaType = MediaType.imageIndex
      const bytes = bytesOf({ schemaVersion: 2, mediaType, manifests: [] })
      const { digest } = yield* Descriptor.fromBytes(bytes, { algorithm: "sha512" })
      yield* registry.pushManifest(name, { mediaType, bytes, digest }, [tag("1")])
      assert.deepStrictEqual((yield* registry.getManifest(name, tag("1"))).bytes, bytes)
    })
  }
]

const lists: ReadonlyArray<Case> = [
  {
    name: "tags are listed",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const tags = ["b", "a", "10", "1"].map(tag)
      yield* pushImage(registry, name, ["layer"], { tags })
      assert.sameMembers(yield* Stream.runCollect(registry.tags(name)), tags)
    })
  },
  {
    name: "tags are listed in order",
    needs: ["tagOrder"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"], { tags: ["b", "a", "10", "1"].map(tag) })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(name)), ["1", "10", "a", "b"].map(tag))
    })
  },
  {
    name: "tags are listed from behind one of them",
    needs: ["tagsAfter"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"], { tags: ["1", "2", "3"].map(tag) })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(name, { after: "1" })), ["2", "3"].map(tag))
    })
  },
  {
    name: "tags are listed from behind one that is not there",
    needs: ["tagsAfter"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"], { tags: ["1", "3"].map(tag) })
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(name, { after: "2" })), [tag("3")])
    })
  },
  {
    name: "tags of a repository that is not there are not listed",
    needs: ["repositories"],
    effect: Effect.fnUntraced(function*(registry) {
      assert.strictEqual(yield* reason(Stream.runCollect(registry.tags(yield* fresh))), "NameUnknown")
    })
  },
  {
    name: "a tag that was deleted is not there",
    needs: ["tagDelete"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"], { tags: [tag("1"), tag("2")] })
      yield* registry.deleteTag(name, tag("1"))
      assert.deepStrictEqual(yield* Stream.runCollect(registry.tags(name)), [tag("2")])
    })
  },
  {
    name: "a tag that is deleted leaves its manifest",
    needs: ["tagDelete"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
      yield* registry.deleteTag(name, tag("1"))
      assert.strictEqual((yield* registry.resolveManifest(name, digest)).digest, digest)
    })
  },
  {
    name: "a tag that is not there cannot be deleted",
    needs: ["tagDelete"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"], { tags: [tag("1")] })
      assert.strictEqual(yield* reason(registry.deleteTag(name, tag("2"))), "ManifestUnknown")
    })
  },
  {
    name: "repositories are listed",
    needs: ["repositories"],
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      yield* pushImage(registry, name, ["layer"])
      assert.include(yield* Stream.runCollect(registry.repositories()), name)
    })
  },
  {
    name: "repositories are listed from behind one of them",
    needs: ["repositories"],
    effect: Effect.fnUntraced(function*(registry) {
      const parent = yield* fresh
      const [one, two] = [repository(`${parent}/1`), repository(`${parent}/2`)]
      yield* pushImage(registry, one, ["layer"])
      yield* pushImage(registry, two, ["layer"])
      const listed = yield* Stream.runCollect(registry.repositories({ after: one }))
      assert.deepStrictEqual(listed.filter((name) => name.startsWith(parent)), [two])
    })
  }
]

const referrers: ReadonlyArray<Case> = [
  {
    name: "referrers of a manifest are listed",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const image = yield* pushImage(registry, name, ["layer"])
      const one = yield* pushReferrer(registry, name, image, "one")
      const two = yield* pushReferrer(registry, name, image, "two")
      const listed = yield* referrersOf(registry, name, image.digest)
      assert.sameMembers(listed.map(({ digest }) => digest), [one.digest, two.digest])
    })
  },
  {
    name: "a referrer is listed with its type, artifact type, size and annotations",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const image = yield* pushImage(registry, name, ["layer"])
      const { digest, size } = yield* pushReferrer(registry, name, image, "one")
      assert.deepStrictEqual(yield* referrersOf(registry, name, image.digest), [{
        mediaType: MediaType.imageManifest,
        digest,
        size,
        artifactType: "application/vnd.example.sbom",
        annotations: { "org.example.content": "one" }
      }])
    })
  },
  {
    name: "a referrer without an artifact type is listed with the type of its config",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest, mediaType, size } = yield* pushImage(registry, name, ["layer"])
      yield* pushImage(registry, name, ["about it"], { extra: { subject: { digest, mediaType, size } } })
      const listed = yield* referrersOf(registry, name, digest)
      assert.deepStrictEqual(listed.map(({ artifactType }) => artifactType), [MediaType.imageConfig])
    })
  },
  {
    name: "an index without an artifact type is listed without one",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest, mediaType, size } = yield* pushImage(registry, name, ["layer"])
      const subject = { digest, mediaType, size }
      const index = yield* pushManifest(registry, name, { mediaType: MediaType.imageIndex, manifests: [], subject })
      assert.deepStrictEqual(yield* referrersOf(registry, name, digest), [index])
    })
  },
  {
    name: "referrers of a manifest that is not there are listed",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const subject = { mediaType: MediaType.imageManifest, digest: nowhere, size: 1 }
      const { digest } = yield* pushReferrer(registry, name, subject, "about nothing")
      assert.deepStrictEqual((yield* referrersOf(registry, name, nowhere)).map(({ digest }) => digest), [digest])
    })
  },
  {
    name: "a manifest without referrers has none",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest } = yield* pushImage(registry, name, ["layer"])
      assert.deepStrictEqual(yield* referrersOf(registry, name, digest), [])
    })
  },
  {
    name: "a referrer of one manifest is none of another",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const [one, two] = [yield* pushImage(registry, name, ["one"]), yield* pushImage(registry, name, ["two"])]
      yield* pushReferrer(registry, name, one, "about one")
      assert.deepStrictEqual(yield* referrersOf(registry, name, two.digest), [])
    })
  },
  {
    name: "a repository that is not there has no referrers",
    effect: Effect.fnUntraced(function*(registry) {
      assert.deepStrictEqual(yield* referrersOf(registry, yield* fresh, nowhere), [])
    })
  },
  {
    name: "referrers are filtered by artifact type",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const { digest, mediaType, size } = yield* pushImage(registry, name, ["layer"])
      const subject = { digest, mediaType, size }
      const sbom = yield* pushReferrer(registry, name, subject, "an SBOM")
      yield* pushImage(registry, name, ["no SBOM"], { extra: { subject } })
      const listed = yield* referrersOf(registry, name, digest, "application/vnd.example.sbom")
      assert.deepStrictEqual(listed.map(({ digest }) => digest), [sbom.digest])
    })
  },
  {
    name: "a referrer that is pushed twice is listed once",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const image = yield* pushImage(registry, name, ["layer"])
      yield* pushReferrer(registry, name, image, "one")
      yield* pushReferrer(registry, name, image, "one")
      assert.lengthOf(yield* referrersOf(registry, name, image.digest), 1)
    })
  },
  {
    name: "referrers that are pushed at once are all listed",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const image = yield* pushImage(registry, name, ["layer"])
      const pushed = yield* Effect.forEach(
        ["one", "two", "three", "four"],
        (content) => pushReferrer(registry, name, image, content),
        { concurrency: "unbounded" }
      )
      const listed = yield* referrersOf(registry, name, image.digest)
      assert.sameMembers(listed.map(({ digest }) => digest), pushed.map(({ digest }) => digest))
    })
  },
  {
    name: "a referrer that was deleted is not listed",
    effect: Effect.fnUntraced(function*(registry) {
      const name = yield* fresh
      const image = yield* pushImage(registry, name, ["layer"])
      const one = yield* pushReferrer(registry, name, image, "one")
      const two = yield* pushReferrer(registry, name, image, "two")
      yield* registry.deleteManifest(name, one.digest)
      const listed = yield* referrersOf(registry, name, image.digest)
      assert.deepStrictEqual(listed.map(({ digest }) => digest), [two.digest])
    })
  }
]

export const contract: ReadonlyArray<Case> = [
  ...general,
  ...blobs,
  ...uploads,
  ...mounts,
  ...manifests,
  ...lists,
  ...referrers
]
