/**
 * Values that a configuration spells as text: durations, rates, shares, counts.
 *
 * Each function returns the value, or the words for what to write.
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"

/** A value, or what to write instead. */
export type Spelled<A> = Result.Result<A, string>

const units: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000
}

const durationPattern = /^(?:\d{1,9}(?:\.\d{1,9})?(?:ms|[smhdw]))+$/

const longest = 100 * 366 * 86_400_000

/** Parses a duration such as `90d`, `12h`, `1h30m`, `500ms` or `0`. */
export const duration = (text: string): Spelled<Duration.Duration> => {
  if (text.trim() === "0") return Result.succeed(Duration.zero)
  const compact = text.trim().replaceAll(" ", "")
  if (!durationPattern.test(compact)) return Result.fail("write a duration, such as 90d, 12h, 1h30m, 45s, 500ms or 0")
  const milliseconds = Array.from(compact.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw])/g))
    .reduce((sum, [, number = "0", unit = "ms"]) => sum + Number(number) * (units[unit] ?? 0), 0)
  return milliseconds > longest
    ? Result.fail("write a duration of at most 100 years")
    : Result.succeed(Duration.millis(Math.round(milliseconds)))
}

/** Formats a duration, so that {@link duration} parses it again. */
export const formatDuration = (self: Duration.Duration): string => {
  let rest = Math.round(Duration.toMillis(self))
  if (rest === 0) return "0"
  return ["d", "h", "m", "s", "ms"].flatMap((unit) => {
    const size = units[unit] ?? 1
    const count = Math.floor(rest / size)
    rest -= count * size
    return count === 0 ? [] : [`${count}${unit}`]
  }).join("")
}

/** Parses a number of requests in each second, such as `20/s`, `100/m` or `5000/h`. */
export const rate = (text: string): Spelled<number> => {
  const [, number = "", unit = ""] = /^(\d{1,9}(?:\.\d{1,3})?)\/([smhd])$/.exec(text.replaceAll(" ", "")) ?? []
  const perSecond = Number(number) / ((units[unit] ?? 1000) / 1000)
  return number !== "" && perSecond > 0
    ? Result.succeed(perSecond)
    : Result.fail("write requests in each second, minute, hour or day, such as 20/s, 100/m or 5000/h")
}

/** Parses a share, such as `10%`, as a number from 0 to 1. */
export const share = (text: string): Spelled<number> => {
  const number = /^(\d{1,3}(?:\.\d{1,3})?)%$/.exec(text.trim())?.[1]
  return number !== undefined && Number(number) <= 100
    ? Result.succeed(Number(number) / 100)
    : Result.fail("write a share from 0% to 100%, such as 10%")
}

/** Parses a number of runs, such as `3 runs`. */
export const runs = (text: string): Spelled<number> => {
  const number = /^([1-9]\d{0,3})(?: runs?)?$/.exec(text.trim())?.[1]
  return number === undefined
    ? Result.fail("write a number of runs from 1 to 9999, such as 3 runs")
    : Result.succeed(Number(number))
}
