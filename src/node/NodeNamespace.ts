/**
 * The namespace on Node: every host is a registry over HTTPS, loopback is a registry in plain HTTP, and the credentials
 * are those of docker and podman.
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as DockerConfig from "../auth/DockerConfig.ts"
import * as HttpResolver from "../client/HttpResolver.ts"
import * as Namespace from "../Namespace.ts"
import * as Resolver from "../Resolver.ts"
import * as NodeHttp from "./NodeHttp.ts"

/**
 * Provides a namespace over HTTP. Connections are closed with the layer.
 *
 * Default of `credentials`: those of docker and podman, which `DockerConfig` reads. With `Credentials.anonymous`, no
 * files are read.
 *
 * **Example** (With a password, and a mirror)
 *
 * ```ts import.meta.vitest
 * import { Effect, Redacted } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as NodeNamespace from "effect-oci/NodeNamespace"
 *
 * const layer = NodeNamespace.layerOptions({
 *   credentials: Credentials.static({
 *     "ghcr.io": { _tag: "Basic", username: "ada", password: Redacted.make("secret") }
 *   }),
 *   mirrors: { "docker.io": ["mirror.gcr.io"] }
 * })
 *
 * const program = Namespace.Namespace.use((namespace) => namespace.resolveManifest("docker.io/team/app:1"))
 *
 * const { mediaType } = await Effect.runPromise(Effect.provide(program, layer))
 * mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOptions = (options: HttpResolver.Options & NodeHttp.Options = {}): Layer.Layer<Namespace.Namespace> =>
  // fresh, because the shared layer is memoized and would keep the first resolver
  Layer.fresh(Namespace.layer).pipe(
    Layer.provide(Layer.effect(
      Resolver.Resolver,
      Effect.gen(function*() {
        const credentials = options.credentials ?? (yield* DockerConfig.make())
        return yield* HttpResolver.make({ ...options, credentials })
      })
    )),
    // also for programs that make a namespace of their own
    Layer.provideMerge(HttpResolver.layerExternalBlobs(options)),
    Layer.provide([NodeHttp.layer(options), NodeServices.layer])
  )

/**
 * Provides a namespace over HTTP with options from the configuration.
 *
 * **Example** (Settings from the environment)
 *
 * ```ts import.meta.vitest
 * import { Config, ConfigProvider, Effect, Schema } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as NodeNamespace from "effect-oci/NodeNamespace"
 *
 * const layer = NodeNamespace.layerConfig({
 *   credentials: Credentials.fromConfig,
 *   plainHttp: Config.Array(Schema.String, "PLAIN_HTTP")
 * })
 *
 * const credentials = { OCI_USERNAME: "ada", OCI_PASSWORD: "secret", OCI_REGISTRY: "ghcr.io" }
 * const env = { ...credentials, PLAIN_HTTP: "one.local,two.local" }
 *
 * const program = Namespace.Namespace.use((namespace) => namespace.resolveManifest("one.local/team/app:1")).pipe(
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
  config: Config.Wrap<HttpResolver.Options & NodeHttp.Options>
): Layer.Layer<Namespace.Namespace, Config.ConfigError> => Layer.unwrap(Effect.map(Config.unwrap(config), layerOptions))

/**
 * Provides a namespace over HTTP with the defaults: HTTPS, plain HTTP to loopback, and the credentials of docker and
 * podman.
 *
 * **Example** (Copying an image)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Namespace from "effect-oci/Namespace"
 * import * as NodeNamespace from "effect-oci/NodeNamespace"
 *
 * const copy = Namespace.Namespace.use((namespace) =>
 *   namespace.copyManifest({ source: "ghcr.io/team/app:1", destination: "127.0.0.1:5000/mirror/app:1" })
 * )
 *
 * const report = await Effect.runPromise(Effect.provide(copy, NodeNamespace.layer))
 * report.root.mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Namespace.Namespace> = layerOptions()
