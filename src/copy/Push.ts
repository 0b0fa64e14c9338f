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
import type { Outcome } from "./CopyReport.ts"
import { failure } from "./Ends.ts"
import * as Job from "./Job.ts"
import * as ManifestPush from "./ManifestPush.ts"
import { isSparse } from "./Options.ts"
import * as RegistryState from "./RegistryState.ts"
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

/** Deals with a manifest at a destination, once everything that it waits for is dealt with. */
export const push = (
  job: Job.Job,
  found: Found,
  node: ManifestNode,
  destination: Job.Destination
): Effect.Effect<void> => {
  const blobs = node.isDeep || node.absent.has(destination) ? node.blobs : []
  const turn = found.tasks.add([Job.attempt(destination, pushNow(job, found, node, destination))])
  return destination.recorded.pass(
    [...blobs.map(({ descriptor }) => descriptor.digest), ...node.children],
    destination.released.pass(node.referrers, turn)
  )
}

const pushNow = Effect.fnUntraced(
  function*(job: Job.Job, found: Found, node: ManifestNode, destination: Job.Destination) {
    const tags = node.tags.get(destination) ?? []
    if (node.missing || !node.absent.has(destination) && (tags.length === 0 || destination.tagIsLast)) {
      return yield* settle(job, found, node, destination, node.missing ? "missing" : "present")
    }
    const early = destination.tagIsLast ? [] : tags
    const landed = (outcome: Outcome) => {
      // it may have got more of them meanwhile
      const late = (node.tags.get(destination) ?? []).filter((tag) => !early.includes(tag))
      if (early.length > 0) node.tags = new Map(node.tags).set(destination, late)
      return settle(job, found, node, destination, outcome)
    }
    yield* Effect.matchEffect(put(job, found, node, destination, early), {
      onSuccess: landed,
      onFailure: Effect.fnUntraced(function*(refusal) {
        if (isRefusedType(refusal) && node.role === "child" && tags.length === 0) {
          const { bytes, descriptor } = yield* found.manifestOf(node, destination)
          // it may be a blob as well as a manifest
          if (!MediaType.isManifest(descriptor.mediaType)) {
            yield* pushAsBlob(node, destination, bytes)
            return yield* landed("copied")
          }
        }
        const subjects = isRefusal(refusal) ? yield* subjectsOf(found, node, destination) : []
        const late = subjects.length === 0 ? undefined : lateFor(found, node, subjects)
        if (late !== undefined) return yield* pushBehind(job, found, node, destination, subjects, late)
        if (!isLack(refusal)) return yield* refusal
        yield* landed(yield* putAgain(job, found, node, destination, early, refusal))
      })
    })
  }
)

/** Pushes as a blob what a registry does not take as a manifest, because it does not know the type. */
const pushAsBlob = Effect.fnUntraced(function*(node: ManifestNode, destination: Job.Destination, bytes: Uint8Array) {
  const { state, registry, repository } = destination
  const { digest } = node.descriptor
  yield* registry.pushBlob(repository, { digest, size: bytes.length }, BlobSource.fromBytes(bytes)).pipe(
    Job.atDestination(destination, node)
  )
  yield* RegistryState.learn(state.blobs, repository, digest)
})

const settle = Effect.fnUntraced(function*(
  job: Job.Job,
  found: Found,
  node: ManifestNode,
  destination: Job.Destination,
  outcome: Outcome
) {
  yield* Job.record(job, destination, node, outcome)
  found.release(node)
  yield* destination.released.open(node.descriptor.digest)
})

/** The tags that had to wait, for more than what they point at does, or until they were found; those of the root come last. */
export const pushTags = (
  job: Job.Job,
  found: Found,
  nodes: ReadonlyArray<ManifestNode>,
  destination: Job.Destination
): Effect.Effect<void, CopyError> =>
  // the root was the first that was found
  Effect.forEach(
    nodes.filter(({ missing, tags }) => !missing && (tags.get(destination) ?? []).length > 0).toReversed(),
    (node) => put(job, found, node, destination, node.tags.get(destination) ?? []),
    { discard: true }
  )

/** Pushes a manifest with some tags, unless another copy has done so. */
const put = Effect.fnUntraced(
  function*(
    job: Job.Job,
    found: Found,
    node: ManifestNode,
    destination: Job.Destination,
    tags: ReadonlyArray<Tag>
  ): Effect.fn.Return<"copied" | "present", CopyError> {
    const { state, registry, repository } = destination
    const { digest } = node.descriptor
    yield* Job.prepare(job, destination)
    const send = Effect.fnUntraced(function*(tags: ReadonlyArray<Tag>) {
      const { bytes, descriptor } = yield* found.manifestOf(node, destination)
      yield* registry.pushManifest(repository, { mediaType: descriptor.mediaType, bytes, digest }, tags).pipe(
        isSparse(job.options, descriptor) ? Effect.provideService(SparseIndex, "accept") : identity,
        Job.atDestination(destination, node),
        Effect.retry({ times: 1, while: isDoubtful })
      )
    })
    const isNew = yield* ManifestPush.push({ state, repository, digest, children: node.children, tags, send })
    return isNew && node.absent.has(destination) ? "copied" : "present"
  }
)

/** What a manifest refers to as its subject, of what is copied so far: as it says itself, and as the source lists it. */
const subjectsOf = Effect.fnUntraced(function*(found: Found, node: ManifestNode, destination: Job.Destination) {
  const { bytes, descriptor } = yield* found.manifestOf(node, destination)
  const own = Result.getOrUndefined(Manifest.decode(descriptor.mediaType, bytes))?.content.subject?.digest
  return own === undefined || !found.nodes.has(own) || node.subjects.includes(own)
    ? node.subjects
    : [...node.subjects, own]
})

/** Returns the referrers that come late if a manifest waits for its subjects; nothing if one of those waits for it. */
const lateFor = ({ waits }: Found, { descriptor: { digest } }: ManifestNode, subjects: ReadonlyArray<Digest>) => {
  const late = [digest]
  for (const subject of subjects) {
    const made = waits.forContained(digest, subject)
    if (made === undefined) return undefined
    late.push(...made)
  }
  return late
}

/** Pushes a manifest again once its subjects are there, which do not wait for it. */
const pushBehind = Effect.fnUntraced(
  function*(
    job: Job.Job,
    found: Found,
    node: ManifestNode,
    destination: Job.Destination,
    subjects: ReadonlyArray<Digest>,
    late: ReadonlyArray<Digest>
  ) {
    destination.tagIsLast = true
    const again = put(job, found, node, destination, []).pipe(
      Effect.catchIf(isLack, (refusal) => putAgain(job, found, node, destination, [], refusal)),
      Effect.flatMap((outcome) => settle(job, found, node, destination, outcome))
    )
    for (const referrer of late) yield* destination.released.open(referrer)
    yield* destination.recorded.pass(subjects, found.tasks.add([Job.attempt(destination, again)]))
  }
)

/** A registry that misses something which it said to have gets that, and then the manifest again, once. */
const putAgain = Effect.fnUntraced(
  function*(
    job: Job.Job,
    found: Found,
    node: ManifestNode,
    destination: Job.Destination,
    tags: ReadonlyArray<Tag>,
    refusal: CopyError
  ) {
    if (isSparse(job.options, node.descriptor)) {
      return yield* failure(
        destination.end,
        "destination",
        new SparseIndexRefused({ others: [] }),
        node,
        refusal.operation
      )
    }
    const isRestored = yield* restore(job, node, yield* found.manifestOf(node, destination), destination)
    if (!isRestored) return yield* refusal
    return yield* put(job, found, node, destination, tags)
  }
)
