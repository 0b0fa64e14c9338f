/**
 * Promises of the contract about blobs.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as BlobSource from "../../BlobSource.ts"
import * as Descriptor from "../../Descriptor.ts"
import * as Digest from "../../Digest.ts"
import { bytesOf, pushBlob } from "../Images.ts"
import { type Case, promise } from "./Case.ts"
import * as Expect from "./Expect.ts"
import { breaking, Broken, fresh, hasNoBlob, noise, nowhere, read, stalling, text } from "./Helpers.ts"

const digits = bytesOf("0123456789")

const reading: ReadonlyArray<Case> = [
  promise("a blob that was pushed is read back", [], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, name, digits)
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise("a blob of more than a megabyte is read back as it was", [], function*(registry, origin) {
    const name = yield* fresh
    const bytes = noise(1_500_003)
    const { digest } = yield* pushBlob(origin, name, bytes)
    const { stream } = yield* registry.getBlob(name, digest)
    yield* Expect.equal(yield* Stream.mkUint8Array(stream), bytes)
  }),
  promise("an empty blob is read", [], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, name, "")
    yield* Expect.equal(yield* read(registry, name, digest), "")
  }),
  promise("an open blob has its digest and size", [], function*(registry, origin) {
    const name = yield* fresh
    const expected = yield* pushBlob(origin, name, digits)
    const { digest, size } = (yield* registry.getBlob(name, expected.digest)).descriptor
    yield* Expect.equal({ digest, size }, { digest: expected.digest, size: 10 })
  }),
  promise("resolving a blob returns its digest and size", [], function*(registry, origin) {
    const name = yield* fresh
    const expected = yield* pushBlob(origin, name, digits)
    const { digest, size } = yield* registry.resolveBlob(name, expected.digest)
    yield* Expect.equal({ digest, size }, { digest: expected.digest, size: 10 })
  }),
  promise("concurrent readers of a blob each receive all of it", [], function*(registry, origin) {
    const name = yield* fresh
    const bytes = noise(300_000)
    const { digest } = yield* pushBlob(origin, name, bytes)
    const reader = Effect.scoped(
      Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.mkUint8Array(stream))
    )
    const found = yield* Effect.replicateEffect(reader, 5, { concurrency: "unbounded" })
    yield* Expect.equal(found, [bytes, bytes, bytes, bytes, bytes])
  }),
  promise("a blob whose reader stopped in the middle is read again, any number of times", [], function*(
    registry,
    origin
  ) {
    const name = yield* fresh
    const bytes = noise(1_000_000)
    const { digest } = yield* pushBlob(origin, name, bytes)
    // more often than a client has connections to one registry
    const glance = Effect.scoped(
      Effect.flatMap(registry.getBlob(name, digest), ({ stream }) => Stream.runHead(stream))
    )
    yield* Effect.replicateEffect(glance, 20, { discard: true })
    const { stream } = yield* registry.getBlob(name, digest)
    yield* Expect.equal(yield* Stream.mkUint8Array(stream), bytes)
  }),
  promise("a blob that was opened and not read is closed with its scope", [], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, name, noise(100_000))
    yield* Effect.replicateEffect(Effect.scoped(registry.getBlob(name, digest)), 20, { discard: true })
    yield* Expect.equal((yield* registry.resolveBlob(name, digest)).size, 100_000)
  }),
  promise("an absent blob is unknown to getBlob", [], function*(registry, origin) {
    const name = yield* fresh
    yield* pushBlob(origin, name, "another")
    yield* Expect.reason(registry.getBlob(name, nowhere), "BlobUnknown", "NameUnknown")
  }),
  promise("an absent blob is unknown to resolveBlob", [], function*(registry, origin) {
    const name = yield* fresh
    yield* pushBlob(origin, name, "another")
    yield* hasNoBlob(registry, name, nowhere)
  }),
  promise("a blob of another repository is not in this one", ["repositories"], function*(registry, origin) {
    const [here, elsewhere] = [yield* fresh, yield* fresh]
    yield* pushBlob(origin, here, "here")
    const { digest } = yield* pushBlob(origin, elsewhere, `in ${elsewhere}`)
    yield* hasNoBlob(registry, here, digest)
  }),
  promise("an absent repository has no blobs", [], function*(registry) {
    yield* hasNoBlob(registry, yield* fresh, nowhere)
  }),
  promise("a blob under a digest of an unknown algorithm is absent", [], function*(registry) {
    const digest = Digest.Digest.make("sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564")
    // with GET, because the response to a HEAD has no body that gives the reason
    yield* Expect.reason(
      registry.getBlob(yield* fresh, digest),
      "BlobUnknown",
      "NameUnknown",
      "DigestInvalid",
      "Unsupported",
      "UnsupportedAlgorithm"
    )
  })
]

const ranges: ReadonlyArray<Case> = [
  ...([
    ["a range of a blob is read", { offset: 2, length: 3 }, "234"],
    ["a range without a length reaches to the end", { offset: 7 }, "789"],
    ["a range that reaches beyond the end is cut there", { offset: 8, length: 100 }, "89"],
    ["a range can be the whole blob", { offset: 0 }, "0123456789"],
    ["a range can be the last byte", { offset: 9, length: 1 }, "9"]
  ] as const).map(([name, range, expected]) =>
    promise(name, [], function*(registry, origin) {
      const name = yield* fresh
      const { digest } = yield* pushBlob(origin, name, digits)
      yield* Expect.equal(yield* text(yield* registry.getBlob(name, digest, { range })), expected)
    })
  ),
  promise("a range in the middle of more than a megabyte is read", [], function*(registry, origin) {
    const name = yield* fresh
    const bytes = noise(1_500_000)
    const { digest } = yield* pushBlob(origin, name, bytes)
    const { stream } = yield* registry.getBlob(name, digest, { range: { offset: 700_001, length: 600_000 } })
    yield* Expect.equal(yield* Stream.mkUint8Array(stream), bytes.subarray(700_001, 1_300_001))
  }),
  promise("a range of a sha512 blob is read", ["sha512"], function*(registry, origin) {
    const name = yield* fresh
    const descriptor = yield* Descriptor.fromBytes(digits, { algorithm: "sha512" })
    yield* origin.pushBlob(name, descriptor, BlobSource.fromBytes(digits))
    const part = yield* registry.getBlob(name, descriptor.digest, { range: { offset: 2, length: 3 } })
    yield* Expect.equal(yield* text(part), "234")
  }),
  promise("a range has the size of the whole blob", [], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, name, digits)
    const { descriptor } = yield* registry.getBlob(name, digest, { range: { offset: 2, length: 3 } })
    yield* Expect.equal(descriptor.size, 10)
  }),
  promise("a range that begins at the end is not satisfiable", [], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, name, digits)
    yield* Expect.reason(registry.getBlob(name, digest, { range: { offset: 10 } }), "RangeNotSatisfiable")
  }),
  promise("a range of no bytes is not satisfiable", [], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, name, digits)
    yield* Expect.reason(registry.getBlob(name, digest, { range: { offset: 2, length: 0 } }), "RangeNotSatisfiable")
  }),
  promise("a range of an absent blob is unknown", [], function*(registry, origin) {
    const name = yield* fresh
    yield* pushBlob(origin, name, "another")
    yield* Expect.reason(registry.getBlob(name, nowhere, { range: { offset: 2 } }), "BlobUnknown", "NameUnknown")
  })
]

const pushing: ReadonlyArray<Case> = [
  promise("a push of a blob returns its digest and size", ["push"], function*(registry) {
    const name = yield* fresh
    const expected = yield* Descriptor.fromBytes(digits)
    const { digest, size } = yield* registry.pushBlob(name, expected, BlobSource.fromBytes(digits))
    yield* Expect.equal({ digest, size }, { digest: expected.digest, size: 10 })
  }),
  promise("an empty blob is pushed", ["push"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(registry, name, "")
    yield* Expect.equal((yield* registry.resolveBlob(name, digest)).size, 0)
  }),
  promise("a blob that exists is pushed again", ["push"], function*(registry) {
    const name = yield* fresh
    yield* pushBlob(registry, name, digits)
    const { digest } = yield* pushBlob(registry, name, digits)
    yield* Expect.equal(yield* read(registry, name, digest), "0123456789")
  }),
  promise("a blob that is pushed several times at once is stored", ["push"], function*(registry) {
    const name = yield* fresh
    const bytes = noise(200_000)
    const descriptor = yield* Descriptor.fromBytes(bytes)
    const stream = Stream.fromIterable([bytes.subarray(0, 100_000), bytes.subarray(100_000)], { chunkSize: 1 }).pipe(
      Stream.tap(() => Effect.yieldNow)
    )
    const push = registry.pushBlob(name, descriptor, BlobSource.fromStream(bytes.length, stream))
    yield* Effect.replicateEffect(push, 8, { concurrency: "unbounded", discard: true })
    const found = yield* registry.getBlob(name, descriptor.digest)
    yield* Expect.equal(yield* Stream.mkUint8Array(found.stream), bytes)
  }),
  promise("a blob is pushed under a sha512 digest", ["push", "sha512"], function*(registry) {
    const name = yield* fresh
    const descriptor = yield* Descriptor.fromBytes(digits, { algorithm: "sha512" })
    yield* registry.pushBlob(name, descriptor, BlobSource.fromBytes(digits))
    yield* Expect.equal(yield* read(registry, name, descriptor.digest), "0123456789")
  }),
  promise("a push under a wrong digest fails, and stores nothing under either", ["push"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* Descriptor.fromBytes(digits)
    const push = registry.pushBlob(name, { digest: nowhere, size: 10 }, BlobSource.fromBytes(digits))
    yield* Expect.reason(push, "DigestInvalid", "DigestMismatch")
    yield* hasNoBlob(registry, name, nowhere)
    yield* hasNoBlob(registry, name, digest)
  }),
  promise("a push under a digest of an unknown algorithm fails, and stores nothing", ["push"], function*(registry) {
    const name = yield* fresh
    const digest = Digest.Digest.make("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8")
    const push = registry.pushBlob(name, { digest, size: 10 }, BlobSource.fromBytes(digits))
    yield* Expect.reason(push, "DigestInvalid", "Unsupported", "UnsupportedAlgorithm")
    yield* Expect.failure(registry.resolveBlob(name, digest))
  }),
  ...[9, 11].map((size) =>
    promise(`a push of 10 bytes as ${size} fails, and stores nothing`, ["push"], function*(registry) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(digits)
      const push = registry.pushBlob(name, { digest, size }, BlobSource.fromBytes(digits))
      yield* Expect.reason(push, "SizeInvalid", "SizeMismatch")
      yield* hasNoBlob(registry, name, digest)
    })
  )
]

/** Sizes of a blob that fits in one POST, and of one that does not, in bytes. */
const sizes = [10, 100_000]

