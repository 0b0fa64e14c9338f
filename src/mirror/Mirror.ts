/**
 * Mirrors: rules say which tags of which repositories belong where. A run compares, copies what changed, and remembers
 * it, so that the next run needs few requests.
 *
 * **Example** (A mirror between two registries in memory)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer, Result, Stream } from "effect"
 * import { TestClock } from "effect/testing"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Mirror from "effect-oci/Mirror"
 * import * as MirrorConfig from "effect-oci/MirrorConfig"
 * import * as MirrorState from "effect-oci/MirrorState"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Resolver from "effect-oci/Resolver"
 * import { Images } from "effect-oci/testing"
 *
 * const config = Result.getOrThrow(MirrorConfig.decode({
 *   version: 1,
 *   rules: [{ from: "one.local/app", to: "two.local/mirror", tags: { semver: ">=2" } }]
 * }))
 *
 * const program = Effect.gen(function*() {
 *   const [one, two] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
 *   for (const version of ["1.0.0", "2.0.0", "2.1.0"]) {
 *     yield* Images.pushImage(one, Images.repository("app"), [version], { tags: [Images.tag(version)] })
 *   }
 *   const run = Mirror.run(config).pipe(
 *     Stream.runLast,
 *     Effect.provideService(Namespace.Namespace, Namespace.make({
 *       resolver: Resolver.static({ "one.local": one, "two.local": two })
 *     }))
 *   )
 *   yield* run
 *   yield* TestClock.adjust("1 hour")
 *   yield* run
 *   const runs = yield* MirrorState.MirrorState.use((state) => state.runs({ limit: 2 }))
 *   return runs.map(({ copied }) => copied)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, [MirrorState.layerMemory, TestClock.layer()])) // => [0, 2]
 * ```
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import type * as EffectScope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { Namespace } from "../Namespace.ts"
import { Observer } from "../Observer.ts"
import { Hooks } from "./Hooks.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorEvent } from "./MirrorEvent.ts"
import { MirrorPlan, type RepositoryPlan } from "./MirrorPlan.ts"
import { MirrorReport } from "./MirrorReport.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type * as MirrorRunner from "./MirrorRunner.ts"
import * as MirrorService from "./MirrorService.ts"
import { MirrorState, type MirrorStateError } from "./MirrorState.ts"
import * as PlanDocument from "./PlanDocument.ts"
import * as PruneDecision from "./PruneDecision.ts"
import * as RuleRun from "./RuleRun.ts"
import { makeSelect, type Scope, type Session } from "./Session.ts"
import * as StreamRunner from "./StreamRunner.ts"
import * as Unit from "./Unit.ts"
import * as UnitPlanner from "./UnitPlanner.ts"

export {
  /** @since 0.1.0 */
  type HookCopy,
  /** @since 0.1.0 */
  Hooks,
  /** @since 0.1.0 */
  noHooks,
  /** @since 0.1.0 */
  Refused
} from "./Hooks.ts"

export {
  /** @since 0.1.0 */
  type MirrorEvent,
  /** @since 0.1.0 */
  type Subject
} from "./MirrorEvent.ts"

export {
  /** @since 0.1.0 */
  type Scope
} from "./Session.ts"

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
 * Options of a plan.
 *
 * @category models
 * @since 0.1.0
 */
