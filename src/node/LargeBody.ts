/**
 * The body of a response that is received directly into slabs, instead of through the HTTP parser, which would copy
 * each piece into fresh memory.
 *
 * The bytes that arrive while the reader is busy are joined to one piece. The connection is paused when a slab is full
 * before the reader has asked for it. A connection of TLS may go on for a moment; it then gets further slabs.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as EffectScope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Net from "node:net"
import * as Timers from "node:timers"
import type { Reader } from "./Agents.ts"
import { type Idle, Incomplete, join, type ResponseBody } from "./ResponseBody.ts"
import type { Slabs } from "./Slabs.ts"

export interface Options {
  readonly connection: Net.Socket
  readonly slabs: Slabs
  /** Number of bytes of the body. */
  readonly length: number
  readonly idle: Idle
  /** Runs after the last byte. `isExact` is true if no other bytes came with it. */
  readonly onComplete: (isExact: boolean) => void
}

export interface LargeBody extends ResponseBody {
  readonly reader: Reader
}

// least room for another read into a slab, in bytes
const minimumRoom = 64 * 1024

// number of bytes for which a waiting reader is resumed at once; fewer are joined with what else has arrived
const worthwhile = 256 * 1024

/** Creates the body of a response, none of which has arrived. */
export const make = ({ connection, idle, length, onComplete, slabs }: Options): LargeBody => {
  let left = length
  let slab = slabs.take()
  // part of the slab that is received, but not handed to the reader
  let start = 0
  let end = 0
  let ready: Array<Uint8Array> = []
  let outcome: "complete" | Error | undefined
  let waiting: { readonly timer: NodeJS.Timeout; readonly resume: () => void } | undefined
  let soon: NodeJS.Immediate | undefined

  const notify = () => {
    Timers.clearImmediate(soon)
    soon = undefined
    const { resume, timer } = waiting ?? {}
    waiting = undefined
    Timers.clearTimeout(timer)
    resume?.()
  }
  /** Makes a piece of what has been received. */
  const cut = () => {
    if (end === start) return
    ready.push(slab.bytes.subarray(start, end))
    slab.users++
    start = end
  }
  const fail = (error: Error) => {
    if (outcome !== undefined) return
    cut()
    outcome = error
    connection.destroy()
    notify()
  }
  /** Continues with another slab. */
  const turn = () => {
    cut()
    slabs.release(slab)
    slab = slabs.take()
    start = end = 0
  }
  /** Stores bytes in slabs, unless they have been received there. */
  const accept = (bytes: Uint8Array) => {
    const isInPlace = bytes.buffer === slab.bytes.buffer
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + slab.bytes.length - end)
      if (!isInPlace) slab.bytes.set(part, end)
      at += part.length
      end += part.length
      if (slab.bytes.length - end < minimumRoom) turn()
    }
  }
  /** Receives bytes of the connection. */
  const read = (bytes: Uint8Array): boolean => {
    if (outcome !== undefined) {
      // more than the body
      connection.destroy()
      return false
    }
    const isExact = bytes.length <= left
    accept(isExact ? bytes : bytes.subarray(0, left))
    left -= Math.min(left, bytes.length)
    if (left === 0) {
      cut()
      slabs.release(slab)
      outcome = "complete"
      onComplete(isExact)
    }
    if (waiting !== undefined) {
      if (outcome !== undefined || ready.length > 0 || end - start >= worthwhile) notify()
      else soon ??= Timers.setImmediate(notify)
    }
    return outcome !== undefined || ready.length === 0
  }

  /** Waits for the next piece, or for the end. */
  const arrival = Effect.callback<void>((resume) => {
    if (outcome !== undefined || ready.length > 0 || end > start) return resume(Effect.void)
    const timer = Timers.setTimeout(() => fail(idle.late()), idle.limit)
    waiting = { timer, resume: () => resume(Effect.void) }
    return Effect.sync(() => {
      Timers.clearTimeout(timer)
      waiting = undefined
    })
  })
  const pull: Effect.Effect<Arr.NonEmptyReadonlyArray<Uint8Array>, unknown> = Effect.suspend(() => {
    if (outcome === undefined) cut()
    const pieces = ready
    ready = []
    if (outcome === undefined) connection.resume()
    if (Arr.isReadonlyArrayNonEmpty(pieces)) return Effect.succeed(pieces)
    if (outcome === undefined) return Effect.andThen(arrival, pull)
    return outcome === "complete" ? Cause.done() : Effect.fail(outcome)
  })
  const discard = () => fail(new Incomplete({ code: "ECONNRESET", message: "the reader has stopped" }))
  const stream: Stream.Stream<Uint8Array, unknown> = Stream.fromChannel(
    Channel.fromTransform((_: unknown, scope) =>
      Effect.as(
        EffectScope.addFinalizer(
          scope,
          Effect.sync(discard)
        ),
        pull
      )
    )
  )
  return {
    reader: {
      read,
      // one byte more than is left, so that a body that is longer is noticed
      memory: () => outcome === undefined ? slab.bytes.subarray(end, end + left + 1) : undefined
    },
    stream,
    bytes: Effect.map(Stream.runCollect(stream), join),
    whole: Effect.map(Stream.runCollect(stream), join),
    discard,
    fail
  }
}
