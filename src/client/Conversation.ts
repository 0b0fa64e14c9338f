/**
 * The conversation about one request: the request with its authorization, the redirects that are followed, and the
 * answers to challenges, until a response is left.
 *
 * In the usual case, the first response is the last one. Then no generator, no fiber and no further service is needed
 * between the request and its response, because most of the work of a copy of many small blobs is this.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import type * as Secrets from "../auth/Secrets.ts"
import type * as Tokens from "../auth/Tokens.ts"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import type * as Direct from "../http/Direct.ts"
import * as Redirects from "../http/Redirects.ts"
import * as Spans from "../http/Spans.ts"
import { keepsTime } from "../http/TimedOut.ts"
import * as TransportFailure from "../http/TransportFailure.ts"
import * as Urls from "../http/Urls.ts"
import type * as Limiter from "../Limiter.ts"
import * as MediaType from "../MediaType.ts"
import * as Metrics from "../Metrics.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Retries from "../Retries.ts"
import * as Authorization from "./Authorization.ts"
import type * as ErrorResponse from "./ErrorResponse.ts"
import type * as PlainHttp from "./PlainHttp.ts"
import type * as RetryAfterPauses from "./RetryAfterPauses.ts"
import type * as Warnings from "./Warnings.ts"

/**
 * Maximum time to wait for the headers of a response.
 *
 * @default 60 seconds
 * @category references
 * @since 0.1.0
 */
export const HeadersTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/HttpRegistry/HeadersTimeout",
  { defaultValue: () => Duration.seconds(60) }
)

/** Operation that a request belongs to, for errors and scopes. */
export interface Call extends Authorization.Operation {
  readonly target: ErrorResponse.ResourceKind
}

/** State of one connection, which all its requests share. */
export interface State {
  readonly name: string
  readonly registry: URL
  readonly mirrorOf: string | undefined
  readonly client: HttpClient.HttpClient
  /** The way to the transport of the client, if it has one. */
  readonly direct: Direct.Send | undefined
  readonly limiter: Limiter.Limiter
  readonly pauses: RetryAfterPauses.RetryAfterPauses
  readonly plainHttp: PlainHttp.PlainHttp
  readonly secrets: Secrets.Secrets
  readonly tokens: Tokens.Tokens
  readonly warnings: Warnings.Warnings
  readonly error: (call: Call, reason: RegistryError.Reason) => RegistryError.RegistryError
}

/** Sends a request, and waits for the headers of its response. */
export type Send<R> = (
  request: HttpClientRequest.HttpClientRequest
) => Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError, R>

/** A response, and its body if that was read already. */
export interface Answered {
  readonly response: HttpClientResponse.HttpClientResponse
  readonly body?: Uint8Array | undefined
  /** True if the registry knows the user and still refuses. */
  readonly isKnown: boolean
}

/** Returns true for an address of the registry itself: only there are credentials sent. */
export const isOwn = ({ registry }: State, { url }: { readonly url: string }): boolean =>
  Urls.isAt(registry.origin, url)

export const beginFor = (
  state: State,
  call: Call,
  request: HttpClientRequest.HttpClientRequest
): Authorization.Authorization =>
  isOwn(state, request) ? Authorization.begin(state.tokens, call, request) : Authorization.none(request)

/** Returns the policy on the addresses that the registry leads to. */
export const policyOf = ({ error, registry }: State, call: Call): Redirects.Policy<RegistryError.RegistryError> => ({
  registry,
  check: (address) =>
    Effect.flatMap(AddressPolicy.objection(registry, address), (objection) => {
      if (objection === undefined) return Effect.void
      const detail = `it leads to ${AddressPolicy.place(address)}: ${objection}`
      return Effect.fail(error(call, new RegistryError.UnexpectedResponse({ detail })))
    })
})

