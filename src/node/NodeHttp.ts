/**
 * HTTP as registries need it, on Node and Deno: by `undici`, through the proxies that the environment names, with
 * certificates of one's own. What Bun has under that name lacks what is needed here: there, `NodeHttpClient.layerNodeHttp`
 * of `@effect/platform-node` serves in its place.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import type * as Undici from "@effect/platform-node/Undici"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Net from "node:net"
import * as Tls from "node:tls"
import * as AddressPolicy from "../auth/AddressPolicy.ts"
import * as Lookup from "./Lookup.ts"

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
  readonly ca?: ReadonlyArray<string>
  /** Our own certificate and its key, in PEM, for registries that ask for one. */
  readonly certificate?: { readonly cert: string; readonly key: string }
  /** Hosts, with their port where a reference has one, whose certificates are not checked. */
  readonly insecure?: ReadonlyArray<string>
}

const variable = (name: string) =>
  Config.String(name.toLowerCase()).pipe(Config.orElse(() => Config.String(name)), Config.withDefault(""))

const proxies = Config.all({
  httpProxy: variable("HTTP_PROXY"),
  httpsProxy: variable("HTTPS_PROXY"),
  noProxy: variable("NO_PROXY")
})

// what runs on this machine is not asked for through another
const loopback = "localhost,127.0.0.1,::1"

const hostOf = (origin: string | URL): string => new URL(origin).host

// Behind every HEAD, undici closes the connection, in case a server sends a body, and the next request would have to
// connect anew. As to other clients, what such a server sends is the next answer, or none, which is asked for again.
const keepAfterHead: Undici.Dispatcher.DispatcherComposeInterceptor = (dispatch) => (request, handler) =>
  dispatch(request.method === "HEAD" ? { ...request, reset: false } : request, handler)

/** Returns what makes a dispatcher that resolves names by a lookup. */
const dispatcherOf = Effect.fnUntraced(function*(options: Options) {
  const { Agent, EnvHttpProxyAgent } = yield* Effect.map(
    Effect.promise(() => import("@effect/platform-node/Undici")),
    // a bundler cannot tell the others from the outside
    (module) => module.default
  )
  const { httpProxy, httpsProxy, noProxy } = yield* Effect.orDie(proxies)
  const timeout = Duration.toMillis(yield* ConnectTimeout)
  const insecure = new Set((options.insecure ?? []).map((host) => hostOf(`https://${host}`)))

  const make = (lookup: Net.LookupFunction, tls: { readonly rejectUnauthorized?: boolean }) =>
    Effect.acquireRelease(
      Effect.sync((): Undici.Dispatcher => {
        const connect = {
          timeout,
          lookup,
          ...options.ca === undefined ? {} : { ca: [...Tls.getCACertificates(), ...options.ca] },
          ...options.certificate,
          ...tls
        }
        return httpProxy === "" && httpsProxy === "" ? new Agent({ connect }) : new EnvHttpProxyAgent({
          connect,
          requestTls: connect,
          proxyTls: { timeout },
          httpProxy,
          httpsProxy,
          noProxy: noProxy === "" ? loopback : `${noProxy},${loopback}`
        })
      }),
      (dispatcher) => Effect.promise(() => dispatcher.destroy())
    ).pipe(Effect.map((dispatcher) => dispatcher.compose(keepAfterHead)))
  return Effect.fnUntraced(function*(lookup: Net.LookupFunction) {
    const checking = yield* make(lookup, {})
    if (insecure.size === 0) return checking
    const trusting = yield* make(lookup, { rejectUnauthorized: false })
    return checking.compose((dispatch) => (request, handler) =>
      request.origin !== undefined && insecure.has(hostOf(request.origin))
        ? trusting.dispatch(request, handler)
        : dispatch(request, handler)
    )
  })
})

/**
 * Makes a client that resolves the names of registries as they are, and those that a registry has led to as its policy
 * allows. Each registry has connections of its own to where it leads, because a connection that is open is not looked
 * up again.
 */
const makeClient = Effect.fnUntraced(function*(options: Options) {
  const scope = yield* Effect.scope
  const lookups = Lookup.make(yield* Lookup.SystemLookup)
  const makeDispatcher = yield* dispatcherOf(options)
  // not the layer of NodeHttpClient, which copies its whole context for each request
  const clientBy = (lookup: Net.LookupFunction) =>
    Effect.flatMap(
      makeDispatcher(lookup),
      (dispatcher) => Effect.provideService(NodeHttpClient.makeUndici, NodeHttpClient.Dispatcher, dispatcher)
    )
  const own = yield* clientBy(lookups.own)
  const led = new Map<AddressPolicy.Lead["mayLead"], Map<string, HttpClient.HttpClient>>()

  const clientFor = Effect.fnUntraced(function*(lead: AddressPolicy.Lead) {
    const ofPolicy = led.get(lead.mayLead) ?? new Map<string, HttpClient.HttpClient>()
    led.set(lead.mayLead, ofPolicy)
    const known = ofPolicy.get(lead.registry.origin)
    if (known !== undefined) return known
    const made = yield* Scope.provide(clientBy(lookups.led(lead)), scope)
    ofPolicy.set(lead.registry.origin, made)
    return made
  }, Effect.uninterruptible)

  return HttpClient.transform(
    own,
    (sending, request) =>
      Effect.flatMap(
        AddressPolicy.LedBy,
        (lead) => lead === undefined ? sending : Effect.flatMap(clientFor(lead), (client) => client.execute(request))
      )
  )
})

/**
 * Provides an HTTP client for registries. Its connections are closed with the layer. Hosts are asked for through the
 * proxies that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name, in upper or lower case; loopback never is.
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
