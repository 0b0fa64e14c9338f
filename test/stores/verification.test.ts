import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as BlobSource from "effect-oci/BlobSource"
import * as Descriptor from "effect-oci/Descriptor"
import type { Digest } from "effect-oci/Digest"
import * as Hasher from "effect-oci/Hasher"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Registry from "effect-oci/Registry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { bytesOf, repository } from "../utils/images.ts"
import { blobPath, temporaryFolder } from "../utils/layouts.ts"

const app = repository("team/app")
const content = "the content of a blob"

/** Counts the bytes that an effect hashes. */
const countHashed = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const hasher = yield* Hasher.Hasher
  let count = 0
  const counting: Hasher.Hasher = {
    make: (algorithm) =>
      Effect.map(hasher.make(algorithm), (hash) => ({
        ...hash,
        update: (chunks) => {
          for (const { length } of chunks) count += length
          return hash.update(chunks)
        }
      }))
  }
  yield* Effect.provideService(effect, Hasher.Hasher, counting)
  return count / content.length
})

const read = (registry: Registry.Registry, digest: Digest) =>
  Effect.scoped(Effect.flatMap(
    registry.getBlob(app, digest),
    ({ stream }) => Stream.mkString(Stream.decodeText(stream))
  ))

const open = (directory: string, options: Partial<LayoutRegistry.Options> = {}) =>
  LayoutRegistry.make({ directory, durability: "process-end", ...options })

/** A folder with one blob, which was written long ago. */
const folder = Effect.gen(function*() {
  const directory = yield* temporaryFolder
  const registry = yield* open(directory)
  const descriptor = yield* Descriptor.fromBytes(bytesOf(content))
  yield* registry.pushBlob(app, descriptor, BlobSource.fromBytes(bytesOf(content)))
  const { digest } = descriptor
  return { directory, registry, descriptor, digest, path: blobPath(Path.join(directory, app), digest) }
})

/** Damages a file, and sets its modification time. */
const damage = (path: string, time: Date) => {
  Fs.writeFileSync(path, content.replace("blob", "blub"))
  Fs.utimesSync(path, time, time)
}

