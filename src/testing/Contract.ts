/**
 * What every registry must do, as data: one suite for all that there are, and for those that you write.
 *
 * A case is a promise, as a sentence, and an effect that fails with a {@link Violation} where it is not kept. It asks
 * nothing of the test runner. Cases work in repositories of their own, `contract/…`, so that all of them can share a
 * registry, which others may use meanwhile; they leave there what they pushed.
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
 * What a registry is not meant to do is left out by `Contract.without("delete", "sha512")`. One that cannot be written to
 * is filled through another: `effect(readOnly, writable)`.
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
 * violations.some(({ promise }) => promise === "a blob that was deleted is not there") // => true
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
 * The whole contract.
 *
 * @category constants
 * @since 0.1.0
 */
export const cases: ReadonlyArray<Case> = [...general, ...blobs, ...uploads, ...mounts, ...manifests, ...lists]

/**
 * The contract of a registry that lacks something.
 *
 * @category constructors
 * @since 0.1.0
 */
export const without = (...lacks: ReadonlyArray<Need>): ReadonlyArray<Case> =>
  cases.filter(({ needs }) => !needs.some((need) => lacks.includes(need)))

/**
 * Tries a registry, and tells what it does not keep of the contract, or of the part of it that is given. What is to be
 * there beforehand is written through `origin`, the same registry unless given.
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
