/**
 * Discovers the content of a copy: everything that the root contains at any depth, and the referrers of all of that, as
 * far as a destination may lack it.
 *
 * Every manifest is read once. A visitor receives each blob and manifest while the walk continues, so that a copy
 * transfers what a plan only lists. The walk runs a limited number of tasks at the same time, and finishes one branch
 * of the graph before it begins the next.
 */
import * as Effect from "effect/Effect"
import * as Iterable from "effect/Iterable"
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import type * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Tag } from "../Reference.ts"
import type { ManifestBytes } from "../Registry.ts"
import { ManifestUnknown } from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import { type CopyError, TooDeep } from "./CopyError.ts"
import { failure, orAbsentOrDenied } from "./Ends.ts"
import * as HeldManifests from "./HeldManifests.ts"
import * as Job from "./Job.ts"
import * as ManifestNode from "./ManifestNode.ts"
import { type ContentNode, isSparse, type Policies, policiesFor } from "./Options.ts"
import * as Platforms from "./Platforms.ts"
import * as References from "./References.ts"
import * as Referrers from "./Referrers.ts"
import * as RegistryState from "./RegistryState.ts"
import * as TaskPool from "./TaskPool.ts"
import { forEachSliced } from "./TaskPool.ts"
import * as WaitGraph from "./WaitGraph.ts"

type Node = ManifestNode.ManifestNode

/** Receives every blob and manifest that the walk discovers. */
export interface Visitor {
  /** Runs before content that is not a blob to deliver is visited. */
  readonly discovered: (node: ContentNode) => Effect.Effect<void>
  /** Visits a blob that these destinations may lack. `isNew` is true if one of them lacks the manifest above it. */
  readonly blob: (
    node: ContentNode,
    destinations: ReadonlyArray<Job.Destination>,
    isNew: boolean
  ) => Effect.Effect<void, CopyError>
  /** Visits a manifest, for one destination. Everything that it refers to is known, but may not have been visited. */
  readonly manifest: (node: Node, destination: Job.Destination) => Effect.Effect<void, CopyError>
}

/** The manifests that a walk has found so far, and the means to continue with them. */
export interface Found extends Pick<HeldManifests.HeldManifests, "manifestOf" | "release"> {
  readonly waits: WaitGraph.WaitGraph
  readonly nodes: ReadonlyMap<Digest, Node>
  /** Runs the visits, and the tasks that visitors add. */
  readonly tasks: TaskPool.TaskPool<CopyError>
}

export interface Walk extends Found {
  /** Walks from a root until all tasks are done. Returns the node of the root. */
  readonly root: (
    descriptor: Descriptor,
    manifest: ManifestBytes | undefined,
    presence: AssumedPresence,
    tags: ReadonlyMap<Job.Destination, ReadonlyArray<Tag>>
  ) => Effect.Effect<Node, CopyError>
}

/** Presence of a manifest at a destination, as far as it follows from the manifest above it. */
type AssumedPresence = (destination: Job.Destination) => Job.Presence

/** A layer that stays at its `urls`, and the destinations that get the manifest above it. */
interface External {
  readonly node: ContentNode
  readonly destinations: Set<Job.Destination>
}

/** State of one walk. */
interface Context {
  readonly job: Job.Job
  /** Rewritten manifests, which the source does not have. */
  readonly overlay: ReadonlyMap<Digest, ManifestBytes>
  readonly nodes: Map<Digest, Node>
  readonly held: HeldManifests.HeldManifests
  readonly waits: WaitGraph.WaitGraph
  readonly tasks: TaskPool.TaskPool<CopyError>
  readonly visitor: Visitor
  readonly externals: Map<Digest, External>
  readonly digestTags: Referrers.DigestTags
  /** The set of all destinations, shared by the many nodes that a single destination lacks. */
  readonly everywhere: ReadonlySet<Job.Destination>
}

// maximum number of levels: a registry may list referrers of referrers without end
const depthLimit = 256

// maximum number of tasks at the same time. The registries limit the number of requests
const concurrency = 256

