/**
 * Restores the parts of a manifest at a destination that refuses it because it lacks them, although it reported to have
 * them: pull-through caches, and registries that collect garbage during the copy.
 */
import * as Effect from "effect/Effect"
import type { Digest } from "../Digest.ts"
import type * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { ManifestBytes } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { CopyError } from "./CopyError.ts"
import { sourceOf } from "./Delivery.ts"
import { type ContentPath, orAbsentOrDenied } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { ManifestNode } from "./ManifestNode.ts"
import * as ManifestPush from "./ManifestPush.ts"
import { policiesFor } from "./Options.ts"
import * as References from "./References.ts"
import * as RegistryState from "./RegistryState.ts"
import * as Trace from "./Trace.ts"

/** One attempt to restore content. */
interface Attempt {
  readonly job: Job.Job
  readonly destination: Job.Destination
  /** Returns true for content that is sent even if the destination reports to have it. */
  readonly isDoubted: (digest: Digest) => boolean
}

/**
 * Sends the parts of a manifest that a destination now reports as absent. If it reports none, sends all parts that this
 * copy has not sent. Returns false if there were no parts to send.
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
    text: `it lacks parts of ${node.descriptor.digest} that it reported to have: they are sent again`
  })
  const absent = yield* sendParts({ job, destination, isDoubted: () => false }, node, manifest)
  const parts = absent.count > 0
    ? absent
    : yield* sendParts({ job, destination, isDoubted: (digest) => !sent.has(digest) }, node, manifest)
  return parts.count > 0
})

/** Sends the parts of a manifest. Returns the number of parts that were sent, and all references of the manifest. */
const sendParts = (
  attempt: Attempt,
  content: ContentPath,
  manifest: ManifestBytes
): Effect.Effect<{ readonly count: number; readonly references: Manifest.Digests }, CopyError> =>
  Effect.gen(function*() {
    const { destination: { registry, repository }, job } = attempt
    const path = [...content.path, manifest.descriptor.digest]
    const references = yield* References.of(job.options, job.source, "source", content, manifest)
    const { externalLayers } = policiesFor(job.options, { ...content, role: "root" })
    let count = 0
    for (const blob of references.blobs) {
      if (externalLayers === "skip" && MediaType.isNonDistributable(blob.mediaType)) continue
      if (yield* isHeld(attempt, blob.digest, registry.resolveBlob(repository, blob.digest, { size: blob.size }))) {
        continue
      }
      yield* sendBlob(attempt, { descriptor: blob, path })
      count++
    }
    for (const child of references.manifests) {
      if (yield* isHeld(attempt, child.digest, registry.resolveManifest(repository, child.digest))) continue
      yield* sendManifest(attempt, { descriptor: child, path })
      count++
    }
    return { count, references }
  })

/** Returns true if the destination has content, according to its answer, and that answer is not doubted. */
const isHeld = (
  { destination, isDoubted }: Attempt,
  digest: Digest,
  lookUp: Effect.Effect<unknown, RegistryError>
): Effect.Effect<boolean, CopyError> =>
  Effect.map(
    orAbsentOrDenied(lookUp).pipe(Job.atDestination(destination)),
    (found) => found !== undefined && !isDoubted(digest)
  )

const sendBlob = ({ destination, job }: Attempt, content: ContentPath): Effect.Effect<void, CopyError> =>
  Effect.gen(function*() {
    const { registry, repository, state } = destination
    const { digest } = content.descriptor
    yield* RegistryState.claim(state, [digest])
    RegistryState.forget(state.blobs, repository, digest)
    yield* registry.pushBlob(repository, content.descriptor, yield* sourceOf(job, content)).pipe(
      Job.atDestination(destination, content)
    )
    yield* RegistryState.learn(state.blobs, repository, digest)
    recordAsCopied(destination, content)
  }).pipe(Effect.scoped, Trace.blob(content.descriptor))

/** Sends a child of a manifest, after the parts that the destination lacks of it. */
const sendManifest = Effect.fnUntraced(function*(attempt: Attempt, content: ContentPath) {
  const { destination, job: { source }, job } = attempt
  const { registry, repository, state } = destination
  const { digest } = content.descriptor
  RegistryState.forget(state.manifests, repository, digest)
  const manifest = yield* source.registry.getManifest(source.repository, digest).pipe(Job.atSource(job, content))
  const { references } = yield* sendParts(attempt, content, manifest)
  const { bytes, descriptor: { mediaType } } = manifest
  const children = references.manifests.map((child) => child.digest)
  yield* ManifestPush.claim(state, repository, digest, children).pipe(
    Effect.andThen(registry.pushManifest(repository, { mediaType, bytes, digest })),
    Effect.scoped,
    Job.atDestination(destination, content)
  )
  recordAsCopied(destination, content)
})

/** Changes the outcome of content that was recorded as present. */
const recordAsCopied = ({ entries }: Job.Destination, { descriptor: { digest } }: ContentPath): void => {
  const index = entries.findIndex((entry) => entry.descriptor.digest === digest)
  const entry = entries[index]
  if (entry !== undefined) entries[index] = { ...entry, outcome: "copied" }
}
