/**
 * The body of a response, as its reader gets it: in pieces, or in one piece if it is small. A piece belongs to the
 * reader.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as EffectScope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Timers from "node:timers"
import type { Storage } from "./Storage.ts"

/** The connection was closed before the end of the body. */
export class Incomplete extends Data.Error<{ readonly code: "ECONNRESET"; readonly message: string }> {}

/** The idle timeout of a body. */
export interface Idle {
  /** Maximum time without a byte while the reader waits, in milliseconds. */
  readonly limit: number
  /** Creates the error of a body that exceeds it. */
  readonly late: () => Error
}

/** Connection that a body comes from. */
export interface Source {
  readonly expect: (within: number) => void
  readonly expectNothing: () => void
  readonly resume: () => void
  readonly destroy: () => void
}

/** Returns pieces as one. */
const join = (pieces: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const piece of pieces) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}

// number of bytes for which a waiting reader is resumed at once; fewer are joined with what else has arrived
const worthwhile = 256 * 1024

/** A body that can be read once. */
export class ResponseBody {
  readonly #source: Source
  readonly #storage: Storage | undefined
  readonly #idle: Idle
  #outcome: "complete" | Error | undefined
  #waiting: (() => void) | undefined
  #soon: NodeJS.Immediate | undefined

  /** Creates a body. Without storage it is empty. */
  constructor(source: Source, storage: Storage | undefined, idle: Idle) {
    this.#source = source
    this.#storage = storage
    this.#idle = idle
  }

  /** Receives content. */
  receive(bytes: Buffer): void {
    const storage = this.#storage
    if (storage === undefined || this.#outcome !== undefined) return
    storage.add(bytes)
    if (this.#waiting === undefined) return
    this.#source.expect(this.#idle.limit)
    if (storage.ready >= worthwhile) this.#notify()
    else if (storage.ready > 0) this.#soon ??= Timers.setImmediate(this.#notify)
  }
  /** True if no more should come until the reader asks for it. */
  get isFull(): boolean {
    return this.#outcome === undefined && this.#storage?.isFull === true
  }
  memory(left: number | undefined): Buffer | undefined {
    return left === undefined || this.#outcome !== undefined ? undefined : this.#storage?.memory(left)
  }
  /** Ends the body. */
  end(outcome: "complete" | Error): void {
    if (this.#outcome !== undefined) return
    this.#outcome = outcome
    if (outcome === "complete") this.#storage?.complete()
    this.#notify()
  }
  late(): void {
    this.end(this.#idle.late())
    this.#source.destroy()
  }

  readonly #notify = (): void => {
    Timers.clearImmediate(this.#soon)
    this.#soon = undefined
    const resume = this.#waiting
    if (resume === undefined) return
    this.#waiting = undefined
    this.#source.expectNothing()
    resume()
  }
  /** Waits for the next piece, or for the end. */
  readonly #arrival = Effect.callback<void>((resume) => {
    // something may have arrived while the fiber had yielded
    if (this.#outcome !== undefined || (this.#storage?.ready ?? 0) > 0) return resume(Effect.void)
    this.#source.expect(this.#idle.limit)
    this.#waiting = () => resume(Effect.void)
    return Effect.sync(() => {
      this.#source.expectNothing()
      this.#waiting = undefined
    })
  })
  readonly #pull: Effect.Effect<Arr.NonEmptyReadonlyArray<Uint8Array>, unknown> = Effect.suspend(() => {
    const pieces = this.#storage?.take(this.#outcome !== undefined) ?? []
    if (this.#outcome === undefined) this.#source.resume()
    if (Arr.isReadonlyArrayNonEmpty(pieces)) return Effect.succeed(pieces)
    if (this.#outcome === undefined) return Effect.andThen(this.#arrival, this.#pull)
    return this.#outcome === "complete" ? Cause.done() : Effect.fail(this.#outcome)
  })

  /** The pieces. If the stream is closed early, the rest is discarded. */
  get stream(): Stream.Stream<Uint8Array, unknown> {
    return Stream.fromChannel(
      Channel.fromTransform((_: unknown, scope) =>
        Effect.as(EffectScope.addFinalizer(scope, Effect.sync(() => this.discard())), this.#pull)
      )
    )
  }
  /** Waits for all pieces. */
  #collect(before: ReadonlyArray<Uint8Array>): Effect.Effect<ReadonlyArray<Uint8Array>, unknown> {
    return Effect.suspend(() => {
      const more = this.#storage?.take(this.#outcome !== undefined) ?? []
      const pieces = before.length === 0 ? more : [...before, ...more]
      if (this.#outcome === "complete") return Effect.succeed(pieces)
      if (this.#outcome !== undefined) return Effect.fail(this.#outcome)
      this.#source.resume()
      return Effect.andThen(this.#arrival, this.#collect(pieces))
    })
  }
  /** The whole body in memory. When it has been read, the connection is free for the next request. */
  get whole(): Effect.Effect<Uint8Array, unknown> {
    return Effect.map(this.#collect([]), (pieces) => {
      const [first = new Uint8Array()] = pieces
      return pieces.length > 1 ? join(pieces) : first
    })
  }
  /** The whole body in memory of its own. */
  get bytes(): Effect.Effect<Uint8Array<ArrayBuffer>, unknown> {
    return Effect.map(this.#collect([]), join)
  }
  /** Discards what has not been read. */
  discard(): void {
    if (this.#outcome !== undefined) return
    this.end(new Incomplete({ code: "ECONNRESET", message: "the reader has stopped" }))
    this.#source.destroy()
  }
}
