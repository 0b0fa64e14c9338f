/**
 * Server of the OCI distribution specification over any `Registry`.
 *
 * It has all endpoints of the specification, and `_catalog`. It adds to the registry only what HTTP needs: upload
 * sessions to which clients return, pages of lists, and authentication (`Authentication`). Blobs stream between client
 * and registry with backpressure, in constant memory.
 *
 * **Gotchas**
 *
 * On Node, create the server with `requestTimeout: 0`, because by default Node aborts every upload that takes longer
 * than five minutes. That setting disables `headersTimeout` as well, so set it too. The server itself aborts idle
 * bodies after {@link IdleTimeout}, and bodies that are slower than `minimumBodyRate`.
 *
 * A registry without authentication that only this machine can reach needs `allowedHosts`. Otherwise pages of other
 * sites can reach it under names that resolve to this machine.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Registry from "../Registry.ts"
import { isRegistryError, type RegistryError } from "../RegistryError.ts"
import type { Authentication } from "./Authentication.ts"
import * as Blobs from "./Blobs.ts"
import * as Body from "./Body.ts"
import * as BrowserSafety from "./BrowserSafety.ts"
import * as Endpoint from "./Endpoint.ts"
import * as FailureReport from "./FailureReport.ts"
import * as Guard from "./Guard.ts"
import * as IdleWatch from "./IdleWatch.ts"
import * as Limits from "./Limits.ts"
import * as Lists from "./Lists.ts"
import * as Manifests from "./Manifests.ts"
import * as MirroredHosts from "./MirroredHosts.ts"
import * as Refusal from "./Refusal.ts"
import type { Answer, Caller, Incoming, ServerContext } from "./ServerContext.ts"
import * as Sessions from "./Sessions.ts"
import * as Settings from "./Settings.ts"
import * as SignedTokens from "./SignedTokens.ts"
import * as Staleness from "./Staleness.ts"
import * as TokenService from "./TokenService.ts"
import * as Uploads from "./Uploads.ts"

export {
  /** @since 0.1.0 */
  IdleTimeout,
  /** @since 0.1.0 */
  UploadTimeout
} from "./Settings.ts"

/**
 * Options of a server. By default, every client may do everything.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Settings.Options {
  /** Authentication and authorization of requests. Default: every request is allowed. */
  readonly authentication?: Authentication | undefined
}

/**
 * Effect that answers an HTTP request to a registry.
 *
 * @category models
 * @since 0.1.0
 */
export type App = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  HttpServerRequest.HttpServerRequest | Scope.Scope
>

const isWrite = ({ endpoint, method }: Endpoint.Request): boolean =>
  endpoint._tag === "Uploads" || endpoint._tag === "Upload" || method === "PUT" || method === "DELETE"

/** Fails if the settings forbid the request. */
const allow = (request: Endpoint.Request, { changes }: Settings.Settings) => {
  if (changes === "none" && isWrite(request)) {
    return Effect.fail(Refusal.make(405, "UNSUPPORTED", "this registry is read-only"))
  }
  return changes === "no-deletes" && request.method === "DELETE" && request.endpoint._tag !== "Upload"
    ? Effect.fail(Refusal.make(405, "UNSUPPORTED", "this registry does not allow deletion"))
    : Effect.void
}

const dispatcher = (served: ServerContext) => {
  const blobs = Blobs.make(served)
  const uploads = Uploads.make(served)
  const manifests = Manifests.make(served)
  const lists = Lists.make(served)

  return (
    incoming: Incoming,
    { endpoint, method, query }: Endpoint.Request,
    caller: Caller
  ): Answer => {
    switch (endpoint._tag) {
      case "Base":
        return Effect.sync(() => HttpServerResponse.jsonUnsafe({}))
      case "Catalog":
        return lists.repositories(caller, query)
      case "Tags":
        return lists.tags(endpoint.repository, query)
      case "Referrers":
        return lists.referrers(endpoint.repository, endpoint.digest, query)
      case "Uploads":
        return uploads.post(incoming, caller, endpoint.repository, query)
      case "Upload": {
        const { id, repository } = endpoint
        if (method === "PATCH") return uploads.patch(incoming, caller, repository, id)
        if (method === "PUT") return uploads.put(incoming, caller, repository, id, query)
        return method === "DELETE" ? uploads.remove(repository, id) : uploads.get(caller, repository, id)
      }
      case "Blob": {
        const { digest, repository } = endpoint
        if (method === "GET") return blobs.get(incoming, repository, digest)
        return method === "DELETE"
          ? blobs.remove(incoming, repository, digest)
          : blobs.head(incoming, repository, digest)
      }
      case "Manifest": {
        const { reference, repository } = endpoint
        if (method === "GET") return Staleness.headed(manifests.get(incoming, repository, reference))
        if (method === "PUT") return manifests.put(incoming, caller, repository, reference, query)
        return method === "DELETE"
          ? manifests.remove(incoming, repository, reference)
          : Staleness.headed(manifests.head(incoming, repository, reference))
      }
    }
  }
}

