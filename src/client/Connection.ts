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
import type * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { SizeMismatch } from "../Hasher.ts"
import type { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
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
    Scope.Scope
  >
  /** Sends a request with a chunk of a blob as its body. The errors of the chunk's stream come out as they are. */
  readonly upload: <E>(
    call: Call,
    request: HttpClientRequest.HttpClientRequest,
    chunk: Registry.Chunk<E>,
    expected: ReadonlyArray<number>
  ) => Effect.Effect<Received & { readonly sent: number }, RegistryError.RegistryError | E>
}

// of answers that are read only to free their connection, or for their error document
const smallBody = 64 * 1024

const redirectLimit = 10

// spans end at our door: what they are called is nothing to third parties
const untraced = Effect.provideService(HttpClient.TracerPropagationEnabled, false)

export const make = Effect.fnUntraced(function*(options: {
  readonly name: string
  readonly origin: string
  readonly credentials?: { readonly username: string; readonly password: Redacted.Redacted }
  readonly transformClient?: (client: HttpClient.HttpClient) => HttpClient.HttpClient
}): Effect.fn.Return<Connection, never, HttpClient.HttpClient> {
  const { credentials, name, origin, transformClient } = options
  const environment = yield* HttpClient.HttpClient
  const client = transformClient === undefined ? environment : transformClient(environment)
  const following = HttpClient.followRedirects(client, redirectLimit)
  const capabilities = yield* Ref.make<Registry.Capabilities>({})
  const warned = new Set<string>()

  const error: Connection["error"] = ({ operation, repository }, reason) =>
    new RegistryError.RegistryError({
      operation,
      registry: name,
      ...repository === undefined ? {} : { repository },
      reason
    })
  const transport = (call: Call) => (cause: HttpClientError.HttpClientError) => error(call, Answer.transport(cause))

  const authorize = (request: HttpClientRequest.HttpClientRequest) =>
    credentials === undefined || new URL(request.url).origin !== new URL(origin).origin
      ? request
      : HttpClientRequest.basicAuth(request, credentials.username, credentials.password)

  const noteWarnings = Effect.fnUntraced(function*(headers: Headers.Headers) {
    const observe = yield* Registry.Observer
    for (const [, text] of (headers["warning"] ?? "").matchAll(/299 - "((?:[^"\\]|\\.)*)"/g)) {
      if (text === undefined || warned.has(text)) continue
      warned.add(text)
      yield* observe({ _tag: "Warning", registry: name, text: Answer.printable(text.replaceAll(/\\(.)/g, "$1")) })
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

  const judge = Effect.fnUntraced(
    function*(call: Call, response: HttpClientResponse.HttpClientResponse, expected: ReadonlyArray<number>) {
      yield* noteWarnings(response.headers)
      if (expected.includes(response.status)) return response
      const body = yield* Effect.orElseSucceed(
        readUpTo(call, response, smallBody),
        () => ({ bytes: new Uint8Array() })
      )
      return yield* error(call, yield* Answer.reasonOf(call.target, response, body.bytes))
    }
  )

  const execute = <R>(
    by: HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>,
    call: Call,
    request: HttpClientRequest.HttpClientRequest
  ) =>
    Effect.flatMap(HeadersTimeout, (duration) =>
      by.execute(authorize(request)).pipe(
        untraced,
        Effect.mapError(transport(call)),
        Effect.timeoutOrElse({
          duration,
          orElse: () => Effect.fail(error(call, new RegistryError.Timeout({ phase: "headers", after: duration })))
        })
      ))

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
      const response = yield* judge(call, yield* execute(following, call, request), expected)
      return yield* receive(call, response, limit)
    }),
    open: Effect.fnUntraced(function*(call, request, expected) {
      // each hop in the scope: outside of the redirects, it would let go of the first only
      const scoped = HttpClient.followRedirects(HttpClient.withScope(client), redirectLimit)
      const response = yield* judge(call, yield* execute(scoped, call, request), expected)
      return { headers: response.headers, status: response.status, stream: idleLimited(call, response.stream) }
    }),
    upload: Effect.fnUntraced(function*<E>(
      call: Call,
      request: HttpClientRequest.HttpClientRequest,
      chunk: Registry.Chunk<E>,
      expected: ReadonlyArray<number>
    ) {
      const body = yield* watch(call, error, chunk)
      const withBody = HttpClientRequest.bodyStream(authorize(request), body.stream, {
        contentType: "application/octet-stream",
        ...chunk.size === undefined ? {} : { contentLength: chunk.size }
      })
      const response = yield* client.execute(withBody).pipe(
        untraced,
        Effect.mapError(transport(call)),
        Effect.raceFirst(body.overdue),
        // the stream of a body loses its errors on the way through the client
        Effect.catch((failure) => Effect.flatMap(body.failure, (own) => Effect.fail(own ?? failure)))
      )
      const judged = yield* judge(call, response, expected)
      return { ...yield* receive(call, judged, smallBody), sent: body.sent() }
    })
  }
})

/**
 * Keeps an eye on a body while it is sent: its own errors, its length, and how long the other side lets it wait. Waiting
 * for the source is the source's affair.
 */
const watch = Effect.fnUntraced(function*<E>(call: Call, error: Connection["error"], chunk: Registry.Chunk<E>) {
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
