/**
 * HTTP with `fetch`, for browsers and other runtimes without `node:http`.
 *
 * **Gotchas**
 *
 * - The address policy applies to the addresses that a registry names, not to those that a name resolves to.
 * - There are no proxies, certificates or connection timeouts, except those of the runtime.
 * - `fetch` decodes bodies with a `Content-Encoding`. Content of a registry that declares the stored form as an
 *   encoding cannot be read, because the decoded bytes have another digest.
 * - `fetch` sends streams without a `Content-Length`. Bodies of up to {@link BufferLimit} are sent from memory instead.
 *   Not every browser sends streams: set `maximumChunk` in the `capabilities` of a host so that larger blobs are sent
 *   in chunks of that size.
 * - A browser sends requests to another origin only if the registry allows it (CORS), which includes the headers
 *   `Authorization` and `Content-Range`. It must expose `Docker-Content-Digest`, `Link`, `Location`, `Range`,
 *   `WWW-Authenticate` and the headers that begin with `OCI-`.
 * - A browser hides the targets of redirects: see {@link Options}.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { RedirectHidden } from "../http/Redirects.ts"

/**
 * Largest body that is sent from memory, in bytes, because `fetch` sends streams without a `Content-Length`. Not all
 * registries accept that, except for the large pieces of a blob.
 *
 * @default 16 MiB
 * @category references
 * @since 0.1.0
 */
export const BufferLimit: Context.Reference<number> = Context.Reference("effect-oci/FetchHttp/BufferLimit", {
  defaultValue: () => 16 * 1024 * 1024
})

/**
 * Options of the client.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Function that sends requests. Default: `globalThis.fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined
  /**
   * Policy of redirects. With `"manual"`, this client follows them, and checks each against the address policy and
   * the limit of redirects. A browser hides the targets of redirects, so registries that redirect need `"follow"`
   * there, and the browser decides which targets are allowed. Default: `"manual"`.
   */
  readonly redirect?: "manual" | "follow" | undefined
}

/** Replaces the headers of a body that was encoded: `fetch` has decoded it. */
const decoded = (response: Response): Response => {
  const headers = new Headers(response.headers)
  headers.delete("content-encoding")
  headers.delete("content-length")
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
}

const usable = (response: Response): Response => {
  if (response.type === "opaqueredirect") throw new RedirectHidden()
  return response.headers.has("content-encoding") ? decoded(response) : response
}

/** Sends a body from memory if it is small enough. */
const buffered = Effect.fnUntraced(function*(request: HttpClientRequest.HttpClientRequest) {
  const { body } = request
  if (body._tag !== "Stream" || body.contentLength === undefined) return request
  if (body.contentLength > (yield* BufferLimit)) return request
  const bytes = yield* Effect.mapError(
    Stream.mkUint8Array(body.stream),
    (cause) => new HttpClientError.HttpClientError({ reason: new HttpClientError.EncodeError({ request, cause }) })
  )
  return HttpClientRequest.bodyUint8Array(request, bytes, body.contentType)
})

const makeClient = Effect.map(HttpClient.HttpClient, (client) =>
  client.pipe(
    HttpClient.mapRequestEffect(buffered),
    // a registry that does not allow these headers could not be reached from a browser
    HttpClient.transform((sending) => Effect.provideService(sending, HttpClient.TracerPropagationEnabled, false))
  ))

/**
 * Provides an HTTP client for registries, by `fetch`. Requests have no cookies and no `Referer`.
 *
 * **Example** (A resolver in a browser)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import * as FetchHttp from "effect-oci/FetchHttp"
 * import * as HttpResolver from "effect-oci/HttpResolver"
 * import * as Namespace from "effect-oci/Namespace"
 *
 * const layer = Namespace.layer.pipe(
 *   Layer.provide(HttpResolver.layer()),
 *   Layer.provide(FetchHttp.layer({ redirect: "follow" }))
 * )
 *
 * const program = Namespace.Namespace.use((namespace) => namespace.resolveManifest("registry.example.com/team/app:1"))
 *
 * const { mediaType } = await Effect.runPromise(Effect.provide(program, layer))
 * mediaType // => "application/vnd.oci.image.index.v1+json"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<HttpClient.HttpClient> => {
  const fetch = Effect.map(FetchHttpClient.Fetch, (own): typeof globalThis.fetch => {
    const send = options.fetch ?? own
    return (input, init) => send(input, init).then(usable)
  })
  const init = { redirect: options.redirect ?? "manual", credentials: "omit", referrerPolicy: "no-referrer" } as const
  return Layer.effect(HttpClient.HttpClient, makeClient).pipe(
    // fresh, because the shared layer is memoized and would keep the first options
    Layer.provide(Layer.fresh(FetchHttpClient.layer)),
    Layer.provide([
      Layer.effect(FetchHttpClient.Fetch, fetch),
      Layer.succeed(FetchHttpClient.RequestInit, init)
    ])
  )
}
