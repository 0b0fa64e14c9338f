/**
 * Pushes manifests, each after everything that it refers to, and the tags last.
 *
 * A manifest waits for its blobs and children, and if possible for its referrers. If a registry refuses a referrer
 * because its subject is absent, the subject no longer waits for it, and the referrer is pushed again after the
 * subject. The tag is then pushed after both.
 */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as BlobSource from "../BlobSource.ts"
import type { Digest } from "../Digest.ts"
import * as Limiter from "../Limiter.ts"
import * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Tag } from "../Reference.ts"
import { SparseIndex } from "../Registry.ts"
import { type CopyError, SparseIndexRefused } from "./CopyError.ts"
import type { Outcome } from "./CopyReport.ts"
import { failure } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { ManifestNode } from "./ManifestNode.ts"
import * as ManifestPush from "./ManifestPush.ts"
import { isSparse } from "./Options.ts"
import * as RegistryState from "./RegistryState.ts"
import { restore } from "./Restore.ts"
import * as Trace from "./Trace.ts"
import type { Found } from "./Walk.ts"

/** Returns true if a registry refuses a manifest because it lacks content that the manifest refers to. */
const isLack = ({ reason }: CopyError): boolean =>
  reason._tag === "ManifestBlobUnknown" || reason._tag === "ManifestUnknown" || reason._tag === "BlobUnknown"

/** Returns true if a registry refuses a referrer, possibly because it lacks the subject. */
const isRefusal = (error: CopyError): boolean => isLack(error) || error.reason._tag === "ManifestInvalid"

/**
 * Returns true if a registry claims that the bytes of a manifest do not match its digest, although they were verified.
 * CNCF distribution 2.8 does so while another client pushes or mounts one of its blobs to the same repository.
 */
const isDoubtful = ({ reason }: CopyError): boolean => reason._tag === "DigestInvalid"

/** Returns true if a registry may not know the type of a manifest. */
const isRefusedType = ({ reason, status = 0 }: CopyError): boolean =>
  reason._tag === "ManifestInvalid" || reason._tag === "Unsupported" ||
  reason._tag === "UnexpectedResponse" && status >= 400 && status < 500

/** Adds the push of a manifest to the tasks, once everything that it waits for is recorded or released. */
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

/** Pushes a manifest with its tags, if the destination lacks it or one of them. */
const pushNow = Effect.fnUntraced(
  function*(job: Job.Job, found: Found, node: ManifestNode, destination: Job.Destination) {
    const tags = node.tags.get(destination) ?? []
    if (node.missing || !node.absent.has(destination) && (tags.length === 0 || destination.tagIsLast)) {
      return yield* finish(job, found, node, destination, node.missing ? "missing" : "present")
    }
    const early = destination.tagIsLast ? [] : tags
    const pushed = (outcome: Outcome) => {
      // the walk may have found more tags during the push
      const late = (node.tags.get(destination) ?? []).filter((tag) => !early.includes(tag))
      if (early.length > 0) node.tags = new Map(node.tags).set(destination, late)
      return finish(job, found, node, destination, outcome)
    }
    yield* Effect.matchEffect(put(job, found, node, destination, early), {
      onSuccess: pushed,
      onFailure: Effect.fnUntraced(function*(refusal) {
        if (isRefusedType(refusal) && node.role === "child" && tags.length === 0) {
          const { bytes, descriptor } = yield* found.manifestOf(node, destination)
          // content of an unknown type may also be pushed as a blob
          if (!MediaType.isManifest(descriptor.mediaType)) {
            yield* pushAsBlob(node, destination, bytes)
            return yield* pushed("copied")
          }
        }
        const subjects = isRefusal(refusal) ? yield* subjectsOf(found, node, destination) : []
        const late = subjects.length === 0 ? undefined : lateFor(found, node, subjects)
        if (late !== undefined) return yield* pushAfterSubjects(job, found, node, destination, subjects, late)
        if (!isLack(refusal)) return yield* refusal
        yield* pushed(yield* putAgain(job, found, node, destination, early, refusal))
      })
    })
  }
)

