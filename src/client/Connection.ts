/**
 * The way to one registry over HTTP: sends requests, follows redirects, says who we are to that registry and to nobody
 * else, waits no longer than allowed, reads no more than allowed, and turns what went wrong into `RegistryError`s.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Ref from "effect/Ref"
import type { Scope as EffectScope } from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Credentials } from "../auth/Credentials.ts"
import * as NoAnswer from "../auth/NoAnswer.ts"
import * as Scope from "../auth/Scope.ts"
import * as Tokens from "../auth/Tokens.ts"
import { SizeMismatch } from "../Hasher.ts"
import type { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import type { Chunk } from "../Upload.ts"
import * as Answer from "./Answer.ts"

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

/**
 * How long a body may stand still, in either direction.
 *
 * @default 60 seconds
 * @category references
 * @since 0.1.0
 */
export const IdleTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/HttpRegistry/IdleTimeout",
  { defaultValue: () => Duration.seconds(60) }
)

/**
 * How long a registry may take to store a blob after its last byte.
 *
 * @default 15 minutes
 * @category references
 * @since 0.1.0
 */
export const CommitTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/HttpRegistry/CommitTimeout",
  { defaultValue: () => Duration.minutes(15) }
)

/** What is being done, for errors. */
export interface Call {
  readonly operation: string
  readonly repository?: Repository
  /** Another repository that has to be read for it. */
  readonly from?: Repository
  readonly target: Answer.Target
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
  readonly capabilities: Ref.Ref<Registry.Capabilities>
  readonly learn: (capabilities: Registry.Capabilities) => Effect.Effect<void>
  /** The URL of a path such as `/v2/`. */
  readonly url: (path: string) => string
  readonly error: (call: Call, reason: RegistryError.Reason) => RegistryError.RegistryError
  /**
   * Sends a request and reads the answer, of at most `limit` bytes. Any status but the expected ones is an error.
   */
  readonly send: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    expected: ReadonlyArray<number>,
    limit?: number
  ) => Effect.Effect<Received, RegistryError.RegistryError>
  /** Sends a request, and leaves the body of the answer to be streamed while the scope is open. */
  readonly open: (
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    expected: ReadonlyArray<number>
  ) => Effect.Effect<
    { readonly headers: Headers.Headers; readonly status: number; readonly stream: Registry.Blob["stream"] },
    RegistryError.RegistryError,
    EffectScope
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

// of answers that are read only to free their connection, or for their error document
const smallBody = 64 * 1024

const redirectLimit = 10

/** What a request needs to be allowed, as registries see it: by its method and repositories. */
const scopeOf = ({ from, operation, repository }: Call, { method }: HttpClientRequest.HttpClientRequest) => {
  if (repository === undefined) return operation === "repositories" ? Scope.catalog : Scope.empty
  if (method === "GET" || method === "HEAD") return Scope.repository(repository, "pull")
  // giving up an upload is part of pushing, though some registries think otherwise, and say so
  if (method === "DELETE" && operation !== "cancel") return Scope.repository(repository, "delete")
  const push = Scope.repository(repository, "pull", "push")
  return from === undefined ? push : Scope.union(push, Scope.repository(from, "pull"))
}

// spans end at our door: what they are called is nothing to third parties
const untraced = Effect.provideService(HttpClient.TracerPropagationEnabled, false)

