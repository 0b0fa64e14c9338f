/**
 * A view of a registry that can only be added to.
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as KeyedLock from "../KeyedLock.ts"
import type { Repository, Tag } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import { Denied, failing, orAbsent, Unsupported } from "../RegistryError.ts"

/**
 * Creates a view that can only be added to. A push that would move an existing tag, or change the type of an existing
 * manifest, fails with `Denied` and changes nothing. Pushing the same content again succeeds. Deletes fail with
 * `Unsupported`.
 *
 * The guarantee covers pushes through this view only. Another client can still move a tag at the same time, because the
 * distribution specification has no conditional push.
 *
 * @category combinators
 * @since 0.1.0
 */
export const immutable = (self: Registry): Registry => {
  const failed = failing(self.name)
  const undeletable = (operation: string) => (repository: Repository) =>
    Effect.fail(failed(operation, repository)(new Unsupported({ detail: "this view permits no deletes" })))
  const denied = (repository: Repository, detail: string) => failed("pushManifest", repository)(new Denied({ detail }))

  // locked, because a registry cannot check and set a tag in one step
  const locked = KeyedLock.make()

  const pushMissing = Effect.fnUntraced(function*(
    repository: Repository,
    descriptor: Descriptor,
    bytes: Uint8Array,
    tags: ReadonlyArray<Tag>
  ) {
    const { digest, mediaType } = descriptor
    const present = yield* orAbsent(self.resolveManifest(repository, digest))
    if (present !== undefined && present.mediaType !== mediaType) {
      return yield* denied(repository, `${digest} already exists with the media type ${present.mediaType}`)
    }
    const missing: Array<Tag> = []
    for (const tag of tags) {
      const target = yield* orAbsent(self.resolveManifest(repository, tag))
      if (target === undefined) missing.push(tag)
      else if (target.digest !== digest) {
        return yield* denied(repository, `the tag ${tag} already exists, and this view does not move tags`)
      }
    }
    return present !== undefined && missing.length === 0
      ? descriptor
      : yield* self.pushManifest(repository, { mediaType, bytes, digest }, missing)
  })

  return {
    ...self,
    pushManifest: Effect.fnUntraced(function*(repository, manifest, tags = []) {
      const { bytes, digest: expected, mediaType } = manifest
      const computed = yield* Effect.result(
        Hasher.digest(bytes, expected === undefined ? "sha256" : Digest.algorithm(expected))
      )
      // the registry refuses a manifest with another digest
      if (computed._tag === "Failure" || expected !== undefined && computed.success !== expected) {
        return yield* self.pushManifest(repository, manifest, tags)
      }
      const descriptor = { mediaType, digest: computed.success, size: bytes.length }
      return yield* locked(repository)(pushMissing(repository, descriptor, bytes, tags))
    }),
    deleteBlob: undeletable("deleteBlob"),
    deleteManifest: undeletable("deleteManifest"),
    deleteTag: undeletable("deleteTag")
  }
}
