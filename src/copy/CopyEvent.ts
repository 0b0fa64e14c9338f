/**
 * Events of a running copy.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type { Descriptor } from "../Descriptor.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { CopyReport, Entry, Role } from "./CopyReport.ts"

/**
 * Events of a running copy, in the order in which they happen.
 *
 * - `Planned`: the copy has discovered a manifest or blob. A `Settled` event follows, unless the copy fails. The
 *   destination may already have the content.
 * - `Started`: the transfer of a blob begins.
 * - `Progressed`: number of bytes of a blob that have been read so far. Emitted at intervals of 100 milliseconds. The
 *   number decreases if a transfer resumes at an earlier offset.
 * - `Settled`: the copy has recorded the outcome of a manifest or blob, in `entry.outcome`.
 * - `Retried`: a request or transfer failed, and is retried after `delay`.
 * - `Paused`: a registry asked for a pause.
 * - `Warned`: a registry sent a warning, or the copy had to work around a defect of a registry.
 * - `Done`: the copy has succeeded.
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
