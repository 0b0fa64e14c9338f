/**
 * Times that decide whether content is within the grace period of a collection.
 */
import * as Duration from "effect/Duration"

/**
 * Time in which content is not marked as mentioned again, in milliseconds, so that frequent requests do not change its
 * file each time.
 */
export const freshness = 1000

/**
 * Returns the time, in milliseconds, after which content must have been written or mentioned to stay. The period is
 * extended by {@link freshness}, unless it is zero.
 */
export const make = (now: number, olderThan: Duration.Input): number => {
  const period = Duration.toMillis(olderThan)
  return period <= 0 ? now : now - period - freshness
}
