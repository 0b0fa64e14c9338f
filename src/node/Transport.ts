/**
 * An `HttpClient` over `node:http` and `node:https`. It sends one request and returns its response; callers follow
 * redirects and check statuses.
 *
 * Only a body that is streamed runs in a fiber of its own. Timeouts are timers of Node.
 */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Url from "effect/http/Url"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import * as Timers from "node:timers"
import * as ChunkMemory from "../ChunkMemory.ts"
import * as Direct from "../http/Direct.ts"
import { keepTime, TimedOut } from "../http/TimedOut.ts"
import * as Exchange from "./Exchange.ts"
import type { Unusable } from "./ProxyChoice.ts"
import * as RequestBody from "./RequestBody.ts"
import * as Response from "./Response.ts"
import * as ResponseBody from "./ResponseBody.ts"
import type { Route } from "./Routes.ts"

export interface Options {
  /** Returns the route to a host, for a request that a fiber sends. */
  readonly route: (url: URL, fiber: AnyFiber) => Route | Unusable
  /** Maximum wait for the headers of a response. It does not apply to a request whose body is streamed. */
  readonly headersTimeout: (fiber: AnyFiber) => Duration.Duration
  /** Maximum time without progress of a response body that is read. */
  readonly idleTimeout: (fiber: AnyFiber) => Duration.Duration
}

type AnyFiber = Fiber.Fiber<unknown, unknown>
type Failure = HttpClientError.HttpClientError

/** A request that is sent, with its route and its timeouts. */
interface Sending {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly url: URL
  readonly route: Route
  /** Aborts the request. `undefined` if only an interruption does. */
  readonly signal: AbortSignal | undefined
  readonly headersTimeout: Duration.Duration
  readonly idleTimeout: Duration.Duration
}

// maximum size of all headers of a response, in bytes
const maxHeaderSize = 64 * 1024

/** A request without a usable response. */
class Unanswered extends Data.Error<{ readonly code: string; readonly message: string }> {}

const failed = (request: HttpClientRequest.HttpClientRequest, cause: unknown): Failure =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })

const timedOut = (phase: "headers" | "body", after: Duration.Duration): TimedOut =>
  new TimedOut({ phase, after, message: `nothing came within ${Duration.format(after)}` })

/** Returns true for the beginning of a connection in HTTP/2: a frame of settings. */
const isHttp2 = (bytes: Uint8Array | undefined): boolean =>
  bytes !== undefined && bytes.length >= 9 && bytes[0] === 0 && bytes[3] === 4 &&
  bytes.subarray(5, 9).every((byte) => byte === 0)

// message of OpenSSL for a handshake that fails during a write
const handshakeError = /:SSL routines:[^:]*:([^:]+):/

/** Replaces the code of an error by that of its cause, and removes bytes of the response from it. */
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

/**
 * Returns true if a request may be repeated: it was sent on a connection that was kept, and that was closed instead.
 */
const isStale = (outgoing: Http.ClientRequest, { code }: NodeJS.ErrnoException): boolean =>
  (outgoing.reusedSocket || outgoing.socket instanceof Exchange.Exchange && outgoing.socket.isReused) &&
  (code === "ECONNRESET" || code === "EPIPE") &&
  (outgoing.method === "GET" || outgoing.method === "HEAD")

/** Returns the headers of a request, names and values in turn. The framing of the body is that of `body`. */
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

/** Sends a request, and waits for the headers of the response. */
const exchange = (
  sending: Sending,
  body: RequestBody.RequestBody
): Effect.Effect<Direct.Response, Failure> =>
  Effect.suspend(() => {
    const { content, length } = body
    if (!Stream.isStream(content)) return answerTo(sending, body, () => {})
    const begun = Deferred.makeUnsafe<Http.ClientRequest>()
    const answer = answerTo(sending, body, (outgoing) => Deferred.doneUnsafe(begun, Effect.succeed(outgoing)))
    const writing = Effect.mapError(
      Effect.flatMap(Deferred.await(begun), (outgoing) => RequestBody.write(outgoing, content, length)),
      (cause) => failed(sending.request, cause)
    )
    return Effect.raceFirst(answer, Effect.andThen(writing, Effect.never))
  })

/** Begins a request, and waits for the headers of the response. Sends a body in memory immediately. */
const answerTo = (
  sending: Sending,
  body: RequestBody.RequestBody,
  onBegun: (outgoing: Http.ClientRequest) => void
): Effect.Effect<Direct.Response, Failure> =>
  Effect.callback((resume) => {
    // begun here, because an event before a listener is added would be lost, and an error would end the process
    const begun = Result.try(() => begin(sending, body))
    if (Result.isFailure(begun)) return resume(Effect.fail(failed(sending.request, begun.failure)))
    const outgoing = begun.success
    const { headersTimeout, idleTimeout, request, signal, url } = sending
    const abort = () => outgoing.destroy()
    signal?.addEventListener("abort", abort, { once: true })
    const release = () => signal?.removeEventListener("abort", abort)
    const settle = (result: Effect.Effect<Direct.Response, Failure>) => {
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
      if (signal?.aborted === true || !isStale(outgoing, error)) return fail(explain(error))
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
      const idle = { limit: Duration.toMillis(idleTimeout), late: () => timedOut("body", idleTimeout) }
      const onEnd = () => {
        release()
        // a connection cannot be used again if the body of the request was aborted
        if (!outgoing.writableEnded) outgoing.destroy()
      }
      const { socket } = message
      const large = hasBody && socket instanceof Exchange.Exchange ? socket.answer(message, idle, onEnd) : undefined
      received = large ?? ResponseBody.make(message, hasBody, idle, onEnd)
      const answer = Effect.succeed(Response.make(request, url.href, message, received))
      if (hasBody && message.headers["content-length"] !== "0") return settle(answer)
      // the connection is free for the next request in the tick after the end
      const settleFree = () => process.nextTick(settle, answer)
      message.once("end", settleFree).once("close", settleFree)
    })
    if (isStreamed) onBegun(outgoing)
    else outgoing.end(body.content)
    return Effect.sync(() => {
      Timers.clearTimeout(timer)
      release()
      outgoing.destroy()
    })
  })

/** Creates a client. */
export const make = ({ headersTimeout, idleTimeout, route }: Options): HttpClient.HttpClient => {
  const send = (
    request: HttpClientRequest.HttpClientRequest,
    url: URL,
    signal: AbortSignal | undefined,
    fiber: AnyFiber
  ): Effect.Effect<Direct.Response, Failure> => {
    const found = route(url, fiber)
    if (found._tag === "Unusable") {
      return Effect.fail(failed(request, new Unanswered({ code: "ERR_INVALID_PROXY", message: found.problem })))
    }
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
  }
  const client = HttpClient.make((request, url, signal, fiber) => {
    keepTime(request)
    return send(request, url, signal, fiber)
  })
  keepTime(client)
  Direct.register(client, (request) =>
    Effect.withFiber((fiber) => {
      const url = Url.make(request.url, request.urlParams, Option.getOrUndefined(request.hash))
      return Result.isSuccess(url)
        ? send(request, url.success, undefined, fiber)
        : Effect.fail(
          new HttpClientError.HttpClientError({
            reason: new HttpClientError.InvalidUrlError({ request, cause: url.failure })
          })
        )
    }))
  ChunkMemory.markPassing(client)
  return client
}
