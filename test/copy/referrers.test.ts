import { assert, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import {
  ContentTooLarge,
  Denied,
  ManifestBlobUnknown,
  Timeout,
  TooManyRequests,
  Transport,
  Unauthorized,
  UnexpectedResponse,
  Unsupported
} from "effect-oci/RegistryError"
import { pushImage, pushManifest, pushReferrer, pushSample, repository, tag } from "../utils/images.ts"
import { failing, listReferrers, override } from "../utils/registries.ts"

const from = repository("team/app")
const to = repository("mirror/app")

const copy = (source: Registry, destination: Registry, options: Copy.Options = {}) =>
  Copy.copyManifest({
    ...options,
    source: { registry: source, repository: from, tag: tag("1") },
    destination: { registry: destination, repository: to, tag: tag("1") }
  })

const setup = Effect.all({ source: MemoryRegistry.make(), destination: MemoryRegistry.make() })

/** Creates a registry that refuses a referrer before its subject, and records the accepted pushes. */
const subjectsFirst = (registry: Registry, pushes: Array<string>) =>
  override(registry, {
    pushManifest: (repository, manifest, tags = []) =>
      Effect.gen(function*() {
        const subject = JSON.parse(new TextDecoder().decode(manifest.bytes)).subject?.digest
        if (subject !== undefined) {
          yield* Effect.catch(
            registry.resolveManifest(repository, subject),
            () => failing("pushManifest", new ManifestBlobUnknown({ status: 404 }))
          )
        }
        pushes.push([manifest.digest, ...tags].join(" "))
        return yield* registry.pushManifest(repository, manifest, tags)
      })
  })

it.effect("referrers of the root, of its children, and of other referrers are copied", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const { arm64, index, onChild, onIndex } = yield* pushSample(source, from, [tag("1")])
    const onReferrer = yield* pushReferrer(source, from, onIndex, "about the SBOM")
    yield* copy(source, destination)
    assert.deepStrictEqual(yield* listReferrers(destination, to, index.digest), [onIndex.digest])
    assert.deepStrictEqual(yield* listReferrers(destination, to, arm64.digest), [onChild.digest])
    assert.deepStrictEqual(yield* listReferrers(destination, to, onIndex.digest), [onReferrer.digest])
  }))

it.effect("referrers are not copied if the policy is `skip`", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const { index } = yield* pushSample(source, from, [tag("1")])
    yield* copy(source, destination, { referrers: "skip" })
    assert.deepStrictEqual(yield* listReferrers(destination, to, index.digest), [])
  }))

it.effect("a referrer that was added after the last copy is copied by the next, although the root is present", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const { amd64, index } = yield* pushSample(source, from, [tag("1")])
    yield* copy(source, destination)
    const late = yield* pushReferrer(source, from, index, "a late signature")
    const lateOnChild = yield* pushReferrer(source, from, amd64, "a late signature of a child")
    const report = yield* copy(source, destination)
    assert.include(yield* listReferrers(destination, to, index.digest), late.digest)
    assert.deepStrictEqual(yield* listReferrers(destination, to, amd64.digest), [lateOnChild.digest])
    assert.strictEqual(report.entries.find(({ role }) => role === "root")?.outcome, "present")
  }))

it.effect("a referrer of an absent subject is copied", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const nowhere = yield* Effect.scoped(pushImage(yield* MemoryRegistry.make(), from, ["elsewhere"]))
    const referrer = yield* pushReferrer(source, from, nowhere, "about something that is not here")
    const { bytes, descriptor } = yield* source.getManifest(from, referrer.digest)
    yield* source.pushManifest(from, { mediaType: descriptor.mediaType, bytes }, [tag("1")])
    yield* copy(source, destination)
    assert.deepStrictEqual(yield* listReferrers(destination, to, nowhere.digest), [referrer.digest])
  }))

