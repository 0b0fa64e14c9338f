import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schema, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import type { CopyEvent } from "effect-oci/CopyEvent"
import * as CopyPlan from "effect-oci/CopyPlan"
import * as Descriptor from "effect-oci/Descriptor"
import * as MediaType from "effect-oci/MediaType"
import * as Registry from "effect-oci/Registry"
import { DigestInvalid, ManifestBlobUnknown, Transport } from "effect-oci/RegistryError"
import { TestClock } from "effect/testing"
import { from, setup, to } from "../utils/copies.ts"
import {
  bytesOf,
  pushBlob,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  pushSample,
  tag
} from "../utils/images.ts"
import { failing, override, recorded } from "../utils/registries.ts"

const foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

const tags = (events: ReadonlyArray<CopyEvent>) => events.map(({ _tag }) => _tag)

describe("the events of a copy", () => {
  it.effect("are Planned, Started and Settled for each manifest and blob, and Done with the report at the end", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const events = yield* Stream.runCollect(Copy.copyEvents({ ...ends(), referrers: "skip" }))
      assert.deepStrictEqual(tags(events).toSorted(), [
        "Done",
        "Planned",
        "Planned",
        "Planned",
        "Settled",
        "Settled",
        "Settled",
        "Started",
        "Started"
      ])
      const last = events.at(-1)
      assert(last?._tag === "Done")
      assert.strictEqual(last.report.root.digest, image.digest)
    }))

  it.effect("plan each manifest and blob once, with its role, before they settle it", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const layer = yield* pushBlob(source.registry, from, "foreign", foreign)
      const config = yield* pushBlob(source.registry, from, "{}", MediaType.imageConfig)
      const image = yield* pushManifest(source.registry, from, {
        mediaType: MediaType.imageManifest,
        config,
        layers: [layer, yield* pushBlob(source.registry, from, "mine")]
      })
      yield* pushReferrer(source.registry, from, image, "about it")
      const other = yield* pushImage(source.registry, from, ["other"])
      const index = { mediaType: MediaType.imageIndex, manifests: [image, other] }
      const { digest } = yield* pushManifest(source.registry, from, index, [tag("1")])
      const copies = [
        Copy.copyEvents(ends()),
        Copy.copyEvents({ ...ends(), trust: "deep" }),
        Copy.copyEvents({ ...ends(), externalLayers: "copy", trust: "deep" })
      ]
      for (const copy of copies) {
        const planned = new Map<string, string>()
        for (const event of yield* Stream.runCollect(copy)) {
          if (event._tag === "Planned") {
            assert.isFalse(planned.has(event.descriptor.digest))
            planned.set(event.descriptor.digest, event.role)
          } else if (event._tag === "Settled") {
            assert.strictEqual(planned.get(event.entry.descriptor.digest), event.entry.role)
          } else if (event._tag === "Done") {
            assert.strictEqual(planned.size, event.report.entries.length)
          }
        }
        assert.strictEqual(planned.get(digest), "root")
      }
      yield* pushImage(destination.registry, to, ["another"], { tags: [tag("1")] })
      const kept = yield* Stream.runCollect(Copy.copyEvents({ ...ends(), onTagExists: "keep" }))
      assert.deepStrictEqual(tags(kept), ["Planned", "Settled", "Done"])
    }))

  it.effect("plan only the content of the plan that the copy follows", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      yield* pushReferrer(source.registry, from, image, "about it")
      const plan = CopyPlan.filter(yield* Copy.planCopy(ends()), ({ role }) => role !== "referrer")
      const events = yield* Stream.runCollect(Copy.copyEvents({ ...ends(), plan }))
      const planned = events.flatMap((event) => event._tag === "Planned" ? [event.role] : [])
      const settled = events.flatMap((event) => event._tag === "Settled" ? [event.entry.role] : [])
      assert.deepStrictEqual(planned.toSorted(), settled.toSorted())
      assert.notInclude(planned, "referrer")
    }))

  it.effect("run the copy when the stream runs", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const events = Copy.copyEvents(ends())
      assert.deepStrictEqual(destination.calls, [])
      yield* Stream.runDrain(events)
      yield* destination.registry.resolveManifest(to, tag("1"))
    }))

  it.effect("end with the failure of the copy", () =>
    Effect.gen(function*() {
      const { ends } = yield* setup
      const error = yield* Effect.flip(Stream.runDrain(Copy.copyEvents(ends())))
      assert.deepStrictEqual([error.end, error.reason._tag], ["source", "NameUnknown"])
    }))

  it.effect("stop the copy when the stream is interrupted", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      let isInterrupted = false
      const hanging = override(source.registry, {
        getBlob: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (isInterrupted = true)))
      })
      yield* Stream.runDrain(Stream.take(Copy.copyEvents(ends({ source: hanging })), 1))
      assert.isTrue(isInterrupted)
    }))

  it.effect("do not slow the copy down if the reader is slow", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      const gate = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(Copy.copyEvents(ends()), () => Deferred.await(gate))
      )
      for (let i = 0; i < 1000; i++) yield* Effect.yieldNow
      yield* destination.registry.resolveManifest(to, tag("1"))
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
    }))

  it.effect("report the progress of a blob every 100 milliseconds", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      yield* pushImage(source.registry, from, [new Uint8Array(1000)], { tags: [tag("1")] })
      const slow = override(source.registry, {
        getBlob: (name, digest, options) =>
          Effect.map(source.registry.getBlob(name, digest, options), (blob) =>
            blob.descriptor.size < 1000 ? blob : {
              ...blob,
              // one byte every 10 ms
              stream: Stream.fromIterable(new Uint8Array(1000), { chunkSize: 1 }).pipe(
                Stream.mapEffect((byte) => Effect.delay(Effect.succeed(Uint8Array.of(byte)), "10 millis"))
              )
            })
      })
      const fiber = yield* Effect.forkChild(Stream.runCollect(Copy.copyEvents(ends({ source: slow }))))
      while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust("10 millis")
      const progress = (yield* Fiber.join(fiber)).flatMap((event) => event._tag === "Progressed" ? [event.bytes] : [])
      assert.isAtLeast(progress.length, 90)
      assert.isAtMost(progress.length, 100)
      assert.deepStrictEqual(progress, progress.toSorted((a, b) => a - b))
    }))

  it.effect("report the warnings of registries and count their requests", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const warning = override(source.registry, {
        getManifest: (name, reference) =>
          Effect.gen(function*() {
            const observe = yield* Registry.Observer
            yield* observe({ _tag: "Warning", registry: "source.test", text: "will be shut down" })
            yield* observe({ _tag: "Requested", registry: "source.test", method: "GET" })
            return yield* source.registry.getManifest(name, reference)
          })
      })
      const seen: Array<string> = []
      const events = yield* Stream.runCollect(Copy.copyEvents(ends({ source: warning }))).pipe(
        Effect.provideService(Registry.Observer, ({ _tag }) => Effect.sync(() => void seen.push(_tag)))
      )
      assert.include(tags(events), "Warned")
      const last = events.at(-1)
      assert(last?._tag === "Done")
      assert.deepStrictEqual([last.report.requests, last.report.warnings], [1, ["will be shut down"]])
      // an outer observer still receives all events
      assert.deepStrictEqual(seen, ["Warning", "Requested"])
    }))
})

