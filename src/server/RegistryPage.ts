/**
 * The page of a registry, for browsers: its repositories, tags, images and artifacts, and what takes space.
 *
 * It has all that a viewer may pull, and works without scripts. Every text of the registry is escaped, and everything
 * that is read has a limit. It answers `GET` and `HEAD` of `/` and of paths below `/ui/` if the request accepts
 * `text/html`, and serves `/style.css` and `/icon.svg`; the given app answers all other requests. At most four views
 * are made at the same time, so that requests of other clients do not wait.
 *
 * Viewers sign in by the user names and passwords of the registry, also if its other clients use tokens.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Registry } from "../Registry.ts"
import { isRegistryError, type RegistryError } from "../RegistryError.ts"
import * as FormBody from "../web/FormBody.ts"
import { html } from "../web/Html.ts"
import * as Page from "../web/Page.ts"
import * as SameSite from "../web/SameSite.ts"
import * as Authentication from "./Authentication.ts"
import type { Endpoint } from "./Endpoint.ts"
import * as FailureReport from "./FailureReport.ts"
import * as Guard from "./Guard.ts"
import * as Limits from "./Limits.ts"
import * as Actions from "./page/Actions.ts"
import * as Address from "./page/Address.ts"
import type { Check } from "./page/Check.ts"
import * as Forms from "./page/Forms.ts"
import type * as Frame from "./page/Frame.ts"
import * as Space from "./page/Space.ts"
import * as Views from "./page/Views.ts"
import * as Refusal from "./Refusal.ts"
import type { App } from "./RegistryServer.ts"
import type { Identity, Incoming } from "./ServerContext.ts"
import * as SignedTokens from "./SignedTokens.ts"

export {
  /** @since 0.1.0 */
  type Check,
  /** @since 0.1.0 */
  type CheckProblem
} from "./page/Check.ts"

/**
 * Options of the page. Its limits are those of the server, but it counts its own requests only.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Pick<Limits.Options, "requestLimit" | "clientRequestLimit" | "clientRequestRate"> {
  /** Authentication and authorization of viewers, as of the server. Default: every viewer sees everything. */
  readonly authentication?: Authentication.Authentication | undefined
  /**
   * Changes that viewers with the permission may make: none, only new and moved tags, or deletion as well. Default:
   * `none`.
   */
  readonly changes?: "none" | "no-deletes" | "all" | undefined
  /** Names of the server, as in `RegistryServer.Options`. Default: every `Host`. */
  readonly allowedHosts?: ReadonlyArray<string> | undefined
  /** True if clients use HTTPS, which matters for the commands on the page. Default: false. */
  readonly isSecure?: boolean | undefined
  /** Remark about the registry, for its viewers. */
  readonly remark?: string | undefined
  /** Returns the result of the last scrub, if there was one. Viewers see the problems of what they may pull. */
  readonly check?: Effect.Effect<Check | undefined> | undefined
}

// ---------------------------------------------------------------------------------------------------------------------
// requests
// ---------------------------------------------------------------------------------------------------------------------

/** Returns true if a request accepts HTML by name, as browsers do. */
const acceptsHtml = ({ headers }: Incoming): boolean =>
  (headers["accept"] ?? "").split(",", 50).some((range) =>
    /^\s*text\/html\s*(?:;|$)/i.test(range) && !/;\s*q=0(?:\.0*)?\s*(?:;|$)/i.test(range)
  )

/**
 * Returns the headers of a request as far as they say where it comes from. A link of another site may lead to a view,
 * which that site cannot read.
 */
const originOf = ({ headers, method }: Incoming): SameSite.RequestHeaders => {
  const isLink = method === "GET" && headers["sec-fetch-mode"] === "navigate" &&
    headers["sec-fetch-dest"] === "document"
  return isLink ? { host: headers["host"], origin: headers["origin"] } : headers
}

const split = (url: string): readonly [path: string, query: URLSearchParams] => {
  const mark = url.indexOf("?")
  return mark < 0 ? [url, new URLSearchParams()] : [url.slice(0, mark), new URLSearchParams(url.slice(mark + 1))]
}

/** Returns the host that the request names, if it may be part of a command. */
const hostOf = ({ headers }: Incoming, registry: Registry): string =>
  /^(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d+)?$/i.exec(headers["host"] ?? "")?.[0] ??
    registry.name.replace(/[^a-z0-9.:-]/gi, "-")

const needsOf = (endpoint: Endpoint, method: string): Guard.Needs =>
  Guard.needsOf({ endpoint, method, query: new URLSearchParams() })

/** Returns the permissions that a view needs, which are those of the request that reads the same. */
const needsOfView = (address: Address.Address): Guard.Needs => {
  switch (address._tag) {
    case "Repositories":
    case "Space":
      return needsOf({ _tag: "Catalog" }, "GET")
    case "SignIn":
      return needsOf({ _tag: "Base" }, "GET")
    case "Repository":
      return needsOf({ _tag: "Tags", repository: address.repository }, "GET")
    case "Image":
      return needsOf({ ...address, _tag: "Manifest" }, "GET")
  }
}

