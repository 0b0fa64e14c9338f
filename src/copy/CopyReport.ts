/**
 * What a copy did.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import { Digest } from "../Digest.ts"

/**
 * Schema of one piece of content that a copy dealt with.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Entry = Schema.Struct({
  descriptor: Descriptor,
  /** What it is to its parent: the end of `path`. */
  role: Schema.Literals(["root", "child", "referrer", "blob"]),
  /** The manifests above it, from the root down. */
  path: Schema.Array(Digest),
  /**
   * `copied`: its bytes were sent. `mounted`: the destination took it from another of its repositories. `present`: it was
   * there. `external`: a layer that may not be distributed, left out. `missing`: a referrer that the source lists and
   * does not have, left out.
   */
  outcome: Schema.Literals(["copied", "mounted", "present", "external", "missing"])
})

/**
 * One piece of content that a copy dealt with.
 *
 * @category models
 * @since 0.1.0
 */
export type Entry = typeof Entry.Type

/**
 * What a copy did, piece by piece. What lies below a manifest that the destination already had is not listed: it was not
 * looked at.
 *
 * @category models
 * @since 0.1.0
 */
export class CopyReport extends Schema.Class<CopyReport>("effect-oci/CopyReport")({
  source: Schema.String,
  destination: Schema.String,
  /** What the destination has now. */
  root: Descriptor,
  entries: Schema.Array(Entry),
  /** That were sent to the destination as content of blobs and manifests. */
  bytes: Schema.Natural
}) {
  /** The entries with one of these outcomes. */
  having(...outcomes: ReadonlyArray<Entry["outcome"]>): ReadonlyArray<Entry> {
    return this.entries.filter(({ outcome }) => outcomes.includes(outcome))
  }
}
