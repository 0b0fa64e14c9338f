import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Exit, References, Scope } from "effect"
import type { MirrorConfig } from "effect-oci/MirrorConfig"
import type { MirrorNotification } from "effect-oci/MirrorNotification"
import * as MirrorService from "effect-oci/MirrorService"
import { MirrorState, type RunState, type TagState } from "effect-oci/MirrorState"
import * as Reference from "effect-oci/Reference"
import { TestClock } from "effect/testing"
import { tag } from "../utils/images.ts"
import * as mirrors from "../utils/mirror-services.ts"

/** Starts a service at a time, and lists the runs that it asked for. */
const start = Effect.fnUntraced(function*(config: MirrorConfig, options: {
  readonly at?: string
  readonly runs?: ReadonlyArray<RunState>
  readonly tags?: ReadonlyArray<TagState>
  readonly concurrency?: number
} = {}) {
  yield* TestClock.setTime(DateTime.toEpochMillis(DateTime.makeUnsafe(options.at ?? "2026-11-27T10:20:00Z")))
  const { asked, closed, made, make } = mirrors.runner()
  const state = yield* mirrors.state(options.tags, options.runs)
  const notifications: Array<MirrorNotification> = []
  const scope = yield* Scope.fork(yield* Effect.scope)
  const service = yield* MirrorService.make(config, {
    runner: make,
    notify: (notification) => Effect.sync(() => void notifications.push(notification)),
    concurrency: options.concurrency
  }).pipe(
    Effect.provideService(MirrorState, state),
    Scope.provide(scope),
    Effect.provideService(References.MinimumLogLevel, "None")
  )
  yield* TestClock.adjust(0)
  const seen = () => asked.map(({ rule, selection }) => `${rule.name} ${selection}`)
  const slots = () => asked.map(({ slot }) => slot === undefined ? undefined : DateTime.formatIso(slot))
  /** Ends the latest run. */
  const end = Effect.fnUntraced(function*(settings: Partial<RunState> = {}) {
    const last = asked.at(-1)
    if (last === undefined) return yield* Effect.die("no run was asked for")
    const { rule, slot } = last
    yield* last.end(Effect.map(DateTime.now, (now) => mirrors.runState(rule.name, now, { slot, ...settings })))
    yield* TestClock.adjust(0)
  })
  const viewOf = (name: string) =>
    Effect.flatMap(service.status, ({ rules }) => {
      const found = rules.find(({ rule }) => rule.name === name)
      return found === undefined ? Effect.die(`no rule ${name}`) : Effect.succeed(found)
    })
  return {
    service,
    asked,
    made,
    closed,
    state,
    notifications,
    seen,
    slots,
    end,
    viewOf,
    close: Scope.close(scope, Exit.void)
  }
})

const time = (text: string) => DateTime.makeUnsafe(text)

