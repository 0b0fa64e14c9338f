/**
 * Delays between the attempts to copy a tag that fails.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"

// delays, in minutes
const shortest = 1
const longest = 6 * 60

/** Returns the delay after some failures in a row: one minute, then twice as long each time, up to 6 hours. */
const delayAfter = (failures: number): Duration.Duration =>
  Duration.minutes(Math.min(longest, shortest * 2 ** Math.max(0, Math.min(failures, 20) - 1)))

/** Returns when the next attempt is due, which is not before the time that the registry asks for. */
export const nextAttempt = (
  now: DateTime.Utc,
  failures: number,
  retryAfter: Duration.Duration | undefined
): DateTime.Utc => {
  // a longer time is assumed to be a mistake
  const asked = Duration.min(retryAfter ?? Duration.zero, Duration.minutes(longest))
  return DateTime.addDuration(now, Duration.max(delayAfter(failures), asked))
}
