/**
 * Isolation of broken content of a layout, while this process and others use it.
 *
 * The content is read once more, so that only a file whose content does not match its digest is moved. Then the file is
 * moved under the lock of the layout, unless it was replaced since it was opened.
 */
import * as Effect from "effect/Effect"
import * as Digest from "../Digest.ts"
import type { Reason } from "../RegistryError.ts"
import * as BlobWriter from "./BlobWriter.ts"
import * as LayoutFormat from "./LayoutFormat.ts"
import type { LayoutTarget } from "./LayoutTarget.ts"

/**
 * Result of an isolation: the content was moved aside, matches its digest, does not exist, or is replaced again and
 * again.
 */
export type Outcome = "quarantined" | "intact" | "absent" | "changing"

/** Maximum number of times that a file is read that is replaced or mentioned meanwhile. */
const maximumReads = 5

/** Reads a file, and returns its metadata if its content does not match the digest. */
const findBroken = Effect.fnUntraced(
  function*({ files, layout }: LayoutTarget, digest: Digest.Digest) {
    yield* layout.quarantine.find(digest)
    const file = yield* files.open(layout.blobPath(digest))
    if (file === undefined || file.info === undefined) return "absent"
    const actual = yield* BlobWriter.digestOf(file.read(0, file.size), Digest.algorithm(digest))
    return actual === digest ? "intact" : file.info
  },
  Effect.scoped
)

/** Moves the file of a blob or manifest aside if its content does not match its digest. */
export const run = Effect.fnUntraced(function*(
  target: LayoutTarget,
  digest: Digest.Digest
): Effect.fn.Return<Outcome, Reason> {
  const { key, layout, usage } = target
  for (let read = 0; read < maximumReads; read++) {
    const found = yield* findBroken(target, digest)
    if (typeof found === "string") return found
    const move = layout.change({
      limit: LayoutFormat.indexLimit,
      edit: (index) =>
        Effect.map(
          usage.removing(key, layout.blobPath(digest), layout.quarantine.isolate(digest, found)),
          (value) => ({ index, value })
        )
    })
    // a collection would move and remove the same files
    const isMoved = yield* Effect.scoped(Effect.andThen(layout.collecting, move))
    if (isMoved) return "quarantined"
  }
  return "changing"
})
