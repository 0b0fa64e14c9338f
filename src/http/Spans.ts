/**
 * A span for each HTTP request, with the attributes of OpenTelemetry ("Semantic Conventions for HTTP Client Spans").
 *
 * Spans contain no secrets: of a URL they omit the user name, the password, the query, which may be signed, and the id
 * of an upload session. No header of a request names the span, so that the server learns nothing about it.
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Tracing from "../Tracing.ts"

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

/**
 * Runs the sending of a request, until the headers of the response have arrived, in a span. Without a tracer that
 * collects spans, there is none. `isDirect` is true if it is not sent by an `HttpClient`, which makes spans by itself.
 */
export const traced = (request: HttpClientRequest.HttpClientRequest, isDirect = false) =>
<E, R>(
  sending: Effect.Effect<HttpClientResponse.HttpClientResponse, E, R>
): Effect.Effect<HttpClientResponse.HttpClientResponse, E, R> => {
  const traced = Effect.withFiber<HttpClientResponse.HttpClientResponse, E, R>((fiber) =>
    Tracing.isCollected(fiber) ? inSpan(request, sending) : sending
  )
  // the HTTP client makes no span of its own
  return isDirect ? traced : Effect.provideService(traced, HttpClient.TracerDisabledWhen, () => true)
}

const inSpan = <E, R>(
  request: HttpClientRequest.HttpClientRequest,
  sending: Effect.Effect<HttpClientResponse.HttpClientResponse, E, R>
): Effect.Effect<HttpClientResponse.HttpClientResponse, E, R> =>
  Effect.useSpan(
    request.method,
    { kind: "client", attributes: attributesOf(request) },
    (span) =>
      Effect.map(sending, (response) => {
        span.attribute("http.response.status_code", response.status)
        if (response.status >= 400) span.attribute("error.type", `${response.status}`)
        // a span keeps the value that it ends with: not the headers
        return () => response
      })
  ).pipe(Effect.map((response) => response()))
