/**
 * Backups of images whose tags are about to move: the destination gets them under another tag.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { CopyError } from "../copy/CopyError.ts"
import type { Digest } from "../Digest.ts"
import type * as Namespace from "../Namespace.ts"
import * as Reference from "../Reference.ts"
import { type Destination, reference } from "./Unit.ts"

// number of hexadecimal digits of a digest in a tag
const digits = 12

/** Returns the tag that a template stands for. */
const tagOf = (template: string, tag: string, digest: Digest, now: DateTime.Utc): string =>
  template
    .replaceAll("{tag}", tag)
    .replaceAll("{date}", DateTime.formatIsoDateUtc(now))
    .replaceAll("{digest}", digest.slice(digest.indexOf(":") + 1).slice(0, digits))

/** Gives an image of a destination another tag. Fails if that tag points at another image. */
export const make = Effect.fnUntraced(function*(
  namespace: Namespace.Namespace["Service"],
  destination: Destination,
  template: string,
  tag: Reference.Tag,
  digest: Digest
): Effect.fn.Return<void, CopyError | Reference.InvalidReference> {
  const name = yield* Effect.fromResult(Reference.parseTag(tagOf(template, tag, digest, yield* DateTime.now)))
  yield* namespace.copyManifest({
    source: reference(destination, { digest }),
    destination: reference(destination, { tag: name }),
    referrers: "skip",
    onTagExists: "fail"
  })
})
