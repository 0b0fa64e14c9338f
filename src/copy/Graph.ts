/**
 * What there is to copy: manifests, the blobs and manifests they refer to, and the referrers of all of them, as far as
 * the destination does not have them. And in which order.
 */
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import type * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import type * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { ManifestBytes } from "../Registry.ts"
import { ManifestUnknown } from "../RegistryError.ts"
import { type CopyError, TooDeep } from "./CopyError.ts"
import type { Entry } from "./CopyReport.ts"
import { type Ends, failure, failureOf, ifThere, type Place } from "./Ends.ts"

export interface ManifestNode extends Place {
  readonly role: Exclude<Entry["role"], "blob">
  /** Does the destination have it, and with it what it refers to? */
  present: boolean
  /** Is it listed at the source and not to be found there? */
  missing: boolean
  /** As the source has it; absent where nobody needs them. */
  manifest: ManifestBytes | undefined
  children: ReadonlyArray<Digest>
  blobs: ReadonlyArray<Digest>
  referrers: ReadonlyArray<Digest>
}

export interface Graph {
  readonly root: Digest
  readonly manifests: ReadonlyMap<Digest, ManifestNode>
  readonly blobs: ReadonlyMap<Digest, Place>
}

/**
 * Tells what a manifest refers to.
 *
 * @category models
 * @since 0.1.0
 */
export type ManifestDigests = (
  mediaType: string,
  bytes: Uint8Array
) => Result.Result<Manifest.Digests, Manifest.ManifestError>

export interface Options {
  readonly referrers: boolean
  readonly manifestDigests: ManifestDigests
}

/** What a manifest of the source refers to. */
export const references = (
  ends: Ends,
  { bytes, descriptor }: ManifestBytes,
  manifestDigests: ManifestDigests,
  place: Place
): Effect.Effect<Manifest.Digests, CopyError> =>
  Effect.mapError(
    Effect.fromResult(manifestDigests(descriptor.mediaType, bytes)),
    (reason) => failure(ends, "source", reason, place)
  )

// a registry may list referrers of referrers without end
const depthLimit = 256