it.effect("a copy ends if a registry lists a manifest as its own referrer, or two as referrers of each other", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const { amd64, arm64, index } = yield* pushSample(source, from, [tag("1")])
    const listing = new Map([[index.digest, [index, amd64]], [amd64.digest, [arm64, index]], [arm64.digest, [amd64]]])
    const confused = override(source, {
      referrers: (_, digest) => Stream.fromIterable(listing.get(digest) ?? [])
    })
    yield* copy(confused, destination)
    yield* destination.getManifest(to, tag("1"))
  }))

it.effect("a referrer that contains its subject is pushed after it, and before the tag", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const { digest, mediaType, size } = image
    const around = yield* pushManifest(source, from, {
      mediaType: MediaType.imageIndex,
      manifests: [image],
      subject: { digest, mediaType, size }
    })
    const pushes: Array<ReadonlyArray<string>> = []
    const watched = override(destination, {
      pushManifest: (repository, manifest, tags = []) => {
        pushes.push([`${manifest.digest}`, ...tags])
        return destination.pushManifest(repository, manifest, tags)
      }
    })
    yield* copy(source, watched)
    assert.deepStrictEqual(pushes, [[image.digest], [around.digest], [image.digest, "1"]])
  }))

it.effect("a registry that refuses a referrer without its subject gets the root, the referrers, then the tag", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const sbom = yield* pushReferrer(source, from, image, "sbom")
    const signature = yield* pushReferrer(source, from, sbom, "signature of the sbom")
    const pushes: Array<string> = []
    yield* copy(source, subjectsFirst(destination, pushes))
    assert.deepStrictEqual(pushes, [image.digest, sbom.digest, signature.digest, `${image.digest} 1`])
  }))

it.effect("so does a registry that refuses a referrer which the index of its subject contains", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"])
    const attestation = yield* pushReferrer(source, from, image, "attestation")
    const content = { mediaType: MediaType.imageIndex, manifests: [attestation, image] }
    const index = yield* pushManifest(source, from, content, [tag("1")])
    const pushes: Array<string> = []
    yield* copy(source, subjectsFirst(destination, pushes))
    assert.deepStrictEqual(pushes, [image.digest, attestation.digest, index.digest, `${index.digest} 1`])
  }))

it.effect("a copy does not wait for two referrers of each other that a registry refuses", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const one = yield* pushReferrer(source, from, image, "one")
    const two = yield* pushReferrer(source, from, image, "two")
    const listing = new Map([[image.digest, [one]], [one.digest, [two]], [two.digest, [one]]])
    const confused = override(source, {
      referrers: (_, digest) => Stream.fromIterable(listing.get(digest) ?? [])
    })
    const refusing = override(destination, {
      pushManifest: (repository, manifest, tags) =>
        manifest.digest === image.digest
          ? destination.pushManifest(repository, manifest, tags)
          : failing("pushManifest", new ManifestBlobUnknown({ status: 400 }))
    })
    assert.strictEqual((yield* Effect.flip(copy(confused, refusing))).reason._tag, "ManifestBlobUnknown")
  }))

it.effect("a copy does not wait for a refused referrer that is listed twice, whenever the second list arrives", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const elsewhere = yield* pushImage(yield* MemoryRegistry.make(), from, ["elsewhere"])
    const twice = yield* pushReferrer(source, from, elsewhere, "listed twice")
    const { digest, mediaType, size } = image
    const bundle = yield* pushManifest(source, from, {
      mediaType: MediaType.imageIndex,
      manifests: [twice],
      subject: { digest, mediaType, size }
    })
    const [refused, listed] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const after = (step: Deferred.Deferred<void>) =>
      Effect.andThen(Deferred.await(step), Effect.replicateEffect(Effect.yieldNow, 20))
    const listing = new Map([
      [image.digest, Stream.make(twice, bundle)],
      [
        bundle.digest,
        Stream.fromEffectDrain(after(refused)).pipe(
          Stream.concat(Stream.make(twice)),
          Stream.concat(Stream.fromEffectDrain(Deferred.succeed(listed, undefined)))
        )
      ]
    ])
    const confused = override(source, { referrers: (_, digest) => listing.get(digest) ?? Stream.empty })
    const refusing = override(subjectsFirst(destination, []), {
      pushManifest: (repository, manifest, tags) =>
        subjectsFirst(destination, []).pushManifest(repository, manifest, tags).pipe(
          Effect.tapError(() => Deferred.succeed(refused, undefined)),
          manifest.digest === image.digest ? (push) => Effect.andThen(after(listed), push) : (push) => push
        )
    })
    assert.strictEqual((yield* Effect.flip(copy(confused, refusing))).reason._tag, "ManifestBlobUnknown")
  }))

