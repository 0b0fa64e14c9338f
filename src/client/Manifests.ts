/**
 * Manifests over HTTP (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting Manifests").
 *
 * Registries with immutable tags (ECR) refuse a push even if the tag already points at this manifest. Resolve the tag
 * first to avoid that error.
 */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import * as Hasher from "../Hasher.ts"
import * as Manifest from "../Manifest.ts"
import type { Repository, Tag } from "../Reference.ts"
import type * as Registry from "../Registry.ts"
import { ManifestInvalid } from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"
import type * as ManifestRequests from "./ManifestRequests.ts"
import type { Referrers } from "./Referrers.ts"
import * as TagDeletion from "./TagDeletion.ts"

type Manifests = Pick<
  Registry.Registry,
  "getManifest" | "resolveManifest" | "pushManifest" | "deleteManifest" | "deleteTag"
>

export const make = (
  connection: Connection.Connection,
  requests: ManifestRequests.ManifestRequests,
  referrers: Referrers
): Manifests => {
  /** Pushes a manifest with several tags: in one request if the registry supports that, and one by one otherwise. */
  const putAll = Effect.fnUntraced(function*(
    repository: Repository,
    manifest: ManifestRequests.Document,
    tags: ReadonlyArray<Tag>
  ) {
    const [first, ...others] = tags
    const { tagParameters } = yield* Ref.get(connection.capabilities)
    if (first === undefined) return yield* requests.put(repository, manifest.digest, manifest)
    // a push by tag alone would get a sha256 digest
    const byDigest = Digest.algorithm(manifest.digest) !== "sha256" || others.length > 0 && tagParameters !== false
    if (!byDigest) {
      for (const tag of others) yield* requests.put(repository, tag, manifest)
      return yield* requests.put(repository, first, manifest)
    }
    const headers = yield* requests.put(repository, manifest.digest, manifest, { tags }).pipe(
      // too many tags for one request (distribution-spec, "Pushing Manifests")
      Effect.catchIf(
        ({ status }) => status === 414 || status === 431,
        () => requests.put(repository, manifest.digest, manifest)
      )
    )
    const accepted = new Set((headers["oci-tag"] ?? "").split(",").map((tag) => tag.trim()))
    yield* connection.learn({ tagParameters: accepted.has(first) })
    for (const tag of tags) {
      if (!accepted.has(tag)) yield* requests.put(repository, tag, manifest)
    }
    return headers
  })

  return {
    getManifest: (repository, reference) =>
      Effect.map(requests.getManifest(repository, reference), ({ bytes, descriptor }) => ({ descriptor, bytes })),
    resolveManifest: requests.resolveManifest,
    pushManifest: Effect.fnUntraced(function*(repository, { bytes, digest: expected, mediaType }, tags = []) {
      const call = { operation: "pushManifest", repository, target: "repository" } as const
      const algorithm = expected === undefined ? "sha256" : Digest.algorithm(expected)
      const digest = yield* Effect.mapError(
        Hasher.digest(bytes, algorithm),
        (reason) => connection.error(call, reason)
      )
      if (expected !== undefined && digest !== expected) {
        return yield* connection.error(call, new Hasher.DigestMismatch({ expected, actual: digest }))
      }
      const own = Manifest.mediaTypeOf(mediaType, bytes)
      if (Result.isFailure(own) && own.failure.kind === "Malformed") {
        return yield* connection.error(call, new ManifestInvalid({ detail: own.failure.problem }))
      }
      const headers = yield* putAll(repository, { mediaType, bytes, digest }, tags)
      const descriptor: Descriptor = { mediaType, digest, size: bytes.length }
      const manifest = Manifest.decode(mediaType, bytes)
      const subject = Result.isSuccess(manifest) ? manifest.success.content.subject : undefined
      if (Result.isSuccess(manifest) && subject !== undefined) {
        yield* referrers.pushed(
          repository,
          subject.digest,
          Manifest.toReferrer(manifest.success, descriptor),
          headers["oci-subject"] !== undefined
        )
      }
      return descriptor
    }),
    deleteManifest: Effect.fnUntraced(function*(repository, digest) {
      const subject = yield* Effect.mapError(
        referrers.subjectToUpdate(repository, digest),
        ({ reason }) => connection.error({ operation: "deleteManifest", repository, target: "manifest" }, reason)
      )
      yield* requests.remove("deleteManifest", repository, digest)
      if (subject !== undefined) yield* referrers.removed(repository, subject, digest)
    }),
    deleteTag: TagDeletion.make(connection, requests)
  }
}
