/**
 * Mending a destination that does not have what it said it has: pull-through caches and registries whose clean-up runs
 * meanwhile refuse a manifest over a part that was found there before.
 */
import * as Effect from "effect/Effect"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import type { ManifestBytes } from "../Registry.ts"
import { type CopyError, isCopyError } from "./CopyError.ts"
import { sourceOf } from "./Delivery.ts"
import { type ContentPath, failureOf, orAbsentOrDenied } from "./Ends.ts"
import * as Job from "./Job.ts"
import * as ManifestPush from "./ManifestPush.ts"
import { policiesFor } from "./Options.ts"
import * as References from "./References.ts"
import * as RegistryState from "./RegistryState.ts"
import type { ManifestNode } from "./Walk.ts"

/**
 * Sends what a destination lacks of a manifest: what it says to lack by now, or, where it goes on saying that it has
 * everything, all that this copy did not send itself. Tells whether there was anything.
 */
export const restore = Effect.fnUntraced(function*(
  job: Job.Job,
  node: ManifestNode,
  manifest: ManifestBytes,
  destination: Job.Destination
): Effect.fn.Return<boolean, CopyError> {
  const sent = new Set(
    destination.entries.filter(({ outcome }) => outcome === "copied").map(({ descriptor }) => descriptor.digest)
  )
  yield* job.emit({
    _tag: "Warned",
    registry: destination.registry.name,
    text: `it lacks parts of ${node.descriptor.digest} that it said to have: they are sent again`
  })
  const send = sender(job, destination)
  const count = (yield* send(node, manifest, () => false)) ||
    (yield* send(node, manifest, (digest) => !sent.has(digest)))
  return count > 0
})

const sender = (job: Job.Job, destination: Job.Destination) => {
  const { state, registry, repository } = destination
  const { source } = job

  const sendBlob = Effect.fnUntraced(function*(place: ContentPath) {
    const { digest } = place.descriptor
    yield* RegistryState.claim(state, [digest])
    RegistryState.forget(state.blobs, repository, digest)
    yield* registry.pushBlob(repository, place.descriptor, yield* sourceOf(job, place)).pipe(
      Effect.mapError((error) => isCopyError(error) ? error : failureOf(destination.end, "destination", place)(error))
    )
    yield* RegistryState.learn(state.blobs, repository, digest)
    note(destination, place)
  }, Effect.scoped)

  /** Sends what is not there, and what is not believed to be; counts it. */
  const send = (
    place: ContentPath,
    manifest: ManifestBytes,
    isDoubted: (digest: Digest) => boolean
  ): Effect.Effect<number, CopyError> =>
    Effect.gen(function*() {
      const path = [...place.path, manifest.descriptor.digest]
      const found = yield* References.of(job.options, job.source, "source", place, manifest)
      const { externalLayers } = policiesFor(job.options, { ...place, role: "root" })
      let count = 0
      for (const blob of found.blobs) {
        if (externalLayers === "skip" && MediaType.isNonDistributable(blob.mediaType)) continue
        const isThere =
          (yield* orAbsentOrDenied(registry.resolveBlob(repository, blob.digest, { size: blob.size })).pipe(
            Job.atDestination(destination)
          )) !==
            undefined
        if (isThere && !isDoubted(blob.digest)) continue
        yield* sendBlob({ descriptor: blob, path })
        count++
      }
      for (const child of found.manifests) {
        const isThere = (yield* orAbsentOrDenied(registry.resolveManifest(repository, child.digest)).pipe(
          Job.atDestination(destination)
        )) !==
          undefined
        if (isThere && !isDoubted(child.digest)) continue
        const below = { descriptor: child, path }
        RegistryState.forget(state.manifests, repository, child.digest)
        const content = yield* source.registry.getManifest(source.repository, child.digest).pipe(
          Job.atSource(job, below)
        )
        yield* send(below, content, isDoubted)
        yield* RegistryState.claim(state, [ManifestPush.keyOf(repository, child.digest)]).pipe(
          Effect.andThen(registry.pushManifest(repository, {
            mediaType: content.descriptor.mediaType,
            bytes: content.bytes,
            digest: child.digest
          })),
          Effect.scoped,
          Job.atDestination(destination, below)
        )
        note(destination, below)
        count++
      }
      return count
    })
  return send
}

/** What was found to be there was copied after all. */
const note = ({ entries }: Job.Destination, { descriptor: { digest } }: ContentPath): void => {
  const place = entries.findIndex((entry) => entry.descriptor.digest === digest)
  const entry = entries[place]
  if (entry !== undefined) entries[place] = { ...entry, outcome: "copied" }
}
