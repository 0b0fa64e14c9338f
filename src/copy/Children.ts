/**
 * Classifies the children of an index whose media type does not show whether they are manifests or blobs. They are
 * copied like other content, because an unknown media type must not be an error (image-spec, `image-index.md`).
 */
import * as Effect from "effect/Effect"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { ManifestBytes } from "../Registry.ts"
import { orAbsent, type RegistryError } from "../RegistryError.ts"
import type { End } from "./Ends.ts"

/** References of a manifest, and the contents of children that were read to classify them, up to a limit. */
export interface Sorted extends Manifest.Digests {
  readonly read: ReadonlyMap<Digest, ManifestBytes>
}

// maximum number of children that are classified at the same time
const concurrency = 8

// maximum size of the contents that are kept, in bytes. Others are read again
const keptLimit = 16 * 1024 * 1024

/** Returns a child as a manifest, `blob` if the registry has it as a blob only, or `undefined` if it has neither. */
const asManifest = Effect.fnUntraced(function*({ registry, repository }: Pick<End, "registry" | "repository">, {
  digest
}: Descriptor): Effect.fn.Return<ManifestBytes | "blob" | undefined, RegistryError> {
  const found = yield* Effect.catchIf(
    registry.getManifest(repository, digest),
    ({ isRetryable }) => !isRetryable,
    () => Effect.undefined
  )
  // an image layout stores manifests and blobs in one folder, so the bytes decide
  if (found !== undefined && Manifest.isDocument(found.bytes)) return found
  return (yield* orAbsent(registry.resolveBlob(repository, digest))) === undefined ? found : "blob"
})

/**
 * Looks up each child of an unknown type at a registry, as a manifest and then as a blob. A child that the registry
 * does not have stays among the manifests.
 */
export const sort = Effect.fnUntraced(function*(
  end: Pick<End, "registry" | "repository">,
  { blobs, manifests }: Manifest.Digests
): Effect.fn.Return<Sorted, RegistryError> {
  const unknown = manifests.filter(({ mediaType }) => !MediaType.isManifest(mediaType))
  const blobsFound = new Set<Digest>()
  const read = new Map<Digest, ManifestBytes>()
  let kept = 0
  yield* Effect.forEach(
    unknown,
    (child) =>
      Effect.map(asManifest(end, child), (manifest) => {
        if (manifest === "blob") blobsFound.add(child.digest)
        else if (manifest !== undefined && kept + manifest.bytes.length <= keptLimit) {
          kept += manifest.bytes.length
          read.set(child.digest, manifest)
        }
      }),
    { concurrency, discard: true }
  )
  const isBlob = ({ digest }: Descriptor) => blobsFound.has(digest)
  return {
    blobs: [...blobs, ...manifests.filter(isBlob)],
    manifests: manifests.filter((child) => !isBlob(child)),
    read
  }
})