describe("a destination that lacks content which it reported to have", () => {
  const external = "application/vnd.oci.image.layer.nondistributable.v1.tar"

  /** Creates a registry that reports an absent blob as present, until a push has failed. */
  const lying = (registry: Registry.Registry, digest: Descriptor.Descriptor["digest"]) => {
    let isFound = false
    return override(registry, {
      capabilities: Effect.succeed({}),
      resolveBlob: (name, asked) =>
        asked === digest && !isFound
          ? Effect.succeed({ mediaType: "application/octet-stream", digest, size: 3 })
          : registry.resolveBlob(name, asked),
      pushManifest: (...args) =>
        Effect.tapError(registry.pushManifest(...args), () => Effect.sync(() => void (isFound = true)))
    })
  }

  it.effect("gets it, and the manifest again, with a warning", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const { digest } = yield* Descriptor.fromBytes(bytesOf("one"))
      const report = yield* Copy.copyManifest(ends({ destination: lying(destination.registry, digest) }))
      yield* destination.registry.resolveManifest(to, tag("1"))
      assert.lengthOf(report.warnings, 1)
      assert.include(report.warnings[0], "it lacks parts of")
      const entry = report.entries.find(({ descriptor }) => descriptor.digest === digest)
      assert.strictEqual(entry?.outcome, "copied")
    }))

  it.effect("gets everything that was not sent if it still reports to have everything", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const stubborn = override(destination.registry, {
        capabilities: Effect.succeed({}),
        resolveBlob: (_, digest) => Effect.succeed({ mediaType: "application/octet-stream", digest, size: 3 })
      })
      yield* Copy.copyManifest(ends({ destination: stubborn }))
      yield* destination.registry.resolveManifest(to, tag("1"))
    }))

  it.effect("gets layers that may not be distributed only if the policy is to copy them", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const licensed = yield* pushBlob(source.registry, from, "licensed", external)
      const config = yield* pushBlob(source.registry, from, "{}", MediaType.imageConfig)
      yield* pushManifest(
        source.registry,
        from,
        { mediaType: MediaType.imageManifest, config, layers: [licensed] },
        [tag("1")]
      )
      const isThere = Effect.isSuccess(destination.registry.resolveBlob(to, licensed.digest))
      const lacking = override(destination.registry, {
        capabilities: Effect.succeed({}),
        resolveBlob: (_, digest) => Effect.succeed({ mediaType: "application/octet-stream", digest, size: 8 }),
        pushManifest: (...args) =>
          Effect.flatMap(isThere, (isThere) =>
            isThere
              ? destination.registry.pushManifest(...args)
              : failing("pushManifest", new ManifestBlobUnknown({})))
      })
      yield* Effect.flip(Copy.copyManifest(ends({ destination: lacking })))
      assert.isFalse(yield* isThere)
      yield* Copy.copyManifest({ ...ends({ destination: lacking }), externalLayers: "copy" })
      yield* destination.registry.resolveManifest(to, tag("1"))
    }))

  it.effect("gets a child with all of its parts", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"])
      yield* pushManifest(source.registry, from, { mediaType: MediaType.imageIndex, manifests: [image] }, [tag("1")])
      yield* Copy.copyManifest(ends())
      // garbage collection since the first copy
      yield* destination.registry.deleteManifest(to, (yield* destination.registry.resolveManifest(to, tag("1"))).digest)
      yield* destination.registry.deleteManifest(to, image.digest)
      yield* destination.registry.deleteBlob(to, (yield* Descriptor.fromBytes(bytesOf("one"))).digest)
      yield* Copy.copyManifest(ends())
      yield* destination.registry.resolveManifest(to, tag("1"))
    }))

  it.effect("gets an index within an index only after pushes of the images in it, by other copies, have ended", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const { registry } = destination
      const image = yield* pushImage(source.registry, from, ["one"], { tags: [tag("image")] })
      const inner = yield* pushIndex(source.registry, from, [image])
      const outer = yield* pushIndex(source.registry, from, [inner], { tags: [tag("1")] })
      const [begun, ended] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let isSlow = false
      let isPushing = false
      // refuses like CNCF distribution 2.8, until it has written its links to the image
      const refusing = override(registry, {
        pushManifest: (repository, manifest, tags) =>
          Effect.gen(function*() {
            if (manifest.digest === inner.digest && isPushing) {
              return yield* failing("pushManifest", new DigestInvalid({ status: 400 }))
            }
            if (manifest.digest === image.digest && isSlow) {
              isPushing = true
              yield* Deferred.succeed(begun, undefined)
              yield* Deferred.await(ended)
              isPushing = false
            }
            return yield* registry.pushManifest(repository, manifest, tags)
          })
      })
      const copy = (name: string) =>
        Copy.copyManifest({
          source: { ...ends().source, tag: tag(name) },
          destination: { ...ends({ destination: refusing }).destination, tag: tag(name) }
        })
      yield* copy("1")
      yield* registry.deleteManifest(to, outer.digest)
      yield* registry.deleteManifest(to, inner.digest)
      isSlow = true
      const ofImage = yield* Effect.forkChild(copy("image"))
      yield* Deferred.await(begun)
      const ofIndex = yield* Effect.forkChild(copy("1"))
      for (let i = 0; i < 1000; i++) yield* Effect.yieldNow
      yield* Deferred.succeed(ended, undefined)
      yield* Fiber.join(ofImage)
      yield* Fiber.join(ofIndex)
      assert.strictEqual((yield* registry.resolveManifest(to, tag("1"))).digest, outer.digest)
    }))

  it.effect("gets a manifest only after the probe for self-mounts with one of its blobs has ended", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const images = yield* Effect.forEach(
        ["a", "b"],
        (n) => pushImage(source.registry, from, [1, 2, 3, 4, 5, 6].map((m) => n + m))
      )
      yield* pushManifest(source.registry, from, { mediaType: MediaType.imageIndex, manifests: images }, [tag("1")])
      let tried: string | undefined
      let isAnswered = false
      const early: Array<string> = []
      const learning = override(destination.registry, {
        capabilities: Effect.succeed({}),
        startUpload: Effect.fnUntraced(function*(repository, options) {
          if (options?.mount?.from === to) {
            tried = options.mount.digest
            yield* Effect.sleep("1 minute")
            isAnswered = true
          }
          return yield* destination.registry.startUpload(repository, options)
        }),
        pushManifest: (repository, manifest, tags) => {
          const refers = tried !== undefined && new TextDecoder().decode(manifest.bytes).includes(tried)
          if (refers && !isAnswered) early.push(manifest.mediaType)
          return destination.registry.pushManifest(repository, manifest, tags)
        }
      })
      const slow = override(source.registry, {
        getBlob: (...args) => Effect.delay(source.registry.getBlob(...args), "1 second")
      })
      const copying = yield* Effect.forkChild(Copy.copyManifest(ends({ source: slow, destination: learning })))
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.join(copying)
      assert.isDefined(tried)
      assert.deepStrictEqual(early, [])
    }))

  it.effect("gets a manifest once more after it has called its digest invalid", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      let refusals = 1
      const doubting = override(destination.registry, {
        pushManifest: (...args) =>
          Effect.suspend(() =>
            refusals-- > 0
              ? failing("pushManifest", new DigestInvalid({ status: 400 }))
              : destination.registry.pushManifest(...args)
          )
      })
      yield* Copy.copyManifest(ends({ destination: doubting }))
      assert.strictEqual((yield* destination.registry.resolveManifest(to, tag("1"))).digest, image.digest)
      refusals = 2
      const other = yield* pushImage(source.registry, from, ["other"], { tags: [tag("1")] })
      const error = yield* Effect.flip(Copy.copyManifest(ends({ destination: doubting })))
      assert.deepStrictEqual([error.reason._tag, error.descriptor?.digest], ["DigestInvalid", other.digest])
    }))

  it.effect("gets a manifest once if there are no parts to send", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      let pushes = 0
      const refusing = override(destination.registry, {
        pushManifest: () =>
          Effect.suspend(() => {
            pushes++
            return failing("pushManifest", new ManifestBlobUnknown({}))
          })
      })
      const error = yield* Effect.flip(Copy.copyManifest(ends({ destination: refusing })))
      assert.strictEqual(error.reason._tag, "ManifestBlobUnknown")
      assert.strictEqual(pushes, 1)
    }))
})