describe("a blob in a folder", () => {
  it.effect("is hashed once, while it is written, and not when it is read", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryFolder
      const registry = yield* open(directory)
      const descriptor = yield* Descriptor.fromBytes(bytesOf(content))
      const push = registry.pushBlob(app, descriptor, BlobSource.fromBytes(bytesOf(content)))
      assert.strictEqual(yield* countHashed(push), 1)
      assert.strictEqual(yield* countHashed(read(registry, descriptor.digest)), 0)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("is hashed at each read if verification is always wanted", () =>
    Effect.gen(function*() {
      const { digest, directory } = yield* folder
      const registry = yield* open(directory, { verification: "always" })
      assert.strictEqual(yield* countHashed(read(registry, digest)), 1)
      assert.strictEqual(yield* countHashed(read(registry, digest)), 1)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("is hashed at its first read after a restart", () =>
    Effect.gen(function*() {
      const { digest, directory } = yield* folder
      const registry = yield* open(directory)
      assert.strictEqual(yield* countHashed(read(registry, digest)), 1)
      assert.strictEqual(yield* countHashed(read(registry, digest)), 0)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("is verified again after its file was written to", () =>
    Effect.gen(function*() {
      const { digest, path, registry } = yield* folder
      damage(path, new Date(2000))
      const error = yield* Effect.flip(read(registry, digest))
      assert.strictEqual(error.reason._tag, "DigestMismatch")
      // a damaged file stays unverified
      assert.strictEqual((yield* Effect.flip(read(registry, digest))).reason._tag, "DigestMismatch")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("is verified again after its file was replaced by one of the same time", () =>
    Effect.gen(function*() {
      const { digest, path, registry } = yield* folder
      const { mtime } = Fs.statSync(path)
      damage(`${path}.new`, mtime)
      Fs.renameSync(`${path}.new`, path)
      assert.strictEqual((yield* Effect.flip(read(registry, digest))).reason._tag, "DigestMismatch")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("is never copied with other content, even if its file looks unchanged", () =>
    Effect.gen(function*() {
      const { descriptor, digest, path, registry } = yield* folder
      const time = new Date(1_000_000)
      Fs.utimesSync(path, time, time)
      yield* read(registry, digest)
      damage(path, time)
      assert.strictEqual(yield* read(registry, digest), content.replace("blob", "blub"))
      const copy = Effect.scoped(Effect.gen(function*() {
        const source = yield* Registry.blobSource(registry, app, descriptor)
        yield* (yield* MemoryRegistry.make()).pushBlob(app, descriptor, source)
      }))
      assert.strictEqual((yield* Effect.flip(copy)).reason._tag, "DigestMismatch")
    }).pipe(Effect.provide(NodeServices.layer)))
})

describe("a blob in memory", () => {
  const chunk = (offset: number, text: string) => ({ offset, stream: Stream.make(bytesOf(text)) })

  it.effect("is hashed once, while it arrives", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const { digest } = yield* Descriptor.fromBytes(bytesOf(content))
      const push = Effect.scoped(Effect.gen(function*() {
        const upload = yield* registry.startUpload(app)
        assert(upload._tag === "Upload")
        yield* upload.append(chunk(0, content.slice(0, 5)))
        yield* upload.commit(digest, chunk(5, content.slice(5)))
      }))
      assert.strictEqual(yield* countHashed(push), 1)
      assert.strictEqual(yield* countHashed(read(registry, digest)), 0)
      assert.strictEqual(yield* read(registry, digest), content)
    }))

  it.effect("can be committed after a commit of another digest, and by another algorithm", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      const other = yield* Descriptor.fromBytes(bytesOf("other"))
      const digest = yield* Hasher.digest(bytesOf(content), "sha512")
      const upload = yield* registry.startUpload(app)
      assert(upload._tag === "Upload")
      yield* upload.append(chunk(0, content))
      assert.strictEqual((yield* Effect.flip(upload.commit(other.digest))).reason._tag, "DigestMismatch")
      yield* upload.commit(digest)
      assert.strictEqual(yield* read(registry, digest), content)
    }))

  it.effect("contains the pieces that arrived before one was refused", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make({ maximumBlobSize: content.length })
      const { digest } = yield* Descriptor.fromBytes(bytesOf(content))
      const upload = yield* registry.startUpload(app)
      assert(upload._tag === "Upload")
      const pieces = Stream.make(bytesOf(content.slice(0, 9)), bytesOf(`${content} and more`))
      assert.strictEqual(
        (yield* Effect.flip(upload.append({ offset: 0, stream: pieces }))).reason._tag,
        "ContentTooLarge"
      )
      yield* upload.commit(digest, chunk(9, content.slice(9)))
      assert.strictEqual(yield* read(registry, digest), content)
    }))

  it.effect("is read in any range, whatever the pieces that it arrived in", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make({ pieces: "lent" })
      const bytes = Uint8Array.from({ length: 3_000_000 }, (_, index) => index % 251)
      const descriptor = yield* Descriptor.fromBytes(bytes)
      const cuts = [0, 1, 700, 70_000, 1_200_000, 1_200_001, 2_900_000, bytes.length]
      const pieces = cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end))
      yield* registry.pushBlob(app, descriptor, BlobSource.fromStream(bytes.length, Stream.fromIterable(pieces)))
      for (const offset of [0, 1, 69_999, 1_048_576, 2_999_999]) {
        for (const length of [1, 512 * 1024, 1_500_000, undefined]) {
          const range = length === undefined ? { offset } : { offset, length }
          const { stream } = yield* registry.getBlob(app, descriptor.digest, { range })
          const part = yield* Stream.mkUint8Array(stream)
          const end = length === undefined ? bytes.length : offset + length
          assert.strictEqual(Buffer.compare(part, bytes.subarray(offset, end)), 0)
        }
      }
    }))
})
