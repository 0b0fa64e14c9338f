/**
 * Connection to one registry over HTTP.
 *
 * Every request takes the same path:
 *
 * 1. {@link permit} waits for a permit of the limiter, and for the end of a pause that the registry asked for.
 * 2. {@link converse} adds the authorization that the registry is known to require, and answers its challenges.
 * 3. `Redirects.follow` checks each address against the policy, and {@link exchange} sends the request.
 * 4. {@link judge} turns every unexpected status into a `RegistryError`.
 * 5. {@link receive} reads the body up to a limit, or `open` leaves it to be streamed.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import type * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Credentials } from "../auth/Credentials.ts"
import * as Secrets from "../auth/Secrets.ts"
import type * as TokenRealms from "../auth/TokenRealms.ts"
import * as Tokens from "../auth/Tokens.ts"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import * as ErrorBody from "../http/ErrorBody.ts"
import * as Redirects from "../http/Redirects.ts"
import * as ResponseBody from "../http/ResponseBody.ts"
import * as Spans from "../http/Spans.ts"
import { keepsTime } from "../http/TimedOut.ts"
import * as TransportFailure from "../http/TransportFailure.ts"
import * as Urls from "../http/Urls.ts"
import * as Limiter from "../Limiter.ts"
import * as MediaType from "../MediaType.ts"
import * as Metrics from "../Metrics.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Retries from "../Retries.ts"
import type { Chunk } from "../Upload.ts"
import * as Authorization from "./Authorization.ts"
import * as Encoding from "./Encoding.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import * as KnownHosts from "./KnownHosts.ts"
import * as PlainHttp from "./PlainHttp.ts"
import * as RetryAfterPauses from "./RetryAfterPauses.ts"
import * as UploadBody from "./UploadBody.ts"
import * as Warnings from "./Warnings.ts"

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

/** A response whose body was read. */
export interface Received {
  readonly status: number
  readonly headers: Headers.Headers
  /** URL of the response, after redirects. */
  readonly url: string
  readonly bytes: Uint8Array
}

export interface Connection {
  readonly name: string
  readonly limiter: Limiter.Limiter
  readonly pauses: RetryAfterPauses.RetryAfterPauses
  readonly capabilities: Ref.Ref<Registry.Capabilities>
  readonly learn: (capabilities: Registry.Capabilities) => Effect.Effect<void>
  /** Returns the URL of a path such as `/v2/`. */
  readonly url: (path: string) => string
  /** Resolves an address that a response from `base` contains. Returns `undefined` if it is not a URL. */
  readonly locate: (address: string | undefined, base: string) => string | undefined
  readonly error: (call: Call, reason: RegistryError.Reason) => RegistryError.RegistryError
  /** Reports to the `Observer` an omission, or another problem that does not fail the operation. */
  readonly warn: (text: string) => Effect.Effect<void>
  /**
   * Sends a request and reads the response. Fails if its status is not one of the expected ones, or if its body exceeds
   * `limit` bytes.
   */
  readonly send: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    expected: ReadonlyArray<number>,
    limit?: number
  ) => Effect.Effect<Received, RegistryError.RegistryError>
  /**
   * Sends HEAD. A refusal that may concern only the method, by the registry or by an address that it leads to, is a
   * failed `Result`.
   */
  readonly head: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<Result.Result<Received, RegistryError.RegistryError>, RegistryError.RegistryError>
  /** Sends a request, and leaves the body of the response to be streamed while the scope is open. */
  readonly open: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    expected: ReadonlyArray<number>
  ) => Effect.Effect<
    { readonly headers: Headers.Headers; readonly status: number; readonly stream: Registry.Blob["stream"] },
    RegistryError.RegistryError,
    Scope.Scope
  >
  /** Fetches the token of a request that can be sent only once, if the registry is known to require one. */
  readonly prepare: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<void, RegistryError.RegistryError>
  /** Sends a request with a chunk of a blob as its body. Errors of the chunk's stream pass through unchanged. */
  readonly upload: <E>(
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    chunk: Chunk<E>,
    expected: ReadonlyArray<number>
  ) => Effect.Effect<Received & { readonly sent: number }, RegistryError.RegistryError | E>
}

export interface Options {
  readonly name: string
  readonly origin: string
  readonly credentials: Credentials["Service"]
  /** Capabilities that override those that the responses of the registry show. */
  readonly capabilities?: Registry.Capabilities | undefined
  readonly tokenRealms?: TokenRealms.TokenRealms | undefined
  /** Host of which the registry is a mirror. */
  readonly mirrorOf?: string | undefined
  readonly transformClient?: ((client: HttpClient.HttpClient) => HttpClient.HttpClient) | undefined
}

