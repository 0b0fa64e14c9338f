/**
 * Contract of `Registry` as data: one suite for every implementation.
 *
 * A case is a promise, as a sentence, and an effect that fails with a {@link Violation} if the registry breaks it.
 * Cases work with any test runner. They use their own repositories, `contract/…`, so that all of them can share one
 * registry, also with other users. They do not delete what they pushed.
 *
 * **Example** (Running it in Vitest)
 *
 * ```ts import.meta.vitest
 * import { describe, it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import { Contract } from "effect-oci/testing"
 *
 * describe("MyRegistry", () => {
 *   it.effect.each(Contract.cases)("$name", ({ effect }) => Effect.flatMap(MemoryRegistry.make(), effect))
 * })
 * ```
 *
 * `Contract.without("delete", "sha512")` omits the cases that need features which a registry lacks. A read-only
 * registry is filled through another one: `effect(readOnly, writable)`.
 *
 * **Example** (Without a test runner)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Registry from "effect-oci/Registry"
 * import { Contract } from "effect-oci/testing"
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const forgetful = Registry.make({ ...registry, deleteBlob: () => Effect.void })
 *   return yield* Contract.violations(forgetful)
 * })
 *
 * const violations = await Effect.runPromise(program)
 * violations.some(({ promise }) => promise === "a deleted blob is absent") // => true
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Registry } from "../Registry.ts"
import { blobs } from "./contract/Blobs.ts"
import type { Case, Need, Violation } from "./contract/Case.ts"
import { general } from "./contract/General.ts"
import { lists } from "./contract/Lists.ts"
import { manifests } from "./contract/Manifests.ts"
import { mounts } from "./contract/Mounts.ts"
import { uploads } from "./contract/Uploads.ts"

export {
  /** @since 0.1.0 */
  type Case,
  /** @since 0.1.0 */
  type Need,
  /** @since 0.1.0 */
  Violation
} from "./contract/Case.ts"

/**
 * All cases of the contract.
 *
 * @category constants
 * @since 0.1.0
 */
export const cases: ReadonlyArray<Case> = [...general, ...blobs, ...uploads, ...mounts, ...manifests, ...lists]

/**
 * Returns the cases that need none of the given features.
 *
 * @category constructors
 * @since 0.1.0
 */
export const without = (...lacks: ReadonlyArray<Need>): ReadonlyArray<Case> =>
  cases.filter(({ needs }) => !needs.some((need) => lacks.includes(need)))

/**
 * Runs cases on a registry, one after another, and returns the violations. Default of `cases`: the whole contract. The
 * cases write existing content through `origin`. Default: the same registry.
 *
 * @category combinators
 * @since 0.1.0
 */
export const violations = (registry: Registry, options?: {
  readonly cases?: ReadonlyArray<Case> | undefined
  readonly origin?: Registry | undefined
}): Effect.Effect<ReadonlyArray<Violation>> =>
  Effect.map(
    Effect.partition(options?.cases ?? cases, ({ effect }) => effect(registry, options?.origin)),
    ([, violations]) => violations
  )
