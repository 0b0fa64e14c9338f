/**
 * The progress of a run of a mirror on stderr. On a terminal: the copies that have been running longest, a line for
 * each rule, and a line with the totals, which are redrawn. Elsewhere, and with `--json` or `--debug`: one message for
 * each event.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import type { MirrorEvent, Subject } from "../mirror/MirrorEvent.ts"
import { Observer, type RegistryEvent } from "../Observer.ts"
import { lasting, plural, size } from "./Format.ts"
import * as Messages from "./Messages.ts"
import * as Redraw from "./Redraw.ts"

// ---------------------------------------------------------------------------------------------------------------------
// progress
// ---------------------------------------------------------------------------------------------------------------------

interface Rule {
  planned: number
  done: number
  failed: number
  isEnded: boolean
}

interface Running {
  readonly since: number
  bytes: number
}

/** Progress of a run, folded from its events. Times are in milliseconds since the epoch. */
interface Progress {
  readonly rules: Map<string, Rule>
  readonly running: Map<string, Running>
  bytes: number
  start: number
  /** Bytes that were sent at some points in time, the latest last. */
  samples: Array<{ readonly at: number; readonly bytes: number }>
}

const makeProgress = (): Progress => ({ rules: new Map(), running: new Map(), bytes: 0, start: 0, samples: [] })

const ruleOf = ({ rules }: Progress, name: string): Rule => {
  const rule = rules.get(name) ?? { planned: 0, done: 0, failed: 0, isEnded: false }
  rules.set(name, rule)
  return rule
}

const nameOf = ({ destination, tag }: Subject): string => `${destination}:${tag}`

const working: ReadonlySet<string> = new Set(["copy", "replace", "backup", "referrers", "adopt", "delete"])

const update = (progress: Progress, event: MirrorEvent, now: number): void => {
  if (progress.start === 0) progress.start = now
  switch (event._tag) {
    case "Started":
      ruleOf(progress, event.rule)
      return
    case "Planned":
      ruleOf(progress, event.plan.rule).planned += event.plan.tags.filter(({ action }) => working.has(action)).length
      return
    case "Copying":
      progress.running.set(nameOf(event), { since: now, bytes: 0 })
      return
    case "Progressed": {
      const running = progress.running.get(nameOf(event))
      if (running === undefined) return
      progress.bytes += event.bytes - running.bytes
      running.bytes = event.bytes
      return
    }
    case "Copied":
      progress.bytes += event.bytes - (progress.running.get(nameOf(event))?.bytes ?? 0)
      progress.running.delete(nameOf(event))
      ruleOf(progress, event.rule).done++
      return
    case "Failed":
      progress.running.delete(nameOf(event))
      ruleOf(progress, event.rule).failed++
      return
    case "Superseded":
    case "Pruned":
      progress.running.delete(nameOf(event))
      ruleOf(progress, event.rule).done++
      return
    case "Ended":
      ruleOf(progress, event.report.rule).isEnded = true
  }
}

// window of the rate, and time between two samples
const window = 10_000
const interval = 250

/** Returns the number of bytes sent in each second. */
const rateOf = (progress: Progress, now: number): number => {
  const { bytes, samples } = progress
  const last = samples[samples.length - 1]
  if (last === undefined || now - last.at >= interval) samples.push({ at: now, bytes })
  progress.samples = samples.filter(({ at }) => at >= now - window)
  const [first] = progress.samples
  return first === undefined || now <= first.at ? 0 : Math.max(0, ((bytes - first.bytes) * 1000) / (now - first.at))
}

/** Returns the time that the rest takes, in milliseconds, if the tags take as long as those so far. */
const timeLeft = ({ rules, start }: Progress, now: number): number => {
  const all = Array.from(rules.values())
  const done = all.reduce((sum, { done, failed }) => sum + done + failed, 0)
  const left = all.reduce((sum, { done, failed, planned }) => sum + Math.max(0, planned - done - failed), 0)
  return done === 0 ? 0 : ((now - start) * left) / done
}

// maximum numbers of lines about copies and about rules
const maximumCopies = 6
const maximumRules = 6

const failures = (failed: number): ReadonlyArray<string> => failed === 0 ? [] : [`${failed} failed`]

