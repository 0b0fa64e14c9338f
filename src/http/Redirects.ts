/**
 * Following redirects (distribution-spec, "API"; RFC 9110, 15.4): to any origin that the registry may lead to, without
 * what says who we are once the origin is another.
 */
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Stream from "effect/Stream"
import * as Urls from "./Urls.ts"

const limit = 10

const secrets = ["authorization", "proxy-authorization", "cookie"]

/** Where an answer leads to, with the request that goes there. */
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

/** Sends a request to where it leads in the end. */
export const follow = <E, R>(
  send: (request: HttpClientRequest.HttpClientRequest) => Effect.Effect<HttpClientResponse.HttpClientResponse, E, R>,
  request: HttpClientRequest.HttpClientRequest,
  left: number = limit
): Effect.Effect<HttpClientResponse.HttpClientResponse, E, R> =>
  Effect.flatMap(send(request), (response) => {
    const next = left === 0 ? undefined : onward(request, response)
    return next === undefined
      ? Effect.succeed(response)
      : Effect.andThen(letGo(response), follow(send, next, left - 1))
  })

/** The connection is free again once something of the body was read, or was waited for and given up. */
const letGo = ({ stream }: HttpClientResponse.HttpClientResponse): Effect.Effect<void> =>
  Stream.runDrain(Stream.take(stream, 1)).pipe(Effect.timeout("1 second"), Effect.ignore)
