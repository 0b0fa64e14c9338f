/**
 * Days of a mirror that three services keep together, with their state and their jobs in PostgreSQL. The source changes
 * during the runs, registries fail, and services end and start during a run. After every run without faults, the
 * destination is what the rule makes of the source.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Exit, Layer, References, Schedule, Scope } from "effect"
import * as Mirror from "effect-oci/Mirror"
import * as MirrorJobs from "effect-oci/MirrorJobs"
import { MirrorState } from "effect-oci/MirrorState"
import * as Namespace from "effect-oci/Namespace"
import * as KeyedLock from "../../src/KeyedLock.ts"
import { Locks } from "../../src/mirror/RuleRun.ts"
import * as Days from "../utils/mirror-days.ts"
import { layerProcess } from "../utils/mirror-states.ts"
import { setup } from "../utils/mirrors.ts"
import * as MovableClock from "../utils/MovableClock.ts"
import * as Postgres from "../utils/Postgres.ts"

const isLong = process.env["EFFECT_OCI_LONG"] !== undefined
const [repositories, tagsEach, days] = isLong ? [50, 10, 100] : [6, 5, 4]
const seed = 11
const services = 3

/** Intervals that a test can wait for. */
const quick = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.provideService(MirrorJobs.PollInterval, Duration.millis(20)),
    Effect.provideService(MirrorJobs.RefreshInterval, Duration.seconds(1)),
    Effect.provideService(MirrorJobs.LockExpiration, Duration.seconds(5)),
    Effect.provideService(MirrorJobs.RetryInterval, Duration.seconds(1)),
    Effect.provideService(References.MinimumLogLevel, "None")
  )

/** Opens the state and the jobs in a database, with connections of their own, as a process does. */
const open = (url: string) => quick(Effect.orDie(Layer.build(layerProcess(url))))

/** Starts and ends services, and counts the copies that they offer. */
const makeServices = Effect.fnUntraced(function*(url: string, namespace: Namespace.Namespace["Service"]) {
  const scope = yield* Effect.scope
  let started = 0
  let copies = 0
  const start = Effect.gen(function*() {
    const own = yield* Scope.fork(scope)
    const name = `p${++started}`
    const service = yield* Effect.gen(function*() {
      const context = yield* open(url)
      const jobs = Context.get(context, MirrorJobs.MirrorJobs)
      const counted: MirrorJobs.MirrorJobs["Service"] = {
        ...jobs,
        offer: (offered) => {
          copies += offered.filter(({ job }) => job._tag === "Copy").length
          return jobs.offer(offered)
        }
      }
      return yield* Effect.provideService(
        Mirror.serve(Days.config, { shared: { jobs: counted, copies: 4, name } }),
        MirrorState,
        Context.get(context, MirrorState)
      )
    }).pipe(
      Effect.provideService(Namespace.Namespace, namespace),
      Effect.provideService(Locks, KeyedLock.make()),
      Scope.provide(own),
      quick
    )
    return { runNow: Effect.orDie(service.runNow("all")), close: Scope.close(own, Exit.void) }
  })
  return {
    start,
    /** Returns the number of copies that were offered since the last call. */
    copies: () => {
      const before = copies
      copies = 0
      return before
    }
  }
})

const simulate = Effect.gen(function*() {
  const url = yield* Postgres.Postgres.use(({ database }) => database)
  const random = Days.makeRandom(seed)
  const weather = Days.makeWeather(random)
  const context = yield* open(url)
  const state = Context.get(context, MirrorState)
  const jobs = Context.get(context, MirrorJobs.MirrorJobs)
  const { clock, move } = yield* MovableClock.make
  yield* Effect.gen(function*() {
    const { destination, forget, namespace, run, source } = yield* setup(weather)
    const world = yield* Days.make(random, source.memory, destination.memory, { repositories, tagsEach })
    // a person has confirmed that the rule deletes tags
    yield* run(Days.config, { prune: true })

    const { copies, start } = yield* makeServices(url, namespace)
    const running = yield* Effect.all(Array.from({ length: services }, () => start))
    const any = () => Math.floor(random() * services)
    const request = Effect.suspend(() => running[any()]?.runNow ?? Effect.void)
    /** Waits until no run is open, and returns the last one. */
    const ended = Effect.repeat(jobs.find({ kind: "Run", isOpen: true }), {
      until: (open) => open.length === 0,
      schedule: Schedule.spaced("20 millis")
    }).pipe(
      Effect.andThen(state.runs({ limit: 1 })),
      Effect.flatMap(([last]) => last === undefined ? Effect.die("no run was recorded") : Effect.succeed(last))
    )
    /** Ends a service, and starts another one, on some days. */
    const replaceOne = Effect.gen(function*() {
      const index = any()
      if (random() < 0.5) return
      yield* Effect.sleep(random() * 300)
      yield* running[index]?.close ?? Effect.void
      running[index] = yield* start
    })

    for (let day = 0; day < days; day++) {
      yield* move("24 hours")
      weather.change()
      yield* request
      yield* Effect.all([ended, world.change, replaceOne], { concurrency: 3 })
      // faults do not last
      weather.clear()
      yield* move("7 hours")
      yield* request
      yield* ended
      yield* world.isExact(day)
      copies()
      forget()
      yield* request
      const last = yield* ended
      assert.deepStrictEqual([last.planned, last.failed, last.error], [0, 0, undefined], `day ${day}`)
      assert.strictEqual(copies(), 0, `day ${day}`)
      // as many requests as one process makes
      assert.deepStrictEqual(source.counts(), {
        repositories: 1,
        tags: repositories,
        resolveManifest: world.selected()
      })
      assert.deepStrictEqual(destination.counts(), {})
    }
  }).pipe(Effect.provideService(MirrorState, state), Effect.provideService(Clock.Clock, clock))
})

describe.skipIf(!Postgres.available)(
  "a mirror of three services over many days",
  () =>
    it.layer(Postgres.layer, { timeout: "1 minute", excludeTestServices: true })((it) => {
      it.effect(`makes the destination what the rule says (seed ${seed})`, () => simulate, isLong ? 3_600_000 : 120_000)
    })
)
