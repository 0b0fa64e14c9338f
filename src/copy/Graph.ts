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
import type { CopyError } from "./CopyError.ts"
import type { Entry } from "./CopyReport.ts"
import { type Ends, failure, failureOf, type Place } from "./Ends.ts"

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
    permits.withPermit(destination.registry.resolveManifest(destination.repository, place.descriptor.digest)).pipe(
      Effect.as(true),
      Effect.catchReasons("RegistryError", {
        ManifestUnknown: () => Effect.succeed(false),
        NameUnknown: () => Effect.succeed(false)
      }),
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

  const visit = Effect.fnUntraced(function*(node: ManifestNode): Effect.fn.Return<void, CopyError> {
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
        for (const blob of ownBlobs) {
          if (blobs.has(blob.digest)) continue
          blobs.set(blob.digest, { descriptor: blob, path: [...node.path, node.descriptor.digest] })
        }
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
  return { root: root.manifest.descriptor.digest, manifests, blobs }
})

const digestsOf = (descriptors: ReadonlyArray<Descriptor>): ReadonlyArray<Digest> =>
  Array.from(new Set(descriptors.map(({ digest }) => digest)))

/**
 * In which order manifests are to be pushed. Each waits for its children, always, and for its referrers, where that is
 * possible: a referrer that itself contains what it refers to has to come `afterRoot`.
 */
export interface Order {
  readonly waitsFor: ReadonlyMap<Digest, ReadonlyArray<Digest>>
  readonly beforeRoot: ReadonlyArray<Digest>
  readonly afterRoot: ReadonlyArray<Digest>
}

export const order = (graph: Graph): Order => {
  const waitsFor = new Map<Digest, ReadonlyArray<Digest>>()
  const open = new Set<Digest>()
  const done: Array<Digest> = []
  const late: Array<Digest> = []

  const reachesOpen = (digest: Digest, seen: Set<Digest> = new Set()): boolean => {
    if (open.has(digest)) return true
    if (seen.has(digest)) return false
    seen.add(digest)
    return (graph.manifests.get(digest)?.children ?? []).some((child) => reachesOpen(child, seen))
  }

  const visit = (digest: Digest): void => {
    const node = graph.manifests.get(digest)
    if (node === undefined || open.has(digest) || waitsFor.has(digest)) return
    open.add(digest)
    node.children.forEach(visit)
    const waits = [...node.children]
    for (const referrer of node.referrers) {
      if (!waitsFor.has(referrer) && reachesOpen(referrer)) {
        late.push(referrer)
      } else {
        visit(referrer)
        waits.push(referrer)
      }
    }
    open.delete(digest)
    waitsFor.set(digest, waits)
    done.push(digest)
  }

  visit(graph.root)
  const beforeRoot = done.splice(0).filter((digest) => digest !== graph.root)
  for (let next = late.shift(); next !== undefined; next = late.shift()) visit(next)
  return { waitsFor, beforeRoot, afterRoot: done }
}
