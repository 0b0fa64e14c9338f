/**
 * Hooks around every call of a registry and of its uploads, and around the streams that it returns.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Digest } from "../Digest.ts"
import type { Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { Upload } from "../Upload.ts"

/**
 * Name of a call: an operation of a registry; `status`, `append` or `commit` of an upload session; or `read`, which is
 * the stream of a blob.
 *
 * @category models
 * @since 0.1.0
 */
export type Operation =
  | Exclude<keyof Registry.Registry, "name" | "capabilities" | "limiter" | "~effect-oci/Registry">
  | "read"
  | "status"
  | "append"
  | "commit"

/**
 * Arguments of a call, without content and without secrets.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  readonly operation: Operation
  readonly registry: string
  readonly repository?: Repository | undefined
  /** Tag or digest of the content. The id of an upload is omitted, because it may permit others to write. */
  readonly reference?: Tag | Digest | undefined
  /** Repository that a blob is mounted from. */
  readonly from?: Repository | undefined
  /** Tags that a manifest is pushed with. */
  readonly tags?: ReadonlyArray<Tag> | undefined
}

export interface Hooks {
  readonly effect: <A, E, R>(call: Call, self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RegistryError, R>
  readonly stream: <A, E, R>(call: Call, self: Stream.Stream<A, E, R>) => Stream.Stream<A, E | RegistryError, R>
}

/** Wraps every call of a registry with a hook. The registry is called when the hook runs the effect, not before. */
export const intercept = (self: Registry.Registry, { effect, stream }: Hooks): Registry.Registry => {
  const { name: registry } = self

  const aroundUpload = (repository: Repository) => (upload: Upload): Upload => ({
    ...upload,
    status: effect({ operation: "status", registry, repository }, upload.status),
    append: (chunk) =>
      effect({ operation: "append", registry, repository }, Effect.suspend(() => upload.append(chunk))),
    commit: (digest, last) =>
      effect(
        { operation: "commit", registry, repository, reference: digest },
        Effect.suspend(() => upload.commit(digest, last))
      )
  })

  return {
    ...self,
    ping: effect({ operation: "ping", registry }, self.ping),
    getBlob: (repository, digest, options) => {
      const call = { registry, repository, reference: digest }
      return Effect.map(
        effect({ operation: "getBlob", ...call }, Effect.suspend(() => self.getBlob(repository, digest, options))),
        (blob) => ({ ...blob, stream: stream({ operation: "read", ...call }, blob.stream) })
      )
    },
    resolveBlob: (repository, digest, options) =>
      effect(
        { operation: "resolveBlob", registry, repository, reference: digest },
        Effect.suspend(() => self.resolveBlob(repository, digest, options))
      ),
    getManifest: (repository, reference) =>
      effect(
        { operation: "getManifest", registry, repository, reference },
        Effect.suspend(() => self.getManifest(repository, reference))
      ),
    resolveManifest: (repository, reference) =>
      effect(
        { operation: "resolveManifest", registry, repository, reference },
        Effect.suspend(() => self.resolveManifest(repository, reference))
      ),
    pushBlob: (repository, descriptor, source) =>
      effect(
        { operation: "pushBlob", registry, repository, reference: descriptor.digest },
        Effect.suspend(() => self.pushBlob(repository, descriptor, source))
      ),
    startUpload: (repository, options) => {
      const mount = options?.mount === undefined ? {} : {
        reference: options.mount.digest,
        ...options.mount.from === undefined ? {} : { from: options.mount.from }
      }
      return Effect.map(
        effect(
          { operation: "startUpload", registry, repository, ...mount },
          Effect.suspend(() => self.startUpload(repository, options))
        ),
        (started) => started._tag === "Upload" ? aroundUpload(repository)(started) : started
      )
    },
    resumeUpload: (repository, id) =>
      Effect.map(
        effect(
          { operation: "resumeUpload", registry, repository },
          Effect.suspend(() => self.resumeUpload(repository, id))
        ),
        aroundUpload(repository)
      ),
    pushManifest: (repository, manifest, tags) =>
      effect(
        {
          operation: "pushManifest",
          registry,
          repository,
          ...manifest.digest === undefined ? {} : { reference: manifest.digest },
          ...tags === undefined ? {} : { tags }
        },
        Effect.suspend(() => self.pushManifest(repository, manifest, tags))
      ),
    deleteBlob: (repository, digest) =>
      effect(
        { operation: "deleteBlob", registry, repository, reference: digest },
        Effect.suspend(() => self.deleteBlob(repository, digest))
      ),
    deleteManifest: (repository, digest) =>
      effect(
        { operation: "deleteManifest", registry, repository, reference: digest },
        Effect.suspend(() => self.deleteManifest(repository, digest))
      ),
    deleteTag: (repository, tag) =>
      effect(
        { operation: "deleteTag", registry, repository, reference: tag },
        Effect.suspend(() => self.deleteTag(repository, tag))
      ),
    repositories: (options) =>
      stream({ operation: "repositories", registry }, Stream.suspend(() => self.repositories(options))),
    tags: (repository, options) =>
      stream({ operation: "tags", registry, repository }, Stream.suspend(() => self.tags(repository, options))),
    referrers: (repository, digest, options) =>
      stream(
        { operation: "referrers", registry, repository, reference: digest },
        Stream.suspend(() => self.referrers(repository, digest, options))
      )
  }
}
