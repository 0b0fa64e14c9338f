/**
 * Runs of the rules of a configuration, as events.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { Namespace } from "../Namespace.ts"
import { Observer } from "../Observer.ts"
import { Hooks } from "./Hooks.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorEvent } from "./MirrorEvent.ts"
import { MirrorReport } from "./MirrorReport.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { PartRequest, SharedRun } from "./MirrorRunner.ts"
import { MirrorState, type MirrorStateError } from "./MirrorState.ts"
import * as PruneDecision from "./PruneDecision.ts"
import { newId } from "./RandomId.ts"
import * as RuleRun from "./RuleRun.ts"
import { makeSelect, type Scope, type Session } from "./Session.ts"
import * as Unit from "./Unit.ts"

/**
 * Options of plans and runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Chooses the rules. Default: all. */
  readonly rules?: ((rule: MirrorRule) => boolean) | undefined
  /** Tags that are looked at. Default: `all`. Only then are tags deleted. */
  readonly only?: Scope | undefined
  /**
   * Lets rules with a policy for it delete tags. The state remembers that for the policy, so that later runs need not
   * say it again. Default: false.
   */
  readonly prune?: boolean | undefined
  /** Number of repositories of each rule that are compared at the same time. Default: 8. */
  readonly repositories?: number | undefined
}

/**
 * Options of a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunOptions extends Options {
  /** Number of tags that are copied at the same time. Default: 16. */
  readonly copies?: number | undefined
  /** Name of the process in the state. */
  readonly by?: string | undefined
  /** Time for which a schedule planned the run. */
  readonly slot?: DateTime.Utc | undefined
}

/** Default number of repositories of a rule that are compared at the same time. */
export const repositoriesAtOnce = 8

/** Default number of tags of a rule that are copied at the same time. */
export const copiesAtOnce = 16

// number of rules that run at the same time
const rulesAtOnce = 4

/** Adds the requests of an effect to a count, and passes all events to the `Observer`. */
export const counting = (account: { requests: number }) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Observer, (observe) =>
    Effect.provideService(effect, Observer, (event) =>
      Effect.suspend(() => {
        if (event._tag === "Requested") account.requests++
        return observe(event)
      })))

/** Returns the names of the chosen rules that may delete tags. A run records that a person has confirmed it. */
const findPruning = Effect.fnUntraced(function*(
  { rules }: Pick<MirrorConfig, "rules">,
  { prune = false, rules: isChosen = () => true }: Options,
  isRun: boolean
) {
  const state = yield* MirrorState
  const pruning = new Set<string>()
  for (const rule of rules.filter(isChosen)) {
    if (rule.prune._tag === "None") continue
    const policy = PruneDecision.policyKey(rule.prune)
    const isConfirmed = (yield* state.confirmedPrune(rule.name)) === policy
    if (prune && isRun && !isConfirmed) yield* state.confirmPrune(rule.name, policy)
    if (prune || isConfirmed) pruning.add(rule.name)
  }
  return pruning
})

/** Creates the session of a plan or a run. */
export const makeSession = Effect.fnUntraced(function*(
  config: Pick<MirrorConfig, "rules">,
  options: Options & Pick<RunOptions, "copies">,
  isRun: boolean,
  emit: Session["emit"],
  share?: SharedRun
): Effect.fn.Return<Session, MirrorStateError, Namespace | MirrorState> {
  const namespace = yield* Namespace
  const state = yield* MirrorState
  const pruning = yield* findPruning(config, options, isRun)
  const units = yield* Unit.find(namespace, config.rules, options.rules ?? (() => true))
  return {
    namespace,
    state,
    hooks: yield* Hooks,
    units,
    only: options.only ?? "all",
    isRun,
    isPruning: ({ name }) => pruning.has(name),
    copying: Semaphore.makeUnsafe(Math.max(1, options.copies ?? copiesAtOnce)),
    planning: Semaphore.makeUnsafe(Math.max(1, options.repositories ?? repositoriesAtOnce)),
    share,
    emit,
    select: makeSelect({ isRun, namespace, state, units })
  }
})

/**
 * Creates the session of a part. It selects the tags of the part, deletes none, and leaves overlaps and catalogs to the
 * process that has shared it.
 */
export const makePartSession = Effect.fnUntraced(function*(
  { selection, tags }: PartRequest,
  copying: Semaphore.Semaphore,
  emit: Session["emit"]
): Effect.fn.Return<Session, never, Namespace | MirrorState> {
  const listedAt = yield* Clock.currentTimeMillis
  return {
    namespace: yield* Namespace,
    state: yield* MirrorState,
    hooks: yield* Hooks,
    units: { rules: [], sharing: () => [], unknown: () => [] },
    only: selection,
    isRun: true,
    isPruning: () => false,
    copying,
    planning: Semaphore.makeUnsafe(1),
    share: undefined,
    emit,
    select: () =>
      Effect.succeed({ _tag: "Selected", listed: undefined, listedAt, tags, dropped: [], digests: new Map() })
  }
})

// number of unread events from which on `Progressed` events are dropped
const backlog = 256

/** Runs the rules, and returns the report. */
const runAll = Effect.fnUntraced(function*(
  config: Pick<MirrorConfig, "rules">,
  options: RunOptions,
  emit: Session["emit"],
  shared: SharedRun | undefined
) {
  const session = yield* makeSession(config, options, true, emit, shared)
  const now = yield* DateTime.now
  const reports = yield* Effect.forEach(
    session.units.rules,
    (units) =>
      Effect.flatMap(newId, (id) =>
        RuleRun.run(session, units, {
          id: shared?.id ?? `${DateTime.formatIso(now)} ${id}`,
          startedAt: shared?.startedAt,
          by: options.by ?? "",
          slot: options.slot,
          concurrency: options.repositories ?? repositoriesAtOnce
        }, counting)),
    { concurrency: rulesAtOnce }
  )
  return new MirrorReport({ rules: reports })
})

/** Runs rules, and returns the events. Running the stream runs the rules. */
export const events = (
  config: Pick<MirrorConfig, "rules">,
  options: RunOptions,
  shared?: SharedRun
): Stream.Stream<MirrorEvent, MirrorStateError, Namespace | MirrorState> =>
  Stream.unwrap(Effect.gen(function*() {
    const queue = yield* Queue.unbounded<MirrorEvent, MirrorStateError | Cause.Done>()
    // progress is dropped while the reader is slow, because it would be outdated when it is read
    const emit = (event: MirrorEvent) =>
      Effect.suspend(() =>
        event._tag === "Progressed" && Queue.sizeUnsafe(queue) > backlog ? Effect.void : Queue.offer(queue, event)
      )
    const running = runAll(config, options, emit, shared).pipe(
      Effect.flatMap((report) => Queue.offer(queue, { _tag: "Done", report })),
      Effect.withSpan("Mirror.run"),
      Effect.onExit((exit) => Exit.isSuccess(exit) ? Queue.end(queue) : Queue.failCause(queue, exit.cause))
    )
    yield* Effect.forkScoped(running)
    return Stream.fromQueue(queue)
  }))
