/**
 * Plans of copies: every manifest and blob with the action that a copy would take and the reason, and the relations
 * between them.
 *
 * A plan is a value. It can be printed, encoded, filtered, and passed to a copy as the option `plan`; the copy then
 * copies nothing that is not in the plan. A plan is made with requests that only read, so some byte and request counts
 * are bounds: only an attempt shows whether the destination mounts a blob.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import { Digest } from "../Digest.ts"
import { Tag } from "../Reference.ts"
import { printable } from "../Text.ts"
import * as ContentLine from "./ContentLine.ts"
import { Role, UnknownReferrers } from "./CopyReport.ts"

/**
 * Schema of a lower and an upper bound.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Bounds = Schema.Struct({ least: Schema.Natural, most: Schema.Natural })

/**
 * Schema of a manifest or blob in a plan.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Node = Schema.Struct({
  descriptor: Descriptor,
  role: Role,
  /**
   * - `push`: the manifest is sent.
   * - `tag`: the destination has the manifest, which gets further tags.
   * - `upload`: the blob is sent.
   * - `mountOrUpload`: the destination may mount the blob from another of its repositories. Otherwise the blob is sent.
   * - `skip`: nothing is sent.
   */
  action: Schema.Literals(["push", "tag", "upload", "mountOrUpload", "skip"]),
  /** Reason for the action. */
  why: Schema.String,
  /** Number of bytes that are sent to the destination. */
  bytes: Bounds,
  /** Number of requests that are sent to those ends that are reached over HTTP. */
  requests: Bounds,
  /** Tags that the manifest gets. */
  tags: Schema.Array(Tag)
})

/**
 * A manifest or blob in a plan.
 *
 * @category models
 * @since 0.1.0
 */
export type Node = typeof Node.Type

/**
 * Schema of a relation between two manifests or blobs. `to` is a child or blob of `from`, refers to it as its subject
 * (`referrer`), or is the manifest behind a tag that is made of its digest (`digestTag`).
 *
 * @category schemas
 * @since 0.1.0
 */
export const Edge = Schema.Struct({
  from: Digest,
  to: Digest,
  kind: Schema.Literals(["child", "blob", "referrer", "digestTag"])
})

/**
 * A relation between two manifests or blobs of a plan.
 *
 * @category models
 * @since 0.1.0
 */
export type Edge = typeof Edge.Type

/**
 * The plan of a copy.
 *
 * @category models
 * @since 0.1.0
 */
export class CopyPlan extends Schema.Class<CopyPlan>("effect-oci/CopyPlan")({
  source: Schema.String,
  destination: Schema.String,
  /** Manifest that the destination gets. */
  root: Descriptor,
  nodes: Schema.Array(Node),
  edges: Schema.Array(Edge),
  /** Manifests whose referrers the source did not list. The plan contains none of these referrers. */
  unknownReferrers: Schema.Array(UnknownReferrers)
}) {
  /** Number of bytes that are sent to the destination. */
  get bytes(): typeof Bounds.Type {
    return sum(this.nodes.map(({ bytes }) => bytes))
  }

  /** Number of requests for all actions, in addition to those that look up what the destination has. */
  get requests(): typeof Bounds.Type {
    return sum(this.nodes.map(({ requests }) => requests))
  }

  override toString(): string {
    return format(this)
  }
}

const sum = (bounds: ReadonlyArray<typeof Bounds.Type>): typeof Bounds.Type => ({
  least: bounds.reduce((sum, { least }) => sum + least, 0),
  most: bounds.reduce((sum, { most }) => sum + most, 0)
})

/**
 * Removes nodes from a plan, and all manifests that contain them, because a manifest cannot be pushed without its
 * parts. A manifest stays in the plan if only its referrers are removed.
 *
 * @category combinators
 * @since 0.1.0
 */
export const filter = (self: CopyPlan, keep: (node: Node) => boolean): CopyPlan => {
  const dropped = new Set(self.nodes.filter((node) => !keep(node)).map(({ descriptor }) => descriptor.digest))
  // the loop also visits digests that are added during it
  for (const digest of dropped) {
    for (const { from, kind, to } of self.edges) {
      if (to === digest && (kind === "child" || kind === "blob")) dropped.add(from)
    }
  }
  return new CopyPlan({
    ...self,
    nodes: self.nodes.filter(({ descriptor }) => !dropped.has(descriptor.digest)),
    edges: self.edges.filter(({ from, to }) => !dropped.has(from) && !dropped.has(to))
  })
}

const line = (node: Node): string => {
  const named = node.tags.length === 0 ? "" : ` as ${node.tags.join(", ")}`
  return `${node.action} ${ContentLine.format(node)}${named}: ${node.why}`
}

const unknown = ({ unknownReferrers }: CopyPlan): ReadonlyArray<string> => {
  const [first] = unknownReferrers
  if (first === undefined) return []
  const { descriptor: { digest }, problem } = first
  const others = unknownReferrers.length === 1 ? "" : ` and of ${unknownReferrers.length - 1} more`
  return [`  the referrers of ${digest}${others} are unknown: ${problem}`]
}

/**
 * Formats a plan as a tree, with one line per manifest or blob. Content that occurs more than once is described at its
 * first occurrence. Text from other parties, such as media types, is made printable and cannot break lines.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (self: CopyPlan): string => {
  const nodes = new Map(self.nodes.map((node) => [node.descriptor.digest, node]))
  const below = Map.groupBy(self.edges, ({ from }) => from)
  const written = new Set<Digest>()
  const tree = (digest: Digest, indent: string): ReadonlyArray<string> => {
    const node = nodes.get(digest)
    const isFirst = !written.has(digest)
    written.add(digest)
    const children = isFirst ? below.get(digest) ?? [] : []
    const own = node === undefined ? [] : [`${indent}${isFirst ? line(node) : `${node.role} ${digest}, see above`}`]
    return [...own, ...children.flatMap(({ to }) => tree(to, node === undefined ? indent : `${indent}  `))]
  }
  const roots = [self.root.digest, ...nodes.keys()]
  const { least, most } = self.bytes
  const total = least === most ? ContentLine.size(least) : `${ContentLine.size(least)} to ${ContentLine.size(most)}`
  return [
    `${self.source} to ${self.destination}: ${total}`,
    ...roots.flatMap((digest) => written.has(digest) ? [] : tree(digest, "  ")),
    ...unknown(self)
  ].map(printable).join("\n")
}
