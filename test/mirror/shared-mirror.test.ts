/**
 * Mirrors between registries in memory that several services keep together, over jobs in memory and in databases.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Exit, Layer, References, Schedule, Scope } from "effect"
import * as Mirror from "effect-oci/Mirror"
import type { MirrorConfig } from "effect-oci/MirrorConfig"
import * as MirrorJobs from "effect-oci/MirrorJobs"
import * as MirrorState from "effect-oci/MirrorState"
import * as Namespace from "effect-oci/Namespace"
import type { Registry } from "effect-oci/Registry"
import * as Resolver from "effect-oci/Resolver"
import * as KeyedLock from "../../src/KeyedLock.ts"
import { Locks } from "../../src/mirror/RuleRun.ts"
import { file, layerJobs } from "../utils/mirror-states.ts"
import { configOf, imagesOf, setup } from "../utils/mirrors.ts"
import { override } from "../utils/registries.ts"

const config = configOf({
  name: "team",
  from: "one.local/team/*",
  to: "two.local/copies/$1",
  referrers: false,
  trust: "1000d",
  atStart: "nothing"
})

/** Intervals that a test can wait for. SQLite has whole seconds. */
const quick = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.provideService(MirrorJobs.PollInterval, Duration.millis(20)),
    Effect.provideService(MirrorJobs.RefreshInterval, Duration.millis(300)),
    Effect.provideService(MirrorJobs.LockExpiration, Duration.seconds(1)),
    Effect.provideService(MirrorJobs.RetryInterval, Duration.seconds(1)),
    Effect.provideService(References.MinimumLogLevel, "None")
  )

const sqlite = Effect.map(
  file,
  (filename) => Effect.map(Layer.build(layerJobs(filename)), Context.get(MirrorJobs.MirrorJobs))
)

/** Registries, and processes that mirror between them. */
const make = Effect.gen(function*() {
  const mirror = yield* setup()
  const { destination, source, state } = mirror
  const open = yield* sqlite
  let count = 0
  /** Starts a process, whose destination may be a view of the registry. */
  const start = Effect.fnUntraced(function*(options: {
    readonly view?: (registry: Registry) => Registry
    readonly config?: MirrorConfig
    readonly jobs?: (jobs: MirrorJobs.MirrorJobs["Service"]) => MirrorJobs.MirrorJobs["Service"]
  } = {}) {
    const { view = (registry: Registry) => registry } = options
    const name = `p${++count}`
    const scope = yield* Scope.fork(yield* Effect.scope)
    const namespace = Namespace.make({
      resolver: Resolver.static({ "one.local": source.registry, "two.local": view(destination.registry) })
    })
    const service = yield* Effect.gen(function*() {
      const jobs = yield* open
      return yield* Mirror.serve(options.config ?? config, {
        shared: { jobs: (options.jobs ?? ((jobs) => jobs))(jobs), copies: 2, name }
      })
    }).pipe(
      Effect.provideService(Namespace.Namespace, namespace),
      Effect.provideService(Locks, KeyedLock.make()),
      Scope.provide(scope),
      quick
    )
    return { ...service, name, close: Scope.close(scope, Exit.void) }
  })
  /** Waits for the end of as many runs. */
  const ended = (runs: number) =>
    Effect.repeat(state.runs({ limit: 100 }), {
      until: (found) => found.filter(({ endedAt }) => endedAt !== undefined).length >= runs,
      schedule: Schedule.spaced("20 millis")
    }).pipe(Effect.andThen(state.runs({ limit: 100 })), Effect.timeout("20 seconds"))
  const push = Effect.fnUntraced(function*(repositories: number, tags: number, content: string) {
    for (let index = 0; index < repositories; index++) {
      for (let tag = 0; tag < tags; tag++) yield* mirror.push(`${tag}`, `${content} ${index} ${tag}`, `team/r${index}`)
    }
  })
  const isExact = Effect.fnUntraced(function*(repositories: number) {
    for (let index = 0; index < repositories; index++) {
      const wanted = yield* imagesOf(source.memory, `team/r${index}`)
      assert.deepStrictEqual(yield* imagesOf(destination.memory, `copies/r${index}`), wanted)
    }
  })
  return { ...mirror, start, ended, push, isExact }
})

