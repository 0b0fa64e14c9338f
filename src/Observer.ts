/**
 * Events below the operations of registries: requests, retries, pauses and warnings.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Repository, Tag } from "./Reference.ts"
import type { RegistryError } from "./RegistryError.ts"

/**
 * Events of an operation that are not its result: a request was sent; a failure is retried; a registry sent a warning
 * (distribution-spec, "Warnings"), or credentials for it were ignored, because they cannot be read; a request waits for
 * the end of a pause that the registry asked for; a cache served a tag as last known, because the registry fails.
 *
 * @category models
 * @since 0.1.0
 */
export type RegistryEvent =
  | { readonly _tag: "Requested"; readonly registry: string; readonly method: string }
  | {
    readonly _tag: "Retried"
    readonly registry: string
    readonly error: RegistryError
    readonly delay: Duration.Duration
  }
  | { readonly _tag: "Warning"; readonly registry: string; readonly text: string }
  | { readonly _tag: "Paused"; readonly registry: string; readonly duration: Duration.Duration }
  | {
    readonly _tag: "ServedStale"
    readonly registry: string
    readonly repository: Repository
    readonly tag: Tag
    /** Time since the registry was asked with success. `undefined` if that was before a restart. */
    readonly age: Duration.Duration | undefined
  }

/**
 * Function that receives each {@link RegistryEvent}.
 *
 * @default does nothing
 * @category references
 * @since 0.1.0
 */
export const Observer: Context.Reference<(event: RegistryEvent) => Effect.Effect<void>> = Context.Reference<
  (event: RegistryEvent) => Effect.Effect<void>
>("effect-oci/Registry/Observer", { defaultValue: () => () => Effect.void })
