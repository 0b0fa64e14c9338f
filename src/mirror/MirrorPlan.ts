/**
 * Plans of mirrors: for each tag of each destination what a run would do, and why.
 *
 * A plan is a value. It can be printed, encoded, and compared with an earlier one. It is made with requests that only
 * read, and it writes nothing, not even to the state.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Digest } from "../Digest.ts"
import { Tag } from "../Reference.ts"
import { printable } from "../Text.ts"

/**
 * Schema of the work of a run on a tag of a destination.
 *
 * - `copy`: the destination lacks the tag.
 * - `replace`: the tag points at another image than it should.
 * - `backup`: like `replace`, but the previous image gets another tag first.
 * - `adopt`: the destination has the image. The tag is recorded as one of this mirror.
 * - `referrers`: the image is unchanged. Its referrers are looked at again.
 * - `delete`: this mirror has put the tag there, and the rule does not mean it any more.
 * - `deleteLater`: like `delete`, but not in this run.
 * - `unchanged`: the destination has the image.
 * - `immutable`: the destination has the tag, which is not looked at again.
 * - `keep`: the tag of the source moved, and the policy keeps the previous image.
 * - `refused`: a policy forbids the copy.
 * - `later`: the tag has failed before. The next attempt is not due yet.
 * - `failed`: the tag cannot be looked up.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Action = Schema.Literals([
  "copy",
  "replace",
  "backup",
  "adopt",
  "referrers",
  "delete",
  "deleteLater",
  "unchanged",
  "immutable",
  "keep",
  "refused",
  "later",
  "failed"
])

/**
 * Work of a run on a tag of a destination.
 *
 * @category models
 * @since 0.1.0
 */
export type Action = typeof Action.Type

/**
 * Schema of a lower bound, and an upper bound if it is known.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Bounds = Schema.Struct({ least: Schema.Natural, most: Schema.optionalKey(Schema.Natural) })

/**
 * A lower bound, and an upper bound if it is known.
 *
 * @category models
 * @since 0.1.0
 */
export type Bounds = typeof Bounds.Type

/**
 * Schema of a tag of a destination in a plan.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TagPlan = Schema.Struct({
  tag: Tag,
  /** Tag of the source. */
  sourceTag: Tag,
  action: Action,
  /** Reason for the action. */
  why: Schema.String,
  /** Digest that the tag of the source points at, if it was looked up. */
  sourceDigest: Schema.optionalKey(Digest),
  /** Digest that the destination has, if it is known. */
  destinationDigest: Schema.optionalKey(Digest),
  /** Number of bytes that are sent to the destination. */
  bytes: Bounds,
  /** Number of requests to both ends. */
  requests: Bounds
})

/**
 * A tag of a destination in a plan.
 *
 * @category models
 * @since 0.1.0
 */
export type TagPlan = typeof TagPlan.Type

/**
 * Schema of the plan for one repository of a source and one repository of a destination.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RepositoryPlan = Schema.Struct({
  rule: Schema.String,
  /** Repository of the source, with its registry. */
  source: Schema.String,
  /** Repository of the destination, with its registry. */
  destination: Schema.String,
  tags: Schema.Array(TagPlan),
  /** Tags of the source that the rule does not select, with the reasons. */
  dropped: Schema.Array(Schema.Struct({ tag: Tag, why: Schema.String })),
  /** Reasons why parts of the repository cannot be planned. */
  problems: Schema.Array(Schema.String)
})

/**
 * The plan for one repository of a source and one repository of a destination.
 *
 * @category models
 * @since 0.1.0
 */
export type RepositoryPlan = typeof RepositoryPlan.Type

/**
 * The plan of a mirror.
 *
 * @category models
 * @since 0.1.0
 */
export class MirrorPlan extends Schema.Class<MirrorPlan>("effect-oci/MirrorPlan")({
  at: Schema.DateTimeUtcFromString,
  repositories: Schema.Array(RepositoryPlan),
  /** Rules whose repositories cannot be found, with the reasons. */
  problems: Schema.Array(Schema.Struct({ rule: Schema.String, problem: Schema.String })),
  /** Number of requests that were sent to make the plan. */
  planningRequests: Schema.Natural
}) {
  /** Returns the number of tags with one of these actions. */
  count(...actions: ReadonlyArray<Action>): number {
    return this.repositories.reduce(
      (sum, { tags }) => sum + tags.filter(({ action }) => actions.includes(action)).length,
      0
    )
  }

  /** True if a run would change something, apart from the referrers of images that did not change. */
  get hasWork(): boolean {
    return this.count(...work) > 0
  }

  /** True if something cannot be planned. */
  get hasProblems(): boolean {
    return this.problems.length > 0 || this.repositories.some(({ problems }) => problems.length > 0) ||
      this.count("failed", "refused") > 0
  }

  /** Number of bytes that are sent to the destinations. */
  get bytes(): Bounds {
    return sum(this.repositories.flatMap(({ tags }) => tags.map(({ bytes }) => bytes)))
  }

  /** Number of requests for all actions. */
  get requests(): Bounds {
    return sum(this.repositories.flatMap(({ tags }) => tags.map(({ requests }) => requests)))
  }

  override toString(): string {
    return format(this)
  }
}

/** Actions that change a destination, or what is known of it. */
const work: ReadonlyArray<Action> = ["copy", "replace", "backup", "adopt", "delete"]

const sum = (bounds: ReadonlyArray<Bounds>): Bounds => {
  const least = bounds.reduce((sum, { least }) => sum + least, 0)
  return bounds.some(({ most }) => most === undefined)
    ? { least }
    : { least, most: bounds.reduce((sum, { most = 0 }) => sum + most, 0) }
}