/** Counts the tags that a process pushes. */
const counted = () => {
  const pushed: Array<string> = []
  const view = (registry: Registry) =>
    override(registry, {
      pushManifest: (repository, manifest, tags = []) =>
        Effect.tap(registry.pushManifest(repository, manifest, tags), () =>
          Effect.sync(() => pushed.push(...tags.map((tag) => `${repository}:${tag}`))))
    })
  return { pushed, view }
}

const test = (name: string, effect: Effect.Effect<void, unknown, MirrorState.MirrorState | Scope.Scope>) =>
  it.live(name, () => effect.pipe(Effect.provide(MirrorState.layerMemory), Effect.scoped), 60_000)

describe("processes that keep a mirror together", () => {
  test(
    "copy each tag once, whichever takes it",
    Effect.gen(function*() {
      const { ended, isExact, push, start } = yield* make
      yield* push(12, 3, "a")
      const views = [counted(), counted(), counted()]
      const processes = yield* Effect.forEach(views, ({ view }) => start({ view }))
      yield* processes[0]?.runNow("team") ?? Effect.void
      const [run] = yield* ended(1)
      assert.deepInclude(run, { planned: 36, copied: 36, failed: 0, error: undefined })
      const pushed = views.flatMap(({ pushed }) => pushed)
      assert.strictEqual(new Set(pushed).size, 36)
      assert.lengthOf(pushed, 36)
      assert.isAbove(views.filter(({ pushed }) => pushed.length > 0).length, 1)
      yield* isExact(12)
    })
  )

  test(
    "offer no copies in a run that has nothing to do",
    Effect.gen(function*() {
      const { ended, push, start } = yield* make
      yield* push(4, 3, "a")
      const offered: Array<string> = []
      const jobs = (jobs: MirrorJobs.MirrorJobs["Service"]): MirrorJobs.MirrorJobs["Service"] => ({
        ...jobs,
        offer: (added) => {
          offered.push(...added.map(({ job }) => job._tag))
          return jobs.offer(added)
        }
      })
      const one = yield* start({ jobs })
      yield* start({ jobs })
      yield* one.runNow("team")
      yield* ended(1)
      assert.deepStrictEqual(offered, ["Run", "Copy", "Copy", "Copy", "Copy"])
      yield* one.runNow("team")
      const [run] = yield* ended(2)
      assert.deepInclude(run, { planned: 0, copied: 0 })
      assert.deepStrictEqual(offered.slice(5), ["Run"])
    })
  )

  test(
    "finish the run of one that ends, and copy again only what it had in flight",
    Effect.gen(function*() {
      const { ended, isExact, push, start } = yield* make
      yield* push(8, 2, "a")
      const reached = yield* Deferred.make<void>()
      const first = counted()
      // its third push of a tag does not end
      let pushes = 0
      const one = yield* start({
        view: (registry) =>
          first.view(override(registry, {
            pushManifest: (repository, manifest, tags = []) =>
              tags.length > 0 && ++pushes > 3
                ? Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)
                : registry.pushManifest(repository, manifest, tags)
          }))
      })
      yield* one.runNow("team")
      yield* Deferred.await(reached)
      yield* one.close
      const second = counted()
      yield* start({ view: second.view })
      const [run, ...others] = yield* ended(1)
      assert.deepStrictEqual(others, [])
      assert.strictEqual(run?.error, undefined)
      assert.lengthOf(first.pushed, 3)
      assert.sameMembers(second.pushed, Array.from(new Set(second.pushed)))
      assert.lengthOf(second.pushed, 13)
      yield* isExact(8)
    })
  )

  test(
    "leave copies to those with the same settings of the rule",
    Effect.gen(function*() {
      const { ended, isExact, push, start } = yield* make
      yield* push(4, 1, "a")
      const other = counted()
      yield* start({
        view: other.view,
        config: configOf({
          name: "team",
          from: "one.local/team/*",
          to: "two.local/elsewhere/$1",
          referrers: false,
          atStart: "nothing"
        }),
        // it takes copies only
        jobs: (jobs) => ({ ...jobs, take: (kind, run) => kind === "Run" ? Effect.never : jobs.take(kind, run) })
      })
      const one = yield* start()
      yield* one.runNow("team")
      yield* ended(1)
      assert.deepStrictEqual(other.pushed, [])
      yield* isExact(4)
    })
  )
})
