/**
 * A runner that follows the events of `Mirror.run`.
 */
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Namespace } from "../Namespace.ts"
import { Hooks } from "./Hooks.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorEvent, Subject } from "./MirrorEvent.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { Activity, MirrorRunner, Parts, RunningCopy, Selection } from "./MirrorRunner.ts"
import { MirrorState, type MirrorStateError } from "./MirrorState.ts"

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
