/**
 * The page of a mirror.
 */
import * as DateTime from "effect/DateTime"
import type { ProcessState } from "../mirror/MirrorJobs.ts"
import type { RunningCopy } from "../mirror/MirrorRunner.ts"
import type { RuleStatus, Status } from "../mirror/MirrorService.ts"
import type { RunState, TagState } from "../mirror/MirrorState.ts"
import { isFailed } from "../mirror/RuleHistory.ts"
import * as Chart from "../web/Chart.ts"
import * as Format from "../web/Format.ts"
import { type Html, html, joined, type Value } from "../web/Html.ts"
import type { Page } from "../web/Page.ts"
import { button, column, hidden, none, table, timeOf } from "../web/Parts.ts"
import * as RuleText from "./RuleText.ts"

/** Parts of the page beside the status. */
export interface Options {
  /** Token of the forms. Without one, the page has no buttons. */
  readonly formToken: string | undefined
  /** Result of the form that led to the page. */
  readonly notice: string | undefined
  /** Seconds after which the browser loads the page again. */
  readonly refresh: number | undefined
}

// ---------------------------------------------------------------------------------------------------------------------
// rules
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the result of a run. One without an end was interrupted, or goes on. */
const resultMark = (run: RunState): Html => {
  if (isFailed(run)) return html`<span class="bad">failed</span>`
  return run.endedAt === undefined
    ? html`<span class="quiet">not ended</span>`
    : html`<span class="good">complete</span>`
}

const stateOf = ({ lastRun, work }: RuleStatus, now: DateTime.Utc): Html => {
  switch (work._tag) {
    case "Running": {
      const { activity: { bytes, copied, failed, planned } } = work
      return html`running since ${timeOf(work.since, now)}<small>${Format.number(copied + failed)} of ${
        Format.number(planned)
      } tags, ${Format.size(bytes)}</small>`
    }
    case "Waiting":
      return html`waiting for other rules`
    case "Idle":
      if (lastRun === undefined) return html`<span class="quiet">has not run yet</span>`
      return resultMark(lastRun)
  }
}

const resultOf = ({ copied, failed, pruned }: RunState): string =>
  [
    `${Format.number(copied)} copied`,
    ...failed > 0 ? [`${Format.number(failed)} failed`] : [],
    ...pruned > 0 ? [`${Format.number(pruned)} deleted`] : []
  ].join(", ")

const tookOf = ({ endedAt, startedAt }: RunState): string =>
  endedAt === undefined
    ? "has not ended"
    : `took ${Format.lasting(DateTime.toEpochMillis(endedAt) - DateTime.toEpochMillis(startedAt))}`

const tagsOf = ({ tags }: RuleStatus): Html =>
  html`${Format.number(tags.copied + tags.kept)}${
    tags.failed > 0 && html`<small class="bad">${Format.number(tags.failed)} failed</small>`
  }${tags.pending > 0 && html`<small>${Format.number(tags.pending)} pending</small>`}`

const ruleRow = (status: RuleStatus, now: DateTime.Utc, { formToken }: Options): Html => {
  const { lastRun, nextRun, rule } = status
  const { from, to } = RuleText.route(rule)
  const lag = RuleText.lag(status, now)
  return html`<tr>
<th scope="row" class="name">${rule.name}<small>${from}<br>→ ${to}</small></th>
<td>${stateOf(status, now)}</td>
<td>${
    lastRun === undefined
      ? none
      : html`${timeOf(lastRun.startedAt, now)}<small>${resultOf(lastRun)}, ${tookOf(lastRun)}</small>${
        lastRun.error !== undefined && html`<small class="bad">${lastRun.error}</small>`
      }`
  }</td>
<td class="nowrap">${nextRun === undefined ? none : timeOf(nextRun, now)}<small>${
    RuleText.timing(rule.timing)
  }</small></td>
<td class="number">${lag === undefined ? none : Format.roughly(lag * 1000)}</td>
<td class="number">${tagsOf(status)}</td>
<td>${button(formToken, "/actions/run", "Run now", `Run ${rule.name} now`, { rule: rule.name })}</td>
</tr>
`
}

