/**
 * Verifies after a copy that a destination has the content, by its answers now and not by what was sent.
 */
import * as Effect from "effect/Effect"
import * as Iterable from "effect/Iterable"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import { type CopyError, VerificationFailed } from "./CopyError.ts"
import { type ContentPath, type End, failure } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { ManifestNode } from "./ManifestNode.ts"
import { policiesFor } from "./Options.ts"
import * as Platforms from "./Platforms.ts"
import * as References from "./References.ts"
import * as Referrers from "./Referrers.ts"
import * as TaskPool from "./TaskPool.ts"
import { forEachSliced } from "./TaskPool.ts"

// maximum number of blobs and manifests that are verified at the same time. A registry over HTTP also has its own limit
const concurrency = 16

/** Fails if a destination lacks content of the root or of the referrers among these manifests. */
export const verify = Effect.fnUntraced(function*(
  job: Job.Job,
  nodes: ReadonlyArray<ManifestNode>,
  root: ManifestNode,
  destination: Job.Destination
): Effect.fn.Return<void, CopyError> {
  const { verify = "none" } = job.options
  if (verify === "none") return
  const { end, registry, repository, tags } = destination
  for (const reference of tags.length === 0 ? [root.descriptor.digest] : tags) {
    const { digest } = yield* registry.resolveManifest(repository, reference).pipe(Job.atDestination(destination, root))
    if (digest !== root.descriptor.digest) {
      return yield* wrong(end, `the tag ${reference} points at ${digest}`, root)
    }
  }
  if (verify === "digest") return

  const seen = new Set<Digest>()
  const isNew = ({ digest }: Descriptor) => !seen.has(digest) && seen.add(digest) !== undefined
  const pool = TaskPool.make<CopyError>(concurrency)
  const blob = (content: ContentPath) => {
    const { digest, size } = content.descriptor
    return verify === "deep"
      ? registry.getBlob(repository, digest, { size }).pipe(
        Effect.flatMap(({ stream }) => Stream.runDrain(stream)),
        Effect.scoped,
        Job.atDestination(destination, content)
      )
      : Effect.asVoid(registry.resolveBlob(repository, digest, { size })).pipe(Job.atDestination(destination, content))
  }

  const manifest = (content: ContentPath): Effect.Effect<void, CopyError> =>
    Effect.gen(function*() {
      const found = yield* registry.getManifest(repository, content.descriptor.digest).pipe(
        Job.atDestination(destination, content)
      )
      const { blobs, manifests } = yield* References.of(job.options, end, "destination", content, found)
      const path = [...content.path, found.descriptor.digest]
      const { externalLayers } = policiesFor(job.options, { ...content, role: "root" })
      const isLeftOut = ({ mediaType }: Descriptor) =>
        externalLayers === "skip" && MediaType.isNonDistributable(mediaType)
      const children = Platforms.among(job.options.platforms, manifests).filter(isNew)
      yield* pool.add(Iterable.map(children, (descriptor) => manifest({ descriptor, path })))
      const needed = blobs.filter((descriptor) => !isLeftOut(descriptor)).filter(isNew)
      yield* pool.add(Iterable.map(needed, (descriptor) => blob({ descriptor, path })))
    })

  const others = nodes.filter(({ missing, role }) => (role === "referrer" || role === "digestTag") && !missing)
  yield* pool.run(Iterable.map([root, ...others.filter(({ descriptor }) => isNew(descriptor))], manifest))
  yield* verifyListings(job, destination, nodes, others)
})

const wrong = (end: End, problem: string, content: ContentPath) =>
  failure(end, "destination", new VerificationFailed({ problem }), content)

/** Fails if one of some referrers is absent from the list of its subject. */
const verifyListings = Effect.fnUntraced(function*(
  job: Job.Job,
  destination: Job.Destination,
  nodes: ReadonlyArray<ManifestNode>,
  referrers: ReadonlyArray<ManifestNode>
) {
  const bySubject = new Map<Digest, Array<ManifestNode>>()
  yield* forEachSliced(referrers, (node) => {
    for (const subject of node.subjects) {
      const known = bySubject.get(subject)
      if (known === undefined) bySubject.set(subject, [node])
      else known.push(node)
    }
  })
  yield* Effect.forEach(
    nodes.filter(({ descriptor }) => bySubject.has(descriptor.digest)),
    (subject) => verifyListing(job, destination, subject, bySubject.get(subject.descriptor.digest) ?? []),
    { concurrency, discard: true }
  )
})

/** Fails if the destination lists the referrers of a manifest without one of these. Listing is optional for it. */
const verifyListing = Effect.fnUntraced(function*(
  job: Job.Job,
  destination: Job.Destination,
  subject: ManifestNode,
  referrers: ReadonlyArray<ManifestNode>
): Effect.fn.Return<void, CopyError> {
  const { end, registry, repository } = destination
  const { digest } = subject.descriptor
  const found = new Set<Digest>()
  const listing = Referrers.forEach(
    registry.referrers(repository, digest),
    (descriptor) => found.add(descriptor.digest)
  )
  const isListed = yield* policiesFor(job.options, subject).referrers === "require"
    ? Effect.as(listing, true).pipe(Job.atDestination(destination, subject))
    : listing.pipe(
      Effect.as(true),
      Effect.catch((error) =>
        Effect.as(Referrers.areUnknown(job, "destination", subject, error, destination.unknownReferrers), false)
      )
    )
  const unlisted = isListed ? referrers.find(({ descriptor }) => !found.has(descriptor.digest)) : undefined
  if (unlisted !== undefined) return yield* wrong(end, `it is not listed as a referrer of ${digest}`, unlisted)
})
