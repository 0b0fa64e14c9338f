/**
 * Plans a copy with requests that only read. The walk is that of a copy; its visitor notes an action for each manifest
 * and blob, instead of transferring them.
 */
import * as Effect from "effect/Effect"
import { type Descriptor, inlineContent } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import * as Upload from "../Upload.ts"
import type { CopyError } from "./CopyError.ts"
import { CopyPlan, type Edge, type Node as PlanNode } from "./CopyPlan.ts"
import { format, orAbsentOrDenied } from "./Ends.ts"
import * as Job from "./Job.ts"
import type { ManifestNode } from "./ManifestNode.ts"
import type { ContentNode } from "./Options.ts"
import * as RegistryState from "./RegistryState.ts"
import * as RootLookup from "./RootLookup.ts"
import * as Walk from "./Walk.ts"

type Step = Pick<PlanNode, "action" | "why" | "bytes" | "requests">

const none = { least: 0, most: 0 }

const skip = (why: string): Step => ({ action: "skip", why, bytes: none, requests: none })

const send = (action: "push" | "upload", why: string, size: number, least: number, most: number): Step => ({
  action,
  why,
  bytes: { least: size, most: size },
  requests: { least, most }
})

/** Returns the action for a blob that the destination may lack. */
const planBlob = Effect.fnUntraced(
  function*(job: Job.Job, node: ContentNode, destination: Job.Destination): Effect.fn.Return<
    Step,
    CopyError
  > {
    const { state, registry, repository } = destination
    const { digest, size } = node.descriptor
    const isSameRegistry = job.source.registry === registry
    const isKnown = Job.isSameRepository(job, destination) ||
      (yield* RegistryState.has(state.blobs, repository, digest))
    const lookUp = orAbsentOrDenied(registry.resolveBlob(repository, digest, { size })).pipe(
      Job.atDestination(destination, node)
    )
    if (isKnown || (yield* lookUp) !== undefined) return skip("the destination has it")
    const isLarge = size >= (yield* Upload.ResumptionThreshold)
    const most = isLarge ? 5 : 4
    const given = isSameRegistry ? job.source.repository : undefined
    if (RegistryState.origin(state, digest, repository, given) !== undefined) {
      return {
        action: "mountOrUpload",
        why: "another repository of the destination has it",
        bytes: { least: 0, most: size },
        requests: { least: 1, most }
      }
    }
    const least = size <= Upload.smallBlob ? 2 : isLarge ? 4 : 3
    // content that the descriptor contains takes no request to the source
    const saved = (yield* inlineContent(node.descriptor)) === undefined ? 0 : 1
    return send("upload", "the destination does not have it", size, least - saved, most - saved)
  }
)

/** Returns the action for a manifest. */
const planManifest = (node: ManifestNode, destination: Job.Destination): Step => {
  const { size } = node.descriptor
  if (node.missing) return skip("the source lists it but does not have it")
  if (node.absent.has(destination)) return send("push", "the destination does not have it", size, 2, 3)
  return (node.tags.get(destination) ?? []).length === 0
    ? skip("the destination has it")
    : { ...send("push", "the destination has it under another tag", size, 1, 2), action: "tag" }
}

/** Returns the relations between the manifests and blobs that a walk has found. */
const edgesOf = ({ nodes }: Walk.Found): ReadonlyArray<Edge> =>
  Array.from(nodes.values()).flatMap(({ blobs, children, descriptor: { digest }, path, role, subjects }) => {
    const above = path.at(-1)
    return [
      ...blobs.map(({ descriptor }): Edge => ({ from: digest, to: descriptor.digest, kind: "blob" })),
      ...children.map((child): Edge => ({ from: digest, to: child, kind: "child" })),
      ...subjects.map((subject): Edge => ({ from: subject, to: digest, kind: "referrer" })),
      ...role === "digestTag" && above !== undefined ? [{ from: above, to: digest, kind: role }] : []
    ]
  })

/** Creates the plan of a job with one destination. */
export const plan = Effect.fnUntraced(
  function*(job: Job.Job, destination: Job.Destination): Effect.fn.Return<CopyPlan, CopyError> {
    const nodes = new Map<Digest, PlanNode>()
    const note = ({ descriptor, role }: ContentNode, step: Step, tags: PlanNode["tags"] = []) =>
      nodes.set(descriptor.digest, { descriptor, role, ...step, tags })
    const result = (descriptor: Descriptor, edges: ReadonlyArray<Edge>) =>
      new CopyPlan({
        source: format(job.source),
        destination: format({ ...destination.end, digest: descriptor.digest }),
        root: descriptor,
        nodes: Array.from(nodes.values()),
        edges: edges.filter(({ from, to }) => nodes.has(from) && nodes.has(to)),
        unknownReferrers: job.unknownReferrers
      })

    const root = yield* RootLookup.find(job)
    const kept = root.kept.get(destination)
    if (kept !== undefined) {
      note({ descriptor: kept, role: "root", path: [] }, skip("the tag exists and is kept"))
      return result(kept, [])
    }
    const walk = yield* Walk.make(job, root.overlay, () => ({
      discovered: () => Effect.void,
      blob: (node, destinations) =>
        Effect.suspend(() => {
          const { digest } = node.descriptor
          if (destinations.length === 0 || destination.scheduled.has(digest)) return Effect.void
          destination.scheduled.add(digest)
          return Effect.map(planBlob(job, node, destination), (step) => note(node, step))
        }),
      manifest: (node) => Effect.sync(() => note(node, planManifest(node, destination), node.tags.get(destination)))
    }))
    yield* walk.root(root.descriptor, root.manifest, root.presence, root.tags)
    // the walk may have found tags of a manifest after it was visited
    for (const node of walk.nodes.values()) {
      const tags = node.tags.get(destination) ?? []
      if (tags.length > 0) note(node, planManifest(node, destination), tags)
    }
    return result(root.descriptor, edgesOf(walk))
  }
)