const rules = ({ at, rules }: Status, options: Options): Html =>
  html`<section aria-labelledby="rules"><h2 id="rules">Rules</h2>
${
    rules.length === 0
      ? html`<p>The configuration has no rules.</p>`
      : table(
        "Rules",
        [
          column("Rule"),
          column("State"),
          column("Last run"),
          column("Next run"),
          column("Lag", "number"),
          column("Tags", "number"),
          hidden("Actions")
        ],
        html`<tbody>${rules.map((rule) => ruleRow(rule, at, options))}</tbody>`
      )
  }
<p class="quiet">Lag is the time since the start of the last run in which no tag failed.</p>
</section>`

// ---------------------------------------------------------------------------------------------------------------------
// running copies
// ---------------------------------------------------------------------------------------------------------------------

const copyRow = ({ bytes, destination, source, startedAt }: RunningCopy, rule: string, now: DateTime.Utc): Html =>
  html`<tr>
<th scope="row" class="name">${destination}<small>from ${source}</small></th>
<td>${rule}</td>
<td class="nowrap">${timeOf(startedAt, now)}</td>
<td class="number">${Format.size(bytes)}</td>
</tr>
`

// number of running copies that are listed
const maximumCopies = 100

const running = ({ at, rules }: Status): Html => {
  const copies = rules.flatMap(({ rule, work }) =>
    work._tag === "Running" ? work.activity.copies.map((copy) => ({ copy, rule: rule.name })) : []
  )
  const waiting = rules.filter(({ work }) => work._tag === "Waiting").map(({ rule }) => rule.name)
  return html`<section aria-labelledby="running"><h2 id="running">Running</h2>
${
    copies.length === 0
      ? html`<p class="quiet">No copy is running.</p>`
      : table(
        "Running copies",
        [column("Destination"), column("Rule"), column("Since"), column("Sent", "number")],
        html`<tbody>${copies.slice(0, maximumCopies).map(({ copy, rule }) => copyRow(copy, rule, at))}</tbody>`
      )
  }
${copies.length > maximumCopies && html`<p>${Format.number(copies.length - maximumCopies)} more are running.</p>`}
${waiting.length > 0 && html`<p>Waiting: ${joined(waiting, ", ")}</p>`}
</section>`
}

// ---------------------------------------------------------------------------------------------------------------------
// failures
// ---------------------------------------------------------------------------------------------------------------------

const failureRow = (row: TagState, now: DateTime.Utc, { formToken }: Options): Html => {
  const { attempts, destination, error = "", retryAt, source, sourceTag, tag } = row
  return html`<tr>
<th scope="row" class="name">${tag}<small>from ${source}:${sourceTag}</small></th>
<td class="text">${error}</td>
<td class="number">${Format.number(attempts)}</td>
<td class="nowrap">${retryAt === undefined ? "in the next run" : timeOf(retryAt, now)}</td>
<td>${button(formToken, "/actions/retry", "Retry", `Retry ${destination}:${tag}`, { destination, tag })}</td>
</tr>
`
}

const failureGroup = (destination: string, rows: ReadonlyArray<TagState>, now: DateTime.Utc, options: Options): Html =>
  html`<tbody>
<tr class="group"><th scope="rowgroup" colspan="4" class="name">${destination}</th><td>${
    rows.length > 1 &&
    button(options.formToken, "/actions/retry", "Retry all", `Retry all failures of ${destination}`, {
      destination,
      tag: ""
    })
  }</td></tr>
${rows.map((row) => failureRow(row, now, options))}</tbody>
`

const failures = ({ at, failures, rules }: Status, options: Options): Html => {
  const total = rules.reduce((sum, { tags }) => sum + tags.failed, 0)
  return html`<section aria-labelledby="failures"><h2 id="failures">Failures</h2>
${
    failures.length === 0
      ? html`<p class="good">No tag has failed.</p>`
      : table(
        "Failed tags, by destination",
        [
          column("Tag"),
          column("Reason"),
          column("Attempts", "number"),
          column("Next attempt"),
          hidden("Actions")
        ],
        Array.from(
          Map.groupBy(failures, ({ destination }) => destination),
          ([destination, rows]) => failureGroup(destination, rows, at, options)
        )
      )
  }
${
    total > failures.length &&
    html`<p>The first ${Format.number(failures.length)} of ${Format.number(total)} failed tags are shown.</p>`
  }
</section>`
}

