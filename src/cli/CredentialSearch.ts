/**
 * The sources of credentials that the command searches, so that the advice after a refusal can name them.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type { Place } from "../auth/Credentials.ts"

export interface Search {
  /** The file of `--authfile`, which replaces all others. */
  readonly file: string | undefined
  /** Returns the flag or variable whose credentials are used for a place, instead of stored ones. */
  readonly origin: (place: Place) => Effect.Effect<string | undefined>
}

/** The search before a verb has read its flags. */
export const initial: Search = { file: undefined, origin: () => Effect.undefined }

/** The search of the running command. A verb sets it. */
export const CredentialSearch: Context.Reference<Ref.Ref<Search>> = Context.Reference(
  "effect-oci/cli/CredentialSearch",
  { defaultValue: () => Ref.makeUnsafe(initial) }
)
