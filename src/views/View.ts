/**
 * Views: registries that restrict, rename or log the calls of another registry.
 *
 * A view is a function from a registry to a registry, so views can be combined. {@link layer} creates a layer from
 * one. A view preserves the promises of the registry: streams stay streams, upload sessions can be resumed through the
 * view by the ids that it returned, and the view has the capabilities of the registry that still apply.
 *
 * **Example** (A read-only part of a registry)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Reference from "effect-oci/Reference"
 * import * as Registry from "effect-oci/Registry"
 * import * as View from "effect-oci/View"
 *
 * const team = Reference.Repository.make("team")
 *
 * const layer = View.layer((registry) => View.readOnly(View.sub(registry, team))).pipe(
 *   Layer.provide(MemoryRegistry.layer({ name: "mem.local" }))
 * )
 *
 * Effect.runSync(Effect.provide(Registry.Registry.useSync(({ name }) => name), layer)) // => "mem.local/team"
 * ```
 *
 * `UnionRegistry` and `CacheRegistry` combine several registries.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Registry from "../Registry.ts"

export {
  /** @since 0.1.0 */
  type Call,
  /** @since 0.1.0 */
  type Operation
} from "./Intercept.ts"

export {
  /** @since 0.1.0 */
  type CallEnded,
  /** @since 0.1.0 */
  logged
} from "./Logged.ts"

export {
  /** @since 0.1.0 */
  immutable
} from "./Immutable.ts"

export {
  /** @since 0.1.0 */
  readOnly
} from "./ReadOnly.ts"

export {
  /** @since 0.1.0 */
  type Access,
  /** @since 0.1.0 */
  select
} from "./Select.ts"

export {
  /** @since 0.1.0 */
  sub
} from "./Sub.ts"

/**
 * Provides a view of the `Registry` service as the `Registry` service.
 *
 * **Example** (A read-only registry)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Registry from "effect-oci/Registry"
 * import { Images } from "effect-oci/testing"
 * import * as View from "effect-oci/View"
 *
 * const layer = View.layer(View.readOnly).pipe(Layer.provide(MemoryRegistry.layer()))
 *
 * const program = Registry.Registry.use((registry) => Images.pushBlob(registry, Images.repository("app"), "hello"))
 *
 * const error = Effect.runSync(Effect.flip(Effect.provide(program, layer)))
 * error.message // => "memory/app: the registry does not support this: this view is read-only (pushBlob)"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  view: (registry: Registry.Registry) => Registry.Registry
): Layer.Layer<Registry.Registry, never, Registry.Registry> =>
  Layer.effect(Registry.Registry, Effect.map(Registry.Registry, view))
