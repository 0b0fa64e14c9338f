/**
 * Promises of the contract about a registry as a whole, and about its errors.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Repository } from "../../Reference.ts"
import type { Registry } from "../../Registry.ts"
import type { RegistryError } from "../../RegistryError.ts"
import { pushImage, tag } from "../Images.ts"
import { type Case, type Need, promise } from "./Case.ts"
import * as Expect from "./Expect.ts"
import { fresh, nowhere } from "./Helpers.ts"

type Failing = (registry: Registry, name: Repository) => Effect.Effect<unknown, RegistryError>

/** Operations that fail in a repository that has neither the tag `2` nor the digest `nowhere`. */
const failures: ReadonlyArray<readonly [operation: string, needs: ReadonlyArray<Need>, failing: Failing]> = [
  ["getBlob", [], (registry, name) => Effect.scoped(registry.getBlob(name, nowhere))],
  ["resolveBlob", [], (registry, name) => registry.resolveBlob(name, nowhere)],
  ["getManifest", [], (registry, name) => registry.getManifest(name, tag("2"))],
  ["resolveManifest", [], (registry, name) => registry.resolveManifest(name, nowhere)],
  ["deleteBlob", ["delete"], (registry, name) => registry.deleteBlob(name, nowhere)],
  ["deleteManifest", ["delete"], (registry, name) => registry.deleteManifest(name, nowhere)],
  ["deleteTag", ["tagDelete"], (registry, name) => registry.deleteTag(name, tag("2"))]
]

const errors: ReadonlyArray<Case> = [
  ...failures.map(([operation, needs, failing]) =>
    promise(`an error of ${operation} names the operation and the repository`, needs, function*(
      registry,
      origin
    ) {
      const name = yield* fresh
      yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
      const error = yield* Expect.failure(failing(registry, name))
      yield* Expect.equal({ operation: error.operation, repository: error.repository }, { operation, repository: name })
    })
  ),
  ...failures.map(([operation, needs, failing]) =>
    promise(`an error of ${operation} names the registry`, [...needs, "ownErrors"], function*(
      registry,
      origin
    ) {
      const name = yield* fresh
      yield* pushImage(origin, name, ["layer"], { tags: [tag("1")] })
      yield* Expect.equal((yield* Expect.failure(failing(registry, name))).registry, registry.name)
    })
  ),
  promise(
    "an error of a list names the operation and the repository",
    ["repositories", "tags"],
    function*(registry) {
      const name = yield* fresh
      const error = yield* Expect.failure(Stream.runDrain(registry.tags(name)))
      yield* Expect.equal(
        { operation: error.operation, repository: error.repository },
        { operation: "tags", repository: name }
      )
    }
  )
]

export const general: ReadonlyArray<Case> = [
  promise("a registry answers a ping", ["ping"], function*(registry) {
    yield* registry.ping
  }),
  promise("a registry has a name", [], function*(registry) {
    yield* Expect.holds(registry.name !== "", "a name", "none")
  }),
  ...errors
]