export interface PlanOptions extends Options {
  /** `deep` plans each copy, so that the numbers of bytes are those of the copy. It costs more requests. */
  readonly detail?: "tags" | "deep" | undefined
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

// default numbers of repositories of a rule, and of copies, at the same time
const repositoriesAtOnce = 8
const copiesAtOnce = 16

// number of rules that run at the same time
const rulesAtOnce = 4

/** Adds the requests of an effect to a count, and passes all events to the `Observer`. */
const counting = (account: { requests: number }) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
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

const makeSession = Effect.fnUntraced(function*(
  config: Pick<MirrorConfig, "rules">,
  options: Options & Pick<RunOptions, "copies">,
  isRun: boolean,
  emit: Session["emit"]
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
    emit,
    select: makeSelect({ isRun, namespace, state, units })
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// planning
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Plans what {@link run} would do, with requests that only read. Writes nothing, not even to the state.
 *
 * @category planning
 * @since 0.1.0
 */
export const plan = Effect.fn("Mirror.plan")(function*(
  config: Pick<MirrorConfig, "rules">,
  options: PlanOptions = {}
): Effect.fn.Return<MirrorPlan, MirrorStateError, Namespace | MirrorState> {
  const account = { requests: 0 }
  const at = yield* DateTime.now
  const { rules, repositories } = yield* counting(account)(Effect.gen(function*() {
    const session = yield* makeSession(config, options, false, () => Effect.void)
    const planUnit = Effect.fnUntraced(function*(unit: Unit.Unit) {
      const planned = yield* UnitPlanner.plan(session, unit)
      const documents = PlanDocument.make(planned)
      return options.detail === "deep" ? yield* PlanDocument.deepen(session, planned, documents) : documents
    })
    const { rules } = session.units
    const repositories: ReadonlyArray<ReadonlyArray<RepositoryPlan>> = yield* Effect.forEach(
      rules.flatMap(({ units }) => units),
      planUnit,
      { concurrency: options.repositories ?? repositoriesAtOnce }
    )
    return { rules, repositories: repositories.flat() }
  }))
  const fields: ConstructorParameters<typeof MirrorPlan>[0] = {
    at,
    repositories,
    problems: rules.flatMap(({ problem, rule }) => problem === undefined ? [] : [{ rule: rule.name, problem }]),
    planningRequests: account.requests
  }
  // not by the constructor, which would validate all tags without a pause
  const result: MirrorPlan = Object.create(MirrorPlan.prototype)
  return Object.assign(result, fields)
})

// ---------------------------------------------------------------------------------------------------------------------
// running
// ---------------------------------------------------------------------------------------------------------------------

// number of unread events from which on `Progressed` events are dropped
const backlog = 256

const newId = Effect.map(
  Effect.replicateEffect(Random.nextIntBetween(0, 0x1_0000), 4),
  (numbers) => numbers.map((number) => number.toString(16).padStart(4, "0")).join("")
)

/** Runs the rules, and returns the report. */
const runAll = Effect.fnUntraced(function*(
  config: Pick<MirrorConfig, "rules">,
  options: RunOptions,
  emit: Session["emit"]
) {
  const session = yield* makeSession(config, options, true, emit)
  const now = yield* DateTime.now
  const reports = yield* Effect.forEach(
    session.units.rules,
    (units) =>
      Effect.flatMap(newId, (id) =>
        RuleRun.run(session, units, {
          id: `${DateTime.formatIso(now)} ${id}`,
          by: options.by ?? "",
          slot: options.slot,
          concurrency: options.repositories ?? repositoriesAtOnce
        }, counting)),
    { concurrency: rulesAtOnce }
  )
  return new MirrorReport({ rules: reports })
})

/**
 * Runs the rules of a mirror: compares, copies what changed, deletes what the rules do not mean any more, and records
 * it. Running the stream runs the mirror; interrupting it stops the run, and the next one continues. A tag that fails
 * does not stop the others. The last event contains the report. A slow reader does not slow the run down.
 *
 * **Details**
 *
 * Several processes may run the same mirror: a job that was overtaken by another one leaves its tags alone. The hooks
 * of the program are those of {@link Hooks}.
 *
 * @category running
 * @since 0.1.0
 */
export const run = (
  config: Pick<MirrorConfig, "rules">,
  options: RunOptions = {}
): Stream.Stream<MirrorEvent, MirrorStateError, Namespace | MirrorState> =>
  Stream.unwrap(Effect.gen(function*() {
    const queue = yield* Queue.unbounded<MirrorEvent, MirrorStateError | Cause.Done>()
    // progress is dropped while the reader is slow, because it would be outdated when it is read
    const emit = (event: MirrorEvent) =>
      Effect.suspend(() =>
        event._tag === "Progressed" && Queue.sizeUnsafe(queue) > backlog ? Effect.void : Queue.offer(queue, event)
      )
    const running = runAll(config, options, emit).pipe(
      Effect.flatMap((report) => Queue.offer(queue, { _tag: "Done", report })),
      Effect.withSpan("Mirror.run"),
      Effect.onExit((exit) => Exit.isSuccess(exit) ? Queue.end(queue) : Queue.failCause(queue, exit.cause))
    )
    yield* Effect.forkScoped(running)
    return Stream.fromQueue(queue)
  }))

// ---------------------------------------------------------------------------------------------------------------------
// serving
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Options of a service.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServeOptions extends Omit<MirrorService.Options, "runner"> {
  /** Number of tags of a rule that are copied at the same time. Default: 16. */
  readonly copies?: number | undefined
  /** Name of the process in the state. */
  readonly by?: string | undefined
}

/**
 * Keeps a mirror: runs each rule when its schedule says so, for as long as the scope is open.
 *
 * **Example** (A rule that runs every hour)
 *
 * ```ts import.meta.vitest
 * import { Deferred, Effect, Result } from "effect"
 * import { TestClock } from "effect/testing"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Mirror from "effect-oci/Mirror"
 * import * as MirrorConfig from "effect-oci/MirrorConfig"
 * import * as MirrorState from "effect-oci/MirrorState"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as Resolver from "effect-oci/Resolver"
 * import { Images } from "effect-oci/testing"
 *
 * const config = Result.getOrThrow(MirrorConfig.decode({
 *   version: 1,
 *   rules: [{ from: "one.local/app", to: "two.local/mirror", schedule: { every: "1h" }, atStart: "nothing" }]
 * }))
 *
 * const program = Effect.gen(function*() {
 *   const [one, two] = [yield* MemoryRegistry.make(), yield* MemoryRegistry.make()]
 *   yield* Images.pushImage(one, Images.repository("app"), ["1.0"], { tags: [Images.tag("1.0")] })
 *   const ended = yield* Deferred.make<number>()
 *   yield* Mirror.serve(config, { notify: ({ run }) => Deferred.succeed(ended, run.copied) }).pipe(
 *     Effect.provideService(Namespace.Namespace, Namespace.make({
 *       resolver: Resolver.static({ "one.local": one, "two.local": two })
 *     }))
 *   )
 *   yield* TestClock.adjust("1 hour")
 *   return yield* Deferred.await(ended)
 * })
 *
 * const scoped = Effect.scoped(Effect.provide(program, [MirrorState.layerMemory, TestClock.layer()]))
 * await Effect.runPromise(scoped) // => 1
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const serve = (
  config: MirrorConfig,
  options: ServeOptions = {}
): Effect.Effect<
  MirrorService.MirrorService["Service"],
  never,
  Namespace | MirrorState | EffectScope.Scope
> => Effect.flatMap(Namespace, (namespace) => serveWith(config, () => Effect.succeed({ namespace }), options))

/**
 * Like {@link serve}, for a configuration that names registries and webhooks: `connect` creates the namespace of a
 * configuration, its hooks and its notifications, when the service starts and when the configuration is replaced. Its
 * scope closes when the last run that needs it has ended.
 *
 * @category running
 * @since 0.1.0
 */
export const serveWith = Effect.fnUntraced(function*(
  config: MirrorConfig,
  connect: (
    config: MirrorConfig
  ) => Effect.Effect<MirrorRunner.Parts & { readonly namespace: Namespace["Service"] }, never, EffectScope.Scope>,
  { by, copies, ...options }: ServeOptions = {}
): Effect.fn.Return<MirrorService.MirrorService["Service"], never, MirrorState | EffectScope.Scope> {
  const state = yield* MirrorState
  return yield* MirrorService.make(config, {
    ...options,
    runner: Effect.fnUntraced(function*(config) {
      const parts = yield* connect(config)
      return yield* StreamRunner.make(run, config, { ...parts, by, copies }).pipe(
        Effect.provideService(Namespace, parts.namespace),
        Effect.provideService(MirrorState, state)
      )
    })
  })
})
