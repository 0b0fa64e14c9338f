/**
 * Answers to the programs that watch a server: health, readiness, and metrics.
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Metric from "effect/Metric"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Page from "./Page.ts"

const plain = (text: string, status: number) =>
  HttpServerResponse.text(text, {
    status,
    contentType: "text/plain; charset=utf-8",
    headers: { ...Page.headers, "cache-control": "no-store" }
  })

/** The answer of a process that runs. */
export const healthy: HttpServerResponse.HttpServerResponse = plain("ok\n", 200)

// longest time that a check may take
const readinessTimeout = "5 seconds"

/** Returns 200 if a check succeeds in time, and 503 otherwise. The failure of the check is not shown. */
export const readiness = <E>(check: Effect.Effect<void, E>): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  check.pipe(
    Effect.timeout(readinessTimeout),
    Effect.tapError((error) => Effect.logWarning("not ready", error)),
    Effect.as(plain("ready\n", 200)),
    Effect.orElseSucceed(() => plain("not ready\n", 503))
  )

/** Value of a metric at this moment. */
export interface Sample {
  readonly name: string
  readonly description: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Returns the metrics of the process, and samples, in the text format of Prometheus. */
export const metrics = Effect.fnUntraced(function*(samples: ReadonlyArray<Sample>) {
  // in a registry of their own, so that a label of the past does not stay
  const sampled = Effect.gen(function*() {
    for (const { description, labels, name, value } of samples) {
      yield* Metric.update(Metric.gauge(name, { description, attributes: labels }), value)
    }
    return yield* PrometheusMetrics.format()
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  return HttpServerResponse.text(`${yield* PrometheusMetrics.format()}${yield* sampled}`, {
    contentType: "text/plain; version=0.0.4; charset=utf-8",
    headers: { ...Page.headers, "cache-control": "no-store" }
  })
})
