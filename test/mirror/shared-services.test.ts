/**
 * Several services in one process that share their jobs and their state, as several processes do.
 */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Exit, References, Scope } from "effect"
import type { MirrorConfig } from "effect-oci/MirrorConfig"
import { layerMemory, MirrorJobs, Retention } from "effect-oci/MirrorJobs"
import type { MirrorNotification } from "effect-oci/MirrorNotification"
import * as MirrorService from "effect-oci/MirrorService"
import { MirrorState, type RunState, type TagState } from "effect-oci/MirrorState"
import { TestClock } from "effect/testing"
import * as mirrors from "../utils/mirror-services.ts"

/** Creates a mirror whose services start one by one. */
const setup = Effect.fnUntraced(function*(options: {
  readonly runs?: ReadonlyArray<RunState>
  readonly tags?: ReadonlyArray<TagState>
} = {}) {
  yield* TestClock.setTime(DateTime.toEpochMillis(DateTime.makeUnsafe("2026-11-27T10:20:00Z")))
  const state = yield* mirrors.state(options.tags, options.runs)
  const jobs = yield* Effect.provide(MirrorJobs, layerMemory)
  const notifications: Array<MirrorNotification> = []
  const { asked, make } = mirrors.runner()
  let count = 0
  const start = Effect.fnUntraced(function*(config: MirrorConfig) {
    const name = `p${++count}`
    const scope = yield* Scope.fork(yield* Effect.scope)
    const service = yield* MirrorService.make(config, {
      runner: make,
      notify: (notification) => Effect.sync(() => void notifications.push(notification)),
      shared: { jobs, name }
    }).pipe(
      Effect.provideService(MirrorState, state),
      Scope.provide(scope),
      Effect.provideService(References.MinimumLogLevel, "None")
    )
    yield* TestClock.adjust(0)
    return { ...service, name, close: Scope.close(scope, Exit.void) }
  })
  /** Ends a run, and records it, as a runner does. */
  const end = Effect.fnUntraced(function*(index: number, settings: Partial<RunState> = {}) {
    const run = asked.at(index)
    if (run === undefined) return yield* Effect.die(`no run ${index} was asked for`)
    const now = yield* DateTime.now
    const ended = mirrors.runState(run.rule.name, now, { id: run.shared?.id ?? "", slot: run.slot, ...settings })
    yield* Effect.orDie(state.recordRun(ended))
    yield* run.end(Effect.succeed(ended))
    yield* TestClock.adjust(0)
  })
  const slots = () => asked.flatMap(({ slot }) => slot === undefined ? [] : [DateTime.formatIso(slot)])
  const seen = () => asked.map(({ rule, selection }) => `${rule.name} ${selection}`)
  return { start, asked, seen, slots, end, jobs, state, notifications }
})

const hourly = mirrors.config([mirrors.every("a", "1 hour")])

