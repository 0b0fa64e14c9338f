/**
 * Web server of a mirror: its page, its status, its metrics, and requests for runs.
 *
 * - `GET /`: the page, which works without scripts. Its buttons are forms.
 * - `GET /status.json`: the status as `MirrorStatus`.
 * - `GET /metrics`: metrics in the text format of Prometheus.
 * - `GET /healthz` and `GET /readyz`: 200 if the process runs, and if its state can be read.
 * - `POST /runs/RULE`: starts a run of a rule, with the secret as a bearer token.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { MirrorService } from "../mirror/MirrorService.ts"
import { RetryTime } from "../mirror/MirrorState.ts"
import * as Reference from "../Reference.ts"
import * as Changes from "../web/Changes.ts"
import * as Format from "../web/Format.ts"
import * as FormBody from "../web/FormBody.ts"
import { html } from "../web/Html.ts"
import * as Page from "../web/Page.ts"
import * as Probes from "../web/Probes.ts"
import * as SameSite from "../web/SameSite.ts"
import * as MirrorPage from "./MirrorPage.ts"
import * as MirrorSamples from "./MirrorSamples.ts"
import * as MirrorStatus from "./MirrorStatus.ts"

/**
 * Options of the server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Secret that changes need: as a bearer token, or as the password of any user. Without one, `POST /runs/RULE` is
   * refused, and the page has buttons only if `isLocal`.
   */
  readonly secret?: Redacted.Redacted | undefined
  /** True if only this machine can reach the server. */
  readonly isLocal: boolean
  /** True if reading needs the secret as well, except for `/healthz` and `/readyz`. Default: false. */
  readonly isPrivate?: boolean | undefined
  /** Host names under which the server may be reached, beside those of loopback. Default: every name. */
  readonly allowedHosts?: ReadonlyArray<string> | undefined
}

// a response does not wait until a store that is away is back
const atOnce = Effect.provideService(RetryTime, Duration.zero)

/**
 * Effect that answers an HTTP request.
 *
 * @category models
 * @since 0.1.0
 */
export type App = Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest.HttpServerRequest>

type Incoming = HttpServerRequest.HttpServerRequest

const noStore = { ...Page.headers, "cache-control": "no-store" }

const json = (body: unknown, status: number, headers: Readonly<Record<string, string>> = {}) =>
  HttpServerResponse.jsonUnsafe(body, { status, headers: { ...noStore, ...headers } })

const refusal = (status: number, title: string, text: string, headers: Readonly<Record<string, string>> = {}) =>
  HttpServerResponse.setHeaders(
    Page.response({
      title,
      body: html`<main><h1>${title}</h1><p>${text}</p><p><a href="/">To the page</a></p></main>`
    }, status),
    headers
  )

const challenge = { "www-authenticate": "Basic realm=\"mirror\", charset=\"UTF-8\"" }

const noSecret = "this server changes nothing on request, because it has no token"

/** Returns the result of a form for the page that follows. */
const noticeOf = (query: URLSearchParams): string | undefined => {
  switch (query.get("done")) {
    case "started":
      return "The run was started."
    case "queued":
      return "The rule is running. Another run follows."
    case "retried":
      return `${Format.plural(Number(query.get("count")) || 0, "failed tag")} will be tried again at once.`
    default:
      return undefined
  }
}

const redirect = (to: string) => HttpServerResponse.empty({ status: 303, headers: { ...noStore, location: to } })

const page = Effect.fnUntraced(function*(
  service: MirrorService["Service"],
  { formToken }: Changes.Changes,
  query: URLSearchParams
) {
  const status = yield* service.status
  const refresh = Number(query.get("refresh"))
  return Page.response(MirrorPage.make(status, {
    formToken,
    notice: noticeOf(query),
    refresh: Number.isInteger(refresh) && refresh >= 5 && refresh <= 3600 ? refresh : undefined
  }))
})

/** Starts the run of `POST /runs/RULE`. */
const startRun = Effect.fnUntraced(function*(
  service: MirrorService["Service"],
  changes: Changes.Changes,
  { headers }: Incoming,
  rule: string
) {
  const decision = yield* changes.program(headers)
  if (decision === "Denied") return json({ error: noSecret }, 403)
  if (decision === "Unknown") {
    return json({ error: "the token is missing or wrong" }, 401, { "www-authenticate": "Bearer realm=\"mirror\"" })
  }
  return yield* service.runNow(rule).pipe(
    Effect.map((state) => json({ rule, state }, 202)),
    Effect.catchTag("UnknownRule", ({ message }) => Effect.succeed(json({ error: message }, 404)))
  )
})

const denied = refusal(
  403,
  "Not allowed",
  "The form is out of date, or forms cannot change anything here. Load the page again."
)

