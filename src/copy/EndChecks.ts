/**
 * Checks of the tag and the digest of an end. Copies and the other operations of a namespace share them.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import type { Tag } from "../Reference.ts"
import { DigestConflict, TagMismatch, UnfitReference } from "./CopyError.ts"
import type { End } from "./Ends.ts"

type Named = Pick<End, "digest" | "tag">

const unfit = (problem: string) => Result.fail(new UnfitReference({ problem }))

/** Returns the digest of a blob. Fails if there is none, or if there is a tag. */
export const blobDigest = ({ digest, tag }: Named): Result.Result<Digest, UnfitReference> => {
  if (tag !== undefined) return unfit("a blob has no tag")
  return digest === undefined ? unfit("a blob needs a digest") : Result.succeed(digest)
}

/**
 * Looks up a manifest by its tag, or by its digest if it has no tag. Fails if there is neither, or if there are both
 * and the tag points at another digest.
 */
export const findManifest = Effect.fnUntraced(function*<A extends { readonly descriptor: Descriptor }, E, R>(
  { digest, tag }: Named,
  lookUp: (reference: Tag | Digest) => Effect.Effect<A, E, R>
): Effect.fn.Return<A, E | TagMismatch | UnfitReference, R> {
  const reference = tag ?? digest
  if (reference === undefined) return yield* new UnfitReference({ problem: "a manifest needs a tag or a digest" })
  const found = yield* lookUp(reference)
  const actual = found.descriptor.digest
  if (tag !== undefined && digest !== undefined && actual !== digest) {
    return yield* new TagMismatch({ tag, expected: digest, actual })
  }
  return found
})

/** Fails if a destination names another digest than that of the source. */
export const hasDigest = (destination: Named, source: Digest): Result.Result<void, DigestConflict> =>
  destination.digest === undefined || destination.digest === source
    ? Result.void
    : Result.fail(new DigestConflict({ source, destination: destination.digest }))
