/**
 * Short texts about rules, for people.
 */
import * as Cron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SemVerRange from "effect/SemVerRange"
import * as Platform from "../Platform.ts"
import type { Destination, MirrorRule, Source, TagRule } from "./MirrorRule.ts"
import * as Pattern from "./Pattern.ts"
import { formatDuration } from "./Spelling.ts"

/** Schema of the summary of a rule. */
export const MirrorSummary = Schema.Struct({
  name: Schema.String,
  from: Schema.Array(Schema.String),
  to: Schema.Array(Schema.String),
  tags: Schema.String,
  platforms: Schema.String,
  referrers: Schema.String,
  onTagMoved: Schema.String,
  prune: Schema.String,
  schedule: Schema.String
})

/** Summary of a rule. */
export type MirrorSummary = typeof MirrorSummary.Type

const sourceOf = ({ registry, repositories }: Source): ReadonlyArray<string> =>
  repositories._tag === "Named"
    ? repositories.repositories.map(({ name }) => `${registry}/${name}`)
    : [`${registry} ${Pattern.format(repositories.pattern)}`]

const destinationOf = ({ registry, repository, tag }: Destination): string =>
  `${registry}/${repository}${tag === "{tag}" ? "" : `:${tag}`}`

const listed = (verb: string, patterns: ReadonlyArray<RegExp>): ReadonlyArray<string> =>
  patterns.length === 0 ? [] : [`${verb} ${patterns.map(Pattern.format).join(", ")}`]

const selectionOf = (rule: TagRule): string => {
  const { atLeast, exclude, include, match, names, newest, per, pushedWithin, semver } = rule
  const parts = [
    ...names === undefined ? [] : [names.join(", ")],
    ...listed("match", match),
    ...listed("not", exclude),
    ...semver === undefined ? [] : [SemVerRange.format(semver)],
    ...newest === undefined ? [] : [`newest ${newest}${per === "all" ? "" : ` per ${per}`}`],
    ...pushedWithin === undefined ? [] : [`within ${formatDuration(pushedWithin)}`],
    ...listed("always", include),
    ...atLeast === 0 ? [] : [`at least ${atLeast}`]
  ]
  return parts.length === 0 ? "all" : parts.join("; ")
}

const tagsOf = (rule: TagRule): string => [rule, ...rule.alternatives].map(selectionOf).join(" | ")

const platformsOf = ({ platforms }: MirrorRule): string =>
  platforms === "all"
    ? "all"
    : platforms._tag === "Image"
    ? Platform.format(platforms.platform)
    : `${platforms.platforms.map(Platform.format).join(", ")} (index: ${platforms.index})`

const scheduleOf = ({ timing }: MirrorRule): string => {
  switch (timing._tag) {
    case "Manual":
      return "manual"
    case "Every":
      return `every ${formatDuration(timing.interval)}`
    case "Cron": {
      const zone = Option.match(timing.cron.tz, { onNone: () => "", onSome: DateTime.zoneToString })
      return `${Cron.format(timing.cron)} ${zone}`.trimEnd()
    }
  }
}

/** Returns the summary of a rule. */
export const of = (rule: MirrorRule): MirrorSummary => {
  const { onTagMoved, prune, referrers } = rule
  return {
    name: rule.name,
    from: rule.from.flatMap(sourceOf),
    to: rule.to.map(destinationOf),
    tags: tagsOf(rule.tags),
    platforms: platformsOf(rule),
    referrers: referrers._tag === "Skip" ? "skip" : referrers.required ? "require" : "copy",
    onTagMoved: typeof onTagMoved === "string" ? onTagMoved : `backup ${onTagMoved.tag}`,
    prune: prune._tag === "None" ? "none" : prune.policy,
    schedule: scheduleOf(rule)
  }
}