/** Answers a form of the page. */
const submit = Effect.fnUntraced(function*(
  service: MirrorService["Service"],
  changes: Changes.Changes,
  incoming: Incoming,
  path: string
) {
  if (!FormBody.isForm(incoming)) return refusal(415, "Not a form", "Only forms are accepted here.")
  const fields = yield* Effect.option(FormBody.read(incoming))
  if (Option.isNone(fields)) return refusal(400, "Unreadable form", "The form is too large, or did not arrive.")
  const field = fields.value
  const decision = yield* changes.form(incoming.headers, field("token"))
  if (decision === "Denied") return denied
  if (decision === "Unknown") {
    return refusal(401, "Password required", "Any user name, and the token of the mirror as the password.", challenge)
  }
  if (path === "/actions/run") {
    return yield* service.runNow(field("rule") ?? "").pipe(
      Effect.map((state) => redirect(`/?done=${state}`)),
      Effect.catchTag("UnknownRule", ({ message }) => Effect.succeed(refusal(404, "Unknown rule", message)))
    )
  }
  const tag = field("tag") ?? ""
  const parsed = tag === "" ? "all" : Result.getOrUndefined(Reference.parseTag(tag))
  if (parsed === undefined) return refusal(400, "Unknown tag", "This is not a tag.")
  const count = yield* service.retry(field("destination") ?? "", parsed)
  return redirect(`/?done=retried&count=${count}`)
})

const methodNotAllowed = (allow: string) => refusal(405, "Method not allowed", `Use ${allow}.`, { allow })

const readable: ReadonlySet<string> = new Set(["/", "/status.json", "/metrics"])

const runPath = /^\/runs\/([^/]{1,600})$/

/** Returns the text of an encoded part of a path, or `undefined` if its encoding is wrong. */
const decoded = (text: string): string | undefined => Result.getOrUndefined(Result.try(() => decodeURIComponent(text)))

/** Answers a request that may be a change. */
const change = (
  service: MirrorService["Service"],
  changes: Changes.Changes,
  incoming: Incoming,
  path: string
) => {
  const rule = decoded(runPath.exec(path)?.[1] ?? "")
  if (rule !== undefined && rule !== "") return startRun(service, changes, incoming, rule)
  return path === "/actions/run" || path === "/actions/retry"
    ? submit(service, changes, incoming, path)
    : Effect.succeed(refusal(404, "Not found", "There is no such page."))
}

/** Answers a request that reads. */
const read = Effect.fnUntraced(function*(
  service: MirrorService["Service"],
  changes: Changes.Changes,
  path: string,
  query: URLSearchParams
) {
  switch (path) {
    case "/":
      return yield* page(service, changes, query)
    case "/status.json":
      return json(MirrorStatus.make(yield* service.status), 200)
    case "/metrics":
      return yield* Probes.metrics(MirrorSamples.make(yield* service.status))
    default:
      return Page.assets(path) ?? refusal(404, "Not found", "There is no such page.")
  }
})

/**
 * Creates an effect that answers `HttpServerRequest`.
 *
 * **Example** (A mirror with its page)
 *
 * ```ts import.meta.vitest
 * import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer, Result } from "effect"
 * import * as Mirror from "effect-oci/Mirror"
 * import * as MirrorConfig from "effect-oci/MirrorConfig"
 * import * as MirrorState from "effect-oci/MirrorState"
 * import * as MirrorWeb from "effect-oci/MirrorWeb"
 * import * as NodeNamespace from "effect-oci/NodeNamespace"
 * import { HttpServer } from "effect/http"
 * import { createServer } from "node:http"
 *
 * const config = Result.getOrThrow(MirrorConfig.decode({
 *   version: 1,
 *   rules: [{ from: "ghcr.io/team/app", to: "127.0.0.1:5000/app", schedule: { every: "1h" }, atStart: "nothing" }]
 * }))
 *
 * const Server = Layer.unwrap(Effect.gen(function*() {
 *   const service = yield* Mirror.serve(config)
 *   return HttpServer.serve(yield* MirrorWeb.make(service, { isLocal: true }))
 * })).pipe(
 *   Layer.provide([MirrorState.layerMemory, NodeNamespace.layer]),
 *   Layer.provide(NodeHttpServer.layer(() => createServer(), { host: "127.0.0.1", port: 8080 }))
 * )
 *
 * NodeRuntime.runMain(Layer.launch(Server))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  service: MirrorService["Service"],
  options: Options
): Effect.fn.Return<App> {
  const changes = yield* Changes.make({ secret: options.secret, isLocal: options.isLocal })
  const objection = SameSite.make(options.allowedHosts)

  const answer = Effect.fnUntraced(function*(incoming: Incoming) {
    const { headers, method, url } = incoming
    const problem = objection(headers)
    if (problem !== undefined) return refusal(403, "Not allowed", `${problem}.`)
    const mark = url.indexOf("?")
    const path = mark < 0 ? url : url.slice(0, mark)
    const isChange = runPath.test(path) || path.startsWith("/actions/")
    if (isChange) {
      return method === "POST" ? yield* change(service, changes, incoming, path) : methodNotAllowed("POST")
    }
    if (method !== "GET" && method !== "HEAD") return methodNotAllowed("GET, HEAD")
    if (path === "/healthz") return Probes.healthy
    if (path === "/readyz") return yield* atOnce(Probes.readiness(service.ready))
    if (options.isPrivate === true && readable.has(path) && (yield* changes.reader(headers)) !== "Allowed") {
      return refusal(401, "Password required", "Any user name, and the token of the mirror as the password.", challenge)
    }
    return yield* atOnce(read(service, changes, path, new URLSearchParams(mark < 0 ? "" : url.slice(mark))))
  })

  return Effect.flatMap(HttpServerRequest.HttpServerRequest, (incoming) =>
    answer(incoming).pipe(
      Effect.catchCause((cause) =>
        Effect.as(
          Effect.logWarning(`${incoming.method} ${incoming.url} failed`, cause),
          refusal(500, "Internal error", "The log of the mirror has the details.")
        )
      )
    ))
})
