/**
 * A view of the repositories of a registry below a prefix.
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Stream from "effect/Stream"
import type { Repository } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import { failing, isRegistryError, NameInvalid, type RegistryError } from "../RegistryError.ts"
import type { Upload } from "../Upload.ts"

const longestName = 255

/**
 * Creates a view of the repositories below a prefix, which is removed from their names. With the prefix `team`, the
 * repository `team/app` is called `app`. No other repository can be reached or listed, including `team` itself. The
 * name of the view is that of the registry with the prefix, such as `registry.example.com/team`, so that its errors
 * and reports contain full names.
 *
 * A blob can be mounted from a repository below the prefix. A mount without a source repository is declined and becomes
 * an upload session, because the registry might find the blob outside of the prefix. A name that exceeds 255 characters
 * with the prefix, which is the limit of common clients, fails with `NameInvalid`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const sub: {
  (prefix: Repository): (self: Registry) => Registry
  (self: Registry, prefix: Repository): Registry
} = dual(2, (self: Registry, prefix: Repository): Registry => {
  const name = `${self.name}/${prefix}`

  // as: two repository names joined by a slash are a repository name
  const below = (repository: string) => `${prefix}/${repository}` as Repository
  const isBelow = (repository: string) => repository.startsWith(`${prefix}/`)
  const within = (repository: string) => repository.slice(prefix.length + 1) as Repository

  const failed = failing(name)
  const invalid = (operation: string, repository: Repository) =>
    failed(operation, repository)(
      new NameInvalid({ detail: `with the prefix ${prefix}/, it has more than ${longestName} characters` })
    )

  /** Converts an error of the registry to one of this view. Errors of others, such as of a source, stay unchanged. */
  const translate = <E>(error: E): E | RegistryError => {
    if (!isRegistryError(error) || error.registry !== self.name) return error
    const { operation, reason, repository } = error
    if (repository !== undefined && !isBelow(repository)) return error
    return failed(operation, repository === undefined ? undefined : within(repository))(reason)
  }

  const effect = <A, E, R>(
    operation: string,
    repository: Repository,
    run: (repository: Repository) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | RegistryError, R> =>
    Effect.suspend(() => {
      const inner = below(repository)
      return inner.length > longestName
        ? Effect.fail(invalid(operation, repository))
        : Effect.mapError(run(inner), translate)
    })

  const stream = <A, E, R>(
    operation: string,
    repository: Repository,
    run: (repository: Repository) => Stream.Stream<A, E, R>
  ): Stream.Stream<A, E | RegistryError, R> =>
    Stream.suspend(() => {
      const inner = below(repository)
      return inner.length > longestName
        ? Stream.fail(invalid(operation, repository))
        : Stream.mapError(run(inner), translate)
    })

  const upload = (self: Upload): Upload => ({
    ...self,
    status: Effect.mapError(self.status, translate),
    append: (chunk) => Effect.mapError(self.append(chunk), translate),
    commit: (digest, last) => Effect.mapError(self.commit(digest, last), translate)
  })

  return {
    ...self,
    name,
    capabilities: Effect.map(self.capabilities, (capabilities) => ({ ...capabilities, anonymousMount: false })),
    ping: Effect.mapError(self.ping, translate),
    getBlob: (repository, digest, options) =>
      Effect.map(
        effect("getBlob", repository, (repository) => self.getBlob(repository, digest, options)),
        (blob) => ({ ...blob, stream: Stream.mapError(blob.stream, translate) })
      ),
    resolveBlob: (repository, digest, options) =>
      effect("resolveBlob", repository, (repository) => self.resolveBlob(repository, digest, options)),
    getManifest: (repository, reference) =>
      effect("getManifest", repository, (repository) => self.getManifest(repository, reference)),
    resolveManifest: (repository, reference) =>
      effect("resolveManifest", repository, (repository) => self.resolveManifest(repository, reference)),
    pushBlob: (repository, descriptor, source) =>
      effect("pushBlob", repository, (repository) => self.pushBlob(repository, descriptor, source)),
    startUpload: (repository, options) => {
      const { mount, ...others } = options ?? {}
      const from = mount?.from === undefined ? undefined : below(mount.from)
      const mapped = mount === undefined || from === undefined || from.length > longestName
        ? others
        : { ...others, mount: { digest: mount.digest, from } }
      return Effect.map(
        effect("startUpload", repository, (repository) => self.startUpload(repository, mapped)),
        (started) => started._tag === "Upload" ? upload(started) : started
      )
    },
    resumeUpload: (repository, id) =>
      Effect.map(effect("resumeUpload", repository, (repository) => self.resumeUpload(repository, id)), upload),
    pushManifest: (repository, manifest, tags) =>
      effect("pushManifest", repository, (repository) => self.pushManifest(repository, manifest, tags)),
    deleteBlob: (repository, digest) =>
      effect("deleteBlob", repository, (repository) => self.deleteBlob(repository, digest)),
    deleteManifest: (repository, digest) =>
      effect("deleteManifest", repository, (repository) => self.deleteManifest(repository, digest)),
    deleteTag: (repository, tag) => effect("deleteTag", repository, (repository) => self.deleteTag(repository, tag)),
    repositories: (options) =>
      self.repositories(options?.after === undefined ? {} : { after: below(options.after) }).pipe(
        Stream.filter(isBelow),
        Stream.map(within),
        Stream.mapError(translate)
      ),
    tags: (repository, options) => stream("tags", repository, (repository) => self.tags(repository, options)),
    referrers: (repository, digest, options) =>
      stream("referrers", repository, (repository) => self.referrers(repository, digest, options))
  }
})
