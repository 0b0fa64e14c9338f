/**
 * A registry that is only added to.
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as KeyedLock from "../KeyedLock.ts"
import type { Repository, Tag } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import { Denied, orAbsent, RegistryError, Unsupported } from "../RegistryError.ts"

/**
 * A registry that is only added to. A tag that is there stays where it is, and a manifest keeps its type: what would
 * change them fails with `Denied`, and then nothing of it is done. The same content again is fine. Nothing is deleted:
 * that fails with `Unsupported`.
 *
 * It holds for all who go through this view. Who goes round it, or through another, may move a tag in the very moment in
 * which it is pushed here, for the distribution specification knows no push that is conditional.
 *
 * @category combinators
 * @since 0.1.0
 */
export const immutable = (self: Registry): Registry => {
  const error = (operation: string, repository: Repository, reason: Denied | Unsupported) =>
    new RegistryError({ operation, registry: self.name, repository, reason })
  const undeletable = (operation: string) => (repository: Repository) =>
    Effect.fail(error(operation, repository, new Unsupported({ detail: "nothing is deleted here" })))
  const denied = (repository: Repository, detail: string) => error("pushManifest", repository, new Denied({ detail }))

  // looking whether a tag is there and setting it is not one step for a registry
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
      return yield* denied(repository, `${digest} is there, and is of type ${present.mediaType}`)
    }
    const missing: Array<Tag> = []
    for (const tag of tags) {
      const target = yield* orAbsent(self.resolveManifest(repository, tag))
      if (target === undefined) missing.push(tag)
      else if (target.digest !== digest) return yield* denied(repository, `the tag ${tag} is there, and stays`)
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
      // one that is not what it says is refused below
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
