/**
 * The way to one registry over HTTP: sends requests, follows redirects, says who we are to that registry and to nobody
 * else, waits no longer than allowed, reads no more than allowed, and turns what went wrong into `RegistryError`s.
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
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as EffectScope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Credentials } from "../auth/Credentials.ts"
import * as Secrets from "../auth/Secrets.ts"
import type * as TokenRealms from "../auth/TokenRealms.ts"
import * as Tokens from "../auth/Tokens.ts"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import { overdue } from "../http/Deadline.ts"
import * as ErrorBody from "../http/ErrorBody.ts"
import * as Redirects from "../http/Redirects.ts"
import * as Spans from "../http/Spans.ts"
import * as TimedOut from "../http/TimedOut.ts"
import * as TransportFailure from "../http/TransportFailure.ts"
import { resolve, withParameters } from "../http/Urls.ts"
import * as Limiter from "../Limiter.ts"
import * as MediaType from "../MediaType.ts"
import * as Metrics from "../Metrics.ts"
import type { Repository } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Retries from "../Retries.ts"
import { excerpt } from "../Text.ts"
import * as TokenScope from "../TokenScope.ts"
import type { Chunk } from "../Upload.ts"
import * as Encoding from "./Encoding.ts"
import * as ErrorResponse from "./ErrorResponse.ts"
import * as KnownHosts from "./KnownHosts.ts"
import * as RetryAfterPauses from "./RetryAfterPauses.ts"
import * as UploadBody from "./UploadBody.ts"

/**
 * How long to wait for the headers of an answer.
 *
 * @default 60 seconds
 * @category references
 * @since 0.1.0
 */
export const HeadersTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/HttpRegistry/HeadersTimeout",
  { defaultValue: () => Duration.seconds(60) }
)

/** What is being done, for errors. */
export interface Call {
  readonly operation: string
  readonly repository?: Repository
  /** Another repository that has to be read for it. */
  readonly from?: Repository
  readonly target: ErrorResponse.ResourceKind
}

/** A response whose body was read, as far as it matters. */
export interface Received {
  readonly status: number
  readonly headers: Headers.Headers
  /** The URL that answered, after redirects. */
  readonly url: string
  readonly bytes: Uint8Array
}

export interface Connection {
  readonly name: string
  readonly limiter: Limiter.Limiter
  readonly pauses: RetryAfterPauses.RetryAfterPauses
  readonly capabilities: Ref.Ref<Registry.Capabilities>
  readonly learn: (capabilities: Registry.Capabilities) => Effect.Effect<void>
  /** The URL of a path such as `/v2/`. */
  readonly url: (path: string) => string
  /** An address that an answer from `base` gives, if it is one. */
  readonly locate: (address: string | undefined, base: string) => string | undefined
  readonly error: (call: Call, reason: RegistryError.Reason) => RegistryError.RegistryError
  /** Reports an omission, or another thing that is wrong and does not fail the operation, to the `Observer`. */
  readonly warn: (text: string) => Effect.Effect<void>
  /**
   * Sends a request and reads the answer, of at most `limit` bytes. Any status but the expected ones is an error.
   */
  readonly send: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    expected: ReadonlyArray<number>,
    limit?: number
  ) => Effect.Effect<Received, RegistryError.RegistryError>
  /** Sends HEAD. A refusal that may be one of the method alone, by the registry or where it leads, is a `Result`. */
  readonly head: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<Result.Result<Received, RegistryError.RegistryError>, RegistryError.RegistryError>
  /** Sends a request, and leaves the body of the answer to be streamed while the scope is open. */
  readonly open: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    expected: ReadonlyArray<number>
  ) => Effect.Effect<
    { readonly headers: Headers.Headers; readonly status: number; readonly stream: Registry.Blob["stream"] },
    RegistryError.RegistryError,
    EffectScope.Scope
  >
  /** Makes sure that a request can be sent once and be answered: gets the token that it needs, if one is known to be. */
  readonly prepare: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<void, RegistryError.RegistryError>
  /** Sends a request with a chunk of a blob as its body. The errors of the chunk's stream come out as they are. */
  readonly upload: <E>(
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    chunk: Chunk<E>,
    expected: ReadonlyArray<number>
  ) => Effect.Effect<Received & { readonly sent: number }, RegistryError.RegistryError | E>
}