it.effect("a refusal for another reason is an error, and leaves no tag", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const sbom = yield* pushReferrer(source, from, image, "sbom")
    const refusing = override(destination, {
      pushManifest: (repository, manifest, tags) =>
        manifest.digest === sbom.digest
          ? failing("pushManifest", new ManifestBlobUnknown({ status: 400 }))
          : destination.pushManifest(repository, manifest, tags)
    })
    const error = yield* Effect.flip(copy(source, refusing))
    assert.strictEqual(error.descriptor?.digest, sbom.digest)
    assert.deepStrictEqual(Array.from(yield* Stream.runCollect(destination.tags(to))), [])
  }))

it.effect("a referrer that is listed but missing is left out, and reported", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const gone = yield* pushReferrer(source, from, image, "gone")
    const stale = override(source, {
      getManifest: (repository, reference) =>
        source.getManifest(repository, reference === gone.digest ? tag("no-such-tag") : reference)
    })
    const report = yield* copy(stale, destination)
    assert.deepStrictEqual(report.having("missing").map(({ descriptor }) => descriptor.digest), [gone.digest])
  }))

it.effect("a referrer that is listed but missing, and that an index contains, is an error at the source", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const gone = yield* pushReferrer(source, from, image, "gone")
    const { digest, mediaType, size } = image
    const bundle = yield* pushManifest(source, from, {
      mediaType: MediaType.imageIndex,
      manifests: [gone],
      subject: { digest, mediaType, size }
    })
    const stale = override(source, {
      getManifest: (repository, reference) =>
        source.getManifest(repository, reference === gone.digest ? tag("no-such-tag") : reference)
    })
    const error = yield* Effect.flip(copy(stale, destination))
    assert.strictEqual(error.reason._tag, "ManifestUnknown")
    assert.deepStrictEqual(error.path, [image.digest, bundle.digest])
  }))

const refusals = [
  new Unauthorized({ status: 401 }),
  new Denied({ status: 403 }),
  new TooManyRequests({ status: 429 }),
  new UnexpectedResponse({ status: 500 }),
  new Transport({ code: "ECONNRESET" }),
  new Timeout({ phase: "headers", after: Duration.seconds(60) }),
  new ContentTooLarge({ limit: 5 })
]

it.effect.each(refusals)(
  "a source that does not list referrers is copied without them, and reported (%s)",
  (reason) =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const { amd64, arm64, index } = yield* pushSample(source, from, [tag("1")])
      const refusing = override(source, { referrers: () => Stream.unwrap(failing("referrers", reason)) })
      const report = yield* copy(refusing, destination)
      assert.strictEqual((yield* destination.resolveManifest(to, tag("1"))).digest, index.digest)
      assert.sameMembers(
        report.unknownReferrers.map(({ descriptor, end }) => `${end} ${descriptor.digest}`),
        [index, amd64, arm64].map(({ digest }) => `source ${digest}`)
      )
      assert.strictEqual(report.unknownReferrers[0]?.problem, reason.message)
      // one warning for any number of manifests
      assert.lengthOf(report.warnings, 1)
      assert.include(report.warnings[0], "it does not list the referrers of sha256:")
    })
)

