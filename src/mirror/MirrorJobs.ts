/**
 * Jobs of a mirror that several processes keep together, and these processes.
 *
 * A `Run` is the run of a rule. The process that takes it compares the repositories of the rule, and offers a `Copy`
 * for each part that has something to copy. Each process takes both. A job is offered once for each id, also after it
 * has ended; so that every process may offer the same slot of a schedule, which runs once.
 *
 * Delivery is at least once: the lock of a job is refreshed while its process runs it, and the job is taken again after
 * the lock has expired. The generations of `MirrorState` decide which process may change a tag.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Tag } from "../Reference.ts"
import type { Activity } from "./MirrorRunner.ts"
import type { MirrorStateError } from "./MirrorState.ts"

const Selection = Schema.Literals(["all", "missing", "failed"])

const Run = Schema.TaggedStruct("Run", {
  rule: Schema.String,
  selection: Selection,
  /** Time for which the schedule planned the run. */
  slot: Schema.optionalKey(Schema.DateTimeUtcFromString)
})

const Copy = Schema.TaggedStruct("Copy", {
  rule: Schema.String,
  /** Id of the job of the run. */
  run: Schema.String,
  /** Digest of the settings of the rule. Only a process with the same settings runs the job. */
  settings: Schema.String,
  /** Repository of the source, with its registry. */
  source: Schema.String,
  selection: Selection,
  tags: Schema.Array(Tag)
})

/**
 * Schema of a job.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Job = Schema.Union([Run, Copy])

/**
 * A job: the run of a rule, or the copy of some tags of a repository for a run.
 *
 * @category models
 * @since 0.1.0
 */
export type Job = typeof Job.Type

/**
 * A job that was taken.
 *
 * @category models
 * @since 0.1.0
 */
export interface Taken {
  readonly id: string
  readonly job: Job
  /** True if the job was taken before, so that it may have ended. */
  readonly isRepeated: boolean
}

/**
 * A job with what is known about it.
 *
 * @category models
 * @since 0.1.0
 */
export interface JobState {
  readonly id: string
  readonly job: Job
  readonly offeredAt: DateTime.Utc
  /** When a process has begun a `Run`. */
  readonly startedAt: DateTime.Utc | undefined
  readonly endedAt: DateTime.Utc | undefined
  /** Result of a `Copy`, as text. */
  readonly result: string | undefined
}

/**
 * A job that a process has taken.
 *
 * @category models
 * @since 0.1.0
 */
export interface Holding {
  readonly id: string
  readonly kind: Job["_tag"]
  readonly rule: string
  /** Repository of the source of a `Copy`. */
  readonly source: string | undefined
  readonly since: DateTime.Utc
  readonly activity: Activity
}

/**
 * A process that keeps the mirror.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProcessState {
  readonly name: string
  readonly version: string
  readonly startedAt: DateTime.Utc
  /** When the process has last reported what it holds. */
  readonly seenAt: DateTime.Utc
  /** True if it has not reported for more than two intervals. */
  readonly isLate: boolean
  /** True if it takes no more jobs, and ends after those that it holds. */
  readonly isDraining: boolean
  readonly holds: ReadonlyArray<Holding>
}

/**
 * Answer to a `Run` that wants to begin: it has begun, another run of its rule is `busy`, or it has ended before.
 *
 * @category models
 * @since 0.1.0
 */
export type Turn = "begun" | "busy" | "ended"

/**
 * The jobs of a mirror.
 *
 * @category services
 * @since 0.1.0
 */
