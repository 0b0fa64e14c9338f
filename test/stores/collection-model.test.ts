/**
 * Random pushes, deletes and collections, compared with a model that knows what must stay.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Random } from "effect"
import type { Descriptor } from "effect-oci/Descriptor"
import type { Digest } from "effect-oci/Digest"
import type * as GarbageCollection from "effect-oci/GarbageCollection"
import * as LayoutRegistry from "effect-oci/LayoutRegistry"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import { TestClock } from "effect/testing"
import { pushBlob, pushImage, pushIndex, pushReferrer, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"

const runs = process.env["EFFECT_OCI_LONG"] === undefined ? 15 : 500
const steps = 40
const hour = 3_600_000
const app = repository("team/app")

type Collected = MemoryRegistry.MemoryRegistry | LayoutRegistry.LayoutRegistry

interface Manifest {
  readonly descriptor: Descriptor
  readonly needs: ReadonlyArray<Digest>
  readonly subject: Digest | undefined
  time: number
}

interface Model {
  now: number
  readonly blobs: Map<Digest, number>
  readonly manifests: Map<Digest, Manifest>
  readonly tags: Map<string, Digest>
}

const pick = <A>(items: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, Math.max(0, items.length - 1)), (index): A | undefined => items[index])

/** Marks content as mentioned. */
const mention = ({ blobs, manifests, now }: Model, digest: Digest) => {
  if (blobs.has(digest)) blobs.set(digest, now)
  const manifest = manifests.get(digest)
  if (manifest !== undefined) manifest.time = now
}

/** Records a push, and marks the manifest in the registry, because files are written by another clock. */
const pushed = Effect.fnUntraced(function*(
  model: Model,
  registry: Registry,
  descriptor: Descriptor,
  name?: string
) {
  const { bytes } = yield* registry.getManifest(app, descriptor.digest)
  yield* registry.resolveManifest(app, descriptor.digest)
  const { config, layers = [], manifests = [], subject } = JSON.parse(new TextDecoder().decode(bytes))
  const blobs: ReadonlyArray<Descriptor> = config === undefined ? layers : [config, ...layers]
  for (const { digest } of blobs) model.blobs.set(digest, model.now)
  const needs = [...blobs, ...manifests].map(({ digest }: Descriptor) => digest)
  model.manifests.set(descriptor.digest, { descriptor, needs, subject: subject?.digest, time: model.now })
  for (const digest of [...needs, subject?.digest]) mention(model, digest)
  if (name === undefined) return
  const before = model.tags.get(name)
  if (before !== undefined) mention(model, before)
  model.tags.set(name, descriptor.digest)
})

const remove = (model: Model, digest: Digest) => {
  model.manifests.delete(digest)
  for (const [name, other] of model.tags) if (other === digest) model.tags.delete(name)
}

const subjectOfTag = (name: string): string | undefined =>
  /^sha256-([0-9a-f]{64})/.exec(name) === null ? undefined : name.replace(/^sha256-([0-9a-f]{64}).*/, "sha256:$1")

/** Removes from the model what a collection must remove: everything that is not found to stay. */
const collect = (model: Model, { danglingReferrers, untagged }: GarbageCollection.Options) => {
  const { blobs, manifests, now, tags } = model
  const isYoung = (time: number) => time > now - hour
  const exists = (digest: string | undefined) => Array.from(manifests.keys()).some((other) => other === digest)
  const kept = new Set<string>()
  const staysNow = (digest: Digest, { subject, time }: Manifest): boolean => {
    const names = Array.from(tags).filter(([, other]) => other === digest).map(([name]) => name)
    const subjects = [subject, ...names.map(subjectOfTag)].filter((subject) => subject !== undefined)
    if (isYoung(time) || names.some((name) => subjectOfTag(name) === undefined)) return true
    if (subjects.some((subject) => kept.has(subject))) return true
    if (Array.from(manifests).some(([other, { needs }]) => kept.has(other) && needs.includes(digest))) return true
    if (names.length > 0 && danglingReferrers === "keep") return true
    if (subjects.length > 0) return danglingReferrers === "keep" && !subjects.some(exists)
    return untagged === "keep"
  }
  for (let before = -1; before !== kept.size;) {
    before = kept.size
    for (const [digest, manifest] of manifests) if (staysNow(digest, manifest)) kept.add(digest)
  }
  const needed = new Set(Array.from(manifests).flatMap(([digest, { needs }]) => kept.has(digest) ? needs : []))
  for (const digest of Array.from(manifests.keys())) if (!kept.has(digest)) remove(model, digest)
  for (const [digest, time] of blobs) if (!needed.has(digest) && !isYoung(time)) blobs.delete(digest)
}

