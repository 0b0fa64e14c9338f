/**
 * The number of requests of a copy, for each kind of content.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, type Scope } from "effect"
import * as Copy from "effect-oci/Copy"
import type { Descriptor } from "effect-oci/Descriptor"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import { ResumptionThreshold } from "effect-oci/Upload"
import { noise } from "../utils/BadNetwork.ts"
import * as DockerRegistry from "../utils/DockerRegistry.ts"
import { pushImage, pushIndex, pushReferrer, repository, tag } from "../utils/images.ts"
import * as Proxy from "../utils/Proxy.ts"
import { connect, digestOf } from "../utils/ScriptedServer.ts"
import { type Options, serve } from "../utils/Served.ts"

const from = repository("team/app")
const to = repository("mirror/app")
const KiB = 1024

interface End {
  /** The registry itself, without a count of requests. */
  readonly store: Registry
  readonly registry: Registry
  readonly lines: Array<string>
}

/** Records the requests to a registry over HTTP. */
const watched = Effect.fnUntraced(function*(host: string, store?: Registry, refuse?: (line: string) => boolean) {
  const lines: Array<string> = []
  const near = yield* Proxy.make(host, {
    onRequest: (method, url) => {
      lines.push(`${method} ${url}`)
      return refuse?.(`${method} ${url}`) === true ? 400 : undefined
    }
  })
  const end: End = { store: store ?? (yield* connect({ host })), registry: yield* connect({ host: near }), lines }
  return end
})

const served = (options?: Options) =>
  Effect.gen(function*() {
    const store = yield* MemoryRegistry.make()
    return yield* watched((yield* serve(store, options)).host, store)
  })

const docker = Effect.flatMap(DockerRegistry.make(), ({ host }) => watched(host))

const copy = (source: End, destination: End, name: string, to: typeof from, options: Copy.Options = {}) =>
  Copy.copyManifest({
    ...options,
    source: { registry: source.registry, repository: from, tag: tag(name) },
    destination: { registry: destination.registry, repository: to, tag: tag(name) }
  })

/** Returns the methods of the requests whose URL contains a name, at all ends. */
const about = (ends: ReadonlyArray<End>, name: string): ReadonlyArray<string> =>
  ends.flatMap(({ lines }) => lines)
    .filter((line) => decodeURIComponent(line).includes(name))
    .map((line) => line.split(" ", 1)[0] ?? "")
    .toSorted()

/** Returns the methods of all requests, sorted. */
const all = (...ends: ReadonlyArray<End>): ReadonlyArray<string> => about(ends, "/")

const forget = (...ends: ReadonlyArray<End>) => ends.forEach(({ lines }) => lines.splice(0))

/** Creates two registries after a first copy between them. */
const acquainted = Effect.fnUntraced(function*<E>(destination: Effect.Effect<End, E, Scope.Scope>) {
  const ends = [yield* served(), yield* destination] as const
  yield* pushImage(ends[0].store, from, ["a", "b", "c", "d", "e", "f", "g", "h"].map(padded), { tags: [tag("first")] })
  yield* copy(...ends, "first", repository("mirror/first"))
  forget(...ends)
  return ends
})

/** Returns content that exceeds the size of a small blob. */
const padded = (content: string) => `${content}${"-".repeat(100 * KiB)}`

const destinations = [
  { name: "a registry of ours", destination: Effect.orDie(served()), available: true },
  { name: "CNCF distribution", destination: Effect.orDie(docker), available: DockerRegistry.available }
]

