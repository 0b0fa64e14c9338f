/**
 * Walking over what there is to copy: from the root to all that it contains, and to what refers to any of that, as far as
 * some destination may lack it. Every manifest is read once; whoever comes along deals with what is found, while the walk
 * goes on. What a registry lists is dealt with a limited number at a time, one branch after another.
 */
import * as Effect from "effect/Effect"
import * as Iterable from "effect/Iterable"
import { type Descriptor, inlineContent } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import type * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Tag } from "../Reference.ts"
import type { ManifestBytes } from "../Registry.ts"
import { ManifestUnknown, orAbsent } from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import { type CopyError, TooDeep } from "./CopyError.ts"
import type { Role } from "./CopyReport.ts"
import { failure, orAbsentOrDenied } from "./Ends.ts"
import * as Job from "./Job.ts"
import { type ContentNode, isSparse, policiesFor } from "./Options.ts"
import * as Platforms from "./Platforms.ts"
import * as References from "./References.ts"
import * as Referrers from "./Referrers.ts"
import * as RegistryState from "./RegistryState.ts"
import * as TaskPool from "./TaskPool.ts"
import { forEachSliced } from "./TaskPool.ts"
import * as WaitGraph from "./WaitGraph.ts"

/** A manifest, and what is known of it so far. There may be very many: what most of them have in common is shared. */
export interface ManifestNode extends ContentNode {
  readonly role: Exclude<Role, "blob">
  /** The tags that it is to get at each destination, as far as they do not point at it already. */
  tags: ReadonlyMap<Job.Destination, ReadonlyArray<Tag>>
  /** Destinations that do not have it. */
  absent: ReadonlySet<Job.Destination>
  /** Manifests that it refers to as their subject, as far as they are known here. */
  subjects: ReadonlyArray<Digest>
  /** As the source has it, while that is needed. */
  manifest: ManifestBytes | undefined
  /** Is it listed at the source, and not to be found there? */
  missing: boolean
  /** The manifests above it where something contains it, so that it has to be there. */
  containedIn: ReadonlyArray<Digest> | undefined
  /** Are its blobs looked for even where it is there? */
  isDeep: boolean
  /** What it cannot be without. */
  blobs: ReadonlyArray<ContentNode>
  children: ReadonlyArray<Digest>
  /** What is pushed before it, though it does not contain it. */
  referrers: ReadonlyArray<Digest>
}

/** Who comes along. */
export interface Visitor {
  /** Takes note of content that is not a blob to deliver, before it is dealt with. */
  readonly discovered: (node: ContentNode) => Effect.Effect<void>
  /** Deals with a blob at the destinations that may lack it. */
  readonly blob: (
    node: ContentNode,
    destinations: ReadonlyArray<Job.Destination>,
    isNew: boolean
  ) => Effect.Effect<void, CopyError>
  /** Deals with a manifest at a destination. Everything that it refers to is known so far, and not dealt with yet. */
  readonly manifest: (node: ManifestNode, destination: Job.Destination) => Effect.Effect<void, CopyError>
}

/** What was found by now. */
export interface Found {
  readonly waits: WaitGraph.WaitGraph
  readonly nodes: ReadonlyMap<Digest, ManifestNode>
  /** Runs what is to be done about it. */
  readonly tasks: TaskPool.TaskPool<CopyError>
  /** Returns the content of a manifest for a destination. */
  readonly manifestOf: (node: ManifestNode, destination: Job.Destination) => Effect.Effect<ManifestBytes, CopyError>
  /** Forgets the content of a manifest, if every destination has got it, with its tags. */
  readonly release: (node: ManifestNode) => void
}

export interface Walk extends Found {
  readonly root: (
    descriptor: Descriptor,
    manifest: ManifestBytes | undefined,
    presence: (destination: Job.Destination) => Job.Presence,
    tags: ReadonlyMap<Job.Destination, ReadonlyArray<Tag>>
  ) => Effect.Effect<ManifestNode, CopyError>
}

// a registry may list referrers of referrers without end
const depthLimit = 256

// of manifests and blobs that are dealt with at a time; how many requests that are is up to the registries
const concurrency = 256

// of manifests whose content is kept until they are pushed, in bytes; others are read again
const heldLimit = 64 * 1024 * 1024

const noReferences: Manifest.Digests = { blobs: [], manifests: [] }
const noTags: ManifestNode["tags"] = new Map()
const noTargets: ManifestNode["absent"] = new Set()

