/**
 * HTTP for registries over the sockets of Node, Bun and Deno. It uses the proxies of the environment, and further
 * certificates.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Tls from "node:tls"
import { HeadersTimeout } from "../client/Conversation.ts"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import { ExpectedSize, IdleTimeout, LargeSize } from "../http/ResponseBody.ts"
import * as Preparation from "../Preparation.ts"
import * as Lookup from "./Lookup.ts"
import * as ProxyChoice from "./ProxyChoice.ts"
import * as Routes from "./Routes.ts"
import * as Slabs from "./Slabs.ts"
import type * as Sockets from "./Sockets.ts"
import * as Transport from "./Transport.ts"

/**
 * Maximum time to establish a connection.
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
 * Settings of connections.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Certificates of authorities, in PEM, to trust in addition to those that Node trusts. */
  readonly ca?: ReadonlyArray<string> | undefined
  /** Client certificate and its private key, in PEM, for registries that require one. */
  readonly certificate?: { readonly cert: string; readonly key: string } | undefined
  /** Hosts whose certificates are not checked, with their port if references have one. */
  readonly insecure?: ReadonlyArray<string> | undefined
  /** Maximum number of connections to one host. Default: no limit, because requests are limited already. */
  readonly maxConnections?: number | undefined
}

const variable = (name: string): Config.Config<ProxyChoice.Variable | undefined> =>
  Config.option(Config.Redacted(name)).pipe(
    Config.map((value) =>
      Option.isNone(value) || Redacted.value(value.value) === "" ? undefined : { name, value: value.value }
    )
  )

/** Variable in lower case, or in upper case if that one is not set. */
const eitherCase = (name: string) =>
  Config.all([variable(name.toLowerCase()), variable(name)]).pipe(Config.map(([lower, upper]) => lower ?? upper))

const environment: Config.Config<ProxyChoice.Environment> = Config.all({
  httpProxy: eitherCase("HTTP_PROXY"),
  httpsProxy: eitherCase("HTTPS_PROXY"),
  noProxy: Config.map(eitherCase("NO_PROXY"), (list) => list === undefined ? "" : Redacted.value(list.value))
})

// size of the memory that connections are read into, in bytes
const bufferSize = 1024 * 1024

/** Creates the settings of all connections once, because a TLS context with further authorities takes 15 ms. */
const makeSettings = Effect.fnUntraced(function*({ ca, certificate, maxConnections = Infinity }: Options) {
  const trusted = ca === undefined ? {} : { ca: [...Tls.getCACertificates(), ...ca] }
  const settings = {
    buffer: Buffer.allocUnsafeSlow(bufferSize),
    connectTimeout: yield* ConnectTimeout,
    maxConnections
  }
  // without the client certificate, which is for registries
  const proxyTls = tlsOf(trusted)
  const tls = certificate === undefined ? proxyTls : tlsOf({ ...trusted, ...certificate })
  // a file that is not in PEM format fails here
  if (ca !== undefined || certificate !== undefined) tls()
  return { ...settings, tls, proxyTls }
})

/** Returns the settings of TLS, which are made when a connection first needs them, because they take several ms. */
const tlsOf = (options: Tls.SecureContextOptions): Sockets.Settings["tls"] => {
  let made: ReturnType<Sockets.Settings["tls"]> | undefined
  return () => made ??= { secureContext: Tls.createSecureContext(options) }
}

/**
 * Creates a client. It resolves the names of registries to all their addresses, and names that a registry leads to only
 * to the addresses that the policy allows. Each registry has separate connections to the hosts that it leads to,
 * because the address of an open connection is not checked again.
 */
const make = Effect.fnUntraced(function*(options: Options) {
  const lookups = Lookup.make(yield* Lookup.SystemLookup)
  const { choose } = ProxyChoice.make(yield* Effect.orDie(environment))
  const { proxyTls, ...settings } = yield* makeSettings(options)
  const insecure = new Set((options.insecure ?? []).map((host) => new URL(`https://${host}`).host))
  const isInsecure = ({ host }: URL) => insecure.has(host)

  const slabs = Slabs.make(yield* Slabs.Settings)
  const opened = new Set<Routes.Routes>()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const routes of opened) routes.close()
    })
  )
  const routesBy = (lookup: Sockets.Settings["lookup"]): Routes.Routes => {
    const routes = Routes.make({ settings: { ...settings, lookup }, proxyTls, choose, isInsecure })
    opened.add(routes)
    return routes
  }
  const own = routesBy(lookups.own)
  const led = new Map<AddressPolicy.Lead["mayLead"], Map<string, Routes.Routes>>()
  const routesFor = (lead: AddressPolicy.Lead): Routes.Routes => {
    const ofPolicy = led.get(lead.mayLead) ?? new Map<string, Routes.Routes>()
    led.set(lead.mayLead, ofPolicy)
    const { origin } = lead.registry
    const routes = ofPolicy.get(origin) ?? routesBy(lookups.led(lead))
    ofPolicy.set(origin, routes)
    return routes
  }
  const client = Transport.make({
    route: (url, fiber) => {
      const lead = fiber.getRef(AddressPolicy.LedBy)
      return (lead === undefined ? own : routesFor(lead)).find(url)
    },
    slabs: (fiber) => fiber.getRef(ExpectedSize) >= fiber.getRef(LargeSize) ? slabs : undefined,
    headersTimeout: (fiber) => fiber.getRef(HeadersTimeout),
    idleTimeout: (fiber) => fiber.getRef(IdleTimeout)
  })
  Preparation.registerClient(client, own.prepare)
  return client
})

/**
 * Provides an HTTP client for registries. Its connections are closed with the layer.
 *
 * **Details**
 *
 * Requests go through the proxies that `HTTP_PROXY` and `HTTPS_PROXY` name, in lower or upper case, except to hosts
 * that `NO_PROXY` names and to loopback. A proxy is `http://host:port`, `https://host:port` or `host:port`. `NO_PROXY`
 * lists names (`example.com` with all below it, `.example.com`), IP addresses and networks (`10.0.0.0/8`), or is `*`.
 * A name or an IP address may have a port. If a variable names no usable proxy, its requests fail.
 *
 * `AddressPolicy` is applied to the addresses that a name resolves to if a registry led to that name. A proxy resolves
 * the names of its requests itself, so that their addresses are not checked.
 *
 * **Example** (Trusting the certificates of another authority)
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
 * const { mediaType } = await Effect.runPromise(Effect.provide(program, Layer.provide(layer, NodeServices.layer)))
 * mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<HttpClient.HttpClient> =>
  Layer.effect(HttpClient.HttpClient, make(options))