describe("verifying a copy", () => {
  it.effect.each(["digest", "children", "deep"] as const)(
    "succeeds if everything arrived: %s",
    (verify) =>
      Effect.gen(function*() {
        const { ends, source } = yield* setup
        yield* pushSample(source.registry, from, [tag("1")])
        yield* Copy.copyManifest({ ...ends(), verify })
        yield* Copy.copyManifest({ ...ends(), verify })
      })
  )

  const broken = (registry: Registry.Registry, what: Partial<Registry.Registry>) => override(registry, what)

  it.effect("finds a tag that points at another manifest", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const other = yield* pushImage(destination.registry, to, ["other"])
      let isPushed = false
      const moving = broken(destination.registry, {
        pushManifest: (...args) =>
          Effect.tap(destination.registry.pushManifest(...args), () => Effect.sync(() => void (isPushed = true))),
        resolveManifest: (name, reference) =>
          destination.registry.resolveManifest(name, isPushed && reference === tag("1") ? other.digest : reference)
      })
      const error = yield* Effect.flip(Copy.copyManifest({ ...ends({ destination: moving }), verify: "digest" }))
      assert.strictEqual(error.reason._tag, "VerificationFailed")
      assert.include(error.message, "the tag 1 points at")
    }))

  it.effect("finds a blob that is absent", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      const forgetful = broken(destination.registry, {
        pushManifest: (name, manifest, tags) =>
          Effect.tap(destination.registry.pushManifest(name, manifest, tags), () =>
            tags?.length === 1
              ? Effect.flatMap(
                Effect.orDie(Descriptor.fromBytes(bytesOf("arm64 layer"))),
                ({ digest }) => destination.registry.deleteBlob(name, digest)
              )
              : Effect.void)
      })
      const copy = Copy.copyManifest({ ...ends({ destination: forgetful }), verify: "children" })
      const error = yield* Effect.flip(copy)
      assert.strictEqual(error.reason._tag, "BlobUnknown")
      assert.strictEqual(error.path.length, 2)
    }))

  it.effect("finds a blob with other content, by reading it", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const flipping = broken(destination.registry, {
        getBlob: (name, digest, options) =>
          Effect.map(destination.registry.getBlob(name, digest, options), (blob) => ({
            ...blob,
            stream: Stream.concat(Stream.drain(blob.stream), failingStream)
          }))
      })
      yield* Copy.copyManifest({ ...ends({ destination: flipping }), verify: "children" })
      const error = yield* Effect.flip(Copy.copyManifest({ ...ends({ destination: flipping }), verify: "deep" }))
      assert.strictEqual(error.reason._tag, "Transport")
    }))

  const failingStream = Stream.fromEffectDrain(failing("getBlob", new Transport({ code: "ECONNRESET" })))

  it.effect("finds a referrer that is not listed", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      yield* pushReferrer(source.registry, from, image, "sbom")
      const hiding = broken(destination.registry, { referrers: () => Stream.empty })
      const error = yield* Effect.flip(Copy.copyManifest({ ...ends({ destination: hiding }), verify: "children" }))
      assert.include(error.message, "it is not listed as a referrer")
    }))
})