/** A response, and the body of one that asks who we are, which was read. */
interface Answered {
  readonly response: HttpClientResponse.HttpClientResponse
  readonly body?: Uint8Array
  /** Does the registry know who we are, and still refuse? */
  readonly isKnown: boolean
}

type Client<R> = HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>

// number of distinct warnings that are reported
const warningLimit = 100

// number of warnings of one answer that are read
const warningsOfAnswer = 10

// a plain request that fails so, at a registry that never answered, may have met a port that expects TLS
const isMute = (code: string): boolean => /^(?:UND_ERR_SOCKET|ECONNRESET|EPIPE)$|^HPE_/.test(code)

/** Sentences with which servers refuse plain HTTP at a port for TLS: those of Go, nginx and Apache. */
const expectsTls = /\bhttp request (?:was sent )?to (?:an )?https (?:server|port)|plain http to an ssl-enabled server/i

// how long it may take to find out whether a port expects TLS
const probeTimeout = Duration.seconds(5)

// of what is read in one piece: small blobs, error documents, and answers that are read only to free their connection
const smallBody = 64 * 1024

/** What a request needs to be allowed, as registries see it: by its method and repositories. */
const scopeOf = ({ from, operation, repository }: Call, { method }: HttpClientRequest.HttpClientRequest) => {
  if (repository === undefined) return operation === "repositories" ? TokenScope.catalog : TokenScope.empty
  if (method === "GET" || method === "HEAD") return TokenScope.repository(repository, "pull")
  // giving up an upload is part of pushing, though some registries think otherwise, and say so
  if (method === "DELETE" && operation !== "cancel") return TokenScope.repository(repository, "delete")
  const push = TokenScope.repository(repository, "pull", "push")
  return from === undefined ? push : TokenScope.union(push, TokenScope.repository(from, "pull"))
}

/**
 * Registries that do not know what stands before them leave out a port in their own addresses, or speak of plain HTTP:
 * an address of the registry's own name is at the registry.
 */
