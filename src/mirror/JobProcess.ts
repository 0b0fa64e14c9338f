/**
 * One process of a mirror: reports what it holds, takes jobs, and waits for jobs that other processes run.
 *
 * While the store is away, the process takes nothing. After that, it first waits until the locks of what is in flight
 * were refreshed everywhere, so that no job is taken from a process that still runs it.
 */
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { none } from "./Activity.ts"
import * as MirrorJobs from "./MirrorJobs.ts"
import type { Activity } from "./MirrorRunner.ts"
import type { MirrorStateError } from "./MirrorState.ts"
import { patiently } from "./PatientState.ts"

/** Decides when jobs are taken. */
const makeGate = () => {
  const open = Latch.makeUnsafe(true)
  const draining = Deferred.makeUnsafe<void>()
  let leave = Deferred.makeUnsafe<void>()
  return {
    /** Lets waiting takers stop waiting. */
    close: Effect.suspend(() => {
      open.closeUnsafe()
      return Deferred.succeed(leave, undefined)
    }),
    open: Effect.sync(() => {
      leave = Deferred.makeUnsafe()
      open.openUnsafe()
    }),
    drain: Effect.suspend(() => {
      open.openUnsafe()
      return Effect.andThen(Deferred.succeed(draining, undefined), Deferred.succeed(leave, undefined))
    }),
    entered: open.await,
    left: Effect.suspend(() => Deferred.await(leave)),
    drained: Deferred.await(draining),
    isClosed: () => Deferred.isDoneUnsafe(leave),
    isDraining: () => Deferred.isDoneUnsafe(draining)
  }
}

/**
 * Takes one job of a kind, and runs it. A run is interrupted if the process drains, because another one continues it.
 */
const takeOne = Effect.fnUntraced(function*<E>(
  jobs: MirrorJobs.MirrorJobs["Service"],
  gate: ReturnType<typeof makeGate>,
  kind: MirrorJobs.Job["_tag"],
  run: (taken: MirrorJobs.Taken) => Effect.Effect<void, E>
) {
  let hasBegun = false
  const taking = jobs.take(kind, (taken) =>
    Effect.suspend(() => {
      // it came too late, and is given back at once
      if (gate.isClosed()) return Effect.interrupt
      hasBegun = true
      return run(taken)
    }))
  const fiber = yield* Effect.forkChild(taking)
  yield* Effect.raceFirst(Fiber.await(fiber), gate.left)
  if (hasBegun) yield* kind === "Run" ? Effect.raceFirst(Fiber.await(fiber), gate.drained) : Fiber.await(fiber)
  yield* Fiber.interrupt(fiber)
  return yield* Fiber.await(fiber)
})

/** Jobs whose ends this process waits for. */
const makeWaiters = Effect.fnUntraced(function*(jobs: MirrorJobs.MirrorJobs["Service"]) {
  const poll = yield* MirrorJobs.PollInterval
  const waiters = new Map<string, Deferred.Deferred<string | undefined>>()
  const needed = Latch.makeUnsafe(false)
  const complete = (id: string, result: string | undefined) =>
    Effect.suspend(() => {
      const waiter = waiters.get(id)
      waiters.delete(id)
      return waiter === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(waiter, result))
    })
  const look = Effect.gen(function*() {
    yield* needed.await
    yield* Effect.sleep(poll)
    const ids = Array.from(waiters.keys())
    if (ids.length === 0) return needed.closeUnsafe()
    const found = new Map((yield* jobs.find({ ids, limit: ids.length })).map((job) => [job.id, job]))
    for (const id of ids) {
      const job = found.get(id)
      // a job whose run has ended is forgotten
      if (job === undefined || job.endedAt !== undefined) yield* complete(id, job?.result)
    }
  })
  yield* Effect.forkScoped(Effect.forever(Effect.ignore(look)))
  return {
    complete,
    /** Waits for the end of a job, and returns its result, or `undefined` if it is unknown. */
    await: (id: string) =>
      Effect.suspend(() => {
        const waiter = waiters.get(id) ?? Deferred.makeUnsafe<string | undefined>()
        waiters.set(id, waiter)
        needed.openUnsafe()
        return Effect.onInterrupt(Deferred.await(waiter), () => Effect.sync(() => waiters.delete(id)))
      })
  }
})

type Offered = Parameters<MirrorJobs.MirrorJobs["Service"]["offer"]>[0][number]

/** Returns a function that offers a job. Jobs that come while others are being offered are offered together. */
const makeOffer = Effect.fnUntraced(function*(jobs: MirrorJobs.MirrorJobs["Service"]) {
  type Offer = { readonly offered: Offered; readonly done: Deferred.Deferred<void, MirrorStateError> }
  const queue = yield* Queue.unbounded<Offer>()
  const offerAll = Effect.gen(function*() {
    const offers = yield* Queue.takeAll(queue)
    const exit = yield* Effect.exit(patiently(jobs.offer(offers.map(({ offered }) => offered))))
    yield* Effect.forEach(offers, ({ done }) => Deferred.done(done, Exit.asVoid(exit)), { discard: true })
  })
  yield* Effect.forkScoped(Effect.forever(offerAll))
  return (offered: Offered) =>
    Effect.suspend(() => {
      const done = Deferred.makeUnsafe<void, MirrorStateError>()
      return Effect.andThen(Queue.offer(queue, { offered, done }), Deferred.await(done))
    })
})

