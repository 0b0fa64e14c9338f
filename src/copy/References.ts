/**
 * Content that a manifest refers to, according to the manifest itself or to a function of the caller.
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

type Lists = Result.Result.Success<ReturnType<ManifestDigests>>

// maximum number of manifests or blobs that are looked up at the same time
const concurrency = 16

const malformed = (mediaType: string, problem: string) =>
  new Manifest.ManifestError({ kind: "Malformed", mediaType, problem: `manifestDigests ${problem}` })

/** Returns what is wrong with an element of the lists, if anything. */
const problemOf = (content: unknown): string | undefined => {
  if (!hasProperty(content, "digest") || !Digest.isDigest(content.digest)) return "returned content without a digest"
  if (hasProperty(content, "size") && content.size !== undefined) {
    const { size } = content
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
      return "returned content with an invalid size"
    }
  }
  const hasType = hasProperty(content, "mediaType") && content.mediaType !== undefined
  return hasType && typeof content.mediaType !== "string" ? "returned content with an invalid type" : undefined
}

/** Checks the value that a function of the caller has returned, because it may not have the declared type. */
const checked = (mediaType: string, returned: unknown): Result.Result<Lists, Manifest.ManifestError> => {
  if (!Result.isResult(returned)) return Result.fail(malformed(mediaType, "returned no Result"))
  if (Result.isFailure(returned)) {
    return returned.failure instanceof Manifest.ManifestError
      ? Result.fail(returned.failure)
      : Result.fail(malformed(mediaType, "failed"))
  }
  const lists: unknown = returned.success
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

/** References of a manifest of an unknown type, which is copied without them. */
const opaque: Lists = { blobs: [], manifests: [] }

/** Returns the content that a manifest refers to, as far as that is known without a request to its registry. */
export const read = (
  { manifestDigests }: Options,
  { bytes, descriptor: { mediaType } }: ManifestBytes
): Effect.Effect<Lists, Manifest.ManifestError> => {
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

/** References of a manifest, with the contents of children that were read to classify them. */
export interface References extends Children.Sorted {
  /** True if the type of the manifest is unknown, so that it may refer to more. */
  readonly isOpaque: boolean
}

/**
 * Returns the content that a manifest at one of the ends refers to. Looks up unknown sizes and types there, and
 * children that may be blobs.
 */
export const of = Effect.fnUntraced(function*(
  options: Options,
  end: End,
  side: keyof Ends,
  content: ContentPath,
  manifest: ManifestBytes
): Effect.fn.Return<References, CopyError> {
  const { registry, repository } = end
  const found = yield* Effect.mapError(read(options, manifest), (reason) => failure(end, side, reason, content))
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
    return Effect.mapError(Effect.forEach(contents, one, { concurrency }), failureOf(end, side, content))
  }
  const blobs = found.blobs.every(isComplete)
    ? found.blobs
    : found.blobs.map((blob) => ({ ...blob, mediaType: blob.mediaType ?? MediaType.octetStream }))
  const sorted = yield* Effect.mapError(
    Children.sort(end, {
      blobs: yield* complete(blobs, (digest) => registry.resolveBlob(repository, digest)),
      manifests: yield* complete(found.manifests, (digest) => registry.resolveManifest(repository, digest))
    }),
    failureOf(end, side, content)
  )
  return { ...sorted, isOpaque: found === opaque }
})
