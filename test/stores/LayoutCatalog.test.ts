import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import type { Descriptor } from "effect-oci/Descriptor"
import { type Digest, isDigest } from "effect-oci/Digest"
import * as MediaType from "effect-oci/MediaType"
import { TestClock } from "effect/testing"
import * as LayoutCatalog from "../../src/stores/LayoutCatalog.ts"
import * as LayoutIndexText from "../../src/stores/LayoutIndexText.ts"
import { longestStretch } from "../utils/EventLoop.ts"
import { bytesOf } from "../utils/images.ts"
import { digestOf } from "../utils/ScriptedServer.ts"

const digestFor = (name: string): Digest => {
  const digest = digestOf(name)
  assert(isDigest(digest))
  return digest
}

const subject = digestFor("subject")

/** A layout that was opened a moment ago, with so many image indexes of so many children, which are missing. */
const opened = (count: number, children: number) => {
  const contents = new Map<Digest, Uint8Array>()
  const entries = Array.from({ length: count }, (_, number): Descriptor => {
    const manifests = Array.from({ length: children }, (_, child) => ({
      mediaType: MediaType.imageManifest,
      digest: `sha256:${`${number * children + child}`.padStart(64, "0")}`,
      size: 1
    }))
    const content = { schemaVersion: 2, manifests, subject: { digest: subject }, annotations: { number: `${number}` } }
    const descriptor = { mediaType: MediaType.imageIndex, digest: digestFor(`${number}`), size: 1 }
    contents.set(descriptor.digest, bytesOf(content))
    return descriptor
  })
  const reads = new Map<Digest, number>()
  const catalog = LayoutCatalog.make({
    read: ({ digest }) =>
      Effect.suspend(() => {
        reads.set(digest, (reads.get(digest) ?? 0) + 1)
        return Effect.as(Effect.yieldNow, contents.get(digest))
      }),
    exists: (digest) => Effect.succeed(contents.has(digest))
  })
  const index = Result.getOrThrow(LayoutIndexText.parse(JSON.stringify({ manifests: entries })))
  return { catalog, index, reads, contents, first: digestFor("0") }
}

const missing = digestFor("missing")

describe("a layout that was opened a moment ago", () => {
  it.effect("reads each manifest once, however many requests need it at a time", () =>
    Effect.gen(function*() {
      const { catalog, index, reads } = opened(200, 3)
      const requests = Array.from({ length: 10 }, (_, number) =>
        number % 2 === 0
          ? Effect.map(catalog.find(index, missing), (found) => assert.isUndefined(found))
          : Effect.map(catalog.referrers(index, subject), (found) => assert.lengthOf(found, 200)))
      yield* Effect.all(requests, { concurrency: "unbounded" })
      assert.strictEqual(reads.size, 200 * 4)
      assert.deepStrictEqual(new Set(reads.values()), new Set([1]))
    }))

  it.effect("lets others run while it finds out what its indexes contain", () =>
    Effect.gen(function*() {
      const { catalog, index } = opened(300, 400)
      const stretch = yield* longestStretch(catalog.find(index, missing))
      // 120 000 children in one go
      assert.isBelow(stretch, 100)
    }), 60_000)
})

describe("a manifest that is contained and missing", () => {
  it.effect("is looked for again after 10 seconds, not for each list", () =>
    Effect.gen(function*() {
      const { catalog, contents, index, reads } = opened(1, 1)
      const child = digestFor("")
      yield* catalog.referrers(index, subject)
      yield* catalog.referrers(index, subject)
      const [last = child] = Array.from(reads.keys()).slice(-1)
      assert.strictEqual(reads.get(last), 1)
      contents.set(last, bytesOf({ config: { digest: child, size: 0 }, subject: { digest: subject } }))
      assert.lengthOf(yield* catalog.referrers(index, subject), 1)
      yield* TestClock.adjust("10 seconds")
      assert.lengthOf(yield* catalog.referrers(index, subject), 2)
    }))

  it.effect("is there at once if it is pushed here", () =>
    Effect.gen(function*() {
      const { catalog, contents, index, reads } = opened(1, 1)
      yield* catalog.referrers(index, subject)
      const [digest = missing] = Array.from(reads.keys()).slice(-1)
      const bytes = bytesOf({ manifests: [], subject: { digest: subject } })
      contents.set(digest, bytes)
      const descriptor = { mediaType: MediaType.imageManifest, digest, size: bytes.length }
      catalog.remember(descriptor, {
        _tag: "Index",
        mediaType: MediaType.imageManifest,
        bytes,
        content: { manifests: [], subject: { digest: subject } }
      })
      assert.lengthOf(yield* catalog.referrers(index, subject), 2)
    }))
})
