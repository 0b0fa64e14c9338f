/**
 * Several registries as one: an overlay over what is only read, mirrors of each other, or the same content in two places.
 *
 * **Reading.** The first registry, in the order given, that has something answers for it. What a digest names is the same
 * wherever it is: any failure goes on to the next registry, and with the policy `concurrent` the fastest registry answers.
 * Where a tag points is for the first registry to say that knows it: only `ManifestUnknown`, `NameUnknown` and
 * `Unsupported` go on to the next, for an image must not be another one because a registry is down, or asks for
 * credentials. A blob whose registry breaks off in the middle fails, as it does there.
 *
 * **Lists** are merged as they come: tags and repositories in order, as far as each registry lists in order; referrers one
 * registry after another; nothing twice. A registry that does not know the repository adds nothing. Any other failure
 * fails the list, for one that lacks something looks like any other.
 *
 * **Writing** goes to the first registry alone, unless `writes` is `all`. A manifest that this registry refuses
 * because it lacks what another one has is pushed again after that was copied over. Deletes go there as well; what
 * another registry has stays visible, and deleting what only others have fails with `Unsupported`.
 *
 * With `writes: "all"`, what the first registry took is copied from it to the others before a call returns, and a tag is
 * set in the first registry when it is set in all others. Where one of the others fails, all are tried, and the error
 * names the one that failed: the first registry may have the blob or manifest then, tags of it stay where they were, and
 * the same call again completes what is missing. Deletes are tried in all; it is enough that one had it.
 *
 * Errors come from the registry that failed, and name it. Upload sessions are those of the first registry. A ping succeeds
 * when all registries answer.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import { type Digest, isDigest } from "../Digest.ts"
import * as Limiter from "../Limiter.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import { isAbsence, orAbsent, RegistryError, Unsupported } from "../RegistryError.ts"
import type { Mounted, Upload } from "../Upload.ts"
import * as Merge from "./Merge.ts"
import * as ReadStrategy from "./ReadStrategy.ts"
import * as Replication from "./Replication.ts"

export {
  /** @since 0.1.0 */
  type Policy
} from "./ReadStrategy.ts"

/**
 * How registries are one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What it is called; the names of its registries with `+` between them unless given. */
  readonly name?: string
  /** Whether one registry is asked after another, which is the default, or all at once. */
  readonly policy?: ReadStrategy.Policy
  /** Where to write: to the `first` registry, which is the default, or to `all`. */
  readonly writes?: "first" | "all"
}

