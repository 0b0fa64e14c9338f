/**
 * How many requests a copy takes: the budget, row by row.
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
  /** Past what is counted. */
  readonly store: Registry
  readonly registry: Registry
  readonly lines: Array<string>
}

/** A registry behind HTTP whose requests are written down. */
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

/** The methods of the requests that name what is given, at both ends. */
const about = (ends: ReadonlyArray<End>, name: string): ReadonlyArray<string> =>
  ends.flatMap(({ lines }) => lines)
    .filter((line) => decodeURIComponent(line).includes(name))
    .map((line) => line.split(" ", 1)[0] ?? "")
    .toSorted()

/** All requests at the ends, in the order of their methods. */
const all = (...ends: ReadonlyArray<End>): ReadonlyArray<string> => about(ends, "/")

const forget = (...ends: ReadonlyArray<End>) => ends.forEach(({ lines }) => lines.splice(0))

/** Two registries that have copied something already. */
const acquainted = Effect.fnUntraced(function*<E>(destination: Effect.Effect<End, E, Scope.Scope>) {
  const ends = [yield* served(), yield* destination] as const
  yield* pushImage(ends[0].store, from, ["a", "b", "c", "d", "e", "f", "g", "h"].map(padded), { tags: [tag("first")] })
  yield* copy(...ends, "first", repository("mirror/first"))
  forget(...ends)
  return ends
})

/** Content that is not small. */
const padded = (content: string) => `${content}${"-".repeat(100 * KiB)}`

const destinations = [
  { name: "a registry of ours", destination: Effect.orDie(served()), available: true },
  { name: "CNCF distribution", destination: Effect.orDie(docker), available: DockerRegistry.available }
]

for (const { available, destination, name } of destinations) {
  describe.skipIf(!available)(`a copy to ${name}`, () => {
    it.live("takes 3 requests for a blob that is new: it is looked for by the one that opens a session", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* pushImage(ends[0].store, from, [padded("new")], { tags: [tag("1")] })
        yield* copy(...ends, "1", to)
        assert.deepStrictEqual(about(ends, digestOf(padded("new"))), ["GET", "POST", "PUT"])
      }))

    it.live("takes 4 for one that is large, so that it can go on where it breaks", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        const content = noise(300 * KiB)
        yield* pushImage(ends[0].store, from, [content], { tags: [tag("1")] })
        yield* Effect.provideService(copy(...ends, "1", to), ResumptionThreshold, 200 * KiB)
        // a PATCH does not name the blob, and the config is not large
        const patches = ends[1].lines.filter((line) => line.startsWith("PATCH "))
        assert.deepStrictEqual([about(ends, digestOf(content)), patches.length], [["GET", "POST", "PUT"], 1])
      }))

    it.live("takes 1 for a blob that is there", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* pushImage(ends[1].store, to, [padded("old")])
        yield* pushImage(ends[0].store, from, [padded("old")], { tags: [tag("1")], extra: { annotations: { a: "b" } } })
        yield* copy(...ends, "1", to)
        assert.deepStrictEqual(about(ends, digestOf(padded("old"))), ["POST"])
      }))

    it.live("takes none for a blob that an earlier copy brought there", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* pushImage(ends[0].store, from, [padded("a")], { tags: [tag("1")] })
        yield* copy(...ends, "1", repository("mirror/first"))
        assert.deepStrictEqual(about(ends, digestOf(padded("a"))), [])
      }))

    it.live("takes 1 to mount a blob from where an earlier copy brought it", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* pushImage(ends[0].store, from, [padded("a")], { tags: [tag("1")] })
        const report = yield* copy(...ends, "1", to)
        assert.include(report.having("mounted").map(({ descriptor }) => descriptor.digest), digestOf(padded("a")))
        assert.deepStrictEqual(about(ends, digestOf(padded("a"))), ["POST"])
      }))

    it.live("takes 3 for an image's manifest, and 2 for one below an index that is new", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        const image = yield* pushImage(ends[0].store, from, [padded("new")], { tags: [tag("1")] })
        yield* copy(...ends, "1", to, { referrers: "skip" })
        // the tag is looked for, and then read by: only the push names the digest
        const ofRoot = [...about(ends, "/manifests/1"), ...about(ends, image.digest)]
        assert.deepStrictEqual(ofRoot, ["GET", "HEAD", "PUT"])
        forget(...ends)
        const child = yield* pushImage(ends[0].store, from, [padded("newer")])
        yield* pushIndex(ends[0].store, from, [child], { tags: [tag("2")] })
        yield* copy(...ends, "2", to, { referrers: "skip" })
        assert.deepStrictEqual(about(ends, child.digest), ["GET", "PUT"])
      }))

    it.live("takes 2 where everything is there", () =>
      Effect.gen(function*() {
        const ends = yield* acquainted(destination)
        yield* copy(...ends, "first", repository("mirror/first"), { referrers: "skip" })
        assert.deepStrictEqual(all(...ends), ["HEAD", "HEAD"])
      }))

    it.live("takes as many more for referrers as the source has manifests", () =>
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

    it.live("takes 71 requests at most, and 4 again", () =>
      Effect.gen(function*() {
        const ends = [yield* served(), yield* destination] as const
        yield* pushImage(ends[0].store, from, twenty, { tags: [tag("1")] })
        yield* copy(...ends, "1", to)
        assert.isAtMost(all(...ends).length, 71)
        forget(...ends)
        yield* copy(...ends, "1", to)
        assert.isAtMost(all(...ends).length, 4)
      }))

    it.live("takes 30 at most within the registry", () =>
      Effect.gen(function*() {
        const end = yield* destination
        yield* pushImage(end.store, from, twenty, { tags: [tag("1")] })
        yield* copy(end, end, "1", to)
        assert.isAtMost(all(end).length, 30)
      }))
  })
}

