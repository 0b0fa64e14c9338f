/**
 * Service that keeps a mirror: it runs each rule when its schedule says so, for as long as its scope is open.
 *
 * One run of a rule happens at a time. Missed slots are run once. When the scope closes, running copies are
 * interrupted, and their uploads are cancelled; the next start continues.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as RcRef from "effect/RcRef"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Tag } from "../Reference.ts"
import * as Fingerprint from "./Fingerprint.ts"
import type { MirrorConfig } from "./MirrorConfig.ts"
import type { ProcessState } from "./MirrorJobs.ts"
import type { MirrorNotification } from "./MirrorNotification.ts"
import type { HostStatus, MirrorRunner } from "./MirrorRunner.ts"
import { MirrorState, type MirrorStateError, type RunState, type TagState } from "./MirrorState.ts"
import * as RuleHistory from "./RuleHistory.ts"
import * as RuleLoop from "./RuleLoop.ts"
import * as Together from "./Together.ts"

export {
  /** @since 0.1.0 */
  type SharedJobs
} from "./Together.ts"

/**
 * The configuration has no such rule.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownRule extends Schema.TaggedError<UnknownRule>("effect-oci/MirrorService/UnknownRule")(
  "UnknownRule",
  { rule: Schema.String }
) {
  override get message(): string {
    return `there is no rule ${JSON.stringify(this.rule)}`
  }
}

/**
 * Status of a rule.
 *
 * @category models
 * @since 0.1.0
 */
export interface RuleStatus extends RuleLoop.View {
  /** Number of tags by status. */
  readonly tags: Readonly<Record<TagState["status"], number>>
}

/**
 * Status of a service.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly at: DateTime.Utc
  readonly startedAt: DateTime.Utc
  readonly rules: ReadonlyArray<RuleStatus>
  readonly hosts: ReadonlyArray<HostStatus>
  /** Failed tags, at most 200. */
  readonly failures: ReadonlyArray<TagState>
  /** Latest runs, latest first, at most 500. */
  readonly runs: ReadonlyArray<RunState>
  /** Processes that keep the mirror together, oldest first. Empty for a service that runs alone. */
  readonly processes: ReadonlyArray<ProcessState>
  /** Problem of the last attempt to load a new configuration. */
  readonly problem: string | undefined
}

/**
 * Names of the rules that a new configuration has added, changed, removed and kept.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reloaded {
  readonly added: ReadonlyArray<string>
  readonly changed: ReadonlyArray<string>
  readonly removed: ReadonlyArray<string>
  readonly kept: ReadonlyArray<string>
}

/**
 * A running service.
 *
 * @category services
 * @since 0.1.0
 */
export class MirrorService extends Context.Service<MirrorService, {
  readonly status: Effect.Effect<Status, MirrorStateError>
  /** Fails if the state cannot be read. */
  readonly ready: Effect.Effect<void, MirrorStateError>
  /** Starts a run of a rule. If one is running, another one follows it. */
  readonly runNow: (rule: string) => Effect.Effect<"started" | "queued", UnknownRule | MirrorStateError>
  /** Waits until the service was told to end, and has ended what it had in flight. */
  readonly drained: Effect.Effect<void>
  /**
   * Tries failed tags of a destination again at once: one, or all of them. `destination` is a repository with its
   * registry. Returns their number.
   */
  readonly retry: (destination: string, tag: Tag | "all") => Effect.Effect<number, MirrorStateError>
  /** Replaces the configuration. Rules whose settings did not change go on. */
  readonly reload: (config: MirrorConfig) => Effect.Effect<Reloaded>
  /** Records the problem of a new configuration that cannot be used, for the status. */
  readonly reportProblem: (problem: string) => Effect.Effect<void>
}>()("effect-oci/MirrorService") {}

