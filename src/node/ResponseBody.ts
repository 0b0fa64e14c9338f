/**
 * The body of a response. Its reader gets the pieces in which it arrives, or one piece if it is small. A piece belongs
 * to the reader. At most 256 KiB are received before the reader asks for more.
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as EffectScope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Http from "node:http"
import * as Timers from "node:timers"

/** The connection was closed before the end of the body. */
export class Incomplete extends Data.Error<{ readonly code: "ECONNRESET"; readonly message: string }> {}

/** The idle timeout of a body. */
export interface Idle {
  /** Maximum time without a byte while the reader waits, in milliseconds. */
  readonly limit: number
  /** Creates the error of a body that exceeds it. */
  readonly late: () => Error
}

/** A body that can be read once. */
export interface ResponseBody {
  /** The pieces. If the stream is closed early, the rest is discarded. */
  readonly stream: Stream.Stream<Uint8Array, unknown>
  /** The whole body in memory of its own. */
  readonly bytes: Effect.Effect<Uint8Array<ArrayBuffer>, unknown>
  /** The whole body in memory. When it has been read, the connection is free for the next request. */
  readonly whole: Effect.Effect<Uint8Array, unknown>
  /** Discards what has not been read. */
  readonly discard: () => void
  /** Ends a body that is not complete, after an error of the connection. */
  readonly fail: (error: Error) => void
}

// maximum size of a body that is read as one piece, in bytes
export const smallBody: number = 64 * 1024

// number of bytes before the reader after which the connection is paused
const ahead = 256 * 1024

/** Returns pieces as one. */
export const join = (pieces: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const piece of pieces) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}

/** Waits until the connection of a complete body is free, which Node makes it in the next tick, and joins the pieces. */
const freed = (pieces: ReadonlyArray<Uint8Array>): Effect.Effect<Uint8Array> =>
  Effect.callback((resume) => {
    const [first = new Uint8Array()] = pieces
    const bytes = pieces.length > 1 ? join(pieces) : first
    process.nextTick(() => resume(Effect.succeed(bytes)))
  })

const emptyBody: ResponseBody = {
  stream: Stream.empty,
  bytes: Effect.sync(() => new Uint8Array()),
  whole: Effect.sync(() => new Uint8Array()),
  discard: () => {},
  fail: () => {}
}

/** Creates the body of a response, and starts to receive it. `onEnd` runs after its last byte, or after a failure. */
export const make = (
  message: Http.IncomingMessage,
  hasBody: boolean,
  idle: Idle,
  onEnd: () => void
): ResponseBody => {
  const length = Number(message.headers["content-length"] ?? NaN)
  if (!hasBody || length === 0) {
    // the connection is free without a reader, also if the request is aborted before the next turn
    message.on("error", () => {}).resume()
    onEnd()
    return emptyBody
  }
  let isWhole = length <= smallBody
  let pieces: Array<Uint8Array> = []
  let size = 0
  let outcome: "complete" | Error | undefined
  let waiting: { readonly timer: NodeJS.Timeout; readonly resume: () => void } | undefined

  const notify = () => {
    const { resume, timer } = waiting ?? {}
    waiting = undefined
    Timers.clearTimeout(timer)
    resume?.()
  }
  const finish = (end: "complete" | Error) => {
    if (outcome !== undefined) return
    outcome = end
    onEnd()
    notify()
  }
  message.on("data", (piece: Uint8Array) => {
    pieces.push(piece)
    size += piece.length
    if (isWhole) return waiting?.timer.refresh()
    notify()
    // unless the reader has taken it already, and waits for more
    if (waiting === undefined && size >= ahead) message.pause()
  })
  message.on("end", () => finish("complete"))
  message.on("error", finish)
  message.on(
    "close",
    () => finish(new Incomplete({ code: "ECONNRESET", message: "the connection was closed in the middle" }))
  )

  /** Waits for the next piece, or for the end. */
  const arrival = Effect.callback<void>((resume) => {
    // something may have arrived while the fiber had yielded
    if (outcome !== undefined || !isWhole && pieces.length > 0) return resume(Effect.void)
    const timer = Timers.setTimeout(() => {
      finish(idle.late())
      message.destroy()
    }, idle.limit)
    waiting = { timer, resume: () => resume(Effect.void) }
    if (message.isPaused()) message.resume()
    return Effect.sync(() => {
      Timers.clearTimeout(timer)
      waiting = undefined
    })
  })

  const take = (): Arr.NonEmptyReadonlyArray<Uint8Array> | undefined => {
    if (pieces.length === 0 || isWhole && outcome === undefined) return undefined
    const [first = new Uint8Array(), ...others] = pieces
    pieces = []
    size = 0
    return isWhole && others.length > 0 ? [join([first, ...others])] : [first, ...others]
  }
  const pull: Effect.Effect<Arr.NonEmptyReadonlyArray<Uint8Array>, unknown> = Effect.suspend(() => {
    const taken = take()
    if (taken !== undefined) return Effect.succeed(taken)
    if (outcome === undefined) return Effect.andThen(arrival, pull)
    return outcome === "complete" ? Cause.done() : Effect.fail(outcome)
  })
  const discard = () => {
    if (!message.complete) return message.destroy()
    // not paused again
    isWhole = true
    message.resume()
  }
  const all: Effect.Effect<void, unknown> = Effect.suspend(() => {
    isWhole = true
    if (outcome === undefined) return Effect.andThen(arrival, all)
    return outcome === "complete" ? Effect.void : Effect.fail(outcome)
  })
  return {
    stream: Stream.fromChannel(Channel.fromTransform((_: unknown, scope) =>
      Effect.as(
        EffectScope.addFinalizer(
          scope,
          Effect.sync(() => {
            if (outcome === undefined) discard()
          })
        ),
        pull
      )
    )),
    bytes: Effect.map(all, () => join(pieces)),
    whole: Effect.flatMap(all, () => freed(pieces)),
    discard: () => {
      if (outcome === undefined) discard()
    },
    fail: finish
  }
}
