/**
 * Status of a service of a mirror as a JSON document.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import type { ProcessState } from "../mirror/MirrorJobs.ts"
import type { Activity, HostStatus } from "../mirror/MirrorRunner.ts"
import type { RuleStatus, Status } from "../mirror/MirrorService.ts"
import type { RunState, TagState } from "../mirror/MirrorState.ts"
import * as RunDocument from "../mirror/RunDocument.ts"
import * as RuleText from "./RuleText.ts"

const { Time } = RunDocument

const Run = Schema.Struct({
  id: Schema.String,
  rule: Schema.String,
  slot: Schema.optionalKey(Time),
  planned: Schema.Natural,
  ...RunDocument.Result.fields
})

const Progress = Schema.Struct({
  planned: Schema.Natural,
  copied: Schema.Natural,
  failed: Schema.Natural,
  pruned: Schema.Natural,
  bytes: Schema.Natural,
  copies: Schema.Array(Schema.Struct({
    source: Schema.String,
    destination: Schema.String,
    startedAt: Time,
    bytes: Schema.Natural
  }))
})

const Rule = Schema.Struct({
  name: Schema.String,
  from: Schema.String,
  to: Schema.String,
  schedule: Schema.String,
  state: Schema.Literals(["idle", "waiting", "running"]),
  progress: Schema.optionalKey(Progress),
  lastRun: Schema.optionalKey(Run),
  nextRun: Schema.optionalKey(Time),
  completeAt: Schema.optionalKey(Time).annotate({ description: "Start of the last run that failed in no tag" }),
  lagSeconds: Schema.optionalKey(Schema.Natural).annotate({ description: "Seconds since completeAt" }),
  tags: Schema.Struct({
    pending: Schema.Natural,
    copied: Schema.Natural,
    kept: Schema.Natural,
    failed: Schema.Natural
  })
})

const HostDocument = Schema.Struct({
  host: Schema.String,
  rate: Schema.optionalKey(Schema.Finite).annotate({ description: "Largest number of requests in each second" }),
  concurrency: Schema.optionalKey(Schema.Natural).annotate({
    description: "Number of requests that may run at the same time. Absent if it is unlimited"
  }),
  budget: Schema.optionalKey(Schema.Struct({
    remaining: Schema.Natural,
    limit: Schema.optionalKey(Schema.Natural),
    resetAt: Schema.optionalKey(Time),
    pausedUntil: Schema.optionalKey(Time)
  }))
})

const Failure = Schema.Struct({
  destination: Schema.String,
  tag: Schema.String,
  rule: Schema.String,
  source: Schema.String,
  error: Schema.String,
  attempts: Schema.Natural,
  retryAt: Schema.optionalKey(Time)
})

/**
 * Schema of a process that keeps the mirror together with others.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Process = Schema.Struct({
  name: Schema.String,
  version: Schema.String,
  startedAt: Time,
  seenAt: Time.annotate({ description: "When the process has last reported what it holds" }),
  late: Schema.Boolean.annotate({ description: "True if it has not reported for more than ten seconds" }),
  draining: Schema.Boolean.annotate({
    description: "True if it takes no more jobs, and ends after those that it holds"
  }),
  holds: Schema.Array(Schema.Struct({
    kind: Schema.Literals(["run", "copy"]),
    rule: Schema.String,
    source: Schema.optionalKey(Schema.String),
    since: Time
  })).annotate({ description: "Jobs that the process has taken" })
})

/**
 * Document at `/status.json`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const MirrorStatus = Schema.Struct({
  version: Schema.Literal(1),
  at: Time,
  startedAt: Time,
  problem: Schema.optionalKey(Schema.String).annotate({
    description: "Problem of the last attempt to load a new configuration"
  }),
  rules: Schema.Array(Rule),
  hosts: Schema.Array(HostDocument),
  failures: Schema.Array(Failure).annotate({ description: "Failed tags, at most 200" }),
  processes: Schema.Array(Process).annotate({
    description: "Processes that share the store, oldest first. Empty if it is that of one process"
  })
})

/**
 * Document at `/status.json`.
 *
 * @category models
 * @since 0.1.0
 */