// ---------------------------------------------------------------------------------------------------------------------
// comparison
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Schema of a difference between two plans.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Change = Schema.Struct({
  /** Repository of the destination, with its registry. */
  destination: Schema.String,
  tag: Tag,
  /** Absent if the earlier plan does not contain the tag. */
  before: Schema.optionalKey(Action),
  /** Absent if the later plan does not contain the tag. */
  after: Schema.optionalKey(Action)
})

/**
 * A difference between two plans.
 *
 * @category models
 * @since 0.1.0
 */
export type Change = typeof Change.Type

const tagsOf = (self: MirrorPlan): ReadonlyMap<string, TagPlan & { readonly destination: string }> =>
  new Map(
    self.repositories.flatMap(({ destination, tags }) =>
      tags.map((tag) => [`${destination}:${tag.tag}`, { ...tag, destination }])
    )
  )

/**
 * Returns the tags for which two plans have different actions, or another image to copy.
 *
 * @category combinators
 * @since 0.1.0
 */
export const compare = (self: MirrorPlan, previous: MirrorPlan): ReadonlyArray<Change> => {
  const [now, before] = [tagsOf(self), tagsOf(previous)]
  const changed = Array.from(now).flatMap(
    ([name, { action, destination, sourceDigest, tag }]): ReadonlyArray<Change> => {
      const old = before.get(name)
      if (old === undefined) return [{ destination, tag, after: action }]
      const isSame = old.action === action && (old.sourceDigest === sourceDigest || !work.includes(action))
      return isSame ? [] : [{ destination, tag, before: old.action, after: action }]
    }
  )
  const gone = Array.from(before).flatMap(([name, { action, destination, tag }]): ReadonlyArray<Change> =>
    now.has(name) ? [] : [{ destination, tag, before: action }]
  )
  return [...changed, ...gone]
}

// ---------------------------------------------------------------------------------------------------------------------
// text
// ---------------------------------------------------------------------------------------------------------------------

// actions in the order in which they are printed
const order: ReadonlyArray<Action> = [
  "delete",
  "deleteLater",
  "failed",
  "refused",
  "copy",
  "replace",
  "backup",
  "adopt",
  "referrers",
  "later",
  "keep",
  "immutable",
  "unchanged"
]

/** Actions of tags that are printed only on request. */
const quiet: ReadonlySet<Action> = new Set<Action>(["unchanged", "immutable", "referrers"])

const labels: Readonly<Record<Action, string>> = {
  copy: "copy",
  replace: "replace",
  backup: "back up and replace",
  adopt: "adopt",
  referrers: "look at referrers",
  delete: "delete",
  deleteLater: "delete later",
  unchanged: "unchanged",
  immutable: "immutable",
  keep: "keep",
  refused: "refuse",
  later: "try later",
  failed: "failed"
}

/**
 * Options of {@link format}.
 *
 * @category models
 * @since 0.1.0
 */
export interface FormatOptions {
  /** `changes` leaves out tags that do not change. `all` prints them, and tags that are not selected, with reasons. */
  readonly detail?: "changes" | "all" | undefined
}

const tagLine = (destination: string, { action, sourceTag, tag, why }: TagPlan): string =>
  `  ${labels[action]} ${destination}:${tag}${sourceTag === tag ? "" : ` from :${sourceTag}`}: ${why}`

const repositoryLines = (repository: RepositoryPlan, isDetailed: boolean): ReadonlyArray<string> => {
  const { destination, dropped, problems, source } = repository
  const tags = repository.tags
    .filter(({ action }) => isDetailed || !quiet.has(action))
    .toSorted((a, b) => order.indexOf(a.action) - order.indexOf(b.action))
  const lines = [
    ...problems.map((problem) => `  problem: ${problem}`),
    ...tags.map((tag) => tagLine(destination, tag)),
    ...isDetailed ? dropped.map(({ tag, why }) => `  skip :${tag}: ${why}`) : []
  ]
  return lines.length === 0 ? [] : [`${source} to ${destination}`, ...lines]
}

const counts = (self: MirrorPlan): string => {
  const parts = order.flatMap((action) => {
    const count = self.count(action)
    return count === 0 ? [] : [`${labels[action]} ${count}`]
  })
  return parts.length === 0 ? "no tags" : parts.join(", ")
}

const bounds = ({ least, most }: Bounds): string =>
  most === undefined ? `at least ${least}` : least === most ? `${least}` : `${least} to ${most}`

/**
 * Formats a plan: for each rule the tags that change, deletions first, and a summary. Text from other parties is made
 * printable and cannot break lines.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (self: MirrorPlan, options: FormatOptions = {}): string => {
  const isDetailed = options.detail === "all"
  const byRule = Map.groupBy(self.repositories, ({ rule }) => rule)
  const rules = new Set([...self.problems.map(({ rule }) => rule), ...byRule.keys()])
  const sections = Array.from(rules).flatMap((rule) => {
    const lines = [
      ...self.problems.filter((problem) => problem.rule === rule).map(({ problem }) => `  problem: ${problem}`),
      ...(byRule.get(rule) ?? []).flatMap((repository) => repositoryLines(repository, isDetailed))
    ]
    return lines.length === 0 ? [] : [`rule ${rule}`, ...lines]
  })
  const costs = self.hasWork ? [`bytes: ${bounds(self.bytes)}, requests: ${bounds(self.requests)}`] : []
  return [...sections, counts(self), ...costs].map(printable).join("\n")
}
