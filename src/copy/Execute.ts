/**
 * Doing what a graph says: everything at once that can be, each thing once, and nothing before what it needs.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Semaphore from "effect/Semaphore"
import type { Digest } from "../Digest.ts"
import type { Tag } from "../Reference.ts"
import type { ManifestBytes } from "../Registry.ts"
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
 */
export const execute = Effect.fnUntraced(function*(
  ends: Ends,
  graph: Graph.Graph,
  permits: Semaphore.Semaphore,
  isTagged: boolean
): Effect.fn.Return<ReadonlyArray<Entry>, CopyError> {
  const { registry, repository, tag } = ends.destination
  const { afterRoot, beforeRoot, waitsFor } = Graph.order(graph)
  const observe = yield* Observer
  const blobs = gates(graph.blobs.keys())
  const manifests = gates(graph.manifests.keys())
  const contained = new Set(Array.from(graph.manifests.values()).flatMap(({ children }) => children))
  const entries: Array<Entry> = []
  const refused: Array<Digest> = []

  const report = ({ descriptor, path }: Place, role: Entry["role"], outcome: Entry["outcome"]) => {
    const entry = { descriptor, role, path, outcome }
    entries.push(entry)
    return observe(entry)
  }

  const copyBlob = Effect.fnUntraced(function*(place: Place) {
    yield* report(place, "blob", yield* permits.withPermit(transfer(ends, place)))
    yield* blobs.open(place.descriptor.digest)
  })

  const push = ({ bytes, descriptor: { digest, mediaType } }: ManifestBytes, tags: ReadonlyArray<Tag>, place: Place) =>
    permits.withPermit(registry.pushManifest(repository, { mediaType, bytes, digest }, tags)).pipe(
      Effect.mapError(failureOf(ends, "destination", place))
    )

  const copyNode = Effect.fnUntraced(function*(digest: Digest, tags: ReadonlyArray<Tag> = []) {
    const node = graph.manifests.get(digest)
    if (node === undefined) return
    yield* blobs.pass(node.blobs)
    yield* manifests.pass(waitsFor.get(digest) ?? [])
    if (node.manifest !== undefined && (!node.present || tags.length > 0)) yield* push(node.manifest, tags, node)
    yield* report(node, node.role, node.missing ? "missing" : node.present ? "present" : "copied")
    yield* manifests.open(digest)
  })

  // a referrer that nothing contains can come when its subject is there
  const copyBeforeRoot = (digest: Digest) =>
    contained.has(digest) ? copyNode(digest) : Effect.catchIf(copyNode(digest), isRefusal, () => {
      refused.push(digest)
      return manifests.open(digest)
    })

  const copyRoot = Effect.gen(function*() {
    yield* manifests.pass(waitsFor.get(graph.root) ?? [])
    // what was refused last is nearest to the root, and a subject of those before
    const later = [...refused.toReversed(), ...afterRoot]
    const tags = isTagged || tag === undefined ? [] : [tag]
    yield* copyNode(graph.root, later.length === 0 ? tags : [])
    yield* Effect.forEach(later, (digest) => copyNode(digest), { discard: true })
    const root = graph.manifests.get(graph.root)
    if (root?.manifest !== undefined && later.length > 0 && tags.length > 0) yield* push(root.manifest, tags, root)
  })

  yield* Effect.all([
    Effect.forEach(graph.blobs.values(), copyBlob, { concurrency: "unbounded", discard: true }),
    Effect.forEach(beforeRoot, copyBeforeRoot, { concurrency: "unbounded", discard: true }),
    copyRoot
  ], { concurrency: "unbounded", discard: true })
  return entries
})
