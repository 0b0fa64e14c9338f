/**
 * Promises of the contract about upload sessions.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Descriptor from "../../Descriptor.ts"
import type { Registry } from "../../Registry.ts"
import type { Upload } from "../../Upload.ts"
import { bytesOf, pushBlob } from "../Images.ts"
import { type Case, promise } from "./Case.ts"
import * as Expect from "./Expect.ts"
import {
  breaking,
  Broken,
  chunk,
  fresh,
  hasNoBlob,
  noise,
  nowhere,
  read,
  session,
  stalling,
  startUpload
} from "./Helpers.ts"

const digits = bytesOf("0123456789")
const describeDigits = Descriptor.fromBytes(digits)

const writing: ReadonlyArray<Case> = [
  promise("chunks are committed as one blob", ["sessions", "chunks"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    const upload = yield* startUpload(registry, name)
    yield* upload.append(chunk(0, "0123"))
    yield* upload.append(chunk(4, "456789"))
    yield* upload.commit(digest)
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise("the last chunk may come with the commit", ["sessions", "chunks"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    const upload = yield* startUpload(registry, name)
    yield* upload.append(chunk(0, "0123"))
    yield* upload.commit(digest, chunk(4, "456789"))
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise("the only chunk may come with the commit", ["sessions"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    const upload = yield* startUpload(registry, name)
    yield* upload.commit(digest, chunk(0, digits))
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise("a session without chunks is committed as the empty blob", ["sessions"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* Descriptor.fromBytes(new Uint8Array(0))
    const upload = yield* startUpload(registry, name)
    yield* upload.commit(digest)
    yield* Expect.equal((yield* registry.resolveBlob(name, digest)).size, 0)
  }),
  promise("a chunk may have an unknown size", ["sessions", "chunks"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    const upload = yield* startUpload(registry, name)
    yield* upload.append({ offset: 0, stream: Stream.make(bytesOf("0123"), bytesOf("456789")) })
    yield* upload.commit(digest)
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise("large chunks are committed as one blob", ["sessions", "chunks"], function*(registry) {
    const name = yield* fresh
    const bytes = noise(1_500_000)
    const { digest } = yield* Descriptor.fromBytes(bytes)
    const upload = yield* startUpload(registry, name)
    for (const offset of [0, 500_000, 1_000_000]) {
      yield* upload.append(chunk(offset, bytes.subarray(offset, offset + 500_000)))
    }
    yield* upload.commit(digest)
    const { stream } = yield* registry.getBlob(name, digest)
    yield* Expect.equal(yield* Stream.mkUint8Array(stream), bytes)
  }),
  promise("a commit returns the digest and size of the whole blob", ["sessions", "chunks"], function*(registry) {
    const expected = yield* describeDigits
    const upload = yield* startUpload(registry, yield* fresh)
    yield* upload.append(chunk(0, "0123"))
    const { digest, size } = yield* upload.commit(expected.digest, chunk(4, "456789"))
    yield* Expect.equal({ digest, size }, { digest: expected.digest, size: 10 })
  }),
  promise("a blob is absent until its commit", ["sessions", "chunks"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    const upload = yield* startUpload(registry, name)
    yield* upload.append(chunk(0, digits))
    yield* hasNoBlob(registry, name, digest)
  }),
  promise("a commit of other content fails, and stores nothing", ["sessions", "chunks"], function*(registry) {
    const name = yield* fresh
    const upload = yield* startUpload(registry, name)
    yield* upload.append(chunk(0, "0123"))
    yield* Expect.reason(upload.commit(nowhere), "DigestInvalid", "DigestMismatch")
    yield* hasNoBlob(registry, name, nowhere)
  }),
  promise(
    "a commit under the digest of a part of the content fails, and stores nothing",
    ["sessions", "chunks"],
    function*(
      registry
    ) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(bytesOf("0123"))
      const upload = yield* startUpload(registry, name)
      yield* upload.append(chunk(0, digits))
      yield* Expect.reason(upload.commit(digest), "DigestInvalid", "DigestMismatch")
      yield* hasNoBlob(registry, name, digest)
    }
  ),
  promise("two sessions at once do not mix", ["sessions", "chunks"], function*(registry) {
    const name = yield* fresh
    const [first, second] = [bytesOf(`first in ${name}`), bytesOf(`second in ${name}`)]
    const [one, two] = [yield* startUpload(registry, name), yield* startUpload(registry, name)]
    yield* one.append(chunk(0, first.subarray(0, 4)))
    yield* two.append(chunk(0, second.subarray(0, 5)))
    const [a, b] = [yield* Descriptor.fromBytes(first), yield* Descriptor.fromBytes(second)]
    yield* one.commit(a.digest, chunk(4, first.subarray(4)))
    yield* two.commit(b.digest, chunk(5, second.subarray(5)))
    yield* Expect.equal((yield* registry.resolveBlob(name, a.digest)).size, first.length)
    yield* Expect.equal((yield* registry.resolveBlob(name, b.digest)).size, second.length)
  }),
  promise("two sessions of one blob are both committed", ["sessions"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    const [one, two] = [yield* startUpload(registry, name), yield* startUpload(registry, name)]
    yield* one.commit(digest, chunk(0, digits))
    yield* two.commit(digest, chunk(0, digits))
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise(
    "a session of a sha512 blob is announced and committed",
    ["sessions", "chunks", "sha512"],
    function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(digits, { algorithm: "sha512" })
      const upload = yield* session(registry.startUpload(name, { algorithm: "sha512" }))
      yield* upload.append(chunk(0, "0123"))
      yield* upload.commit(digest, chunk(4, "456789"))
      yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
    }
  )
]

const progress: ReadonlyArray<Case> = [
  promise("a session begins with no bytes", ["sessions"], function*(registry) {
    const upload = yield* startUpload(registry, yield* fresh)
    yield* Expect.equal(yield* upload.status, 0)
  }),
  promise("append returns the number of bytes so far", ["sessions", "chunks"], function*(registry) {
    const upload = yield* startUpload(registry, yield* fresh)
    const sizes = [yield* upload.append(chunk(0, "0123")), yield* upload.append(chunk(4, "456789"))]
    yield* Expect.equal(sizes, [4, 10])
  }),
  promise("the status is the number of bytes so far", ["sessions", "chunks"], function*(registry) {
    const upload = yield* startUpload(registry, yield* fresh)
    yield* upload.append(chunk(0, "0123"))
    yield* Expect.equal(yield* settled(upload, 4), 4)
  }),
  promise("a chunk at a wrong offset is refused", ["sessions", "chunks", "offsets"], function*(registry) {
    const upload = yield* startUpload(registry, yield* fresh)
    yield* upload.append(chunk(0, "0123"))
    yield* Expect.reason(upload.append(chunk(5, "56789")), "BlobUploadInvalid")
  }),
  promise("a chunk that is sent again is refused", ["sessions", "chunks", "offsets"], function*(registry) {
    const upload = yield* startUpload(registry, yield* fresh)
    yield* upload.append(chunk(0, "0123"))
    yield* Expect.reason(upload.append(chunk(0, "0123")), "BlobUploadInvalid")
    yield* Expect.equal(yield* settled(upload, 4), 4)
  }),
  promise("a last chunk at a wrong offset is refused", ["sessions", "chunks", "offsets"], function*(registry) {
    const { digest } = yield* describeDigits
    const upload = yield* startUpload(registry, yield* fresh)
    yield* upload.append(chunk(0, "0123"))
    yield* Expect.reason(upload.commit(digest, chunk(5, "456789")), "BlobUploadInvalid")
  }),
  promise("a session continues after a refused chunk", ["sessions", "chunks", "offsets"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    const upload = yield* startUpload(registry, name)
    yield* upload.append(chunk(0, "0123"))
    yield* Expect.failure(upload.append(chunk(5, "56789")))
    yield* upload.commit(digest, chunk(yield* upload.status, "456789"))
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise("a session has the chunk sizes that its registry reports", ["sessions"], function*(registry) {
    const upload = yield* startUpload(registry, yield* fresh)
    if (upload.resumable) yield* upload.append(chunk(0, noise(Math.max(1, upload.minimumChunk))))
    const { maximumChunk, minimumChunk, resumable } = upload
    yield* Expect.holds(
      0 <= minimumChunk && minimumChunk <= maximumChunk && maximumChunk > 0,
      "0 ≤ minimumChunk ≤ maximumChunk, and a maximumChunk above 0",
      `${minimumChunk} and ${maximumChunk}`
    )
    const said = yield* registry.capabilities
    yield* Expect.equal(
      { minimumChunk, maximumChunk, chunks: resumable },
      {
        minimumChunk: said.minimumChunk ?? minimumChunk,
        maximumChunk: said.maximumChunk ?? maximumChunk,
        chunks: said.chunks ?? resumable
      }
    )
  })
]

/** Pings the registry twice, so that the bytes sent before have arrived. */
const pingTwice = (registry: Registry) => Effect.repeat(Effect.ignore(registry.ping), { times: 2 })

