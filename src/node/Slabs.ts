/**
 * Pieces of memory of one size, into which large bodies are received. A slab is used again after all chunks in it have
 * been given back. A chunk that its reader keeps takes its slab out of use.
 */
import * as Context from "effect/Context"
import * as ChunkMemory from "../ChunkMemory.ts"

export interface Slab {
  readonly bytes: Buffer
  /** Number of users: the body that receives into it, and the readers of its chunks. */
  users: number
}

export interface Slabs {
  /** Returns a slab for a body, which is its first user. */
  readonly take: () => Slab
  /** Ends one use of a slab. */
  readonly release: (slab: Slab) => void
}

export interface Settings {
  /** Size of a slab, in bytes. */
  readonly size: number
  /** Maximum number of slabs that are kept without a user. */
  readonly capacity: number
  /** Runs when a slab has lost its last user. */
  readonly onUnused: (bytes: Uint8Array) => void
}

/** Settings of the slabs of each client. */
export const Settings: Context.Reference<Settings> = Context.Reference<Settings>("effect-oci/NodeHttp/Slabs", {
  defaultValue: () => ({ size: 1024 * 1024, capacity: 16, onUnused: () => {} })
})

/** Creates slabs when they are needed. */
export const make = ({ capacity, onUnused, size }: Settings): Slabs => {
  const unused: Array<Slab> = []

  const release = (slab: Slab) => {
    if (--slab.users > 0) return
    onUnused(slab.bytes)
    if (unused.length < capacity) unused.push(slab)
  }
  const create = (): Slab => {
    const slab: Slab = { bytes: Buffer.allocUnsafeSlow(size), users: 0 }
    ChunkMemory.own(slab.bytes.buffer, () => release(slab))
    return slab
  }
  return {
    take: () => {
      const slab = unused.pop() ?? create()
      slab.users = 1
      return slab
    },
    release
  }
}
