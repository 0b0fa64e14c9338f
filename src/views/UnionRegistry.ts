/**
 * Several registries combined into one: a writable registry over a read-only one, a list of mirrors, or two registries
 * with the same content.
 *
 * **Reads.** The first registry that has the content, in the order given, answers. For a digest, the next registry is
 * asked after any failure, because the content of a digest is the same everywhere. With the policy `concurrent`, the
 * fastest registry answers. For a tag, the first registry that knows the tag decides. The next one is asked only after
 * `ManifestUnknown`, `NameUnknown` or `Unsupported`, because a tag must not resolve to another image while a registry
 * is down or requires credentials. If the stream of a blob fails, it is not continued from another registry.
 *
 * **Lists** are merged as they arrive, without duplicates. Tags and repositories are in order, as far as each registry
 * lists them in order. Referrers follow registry by registry. A registry that does not know the repository adds
 * nothing. Any other failure fails the list, because an incomplete list looks like a complete one.
 *
 * **Writes** go to the first registry only, unless `writes` is `all`. If it refuses a manifest because it lacks content
 * that another registry has, that content is copied to it, and the manifest is pushed again. Deletes go to the first
 * registry as well. Content of the other registries stays visible, and deleting content that only they have fails with
 * `Unsupported`.
 *
 * With `writes: "all"`, content is copied from the first registry to the others before a call returns. A tag is set in
 * the first registry after it was set in all others. If one of the others fails, the rest are still tried, and the
 * error names the registry that failed. The first registry may then have the blob or manifest, but its tags are
 * unchanged, and the same call completes the missing writes when it is repeated. Deletes are tried in all registries,
 * and succeed if one of them had the content.
 *
 * An error names the registry that failed. Upload sessions are those of the first registry. A ping succeeds if all
 * registries answer.
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
import { failing, isAbsence, orAbsent, type RegistryError, Unsupported } from "../RegistryError.ts"
import type { Mounted, Upload } from "../Upload.ts"
import * as Merge from "./Merge.ts"
import * as ReadStrategy from "./ReadStrategy.ts"
import * as Replication from "./Replication.ts"

export {
  /** @since 0.1.0 */
  type Policy
} from "./ReadStrategy.ts"

/**
 * Options of a union.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Name of the union. Default: the names of its registries, joined by `+`. */
  readonly name?: string | undefined
  /** Order in which the registries are asked. Default: `sequential`. */
  readonly policy?: ReadStrategy.Policy | undefined
  /** Registries that are written to: the `first` one or `all`. Default: `first`. */
  readonly writes?: "first" | "all" | undefined
}

/**
 * Combines several registries into one. Earlier registries take precedence.
 *
 * **Example** (A local registry over a remote one)
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
 * const bytes = new TextEncoder().encode(`{"schemaVersion":2,"manifests":[]}`)
 *
 * const program = Effect.gen(function*() {
 *   const here = yield* MemoryRegistry.make({ name: "here" })
 *   const elsewhere = yield* MemoryRegistry.make({ name: "elsewhere" })
 *   yield* elsewhere.pushManifest(app, { mediaType: MediaType.imageIndex, bytes }, [tag])
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

  /** Writes to the other registries if `writes` is `all`. After all were tried, fails with the first failure. */
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
    failing(first.name)(operation, repository)(
      new Unsupported({ detail: `it is in ${owner}, which this union only reads` })
    )

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
      // without tags at first, because tags of the first registry must not be seen before the others have the manifest
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

/** Returns a capability as true if all registries have it, as false if one lacks it, and otherwise as unknown. */
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
 * Provides the union of the registries of several layers as the `Registry` service.
 *
 * **Example** (Two registries in memory)
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
      // fresh, because two of them may be the same layer, which would be built only once
      Effect.forEach(layers, (layer) => Effect.map(Layer.build(Layer.fresh(layer)), Context.get(Registry.Registry))),
      (registries) => make(registries, options)
    )
  )