/**
 * Makes one registry of several. The order says who comes first.
 *
 * **Example** (What was changed here, over what is elsewhere)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MediaType from "effect-oci/MediaType"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Reference from "effect-oci/Reference"
 * import * as UnionRegistry from "effect-oci/UnionRegistry"
 *
 * const app = Reference.Repository.make("app")
 * const tag = Reference.Tag.make("1")
 * const index = { mediaType: MediaType.imageIndex, bytes: new TextEncoder().encode(`{"schemaVersion":2,"manifests":[]}`) }
 *
 * const program = Effect.gen(function*() {
 *   const here = yield* MemoryRegistry.make({ name: "here" })
 *   const elsewhere = yield* MemoryRegistry.make({ name: "elsewhere" })
 *   yield* elsewhere.pushManifest(app, index, [tag])
 *   const union = UnionRegistry.make([here, elsewhere])
 *   return yield* union.resolveManifest(app, tag)
 * })
 *
 * Effect.runSync(program).size // => 34
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  registries: Arr.NonEmptyReadonlyArray<Registry.Registry>,
  options?: Options
): Registry.Registry => {
  const [first, ...others] = registries
  const { policy = "sequential", writes = "first" } = options ?? {}
  const concurrency = policy === "concurrent" ? "unbounded" : 1
  const limiters = registries.flatMap(({ limiter }) => limiter ?? [])

  // -- reading --------------------------------------------------------------------------------------------------------

  const each = <A, R>(run: (registry: Registry.Registry) => Effect.Effect<A, RegistryError, R>) =>
    registries.map((registry) => Effect.suspend(() => run(registry)))

  const manifest = <A>(
    reference: Tag | Digest,
    run: (registry: Registry.Registry) => Effect.Effect<A, RegistryError>
  ) =>
    isDigest(reference)
      ? Effect.scoped(ReadStrategy.byDigest(policy, each(run)))
      : ReadStrategy.byTag(policy, each(run))

  // -- writing --------------------------------------------------------------------------------------------------------

  /** Does something to all others if they are written to; the first that failed is told when all have been tried. */
  const toOthers = (run: (other: Registry.Registry) => Effect.Effect<unknown, RegistryError>) =>
    writes === "first" ? Effect.void : Effect.flatMap(
      Effect.forEach(others, (other) => Effect.result(run(other)), { concurrency }),
      (results) => Effect.fromResult(Result.all(results))
    )

  const replicate = (repository: Repository, descriptor: Pick<Descriptor, "digest" | "size">) =>
    toOthers((other) => Replication.blob(other, repository, descriptor, [first]))

  const replicating = (repository: Repository) => (upload: Upload): Upload => ({
    ...upload,
    commit: (digest, last) =>
      Effect.tap(upload.commit(digest, last), ({ size }) => replicate(repository, { digest, size }))
  })

  const remove = (
    operation: string,
    repository: Repository,
    run: (registry: Registry.Registry) => Effect.Effect<void, RegistryError>,
    look: (registry: Registry.Registry) => Effect.Effect<unknown, RegistryError>
  ) =>
    writes === "first"
      ? Effect.catchIf(run(first), isAbsence, (absence) =>
        Effect.flatMap(
          Effect.findFirst(others, (other) => Effect.map(orAbsent(look(other)), (found) => found !== undefined)),
          (found) => Effect.fail(found._tag === "None" ? absence : onlyRead(operation, repository, found.value.name))
        ))
      : Effect.flatMap(
        Effect.forEach(registries, (registry) => Effect.result(run(registry)), { concurrency }),
        (results) => {
          const failures = results.flatMap((result) => Result.isFailure(result) ? [result.failure] : [])
          const failure = failures.find((error) => !isAbsence(error)) ?? failures[0]
          const isGone = failures.every(isAbsence) && failures.length < results.length
          return failure === undefined || isGone ? Effect.void : Effect.fail(failure)
        }
      )

  const onlyRead = (operation: string, repository: Repository, owner: string) =>
    new RegistryError({
      operation,
      registry: first.name,
      repository,
      reason: new Unsupported({ detail: `it is in ${owner}, which is only read here` })
    })

  // -------------------------------------------------------------------------------------------------------------------

  return Registry.make({
    name: options?.name ?? registries.map(({ name }) => name).join("+"),
    ...limiters.length === 0 ? {} : { limiter: Limiter.all(limiters) },
    capabilities: Effect.map(
      Effect.forEach(registries, ({ capabilities }) => capabilities),
      (all) => {
        const { pages: _pages, referrers: _referrers, ...ofFirst } = all[0]
        return { ...ofFirst, ...common(all, "referrers"), ...common(all, "pages") }
      }
    ),
    ping: Effect.forEach(registries, ({ ping }) => ping, { concurrency, discard: true }),
    getBlob: (repository, digest, options) =>
      ReadStrategy.byDigest(policy, each((registry) => registry.getBlob(repository, digest, options))),
    resolveBlob: (repository, digest, options) =>
      Effect.scoped(
        ReadStrategy.byDigest(policy, each((registry) => registry.resolveBlob(repository, digest, options)))
      ),
    getManifest: (repository, reference) =>
      manifest(reference, (registry) => registry.getManifest(repository, reference)),
    resolveManifest: (repository, reference) =>
      manifest(reference, (registry) => registry.resolveManifest(repository, reference)),
    pushBlob: (repository, descriptor, source) =>
      Effect.tap(first.pushBlob(repository, descriptor, source), () => replicate(repository, descriptor)),
    startUpload: (repository, options) =>
      Effect.flatMap(
        first.startUpload(repository, options),
        (started): Effect.Effect<Mounted | Upload, RegistryError> => {
          if (started._tag === "Upload") return Effect.succeed(replicating(repository)(started))
          if (writes === "first") return Effect.succeed(started)
          return first.resolveBlob(repository, started.digest).pipe(
            Effect.flatMap((descriptor) => replicate(repository, descriptor)),
            Effect.as(started)
          )
        }
      ),
    resumeUpload: (repository, id) => Effect.map(first.resumeUpload(repository, id), replicating(repository)),
    pushManifest: Effect.fnUntraced(function*(repository, manifest, tags = []) {
      if (writes === "first") return yield* Replication.pushManifest(first, repository, manifest, tags, others)
      // the first says whether it is one at all; its tags are what readers see
      const descriptor = yield* Replication.pushManifest(first, repository, manifest, [], others)
      yield* toOthers((other) => Replication.pushManifest(other, repository, manifest, tags, registries))
      return tags.length === 0 ? descriptor : yield* first.pushManifest(repository, manifest, tags)
    }),
    deleteBlob: (repository, digest) =>
      remove(
        "deleteBlob",
        repository,
        (registry) => registry.deleteBlob(repository, digest),
        (registry) => registry.resolveBlob(repository, digest)
      ),
    deleteManifest: (repository, digest) =>
      remove(
        "deleteManifest",
        repository,
        (registry) => registry.deleteManifest(repository, digest),
        (registry) => registry.resolveManifest(repository, digest)
      ),
    deleteTag: (repository, tag) =>
      remove(
        "deleteTag",
        repository,
        (registry) => registry.deleteTag(repository, tag),
        (registry) => registry.resolveManifest(repository, tag)
      ),
    repositories: (options) => Merge.inOrder(registries.map((registry) => registry.repositories(options)), policy),
    tags: (repository, options) =>
      Merge.inOrder(registries.map((registry) => registry.tags(repository, options)), policy),
    referrers: (repository, digest, options) =>
      Merge.inTurn(registries.map((registry) => registry.referrers(repository, digest, options)))
  })
}

/** What all do, or one does not; nothing while some are not known. */
const common = (
  all: ReadonlyArray<Registry.Capabilities>,
  key: "referrers" | "pages"
): Registry.Capabilities =>
  all.some((each) => each[key] === false)
    ? { [key]: false }
    : all.every((each) => each[key] === true)
    ? { [key]: true }
    : {}

/**
 * Provides one registry made of those that some layers provide, as the `Registry` service.
 *
 * **Example** (A folder in front of the world)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as Registry from "effect-oci/Registry"
 * import * as UnionRegistry from "effect-oci/UnionRegistry"
 *
 * const layer = UnionRegistry.layer([MemoryRegistry.layer({ name: "near" }), MemoryRegistry.layer({ name: "far" })])
 *
 * Effect.runSync(Effect.provide(Registry.Registry.useSync(({ name }) => name), layer)) // => "near+far"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <E, R>(
  layers: Arr.NonEmptyReadonlyArray<Layer.Layer<Registry.Registry, E, R>>,
  options?: Options
): Layer.Layer<Registry.Registry, E, R> =>
  Layer.effect(
    Registry.Registry,
    Effect.map(
      // each for itself, though two of them may be the same layer
      Effect.forEach(layers, (layer) => Effect.map(Layer.build(Layer.fresh(layer)), Context.get(Registry.Registry))),
      (registries) => make(registries, options)
    )
  )
