/**
 * Counters of the runs of a mirror, each by rule.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { RunState } from "./MirrorState.ts"
import { isFailed } from "./RuleHistory.ts"

const counter = (name: string, description: string, attributes: Readonly<Record<string, string>>) =>
  Metric.counter(name, { description, incremental: true, attributes })

/** Adds a run that has ended to the counters. */
export const record = (run: RunState): Effect.Effect<void> => {
  const { bytes, copied, failed, pruned, requests, rule } = run
  const add = (name: string, description: string, value: number) =>
    Metric.update(counter(`mirror_${name}_total`, description, { rule }), value)
  const result = isFailed(run) ? "failed" : "complete"
  return Effect.all([
    Metric.update(counter("mirror_runs_total", "Runs that have ended", { rule, result }), 1),
    add("copied", "Tags that were copied", copied),
    add("failures", "Failures of tags", failed),
    add("pruned", "Tags that were deleted", pruned),
    add("bytes", "Bytes that were copied", bytes),
    add("requests", "Requests that were sent", requests)
  ], { discard: true })
}
