/**
 * Files of blobs that were verified, so that their content is not hashed again at each read.
 *
 * A file is known by its device, number, size and modification time. If it is replaced or written to, these change, and
 * it is verified at its next read. The table is in memory, so that after a restart each file is verified at its first
 * read. Damage that leaves the modification time unchanged, such as that of a disk, is found only after a restart.
 */
import * as ByteSize from "effect/ByteSize"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { Digest } from "../Digest.ts"

export interface VerifiedFiles {
  /** Returns true if the content of a file was found to have this digest, and the file has not changed since. */
  readonly has: (digest: Digest, info: FileSystem.File.Info) => boolean
  /** Records that the content of a file has this digest. */
  readonly add: (digest: Digest, info: FileSystem.File.Info) => void
}

/** Maximum number of files in the table. Beyond it, the oldest ones are verified again at their next read. */
const maximumCount = 100_000

/** Returns the key of a file and its content, or `undefined` if the system does not tell files apart. */
const keyOf = (digest: Digest, { dev, ino, mtime, size }: FileSystem.File.Info): string | undefined =>
  Option.isSome(ino) && Option.isSome(mtime)
    ? `${digest} ${dev} ${ino.value} ${ByteSize.toNumberUnsafe(size)} ${mtime.value.getTime()}`
    : undefined

/** Creates an empty table. */
export const make = (): VerifiedFiles => {
  const keys = new Set<string>()
  return {
    has: (digest, info) => {
      const key = keyOf(digest, info)
      return key !== undefined && keys.has(key)
    },
    add: (digest, info) => {
      const key = keyOf(digest, info)
      if (key === undefined) return
      keys.add(key)
      if (keys.size <= maximumCount) return
      for (const oldest of keys) {
        keys.delete(oldest)
        break
      }
    }
  }
}

/** A table without files, for content that is verified at each read. */
export const none: VerifiedFiles = { has: () => false, add: () => {} }
