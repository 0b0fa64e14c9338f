/**
 * A connection that retries temporary failures, after the pause that the registry asks for.
 */
import * as Effect from "effect/Effect"
import { retryWhile, worthRetrying } from "../Retries.ts"
import type * as Connection from "./Connection.ts"

/** Returns a connection that retries. */
export const retrying = (connection: Connection.Connection): Connection.Connection => {
  const { heed } = connection.pauses
  return {
    ...connection,
    send: (...args) => retryWhile(Effect.tapError(connection.send(...args), heed), worthRetrying),
    head: (...args) => retryWhile(Effect.tapError(connection.head(...args), heed), worthRetrying),
    open: (...args) => retryWhile(Effect.tapError(connection.open(...args), heed), worthRetrying),
    // not retried: the body may be readable only once. Callers that can replay it retry themselves
    upload: (call, request, ...args) =>
      Effect.andThen(
        retryWhile(Effect.tapError(connection.prepare(call, request), heed), worthRetrying),
        Effect.tapError(connection.upload(call, request, ...args), heed)
      )
  }
}
