/**
 * Memory of chunks that is used again.
 *
 * A chunk of a stream belongs to its reader, which may keep it. A reader that has finished with a chunk can give it
 * back, if no other reader can have it. Its memory then receives other bytes; otherwise it is garbage.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

const owners = new WeakMap<ArrayBufferLike, () => void>()

/** Registers memory with a function that takes back each chunk in it that its reader gives back. */
export const own = (memory: ArrayBufferLike, takeBack: () => void): void => {
  owners.set(memory, takeBack)
}

/** Gives a chunk back, which must not be used afterwards. A chunk that nothing takes back is left as it is. */
const giveBack = ({ buffer }: Uint8Array): void => owners.get(buffer)?.()

/**
 * Gives the chunks of a stream back after the next ones have arrived. Its reader must have finished with a chunk when
 * it requests the next one, unless that was the last.
 */
export const reusing = <E, R>(self: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Uint8Array, E, R> =>
  Stream.transformPull(self, (pull) => {
    let before: ReadonlyArray<Uint8Array> = []
    return Effect.succeed(Effect.map(pull, (chunks) => {
      before.forEach(giveBack)
      before = chunks
      return chunks
    }))
  })

const passing = new WeakSet<object>()

/**
 * Marks a client or a registry that keeps no chunk: nothing else reads the bodies that it receives, and it has finished
 * with a chunk that it sends when it requests the next one. An object that is made from a marked one is not marked.
 */
export const markPassing = (self: object): void => {
  passing.add(self)
}

/** Returns true if a client or a registry keeps no chunk. */
export const isPassing = (self: object): boolean => passing.has(self)
