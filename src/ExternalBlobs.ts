/**
 * Content outside of registries: layers that their licence keeps out of registries are at the `urls` of their
 * descriptor (image-spec, `descriptor.md`).
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Stream from "effect/Stream"
import type { Descriptor } from "./Descriptor.ts"
import type { RegistryError } from "./RegistryError.ts"

/**
 * Opens content at one of the `urls` of its descriptor, from an offset on, which is at most its size. `registry` is the
 * name of the registry that has the descriptor. The content need not be verified, because a copy does that.
 *
 * @category models
 * @since 0.1.0
 */
export type Open = (
  descriptor: Descriptor,
  options: { readonly registry: string; readonly offset: number }
) => Stream.Stream<Uint8Array, RegistryError>

/**
 * Function with which copies get external layers if `externalLayers` is `"fetch"`. `HttpResolver.layerExternalBlobs`
 * and `NodeNamespace.layer` provide one that uses HTTP. Without one, such a copy fails with `Unsupported`.
 *
 * @default undefined
 * @category references
 * @since 0.1.0
 */
export const ExternalBlobs: Context.Reference<Open | undefined> = Context.Reference<Open | undefined>(
  "effect-oci/ExternalBlobs",
  { defaultValue: () => undefined }
)
