/**
 * The namespace over `fetch`: every host is a registry behind HTTPS, and loopback in plain HTTP. It needs no files and
 * no Node, so that it works in browsers. See `FetchHttp` for the limits of `fetch`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpResolver from "../client/HttpResolver.ts"
import * as Namespace from "../Namespace.ts"
import * as FetchHttp from "./FetchHttp.ts"

/**
 * Provides a namespace over HTTP, by `fetch`. Without `credentials` it is anonymous: no files of docker or podman are
 * read.
 *
 * **Example** (With a password)
 *
 * ```ts import.meta.vitest
 * import { Effect, Redacted } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 * import * as FetchNamespace from "effect-oci/FetchNamespace"
 * import * as Namespace from "effect-oci/Namespace"
 *
 * const layer = FetchNamespace.layerOptions({
 *   credentials: Credentials.static({
 *     "ghcr.io": { _tag: "Basic", username: "ada", password: Redacted.make("secret") }
 *   })
 * })
 *
 * const program = Namespace.Namespace.use((namespace) => namespace.resolveManifest("ghcr.io/team/app:1"))
 *
 * const { mediaType } = await Effect.runPromise(Effect.provide(program, layer))
 * mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOptions = (
  options: HttpResolver.Options & FetchHttp.Options = {}
): Layer.Layer<Namespace.Namespace> =>
  // fresh, because the shared layer is memoized and would keep the first resolver
  Layer.fresh(Namespace.layer).pipe(
    Layer.provideMerge(HttpResolver.layer(options)),
    Layer.provide(FetchHttp.layer(options))
  )

/**
 * Provides a namespace over HTTP, by `fetch`, with options from the configuration.
 *
 * **Example** (Credentials from the environment)
 *
 * ```ts import.meta.vitest
 * import { ConfigProvider, Effect } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 * import * as FetchNamespace from "effect-oci/FetchNamespace"
 * import * as Namespace from "effect-oci/Namespace"
 *
 * const layer = FetchNamespace.layerConfig({ credentials: Credentials.fromConfig })
 *
 * const env = { OCI_USERNAME: "ada", OCI_PASSWORD: "secret", OCI_REGISTRY: "ghcr.io" }
 *
 * const program = Namespace.Namespace.use((namespace) => namespace.resolveManifest("ghcr.io/team/app:1")).pipe(
 *   Effect.provide(layer),
 *   Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
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
  config: Config.Wrap<HttpResolver.Options & FetchHttp.Options>
): Layer.Layer<Namespace.Namespace, Config.ConfigError> => Layer.unwrap(Effect.map(Config.unwrap(config), layerOptions))

/**
 * Provides a namespace over HTTP, by `fetch`, with the defaults: HTTPS, loopback in plain HTTP, anonymous.
 *
 * **Example** (Copying an image)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as FetchNamespace from "effect-oci/FetchNamespace"
 * import * as Namespace from "effect-oci/Namespace"
 *
 * const copy = Namespace.Namespace.use((namespace) =>
 *   namespace.copyManifest({ source: "ghcr.io/team/app:1", destination: "127.0.0.1:5000/mirror/app:1" })
 * )
 *
 * const report = await Effect.runPromise(Effect.provide(copy, FetchNamespace.layer))
 * report.root.mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Namespace.Namespace> = layerOptions()
