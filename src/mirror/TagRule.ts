/**
 * Decides which tags of a repository a rule selects, and why.
 *
 * Everything here is pure. The dates of images are the only knowledge that a registry does not list: {@link decide}
 * reports the tags whose dates are needed, and {@link decideByDate} decides them.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SemVer from "effect/SemVer"
import * as SemVerRange from "effect/SemVerRange"
import type { Tag } from "../Reference.ts"
import * as TagFilter from "../TagFilter.ts"
import type { TagRule } from "./MirrorRule.ts"
import * as Pattern from "./Pattern.ts"
import { formatDuration } from "./Spelling.ts"

/**
 * Decision about a tag.
 *
 * @category models
 * @since 0.1.0
 */
export interface Decision {
  readonly tag: Tag
  readonly selected: boolean
  /** Reason, such as `excluded by -rc`. */
  readonly why: string
  /**
   * Largest age of the image. The tag is not selected before {@link decideByDate} has found the image to be younger.
   */
  readonly within: Duration.Duration | undefined
}

/**
 * A rule selects fewer tags of a repository than it requires.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooFewTags extends Schema.TaggedError<TooFewTags>("effect-oci/TagRule/TooFewTags")("TooFewTags", {
  /** Number of tags that the source has. */
  listed: Schema.Natural,
  selected: Schema.Natural,
  atLeast: Schema.Natural
}) {
  override get message(): string {
    return `the rule selects ${this.selected} of ${this.listed} tags, and requires at least ${this.atLeast}`
  }
}

/**
 * Returns the tags of a rule that selects nothing but exact tags, so that the source need not list its tags, or
 * `undefined`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const exactTags = (rule: TagRule): ReadonlyArray<Tag> | undefined => {
  const { alternatives, exclude, include, match, names, newest, semver } = rule
  const isExact = match.length + exclude.length + include.length === 0 && newest === undefined && semver === undefined
  if (names === undefined || !isExact) return undefined
  const others = alternatives.map(exactTags)
  return others.some((tags) => tags === undefined)
    ? undefined
    : Array.from(new Set([...names, ...others.flatMap((tags = []) => tags)]))
}

// ---------------------------------------------------------------------------------------------------------------------
// steps
// ---------------------------------------------------------------------------------------------------------------------

/** A tag that a step drops, with the reason. */
type Dropped = ReadonlyMap<Tag, string>

type Step = (rule: TagRule, tags: ReadonlyArray<Tag>) => Dropped

const found = (patterns: ReadonlyArray<RegExp>, tag: Tag): RegExp | undefined =>
  patterns.find((pattern) => Pattern.matches(pattern, tag))

const text = (patterns: ReadonlyArray<RegExp>): string => patterns.map(Pattern.format).join(" or ")

const versionOf = ({ versions }: TagRule, tag: Tag): Option.Option<SemVer.SemVer> =>
  versions === "partial" ? TagFilter.partialVersion(tag) : TagFilter.version(tag)

const dropping = (why: (rule: TagRule, tag: Tag) => string | undefined): Step => (rule, tags) =>
  new Map(tags.flatMap((tag) => {
    const reason = why(rule, tag)
    return reason === undefined ? [] : [[tag, reason] as const]
  }))

const unnamed = dropping(({ names }, tag) =>
  names === undefined || names.includes(tag) ? undefined : "is not among the names"
)

const unmatched = dropping(({ match }, tag) =>
  match.length === 0 || found(match, tag) !== undefined ? undefined : `does not match ${text(match)}`
)

const excluded = dropping(({ exclude }, tag) => {
  const pattern = found(exclude, tag)
  return pattern === undefined ? undefined : `is excluded by ${Pattern.format(pattern)}`
})

const outOfRange = dropping((rule, tag) => {
  const { preReleases, semver } = rule
  if (semver === undefined) return undefined
  return Option.match(versionOf(rule, tag), {
    onNone: () => "is not a version",
    onSome: (version) =>
      SemVerRange.matches(semver, version, { includePrerelease: preReleases === "all" })
        ? undefined
        : `is not in ${SemVerRange.format(semver)}`
  })
})

interface Version {
  readonly tag: Tag
  readonly version: SemVer.SemVer
}

// the same version can have several tags, such as 1.2.3 and v1.2.3
const highestFirst: Order.Order<Version> = Order.combine(
  Order.flip(Order.mapInput(SemVer.Order, ({ version }: Version) => version)),
  Order.mapInput(Order.String, ({ tag }: Version) => tag)
)

const groupOf = ({ per }: TagRule, { major, minor }: SemVer.SemVer): string =>
  per === "all" ? "" : per === "major" ? `${major}` : `${major}.${minor}`

const tooOld: Step = (rule, tags) => {
  const { newest, per } = rule
  if (newest === undefined) return new Map()
  const dropped = new Map<Tag, string>()
  const versions: Array<Version> = []
  for (const tag of tags) {
    const version = Option.getOrUndefined(versionOf(rule, tag))
    if (version === undefined) dropped.set(tag, "is not a version")
    else versions.push({ tag, version })
  }
  const counts = new Map<string, number>()
  for (const { tag, version } of versions.sort(highestFirst)) {
    const group = groupOf(rule, version)
    const count = (counts.get(group) ?? 0) + 1
    counts.set(group, count)
    if (count > newest) {
      dropped.set(tag, `is not among the newest ${newest}${per === "all" ? "" : ` of ${group}`}`)
    }
  }
  return dropped
}

