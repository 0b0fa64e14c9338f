/**
 * What refers to a manifest at the source: as the registry lists it, and by tags that are made of the manifest's
 * digest.
 *
 * A registry chooses how much that is, so lists are read piece by piece, and other fibers run in between. Listing
 * referrers is optional for registries: if one does not answer, a copy continues without them, unless they are
 * required.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import type { Tag } from "../Reference.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { CopyError } from "./CopyError.ts"
import { orAbsentOrDenied } from "./Ends.ts"
import * as Job from "./Job.ts"
import { type ContentNode, isWanted, policiesFor } from "./Options.ts"
import { forEachSliced } from "./TaskPool.ts"

// of tags that are looked up at a time
const concurrency = 16

/** A manifest, and the destinations that do not have it. */
interface ManifestNode extends ContentNode {
  readonly absent: ReadonlySet<Job.Destination>
}

/** What refers to a manifest, and how likely it is that a destination has it. */
export interface Referrers {
  readonly descriptors: ReadonlyArray<Descriptor>
  readonly presence: (destination: Job.Destination, descriptor: Descriptor) => Job.Presence
}

/** No referrers. */
export const nothing: Referrers = { descriptors: [], presence: () => "absent" }

/** Passes each descriptor of a list to a function. */
export const forEach = <E, R>(list: Stream.Stream<Descriptor, E, R>, f: (descriptor: Descriptor) => void) =>
  Stream.runForEachArray(list, (page) => forEachSliced(page, f))

/** Records that the referrers of a manifest are not known. The first time, the user is warned. */
export const areUnknown = Effect.fnUntraced(function*(
  job: Job.Job,
  end: "source" | "destination",
  { descriptor, path }: ContentNode,
  { reason, registry }: RegistryError,
  unknown: Job.Job["unknownReferrers"]
) {
  unknown.push({ descriptor, path, end, problem: reason.message })
  if (unknown.length > 1) return
  const effect = end === "source" ? "copied" : "verified"
  yield* job.emit({
    _tag: "Warned",
    registry,
    text: `it does not list the referrers of ${descriptor.digest}, so that they are not ${effect}: ${reason.message}`
  })
})

/** Returns what the source lists as referrers of a manifest, and what of that the destinations list. */
export const list = Effect.fnUntraced(function*(
  job: Job.Job,
  node: ManifestNode
): Effect.fn.Return<Referrers, CopyError> {
  const { source, destinations } = job
  const { digest } = node.descriptor
  const { referrerFilter, referrers } = policiesFor(job.options, node)
  if (referrers === "skip") return nothing
  const descriptors = new Map<Digest.Digest, Descriptor>()
  const listing = forEach(source.registry.referrers(source.repository, digest), (descriptor) => {
    if (!descriptors.has(descriptor.digest) && isWanted(referrerFilter, descriptor)) {
      descriptors.set(descriptor.digest, descriptor)
    }
  })
  yield* referrers === "require"
    ? listing.pipe(Job.atSource(job, node))
    : Effect.catch(listing, (error) => areUnknown(job, "source", node, error, job.unknownReferrers))
  if (descriptors.size === 0) return nothing
  const there = new Map<Job.Destination, ReadonlySet<Digest.Digest>>()
  yield* Job.attemptAll(
    destinations.filter((destination) => !node.absent.has(destination)),
    Effect.fnUntraced(function*(destination) {
      const found = new Set<Digest.Digest>()
      // a destination that does not list them is asked for each of them
      yield* Effect.ignore(
        Effect.tap(
          forEach(
            destination.registry.referrers(destination.repository, digest),
            (descriptor) => found.add(descriptor.digest)
          ),
          () => Effect.sync(() => there.set(destination, found))
        )
      )
    })
  )
  return {
    descriptors: Array.from(descriptors.values()),
    presence: (destination, { digest }) => {
      if (there.get(destination)?.has(digest) === true) return "present"
      return there.has(destination) || node.absent.has(destination) ? "absent" : "unknown"
    }
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// digest tags
// ---------------------------------------------------------------------------------------------------------------------

/** The manifest that a tag of the source points at, and the destinations where the tag does not point at it. */
export interface Tagged {
  readonly descriptor: Descriptor
  readonly tags: ReadonlyMap<Job.Destination, Tag>
}

/** Finds the manifests that tags of the source, which are made of a manifest's digest, point at. */
export type DigestTags = (node: ManifestNode) => Effect.Effect<ReadonlyArray<Tagged>, CopyError>

/** Creates a lookup that reads the tags of the source once, when they are needed first. */
export const digestTags = Effect.fnUntraced(function*(job: Job.Job): Effect.fn.Return<DigestTags> {
  const { options, source, destinations } = job
  const all = yield* Effect.cached(Effect.gen(function*() {
    const tags = new Map<string, Array<Tag>>()
    if (options.digestTags !== "copy") return tags
    const note = (tag: Tag) => {
      const prefix = /^[a-z0-9]+-[a-f0-9]{64,}(?=\.)/.exec(tag)?.[0]
      if (prefix === undefined) return
      const others = tags.get(prefix)
      if (others === undefined) tags.set(prefix, [tag])
      else others.push(tag)
    }
    yield* Stream.runForEachArray(source.registry.tags(source.repository), (page) => forEachSliced(page, note)).pipe(
      Job.atSource(job)
    )
    return tags
  }))

  const lookUp = Effect.fnUntraced(function*(parent: ManifestNode, tag: Tag) {
    const descriptor = yield* source.registry.resolveManifest(source.repository, tag).pipe(Job.atSource(job, parent))
    const tags = new Map<Job.Destination, Tag>()
    yield* Job.attemptAll(
      destinations,
      (destination) =>
        orAbsentOrDenied(destination.registry.resolveManifest(destination.repository, tag)).pipe(
          Effect.map((found) => found?.digest === descriptor.digest ? undefined : tags.set(destination, tag)),
          Job.atDestination(destination, parent)
        )
    )
    return { descriptor, tags } satisfies Tagged
  })

  return Effect.fnUntraced(function*(node) {
    const { digest } = node.descriptor
    const tags = (yield* all).get(`${Digest.algorithm(digest)}-${Digest.encoded(digest)}`) ?? []
    return yield* Effect.forEach(tags, (tag) => lookUp(node, tag), { concurrency })
  })
})
