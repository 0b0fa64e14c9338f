/**
 * Where the command looks for credentials, so that the advice after a refusal can say so.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type { Place } from "../auth/Credentials.ts"

export interface Search {
  /** The only file that is read, if it is given. */
  readonly file: string | undefined
  /** Returns the flag or variable whose credentials are used for a place, instead of stored ones. */
  readonly origin: (place: Place) => Effect.Effect<string | undefined>
}

/** The search before a verb has read its flags. */
export const initial: Search = { file: undefined, origin: () => Effect.undefined }

/** The search of the command that runs, which a verb sets. */
export const CredentialSearch: Context.Reference<Ref.Ref<Search>> = Context.Reference(
  "effect-oci/cli/CredentialSearch",
  { defaultValue: () => Ref.makeUnsafe(initial) }
)