for (const { available, destination, name } of destinations) {
  describe.skipIf(!available)(`a copy to ${name}`, () => {
    it.live("takes 3 requests for a new blob: the one that opens a session also looks it up", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* pushImage(ends[0].store, from, [padded("new")], { tags: [tag("1")] })
        yield* copy(...ends, "1", to)
        assert.deepStrictEqual(about(ends, digestOf(padded("new"))), ["GET", "POST", "PUT"])
      }))

    it.live("takes 4 for a large blob, so that its upload can resume", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        const content = noise(300 * KiB)
        yield* pushImage(ends[0].store, from, [content], { tags: [tag("1")] })
        yield* Effect.provideService(copy(...ends, "1", to), ResumptionThreshold, 200 * KiB)
        // the URL of a PATCH does not contain the digest, and the config is not large
        const patches = ends[1].lines.filter((line) => line.startsWith("PATCH "))
        assert.deepStrictEqual([about(ends, digestOf(content)), patches.length], [["GET", "POST", "PUT"], 1])
      }))

    it.live("takes 1 for a blob that is present", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* pushImage(ends[1].store, to, [padded("old")])
        yield* pushImage(ends[0].store, from, [padded("old")], { tags: [tag("1")], extra: { annotations: { a: "b" } } })
        yield* copy(...ends, "1", to)
        assert.deepStrictEqual(about(ends, digestOf(padded("old"))), ["POST"])
      }))

    it.live("takes none for a blob that an earlier copy has sent", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* pushImage(ends[0].store, from, [padded("a")], { tags: [tag("1")] })
        yield* copy(...ends, "1", repository("mirror/first"))
        assert.deepStrictEqual(about(ends, digestOf(padded("a"))), [])
      }))

    it.live("takes 1 to mount a blob from a repository that got it in an earlier copy", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* pushImage(ends[0].store, from, [padded("a")], { tags: [tag("1")] })
        const report = yield* copy(...ends, "1", to)
        assert.include(report.having("mounted").map(({ descriptor }) => descriptor.digest), digestOf(padded("a")))
        assert.deepStrictEqual(about(ends, digestOf(padded("a"))), ["POST"])
      }))

    it.live("takes 3 for the manifest of an image, and 2 for one below a new index", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        const image = yield* pushImage(ends[0].store, from, [padded("new")], { tags: [tag("1")] })
        yield* copy(...ends, "1", to, { referrers: "skip" })
        // the lookups use the tag: only the push contains the digest
        const ofRoot = [...about(ends, "/manifests/1"), ...about(ends, image.digest)]
        assert.deepStrictEqual(ofRoot, ["GET", "HEAD", "PUT"])
        forget(...ends)
        const child = yield* pushImage(ends[0].store, from, [padded("newer")])
        yield* pushIndex(ends[0].store, from, [child], { tags: [tag("2")] })
        yield* copy(...ends, "2", to, { referrers: "skip" })
        assert.deepStrictEqual(about(ends, child.digest), ["GET", "PUT"])
      }))

    it.live("takes 2 if everything is present", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* copy(...ends, "first", repository("mirror/first"), { referrers: "skip" })
        assert.deepStrictEqual(all(...ends), ["HEAD", "HEAD"])
      }))

    it.live("takes one more per manifest of the source for referrers", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* copy(...ends, "first", repository("mirror/first"))
        assert.deepStrictEqual(all(...ends), ["GET", "HEAD", "HEAD"])
        assert.strictEqual(about(ends, "/referrers/").length, 1)
      }))
  })
}

for (const { available, destination, name } of destinations) {
  describe.skipIf(!available)(`an image of 20 layers and a config, copied to ${name} for the first time`, () => {
    const twenty = Array.from({ length: 20 }, (_, index) => padded(`layer ${index}`))

    it.live("takes at most 71 requests, and at most 4 for a second copy", () =>
      Effect.gen(function*() {
        const ends = [yield* served(), yield* destination] as const
        yield* pushImage(ends[0].store, from, twenty, { tags: [tag("1")] })
        yield* copy(...ends, "1", to)
        assert.isAtMost(all(...ends).length, 71)
        forget(...ends)
        yield* copy(...ends, "1", to)
        assert.isAtMost(all(...ends).length, 4)
      }))

    it.live("takes at most 30 within the registry", () =>
      Effect.gen(function*() {
        const end = yield* destination
        yield* pushImage(end.store, from, twenty, { tags: [tag("1")] })
        yield* copy(end, end, "1", to)
        assert.isAtMost(all(end).length, 30)
      }))
  })
}

