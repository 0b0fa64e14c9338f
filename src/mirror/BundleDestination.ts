/**
 * Compares a verified bundle with the registry that it goes to: finds the content that the bundle expects there, in the
 * repository that needs it or in another one of the registry, and serves all of it as the source of copies.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Digest from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import type { Host, Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as RegistryError from "../RegistryError.ts"
import * as BundleCheck from "./BundleCheck.ts"
import type { BundleRepository } from "./BundleContents.ts"
import * as BundleFile from "./BundleFile.ts"
import type { Place } from "./Unit.ts"

/** A repository of a bundle, with its place at the destination. */
export interface Target {
  readonly place: Place
  readonly entry: BundleRepository
}

/** A registry that a bundle goes to. */
export interface BundleDestination {
  readonly host: Host
  readonly registry: Registry.Registry
  /** The bundle with the rest of the registry, as the source of copies to it. */
  readonly source: Registry.Registry
  /**
   * Looks up everything below a manifest that the bundle does not have. Returns what neither the repository nor
   * another one has.
   */
  readonly findMissing: (
    repository: Repository,
    manifest: Digest.Digest
  ) => Effect.Effect<ReadonlyArray<Digest.Digest>, RegistryError.RegistryError>
  /** Blobs that a repository lacks, and that it can mount from another one. */
  readonly mounts: (repository: Repository) => ReadonlyMap<Digest.Digest, Repository>
}

// number of blobs and manifests that are looked up at the same time
const concurrency = 16

/** Returns the repositories that are expected to have each digest. */
const holdersOf = (
  { file: { contents } }: BundleCheck.CheckedBundle,
  targets: ReadonlyArray<Target>
): ReadonlyMap<Digest.Digest, ReadonlyArray<Repository>> => {
  const holders = new Map<Digest.Digest, Array<Repository>>()
  for (const { entry, place } of targets) {
    for (const position of entry.assumed) {
      const digest = contents.content[position]?.digest
      if (digest === undefined) continue
      const known = holders.get(digest) ?? []
      holders.set(digest, known)
      known.push(place.repository)
    }
  }
  return holders
}

/** Creates the state of one registry. `targets` are all repositories of the bundle there. */
export const make = (
  bundle: BundleCheck.CheckedBundle,
  host: Host,
  registry: Registry.Registry,
  targets: ReadonlyArray<Target>
): BundleDestination => {
  const { content, references } = bundle
  const holders = holdersOf(bundle, targets)
  // where content is that a repository lacks
  const elsewhere = new Map<string, Map<Digest.Digest, Repository>>()
  const seen = new Map<string, Effect.Effect<ReadonlyArray<Digest.Digest>, RegistryError.RegistryError>>()

  // repositories whose indexes list images that they do not have
  const sparse = new Set(
    targets.flatMap(({ entry, place }) => entry.platforms === undefined ? [] : [place.repository])
  )

  const isManifest = (digest: Digest.Digest) => content.get(digest)?.mediaType !== undefined

  /** Returns true if a repository has content. */
  const has = (repository: Repository, digest: Digest.Digest, asManifest: boolean) =>
    Effect.map(
      RegistryError.orAbsent(
        asManifest ? registry.resolveManifest(repository, digest) : registry.resolveBlob(repository, digest)
      ),
      (found) => found !== undefined
    )

  const noteElsewhere = (repository: Repository, digest: Digest.Digest, from: Repository) => {
    const known = elsewhere.get(repository) ?? new Map<Digest.Digest, Repository>()
    elsewhere.set(repository, known.set(digest, from))
  }

  /** Finds another repository that has content. */
  const findHolder = Effect.fnUntraced(
    function*(repository: Repository, digest: Digest.Digest, hints: ReadonlyArray<Repository>) {
      for (const other of new Set([...hints, ...holders.get(digest) ?? []])) {
        if (other !== repository && (yield* has(other, digest, isManifest(digest)))) return other
      }
      return undefined
    }
  )

  /** Looks up one digest, and what is below it if the repository does not have it. */
  const look = Effect.fnUntraced(function*(
    repository: Repository,
    digest: Digest.Digest,
    asManifest: boolean,
    hints: ReadonlyArray<Repository>
  ): Effect.fn.Return<ReadonlyArray<Digest.Digest>, RegistryError.RegistryError> {
    const known = content.get(digest)
    if (known !== undefined && known.assumed !== true) {
      return yield* findAll(repository, references.get(digest) ?? [], hints)
    }
    // a registry has all content of a manifest that it has
    if (yield* has(repository, digest, asManifest)) return []
    const holder = yield* findHolder(repository, digest, hints)
    if (holder === undefined) return [digest]
    noteElsewhere(repository, digest, holder)
    if (!asManifest) return []
    const { bytes, descriptor } = yield* registry.getManifest(holder, digest)
    const { blobs, manifests } = yield* Effect.orElseSucceed(
      BundleCheck.referencesOf(descriptor.mediaType, bytes),
      () => ({ blobs: [], manifests: [] })
    )
    const below = [
      ...blobs.filter(({ mediaType }) => !MediaType.isNonDistributable(mediaType)),
      ...sparse.has(repository) ? manifests.filter(({ digest }) => content.has(digest)) : manifests
    ]
    return yield* findAll(repository, below.map(({ digest }) => digest), [holder, ...hints])
  })

  const find = (
    repository: Repository,
    digest: Digest.Digest,
    hints: ReadonlyArray<Repository>
  ): Effect.Effect<ReadonlyArray<Digest.Digest>, RegistryError.RegistryError> =>
    Effect.gen(function*() {
      const key = `${repository} ${digest}`
      const lookup = seen.get(key) ?? (yield* Effect.cached(look(repository, digest, isManifest(digest), hints)))
      seen.set(key, lookup)
      return yield* lookup
    })

  const findAll = (
    repository: Repository,
    digests: ReadonlyArray<Digest.Digest>,
    hints: ReadonlyArray<Repository>
  ): Effect.Effect<ReadonlyArray<Digest.Digest>, RegistryError.RegistryError> =>
    Effect.map(
      Effect.forEach(digests, (digest) => find(repository, digest, hints), { concurrency }),
      (missing) => Array.from(new Set(missing.flat()))
    )

  return {
    host,
    registry,
    findMissing: (repository, manifest) => find(repository, manifest, []),
    mounts: (repository) =>
      new Map(Array.from(elsewhere.get(repository) ?? []).filter(([digest]) => !isManifest(digest))),
    source: sourceOf(
      bundle,
      registry,
      targets,
      (repository, digest) => elsewhere.get(repository)?.get(digest) ?? repository
    )
  }
}

