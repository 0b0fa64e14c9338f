/**
 * Patience with a registry: what fails for a while is asked again, and a registry that asks for a pause gets one, from
 * everybody who uses the same client.
 *
 * What a registry says of how much it will still allow (`RateLimit-Remaining`, as Docker Hub does) is not heeded: no two
 * mean the same by it, and the refusal that comes in the end says how long to wait.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { tell } from "../Metrics.ts"
import { isRegistryError } from "../RegistryError.ts"
import { retryWhile, worthRetrying } from "../Retries.ts"
import type * as Connection from "./Connection.ts"

/** The same connection, with patience. */
export const patient = (connection: Connection.Connection): Connection.Connection => {
  let pausedUntil = 0

  const pause = Effect.gen(function*() {
    const left = pausedUntil - (yield* Clock.currentTimeMillis)
    if (left <= 0) return
    yield* tell({ _tag: "Paused", registry: connection.name, duration: Duration.millis(left) })
    // also where what follows is not to be interrupted
    yield* Effect.interruptible(Effect.sleep(left))
  })
  const heed = (error: unknown) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.sync(() => {
        if (!isRegistryError(error) || error.retryAfter === undefined || !worthRetrying(error)) return
        pausedUntil = Math.max(pausedUntil, now + Duration.toMillis(error.retryAfter))
      }))
  const once = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.andThen(pause, Effect.tapError(effect, heed))

  return {
    ...connection,
    send: (...args) => retryWhile(once(connection.send(...args)), worthRetrying),
    open: (...args) => retryWhile(once(connection.open(...args)), worthRetrying),
    // a body may be one that is read only once: whoever knows better calls again
    upload: (call, request, ...args) =>
      Effect.andThen(
        retryWhile(once(connection.prepare(call, request)), worthRetrying),
        once(connection.upload(call, request, ...args))
      )
  }
}