/**
 * Returns the status of an upload, after at most 100 requests for it. A registry may store the received bytes later
 * than it notices that the connection broke.
 */
const settled = Effect.fnUntraced(function*(upload: Upload, expected: number) {
  let held = yield* upload.status
  for (let asked = 1; asked < 100 && held !== expected; asked++) held = yield* upload.status
  return held
})

/** Appends a chunk of ten bytes, and interrupts that after four of them. */
const interruptAppend = Effect.fnUntraced(function*(registry: Registry, upload: Upload) {
  const reached = yield* Deferred.make<void>()
  const stream = stalling("0123", Deferred.succeed(reached, undefined))
  const append = yield* Effect.forkScoped(upload.append({ offset: 0, size: 10, stream }))
  yield* Effect.raceFirst(Deferred.await(reached), Fiber.join(append))
  yield* pingTwice(registry)
  yield* Fiber.interrupt(append)
})

const interruptions: ReadonlyArray<Case> = [
  promise("a chunk that breaks fails with its own error", ["sessions", "chunks"], function*(registry) {
    const upload = yield* startUpload(registry, yield* fresh)
    const error = yield* Expect.failure(upload.append({ offset: 0, size: 10, stream: breaking("0123") }))
    yield* Expect.holds(error instanceof Broken, "the error of the chunk", String(error))
  }),
  promise(
    "the received bytes of a chunk that broke are kept",
    ["sessions", "chunks", "partialChunks"],
    function*(registry) {
      const upload = yield* startUpload(registry, yield* fresh)
      yield* Expect.failure(upload.append({ offset: 0, size: 10, stream: breaking("0123") }))
      yield* Expect.equal(yield* settled(upload, 4), 4)
    }
  ),
  promise(
    "the received bytes of a last chunk that broke are kept",
    ["sessions", "chunks", "partialChunks"],
    function*(registry) {
      const { digest } = yield* describeDigits
      const upload = yield* startUpload(registry, yield* fresh)
      yield* upload.append(chunk(0, "01"))
      yield* Expect.failure(upload.commit(digest, { offset: 2, size: 8, stream: breaking("23") }))
      yield* Expect.equal(yield* settled(upload, 4), 4)
    }
  ),
  promise("the received bytes of an interrupted chunk are kept", ["sessions", "chunks", "partialChunks"], function*(
    registry
  ) {
    const upload = yield* startUpload(registry, yield* fresh)
    yield* interruptAppend(registry, upload)
    yield* Expect.equal(yield* settled(upload, 4), 4)
  }),
  promise(
    "an upload continues at its offset after a chunk broke",
    ["sessions", "chunks", "partialChunks"],
    function*(registry) {
      const name = yield* fresh
      const { digest } = yield* describeDigits
      const upload = yield* startUpload(registry, name)
      yield* upload.append(chunk(0, "01"))
      yield* Expect.failure(upload.append({ offset: 2, size: 8, stream: breaking("234") }))
      const held = yield* settled(upload, 5)
      yield* upload.append(chunk(held, digits.subarray(held)))
      yield* upload.commit(digest)
      yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
    }
  ),
  promise(
    "an upload continues at its offset after a chunk was interrupted",
    ["sessions", "chunks", "partialChunks"],
    function*(
      registry
    ) {
      const name = yield* fresh
      const { digest } = yield* describeDigits
      const upload = yield* startUpload(registry, name)
      yield* interruptAppend(registry, upload)
      const held = yield* settled(upload, 4)
      yield* upload.append(chunk(held, digits.subarray(held)))
      yield* upload.commit(digest)
      yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
    }
  ),
  promise(
    "an upload that broke is resumed by its id",
    ["sessions", "chunks", "partialChunks"],
    function*(registry) {
      const name = yield* fresh
      const { digest } = yield* describeDigits
      const upload = yield* startUpload(registry, name)
      yield* Expect.failure(upload.append({ offset: 0, size: 10, stream: breaking("0123") }))
      const resumed = yield* registry.resumeUpload(name, yield* upload.id)
      const held = yield* settled(resumed, 4)
      yield* resumed.commit(digest, chunk(held, digits.subarray(held)))
      yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
    }
  )
]