export class MirrorJobs extends Context.Service<MirrorJobs, {
  /** Adds jobs, except those whose id was offered before. Returns the ids that were not. */
  readonly offer: (
    jobs: ReadonlyArray<{ readonly id: string; readonly job: Job }>
  ) => Effect.Effect<ReadonlyArray<string>, MirrorStateError>
  /**
   * Waits for a job of a kind, takes it, and runs an effect with it. If that succeeds, the job is done. If it fails,
   * the job can be taken again after {@link RetryInterval}; if it is interrupted, at once.
   */
  readonly take: <A, E, R>(
    kind: Job["_tag"],
    run: (taken: Taken) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | MirrorStateError, R>
  /** Records that a `Run` begins, unless another run of its rule has not ended. */
  readonly begin: (id: string) => Effect.Effect<Turn, MirrorStateError>
  /** Records the end of a job: a `Copy` with its result, or a `Run`, whose copies are then forgotten. */
  readonly end: (id: string, result?: string) => Effect.Effect<void, MirrorStateError>
  /** Returns jobs, those that were offered last first. */
  readonly find: (filter: {
    readonly kind?: Job["_tag"] | undefined
    readonly rule?: string | undefined
    /** Id of the run of a `Copy`. */
    readonly run?: string | undefined
    readonly ids?: ReadonlyArray<string> | undefined
    readonly isOpen?: boolean | undefined
    /** Default: 1000. */
    readonly limit?: number | undefined
  }) => Effect.Effect<ReadonlyArray<JobState>, MirrorStateError>
  /** Records that a process runs, and what it holds. Returns true if it is to end. */
  readonly report: (
    process: Pick<ProcessState, "name" | "version" | "holds">
  ) => Effect.Effect<boolean, MirrorStateError>
  /** Records that a process has ended. */
  readonly leave: (process: string) => Effect.Effect<void, MirrorStateError>
  /** Returns the processes, oldest first. */
  readonly processes: Effect.Effect<ReadonlyArray<ProcessState>, MirrorStateError>
  /** Lets a process end after what it holds. Returns false if there is no such process. */
  readonly drain: (process: string) => Effect.Effect<boolean, MirrorStateError>
}>()("effect-oci/MirrorJobs") {}

const interval = (name: string, value: Duration.Input): Context.Reference<Duration.Duration> =>
  Context.Reference(`effect-oci/MirrorJobs/${name}`, { defaultValue: () => Duration.fromInputUnsafe(value) })

/**
 * Time between two looks for jobs, and for the ends of jobs at other processes.
 *
 * @default 500 milliseconds
 * @category references
 * @since 0.1.0
 */
export const PollInterval: Context.Reference<Duration.Duration> = interval("PollInterval", "500 millis")

/**
 * Time between two refreshes of the locks of jobs that run, and between two reports of a process.
 *
 * @default 5 seconds
 * @category references
 * @since 0.1.0
 */
export const RefreshInterval: Context.Reference<Duration.Duration> = interval("RefreshInterval", "5 seconds")

/**
 * Time after the last refresh of a lock after which the job may be taken by another process.
 *
 * @default 15 seconds
 * @category references
 * @since 0.1.0
 */
export const LockExpiration: Context.Reference<Duration.Duration> = interval("LockExpiration", "15 seconds")

/**
 * Time after which a job that failed, or that a process has left to the others, may be taken again.
 *
 * @default 2 seconds
 * @category references
 * @since 0.1.0
 */
export const RetryInterval: Context.Reference<Duration.Duration> = interval("RetryInterval", "2 seconds")

/**
 * Time for which jobs that have ended, and processes that have vanished, are kept.
 *
 * @default 1 day
 * @category references
 * @since 0.1.0
 */
export const Retention: Context.Reference<Duration.Duration> = interval("Retention", "1 day")

/**
 * Returns true if a process is late: it has not reported for more than two intervals.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isLate = (seenAt: number, now: number, refresh: Duration.Duration): boolean =>
  now - seenAt > 2 * Duration.toMillis(refresh)

// ---------------------------------------------------------------------------------------------------------------------
// in memory
// ---------------------------------------------------------------------------------------------------------------------

/** An element of a queue. */
interface Element {
  readonly id: string
  readonly job: Job
  attempts: number
  /** Time from which on it can be taken, in milliseconds since the epoch. */
  visibleAt: number
}

/** Creates a queue of the jobs of one kind. */
const makeQueue = (retry: Duration.Duration) => {
  const elements: Array<Element> = []
  let changed = Deferred.makeUnsafe<void>()
  const add = (element: Element) =>
    Effect.suspend(() => {
      elements.push(element)
      const before = changed
      changed = Deferred.makeUnsafe()
      return Effect.asVoid(Deferred.succeed(before, undefined))
    })
  const next: Effect.Effect<Element> = Effect.gen(function*() {
    for (;;) {
      const now = yield* Clock.currentTimeMillis
      const index = elements.findIndex(({ visibleAt }) => visibleAt <= now)
      const [found] = index < 0 ? [] : elements.splice(index, 1)
      if (found !== undefined) return found
      const wait = Math.min(...elements.map(({ visibleAt }) => visibleAt - now), Number.MAX_SAFE_INTEGER)
      yield* elements.length === 0
        ? Deferred.await(changed)
        : Effect.raceFirst(Deferred.await(changed), Effect.sleep(wait))
    }
  })
  /** Gives an element back, unless it is done. */
  const settle = (element: Element, exit: Exit.Exit<unknown, unknown>) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (Exit.isSuccess(exit)) return Effect.void
      return Exit.hasInterrupts(exit)
        ? add({ ...element, visibleAt: now })
        : add({ ...element, attempts: element.attempts + 1, visibleAt: now + Duration.toMillis(retry) })
    })
  const take: MirrorJobs["Service"]["take"] = (_, run) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        restore(next),
        (element) =>
          restore(run({ id: element.id, job: element.job, isRepeated: element.attempts > 0 })).pipe(
            Effect.onExit((exit) => settle(element, exit))
          )
      )
    )
  return { add: (id: string, job: Job) => add({ id, job, attempts: 0, visibleAt: 0 }), take }
}

