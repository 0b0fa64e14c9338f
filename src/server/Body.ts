/**
 * The bodies of requests and answers, as they stream.
 *
 * The body of a request is received from the moment on it is opened, up to a bounded number of chunks ahead of whoever
 * reads it: what came before a connection broke is still read. It ends with a refusal where it breaks, stands still, or
 * is not as long as it may or should be.
 */
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
  /** Its bytes. Can be read once. */
  readonly stream: Stream.Stream<Uint8Array, Refusal.Refusal>
  /** Lets whoever reads it have what came so far, and then fail. */
  readonly breakOff: (because: Refusal.Refusal) => void
  /** Does no more of it come than has come, though there should? */
  readonly isBroken: () => boolean
}

// a socket gives up to 64 KiB at a time
const chunksAhead = 16

// how long what was received may take to be stored when there is no more to come
const lastChance = "1 second"

const broken = () => Refusal.make(400, "BLOB_UPLOAD_INVALID", "the body of the request broke off")

// a client that sends nothing would not free its connection either
const timedOut = () => Refusal.make(408, undefined, "the body of the request came too slowly", { connection: "close" })

export const tooLarge = (limit: number): Refusal.Refusal =>
  Refusal.make(413, "SIZE_INVALID", `no more than ${limit} bytes are accepted`)

const wrongLength = (expected: number, actual: number) =>
  Refusal.make(400, "SIZE_INVALID", `${actual < expected ? actual : "more than"} of ${expected} bytes came`)

/** The length that the client announces, if it does. Node sees to it that no more comes, and tells when less does. */
export const lengthOf = ({ headers }: HttpServerRequest.HttpServerRequest): number | undefined => {
  const length = headers["content-length"]
  return length === undefined ? headers["transfer-encoding"] === undefined ? 0 : undefined : Number(length)
}

/** Chunks that are smaller on average are joined, in bytes. */
const smallChunk = 4 * 1024

/** Joins chunks that are so small that each would cost more than it carries. */
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

/** Begins to receive the body of a request, while the scope is open. */
export const open = Effect.fnUntraced(function*(
  idle: IdleWatch,
  request: HttpServerRequest.HttpServerRequest,
  options: {
    /** In bytes. */
    readonly limit: number
    /** How long it is, in bytes, where something other than HTTP says so. */
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
 * Runs what stores a body so that it is not cut off with the request: where that is interrupted, the body ends, and what
 * came of it is stored.
 */
export const store = <A, E, R>(body: Body, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkChild(effect, { startImmediately: true }),
      (fiber) =>
        Effect.onInterrupt(restore(Fiber.join(fiber)), () => {
          body.breakOff(broken())
          return Effect.andThen(Effect.timeoutOption(Fiber.await(fiber), lastChance), Fiber.interrupt(fiber))
        })
    )
  )

/** The body of an answer. A client that takes no more of it for too long loses its connection. */
export const answer = <E>(idle: IdleWatch, stream: Stream.Stream<Uint8Array, E>): Stream.Stream<Uint8Array, E> =>
  Stream.transformPull(stream, (pull, scope) =>
    Effect.withFiber((fiber) =>
      Effect.map(
        Scope.provide(idle.watch(() => fiber.interruptUnsafe()), scope),
        ({ proceed, wait }) => {
          let taken = 0
          return Effect.suspend(() => {
            proceed(taken)
            return Effect.map(pull, (chunks) => {
              taken = chunks.reduce((sum, { length }) => sum + length, 0)
              wait()
              return chunks
            })
          })
        }
      )
    ))

/**
 * Size above which a body that is in memory is watched, in bytes. The buffers of a connection take smaller ones at
 * once.
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