/** Returns the permissions that a change needs, which are those of the request that does the same. */
const needsOfChange = ({ change, digest, repository }: Pick<Actions.Request, "change" | "digest" | "repository">) =>
  needsOf({ _tag: "Manifest", repository, reference: digest }, change === "tag" ? "PUT" : "DELETE")

const guardOf = (authentication: Authentication.Authentication | undefined): Guard.Guard => {
  if (authentication === undefined) return Guard.open
  if (authentication._tag === "Basic") return Guard.basic(authentication)
  // browsers have no tokens
  const { authorize, check, service } = authentication
  return Guard.basic(Authentication.basic({ authorize, check, realm: service }))
}

// ---------------------------------------------------------------------------------------------------------------------
// responses
// ---------------------------------------------------------------------------------------------------------------------

const response = (page: Page.Page, status: number = 200, headers: Readonly<Record<string, string>> = {}) =>
  HttpServerResponse.setHeaders(Page.response(page, status), { vary: "accept", ...headers })

const redirect = (to: string) =>
  HttpServerResponse.empty({ status: 303, headers: { ...Page.headers, "cache-control": "no-store", location: to } })

const titles: Readonly<Record<number, string>> = {
  400: "Not understood",
  401: "Password required",
  403: "Not allowed",
  404: "Not found",
  409: "Not changed",
  415: "Not a form",
  429: "Too many requests",
  503: "Too busy"
}

/** Converts a refusal to a page. */
const refused = ({ headers, message, status }: Refusal.Refusal) => {
  const title = titles[status] ?? "It did not work"
  const body = html`<main><h1>${title}</h1><p>${message}</p><p><a href="/">To the repositories</a></p></main>`
  return response({ title, body }, status, headers)
}

const busy = (message: string) => Refusal.make(503, "TOOMANYREQUESTS", message, { "retry-after": "5" })

// ---------------------------------------------------------------------------------------------------------------------
// the page
// ---------------------------------------------------------------------------------------------------------------------

/** Number of views that are made at the same time, and of those that wait. */
const viewsAtATime = 4
const maximumWaiting = 32

/** Maximum time in which a view is made. */
const timeout = Duration.seconds(15)

/** Lifetime of the token in a form. */
const formLifetime = Duration.hours(12)

/** Creates what runs few effects at a time, and refuses them if many wait. */
const makeTurns = () => {
  const turns = Semaphore.makeUnsafe(viewsAtATime)
  let waiting = 0
  return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Refusal.Refusal, R> =>
    Effect.suspend((): Effect.Effect<A, E | Refusal.Refusal, R> => {
      if (waiting >= viewsAtATime + maximumWaiting) return Effect.fail(busy("too many pages are being made"))
      waiting++
      return Effect.ensuring(
        turns.withPermit(effect),
        Effect.sync(() => {
          waiting--
        })
      )
    }).pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(busy("it takes too long to make this page"))
      })
    )
}