/** State of one connection, which all its requests share. */
interface State {
  readonly name: string
  readonly registry: URL
  readonly mirrorOf: string | undefined
  readonly client: HttpClient.HttpClient
  readonly limiter: Limiter.Limiter
  readonly pauses: RetryAfterPauses.RetryAfterPauses
  readonly plainHttp: PlainHttp.PlainHttp
  readonly secrets: Secrets.Secrets
  readonly tokens: Tokens.Tokens
  readonly warnings: Warnings.Warnings
  readonly error: Connection["error"]
}

type Client<R> = HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>

/** A response, and its body if that was read already. */
interface Answered {
  readonly response: HttpClientResponse.HttpClientResponse
  readonly body?: Uint8Array | undefined
  /** True if the registry knows the user and still refuses. */
  readonly isKnown: boolean
}

/** Returns true for an address of the registry itself: only there are credentials sent. */
const isOwn = ({ registry }: State, { url }: { readonly url: string }): boolean => Urls.isAt(registry.origin, url)

const tooLate = ({ error }: State, call: Call, duration: Duration.Duration) =>
  error(call, new RegistryError.Timeout({ phase: "headers", after: duration }))

// ---------------------------------------------------------------------------------------------------------------------
// requests
// ---------------------------------------------------------------------------------------------------------------------

/** Waits for a permit, which does not count as time of the operation, and for the end of a pause, which does. */
const permit = Effect.fnUntraced(function*({ error, limiter, pauses }: State, call: Call) {
  const clock = yield* Clock.Clock
  const progress = yield* Retries.Progress
  const before = clock.currentTimeMillisUnsafe()
  yield* Limiter.permit(limiter)
  if (progress !== undefined) progress.since += clock.currentTimeMillisUnsafe() - before
  // a pause may have begun during the wait for the permit
  yield* pauses.over((now) => progress === undefined ? Infinity : Retries.leftOf(progress, now)).pipe(
    Effect.mapError((retryAfter) => error(call, new RegistryError.TooManyRequests({ retryAfter })))
  )
  // even if what follows is uninterruptible
}, Effect.interruptible)

const beginFor = (state: State, call: Call, request: HttpClientRequest.HttpClientRequest) =>
  isOwn(state, request) ? Authorization.begin(state.tokens, call, request) : Authorization.none(request)

/** Returns the policy on the addresses that the registry leads to. */
const policyOf = ({ error, registry }: State, call: Call): Redirects.Policy<RegistryError.RegistryError> => ({
  registry,
  check: (address) =>
    Effect.flatMap(AddressPolicy.objection(registry, address), (objection) => {
      if (objection === undefined) return Effect.void
      const detail = `it leads to ${AddressPolicy.place(address)}: ${objection}`
      return Effect.fail(error(call, new RegistryError.UnexpectedResponse({ detail })))
    })
})

/** Returns the timeout for the headers: the time that the operation has left, unless the timeout itself is longer. */
const headersTimeout = Effect.gen(function*() {
  const duration = yield* HeadersTimeout
  const progress = yield* Retries.Progress
  if (progress === undefined || Duration.toMillis(duration) > progress.limit) return duration
  const left = Retries.leftOf(progress, yield* Clock.currentTimeMillis)
  return Duration.min(duration, Duration.millis(Math.max(0, Math.round(left))))
})

/** Records that a request is sent. The returned function records its response. */
const depart = Effect.fnUntraced(function*(state: State, { method }: HttpClientRequest.HttpClientRequest) {
  yield* Metrics.tell({ _tag: "Requested", registry: state.name, method })
  const note = yield* state.limiter.begin
  return (response: HttpClientResponse.HttpClientResponse) => {
    const { request, status } = response
    if (!isOwn(state, request)) return Effect.void
    state.plainHttp.answered(status)
    // a registry that is overloaded says 503 as well
    const noted = note(status === 429 || status === 503 ? "refused" : "answered")
    return state.limiter.heed === undefined
      ? noted
      : Effect.andThen(noted, state.limiter.heed(status, response.headers))
  }
})