// ---------------------------------------------------------------------------------------------------------------------
// registries
// ---------------------------------------------------------------------------------------------------------------------

const hostRow = ({ budget, concurrency, host, rate }: Status["hosts"][number], now: DateTime.Utc): Html => {
  const reset = budget?.resetAt === undefined ? undefined : DateTime.makeUnsafe(budget.resetAt)
  const pausedUntil = budget?.pausedUntil === undefined ? undefined : DateTime.makeUnsafe(budget.pausedUntil)
  return html`<tr>
<th scope="row" class="name">${host}</th>
<td class="number">${Number.isFinite(concurrency) ? Format.number(concurrency) : "unlimited"}</td>
<td class="number">${rate === undefined ? "unlimited" : `${Format.number(rate)}/s`}</td>
<td class="number">${
    budget === undefined
      ? none
      : html`${Format.number(budget.remaining)}${budget.limit !== undefined && ` of ${Format.number(budget.limit)}`}`
  }</td>
<td>${
    pausedUntil !== undefined
      ? html`<span class="bad">paused</span>, goes on ${timeOf(pausedUntil, now)}`
      : reset === undefined
      ? none
      : html`full again ${timeOf(reset, now)}`
  }</td>
</tr>
`
}

const hosts = ({ at, hosts }: Status): Html =>
  html`<section aria-labelledby="registries"><h2 id="registries">Registries</h2>
${
    hosts.length === 0
      ? html`<p class="quiet">No registry was contacted yet.</p>`
      : table(
        "Registries",
        [
          column("Host"),
          column("Requests at once", "number"),
          column("Rate", "number"),
          column("Budget", "number"),
          column("Reset")
        ],
        html`<tbody>${hosts.map((host) => hostRow(host, at))}</tbody>`
      )
  }
</section>`

// ---------------------------------------------------------------------------------------------------------------------
// processes
// ---------------------------------------------------------------------------------------------------------------------

const processState = ({ isDraining, isLate, seenAt }: ProcessState, now: DateTime.Utc): Html => {
  if (isLate) return html`<span class="bad">late</span><small>last seen ${timeOf(seenAt, now)}</small>`
  return isDraining ? html`draining` : html`<span class="good">running</span>`
}

// number of jobs of a process that are listed
const maximumJobs = 20

const processRow = (process: ProcessState, now: DateTime.Utc): Html =>
  html`<tr>
<th scope="row" class="name">${process.name}<small>${process.version}</small></th>
<td>${processState(process, now)}</td>
<td class="nowrap">${timeOf(process.startedAt, now)}</td>
<td class="text">${
    process.holds.length === 0
      ? none
      : process.holds.slice(0, maximumJobs).map(({ kind, rule, since, source }) =>
        html`<div>${kind === "Run" ? `run of ${rule}` : `copy of ${source}`}, ${timeOf(since, now)}</div>`
      )
  }${
    process.holds.length > maximumJobs && html`<div>${Format.number(process.holds.length - maximumJobs)} more</div>`
  }</td>
</tr>
`

const processes = ({ at, processes }: Status): Value =>
  processes.length > 0 &&
  html`<section aria-labelledby="processes"><h2 id="processes">Processes</h2>
${
    table(
      "Processes",
      [column("Process"), column("State"), column("Since"), column("Holds")],
      html`<tbody>${processes.map((process) => processRow(process, at))}</tbody>`
    )
  }
</section>`

// ---------------------------------------------------------------------------------------------------------------------
// history
// ---------------------------------------------------------------------------------------------------------------------

const hour = 3_600_000
const bucketCount = 24