const sources: ReadonlyArray<Case> = [
  ...sizes.map((size) =>
    promise(`a source of ${size} bytes that can be read once is read once`, ["push"], function*(registry) {
      const name = yield* fresh
      const bytes = noise(size)
      const { digest } = yield* Descriptor.fromBytes(bytes)
      let opened = 0
      const stream = Stream.suspend(() => {
        opened++
        return Stream.make(bytes.subarray(0, 4), bytes.subarray(4))
      })
      yield* registry.pushBlob(name, { digest, size }, BlobSource.fromStream(size, stream))
      yield* Expect.equal(opened, 1)
    })
  ),
  ...sizes.map((size) =>
    promise(
      `a source of ${size} bytes that fails fails the push with its own error, and nothing is stored`,
      ["push"],
      function*(registry) {
        const name = yield* fresh
        const { digest } = yield* Descriptor.fromBytes(new Uint8Array(size))
        const source = BlobSource.fromStream(size, breaking("0123"))
        const error = yield* Expect.failure(registry.pushBlob(name, { digest, size }, source))
        yield* Expect.holds(error instanceof Broken, "the error of the source", String(error))
        yield* hasNoBlob(registry, name, digest)
      }
    )
  ),
  ...sizes.map((size) =>
    promise(`a blob of ${size} bytes is absent until its source ends`, ["push"], function*(registry) {
      const name = yield* fresh
      const bytes = noise(size)
      const { digest } = yield* Descriptor.fromBytes(bytes)
      const [reached, goOn] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const stream = Stream.make(bytes.subarray(0, 4)).pipe(
        Stream.concat(
          Stream.fromEffectDrain(Effect.andThen(Deferred.succeed(reached, undefined), Deferred.await(goOn)))
        ),
        Stream.concat(Stream.succeed(bytes.subarray(4)))
      )
      const push = yield* Effect.forkScoped(
        registry.pushBlob(name, { digest, size }, BlobSource.fromStream(size, stream))
      )
      yield* Effect.raceFirst(Deferred.await(reached), Fiber.join(push))
      yield* hasNoBlob(registry, name, digest)
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(push)
      yield* Expect.equal((yield* registry.resolveBlob(name, digest)).size, size)
    })
  ),
  ...sizes.map((size) =>
    promise(
      `a push of ${size} bytes that is interrupted stores nothing, and closes its source`,
      ["push"],
      function*(registry) {
        const name = yield* fresh
        const { digest } = yield* Descriptor.fromBytes(new Uint8Array(size))
        const reached = yield* Deferred.make<void>()
        let isOpen = true
        const stream = stalling("0123", Deferred.succeed(reached, undefined)).pipe(
          Stream.ensuring(Effect.sync(() => isOpen = false))
        )
        const push = yield* Effect.forkScoped(
          registry.pushBlob(name, { digest, size }, BlobSource.fromStream(size, stream))
        )
        yield* Effect.raceFirst(Deferred.await(reached), Fiber.join(push))
        yield* Fiber.interrupt(push)
        yield* Expect.holds(!isOpen, "a closed source", "one that is still open")
        yield* hasNoBlob(registry, name, digest)
      }
    )
  ),
  ...sizes.map((size) =>
    promise(`an endless source is aborted soon after the ${size} bytes that it announced`, ["push"], function*(
      registry
    ) {
      const name = yield* fresh
      const { digest } = yield* Descriptor.fromBytes(new Uint8Array(size))
      let pulled = 0
      const stream = Stream.fromEffectRepeat(Effect.sync(() => {
        pulled += 65_536
        return new Uint8Array(65_536)
      }))
      yield* Expect.reason(
        registry.pushBlob(name, { digest, size }, BlobSource.fromStream(size, stream)),
        "SizeInvalid",
        "SizeMismatch"
      )
      yield* Expect.holds(pulled <= size + 4_194_304, "at most 4 MiB more than announced", `${pulled} bytes`)
      yield* hasNoBlob(registry, name, digest)
    })
  )
]

