/**
 * Time limits that a transport keeps itself, with timers instead of fibers: `HttpRegistry.HeadersTimeout` and
 * `HttpRegistry.IdleTimeout` with the values of the fiber that sends a request.
 */
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"

/** The headers of a response, or more of its body, did not arrive in time. */
export class TimedOut extends Data.Error<
  { readonly phase: "headers" | "body"; readonly after: Duration.Duration; readonly message: string }
> {}

type Timed = HttpClient.HttpClient | HttpClientRequest.HttpClientRequest

const timed = new WeakSet<Timed>()

/** Marks a client that fails with `TimedOut` by itself, or a request that it sends. */
export const keepTime = (self: Timed): void => {
  timed.add(self)
}

/** Returns true if a client, or the one that sent a request, fails with `TimedOut` by itself. */
export const keepsTime = (self: Timed): boolean => timed.has(self)