/** Converts the failure of a request without a response. */
const unanswered = (state: State, call: Call, request: HttpClientRequest.HttpClientRequest) =>
  Effect.fnUntraced(function*(cause: HttpClientError.HttpClientError) {
    const reason = TransportFailure.transport(cause)
    return yield* state.error(call, isOwn(state, request) ? yield* state.plainHttp.reasonOf(reason) : reason)
  })

/** Sends a request, and waits for the headers of its response. */
const exchange = Effect.fnUntraced(function*<R>(
  state: State,
  by: Client<R>,
  call: Call,
  request: HttpClientRequest.HttpClientRequest
) {
  const duration = yield* headersTimeout
  const arrived = yield* depart(state, request)
  const response = yield* by.execute(request).pipe(
    Effect.catch(unanswered(state, call, request)),
    // a client that keeps time itself needs no fiber for that
    keepsTime(state.client) && Duration.Equivalence(duration, yield* HeadersTimeout)
      ? identity
      : Effect.timeoutOrElse({ duration, orElse: () => Effect.fail(tooLate(state, call, duration)) }),
    Spans.traced(request)
  )
  yield* arrived(response)
  const { body } = request
  // a blob, or a part of one, that was sent in one piece
  if (body._tag === "Uint8Array" && body.contentType === MediaType.octetStream) {
    yield* Metrics.moved("push", state.name, body.contentLength)
  }
  return response
})

/** Requests the body as it is, because it is hashed, and names the host of which the registry is a mirror. */
const forReading = ({ mirrorOf }: State, request: HttpClientRequest.HttpClientRequest) => {
  if (request.method !== "GET" && request.method !== "HEAD") return request
  const plain = HttpClientRequest.setHeader(request, "accept-encoding", "identity")
  return mirrorOf === undefined
    ? plain
    : HttpClientRequest.setUrl(plain, Urls.withParameters(plain.url, [["ns", mirrorOf]]))
}

/** Sends a request, and sends it again while the registry answers 401 and there is an authorization left to try. */
const converse = Effect.fnUntraced(function*<R>(
  state: State,
  by: Client<R>,
  call: Call,
  request: HttpClientRequest.HttpClientRequest
): Effect.fn.Return<Answered, RegistryError.RegistryError, R> {
  const because = Effect.mapError((reason: RegistryError.Reason) => state.error(call, reason))
  const policy = policyOf(state, call)
  const follow = (request: HttpClientRequest.HttpClientRequest) =>
    Redirects.follow(policy, (request) => exchange(state, by, call, request), request)
  const authorization = beginFor(state, call, forReading(state, request))
  let response = yield* follow(yield* because(authorization.opening))
  while (response.status === 401 && isOwn(state, response.request)) {
    // read first: the connection may be the only one, and is free only after the body
    const body = yield* readError(state, call, response)
    const next = yield* because(authorization.reply(response.headers["www-authenticate"]))
    if (next === undefined) return { response, body, isKnown: authorization.isKnown() }
    response = yield* follow(next)
  }
  return { response, isKnown: false }
})

// ---------------------------------------------------------------------------------------------------------------------
// responses
// ---------------------------------------------------------------------------------------------------------------------

/** Reads the body of an error response. Returns no bytes if it cannot be read. */
const readError = ({ error }: State, call: Call, response: HttpClientResponse.HttpClientResponse) =>
  ResponseBody.readError(response).pipe(
    Effect.mapError((reason) => error(call, reason)),
    Effect.flatMap(({ bytes }) =>
      Encoding.document({ bytes, headers: response.headers }, ResponseBody.smallSize, (reason) => error(call, reason))
    ),
    Effect.orElseSucceed(() => new Uint8Array())
  )

/** Fails if the status of a response is not one of the expected ones. */
const judge = Effect.fnUntraced(function*(
  state: State,
  call: Call,
  answered: Answered,
  expected: ReadonlyArray<number>
) {
  const { response } = answered
  yield* state.warnings(response.headers["warning"])
  return expected.includes(response.status) ? response : yield* refusal(state, call, answered)
})

/** Fails with the reason of an error response. */
const refusal = Effect.fnUntraced(function*(state: State, call: Call, { body, isKnown, response }: Answered) {
  const { error, plainHttp, secrets } = state
  const { headers, request, status } = response
  const read = body ?? (yield* readError(state, call, response))
  for (const secret of Secrets.ofUrl(request.url)) secrets.add(secret)
  const said = ErrorBody.parse(headers["content-type"], read)
  if (isOwn(state, request) && (yield* plainHttp.isRefusal(status, said.text ?? "", read.length))) {
    return yield* error(call, new RegistryError.SchemeMismatch({ used: "http" }))
  }
  const text = said.text === undefined ? {} : { text: secrets.strike(said.text) }
  return yield* error(call, yield* ErrorResponse.reasonOf(call.target, response, { ...said, ...text }, isKnown))
})

