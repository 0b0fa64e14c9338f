/**
 * HTTP as registries need it, on Node and Deno: by `undici`, through the proxies that the environment names, with
 * certificates of one's own. What Bun has under that name lacks what is needed here: use `FetchHttp` there.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import type * as Undici from "@effect/platform-node/Undici"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type * as Net from "node:net"
import * as Tls from "node:tls"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import * as Lookup from "./Lookup.ts"
import * as ProxyChoice from "./ProxyChoice.ts"

/**
 * How long making a connection may take.
 *
 * @default 10 seconds
 * @category references
 * @since 0.1.0
 */
export const ConnectTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/NodeHttp/ConnectTimeout",
  { defaultValue: () => Duration.seconds(10) }
)

/**
 * How connections are made.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Certificates of authorities, in PEM, that are trusted besides those that Node trusts. */
  readonly ca?: ReadonlyArray<string> | undefined
  /** Our own certificate and its key, in PEM, for registries that ask for one. */
  readonly certificate?: { readonly cert: string; readonly key: string } | undefined
  /** Hosts, with their port where a reference has one, whose certificates are not checked. */
  readonly insecure?: ReadonlyArray<string> | undefined
}

const variable = (name: string): Config.Config<ProxyChoice.Variable | undefined> =>
  Config.option(Config.Redacted(name)).pipe(
    Config.map((value) =>
      Option.isNone(value) || Redacted.value(value.value) === "" ? undefined : { name, value: value.value }
    )
  )

/** A variable in lower case or, if it is not set so, in upper case. */
const eitherCase = (name: string) =>
  Config.all([variable(name.toLowerCase()), variable(name)]).pipe(Config.map(([lower, upper]) => lower ?? upper))

const environment: Config.Config<ProxyChoice.Environment> = Config.all({
  httpProxy: eitherCase("HTTP_PROXY"),
  httpsProxy: eitherCase("HTTPS_PROXY"),
  noProxy: Config.map(eitherCase("NO_PROXY"), (list) => list === undefined ? "" : Redacted.value(list.value))
})

const hostOf = (origin: string | URL): string => new URL(origin).host

// Behind every HEAD, undici closes the connection, in case a server sends a body, and the next request would have to
// connect anew. As to other clients, what such a server sends is the next answer, or none, which is asked for again.
const keepAfterHead: Undici.Dispatcher.DispatcherComposeInterceptor = (dispatch) => (request, handler) =>
  dispatch(request.method === "HEAD" ? { ...request, reset: false } : request, handler)

/** The runtime has no `undici` that could be used here. */
class UndiciUnavailable extends Data.Error {
  override get message(): string {
    return "this runtime, such as Bun, lacks what NodeNamespace and NodeHttp need of undici: " +
      "use FetchNamespace or FetchHttp instead"
  }
}

const undici = Effect.map(
  Effect.promise(() => import("@effect/platform-node/Undici")),
  // a bundler cannot tell the others from the outside
  (module) => module.default
).pipe(
  Effect.tap(({ Agent }) => "compose" in Agent.prototype ? Effect.void : Effect.die(new UndiciUnavailable()))
)

/** The dispatchers for one way to check certificates: a direct one, and one for each proxy. */
const makeDispatchers = Effect.fnUntraced(function*(
  options: Options,
  { choose, proxies }: ProxyChoice.Chooser,
  lookup: Net.LookupFunction,
  tls: { readonly rejectUnauthorized?: boolean | undefined }
) {
  const { Agent, ProxyAgent } = yield* undici
  const timeout = Duration.toMillis(yield* ConnectTimeout)
  const ca = options.ca === undefined ? {} : { ca: [...Tls.getCACertificates(), ...options.ca] }
  const connect = { timeout, lookup, ...ca, ...options.certificate, ...tls }
  const scoped = (make: () => Undici.Dispatcher) =>
    Effect.acquireRelease(Effect.sync(make), (dispatcher) => Effect.promise(() => dispatcher.destroy()))

  const direct = (yield* scoped(() => new Agent({ connect }))).compose(keepAfterHead)
  if (proxies.length === 0) return direct
  const through = new Map<ProxyChoice.Choice, Undici.Dispatcher>()
  for (const proxy of proxies) {
    const { authorization, url } = proxy
    const agent = yield* scoped(() =>
      new ProxyAgent({
        uri: url.href,
        ...authorization === undefined ? {} : { token: Redacted.value(authorization) },
        requestTls: connect,
        proxyTls: { timeout, ...ca }
      })
    )
    through.set(proxy, agent.compose(keepAfterHead))
  }
  return direct.compose((dispatch) => (request, handler) => {
    const proxy = request.origin === undefined ? undefined : through.get(choose(new URL(request.origin)))
    return proxy === undefined ? dispatch(request, handler) : proxy.dispatch(request, handler)
  })
})

