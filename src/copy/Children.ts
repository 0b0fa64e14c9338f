/**
 * Children of an index whose media type does not say whether they are manifests or blobs. Such content is copied as any
 * other (image-spec, `image-index.md`: an unknown media type must not be an error).
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { ManifestBytes } from "../Registry.ts"
import { orAbsent, type RegistryError } from "../RegistryError.ts"
import type { End } from "./Ends.ts"

/** References of a manifest, and the children that were read to tell what they are, up to a limit. */
export interface Sorted extends Manifest.Digests {
  readonly read: ReadonlyMap<Digest, ManifestBytes>
}

// number of children that are looked at at the same time
const concurrency = 8

// of children that are kept after they were looked at, in bytes; others are read again
const keptLimit = 16 * 1024 * 1024

/** Returns the child as a manifest, or `undefined` if the registry has it as a blob only. */
const asManifest = Effect.fnUntraced(function*({ registry, repository }: Pick<End, "registry" | "repository">, {
  digest
}: Descriptor): Effect.fn.Return<ManifestBytes | "blob" | undefined, RegistryError> {
  const found = yield* Effect.catchIf(
    registry.getManifest(repository, digest),
    ({ isRetryable }) => !isRetryable,
    () => Effect.undefined
  )
  // a layout has manifests and blobs in one place
  if (found !== undefined && Manifest.isDocument(found.bytes)) return found
  return (yield* orAbsent(registry.resolveBlob(repository, digest))) === undefined ? found : "blob"
})

/**
 * Decides for each child of an unknown type whether a registry has it as a manifest or else as a blob. A child that it
 * does not have stays among the manifests.
 */
export const sort = Effect.fnUntraced(function*(
  end: Pick<End, "registry" | "repository">,
  { blobs, manifests }: Manifest.Digests
): Effect.fn.Return<Sorted, RegistryError> {
  const unknown = manifests.filter(({ mediaType }) => !MediaType.isManifest(mediaType))
  const found = new Set<Digest>() // as blobs
  const read = new Map<Digest, ManifestBytes>()
  let kept = 0
  yield* Effect.forEach(
    unknown,
    (child) =>
      Effect.map(asManifest(end, child), (manifest) => {
        if (manifest === "blob") found.add(child.digest)
        else if (manifest !== undefined && kept + manifest.bytes.length <= keptLimit) {
          kept += manifest.bytes.length
          read.set(child.digest, manifest)
        }
      }),
    { concurrency, discard: true }
  )
  const isBlob = ({ digest }: Descriptor) => found.has(digest)
  return {
    blobs: [...blobs, ...manifests.filter(isBlob)],
    manifests: manifests.filter((child) => !isBlob(child)),
    read
  }
})