describe("a plan", () => {
  it.effect("lists what a copy would do, and pushes nothing", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const sample = yield* pushSample(source.registry, from, [tag("1")])
      const plan = yield* Copy.planCopy(ends())
      assert.isTrue(destination.calls.every((call) => /^(resolve|get)/.test(call)))
      assert.strictEqual(plan.root.digest, sample.index.digest)
      assert.isTrue(plan.nodes.every(({ action }) => action === "push" || action === "upload"))
      const report = yield* Copy.copyManifest({ ...ends(), plan })
      assert.deepStrictEqual(
        new Set(plan.nodes.map(({ descriptor }) => descriptor.digest)),
        new Set(report.entries.map(({ descriptor }) => descriptor.digest))
      )
      assert.strictEqual(report.bytes, plan.bytes.least)
      assert.deepStrictEqual(plan.bytes.least, plan.bytes.most)
    }))

  it.effect("of a present image skips everything", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      yield* Copy.copyManifest(ends())
      const plan = yield* Copy.planCopy(ends())
      assert.isTrue(plan.nodes.every(({ action }) => action === "skip"))
      assert.deepStrictEqual(plan.requests, { least: 0, most: 0 })
    }))

  it.effect("contains the relations between manifests and blobs", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      const { arm64, index, onChild, onIndex } = yield* pushSample(source.registry, from, [tag("1")])
      const { edges } = yield* Copy.planCopy(ends())
      const shared = (yield* Descriptor.fromBytes(bytesOf("shared layer"))).digest
      assert.deepInclude(edges, { from: index.digest, to: arm64.digest, kind: "child" })
      assert.deepInclude(edges, { from: index.digest, to: onIndex.digest, kind: "referrer" })
      assert.deepInclude(edges, { from: arm64.digest, to: onChild.digest, kind: "referrer" })
      assert.strictEqual(edges.filter(({ kind, to }) => kind === "blob" && to === shared).length, 2)
    }))

  it.effect("contains blobs that may be mounted", () =>
    Effect.gen(function*() {
      const { registry } = yield* recorded("both.test")
      yield* pushImage(registry, from, ["one"], { tags: [tag("1")] })
      const plan = yield* Copy.planCopy({
        source: { registry, repository: from, tag: tag("1") },
        destination: { registry, repository: to, tag: tag("1") }
      })
      assert.strictEqual(plan.nodes.filter(({ action }) => action === "mountOrUpload").length, 2)
      assert.isBelow(plan.bytes.least, plan.bytes.most)
    }))

  it.effect("is equal after it is encoded and decoded", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      const plan = yield* Copy.planCopy(ends())
      const json = Schema.fromJsonString(CopyPlan.CopyPlan)
      const decoded = yield* Schema.decodeEffect(json)(yield* Schema.encodeEffect(json)(plan))
      assert.deepStrictEqual(decoded, plan)
    }))

  it.effect("that is filtered loses manifests without their parts, and the copy follows it", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const sample = yield* pushSample(source.registry, from, [tag("1")])
      const layer = (yield* Descriptor.fromBytes(bytesOf("amd64 layer"))).digest
      const plan = CopyPlan.filter(yield* Copy.planCopy(ends()), ({ descriptor }) => descriptor.digest !== layer)
      const digests = new Set(plan.nodes.map(({ descriptor }) => descriptor.digest))
      for (const { digest } of [sample.amd64, sample.index]) assert.isFalse(digests.has(digest))
      for (const { digest } of [sample.arm64, sample.onChild, sample.onIndex]) assert.isTrue(digests.has(digest))
      yield* Copy.copyManifest({ ...ends(), plan })
      yield* destination.registry.resolveManifest(to, sample.arm64.digest)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(destination.registry.resolveManifest(to, tag("1")))))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(destination.registry.resolveBlob(to, layer))))
    }))

  it.effect("without a referrer verifies all other content", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      const { index, onChild, onIndex } = yield* pushSample(source.registry, from, [tag("1")])
      const plan = CopyPlan.filter(
        yield* Copy.planCopy(ends()),
        ({ descriptor }) => descriptor.digest !== onIndex.digest
      )
      yield* Copy.copyManifest({ ...ends(), plan, verify: "deep" })
      assert.strictEqual((yield* destination.registry.resolveManifest(to, tag("1"))).digest, index.digest)
      yield* destination.registry.resolveManifest(to, onChild.digest)
      yield* Effect.flip(destination.registry.resolveManifest(to, onIndex.digest))
    }))

  it.effect("for another root than that of the source fails with PlanOutdated", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["old"], { tags: [tag("1")] })
      const plan = yield* Copy.planCopy(ends())
      yield* pushImage(source.registry, from, ["new"], { tags: [tag("1")] })
      const error = yield* Effect.flip(Copy.copyManifest({ ...ends(), plan }))
      assert.strictEqual(error.reason._tag, "PlanOutdated")
      assert.isFalse(destination.calls.some((call) => call.startsWith("push")))
    }))

  it.effect("is printed as a tree", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      const image = yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const lines = String(yield* Copy.planCopy({ ...ends(), referrers: "skip" })).split("\n")
      assert.lengthOf(lines, 4)
      assert.match(lines[0] ?? "", /^source\.test\/team\/app:1 to destination\.test\/mirror\/app:1@sha256:\S+: /)
      assert.include(lines[1], `  push root ${image.digest}`)
      assert.include(lines[1], "as 1: the destination does not have it")
      assert.match(lines[2] ?? "", /^ {4}upload blob sha256:/)
    }))

  it.effect("fails with the errors of a copy", () =>
    Effect.gen(function*() {
      const { destination, ends, source } = yield* setup
      yield* pushImage(source.registry, from, ["one"], { tags: [tag("1")] })
      const denying = override(destination.registry, {
        resolveManifest: () => failing("resolveManifest", new Transport({}))
      })
      const error = yield* Effect.flip(Copy.planCopy(ends({ destination: denying })))
      assert.deepStrictEqual([error.end, error.reason._tag], ["destination", "Transport"])
    }))
})
