/**
 * Faults in the bytes of a stream.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Reason } from "../../RegistryError.ts"
import type { Kind } from "./Fault.ts"

/** Failure of a stream that a fault cut off. */
export class Cut extends Data.TaggedError("Cut")<{ readonly reason: Reason }> {}

type OfBytes = Extract<Kind, { readonly at: number }>

type Bytes<E> = Stream.Stream<Uint8Array, E>

/** Runs an effect after `at` bytes, if the stream is that long. */
const runAfter = <E, E2>(stream: Bytes<E>, at: number, effect: Effect.Effect<unknown, E2>): Bytes<E | E2> =>
  Stream.suspend(() => {
    let left: number | undefined = at
    return Stream.flatMap(stream, (chunk): Bytes<E2> => {
      if (left === undefined || chunk.length < left) {
        if (left !== undefined) left -= chunk.length
        return Stream.succeed(chunk)
      }
      const [before, after] = [chunk.subarray(0, left), chunk.subarray(left)]
      left = undefined
      return Stream.succeed(before).pipe(
        Stream.concat(Stream.fromEffectDrain(effect)),
        Stream.concat(Stream.succeed(after)),
        Stream.filter(({ length }) => length > 0)
      )
    })
  })

const cutAt = <E>(stream: Bytes<E>, at: number): Bytes<E> =>
  Stream.suspend(() => {
    let left = at
    return stream.pipe(
      Stream.map((chunk) => {
        const kept = chunk.subarray(0, left)
        left -= kept.length
        return kept
      }),
      Stream.takeUntil(() => left === 0),
      Stream.filter(({ length }) => length > 0)
    )
  })

const flipped = <E>(stream: Bytes<E>, at: number): Bytes<E> =>
  Stream.suspend(() => {
    let position = 0
    return Stream.map(stream, (chunk) => {
      const start = position
      position += chunk.length
      return at < start || at >= position ? chunk : chunk.map((byte, index) => start + index === at ? byte ^ 1 : byte)
    })
  })

/** Applies faults to a stream, one after another. */
export const spoil = <E>(stream: Bytes<E>, faults: ReadonlyArray<OfBytes>): Bytes<E | Cut> =>
  faults.reduce<Bytes<E | Cut>>((stream, fault) => {
    switch (fault._tag) {
      case "Break":
        return runAfter(stream, fault.at, Effect.fail(new Cut({ reason: fault.reason })))
      case "Stall":
        return runAfter(stream, fault.at, fault.until)
      case "Truncate":
        return cutAt(stream, fault.at)
      case "Flip":
        return flipped(stream, fault.at)
    }
  }, stream)
