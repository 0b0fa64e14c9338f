/**
 * The latest bytes of a stream, for readers who follow it: one writes, many read, and no more than a window is kept.
 *
 * Whoever writes is no more than half a window ahead of the fastest of its readers, so that others can keep up who are a
 * little slower; but it does not wait for long, nor while somebody else waits for the end. Whoever falls behind is told.
 * Readers share the bytes.
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

/** The bytes from here on are not there any more, or come by another way. */
export class Behind extends Data.TaggedError("Behind")<{ readonly position: number }> {}

/** A place from which to read on, held while its scope is open. */
export interface Cursor<E> {
  /** The bytes up to `end`. */
  readonly readTo: (end: number) => Stream.Stream<Uint8Array, E | Behind>
}

export interface Window<E> {
  /** How far it was written. */
  readonly position: () => number
  /** Does anybody follow? */
  readonly isFollowed: () => boolean
  /** Adds bytes; those before `position` were added already. */
  readonly write: (offset: number, bytes: Uint8Array) => Effect.Effect<void>
  /** Nothing comes any more; readers that want more have fallen behind, or fail as this did. */
  readonly end: (exit: Exit.Exit<unknown, E>) => Effect.Effect<void>
  readonly join: (position: number) => Effect.Effect<Cursor<E>, never, Scope.Scope>
}

interface Piece {
  readonly start: number
  readonly bytes: Uint8Array
}

export const make = <E>(options: {
  /** How many bytes are kept. */
  readonly capacity: number
  /** How long the fastest reader is waited for. */
  readonly patience: Duration.Duration
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

  /** Is it so far ahead of all who follow that the window has room for no more of who is slower? */
  const isAhead = () => {
    const followed = Array.from(places).filter((place) => !isGone(place))
    return followed.length > 0 && followed.every((place) => position - place.position > options.capacity / 2)
  }

  const settle: Effect.Effect<void> = Effect.suspend(() => {
    if (!isHurried && isAhead()) {
      const giveUp = Effect.andThen(Effect.sleep(options.patience), Effect.sync(hurry))
      return Effect.andThen(Effect.raceFirst(Deferred.await(read), giveUp), settle)
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
        // who follows reads at once, but for those who wait for their turn, which would not come before the end
        const isEverybodyHere = Array.from(places).every((place) => place.position >= position)
        return isEverybodyHere ? settle : Effect.andThen(Effect.yieldNow, settle)
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
