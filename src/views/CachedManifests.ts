/**
 * Manifests and tags of a cache. Manifests are fetched from upstream, verified, and kept in a store. Tags are checked
 * again after a time.
 */
import * as Cache from "effect/Cache"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import { type Digest, isDigest } from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as LargeManifest from "../LargeManifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import { type ManifestBytes, Observer, type Registry } from "../Registry.ts"
import { failing, isAbsence, type Reason, type RegistryError, Timeout, UnexpectedResponse } from "../RegistryError.ts"
import type { Snapshot } from "./CacheJournal.ts"
import type { CacheSpace } from "./CacheSpace.ts"
import type { KeptManifests } from "./KeptManifests.ts"

export interface CachedManifests {
  /** Returns a manifest, and fetches it if it is not kept. The bytes are shared by all callers. */
  readonly get: (repository: Repository, reference: Tag | Digest) => Effect.Effect<ManifestBytes, RegistryError>
  readonly resolve: (repository: Repository, reference: Tag | Digest) => Effect.Effect<Descriptor, RegistryError>
  /** Forgets where tags point, so that upstream is asked again. */
  readonly invalidate: (repository: Repository, tags: ReadonlyArray<Tag>) => Effect.Effect<void>
  /** Forgets where all tags of a repository point. */
  readonly invalidateAll: (repository: Repository) => Effect.Effect<void>
  /** Returns true if the policy permits to serve a tag as last known. */
  readonly isServed: (repository: Repository, tag: Tag) => Effect.Effect<boolean>
  /** Returns the tags, and the times at which upstream was last asked for them. */
  readonly checked: () => Snapshot["tags"]
}

/** Policy for tags while upstream fails temporarily. `serve` has no limit of age. */
export type Stale = "serve" | "fail" | { readonly maximumAge: Duration.Input }

export interface Options {
  readonly upstream: Registry
  readonly kept: KeptManifests
  readonly space: CacheSpace
  /** Time after which upstream is asked again for a tag. */
  readonly timeToLive: Duration.Duration
  /** Time after which upstream is asked again for a tag or manifest that it did not have. */
  readonly absentTimeToLive: Duration.Duration
  /** Maximum time to wait for upstream while the last known manifest could be served. */
  readonly revalidationTimeout: Duration.Duration
  readonly stale: Stale
  /** Times at which an earlier process asked upstream for tags. */
  readonly checked: Snapshot["tags"]
}

/** Time after which upstream is asked again for a tag that was served stale. */
const staleTimeToLive = Duration.seconds(10)

/** Maximum number of tags in memory. */
const tagCapacity = 100_000

/** Maximum number of absent manifests in memory. */
const absentCapacity = 10_000

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

/** Times at which upstream was last asked for tags with success, in milliseconds. The oldest are dropped. */
interface CheckTimes {
  readonly get: (repository: Repository, tag: Tag) => number | undefined
  readonly set: (repository: Repository, tag: Tag, time: number) => void
  readonly delete: (repository: Repository, tag: Tag) => void
  readonly all: () => Snapshot["tags"]
}

const makeCheckTimes = (before: Snapshot["tags"]): CheckTimes => {
  const keyOf = (repository: Repository, tag: Tag) => `${repository}:${tag}`
  const times = new Map(before.map((entry) => [keyOf(entry[0], entry[1]), entry]))
  return {
    get: (repository, tag) => times.get(keyOf(repository, tag))?.[2],
    set: (repository, tag, time) => {
      const key = keyOf(repository, tag)
      times.delete(key)
      times.set(key, [repository, tag, time])
      const [oldest] = times.keys()
      if (times.size > tagCapacity && oldest !== undefined) times.delete(oldest)
    },
    delete: (repository, tag) => void times.delete(keyOf(repository, tag)),
    all: () => Array.from(times.values())
  }
}

/** Returns the time since upstream was asked for a tag with success, or `undefined` if it is not known. */
const ageOf = (times: CheckTimes, repository: Repository, tag: Tag) =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const time = times.get(repository, tag)
    return time === undefined ? undefined : Duration.millis(Math.max(0, now - time))
  })

/** Asks upstream for a tag, and fetches its manifest only if it is not the one that is known. */
const askUpstream = Effect.fnUntraced(
  function*(options: Options, repository: Repository, tag: Tag, known: Descriptor | undefined) {
    if (known === undefined) return (yield* fetch(options, repository, tag, [tag])).descriptor
    const { digest } = yield* options.upstream.resolveManifest(repository, tag)
    // the known descriptor, because it is that of a verified manifest
    return digest === known.digest ? known : (yield* fetch(options, repository, digest, [tag])).descriptor
  }
)

