/**
 * An `HttpClient` over `node:http` and `node:https`: one request, one answer. Redirects and statuses are left to others.
 *
 * Nothing here runs in a fiber of its own except a body that is streamed. What waits has a timer.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import * as Timers from "node:timers"
import { keepTime, TimedOut } from "../http/TimedOut.ts"
import type { Unusable } from "./ProxyChoice.ts"
import * as RequestBody from "./RequestBody.ts"
import * as Response from "./Response.ts"
import * as ResponseBody from "./ResponseBody.ts"
import type { Route } from "./Routes.ts"

export interface Options {
  /** Returns the way to a host, for a request that a fiber sends. */
  readonly route: (url: URL, fiber: AnyFiber) => Route | Unusable
  /** How long to wait for the headers of an answer. A body that is streamed is not limited by it. */
  readonly headersTimeout: (fiber: AnyFiber) => Duration.Duration
  /** How long a body of an answer may stand still while it is read. */
  readonly idleTimeout: (fiber: AnyFiber) => Duration.Duration
}

type AnyFiber = Fiber.Fiber<unknown, unknown>
type Failure = HttpClientError.HttpClientError

/** What is known of a request before it is sent. */
interface Sending {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly url: URL
  readonly route: Route
  readonly signal: AbortSignal
  readonly headersTimeout: Duration.Duration
  readonly idleTimeout: Duration.Duration
}

// maximum size of all headers of an answer, in bytes
const maxHeaderSize = 64 * 1024

/** There is no usable answer. */
class Unanswered extends Data.Error<{ readonly code: string; readonly message: string }> {}

const failed = (request: HttpClientRequest.HttpClientRequest, cause: unknown): Failure =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })

const timedOut = (phase: "headers" | "body", after: Duration.Duration): TimedOut =>
  new TimedOut({ phase, after, message: `nothing came within ${Duration.format(after)}` })

/** Returns true for the beginning of a connection in HTTP/2: a frame of settings. */
const isHttp2 = (bytes: Uint8Array | undefined): boolean =>
  bytes !== undefined && bytes.length >= 9 && bytes[0] === 0 && bytes[3] === 4 &&
  bytes.subarray(5, 9).every((byte) => byte === 0)

// how a failed handshake is reported if it fails while something is written
const handshakeError = /:SSL routines:[^:]*:([^:]+):/

/** Gives an error the code that says what is wrong, and leaves out what it has of the answer. */
const explain = (error: NodeJS.ErrnoException & { readonly rawPacket?: Uint8Array | undefined }): Error => {
  const [, handshake] = error.code === "EPROTO" ? handshakeError.exec(error.message) ?? [] : []
  const { code = "", message } = handshake === undefined
    ? error
    : { code: `ERR_SSL_${handshake.toUpperCase().replaceAll(/\W/g, "_")}`, message: handshake }
  if (code.endsWith("ALERT_NO_APPLICATION_PROTOCOL") || isHttp2(error.rawPacket)) {
    return new Unanswered({ code: "ERR_HTTP2_UNSUPPORTED_PROTOCOL", message: "the server speaks only HTTP/2" })
  }
  return handshake !== undefined || code.startsWith("HPE_") ? new Unanswered({ code, message }) : error
}

/** Returns true if a request may be repeated: it was sent on a connection that was kept, and that was closed instead. */
const isStale = (outgoing: Http.ClientRequest, { code }: NodeJS.ErrnoException): boolean =>
  outgoing.reusedSocket && (code === "ECONNRESET" || code === "EPIPE") &&
  (outgoing.method === "GET" || outgoing.method === "HEAD")

/** Returns the headers of a request, by turns a name and a value. Where the body ends is for us to say. */
const headersOf = ({ request, route, url }: Sending, body: RequestBody.RequestBody): ReadonlyArray<string> => {
  const headers = request.headers["host"] === undefined ? ["host", url.host] : []
  for (const name of Object.keys(request.headers)) {
    const value = request.headers[name]
    const isFraming = name === "content-length" || name === "transfer-encoding" || body.headers.includes(name)
    if (value !== undefined && !isFraming) headers.push(name, value)
  }
  headers.push(...body.headers, ...route.headers)
  return headers
}

