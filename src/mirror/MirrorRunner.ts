/**
 * Execution of the runs of one configuration, for a service.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Budget } from "../Limiter.ts"
import { Namespace } from "../Namespace.ts"
import { Hooks } from "./Hooks.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorEvent, Subject } from "./MirrorEvent.ts"
import type { MirrorNotification } from "./MirrorNotification.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import { MirrorState, type MirrorStateError, type RunState } from "./MirrorState.ts"

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
 * Request for a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunRequest {
  readonly selection: Selection
  /** Time for which the schedule planned the run. */
  readonly slot: DateTime.Utc | undefined
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

/** The function `Mirror.run`, as far as a runner needs it. */
type Run = (
  config: MirrorConfig,
  options: {
    readonly rules: (rule: MirrorRule) => boolean
    readonly only: Selection
    readonly slot: DateTime.Utc | undefined
    readonly by?: string | undefined
    readonly copies?: number | undefined
  }
) => Stream.Stream<MirrorEvent, MirrorStateError, Namespace | MirrorState>

/** A run has ended without a record of it. */
class RunVanished extends Data.Error<{ readonly rule: string }> {
  override get message(): string {
    return `the run of ${this.rule} left no record`
  }
}

// actions of a plan that change no tag
const idle: ReadonlySet<string> = new Set([
  "unchanged",
  "immutable",
  "keep",
  "refused",
  "later",
  "failed",
  "deleteLater"
])

/** Collects the progress of a run from its events. */
const follow = () => {
  const copies = new Map<string, RunningCopy>()
  const counts = { planned: 0, copied: 0, failed: 0, pruned: 0, bytes: 0 }
  let run: string | undefined
  const keyOf = ({ destination, tag }: Subject): string => `${destination}:${tag}`
  const add = (event: MirrorEvent, now: DateTime.Utc): void => {
    switch (event._tag) {
      case "Started":
        run = event.run
        return
      case "Planned":
        counts.planned += event.plan.tags.filter(({ action }) => !idle.has(action)).length
        return
      case "Copying": {
        const { source, sourceTag } = event
        const destination = keyOf(event)
        copies.set(destination, { source: `${source}:${sourceTag}`, destination, startedAt: now, bytes: 0 })
        return
      }
      case "Progressed": {
        const copy = copies.get(keyOf(event))
        if (copy !== undefined) copies.set(copy.destination, { ...copy, bytes: event.bytes })
        return
      }
      case "Copied":
        copies.delete(keyOf(event))
        counts.copied++
        counts.bytes += event.bytes
        return
      case "Failed":
        copies.delete(keyOf(event))
        counts.failed++
        return
      case "Superseded":
        copies.delete(keyOf(event))
        return
      case "Pruned":
        counts.pruned++
    }
  }
  return { add, run: () => run, activity: (): Activity => ({ ...counts, copies: Array.from(copies.values()) }) }
}

/**
 * Creates a runner from `Mirror.run`. A run that is interrupted is recorded as one that did not end, so that the next
 * start continues it.
 */
export const make = Effect.fnUntraced(function*(
  run: Run,
  config: MirrorConfig,
  options: Parts & {
    readonly by?: string | undefined
    readonly copies?: number | undefined
  } = {}
): Effect.fn.Return<MirrorRunner, never, Namespace | MirrorState> {
  const namespace = yield* Namespace
  const state = yield* MirrorState
  const hooks = options.hooks ?? (yield* Hooks)
  const recordOf = Effect.fnUntraced(function*(rule: string, id: string | undefined) {
    return (yield* state.runs({ rule, limit: 20 })).find((run) => run.id === id)
  })
  return {
    hosts: options.hosts ?? Effect.succeed([]),
    notify: options.notify,
    run: Effect.fnUntraced(function*(rule, { selection, slot }, watch) {
      const progress = follow()
      const { by, copies } = options
      const unfinished = Effect.gen(function*() {
        const record = yield* recordOf(rule.name, progress.run())
        if (record !== undefined) yield* state.recordRun({ ...record, endedAt: undefined })
      })
      yield* run(config, { rules: ({ name }) => name === rule.name, only: selection, slot, by, copies }).pipe(
        Stream.runForEach((event) =>
          Effect.flatMap(DateTime.now, (now) => {
            progress.add(event, now)
            return watch(progress.activity())
          })
        ),
        Effect.provideService(Namespace, namespace),
        Effect.provideService(MirrorState, state),
        Effect.provideService(Hooks, hooks),
        Effect.onInterrupt(() => Effect.ignore(unfinished))
      )
      return (yield* recordOf(rule.name, progress.run())) ?? (yield* new RunVanished({ rule: rule.name }))
    })
  }
})
