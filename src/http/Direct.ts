/**
 * The way to the transport of this package without the `HttpClient` in front of it. That one makes an abort controller
 * and a wrapper for every request, which cost as much as the request itself.
 *
 * Only the client that the transport registered has this way: a client that a program has transformed is used as it is.
 * The transport keeps `HttpRegistry.HeadersTimeout` and `HttpRegistry.IdleTimeout` by itself. An interruption closes
 * the connection of a request whose headers have not arrived. After that, the caller reads the body, or discards it.
 */
import type * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"

/** A response whose body its receiver has to read or to discard. */
export interface Response extends HttpClientResponse.HttpClientResponse {
  /** The body in one piece. When it has been read, the connection is free for the next request. */
  readonly whole: Effect.Effect<Uint8Array, HttpClientError.HttpClientError>
  /** Discards what is left of the body. It has no effect after the end of the body. */
  readonly discard: () => void
}

/** Sends a request, and waits for the headers of its response. */
export type Send = (
  request: HttpClientRequest.HttpClientRequest
) => Effect.Effect<Response, HttpClientError.HttpClientError>

const known = new WeakMap<HttpClient.HttpClient, Send>()

/** Registers the direct way to the transport of a client. */
export const register = (client: HttpClient.HttpClient, send: Send): void => {
  known.set(client, send)
}

/** Returns the direct way to the transport of a client, if it has one. */
export const of = (client: HttpClient.HttpClient): Send | undefined => known.get(client)

/** Returns true for a response that came directly from the transport. */
export const isDirect = (response: HttpClientResponse.HttpClientResponse): response is Response => "discard" in response
