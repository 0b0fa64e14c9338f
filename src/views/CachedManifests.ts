/**
 * Manifests and tags of a cache. Manifests are fetched from upstream, verified, and kept in a store. Tags are checked
 * again after a time.
 */
import * as Cache from "effect/Cache"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import { type Digest, isDigest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as LargeManifest from "../LargeManifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import { type ManifestBytes, Observer, type Registry } from "../Registry.ts"
import { failing, isAbsence, type Reason, type RegistryError, UnexpectedResponse } from "../RegistryError.ts"
import type { KeptManifests } from "./KeptManifests.ts"

export interface CachedManifests {
  /** Returns a manifest, and fetches it if it is not kept. The bytes are shared by all callers. */
  readonly get: (repository: Repository, reference: Tag | Digest) => Effect.Effect<ManifestBytes, RegistryError>
  readonly resolve: (repository: Repository, reference: Tag | Digest) => Effect.Effect<Descriptor, RegistryError>
  /** Forgets where tags point, so that upstream is asked again. */
  readonly invalidate: (repository: Repository, tags: ReadonlyArray<Tag>) => Effect.Effect<void>
  /** Forgets where all tags of a repository point. */
  readonly invalidateAll: (repository: Repository) => Effect.Effect<void>
}

export interface Options {
  readonly upstream: Registry
  readonly kept: KeptManifests
  /** Time after which upstream is asked again for a tag. */
  readonly timeToLive: Duration.Duration
  /** Policy for tags while upstream fails temporarily. */
  readonly stale: "serve" | "fail"
}

/** Time after which upstream is asked again for a tag that was served stale. */
const staleTimeToLive = Duration.seconds(10)

/** Maximum number of tags in memory. */
const tagCapacity = 100_000

// ---------------------------------------------------------------------------------------------------------------------
// verifying
// ---------------------------------------------------------------------------------------------------------------------

/** Returns true for a web page or another document for people, which a host sends that is not a registry. */
const isPage = (mediaType: string, bytes: Uint8Array): boolean =>
  !MediaType.isManifest(mediaType) &&
  (/^text\/|^multipart\/|[/+]xml$/.test(mediaType) || /^\s*</.test(new TextDecoder().decode(bytes.subarray(0, 100))))

/**
 * Returns the digests of the content that a manifest refers to. Fails if the document is not a manifest of its type. A
 * document of an unknown type may be anything except a web page.
 */
const partsOf = (mediaType: string, bytes: Uint8Array): Effect.Effect<ReadonlySet<Digest>, Reason> => {
  const failure = new UnexpectedResponse({ detail: "the content is not a manifest" })
  if (!MediaType.isManifest(mediaType)) {
    return isPage(mediaType, bytes)
      ? Effect.fail(failure)
      : Effect.succeed(new Set())
  }
  return Effect.mapBoth(LargeManifest.digests(mediaType, bytes), {
    onFailure: () => failure,
    onSuccess: ({ blobs, manifests }) => new Set([...blobs, ...manifests].map(({ digest }) => digest))
  })
}

/**
 * Verifies a manifest from upstream, which may be any kind of registry, and returns it with its parts. The content is
 * checked in addition to the digest, because some hosts answer every request with a web page, which has a digest as
 * well.
 */
const verify = Effect.fnUntraced(
  function*({ bytes, descriptor: { mediaType } }: ManifestBytes, digest: Digest): Effect.fn.Return<
    { readonly manifest: ManifestBytes; readonly parts: ReadonlySet<Digest> },
    Reason
  > {
    yield* Hasher.verifyBytes(bytes, digest)
    const parts = yield* partsOf(mediaType, bytes)
    return { manifest: { bytes, descriptor: { mediaType, digest, size: bytes.length } }, parts }
  }
)

/** Fetches a manifest from upstream, and keeps it with its tags. */
const fetch = Effect.fnUntraced(function*(
  { kept, upstream }: Options,
  repository: Repository,
  reference: Tag | Digest,
  tags: ReadonlyArray<Tag>
) {
  const { manifest, parts } = yield* Effect.flatMap(
    upstream.getManifest(repository, reference),
    (received) =>
      Effect.mapError(
        verify(received, isDigest(reference) ? reference : received.descriptor.digest),
        failing(upstream.name)("getManifest", repository)
      )
  )
  yield* kept.keep(repository, manifest, tags, parts)
  return manifest
})

/** Returns the descriptor of a kept manifest, except for a web page that an earlier version has kept. */
const resolveKept = Effect.fnUntraced(
  function*({ kept }: Options, repository: Repository, reference: Tag | Digest) {
    const found = yield* kept.resolve(repository, reference)
    if (found === undefined || MediaType.isManifest(found.mediaType)) return found
    const manifest = yield* kept.find(repository, found.digest)
    return manifest === undefined || isPage(found.mediaType, manifest.bytes) ? undefined : found
  }
)

// ---------------------------------------------------------------------------------------------------------------------
// tags
// ---------------------------------------------------------------------------------------------------------------------

interface Resolved {
  readonly descriptor: Descriptor
  readonly isStale: boolean
}

/** Asks upstream for a tag, and fetches its manifest only if it is not the one that is known. */
const askUpstream = Effect.fnUntraced(
  function*(options: Options, repository: Repository, tag: Tag, known: Descriptor | undefined) {
    if (known === undefined) return (yield* fetch(options, repository, tag, [tag])).descriptor
    const { digest } = yield* options.upstream.resolveManifest(repository, tag)
    // the known descriptor, because it is that of a verified manifest
    return digest === known.digest ? known : (yield* fetch(options, repository, digest, [tag])).descriptor
  }
)

const resolveTag = Effect.fnUntraced(
  function*(options: Options, repository: Repository, tag: Tag): Effect.fn.Return<Resolved, RegistryError> {
    const { kept, stale, upstream } = options
    const known = yield* resolveKept(options, repository, tag)
    const asked = yield* Effect.result(askUpstream(options, repository, tag, known))
    if (Result.isSuccess(asked)) return { descriptor: asked.success, isStale: false }
    if (isAbsence(asked.failure)) yield* kept.forget(repository, tag)
    if (!asked.failure.isRetryable || known === undefined || stale === "fail") return yield* asked.failure
    const observe = yield* Observer
    const text = `${repository}:${tag} is served as last known: ${asked.failure.reason.message}`
    yield* observe({ _tag: "Warning", registry: upstream.name, text })
    return { descriptor: known, isStale: true }
  }
)

// ---------------------------------------------------------------------------------------------------------------------
// constructors
// ---------------------------------------------------------------------------------------------------------------------

/** Key of a manifest. Two keys are equal if their parts are. */
interface Key<Reference> {
  readonly repository: Repository
  readonly reference: Reference
}

/** Creates the manifests of a cache. */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<CachedManifests> {
  const { kept, timeToLive } = options

  const manifests = yield* Cache.makeWith(
    ({ reference, repository }: Key<Digest>) =>
      Effect.flatMap(
        kept.find(repository, reference),
        (found) =>
          found === undefined || isPage(found.descriptor.mediaType, found.bytes)
            ? fetch(options, repository, reference, [])
            : Effect.succeed(found)
      ),
    // no time to live, because this cache only combines concurrent requests
    { capacity: Infinity, timeToLive: () => Duration.zero }
  )

  const tags = yield* Cache.makeWith(
    ({ reference, repository }: Key<Tag>) => resolveTag(options, repository, reference),
    {
      capacity: tagCapacity,
      timeToLive: (exit) =>
        Exit.isFailure(exit)
          ? Duration.zero
          : exit.value.isStale
          ? Duration.min(staleTimeToLive, timeToLive)
          : timeToLive
    }
  )

  const byTag = (repository: Repository, reference: Tag) =>
    Effect.map(Cache.get(tags, { repository, reference }), ({ descriptor }) => descriptor)

  const byDigest = (repository: Repository, reference: Digest) => Cache.get(manifests, { repository, reference })

  return {
    get: Effect.fnUntraced(function*(repository, reference) {
      const digest = isDigest(reference) ? reference : (yield* byTag(repository, reference)).digest
      return yield* byDigest(repository, digest)
    }),
    resolve: Effect.fnUntraced(function*(repository, reference) {
      if (!isDigest(reference)) return yield* byTag(repository, reference)
      // fetched if it is not kept, because a descriptor of upstream alone is not verified
      const found = yield* resolveKept(options, repository, reference)
      return found ?? (yield* byDigest(repository, reference)).descriptor
    }),
    invalidate: (repository, names) =>
      Effect.forEach(names, (reference) => Cache.invalidate(tags, { repository, reference }), { discard: true }),
    invalidateAll: Effect.fnUntraced(function*(repository) {
      for (const key of yield* Cache.keys(tags)) {
        if (key.repository === repository) yield* Cache.invalidate(tags, key)
      }
    })
  }
})