const deleting: ReadonlyArray<Case> = [
  promise("a deleted blob is absent", ["delete"], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, name, "to be deleted")
    yield* registry.deleteBlob(name, digest)
    yield* hasNoBlob(registry, name, digest)
  }),
  promise("a blob that was read and then deleted is absent", ["delete"], function*(registry, origin) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(origin, name, "to be deleted")
    yield* read(registry, name, digest)
    yield* registry.deleteBlob(name, digest)
    yield* Expect.reason(registry.getBlob(name, digest), "BlobUnknown", "NameUnknown")
  }),
  promise("a deleted blob is pushed again", ["delete", "push"], function*(registry) {
    const name = yield* fresh
    const { digest } = yield* pushBlob(registry, name, "there again")
    yield* registry.deleteBlob(name, digest)
    yield* pushBlob(registry, name, "there again")
    yield* Expect.equal(yield* read(registry, name, digest), "there again")
  }),
  promise(
    "a blob that is deleted from one repository stays in another",
    ["delete", "repositories"],
    function*(registry, origin) {
      const [one, two] = [yield* fresh, yield* fresh]
      const { digest } = yield* pushBlob(origin, one, "in two places")
      yield* pushBlob(origin, two, "in two places")
      yield* registry.deleteBlob(one, digest)
      yield* Expect.equal(yield* read(registry, two, digest), "in two places")
    }
  ),
  promise("an absent blob cannot be deleted", ["delete"], function*(registry, origin) {
    const name = yield* fresh
    yield* pushBlob(origin, name, "another")
    yield* Expect.reason(registry.deleteBlob(name, nowhere), "BlobUnknown", "NameUnknown")
  })
]

export const blobs: ReadonlyArray<Case> = [...reading, ...ranges, ...pushing, ...sources, ...deleting]
