/**
 * Quirks of real registries, for tests of clients.
 *
 * {@link apply} wraps the HTTP app of a registry, such as that of `RegistryServer.make`. It rewrites requests and
 * responses, so that the registry lacks a feature or behaves like one of those in use.
 *
 * **Example** (A registry that does not list referrers)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as RegistryServer from "effect-oci/RegistryServer"
 * import { Quirks } from "effect-oci/testing"
 * import { HttpServerRequest } from "effect/http"
 *
 * const digest = `sha256:${"0".repeat(64)}`
 * const request = new Request(`http://registry.test/v2/team/app/referrers/${digest}`)
 *
 * const program = Effect.gen(function*() {
 *   const app = yield* RegistryServer.make(yield* MemoryRegistry.make())
 *   return [yield* app, yield* Quirks.apply(app, ["noReferrers"])].map(({ status }) => status)
 * }).pipe(
 *   Effect.provideService(HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(request)),
 *   Effect.scoped
 * )
 *
 * await Effect.runPromise(program) // => [200, 404]
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Digest from "../Digest.ts"
import * as Endpoint from "../server/Endpoint.ts"
import * as Refusal from "../server/Refusal.ts"

/**
 * Name of a quirk: something that a registry does not do, or does in its own way.
 *
 * - `noReferrers`: referrers are not listed, and pushes do not acknowledge a subject.
 * - `noFilter`: all referrers are listed, whatever artifact type the client asks for.
 * - `noSinglePost`: a POST with a digest opens an upload session, and its body is ignored.
 * - `noChunks`: PATCH is refused.
 * - `noResumption`: an upload session ends if a request to it breaks off.
 * - `noCancel`: upload sessions cannot be cancelled.
 * - `noMount`: every mount is declined with an upload session.
 * - `noRanges`: blobs are sent as a whole, whatever range the client asks for.
 * - `noLink`: lists have no `Link` to their next page.
 * - `shortPages`: pages of lists have half of the entries that they could have, rounded up.
 * - `noDigestHeader`: responses have no `Docker-Content-Digest` and no `ETag`.
 * - `noHeadLength`: responses to HEAD have no `Content-Length`.
 * - `noTagParameters`: a push of a manifest by digest ignores its `tag` parameters.
 *
 * @category models
 * @since 0.1.0
 */
export type Quirk =
  | "noReferrers"
  | "noFilter"
  | "noSinglePost"
  | "noChunks"
  | "noResumption"
  | "noCancel"
  | "noMount"
  | "noRanges"
  | "noLink"
  | "shortPages"
  | "noDigestHeader"
  | "noHeadLength"
  | "noTagParameters"

type Response = HttpServerResponse.HttpServerResponse

type App<E, R> = Effect.Effect<Response, E, R | HttpServerRequest>

/** A quirk as a function of an app. */
type Wrapper = <E, R>(app: App<E, R>) => App<E, R>

/** Applies a function to the app if the request is for an endpoint of the specification. */
const forEndpoints = (
  wrap: <E, R>(app: App<E, R>, request: Endpoint.Request, incoming: HttpServerRequest) => App<E, R>
): Wrapper =>
(app) =>
  Effect.flatMap(HttpServerRequest, (incoming) => {
    const request = Endpoint.parse(incoming.method, incoming.url)
    return Result.isSuccess(request) ? wrap(app, request.success, incoming) : app
  })

const refused = (refusal: Refusal.Refusal) =>
  Effect.sync(() =>
    HttpServerResponse.setHeader(Refusal.toResponse(refusal), "docker-distribution-api-version", "registry/2.0")
  )

/** Refuses a method of an endpoint. */
const withoutMethod = (tag: Endpoint.Endpoint["_tag"], method: string, message: string): Wrapper =>
  forEndpoints((app, request) => {
    if (request.endpoint._tag !== tag || request.method !== method) return app
    const allow = Endpoint.methods[tag].filter((other) => other !== method).join(", ")
    return refused(Refusal.make(405, "UNSUPPORTED", message, { allow }))
  })

