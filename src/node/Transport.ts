/**
 * An `HttpClient` that speaks HTTP/1.1 over the sockets of Node. It sends one request and returns its response; callers
 * follow redirects and check statuses.
 *
 * Only a body that is streamed runs in a fiber of its own. Timeouts are timers of Node.
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Url from "effect/http/Url"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as ChunkMemory from "../ChunkMemory.ts"
import * as Direct from "../http/Direct.ts"
import { keepTime } from "../http/TimedOut.ts"
import { Exchange, type Sending, Unanswered } from "./Exchange.ts"
import type { Unusable } from "./ProxyChoice.ts"
import * as RequestBody from "./RequestBody.ts"
import * as RequestHead from "./RequestHead.ts"
import type { Route } from "./Routes.ts"
import type { Slabs } from "./Slabs.ts"

export interface Options {
  /** Returns the route to a host, for a request that a fiber sends. */
  readonly route: (url: URL, fiber: AnyFiber) => Route | Unusable
  /** Returns the memory for the body of a response that is expected to be large. */
  readonly slabs: (fiber: AnyFiber) => Slabs | undefined
  /** Maximum wait for the headers of a response. It does not apply to a request whose body is streamed. */
  readonly headersTimeout: (fiber: AnyFiber) => Duration.Duration
  /** Maximum time without progress of a response body that is read. */
  readonly idleTimeout: (fiber: AnyFiber) => Duration.Duration
}

type AnyFiber = Fiber.Fiber<unknown, unknown>
type Failure = HttpClientError.HttpClientError

const failed = (request: HttpClientRequest.HttpClientRequest, cause: unknown): Failure =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })

/** Sends a request, and waits for the headers of the response. */
const exchange = (sending: Sending, signal: AbortSignal | undefined): Effect.Effect<Direct.Response, Failure> =>
  Effect.suspend(() => {
    const { content, length } = sending.body
    if (!Stream.isStream(content)) return answerTo(sending, signal, () => {})
    const begun = Deferred.makeUnsafe<RequestBody.Target>()
    const answer = answerTo(sending, signal, (target) => Deferred.doneUnsafe(begun, Effect.succeed(target)))
    const writing = Effect.mapError(
      Effect.flatMap(Deferred.await(begun), (target) => RequestBody.write(target, content, length)),
      (cause) => failed(sending.request, cause)
    )
    return Effect.raceFirst(answer, Effect.andThen(writing, Effect.never))
  })

/** Begins a request, and waits for the headers of the response. Sends a body in memory immediately. */
const answerTo = (
  sending: Sending,
  signal: AbortSignal | undefined,
  onStart: (target: RequestBody.Target) => void
): Effect.Effect<Direct.Response, Failure> =>
  Effect.callback((resume) => {
    const abort = () => exchange.abort()
    signal?.addEventListener("abort", abort, { once: true })
    const exchange = new Exchange(sending, {
      onStart: ({ socket }) => onStart({ socket, head: sending.head, onEnd: () => exchange.sent() }),
      onAnswer: (response) => resume(Effect.succeed(response)),
      onFailure: (cause) => resume(Effect.fail(failed(sending.request, cause))),
      onOver: () => signal?.removeEventListener("abort", abort)
    })
    const begun = Result.try(() => exchange.begin())
    if (Result.isFailure(begun)) return resume(Effect.fail(failed(sending.request, begun.failure)))
    return Effect.sync(abort)
  })

/** Creates a client. */
export const make = ({ headersTimeout, idleTimeout, route, slabs }: Options): HttpClient.HttpClient => {
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
    const begin = (body: RequestBody.RequestBody) => {
      const head = RequestHead.write(request, url, found, body)
      if (typeof head !== "string") return Effect.fail(failed(request, head))
      return exchange({
        request,
        url,
        pool: found.pool,
        head,
        body,
        slabs: slabs(fiber),
        headersTimeout: headersTimeout(fiber),
        idleTimeout: idleTimeout(fiber)
      }, signal)
    }
    const body = RequestBody.make(request)
    if (!("_tag" in body)) return begin(body)
    return RequestBody.encode(body).pipe(
      Effect.mapError((cause) => failed(request, cause)),
      Effect.flatMap(begin)
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
