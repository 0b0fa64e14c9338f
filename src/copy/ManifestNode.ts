/**
 * A manifest that a walk has discovered, with the facts that the steps of a copy share about it.
 */
import type { Descriptor } from "../Descriptor.ts"
import type { Digest } from "../Digest.ts"
import type { Tag } from "../Reference.ts"
import type { ManifestBytes } from "../Registry.ts"
import type { Role } from "./CopyReport.ts"
import type * as Job from "./Job.ts"
import type { ContentNode } from "./Options.ts"

/** A manifest of a copy. A registry may list very many, so equal values of their fields are shared. */
export interface ManifestNode extends ContentNode {
  readonly role: Exclude<Role, "blob">
  /** Tags that it has yet to get at each destination. */
  tags: ReadonlyMap<Job.Destination, ReadonlyArray<Tag>>
  /** Destinations that do not have it. */
  absent: ReadonlySet<Job.Destination>
  /** Manifests of this copy that list it as a referrer. */
  subjects: ReadonlyArray<Digest>
  /** Its content, while the copy needs it. */
  manifest: ManifestBytes | undefined
  /** True if the source lists it but does not have it. */
  missing: boolean
  /** Path to a manifest that contains it. It may not be missing then. */
  containedIn: ReadonlyArray<Digest> | undefined
  /** True if its blobs are looked up even if the destination has the manifest. */
  isDeep: boolean
  /** Blobs that it refers to, without those that stay at their `urls`. */
  blobs: ReadonlyArray<ContentNode>
  /** Manifests that it contains. */
  children: ReadonlyArray<Digest>
  /** Referrers that are pushed before it. */
  referrers: ReadonlyArray<Digest>
}

const noTags: ManifestNode["tags"] = new Map()
const nowhere: ManifestNode["absent"] = new Set()

/** Creates the node of a manifest that was discovered just now. */
export const make = (
  descriptor: Descriptor,
  role: ManifestNode["role"],
  path: ReadonlyArray<Digest>
): ManifestNode => ({
  descriptor,
  role,
  path,
  tags: noTags,
  absent: nowhere,
  subjects: [],
  manifest: undefined,
  missing: false,
  isDeep: false,
  containedIn: role === "child" ? path : undefined,
  blobs: [],
  children: [],
  referrers: []
})
