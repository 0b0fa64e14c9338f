/**
 * The standard resolver: every host is a registry over HTTP.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as DockerHub from "../DockerHub.ts"
import * as ExternalBlobs from "../ExternalBlobs.ts"
import { isLoopback } from "../http/AddressPolicy.ts"
import * as Reference from "../Reference.ts"
import type { Capabilities, Registry } from "../Registry.ts"
import * as Resolver from "../Resolver.ts"
import * as HttpExternalBlobs from "./HttpExternalBlobs.ts"
import * as HttpRegistry from "./HttpRegistry.ts"
import * as Mirrors from "./Mirrors.ts"

/**
 * Options of the clients of all hosts.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Pick<HttpRegistry.Options, "credentials" | "tokenRealms" | "transformClient"> {
  /**
   * Hosts, with their port if a reference has one, that are addressed in plain HTTP. Loopback is always addressed so,
   * except the hosts in `tls`.
   */
  readonly plainHttp?: ReadonlyArray<string> | undefined
  /**
   * Capabilities of hosts, with their port if a reference has one. They override what the responses of a host show. All
   * others are learnt.
   */
  readonly capabilities?: Readonly<Record<string, Capabilities>> | undefined
  /**
   * Hosts on loopback, with their port if a reference has one, that are addressed in HTTPS. A host that is also in
   * `plainHttp` does not resolve.
   */
  readonly tls?: ReadonlyArray<string> | undefined
  /**
   * Mirrors of a host, in order of preference: `mirror.gcr.io`, or `harbor.example.com/hub` for a mirror that has the
   * repositories of the host below a name of its own. A mirror that does not have the content, or fails, is skipped. A
   * mirror without such a name receives the name of the host with every read; see `mirrorOf`.
   */
  readonly mirrors?: Readonly<Record<string, ReadonlyArray<string>>> | undefined
}

export {
  /** @since 0.1.0 */
  isLoopback
} from "../http/AddressPolicy.ts"

/** A host is in the options for plain HTTP and for HTTPS. */
class ContradictorySettings extends Data.TaggedError("ContradictorySettings")<{ readonly host: string }> {
  override get message(): string {
    return `${this.host} is named for plain HTTP (plainHttp) and for HTTPS (tls)`
  }
}

/** Returns the host to connect to: names are case-insensitive, and Docker Hub has one at which its registry answers. */
const apiHost = (host: string): string => DockerHub.isHost(host) ? DockerHub.apiHost : host.toLowerCase()

