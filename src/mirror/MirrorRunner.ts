/**
 * Execution of the runs of one configuration, for a service.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type { Budget } from "../Limiter.ts"
import type { Tag } from "../Reference.ts"
import type { Hooks } from "./Hooks.ts"
import type { MirrorEvent } from "./MirrorEvent.ts"
import type { MirrorNotification } from "./MirrorNotification.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { MirrorStateError, RunState } from "./MirrorState.ts"

/**
 * Copy of a tag that is running.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunningCopy {
  readonly source: string
  /** Repository of the destination with the tag. */
  readonly destination: string
  readonly startedAt: DateTime.Utc
  /** Number of bytes sent so far. */
  readonly bytes: number
}

/**
 * Progress of a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Activity {
  readonly planned: number
  readonly copied: number
  readonly failed: number
  readonly pruned: number
  readonly bytes: number
  readonly copies: ReadonlyArray<RunningCopy>
}

/**
 * Tags of a rule that a run looks at: `all`; those that the destination lacks (`missing`), so that no tag moves; or
 * those that have failed before (`failed`).
 *
 * @category models
 * @since 0.1.0
 */
export type Selection = "all" | "missing" | "failed"

/**
 * Part of a run: some tags of one repository of the source, which any process may copy.
 *
 * @category models
 * @since 0.1.0
 */
export interface Part {
  /** Repository of the source, with its registry. */
  readonly source: string
  /** Tags of the source, at most 50. */
  readonly tags: ReadonlyArray<Tag>
}

/**
 * Request for a part of a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface PartRequest extends Part {
  /** Id of the run. */
  readonly run: string
  readonly selection: Selection
}

/**
 * Result of a part: the number of its requests, and the events that its run counts.
 *
 * @category models
 * @since 0.1.0
 */
export interface PartResult {
  readonly requests: number
  readonly events: ReadonlyArray<MirrorEvent>
}

/**
 * Parts of a run that other processes may take.
 *
 * @category models
 * @since 0.1.0
 */
export interface Share {
  /** Waits for the parts of the same run that an earlier process has shared, and returns their results. */
  readonly former: Effect.Effect<ReadonlyArray<PartResult>, MirrorStateError>
  /** Shares a part, and waits for its result. */
  readonly run: (part: Part) => Effect.Effect<PartResult, MirrorStateError>
}

/**
 * A run that several processes share.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedRun extends Share {
  readonly id: string
  /** When the first process has begun it. */
  readonly startedAt: DateTime.Utc
  /** False if another process has ended the run meanwhile, so that this one must not record it. */
  readonly isOpen: Effect.Effect<boolean, MirrorStateError>
}

/**
 * Request for a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunRequest {
  readonly selection: Selection
  /** Time for which the schedule planned the run. */
  readonly slot: DateTime.Utc | undefined
  /** Shares the copies with other processes. Default: this process makes all of them. */
  readonly shared?: SharedRun | undefined
}

/**
 * Registry of a mirror, with the limits of its requests.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostStatus {
  readonly host: string
  /** Largest number of requests in each second, if there is one. */
  readonly rate: number | undefined
  /** Number of requests that may currently run at the same time. */
  readonly concurrency: number
  readonly budget: Budget | undefined
}

/**
 * Runs the rules of one configuration.
 *
 * @category models
 * @since 0.1.0
 */
export interface MirrorRunner {
  /** Runs a rule, records the run in the state, and returns it. Interruption cancels uploads. */
  readonly run: (
    rule: MirrorRule,
    request: RunRequest,
    watch: (activity: Activity) => Effect.Effect<void>
  ) => Effect.Effect<RunState, { readonly message: string }>
  /** Runs a part of a run of a rule that another process has shared. */
  readonly copy: (
    rule: MirrorRule,
    request: PartRequest,
    watch: (activity: Activity) => Effect.Effect<void>
  ) => Effect.Effect<PartResult, { readonly message: string }>
  /** Registries with which the runner has made contact, by host. */
  readonly hosts: Effect.Effect<ReadonlyArray<HostStatus>>
  /** Receives the notifications of the rules. It must not wait. */
  readonly notify?: ((notification: MirrorNotification) => Effect.Effect<void>) | undefined
}

/**
 * Parts of a runner that belong to its configuration.
 *
 * @category models
 * @since 0.1.0
 */
export interface Parts extends Partial<Pick<MirrorRunner, "hosts" | "notify">> {
  /** Hooks of the runs. Default: those of the program. */
  readonly hooks?: Hooks | undefined
}
