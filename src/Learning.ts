/**
 * Notices of the capabilities of a registry that its responses show, for operations that wait for them while the one
 * that learns them is still running.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Capabilities } from "./Registry.ts"

/** Receives the name of a registry, and the capabilities that one of its responses has shown. */
export type OnLearnt = (registry: string, news: Capabilities) => Effect.Effect<void>

export const OnLearnt: Context.Reference<OnLearnt | undefined> = Context.Reference<OnLearnt | undefined>(
  "effect-oci/Learning/OnLearnt",
  { defaultValue: () => undefined }
)