// ---------------------------------------------------------------------------------------------------------------------
// one request
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the timeout for the headers: the time that the operation has left, unless the timeout itself is longer. */
const timeoutOf = (fiber: Fiber.Fiber<unknown, unknown>): Duration.Duration => {
  const duration = fiber.getRef(HeadersTimeout)
  const progress = fiber.getRef(Retries.Progress)
  if (progress === undefined || Duration.toMillis(duration) > progress.limit) return duration
  const left = Retries.leftOf(progress, fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
  return Duration.min(duration, Duration.millis(Math.max(0, Math.round(left))))
}

/**
 * Records that a request is sent, sends it, and records that its response has arrived. `Sent` is how the request is
 * sent, which may fail in its own way.
 */
export const recorded = <E, R>(
  state: State,
  { method }: HttpClientRequest.HttpClientRequest,
  sending: Effect.Effect<HttpClientResponse.HttpClientResponse, E, R>
): Effect.Effect<HttpClientResponse.HttpClientResponse, E, R> =>
  Effect.andThen(
    Metrics.tell({ _tag: "Requested", registry: state.name, method }),
    Effect.flatMap(state.limiter.begin, (note) =>
      Effect.flatMap(sending, (response) => {
        const { request, status } = response
        if (!isOwn(state, request)) return Effect.succeed(response)
        state.plainHttp.answered(status)
        // a registry that is overloaded says 503 as well
        const noted = note(status === 429 || status === 503 ? "refused" : "answered")
        const { heed } = state.limiter
        return Effect.as(heed === undefined ? noted : Effect.andThen(noted, heed(status, response.headers)), response)
      }))
  )

/** Converts the failure of a request without a response. */
export const unanswered =
  (state: State, call: Call, request: HttpClientRequest.HttpClientRequest) =>
  (cause: HttpClientError.HttpClientError): Effect.Effect<never, RegistryError.RegistryError> => {
    const reason = TransportFailure.transport(cause)
    return Effect.flatMap(
      isOwn(state, request) ? state.plainHttp.reasonOf(reason) : Effect.succeed(reason),
      (reason) => Effect.fail(state.error(call, reason))
    )
  }

/** Sends a request, and waits for the headers of its response. */
const exchange = <R>(
  state: State,
  send: Send<R>,
  call: Call,
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<HttpClientResponse.HttpClientResponse, RegistryError.RegistryError, R> =>
  Effect.withFiber((fiber) => {
    const duration = timeoutOf(fiber)
    const answered = Effect.catch(send(request), unanswered(state, call, request))
    // a client that keeps time itself needs no fiber for that
    const isTimed = keepsTime(state.client) && Duration.Equivalence(duration, fiber.getRef(HeadersTimeout))
    const late = () => Effect.fail(state.error(call, new RegistryError.Timeout({ phase: "headers", after: duration })))
    const timed = isTimed ? answered : Effect.timeoutOrElse(answered, { duration, orElse: late })
    const response = recorded(state, request, Spans.traced(request, state.direct !== undefined)(timed))
    const { body } = request
    // a blob, or a part of one, that was sent in one piece
    return body._tag === "Uint8Array" && body.contentType === MediaType.octetStream
      ? Effect.tap(response, () => Metrics.moved("push", state.name, body.contentLength))
      : response
  })

// ---------------------------------------------------------------------------------------------------------------------
// until a response is left
// ---------------------------------------------------------------------------------------------------------------------

/** Requests the body as it is, because it is hashed, and names the host of which the registry is a mirror. */
const forReading = ({ mirrorOf }: State, request: HttpClientRequest.HttpClientRequest) => {
  if (request.method !== "GET" && request.method !== "HEAD") return request
  const plain = HttpClientRequest.setHeader(request, "accept-encoding", "identity")
  return mirrorOf === undefined
    ? plain
    : HttpClientRequest.setUrl(plain, Urls.withParameters(plain.url, [["ns", mirrorOf]]))
}

/**
 * Sends a request, and sends it again while the registry answers 401 and there is an authorization left to try.
 * Redirects are followed. `readError` reads the body of a 401.
 */
export const converse = <R>(
  state: State,
  send: Send<R>,
  call: Call,
  request: HttpClientRequest.HttpClientRequest,
  readError: (response: HttpClientResponse.HttpClientResponse) => Effect.Effect<Uint8Array>
): Effect.Effect<Answered, RegistryError.RegistryError, R> => {
  const because = (reason: RegistryError.Reason) => state.error(call, reason)
  const authorization = beginFor(state, call, forReading(state, request))
  const follow = (request: HttpClientRequest.HttpClientRequest) =>
    Redirects.follow(policyOf(state, call), (request) => exchange(state, send, call, request), request)
  const challenged = Effect.fnUntraced(function*(first: HttpClientResponse.HttpClientResponse) {
    let response = first
    while (response.status === 401 && isOwn(state, response.request)) {
      // read first: the connection may be the only one, and is free only after the body
      const body = yield* readError(response)
      const next = yield* Effect.mapError(authorization.reply(response.headers["www-authenticate"]), because)
      if (next === undefined) return { response, body, isKnown: authorization.isKnown() }
      response = yield* follow(next)
    }
    return { response, isKnown: false }
  })
  return Effect.mapError(authorization.opening, because).pipe(
    Effect.flatMap(follow),
    Effect.flatMap((response): Effect.Effect<Answered, RegistryError.RegistryError, R> =>
      response.status === 401 ? challenged(response) : Effect.succeed({ response, isKnown: false })
    )
  )
}
