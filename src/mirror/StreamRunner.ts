/**
 * A runner that follows the events of its runs.
 */
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { Namespace } from "../Namespace.ts"
import { Hooks } from "./Hooks.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorEvent, Subject } from "./MirrorEvent.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { Activity, MirrorRunner, PartRequest, Parts, RunningCopy } from "./MirrorRunner.ts"
import { MirrorState } from "./MirrorState.ts"
import * as RunSession from "./RunSession.ts"
import type { Session } from "./Session.ts"
import * as Unit from "./Unit.ts"
import * as UnitRun from "./UnitRun.ts"

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
 * Creates the function that runs parts. The unit of a part is looked up once for each run, and the limit of copies is
 * that of a rule.
 */
const makeCopy = (copies: number) => {
  const limits = new Map<string, Semaphore.Semaphore>()
  const known = new Map<string, { readonly run: string; readonly units: Effect.Effect<Unit.Units> }>()
  const limitOf = (rule: string) => {
    const limit = limits.get(rule) ?? Semaphore.makeUnsafe(copies)
    limits.set(rule, limit)
    return limit
  }
  const unitsOf = Effect.fnUntraced(function*(rule: MirrorRule, run: string) {
    const before = known.get(rule.name)
    if (before?.run === run) return yield* before.units
    const units = yield* Effect.cached(Effect.flatMap(Namespace, (_) => Unit.find(_, [rule], () => true)))
    known.set(rule.name, { run, units: Effect.provideService(units, Namespace, yield* Namespace) })
    return yield* units
  })
  return Effect.fnUntraced(function*(rule: MirrorRule, request: PartRequest, emit: Session["emit"]) {
    const { rules: [found] } = yield* unitsOf(rule, request.run)
    if (found?.problem !== undefined) yield* emit({ _tag: "Problem", rule: rule.name, problem: found.problem })
    const unit = found?.units.find(({ source }) => source.name === request.source)
    if (unit === undefined) return
    const session = yield* RunSession.makePartSession(request, limitOf(rule.name), emit)
    yield* UnitRun.runPart(session, unit)
  })
}

/**
 * Creates a runner of a configuration. It records a run that is interrupted as one that did not end, so that the next
 * start continues it.
 */
export const make = Effect.fnUntraced(function*(
  config: MirrorConfig,
  options: Parts & {
    readonly by?: string | undefined
    readonly copies?: number | undefined
  } = {}
): Effect.fn.Return<MirrorRunner, never, Namespace | MirrorState> {
  const namespace = yield* Namespace
  const state = yield* MirrorState
  const hooks = options.hooks ?? (yield* Hooks)
  const { by, copies } = options
  const provided = <A, E>(effect: Effect.Effect<A, E, Namespace | MirrorState>) =>
    effect.pipe(
      Effect.provideService(Namespace, namespace),
      Effect.provideService(MirrorState, state),
      Effect.provideService(Hooks, hooks)
    )
  const recordOf = Effect.fnUntraced(function*(rule: string, id: string | undefined) {
    return (yield* state.runs({ rule, limit: 20 })).find((run) => run.id === id)
  })
  const copy = makeCopy(copies ?? RunSession.copiesAtOnce)
  return {
    hosts: options.hosts ?? Effect.succeed([]),
    notify: options.notify,
    run: Effect.fnUntraced(function*(rule, { selection, shared, slot }, watch) {
      const progress = follow()
      const chosen = { rules: ({ name }: MirrorRule) => name === rule.name, only: selection, slot, by, copies }
      yield* provided(
        Stream.runForEach(RunSession.events(config, chosen, shared), (event) =>
          Effect.flatMap(DateTime.now, (now) => {
            progress.add(event, now)
            return watch(progress.activity())
          }))
      )
      return (yield* recordOf(rule.name, progress.run())) ?? (yield* new RunVanished({ rule: rule.name }))
    }),
    copy: Effect.fnUntraced(function*(rule, request, watch) {
      const progress = follow()
      const account = { requests: 0 }
      const events: Array<MirrorEvent> = []
      const emit: Session["emit"] = (event) =>
        Effect.flatMap(DateTime.now, (now) => {
          progress.add(event, now)
          if (event._tag !== "Progressed") events.push(event)
          return watch(progress.activity())
        })
      yield* provided(RunSession.counting(account)(copy(rule, request, emit)))
      return { requests: account.requests, events }
    })
  }
})