/** Creates the guard of the server, and its token service if it has one. */
const makeGuard = Effect.fnUntraced(function*(authentication: Authentication | undefined, idle: IdleWatch.IdleWatch) {
  if (authentication === undefined) return { guard: Guard.open }
  if (authentication._tag === "Basic") return { guard: Guard.basic(authentication) }
  if (authentication.realm === undefined) {
    yield* Effect.logWarning(
      "the token realm is not configured: challenges name the host of the request (Host)"
    )
  }
  const tokens = yield* SignedTokens.make(authentication.service, authentication.key)
  return { guard: Guard.bearer(authentication, tokens), token: TokenService.make(authentication, tokens, idle) }
})

const isForTokens = ({ url }: Incoming): boolean =>
  url.startsWith(Guard.tokenPath) && (url.length === Guard.tokenPath.length || url[Guard.tokenPath.length] === "?")

/** Converts a failure to a refusal. Failures that are not the fault of the client are logged. */
const refusalOf = (
  incoming: Incoming,
  error: Refusal.Refusal | RegistryError,
  kind: "read" | "write"
): Effect.Effect<Refusal.Refusal> => {
  if (!isRegistryError(error)) return Effect.succeed(error)
  const refusal = Refusal.ofError(error, kind)
  return refusal.status < 500
    ? Effect.succeed(refusal)
    : FailureReport.identified(incoming, refusal, Cause.fail(error))
}

const internal = (incoming: Incoming, defect: unknown) => {
  const refusal = Refusal.make(500, "UNKNOWN", "internal error of this registry")
  return FailureReport.identified(incoming, refusal, Cause.die(defect))
}

const everyHeader = { ...BrowserSafety.headers, "docker-distribution-api-version": "registry/2.0" }