describe("a service runs a rule", () => {
  it.effect("at the slots of its schedule, one run after another", () =>
    Effect.gen(function*() {
      const { end, seen, slots } = yield* start(mirrors.config([mirrors.every("a", "1 hour")]))
      assert.deepStrictEqual(seen(), [])
      yield* TestClock.adjust("40 minutes")
      assert.deepStrictEqual(slots(), ["2026-11-27T11:00:00.000Z"])
      yield* end()
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(slots(), ["2026-11-27T11:00:00.000Z", "2026-11-27T12:00:00.000Z"])
    }))

  it.effect("at its slots although the clock was years ahead before", () =>
    Effect.gen(function*() {
      const slot = time("2030-01-01T00:00:00Z")
      const config = mirrors.config([mirrors.every("a", "1 hour", { atStart: "missing" })])
      const { end, slots } = yield* start(config, { runs: [mirrors.runState("a", slot, { slot })] })
      yield* end()
      yield* TestClock.adjust("40 minutes")
      assert.deepStrictEqual(slots(), [undefined, "2026-11-27T11:00:00.000Z"])
    }))

  it.effect("never twice at the same time, and once for all slots that it misses meanwhile", () =>
    Effect.gen(function*() {
      const { end, slots } = yield* start(mirrors.config([mirrors.every("a", "1 hour")]))
      yield* TestClock.adjust("5 hours")
      assert.strictEqual(slots().length, 1)
      yield* end()
      assert.deepStrictEqual(slots(), ["2026-11-27T11:00:00.000Z", "2026-11-27T15:00:00.000Z"])
      yield* end()
      yield* TestClock.adjust("30 minutes")
      assert.strictEqual(slots().length, 2)
    }))

  it.effect.each(
    [
      ["all", "a all"],
      ["missing", "a missing"],
      ["nothing", ""]
    ] as const
  )("at the start as it says: %s", ([atStart, expected]) =>
    Effect.gen(function*() {
      const { seen } = yield* start(mirrors.config([mirrors.every("a", "1 hour", { atStart })]))
      assert.strictEqual(seen().join(), expected)
    }))

  it.effect("at the start once, if slots were missed while there was no service", () =>
    Effect.gen(function*() {
      const slot = time("2026-11-27T03:00:00Z")
      const { end, seen, slots } = yield* start(
        mirrors.config([mirrors.every("a", "1 hour", { atStart: "missing" })]),
        { runs: [mirrors.runState("a", slot, { slot })] }
      )
      assert.deepStrictEqual(seen(), ["a all"])
      assert.deepStrictEqual(slots(), ["2026-11-27T10:00:00.000Z"])
      yield* end()
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(seen().length, 1)
    }))

  it.effect("at the start, if its last run did not end", () =>
    Effect.gen(function*() {
      const slot = time("2026-11-27T10:00:00Z")
      const { seen, slots, viewOf } = yield* start(mirrors.config([mirrors.every("a", "1 hour")]), {
        runs: [mirrors.runState("a", slot, { slot, endedAt: undefined })]
      })
      assert.deepStrictEqual([seen(), slots()], [["a all"], ["2026-11-27T10:00:00.000Z"]])
      assert.isUndefined((yield* viewOf("a")).completeAt)
    }))

  it.effect("on request, and once more if it is requested during a run", () =>
    Effect.gen(function*() {
      const { end, seen, service } = yield* start(mirrors.config([mirrors.rule("a")]))
      assert.strictEqual(yield* service.runNow("a"), "started")
      yield* TestClock.adjust(0)
      assert.deepStrictEqual([yield* service.runNow("a"), yield* service.runNow("a")], ["queued", "queued"])
      yield* TestClock.adjust(0)
      assert.strictEqual(seen().length, 1)
      yield* end()
      assert.deepStrictEqual(seen(), ["a all", "a all"])
      yield* end()
      yield* TestClock.adjust("1 day")
      assert.strictEqual(seen().length, 2)
      const error = yield* Effect.flip(service.runNow("b"))
      assert.strictEqual(error.message, "there is no rule \"b\"")
    }))

  it.effect("while no more rules than the limit run", () =>
    Effect.gen(function*() {
      const rules = ["a", "b", "c"].map((name) => mirrors.every(name, "1 hour", { atStart: "all" }))
      const { end, seen, viewOf } = yield* start(mirrors.config(rules), { concurrency: 2 })
      assert.deepStrictEqual(seen(), ["a all", "b all"])
      assert.strictEqual((yield* viewOf("c")).work._tag, "Waiting")
      yield* end()
      assert.deepStrictEqual(seen(), ["a all", "b all", "c all"])
    }))

  it.effect("again when a failed tag is due, and only its failed tags", () =>
    Effect.gen(function*() {
      const retryAt = time("2026-11-27T10:25:00Z")
      const { seen, viewOf } = yield* start(mirrors.config([mirrors.every("a", "1 hour")]), {
        tags: [mirrors.failed("a", "1", { retryAt })]
      })
      assert.deepStrictEqual((yield* viewOf("a")).nextRun, retryAt)
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(seen(), ["a failed"])
    }))

  it.effect("not again and again for a failed tag that its runs leave alone", () =>
    Effect.gen(function*() {
      const retryAt = time("2026-11-27T10:25:00Z")
      const { end, seen } = yield* start(mirrors.config([mirrors.every("a", "1 hour")]), {
        tags: [mirrors.failed("a", "1", { retryAt })]
      })
      yield* TestClock.adjust("5 minutes")
      yield* end()
      yield* TestClock.adjust("30 minutes")
      assert.deepStrictEqual(seen(), ["a failed"])
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(seen(), ["a failed", "a all"])
    }))

  it.effect("again for a failed tag that became due during its run", () =>
    Effect.gen(function*() {
      const { end, seen, service } = yield* start(mirrors.config([mirrors.rule("a")]), {
        tags: [mirrors.failed("a", "1", { retryAt: time("2026-11-27T10:25:00Z") })]
      })
      yield* service.runNow("a")
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(seen(), ["a all"])
      yield* end()
      assert.deepStrictEqual(seen(), ["a all", "a failed"])
    }))

  it.effect("again after a run that failed as a whole, with growing delays", () =>
    Effect.gen(function*() {
      const { asked, seen, service, viewOf } = yield* start(mirrors.config([mirrors.rule("a")]))
      yield* service.runNow("a")
      yield* TestClock.adjust(0)
      const delays: Array<number> = []
      for (let attempt = 0; attempt < 8; attempt++) {
        yield* asked.at(-1)?.end(Effect.fail({ message: "the list is empty" })) ?? Effect.void
        yield* TestClock.adjust(0)
        const { nextRun } = yield* viewOf("a")
        const now = DateTime.toEpochMillis(yield* DateTime.now)
        const left = nextRun === undefined ? 0 : DateTime.toEpochMillis(nextRun) - now
        delays.push(left / 60_000)
        yield* TestClock.adjust(left)
      }
      assert.deepStrictEqual(delays, [1, 2, 4, 8, 16, 32, 60, 60])
      assert.strictEqual(seen().length, 9)
      assert.strictEqual((yield* viewOf("a")).lastRun?.error, "the list is empty")
    }))

  it.effect("after a defect of a run as well", () =>
    Effect.gen(function*() {
      const { asked, seen, service } = yield* start(mirrors.config([mirrors.rule("a")]))
      yield* service.runNow("a")
      yield* TestClock.adjust(0)
      yield* asked[0]?.end(Effect.die(new Error("a bug"))) ?? Effect.void
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(seen().length, 2)
    }))
})

