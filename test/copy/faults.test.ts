/**
 * The content of a destination after every single request of a copy that fails at any point.
 *
 * The destination accepts everything, so that only the order of the pushes keeps it complete. The tests read manifests
 * with their own code, and know the relations from the graph that they have made.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Random, Schedule, Stream } from "effect"
import * as Copy from "effect-oci/Copy"
import { isCopyError } from "effect-oci/CopyError"
import type { Descriptor } from "effect-oci/Descriptor"
import type { Digest } from "effect-oci/Digest"
import * as HttpRegistry from "effect-oci/HttpRegistry"
import * as MediaType from "effect-oci/MediaType"
import type { Capabilities, ManifestBytes, Registry } from "effect-oci/Registry"
import { Transport } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import { ResumptionThreshold } from "effect-oci/Upload"
import { noise, pick, seeds } from "../utils/BadNetwork.ts"
import { pushImage, pushManifest, pushReferrer, repository, tag } from "../utils/images.ts"
import { override } from "../utils/registries.ts"
import { digestOf } from "../utils/ScriptedServer.ts"
import * as Trusting from "../utils/Trusting.ts"

const from = repository("team/app")
const to = repository("mirror/app")
const one = tag("1")
const KiB = 1024

const amd64 = { os: "linux", architecture: "amd64" }
const arm64 = { os: "linux", architecture: "arm64" }

const some = <A>(options: ReadonlyArray<A>) =>
  Effect.flatMap(
    Random.nextIntBetween(0, 4),
    (count) => Effect.map(Effect.replicateEffect(someOf(options), count), (found) => found.flat())
  )
const someOf = <A>(options: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, options.length - 1), (index) => options.slice(index, index + 1))

const plain = ({ digest, mediaType, size }: Descriptor) => ({ mediaType, digest, size })
const nowhere = (text: string) => ({ digest: digestOf(text), mediaType: MediaType.imageManifest, size: text.length })
const external = {
  mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar",
  digest: digestOf("licensed"),
  size: 8,
  urls: ["https://example.com/licensed"]
}

const prefixOf = (digest: Digest): string => digest.replace(":", "-")

// ---------------------------------------------------------------------------------------------------------------------
// graphs
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Fills a registry with images that share layers; nested indexes, some of which list absent manifests; referrers of
 * all of these, of each other and of nothing; referrers that contain their subject; and tags made of digests. The root
 * lists some of these.
 */
const grow = Effect.fnUntraced(function*(registry: Registry) {
  const layers = ["", "a", "b", noise(70 * KiB), noise(200 * KiB)]
  const made: Array<Descriptor> = [yield* pushImage(registry, from, ["base"])]
  const steps = yield* Random.nextIntBetween(0, 8)
  for (let place = 0; place < steps; place++) {
    const kind = yield* pick(["image", "image", "index", "sparse", "referrer", "referrer", "around", "odd"])
    const targets = yield* some(made)
    const subject = targets[0] ?? nowhere(`subject ${place}`)
    if (kind === "image") {
      made.push(yield* pushImage(registry, from, yield* some(layers), { extra: { place } }))
    } else if (kind === "odd") {
      const config = yield* Effect.map(pushImage(registry, from, []), plain)
      made.push(
        yield* pushManifest(registry, from, {
          mediaType: MediaType.imageManifest,
          config: { ...config, ...nowhere("never there"), mediaType: external.mediaType },
          layers: [external],
          place,
          subject: plain(subject)
        })
      )
    } else if (kind === "referrer") {
      made.push(yield* pushReferrer(registry, from, subject, `number ${place}`))
    } else {
      const manifests = yield* Effect.forEach(
        targets,
        (target) =>
          Effect.map(pick([amd64, arm64, undefined]), (platform) => ({
            ...plain(target),
            ...platform === undefined ? {} : { platform }
          }))
      )
      const lost = kind === "sparse" ? [{ ...nowhere(`image ${place}`), platform: arm64 }] : []
      const around = kind === "around" ? { subject: plain(subject) } : {}
      made.push(
        yield* pushManifest(registry, from, {
          mediaType: MediaType.imageIndex,
          manifests: [...manifests, ...lost],
          place,
          ...around
        })
      )
    }
  }
  const listed = [...made.slice(0, 1), ...yield* some(made), ...made.slice(-1)]
  const manifests = listed.map((each, index) => ({ ...plain(each), platform: index === 0 ? amd64 : arm64 }))
  const all = [...made, yield* pushManifest(registry, from, { mediaType: MediaType.imageIndex, manifests }, [one])]
  for (const about of yield* some(all)) {
    for (const each of yield* someOf(all)) {
      const { bytes, descriptor } = yield* registry.getManifest(from, each.digest)
      yield* registry.pushManifest(from, { mediaType: descriptor.mediaType, bytes }, [
        tag(`${prefixOf(about.digest)}.sig`)
      ])
    }
  }
  // a registry may list referrers of other subjects
  const confused = new Map(
    yield* Effect.forEach(
      yield* some(all),
      ({ digest }) => Effect.map(some([...all, nowhere("listed")]), (listed) => [digest, listed] as const)
    )
  )
  return override(registry, {
    referrers: (repository, digest) =>
      Stream.concat(registry.referrers(repository, digest), Stream.fromIterable(confused.get(digest) ?? []))
  })
})