/** Begins a walk. `overlay` has manifests that are written anew, which the source does not have. */
export const make = Effect.fnUntraced(function*(
  job: Job.Job,
  overlay: ReadonlyMap<Digest, ManifestBytes>,
  makeVisitor: (found: Found) => Visitor
): Effect.fn.Return<Walk> {
  const { options, source, destinations } = job
  const everywhere: ManifestNode["absent"] = new Set(destinations)
  const nodes = new Map<Digest, ManifestNode>()
  const contents = contentsOf(job, overlay)
  const found: Found = {
    nodes,
    waits: WaitGraph.make(),
    tasks: TaskPool.make(concurrency),
    manifestOf: contents.manifestOf,
    release: contents.release
  }
  const { tasks, waits } = found
  const { blob: dealWithBlob, discovered, manifest: dealWithManifest } = makeVisitor(found)
  const externals = new Map<Digest, { readonly node: ContentNode; readonly destinations: Set<Job.Destination> }>()
  const digestTags = yield* Referrers.digestTags(job)

  const addNode = (descriptor: Descriptor, role: ManifestNode["role"], path: ReadonlyArray<Digest>) => {
    const node: ManifestNode = {
      descriptor,
      role,
      path,
      tags: noTags,
      absent: noTargets,
      subjects: [],
      manifest: undefined,
      missing: false,
      isDeep: false,
      containedIn: role === "child" ? path : undefined,
      blobs: [],
      children: [],
      referrers: []
    }
    nodes.set(descriptor.digest, node)
    return node
  }

  const referencesOf = Effect.fnUntraced(function*(node: ManifestNode, manifest: ManifestBytes) {
    const { isOpaque, read, ...digests } = yield* References.of(options, source, "source", node, manifest)
    const { digest, mediaType } = manifest.descriptor
    const what = `${digest} has an unknown type (${excerpt(mediaType)})`
    if (isOpaque) {
      yield* job.emit({
        _tag: "Warned",
        registry: source.registry.name,
        text: `${what}: it is copied as it is, without what it may refer to`
      })
    }
    for (const [child, content] of read) contents.remember(child, content)
    return digests
  })

  const presenceAt = Effect.fnUntraced(
    function*(
      node: ManifestNode,
      destination: Job.Destination,
      assumedPresence: (destination: Job.Destination) => Job.Presence
    ) {
      const { digest } = node.descriptor
      const { state: { manifests }, registry, repository } = destination
      const isKnown = Job.isSamePlace(job, destination) || (yield* RegistryState.has(manifests, repository, digest))
      const presence = isKnown && assumedPresence(destination) === "absent" ? "present" : assumedPresence(destination)
      if (presence === "present") return
      const there = presence === "absent" ?
        undefined :
        yield* RegistryState.lookUp(
          manifests,
          repository,
          digest,
          orAbsentOrDenied(registry.resolveManifest(repository, digest))
        )
          .pipe(
            Job.atDestination(destination, node)
          )
      if (there !== undefined) return
      node.absent = destinations.length === 1 ? everywhere : new Set([...node.absent, destination])
    }
  )

  const visit = (
    node: ManifestNode,
    assumedPresence: (destination: Job.Destination) => Job.Presence
  ): Effect.Effect<void, CopyError> =>
    Effect.gen(function*() {
      if (node.path.length > depthLimit) {
        return yield* failure(source, "source", new TooDeep({ limit: depthLimit }), node)
      }
      yield* discovered(node)
      yield* Job.attemptAll(destinations, (destination) => presenceAt(node, destination, assumedPresence))
      const { externalLayers, referrers, trust } = policiesFor(options, node)
      node.isDeep = trust === "deep"
      // children that are present may have referrers that are not
      const isKeptSparse = isSparse(options, node.descriptor)
      const isNeeded = node.absent.size > 0 || trust !== "manifest" || isKeptSparse ||
        referrers !== "skip" && MediaType.isIndex(node.descriptor.mediaType)
      const content = isNeeded ? yield* contents.read(node) : undefined
      if (isNeeded && content === undefined) {
        node.missing = true
        if (node.containedIn !== undefined) return yield* isMissing(node, node.containedIn)
        return yield* Job.attemptAll(destinations, (destination) => dealWithManifest(node, destination))
      }
      const refersTo = content === undefined ? noReferences : yield* referencesOf(node, content)
      const path = [...node.path, node.descriptor.digest]
      node.blobs = distinct(refersTo.blobs)
        .map((descriptor) => ({ descriptor, role: "blob" as const, path }))
        .filter(({ descriptor }) => externalLayers !== "skip" || !MediaType.isNonDistributable(descriptor.mediaType))
      const children = distinct(Platforms.among(options.platforms, refersTo.manifests))
      node.children = children.map(({ digest }) => digest)
      for (const child of node.children) yield* contains(node, child)
      leaveOut(node, refersTo.blobs)

      const lacking = node.isDeep ? destinations : Array.from(node.absent)
      const isNew = node.absent.size > 0
      yield* visitAll(
        node,
        children,
        "child",
        (destination) =>
          isKeptSparse
            ? "unknown"
            : node.absent.has(destination)
            ? "absent"
            : trust === "manifest"
            ? "present"
            : "unknown"
      )
      job.pending += node.blobs.length
      const isDealtWith = Effect.sync(() => job.pending--)
      yield* tasks.add(
        Iterable.map(node.blobs, (blob) => Effect.andThen(dealWithBlob(blob, lacking, isNew), isDealtWith))
      )

      const listed = overlay.has(node.descriptor.digest) ? Referrers.nothing : yield* Referrers.list(job, node)
      const tagged = yield* digestTags(node)
      node.referrers = yield* precede(node, [...listed.descriptors, ...tagged.map(({ descriptor }) => descriptor)])
      yield* visitAll(node, listed.descriptors, "referrer", listed.presence)
      yield* visitAll(node, tagged.map(({ descriptor }) => descriptor), "digestTag", () => "unknown", tagged)
      yield* Job.attemptAll(destinations, (destination) => dealWithManifest(node, destination))
    })

  const visitAll = Effect.fnUntraced(function*(
    parent: ManifestNode,
    descriptors: ReadonlyArray<Descriptor>,
    role: ManifestNode["role"],
    assumedPresence: (destination: Job.Destination, descriptor: Descriptor) => Job.Presence,
    tagged: ReadonlyArray<Referrers.Tagged> = []
  ) {
    const path = [...parent.path, parent.descriptor.digest]
    const subjects = [parent.descriptor.digest]
    // all are known before one of them is dealt with
    const fresh: Array<ManifestNode> = []
    yield* forEachSliced(descriptors, (descriptor) => {
      const known = nodes.get(descriptor.digest)
      const node = known ?? addNode(descriptor, role, path)
      if (known === undefined) fresh.push(node)
      if (role === "referrer") node.subjects = node.subjects.length === 0 ? subjects : [...node.subjects, ...subjects]
      if (role === "child") node.containedIn ??= path
    })
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
    if (role === "child") {
      for (const { digest } of descriptors) {
        const known = nodes.get(digest)
        if (known?.missing === true) return yield* isMissing(known, path)
      }
    }
    yield* tasks.add(
      Iterable.map(fresh, (node) => visit(node, (destination) => assumedPresence(destination, node.descriptor)))
    )
  })

  const isMissing = ({ descriptor }: ManifestNode, path: ReadonlyArray<Digest>) =>
    Effect.fail(failure(source, "source", new ManifestUnknown({}), { descriptor, path }, "getManifest"))

  /** A manifest waits for one that it contains; referrers of which it would wait for itself come late. */
  const contains = (node: ManifestNode, child: Digest) =>
    Effect.forEach(waits.forContained(node.descriptor.digest, child) ?? [], comesLate, { discard: true })

  const comesLate = (referrer: Digest) =>
    Effect.forEach(destinations, (destination) => {
      destination.tagIsLast = true
      return destination.released.open(referrer)
    }, { discard: true })

  /** Those of what refers to a manifest that it can wait for. */
  const precede = (node: ManifestNode, descriptors: ReadonlyArray<Descriptor>) =>
    Effect.filter(
      descriptors.map(({ digest }) => digest),
      (referrer) =>
        waits.forReferrer(node.descriptor.digest, referrer)
          ? Effect.succeed(true)
          : Effect.as(comesLate(referrer), false)
    )

  /** Layers that may not be distributed are told of in the end, if no other manifest wants them copied. */
  const leaveOut = ({ absent, descriptor, path }: ManifestNode, blobs: ReadonlyArray<Descriptor>) => {
    for (const blob of blobs.filter(({ mediaType }) => MediaType.isNonDistributable(mediaType))) {
      const known = externals.get(blob.digest) ?? {
        node: { descriptor: blob, role: "blob" as const, path: [...path, descriptor.digest] },
        destinations: new Set()
      }
      for (const destination of absent) known.destinations.add(destination)
      externals.set(blob.digest, known)
    }
  }

  return {
    ...found,
    root: Effect.fnUntraced(function*(descriptor, manifest, presence, tags) {
      const node = addNode(descriptor, "root", [])
      if (manifest !== undefined) contents.hold(node, manifest)
      node.tags = tags
      yield* tasks.run([visit(node, presence)])
      const isStuck = ({ recorded, released }: Job.Destination) => recorded.waiting() + released.waiting() > 0
      if (destinations.filter(Job.isAlive).some(isStuck)) {
        return yield* failure(source, "source", new TooDeep({ limit: depthLimit }), node)
      }
      for (const { node, destinations } of externals.values()) {
        const lacking = Array.from(destinations).filter(({ scheduled }) => !scheduled.has(node.descriptor.digest))
        if (lacking.length === 0) continue
        yield* discovered(node)
        yield* Job.attemptAll(lacking, (destination) => Job.record(job, destination, node, "external"))
      }
      return node
    })
  }
})