/** Returns the sums of the runs in each hour of the last day, oldest first. */
const buckets = (runs: ReadonlyArray<RunState>, at: DateTime.Utc, valueOf: (run: RunState) => number) => {
  const now = Math.floor(DateTime.toEpochMillis(at) / hour)
  const sums = new Array<number>(bucketCount).fill(0)
  for (const run of runs) {
    const age = now - Math.floor(DateTime.toEpochMillis(run.startedAt) / hour)
    const index = bucketCount - 1 - age
    if (index >= 0 && index < bucketCount) sums[index] = (sums[index] ?? 0) + valueOf(run)
  }
  return sums.map((value, index) => ({
    label: Format.time(DateTime.makeUnsafe((now - bucketCount + 1 + index) * hour)).slice(11, 16),
    value
  }))
}

const runRow = (run: RunState, now: DateTime.Utc): Html =>
  html`<tr>
<th scope="row" class="nowrap">${timeOf(run.startedAt, now)}<small>${Format.time(run.startedAt)}</small></th>
<td class="name">${run.rule}</td>
<td class="text">${resultMark(run)}${run.error !== undefined && html`<small class="bad">${run.error}</small>`}</td>
<td class="nowrap">${resultOf(run)}<small>${tookOf(run)}</small></td>
<td class="number">${Format.size(run.bytes)}</td>
<td class="number">${Format.number(run.requests)}</td>
</tr>
`

// number of runs that are listed
const maximumRuns = 25

const history = ({ at, runs }: Status): Html => {
  const bytes = buckets(runs, at, (run) => run.bytes)
  const tags = buckets(runs, at, (run) => run.copied)
  const sum = (bars: ReadonlyArray<Chart.Bar>) => bars.reduce((total, { value }) => total + value, 0)
  return html`<section aria-labelledby="history"><h2 id="history">History</h2>
<div class="charts">
${
    Chart.bars({
      caption: "Bytes copied in each hour (UTC)",
      description: `Bar chart of the last 24 hours: ${Format.size(sum(bytes))} copied in total`,
      format: Format.size,
      values: bytes
    })
  }
${
    Chart.bars({
      caption: "Tags copied in each hour (UTC)",
      description: `Bar chart of the last 24 hours: ${Format.number(sum(tags))} tags copied in total`,
      format: Format.number,
      values: tags
    })
  }
</div>
${
    runs.length > 0 &&
    html`<h3>Latest runs</h3>
${
      table(
        "Latest runs",
        [
          column("Start"),
          column("Rule"),
          column("Result"),
          column("Tags"),
          column("Bytes", "number"),
          column("Requests", "number")
        ],
        html`<tbody>${runs.slice(0, maximumRuns).map((run) => runRow(run, at))}</tbody>`
      )
    }`
  }
</section>`
}

const summary = ({ rules }: Status): string => {
  const sum = (count: (rule: RuleStatus) => number) => rules.reduce((total, rule) => total + count(rule), 0)
  const running = sum(({ work }) => work._tag === "Running" ? 1 : 0)
  return [
    Format.plural(rules.length, "rule"),
    `${Format.number(sum(({ tags }) => tags.copied + tags.kept))} tags`,
    `${Format.number(sum(({ tags }) => tags.failed))} failed`,
    `${running} running`
  ].join(", ")
}

/** Returns the page of a status. */
export const make = (status: Status, options: Options): Page => ({
  title: "Mirror",
  refresh: options.refresh,
  body: html`<a class="skip" href="#content">Skip to the content</a>
<header><h1>Mirror</h1>
<p>${summary(status)}. As of <time datetime="${DateTime.formatIso(status.at)}">${Format.time(status.at)}</time>. ${
    options.refresh === undefined
      ? html`<a href="?refresh=10">Refresh every 10 seconds</a>`
      : html`<a href="/">Stop refreshing</a>`
  }</p></header>
<main id="content">
${options.notice !== undefined && html`<p class="notice" role="status">${options.notice}</p>`}
${
    status.problem !== undefined &&
    html`<p class="notice problem" role="alert">The new configuration cannot be used, and the former one stays: ${status.problem}</p>`
  }
${rules(status, options)}
${failures(status, options)}
${running(status)}
${hosts(status)}
${processes(status)}
${history(status)}
</main>`
})