type Processes = Pick<MirrorJobs["Service"], "report" | "leave" | "processes" | "drain">

const makeProcesses = (refresh: Duration.Duration): Processes => {
  const processes = new Map<string, Omit<ProcessState, "isLate">>()
  return {
    report: ({ holds, name, version }) =>
      Effect.map(DateTime.now, (now) => {
        const before = processes.get(name)
        const isDraining = before?.isDraining ?? false
        processes.set(name, { name, version, holds, startedAt: before?.startedAt ?? now, seenAt: now, isDraining })
        return isDraining
      }),
    leave: (name) => Effect.sync(() => void processes.delete(name)),
    processes: Effect.map(Clock.currentTimeMillis, (now) =>
      Array.from(processes.values(), (process) => ({
        ...process,
        isLate: isLate(DateTime.toEpochMillis(process.seenAt), now, refresh)
      }))),
    drain: (name) =>
      Effect.sync(() => {
        const process = processes.get(name)
        if (process !== undefined) processes.set(name, { ...process, isDraining: true })
        return process !== undefined
      })
  }
}

const makeMemory = Effect.gen(function*() {
  const retry = yield* RetryInterval
  const queues = { Run: makeQueue(retry), Copy: makeQueue(retry) }
  const jobs = new Map<string, JobState>()
  /** Runs that have begun, by rule. */
  const turns = new Map<string, string>()
  const update = (id: string, fields: Partial<JobState>) => {
    const job = jobs.get(id)
    if (job !== undefined) jobs.set(id, { ...job, ...fields })
  }
  const isOpen = (id: string | undefined) => id !== undefined && jobs.get(id)?.endedAt === undefined && jobs.has(id)
  return MirrorJobs.of({
    ...makeProcesses(yield* RefreshInterval),
    offer: Effect.fnUntraced(function*(offered) {
      const offeredAt = yield* DateTime.now
      const added = offered.filter(({ id }) => !jobs.has(id))
      for (const { id, job } of added) {
        jobs.set(id, { id, job, offeredAt, startedAt: undefined, endedAt: undefined, result: undefined })
        yield* queues[job._tag].add(id, job)
      }
      return added.map(({ id }) => id)
    }),
    take: (kind, run) => queues[kind].take(kind, run),
    begin: (id) =>
      Effect.map(DateTime.now, (now): Turn => {
        const rule = jobs.get(id)?.job.rule
        if (rule === undefined || !isOpen(id)) return "ended"
        const other = turns.get(rule)
        if (other !== id && isOpen(other)) return "busy"
        turns.set(rule, id)
        update(id, { startedAt: jobs.get(id)?.startedAt ?? now })
        return "begun"
      }),
    end: (id, result) =>
      Effect.map(DateTime.now, (now) => {
        if (!isOpen(id)) return
        update(id, { endedAt: now, result })
        for (const { id: other, job } of jobs.values()) if (job._tag === "Copy" && job.run === id) jobs.delete(other)
      }),
    find: ({ ids, isOpen, kind, limit = 1000, rule, run }) =>
      Effect.sync(() =>
        Array.from(jobs.values()).reverse().filter(({ endedAt, id, job }) =>
          (ids === undefined || ids.includes(id)) && (isOpen === undefined || isOpen === (endedAt === undefined)) &&
          (kind === undefined || job._tag === kind) && (rule === undefined || job.rule === rule) &&
          (run === undefined || job._tag === "Copy" && job.run === run)
        ).slice(0, limit)
      )
  })
})

/**
 * Provides jobs that are in memory, for several services in one process.
 *
 * **Example** (A job is run once)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MirrorJobs from "effect-oci/MirrorJobs"
 *
 * const program = Effect.gen(function*() {
 *   const jobs = yield* MirrorJobs.MirrorJobs
 *   const slot = { id: "apps@12:00", job: { _tag: "Run", rule: "apps", selection: "all" } } as const
 *   yield* jobs.offer([slot])
 *   yield* jobs.take("Run", ({ id }) => jobs.end(id))
 *   return yield* jobs.offer([slot])
 * })
 *
 * await Effect.runPromise(Effect.provide(program, MirrorJobs.layerMemory)) // => []
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<MirrorJobs> = Layer.effect(MirrorJobs, makeMemory)
