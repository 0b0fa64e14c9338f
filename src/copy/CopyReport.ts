/**
 * What a copy did.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import { Digest } from "../Digest.ts"

/**
 * Schema of what a piece of content is to the one above it: the end of its path. A `digestTag` is behind a tag that is
 * made of its digest, as cosign makes them.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Role = Schema.Literals(["root", "child", "referrer", "digestTag", "blob"])

/**
 * What a piece of content is to the one above it.
 *
 * @category models
 * @since 0.1.0
 */
export type Role = typeof Role.Type

/**
 * Schema of what became of a piece of content.
 *
 * - `copied`: its bytes were sent.
 * - `mounted`: the destination took it from another of its repositories.
 * - `present`: it was there.
 * - `external`: a layer that may not be distributed, left out.
 * - `missing`: a referrer that the source lists and does not have, left out.
 * - `kept`: the tag was there, and stays what it is.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Outcome = Schema.Literals(["copied", "mounted", "present", "external", "missing", "kept"])

/**
 * What became of a piece of content.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = typeof Outcome.Type

/**
 * Schema of one piece of content that a copy dealt with.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Entry = Schema.Struct({
  descriptor: Descriptor,
  role: Role,
  /** The manifests above it, from the root down. */
  path: Schema.Array(Digest),
  outcome: Outcome
})

/**
 * One piece of content that a copy dealt with.
 *
 * @category models
 * @since 0.1.0
 */
export type Entry = typeof Entry.Type

/**
 * Schema of a manifest whose referrers are not known, because a registry did not list them: the source, so that they
 * were not copied, or at the end the destination, so that they were not verified.
 *
 * @category schemas
 * @since 0.1.0
 */
export const UnknownReferrers = Schema.Struct({
  descriptor: Descriptor,
  /** The manifests above it, from the root down. */
  path: Schema.Array(Digest),
  /** Which end did not list them. */
  end: Schema.Literals(["source", "destination"]),
  /** Why. */
  problem: Schema.String
})

/**
 * A manifest whose referrers are not known.
 *
 * @category models
 * @since 0.1.0
 */
export type UnknownReferrers = typeof UnknownReferrers.Type

/**
 * What a copy did, piece by piece. What lies below a manifest that the destination already had is not listed, unless it
 * was looked at.
 *
 * @category models
 * @since 0.1.0
 */
export class CopyReport extends Schema.Class<CopyReport>("effect-oci/CopyReport")({
  source: Schema.String,
  destination: Schema.String,
  /** What the destination has now. */
  root: Descriptor,
  /** What it was made of, where that is not what the destination has: an index of which only some platforms were copied. */
  rewrittenFrom: Schema.optionalKey(Descriptor),
  entries: Schema.Array(Entry),
  /** Manifests whose referrers are not known. */
  unknownReferrers: Schema.Array(UnknownReferrers),
  /** That were sent to the destination as content of blobs and manifests. */
  bytes: Schema.Natural,
  /** That were sent to the registries while it ran, as far as they are behind HTTP. */
  requests: Schema.Natural,
  /** What the registries warned of, and what had to be mended: each once, and no more than 100. */
  warnings: Schema.Array(Schema.String)
}) {
  /** The entries with one of these outcomes. */
  having(...outcomes: ReadonlyArray<Outcome>): ReadonlyArray<Entry> {
    return this.entries.filter(({ outcome }) => outcomes.includes(outcome))
  }
}
