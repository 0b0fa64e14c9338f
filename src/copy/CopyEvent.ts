/**
 * What happens while a copy runs.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type { Descriptor } from "../Descriptor.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { CopyReport, Entry, Role } from "./CopyReport.ts"

/**
 * What happens while a copy runs, in the order in which it happens.
 *
 * - `Planned`: there is a piece of content to deal with: a manifest or blob, which `Settled` follows. It may turn out
 *   to be there.
 * - `Started`: its bytes begin to move.
 * - `Progressed`: so many of its bytes have moved by now; not told for each of them, and again from less where a transfer
 *   goes on from before.
 * - `Settled`: it is dealt with; `entry.outcome` tells how. What is `copied` or `mounted` was pushed.
 * - `Retried`: something failed, and is tried again.
 * - `Paused`: a registry asked for a pause.
 * - `Warned`: a registry warned of something, or had to be helped.
 * - `Done`: the copy is done.
 *
 * @category models
 * @since 0.1.0
 */
export type CopyEvent =
  | { readonly _tag: "Planned"; readonly descriptor: Descriptor; readonly role: Role }
  | { readonly _tag: "Started"; readonly descriptor: Descriptor }
  | { readonly _tag: "Progressed"; readonly descriptor: Descriptor; readonly bytes: number }
  | { readonly _tag: "Settled"; readonly entry: Entry }
  | { readonly _tag: "Retried"; readonly error: RegistryError; readonly delay: Duration.Duration }
  | { readonly _tag: "Paused"; readonly registry: string; readonly duration: Duration.Duration }
  | { readonly _tag: "Warned"; readonly registry: string; readonly text: string }
  | { readonly _tag: "Done"; readonly report: CopyReport }
