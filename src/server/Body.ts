/**
 * Bodies of requests and responses as streams.
 *
 * The server receives the body of a request as soon as it is opened, up to a bounded number of chunks ahead of the
 * reader, so that bytes which arrived before a connection broke can still be read. The body fails with a refusal if it
 * breaks, is idle for too long, or has a wrong length.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpBody from "effect/http/HttpBody"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { IdleWatch } from "./IdleWatch.ts"
import type { Visit } from "./Limits.ts"
import * as Refusal from "./Refusal.ts"

export interface Body {
  /** Bytes of the body. The stream can be read once. */
  readonly stream: Stream.Stream<Uint8Array, Refusal.Refusal>
  /** Ends the body: the reader receives the bytes so far, and then this refusal. */
  readonly breakOff: (because: Refusal.Refusal) => void
  /** Returns true if the body ended before it was complete. */
  readonly isBroken: () => boolean
}

/** Maximum number of chunks that are received ahead of the reader. A socket delivers at most 64 KiB at a time. */
const chunksAhead = 16

/** Time in which the received bytes are stored after a request was interrupted. */
const storeTimeout = "1 second"

const broken = () => Refusal.make(400, "BLOB_UPLOAD_INVALID", "the body of the request ended early")

// closes the connection, because an idle client would keep it open
const timedOut = () =>
  Refusal.make(408, undefined, "the body of the request arrived too slowly", { connection: "close" })

export const tooLarge = (limit: number): Refusal.Refusal =>
  Refusal.make(413, "SIZE_INVALID", `at most ${limit} bytes are accepted`)

const wrongLength = (expected: number, actual: number) =>
  Refusal.make(
    400,
    "SIZE_INVALID",
    actual < expected
      ? `only ${actual} of ${expected} bytes arrived`
      : `more than the announced ${expected} bytes arrived`
  )

/** Returns the length that the client announces, in bytes. Node enforces it: a longer or shorter body is an error. */
export const lengthOf = ({ headers }: HttpServerRequest.HttpServerRequest): number | undefined => {
  const length = headers["content-length"]
  return length === undefined ? headers["transfer-encoding"] === undefined ? 0 : undefined : Number(length)
}

/** Average size of chunks below which they are joined, in bytes. */
const smallChunk = 4 * 1024

/** Joins small chunks, because each chunk has a fixed cost. */
const joined = (chunks: ReadonlyArray<Uint8Array>, size: number): ReadonlyArray<Uint8Array> => {
  if (chunks.length === 1 || size >= chunks.length * smallChunk) return chunks
  const whole = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    whole.set(chunk, offset)
    offset += chunk.length
  }
  return [whole]
}

/** Receives the body of a request while the scope is open. */
export const open = Effect.fnUntraced(function*(
  idle: IdleWatch,
  request: HttpServerRequest.HttpServerRequest,
  options: {
    /** Maximum length, in bytes. */
    readonly limit: number
    /** Length that something other than HTTP announces, such as `Content-Range`, in bytes. */
    readonly length?: number | undefined
  }
): Effect.fn.Return<Body, never, Scope.Scope> {
  const { length, limit } = options
  const queue = yield* Queue.bounded<Uint8Array, Refusal.Refusal | Cause.Done>(chunksAhead)
  let isBroken = false
  const breakOff = (because: Refusal.Refusal) => {
    isBroken = true
    Queue.failCauseUnsafe(queue, Cause.fail(because))
  }
  const watched = yield* idle.watch(() => breakOff(timedOut()))
  let received = 0

  const receive = Effect.matchCauseEffect(
    Stream.runForEachArray(request.stream, (chunks) => {
      const before = received
      for (const chunk of chunks) received += chunk.length
      watched.proceed(received - before)
      if (received > limit) return Effect.fail(tooLarge(limit))
      if (length !== undefined && received > length) return Effect.fail(wrongLength(length, received))
      return Effect.map(Queue.offerAll(queue, joined(chunks, received - before)), watched.wait)
    }),
    {
      onSuccess: () =>
        length !== undefined && received < length
          ? Effect.sync(() => breakOff(wrongLength(length, received)))
          : Queue.end(queue),
      onFailure: (cause) =>
        Effect.sync(() => {
          const error = Cause.findError(cause)
          breakOff(error._tag === "Success" && error.success._tag === "Refusal" ? error.success : broken())
        })
    }
  )
  yield* Effect.forkScoped(Effect.ensuring(receive, Effect.sync(() => watched.proceed(0))), { startImmediately: true })
  return { stream: Stream.fromQueue(queue), breakOff, isBroken: () => isBroken }
})

