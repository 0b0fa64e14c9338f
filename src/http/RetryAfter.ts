/**
 * The `Retry-After` header (RFC 9110, 10.2.3): the pause that a registry or token service asks for.
 *
 * Besides whole seconds and dates, some registries send fractions of seconds, or durations as Go prints them (`1m30s`,
 * `880µs`).
 */
import * as Duration from "effect/Duration"
import * as Headers from "effect/http/Headers"
import * as Result from "effect/Result"

// longer delays are assumed to be mistakes and are cut to this
const longest = Duration.days(1)

const units: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // the micro sign, and then the Greek letter
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000
}

const parts = /(\d+(?:\.\d*)?)(ns|us|µs|μs|ms|s|m|h)/g
const go = new RegExp(`^(?:${parts.source})+$`)

const millisOf = (text: string): number | undefined =>
  /^\d+\.\d*$/.test(text)
    ? Number(text) * 1000
    : go.test(text)
    ? Array.from(text.matchAll(parts)).reduce(
      (sum, [, count, unit = ""]) => sum + Number(count) * (units[unit] ?? 0),
      0
    )
    : undefined

/**
 * Returns the pause that a header asks for, at most one day, or `undefined` if it cannot be read. `now` is in
 * milliseconds since the epoch.
 */
export const parse = (header: string | undefined, now: number): Duration.Duration | undefined => {
  if (header === undefined) return undefined
  const parsed = Headers.parseRetryAfter(header)
  if (Result.isSuccess(parsed)) return Duration.min(Headers.retryAfterDelay(parsed.success, now), longest)
  const millis = millisOf(header.trim())
  return millis === undefined ? undefined : Duration.min(Duration.millis(millis), longest)
}
