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
import * as Tls from "node:tls"

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

const makeDispatcher = Effect.fnUntraced(function*(options: Options) {
  const { Agent, EnvHttpProxyAgent } = yield* Effect.map(
    Effect.promise(() => import("@effect/platform-node/Undici")),
    // a bundler cannot tell the others from the outside
    (module) => module.default
  )
  const { httpProxy, httpsProxy, noProxy } = yield* Effect.orDie(proxies)
  const timeout = Duration.toMillis(yield* ConnectTimeout)
  const insecure = new Set((options.insecure ?? []).map((host) => hostOf(`https://${host}`)))

  const make = (tls: { readonly rejectUnauthorized?: boolean }) =>
    Effect.acquireRelease(
      Effect.sync((): Undici.Dispatcher => {
        const connect = {
          timeout,
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
  const checking = yield* make({})
  if (insecure.size === 0) return checking
  const trusting = yield* make({ rejectUnauthorized: false })
  return checking.compose((dispatch) => (request, handler) =>
    request.origin !== undefined && insecure.has(hostOf(request.origin))
      ? trusting.dispatch(request, handler)
      : dispatch(request, handler)
  )
})

/**
 * Provides an HTTP client for registries. Its connections are closed with the layer. Hosts are asked for through the
 * proxies that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name, in upper or lower case; loopback never is.
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
  // not the layer of NodeHttpClient, which copies its whole context for each request
  Layer.effect(
    HttpClient.HttpClient,
    Effect.flatMap(
      makeDispatcher(options),
      (dispatcher) => Effect.provideService(NodeHttpClient.makeUndici, NodeHttpClient.Dispatcher, dispatcher)
    )
  )
