/**
 * Copying of missing content from one registry to another.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import * as Limiter from "../Limiter.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Repository, Tag } from "../Reference.ts"
import * as Registry from "../Registry.ts"
import { orAbsent, type RegistryError } from "../RegistryError.ts"

/** Registries that content may be copied from. */
type Sources = ReadonlyArray<Registry.Registry>

/** Copies a blob to `target` unless it has the blob, from the first source that has it. */
export const blob = Effect.fnUntraced(function*(
  target: Registry.Registry,
  repository: Repository,
  descriptor: Pick<Descriptor, "digest" | "size">,
  sources: Sources
) {
  if ((yield* orAbsent(target.resolveBlob(repository, descriptor.digest, { size: descriptor.size }))) !== undefined) {
    return
  }
  for (const source of sources) {
    if (source === target) continue
    if ((yield* orAbsent(source.resolveBlob(repository, descriptor.digest, { size: descriptor.size }))) === undefined) {
      continue
    }
    return yield* Effect.flatMap(
      Registry.blobSource(source, repository, descriptor),
      (bytes) => Effect.asVoid(target.pushBlob(repository, descriptor, bytes))
    ).pipe(Effect.scoped, Limiter.withPermits(source.limiter, target.limiter))
  }
})

/**
 * Pushes a manifest to `target`. If `target` refuses it because parts are missing, copies the parts that the sources
 * have, and pushes the manifest again.
 */
export const pushManifest = (
  target: Registry.Registry,
  repository: Repository,
  manifest: Parameters<Registry.Registry["pushManifest"]>[1],
  tags: ReadonlyArray<Tag>,
  sources: Sources
): Effect.Effect<Descriptor, RegistryError> => {
  const push = target.pushManifest(repository, manifest, tags)
  return Effect.catchReason(
    push,
    "RegistryError",
    "ManifestBlobUnknown",
    () => Effect.andThen(parts(target, repository, manifest, sources), push)
  )
}

const parts = Effect.fnUntraced(function*(
  target: Registry.Registry,
  repository: Repository,
  { bytes, mediaType }: { readonly mediaType: string; readonly bytes: Uint8Array },
  sources: Sources
): Effect.fn.Return<void, RegistryError> {
  const decoded = Manifest.digests(mediaType, bytes)
  // the parts of a manifest of this type are not known, so the refusal stands
  if (Result.isFailure(decoded)) return
  const { blobs, manifests } = decoded.success
  for (const descriptor of blobs) {
    if (!MediaType.isNonDistributable(descriptor.mediaType)) yield* blob(target, repository, descriptor, sources)
  }
  for (const { digest } of manifests) {
    if ((yield* orAbsent(target.resolveManifest(repository, digest))) !== undefined) continue
    for (const source of sources) {
      const found = source === target ? undefined : yield* orAbsent(source.getManifest(repository, digest))
      if (found === undefined) continue
      const { bytes, descriptor: { mediaType } } = found
      yield* pushManifest(target, repository, { mediaType, bytes, digest }, [], sources)
      break
    }
  }
})
