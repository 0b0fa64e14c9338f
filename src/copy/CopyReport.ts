/**
 * Reports of copies: every manifest and blob with its outcome.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Descriptor } from "../Descriptor.ts"
import { Digest } from "../Digest.ts"
import { printable } from "../Text.ts"
import * as ContentLine from "./ContentLine.ts"

/**
 * Schema of the role of content for the manifest above it, which is the last of its path. A `digestTag` is a manifest
 * behind a tag that is made of the digest of the manifest above, such as the signatures of cosign.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Role = Schema.Literals(["root", "child", "referrer", "digestTag", "blob"])

/**
 * The role of content for the manifest above it.
 *
 * @category models
 * @since 0.1.0
 */
export type Role = typeof Role.Type

/**
 * Schema of the outcome of a copy for a manifest or blob.
 *
 * - `copied`: its bytes were sent.
 * - `mounted`: the destination took it from another of its repositories.
 * - `present`: the destination already had it.
 * - `external`: a layer that may not be distributed; it was left out.
 * - `missing`: a referrer that the source lists but does not have; it was left out.
 * - `kept`: the destination already had the tag, which still points at this manifest.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Outcome = Schema.Literals(["copied", "mounted", "present", "external", "missing", "kept"])

/**
 * The outcome of a copy for a manifest or blob.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = typeof Outcome.Type

/**
 * Schema of a manifest or blob in a report.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Entry = Schema.Struct({
  descriptor: Descriptor,
  role: Role,
  /** Manifests above it, from the root down. */
  path: Schema.Array(Digest),
  outcome: Outcome
})

/**
 * A manifest or blob in a report.
 *
 * @category models
 * @since 0.1.0
 */
export type Entry = typeof Entry.Type

/**
 * Schema of a manifest whose referrers are unknown, because a registry did not list them. If that was the source, they
 * were not copied. If it was the destination, they were not verified.
 *
 * @category schemas
 * @since 0.1.0
 */
export const UnknownReferrers = Schema.Struct({
  descriptor: Descriptor,
  /** Manifests above it, from the root down. */
  path: Schema.Array(Digest),
  /** End that did not list them. */
  end: Schema.Literals(["source", "destination"]),
  /** Reason why that end did not list them. */
  problem: Schema.String
})

/**
 * A manifest whose referrers are unknown.
 *
 * @category models
 * @since 0.1.0
 */
export type UnknownReferrers = typeof UnknownReferrers.Type

/**
 * The report of a copy. If the destination already had a manifest, the content below it is listed only if the copy
 * looked it up.
 *
 * @category models
 * @since 0.1.0
 */
export class CopyReport extends Schema.Class<CopyReport>("effect-oci/CopyReport")({
  source: Schema.String,
  destination: Schema.String,
  /** Manifest that the destination has now. */
  root: Descriptor,
  /** Index of the source, if the destination has a rewritten index with some of its platforms. */
  rewrittenFrom: Schema.optionalKey(Descriptor),
  entries: Schema.Array(Entry),
  /** Manifests whose referrers are unknown. */
  unknownReferrers: Schema.Array(UnknownReferrers),
  /** Size of the blobs and manifests that were sent to the destination, in bytes. */
  bytes: Schema.Natural,
  /** Number of requests that were sent to those ends that are reached over HTTP. */
  requests: Schema.Natural,
  /** Distinct warnings of the registries, and of defects that the copy worked around. At most 100. */
  warnings: Schema.Array(Schema.String)
}) {
  /** Returns the entries with one of these outcomes. */
  having(...outcomes: ReadonlyArray<Outcome>): ReadonlyArray<Entry> {
    return this.entries.filter(({ outcome }) => outcomes.includes(outcome))
  }

  override toString(): string {
    return format(this)
  }
}

/**
 * Formats a report as a tree, with one line per manifest or blob, followed by what is unknown and by the warnings. Text
 * from other parties, such as media types, is made printable and cannot break lines.
 *
 * **Example** (Printing what a copy did)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Copy from "effect-oci/Copy"
 * import * as CopyReport from "effect-oci/CopyReport"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import { Images } from "effect-oci/testing"
 *
 * const repository = Images.repository("app")
 * const tag = Images.tag("1")
 *
 * const program = Effect.gen(function*() {
 *   const source = yield* MemoryRegistry.make()
 *   const destination = yield* MemoryRegistry.make()
 *   yield* Images.pushImage(source, repository, ["layer"], { tags: [tag] })
 *   const report = yield* Copy.copyManifest({
 *     source: { registry: source, repository, tag },
 *     destination: { registry: destination, repository, tag }
 *   })
 *   return CopyReport.format(report)
 * })
 *
 * // the first line names both ends, and one line follows for each manifest and blob
 * Effect.runSync(program).split("\n").length // => 4
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (self: CopyReport): string => {
  const digests = new Set(self.entries.map(({ descriptor }) => descriptor.digest))
  const below = Map.groupBy(self.entries, ({ path }) => path.findLast((digest) => digests.has(digest)))
  const tree = (parent: Digest | undefined, indent: string): ReadonlyArray<string> => {
    const entries = below.get(parent) ?? []
    // each entry is written once, also if a decoded report contradicts itself
    below.delete(parent)
    return entries.flatMap((entry) => [
      `${indent}${entry.outcome} ${ContentLine.format(entry)}`,
      ...tree(entry.descriptor.digest, `${indent}  `)
    ])
  }
  const { rewrittenFrom, unknownReferrers, warnings } = self
  return [
    `${self.source} to ${self.destination}: ${ContentLine.size(self.bytes)}`,
    ...rewrittenFrom === undefined ? [] : [`  rewritten from ${rewrittenFrom.digest}`],
    ...tree(undefined, "  "),
    ...unknownReferrers.map(({ descriptor, end, problem }) =>
      `  the referrers of ${descriptor.digest} at the ${end} are unknown: ${problem}`
    ),
    ...warnings.map((warning) => `  warning: ${warning}`)
  ].map(printable).join("\n")
}
