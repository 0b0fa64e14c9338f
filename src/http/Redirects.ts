/**
 * Following redirects (distribution-spec, "API"; RFC 9110, 15.4), under a policy that is checked at every hop.
 *
 * A registry, and a token service on its behalf, may redirect to any origin that the policy allows. Credentials and
 * cookies are removed when the origin changes.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Stream from "effect/Stream"
import * as AddressPolicy from "./AddressPolicy.ts"
import * as Urls from "./Urls.ts"

/** The runtime hides the target of a redirect, as browsers do. */
export class RedirectHidden extends Data.Error {
  override get message(): string {
    return `it redirects, and this runtime hides the target: use redirect "follow" of FetchHttp or FetchNamespace`
  }
}

/** Policy on the addresses that a registry leads to. */
export interface Policy<E> {
  readonly registry: URL
  /** Fails if a request must not go to this address. It is not called for the origin of the registry itself. */
  readonly check: (address: URL) => Effect.Effect<void, E>
}

/** Sends one request, without following redirects. */
export type Send<E, R> = (
  request: HttpClientRequest.HttpClientRequest
) => Effect.Effect<HttpClientResponse.HttpClientResponse, E, R>

// number of redirects that are followed for one request
const limit = 10

const secrets = ["authorization", "proxy-authorization", "cookie"]

/** Returns the request that a response redirects to, or `undefined` if it is not a redirect. */
const onward = (
  request: HttpClientRequest.HttpClientRequest,
  { headers, status }: HttpClientResponse.HttpClientResponse
): HttpClientRequest.HttpClientRequest | undefined => {
  const { location } = headers
  const isRedirect = status >= 301 && status <= 303 || status === 307 || status === 308
  if (!isRedirect || location === undefined || !URL.canParse(location, request.url)) return undefined
  const becomesGet = request.method === "POST" && status < 307 || status === 303 && request.method !== "HEAD"
  const moved = HttpClientRequest.setUrl(request, Urls.resolve(location, request.url))
  const next = becomesGet ? HttpClientRequest.get(moved.url, { headers: request.headers }) : moved
  return new URL(moved.url).origin === new URL(request.url).origin
    ? next
    : secrets.reduce((request, name) => HttpClientRequest.removeHeader(request, name), next)
}

/**
 * Sends a request under the policy. The transport learns which registry has led to the address, so that it can check
 * the IP addresses of the host name (see `AddressPolicy`).
 */
export const hop = <E, R>(
  { check, registry }: Policy<E>,
  send: Send<E, R>,
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<HttpClientResponse.HttpClientResponse, E, R> =>
  Urls.isAt(registry.origin, request.url)
    ? send(request)
    : Effect.andThen(check(new URL(request.url)), AddressPolicy.led(registry)(send(request)))

/** Sends a request under the policy, and follows up to ten redirects. */
export const follow = <E, R>(
  policy: Policy<E>,
  send: Send<E, R>,
  request: HttpClientRequest.HttpClientRequest,
  left: number = limit
): Effect.Effect<HttpClientResponse.HttpClientResponse, E, R> =>
  Effect.flatMap(hop(policy, send, request), (response) => {
    const next = left === 0 ? undefined : onward(request, response)
    return next === undefined
      ? Effect.succeed(response)
      : Effect.andThen(discard(response), follow(policy, send, next, left - 1))
  })

/** Reads the first chunk of a body, for at most one second, so that its connection is free for the next request. */
const discard = ({ stream }: HttpClientResponse.HttpClientResponse): Effect.Effect<void> =>
  Stream.runDrain(Stream.take(stream, 1)).pipe(Effect.timeout("1 second"), Effect.ignore)
