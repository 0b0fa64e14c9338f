/**
 * The namespace of the world as Node sees it: every host is a registry behind HTTPS, loopback in plain HTTP, and we are
 * who docker and podman have logged in as.
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as DockerConfig from "../auth/DockerConfig.ts"
import * as HttpResolver from "../client/HttpResolver.ts"
import * as Namespace from "../Namespace.ts"
import * as Resolver from "../Resolver.ts"
import * as NodeHttp from "./NodeHttp.ts"

/**
 * Provides a namespace over HTTP, by `undici`. Connections are closed with the layer.
 *
 * Without `credentials` it has those of docker and podman, as `DockerConfig` finds them; `Credentials.anonymous` keeps
 * it from looking.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOptions = (options: HttpResolver.Options & NodeHttp.Options = {}): Layer.Layer<Namespace.Namespace> =>
  Namespace.layer.pipe(
    Layer.provide(Layer.effect(
      Resolver.Resolver,
      Effect.gen(function*() {
        const credentials = options.credentials ?? (yield* DockerConfig.make())
        return yield* HttpResolver.make({ ...options, credentials })
      })
    )),
    Layer.provide([NodeHttp.layer(options), NodeServices.layer])
  )

/**
 * Provides a namespace over HTTP, by `undici`, with the defaults: HTTPS, loopback in plain HTTP, the credentials of
 * docker and podman.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Namespace.Namespace> = layerOptions()
