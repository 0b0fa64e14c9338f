/**
 * Making sure, after a copy, that a destination has what it should: by what it answers now, and not by what was sent.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as MediaType from "../MediaType.ts"
import * as Children from "./Children.ts"
import { type CopyError, VerificationFailed } from "./CopyError.ts"
import { failure, type Place } from "./Ends.ts"
import * as Job from "./Job.ts"
import { digestsOf, policiesFor } from "./Options.ts"
import * as Platforms from "./Platforms.ts"
import type { ManifestNode } from "./Walk.ts"

// of blobs and manifests that are looked at at a time; a registry behind HTTP has a limit of its own
const concurrency = 16

/** Fails where a destination does not have what was copied: the root, and what else is among these manifests. */
export const verify = Effect.fnUntraced(function*(
  job: Job.Job,
  nodes: ReadonlyArray<ManifestNode>,
  root: ManifestNode,
  target: Job.Target
): Effect.fn.Return<void, CopyError> {
  const { verify = "none" } = job.options
  if (verify === "none") return
  const { ends, registry, repository, tags } = target
  const wrong = (problem: string, place?: Place) =>
    failure(ends, "destination", new VerificationFailed({ problem }), place)

  for (const reference of tags.length === 0 ? [root.descriptor.digest] : tags) {
    const { digest } = yield* registry.resolveManifest(repository, reference).pipe(Job.atTarget(target, root))
    if (digest !== root.descriptor.digest) return yield* wrong(`the tag ${reference} points at ${digest}`, root)
  }
  if (verify === "digest") return

  const seen = new Set<Digest>()
  const isNew = ({ digest }: Descriptor) => !seen.has(digest) && seen.add(digest) !== undefined

  const blob = (place: Place) =>
    verify === "deep"
      ? registry.getBlob(repository, place.descriptor.digest).pipe(
        Effect.flatMap(({ stream }) => Stream.runDrain(stream)),
        Effect.scoped,
        Job.atTarget(target, place)
      )
      : registry.resolveBlob(repository, place.descriptor.digest).pipe(Job.atTarget(target, place))

  const manifest = (place: Place): Effect.Effect<void, CopyError> =>
    Effect.gen(function*() {
      const { bytes, descriptor } = yield* registry.getManifest(repository, place.descriptor.digest).pipe(
        Job.atTarget(target, place)
      )
      const found = yield* Effect.mapError(
        Effect.fromResult(digestsOf(job.options)(descriptor.mediaType, bytes)),
        (reason) => failure(ends, "destination", reason, place)
      )
      const { blobs, manifests } = yield* Children.sort(target, found).pipe(Job.atTarget(target, place))
      const path = [...place.path, descriptor.digest]
      const { externalLayers } = policiesFor(job.options, { ...place, role: "root" })
      const isLeftOut = ({ mediaType }: Descriptor) =>
        externalLayers === "skip" && MediaType.isNonDistributable(mediaType)
      yield* Effect.forEach(
        blobs.filter((descriptor) => !isLeftOut(descriptor)).filter(isNew),
        (descriptor) => blob({ descriptor, path }),
        { concurrency, discard: true }
      )
      yield* Effect.forEach(
        Platforms.among(job.options.platforms, manifests).filter(isNew),
        (descriptor) => manifest({ descriptor, path }),
        { concurrency, discard: true }
      )
    })

  yield* manifest(root)
  yield* Effect.forEach(nodes, (node) =>
    Effect.gen(function*() {
      if (node.role !== "referrer" && node.role !== "digestTag" || node.missing) return
      if (isNew(node.descriptor)) yield* manifest(node)
      for (const subject of node.subjects) {
        const listed = yield* Stream.runCollect(registry.referrers(repository, subject)).pipe(
          Job.atTarget(target, node)
        )
        if (!listed.some(({ digest }) => digest === node.descriptor.digest)) {
          return yield* wrong(`it is not listed as a referrer of ${subject}`, node)
        }
      }
    }), { concurrency, discard: true })
})
