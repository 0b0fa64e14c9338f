/**
 * Doing what a graph says: everything at once that can be, each thing once, and nothing before what it needs.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Semaphore from "effect/Semaphore"
import type { Digest } from "../Digest.ts"
import type { Tag } from "../Reference.ts"
import type { CopyError } from "./CopyError.ts"
import type { Entry } from "./CopyReport.ts"
import { type Ends, failureOf, type Place } from "./Ends.ts"
import * as Graph from "./Graph.ts"
import { transfer } from "./Transfer.ts"

/**
 * Is told of each piece of content as soon as it is dealt with.
 *
 * @default does nothing
 * @category references
 * @since 0.1.0
 */
export const Observer: Context.Reference<(entry: Entry) => Effect.Effect<void>> = Context.Reference<
  (entry: Entry) => Effect.Effect<void>
>("effect-oci/Copy/Observer", { defaultValue: () => () => Effect.void })

/** What is waited for, by digest. */
const gates = (digests: Iterable<Digest>) => {
  const deferreds = new Map(Array.from(digests, (digest) => [digest, Deferred.makeUnsafe<void>()] as const))
  const each = (digests: ReadonlyArray<Digest>, f: (deferred: Deferred.Deferred<void>) => Effect.Effect<unknown>) =>
    Effect.forEach(digests, (digest) => {
      const deferred = deferreds.get(digest)
      return deferred === undefined ? Effect.void : f(deferred)
    }, { discard: true })
  return {
    pass: (digests: ReadonlyArray<Digest>) => each(digests, Deferred.await),
    open: (digest: Digest) => each([digest], (deferred) => Deferred.succeed(deferred, undefined))
  }
}

/** Does a registry refuse a referrer because it does not have the subject? */
const isRefusal = ({ reason }: CopyError): boolean =>
  reason._tag === "ManifestBlobUnknown" || reason._tag === "ManifestUnknown" || reason._tag === "ManifestInvalid"

/**
 * Transfers what the graph has and the destination has not, and tags the root unless it is tagged.
 *
 * A manifest is `settled` when it was pushed, or was refused for lack of its subject; then the subject need not wait any
 * longer, and the referrer tries again behind it.
 */
export const execute = Effect.fnUntraced(function*(
  ends: Ends,
  graph: Graph.Graph,
  permits: Semaphore.Semaphore,
  isTagged: boolean
): Effect.fn.Return<ReadonlyArray<Entry>, CopyError> {
  const { registry, repository, tag } = ends.destination
  const { late, referrersBefore } = Graph.order(graph)
  const observe = yield* Observer
  const blobs = gates(graph.blobs.keys())
  const settled = gates(graph.manifests.keys())
  const pushed = gates(graph.manifests.keys())
  const tags = isTagged || tag === undefined ? [] : [tag]
  const entries: Array<Entry> = []
  let tagIsLast = late.size > 0

  const report = ({ descriptor, path }: Place, role: Entry["role"], outcome: Entry["outcome"]) => {
    const entry = { descriptor, role, path, outcome }
    entries.push(entry)
    return observe(entry)
  }

  const copyBlob = Effect.fnUntraced(function*(place: Place) {
    yield* report(place, "blob", yield* permits.withPermit(transfer(ends, place)))
    yield* blobs.open(place.descriptor.digest)
  })

  const push = (node: Graph.ManifestNode, tags: ReadonlyArray<Tag> = []) => {
    if (node.manifest === undefined || node.present && tags.length === 0) return Effect.void
    const { bytes, descriptor: { digest, mediaType } } = node.manifest
    return permits.withPermit(registry.pushManifest(repository, { mediaType, bytes, digest }, tags)).pipe(
      Effect.mapError(failureOf(ends, "destination", node))
    )
  }

  // what a refused referrer waits for, so that none waits for itself
  const behind = new Map<Digest, ReadonlyArray<Digest>>()
  const waitsFor = (digest: Digest, other: Digest, seen: Set<Digest> = new Set()): boolean => {
    if (digest === other) return true
    if (seen.has(digest)) return false
    seen.add(digest)
    const next = [...graph.manifests.get(digest)?.children ?? [], ...behind.get(digest) ?? []]
    return next.some((digest) => waitsFor(digest, other, seen))
  }

  const pushBehindSubjects = Effect.fnUntraced(function*(node: Graph.ManifestNode, refusal: CopyError) {
    const self = node.descriptor.digest
    const subjects = Array.from(graph.manifests.values())
      .filter(({ referrers }) => referrers.includes(self))
      .map(({ descriptor }) => descriptor.digest)
    if (subjects.length === 0 || subjects.some((subject) => waitsFor(subject, self))) return yield* refusal
    behind.set(self, subjects)
    tagIsLast = true
    yield* settled.open(self)
    yield* pushed.pass(subjects)
    yield* push(node)
  })

  const copyNode = Effect.fnUntraced(function*(node: Graph.ManifestNode) {
    const { digest } = node.descriptor
    const isRoot = digest === graph.root
    yield* blobs.pass(node.blobs)
    yield* pushed.pass(node.children)
    yield* settled.pass(referrersBefore.get(digest) ?? [])
    yield* Effect.catchIf(
      push(node, isRoot && !tagIsLast ? tags : []),
      (error) => !isRoot && isRefusal(error),
      (refusal) => pushBehindSubjects(node, refusal)
    )
    yield* report(node, node.role, node.missing ? "missing" : node.present ? "present" : "copied")
    yield* settled.open(digest)
    yield* pushed.open(digest)
  })

  yield* Effect.all([
    Effect.forEach(graph.blobs.values(), copyBlob, { concurrency: "unbounded", discard: true }),
    Effect.forEach(graph.manifests.values(), copyNode, { concurrency: "unbounded", discard: true })
  ], { concurrency: "unbounded", discard: true })
  const root = graph.manifests.get(graph.root)
  if (root !== undefined && tagIsLast && tags.length > 0) yield* push(root, tags)
  return entries
})
