/**
 * Finds the manifests that refer to a manifest of the source: those that the registry lists as its referrers, and those
 * behind tags that are made of its digest.
 *
 * A registry chooses the length of these lists, so they are read page by page, and other fibers run in between. Listing
 * referrers is optional for registries. If the source does not list them, a copy continues without them, unless they
 * are required. If a destination does not list them (403, 404, 5xx), each referrer is looked up there by its digest.
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
import type { ManifestNode } from "./ManifestNode.ts"
import { type ContentNode, isWanted, policiesFor } from "./Options.ts"
import { forEachSliced } from "./TaskPool.ts"

// maximum number of tags that are resolved at the same time
const concurrency = 16

/** Referrers of a manifest, and what is known of them at each destination. */
export interface Referrers {
  readonly descriptors: ReadonlyArray<Descriptor>
  readonly presence: (destination: Job.Destination, descriptor: Descriptor) => Job.Presence
}

/** No referrers. */
export const nothing: Referrers = { descriptors: [], presence: () => "absent" }

/** Passes each descriptor of a list to a function. */
export const forEach = <E, R>(list: Stream.Stream<Descriptor, E, R>, f: (descriptor: Descriptor) => void) =>
  Stream.runForEachArray(list, (page) => forEachSliced(page, f))

/** Records that the referrers of a manifest are unknown. The first time, the user is warned. */
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
    text: `it does not list the referrers of ${descriptor.digest}, so they are not ${effect}: ${reason.message}`
  })
})

/** Returns the referrers of a manifest that the source lists, and which of them the destinations list. */
export const list = Effect.fnUntraced(function*(
  job: Job.Job,
  node: ManifestNode
): Effect.fn.Return<Referrers, CopyError> {
  const { source } = job
  const { referrerFilter, referrers } = policiesFor(job.options, node)
  if (referrers === "skip") return nothing
  const descriptors = new Map<Digest.Digest, Descriptor>()
  const listing = forEach(source.registry.referrers(source.repository, node.descriptor.digest), (descriptor) => {
    if (!descriptors.has(descriptor.digest) && isWanted(referrerFilter, descriptor)) {
      descriptors.set(descriptor.digest, descriptor)
    }
  })
  yield* referrers === "require"
    ? listing.pipe(Job.atSource(job, node))
    : Effect.catch(listing, (error) => areUnknown(job, "source", node, error, job.unknownReferrers))
  if (descriptors.size === 0) return nothing
  const listed = yield* listedAt(job, node)
  return {
    descriptors: Array.from(descriptors.values()),
    presence: (destination, { digest }) => {
      if (listed.get(destination)?.has(digest) === true) return "present"
      return listed.has(destination) || node.absent.has(destination) ? "absent" : "unknown"
    }
  }
})

/** Returns the referrers that each destination lists. Omits destinations that lack the manifest, or list none. */
const listedAt = Effect.fnUntraced(function*({ destinations }: Job.Job, { absent, descriptor }: ManifestNode) {
  const listed = new Map<Job.Destination, ReadonlySet<Digest.Digest>>()
  yield* Job.attemptAll(
    destinations.filter((destination) => !absent.has(destination)),
    (destination) => {
      const found = new Set<Digest.Digest>()
      const listing = destination.registry.referrers(destination.repository, descriptor.digest)
      return forEach(listing, ({ digest }) => found.add(digest)).pipe(
        Effect.map(() => listed.set(destination, found)),
        Effect.ignore
      )
    }
  )
  return listed
})

// ---------------------------------------------------------------------------------------------------------------------
// digest tags
// ---------------------------------------------------------------------------------------------------------------------

/** The manifest behind a tag of the source, and the destinations where the tag does not point at it. */
export interface Tagged {
  readonly descriptor: Descriptor
  readonly tags: ReadonlyMap<Job.Destination, Tag>
}

/** Finds the manifests behind tags of the source that are made of the digest of a manifest. */
export type DigestTags = (node: ManifestNode) => Effect.Effect<ReadonlyArray<Tagged>, CopyError>

/** Creates a lookup that lists the tags of the source once, at its first use. */
export const digestTags = Effect.fnUntraced(function*(job: Job.Job): Effect.fn.Return<DigestTags> {
  const tagsByDigest = yield* Effect.cached(listDigestTags(job))
  return Effect.fnUntraced(function*(node) {
    const { digest } = node.descriptor
    const tags = (yield* tagsByDigest).get(`${Digest.algorithm(digest)}-${Digest.encoded(digest)}`) ?? []
    return yield* Effect.forEach(tags, (tag) => lookUpTag(job, node, tag), { concurrency })
  })
})

/** Lists the tags of the source that begin with a digest, such as `sha256-<hex>.sig`, by that beginning. */
const listDigestTags = Effect.fnUntraced(function*(job: Job.Job) {
  const { options, source } = job
  const tags = new Map<string, Array<Tag>>()
  if (options.digestTags !== "copy") return tags
  const add = (tag: Tag) => {
    const prefix = /^[a-z0-9]+-[a-f0-9]{64,}(?=\.)/.exec(tag)?.[0]
    if (prefix === undefined) return
    const others = tags.get(prefix)
    if (others === undefined) tags.set(prefix, [tag])
    else others.push(tag)
  }
  yield* Stream.runForEachArray(source.registry.tags(source.repository), (page) => forEachSliced(page, add)).pipe(
    Job.atSource(job)
  )
  return tags
})

/** Resolves a tag at the source and at every destination. */
const lookUpTag = Effect.fnUntraced(function*(job: Job.Job, parent: ManifestNode, tag: Tag) {
  const { destinations, source } = job
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

/** Adds digest tags to the nodes of the manifests that they point at. */
export const addTags = Effect.fnUntraced(function*(
  nodes: ReadonlyMap<Digest.Digest, ManifestNode>,
  tagged: ReadonlyArray<Tagged>
) {
  const tagsOf = new Map<ManifestNode, Map<Job.Destination, Array<Tag>>>()
  yield* forEachSliced(tagged, ({ descriptor, tags }) => {
    const node = nodes.get(descriptor.digest)
    if (node === undefined) return
    const all = tagsOf.get(node) ?? new Map(Array.from(node.tags, ([destination, tags]) => [destination, [...tags]]))
    for (const [destination, tag] of tags) {
      const others = all.get(destination)
      if (others === undefined) all.set(destination, [tag])
      else others.push(tag)
    }
    tagsOf.set(node, all)
  })
  for (const [node, tags] of tagsOf) node.tags = tags
})