const begin = (sending: Sending, body: RequestBody.RequestBody): Http.ClientRequest => {
  const { request: { method }, route: { agent, host, port, protocol, target } } = sending
  return Http.request({
    agent,
    protocol,
    method,
    host,
    port,
    path: target,
    headers: headersOf(sending, body),
    maxHeaderSize,
    insecureHTTPParser: false
  })
}

/** Sends a request, and waits for the headers of the answer. */
const exchange = (
  sending: Sending,
  body: RequestBody.RequestBody
): Effect.Effect<HttpClientResponse.HttpClientResponse, Failure> =>
  Effect.suspend(() => {
    const begun = Result.try(() => begin(sending, body))
    if (Result.isFailure(begun)) return Effect.fail(failed(sending.request, begun.failure))
    const outgoing = begun.success
    const { content, length } = body
    const answer = answerTo(sending, body, outgoing)
    if (!Stream.isStream(content)) return answer
    const writing = Effect.mapError(
      RequestBody.write(outgoing, content, length),
      (cause) => failed(sending.request, cause)
    )
    return Effect.raceFirst(answer, Effect.andThen(writing, Effect.never))
  })

/** Waits for the headers of the answer to a request. A body in memory is sent at once. */
const answerTo = (
  sending: Sending,
  body: RequestBody.RequestBody,
  outgoing: Http.ClientRequest
): Effect.Effect<HttpClientResponse.HttpClientResponse, Failure> =>
  Effect.callback((resume) => {
    const { headersTimeout, idleTimeout, request, signal, url } = sending
    const abort = () => outgoing.destroy()
    signal.addEventListener("abort", abort, { once: true })
    const release = () => signal.removeEventListener("abort", abort)
    const settle = (result: Effect.Effect<HttpClientResponse.HttpClientResponse, Failure>) => {
      Timers.clearTimeout(timer)
      resume(result)
    }
    const fail = (cause: Error) => {
      release()
      settle(Effect.fail(failed(request, cause)))
    }
    const isStreamed = Stream.isStream(body.content)
    const timer = isStreamed ? undefined : Timers.setTimeout(() => {
      fail(timedOut("headers", headersTimeout))
      outgoing.destroy()
    }, Duration.toMillis(headersTimeout))

    let received: ResponseBody.ResponseBody | undefined
    outgoing.on("error", (error) => {
      if (received !== undefined) return received.fail(explain(error))
      if (!isStale(outgoing, error)) return fail(explain(error))
      release()
      settle(exchange(sending, body))
    })
    outgoing.on("upgrade", (_, socket) => {
      socket.destroy()
      fail(new Unanswered({ code: "ERR_HTTP_UPGRADE", message: "the server changes to another protocol" }))
    })
    outgoing.on("response", (message) => {
      const { statusCode } = message
      const hasBody = request.method !== "HEAD" && statusCode !== 204 && statusCode !== 304
      received = ResponseBody.make(message, hasBody, {
        limit: Duration.toMillis(idleTimeout),
        late: () => timedOut("body", idleTimeout)
      }, () => {
        release()
        // a connection on which a body was given up is of no more use
        if (!outgoing.writableEnded) outgoing.destroy()
      })
      settle(Effect.succeed(Response.make(request, url.href, message, received)))
    })
    if (!isStreamed) outgoing.end(body.content)
    return Effect.sync(() => {
      Timers.clearTimeout(timer)
      release()
      outgoing.destroy()
    })
  })

/** Creates a client. */
export const make = ({ headersTimeout, idleTimeout, route }: Options): HttpClient.HttpClient => {
  const client = HttpClient.make((request, url, signal, fiber) => {
    const found = route(url, fiber)
    if (found._tag === "Unusable") {
      return Effect.fail(failed(request, new Unanswered({ code: "ERR_INVALID_PROXY", message: found.problem })))
    }
    keepTime(request)
    const sending: Sending = {
      request,
      url,
      route: found,
      signal,
      headersTimeout: headersTimeout(fiber),
      idleTimeout: idleTimeout(fiber)
    }
    const body = RequestBody.make(request)
    if (!("_tag" in body)) return exchange(sending, body)
    return RequestBody.encode(body).pipe(
      Effect.mapError((cause) => failed(request, cause)),
      Effect.flatMap((encoded) => exchange(sending, encoded))
    )
  })
  keepTime(client)
  return client
}