const makeDispatcher = Effect.fnUntraced(function*(
  options: Options,
  chooser: ProxyChoice.Chooser,
  lookup: Net.LookupFunction
) {
  const insecure = new Set((options.insecure ?? []).map((host) => hostOf(`https://${host}`)))
  const checking = yield* makeDispatchers(options, chooser, lookup, {})
  if (insecure.size === 0) return checking
  const trusting = yield* makeDispatchers(options, chooser, lookup, { rejectUnauthorized: false })
  return checking.compose((dispatch) => (request, handler) =>
    request.origin !== undefined && insecure.has(hostOf(request.origin))
      ? trusting.dispatch(request, handler)
      : dispatch(request, handler)
  )
})

/** The proxy of a request cannot be used. */
class ProxyUnusable extends Data.Error<{ readonly code: "ERR_INVALID_PROXY"; readonly message: string }> {}

/** Fails requests whose proxy cannot be used, rather than to send them directly. */
const refuseWithoutProxy = ({ choose }: ProxyChoice.Chooser) =>
  HttpClient.mapRequestEffect((request: HttpClientRequest.HttpClientRequest) => {
    const choice = URL.canParse(request.url) ? choose(new URL(request.url)) : undefined
    if (choice?._tag !== "Unusable") return Effect.succeed(request)
    const cause = new ProxyUnusable({ code: "ERR_INVALID_PROXY", message: choice.problem })
    return Effect.fail(
      new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
    )
  })

/**
 * Makes a client that resolves the names of registries as they are, and those that a registry has led to as its policy
 * allows. Each registry has connections of its own to where it leads, because a connection that is open is not looked
 * up again.
 */
const makeClient = Effect.fnUntraced(function*(options: Options) {
  const scope = yield* Effect.scope
  const lookups = Lookup.make(yield* Lookup.SystemLookup)
  const chooser = ProxyChoice.make(yield* Effect.orDie(environment))
  // not the layer of NodeHttpClient, which copies its whole context for each request
  const clientBy = (lookup: Net.LookupFunction) =>
    Effect.flatMap(
      makeDispatcher(options, chooser, lookup),
      (dispatcher) => Effect.provideService(NodeHttpClient.makeUndici, NodeHttpClient.Dispatcher, dispatcher)
    )
  const own = yield* clientBy(lookups.own)
  const led = new Map<AddressPolicy.Lead["mayLead"], Map<string, Effect.Effect<HttpClient.HttpClient>>>()

  const clientFor = Effect.fnUntraced(function*(lead: AddressPolicy.Lead) {
    const ofPolicy = led.get(lead.mayLead) ?? new Map<string, Effect.Effect<HttpClient.HttpClient>>()
    led.set(lead.mayLead, ofPolicy)
    const { origin } = lead.registry
    const made = ofPolicy.get(origin) ?? (yield* Effect.cached(
      Effect.uninterruptible(Scope.provide(clientBy(lookups.led(lead)), scope))
    ))
    ofPolicy.set(origin, made)
    return yield* made
  })

  const client = HttpClient.transform(
    own,
    (sending, request) =>
      Effect.flatMap(
        AddressPolicy.LedBy,
        (lead) => lead === undefined ? sending : Effect.flatMap(clientFor(lead), (client) => client.execute(request))
      )
  )
  return refuseWithoutProxy(chooser)(client)
})

/**
 * Provides an HTTP client for registries. Its connections are closed with the layer.
 *
 * **Details**
 *
 * Requests go through the proxies that `HTTP_PROXY` and `HTTPS_PROXY` name, in lower or upper case, except to hosts
 * that `NO_PROXY` names and to loopback. A proxy is `http://host:port`, `https://host:port` or `host:port`. `NO_PROXY`
 * lists names (`example.com` with all below it, `.example.com`), IP addresses, networks (`10.0.0.0/8`), each but a
 * network with a port or without, or is `*`. If a variable names no proxy that can be used, the requests that are meant
 * for it fail.
 *
 * `AddressPolicy` is applied to the addresses that a name stands for if a registry gave that name. A host that is asked
 * for through a proxy is resolved by the proxy, which is not checked.
 *
 * **Example** (Trusting the certificates of one's own authority)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, FileSystem, Layer } from "effect"
 * import * as HttpResolver from "effect-oci/HttpResolver"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as NodeHttp from "effect-oci/NodeHttp"
 *
 * const http = Layer.unwrap(Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   return NodeHttp.layer({ ca: [yield* fs.readFileString("ca.pem")] })
 * }))
 *
 * const layer = Namespace.layer.pipe(Layer.provide(HttpResolver.layer()), Layer.provide(http))
 *
 * const program = Namespace.Namespace.use((namespace) => namespace.resolveManifest("registry.internal/team/app:1"))
 *
 * const { mediaType } = await Effect.runPromise(program.pipe(Effect.provide(layer), Effect.provide(NodeServices.layer)))
 * mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<HttpClient.HttpClient> =>
  Layer.effect(HttpClient.HttpClient, makeClient(options))
