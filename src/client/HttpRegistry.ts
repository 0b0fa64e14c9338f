/**
 * A registry behind HTTP: the client of the OCI distribution specification.
 *
 * It works over any `HttpClient` that returns redirects and bodies as they are and keeps the `Content-Length` of a
 * streamed body; on Node that is `NodeHttp.layer`. The one over `fetch` serves for reading, not for pushing.
 *
 * Who we are is said when the registry asks, and from then on with every request: by a name and password, or by a token
 * from the service that the registry names, which is renewed before it expires. Nothing of it goes to any other origin,
 * and credentials for a token only to a service that the registry itself named; `AddressPolicy` says where that may be,
 * and `TokenRealms` which services may receive them. A body that can be read only once is not sent again when its token
 * is refused.
 *
 * What concerns every request (a proxy's headers, a limit) is a transformation of that client: see
 * `transformClient`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as Credentials from "../auth/Credentials.ts"
import type { TokenRealms } from "../auth/TokenRealms.ts"
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
  CommitTimeout,
  /** @since 0.1.0 */
  IdleTimeout
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
 * Which registry, and how to speak to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Its name or address, with a port or without: `ghcr.io`, `127.0.0.1:5000`. */
  readonly host: string
  /** Plain HTTP instead of HTTPS. */
  readonly plainHttp?: boolean
  /**
   * What it is known to do and not to do, whatever its answers say. What is not given is learnt from them, but for what
   * a few well-known hosts cannot say in time: in how many pieces they take a blob.
   */
  readonly capabilities?: Registry.Capabilities
  /**
   * The host whose content it hands on, as a cache or mirror: told with all that is read, as the parameter `ns`
   * (distribution-spec after 1.1.1, "Registry Proxying").
   */
  readonly mirrorOf?: string
  /** Who we are to this host, if it asks; see `Credentials`. Anonymous without. */
  readonly credentials?: Credentials.Credentials["Service"]
  /** Which token services may receive the credentials. Default: `"https"`. */
  readonly tokenRealms?: TokenRealms | undefined
  /** Applied to the client before anything else: here go headers of a proxy, limits, tests. */
  readonly transformClient?: (client: HttpClient.HttpClient) => HttpClient.HttpClient
}

/**
 * Makes a client of one registry. Nothing is sent yet.
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
  const connection = retrying(
    yield* Connection.make({
      name: host,
      origin: `${options.plainHttp === true ? "http" : "https"}://${host}`,
      credentials: Credentials.anonymous,
      ...options
    })
  )
  const requests = ManifestRequests.make(connection)
  const referrers = Referrers.make(connection, requests)
  return Registry.make({
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
})

/**
 * Provides the client of one registry as the `Registry` service.
 *
 * **Example** (A program for any registry, given one behind HTTP)
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