/**
 * Creates a resolver with one client per host. A client is created when its host is resolved for the first time.
 *
 * **Example** (One client for each host)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as HttpResolver from "effect-oci/HttpResolver"
 * import * as NodeHttp from "effect-oci/NodeHttp"
 * import * as Reference from "effect-oci/Reference"
 *
 * const host = Reference.Host.make("ghcr.io")
 *
 * const program = Effect.gen(function*() {
 *   const resolver = yield* HttpResolver.make({ mirrors: { "docker.io": ["mirror.gcr.io"] } })
 *   return (yield* resolver.resolve(host)) === (yield* resolver.resolve(host))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, NodeHttp.layer())) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<Resolver.Resolver["Service"], never, HttpClient.HttpClient> {
  const http = yield* HttpClient.HttpClient
  const registries = new Map<string, Registry>()

  const plainHttp = new Set((options.plainHttp ?? []).map(apiHost))
  const tls = new Set((options.tls ?? []).map(apiHost))

  const mirrors = new Map(Object.entries(options.mirrors ?? {}).map(([host, of]) => [apiHost(host), of] as const))

  const capabilities = new Map(
    Object.entries(options.capabilities ?? {}).map(([host, of]) => [apiHost(host), of] as const)
  )

  const client = Effect.fnUntraced(function*(host: string, more?: Pick<HttpRegistry.Options, "mirrorOf">) {
    if (plainHttp.has(host) && tls.has(host)) return yield* new ContradictorySettings({ host })
    return yield* HttpRegistry.make({
      host,
      plainHttp: plainHttp.has(host) || isLoopback(host) && !tls.has(host),
      capabilities: capabilities.get(host) ?? {},
      credentials: options.credentials,
      tokenRealms: options.tokenRealms,
      transformClient: options.transformClient,
      ...more
    }).pipe(Effect.provideService(HttpClient.HttpClient, http))
  })

  const mirror = Effect.fnUntraced(function*(name: string, of: string) {
    const slash = name.indexOf("/")
    if (slash < 0) return { registry: yield* client(apiHost(name), { mirrorOf: of }) }
    const { registry = "", repository } = yield* Effect.fromResult(Reference.parseRelative(name))
    return { registry: yield* client(apiHost(registry)), prefix: repository }
  })

  const connect = Effect.fnUntraced(function*(host: string, name: string) {
    const upstream = yield* client(host)
    const of = yield* Effect.forEach(mirrors.get(host) ?? [], (each) => mirror(each, name))
    const registry = of.length === 0 ? upstream : Mirrors.make(upstream, of)
    registries.set(host, registry)
    return registry
  }, (effect, host) => Effect.mapError(effect, (cause) => new Resolver.ResolveFailed({ host, cause })))

  return Resolver.Resolver.of({
    resolve: (name) =>
      Effect.suspend(() => {
        const host = apiHost(name)
        const known = registries.get(host)
        return known === undefined ? connect(host, name) : Effect.succeed(known)
      })
  })
})

/**
 * Provides a resolver that has one client per host.
 *
 * **Example** (References to any registry)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as HttpResolver from "effect-oci/HttpResolver"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as NodeHttp from "effect-oci/NodeHttp"
 *
 * const layer = Namespace.layer.pipe(
 *   Layer.provide(HttpResolver.layer({ plainHttp: ["registry.internal:5000"] })),
 *   Layer.provide(NodeHttp.layer())
 * )
 *
 * const program = Namespace.Namespace.use((namespace) =>
 * namespace.resolveManifest("registry.internal:5000/team/app:1"))
 *
 * const { mediaType } = await Effect.runPromise(Effect.provide(program, layer))
 * mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Resolver.Resolver, never, HttpClient.HttpClient> =>
  Layer.merge(Layer.effect(Resolver.Resolver, make(options)), layerExternalBlobs(options))

/**
 * Provides a resolver that has one client per host, with options from the configuration.
 *
 * **Example** (Settings from the environment)
 *
 * ```ts import.meta.vitest
 * import { Config, ConfigProvider, Effect, Layer, Schema } from "effect"
 * import * as HttpResolver from "effect-oci/HttpResolver"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as NodeHttp from "effect-oci/NodeHttp"
 *
 * const layer = Namespace.layer.pipe(
 *   Layer.provide(HttpResolver.layerConfig({ plainHttp: Config.Array(Schema.String, "PLAIN_HTTP") })),
 *   Layer.provide(NodeHttp.layer())
 * )
 *
 * const program = Namespace.Namespace.use((namespace) => namespace.resolveManifest("one.local/team/app:1")).pipe(
 *   Effect.provide(layer),
 *   Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { PLAIN_HTTP: "one.local,two.local" } })))
 * )
 *
 * const { mediaType } = await Effect.runPromise(program)
 * mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  config: Config.Wrap<Options>
): Layer.Layer<Resolver.Resolver, Config.ConfigError, HttpClient.HttpClient> =>
  Layer.unwrap(Effect.map(Config.unwrap(config), layer))

/**
 * Provides copies with external layers over HTTP: see `ExternalBlobs`. They are fetched from the `urls` of their
 * descriptor, without credentials, if the `AddressPolicy` allows the address. {@link layer} includes this layer.
 *
 * **Example** (With another resolver)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import { ExternalBlobs } from "effect-oci/ExternalBlobs"
 * import * as HttpResolver from "effect-oci/HttpResolver"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as NodeHttp from "effect-oci/NodeHttp"
 * import * as Resolver from "effect-oci/Resolver"
 *
 * const external = HttpResolver.layerExternalBlobs().pipe(Layer.provide(NodeHttp.layer()))
 * const resolver = Layer.succeed(Resolver.Resolver, Resolver.static({}))
 *
 * const layer = Namespace.layer.pipe(Layer.provide(resolver), Layer.provideMerge(external))
 *
 * const program = Effect.map(ExternalBlobs, (open) => open !== undefined)
 *
 * await Effect.runPromise(Effect.provide(program, layer)) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerExternalBlobs = (
  options?: Pick<Options, "transformClient">
): Layer.Layer<never, never, HttpClient.HttpClient> =>
  Layer.effect(
    ExternalBlobs.ExternalBlobs,
    Effect.map(HttpClient.HttpClient, (client) => HttpExternalBlobs.make(options?.transformClient?.(client) ?? client))
  )