/** A process of a mirror. */
export interface JobProcess {
  readonly jobs: MirrorJobs.MirrorJobs["Service"]
  readonly name: string
  /** Shows a job among those that the process holds, while an effect runs. */
  readonly holding: (
    job: Pick<MirrorJobs.Holding, "id" | "kind" | "rule" | "source">
  ) => <A, E>(
    use: (watch: (activity: Activity) => Effect.Effect<void>) => Effect.Effect<A, E>
  ) => Effect.Effect<A, E>
  /** Offers a job. */
  readonly offer: (offered: Offered) => Effect.Effect<void, MirrorStateError>
  /** Waits for the end of a job. Returns its result, or `undefined` if it is unknown. */
  readonly ended: (id: string) => Effect.Effect<string | undefined>
  /** Records the end of a job. */
  readonly end: (id: string, result?: string) => Effect.Effect<void, MirrorStateError>
  /** Takes jobs of a kind, one after another, until the process drains. */
  readonly take: <E>(
    kind: MirrorJobs.Job["_tag"],
    run: (taken: MirrorJobs.Taken) => Effect.Effect<void, E>
  ) => Effect.Effect<void>
  /** Takes nothing more, so that jobs that are given back go to other processes. */
  readonly stop: Effect.Effect<void>
  /** Returns the processes, with what this one holds now. */
  readonly processes: Effect.Effect<ReadonlyArray<MirrorJobs.ProcessState>, MirrorStateError>
}

/** Reports what a process holds, for ever. */
const reporting = Effect.fnUntraced(function*(
  report: Effect.Effect<boolean, MirrorStateError>,
  gate: ReturnType<typeof makeGate>
): Effect.fn.Return<never> {
  const refresh = yield* MirrorJobs.RefreshInterval
  let isAway = false
  for (;;) {
    yield* Effect.sleep(refresh)
    const result = yield* Effect.result(Effect.timeoutOrElse(report, {
      duration: refresh,
      orElse: () => Effect.fail({ message: `no answer in ${Duration.format(refresh)}` })
    }))
    if (result._tag === "Failure") {
      if (!isAway) yield* Effect.logWarning(`nothing is taken, because the store is away: ${result.failure.message}`)
      isAway = true
      yield* gate.close
      continue
    }
    if (result.success) yield* gate.drain
    if (!isAway) continue
    isAway = false
    yield* Effect.logInfo("the store can be used again")
    // until then, the processes refresh the locks of what they hold
    yield* Effect.sleep(refresh)
    yield* gate.open
  }
})

/** Starts a process. It leaves the mirror when the scope closes. */
export const make = Effect.fnUntraced(function*(
  jobs: MirrorJobs.MirrorJobs["Service"],
  { name, version }: Pick<MirrorJobs.ProcessState, "name" | "version">
): Effect.fn.Return<JobProcess, never, Scope.Scope> {
  const poll = yield* MirrorJobs.PollInterval
  const refresh = yield* MirrorJobs.RefreshInterval
  const gate = makeGate()
  const holds = new Map<string, MirrorJobs.Holding>()
  const report = Effect.suspend(() => jobs.report({ name, version, holds: Array.from(holds.values()) }))
  yield* Effect.acquireRelease(
    Effect.ignore(report),
    () => Effect.ignore(Effect.timeout(jobs.leave(name), refresh))
  )
  yield* Effect.forkScoped(reporting(report, gate))
  const waiters = yield* makeWaiters(jobs)
  return {
    jobs,
    name,
    holding: (job) => (use) =>
      Effect.flatMap(DateTime.now, (since) => {
        holds.set(job.id, { ...job, since, activity: none })
        const watch = (activity: Activity) =>
          Effect.sync(() => {
            const held = holds.get(job.id)
            if (held !== undefined) holds.set(job.id, { ...held, activity })
          })
        return Effect.ensuring(use(watch), Effect.sync(() => holds.delete(job.id)))
      }),
    offer: yield* makeOffer(jobs),
    ended: waiters.await,
    end: (id, result) => Effect.andThen(patiently(jobs.end(id, result)), waiters.complete(id, result)),
    take: (kind, run) =>
      Effect.gen(function*() {
        while (true) {
          yield* gate.entered
          if (gate.isDraining()) return
          const exit = yield* takeOne(jobs, gate, kind, run)
          if (exit._tag === "Failure" && !gate.isClosed()) yield* Effect.sleep(poll)
        }
      }),
    stop: Effect.asVoid(gate.close),
    processes: Effect.map(
      jobs.processes,
      (processes) =>
        processes.map((process) =>
          process.name === name ? { ...process, holds: Array.from(holds.values()), isLate: false } : process
        )
    )
  }
})
