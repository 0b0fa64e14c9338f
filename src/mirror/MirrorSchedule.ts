/**
 * Slots of a rule: the times at which its schedule plans a run.
 *
 * Slots depend on nothing but the rule and the clock, so that they stay the same after a restart, and several processes
 * agree on them. Slots of an interval are its multiples since 1970-01-01 in UTC: `every: 6h` means 00:00, 06:00, 12:00
 * and 18:00. Slots of a cron expression follow its time zone, with one run of an hour that occurs twice.
 *
 * A slot that passed while no process was there, or while the rule was running, is run once, as soon as possible: only
 * the latest of several is.
 *
 * @since 0.1.0
 */
import * as Cron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { MirrorRule, Timing } from "./MirrorRule.ts"

/**
 * A planned run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Slot {
  /** Time that the schedule names, which identifies the slot. */
  readonly at: DateTime.Utc
  /** Time at which the run starts: `at` and a delay of at most the rule's `jitter`. */
  readonly startAt: DateTime.Utc
}

type Timed = Pick<MirrorRule, "name" | "timing">

/** Returns a hash of a text, from 0 to 1 (FNV-1a). */
const fraction = (text: string): number => {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  // spreads the last characters, which differ most, over all bits
  hash = Math.imul(hash ^ hash >>> 15, 0x2c1b3c6d)
  hash ^= hash >>> 13
  return (hash >>> 0) / 2 ** 32
}

const slotAt = (name: string, jitter: Duration.Duration, millis: number): Slot => {
  const at = DateTime.makeUnsafe(millis)
  const delay = Math.floor(Duration.toMillis(jitter) * fraction(`${name}@${DateTime.formatIso(at)}`))
  return { at, startAt: DateTime.makeUnsafe(millis + delay) }
}

/** Returns the milliseconds of the next slot after a time, and of the latest slot until that time. */
const around = (timing: Exclude<Timing, { readonly _tag: "Manual" }>, time: number) => {
  if (timing._tag === "Every") {
    const interval = Math.max(1000, Duration.toMillis(timing.interval))
    const latest = Math.floor(time / interval) * interval
    return { latest: Option.some(latest), next: Option.some(latest + interval) }
  }
  // an expression that matches no day, such as the 30th of February, is found out by searching
  const search = (find: (cron: Cron.Cron, from: DateTime.Utc) => Date, from: number) =>
    Result.getSuccess(Result.try(() => find(timing.cron, DateTime.makeUnsafe(from)).getTime()))
  const second = Math.floor(time / 1000) * 1000
  return { latest: search(Cron.prev, second + 1000), next: search(Cron.next, second) }
}

/**
 * Returns the first slot after a time. A rule that only runs by hand has none.
 *
 * **Example** (Every six hours)
 *
 * ```ts import.meta.vitest
 * import { DateTime, Duration, Option } from "effect"
 * import * as MirrorSchedule from "effect-oci/MirrorSchedule"
 *
 * const timing = { _tag: "Every", interval: Duration.hours(6), jitter: Duration.zero } as const
 * const slot = MirrorSchedule.next({ name: "bases", timing }, DateTime.makeUnsafe("2026-11-27T07:30:00Z"))
 *
 * Option.map(slot, ({ at }) => DateTime.formatIso(at)) // => Option.some("2026-11-27T12:00:00.000Z")
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const next = ({ name, timing }: Timed, after: DateTime.Utc): Option.Option<Slot> =>
  timing._tag === "Manual"
    ? Option.none()
    : Option.map(
      around(timing, DateTime.toEpochMillis(after)).next,
      (millis) => slotAt(name, timing.jitter, millis)
    )

/**
 * Returns the slot to run after the slot `last`: the latest one that has passed, or else the next one. A rule that has
 * not run before has no missed slots: `last` is the time of the start.
 *
 * @category getters
 * @since 0.1.0
 */
export const upcoming = (rule: Timed, last: DateTime.Utc, now: DateTime.Utc): Option.Option<Slot> => {
  const { name, timing } = rule
  if (timing._tag === "Manual") return Option.none()
  return around(timing, DateTime.toEpochMillis(now)).latest.pipe(
    Option.filter((millis) => millis > DateTime.toEpochMillis(last)),
    Option.map((millis) => slotAt(name, timing.jitter, millis)),
    Option.orElse(() => next(rule, DateTime.max(last, now)))
  )
}