describe("a copy", () => {
  it.live("takes 2 requests for a small blob, if the registry accepts it in one request", () =>
    Effect.gen(function*() {
      const ends = yield* acquainted(served())
      yield* pushImage(ends[0].store, from, ["small"], { tags: [tag("1")] })
      yield* copy(...ends, "1", to)
      assert.deepStrictEqual(about(ends, digestOf("small")), ["GET", "POST"])
    }))

  it.live("takes 3 for the root, also in the first copy from a registry", () =>
    Effect.gen(function*() {
      const ends = [yield* served(), yield* served()] as const
      const requests = Effect.fnUntraced(function*(version: string) {
        const { digest } = yield* pushImage(ends[0].store, from, [padded(version)], { tags: [tag(version)] })
        yield* copy(...ends, version, to, { referrers: "skip" })
        return [...about(ends, `/manifests/${version}`), ...about(ends, digest)].toSorted()
      })
      assert.deepStrictEqual(yield* requests("1"), ["GET", "HEAD", "PUT"])
      assert.deepStrictEqual(yield* requests("2"), ["GET", "HEAD", "PUT"])
    }))

  it.live("reads no manifest of Docker Hub, which counts them, if the destination has it", () =>
    Effect.gen(function*() {
      const ends = [yield* served(), yield* served()] as const
      for (const { store } of ends) yield* pushImage(store, from, [padded("a")], { tags: [tag("1")] })
      const methods = Effect.fnUntraced(function*(name: string) {
        const source = { ...ends[0], registry: { ...ends[0].registry, name } }
        yield* copy(source, ends[1], "1", from, { referrers: "skip" })
        return all(...ends)
      })
      assert.deepStrictEqual(yield* methods("docker.io"), ["HEAD", "HEAD"])
      forget(...ends)
      assert.deepStrictEqual(yield* methods("registry.test"), ["GET", "HEAD"])
    }))

  it.live("takes no more for the root if the source was a destination before", () =>
    Effect.gen(function*() {
      const [first, middle, last] = [yield* served(), yield* served(), yield* served()]
      const { digest } = yield* pushImage(first.store, from, [padded("a")], { tags: [tag("1")] })
      yield* copy(first, middle, "1", from, { referrers: "skip" })
      forget(first, middle)
      yield* copy(middle, last, "1", to, { referrers: "skip" })
      const ends = [middle, last]
      const ofRoot = [...about(ends, "/manifests/1"), ...about(ends, digest)].toSorted()
      assert.deepStrictEqual(ofRoot, ["GET", "HEAD", "PUT"])
    }))

  it.effect("sends the first requests to both ends at the same time, so that it connects to both together", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const [source, destination] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      yield* pushImage(source, from, ["a"], { tags: [tag("1")] })
      const report = yield* Copy.copyManifest({
        source: {
          registry: {
            ...source,
            getManifest: (...args) => Effect.andThen(Deferred.succeed(asked, undefined), source.getManifest(...args))
          },
          repository: from,
          tag: tag("1")
        },
        destination: {
          registry: {
            ...destination,
            resolveManifest: (...args) => Effect.andThen(Deferred.await(asked), destination.resolveManifest(...args))
          },
          repository: to,
          tag: tag("1")
        }
      })
      assert.lengthOf(report.having("copied"), 3)
    }))

  it.live("takes 1 for a blob within a registry", () =>
    Effect.gen(function*() {
      const end = yield* served()
      yield* pushImage(end.store, from, [padded("a"), padded("b")], { tags: [tag("1")] })
      yield* copy(end, end, "1", to)
      for (const content of ["a", "b"]) assert.deepStrictEqual(about([end], digestOf(padded(content))), ["POST"])
    }))

  it.live("takes 3 for a blob whose mount is declined: it is written into the session that was opened instead", () =>
    Effect.gen(function*() {
      const end = yield* served({ quirks: ["noMount"] })
      yield* pushImage(end.store, from, [padded("a")], { tags: [tag("1")] })
      yield* copy(end, end, "1", to)
      assert.deepStrictEqual(about([end], digestOf(padded("a"))), ["GET", "POST", "PUT"])
    }))

  it.live("takes 4 for a blob whose mount fails, and tries no other mount from that repository", () =>
    Effect.gen(function*() {
      const store = yield* MemoryRegistry.make()
      const { host } = yield* serve(store)
      const end = yield* watched(host, store, (line) => line.includes("&from=team"))
      yield* pushImage(store, from, [padded("a")], { tags: [tag("1")] })
      yield* pushImage(store, from, [padded("b")], { tags: [tag("2")] })
      yield* copy(end, end, "1", to)
      // the fourth opens a session, and its URL does not contain the digest
      assert.deepStrictEqual(about([end], digestOf(padded("a"))), ["GET", "POST", "PUT"])
      forget(end)
      yield* copy(end, end, "2", to)
      assert.deepStrictEqual(about([end], "&from=team"), [])
    }))

  it.live("takes one listing for each manifest that has referrers, at either end", () =>
    Effect.gen(function*() {
      const ends = yield* acquainted(served())
      const image = yield* pushImage(ends[0].store, from, [padded("new")], { tags: [tag("1")] })
      yield* pushReferrer(ends[0].store, from, image, "about it")
      yield* copy(...ends, "1", to)
      forget(...ends)
      yield* copy(...ends, "1", to)
      const listed = (subject: Descriptor) => about(ends, `/referrers/${subject.digest}`)
      assert.deepStrictEqual(listed(image), ["GET", "GET"])
      assert.strictEqual(all(...ends).filter((method) => method === "HEAD").length, 2)
    }))
})
