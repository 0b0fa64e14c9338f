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
import {
  bytesOf,
  pushBlob,
  pushImage,
  pushManifest,
  pushReferrer,
  pushSample,
  repository,
  tag
} from "../utils/images.ts"
import { failing, override, recorded } from "../utils/registries.ts"

const from = repository("team/app")
const to = repository("mirror/app")

const setup = Effect.gen(function*() {
  const source = yield* recorded("source.test")
  const destination = yield* recorded("destination.test")
  const ends = (
    registries: { readonly source?: Registry.Registry; readonly destination?: Registry.Registry } = {}
  ) => ({
    source: { registry: registries.source ?? source.registry, repository: from, tag: tag("1") },
    destination: { registry: registries.destination ?? destination.registry, repository: to, tag: tag("1") }
  })
  return { source, destination, ends }
})

const foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

const tags = (events: ReadonlyArray<CopyEvent>) => events.map(({ _tag }) => _tag)

describe("the events of a copy", () => {
  it.effect("tell of each piece that it is planned, begun and dealt with, and the report in the end", () =>
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

  it.effect("plan each piece once, with its role, before they settle it", () =>
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

  it.effect("plan no more than the plan has that the copy follows", () =>
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

  it.effect("run the copy, and no more than once", () =>
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

  it.effect("end the copy when nobody wants them any longer", () =>
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

  it.effect("do not slow down the copy when nobody reads them", () =>
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

  it.effect("tell how far a blob is, at a rate that somebody can read", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      yield* pushImage(source.registry, from, [new Uint8Array(1000)], { tags: [tag("1")] })
      const slow = override(source.registry, {
        getBlob: (name, digest, options) =>
          Effect.map(source.registry.getBlob(name, digest, options), (blob) =>
            blob.descriptor.size < 1000 ? blob : {
              ...blob,
              // a byte every 10 ms
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

  it.effect("tell what the registries asked for", () =>
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
      // who watched before still does
      assert.deepStrictEqual(seen, ["Warning", "Requested"])
    }))
})

describe("a destination that lacks what it said to have", () => {
  const external = "application/vnd.oci.image.layer.nondistributable.v1.tar"

  /** A registry that says to have a blob that it does not have. */
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

  it.effect("gets it, and the manifest again, in sight of all", () =>
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

  it.effect("gets all that was not sent where it goes on saying that it has everything", () =>
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

  it.effect("gets what may not be distributed only if that is to be copied", () =>
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
      // what was cleaned up meanwhile
      yield* destination.registry.deleteManifest(to, (yield* destination.registry.resolveManifest(to, tag("1"))).digest)
      yield* destination.registry.deleteManifest(to, image.digest)
      yield* destination.registry.deleteBlob(to, (yield* Descriptor.fromBytes(bytesOf("one"))).digest)
      yield* Copy.copyManifest(ends())
      yield* destination.registry.resolveManifest(to, tag("1"))
    }))

  it.effect("does not come before a mount that is tried of one of its blobs has been answered", () =>
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

  it.effect("is tried once more over a digest that is said to be wrong", () =>
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

  it.effect("is not tried for ever", () =>
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
    "finds nothing wrong with what arrived: %s",
    (verify) =>
      Effect.gen(function*() {
        const { ends, source } = yield* setup
        yield* pushSample(source.registry, from, [tag("1")])
        yield* Copy.copyManifest({ ...ends(), verify })
        yield* Copy.copyManifest({ ...ends(), verify })
      })
  )

  const broken = (registry: Registry.Registry, what: Partial<Registry.Registry>) => override(registry, what)

  it.effect("finds a tag that points elsewhere", () =>
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

  it.effect("finds a blob that is gone", () =>
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

  it.effect("finds a blob that is another, by reading it", () =>
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
  it.effect("tells what a copy would do, and writes nothing", () =>
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

  it.effect("of what is there has nothing to do", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      yield* Copy.copyManifest(ends())
      const plan = yield* Copy.planCopy(ends())
      assert.isTrue(plan.nodes.every(({ action }) => action === "skip"))
      assert.deepStrictEqual(plan.requests, { least: 0, most: 0 })
    }))

  it.effect("knows how things belong together", () =>
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

  it.effect("tells of blobs that may be mounted", () =>
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

  it.effect("can be encoded, and is the same afterwards", () =>
    Effect.gen(function*() {
      const { ends, source } = yield* setup
      yield* pushSample(source.registry, from, [tag("1")])
      const plan = yield* Copy.planCopy(ends())
      const json = Schema.fromJsonString(CopyPlan.CopyPlan)
      const decoded = yield* Schema.decodeEffect(json)(yield* Schema.encodeEffect(json)(plan))
      assert.deepStrictEqual(decoded, plan)
    }))

  it.effect("that is filtered loses what cannot be without what is dropped, and nothing else is copied", () =>
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

  it.effect("that leaves out a referrer is no less verified for the rest", () =>
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

  it.effect("for what the source has no longer is not followed", () =>
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

  it.effect("fails as a copy does", () =>
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
