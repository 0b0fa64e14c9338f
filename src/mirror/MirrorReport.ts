/**
 * Reports of the runs of a mirror.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as ContentLine from "../copy/ContentLine.ts"
import { Tag } from "../Reference.ts"
import { printable } from "../Text.ts"

/**
 * Schema of a tag that failed.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Failure = Schema.Struct({
  /** Repository of the destination, with its registry. */
  destination: Schema.String,
  tag: Tag,
  error: Schema.String,
  /** When the next attempt is due. Absent if a person has to change something first. */
  retryAt: Schema.optionalKey(Schema.DateTimeUtcFromString)
})

/**
 * A tag that failed.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure = typeof Failure.Type

/**
 * Schema of the report of a rule.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RuleReport = Schema.Struct({
  rule: Schema.String,
  /** Id of the run in the state. */
  run: Schema.String,
  startedAt: Schema.DateTimeUtcFromString,
  endedAt: Schema.DateTimeUtcFromString,
  /** Number of tags of destinations that the run looked at. */
  tags: Schema.Natural,
  /** Number of tags that it meant to change. */
  planned: Schema.Natural,
  copied: Schema.Natural,
  failed: Schema.Natural,
  /** Number of tags that a policy has kept from being copied. They count as failed as well. */
  refused: Schema.Natural,
  /** Number of tags that have failed before, and whose next attempt is not due. */
  later: Schema.Natural,
  /** Number of tags that another run has taken over. */
  superseded: Schema.Natural,
  pruned: Schema.Natural,
  /** Size of the blobs and manifests that were sent to the destinations, in bytes. */
  bytes: Schema.Natural,
  requests: Schema.Natural,
  /** Failed tags, at most 1000. */
  failures: Schema.Array(Failure),
  /** Problems of the rule and of its repositories. */
  problems: Schema.Array(Schema.String),
  /** Omissions, and warnings of the registries. At most 100. */
  warnings: Schema.Array(Schema.String)
})

/**
 * The report of a rule.
 *
 * @category models
 * @since 0.1.0
 */
export type RuleReport = typeof RuleReport.Type

/**
 * The report of a run of a mirror.
 *
 * @category models
 * @since 0.1.0
 */
export class MirrorReport extends Schema.Class<MirrorReport>("effect-oci/MirrorReport")({
  rules: Schema.Array(RuleReport)
}) {
  /** True if a tag has failed, or if a rule or repository has a problem. */
  get hasFailures(): boolean {
    return this.rules.some(({ failed, problems }) => failed > 0 || problems.length > 0)
  }

  override toString(): string {
    return format(this)
  }
}

const columns = ["rule", "tags", "copied", "failed", "later", "pruned", "bytes", "requests", "time"] as const

const cellsOf = (report: RuleReport): ReadonlyArray<string> => [
  printable(report.rule),
  `${report.tags}`,
  `${report.copied}`,
  `${report.failed}`,
  `${report.later}`,
  `${report.pruned}`,
  ContentLine.size(report.bytes),
  `${report.requests}`,
  Duration.format(DateTime.distance(report.startedAt, report.endedAt))
]

/** Aligns the first column to the left, and the others to the right. */
const table = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = columns.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))
      .join("  ")
  )
}

const failureLine = ({ destination, error, retryAt, tag }: Failure): string => {
  const next = retryAt === undefined ? "" : ` (next attempt after ${DateTime.formatIso(retryAt)})`
  return `failed ${destination}:${tag}: ${error}${next}`
}

/**
 * Formats a report as a table with one line per rule, followed by the problems and the failed tags. Text from other
 * parties is made printable and cannot break lines.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (self: MirrorReport): string =>
  [
    ...table([columns, ...self.rules.map(cellsOf)]),
    ...self.rules.flatMap(({ problems, rule }) => problems.map((problem) => `problem in rule ${rule}: ${problem}`)),
    ...self.rules.flatMap(({ rule, warnings }) => warnings.map((warning) => `warning in rule ${rule}: ${warning}`)),
    ...self.rules.flatMap(({ failures }) => failures.map(failureLine))
  ].map(printable).join("\n")