/**
 * Returns a body whose pieces are valid until the reader asks for the next one. Their memory is freed then, instead of
 * being left to the garbage collector, which would have to run for every 32 MiB. The caller owns the pieces.
 */
export const lent = <E>(stream: Stream.Stream<Uint8Array, E>): Stream.Stream<Uint8Array, E> =>
  Stream.transformPull(stream, (pull) =>
    Effect.sync(() => {
      let last: ReadonlyArray<Uint8Array> = []
      return Effect.suspend(() => {
        for (const { buffer, byteLength } of last) {
          // a piece that shares its buffer with others is left alone
          if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0)
        }
        last = []
        return Effect.map(pull, (pieces) => {
          last = pieces
          return pieces
        })
      })
    }))

/**
 * Runs an effect that stores a body. If the request is interrupted, the body ends but the effect continues, so that the
 * bytes received so far are stored.
 */
export const store = <A, E, R>(body: Body, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkChild(effect, { startImmediately: true }),
      (fiber) =>
        Effect.onInterrupt(restore(Fiber.join(fiber)), () => {
          body.breakOff(broken())
          return Effect.andThen(Effect.timeoutOption(Fiber.await(fiber), storeTimeout), Fiber.interrupt(fiber))
        })
    )
  )

/**
 * Sizes of the parts in which a body is sent, in bytes. A slow client gets small parts, so that it takes one within the
 * idle timeout. A part is at least as large as the buffer of a connection, so that the next one is read after the
 * operating system has received all of it.
 */
const smallestPart = 64 * 1024
const largestPart = 512 * 1024

/** Time in which a client takes a part before it gets larger ones, in milliseconds. */
const quick = 250

/** Splits pieces into a part of at most `limit` bytes, and the rest. */
const split = (
  [first, ...others]: Arr.NonEmptyReadonlyArray<Uint8Array>,
  limit: number
): readonly [part: Arr.NonEmptyReadonlyArray<Uint8Array>, rest: ReadonlyArray<Uint8Array>] => {
  if (first.length > limit) return [[first.subarray(0, limit)], [first.subarray(limit), ...others]]
  let size = first.length
  const end = others.findIndex(({ length }) => (size += length) > limit)
  const count = end < 0 ? others.length : end
  return [[first, ...others.slice(0, count)], others.slice(count)]
}

/** Watches the body of a response. The connection of a client that does not take it in time is closed. */
export const answer = <E>(idle: IdleWatch, stream: Stream.Stream<Uint8Array, E>): Stream.Stream<Uint8Array, E> =>
  Stream.transformPull(stream, (pull, scope) =>
    Effect.withFiber((fiber) =>
      Effect.map(
        Scope.provide(idle.watch(() => fiber.interruptUnsafe()), scope),
        ({ proceed, wait }) => {
          let limit = smallestPart
          let taken = 0
          let rest: ReadonlyArray<Uint8Array> = []
          const next = (pieces: Arr.NonEmptyReadonlyArray<Uint8Array>) => {
            const [part, others] = split(pieces, limit)
            rest = others
            taken = part.reduce((sum, { length }) => sum + length, 0)
            wait()
            return part
          }
          return Effect.suspend(() => {
            const waited = proceed(taken)
            if (taken > 0) limit = waited < quick ? Math.min(2 * limit, largestPart) : smallestPart
            return Arr.isReadonlyArrayNonEmpty(rest) ? Effect.succeed(next(rest)) : Effect.map(pull, next)
          })
        }
      )
    ))

/**
 * Size above which a body in memory is watched, in bytes. Smaller ones fit in the buffers of a connection.
 */
const largeBody = 64 * 1024

function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += largeBody) yield bytes.subarray(offset, offset + largeBody)
}

/**
 * Returns a response whose body is counted while a client takes it, and is aborted if that takes too long. Bodies that
 * are streams are watched already, and do not grow.
 */
export const watched = (
  idle: IdleWatch,
  { hold }: Visit,
  response: HttpServerResponse.HttpServerResponse
): Effect.Effect<HttpServerResponse.HttpServerResponse, Refusal.Refusal, Scope.Scope> => {
  const { body } = response
  if (body._tag !== "Uint8Array" || body.contentLength <= largeBody) return Effect.succeed(response)
  const stream = answer(idle, Stream.fromIterable(pieces(body.body), { chunkSize: 1 }))
  return Effect.gen(function*() {
    yield* (yield* hold)(body.contentLength)
    return HttpServerResponse.setBody(response, HttpBody.stream(stream, body.contentType, body.contentLength))
  })
}
