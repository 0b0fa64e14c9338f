/**
 * Values of a mirror for Prometheus.
 */
import type { Status } from "../mirror/MirrorService.ts"
import type { Sample } from "../web/Probes.ts"
import * as RuleText from "./RuleText.ts"

const descriptions = {
  mirror_tags: "Tags of the destinations, by rule and status",
  mirror_lag_seconds: "Seconds since the start of the last run of a rule that failed in no tag",
  mirror_running: "1 while a rule runs, 0 otherwise",
  mirror_host_budget: "Requests that a registry still accepts, by its RateLimit headers",
  mirror_host_paused: "1 while requests to a registry are paused because of its budget, 0 otherwise",
  mirror_process_late: "1 if a process has not reported for more than ten seconds, 0 otherwise",
  mirror_process_jobs: "Jobs that a process has taken",
  mirror_configuration_problem: "1 if the last new configuration could not be used, 0 otherwise"
} as const

/** Returns the values of a status. */
export const make = (status: Status): ReadonlyArray<Sample> => {
  const samples: Array<Sample> = []
  const add = (name: keyof typeof descriptions, labels: Sample["labels"], value: number | undefined) => {
    if (value !== undefined) samples.push({ name, description: descriptions[name], labels, value })
  }
  for (const rule of status.rules) {
    const { name } = rule.rule
    for (const [tags, count] of Object.entries(rule.tags)) add("mirror_tags", { rule: name, status: tags }, count)
    add("mirror_lag_seconds", { rule: name }, RuleText.lag(rule, status.at))
    add("mirror_running", { rule: name }, rule.work._tag === "Running" ? 1 : 0)
  }
  for (const { budget, host } of status.hosts) {
    add("mirror_host_budget", { host }, budget?.remaining)
    if (budget !== undefined) add("mirror_host_paused", { host }, budget.pausedUntil === undefined ? 0 : 1)
  }
  for (const { holds, isLate, name } of status.processes) {
    add("mirror_process_late", { process: name }, isLate ? 1 : 0)
    add("mirror_process_jobs", { process: name }, holds.length)
  }
  add("mirror_configuration_problem", {}, status.problem === undefined ? 0 : 1)
  return samples
}
