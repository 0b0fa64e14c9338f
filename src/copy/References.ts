/**
 * What a manifest refers to: as it says itself, or as a function of the caller says.
 */
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as LargeManifest from "../LargeManifest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { ManifestBytes } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import * as Children from "./Children.ts"
import type { CopyError } from "./CopyError.ts"
import { type ContentPath, type End, type Ends, failure, failureOf } from "./Ends.ts"
import type { ManifestDigests, Options, Referenced } from "./Options.ts"

type Answer = Result.Result.Success<ReturnType<ManifestDigests>>

// of contents that are looked up at a time
const concurrency = 16

const malformed = (mediaType: string, problem: string) =>
  new Manifest.ManifestError({ kind: "Malformed", mediaType, problem: `manifestDigests ${problem}` })

const problemOf = (content: unknown): string | undefined => {
  if (!hasProperty(content, "digest") || !Digest.isDigest(content.digest)) return "returned content without a digest"
  if (hasProperty(content, "size") && content.size !== undefined) {
    const { size } = content
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return "returned content of no known size"
  }
  const hasType = hasProperty(content, "mediaType") && content.mediaType !== undefined
  return hasType && typeof content.mediaType !== "string" ? "returned content of no known type" : undefined
}

/** Checks what a function of the caller has returned, which may not keep to its type. */
const checked = (mediaType: string, answer: unknown): Result.Result<Answer, Manifest.ManifestError> => {
  if (!Result.isResult(answer)) return Result.fail(malformed(mediaType, "returned no Result"))
  if (Result.isFailure(answer)) {
    return answer.failure instanceof Manifest.ManifestError
      ? Result.fail(answer.failure)
      : Result.fail(malformed(mediaType, "failed"))
  }
  const lists: unknown = answer.success
  if (
    !hasProperty(lists, "blobs") || !Array.isArray(lists.blobs) ||
    !hasProperty(lists, "manifests") || !Array.isArray(lists.manifests)
  ) {
    return Result.fail(malformed(mediaType, "returned no lists of blobs and manifests"))
  }
  for (const content of [...lists.blobs, ...lists.manifests]) {
    const problem = problemOf(content)
    if (problem !== undefined) return Result.fail(malformed(mediaType, problem))
  }
  return Result.succeed({ blobs: lists.blobs, manifests: lists.manifests })
}

/** References of a manifest of an unknown type, which is copied as it is. */
const opaque: Answer = { blobs: [], manifests: [] }

/** Returns what a manifest refers to, as far as that is known without its registry. */
export const read = (
  { manifestDigests }: Options,
  { bytes, descriptor: { mediaType } }: ManifestBytes
): Effect.Effect<Answer, Manifest.ManifestError> => {
  const found = manifestDigests === undefined
    ? LargeManifest.digests(mediaType, bytes)
    : Effect.flatMap(
      Effect.try({
        try: () => checked(mediaType, manifestDigests(mediaType, bytes)),
        catch: (error) => malformed(mediaType, `threw: ${excerpt(String(error))}`)
      }),
      Effect.fromResult
    )
  return Effect.catchIf(found, ({ kind }) => kind === "UnknownMediaType", () => Effect.succeed(opaque))
}

const isComplete = (content: Referenced): content is Descriptor =>
  content.mediaType !== undefined && content.size !== undefined

/** What a manifest refers to, and what was found out besides. */
export interface References extends Children.Sorted {
  /** True if the type of the manifest is unknown, so that it may refer to more. */
  readonly isOpaque: boolean
}

/**
 * Returns what a manifest at one of the ends refers to. Sizes and types that are not known are looked up there, and so
 * are children that may be blobs.
 */
export const of = Effect.fnUntraced(function*(
  options: Options,
  end: End,
  side: keyof Ends,
  place: ContentPath,
  manifest: ManifestBytes
): Effect.fn.Return<References, CopyError> {
  const { registry, repository } = end
  const found = yield* Effect.mapError(read(options, manifest), (reason) => failure(end, side, reason, place))
  const complete = (
    contents: ReadonlyArray<Referenced>,
    resolve: (digest: Digest.Digest) => Effect.Effect<Descriptor, RegistryError>
  ): Effect.Effect<ReadonlyArray<Descriptor>, CopyError> => {
    if (contents.every(isComplete)) return Effect.succeed(contents)
    const one = (content: Referenced): Effect.Effect<Descriptor, RegistryError> =>
      isComplete(content)
        ? Effect.succeed(content)
        : Effect.map(resolve(content.digest), ({ mediaType, size }) => ({
          ...content,
          mediaType: content.mediaType ?? mediaType,
          size: content.size ?? size
        }))
    return Effect.mapError(Effect.forEach(contents, one, { concurrency }), failureOf(end, side, place))
  }
  const blobs = found.blobs.every(isComplete)
    ? found.blobs
    : found.blobs.map((blob) => ({ ...blob, mediaType: blob.mediaType ?? MediaType.octetStream }))
  const sorted = yield* Effect.mapError(
    Children.sort(end, {
      blobs: yield* complete(blobs, (digest) => registry.resolveBlob(repository, digest)),
      manifests: yield* complete(found.manifests, (digest) => registry.resolveManifest(repository, digest))
    }),
    failureOf(end, side, place)
  )
  return { ...sorted, isOpaque: found === opaque }
})
