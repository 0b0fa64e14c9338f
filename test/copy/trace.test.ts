/**
 * Spans of a copy, as a program with a tracer records them.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Stream, type Tracer } from "effect"
import * as Copy from "effect-oci/Copy"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import { ResumptionThreshold } from "effect-oci/Upload"
import { noise } from "../utils/BadNetwork.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { override } from "../utils/registries.ts"
import { connect } from "../utils/ScriptedServer.ts"
import { serve } from "../utils/Served.ts"
import { recordingTracer } from "../utils/spans.ts"

const from = repository("team/app")
const KiB = 1024
const layers = ["small", "-".repeat(100 * KiB), noise(300 * KiB)]

const end = (registry: Registry, name: typeof from) => ({ registry, repository: name, tag: tag("1") })

/** Runs an effect, and returns its spans. */
const spansOf = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const { spans, tracer } = recordingTracer()
  yield* Effect.withTracer(effect, tracer)
  return spans
})

/** Names of a span and of the spans above it. */
const namesOf = (span: Tracer.AnySpan | undefined): ReadonlyArray<string> =>
  span?._tag === "Span" ? [span.name, ...namesOf(Option.getOrUndefined(span.parent))] : []

/** Returns true if a span is below another one, at any depth. */
const isBelow = (span: Tracer.AnySpan, above: Tracer.NativeSpan): boolean => {
  const parent = span._tag === "Span" ? Option.getOrUndefined(span.parent) : undefined
  return parent !== undefined && (parent.spanId === above.spanId || isBelow(parent, above))
}

const blobSpans = (spans: ReadonlyArray<Tracer.NativeSpan>) => spans.filter(({ name }) => name === "Copy.blob")

describe("the spans of a copy", () => {
  it.live("are one for each blob, with its digest and size, above all of its requests", () =>
    Effect.gen(function*() {
      const [near, far] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      yield* pushImage(near, from, layers, { tags: [tag("1")] })
      const source = yield* connect(yield* serve(near))
      const destination = yield* connect(yield* serve(far))
      let blobs: ReadonlyArray<Copy.ContentNode["descriptor"]> = []
      const spans = yield* spansOf(
        Copy.copyManifest({ source: end(source, from), destination: end(destination, from) }).pipe(
          Effect.tap(({ entries }) =>
            Effect.sync(() => {
              blobs = entries.filter(({ role }) => role === "blob").map(({ descriptor }) => descriptor)
            })
          ),
          Effect.provideService(ResumptionThreshold, 200 * KiB)
        )
      )
      assert.lengthOf(blobs, 4)
      assert.sameDeepMembers(
        blobSpans(spans).map(({ attributes }) => [attributes.get("oci.digest"), attributes.get("oci.size")]),
        blobs.map(({ digest, size }) => [digest, size])
      )
      for (const span of blobSpans(spans)) {
        assert.include(namesOf(span), "Copy.copyManifest")
        const below = spans.filter((other) => isBelow(other, span))
        assert.includeMembers(below.map(({ name }) => name), ["GET", "POST"])
      }
      const requests = spans.filter(({ attributes }) => `${attributes.get("url.path")}`.includes("/blobs/"))
      assert.includeMembers(requests.map(({ name }) => name), ["GET", "PATCH", "POST", "PUT"])
      for (const request of requests) {
        assert.lengthOf(namesOf(request).filter((name) => name === "Copy.blob"), 1)
      }
      const pushes = spans.filter(({ name }) => name === "Registry.pushManifest")
      assert.lengthOf(pushes, 1)
      assert.notInclude(namesOf(pushes[0]), "Copy.blob")
    }))

  it.effect("are one for each blob that several destinations get", () =>
    Effect.gen(function*() {
      const source = yield* MemoryRegistry.make()
      yield* pushImage(source, from, layers, { tags: [tag("1")] })
      const [one, two] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
      const destinations = [end(one, from), end(two, from), end(two, repository("mirror/app"))]
      const spans = yield* spansOf(Copy.copyToMany({ source: end(source, from), destinations }))
      const digests = blobSpans(spans).map(({ attributes }) => attributes.get("oci.digest"))
      assert.lengthOf(digests, 4)
      assert.strictEqual(new Set(digests).size, 4)
      const mounts = spans.filter(({ name }) => name === "Registry.startUpload")
      for (const mount of mounts) assert.include(namesOf(mount), "Copy.blob")
    }))

  it.effect("name the ends of a copy, also of one that emits events", () =>
    Effect.gen(function*() {
      const source = yield* MemoryRegistry.make({ name: "source.test" })
      const destination = yield* MemoryRegistry.make({ name: "destination.test" })
      yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
      const ends = { source: end(source, from), destination: end(destination, from) }
      const spans = yield* spansOf(Effect.andThen(Copy.copyManifest(ends), Stream.runDrain(Copy.copyEvents(ends))))
      const copies = spans.filter(({ name }) => name === "Copy.copyManifest")
      assert.deepStrictEqual(
        copies.map(({ attributes }) => Object.fromEntries(attributes)),
        Array.from({ length: 2 }, () => ({
          "oci.source": "source.test/team/app:1",
          "oci.destination": "destination.test/team/app:1"
        }))
      )
    }))

  it.effect("are not made for blobs and operations of registries if the program has no tracer", () =>
    Effect.gen(function*() {
      const source = yield* MemoryRegistry.make()
      const seen: Array<string> = []
      const looking = override(source, {
        getBlob: (...args) =>
          Effect.andThen(
            Effect.map(Effect.currentSpan, (span) => seen.push(...namesOf(span))).pipe(Effect.orDie),
            source.getBlob(...args)
          )
      })
      yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
      yield* Copy.copyManifest({
        source: end(looking, from),
        destination: end(yield* MemoryRegistry.make(), from)
      })
      assert.include(seen, "Copy.copyManifest")
      for (const name of ["Copy.blob", "Registry.getBlob"]) assert.notInclude(seen, name)
    }))
})
