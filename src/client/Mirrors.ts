/**
 * A registry with mirrors. Reads try each mirror in order, and then the registry itself; a mirror that fails is
 * skipped. Writes, deletions and lists use the registry.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Repository } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"

/** A registry with the repositories of another one, below `prefix` if it is set. */
export interface Mirror {
  readonly registry: Registry.Registry
  readonly prefix?: Repository | undefined
}

const decodeRepository = Schema.decodeOption(Repository)

export const make = (upstream: Registry.Registry, mirrors: ReadonlyArray<Mirror>): Registry.Registry => {
  const firstOf = <A, R>(
    repository: Repository,
    read: (registry: Registry.Registry, repository: Repository) => Effect.Effect<A, RegistryError, R>
  ): Effect.Effect<A, RegistryError, R> =>
    mirrors.reduceRight(
      (next, { prefix, registry }) =>
        Effect.fromOption(decodeRepository(prefix === undefined ? repository : `${prefix}/${repository}`)).pipe(
          Effect.flatMap((there) => read(registry, there)),
          Effect.catch(() => next)
        ),
      read(upstream, repository)
    )
  return Registry.make({
    ...upstream,
    getBlob: (repository, digest, options) =>
      firstOf(repository, (registry, name) => registry.getBlob(name, digest, options)),
    resolveBlob: (repository, digest, options) =>
      firstOf(repository, (registry, name) => registry.resolveBlob(name, digest, options)),
    getManifest: (repository, reference) =>
      firstOf(repository, (registry, name) => registry.getManifest(name, reference)),
    resolveManifest: (repository, reference) =>
      firstOf(repository, (registry, name) => registry.resolveManifest(name, reference))
  })
}
