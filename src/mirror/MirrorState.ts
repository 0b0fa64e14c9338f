/**
 * State of a mirror: the tags that it has put at destinations, its runs, and the budgets of registries.
 *
 * One row per destination tag is at once the memory between runs, the status, the list of failures, and the fence: each
 * job that changes a tag gets the next `generation` of the row, and may change the tag only while it has the latest.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Digest } from "../Digest.ts"
import type { Tag } from "../Reference.ts"

/**
 * The store of the state cannot be read or written.
 *
 * @category errors
 * @since 0.1.0
 */
export class MirrorStateError extends Schema.TaggedError<MirrorStateError>("effect-oci/MirrorState/MirrorStateError")(
  "MirrorStateError",
  {
    operation: Schema.String,
    cause: Schema.Defect(),
    /** True if another attempt may succeed: the store is away or locked. */
    isRetryable: Schema.Boolean
  }
) {}

/**
 * A tag of a destination.
 *
 * @category models
 * @since 0.1.0
 */
export interface TagState {
  /** Repository of the destination, with its registry: `harbor.local/library/alpine`. */
  readonly destination: string
  readonly tag: Tag
  readonly rule: string
  /** Repository of the source, with its registry. */
  readonly source: string
  readonly sourceTag: Tag
  /** Digest of the source when it was last copied or found to be unchanged. */
  readonly sourceDigest: Digest | undefined
  /** Digest that the destination got. It differs from that of the source if an index was rewritten. */
  readonly destinationDigest: Digest | undefined
  /** Fingerprint of the platforms and other settings that decide what the destination gets. */
  readonly filterKey: string
  readonly generation: number
  readonly status: "pending" | "copied" | "kept" | "failed"
  /** Text of the last failure. */
  readonly error: string | undefined
  /** Number of failures since the last success. */
  readonly attempts: number
  /** When the next attempt after a failure is due. */
  readonly retryAt: DateTime.Utc | undefined
  /** When the destination was last seen to have the digest. */
  readonly checkedAt: DateTime.Utc | undefined
  readonly copiedAt: DateTime.Utc | undefined
  /** When the referrers of the source were last looked at. */
  readonly referrersAt: DateTime.Utc | undefined
  /** Number of consecutive runs that meant to delete the tag. */
  readonly missing: number
}

/**
 * A run of a rule.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunState {
  readonly id: string
  readonly rule: string
  /** Time for which the schedule planned the run. */
  readonly slot: DateTime.Utc | undefined
  readonly startedAt: DateTime.Utc
  readonly endedAt: DateTime.Utc | undefined
  /** Process that runs it. */
  readonly by: string
  readonly planned: number
  readonly copied: number
  readonly failed: number
  readonly pruned: number
  readonly bytes: number
  readonly requests: number
  /** Text of a failure of the run itself, such as of a list of tags. */
  readonly error: string | undefined
}

/**
 * A repository of the source, as a rule last listed it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ListState {
  readonly rule: string
  readonly source: string
  /** Number of tags in the last complete list. */
  readonly tags: number
  readonly listedAt: DateTime.Utc
}

/**
 * The state of a mirror.
 *
 * @category services
 * @since 0.1.0
 */
export class MirrorState extends Context.Service<MirrorState, {
  /** Returns the tags of a repository of a destination. */
  readonly tags: (destination: string) => Effect.Effect<ReadonlyArray<TagState>, MirrorStateError>
  /** Returns the tags of a rule, or of all rules, that have a status, ordered by destination and tag. */
  readonly find: (filter: {
    readonly rule?: string | undefined
    readonly status?: TagState["status"] | undefined
    readonly limit?: number | undefined
  }) => Effect.Effect<ReadonlyArray<TagState>, MirrorStateError>
  /** Returns the number of tags by rule and status. */
  readonly counts: Effect.Effect<
    ReadonlyArray<{ readonly rule: string; readonly status: TagState["status"]; readonly tags: number }>,
    MirrorStateError
  >
  /**
   * Starts a change of tags of one repository: raises the generation of each, in one step, and returns them. A tag
   * without a row gets one with the status `pending`.
   */
  readonly begin: (
    tags: ReadonlyArray<Omit<TagState, "generation">>
  ) => Effect.Effect<ReadonlyArray<TagState>, MirrorStateError>
  /** Returns true if the tag still has this generation, so that the job that got it may change the tag. */
  readonly holds: (
    tag: Pick<TagState, "destination" | "tag" | "generation">
  ) => Effect.Effect<boolean, MirrorStateError>
  /**
   * Records tags, each of which must still have its generation. Returns the rows that have another one: they are left
   * as they are.
   */
  readonly record: (tags: ReadonlyArray<TagState>) => Effect.Effect<ReadonlyArray<TagState>, MirrorStateError>
  /** Removes the row of a deleted tag, if it still has this generation. */
  readonly remove: (tag: Pick<TagState, "destination" | "tag" | "generation">) => Effect.Effect<void, MirrorStateError>
  readonly list: (rule: string, source: string) => Effect.Effect<ListState | undefined, MirrorStateError>
  readonly recordList: (list: ListState) => Effect.Effect<void, MirrorStateError>
  /** Adds a run, or replaces the one with its id. Old runs are removed after their retention. */
  readonly recordRun: (run: RunState) => Effect.Effect<void, MirrorStateError>
  /** Returns the latest runs of a rule, or of all rules, latest first. */
  readonly runs: (filter: {
    readonly rule?: string | undefined
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<RunState>, MirrorStateError>
}>()("effect-oci/MirrorState") {}