/** Creates a walk. `overlay` contains rewritten manifests, which the source does not have. */
export const make = Effect.fnUntraced(function*(
  job: Job.Job,
  overlay: ReadonlyMap<Digest, ManifestBytes>,
  makeVisitor: (found: Found) => Visitor
): Effect.fn.Return<Walk> {
  const held = HeldManifests.make(job, overlay)
  const nodes = new Map<Digest, Node>()
  const found: Found = {
    nodes,
    waits: WaitGraph.make(),
    tasks: TaskPool.make(concurrency),
    manifestOf: held.manifestOf,
    release: held.release
  }
  const context: Context = {
    job,
    overlay,
    nodes,
    held,
    waits: found.waits,
    tasks: found.tasks,
    visitor: makeVisitor(found),
    externals: new Map(),
    digestTags: yield* Referrers.digestTags(job),
    everywhere: new Set(job.destinations)
  }
  return {
    ...found,
    root: Effect.fnUntraced(function*(descriptor, manifest, presence, tags) {
      const node = addNode(context, descriptor, "root", [])
      if (manifest !== undefined) held.hold(node, manifest)
      node.tags = tags
      yield* found.tasks.run([visit(context, node, presence)])
      const isStuck = ({ recorded, released }: Job.Destination) => recorded.waiting() + released.waiting() > 0
      if (job.destinations.filter(Job.isAlive).some(isStuck)) return yield* tooDeep(context, node)
      yield* recordExternals(context)
      return node
    })
  }
})

const addNode = (
  { nodes }: Context,
  descriptor: Descriptor,
  role: Node["role"],
  path: ReadonlyArray<Digest>
): Node => {
  const node = ManifestNode.make(descriptor, role, path)
  nodes.set(descriptor.digest, node)
  return node
}

const tooDeep = ({ job: { source } }: Context, node: Node) =>
  failure(source, "source", new TooDeep({ limit: depthLimit }), node)

// ---------------------------------------------------------------------------------------------------------------------
// visiting
// ---------------------------------------------------------------------------------------------------------------------

/** Visits a manifest, and adds a visit to the tasks for everything that it contains, and for its referrers. */
const visit = (context: Context, node: Node, assumedPresence: AssumedPresence): Effect.Effect<void, CopyError> =>
  Effect.gen(function*() {
    const { held, job, visitor } = context
    const { destinations, options } = job
    if (node.path.length > depthLimit) return yield* tooDeep(context, node)
    yield* visitor.discovered(node)
    yield* Job.attemptAll(destinations, (destination) => findAt(context, node, destination, assumedPresence))
    const policies = policiesFor(options, node)
    node.isDeep = policies.trust === "deep"
    const isRead = isReadNeeded(job, node, policies)
    const content = isRead ? yield* held.read(node) : undefined
    if (isRead && content === undefined) {
      node.missing = true
      if (node.containedIn !== undefined) return yield* isMissing(context, node, node.containedIn)
    } else {
      const references = content === undefined ? noReferences : yield* readReferences(context, node, content)
      yield* visitContained(context, node, references, policies)
      yield* visitReferrers(context, node)
    }
    yield* Job.attemptAll(destinations, (destination) => visitor.manifest(node, destination))
  })

/** Adds a destination to those that do not have a manifest, unless it has it. */
const findAt = Effect.fnUntraced(function*(
  { everywhere, job }: Context,
  node: Node,
  destination: Job.Destination,
  assumedPresence: AssumedPresence
) {
  const { digest } = node.descriptor
  const { registry, repository, state: { manifests } } = destination
  const isKnown = Job.isSameRepository(job, destination) || (yield* RegistryState.has(manifests, repository, digest))
  const presence = assumedPresence(destination)
  if (presence === "present" || isKnown && presence === "absent") return
  if (presence === "unknown") {
    const find = orAbsentOrDenied(registry.resolveManifest(repository, digest))
    const found = yield* RegistryState.lookUp(manifests, repository, digest, find).pipe(
      Job.atDestination(destination, node)
    )
    if (found !== undefined) return
  }
  node.absent = everywhere.size === 1 ? everywhere : new Set([...node.absent, destination])
})