const step = Effect.fnUntraced(function*(model: Model, registry: Collected) {
  const manifests = Array.from(model.manifests.values(), ({ descriptor }) => descriptor)
  const any = yield* pick(manifests)
  const content = `content ${yield* Random.nextIntBetween(0, 6)}`
  const isTagged = yield* Random.nextBoolean
  const name = isTagged ? `tag-${yield* Random.nextIntBetween(0, 3)}` : undefined
  const tags = name === undefined ? {} : { tags: [tag(name)] }
  switch (yield* Random.nextIntBetween(0, 10)) {
    case 0: {
      const { digest } = yield* pushBlob(registry, app, content)
      model.blobs.set(digest, model.now)
      return
    }
    case 1:
    case 2:
      return yield* pushed(model, registry, yield* pushImage(registry, app, [content], tags), name)
    case 3:
      if (any === undefined) return
      return yield* pushed(model, registry, yield* pushIndex(registry, app, [any], tags), name)
    case 4:
      if (any === undefined) return
      return yield* pushed(model, registry, yield* pushReferrer(registry, app, any, content))
    case 5: {
      if (any === undefined) return
      const signature = `${any.digest.replace(":", "-")}.sig`
      const image = yield* pushImage(registry, app, [`${content} signed`], { tags: [tag(signature)] })
      return yield* pushed(model, registry, image, signature)
    }
    case 6: {
      const found = yield* pick(Array.from(model.tags.keys()))
      if (found === undefined) return
      yield* registry.deleteTag(app, tag(found))
      const digest = model.tags.get(found)
      if (digest !== undefined) mention(model, digest)
      model.tags.delete(found)
      return
    }
    case 7:
      if (any === undefined) return
      yield* registry.deleteManifest(app, any.digest)
      return remove(model, any.digest)
    case 8:
      if (any === undefined) return
      yield* registry.resolveManifest(app, any.digest)
      return mention(model, any.digest)
    case 9:
      model.now += 40 * 60_000
      return yield* TestClock.setTime(model.now)
    default: {
      const policy = Effect.map(Random.nextBoolean, (isKept) => isKept ? "keep" as const : "collect" as const)
      const options = { olderThan: hour, untagged: yield* policy, danglingReferrers: yield* policy }
      yield* registry.collect(options)
      return collect(model, options)
    }
  }
})

const assertSame = Effect.fnUntraced(function*(
  model: Model,
  registry: Registry,
  seen: { readonly manifests: Set<Digest>; readonly blobs: Set<Digest> }
) {
  for (const digest of model.manifests.keys()) seen.manifests.add(digest)
  for (const digest of model.blobs.keys()) seen.blobs.add(digest)
  for (const digest of seen.manifests) {
    const isThere = yield* Effect.isSuccess(registry.getManifest(app, digest))
    assert.strictEqual(isThere, model.manifests.has(digest), `manifest ${digest}`)
  }
  for (const digest of seen.blobs) {
    const isThere = yield* Effect.isSuccess(Effect.scoped(registry.getBlob(app, digest)))
    assert.strictEqual(isThere, model.blobs.has(digest), `blob ${digest}`)
  }
})

const stores = [
  { name: "MemoryRegistry", make: Effect.map(MemoryRegistry.make(), (registry): Collected => registry) },
  {
    name: "LayoutRegistry",
    make: Effect.flatMap(temporaryFolder, (directory) =>
      Effect.map(
        LayoutRegistry.make({ directory, durability: "process-end" }),
        (registry): Collected => registry
      ))
  }
]

describe.each(stores)("$name", ({ make }) => {
  it.effect.each(Array.from({ length: runs }, (_, seed) => seed))(
    "keeps what is reachable or young, and removes the rest (seed %d)",
    (seed) =>
      Effect.gen(function*() {
        const registry = yield* make
        const model: Model = { now: Date.now() + hour, blobs: new Map(), manifests: new Map(), tags: new Map() }
        const seen = { manifests: new Set<Digest>(), blobs: new Set<Digest>() }
        yield* TestClock.setTime(model.now)
        // files are written by another clock than that of the test, so that everything is marked
        yield* Effect.repeat(
          Effect.andThen(step(model, registry), assertSame(model, registry, seen)),
          { times: steps }
        )
      }).pipe(Random.withSeed(seed), Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
