/**
 * Pushing manifests, each after everything that it refers to, and the tag last.
 *
 * A manifest waits for what it contains, and for its referrers where it can. A registry that refuses a referrer because it
 * does not have the subject gets it again behind the subject, which does not wait for it any longer; the tag then comes
 * after both.
 */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Result from "effect/Result"
import * as BlobSource from "../BlobSource.ts"
import type { Digest } from "../Digest.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Tag } from "../Reference.ts"
import { SparseIndex } from "../Registry.ts"
import { type CopyError, SparseIndexRefused } from "./CopyError.ts"
import { failure } from "./Ends.ts"
import * as Host from "./Host.ts"
import * as Job from "./Job.ts"
import { isSparse } from "./Options.ts"
import { restore } from "./Restore.ts"
import type { Found, ManifestNode } from "./Walk.ts"

/** Does a registry refuse a manifest because it does not have what that refers to? */
const isLack = ({ reason }: CopyError): boolean =>
  reason._tag === "ManifestBlobUnknown" || reason._tag === "ManifestUnknown" || reason._tag === "BlobUnknown"

/** Does it refuse a referrer, maybe because it does not have the subject? */
const isRefusal = (error: CopyError): boolean => isLack(error) || error.reason._tag === "ManifestInvalid"

/**
 * Does it say that a manifest is not what its digest says, though that was verified? distribution 2.8 does so while somebody
 * else pushes, or mounts, one of its blobs to the same repository.
 */
const isDoubtful = ({ reason }: CopyError): boolean => reason._tag === "DigestInvalid"

/** Returns true if a registry may not know the type of a manifest. */
const isRefusedType = ({ reason, status = 0 }: CopyError): boolean =>
  reason._tag === "ManifestInvalid" || reason._tag === "Unsupported" ||
  reason._tag === "UnexpectedResponse" && status >= 400 && status < 500

/** Deals with a manifest at a destination, when its turn has come. */
export const push = Effect.fnUntraced(function*(job: Job.Job, found: Found, node: ManifestNode, target: Job.Target) {
  const { digest } = node.descriptor
  const blobs = node.isDeep || node.absent.has(target) ? node.blobs : []
  yield* target.dealt.pass([...blobs.map(({ descriptor }) => descriptor.digest), ...node.children])
  yield* target.settled.pass(node.referrers)
  const tags = node.tags.get(target) ?? []
  if (node.missing || !node.absent.has(target) && (tags.length === 0 || target.tagIsLast)) {
    yield* Job.settle(job, target, node, node.missing ? "missing" : "present")
    return yield* target.settled.open(digest)
  }
  const early = target.tagIsLast ? [] : tags
  yield* put(job, node, target, early).pipe(
    Effect.catchIf(
      (error) => isRefusedType(error) && isOfUnknownType(node) && tags.length === 0,
      (refusal) => putAsBlob(node, target, refusal)
    ),
    Effect.catchIf(
      (error) => isRefusal(error) && subjectsOf(found, node).size > 0,
      (refusal) => putBehindSubjects(job, found, node, target, refusal)
    ),
    Effect.catchIf(isLack, (refusal) => putAgain(job, node, target, early, refusal))
  )
  // it may have got more of them meanwhile
  node.tags.set(target, (node.tags.get(target) ?? []).filter((tag) => !early.includes(tag)))
  yield* Job.settle(job, target, node, node.absent.has(target) ? "copied" : "present")
  yield* target.settled.open(digest)
})

/** Returns true for a child that may be a blob as well as a manifest. */
const isOfUnknownType = ({ manifest, role }: ManifestNode): boolean =>
  role === "child" && manifest !== undefined && !MediaType.isManifest(manifest.descriptor.mediaType)

/** Pushes as a blob what a registry does not take as a manifest, because it does not know the type. */
const putAsBlob = (node: ManifestNode, target: Job.Target, refusal: CopyError) => {
  const { host, registry, repository } = target
  const { manifest, descriptor: { digest } } = node
  if (manifest === undefined) return Effect.fail(refusal)
  const { bytes } = manifest
  return registry.pushBlob(repository, { digest, size: bytes.length }, BlobSource.fromBytes(bytes)).pipe(
    Job.atTarget(target, node),
    Effect.andThen(Host.learn(host.blobs, repository, digest))
  )
}

/** The tags that had to wait, for more than what they point at does, or until they were found; those of the root come last. */
export const pushTags = (
  job: Job.Job,
  nodes: ReadonlyArray<ManifestNode>,
  target: Job.Target
): Effect.Effect<void, CopyError> =>
  // the root was the first that was found
  Effect.forEach(nodes.filter(({ missing }) => !missing).toReversed(), (node) => {
    const tags = node.tags.get(target) ?? []
    return tags.length === 0 ? Effect.void : put(job, node, target, tags)
  }, { discard: true })

const put = Effect.fnUntraced(
  function*(job: Job.Job, node: ManifestNode, target: Job.Target, tags: ReadonlyArray<Tag>) {
    const { host, registry, repository } = target
    const { digest } = node.descriptor
    yield* Job.prepare(job, target)
    const { bytes, descriptor } = node.manifest ??
      (yield* registry.getManifest(repository, digest).pipe(Job.atTarget(target, node)))
    yield* registry.pushManifest(repository, { mediaType: descriptor.mediaType, bytes, digest }, tags).pipe(
      isSparse(job.options, descriptor) ? Effect.provideService(SparseIndex, "accept") : identity,
      Job.atTarget(target, node),
      Effect.retry({ times: 1, while: isDoubtful })
    )
    yield* Host.learn(host.manifests, repository, digest)
  }
)

/** What a manifest refers to as its subject, of what is copied so far: as it says itself, and as the source lists it. */
const subjectsOf = ({ nodes }: Found, { manifest, subjects }: ManifestNode): ReadonlySet<Digest> => {
  const own = manifest === undefined
    ? undefined
    : Result.getOrUndefined(Manifest.decode(manifest.descriptor.mediaType, manifest.bytes))?.content.subject?.digest
  return new Set(own === undefined || !nodes.has(own) ? subjects : [...subjects, own])
}

const putBehindSubjects = Effect.fnUntraced(
  function*(job: Job.Job, found: Found, node: ManifestNode, target: Job.Target, refusal: CopyError) {
    const self = node.descriptor.digest
    const late: Array<Digest> = []
    const subjects = subjectsOf(found, node)
    for (const subject of subjects) {
      const made = found.waits.forContained(self, subject)
      // neither can come before the other
      if (made === undefined) return yield* refusal
      late.push(...made)
    }
    target.tagIsLast = true
    for (const referrer of [self, ...late]) yield* target.settled.open(referrer)
    yield* target.dealt.pass(subjects)
    yield* put(job, node, target, [])
  }
)

/** A registry that misses something which it said to have gets that, and then the manifest again, once. */
const putAgain = Effect.fnUntraced(
  function*(job: Job.Job, node: ManifestNode, target: Job.Target, tags: ReadonlyArray<Tag>, refusal: CopyError) {
    if (isSparse(job.options, node.descriptor)) {
      return yield* failure(target.ends, "destination", new SparseIndexRefused({ others: [] }), node, refusal.operation)
    }
    const isRestored = yield* restore(job, node, target)
    if (!isRestored) return yield* refusal
    yield* put(job, node, target, tags)
  }
)
