/**
 * Walking over what there is to copy: from the root to all that it contains, and to what refers to any of that, as far as
 * some destination may lack it. Every manifest is read once; whoever comes along deals with what is found, while the walk
 * goes on.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type Descriptor, inlineContent } from "../Descriptor.ts"
import * as Digest from "../Digest.ts"
import type * as Manifest from "../Manifest.ts"
import * as MediaType from "../MediaType.ts"
import type { Tag } from "../Reference.ts"
import type { ManifestBytes } from "../Registry.ts"
import { ManifestUnknown } from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import * as Children from "./Children.ts"
import { type CopyError, TooDeep } from "./CopyError.ts"
import type { Role } from "./CopyReport.ts"
import { failure, ifThere, ifTold } from "./Ends.ts"
import * as Host from "./Host.ts"
import * as Job from "./Job.ts"
import { digestsOf, isSparse, isWanted, type Node, opaque, policiesFor } from "./Options.ts"
import * as Platforms from "./Platforms.ts"
import * as Waits from "./Waits.ts"

/** A manifest, and what is known of it so far. */
export interface ManifestNode extends Node {
  readonly role: Exclude<Role, "blob">
  /** The tags that it is to get at each destination, as far as they do not point at it already. */
  readonly tags: Map<Job.Target, ReadonlyArray<Tag>>
  /** Destinations that do not have it. */
  readonly absent: Set<Job.Target>
  /** Manifests that it refers to as their subject, as far as they are known here. */
  readonly subjects: Set<Digest.Digest>
  /** As the source has it, once somebody needs that. */
  manifest: ManifestBytes | undefined
  /** Is it listed at the source, and not to be found there? */
  missing: boolean
  /** The manifests above it where something contains it, so that it has to be there. */
  containedIn: ReadonlyArray<Digest.Digest> | undefined
  /** Are its blobs looked for even where it is there? */
  isDeep: boolean
  /** What it cannot be without. */
  blobs: ReadonlyArray<Node>
  children: ReadonlyArray<Digest.Digest>
  /** What is pushed before it, though it does not contain it. */
  referrers: ReadonlyArray<Digest.Digest>
}

/** Who comes along. */
export interface Companion {
  /** Takes note of content that is not a blob to deliver, before it is dealt with. */
  readonly discovered: (node: Node) => Effect.Effect<void>
  /** Deals with a blob at the destinations that may lack it. */
  readonly blob: (node: Node, targets: ReadonlyArray<Job.Target>, isNew: boolean) => Effect.Effect<void, CopyError>
  /** Deals with a manifest at a destination. By now, everything that it refers to is known. */
  readonly manifest: (node: ManifestNode, target: Job.Target) => Effect.Effect<void, CopyError>
}

export type Presence = "present" | "absent" | "unknown"

/** What was found by now. */
export interface Found {
  readonly waits: Waits.Waits
  readonly nodes: ReadonlyMap<Digest.Digest, ManifestNode>
}

export interface Walk extends Found {
  readonly root: (
    descriptor: Descriptor,
    manifest: ManifestBytes | undefined,
    presence: (target: Job.Target) => Presence,
    tags: ReadonlyMap<Job.Target, ReadonlyArray<Tag>>
  ) => Effect.Effect<ManifestNode, CopyError>
}

// a registry may list referrers of referrers without end
const depthLimit = 256

const together = { concurrency: "unbounded", discard: true } as const