it.effect("a source that does not list referrers fails a copy that requires them", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const refusing = override(source, {
      referrers: () => Stream.unwrap(failing("referrers", new Denied({ status: 403 })))
    })
    const error = yield* Effect.flip(copy(refusing, destination, { referrers: "require" }))
    assert.deepStrictEqual(
      [error.end, error.operation, error.reason._tag, error.descriptor?.digest],
      ["source", "referrers", "Denied", image.digest]
    )
    yield* Effect.flip(destination.resolveManifest(to, tag("1")))
  }))

it.effect("the source is not asked for referrers if the policy is `skip`", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    yield* pushSample(source, from, [tag("1")])
    const refusing = override(source, { referrers: () => Stream.die("it was asked") })
    assert.deepStrictEqual((yield* copy(refusing, destination, { referrers: "skip" })).unknownReferrers, [])
  }))

it.effect("the referrers of a list that was interrupted are copied", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const sbom = yield* pushReferrer(source, from, image, "sbom")
    const breaking = override(source, {
      referrers: (repository, digest) =>
        Stream.concat(
          source.referrers(repository, digest),
          digest === image.digest ? Stream.unwrap(failing("referrers", new Transport({}))) : Stream.empty
        )
    })
    const report = yield* copy(breaking, destination)
    assert.deepStrictEqual(yield* listReferrers(destination, to, image.digest), [sbom.digest])
    assert.deepStrictEqual(report.unknownReferrers.map(({ descriptor }) => descriptor.digest), [image.digest])
  }))

it.effect("a plan contains the manifests whose referrers are unknown", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    const refusing = override(source, {
      referrers: () => Stream.unwrap(failing("referrers", new Denied({ status: 403 })))
    })
    const plan = yield* Copy.planCopy({
      source: { registry: refusing, repository: from, tag: tag("1") },
      destination: { registry: destination, repository: to, tag: tag("1") }
    })
    assert.deepStrictEqual(plan.unknownReferrers.map(({ descriptor }) => descriptor.digest), [image.digest])
    assert.include(String(plan), `the referrers of ${image.digest} are unknown: access is denied`)
  }))

it.effect.each([...refusals, new Unsupported({ status: 404 })])(
  "a destination that does not list referrers gets those that it lacks, and no others (%s)",
  (reason) =>
    Effect.gen(function*() {
      const { destination, source } = yield* setup
      const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
      yield* pushReferrer(source, from, image, "old")
      yield* copy(source, destination)
      const late = yield* pushReferrer(source, from, image, "late")
      const refusing = override(destination, { referrers: () => Stream.unwrap(failing("referrers", reason)) })
      const report = yield* copy(source, refusing)
      const pushed = report.having("copied").filter(({ role }) => role === "referrer")
      assert.deepStrictEqual(pushed.map(({ descriptor }) => descriptor.digest), [late.digest])
      assert.deepStrictEqual([report.unknownReferrers, report.warnings], [[], []])
    })
)

it.effect("a destination that does not list referrers is verified without them, unless they are required", () =>
  Effect.gen(function*() {
    const { destination, source } = yield* setup
    const image = yield* pushImage(source, from, ["one"], { tags: [tag("1")] })
    yield* pushReferrer(source, from, image, "sbom")
    const refusing = override(destination, {
      referrers: () => Stream.unwrap(failing("referrers", new Denied({ status: 403 })))
    })
    const report = yield* copy(source, refusing, { verify: "children" })
    assert.deepStrictEqual(
      report.unknownReferrers.map(({ descriptor, end }) => [end, descriptor.digest]),
      [["destination", image.digest]]
    )
    const error = yield* Effect.flip(copy(source, refusing, { verify: "children", referrers: "require" }))
    assert.deepStrictEqual([error.end, error.reason._tag], ["destination", "Denied"])
  }))
