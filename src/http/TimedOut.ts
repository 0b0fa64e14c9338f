/**
 * Time limits that a transport keeps itself, with timers instead of fibers: `HttpRegistry.HeadersTimeout` and
 * `HttpRegistry.IdleTimeout`, as the fiber that sends a request has them.
 */
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as HttpClient from "effect/http/HttpClient"

/** Nothing came in time: no answer, or no more of a body. */
export class TimedOut extends Data.Error<
  { readonly phase: "headers" | "body"; readonly after: Duration.Duration; readonly message: string }
> {}

const timekeepers = new WeakSet<HttpClient.HttpClient>()

/** Marks a client that fails with `TimedOut` by itself. */
export const keepingTime = (client: HttpClient.HttpClient): HttpClient.HttpClient => {
  timekeepers.add(client)
  return client
}

/** Returns true if a client fails with `TimedOut` by itself. */
export const keepsTime = (client: HttpClient.HttpClient): boolean => timekeepers.has(client)