/** Pushes content as a blob, because the registry refuses it as a manifest of an unknown type. */
const pushAsBlob = Effect.fnUntraced(function*(node: ManifestNode, destination: Job.Destination, bytes: Uint8Array) {
  const { state, registry, repository } = destination
  const { digest } = node.descriptor
  yield* registry.pushBlob(repository, { digest, size: bytes.length }, BlobSource.fromBytes(bytes)).pipe(
    Job.atDestination(destination, node),
    Trace.blob(node.descriptor)
  )
  yield* RegistryState.learn(state.blobs, repository, digest)
})

/** Records the outcome of a manifest, discards its content if possible, and lets its subjects proceed. */
const finish = Effect.fnUntraced(function*(
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

/** Pushes the tags that were postponed, or found after their manifest was pushed. The tags of the root come last. */
export const pushTags = (
  job: Job.Job,
  found: Found,
  nodes: ReadonlyArray<ManifestNode>,
  destination: Job.Destination
): Effect.Effect<void, CopyError> =>
  // the root is the first node
  Effect.forEach(
    nodes.filter(({ missing, tags }) => !missing && (tags.get(destination) ?? []).length > 0).toReversed(),
    (node) => put(job, found, node, destination, node.tags.get(destination) ?? []),
    { discard: true }
  )

/** Runs `beforeTag` before a push that sets tags, under the permit of the push, so that it does not wait in between. */
const guarded =
  ({ options }: Job.Job, destination: Job.Destination, node: ManifestNode, tags: ReadonlyArray<Tag>) =>
  <A>(
    push: Effect.Effect<A, CopyError>
  ): Effect.Effect<A, CopyError> => {
    const { end, limiter, registry, repository } = destination
    if (options.beforeTag === undefined || tags.length === 0) return push
    return options.beforeTag({ registry, repository, digest: node.descriptor.digest, tags }).pipe(
      Effect.mapError((reason) => failure(end, "destination", reason, node)),
      Effect.andThen(push),
      Limiter.withPermits(limiter)
    )
  }

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
        guarded(job, destination, node, tags),
        Effect.retry({ times: 1, while: isDoubtful })
      )
    })
    const isNew = yield* ManifestPush.push({
      state,
      repository,
      digest,
      children: node.children,
      tags,
      isGuarded: job.options.beforeTag !== undefined,
      send
    })
    return isNew && node.absent.has(destination) ? "copied" : "present"
  }
)

/** Returns the subjects of a manifest that this copy contains: those that list it as a referrer, and its own. */
const subjectsOf = Effect.fnUntraced(function*(found: Found, node: ManifestNode, destination: Job.Destination) {
  const { bytes, descriptor } = yield* found.manifestOf(node, destination)
  const own = Manifest.subjectOf(descriptor.mediaType, bytes)
  return own === undefined || !found.nodes.has(own) || node.subjects.includes(own)
    ? node.subjects
    : [...node.subjects, own]
})

/** Returns the referrers that come late if a manifest waits for its subjects, or `undefined` if a subject needs it. */
const lateFor = ({ waits }: Found, { descriptor: { digest } }: ManifestNode, subjects: ReadonlyArray<Digest>) => {
  const late = [digest]
  for (const subject of subjects) {
    const dropped = waits.forContained(digest, subject)
    if (dropped === undefined) return undefined
    late.push(...dropped)
  }
  return late
}

/** Lets the subjects of a manifest proceed without it, and pushes it again after them. */
const pushAfterSubjects = Effect.fnUntraced(
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
      Effect.flatMap((outcome) => finish(job, found, node, destination, outcome))
    )
    for (const referrer of late) yield* destination.released.open(referrer)
    yield* destination.recorded.pass(subjects, found.tasks.add([Job.attempt(destination, again)]))
  }
)

/** Restores the parts of a manifest that the registry lacks, and pushes the manifest once more. */
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