/** Returns true if a manifest has to be read: to be copied, or because its parts or their referrers may be missing. */
const isReadNeeded = ({ options }: Job.Job, { absent, descriptor }: Node, { referrers, trust }: Policies): boolean =>
  absent.size > 0 || trust !== "manifest" || isSparse(options, descriptor) ||
  referrers !== "skip" && MediaType.isIndex(descriptor.mediaType)

const noReferences: Manifest.Digests = { blobs: [], manifests: [] }

/** Returns what a manifest refers to. Holds the children that were read to learn what they are. */
const readReferences = Effect.fnUntraced(function*({ held, job }: Context, node: Node, manifest: ManifestBytes) {
  const { options, source } = job
  const { isOpaque, read, ...digests } = yield* References.of(options, source, "source", node, manifest)
  const { digest, mediaType } = manifest.descriptor
  if (isOpaque) {
    yield* job.emit({
      _tag: "Warned",
      registry: source.registry.name,
      text: `${digest} has an unknown type (${excerpt(mediaType)}): ` +
        `it is copied as it is, without content that it may refer to`
    })
  }
  for (const [child, content] of read) held.remember(child, content)
  return digests
})

/** Visits the blobs and the children of a manifest. */
const visitContained = Effect.fnUntraced(
  function*(
    context: Context,
    node: Node,
    { blobs, manifests }: Manifest.Digests,
    { externalLayers, trust }: Policies
  ) {
    const { job, tasks, visitor } = context
    const { destinations, options } = job
    const path = [...node.path, node.descriptor.digest]
    node.blobs = distinct(blobs)
      .map((descriptor) => ({ descriptor, role: "blob" as const, path }))
      .filter(({ descriptor }) => externalLayers !== "skip" || !MediaType.isNonDistributable(descriptor.mediaType))
    const children = distinct(Platforms.among(options.platforms, manifests))
    node.children = children.map(({ digest }) => digest)
    for (const child of node.children) yield* waitForChild(context, node, child)
    leaveOut(context, node, blobs)

    const lacking = node.isDeep ? destinations : Array.from(node.absent)
    const isNew = node.absent.size > 0
    const isKeptSparse = isSparse(options, node.descriptor)
    yield* visitAll(context, node, children, "child", (destination) => {
      if (isKeptSparse) return "unknown"
      if (node.absent.has(destination)) return "absent"
      return trust === "manifest" ? "present" : "unknown"
    })
    job.pending += node.blobs.length
    const isDelivered = Effect.sync(() => job.pending--)
    yield* tasks.add(
      Iterable.map(node.blobs, (blob) => Effect.andThen(visitor.blob(blob, lacking, isNew), isDelivered))
    )
  }
)

/** Visits the manifests that refer to a manifest. */
const visitReferrers = Effect.fnUntraced(function*(context: Context, node: Node) {
  const { digestTags, job, overlay } = context
  // a rewritten index has another digest, which has no referrers
  const listed = overlay.has(node.descriptor.digest) ? Referrers.nothing : yield* Referrers.list(job, node)
  const tagged = yield* digestTags(node)
  const behindTags = tagged.map(({ descriptor }) => descriptor)
  node.referrers = yield* waitForReferrers(context, node, [...listed.descriptors, ...behindTags])
  yield* visitAll(context, node, listed.descriptors, "referrer", listed.presence)
  yield* visitAll(context, node, behindTags, "digestTag", () => "unknown", tagged)
})

