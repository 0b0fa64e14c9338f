/**
 * `effect-oci mirror status -c FILE`
 */
import * as Command from "effect/cli/Command"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as MirrorStatusDocument from "../mirror-web/MirrorStatus.ts"
import type { TagState } from "../mirror/MirrorState.ts"
import * as RunDocument from "../mirror/RunDocument.ts"
import { plural, size } from "./Format.ts"
import * as MirrorInput from "./MirrorInput.ts"
import * as Output from "./Output.ts"

const time = Schema.optionalKey(Schema.String)

/** Schema of the result. */
export const MirrorStatus = Schema.Struct({
  rules: Schema.Array(Schema.Struct({
    rule: Schema.String,
    copied: Schema.Natural,
    kept: Schema.Natural,
    pending: Schema.Natural,
    failed: Schema.Natural,
    lastRun: Schema.optionalKey(RunDocument.Result)
  })),
  failures: Schema.Array(Schema.Struct({
    rule: Schema.String,
    destination: Schema.String,
    tag: Schema.String,
    error: Schema.String,
    attempts: Schema.Natural,
    retryAt: time
  })),
  processes: Schema.Array(MirrorStatusDocument.Process).annotate({
    description: "Processes that share the store. Empty if it is that of one process"
  })
})

type Status = typeof MirrorStatus.Type

const failureOf = (
  { attempts, destination, error = "", retryAt, rule, tag }: TagState
): Status["failures"][number] => ({
  rule,
  destination,
  tag,
  error,
  attempts,
  ...retryAt === undefined ? {} : { retryAt: DateTime.formatIso(retryAt) }
})

// maximum number of failures that are listed
const maximumFailures = 1000

const read = Effect.fnUntraced(function*({ config, isChosen, jobs, state }: MirrorInput.Opened) {
  const rules = config.rules.filter(isChosen)
  const counts = yield* state.counts
  const count = (name: string, status: TagState["status"]) =>
    counts.find((count) => count.rule === name && count.status === status)?.tags ?? 0
  const status: Status = {
    rules: yield* Effect.forEach(rules, ({ name }) =>
      Effect.map(state.runs({ rule: name, limit: 1 }), ([run]) => ({
        rule: name,
        copied: count(name, "copied"),
        kept: count(name, "kept"),
        pending: count(name, "pending"),
        failed: count(name, "failed"),
        ...run === undefined ? {} : { lastRun: RunDocument.resultOf(run) }
      }))),
    failures: (yield* state.find({ status: "failed", limit: maximumFailures }))
      .filter(({ rule }) => isChosen({ name: rule }))
      .map(failureOf),
    processes: jobs === undefined ? [] : (yield* (yield* jobs).processes).map(MirrorStatusDocument.processOf)
  }
  return status
})

const ruleLines = (
  { copied, failed, kept, lastRun, pending, rule }: Status["rules"][number]
): ReadonlyArray<string> => {
  const others = [
    ...kept === 0 ? [] : [`${kept} kept`],
    ...pending === 0 ? [] : [`${pending} pending`],
    ...failed === 0 ? [] : [`${failed} failed`]
  ]
  const head = `${rule}: ${[`${copied} copied`, ...others].join(", ")}`
  if (lastRun === undefined) return [head, "  no run yet"]
  const { bytes, endedAt, error, requests, startedAt } = lastRun
  const end = endedAt === undefined ? "has not ended" : `ended ${endedAt}`
  return [
    head,
    `  last run: ${startedAt}, ${end}; ${lastRun.copied} copied, ${lastRun.failed} failed, ${lastRun.pruned} deleted, ` +
    `${size(bytes)}, ${plural(requests, "request")}`,
    ...error === undefined ? [] : [`  problem: ${error}`]
  ]
}

const failureLine = ({ attempts, destination, error, retryAt, tag }: Status["failures"][number]): string =>
  `failed ${destination}:${tag} (${plural(attempts, "attempt")}): ${error}` +
  (retryAt === undefined ? "" : `; next attempt after ${retryAt}`)

const processLines = (
  { draining, holds, late, name, seenAt, startedAt, version }: Status["processes"][number]
): ReadonlyArray<string> => [
  `process ${name} (${version}) since ${startedAt}${late ? `, late: last seen ${seenAt}` : ""}` +
  (draining ? ", draining" : ""),
  ...holds.map(({ kind, rule, since, source }) => `  ${kind} of ${source ?? rule} since ${since}`)
]

export const MirrorStatusCommand = Command.make(
  "status",
  MirrorInput.flags,
  Effect.fnUntraced(function*(input) {
    const status = yield* read(yield* MirrorInput.open(input, "read"))
    yield* input.json
      ? Output.json(MirrorStatus, status)
      : Output.text([
        ...status.rules.flatMap(ruleLines),
        ...status.failures.map(failureLine),
        ...status.processes.flatMap(processLines)
      ])
  }, Effect.scoped)
).pipe(
  Command.withShortDescription("Shows the tags of each rule, its last run, and failures"),
  Command.withDescription(
    "Shows for each rule how many tags the destinations have, its last run, and the tags that have failed. It reads the " +
      "state only, also while another process uses it. With a store that several processes share, it shows each of them, " +
      "what it holds, and which is late."
  ),
  Command.withExamples([
    { command: "effect-oci mirror status -c mirror.yml", description: "Show the state of all rules" }
  ])
)
