import { assert, describe, it } from "@effect/vitest"
import { Cron, DateTime, Duration, Option } from "effect"
import * as MirrorSchedule from "effect-oci/MirrorSchedule"

const cron = (expression: string, zone: string, jitter: Duration.Duration = Duration.zero) => ({
  name: "bases",
  timing: { _tag: "Cron" as const, cron: Cron.parseUnsafe(expression, zone), jitter }
})

const every = (interval: Duration.Duration, jitter: Duration.Duration = Duration.zero, name = "bases") => ({
  name,
  timing: { _tag: "Every" as const, interval, jitter }
})

const time = (text: string) => DateTime.makeUnsafe(text)

/** Lists the slots from one time to another, as a service runs them that is always there. */
const slots = (rule: Parameters<typeof MirrorSchedule.next>[0], from: string, until: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  let after = time(from)
  while (true) {
    const slot = MirrorSchedule.next(rule, after)
    if (Option.isNone(slot) || DateTime.isGreaterThan(slot.value.at, time(until))) return found
    found.push(DateTime.formatIso(slot.value.at))
    after = slot.value.at
  }
}

const upcoming = (rule: Parameters<typeof MirrorSchedule.next>[0], last: string, now: string) =>
  Option.getOrUndefined(
    Option.map(MirrorSchedule.upcoming(rule, time(last), time(now)), ({ at }) => DateTime.formatIso(at))
  )

describe("the slots of a rule", () => {
  it("with an interval are its multiples in UTC", () => {
    assert.deepStrictEqual(slots(every(Duration.hours(8)), "2026-11-27T07:30:00Z", "2026-11-28T08:00:00Z"), [
      "2026-11-27T08:00:00.000Z",
      "2026-11-27T16:00:00.000Z",
      "2026-11-28T00:00:00.000Z",
      "2026-11-28T08:00:00.000Z"
    ])
  })

  it("with a cron expression are at the same local time before and after daylight saving time begins", () => {
    assert.deepStrictEqual(
      slots(cron("15 3 * * *", "Europe/Berlin"), "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z"),
      ["2026-03-28T02:15:00.000Z", "2026-03-29T01:15:00.000Z", "2026-03-30T01:15:00.000Z"]
    )
  })

  it("in an hour that occurs twice come once", () => {
    assert.deepStrictEqual(
      slots(cron("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
      ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]
    )
  })

  it("in an hour that is left out come once on that day", () => {
    const found = slots(cron("30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z")
    assert.strictEqual(found.length, 2)
    assert.strictEqual(found[1], "2026-03-30T00:30:00.000Z")
  })

  it("do not exist if it is run by hand, or if its expression matches no day", () => {
    assert.deepStrictEqual(
      MirrorSchedule.next({ name: "bases", timing: { _tag: "Manual" } }, time("2026-01-01")),
      Option.none()
    )
    assert.deepStrictEqual(MirrorSchedule.next(cron("0 0 30 2 *", "UTC"), time("2026-01-01")), Option.none())
  })

  it("are delayed by less than the jitter, always alike for a rule and a slot, and differently for others", () => {
    const delay = (name: string, at: string) => {
      const slot = MirrorSchedule.next(every(Duration.hours(1), Duration.minutes(10), name), time(at))
      return Option.getOrThrow(
        Option.map(slot, ({ at, startAt }) => DateTime.toEpochMillis(startAt) - DateTime.toEpochMillis(at))
      )
    }
    const names = Array.from({ length: 200 }, (_, index) => `rule-${index}`)
    const delays = names.map((name) => delay(name, "2026-01-01T00:00:00Z"))
    assert.deepStrictEqual(names.map((name) => delay(name, "2026-01-01T00:30:00Z")), delays)
    assert.isTrue(delays.every((millis) => millis >= 0 && millis < 600_000))
    const mean = delays.reduce((sum, millis) => sum + millis, 0) / delays.length
    assert.isTrue(Math.abs(mean - 300_000) < 60_000, `${mean}`)
    assert.notDeepEqual(names.map((name) => delay(name, "2026-01-01T01:00:00Z")), delays)
  })
})

describe("the slot to run", () => {
  const hourly = every(Duration.hours(1))

  it("is the next one if none was missed", () => {
    assert.strictEqual(
      upcoming(hourly, "2026-01-01T10:00:00Z", "2026-01-01T10:20:00Z"),
      "2026-01-01T11:00:00.000Z"
    )
  })

  it("is the latest of several that were missed", () => {
    assert.strictEqual(
      upcoming(hourly, "2026-01-01T10:00:00Z", "2026-01-01T15:20:00Z"),
      "2026-01-01T15:00:00.000Z"
    )
    assert.strictEqual(
      upcoming(cron("0 3 * * *", "Asia/Tokyo"), "2026-01-01T00:00:00Z", "2026-01-09T00:00:00Z"),
      "2026-01-08T18:00:00.000Z"
    )
  })

  it("is one that begins at this moment", () => {
    assert.strictEqual(
      upcoming(cron("0 3 * * *", "UTC"), "2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"),
      "2026-01-02T03:00:00.000Z"
    )
    assert.strictEqual(upcoming(hourly, "2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"), "2026-01-01T11:00:00.000Z")
  })

  it("is never one that has run, even if the clock is set back", () => {
    assert.strictEqual(
      upcoming(hourly, "2026-01-01T10:00:00Z", "2026-01-01T08:30:00Z"),
      "2026-01-01T11:00:00.000Z"
    )
  })
})