/** Serves the content of a bundle, and what the registry itself has, as one registry that is only read. */
const sourceOf = (
  { content, file }: BundleCheck.CheckedBundle,
  registry: Registry.Registry,
  targets: ReadonlyArray<Target>,
  holderOf: (repository: Repository, digest: Digest.Digest) => Repository
): Registry.Registry => {
  const name = `bundle ${file.path}`
  const failed = RegistryError.failing(name)
  const { contents } = file
  return Registry.make({
    name,
    capabilities: Effect.succeed({ referrers: true }),
    resolveManifest: Effect.fnUntraced(function*(repository, reference) {
      // positions are known by digest only, so a tag is not found
      const known = Digest.isDigest(reference) ? content.get(reference) : undefined
      if (known?.mediaType === undefined) {
        return yield* failed("resolveManifest", repository)(new RegistryError.ManifestUnknown({}))
      }
      return { mediaType: known.mediaType, digest: known.digest, size: known.size }
    }),
    getManifest: Effect.fnUntraced(function*(repository, reference) {
      const known = Digest.isDigest(reference) ? content.get(reference) : undefined
      if (known?.mediaType === undefined || known.assumed === true) {
        const digest = known?.digest
        return digest === undefined
          ? yield* registry.getManifest(repository, reference)
          : yield* registry.getManifest(holderOf(repository, digest), digest)
      }
      const bytes = yield* Effect.mapError(
        BundleCheck.readContent(file, known),
        failed("getManifest", repository)
      )
      return { descriptor: { mediaType: known.mediaType, digest: known.digest, size: known.size }, bytes }
    }),
    resolveBlob: Effect.fnUntraced(function*(repository, digest, options) {
      const known = content.get(digest)
      if (known === undefined) return yield* registry.resolveBlob(holderOf(repository, digest), digest, options)
      return { mediaType: MediaType.octetStream, digest, size: known.size }
    }),
    getBlob: Effect.fnUntraced(function*(repository, digest, options) {
      const fail = failed("getBlob", repository)
      const known = content.get(digest)
      if (known === undefined || known.assumed === true) {
        return yield* registry.getBlob(holderOf(repository, digest), digest, options)
      }
      const opened = yield* Effect.mapError(BundleFile.openContent(file, known), fail)
      if (opened === undefined) return yield* fail(new RegistryError.BlobUnknown({}))
      const { length = known.size, offset } = options?.range ?? { offset: 0 }
      const end = Math.min(known.size, offset + length)
      return {
        descriptor: { mediaType: MediaType.octetStream, digest, size: known.size },
        stream: Stream.mapError(opened.read(offset, end), fail)
      }
    }),
    referrers: (repository, subject) =>
      Stream.fromIterable(
        targets.filter(({ place }) => place.repository === repository).flatMap(({ entry }) =>
          entry.referrers.flatMap((referrer) => {
            const known = contents.content[referrer.manifest]
            return known?.mediaType === undefined || contents.content[referrer.subject]?.digest !== subject
              ? []
              : [{ mediaType: known.mediaType, digest: known.digest, size: known.size }]
          })
        )
      ),
    tags: () => Stream.empty
  })
}