/** Adds visits of the children or referrers of a manifest. A manifest that is already known is not visited again. */
const visitAll = Effect.fnUntraced(function*(
  context: Context,
  parent: Node,
  descriptors: ReadonlyArray<Descriptor>,
  role: Node["role"],
  assumedPresence: (destination: Job.Destination, descriptor: Descriptor) => Job.Presence,
  tagged: ReadonlyArray<Referrers.Tagged> = []
) {
  const { nodes, tasks } = context
  const path = [...parent.path, parent.descriptor.digest]
  const subjects = [parent.descriptor.digest]
  // all nodes are added before one of them is visited
  const added: Array<Node> = []
  yield* forEachSliced(descriptors, (descriptor) => {
    const known = nodes.get(descriptor.digest)
    const node = known ?? addNode(context, descriptor, role, path)
    if (known === undefined) added.push(node)
    if (role === "referrer") node.subjects = node.subjects.length === 0 ? subjects : [...node.subjects, ...subjects]
    if (role === "child") node.containedIn ??= path
  })
  yield* Referrers.addTags(nodes, tagged)
  if (role === "child") {
    for (const { digest } of descriptors) {
      const known = nodes.get(digest)
      if (known?.missing === true) return yield* isMissing(context, known, path)
    }
  }
  yield* tasks.add(
    Iterable.map(added, (node) => visit(context, node, (destination) => assumedPresence(destination, node.descriptor)))
  )
})

/** Fails because the source does not have a manifest that another one contains. */
const isMissing = ({ job: { source } }: Context, { descriptor }: Node, path: ReadonlyArray<Digest>) =>
  Effect.fail(failure(source, "source", new ManifestUnknown({}), { descriptor, path }, "getManifest"))

// ---------------------------------------------------------------------------------------------------------------------
// order of the pushes
// ---------------------------------------------------------------------------------------------------------------------

/** Makes a manifest wait for one that it contains. It no longer waits for referrers that would wait for itself. */
const waitForChild = (context: Context, node: Node, child: Digest) =>
  Effect.forEach(
    context.waits.forContained(node.descriptor.digest, child) ?? [],
    (referrer) => comesLate(context, referrer),
    { discard: true }
  )

/** Makes a manifest wait for its referrers. Returns those for which it can wait; the others come late. */
const waitForReferrers = (context: Context, node: Node, descriptors: ReadonlyArray<Descriptor>) =>
  Effect.filter(
    descriptors.map(({ digest }) => digest),
    (referrer) =>
      context.waits.forReferrer(node.descriptor.digest, referrer)
        ? Effect.succeed(true)
        : Effect.as(comesLate(context, referrer), false)
  )

/** Releases the subjects of a referrer, which is pushed after them. So the tag comes after both. */
const comesLate = ({ job: { destinations } }: Context, referrer: Digest) =>
  Effect.forEach(destinations, (destination) => {
    destination.tagIsLast = true
    return destination.released.open(referrer)
  }, { discard: true })

// ---------------------------------------------------------------------------------------------------------------------
// external layers
// ---------------------------------------------------------------------------------------------------------------------

/** Collects the layers of a manifest that may not be distributed. */
const leaveOut = ({ externals }: Context, { absent, descriptor, path }: Node, blobs: ReadonlyArray<Descriptor>) => {
  for (const blob of blobs.filter(({ mediaType }) => MediaType.isNonDistributable(mediaType))) {
    const known = externals.get(blob.digest) ?? {
      node: { descriptor: blob, role: "blob" as const, path: [...path, descriptor.digest] },
      destinations: new Set()
    }
    for (const destination of absent) known.destinations.add(destination)
    externals.set(blob.digest, known)
  }
}

/** Records the layers that were left out, except those that were delivered for another manifest. */
const recordExternals = Effect.fnUntraced(function*({ externals, job, visitor }: Context) {
  for (const { destinations, node } of externals.values()) {
    const lacking = Array.from(destinations).filter(({ scheduled }) => !scheduled.has(node.descriptor.digest))
    if (lacking.length === 0) continue
    yield* visitor.discovered(node)
    yield* Job.attemptAll(lacking, (destination) => Job.record(job, destination, node, "external"))
  }
})

const distinct = (descriptors: ReadonlyArray<Descriptor>): ReadonlyArray<Descriptor> => {
  const found = new Map<Digest, Descriptor>()
  for (const descriptor of descriptors) {
    if (!found.has(descriptor.digest)) found.set(descriptor.digest, descriptor)
  }
  return Array.from(found.values())
}