/** Returns the lines about a run, for a terminal of `rows` rows. */
const draw = (progress: Progress, now: number, width: number, rows: number): ReadonlyArray<string> => {
  const room = Math.max(0, rows - 2)
  const slowest = Array.from(progress.running)
    .sort(([, a], [, b]) => a.since - b.since)
    .slice(0, Math.min(maximumCopies, room))
    .map(([name, { bytes, since }]) => {
      const numbers = `${size(bytes)}, ${lasting(now - since)}`
      return `${name.slice(-Math.max(8, width - numbers.length - 1))} ${numbers}`
    })
  const rules = Array.from(progress.rules)
    .filter(([, { isEnded, planned }]) => !isEnded && planned > 0)
    .slice(0, Math.max(0, Math.min(maximumRules, room - slowest.length)))
    .map(([name, { done, failed, planned }]) =>
      [`${name}: ${done} of ${plural(planned, "tag")}`, ...failures(failed)].join(", ")
    )
  const all = Array.from(progress.rules.values())
  const sum = (f: (rule: Rule) => number) => all.reduce((sum, rule) => sum + f(rule), 0)
  const left = timeLeft(progress, now)
  const total = [
    `${sum(({ done }) => done)} of ${plural(sum(({ planned }) => planned), "tag")}`,
    size(progress.bytes),
    `${size(Math.round(rateOf(progress, now)))}/s`,
    ...left < 500 ? [] : [`${lasting(left)} left`],
    ...failures(sum(({ failed }) => failed))
  ].join(", ")
  return [...slowest, ...rules.length > 1 ? rules : [], total]
}

// ---------------------------------------------------------------------------------------------------------------------
// messages
// ---------------------------------------------------------------------------------------------------------------------

const about = (event: Subject, outcome: "copied" | "superseded" | "pruned", message: string): Messages.Message => ({
  type: "mirrored",
  message,
  rule: event.rule,
  destination: nameOf(event),
  outcome
})

type Services = FileSystem.FileSystem | Path.Path

/** Returns the message about a tag that has failed, with advice if its error has a reason. */
const failureOf = Effect.fnUntraced(function*(
  event: Extract<MirrorEvent, { readonly _tag: "Failed" }>
): Effect.fn.Return<Messages.Message, never, Services> {
  const { cause, error } = event
  if (cause === undefined) return { type: "error", message: `${nameOf(event)}: ${error}` }
  const { describe } = yield* Effect.promise(() => import("./Advice.ts"))
  const described = yield* describe(cause)
  return { ...described, message: `${nameOf(event)}: ${described.message}` }
})

/** Returns the message about an event, if there is one. */
const messageOf = (event: MirrorEvent): Effect.Effect<Messages.Message | undefined, never, Services> => {
  switch (event._tag) {
    case "Copied":
      return Effect.succeed({
        ...about(
          event,
          "copied",
          `${nameOf(event)}: ${event.bytes === 0 ? "up to date" : `copied ${size(event.bytes)}`}`
        )
      })
    case "Superseded":
      return Effect.succeed(about(event, "superseded", `${nameOf(event)}: another run has taken it over`))
    case "Pruned":
      return Effect.succeed(about(event, "pruned", `${nameOf(event)}: deleted`))
    case "Failed":
      return failureOf(event)
    case "Problem":
      return Effect.succeed({ type: "error", message: `rule ${event.rule}: ${event.problem}` })
    case "Warned":
      return Effect.succeed({ type: "warning", message: `rule ${event.rule}: ${event.text}` })
    default:
      return Effect.undefined
  }
}

const inLines = <E, R>(events: Stream.Stream<MirrorEvent, E, R>) =>
  Stream.runForEach(
    events,
    (event) =>
      Effect.flatMap(messageOf(event), (message) => message === undefined ? Effect.void : Messages.send(message))
  )

const onTerminal = Effect.fnUntraced(function*<E, R>(events: Stream.Stream<MirrorEvent, E, R>) {
  const mode = yield* Messages.CurrentMode
  const services = yield* Effect.context<Services>()
  const progress = makeProgress()
  yield* Redraw.follow(events, {
    update: (event, now) => update(progress, event, now),
    draw: (now, width, rows) => draw(progress, now, width, rows),
    // copies that succeed are counted only
    remark: (event) =>
      event._tag === "Copied" ? Effect.undefined : Effect.provideContext(
        Effect.map(messageOf(event), (message) => message === undefined ? undefined : Messages.render(message, mode)),
        services
      )
  })
})

/** Runs a mirror, reports its progress, and returns its report. */
export const shown = Effect.fnUntraced(function*<E, R>(events: Stream.Stream<MirrorEvent, E, R>) {
  const isRedrawn = yield* Redraw.isPossible
  const show = isRedrawn ? onTerminal : inLines
  let report = Option.none<Extract<MirrorEvent, { readonly _tag: "Done" }>["report"]>()
  const observed = Stream.tap(events, (event) =>
    Effect.sync(() => {
      if (event._tag === "Done") report = Option.some(event.report)
    }))
  yield* isRedrawn
    ? show(observed)
    : Effect.provideService(show(observed), Observer, observe)
  // a run that does not fail ends with its report
  return yield* Option.match(report, {
    onNone: () => Effect.die("a run has ended without a report"),
    onSome: Effect.succeed
  })
})

/** Reports pauses and retries; warnings are part of the events. */
const observe = (event: RegistryEvent): Effect.Effect<void> => {
  switch (event._tag) {
    case "Paused":
      return Messages.send(Messages.paused(event.registry, event.duration))
    case "Retried":
      return Messages.send(Messages.retried(event.registry, event.error.message, event.delay))
    case "Requested":
    case "ServedStale":
    case "Warning":
      return Effect.void
  }
}