/**
 * Creates an effect that answers `HttpServerRequest`, for programs with their own router or with several registries.
 * Paths that are no endpoint are answered with 404.
 *
 * When the scope closes, upload sessions stay open if the registry can resume them, which it can if their id is a UUID.
 * All others are cancelled.
 *
 * **Example** (Two registries below one server)
 *
 * ```ts import.meta.vitest
 * import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as RegistryServer from "effect-oci/RegistryServer"
 * import { HttpServer, HttpServerRequest } from "effect/http"
 * import { createServer } from "node:http"
 *
 * const Server = Layer.unwrap(Effect.gen(function*() {
 *   const open = yield* RegistryServer.make(yield* MemoryRegistry.make())
 *   const frozen = yield* RegistryServer.make(yield* MemoryRegistry.make(), { changes: "none" })
 *   return HttpServer.serve(Effect.flatMap(
 *     HttpServerRequest.HttpServerRequest,
 *     ({ headers }) => headers["host"]?.startsWith("frozen.") === true ? frozen : open
 *   ))
 * })).pipe(
 *   Layer.provide(NodeHttpServer.layer(() => createServer({ requestTimeout: 0 }), { host: "127.0.0.1", port: 5000 }))
 * )
 *
 * NodeRuntime.runMain(Layer.launch(Server))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  registry: Registry.Registry,
  options: Options = {}
): Effect.fn.Return<App, never, Scope.Scope> {
  const settings = yield* Settings.make(options)
  const idle = yield* IdleWatch.make(settings.idleTimeout, settings.minimumBodyRate)
  const limits = yield* Limits.make(settings)
  const sessions = yield* Sessions.make(registry, settings)
  const { guard, token } = { token: undefined, ...yield* makeGuard(options.authentication, idle) }
  const dispatch = dispatcher({ registry, settings, sessions, idle })
  const checkBrowser = BrowserSafety.make(settings.allowedHosts)
  const select = MirroredHosts.make(settings.mirroredHosts)

  const answer = Effect.fnUntraced(function*(incoming: Incoming) {
    yield* checkBrowser(incoming)
    const visit = yield* limits.enter(incoming)
    if (token !== undefined && isForTokens(incoming)) return yield* token(incoming)
    const parsed = yield* Effect.fromResult(Endpoint.parse(incoming.method, incoming.url))
    const request = yield* Effect.fromResult(select(parsed))
    const needs = Guard.needsOf(request)
    const identity = yield* guard.admit(incoming, needs)
    if (identity.user !== undefined) yield* visit.identify(identity.user)
    const kind = request.method === "GET" || request.method === "HEAD" ? "read" : "write"
    const others = Endpoint.methods[request.endpoint._tag].filter((method) => method !== request.method)
    return yield* allow(request, settings).pipe(
      Effect.andThen(dispatch(incoming, request, { ...identity, visit })),
      Effect.flatMap((response) => Body.watched(idle, visit, response)),
      Effect.catch((error) => Effect.flip(refusalOf(incoming, error, kind))),
      Effect.mapError((refusal) => {
        // adds the headers that HTTP requires (RFC 9110, 15.5.2 and 15.5.6), also if the registry itself refused
        if (refusal.status === 405) return Refusal.withHeaders(refusal, { allow: others.join(", ") })
        if (refusal.status !== 401) return refusal
        return Refusal.withHeaders(refusal, { "www-authenticate": guard.challenge(incoming, needs) })
      })
    )
  })

  return Effect.interruptible(Effect.flatMap(HttpServerRequest.HttpServerRequest, (incoming) =>
    answer(incoming).pipe(
      Effect.catch((error) => Effect.map(refusalOf(incoming, error, "write"), Refusal.toResponse)),
      Effect.catchDefect((defect) => Effect.map(internal(incoming, defect), Refusal.toResponse)),
      Effect.map((response) => HttpServerResponse.setHeaders(response, everyHeader))
    )))
})

/**
 * Adds the endpoints of the `Registry` service to an `HttpRouter`: `/v2/` and all paths below, and `/token` if the
 * server issues tokens.
 *
 * **Example** (Serving a registry in memory)
 *
 * ```ts import.meta.vitest
 * import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as RegistryServer from "effect-oci/RegistryServer"
 * import { Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { createServer } from "node:http"
 *
 * const Server = HttpRouter.serve(RegistryServer.layer({ changes: "no-deletes" })).pipe(
 *   Layer.provide(MemoryRegistry.layer()),
 *   Layer.provide(NodeHttpServer.layer(
 *     () => createServer({ requestTimeout: 0, headersTimeout: 60_000 }),
 *     { host: "127.0.0.1", port: 5000 }
 *   ))
 * )
 *
 * NodeRuntime.runMain(Layer.launch(Server))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<never, never, HttpRouter.HttpRouter | Registry.Registry> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const router = yield* HttpRouter.HttpRouter
    const app = yield* make(yield* Registry.Registry, options)
    yield* router.add("*", "/v2/*", app)
    if (options.authentication?._tag === "Bearer") yield* router.add("*", Guard.tokenPath, app)
  }))

/**
 * Adds the endpoints of the `Registry` service to an `HttpRouter`, with options from the configuration.
 *
 * **Example** (Settings from the environment)
 *
 * ```ts import.meta.vitest
 * import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as RegistryServer from "effect-oci/RegistryServer"
 * import { Config, ConfigProvider, Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { createServer } from "node:http"
 *
 * const settings = RegistryServer.layerConfig({
 *   changes: Config.Literals(["all", "no-deletes", "none"], "CHANGES"),
 *   pageSize: Config.Int("PAGE_SIZE").pipe(Config.withDefault(100))
 * })
 *
 * const Server = HttpRouter.serve(settings).pipe(
 *   Layer.provide(MemoryRegistry.layer()),
 *   Layer.provide(NodeHttpServer.layer(() => createServer({ requestTimeout: 0 }), { host: "127.0.0.1", port: 5000 })),
 *   Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { CHANGES: "none" } })))
 * )
 *
 * NodeRuntime.runMain(Layer.launch(Server))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  config: Config.Wrap<Options>
): Layer.Layer<never, Config.ConfigError, HttpRouter.HttpRouter | Registry.Registry> =>
  Layer.unwrap(Effect.map(Config.unwrap(config), layer))
