/**
 * What a copy would do: every piece of content with what is to happen to it and why, and how they belong together.
 *
 * A plan is a value. It can be printed, encoded, filtered, and given to a copy, which then does no more than it says; see
 * `plan` among the options of a copy. It is made by reading alone, so that some of it are bounds: whether a mount works
 * is known when it was tried.
 *
 * @since 0.1.0
 */
import * as ByteSize from "effect/ByteSize"
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import { Digest } from "../Digest.ts"
import { Tag } from "../Reference.ts"
import { printable } from "../Text.ts"
import { Role, UnknownReferrers } from "./CopyReport.ts"

/**
 * Schema of a lower and an upper bound.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Bounds = Schema.Struct({ least: Schema.Natural, most: Schema.Natural })

/**
 * Schema of one piece of content in a plan.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Node = Schema.Struct({
  descriptor: Descriptor,
  role: Role,
  /**
   * `push`: a manifest is sent. `tag`: it is there, and gets tags. `upload`: a blob is sent. `mountOrUpload`: the destination
   * may take it from another of its repositories. `skip`: there is nothing to do.
   */
  action: Schema.Literals(["push", "tag", "upload", "mountOrUpload", "skip"]),
  why: Schema.String,
  /** That are sent to the destination. */
  bytes: Bounds,
  /** That are sent to both ends, where they are behind HTTP. */
  requests: Bounds,
  tags: Schema.Array(Tag)
})

/**
 * One piece of content in a plan.
 *
 * @category models
 * @since 0.1.0
 */
export type Node = typeof Node.Type

/**
 * Schema of how two pieces of content belong together: the second is a child or blob of the first, refers to it as its
 * subject (`referrer`), or is behind a tag made of its digest.
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
 * How two pieces of content belong together.
 *
 * @category models
 * @since 0.1.0
 */
export type Edge = typeof Edge.Type

/**
 * What a copy would do.
 *
 * @category models
 * @since 0.1.0
 */
export class CopyPlan extends Schema.Class<CopyPlan>("effect-oci/CopyPlan")({
  source: Schema.String,
  destination: Schema.String,
  /** What the destination is to have. */
  root: Descriptor,
  nodes: Schema.Array(Node),
  edges: Schema.Array(Edge),
  /** Manifests of which the source did not list the referrers, so that the plan has none of them. */
  unknownReferrers: Schema.Array(UnknownReferrers)
}) {
  /** What all of it comes to. */
  get bytes(): typeof Bounds.Type {
    return sum(this.nodes.map(({ bytes }) => bytes))
  }

  /** What all of it comes to, besides finding out what is there. */
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
 * The plan without the nodes that are not kept, and without what cannot be pushed lacking them: all that contains them.
 * What refers to a manifest can be left out, and does not take it along.
 *
 * @category combinators
 * @since 0.1.0
 */
export const filter = (self: CopyPlan, keep: (node: Node) => boolean): CopyPlan => {
  const dropped = new Set(self.nodes.filter((node) => !keep(node)).map(({ descriptor }) => descriptor.digest))
  // a set that grows while it is walked
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

const size = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes))

const line = ({ action, descriptor, role, tags, why }: Node): string => {
  const named = tags.length === 0 ? "" : ` as ${tags.join(", ")}`
  const about = [size(descriptor.size), ...descriptor.mediaType === "" ? [] : [descriptor.mediaType]].join(", ")
  return `${action} ${role} ${descriptor.digest} (${about})${named}: ${why}`
}

const unknown = ({ unknownReferrers }: CopyPlan): ReadonlyArray<string> => {
  const [first] = unknownReferrers
  if (first === undefined) return []
  const { descriptor: { digest }, problem } = first
  const others = unknownReferrers.length === 1 ? "" : ` and of ${unknownReferrers.length - 1} more`
  return [`  the referrers of ${digest}${others} are unknown: ${problem}`]
}

/**
 * Writes a plan as a tree. What stands in it more than once is written out where it stands first. Text of another party
 * in it, such as a media type, is made printable, so that each line is one.
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
  const total = least === most ? size(least) : `${size(least)} to ${size(most)}`
  return [
    `${self.source} to ${self.destination}: ${total}`,
    ...roots.flatMap((digest) => written.has(digest) ? [] : tree(digest, "  ")),
    ...unknown(self)
  ].map(printable).join("\n")
}
