/**
 * Events of a run of a mirror.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type { CopyError } from "../copy/CopyError.ts"
import type { Digest } from "../Digest.ts"
import type { Tag } from "../Reference.ts"
import type { RepositoryPlan } from "./MirrorPlan.ts"
import type { MirrorReport, RuleReport } from "./MirrorReport.ts"

/**
 * A tag of a destination that a run changes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject {
  readonly rule: string
  /** Repository of the source, with its registry. */
  readonly source: string
  readonly sourceTag: Tag
  /** Repository of the destination, with its registry. */
  readonly destination: string
  readonly tag: Tag
}

/**
 * Event of a run.
 *
 * - `Started`: the run of a rule has begun.
 * - `Planned`: a repository of a destination was compared with its source.
 * - `Copying`: the copy of a tag has begun.
 * - `Progressed`: more bytes of a tag were sent. `bytes` is their number so far.
 * - `Copied`: the destination has the image, and `bytes` were sent for it.
 * - `Failed`: a tag could not be copied or deleted.
 * - `Superseded`: another run has taken the tag over.
 * - `Pruned`: a tag was deleted.
 * - `Problem`: something else went wrong.
 * - `Warned`: an omission, or a warning of a registry.
 * - `Ended`: the run of a rule has ended.
 * - `Done`: all rules have ended. It is the last event.
 *
 * @category models
 * @since 0.1.0
 */
export type MirrorEvent =
  | { readonly _tag: "Started"; readonly rule: string; readonly run: string; readonly repositories: number }
  | { readonly _tag: "Planned"; readonly plan: RepositoryPlan }
  | ({ readonly _tag: "Copying" } & Subject)
  | ({ readonly _tag: "Progressed"; readonly bytes: number } & Subject)
  | ({ readonly _tag: "Copied"; readonly digest: Digest; readonly bytes: number } & Subject)
  | ({
    readonly _tag: "Failed"
    readonly error: string
    /** Error of the copy, if one has failed. */
    readonly cause?: CopyError | undefined
    /** When the next attempt is due. Absent if a person has to change something first. */
    readonly retryAt: DateTime.Utc | undefined
  } & Subject)
  | ({ readonly _tag: "Superseded" } & Subject)
  | ({ readonly _tag: "Pruned"; readonly digest: Digest } & Subject)
  | { readonly _tag: "Problem"; readonly rule: string; readonly problem: string }
  | { readonly _tag: "Warned"; readonly rule: string; readonly text: string }
  | { readonly _tag: "Ended"; readonly report: RuleReport }
  | { readonly _tag: "Done"; readonly report: MirrorReport }
