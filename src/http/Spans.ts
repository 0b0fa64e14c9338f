/**
 * A span for each HTTP request, as OpenTelemetry names things, that tells no secret: of an address neither name and password
 * nor query, which may be signed, nor what says which upload session it is. Whoever gets the request learns nothing of it.
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"

const ports: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 }

const attributesOf = ({ method, url }: HttpClientRequest.HttpClientRequest) => {
  const { hostname, origin, pathname, port, protocol } = new URL(url)
  const path = pathname.replace(/(\/uploads\/).+$/, "$1…")
  return {
    "http.request.method": method,
    "server.address": hostname.replace(/^\[|\]$/g, ""),
    "server.port": port === "" ? ports[protocol] : Number(port),
    "url.full": origin + path,
    "url.path": path,
    "url.scheme": protocol.slice(0, -1)
  }
}

/** Puts what sends a request, and waits for the headers of the answer, into a span. */
export const traced = (request: HttpClientRequest.HttpClientRequest) =>
<E, R>(
  sending: Effect.Effect<HttpClientResponse.HttpClientResponse, E, R>
): Effect.Effect<HttpClientResponse.HttpClientResponse, E, R> =>
  Effect.useSpan(
    request.method,
    { kind: "client", attributes: attributesOf(request) },
    (span) =>
      Effect.map(sending, (response) => {
        span.attribute("http.response.status_code", response.status)
        if (response.status >= 400) span.attribute("error.type", `${response.status}`)
        // what a span ends with is kept with it: not the headers
        return () => response
      })
  ).pipe(Effect.map((response) => response()), Effect.provideService(HttpClient.TracerDisabledWhen, () => true))