/** Changes the parameters of requests. `change` returns false to leave the request as it is. */
const withParameters = (change: (request: Endpoint.Request, parameters: URLSearchParams) => boolean): Wrapper =>
  forEndpoints((app, request, incoming) => {
    const parameters = new URLSearchParams(request.query)
    if (!change(request, parameters)) return app
    return Effect.provideService(app, HttpServerRequest, incoming.modify({ url: urlOf(incoming, parameters) }))
  })

const pathOf = ({ url }: HttpServerRequest): string => url.split(/[?#]/, 1).join("")

const urlOf = (incoming: HttpServerRequest, parameters: URLSearchParams): string =>
  parameters.size === 0 ? pathOf(incoming) : `${pathOf(incoming)}?${parameters}`

/** Deletes a parameter. Returns true if there was one. */
const drop = (parameters: URLSearchParams, name: string): boolean => {
  const isPresent = parameters.has(name)
  parameters.delete(name)
  return isPresent
}

/**
 * Turns a POST that names a digest into one that only opens a session for its algorithm. An invalid digest stays, so
 * that the registry refuses it.
 */
const openSession = (parameters: URLSearchParams, name: "digest" | "mount"): boolean => {
  const digest = Digest.parse(parameters.get(name) ?? "")
  if (Result.isFailure(digest)) return false
  for (const name of ["digest", "mount", "from"]) parameters.delete(name)
  parameters.set("digest-algorithm", Digest.algorithm(digest.success))
  return true
}

/** Deletes headers of responses. */
const withoutHeaders = (...names: ReadonlyArray<string>): Wrapper => (app) =>
  Effect.map(
    app,
    (response) => names.reduce<Response>((rest, name) => HttpServerResponse.removeHeader(rest, name), response)
  )

const noReferrers: Wrapper = forEndpoints((app, { endpoint }) =>
  endpoint._tag === "Referrers"
    ? refused(Refusal.make(404, "UNSUPPORTED", "referrers are not listed"))
    : withoutHeaders("oci-subject")(app)
)

const noRanges: Wrapper = (app) =>
  Effect.flatMap(HttpServerRequest, (incoming) =>
    Effect.provideService(
      app,
      HttpServerRequest,
      incoming.modify({ headers: Headers.remove(incoming.headers, "range") })
    ))

const noHeadLength: Wrapper = (app) =>
  Effect.flatMap(HttpServerRequest, ({ method }) => method === "HEAD" ? withoutHeaders("content-length")(app) : app)

/** Returns true for the response to a request whose body the client did not send in full, or not correctly. */
const isBroken = (exit: Exit.Exit<Response, unknown>): boolean =>
  Exit.isFailure(exit) || exit.value.status === 400 || exit.value.status === 408 || exit.value.status >= 500

/**
 * Makes a session unknown after a request to it broke off. The registry behind keeps the session until it expires,
 * because an app cannot cancel it without a request of the client.
 */
const noResumption = (): Wrapper => {
  const lost = new Set<string>()
  return forEndpoints((app, { endpoint, method }, incoming) => {
    if (endpoint._tag !== "Upload") return app
    const path = pathOf(incoming)
    if (lost.has(path)) return refused(Refusal.make(404, "BLOB_UPLOAD_UNKNOWN", "the upload broke off"))
    return method === "PATCH" || method === "PUT"
      ? Effect.onExit(app, (exit) => Effect.sync(() => isBroken(exit) && lost.add(path)))
      : app
  })
}

const Page = Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown))

const decodePage = Schema.decodeUnknownOption(Page)

const isDescriptor = Schema.is(Schema.Struct({ digest: Schema.String }))

/** Returns the cursor after an entry of a list, as the parameter `last`: its name, or its digest. */
const cursorOf = (entry: unknown): string => isDescriptor(entry) ? entry.digest : String(entry)

const lists: { readonly [Tag in Endpoint.Endpoint["_tag"]]?: string } = {
  Catalog: "repositories",
  Tags: "tags",
  Referrers: "manifests"
}

