/**
 * Bodies of responses: read up to a limit, or streamed, with an idle timeout.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as Headers from "effect/http/Headers"
import type * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Stream from "effect/Stream"
import * as OnePiece from "../OnePiece.ts"
import * as RegistryError from "../RegistryError.ts"
import * as Retries from "../Retries.ts"
import { overdue } from "./Deadline.ts"
import * as Direct from "./Direct.ts"
import { keepsTime } from "./TimedOut.ts"
import * as TransportFailure from "./TransportFailure.ts"

/**
 * Maximum time without progress of a body, in either direction.
 *
 * @default 60 seconds
 * @category references
 * @since 0.1.0
 */
export const IdleTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/HttpRegistry/IdleTimeout",
  { defaultValue: () => Duration.seconds(60) }
)

/** Expected size of the body of a response, in bytes, if it is known before the request is sent. */
export const ExpectedSize: Context.Reference<number> = Context.Reference<number>("effect-oci/http/ExpectedSize", {
  defaultValue: () => 0
})

/** Expected size from which a body is received in the way that is made for large bodies, in bytes. */
export const LargeSize: Context.Reference<number> = Context.Reference<number>("effect-oci/http/LargeSize", {
  defaultValue: () => 1024 * 1024
})

/**
 * Size up to which a body is read in one piece, in bytes: small blobs, error documents, and responses that are read
 * only to free their connection.
 */
export const smallSize = 64 * 1024

/** A body that was read, or the beginning of one. */
export interface Body {
  readonly bytes: Uint8Array
  /** True if the body does not exceed the limit. */
  readonly isComplete: boolean
}

/** Returns the number of bytes in a header, if it has one. */
export const naturalHeader = (value: string | undefined): number | undefined =>
  value !== undefined && /^[0-9]{1,15}$/.test(value.trim()) ? Number(value) : undefined

/** Returns true if a response has no body. */
const isEmpty = ({ headers, request, status }: HttpClientResponse.HttpClientResponse): boolean =>
  request.method === "HEAD" || status === 204 || headers["content-length"] === "0"

/** Returns true if a response declares a body that fits in one piece, without a content coding. */
const isSmall = ({ headers }: { readonly headers: Headers.Headers }): boolean =>
  headers["content-encoding"] === undefined && (naturalHeader(headers["content-length"]) ?? Infinity) <= smallSize

// over fetch, a response without a body has no stream
const isBodiless = ({ reason }: HttpClientError.HttpClientError): boolean => reason._tag === "EmptyBodyError"

// a connection is free for the next request only after the turn in which the response ended
const freed = Effect.yieldNow

const nothing: Effect.Effect<Body> = Effect.as(freed, { bytes: new Uint8Array(), isComplete: true })

/** Reads a body up to a limit. The idle timeout and the progress of the operation start again at each chunk, or not. */
const readStream = Effect.fnUntraced(function*(
  response: HttpClientResponse.HttpClientResponse,
  limit: number,
  isProgress: boolean
): Effect.fn.Return<Body, RegistryError.Reason> {
  const duration = yield* IdleTimeout
  const progress = yield* Retries.Progress
  const clock = yield* Clock.Clock
  let size = 0
  let since = clock.currentTimeMillisUnsafe()
  const reading = response.stream.pipe(
    Stream.takeUntil((chunk) => {
      if (isProgress) since = clock.currentTimeMillisUnsafe()
      if (isProgress && progress !== undefined) progress.since = since
      return (size += chunk.length) > limit
    }),
    Stream.mkUint8Array
  )
  const whole = reading.pipe(
    Effect.catchIf(isBodiless, () => Effect.succeed(new Uint8Array())),
    Effect.mapError(TransportFailure.transport)
  )
  const late = overdue(
    () => since + Duration.toMillis(duration) - clock.currentTimeMillisUnsafe(),
    () => new RegistryError.Timeout({ phase: "body", after: duration })
  )
  const bytes = yield* isProgress && (keepsTime(response.request) || Direct.isDirect(response))
    ? whole
    : Effect.raceFirst(whole, late)
  yield* freed
  return { bytes, isComplete: size <= limit }
})

/** Reads a small body that comes directly from the transport, which keeps the idle timeout. */
const readDirect = (response: Direct.Response): Effect.Effect<Body, RegistryError.Reason> =>
  Effect.withFiber((fiber) =>
    Effect.matchEffect(response.whole, {
      onFailure: (error) => Effect.fail(TransportFailure.transport(error)),
      onSuccess: (bytes) => {
        const progress = fiber.getRef(Retries.Progress)
        if (progress !== undefined) progress.since = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
        return Effect.succeed({ bytes, isComplete: true })
      }
    })
  )

const nothingDirect: Effect.Effect<Body> = Effect.succeed({ bytes: new Uint8Array(), isComplete: true })

/** Reads a body, and stops after the chunk that exceeds `limit` bytes. It may take any time while bytes arrive. */
export const read = (
  response: HttpClientResponse.HttpClientResponse,
  limit: number
): Effect.Effect<Body, RegistryError.Reason> => {
  const isDirect = Direct.isDirect(response)
  if (isEmpty(response)) return isDirect ? nothingDirect : nothing
  return isDirect && isSmall(response) && limit >= smallSize ? readDirect(response) : readStream(response, limit, true)
}

/** Reads the body of an error response, within the idle timeout as a whole. */
export const readError = (
  response: HttpClientResponse.HttpClientResponse
): Effect.Effect<Body, RegistryError.Reason> => readStream(response, smallSize, false)

/** Streams a body as it arrives. */
export const chunks = (
  response: HttpClientResponse.HttpClientResponse
): Stream.Stream<Uint8Array, RegistryError.Reason> =>
  Stream.unwrap(Effect.map(IdleTimeout, (duration) =>
    response.stream.pipe(
      Stream.catchIf(isBodiless, () => Stream.empty),
      Stream.mapError(TransportFailure.transport),
      keepsTime(response.request) || Direct.isDirect(response)
        ? identity
        : Stream.timeoutOrElse({
          duration,
          orElse: () => Stream.fail(new RegistryError.Timeout({ phase: "body", after: duration }))
        })
    )))

/** Streams a body. A small one comes in one piece. */
export const stream = (
  response: HttpClientResponse.HttpClientResponse
): Stream.Stream<Uint8Array, RegistryError.Reason> =>
  isSmall(response) ? OnePiece.make(Effect.map(read(response, smallSize), ({ bytes }) => bytes)) : chunks(response)