/**
 * Options of a service.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Creates the runner of a configuration. Its scope closes after a new configuration has replaced it. */
  readonly runner: (config: MirrorConfig) => Effect.Effect<MirrorRunner, never, Scope.Scope>
  /** Receives the notifications. It must not wait. Default: they are discarded. */
  readonly notify?: ((notification: MirrorNotification) => Effect.Effect<unknown>) | undefined
  /** Largest number of rules that run at the same time. Default: 4. */
  readonly concurrency?: number | undefined
  /** Jobs that the service shares with other processes, and the name of this one. Default: it runs alone. */
  readonly shared?: Together.SharedJobs | undefined
}

/** A configuration with its runner, which lives until the last run with it has ended. */
interface Generation {
  readonly config: MirrorConfig
  readonly runner: RcRef.RcRef<MirrorRunner>
  /** Scope that keeps the runner while this is the current configuration. */
  readonly scope: Scope.Closeable
}

interface Entry {
  readonly loop: RuleLoop.RuleLoop
  readonly fingerprint: string
}

const noTags: RuleStatus["tags"] = { pending: 0, copied: 0, kept: 0, failed: 0 }

const maximumFailures = 200
const maximumRuns = 500

/**
 * Starts a service, which runs until the scope closes. `Mirror.serve` does so with `Mirror.run`.
 *
 * **Example** (A runner that does nothing)
 *
 * ```ts import.meta.vitest
 * import { Effect, Result } from "effect"
 * import * as MirrorConfig from "effect-oci/MirrorConfig"
 * import * as MirrorService from "effect-oci/MirrorService"
 * import * as MirrorState from "effect-oci/MirrorState"
 *
 * const config = Result.getOrThrow(MirrorConfig.decode({
 *   version: 1,
 *   rules: [{ name: "apps", from: "one.local/app", to: "two.local/mirror", atStart: "nothing" }]
 * }))
 *
 * const program = Effect.gen(function*() {
 *   const runner = { run: () => Effect.never, copy: () => Effect.never, hosts: Effect.succeed([]) }
 *   const service = yield* MirrorService.make(config, { runner: () => Effect.succeed(runner) })
 *   return yield* service.runNow("apps")
 * })
 *
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, MirrorState.layerMemory))) // => "started"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  config: MirrorConfig,
  options: Options
): Effect.fn.Return<MirrorService["Service"], never, MirrorState | Scope.Scope> {
  const state = yield* MirrorState
  const outer = yield* Effect.scope
  const startedAt = yield* DateTime.now
  const fibers = yield* FiberMap.make<string>()
  const permits = Semaphore.makeUnsafe(options.concurrency ?? 4)
  const entries = new Map<string, Entry>()
  const reloading = Semaphore.makeUnsafe(1)
  let problem: string | undefined

  const generate = Effect.fnUntraced(function*(config: MirrorConfig): Effect.fn.Return<Generation> {
    const runner = yield* Scope.provide(RcRef.make({ acquire: options.runner(config) }), outer)
    const scope = yield* Scope.fork(outer)
    yield* Scope.provide(RcRef.get(runner), scope)
    return { config, runner, scope }
  })
  let current = yield* generate(config)
  const together = options.shared === undefined ? undefined : yield* Together.make(options.shared)

  const shared: RuleLoop.Shared = {
    state,
    withRunner: (use) => Effect.scoped(Effect.flatMap(Effect.suspend(() => RcRef.get(current.runner)), use)),
    limited: Semaphore.withPermit(permits),
    notify: (notification) =>
      Effect.andThen(
        options.notify?.(notification) ?? Effect.void,
        shared.withRunner(({ notify }) => notify?.(notification) ?? Effect.void)
      )
  }
  const start = Effect.fnUntraced(function*(name: string, entry: Entry) {
    entries.set(name, entry)
    yield* FiberMap.run(fibers, name, entry.loop.run)
  })
  const entryOf = Effect.fnUntraced(function*(rule: MirrorConfig["rules"][number], continues: boolean, isNew: boolean) {
    const loop = together === undefined
      ? yield* RuleLoop.make(shared, rule, continues)
      : yield* together.offer(state, rule, isNew)
    return { loop, fingerprint: Fingerprint.make(rule, current.config) } satisfies Entry
  })
  for (const rule of config.rules) yield* start(rule.name, yield* entryOf(rule, false, false))
  const taking = together === undefined
    ? undefined
    : yield* together.take(shared, options.concurrency ?? 4)

  const reload = Effect.fnUntraced(function*(config: MirrorConfig): Effect.fn.Return<Reloaded> {
    const before = current
    current = yield* generate(config)
    const names = new Set(config.rules.map(({ name }) => name))
    const removed = Array.from(entries.keys()).filter((name) => !names.has(name))
    for (const name of removed) {
      entries.delete(name)
      together?.forget(name)
      yield* FiberMap.remove(fibers, name)
    }
    const result = { added: new Array<string>(), changed: new Array<string>(), kept: new Array<string>(), removed }
    for (const rule of config.rules) {
      const old = entries.get(rule.name)
      if (old?.fingerprint === Fingerprint.make(rule, config)) {
        result.kept.push(rule.name)
        continue
      }
      const continues = old !== undefined && old.loop.view().work._tag !== "Idle"
      together?.forget(rule.name)
      if (old !== undefined) yield* FiberMap.remove(fibers, rule.name)
      yield* start(rule.name, yield* entryOf(rule, continues, true))
      result[old === undefined ? "added" : "changed"].push(rule.name)
    }
    problem = undefined
    yield* Scope.close(before.scope, Exit.void)
    return result
  })

  const retry = Effect.fn("MirrorService.retry")(function*(destination: string, tag: Tag | "all") {
    const failed = (yield* state.tags(destination)).filter((row) =>
      row.status === "failed" && (tag === "all" || row.tag === tag)
    )
    yield* state.record(failed.map((row) => ({ ...row, attempts: 0, retryAt: undefined })))
    for (const rule of new Set(failed.map(({ rule }) => rule))) {
      yield* entries.get(rule)?.loop.request("failed") ?? Effect.void
    }
    return failed.length
  })

  const status = Effect.gen(function*(): Effect.fn.Return<Status, MirrorStateError> {
    const counts = yield* state.counts
    const { runner } = current
    const processes = together === undefined ? [] : yield* together.look
    const runs = yield* state.runs({ limit: maximumRuns })
    // other processes may have run a rule since this one has read its runs
    const latest = (rule: string, view: RuleLoop.View) => {
      const own = together === undefined ? [] : runs.filter((run) => run.rule === rule)
      return {
        lastRun: own[0] ?? view.lastRun,
        completeAt: own.find(RuleHistory.isComplete)?.startedAt ?? view.completeAt
      }
    }
    return {
      at: yield* DateTime.now,
      startedAt,
      rules: Array.from(entries.values(), ({ loop }) => {
        const view = loop.view()
        const own = counts.filter(({ rule }) => rule === view.rule.name).map(({ status, tags }) => [status, tags])
        return { ...view, ...latest(view.rule.name, view), tags: { ...noTags, ...Object.fromEntries(own) } }
      }),
      hosts: yield* Effect.scoped(Effect.flatMap(RcRef.get(runner), ({ hosts }) => hosts)),
      failures: yield* state.find({ status: "failed", limit: maximumFailures }),
      runs,
      processes,
      problem
    }
  })

  return MirrorService.of({
    status,
    ready: Effect.asVoid(state.runs({ limit: 1 })),
    runNow: (rule) =>
      Effect.suspend((): Effect.Effect<"started" | "queued", UnknownRule | MirrorStateError> =>
        entries.get(rule)?.loop.request("all") ?? Effect.fail(new UnknownRule({ rule }))
      ),
    drained: taking === undefined ? Effect.never : Effect.asVoid(Fiber.await(taking)),
    retry,
    reload: (config) => Semaphore.withPermit(reloading, reload(config)),
    reportProblem: (text) =>
      Effect.sync(() => {
        problem = text
      })
  })
})
