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
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as EffectScope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { Namespace } from "../Namespace.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { MirrorEvent } from "./MirrorEvent.ts"
import { MirrorPlan, type RepositoryPlan } from "./MirrorPlan.ts"
import type * as MirrorRunner from "./MirrorRunner.ts"
import * as MirrorService from "./MirrorService.ts"
import { MirrorState, type MirrorStateError } from "./MirrorState.ts"
import * as PatientState from "./PatientState.ts"
import * as PlanDocument from "./PlanDocument.ts"
import { counting, makeSession, type Options, type RunOptions } from "./RunSession.ts"
import * as RunSession from "./RunSession.ts"
import * as StreamRunner from "./StreamRunner.ts"
import type * as Unit from "./Unit.ts"
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
  type Options,
  /** @since 0.1.0 */
  type RunOptions
} from "./RunSession.ts"

export {
  /** @since 0.1.0 */
  type Scope
} from "./Session.ts"

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
      { concurrency: options.repositories ?? RunSession.repositoriesAtOnce }
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
): Stream.Stream<MirrorEvent, MirrorStateError, Namespace | MirrorState> => RunSession.events(config, options)

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
  { copies, shared, ...options }: ServeOptions = {}
): Effect.fn.Return<MirrorService.MirrorService["Service"], never, MirrorState | EffectScope.Scope> {
  const store = yield* MirrorState
  const state = shared === undefined ? store : PatientState.make(store)
  const by = options.by ?? shared?.name
  return yield* MirrorService.make(config, {
    ...options,
    shared,
    runner: Effect.fnUntraced(function*(config) {
      const parts = yield* connect(config)
      return yield* StreamRunner.make(config, { ...parts, by, copies }).pipe(
        Effect.provideService(Namespace, parts.namespace),
        Effect.provideService(MirrorState, state)
      )
    })
  })
})
