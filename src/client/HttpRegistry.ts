/**
 * A registry over HTTP: the client of the OCI distribution specification.
 *
 * It works over any `HttpClient` that returns redirects and bodies as they are, and keeps the `Content-Length` of a
 * streamed body. On Node that is `NodeHttp.layer`. The client over `fetch` works for reading, not for
 * pushing.
 *
 * The client authenticates when the registry requires it, and with every request from then on: with user name and
 * password, or with a token of the service that the registry names. Tokens are renewed before they expire. Credentials
 * and tokens are never sent to another origin, except credentials to a token service that the registry itself names.
 * `AddressPolicy` decides on the address of that service, and `TokenRealms` whether it may receive credentials. A body
 * that can be read only once is not sent again if its token is refused.
 *
 * Options of all requests, such as headers of a proxy or a limit, are transformations of that client: see
 * `transformClient`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as Credentials from "../auth/Credentials.ts"
import type { TokenRealms } from "../auth/TokenRealms.ts"
import * as ChunkMemory from "../ChunkMemory.ts"
import * as Preparation from "../Preparation.ts"
import * as Reference from "../Reference.ts"
import * as Registry from "../Registry.ts"
import * as Blobs from "./Blobs.ts"
import * as Connection from "./Connection.ts"
import * as Lists from "./Lists.ts"
import * as ManifestRequests from "./ManifestRequests.ts"
import * as Manifests from "./Manifests.ts"
import * as Referrers from "./Referrers.ts"
import { retrying } from "./RetryingConnection.ts"
import * as Uploads from "./Uploads.ts"

export {
  /** @since 0.1.0 */
  AddressPolicy,
  /** @since 0.1.0 */
  type ResolvedAddress
} from "../http/AddressPolicy.ts"

export type {
  /** @since 0.1.0 */
  TokenRealms
} from "../auth/TokenRealms.ts"

export {
  /** @since 0.1.0 */
  TokenTimeout
} from "../auth/TokenService.ts"

export {
  /** @since 0.1.0 */
  HeadersTimeout
} from "./Connection.ts"

export {
  /** @since 0.1.0 */
  IdleTimeout
} from "../http/ResponseBody.ts"

export {
  /** @since 0.1.0 */
  CommitTimeout
} from "./UploadBody.ts"

export {
  /** @since 0.1.0 */
  ManifestLimit
} from "./ManifestRequests.ts"

export {
  /** @since 0.1.0 */
  ProgressTimeout,
  /** @since 0.1.0 */
  RetrySchedule
} from "../Retries.ts"

/**
 * Options of the client of one registry.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Name or address of the registry, with its port if it has one: `ghcr.io`, `127.0.0.1:5000`. */
  readonly host: string
  /** True for plain HTTP instead of HTTPS. Default: false. */
  readonly plainHttp?: boolean | undefined
  /**
   * Capabilities that override what the responses of the registry show. All others are learnt from the responses,
   * except the number of chunks that a few well-known hosts accept, because those hosts do not report it.
   */
  readonly capabilities?: Registry.Capabilities | undefined
  /**
   * Host of which the registry is a cache or mirror. It is sent with every read, as the parameter `ns`
   * (distribution-spec after 1.1.1, "Registry Proxying").
   */
  readonly mirrorOf?: string | undefined
  /** Credentials for this host, which are used only if it requires them; see `Credentials`. Default: anonymous. */
  readonly credentials?: Credentials.Credentials["Service"] | undefined
  /** Token services that may receive the credentials. Default: `"https"`. */
  readonly tokenRealms?: TokenRealms | undefined
  /** Transformation of the HTTP client, for example with headers of a proxy, limits, or a mock. */
  readonly transformClient?: ((client: HttpClient.HttpClient) => HttpClient.HttpClient) | undefined
}

/**
 * Creates the client of one registry. Nothing is sent yet.
 *
 * **Example** (Listing tags)
 *
 * ```ts import.meta.vitest
 * import { Effect, Stream } from "effect"
 * import * as HttpRegistry from "effect-oci/HttpRegistry"
 * import * as NodeHttp from "effect-oci/NodeHttp"
 * import * as Reference from "effect-oci/Reference"
 *
 * const program = Effect.gen(function*() {
 *   const registry = yield* HttpRegistry.make({ host: "127.0.0.1:5000", plainHttp: true })
 *   return yield* Stream.runCollect(registry.tags(Reference.Repository.make("team/app")))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, NodeHttp.layer())) // => ["1"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<Registry.Registry, Reference.InvalidReference, HttpClient.HttpClient> {
  const host = yield* Effect.fromResult(Reference.parseHost(options.host))
  const origin = `${options.plainHttp === true ? "http" : "https"}://${host}`
  const connection = retrying(
    yield* Connection.make({
      ...options,
      name: host,
      origin,
      credentials: options.credentials ?? Credentials.anonymous
    })
  )
  const requests = ManifestRequests.make(connection)
  const referrers = Referrers.make(connection, requests)
  const registry = Registry.make({
    name: host,
    limiter: connection.limiter,
    capabilities: Ref.get(connection.capabilities),
    ping: Effect.asVoid(
      connection.send(
        { operation: "ping", target: "registry" },
        HttpClientRequest.get(connection.url("/v2/")),
        [200]
      )
    ),
    ...Blobs.make(connection),
    ...Uploads.make(connection),
    ...Manifests.make(connection, requests, referrers),
    ...Lists.make(connection),
    referrers: referrers.list
  })
  const client = yield* HttpClient.HttpClient
  if (options.transformClient === undefined) {
    if (ChunkMemory.isPassing(client)) ChunkMemory.markPassing(registry)
    Preparation.registerRegistry(registry, client, new URL(origin))
  }
  return registry
})

/**
 * Provides the client of one registry as the `Registry` service.
 *
 * **Example** (A program for any registry, run with one over HTTP)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as HttpRegistry from "effect-oci/HttpRegistry"
 * import * as NodeHttp from "effect-oci/NodeHttp"
 * import * as Reference from "effect-oci/Reference"
 * import * as Registry from "effect-oci/Registry"
 *
 * const program = Registry.Registry.use((registry) =>
 *   registry.resolveManifest(Reference.Repository.make("team/app"), Reference.Tag.make("1"))
 * )
 *
 * const layer = HttpRegistry.layer({ host: "ghcr.io" }).pipe(Layer.provide(NodeHttp.layer()))
 *
 * const { mediaType } = await Effect.runPromise(Effect.provide(program, layer))
 * mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options
): Layer.Layer<Registry.Registry, Reference.InvalidReference, HttpClient.HttpClient> =>
  Layer.effect(Registry.Registry, make(options))