export type MirrorStatus = typeof MirrorStatus.Type

const iso = DateTime.formatIso

const isoOf = (millis: number): string => iso(DateTime.makeUnsafe(millis))

const runOf = (run: RunState): typeof Run.Type => ({
  id: run.id,
  rule: run.rule,
  ...run.slot === undefined ? {} : { slot: iso(run.slot) },
  planned: run.planned,
  ...RunDocument.resultOf(run)
})

const progressOf = (activity: Activity): typeof Progress.Type => ({
  ...activity,
  copies: activity.copies.map((copy) => ({ ...copy, startedAt: iso(copy.startedAt) }))
})

const states = { Idle: "idle", Waiting: "waiting", Running: "running" } as const

const ruleOf = (status: RuleStatus, at: DateTime.Utc): typeof Rule.Type => {
  const { completeAt, lastRun, nextRun, rule, tags, work } = status
  const lagSeconds = RuleText.lag(status, at)
  return {
    name: rule.name,
    ...RuleText.route(rule),
    schedule: RuleText.timing(rule.timing),
    state: states[work._tag],
    tags,
    ...work._tag === "Running" ? { progress: progressOf(work.activity) } : {},
    ...lastRun === undefined ? {} : { lastRun: runOf(lastRun) },
    ...nextRun === undefined ? {} : { nextRun: iso(nextRun) },
    ...completeAt === undefined ? {} : { completeAt: iso(completeAt) },
    ...lagSeconds === undefined ? {} : { lagSeconds }
  }
}

const hostOf = ({ budget, concurrency, host, rate }: HostStatus): typeof HostDocument.Type => ({
  host,
  ...rate === undefined ? {} : { rate },
  ...Number.isFinite(concurrency) ? { concurrency } : {},
  ...budget === undefined ? {} : {
    budget: {
      remaining: budget.remaining,
      ...budget.limit === undefined ? {} : { limit: budget.limit },
      ...budget.resetAt === undefined ? {} : { resetAt: isoOf(budget.resetAt) },
      ...budget.pausedUntil === undefined ? {} : { pausedUntil: isoOf(budget.pausedUntil) }
    }
  }
})

const failureOf = (
  { attempts, destination, error = "", retryAt, rule, source, sourceTag, tag }: TagState
): typeof Failure.Type => ({
  destination,
  tag,
  rule,
  source: `${source}:${sourceTag}`,
  error,
  attempts,
  ...retryAt === undefined ? {} : { retryAt: iso(retryAt) }
})

const kinds = { Run: "run", Copy: "copy" } as const

/**
 * Converts a process.
 *
 * @category conversions
 * @since 0.1.0
 */
export const processOf = (
  { holds, isDraining, isLate, name, seenAt, startedAt, version }: ProcessState
): typeof Process.Type => ({
  name,
  version,
  startedAt: iso(startedAt),
  seenAt: iso(seenAt),
  late: isLate,
  draining: isDraining,
  holds: holds.map(({ kind, rule, since, source }) => ({
    kind: kinds[kind],
    rule,
    ...source === undefined ? {} : { source },
    since: iso(since)
  }))
})

/**
 * Creates the document.
 *
 * **Example** (The status of a service)
 *
 * ```ts import.meta.vitest
 * import { DateTime } from "effect"
 * import * as MirrorStatus from "effect-oci/MirrorStatus"
 *
 * const at = DateTime.makeUnsafe("2026-11-27T12:00:00Z")
 * const status = {
 *   at,
 *   startedAt: at,
 *   rules: [],
 *   hosts: [],
 *   failures: [],
 *   runs: [],
 *   processes: [],
 *   problem: undefined
 * }
 *
 * MirrorStatus.make(status).startedAt // => "2026-11-27T12:00:00.000Z"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = ({ at, failures, hosts, problem, processes, rules, startedAt }: Status): MirrorStatus => ({
  version: 1,
  at: iso(at),
  startedAt: iso(startedAt),
  ...problem === undefined ? {} : { problem },
  rules: rules.map((rule) => ruleOf(rule, at)),
  hosts: hosts.map(hostOf),
  failures: failures.map(failureOf),
  processes: processes.map(processOf)
})
