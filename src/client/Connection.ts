/**
 * Connection to one registry over HTTP.
 *
 * Every request takes the same path:
 *
 * 1. {@link withPermit} waits for a permit of the limiter, and for the end of a pause that the registry asked for.
 * 2. `Conversation.converse` adds the authorization that the registry is known to require, answers its challenges, and
 *    follows redirects, after each address was checked against the policy.
 * 3. `Answer.judge` turns every unexpected status into a `RegistryError`.
 * 4. `Answer.receive` reads the body up to a limit, or `open` leaves it to be streamed.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
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
import { SizeMismatch } from "../Hasher.ts"
import { isHeld } from "../HeldPermits.ts"
import * as Direct from "../http/Direct.ts"
import * as Redirects from "../http/Redirects.ts"
import * as ResponseBody from "../http/ResponseBody.ts"
import * as Spans from "../http/Spans.ts"
import * as Urls from "../http/Urls.ts"
import { OnLearnt } from "../Learning.ts"
import * as Limiter from "../Limiter.ts"
import * as MediaType from "../MediaType.ts"
import * as Metrics from "../Metrics.ts"
import * as OnePiece from "../OnePiece.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Retries from "../Retries.ts"
import type { Chunk } from "../Upload.ts"
import { judge, readError, receive, type Received } from "./Answer.ts"
import {
  beginFor,
  type Call,
  converse,
  HeadersTimeout,
  isOwn,
  policyOf,
  recorded,
  type Send,
  type State,
  unanswered
} from "./Conversation.ts"
import * as KnownHosts from "./KnownHosts.ts"
import * as PlainHttp from "./PlainHttp.ts"
import * as RetryAfterPauses from "./RetryAfterPauses.ts"
import * as UploadBody from "./UploadBody.ts"
import * as Warnings from "./Warnings.ts"

export { type Received } from "./Answer.ts"
export { type Call, HeadersTimeout } from "./Conversation.ts"

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

// ---------------------------------------------------------------------------------------------------------------------
// permits and connections
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

/** Runs an operation under a permit. If a transfer holds one already, and there is no pause, there is nothing to do. */
const withPermit = <A, E, R>(
  state: State,
  call: Call,
  operation: () => Effect.Effect<A, E, R>
): Effect.Effect<A, E | RegistryError.RegistryError, R> =>
  Effect.withFiber<A, E | RegistryError.RegistryError, R>((fiber) =>
    isHeld(fiber, state.limiter) && state.limiter.turn === undefined &&
      !state.pauses.isPaused(fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
      ? operation()
      : Effect.scoped(Effect.andThen(permit(state, call), Effect.suspend(operation)))
  )

/**
 * Runs an operation with a way to send its requests. If the operation fails or is interrupted, what is left of its last
 * response is discarded.
 */
const withClient = <A, E, R>(
  { client, direct }: State,
  operation: (send: Send<never>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  if (direct === undefined) return operation(client.execute)
  let last: Direct.Response | undefined
  const send: Send<never> = (request) => Effect.map(direct(request), (response) => (last = response))
  return Effect.onError(operation(send), () => Effect.sync(() => last?.discard()))
}

// ---------------------------------------------------------------------------------------------------------------------
// operations
// ---------------------------------------------------------------------------------------------------------------------

const send = (state: State): Connection["send"] => (call, request, expected, limit = ResponseBody.smallSize) =>
  withPermit(
    state,
    call,
    () =>
      withClient(
        state,
        (send) =>
          converse(state, send, call, request, (response) => readError(state, call, response)).pipe(
            Effect.flatMap((answered) => judge(state, call, answered, expected)),
            Effect.flatMap((response) => receive(state, call, response, limit))
          )
      )
  )

/** Returns true if the response to HEAD may be a refusal of the method alone. */
const isRefusedHead = (
  state: State,
  { headers, request, status }: HttpClientResponse.HttpClientResponse
): boolean =>
  status >= 400 && !isOwn(state, request) || status === 400 || status === 403 || status === 405 ||
  status === 401 && headers["www-authenticate"] === undefined

const head = (state: State): Connection["head"] => (call, request) =>
  withPermit(state, call, () =>
    withClient(
      state,
      Effect.fnUntraced(function*(send) {
        let last: HttpClientRequest.HttpClientRequest = request
        const watched: Send<never> = (next) => {
          last = next
          return send(next)
        }
        const read = (response: HttpClientResponse.HttpClientResponse) => readError(state, call, response)
        const conversed = yield* Effect.result(converse(state, watched, call, request, read))
        if (conversed._tag === "Failure") {
          return isOwn(state, last) ? yield* conversed.failure : Result.fail(conversed.failure)
        }
        const judged = yield* Effect.result(judge(state, call, conversed.success, [200]))
        if (judged._tag === "Success") {
          return Result.succeed(yield* receive(state, call, judged.success, ResponseBody.smallSize))
        }
        return isRefusedHead(state, conversed.success.response) ? Result.fail(judged.failure) : yield* judged.failure
      })
    ))

/** Sends a request whose response stays open until the scope closes. */
const respond = (
  state: State,
  call: Call,
  request: HttpClientRequest.HttpClientRequest,
  expected: ReadonlyArray<number>,
  scope: Scope.Scope
): Effect.Effect<HttpClientResponse.HttpClientResponse, RegistryError.RegistryError> => {
  const read = (response: HttpClientResponse.HttpClientResponse) => readError(state, call, response)
  const judged = <R>(send: Send<R>) =>
    Effect.flatMap(converse(state, send, call, request, read), (answered) => judge(state, call, answered, expected))
  if (state.direct === undefined) return Scope.provide(judged(HttpClient.withScope(state.client).execute), scope)
  // registered before the response leaves `withClient`, so that an interruption always discards it
  return withClient(state, (send) =>
    Effect.tap(
      judged(send),
      (response) =>
        Direct.isDirect(response) ? Scope.addFinalizer(scope, Effect.sync(() => response.discard())) : Effect.void
    ))
}

const open = (state: State): Connection["open"] => (call, request, expected) =>
  Effect.flatMap(Effect.scope, (outer) =>
    Effect.flatMap(Scope.fork(outer), (own) => {
      // released at the end of the body, even if the scope of the caller stays open
      const release = Scope.close(own, Exit.void)
      const permitted = Scope.provide(permit(state, call), own)
      return Effect.andThen(permitted, respond(state, call, request, expected, own)).pipe(
        Effect.onError(() => release),
        Effect.map((response) => ({
          headers: response.headers,
          status: response.status,
          stream: bodyOf(state, call, response, release)
        }))
      )
    }))

/** Returns the body of a response. After it, the response is released. */
const bodyOf = (
  state: State,
  call: Call,
  response: HttpClientResponse.HttpClientResponse,
  release: Effect.Effect<void>
): Registry.Blob["stream"] => {
  let count = 0
  const end = Effect.suspend(() => Effect.andThen(Metrics.moved("pull", state.name, count), release))
  return OnePiece.transform(
    OnePiece.mapError(ResponseBody.stream(response), (reason) => state.error(call, reason)),
    (piece) =>
      Effect.ensuring(
        Effect.map(piece, (bytes) => {
          count = bytes.length
          return bytes
        }),
        end
      ),
    (chunks) =>
      chunks.pipe(
        Stream.mapArray((chunks) => {
          for (const { length } of chunks) count += length
          return chunks
        }),
        Stream.ensuring(end)
      )
  )
}

/** Sends a chunk that was read into memory. It can be sent again, unlike a stream. */
const uploadWhole = (
  state: State,
  call: Call,
  request: HttpClientRequest.HttpClientRequest,
  bytes: Uint8Array,
  expected: ReadonlyArray<number>
): Effect.Effect<Received & { readonly sent: number }, RegistryError.RegistryError> => {
  const whole = HttpClientRequest.bodyUint8Array(request, bytes, MediaType.octetStream)
  return Effect.flatMap(UploadBody.CommitTimeout, (timeout) =>
    Effect.map(
      Effect.provideService(send(state)(call, whole, expected), HeadersTimeout, timeout),
      (received) => ({ ...received, sent: bytes.length })
    ))
}

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
  const exchange = (request: HttpClientRequest.HttpClientRequest) =>
    recorded(
      state,
      request,
      state.client.execute(request).pipe(
        Effect.catch(unanswered(state, call, request)),
        Effect.raceFirst(body.overdue),
        // the HTTP client replaces the errors of a body's stream
        Effect.catch((failure) => Effect.flatMap(body.failure, (own) => Effect.fail(own ?? failure))),
        Effect.ensuring(Effect.suspend(() => Metrics.moved("push", state.name, body.sent()))),
        Spans.traced(request)
      )
    )
  const response = yield* Redirects.hop(policyOf(state, call), exchange, withBody)
  // the body is gone: a caller that can send it again does so, and gets another token
  if (response.status === 401) yield* authorization.heed(response.headers["www-authenticate"])
  const judged = yield* judge(state, call, { response, isKnown: false }, expected)
  return { ...yield* receive(state, call, judged, ResponseBody.smallSize), sent: body.sent() }
})

