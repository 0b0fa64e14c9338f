import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as PrefixRegistry from "effect-oci/PrefixRegistry"
import { Denied } from "effect-oci/RegistryError"
import { Faults } from "effect-oci/testing"
import { pushBlob, pushImage, repository, tag } from "../utils/images.ts"

const setup = Effect.gen(function*() {
  const hub = yield* MemoryRegistry.make({ name: "docker.io" })
  const tools = yield* MemoryRegistry.make({ name: "tools.test" })
  const rest = yield* MemoryRegistry.make({ name: "own.test" })
  const both = PrefixRegistry.make({ registries: { hub, "hub/tools": tools }, rest })
  return { hub, tools, rest, both }
})

describe("a registry of prefixes", () => {
  it.effect("selects the registry of the longest prefix", () =>
    Effect.gen(function*() {
      const { both, hub, rest, tools } = yield* setup
      for (const [registry, name] of [[hub, "library/alpine"], [tools, "crane"], [rest, "app"]] as const) {
        yield* pushImage(registry, repository(name), [name], { tags: [tag("1")] })
      }
      for (const name of ["hub/library/alpine", "hub/tools/crane", "app"]) {
        assert.isTrue(yield* Effect.isSuccess(both.getManifest(repository(name), tag("1"))), name)
      }
      assert.isTrue(yield* Effect.isFailure(both.getManifest(repository("library/alpine"), tag("1"))))
    }))

  it.effect("hides repositories of the rest that a prefix covers", () =>
    Effect.gen(function*() {
      const { both, rest } = yield* setup
      yield* pushImage(rest, repository("hub/secret"), ["a"], { tags: [tag("1")] })
      assert.isTrue(yield* Effect.isFailure(both.getManifest(repository("hub/secret"), tag("1"))))
      assert.deepStrictEqual(yield* Stream.runCollect(both.repositories()), [])
    }))

  it.effect("lists all repositories in order, and after a name", () =>
    Effect.gen(function*() {
      const { both, hub, rest, tools } = yield* setup
      for (const [registry, names] of [[hub, ["a", "b"]], [tools, ["c"]], [rest, ["app", "z"]]] as const) {
        for (const name of names) yield* pushImage(registry, repository(name), [name], { tags: [tag("1")] })
      }
      const all = ["app", "hub/a", "hub/b", "hub/tools/c", "z"]
      for (const [position, after] of ["", ...all].entries()) {
        assert.deepStrictEqual(yield* Stream.runCollect(both.repositories({ after })), all.slice(position))
      }
    }))

  it.effect("lists the others if one registry lists nothing to its clients", () =>
    Effect.gen(function*() {
      const { hub, rest } = yield* setup
      yield* pushImage(rest, repository("app"), ["a"], { tags: [tag("1")] })
      const { registry } = yield* Faults.make(hub, [Faults.fail(new Denied({}), { operation: "repositories" })])
      const both = PrefixRegistry.make({ registries: { hub: registry }, rest })
      assert.deepStrictEqual(yield* Stream.runCollect(both.repositories()), ["app"])
    }))

  it.effect("refuses names without a registry", () =>
    Effect.gen(function*() {
      const { hub } = yield* setup
      const only = PrefixRegistry.make({ registries: { hub } })
      const name = repository("app")
      const read = yield* Effect.flip(only.getManifest(name, tag("1")))
      const written = yield* Effect.flip(pushBlob(only, name, "content"))
      assert.strictEqual(read.reason._tag, "NameUnknown")
      assert(written._tag === "RegistryError" && written.reason._tag === "Denied")
      assert.include(written.message, "names begin with hub/")
    }))

  it.effect("mounts within one registry only", () =>
    Effect.gen(function*() {
      const { both } = yield* setup
      const { digest } = yield* pushBlob(both, repository("hub/a"), "content")
      const mount = (name: string) =>
        Effect.scoped(both.startUpload(repository(name), { mount: { digest, from: repository("hub/a") } }))
      assert.strictEqual((yield* mount("hub/b"))._tag, "Mounted")
      assert.strictEqual((yield* mount("app"))._tag, "Upload")
    }))
})