type Platforms = "all" | Extract<Copy.Platforms, { readonly _tag: "Index" }>
const onlyAmd64: Platforms = { _tag: "Index", platforms: [amd64], index: "keep" }

/** Returns the parts that a manifest needs if only some platforms are wanted. */
const partsOf = (manifest: ManifestBytes, platforms: Platforms) => {
  const { config, layers = [], manifests = [] } = Trusting.read(manifest)
  return {
    blobs: [...config === undefined ? [] : [config], ...layers]
      .filter(({ mediaType }) => mediaType !== external.mediaType)
      .map(({ digest }) => digest),
    manifests: manifests
      .filter(({ platform }) => platforms === "all" || platform === undefined || platform.architecture === "amd64")
      .map(({ digest }) => digest)
  }
}

const digestTagsOf = ({ tags }: Trusting.Content, digest: Digest) =>
  Array.from(tags).filter(([tag]) => tag.startsWith(prefixOf(digest)))

/** Returns all manifests of a root, or `undefined` if a manifest is absent that another one contains. */
const belonging = Effect.fnUntraced(function*(
  source: Registry,
  content: Trusting.Content,
  root: Digest,
  platforms: Platforms
) {
  const { manifests } = content
  const found = new Set<Digest>()
  const contained = new Set([root])
  const queue: Array<Digest> = [root]
  for (const digest of queue) {
    const manifest = manifests.get(digest)
    if (manifest === undefined || found.has(digest)) continue
    found.add(digest)
    const { manifests: children } = partsOf(manifest, platforms)
    children.forEach((child) => contained.add(child))
    const referrers = yield* Stream.runCollect(source.referrers(from, digest))
    const tagged = digestTagsOf(content, digest).map(([, digest]) => digest)
    queue.push(...children, ...referrers.map(({ digest }) => digest), ...tagged)
  }
  return Array.from(contained).every((digest) => manifests.has(digest)) ? found : undefined
})

// ---------------------------------------------------------------------------------------------------------------------
// faults
// ---------------------------------------------------------------------------------------------------------------------

const reset = new Transport({ code: "ECONNRESET" })

const once = Effect.map(Random.nextIntBetween(1, 12), (call) => ({ calls: [call] }))

/** A fault at one of the ends. `stop` interrupts the copy. */
const someFault = (end: "source" | "destination", stop: Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    const which = yield* once
    const at = yield* pick([0, 1, 70 * KiB, 150 * KiB])
    const seed = yield* Random.nextInt
    const isNoticed = yield* Random.nextBoolean
    const everywhere = [
      Faults.fail(reset, which),
      Faults.wait(stop, which),
      Faults.throttle({ times: 1 }),
      Faults.wait(Effect.yieldNow, { calls: { share: 0.5, seed } }),
      Faults.wait(Effect.replicateEffect(Effect.yieldNow, 9), { calls: { share: 0.5, seed } })
    ] as const
    if (end === "source") {
      return yield* pick([
        ...everywhere,
        Faults.fail(reset, { ...which, operation: ["getManifest", "referrers"] }),
        Faults.breakAt(at, which),
        Faults.flipAt(at, which, { isNoticed }),
        Faults.truncateAt(at, which, { isNoticed })
      ])
    }
    const operation = yield* pick(["pushBlob", "append", "commit", "startUpload"])
    return yield* pick([
      ...everywhere,
      Faults.fail(reset, { ...which, operation }),
      Faults.fail(reset, { ...which, operation: "pushManifest" }),
      Faults.breakAt(at, { ...which, operation }),
      Faults.loseAnswer({ ...which, operation }),
      Faults.loseAnswer({ ...which, operation: "pushManifest" }),
      Faults.declineMounts(),
      Faults.refuseSubjects(),
      Faults.loseTags({ calls: { first: 1 } })
    ])
  })

const someFaults = (end: "source" | "destination", stop: Effect.Effect<unknown>) =>
  Effect.flatMap(Random.nextIntBetween(0, 4), (count) => Effect.replicateEffect(someFault(end, stop), count))