/** Reads the body of a response. */
const receive = Effect.fnUntraced(function*(
  { error }: State,
  call: Call,
  response: HttpClientResponse.HttpClientResponse,
  limit: number
): Effect.fn.Return<Received, RegistryError.RegistryError> {
  const { bytes, isComplete } = yield* Effect.mapError(
    ResponseBody.read(response, limit),
    (reason) => error(call, reason)
  )
  if (!isComplete) return yield* error(call, new RegistryError.ContentTooLarge({ limit }))
  return { status: response.status, headers: response.headers, url: response.request.url, bytes }
})

// ---------------------------------------------------------------------------------------------------------------------
// operations
// ---------------------------------------------------------------------------------------------------------------------

const send = (state: State): Connection["send"] =>
  Effect.fnUntraced(function*(call, request, expected, limit = ResponseBody.smallSize) {
    yield* permit(state, call)
    const response = yield* judge(state, call, yield* converse(state, state.client, call, request), expected)
    return yield* receive(state, call, response, limit)
  }, Effect.scoped)

/** Returns true if the response to HEAD may be a refusal of the method alone. */
const isRefusedHead = (
  state: State,
  { headers, request, status }: HttpClientResponse.HttpClientResponse
): boolean =>
  status >= 400 && !isOwn(state, request) || status === 400 || status === 403 || status === 405 ||
  status === 401 && headers["www-authenticate"] === undefined

const head = (state: State): Connection["head"] =>
  Effect.fnUntraced(function*(call, request) {
    yield* permit(state, call)
    let last: HttpClientRequest.HttpClientRequest = request
    const watched = HttpClient.tapRequest(state.client, (next) =>
      Effect.sync(() => {
        last = next
      }))
    const conversed = yield* Effect.result(converse(state, watched, call, request))
    if (conversed._tag === "Failure") {
      return isOwn(state, last) ? yield* conversed.failure : Result.fail(conversed.failure)
    }
    const judged = yield* Effect.result(judge(state, call, conversed.success, [200]))
    if (judged._tag === "Success") {
      return Result.succeed(yield* receive(state, call, judged.success, ResponseBody.smallSize))
    }
    return isRefusedHead(state, conversed.success.response) ? Result.fail(judged.failure) : yield* judged.failure
  }, Effect.scoped)

const open = (state: State): Connection["open"] =>
  Effect.fnUntraced(function*(call, request, expected) {
    // released at the end of the body, even if the scope of the caller stays open
    const own = yield* Scope.fork(yield* Effect.scope)
    const release = Scope.close(own, Exit.void)
    const response = yield* permit(state, call).pipe(
      Effect.andThen(converse(state, HttpClient.withScope(state.client), call, request)),
      Effect.flatMap((answered) => judge(state, call, answered, expected)),
      Scope.provide(own),
      Effect.onError(() => release)
    )
    let count = 0
    const stream = ResponseBody.stream(response).pipe(
      Stream.mapError((reason) => state.error(call, reason)),
      Stream.mapArray((chunks) => {
        for (const { length } of chunks) count += length
        return chunks
      }),
      Stream.ensuring(Effect.suspend(() => Effect.andThen(Metrics.moved("pull", state.name, count), release)))
    )
    return { headers: response.headers, status: response.status, stream }
  })

/** Sends a chunk that was read into memory. It can be sent again, unlike a stream. */
const uploadWhole = Effect.fnUntraced(function*(
  state: State,
  call: Call,
  request: HttpClientRequest.HttpClientRequest,
  bytes: Uint8Array,
  expected: ReadonlyArray<number>
) {
  const whole = HttpClientRequest.bodyUint8Array(request, bytes, MediaType.octetStream)
  const received = yield* Effect.provideService(
    send(state)(call, whole, expected),
    HeadersTimeout,
    yield* UploadBody.CommitTimeout
  )
  return { ...received, sent: bytes.length }
})

