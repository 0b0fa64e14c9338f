/**
 * The standard resolver: every host is a registry behind HTTP.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as ExternalBlobs from "../ExternalBlobs.ts"
import * as Reference from "../Reference.ts"
import type { Capabilities, Registry } from "../Registry.ts"
import * as Resolver from "../Resolver.ts"
import * as HttpExternalBlobs from "./HttpExternalBlobs.ts"
import * as HttpRegistry from "./HttpRegistry.ts"
import * as Mirrors from "./Mirrors.ts"

/**
 * How the hosts are spoken to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Pick<HttpRegistry.Options, "credentials" | "tokenRealms" | "transformClient"> {
  /** Hosts, with their port where a reference has one, that are spoken to in plain HTTP. Loopback always is. */
  readonly plainHttp?: ReadonlyArray<string>
  /**
   * Capabilities of hosts, with their port if a reference has one. They override what the answers of a host say; what
   * is not given is learnt.
   */
  readonly capabilities?: Readonly<Record<string, Capabilities>> | undefined
  /**
   * Hosts, with their port if a reference has one, that are spoken to in HTTPS although they are loopback. A host that
   * is also among `plainHttp` does not resolve.
   */
  readonly tls?: ReadonlyArray<string> | undefined
  /**
   * Registries from which the content of a host is read rather than from the host itself, the first first: `mirror.gcr.io`
   * or, where they have it below a name of their own, `harbor.example.com/hub`. One that does not have it, or fails, is
   * passed over. Those without a name of their own are told what they are mirrors of.
   */
  readonly mirrors?: Readonly<Record<string, ReadonlyArray<string>>>
}

/**
 * Is this host, with a port or without, this machine: `localhost`, `127.0.0.0/8` or `[::1]`?
 *
 * @category guards
 * @since 0.1.0
 */
export const isLoopback = (host: string): boolean =>
  /^(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]+)?$/i.test(host)

/** A host is named for plain HTTP and for HTTPS. */
class ContradictorySettings extends Data.TaggedError("ContradictorySettings")<{ readonly host: string }> {
  override get message(): string {
    return `${this.host} is named for plain HTTP (plainHttp) and for HTTPS (tls)`
  }
}

// names are not sensitive to case, and Docker Hub is called by some under which its registry does not answer
const apiHost = (host: string): string => {
  const name = host.toLowerCase()
  return name === "docker.io" || name === "index.docker.io" ? "registry-1.docker.io" : name
}

/**
 * Makes a resolver that has one client per host, made when the host is first asked for.
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
      ...options.credentials === undefined ? {} : { credentials: options.credentials },
      tokenRealms: options.tokenRealms,
      ...options.transformClient === undefined ? {} : { transformClient: options.transformClient },
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
 * **Example** (References that lead anywhere)
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
 * const program = Namespace.Namespace.use((namespace) => namespace.resolveManifest("registry.internal:5000/team/app:1"))
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
 * Provides copies with external layers over HTTP: see `ExternalBlobs`. They come from the `urls` of their descriptor,
 * to which no credentials are sent, and which the `AddressPolicy` has to allow. {@link layer} does so as well.
 *
 * **Example** (For a resolver of one's own)
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
