/**
 * The latest bytes of a stream, kept in memory for readers that follow it. There is one writer and any number of
 * readers.
 *
 * The writer stays at most half a window ahead of the fastest reader, so that slightly slower readers keep up. It
 * waits for a limited time, and not at all once a reader waits for the end of the stream. A reader that falls out of
 * the window fails with `Behind`. Readers share the bytes.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/** The bytes from this position on have left the window, or never were in it. */
export class Behind extends Data.TaggedError("Behind")<{ readonly position: number }> {}

/** A read position. The writer waits for it while its scope is open. */
export interface Cursor<E> {
  /** Returns the bytes from the position up to `end`. */
  readonly readTo: (end: number) => Stream.Stream<Uint8Array, E | Behind>
}

export interface Window<E> {
  /** Returns the number of bytes that were written. */
  readonly position: () => number
  /** Returns true if the window has readers. */
  readonly isFollowed: () => boolean
  /** Writes bytes, and waits for readers if necessary. Bytes before `position` are ignored. */
  readonly write: (offset: number, bytes: Uint8Array) => Effect.Effect<void>
  /** Ends the stream. Readers that want more bytes fail with the failure of `exit`, or with `Behind`. */
  readonly end: (exit: Exit.Exit<unknown, E>) => Effect.Effect<void>
  /** Adds a reader at a position. It leaves the window when the scope closes, or when it has read its last byte. */
  readonly join: (position: number) => Effect.Effect<Cursor<E>, never, Scope.Scope>
}

interface Piece {
  readonly start: number
  readonly bytes: Uint8Array
}

export const make = <E>(options: {
  /** Maximum number of bytes that are kept. */
  readonly capacity: number
  /** Maximum time that the writer waits for the fastest reader. After that, it waits for no reader any more. */
  readonly readerTimeout: Duration.Duration
}): Window<E> => {
  const pieces: Array<Piece> = []
  const places = new Set<{ position: number }>()
  let position = 0
  let held = 0
  let isHurried = false
  let ended: Exit.Exit<unknown, E> | undefined
  let written = Deferred.makeUnsafe<void>()
  let read = Deferred.makeUnsafe<void>()

  const hasWritten = () => {
    const waiting = written
    written = Deferred.makeUnsafe()
    Deferred.doneUnsafe(waiting, Effect.void)
  }
  const hasRead = () => {
    const waiting = read
    read = Deferred.makeUnsafe()
    Deferred.doneUnsafe(waiting, Effect.void)
  }
  const isGone = (place: { position: number }) => place.position < (pieces[0]?.start ?? position)
  const hurry = () => {
    isHurried = true
    hasRead()
  }
  const leave = (place: { position: number }) => {
    places.delete(place)
    hasRead()
  }

  /** Returns true if the writer is more than half a window ahead of every reader in the window. */
  const isAhead = () => {
    const followed = Array.from(places).filter((place) => !isGone(place))
    return followed.length > 0 && followed.every((place) => position - place.position > options.capacity / 2)
  }

  const settle: Effect.Effect<void> = Effect.suspend(() => {
    if (!isHurried && isAhead()) {
      const timeout = Effect.andThen(Effect.sleep(options.readerTimeout), Effect.sync(hurry))
      return Effect.andThen(Effect.raceFirst(Deferred.await(read), timeout), settle)
    }
    while (held > options.capacity) held -= pieces.shift()?.bytes.length ?? held
    return Effect.void
  })

  const next = (place: { position: number }, end: number): Pull.Pull<readonly [Uint8Array], E | Behind> =>
    Effect.suspend(() => {
      if (place.position >= end) {
        leave(place)
        return Cause.done()
      }
      const piece = pieces.find(({ bytes, start }) => start <= place.position && place.position < start + bytes.length)
      if (piece !== undefined) {
        const bytes = piece.bytes.subarray(place.position - piece.start, end - piece.start)
        place.position += bytes.length
        hasRead()
        return Effect.succeed([bytes] as const)
      }
      if (ended?._tag === "Failure") return Effect.failCause(ended.cause)
      if (ended !== undefined || isGone(place)) {
        places.delete(place)
        hurry()
        return Effect.fail(new Behind({ position: place.position }))
      }
      return Effect.andThen(Deferred.await(written), next(place, end))
    })

  return {
    position: () => position,
    isFollowed: () => places.size > 0,
    write: (offset, bytes) =>
      Effect.suspend(() => {
        const fresh = bytes.subarray(Math.max(0, position - offset))
        if (fresh.length === 0) return Effect.void
        pieces.push({ start: position, bytes: fresh })
        position += fresh.length
        held += fresh.length
        hasWritten()
        // yields to readers, which would otherwise not run before the end if the writer never suspends
        const isRead = Array.from(places).every((place) => place.position >= position)
        return isRead ? settle : Effect.andThen(Effect.yieldNow, settle)
      }),
    end: (exit) =>
      Effect.sync(() => {
        ended = exit
        hasWritten()
      }),
    join: (position) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const place = { position }
            places.add(place)
            if (isGone(place)) hurry()
            return place
          }),
          (place) => Effect.sync(() => leave(place))
        ),
        (place) => ({ readTo: (end) => Stream.fromPull(Effect.succeed(next(place, end))) })
      )
  }
}