export const make = Effect.fnUntraced(function*(options: {
  readonly name: string
  readonly origin: string
  readonly credentials: Credentials["Service"]
  readonly transformClient?: (client: HttpClient.HttpClient) => HttpClient.HttpClient
}): Effect.fn.Return<Connection, never, HttpClient.HttpClient> {
  const { credentials, name, origin, transformClient } = options
  const environment = yield* HttpClient.HttpClient
  const client = transformClient === undefined ? environment : transformClient(environment)
  const following = HttpClient.followRedirects(client, redirectLimit)
  const capabilities = yield* Ref.make<Registry.Capabilities>({})
  const warned = new Set<string>()
  const registry = new URL(origin)
  const tokens = yield* Tokens.make({ host: name, registry, client, credentials })

  const error: Connection["error"] = ({ operation, repository }, reason) =>
    new RegistryError.RegistryError({
      operation,
      registry: name,
      ...repository === undefined ? {} : { repository },
      reason
    })
  const transport = (call: Call) => (cause: HttpClientError.HttpClientError) => error(call, NoAnswer.transport(cause))

  const isOwn = ({ url }: { readonly url: string }) => new URL(url).origin === registry.origin

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

  const noteWarnings = Effect.fnUntraced(function*(headers: Headers.Headers) {
    const observe = yield* Registry.Observer
    for (const [, text] of (headers["warning"] ?? "").matchAll(/299 - "((?:[^"\\]|\\.)*)"/g)) {
      if (text === undefined || warned.has(text)) continue
      warned.add(text)
      yield* observe({ _tag: "Warning", registry: name, text: NoAnswer.printable(text.replaceAll(/\\(.)/g, "$1")) })
    }
  })

  const readUpTo = Effect.fnUntraced(
    function*(call: Call, response: HttpClientResponse.HttpClientResponse, limit: number) {
      let size = 0
      const bytes = yield* idleLimited(call, response.stream).pipe(
        Stream.takeUntil((chunk) => (size += chunk.length) > limit),
        Stream.mkUint8Array
      )
      return { bytes, complete: size <= limit }
    }
  )

  const idleLimited = (
    call: Call,
    stream: Stream.Stream<Uint8Array, HttpClientError.HttpClientError>
  ): Registry.Blob["stream"] =>
    Stream.unwrap(Effect.map(IdleTimeout, (duration) =>
      stream.pipe(
        // where fetch is below, an answer without a body has no stream
        Stream.catchIf(({ reason }) => reason._tag === "EmptyBodyError", () => Stream.empty),
        Stream.mapError(transport(call)),
        Stream.timeoutOrElse({
          duration,
          orElse: () => Stream.fail(error(call, new RegistryError.Timeout({ phase: "body", after: duration })))
        })
      )))

  const readError = (call: Call, response: HttpClientResponse.HttpClientResponse) =>
    Effect.match(readUpTo(call, response, smallBody), {
      onFailure: () => new Uint8Array(),
      onSuccess: ({ bytes }) => bytes
    })

  const judge = Effect.fnUntraced(
    function*(call: Call, { body, isKnown, response }: Answered, expected: ReadonlyArray<number>) {
      yield* noteWarnings(response.headers)
      if (expected.includes(response.status)) return response
      const read = body ?? (yield* readError(call, response))
      return yield* error(call, yield* Answer.reasonOf(call.target, response, read, isKnown))
    }
  )

  const requested = ({ method }: HttpClientRequest.HttpClientRequest) =>
    Effect.flatMap(Registry.Observer, (observe) => observe({ _tag: "Requested", registry: name, method }))

  const execute = <R>(
    by: HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>,
    call: Call,
    request: HttpClientRequest.HttpClientRequest
  ) =>
    Effect.gen(function*() {
      const duration = yield* HeadersTimeout
      yield* requested(request)
      return yield* by.execute(request).pipe(
        untraced,
        Effect.mapError(transport(call)),
        Effect.timeoutOrElse({
          duration,
          orElse: () => Effect.fail(error(call, new RegistryError.Timeout({ phase: "headers", after: duration })))
        })
      )
    })

  /** Sends a request, and again for as long as the registry asks who we are and there is something to answer. */
  const converse = Effect.fnUntraced(function*<R>(
    by: HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>,
    call: Call,
    request: HttpClientRequest.HttpClientRequest
  ) {
    const conversation = begin(call, request)
    let response = yield* execute(by, call, yield* conversation.opening)
    while (response.status === 401 && isOwn(response.request)) {
      // before anything else is asked: a connection that is not read to its end may be the only one
      const body = yield* readError(call, response)
      const next = yield* conversation.reply(response.headers["www-authenticate"])
      if (next === undefined) return { response, body, isKnown: conversation.isKnown() }
      response = yield* execute(by, call, next)
    }
    return { response, isKnown: false }
  })

  const receive = Effect.fnUntraced(
    function*(call: Call, response: HttpClientResponse.HttpClientResponse, limit: number) {
      const { bytes, complete } = yield* readUpTo(call, response, limit)
      if (!complete) return yield* error(call, new RegistryError.ContentTooLarge({ limit }))
      return { status: response.status, headers: response.headers, url: response.request.url, bytes }
    }
  )

  return {
    name,
    capabilities,
    learn: (news) => Ref.update(capabilities, (known) => ({ ...known, ...news })),
    url: (path) => origin + path,
    error,
    send: Effect.fnUntraced(function*(call, request, expected, limit = smallBody) {
      const response = yield* judge(call, yield* converse(following, call, request), expected)
      return yield* receive(call, response, limit)
    }),
    open: Effect.fnUntraced(function*(call, request, expected) {
      // each hop in the scope: outside of the redirects, it would let go of the first only
      const scoped = HttpClient.followRedirects(HttpClient.withScope(client), redirectLimit)
      const response = yield* judge(call, yield* converse(scoped, call, request), expected)
      return { headers: response.headers, status: response.status, stream: idleLimited(call, response.stream) }
    }),
    prepare: (call, request) => Effect.asVoid(begin(call, request).opening),
    upload: Effect.fnUntraced(function*<E>(
      call: Call,
      request: HttpClientRequest.HttpClientRequest,
      chunk: Chunk<E>,
      expected: ReadonlyArray<number>
    ) {
      const conversation = begin(call, request)
      const authorized = yield* conversation.opening
      const body = yield* watch(call, error, chunk)
      const withBody = HttpClientRequest.bodyStream(authorized, body.stream, {
        contentType: "application/octet-stream",
        ...chunk.size === undefined ? {} : { contentLength: chunk.size }
      })
      yield* requested(withBody)
      const response = yield* client.execute(withBody).pipe(
        untraced,
        Effect.mapError(transport(call)),
        Effect.raceFirst(body.overdue),
        // the stream of a body loses its errors on the way through the client
        Effect.catch((failure) => Effect.flatMap(body.failure, (own) => Effect.fail(own ?? failure)))
      )
      // the body is gone: who can send it again does so, and finds another token
      if (response.status === 401) yield* conversation.heed(response.headers["www-authenticate"])
      const judged = yield* judge(call, { response, isKnown: false }, expected)
      return { ...yield* receive(call, judged, smallBody), sent: body.sent() }
    })
  }
})