const someCapabilities = pick<ReadonlyArray<Capabilities> & readonly [Capabilities, ...ReadonlyArray<Capabilities>]>([
  {},
  { selfMount: true },
  { anonymousMount: true, singlePost: true },
  { anonymousMount: false, selfMount: false, singlePost: false },
  { referrers: true, singlePost: true, anonymousMount: true, selfMount: true, chunks: true }
])

// ---------------------------------------------------------------------------------------------------------------------

/** Returns what is wrong with a destination: a manifest without a part, or the tag before the rest. */
const wrongWith = (
  { blobs, manifests, tags }: Trusting.Content,
  all: ReadonlySet<Digest> | undefined,
  platforms: Platforms
): ReadonlyArray<string> => {
  const parts = Array.from(manifests).flatMap(([digest, manifest]) => {
    const { blobs: needed, manifests: children } = partsOf(manifest, platforms)
    return [...needed.filter((blob) => !blobs.has(blob)), ...children.filter((child) => !manifests.has(child))]
      .map((part) => `${digest} is there without ${part}`)
  })
  if (!tags.has(one)) return parts
  if (all === undefined) return [...parts, "the tag is there, and cannot be"]
  return [
    ...parts,
    ...Array.from(all).filter((digest) => !manifests.has(digest)).map((each) => `the tag before ${each}`)
  ]
}

const trial = Effect.gen(function*() {
  const source = yield* Trusting.make({ name: "source.test", repository: from })
  const registry = yield* grow(source.registry)
  const platforms = yield* pick<readonly [Platforms, Platforms]>(["all", onlyAmd64])
  const root = source.content.tags.get(one)
  assert(root !== undefined)
  const all = yield* belonging(registry, source.content, root, platforms)

  const wrong = new Set<string>()
  const destination = yield* Trusting.make({
    name: "destination.test",
    repository: to,
    capabilities: yield* someCapabilities,
    changed: (content) => wrongWith(content, all, platforms).forEach((what) => wrong.add(what))
  })
  let stopped = yield* Deferred.make<void>()
  const stop = Effect.suspend(() => Deferred.succeed(stopped, undefined))
  const near = yield* Faults.make(registry, yield* someFaults("source", stop))
  const faults = yield* someFaults("destination", stop)
  const far = yield* Faults.make(destination.registry, faults)
  const inFlight = yield* pick([1, 2, 8, 64])
  const copy = (source: Registry, destination: Registry) =>
    Copy.copyManifest({
      source: { registry: source, repository: from, tag: one },
      destination: { registry: destination, repository: to, tag: one },
      platforms,
      // a source that fails to list referrers must not be a reason to omit them
      referrers: "require",
      digestTags: "copy"
    }).pipe(
      Effect.provideService(Copy.MaxInFlight, inFlight),
      Effect.provideService(ResumptionThreshold, 100 * KiB),
      Effect.provideService(HttpRegistry.RetrySchedule, Schedule.recurs(1))
    )
  const assertWhole = () => {
    assert.deepStrictEqual(Array.from(wrong), [])
    assert.strictEqual(destination.sessions(), 0)
  }

  // each fault occurs once
  const losesTags = faults.some(({ _tag }) => _tag === "LoseTags")
  for (let attempt = 0; attempt < (all === undefined ? 3 : 12); attempt++) {
    stopped = yield* Deferred.make<void>()
    const copied = yield* Effect.exit(
      Effect.raceFirst(copy(near.registry, far.registry), Effect.andThen(Deferred.await(stopped), Effect.interrupt))
    )
    assertWhole()
    if (Exit.isSuccess(copied)) {
      assert(all !== undefined)
      assert(destination.content.tags.has(one) || losesTags)
      break
    }
    const error = Exit.findErrorOption(copied)
    assert(Exit.hasInterrupts(copied) || error._tag === "Some" && isCopyError(error.value), `no typed error: ${copied}`)
  }

  const again = yield* Effect.exit(copy(registry, destination.registry))
  assertWhole()
  assert.strictEqual(Exit.isSuccess(again), all !== undefined, `${again}`)
  if (all === undefined) return
  const tags = Array.from(all).flatMap((digest) => digestTagsOf(source.content, digest))
  assert.deepStrictEqual(new Map(destination.content.tags), new Map([...tags, [one, root]]))
})

describe("a destination is complete after every request of any copy with any fault", () => {
  it.effect.each(seeds)(
    "and the next copy completes the rest (seed %i)",
    (seed) => Random.withSeed(Effect.replicateEffect(trial, 5, { discard: true }), `copy ${seed}`)
  )
})