/** Reads the graph below a root. Each manifest is looked for at the destination, and read once at the source. */
export const discover = Effect.fnUntraced(function*(
  ends: Ends,
  root: { readonly manifest: ManifestBytes; readonly present: boolean },
  options: Options,
  permits: Semaphore.Semaphore
): Effect.fn.Return<Graph, CopyError> {
  const { destination, source } = ends
  const manifests = new Map<Digest, ManifestNode>()
  const blobs = new Map<Digest, Place>()

  const isPresent = (place: Place) =>
    permits.withPermit(
      ifThere(destination.registry.resolveManifest(destination.repository, place.descriptor.digest))
    ).pipe(
      Effect.map((found) => found !== undefined),
      Effect.mapError(failureOf(ends, "destination", place))
    )

  const read = (node: ManifestNode) =>
    permits.withPermit(source.registry.getManifest(source.repository, node.descriptor.digest)).pipe(
      Effect.catchIf(
        ({ reason }) => reason._tag === "ManifestUnknown" && node.role === "referrer",
        () => Effect.undefined
      ),
      Effect.mapError(failureOf(ends, "source", node))
    )

  const listReferrers = (node: ManifestNode) =>
    permits.withPermit(
      Stream.runCollect(source.registry.referrers(source.repository, node.descriptor.digest))
    ).pipe(Effect.mapError(failureOf(ends, "source", node)))

  const visitAll = (descriptors: ReadonlyArray<Descriptor>, parent: ManifestNode, role: ManifestNode["role"]) =>
    Effect.forEach(
      descriptors,
      (descriptor) => {
        const known = manifests.get(descriptor.digest)
        return known !== undefined
          ? Effect.void
          : visit(addNode({ descriptor, path: [...parent.path, parent.descriptor.digest] }, role))
      },
      { concurrency: "unbounded", discard: true }
    )

  const addNode = (place: Place, role: ManifestNode["role"]): ManifestNode => {
    const node: ManifestNode = {
      ...place,
      role,
      present: false,
      missing: false,
      manifest: undefined,
      children: [],
      blobs: [],
      referrers: []
    }
    manifests.set(place.descriptor.digest, node)
    return node
  }

  const addBlob = (place: Place) => {
    const { digest, mediaType } = place.descriptor
    const known = blobs.get(digest)
    // what one manifest calls external another may want copied
    if (
      known === undefined ||
      MediaType.isNonDistributable(known.descriptor.mediaType) && !MediaType.isNonDistributable(mediaType)
    ) {
      blobs.set(digest, place)
    }
  }

  const visit = Effect.fnUntraced(function*(node: ManifestNode): Effect.fn.Return<void, CopyError> {
    if (node.path.length > depthLimit) {
      return yield* failure(ends, "source", new TooDeep({ limit: depthLimit }), node)
    }
    node.present ||= yield* isPresent(node)
    // children that are present may have referrers that are not
    const isNeeded = !node.present || options.referrers && MediaType.isIndex(node.descriptor.mediaType)
    if (isNeeded) {
      node.manifest ??= yield* read(node)
      if (node.manifest === undefined) {
        node.missing = true
        return
      }
      const { blobs: ownBlobs, manifests: children } = yield* references(
        ends,
        node.manifest,
        options.manifestDigests,
        node
      )
      if (!node.present) {
        node.blobs = digestsOf(ownBlobs)
        for (const blob of ownBlobs) addBlob({ descriptor: blob, path: [...node.path, node.descriptor.digest] })
      }
      node.children = digestsOf(children)
      yield* visitAll(children, node, "child")
    }
    if (options.referrers) {
      const referrers = yield* listReferrers(node)
      node.referrers = digestsOf(referrers)
      yield* visitAll(referrers, node, "referrer")
    }
  })

  const rootNode = addNode({ descriptor: root.manifest.descriptor, path: [] }, "root")
  rootNode.manifest = root.manifest
  rootNode.present = root.present
  yield* visit(rootNode)
  for (const { children, descriptor, path } of manifests.values()) {
    const missing = children.flatMap((child) => manifests.get(child) ?? []).find((child) => child.missing)
    if (missing === undefined) continue
    const place = { descriptor: missing.descriptor, path: [...path, descriptor.digest] }
    return yield* failure(ends, "source", new ManifestUnknown({}), place)
  }
  return { root: root.manifest.descriptor.digest, manifests, blobs }
})

const digestsOf = (descriptors: ReadonlyArray<Descriptor>): ReadonlyArray<Digest> =>
  Array.from(new Set(descriptors.map(({ digest }) => digest)))

/**
 * What manifests wait for before they are pushed: for their children, always, and for their referrers, where that is
 * possible. A referrer that itself contains what it refers to is `late`: nothing waits for it but the tag.
 */
export interface Order {
  readonly referrersBefore: ReadonlyMap<Digest, ReadonlyArray<Digest>>
  readonly late: ReadonlySet<Digest>
}

export const order = (graph: Graph): Order => {
  const referrersBefore = new Map<Digest, ReadonlyArray<Digest>>()
  const open = new Set<Digest>()
  const late = new Set<Digest>()

  const visit = (digest: Digest): void => {
    const node = graph.manifests.get(digest)
    if (node === undefined || open.has(digest) || referrersBefore.has(digest)) return
    open.add(digest)
    node.children.forEach(visit)
    const before = node.referrers.filter((referrer) => {
      if (referrersBefore.has(referrer)) return true
      if (contains(graph, referrer, open)) {
        late.add(referrer)
        return false
      }
      visit(referrer)
      return true
    })
    open.delete(digest)
    referrersBefore.set(digest, before)
  }

  visit(graph.root)
  // a set that grows while it is walked
  for (const referrer of late) visit(referrer)
  return { referrersBefore, late }
}

/** Is a manifest, or anything that it contains at any depth, among these? */
const contains = (
  graph: Graph,
  digest: Digest,
  among: ReadonlySet<Digest>,
  seen: Set<Digest> = new Set()
): boolean => {
  if (among.has(digest)) return true
  if (seen.has(digest)) return false
  seen.add(digest)
  return (graph.manifests.get(digest)?.children ?? []).some((child) => contains(graph, child, among, seen))
}