describe("a copy", () => {
  it.live("takes 2 requests for a small blob, where one may come with the request for it", () =>
    Effect.gen(function*() {
      const ends = yield* acquainted(served())
      yield* pushImage(ends[0].store, from, ["small"], { tags: [tag("1")] })
      yield* copy(...ends, "1", to)
      assert.deepStrictEqual(about(ends, digestOf("small")), ["GET", "POST"])
    }))

  it.live("takes 1 more for the root, the first time that a registry is the source", () =>
    Effect.gen(function*() {
      const ends = [yield* served(), yield* served()] as const
      const requests = Effect.fnUntraced(function*(version: string) {
        const { digest } = yield* pushImage(ends[0].store, from, [padded(version)], { tags: [tag(version)] })
        yield* copy(...ends, version, to, { referrers: "skip" })
        return [...about(ends, `/manifests/${version}`), ...about(ends, digest)].toSorted()
      })
      assert.deepStrictEqual(yield* requests("1"), ["GET", "HEAD", "HEAD", "PUT"])
      assert.deepStrictEqual(yield* requests("2"), ["GET", "HEAD", "PUT"])
    }))

  it.live("takes no more for the root where the source was a destination before", () =>
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

  it.effect("asks both ends at once, the first time, so that it connects to both at once", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const [source, destination] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      yield* pushImage(source, from, ["a"], { tags: [tag("1")] })
      const report = yield* Copy.copyManifest({
        source: {
          registry: {
            ...source,
            resolveManifest: (...args) =>
              Effect.andThen(Deferred.succeed(asked, undefined), source.resolveManifest(...args))
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

  it.live("takes 1 for a blob of the same registry", () =>
    Effect.gen(function*() {
      const end = yield* served()
      yield* pushImage(end.store, from, [padded("a"), padded("b")], { tags: [tag("1")] })
      yield* copy(end, end, "1", to)
      for (const content of ["a", "b"]) assert.deepStrictEqual(about([end], digestOf(padded(content))), ["POST"])
    }))

  it.live("takes 3 for one whose mount is declined: it goes into the session that was opened instead", () =>
    Effect.gen(function*() {
      const end = yield* served({ quirks: ["noMount"] })
      yield* pushImage(end.store, from, [padded("a")], { tags: [tag("1")] })
      yield* copy(end, end, "1", to)
      assert.deepStrictEqual(about([end], digestOf(padded("a"))), ["GET", "POST", "PUT"])
    }))

  it.live("takes 4 for one whose mount is an error, and no longer asks for another from there", () =>
    Effect.gen(function*() {
      const store = yield* MemoryRegistry.make()
      const { host } = yield* serve(store)
      const end = yield* watched(host, store, (line) => line.includes("&from=team"))
      yield* pushImage(store, from, [padded("a")], { tags: [tag("1")] })
      yield* pushImage(store, from, [padded("b")], { tags: [tag("2")] })
      yield* copy(end, end, "1", to)
      // the fourth opens a session, and does not name it
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
