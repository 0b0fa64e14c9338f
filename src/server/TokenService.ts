/**
 * Token service of a registry: GET as in the token specification of CNCF distribution, and POST as in its OAuth 2
 * variant (RFC 6749, 4.3 and 6).
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TokenScope from "../TokenScope.ts"
import type { Authentication, Permission } from "./Authentication.ts"
import * as Body from "./Body.ts"
import * as Endpoint from "./Endpoint.ts"
import * as Guard from "./Guard.ts"
import type { IdleWatch } from "./IdleWatch.ts"
import * as Refusal from "./Refusal.ts"
import type { Answer, Incoming } from "./ServerContext.ts"
import type { SignedTokens } from "./SignedTokens.ts"

/** Maximum size of a form, in bytes. */
const formLimit = 64 * 1024

const isAction = Schema.is(Schema.Literals(["pull", "push", "delete", "*"]))

/** Returns the resource of a scope if it is a valid repository name or the catalog. */
const resourceOf = (text: string): Pick<Permission, "type" | "name"> | undefined => {
  if (text === "registry:catalog") return { type: "registry", name: "catalog" }
  const [, name] = /^repository:(.+)$/.exec(text) ?? []
  return name !== undefined && Result.isSuccess(Endpoint.parseRepository(name))
    ? { type: "repository", name }
    : undefined
}

/** Returns the permissions that a client asks for. Other parts of the scope are ignored and not granted. */
const permissionsIn = (scope: TokenScope.TokenScope): ReadonlyArray<Permission> =>
  Array.from(scope.resources).flatMap(([text, asked]) => {
    const resource = resourceOf(text)
    return resource === undefined ? [] : Array.from(asked).filter(isAction).map((action) => ({ ...resource, action }))
  })

/** Returns an error response of OAuth 2 (RFC 6749, 5.2). */
const oauthError = (error: string) => HttpServerResponse.jsonUnsafe({ error }, { status: 400 })

const uncached = { "cache-control": "no-store" }

export const make = (
  { authorize, check, lifetime, refreshLifetime, service }: Extract<Authentication, { readonly _tag: "Bearer" }>,
  tokens: SignedTokens,
  idle: IdleWatch
): (request: Incoming) => Answer => {
  const grant = Effect.fnUntraced(
    function*(username: string | undefined, scopes: ReadonlyArray<string>, wantsRefresh: boolean) {
      const asked = permissionsIn(TokenScope.parse(scopes.join(" ")))
      const [granted, refused] = yield* Effect.partition(asked, (permission) =>
        Effect.flatMap(
          authorize(username, permission),
          (isAllowed) => isAllowed ? Effect.succeed(permission) : Effect.fail(permission)
        ))
      const scope = TokenScope.format(Guard.scopeOf(granted))
      const who = username === undefined ? {} : { username }
      const token = yield* tokens.sign({
        use: "access",
        scope,
        ...refused.length === 0 ? {} : { refused: TokenScope.format(Guard.scopeOf(refused)) },
        ...who
      }, lifetime)
      const issued = DateTime.formatIso(DateTime.makeUnsafe(yield* Clock.currentTimeMillis))
      return HttpServerResponse.jsonUnsafe({
        token,
        access_token: token,
        token_type: "Bearer",
        scope,
        expires_in: Math.floor(Duration.toSeconds(lifetime)),
        issued_at: issued,
        ...wantsRefresh && username !== undefined && !Duration.isZero(refreshLifetime)
          ? { refresh_token: yield* tokens.sign({ use: "refresh", scope: "", ...who }, refreshLifetime) }
          : {}
      }, { headers: uncached })
    }
  )

  const otherService = (parameters: URLSearchParams) => (parameters.get("service") ?? service) !== service

  const get = Effect.fnUntraced(function*(request: Incoming, query: URLSearchParams) {
    const username = yield* Guard.userOf(request, check, Guard.basicChallenge(service))
    if (otherService(query)) {
      return yield* Refusal.make(400, "UNSUPPORTED", "this server issues no tokens for that service")
    }
    return yield* grant(username, query.getAll("scope"), query.get("offline_token") === "true")
  })

  const post = Effect.fnUntraced(
    function*(request: Incoming) {
      if ((Body.lengthOf(request) ?? 0) > formLimit) return yield* Body.tooLarge(formLimit)
      const { stream } = yield* Body.open(idle, request, { limit: formLimit })
      const form = new URLSearchParams(yield* Stream.mkString(Stream.decodeText(stream)))
      if (otherService(form)) return oauthError("invalid_request")
      const scopes = form.getAll("scope")
      switch (form.get("grant_type")) {
        case "password": {
          const username = form.get("username") ?? ""
          return (yield* check(username, Redacted.make(form.get("password") ?? "")))
            ? yield* grant(username, scopes, form.get("access_type") === "offline")
            : oauthError("invalid_grant")
        }
        case "refresh_token": {
          const claims = yield* tokens.read(form.get("refresh_token") ?? "", "refresh")
          return claims === undefined ? oauthError("invalid_grant") : yield* grant(claims.username, scopes, false)
        }
        default:
          return oauthError("unsupported_grant_type")
      }
    },
    Effect.scoped
  )

  return (request) => {
    const mark = request.url.indexOf("?")
    switch (request.method) {
      case "GET":
      case "HEAD":
        return get(request, new URLSearchParams(mark < 0 ? "" : request.url.slice(mark + 1)))
      case "POST":
        return post(request)
      default:
        return Effect.fail(
          Refusal.make(405, "UNSUPPORTED", "the token service accepts GET and POST only", { allow: "GET, HEAD, POST" })
        )
    }
  }
}