/**
 * Creates a middleware that answers browsers with the page of a registry, and leaves other requests to its app. The
 * registry may be another one than that of the app: for a cache, its store shows what is cached and asks no upstream.
 *
 * **Example** (A registry with its page)
 *
 * ```ts import.meta.vitest
 * import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import * as MemoryRegistry from "effect-oci/MemoryRegistry"
 * import * as RegistryPage from "effect-oci/RegistryPage"
 * import * as RegistryServer from "effect-oci/RegistryServer"
 * import { HttpServer } from "effect/http"
 * import { createServer } from "node:http"
 *
 * const Server = Layer.unwrap(Effect.gen(function*() {
 *   const registry = yield* MemoryRegistry.make()
 *   const withPage = yield* RegistryPage.make(registry)
 *   return HttpServer.serve(withPage(yield* RegistryServer.make(registry)))
 * })).pipe(
 *   Layer.provide(NodeHttpServer.layer(() => createServer({ requestTimeout: 0 }), { host: "127.0.0.1", port: 5000 }))
 * )
 *
 * NodeRuntime.runMain(Layer.launch(Server))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  registry: Registry,
  options: Options = {}
): Effect.fn.Return<(app: App) => App, never, Scope.Scope> {
  const { authentication, changes = "none", check = Effect.undefined, isSecure = false, remark } = options
  const guard = guardOf(authentication)
  const limits = yield* Limits.make(Limits.valuesOf(options))
  const objection = SameSite.make(options.allowedHosts)
  const tokens = yield* SignedTokens.make("page", undefined)
  const sources: Views.Sources = { registry, check, space: yield* Space.make(registry) }
  const inTurn = makeTurns()

  const isAllowed = (change: Address.Change): boolean =>
    changes === "all" || changes === "no-deletes" && change === "tag"

  const admit = Effect.fnUntraced(function*(incoming: Incoming, visit: Limits.Visit, needs: Guard.Needs) {
    const identity = yield* guard.admit(incoming, needs)
    if (identity.user !== undefined) yield* visit.identify(identity.user)
    return identity
  })

  const contextOf = Effect.fnUntraced(function*(
    incoming: Incoming,
    { user }: Identity,
    address: Address.Address,
    query: URLSearchParams
  ) {
    const context: Frame.Context = {
      at: yield* DateTime.now,
      host: hostOf(incoming, registry),
      isSecure,
      remark,
      user,
      canSignIn: authentication !== undefined,
      notice: Actions.noticeOf(query),
      current: address._tag
    }
    return context
  })

  /** Returns the forms that a viewer may use. */
  const formsOf = Effect.fnUntraced(function*({ may, user }: Identity, repository: string) {
    if (changes === "none") return Forms.none
    const can = (action: "push" | "delete") => may({ type: "repository", name: repository, action })
    const forms: Forms.Forms = {
      token: yield* tokens.sign(
        { use: "form", ...user === undefined ? {} : { username: user }, scope: "" },
        formLifetime
      ),
      canTag: yield* can("push"),
      canDelete: changes === "all" && (yield* can("delete"))
    }
    return forms
  })

  const view = Effect.fnUntraced(function*(
    incoming: Incoming,
    visit: Limits.Visit,
    address: Address.Address,
    query: URLSearchParams
  ) {
    const identity = yield* admit(incoming, visit, needsOfView(address))
    const context = yield* contextOf(incoming, identity, address, query)
    const { sees } = identity
    switch (address._tag) {
      case "SignIn":
        return redirect("/")
      case "Repositories":
        return response(yield* Views.repositories(sources, context, sees, query))
      case "Space":
        return response(yield* Views.space(sources, context, sees))
      case "Repository":
        return response(yield* Views.repository(sources, context, address.repository, query))
      case "Image": {
        const { reference, repository } = address
        const forms = yield* formsOf(identity, repository)
        return response(yield* Views.image(sources, context, repository, reference, forms))
      }
    }
  })

  const change = Effect.fnUntraced(function*(
    incoming: Incoming,
    visit: Limits.Visit,
    asked: Address.Change,
    field: Actions.Fields
  ) {
    const request = yield* Actions.parse(asked, field)
    const identity = yield* admit(incoming, visit, needsOfChange(request))
    const claims = yield* tokens.read(field("token") ?? "", "form")
    // a token of another user is no permission
    if (claims === undefined || claims.username !== identity.user) {
      return yield* Refusal.make(403, "DENIED", "the form is out of date; load its page again")
    }
    const next = yield* Actions.run(registry, request)
    yield* sources.space.expire
    return redirect(next)
  })

  const submit = Effect.fnUntraced(function*(incoming: Incoming, visit: Limits.Visit, asked: Address.Change) {
    if (!FormBody.isForm(incoming)) return yield* Refusal.make(415, "UNSUPPORTED", "only forms are accepted here")
    // takes no turn, because a form may arrive slowly
    const field = yield* Effect.mapError(
      FormBody.read(incoming),
      () => Refusal.make(400, "UNSUPPORTED", "the form is too large, or did not arrive")
    )
    return yield* inTurn(change(incoming, visit, asked, field))
  })

  /** Counts a request until its response is sent. Fails if it comes from another site, or if there are too many. */
  const enter = (incoming: Incoming): Effect.Effect<Limits.Visit, Refusal.Refusal, Scope.Scope> => {
    const message = objection(originOf(incoming))
    return message === undefined ? limits.enter(incoming) : Effect.fail(Refusal.make(403, "DENIED", message))
  }

  const rendered = (
    incoming: Incoming,
    answer: (
      visit: Limits.Visit
    ) => Effect.Effect<HttpServerResponse.HttpServerResponse, Refusal.Refusal | RegistryError>
  ) =>
    Effect.flatMap(enter(incoming), answer).pipe(
      Effect.catch((error) => Effect.map(refusalOf(incoming, error), refused)),
      Effect.catchDefect((defect) => Effect.map(internal(incoming, defect), refused)),
      // ends when the viewer has gone
      Effect.interruptible
    )

  return (app) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (incoming) => {
      const { method, url } = incoming
      const [path, query] = split(url)
      if (method === "GET" || method === "HEAD") {
        const asset = Page.assets(path)
        if (asset !== undefined) return Effect.succeed(asset)
        const address = Address.parse(path)
        return address === undefined || !acceptsHtml(incoming)
          ? app
          : rendered(incoming, (visit) => inTurn(view(incoming, visit, address, query)))
      }
      const asked = method === "POST" ? Address.changeOf(path) : undefined
      return asked === undefined || !isAllowed(asked)
        ? app
        : rendered(incoming, (visit) => submit(incoming, visit, asked))
    })
})

/** Converts a failure to a refusal. Failures that are not the fault of the viewer are logged. */
const refusalOf = (incoming: Incoming, error: Refusal.Refusal | RegistryError): Effect.Effect<Refusal.Refusal> => {
  if (!isRegistryError(error)) return Effect.succeed(error)
  const refusal = Refusal.ofError(error, "read")
  return refusal.status < 500 ? Effect.succeed(refusal) : FailureReport.identified(incoming, refusal, Cause.fail(error))
}

const internal = (incoming: Incoming, defect: unknown) =>
  FailureReport.identified(incoming, Refusal.make(500, "UNKNOWN", "internal error of this page"), Cause.die(defect))
