/**
 * Rules as people read them.
 */
import * as Cron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Destination, MirrorRule, Source, Timing } from "../mirror/MirrorRule.ts"
import type { RuleStatus } from "../mirror/MirrorService.ts"
import * as Format from "../web/Format.ts"

/** Formats the schedule of a rule: `by hand`, `every 6 h`, `15 3 * * * Europe/Berlin`. */
export const timing = (timing: Timing): string => {
  switch (timing._tag) {
    case "Manual":
      return "by hand"
    case "Every":
      return `every ${Format.lasting(Duration.toMillis(timing.interval)).replaceAll(/ 0 (?:s|min)/g, "")}`
    case "Cron": {
      const zone = Option.match(timing.cron.tz, { onNone: () => "", onSome: (tz) => ` ${DateTime.zoneToString(tz)}` })
      return `${Cron.format(timing.cron)}${zone}`
    }
  }
}

const maximumNames = 3

/** Formats a source of a rule: a repository, several, or a pattern. */
const source = ({ registry, repositories }: Source): string => {
  if (repositories._tag === "Catalog") return `${registry}/${String(repositories.pattern)}`
  const names = repositories.repositories.map(({ name }) => name)
  const rest = names.length - maximumNames
  return `${registry}/${names.slice(0, maximumNames).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`
}

/** Formats a destination of a rule. */
const destination = ({ registry, repository, tag }: Destination): string =>
  `${registry}/${repository}${tag === "{tag}" ? "" : `:${tag}`}`

/** Formats where a rule copies from and to. */
export const route = ({ from, to }: MirrorRule): { readonly from: string; readonly to: string } => ({
  from: from.map(source).join("; "),
  to: to.map(destination).join("; ")
})

/** Returns the seconds since the last complete run of a rule. `undefined` if there was none. */
export const lag = ({ completeAt }: RuleStatus, at: DateTime.Utc): number | undefined =>
  completeAt === undefined
    ? undefined
    : Math.max(0, Math.round((DateTime.toEpochMillis(at) - DateTime.toEpochMillis(completeAt)) / 1000))