describe("services that share their jobs", () => {
  it.effect("run each slot once", () =>
    Effect.gen(function*() {
      const { asked, end, slots, start } = yield* setup()
      const config = mirrors.config([mirrors.every("a", "10 seconds")])
      for (let i = 0; i < 3; i++) yield* start(config)
      for (let slot = 1; slot <= 100; slot++) {
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(asked.length, slot)
        yield* end(-1)
      }
      assert.strictEqual(new Set(slots()).size, 100)
    }))

  it.effect("run a slot that comes during a run after it, each once", () =>
    Effect.gen(function*() {
      const { asked, end, slots, start } = yield* setup()
      const config = mirrors.config([mirrors.every("a", "1 minute")])
      for (let i = 0; i < 2; i++) yield* start(config)
      yield* TestClock.adjust("3 minutes")
      assert.strictEqual(asked.length, 1)
      for (let i = 1; i <= 3; i++) {
        yield* end(-1)
        yield* TestClock.adjust("5 seconds")
      }
      assert.deepStrictEqual(slots().sort(), [
        "2026-11-27T10:21:00.000Z",
        "2026-11-27T10:22:00.000Z",
        "2026-11-27T10:23:00.000Z"
      ])
    }))

  it.effect("leave out a slot that is old when a later one is due", () =>
    Effect.gen(function*() {
      const { end, slots, start } = yield* setup()
      yield* start(hourly)
      yield* start(hourly)
      yield* TestClock.adjust("220 minutes")
      yield* end(-1)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(slots(), ["2026-11-27T11:00:00.000Z", "2026-11-27T14:00:00.000Z"])
    }))

  it.effect("run the slots that were missed while there was none once", () =>
    Effect.gen(function*() {
      const slot = DateTime.makeUnsafe("2026-11-27T03:00:00Z")
      const { asked, end, slots, start } = yield* setup({ runs: [mirrors.runState("a", slot, { slot })] })
      for (let i = 0; i < 3; i++) yield* start(mirrors.config([mirrors.every("a", "1 hour", { atStart: "missing" })]))
      assert.deepStrictEqual(slots(), ["2026-11-27T10:00:00.000Z"])
      yield* end(-1)
      yield* TestClock.adjust("30 minutes")
      assert.strictEqual(asked.length, 1)
    }))

  it.effect("run their slots although the clock of one of them was years ahead", () =>
    Effect.gen(function*() {
      const slot = DateTime.makeUnsafe("2030-01-01T00:00:00Z")
      const { slots, start } = yield* setup({ runs: [mirrors.runState("a", slot, { slot })] })
      yield* start(hourly)
      yield* TestClock.adjust("45 minutes")
      assert.deepStrictEqual(slots(), ["2026-11-27T11:00:00.000Z"])
    }))

  it.effect("run a new rule once at the start, although older ones do not have it", () =>
    Effect.gen(function*() {
      const { seen, start } = yield* setup()
      yield* start(mirrors.config([mirrors.rule("b")]))
      const config = mirrors.config([mirrors.rule("a", { atStart: "missing" }), mirrors.rule("b")])
      for (let i = 0; i < 2; i++) yield* start(config)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(seen(), ["a missing"])
    }))

  it.effect("run a rule at the start of the first one only", () =>
    Effect.gen(function*() {
      const { end, seen, start } = yield* setup()
      const config = mirrors.config([mirrors.rule("a", { atStart: "missing" })])
      yield* start(config)
      yield* end(-1)
      yield* start(config)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(seen(), ["a missing"])
    }))

  it.effect("start a run on request of any of them, and one more during a run", () =>
    Effect.gen(function*() {
      const { end, seen, start } = yield* setup()
      const config = mirrors.config([mirrors.rule("a")])
      const [one, two] = [yield* start(config), yield* start(config)]
      assert.strictEqual(yield* two.runNow("a"), "started")
      yield* TestClock.adjust(0)
      assert.deepStrictEqual([yield* one.runNow("a"), yield* two.runNow("a")], ["queued", "queued"])
      yield* end(-1)
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(seen(), ["a all", "a all"])
      yield* end(-1)
      yield* TestClock.adjust("1 day")
      assert.strictEqual(seen().length, 2)
    }))

  it.effect("try failed tags again once, when they are due and on request", () =>
    Effect.gen(function*() {
      const retryAt = DateTime.makeUnsafe("2026-11-27T10:25:00Z")
      const { end, seen, start } = yield* setup({ tags: [mirrors.failed("a", "1", { retryAt })] })
      const [one] = [yield* start(hourly), yield* start(hourly)]
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(seen(), ["a failed"])
      yield* end(-1)
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(seen(), ["a failed"])
      assert.strictEqual(yield* one.retry("mirror.test/copies/a", "all"), 1)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(seen(), ["a failed", "a failed"])
    }))

  it.effect("try a run that failed as a whole again once, with growing delays", () =>
    Effect.gen(function*() {
      const { end, seen, start } = yield* setup()
      const config = mirrors.config([mirrors.rule("a")])
      const [one] = [yield* start(config), yield* start(config), yield* start(config)]
      yield* one.runNow("a")
      yield* TestClock.adjust(0)
      yield* end(-1, { error: "the list is empty" })
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(seen().length, 2)
      yield* end(-1, { error: "the list is empty" })
      yield* TestClock.adjust("110 seconds")
      assert.strictEqual(seen().length, 2)
      yield* TestClock.adjust("70 seconds")
      assert.strictEqual(seen().length, 3)
    }))

  it.effect("notify once of each run", () =>
    Effect.gen(function*() {
      const { end, notifications, start } = yield* setup()
      const [one] = [yield* start(hourly), yield* start(hourly)]
      for (const result of [{}, { failed: 1 }, {}]) {
        yield* one.runNow("a")
        yield* TestClock.adjust(0)
        yield* end(-1, result)
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual(notifications.map(({ event }) => event), [
        "finished",
        "failed",
        "finished",
        "recovered",
        "finished"
      ])
    }))
})

describe("a service among others", () => {
  it.effect("gives its run back when its scope closes, and another one continues it", () =>
    Effect.gen(function*() {
      const { asked, end, slots, start, state } = yield* setup()
      const one = yield* start(hourly)
      yield* TestClock.adjust("40 minutes")
      yield* start(hourly)
      yield* one.close
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(asked.map(({ isInterrupted }) => isInterrupted()), [true, false])
      assert.deepStrictEqual(slots(), ["2026-11-27T11:00:00.000Z", "2026-11-27T11:00:00.000Z"])
      assert.deepStrictEqual(asked.map(({ shared }) => shared?.id), [
        "a@2026-11-27T11:00:00.000Z",
        "a@2026-11-27T11:00:00.000Z"
      ])
      yield* end(-1)
      assert.strictEqual((yield* state.runs({ limit: 10 })).length, 1)
    }))

  it.effect("leaves a rule that it does not have to the others", () =>
    Effect.gen(function*() {
      const { asked, start } = yield* setup()
      const one = yield* start(mirrors.config([mirrors.rule("b")]))
      const two = yield* start(mirrors.config([mirrors.rule("a")]))
      yield* two.runNow("a")
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(asked.map(({ rule }) => rule.name), ["a"])
      assert.strictEqual((yield* Effect.flip(one.runNow("a")))._tag, "UnknownRule")
    }))

  it.effect("ends a run of a rule that none has had for long, and the copies of a run that has ended", () =>
    Effect.gen(function*() {
      const { jobs, start } = yield* setup()
      const copy = {
        _tag: "Copy",
        rule: "a",
        run: "gone@1",
        settings: "",
        source: "source.test/team/a",
        selection: "all",
        tags: []
      } as const
      yield* jobs.offer([
        { id: "gone@1", job: { _tag: "Run", rule: "gone", selection: "all" } },
        { id: "copy", job: copy }
      ])
      yield* Effect.provideService(start(hourly), Retention, Duration.minutes(5))
      yield* TestClock.adjust("4 minutes")
      assert.deepStrictEqual((yield* jobs.find({ isOpen: true })).map(({ id }) => id), ["copy", "gone@1"])
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(yield* jobs.find({ isOpen: true }), [])
    }))

  it.effect("does not repeat a run that was recorded before its process was killed", () =>
    Effect.gen(function*() {
      const { asked, jobs, start, state } = yield* setup()
      yield* jobs.offer([{ id: "a@1", job: { _tag: "Run", rule: "a", selection: "all" } }])
      yield* jobs.begin("a@1")
      const run = mirrors.runState("a", yield* DateTime.now, { id: "a@1", pruned: 3 })
      yield* state.recordRun(run)
      yield* start(hourly)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([asked.length, yield* jobs.find({ isOpen: true })], [0, []])
      assert.deepStrictEqual(yield* state.runs({ limit: 10 }), [run])
    }))

  it.effect("does not record the failure of a run that another process has ended", () =>
    Effect.gen(function*() {
      const { asked, jobs, start, state } = yield* setup()
      const one = yield* start(hourly)
      yield* one.runNow("a")
      yield* TestClock.adjust(0)
      const id = asked[0]?.shared?.id ?? ""
      const run = mirrors.runState("a", yield* DateTime.now, { id })
      yield* state.recordRun(run)
      yield* jobs.end(id)
      yield* asked[0]?.end(Effect.fail({ message: "it was frozen" })) ?? Effect.void
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* state.runs({ limit: 10 }), [run])
    }))

  it.effect("reports the result of a copy that another version has written, if it cannot be read", () =>
    Effect.gen(function*() {
      const { asked, jobs, start } = yield* setup()
      const source = "source.test/team/a"
      yield* jobs.offer([
        { id: "a@1", job: { _tag: "Run", rule: "a", selection: "all" } },
        { id: "1", job: { _tag: "Copy", rule: "a", run: "a@1", settings: "", source, selection: "all", tags: [] } }
      ])
      yield* jobs.end("1", "{}")
      yield* start(hourly)
      yield* TestClock.adjust(0)
      const problem = `${source}: the result of a copy cannot be read, because another version has written it`
      const results = yield* asked[0]?.shared?.former ?? Effect.succeed([])
      assert.deepStrictEqual(results, [{ requests: 0, events: [{ _tag: "Problem", rule: "a", problem }] }])
    }))

  it.effect("reads a new configuration without an effect on the runs of the others", () =>
    Effect.gen(function*() {
      const { asked, end, start } = yield* setup()
      const one = yield* start(hourly)
      yield* TestClock.adjust("40 minutes")
      const two = yield* start(hourly)
      yield* two.reload(mirrors.config([mirrors.every("a", "2 hours")]))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(asked.map(({ isInterrupted }) => isInterrupted()), [false])
      // its own run is continued with the new settings
      yield* one.reload(mirrors.config([mirrors.every("a", "2 hours")]))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(asked.map(({ isInterrupted }) => isInterrupted()), [true, false])
      yield* end(-1)
    }))

  it.effect("shows all of them, what they hold, and which is late", () =>
    Effect.gen(function*() {
      const { jobs, start } = yield* setup()
      const one = yield* start(hourly)
      yield* start(hourly)
      yield* one.runNow("a")
      yield* TestClock.adjust("5 seconds")
      yield* jobs.report({ name: "frozen", version: "1", holds: [] })
      yield* TestClock.adjust("11 seconds")
      const { processes, rules } = yield* one.status
      assert.deepStrictEqual(
        processes.map(({ holds, isLate, name }) => [
          name,
          isLate,
          holds.map(({ id, kind }) => `${kind} ${id.slice(0, 9)}`)
        ]),
        [["p1", false, ["Run a~request"]], ["p2", false, []], ["frozen", true, []]]
      )
      assert.strictEqual(rules[0]?.work._tag, "Running")
    }))

  it.effect("that drains gives its runs back, takes nothing more, and ends", () =>
    Effect.gen(function*() {
      const { asked, jobs, start } = yield* setup()
      const one = yield* start(hourly)
      yield* one.runNow("a")
      yield* TestClock.adjust(0)
      const two = yield* start(hourly)
      assert.isTrue(yield* jobs.drain("p1"))
      assert.isFalse(yield* jobs.drain("p9"))
      yield* TestClock.adjust("5 seconds")
      yield* one.drained
      assert.deepStrictEqual(asked.map(({ isInterrupted }) => isInterrupted()), [true, false])
      assert.deepStrictEqual((yield* two.status).processes.map(({ isDraining }) => isDraining), [true, false])
      yield* one.close
      assert.deepStrictEqual((yield* two.status).processes.map(({ name }) => name), ["p2"])
    }))
})