describe("a service", () => {
  it.effect("shows what it does", () =>
    Effect.gen(function*() {
      const { asked, end, service, viewOf } = yield* start(mirrors.config([mirrors.every("a", "1 hour")]), {
        tags: [mirrors.failed("a", "1"), mirrors.failed("a", "2", { status: "copied" })]
      })
      assert.deepInclude(yield* viewOf("a"), {
        tags: { pending: 0, copied: 1, kept: 0, failed: 1 },
        nextRun: time("2026-11-27T11:00:00Z"),
        lastRun: undefined,
        completeAt: undefined
      })
      yield* service.runNow("a")
      yield* TestClock.adjust(0)
      const activity = { planned: 3, copied: 1, failed: 0, pruned: 0, bytes: 5, copies: [] }
      yield* asked[0]?.watch(activity) ?? Effect.void
      const since = time("2026-11-27T10:20:00Z")
      assert.deepStrictEqual((yield* viewOf("a")).work, { _tag: "Running", since, activity })
      yield* TestClock.adjust("1 minute")
      yield* end({ copied: 3 })
      const after = yield* viewOf("a")
      assert.deepStrictEqual([after.work._tag, after.lastRun?.copied], ["Idle", 3])
      assert.deepStrictEqual(after.completeAt, time("2026-11-27T10:21:00Z"))
    }))

  it.effect("notifies of failed, recovered and pruning runs, and of each that ends", () =>
    Effect.gen(function*() {
      const { end, notifications, service } = yield* start(mirrors.config([mirrors.rule("a")]), {
        tags: [mirrors.failed("a", "1")]
      })
      for (const result of [{}, { failed: 1 }, { failed: 2 }, { pruned: 3 }]) {
        yield* service.runNow("a")
        yield* TestClock.adjust(0)
        yield* end(result)
      }
      assert.deepStrictEqual(notifications.map(({ event }) => event), [
        "finished",
        "failed",
        "finished",
        "failed",
        "finished",
        "recovered",
        "pruned",
        "finished"
      ])
      assert.deepStrictEqual(notifications[1]?.failures, [{
        destination: "mirror.test/copies/a",
        tag: "1",
        source: "source.test/team/a:1",
        error: "the registry is away",
        attempts: 3
      }])
    }))

  it.effect("tries failed tags of a destination again on request", () =>
    Effect.gen(function*() {
      const retryAt = time("2026-11-29T00:00:00Z")
      const { seen, service, state } = yield* start(mirrors.config([mirrors.rule("a")]), {
        tags: ["1", "2", "3"].map((name) => mirrors.failed("a", name, { retryAt }))
      })
      assert.strictEqual(yield* service.retry("mirror.test/copies/a", tag("2")), 1)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(seen(), ["a failed"])
      assert.deepStrictEqual(
        (yield* state.find({})).map(({ attempts, retryAt, tag }) => [tag, attempts, retryAt !== undefined]),
        [["1", 3, true], ["2", 0, false], ["3", 3, true]]
      )
      assert.strictEqual(yield* service.retry("mirror.test/copies/a", "all"), 3)
      assert.strictEqual(yield* service.retry("mirror.test/copies/other", "all"), 0)
    }))

  it.effect("interrupts its runs when its scope closes", () =>
    Effect.gen(function*() {
      const { asked, close, closed, service } = yield* start(mirrors.config([mirrors.rule("a")]))
      yield* service.runNow("a")
      yield* TestClock.adjust(0)
      yield* close
      assert.deepStrictEqual([asked[0]?.isInterrupted(), closed()], [true, 1])
    }))
})