const upload = (state: State): Connection["upload"] =>
<E>(
  call: Call,
  request: HttpClientRequest.HttpClientRequest,
  chunk: Chunk<E>,
  expected: ReadonlyArray<number>
) => {
  const { size = Infinity, stream } = chunk
  const fail = (reason: RegistryError.Reason) => state.error(call, reason)
  if (size > ResponseBody.smallSize) return Effect.scoped(uploadStream(state, call, request, chunk, expected))
  const piece = OnePiece.of(stream)
  if (piece !== undefined) {
    return Effect.flatMap(piece, (bytes) =>
      bytes.length === size
        ? uploadWhole(state, call, request, bytes, expected)
        : Effect.fail(fail(new SizeMismatch({ expected: size, actual: bytes.length }))))
  }
  return Effect.scoped(
    Effect.flatMap(UploadBody.open(fail, size, stream), (body) =>
      Stream.isStream(body)
        ? uploadStream(state, call, request, { ...chunk, stream: body }, expected)
        : uploadWhole(state, call, request, body, expected))
  )
}

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
    direct: Direct.of(client),
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
    learn: (news) =>
      Effect.flatMap(OnLearnt, (onLearnt) => {
        const learning = Ref.update(capabilities, (known) => ({ ...known, ...news, ...given }))
        return onLearnt === undefined ? learning : Effect.andThen(learning, onLearnt(name, news))
      }),
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
