/**
 * Answers of `serve` to the programs that watch it: `/healthz`, `/readyz` and `/metrics`.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import type { Registry } from "../Registry.ts"
import * as Endpoint from "../server/Endpoint.ts"
import * as Guard from "../server/Guard.ts"
import type { Limits } from "../server/Limits.ts"
import * as Refusal from "../server/Refusal.ts"
import type { App } from "../server/RegistryServer.ts"
import * as Probes from "../web/Probes.ts"
import * as SameSite from "../web/SameSite.ts"
import type { Users } from "./ServeUsers.ts"

type Incoming = HttpServerRequest.HttpServerRequest

// ---------------------------------------------------------------------------------------------------------------------
// metrics
// ---------------------------------------------------------------------------------------------------------------------

const inFlight = Metric.gauge("registry_requests_in_flight", { description: "Requests that are being answered" })

const boundaries = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600]

const made = new Map<
  string,
  { readonly requests: Metric.Counter<number>; readonly seconds: Metric.Histogram<number> }
>()

/** Returns the metrics of requests, once each, because it takes long to make a key of a name and attributes. */
const metricsOf = (method: string, endpoint: string, status: number) => {
  const key = `${method} ${endpoint} ${status}`
  const attributes = { method, endpoint }
  const found = made.get(key) ?? {
    requests: Metric.counter("registry_requests_total", {
      description: "Requests that were answered",
      incremental: true,
      attributes: { ...attributes, status: `${status}` }
    }),
    seconds: Metric.histogram("registry_request_duration_seconds", {
      description: "Time until the response to a request began",
      boundaries,
      attributes
    })
  }
  made.set(key, found)
  return found
}

/** Returns the kind of endpoint of a request, of which there are few. */
const endpointOf = ({ method, url }: Incoming): readonly [method: string, endpoint: string] =>
  Result.match(Endpoint.parse(method, url), {
    onSuccess: (request) => [request.method, request.endpoint._tag.toLowerCase()] as const,
    onFailure: () => ["other", "other"] as const
  })

/** Counts the requests of an app. */
export const counted = (app: App): App =>
  Effect.gen(function*() {
    const [method, endpoint] = endpointOf(yield* HttpServerRequest.HttpServerRequest)
    const began = yield* Clock.currentTimeMillis
    yield* Effect.acquireRelease(Metric.modify(inFlight, 1), () => Metric.modify(inFlight, -1))
    const response = yield* app
    const { requests, seconds } = metricsOf(method, endpoint, response.status)
    yield* Metric.update(requests, 1)
    yield* Metric.update(seconds, ((yield* Clock.currentTimeMillis) - began) / 1000)
    return response
  })

const samples = (): ReadonlyArray<Probes.Sample> => {
  const { system, user } = process.cpuUsage()
  const { heapUsed, rss } = process.memoryUsage()
  const sample = (name: string, description: string, value: number) => ({ name, description, value, labels: {} })
  return [
    sample("process_cpu_seconds", "CPU time of the process, in seconds", (system + user) / 1_000_000),
    sample("process_resident_memory_bytes", "Memory of the process, in bytes", rss),
    sample("nodejs_heap_size_used_bytes", "Memory of JavaScript objects, in bytes", heapUsed),
    sample("process_uptime_seconds", "Time since the start of the process, in seconds", process.uptime())
  ]
}

const metrics = Effect.suspend(() => Probes.metrics(samples()))

// ---------------------------------------------------------------------------------------------------------------------
// answers
// ---------------------------------------------------------------------------------------------------------------------

/** Clients that may read the metrics, and the limits of their requests. */
interface Readers {
  readonly users: Users
  readonly limits: Limits
}

/** Fails unless the client may read the metrics. */
const admit = Effect.fnUntraced(function*(incoming: Incoming, { limits, users }: Readers) {
  const { authorize, check } = users.authentication
  const challenge = Guard.basicChallenge("registry")
  const visit = yield* limits.enter(incoming)
  const username = yield* Guard.userOf(incoming, check, challenge)
  if (username !== undefined) yield* visit.identify(username)
  if (yield* authorize(username, { type: "registry", name: "metrics", action: "*" })) return
  return yield* username === undefined
    ? Refusal.make(401, "UNAUTHORIZED", "a user name and password are required", { "www-authenticate": challenge })
    : Refusal.make(403, "DENIED", "this user may not read the metrics")
})

/** Options of the answers on one port. */
interface Options {
  readonly registry: Registry
  /** Clients that may read the metrics. `open`: every client may read them. `none`: there are none. */
  readonly metrics: Readers | "open" | "none"
  readonly allowedHosts: ReadonlyArray<string> | undefined
}

/** Adds the answers to an app. */
export const added = (app: App, options: Options): App => {
  const objection = SameSite.make(options.allowedHosts)

  const answer = Effect.fnUntraced(function*(incoming: Incoming, path: string) {
    if (incoming.method !== "GET" && incoming.method !== "HEAD") {
      return yield* Refusal.make(405, "UNSUPPORTED", "use GET or HEAD", { allow: "GET, HEAD" })
    }
    if (path === "/healthz") return Probes.healthy
    if (path === "/readyz") return yield* Probes.readiness(options.registry.ping)
    const message = objection(incoming.headers)
    if (message !== undefined) return yield* Refusal.make(403, "DENIED", message)
    if (typeof options.metrics === "object") yield* admit(incoming, options.metrics)
    return yield* metrics
  })

  const paths = new Set(["/healthz", "/readyz", ...options.metrics === "none" ? [] : ["/metrics"]])
  return Effect.flatMap(HttpServerRequest.HttpServerRequest, (incoming) => {
    const path = incoming.url.split("?", 1)[0] ?? ""
    return paths.has(path)
      ? Effect.catch(answer(incoming, path), (refusal) => Effect.succeed(Refusal.toResponse(refusal)))
      : app
  })
}

/** App of a port for the answers alone. */
export const nothingElse: App = Effect.sync(() => HttpServerResponse.empty({ status: 404 }))
