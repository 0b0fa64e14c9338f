/**
 * A clock that runs as the real one does, and that a test can move forward. It is for tests with a database, whose own
 * clock no test can set: sleeps take as long as they say.
 */
import { Clock, Duration, Effect } from "effect"

/** Returns a clock, and the function that moves it. Moving it does not wake what sleeps. */
export const make = Effect.map(Clock.Clock, (real) => {
  let ahead = 0
  const currentTimeMillisUnsafe = () => real.currentTimeMillisUnsafe() + ahead
  const currentTimeNanosUnsafe = () => real.currentTimeNanosUnsafe() + BigInt(ahead) * 1_000_000n
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe,
    currentTimeMillis: Effect.sync(currentTimeMillisUnsafe),
    currentTimeNanosUnsafe,
    currentTimeNanos: Effect.sync(currentTimeNanosUnsafe),
    monotonicTimeNanosUnsafe: () => real.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: real.monotonicTimeNanos,
    sleep: (duration) => real.sleep(duration)
  }
  const move = (duration: Duration.Input) =>
    Effect.sync(() => {
      ahead += Duration.toMillis(duration)
    })
  return { clock, move }
})