/**
 * Keeps an eye on a body while it is sent: its own errors, its length, and how long the other side lets it wait. Waiting
 * for the source is the source's affair.
 */
const watch = Effect.fnUntraced(function*<E>(call: Call, error: Connection["error"], chunk: Chunk<E>) {
  const idle = yield* IdleTimeout
  const commit = yield* CommitTimeout
  const clock = yield* Clock.Clock
  let failure: E | RegistryError.RegistryError | undefined
  let sent = 0
  let since: number | undefined = clock.currentTimeMillisUnsafe()
  let phase: "body" | "commit" = "body"

  const count = (chunks: ReadonlyArray<Uint8Array>) => {
    for (const { length } of chunks) sent += length
    return chunk.size !== undefined && sent > chunk.size ? wrongSize(chunk.size) : Effect.void
  }
  const end = Effect.suspend(() =>
    chunk.size !== undefined && sent !== chunk.size ? wrongSize(chunk.size) : Effect.void
  )
  const wrongSize = (size: number) => Effect.fail(error(call, new SizeMismatch({ expected: size, actual: sent })))

  // a client may send a body again, from its beginning
  const counted: Stream.Stream<Uint8Array, E | RegistryError.RegistryError> = Stream.suspend(() => {
    sent = 0
    failure = undefined
    phase = "body"
    return chunk.stream.pipe(
      Stream.mapArrayEffect((chunks) => Effect.as(count(chunks), chunks)),
      Stream.concat(Stream.fromEffectDrain(end)),
      Stream.tapError((own) =>
        Effect.sync(() => {
          failure = own
        })
      )
    )
  })
  const stream = Stream.transformPull(counted, (pull) =>
    Effect.succeed(Effect.suspend(() => {
      since = undefined
      return Effect.onExit(pull, (exit) =>
        Effect.sync(() => {
          since = clock.currentTimeMillisUnsafe()
          if (exit._tag === "Failure") phase = "commit"
        }))
    })))

  const overdue: Effect.Effect<never, RegistryError.RegistryError> = Effect.suspend(() => {
    const after = phase === "body" ? idle : commit
    const waited = since === undefined ? 0 : clock.currentTimeMillisUnsafe() - since
    const left = Duration.toMillis(after) - waited
    return left > 0
      ? Effect.andThen(Effect.sleep(left), overdue)
      : Effect.fail(error(call, new RegistryError.Timeout({ phase, after })))
  })
  return { stream, overdue, failure: Effect.sync(() => failure), sent: () => sent }
})
