/**
 * A view of the repositories of a registry that a predicate allows.
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Stream from "effect/Stream"
import type { Repository } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import { Denied, failing, NameUnknown, type RegistryError } from "../RegistryError.ts"

/**
 * Kind of access to a repository.
 *
 * - `read`: blobs and manifests are read.
 * - `write`: content is pushed, uploaded or mounted.
 * - `delete`: content or tags are deleted.
 * - `list`: tags and referrers are listed, and the repository appears in the list of repositories.
 *
 * @category models
 * @since 0.1.0
 */
export type Access = "read" | "write" | "delete" | "list"

/**
 * Creates a view that a predicate restricts by repository and kind of access.
 *
 * A repository that may not be read or listed appears to be absent: reads fail with `NameUnknown`, it has no
 * referrers, and lists omit it. Writes and deletes that are not allowed fail with `Denied`. Neither reveals whether
 * the repository exists, because the registry is not asked. A blob can be mounted from a repository that may be read.
 * Other mounts, and mounts without a source repository, are declined and become upload sessions.
 *
 * **Example** (The repositories of one team, without deletes)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import { Images } from "effect-oci/testing"
 * import * as View from "effect-oci/View"
 *
 * const program = Effect.gen(function*() {
 *   const memory = yield* MemoryRegistry.make()
 *   yield* Images.pushImage(memory, Images.repository("ops/secrets"), ["layer"], { tags: [Images.tag("1")] })
 *   const team = View.select(memory, (repository, access) => repository.startsWith("team/") && access !== "delete")
 *   return yield* Effect.flip(team.getManifest(Images.repository("ops/secrets"), Images.tag("1")))
 * })
 *
 * Effect.runSync(program).reason._tag // => "NameUnknown"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const select: {
  (allow: (repository: Repository, access: Access) => boolean): (self: Registry) => Registry
  (self: Registry, allow: (repository: Repository, access: Access) => boolean): Registry
} = dual(2, (self: Registry, allow: (repository: Repository, access: Access) => boolean): Registry => {
  const error = (operation: string, repository: Repository, access: Access) =>
    failing(self.name)(operation, repository)(
      access === "read" || access === "list" ? new NameUnknown({}) : new Denied({})
    )

  const check = <A, E, R>(
    operation: string,
    repository: Repository,
    access: Access,
    run: () => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | RegistryError, R> =>
    Effect.suspend((): Effect.Effect<A, E | RegistryError, R> =>
      allow(repository, access) ? run() : Effect.fail(error(operation, repository, access))
    )

  return {
    ...self,
    capabilities: Effect.map(self.capabilities, (capabilities) => ({ ...capabilities, anonymousMount: false })),
    getBlob: (repository, digest, options) =>
      check("getBlob", repository, "read", () => self.getBlob(repository, digest, options)),
    resolveBlob: (repository, digest, options) =>
      check("resolveBlob", repository, "read", () => self.resolveBlob(repository, digest, options)),
    getManifest: (repository, reference) =>
      check("getManifest", repository, "read", () => self.getManifest(repository, reference)),
    resolveManifest: (repository, reference) =>
      check("resolveManifest", repository, "read", () => self.resolveManifest(repository, reference)),
    pushBlob: (repository, descriptor, source) =>
      check("pushBlob", repository, "write", () => self.pushBlob(repository, descriptor, source)),
    startUpload: (repository, options) =>
      check(
        "startUpload",
        repository,
        "write",
        () => {
          const { mount, ...others } = options ?? {}
          const isAllowed = mount?.from !== undefined && allow(mount.from, "read")
          return self.startUpload(repository, mount !== undefined && isAllowed ? { ...others, mount } : others)
        }
      ),
    resumeUpload: (repository, id) =>
      check("resumeUpload", repository, "write", () => self.resumeUpload(repository, id)),
    pushManifest: (repository, manifest, tags) =>
      check("pushManifest", repository, "write", () => self.pushManifest(repository, manifest, tags)),
    deleteBlob: (repository, digest) =>
      check("deleteBlob", repository, "delete", () => self.deleteBlob(repository, digest)),
    deleteManifest: (repository, digest) =>
      check("deleteManifest", repository, "delete", () => self.deleteManifest(repository, digest)),
    deleteTag: (repository, tag) => check("deleteTag", repository, "delete", () => self.deleteTag(repository, tag)),
    repositories: (options) => Stream.filter(self.repositories(options), (repository) => allow(repository, "list")),
    tags: (repository, options) =>
      Stream.suspend(() =>
        allow(repository, "list") ? self.tags(repository, options) : Stream.fail(error("tags", repository, "list"))
      ),
    referrers: (repository, digest, options) =>
      Stream.suspend(() => allow(repository, "list") ? self.referrers(repository, digest, options) : Stream.empty)
  }
})
