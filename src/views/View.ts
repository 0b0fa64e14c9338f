/**
 * Registries made of one registry: what they let through, refuse, rename or tell.
 *
 * A view is a function from a registry to a registry, and views of views are views. {@link layer} makes a layer of one.
 * What a view passes on keeps its promises: streams stay streams, upload sessions can be taken up through it by the ids
 * that it told, and what the registry is known to do is known of the view, as far as it still does.
 *
 * **Example** (A part of a registry, only read)
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
 * Registries made of several are in `UnionRegistry` and `CacheRegistry`.
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
 * The `Registry` service, seen through a view.
 *
 * **Example** (A registry that can only be read)
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
 * error.message // => "memory/app: the registry does not support this: it is only read here (pushBlob)"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  view: (registry: Registry.Registry) => Registry.Registry
): Layer.Layer<Registry.Registry, never, Registry.Registry> =>
  Layer.effect(Registry.Registry, Effect.map(Registry.Registry, view))
