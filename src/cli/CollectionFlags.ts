/**
 * The flags of garbage collection and retention, and the work that they describe.
 */
import * as Flag from "effect/cli/Flag"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Repository } from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import * as Retention from "../Retention.ts"
import * as GarbageCollection from "../stores/GarbageCollection.ts"
import * as Flags from "./Flags.ts"
import * as TagFlags from "./TagFlags.ts"

/** Returns the descriptions of the flags, whose names have this prefix. */
export const descriptions = (prefix: "" | "gc-") => ({
  olderThan: "Keep content that was pushed or asked for within this time, such as 30m, 12h or 7d. It must exceed the " +
    "time of a push. Default: 1h",
  untagged: "Manifests without a tag that no other manifest contains. Default: keep",
  dangling: "Referrers and cosign tags whose image does not exist. Default: keep",
  broken: "Content that a scrub has moved to .effect-oci/broken. Default: collect",
  keepNewest: `Delete tags, except the N newest of each repository by --${prefix}keep-by. Default: delete no tags`,
  keepBy: "Order of tags: their versions, or the times at which their images were created. Tags without one stay. " +
    "Default: semver",
  include: `Tags that --${prefix}keep-newest is about; others stay. Default: all tags`,
  exclude: `Tags that --${prefix}keep-newest is not about`
})

const described = descriptions("")

/** The policies for a kind of content. */
export const policies = ["keep", "collect"] as const

/** The orders of tags. */
export const orders = ["semver", "created"] as const

/** The values without flags or settings. */
export const defaults: Pick<Values, "olderThan" | "untagged" | "dangling" | "broken" | "keepBy"> = {
  olderThan: "1 hour",
  untagged: "keep",
  dangling: "keep",
  broken: "collect",
  keepBy: "semver"
}

/** The flags. `serve` has the same with the prefix `gc-`. */
export const flags = {
  olderThan: Flags.duration("older-than", described.olderThan).pipe(Flag.withDefault(defaults.olderThan)),
  untagged: Flag.Literals("untagged", policies).pipe(
    Flag.withDescription(described.untagged),
    Flag.withDefault(defaults.untagged)
  ),
  dangling: Flag.Literals("dangling", policies).pipe(
    Flag.withDescription(described.dangling),
    Flag.withDefault(defaults.dangling)
  ),
  broken: Flag.Literals("broken", policies).pipe(
    Flag.withDescription(described.broken),
    Flag.withDefault(defaults.broken)
  ),
  keepNewest: Flags.positive("keep-newest", described.keepNewest).pipe(Flag.optional),
  keepBy: Flag.Literals("keep-by", orders).pipe(
    Flag.withDescription(described.keepBy),
    Flag.withDefault(defaults.keepBy)
  ),
  include: Flags.parsed("include", "REGEX", `${described.include}. May be repeated`, TagFlags.readPattern).pipe(
    Flag.atLeast(0)
  ),
  exclude: Flags.parsed("exclude", "REGEX", `${described.exclude}. May be repeated`, TagFlags.readPattern).pipe(
    Flag.atLeast(0)
  )
}

/** Values of the flags. */
export interface Values {
  readonly olderThan: Duration.Input
  readonly untagged: GarbageCollection.Policy
  readonly dangling: GarbageCollection.Policy
  readonly broken: GarbageCollection.Policy
  readonly keepNewest: Option.Option<number>
  readonly keepBy: "semver" | "created"
  readonly include: ReadonlyArray<RegExp>
  readonly exclude: ReadonlyArray<RegExp>
}

/** Schema of the result: the report of the collection, and the tags that retention deleted before it. */
export const Result = Schema.Struct({ ...GarbageCollection.Report.fields, tags: Schema.Array(Retention.Deleted) })

/** The result of a collection. */
export type Result = typeof Result.Type

/** A registry that can collect garbage. */
export interface Collected extends Registry {
  readonly collect: (
    options: GarbageCollection.Options
  ) => Effect.Effect<GarbageCollection.Report, RegistryError>
}

/**
 * Deletes tags in these repositories if the flags ask for it, and collects garbage. A repository whose tags cannot be
 * deleted is reported as skipped.
 */
export const run = Effect.fnUntraced(function*(
  registry: Collected,
  repositories: Stream.Stream<Repository, RegistryError>,
  values: Values,
  dryRun: boolean
): Effect.fn.Return<Result, RegistryError> {
  const { broken, dangling, exclude, include, keepBy, keepNewest, olderThan, untagged } = values
  const rules = Option.toArray(keepNewest).map((newest) => ({ newest, by: keepBy, tags: { include, exclude } }))
  const skipped: Array<GarbageCollection.Skipped> = []
  const tags = rules.length === 0 ? [] : (yield* Stream.runCollect(Stream.mapEffect(
    repositories,
    (repository) =>
      Effect.catch(Retention.apply({ registry, repository, rules, dryRun }), ({ message }) => {
        skipped.push({ repository, problem: message })
        return Effect.succeed([])
      })
  ))).flat()
  const report = yield* registry.collect({ olderThan, untagged, danglingReferrers: dangling, broken, dryRun })
  return { ...report, skipped: [...skipped, ...report.skipped], tags }
})

/** Returns the result as lines of text. */
export const format = ({ tags, ...report }: Result): ReadonlyArray<string> => [
  ...tags.map(({ digest, repository, tag }) => `tag ${repository}:${tag} ${digest}`),
  ...GarbageCollection.format(report)
]

/** Returns one line about the result. */
export const summary = ({ tags, ...report }: Result): string => {
  const [last = ""] = GarbageCollection.format({ ...report, skipped: [] }).slice(-1)
  return tags.length === 0 ? last : `deleted ${tags.length} tags, ${last}`
}