/** Sends a chunk as a stream, which can be read only once: it follows no redirect and answers no challenge. */
const uploadStream = Effect.fnUntraced(function*<E>(
  state: State,
  call: Call,
  request: HttpClientRequest.HttpClientRequest,
  chunk: Chunk<E>,
  expected: ReadonlyArray<number>
): Effect.fn.Return<Received & { readonly sent: number }, RegistryError.RegistryError | E, Scope.Scope> {
  const fail = (reason: RegistryError.Reason) => state.error(call, reason)
  yield* permit(state, call)
  const authorization = beginFor(state, call, request)
  const authorized = yield* Effect.mapError(authorization.opening, fail)
  const body = yield* UploadBody.watch(fail, chunk)
  const withBody = HttpClientRequest.bodyStream(authorized, body.stream, {
    contentType: MediaType.octetStream,
    ...chunk.size === undefined ? {} : { contentLength: chunk.size }
  })
  const exchange = Effect.fnUntraced(function*(request: HttpClientRequest.HttpClientRequest) {
    const arrived = yield* depart(state, request)
    const response = yield* state.client.execute(request).pipe(
      Effect.catch(unanswered(state, call, request)),
      Effect.raceFirst(body.overdue),
      // the HTTP client replaces the errors of a body's stream
      Effect.catch((failure) => Effect.flatMap(body.failure, (own) => Effect.fail(own ?? failure))),
      Effect.ensuring(Effect.suspend(() => Metrics.moved("push", state.name, body.sent()))),
      Spans.traced(request)
    )
    yield* arrived(response)
    return response
  })
  const response = yield* Redirects.hop(policyOf(state, call), exchange, withBody)
  // the body is gone: a caller that can send it again does so, and gets another token
  if (response.status === 401) yield* authorization.heed(response.headers["www-authenticate"])
  const judged = yield* judge(state, call, { response, isKnown: false }, expected)
  return { ...yield* receive(state, call, judged, ResponseBody.smallSize), sent: body.sent() }
})

const upload = (state: State): Connection["upload"] =>
  Effect.fnUntraced(function*<E>(
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    chunk: Chunk<E>,
    expected: ReadonlyArray<number>
  ) {
    const stream = chunk.size === undefined || chunk.size > ResponseBody.smallSize
      ? chunk.stream
      : yield* UploadBody.open((reason) => state.error(call, reason), chunk.size, chunk.stream)
    return Stream.isStream(stream)
      ? yield* uploadStream(state, call, request, { ...chunk, stream }, expected)
      : yield* uploadWhole(state, call, request, stream, expected)
  }, Effect.scoped)

/** Creates the state of a connection. */
const makeState = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<State, never, HttpClient.HttpClient> {
  const { credentials, mirrorOf, name, origin, tokenRealms = "https", transformClient } = options
  const environment = yield* HttpClient.HttpClient
  const client = transformClient === undefined ? environment : transformClient(environment)
  const registry = new URL(origin)
  const secrets = Secrets.make()
  const failing = RegistryError.failing(name)
  return {
    name,
    registry,
    mirrorOf,
    client,
    limiter: (yield* Limiter.PerRegistry)(name),
    pauses: RetryAfterPauses.make(name),
    plainHttp: PlainHttp.make(client, registry),
    secrets,
    tokens: yield* Tokens.make({ host: name, registry, client, credentials, secrets, tokenRealms }),
    warnings: Warnings.make(name, secrets),
    error: ({ operation, repository }, reason) => failing(operation, repository)(secrets.strikeReason(reason))
  }
})

/** Creates a connection. No request is sent yet. */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<Connection, never, HttpClient.HttpClient> {
  const state = yield* makeState(options)
  const { error, limiter, name, pauses, registry, secrets } = state
  const given: Registry.Capabilities = Object.fromEntries(
    Object.entries(options.capabilities ?? {}).filter(([, value]) => value !== undefined)
  )
  const capabilities = yield* Ref.make<Registry.Capabilities>({ ...KnownHosts.capabilities(name), ...given })
  return {
    name,
    limiter,
    pauses,
    capabilities,
    learn: (news) => Ref.update(capabilities, (known) => ({ ...known, ...news, ...given })),
    url: (path) => options.origin + path,
    locate: (address = "", base) =>
      address !== "" && URL.canParse(address, base) ? Urls.atHome(registry, Urls.resolve(address, base)) : undefined,
    error,
    warn: (text) => Metrics.tell({ _tag: "Warning", registry: name, text: secrets.strike(text) }),
    send: send(state),
    head: head(state),
    open: open(state),
    prepare: (call, request) =>
      Effect.asVoid(Effect.mapError(beginFor(state, call, request).opening, (reason) => error(call, reason))),
    upload: upload(state)
  }
})