/** Begins a walk. `overlay` has manifests that are written anew, which the source does not have. */
export const make = Effect.fnUntraced(function*(
  job: Job.Job,
  overlay: ReadonlyMap<Digest.Digest, ManifestBytes>,
  companion: (found: Found) => Companion
): Effect.fn.Return<Walk> {
  const { options, source, targets } = job
  const nodes = new Map<Digest.Digest, ManifestNode>()
  const waits = Waits.make()
  const { blob: dealWithBlob, discovered, manifest: dealWithManifest } = companion({ nodes, waits })
  const externals = new Map<Digest.Digest, { readonly node: Node; readonly targets: Set<Job.Target> }>()
  const known = new Map(overlay)
  const read = (digest: Digest.Digest) => source.registry.getManifest(source.repository, digest)

  const addNode = (descriptor: Descriptor, role: ManifestNode["role"], path: ReadonlyArray<Digest.Digest>) => {
    const node: ManifestNode = {
      descriptor,
      role,
      path,
      tags: new Map(),
      absent: new Set(),
      subjects: new Set(),
      manifest: known.get(descriptor.digest),
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

  /** The content of a manifest: as the source has it, or where no destination lacks it, as one of those has it. */
  const contentOf = Effect.fnUntraced(function*(node: ManifestNode) {
    if (node.manifest !== undefined) return node.manifest
    const { digest } = node.descriptor
    const [target] = targets
    if (node.absent.size === 0 && target !== undefined) {
      const found = yield* ifThere(target.registry.getManifest(target.repository, digest)).pipe(
        Job.atTarget(target, node)
      )
      if (found !== undefined) return found
    }
    const content = MediaType.isManifest(node.descriptor.mediaType)
      ? yield* inlineContent(node.descriptor)
      : undefined
    if (content !== undefined) {
      const { mediaType, size } = node.descriptor
      node.manifest = { descriptor: { mediaType, digest, size }, bytes: content }
      return node.manifest
    }
    node.manifest = yield* (node.role === "referrer" ? ifThere(read(digest)) : read(digest)).pipe(
      Job.atSource(job, node)
    )
    return node.manifest
  })

  const referencesOf = Effect.fnUntraced(function*(node: ManifestNode, { bytes, descriptor }: ManifestBytes) {
    const found = yield* Effect.mapError(
      Effect.fromResult(digestsOf(options)(descriptor.mediaType, bytes)),
      (reason) => failure({ source, destination: source }, "source", reason, node)
    )
    if (found === opaque) {
      yield* job.emit({
        _tag: "Warned",
        registry: source.registry.name,
        text:
          `${descriptor.digest} has an unknown type (${
            excerpt(descriptor.mediaType)
          }): it is copied as it is, without ` +
          "what it may refer to"
      })
    }
    const { read, ...sorted } = yield* Children.sort(source, found).pipe(Job.atSource(job, node))
    for (const [digest, manifest] of read) known.set(digest, manifest)
    return sorted
  })

  const presenceAt = Effect.fnUntraced(
    function*(node: ManifestNode, target: Job.Target, presumed: (target: Job.Target) => Presence) {
      const { digest } = node.descriptor
      const { host, registry, repository } = target
      const isKnown = Job.isSamePlace(target) || (yield* Host.has(host.manifests, repository, digest))
      const presence = isKnown && presumed(target) === "absent" ? "present" : presumed(target)
      if (presence === "present") return
      const found = presence === "absent" ?
        undefined :
        yield* ifTold(registry.resolveManifest(repository, digest)).pipe(
          Job.atTarget(target, node)
        )
      if (found === undefined) node.absent.add(target)
    }
  )

  const visit = (node: ManifestNode, presumed: (target: Job.Target) => Presence): Effect.Effect<void, CopyError> =>
    Effect.gen(function*() {
      if (node.path.length > depthLimit) {
        return yield* failure({ source, destination: source }, "source", new TooDeep({ limit: depthLimit }), node)
      }
      yield* discovered(node)
      yield* Job.attemptAll(targets, (target) => presenceAt(node, target, presumed))
      const { externalLayers, referrers, trust } = policiesFor(options, node)
      node.isDeep = trust === "deep"
      // children that are present may have referrers that are not
      const isLoose = isSparse(options, node.descriptor)
      const isNeeded = node.absent.size > 0 || trust !== "manifest" || isLoose ||
        referrers !== false && MediaType.isIndex(node.descriptor.mediaType)
      const content = isNeeded ? yield* contentOf(node) : undefined
      if (isNeeded && content === undefined) {
        node.missing = true
        if (node.containedIn !== undefined) return yield* isMissing(node, node.containedIn)
        return yield* Job.attemptAll(targets, (target) => dealWithManifest(node, target))
      }
      const found: Manifest.Digests = content === undefined
        ? { blobs: [], manifests: [] }
        : yield* referencesOf(node, content)
      const path = [...node.path, node.descriptor.digest]
      node.blobs = distinct(found.blobs)
        .map((descriptor) => ({ descriptor, role: "blob" as const, path }))
        .filter(({ descriptor }) => externalLayers !== "skip" || !MediaType.isNonDistributable(descriptor.mediaType))
      const children = distinct(Platforms.among(options.platforms, found.manifests))
      node.children = children.map(({ digest }) => digest)
      for (const child of node.children) yield* contains(node, child)

      const below = (target: Job.Target): Presence =>
        isLoose ? "unknown" : node.absent.has(target) ? "absent" : trust === "manifest" ? "present" : "unknown"
      const lacking = node.isDeep ? targets : Array.from(node.absent)
      yield* Effect.all([
        Effect.sync(() => leaveOut(node, found.blobs)),
        Effect.forEach(node.blobs, (blob) => dealWithBlob(blob, lacking, node.absent.size > 0), together),
        visitAll(node, children, "child", below),
        Effect.gen(function*() {
          const [listed, tagged] = yield* Effect.all([referrersOf(node), digestTagsOf(node)], {
            concurrency: "unbounded"
          })
          node.referrers = yield* precede(node, [...listed.descriptors, ...tagged.map(({ descriptor }) => descriptor)])
          yield* Effect.all([
            visitAll(node, listed.descriptors, "referrer", listed.presence),
            visitAll(node, tagged.map(({ descriptor }) => descriptor), "digestTag", () => "unknown", tagged),
            Job.attemptAll(targets, (target) => dealWithManifest(node, target))
          ], together)
        })
      ], together)
    })

  const visitAll = (
    parent: ManifestNode,
    descriptors: ReadonlyArray<Descriptor>,
    role: ManifestNode["role"],
    presumed: (target: Job.Target, descriptor: Descriptor) => Presence,
    tagged: ReadonlyArray<Tagged> = []
  ) => {
    const path = [...parent.path, parent.descriptor.digest]
    // all are known before one of them is dealt with
    const all = descriptors.map((descriptor) => {
      const known = nodes.get(descriptor.digest)
      return { descriptor, known, node: known ?? addNode(descriptor, role, path) }
    })
    return Effect.forEach(all, ({ descriptor, known, node }) => {
      if (role === "referrer") node.subjects.add(parent.descriptor.digest)
      if (role === "child") node.containedIn ??= path
      for (const { tags } of tagged.filter((each) => each.descriptor.digest === descriptor.digest)) {
        for (const [target, tag] of tags) node.tags.set(target, [...node.tags.get(target) ?? [], tag])
      }
      if (known === undefined) return visit(node, (target) => presumed(target, descriptor))
      return known.missing && role === "child" ? isMissing(node, path) : Effect.void
    }, together)
  }

  const isMissing = ({ descriptor }: ManifestNode, path: ReadonlyArray<Digest.Digest>) =>
    Effect.fail(
      failure({ source, destination: source }, "source", new ManifestUnknown({}), { descriptor, path }, "getManifest")
    )

  /** A manifest waits for one that it contains; referrers of which it would wait for itself come late. */
  const contains = (node: ManifestNode, child: Digest.Digest) =>
    Effect.forEach(waits.forContained(node.descriptor.digest, child) ?? [], comesLate, { discard: true })

  const comesLate = (referrer: Digest.Digest) =>
    Effect.forEach(targets, (target) => {
      target.tagIsLast = true
      return target.settled.open(referrer)
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

  /** What refers to a manifest at the source, and what of that is listed at the destinations. */
  const referrersOf = Effect.fnUntraced(function*(node: ManifestNode) {
    const { digest } = node.descriptor
    const { referrers } = policiesFor(options, node)
    const nothing: ReadonlyArray<Descriptor> = []
    if (referrers === false || overlay.has(digest)) return { descriptors: nothing, presence: () => "absent" as const }
    const listed = yield* Stream.runCollect(source.registry.referrers(source.repository, digest)).pipe(
      Job.atSource(job, node)
    )
    const descriptors = distinct(listed).filter((descriptor) => isWanted(referrers, descriptor))
    const there = new Map<Job.Target, ReadonlySet<Digest.Digest>>()
    if (descriptors.length > 0) {
      yield* Job.attemptAll(
        targets.filter((target) => !node.absent.has(target)),
        (target) =>
          Stream.runCollect(target.registry.referrers(target.repository, digest)).pipe(
            Effect.map((found) => there.set(target, new Set(found.map(({ digest }) => digest)))),
            Job.atTarget(target, node)
          )
      )
    }
    return {
      descriptors,
      presence: (target: Job.Target, { digest }: Descriptor) =>
        there.get(target)?.has(digest) === true ? "present" as const : "absent" as const
    }
  })

  /** The tags of the source that are made of digests, by what they begin with. */
  const allDigestTags = yield* Effect.cached(Effect.gen(function*() {
    const tags = options.digestTags === "copy"
      ? yield* Stream.runCollect(source.registry.tags(source.repository)).pipe(Job.atSource(job))
      : []
    return Map.groupBy(tags, (tag) => /^[a-z0-9]+-[a-f0-9]{64,}(?=\.)/.exec(tag)?.[0])
  }))

  const digestTagsOf = Effect.fnUntraced(function*(node: ManifestNode) {
    const { digest } = node.descriptor
    const tags = (yield* allDigestTags).get(`${Digest.algorithm(digest)}-${Digest.encoded(digest)}`) ?? []
    return yield* Effect.forEach(tags, (tag) => tagged(node, tag), { concurrency: "unbounded" })
  })

  /** What a tag of the source points at, and the destinations where it does not. */
  const tagged = Effect.fnUntraced(function*(parent: ManifestNode, tag: Tag) {
    const descriptor = yield* source.registry.resolveManifest(source.repository, tag).pipe(Job.atSource(job, parent))
    const tags = new Map<Job.Target, Tag>()
    yield* Job.attemptAll(targets, (target) =>
      ifThere(target.registry.resolveManifest(target.repository, tag)).pipe(
        Effect.map((found) => found?.digest === descriptor.digest ? undefined : tags.set(target, tag)),
        Job.atTarget(target, parent)
      ))
    return { descriptor, tags } satisfies Tagged
  })

  /** Layers that may not be distributed are told of in the end, if no other manifest wants them copied. */
  const leaveOut = ({ absent, descriptor, path }: ManifestNode, blobs: ReadonlyArray<Descriptor>) => {
    for (const blob of blobs.filter(({ mediaType }) => MediaType.isNonDistributable(mediaType))) {
      const known = externals.get(blob.digest) ?? {
        node: { descriptor: blob, role: "blob" as const, path: [...path, descriptor.digest] },
        targets: new Set()
      }
      for (const target of absent) known.targets.add(target)
      externals.set(blob.digest, known)
    }
  }

  return {
    waits,
    nodes,
    root: Effect.fnUntraced(function*(descriptor, manifest, presence, tags) {
      const node = addNode(descriptor, "root", [])
      node.manifest = manifest
      for (const [target, missing] of tags) node.tags.set(target, missing)
      yield* visit(node, presence)
      for (const { node, targets } of externals.values()) {
        const lacking = Array.from(targets).filter(({ taken }) => !taken.has(node.descriptor.digest))
        if (lacking.length === 0) continue
        yield* discovered(node)
        yield* Job.attemptAll(lacking, (target) => Job.settle(job, target, node, "external"))
      }
      return node
    })
  }
})

interface Tagged {
  readonly descriptor: Descriptor
  readonly tags: ReadonlyMap<Job.Target, Tag>
}

const distinct = (descriptors: ReadonlyArray<Descriptor>): ReadonlyArray<Descriptor> =>
  Array.from(new Map(descriptors.toReversed().map((descriptor) => [descriptor.digest, descriptor])).values())
    .toReversed()
