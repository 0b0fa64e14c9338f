/**
 * Sources of the bytes of a blob: the registry, or the `urls` of a layer that may not be distributed.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as BlobSource from "../BlobSource.ts"
import type { Descriptor } from "../Descriptor.ts"
import { ExternalBlobs } from "../ExternalBlobs.ts"
import * as Hasher from "../Hasher.ts"
import * as MediaType from "../MediaType.ts"
import * as Registry from "../Registry.ts"
import { isRegistryError, type Reason, RegistryError, Unsupported } from "../RegistryError.ts"
import { type ContentPath, orAbsentOrDenied } from "./Ends.ts"
import type * as Job from "./Job.ts"
import { policiesFor } from "./Options.ts"

/** Returns the content at the `urls` of a descriptor. It is verified, and at most its size is read. */
const atUrls = Effect.fnUntraced(function*(registry: string, descriptor: Descriptor): Effect.fn.Return<
  BlobSource.BlobSource<RegistryError>,
  RegistryError,
  Scope.Scope
> {
  const failure = (reason: Reason) => new RegistryError({ operation: "getBlob", registry, reason })
  const open = yield* ExternalBlobs
  if (open === undefined) {
    return yield* failure(new Unsupported({ detail: "the program provides no ExternalBlobs to fetch external layers" }))
  }
  const verifier = yield* Effect.mapError(Hasher.verifier(descriptor), failure)
  return BlobSource.make(descriptor.size, (offset) =>
    open(descriptor, { registry, offset }).pipe(
      verifier.from(offset),
      Stream.mapError((error) => isRegistryError(error) ? error : failure(error))
    ))
})

/** Returns the source of a blob, according to the policy for external layers. */
export const blobSource = Effect.fnUntraced(function*(job: Job.Job, { descriptor, path }: ContentPath) {
  const { registry, repository } = job.source
  const { externalLayers } = policiesFor(job.options, { descriptor, path, role: "blob" })
  const isExternal = externalLayers === "fetch" && MediaType.isNonDistributable(descriptor.mediaType) &&
    (descriptor.urls ?? []).length > 0
  return isExternal && (yield* orAbsentOrDenied(registry.resolveBlob(repository, descriptor.digest))) === undefined
    ? yield* atUrls(registry.name, descriptor)
    : yield* Registry.blobSource(registry, repository, descriptor)
})