describe("a new configuration", () => {
  it.effect("lets rules go on whose settings did not change, and starts others again", () =>
    Effect.gen(function*() {
      const before = ["same", "changed", "removed"].map((name) => mirrors.every(name, "1 hour", { atStart: "all" }))
      const { asked, closed, end, made, seen, service } = yield* start(mirrors.config(before))
      assert.strictEqual(seen().length, 3)
      const after = ["same", "changed", "added"].map((name) =>
        mirrors.every(name, name === "changed" ? "2 hours" : "1 hour", { atStart: "all" })
      )
      assert.deepStrictEqual(yield* service.reload(mirrors.config(after)), {
        added: ["added"],
        changed: ["changed"],
        removed: ["removed"],
        kept: ["same"]
      })
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(asked.map(({ isInterrupted }) => isInterrupted()), [false, true, true, false, false])
      assert.deepStrictEqual(seen().slice(3).sort(), ["added all", "changed all"])
      // the runner of the old configuration lives as long as its last run
      assert.deepStrictEqual([made.length, closed()], [2, 0])
      yield* asked[0]?.end(Effect.succeed(mirrors.runState("same", yield* DateTime.now))) ?? Effect.void
      yield* TestClock.adjust(0)
      assert.strictEqual(closed(), 1)
      yield* end()
    }))

  it.effect("changes the rules of a registry whose settings changed", () =>
    Effect.gen(function*() {
      const rules = [mirrors.rule("a"), mirrors.rule("b")]
      const { service } = yield* start(mirrors.config(rules))
      const { changed, kept } = yield* service.reload(mirrors.config(rules, {
        registries: [{
          host: Reference.Host.make("mirror.test"),
          credentials: { _tag: "Docker" },
          rate: 5,
          budget: undefined,
          concurrency: undefined,
          scheme: "default"
        }]
      }))
      assert.deepStrictEqual([changed, kept], [["a", "b"], []])
    }))

  it.effect("that cannot be used is shown, until one can", () =>
    Effect.gen(function*() {
      const { service } = yield* start(mirrors.config([mirrors.rule("a")]))
      yield* service.reportProblem("rules[0].tags: it is not a pattern")
      assert.strictEqual((yield* service.status).problem, "rules[0].tags: it is not a pattern")
      yield* service.reload(mirrors.config([mirrors.rule("a")]))
      assert.isUndefined((yield* service.status).problem)
    }))
})
