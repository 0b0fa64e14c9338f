/**
 * How the first blob that a registry gets decides on the requests for the others.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import * as Copy from "effect-oci/Copy"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import { pushImage, repository, tag } from "../utils/images.ts"
import * as Proxy from "../utils/Proxy.ts"
import { connect, digestOf } from "../utils/ScriptedServer.ts"
import { serve } from "../utils/Served.ts"

const from = repository("team/app")
const to = repository("mirror/app")
const layers = ["a", "b", "c", "d", "e", "f"]

/** Creates a source with an image of small layers. */
const makeSource = Effect.gen(function*() {
  const source = yield* MemoryRegistry.make()
  yield* pushImage(source, from, layers, { tags: [tag("1")] })
  return source
})

/** Creates a registry that is known to accept self-mounts and no blob in one request. */
const makeDestination = Effect.map(MemoryRegistry.make(), (registry): Registry => ({
  ...registry,
  capabilities: Effect.succeed({ selfMount: true, singlePost: false })
}))

const copy = (source: Registry, destination: Registry) =>
  Copy.copyManifest({
    source: { registry: source, repository: from, tag: tag("1") },
    destination: { registry: destination, repository: to, tag: tag("1") }
  })

describe("small blobs of a new image", () => {
  it.live("are sent as soon as the registry has answered the POST of the first one, without lookups", () =>
    Effect.gen(function*() {
      const source = yield* makeSource
      const lines: Array<string> = []
      const { host } = yield* serve(yield* MemoryRegistry.make(), { quirks: ["noSinglePost"] })
      const near = yield* Proxy.make(host, {
        onRequest: (method, url) => {
          lines.push(`${method} ${decodeURIComponent(url)}`)
          return undefined
        }
      })
      const client = yield* connect({ host: near })
      const begun = yield* Deferred.make<void>()
      // the first blob is not delivered before another one has begun
      const destination: Registry = {
        ...client,
        pushBlob: (...args) => Effect.tap(client.pushBlob(...args), () => Deferred.await(begun)),
        startUpload: (...args) => Effect.andThen(Deferred.succeed(begun, undefined), client.startUpload(...args))
      }
      yield* copy(source, destination)
      assert.deepStrictEqual(lines.filter((line) => line.startsWith("HEAD ") && line.includes("/blobs/")), [])
      const begins = layers.map((layer) => lines.find((line) => line.includes(digestOf(layer)))?.split(" ")[0])
      assert.deepStrictEqual(begins, layers.map(() => "POST"))
    }))

  it.effect("are read while their sessions are opened", () =>
    Effect.gen(function*() {
      const [source, destination] = [yield* makeSource, yield* makeDestination]
      const read = yield* Deferred.make<void>()
      const report = yield* copy(
        { ...source, getBlob: (...args) => Effect.andThen(Deferred.succeed(read, undefined), source.getBlob(...args)) },
        {
          ...destination,
          startUpload: (...args) => Effect.andThen(Deferred.await(read), destination.startUpload(...args))
        }
      )
      assert.lengthOf(report.having("copied"), layers.length + 2)
    }))

  it.effect("are no longer read before the registry is asked, after it had one of them", () =>
    Effect.gen(function*() {
      const [source, destination] = [yield* makeSource, yield* makeDestination]
      yield* pushImage(destination, to, layers, { tags: [], extra: { annotations: { another: "image" } } })
      let reads = 0
      const counting: Registry = {
        ...source,
        getBlob: (...args) => {
          reads++
          return source.getBlob(...args)
        }
      }
      const report = yield* Effect.provideService(copy(counting, destination), Copy.MaxInFlight, 1)
      assert.lengthOf(report.having("present"), layers.length + 1)
      assert.isAtMost(reads, 1)
    }))
})
