/**
 * The part of a service that keeps a mirror together with other processes.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Scope } from "effect/Scope"
import * as Fingerprint from "./Fingerprint.ts"
import * as JobProcess from "./JobProcess.ts"
import * as JobTakers from "./JobTakers.ts"
import type { JobState, MirrorJobs, ProcessState } from "./MirrorJobs.ts"
import type { MirrorRule } from "./MirrorRule.ts"
import type { MirrorState, MirrorStateError } from "./MirrorState.ts"
import type { Shared, Work } from "./RuleLoop.ts"
import * as RuleOffers from "./RuleOffers.ts"

/**
 * Jobs that several processes share.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedJobs {
  readonly jobs: MirrorJobs["Service"]
  /** Name of this process, which no other one has. */
  readonly name: string
  /** Version of its program, which is shown. Default: empty. */
  readonly version?: string | undefined
  /** Largest number of copy jobs that this process takes at the same time. Default: 8. */
  readonly copies?: number | undefined
}

// default number of copy jobs that a process takes at the same time: more would leave less to the others
const copiesAtOnce = 8

export interface Together {
  /** Creates the offers of a rule. */
  readonly offer: (
    state: MirrorState["Service"],
    rule: MirrorRule,
    isNew: boolean
  ) => Effect.Effect<RuleOffers.RuleOffers>
  readonly forget: (rule: string) => void
  /**
   * Takes jobs until the process drains or the scope closes. Returns a fiber that ends when the process has drained.
   */
  readonly take: (shared: Shared, runs: number) => Effect.Effect<Fiber.Fiber<void>, never, Scope>
  /** Reads the processes, and the runs of the rules, which are shown from then on. */
  readonly look: Effect.Effect<ReadonlyArray<ProcessState>, MirrorStateError>
}

/** Returns the work of a rule: its run at any process, or one that waits. */
const workOf = (rule: string, processes: ReadonlyArray<ProcessState>, open: ReadonlyArray<JobState>): Work => {
  const jobs = open.filter(({ job }) => job.rule === rule)
  const [waiting] = jobs
  if (waiting === undefined) return { _tag: "Idle" }
  // a process that is late may have lost what it holds
  const holds = processes.filter(({ isLate }) => !isLate).flatMap(({ holds }) => holds)
  const run = holds.find((holding) => jobs.some(({ id }) => id === holding.id))
  if (run === undefined) return { _tag: "Waiting", since: waiting.offeredAt }
  // the copies of a run are those of all processes
  const copies = holds.flatMap((job) => job.kind === "Copy" && job.rule === rule ? job.activity.copies : [])
  return { _tag: "Running", since: run.since, activity: { ...run.activity, copies } }
}

/** Joins the processes of a mirror. */
export const make = Effect.fnUntraced(function*(
  { copies = copiesAtOnce, jobs, name, version = "" }: SharedJobs
): Effect.fn.Return<Together, never, Scope> {
  const process = yield* JobProcess.make(jobs, { name, version })
  const known = new Map<string, RuleOffers.RuleOffers>()
  let seen: { readonly processes: ReadonlyArray<ProcessState>; readonly open: ReadonlyArray<JobState> } = {
    processes: [],
    open: []
  }
  return {
    offer: Effect.fnUntraced(function*(state, rule, isNew) {
      const settings = yield* Fingerprint.digest(rule)
      const shared = { process, state, workOf: (rule: string) => workOf(rule, seen.processes, seen.open) }
      const offers = yield* RuleOffers.make(shared, rule, settings, isNew)
      known.set(rule.name, offers)
      return offers
    }),
    forget: (rule) => known.delete(rule),
    take: Effect.fnUntraced(function*(shared, runs) {
      const options = { process, shared, offersOf: (rule: string) => known.get(rule) }
      const fiber = yield* Effect.forkScoped(JobTakers.run(options, { runs, copies }))
      // before the jobs are given back
      yield* Effect.addFinalizer(() => process.stop)
      return fiber
    }),
    look: Effect.gen(function*() {
      const open = yield* jobs.find({ kind: "Run", isOpen: true })
      const processes = yield* process.processes
      seen = { processes, open }
      return processes
    })
  }
})
