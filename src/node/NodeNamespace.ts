/**
 * The namespace of the world as Node sees it: every host is a registry behind HTTPS, loopback in plain HTTP.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Layer from "effect/Layer"
import * as HttpResolver from "../client/HttpResolver.ts"
import * as Namespace from "../Namespace.ts"

/**
 * Provides a namespace over HTTP, by `undici`. Connections are closed with the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOptions = (options?: HttpResolver.Options): Layer.Layer<Namespace.Namespace> =>
  Namespace.layer.pipe(
    Layer.provide(HttpResolver.layer(options)),
    Layer.provide(NodeHttpClient.layerUndici)
  )

/**
 * Provides a namespace over HTTP, by `undici`, with the defaults: HTTPS, loopback in plain HTTP, anonymous.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Namespace.Namespace> = layerOptions()