const lives: ReadonlyArray<Case> = [
  promise("a session is resumed by its id", ["sessions", "chunks"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    const upload = yield* startUpload(registry, name)
    yield* upload.append(chunk(0, "0123"))
    const resumed = yield* registry.resumeUpload(name, yield* upload.id)
    yield* resumed.commit(digest, chunk(yield* resumed.status, "456789"))
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise("a session ends with its scope", ["sessions"], function*(registry) {
    const name = yield* fresh
    const id = yield* Effect.scoped(Effect.flatMap(startUpload(registry, name), ({ id }) => id))
    yield* Expect.reason(registry.resumeUpload(name, id), "BlobUploadUnknown")
  }),
  promise("a session that has bytes ends with its scope", ["sessions", "chunks"], function*(registry) {
    const name = yield* fresh
    const scope = yield* Scope.make()
    const upload = yield* Scope.provide(startUpload(registry, name), scope)
    yield* upload.append(chunk(0, "0123"))
    yield* Scope.close(scope, Exit.void)
    yield* Expect.reason(upload.append(chunk(4, "456789")), "BlobUploadUnknown")
  }),
  promise("a resumed session ends with its own scope", ["sessions"], function*(registry) {
    const name = yield* fresh
    const upload = yield* startUpload(registry, name)
    yield* Effect.scoped(Effect.flatMap(upload.id, (id) => registry.resumeUpload(name, id)))
    yield* Expect.reason(upload.status, "BlobUploadUnknown")
  }),
  promise("a session ends with its commit", ["sessions"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    const upload = yield* startUpload(registry, name)
    yield* upload.commit(digest, chunk(0, digits))
    yield* Expect.reason(registry.resumeUpload(name, yield* upload.id), "BlobUploadUnknown")
  }),
  promise("a blob outlives the scope of its session", ["sessions"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* describeDigits
    yield* Effect.scoped(
      Effect.flatMap(startUpload(registry, name), (upload) => upload.commit(digest, chunk(0, digits)))
    )
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise("a session of another id is unknown", ["sessions"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushBlob(origin, name, "something")
    yield* Expect.reason(registry.resumeUpload(name, "no-such-session"), "BlobUploadUnknown")
  }),
  promise("a session of an absent repository is unknown", ["sessions"], function*(registry) {
    yield* Expect.reason(registry.resumeUpload(yield* fresh, "no-such-session"), "BlobUploadUnknown")
  }),
  promise(
    "a cancelled session leaves no repository",
    ["sessions", "repositories", "tags"],
    function*(registry) {
      const name = yield* fresh
      yield* Effect.scoped(startUpload(registry, name))
      yield* Expect.reason(Stream.runCollect(registry.tags(name)), "NameUnknown")
    }
  )
]

export const uploads: ReadonlyArray<Case> = [...writing, ...progress, ...interruptions, ...lives]
