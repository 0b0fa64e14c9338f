import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MediaType from "effect-oci/MediaType"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import type { Registry } from "effect-oci/Registry"
import * as Retention from "effect-oci/Retention"
import { pushBlob, pushImage, pushManifest, repository, tag } from "./utils/images.ts"
import { override } from "./utils/registries.ts"

const app = repository("team/app")

/** Pushes an image with a time in its config, or in an annotation. */
const pushDated = Effect.fnUntraced(function*(
  registry: Registry,
  name: string,
  created: string,
  where: "config" | "annotation" = "config"
) {
  const config = yield* pushBlob(
    registry,
    app,
    JSON.stringify(where === "config" ? { created, name } : { name }),
    MediaType.imageConfig
  )
  return yield* pushManifest(registry, app, {
    mediaType: MediaType.imageManifest,
    config,
    layers: [],
    ...where === "config" ? {} : { annotations: { "org.opencontainers.image.created": created } }
  }, [tag(name)])
})

const apply = (registry: Registry, rules: ReadonlyArray<Retention.Rule>, dryRun = false) =>
  Effect.map(
    Retention.apply({ registry, repository: app, rules, dryRun }),
    (deleted) => deleted.map(({ tag }) => String(tag))
  )

const tagsOf = (registry: Registry) => Effect.map(Stream.runCollect(registry.tags(app)), (tags) => tags.map(String))

describe("Retention", () => {
  it.effect("keeps the highest versions, and tags that are not versions", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushImage(registry, app, ["layer"], { tags: ["1.9.0", "v1.10.0", "1.11.0", "edge"].map(tag) })
      assert.deepStrictEqual(yield* apply(registry, [{ newest: 2 }]), ["1.9.0"])
      assert.deepStrictEqual(yield* tagsOf(registry), ["1.11.0", "edge", "v1.10.0"])
    }))

  it.effect("deletes nothing in a dry run", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushImage(registry, app, ["layer"], { tags: ["1.0.0", "2.0.0"].map(tag) })
      assert.deepStrictEqual(yield* apply(registry, [{ newest: 1 }], true), ["1.0.0"])
      assert.deepStrictEqual(yield* tagsOf(registry), ["1.0.0", "2.0.0"])
    }))

  it.effect("keeps the images that were created last", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushDated(registry, "new", "2025-03-01T00:00:00Z")
      yield* pushDated(registry, "old", "2023-03-01T00:00:00Z")
      yield* pushDated(registry, "middle", "2024-03-01T00:00:00+02:00", "annotation")
      yield* pushDated(registry, "timeless", "yesterday")
      assert.deepStrictEqual(yield* apply(registry, [{ newest: 2, by: "created" }]), ["old"])
      assert.deepStrictEqual(yield* tagsOf(registry), ["middle", "new", "timeless"])
    }))

  it.effect("is about the tags that a rule selects only", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      for (const number of [1, 2, 3]) {
        yield* pushDated(registry, `pr-${number}`, `2024-01-0${number}`)
        yield* pushDated(registry, `main-${number}`, `2024-01-0${number}`)
      }
      const rule = { tags: { include: [/^pr-/] }, newest: 1, by: "created" } as const
      assert.sameMembers(yield* apply(registry, [rule]), ["pr-1", "pr-2"])
    }))

  it.effect("keeps a tag that one of several rules keeps", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushImage(registry, app, ["layer"], { tags: ["1.0.0", "1.1.0", "2.0.0"].map(tag) })
      const rules = [{ newest: 1 }, { tags: { include: [/^1/] }, newest: 1 }]
      assert.deepStrictEqual(yield* apply(registry, rules), ["1.0.0"])
    }))

  it.effect("deletes no tags made of digests", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushDated(registry, `sha256-${"0".repeat(64)}.sig`, "2024-01-01")
      yield* pushDated(registry, "a", "2024-01-02")
      assert.deepStrictEqual(yield* apply(registry, [{ newest: 1, by: "created" }]), [])
    }))

  it.effect("keeps a tag that moves after its time was read", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushDated(registry, "a", "2024-01-01")
      yield* pushDated(registry, "b", "2024-01-02")
      let isMoved = false
      const moving = override(registry, {
        getBlob: (name, digest, options) =>
          Effect.gen(function*() {
            if (!isMoved) {
              isMoved = true
              yield* Effect.orDie(pushDated(registry, "a", "2024-01-03"))
            }
            return yield* registry.getBlob(name, digest, options)
          })
      })
      yield* apply(moving, [{ newest: 1, by: "created" }])
      assert.include(yield* tagsOf(registry), "a")
    }))

  it.effect("goes on if another client deletes a tag at the same time", () =>
    Effect.gen(function*() {
      const registry = yield* MemoryRegistry.make()
      yield* pushImage(registry, app, ["layer"], { tags: ["1.0.0", "2.0.0", "3.0.0"].map(tag) })
      const contended = override(registry, {
        deleteTag: (name, deleted) =>
          Effect.andThen(
            deleted === "2.0.0" ? registry.deleteTag(name, deleted) : Effect.void,
            registry.deleteTag(name, deleted)
          )
      })
      assert.deepStrictEqual(yield* apply(contended, [{ newest: 1 }]), ["1.0.0"])
      assert.deepStrictEqual(yield* tagsOf(registry), ["3.0.0"])
    }))
})