/** What a walk keeps of the content of manifests. */
const contentsOf = (job: Job.Job, overlay: ReadonlyMap<Digest, ManifestBytes>) => {
  const { source, destinations } = job
  const early = new Map<Digest, ManifestBytes>()
  let held = 0

  const hold = (node: ManifestNode, manifest: ManifestBytes): void => {
    if (held + manifest.bytes.length > heldLimit) return
    held += manifest.bytes.length
    node.manifest = manifest
  }

  const atSource = (node: ManifestNode) => source.registry.getManifest(source.repository, node.descriptor.digest)

  return {
    hold,
    /** Keeps a manifest that was read before its turn. */
    remember: (digest: Digest, manifest: ManifestBytes): void => {
      if (early.has(digest) || held + manifest.bytes.length > heldLimit) return
      held += manifest.bytes.length
      early.set(digest, manifest)
    },
    /** Reads a manifest: at the source, or if no destination lacks it, at one of those. */
    read: Effect.fnUntraced(function*(node: ManifestNode) {
      const { digest } = node.descriptor
      const known = node.manifest ?? overlay.get(digest)
      if (known !== undefined) return known
      const [destination] = destinations
      if (node.absent.size === 0 && destination !== undefined) {
        const found = yield* orAbsentOrDenied(destination.registry.getManifest(destination.repository, digest)).pipe(
          Job.atDestination(destination, node)
        )
        if (found !== undefined) return found
      }
      node.manifest = early.get(digest)
      early.delete(digest)
      if (node.manifest !== undefined) return node.manifest
      const { mediaType, size } = node.descriptor
      const bytes = MediaType.isManifest(mediaType) ? yield* inlineContent(node.descriptor) : undefined
      if (bytes !== undefined) {
        const manifest = { descriptor: { mediaType, digest, size }, bytes }
        hold(node, manifest)
        return manifest
      }
      const found = yield* (node.role === "referrer" ? orAbsent(atSource(node)) : atSource(node)).pipe(
        Job.atSource(job, node)
      )
      if (found !== undefined) hold(node, found)
      return found
    }),
    manifestOf: (node: ManifestNode, destination: Job.Destination): Effect.Effect<ManifestBytes, CopyError> => {
      const { digest } = node.descriptor
      const known = node.manifest ?? overlay.get(digest)
      if (known !== undefined) return Effect.succeed(known)
      return node.absent.has(destination)
        ? atSource(node).pipe(Job.atSource(job, node))
        : destination.registry.getManifest(destination.repository, digest).pipe(Job.atDestination(destination, node))
    },
    release: (node: ManifestNode): void => {
      const { digest } = node.descriptor
      const isNeeded = destinations.some((destination) =>
        Job.isAlive(destination) &&
        (!destination.recorded.isOpen(digest) || (node.tags.get(destination) ?? []).length > 0)
      )
      if (node.manifest === undefined || isNeeded) return
      held -= node.manifest.bytes.length
      node.manifest = undefined
    }
  }
}

const distinct = (descriptors: ReadonlyArray<Descriptor>): ReadonlyArray<Descriptor> => {
  const found = new Map<Digest, Descriptor>()
  for (const descriptor of descriptors) {
    if (!found.has(descriptor.digest)) found.set(descriptor.digest, descriptor)
  }
  return Array.from(found.values())
}