const steps: ReadonlyArray<Step> = [unnamed, unmatched, excluded, outOfRange, tooOld]

const reasonToSelect = (rule: TagRule, tag: Tag): string => {
  const { match, names, newest, per, semver } = rule
  const pattern = found(match, tag)
  const reasons = [
    ...names === undefined ? [] : ["is among the names"],
    ...pattern === undefined ? [] : [`matches ${Pattern.format(pattern)}`],
    ...semver === undefined ? [] : [`is in ${SemVerRange.format(semver)}`],
    ...newest === undefined ? [] : [`is among the newest ${newest}${per === "all" ? "" : ` per ${per}`}`]
  ]
  return reasons.length === 0 ? "all tags are selected" : reasons.join(", ")
}

const decideAlone = (rule: TagRule, tags: ReadonlyArray<Tag>): ReadonlyArray<Decision> => {
  const dropped = new Map<Tag, string>()
  let rest = tags
  for (const step of steps) {
    const now = step(rule, rest)
    for (const [tag, why] of now) dropped.set(tag, why)
    if (now.size > 0) rest = rest.filter((tag) => !now.has(tag))
  }
  return tags.map((tag) => {
    const include = found(rule.include, tag)
    const why = dropped.get(tag)
    const isDigestTag = TagFilter.isDigestTag(tag) && rule.digestTags === "exclude" &&
      rule.names?.includes(tag) !== true
    if (include === undefined && why !== undefined) return { tag, selected: false, why, within: undefined }
    if (isDigestTag) return { tag, selected: false, why: "is made of a digest", within: undefined }
    if (include !== undefined && (why !== undefined || rule.pushedWithin !== undefined)) {
      return { tag, selected: true, why: `is included by ${Pattern.format(include)}`, within: undefined }
    }
    return rule.pushedWithin === undefined
      ? { tag, selected: true, why: reasonToSelect(rule, tag), within: undefined }
      : { tag, selected: false, why: "its date is not known yet", within: rule.pushedWithin }
  })
}

const either = (one: Decision, other: Decision | undefined): Decision => {
  if (one.selected || other === undefined) return one
  if (other.selected) return other
  if (one.within === undefined) return other.within === undefined ? one : other
  return other.within === undefined || Duration.isGreaterThanOrEqualTo(one.within, other.within) ? one : other
}

/**
 * Decides on each tag of a repository, in the order of the tags. Takes time that grows with the number of tags and
 * patterns, and needs no registry.
 *
 * **Example** (The two newest versions of each minor version)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import * as MirrorConfig from "effect-oci/MirrorConfig"
 * import * as TagRule from "effect-oci/TagRule"
 * import { Images } from "effect-oci/testing"
 *
 * const { rules } = Result.getOrThrow(MirrorConfig.decode({
 *   version: 1,
 *   rules: [{
 *     from: "docker.io/library/alpine",
 *     to: "mirror.test/alpine",
 *     tags: { semver: ">=3.19", newest: 1, per: "minor", include: "^latest$" }
 *   }]
 * }))
 * const tags = ["3.19.0", "3.19.1", "3.20.0", "latest", "edge"].map(Images.tag)
 *
 * const selected = rules.flatMap((rule) => TagRule.decide(rule.tags, tags))
 *   .filter(({ selected }) => selected)
 *   .map(({ tag }) => tag)
 *
 * selected // => ["3.19.1", "3.20.0", "latest"]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const decide = (rule: TagRule, tags: ReadonlyArray<Tag>): ReadonlyArray<Decision> =>
  rule.alternatives.reduce(
    (decisions, alternative) => {
      const others = decideAlone(alternative, tags)
      return decisions.map((decision, index) => either(decision, others[index]))
    },
    decideAlone(rule, tags)
  )

/**
 * Decides on the tags that {@link decide} needs dates for. A tag whose date is unknown is not selected.
 *
 * @category combinators
 * @since 0.1.0
 */
export const decideByDate = (
  decisions: ReadonlyArray<Decision>,
  known: { readonly now: DateTime.Utc; readonly dates: ReadonlyMap<string, DateTime.Utc | undefined> }
): ReadonlyArray<Decision> =>
  decisions.map((decision) => {
    const { tag, within } = decision
    if (within === undefined) return decision
    const date = known.dates.get(tag)
    if (date === undefined) return { tag, selected: false, why: "has no date", within: undefined }
    const selected = DateTime.isGreaterThanOrEqualTo(date, DateTime.subtractDuration(known.now, within))
    const why = `was made ${selected ? "within" : "longer ago than"} ${formatDuration(within)}`
    return { tag, selected, why, within: undefined }
  })

/**
 * Returns the selected tags. Fails if they are fewer than the rule requires.
 *
 * @category combinators
 * @since 0.1.0
 */
export const selected = (
  { atLeast }: Pick<TagRule, "atLeast">,
  decisions: ReadonlyArray<Decision>
): Result.Result<ReadonlyArray<Tag>, TooFewTags> => {
  const tags = decisions.flatMap(({ selected, tag }) => selected ? [tag] : [])
  return tags.length < atLeast
    ? Result.fail(new TooFewTags({ listed: decisions.length, selected: tags.length, atLeast }))
    : Result.succeed(tags)
}