const atHome = (registry: URL, address: string): string => {
  const { hostname, origin, port, protocol } = new URL(address)
  const isTwisted = hostname === registry.hostname && origin !== registry.origin && port === "" &&
    (protocol === registry.protocol || protocol === "http:")
  return isTwisted ? address.replace(/^https?:\/\/[^/?#]*/i, registry.origin) : address
}

// a connection is free for the next request only after the turn in which an answer ended
const freed = Effect.yieldNow

const nothing = Effect.as(freed, { bytes: new Uint8Array(), complete: true })

// where fetch is below, an answer without a body has no stream
const isBodiless = ({ reason }: HttpClientError.HttpClientError): boolean => reason._tag === "EmptyBodyError"

// number of secrets in one address that are remembered, so that those that were sent are not forgotten over them
const secretsOfUrl = 32

/**
 * Returns what makes a signed address, or that of an upload session, secret, and should not be repeated in an error.
 */
const secretsIn = (url: string): ReadonlyArray<Redacted.Redacted> => {
  const { password, searchParams } = new URL(url)
  const values = Array.from(searchParams).filter(([name]) =>
    /auth|credential|key|pass|secret|sig|state|token/i.test(name)
  )
  return [password, ...values.slice(0, secretsOfUrl).map(([, value]) => value)].map((value) => Redacted.make(value))
}

/** Has an answer no body, so that none need be read? */
const isEmpty = ({ headers, request, status }: HttpClientResponse.HttpClientResponse): boolean =>
  request.method === "HEAD" || status === 204 || headers["content-length"] === "0"

/** Does an answer say that it has a body, and not more than fits in one piece? */
const isSmall = ({ headers }: HttpClientResponse.HttpClientResponse): boolean =>
  headers["content-encoding"] === undefined &&
  (ErrorResponse.naturalHeader(headers["content-length"]) ?? Infinity) <= smallBody

/** Does a registry say that too much is asked of it? */
const isRefusal = ({ status }: HttpClientResponse.HttpClientResponse): boolean => status === 429 || status === 503

export interface Options {
  readonly name: string
  readonly origin: string
  readonly credentials: Credentials["Service"]
  /** What is known of the registry already, whatever it may answer. */
  readonly capabilities?: Registry.Capabilities
  readonly tokenRealms?: TokenRealms.TokenRealms | undefined
  /** The host that it is a mirror of. */
  readonly mirrorOf?: string
  readonly transformClient?: (client: HttpClient.HttpClient) => HttpClient.HttpClient
}

export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<Connection, never, HttpClient.HttpClient> {
  const { credentials, mirrorOf, name, origin, tokenRealms = "https", transformClient } = options
  const environment = yield* HttpClient.HttpClient
  const client = transformClient === undefined ? environment : transformClient(environment)
  // then there are no fibers that watch the time
  const keepsTime = transformClient === undefined && TimedOut.keepsTime(environment)
  const limiter = (yield* Limiter.PerRegistry)()
  const capabilities = yield* Ref.make<Registry.Capabilities>({
    ...KnownHosts.capabilities(name),
    ...options.capabilities
  })
  const pauses = RetryAfterPauses.make(name)
  const warned = new Set<string>()
  const registry = new URL(origin)
  const secrets = Secrets.make()
  const tokens = yield* Tokens.make({ host: name, registry, client, credentials, secrets, tokenRealms })
  let hasAnswered = false

  const error: Connection["error"] = ({ operation, repository }, reason) =>
    new RegistryError.RegistryError({
      operation,
      registry: name,
      ...repository === undefined ? {} : { repository },
      reason: secrets.strikeReason(reason)
    })
  const transport = (call: Call) => (cause: HttpClientError.HttpClientError) =>
    error(call, TransportFailure.transport(cause))

  /** Returns true if the port of the registry, at which plain HTTP has failed, speaks TLS. */
  const speaksTls = client.execute(HttpClientRequest.get(`${origin.replace(/^http:/, "https:")}/v2/`)).pipe(
    Effect.as(true),
    Effect.catch((cause) => {
      const reason = TransportFailure.transport(cause)
      return Effect.succeed(reason._tag === "Transport" && !reason.isRetryable)
    }),
    Effect.timeout(probeTimeout),
    Effect.orElseSucceed(() => false),
    Effect.scoped
  )

  /** Converts the failure to get an answer. */
  const unanswered = (call: Call, request: HttpClientRequest.HttpClientRequest) =>
    Effect.fnUntraced(function*(cause: HttpClientError.HttpClientError) {
      const reason = TransportFailure.transport(cause)
      if (registry.protocol !== "http:" || hasAnswered || reason._tag !== "Transport" || !isOwn(request)) {
        return yield* error(call, reason)
      }
      const isTls = isMute(reason.code ?? "") && (yield* speaksTls)
      return yield* error(call, isTls ? new RegistryError.SchemeMismatch({ used: "http" }) : reason)
    })
  const tooLate = (call: Call, phase: "headers" | "body", duration: Duration.Duration) =>
    error(call, new RegistryError.Timeout({ phase, after: duration }))

  // most are made from it
  const isOwn = ({ url }: { readonly url: string }) =>
    url.startsWith(`${registry.origin}/`) || new URL(url).origin === registry.origin

  /** Begins to speak about who we are: with the registry, not with whoever it sends us to. */
  const begin = (call: Call, request: HttpClientRequest.HttpClientRequest) => {
    const because = Effect.mapError((reason: RegistryError.Reason) => error(call, reason))
    const { repository } = call
    const conversation = isOwn(request)
      ? tokens.begin({ ...repository === undefined ? {} : { repository }, scope: scopeOf(call, request) })
      : undefined
    return {
      opening: conversation === undefined
        ? Effect.succeed(request)
        : Effect.map(because(conversation.opening), (authorization) => authorization?.(request) ?? request),
      reply: (challenges: string | undefined) =>
        conversation === undefined
          ? Effect.undefined
          : Effect.map(because(conversation.reply(challenges)), (authorization) => authorization?.(request)),
      heed: (challenges: string | undefined) => conversation?.heed(challenges) ?? Effect.void,
      isKnown: () => conversation?.isKnown() === true
    }
  }

  // -- answers --------------------------------------------------------------------------------------------------------

  const noteWarnings = Effect.fnUntraced(function*(headers: Headers.Headers) {
    const { warning } = headers
    if (warning === undefined || warned.size > warningLimit) return
    const quotes = Array.from(warning.matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g))
    for (const [, quoted = ""] of quotes.slice(0, warningsOfAnswer)) {
      const said = excerpt(secrets.strike(quoted.replaceAll(/\\(.)/g, "$1")))
      if (said === "" || warned.has(said) || warned.size > warningLimit) continue
      const text = warned.size < warningLimit ? said : "it gives more warnings, which are not shown"
      warned.add(said)
      yield* Metrics.tell({ _tag: "Warning", registry: name, text })
    }
  })

  /**
   * Reads a body, of which it takes somewhat more than the limit at the most. One that is `wanted` may take as long as
   * it likes while it moves.
   */
  const readUpTo = Effect.fnUntraced(
    function*(call: Call, response: HttpClientResponse.HttpClientResponse, limit: number, wanted = true) {
      const duration = yield* UploadBody.IdleTimeout
      const progress = yield* Retries.Progress
      const clock = yield* Clock.Clock
      let size = 0
      let since = clock.currentTimeMillisUnsafe()
      const reading = response.stream.pipe(
        Stream.takeUntil((chunk) => {
          if (wanted) since = clock.currentTimeMillisUnsafe()
          if (wanted && progress !== undefined) progress.since = since
          return (size += chunk.length) > limit
        }),
        Stream.mkUint8Array
      )
      const read = reading.pipe(
        Effect.catchIf(isBodiless, () => Effect.succeed(new Uint8Array())),
        Effect.mapError(transport(call))
      )
      const late = overdue(
        () => since + Duration.toMillis(duration) - clock.currentTimeMillisUnsafe(),
        () => tooLate(call, "body", duration)
      )
      const bytes = yield* keepsTime && wanted ? read : Effect.raceFirst(read, late)
      yield* freed
      return { bytes, complete: size <= limit }
    }
  )

  /** The body of an answer. A small one comes in one piece, which is far less work than a stream. */
  const bodyOf = (call: Call, response: HttpClientResponse.HttpClientResponse): Registry.Blob["stream"] =>
    isSmall(response)
      ? Stream.fromEffect(Effect.map(readUpTo(call, response, smallBody), ({ bytes }) => bytes))
      : Stream.unwrap(Effect.map(UploadBody.IdleTimeout, (duration) =>
        response.stream.pipe(
          Stream.catchIf(isBodiless, () => Stream.empty),
          Stream.mapError(transport(call)),
          keepsTime
            ? identity
            : Stream.timeoutOrElse({ duration, orElse: () => Stream.fail(tooLate(call, "body", duration)) })
        )))

  const readError = (call: Call, response: HttpClientResponse.HttpClientResponse) =>
    readUpTo(call, response, smallBody, false).pipe(
      Effect.flatMap(({ bytes }) =>
        Encoding.document({ bytes, headers: response.headers }, smallBody, (reason) => error(call, reason))
      ),
      Effect.orElseSucceed(() => new Uint8Array())
    )

  const judge = Effect.fnUntraced(
    function*(call: Call, { body, isKnown, response }: Answered, expected: ReadonlyArray<number>) {
      yield* noteWarnings(response.headers)
      if (expected.includes(response.status)) return response
      const read = body ?? (yield* readError(call, response))
      for (const secret of secretsIn(response.request.url)) secrets.add(secret)
      const said = ErrorBody.parse(response.headers["content-type"], read)
      if (registry.protocol === "http:" && response.status === 400 && isOwn(response.request)) {
        // an answer to HEAD has no text
        const isTls = expectsTls.test(said.text ?? "") || !hasAnswered && read.length === 0 && (yield* speaksTls)
        if (isTls) return yield* error(call, new RegistryError.SchemeMismatch({ used: "http" }))
      }
      const text = said.text === undefined ? {} : { text: secrets.strike(said.text) }
      return yield* error(call, yield* ErrorResponse.reasonOf(call.target, response, { ...said, ...text }, isKnown))
    }
  )

  const receive = Effect.fnUntraced(
    function*(call: Call, response: HttpClientResponse.HttpClientResponse, limit: number) {
      const { bytes, complete } = isEmpty(response) ? yield* nothing : yield* readUpTo(call, response, limit)
      if (!complete) return yield* error(call, new RegistryError.ContentTooLarge({ limit }))
      return { status: response.status, headers: response.headers, url: response.request.url, bytes }
    }
  )

  // -- requests -------------------------------------------------------------------------------------------------------

  /** Waits for a permit, which does not count as time of the operation, and for the end of a pause, which does. */
  const permit = Effect.fnUntraced(function*(call: Call) {
    const clock = yield* Clock.Clock
    const progress = yield* Retries.Progress
    const before = clock.currentTimeMillisUnsafe()
    yield* Limiter.permit(limiter)
    if (progress !== undefined) progress.since += clock.currentTimeMillisUnsafe() - before
    // by the time that there is a permit, there may be a pause
    yield* pauses.over((now) => progress === undefined ? Infinity : Retries.leftOf(progress, now)).pipe(
      Effect.mapError((retryAfter) => error(call, new RegistryError.TooManyRequests({ retryAfter })))
    )
    // also if what follows is not to be interrupted
  }, Effect.interruptible)

  /** Is about to send a request: not to where a registry must not lead us. */
  const leave = Effect.fnUntraced(function*(call: Call, request: HttpClientRequest.HttpClientRequest) {
    if (!isOwn(request)) {
      const url = new URL(request.url)
      const objection = yield* AddressPolicy.objection(registry, url)
      if (objection !== undefined) {
        const detail = `it leads to ${AddressPolicy.place(url)}: ${objection}`
        return yield* error(call, new RegistryError.UnexpectedResponse({ detail }))
      }
    }
    yield* Metrics.tell({ _tag: "Requested", registry: name, method: request.method })
  })

  /** Returns how long to wait for the headers: no longer than the operation may, unless the wait has a longer limit. */
  const patienceOf = Effect.gen(function*() {
    const duration = yield* HeadersTimeout
    const progress = yield* Retries.Progress
    if (progress === undefined || Duration.toMillis(duration) > progress.limit) return duration
    const left = Retries.leftOf(progress, yield* Clock.currentTimeMillis)
    return Duration.min(duration, Duration.millis(Math.max(0, Math.round(left))))
  })

  /** Sends a request through the client. The transport receives the registry if that has led to the address. */
  const execute = <R>(by: Client<R>, request: HttpClientRequest.HttpClientRequest) =>
    isOwn(request) ? by.execute(request) : AddressPolicy.led(registry)(by.execute(request))

  const answered = Effect.fnUntraced(function*(
    note: (outcome: "answered" | "refused") => Effect.Effect<void>,
    response: HttpClientResponse.HttpClientResponse
  ) {
    if (!isOwn(response.request)) return
    // with 400, servers refuse plain HTTP at a port for TLS
    if (response.status !== 400) hasAnswered = true
    yield* note(isRefusal(response) ? "refused" : "answered")
  })

  const exchange = <R>(by: Client<R>, call: Call) =>
    Effect.fnUntraced(function*(request: HttpClientRequest.HttpClientRequest) {
      yield* leave(call, request)
      const duration = yield* patienceOf
      const note = yield* limiter.begin
      const response = yield* execute(by, request).pipe(
        Effect.catch(unanswered(call, request)),
        keepsTime && Duration.Equivalence(duration, yield* HeadersTimeout)
          ? identity
          : Effect.timeoutOrElse({ duration, orElse: () => Effect.fail(tooLate(call, "headers", duration)) }),
        Spans.traced(request)
      )
      yield* answered(note, response)
      const { body } = request
      // of a blob, or of a part of one, in one piece
      if (body._tag === "Uint8Array" && body.contentType === MediaType.octetStream) {
        yield* Metrics.moved("push", name, body.contentLength)
      }
      return response
    })

  /** Asks for the body as it is, because it is hashed; and for that of another host, if this is a mirror. */
  const forReading = (request: HttpClientRequest.HttpClientRequest) => {
    if (request.method !== "GET" && request.method !== "HEAD") return request
    const plain = HttpClientRequest.setHeader(request, "accept-encoding", "identity")
    return mirrorOf === undefined
      ? plain
      : HttpClientRequest.setUrl(plain, withParameters(plain.url, [["ns", mirrorOf]]))
  }

  /** Sends a request, and again for as long as the registry asks who we are and there is something to answer. */
  const converse = Effect.fnUntraced(function*<R>(
    by: Client<R>,
    call: Call,
    request: HttpClientRequest.HttpClientRequest
  ) {
    const follow = (request: HttpClientRequest.HttpClientRequest) => Redirects.follow(exchange(by, call), request)
    const conversation = begin(call, forReading(request))
    let response = yield* follow(yield* conversation.opening)
    while (response.status === 401 && isOwn(response.request)) {
      // before anything else is asked: a connection that is not read to its end may be the only one
      const body = yield* readError(call, response)
      const next = yield* conversation.reply(response.headers["www-authenticate"])
      if (next === undefined) return { response, body, isKnown: conversation.isKnown() }
      response = yield* follow(next)
    }
    return { response, isKnown: false }
  })

  const send: Connection["send"] = Effect.fnUntraced(function*(call, request, expected, limit = smallBody) {
    yield* permit(call)
    const response = yield* judge(call, yield* converse(client, call, request), expected)
    return yield* receive(call, response, limit)
  }, Effect.scoped)

  /** Returns true if the answer to HEAD may be a refusal of the method alone. */
  const isRefusedHead = ({ headers, request, status }: HttpClientResponse.HttpClientResponse): boolean =>
    status >= 400 && !isOwn(request) || status === 400 || status === 403 || status === 405 ||
    status === 401 && headers["www-authenticate"] === undefined

  const head: Connection["head"] = Effect.fnUntraced(function*(call, request) {
    yield* permit(call)
    let last: HttpClientRequest.HttpClientRequest = request
    const watched = HttpClient.tapRequest(client, (next) =>
      Effect.sync(() => {
        last = next
      }))
    const conversed = yield* Effect.result(converse(watched, call, request))
    if (conversed._tag === "Failure") {
      return isOwn(last) ? yield* conversed.failure : Result.fail(conversed.failure)
    }
    const judged = yield* Effect.result(judge(call, conversed.success, [200]))
    if (judged._tag === "Success") return Result.succeed(yield* receive(call, judged.success, smallBody))
    return isRefusedHead(conversed.success.response) ? Result.fail(judged.failure) : yield* judged.failure
  }, Effect.scoped)

  /** Sends a body as one piece. */
  const uploadWhole = Effect.fnUntraced(function*(
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    bytes: Uint8Array,
    expected: ReadonlyArray<number>
  ) {
    const whole = HttpClientRequest.bodyUint8Array(request, bytes, MediaType.octetStream)
    const received = yield* Effect.provideService(
      send(call, whole, expected),
      HeadersTimeout,
      yield* UploadBody.CommitTimeout
    )
    return { ...received, sent: bytes.length }
  })

  return {
    name,
    limiter,
    pauses,
    capabilities,
    learn: (news) => Ref.update(capabilities, (known) => ({ ...known, ...news, ...options.capabilities })),
    url: (path) => origin + path,
    locate: (address = "", base) =>
      address !== "" && URL.canParse(address, base) ? atHome(registry, resolve(address, base)) : undefined,
    error,
    warn: (text) => Metrics.tell({ _tag: "Warning", registry: name, text: secrets.strike(text) }),
    send,
    head,
    open: Effect.fnUntraced(function*(call, request, expected) {
      // what a blob holds is let go of at its end, also where the scope stays open
      const own = yield* EffectScope.fork(yield* Effect.scope)
      const response = yield* permit(call).pipe(
        Effect.andThen(converse(HttpClient.withScope(client), call, request)),
        Effect.flatMap((answered) => judge(call, answered, expected)),
        EffectScope.provide(own),
        Effect.onError(() => EffectScope.close(own, Exit.void))
      )
      const { headers, status } = response
      let count = 0
      const stream = bodyOf(call, response).pipe(
        Stream.mapArray((chunks) => {
          for (const { length } of chunks) count += length
          return chunks
        }),
        Stream.ensuring(
          Effect.suspend(() => Effect.andThen(Metrics.moved("pull", name, count), EffectScope.close(own, Exit.void)))
        )
      )
      return { headers, status, stream }
    }),
    prepare: (call, request) => Effect.asVoid(begin(call, request).opening),
    upload: Effect.fnUntraced(function*<E>(
      call: Call,
      request: HttpClientRequest.HttpClientRequest,
      chunk: Chunk<E>,
      expected: ReadonlyArray<number>
    ) {
      const stream = chunk.size === undefined || chunk.size > smallBody
        ? chunk.stream
        : yield* UploadBody.open((reason) => error(call, reason), chunk.size, chunk.stream)
      if (!Stream.isStream(stream)) return yield* uploadWhole(call, request, stream, expected)
      yield* permit(call)
      const conversation = begin(call, request)
      const authorized = yield* conversation.opening
      const body = yield* UploadBody.watch((reason) => error(call, reason), { ...chunk, stream })
      const withBody = HttpClientRequest.bodyStream(authorized, body.stream, {
        contentType: MediaType.octetStream,
        ...chunk.size === undefined ? {} : { contentLength: chunk.size }
      })
      yield* leave(call, withBody)
      const note = yield* limiter.begin
      const response = yield* execute(client, withBody).pipe(
        Effect.catch(unanswered(call, withBody)),
        Effect.raceFirst(body.overdue),
        // the stream of a body loses its errors on the way through the client
        Effect.catch((failure) => Effect.flatMap(body.failure, (own) => Effect.fail(own ?? failure))),
        Effect.ensuring(Effect.suspend(() => Metrics.moved("push", name, body.sent()))),
        Spans.traced(withBody)
      )
      yield* answered(note, response)
      // the body is gone: who can send it again does so, and finds another token
      if (response.status === 401) yield* conversation.heed(response.headers["www-authenticate"])
      const judged = yield* judge(call, { response, isKnown: false }, expected)
      return { ...yield* receive(call, judged, smallBody), sent: body.sent() }
    }, Effect.scoped)
  }
})
