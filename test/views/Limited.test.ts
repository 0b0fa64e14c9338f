import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import { isRegistryError } from "effect-oci/RegistryError"
import * as View from "effect-oci/View"
import { bytesOf, pushBlob, pushManifest, repository, tag } from "../utils/images.ts"
import { digestOf } from "../utils/ScriptedServer.ts"

const [app, other] = [repository("app"), repository("other")]
const ten = "0123456789"
const index = { mediaType: MediaType.imageIndex, manifests: [] }

const limited = (options: Parameters<typeof View.limited>[1]) =>
  Effect.map(MemoryRegistry.make(), (registry) => View.limited(registry, options))

const assertDenied = Effect.fnUntraced(function*<A, E>(effect: Effect.Effect<A, E>, message: string) {
  const error = yield* Effect.flip(effect)
  assert(isRegistryError(error) && error.reason._tag === "Denied")
  assert.include(error.message, message)
})

describe("a registry that may hold so much", () => {
  it.effect("refuses a blob that goes beyond, and takes it when there is room", () =>
    Effect.gen(function*() {
      const registry = yield* limited({ total: 15 })
      const { digest } = yield* pushBlob(registry, app, ten)
      yield* assertDenied(pushBlob(registry, other, "abcdef"), "the registry may hold 15 bytes")
      yield* pushBlob(registry, other, "abcde")
      yield* registry.deleteBlob(app, digest)
      yield* pushBlob(registry, other, "abcdef")
    }))

  it.effect("limits each repository", () =>
    Effect.gen(function*() {
      const registry = yield* limited({ repository: 10 })
      yield* pushBlob(registry, app, ten)
      yield* assertDenied(pushBlob(registry, app, "a"), "the repository may hold 10 bytes")
      yield* pushBlob(registry, other, ten)
    }))

  it.effect("counts what is there only once, however many push it at the same time", () =>
    Effect.gen(function*() {
      const registry = yield* limited({ total: 35 })
      yield* Effect.all([1, 2, 3].map(() => pushBlob(registry, app, ten)), { concurrency: "unbounded" })
      yield* pushBlob(registry, app, ten)
      yield* pushBlob(registry, app, "a".repeat(25))
      yield* assertDenied(pushBlob(registry, app, "b"), "35")
      // it grows by nothing
      yield* pushBlob(registry, app, ten)
    }))

  it.effect("counts what was there before", () =>
    Effect.gen(function*() {
      const registry = yield* limited({ repository: 10, used: new Map([[app, 5]]) })
      yield* assertDenied(pushBlob(registry, app, "012345"), "10")
      yield* pushBlob(registry, app, "01234")
    }))

  it.effect("counts manifests, and moves a tag though it is full", () =>
    Effect.gen(function*() {
      const registry = yield* limited({ total: 200 })
      const { digest } = yield* pushManifest(registry, app, index, [tag("1")])
      yield* assertDenied(pushManifest(registry, app, { ...index, annotations: { a: "a".repeat(150) } }), "200")
      yield* pushBlob(registry, app, "x".repeat(200 - (yield* registry.resolveManifest(app, digest)).size))
      yield* pushManifest(registry, app, index, [tag("2")])
      yield* registry.deleteManifest(app, digest)
      yield* pushManifest(registry, app, index)
    }))

  it.effect("counts the bytes of open uploads until they are cancelled", () =>
    Effect.gen(function*() {
      const registry = yield* limited({ total: 15 })
      yield* Effect.scoped(Effect.gen(function*() {
        const upload = yield* registry.startUpload(app)
        assert(upload._tag === "Upload")
        yield* upload.append({ offset: 0, stream: Stream.succeed(bytesOf(ten)) })
        yield* assertDenied(pushBlob(registry, app, "abcdef"), "15")
        yield* assertDenied(upload.append({ offset: 10, stream: Stream.succeed(bytesOf("abcdef")) }), "15")
        yield* assertDenied(upload.append({ offset: 10, size: 6, stream: Stream.succeed(bytesOf("abcdef")) }), "15")
      }))
      yield* pushBlob(registry, app, "abcdef")
    }))

  it.effect("counts an upload that is committed, once", () =>
    Effect.gen(function*() {
      const registry = yield* limited({ total: 15 })
      yield* Effect.scoped(Effect.gen(function*() {
        const upload = yield* registry.startUpload(app)
        assert(upload._tag === "Upload")
        yield* upload.append({ offset: 0, stream: Stream.succeed(bytesOf("01234")) })
        yield* upload.commit(digestOf(ten), { offset: 5, stream: Stream.succeed(bytesOf("56789")) })
      }))
      yield* assertDenied(pushBlob(registry, app, "abcdef"), "15")
      yield* pushBlob(registry, app, "abcde")
    }))

  it.effect("counts a mounted blob, and does not keep one that goes beyond", () =>
    Effect.gen(function*() {
      const registry = yield* limited({ total: 15 })
      const { digest } = yield* pushBlob(registry, app, ten)
      const mount = Effect.scoped(registry.startUpload(other, { mount: { digest, from: app } }))
      yield* assertDenied(mount, "15")
      assert.isTrue(yield* Effect.isFailure(registry.resolveBlob(other, digest)))
    }))
})