const bytesOf = ({ body }: Response): Effect.Effect<Uint8Array> => {
  if (body._tag === "Uint8Array") return Effect.succeed(body.body)
  return body._tag === "Stream" ? Effect.orDie(Stream.mkUint8Array(body.stream)) : Effect.succeed(new Uint8Array())
}

const shortPages: Wrapper = forEndpoints((app, { endpoint, query }, incoming) => {
  const field = lists[endpoint._tag]
  if (field === undefined) return app
  return Effect.gen(function*() {
    const response = yield* app
    if (response.status !== 200) return response
    const bytes = yield* bytesOf(response)
    const page = Option.getOrElse(decodePage(new TextDecoder().decode(bytes)), (): Record<string, unknown> => ({}))
    const entries = page[field]
    const kept = Array.isArray(entries) ? entries.slice(0, Math.ceil(entries.length / 2)) : []
    if (!Array.isArray(entries) || kept.length === entries.length) return response
    const next = new URLSearchParams(query)
    next.set("last", cursorOf(kept.at(-1)))
    return response.pipe(
      HttpServerResponse.setBody(
        HttpBody.jsonUnsafe({ ...page, [field]: kept }, response.headers["content-type"] ?? "application/json")
      ),
      HttpServerResponse.setHeader("link", `<${urlOf(incoming, next)}>; rel="next"`)
    )
  })
})

/** All quirks, from the innermost to the outermost wrapper: `noLink` also hides the links that `shortPages` adds. */
const wrappers: { readonly [Name in Quirk]: () => Wrapper } = {
  shortPages: () => shortPages,
  noLink: () => withoutHeaders("link"),
  noFilter: () =>
    withParameters(({ endpoint }, parameters) => endpoint._tag === "Referrers" && drop(parameters, "artifactType")),
  noReferrers: () => noReferrers,
  noSinglePost: () =>
    withParameters(({ endpoint }, parameters) =>
      endpoint._tag === "Uploads" && !parameters.has("mount") && openSession(parameters, "digest")
    ),
  noMount: () =>
    withParameters(({ endpoint }, parameters) => endpoint._tag === "Uploads" && openSession(parameters, "mount")),
  noChunks: () => withoutMethod("Upload", "PATCH", "blobs are not accepted in chunks"),
  noCancel: () => withoutMethod("Upload", "DELETE", "uploads cannot be cancelled"),
  noResumption,
  noRanges: () => noRanges,
  noTagParameters: () =>
    withParameters(({ endpoint, method }, parameters) =>
      endpoint._tag === "Manifest" && method === "PUT" && drop(parameters, "tag")
    ),
  noDigestHeader: () => withoutHeaders("docker-content-digest", "etag"),
  noHeadLength: () => noHeadLength
}

const isQuirk = (name: string): name is Quirk => Object.hasOwn(wrappers, name)

/**
 * Gives the app of a registry some quirks. Without any, it stays as it is.
 *
 * **Example** (As the middleware of a server)
 *
 * ```ts import.meta.vitest
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as RegistryServer from "effect-oci/RegistryServer"
 * import { Quirks } from "effect-oci/testing"
 * import { HttpRouter } from "effect/http"
 *
 * const Server = HttpRouter.serve(RegistryServer.layer(), { middleware: Quirks.apply(["noMount", "noLink"]) }).pipe(
 *   Layer.provide(MemoryRegistry.layer()),
 *   Layer.provide(NodeHttpServer.layerTest)
 * )
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const apply: {
  (quirks: ReadonlyArray<Quirk>): <E, R>(app: App<E, R>) => App<E, R>
  <E, R>(app: App<E, R>, quirks: ReadonlyArray<Quirk>): App<E, R>
} = dual(
  2,
  <E, R>(app: App<E, R>, quirks: ReadonlyArray<Quirk>): App<E, R> =>
    Object.keys(wrappers).reduce<App<E, R>>(
      (inner, name) => isQuirk(name) && quirks.includes(name) ? wrappers[name]()(inner) : inner,
      app
    )
)