/** Asks upstream for a tag. Does not wait long if a known manifest can be served instead. */
const askInTime = (options: Options, repository: Repository, tag: Tag, known: Descriptor | undefined) => {
  const asked = askUpstream(options, repository, tag, known)
  const { revalidationTimeout, stale, upstream } = options
  return known === undefined || stale === "fail" ? asked : Effect.timeoutOrElse(asked, {
    duration: revalidationTimeout,
    orElse: () =>
      Effect.fail(
        failing(upstream.name)("resolveManifest", repository)(
          new Timeout({ phase: "headers", after: revalidationTimeout })
        )
      )
  })
}

/** Returns true if the policy permits to serve a tag of this age. One of unknown age is older than any limit. */
const isServed = (stale: Stale, age: Duration.Duration | undefined): boolean =>
  stale === "serve" ||
  stale !== "fail" && age !== undefined &&
    Duration.isLessThanOrEqualTo(age, Duration.fromInputUnsafe(stale.maximumAge))

const resolveTag = Effect.fnUntraced(
  function*(options: Options, times: CheckTimes, repository: Repository, tag: Tag): Effect.fn.Return<
    Resolved,
    RegistryError
  > {
    const { kept, stale, upstream } = options
    const known = yield* resolveKept(options, repository, tag)
    const asked = yield* Effect.result(askInTime(options, repository, tag, known))
    if (Result.isSuccess(asked)) {
      times.set(repository, tag, yield* Clock.currentTimeMillis)
      return { descriptor: asked.success, isStale: false }
    }
    if (isAbsence(asked.failure)) {
      times.delete(repository, tag)
      yield* kept.forget(repository, tag)
    }
    const age = yield* ageOf(times, repository, tag)
    if (!asked.failure.isRetryable || known === undefined || !isServed(stale, age)) return yield* asked.failure
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

const errorOf = (exit: Exit.Exit<unknown, RegistryError>): RegistryError | undefined =>
  Option.getOrUndefined(Exit.findErrorOption(exit))

/** Creates the manifests of a cache. */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<CachedManifests> {
  const { absentTimeToLive, kept, space, stale, timeToLive, upstream } = options
  const times = makeCheckTimes(options.checked)
  const ofAbsence = (error: RegistryError | undefined) =>
    error !== undefined && isAbsence(error) ? absentTimeToLive : Duration.zero

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

  const absent = yield* Cache.makeWith(
    (key: Key<Digest>) => Cache.get(manifests, key),
    { capacity: absentCapacity, timeToLive: (exit) => ofAbsence(errorOf(exit)) }
  )

  const tags = yield* Cache.makeWith(
    ({ reference, repository }: Key<Tag>) => resolveTag(options, times, repository, reference),
    {
      capacity: tagCapacity,
      timeToLive: (exit) =>
        Exit.isFailure(exit)
          ? ofAbsence(errorOf(exit))
          : exit.value.isStale
          ? Duration.min(staleTimeToLive, timeToLive)
          : timeToLive
    }
  )

  const byTag = Effect.fnUntraced(function*(repository: Repository, reference: Tag) {
    const { descriptor, isStale } = yield* Cache.get(tags, { repository, reference })
    if (!isStale) return descriptor
    const age = yield* ageOf(times, repository, reference)
    if (!isServed(stale, age)) {
      yield* Cache.invalidate(tags, { repository, reference })
      return (yield* Cache.get(tags, { repository, reference })).descriptor
    }
    const observe = yield* Observer
    yield* observe({ _tag: "ServedStale", registry: upstream.name, repository, tag: reference, age })
    return descriptor
  })

  const byDigest = (repository: Repository, reference: Digest) =>
    Effect.tap(
      Cache.get(absent, { repository, reference }),
      ({ descriptor }) => space.use(repository, reference, descriptor.size)
    )

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
      Effect.andThen(
        Effect.forEach(names, (reference) => Cache.invalidate(tags, { repository, reference }), { discard: true }),
        Cache.invalidateAll(absent)
      ),
    isServed: (repository, tag) => Effect.map(ageOf(times, repository, tag), (age) => isServed(stale, age)),
    checked: times.all,
    invalidateAll: Effect.fnUntraced(function*(repository) {
      for (const key of yield* Cache.keys(tags)) {
        if (key.repository === repository) yield* Cache.invalidate(tags, key)
      }
    })
  }
})
