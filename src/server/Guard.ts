/**
 * Authentication and authorization of requests (RFC 9110, 11; RFC 7617; RFC 6750; the token specification of CNCF
 * distribution).
 */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as TokenScope from "../TokenScope.ts"
import type { Authentication, Authorize, Check, Permission } from "./Authentication.ts"
import * as Endpoint from "./Endpoint.ts"
import * as Refusal from "./Refusal.ts"
import type { Identity, Incoming } from "./ServerContext.ts"
import type * as SignedTokens from "./SignedTokens.ts"

export interface Guard {
  /** Returns the identity of the client. Fails unless it has all needed permissions. */
  readonly admit: (request: Incoming, needs: Needs) => Effect.Effect<Identity, Refusal.Refusal>
  /** Returns the challenge (`WWW-Authenticate`) for a refused client. */
  readonly challenge: (request: Incoming, needs: Needs) => string
}

/** Permissions for a request. */
export interface Needs {
  readonly needed: ReadonlyArray<Permission>
  /** Permissions without which the request is answered differently, such as a mount with an upload session. */
  readonly wished: ReadonlyArray<Permission>
}

export const tokenPath = "/token"

const on = (name: string, ...actions: ReadonlyArray<Permission["action"]>): ReadonlyArray<Permission> =>
  actions.map((action) => ({ type: "repository", name, action }))

/** Returns what decides whether the catalog contains a repository for a user. */
const sight = (authorize: Authorize, username: string | undefined) => (name: string) =>
  authorize(username, { type: "repository", name, action: "pull" })

const catalog: ReadonlyArray<Permission> = [{ type: "registry", name: "catalog", action: "*" }]

/**
 * Returns the permissions that a request needs: none beyond a valid login for `/v2/`, and for a mount also `pull` on
 * the source repository.
 */
export const needsOf = (request: Endpoint.Request): Needs => {
  const { endpoint, query } = request
  const from = endpoint._tag === "Uploads" && query.has("mount") ? query.get("from") : null
  return {
    needed: permissionsOf(request),
    wished: from !== null && Result.isSuccess(Endpoint.parseRepository(from)) ? on(from, "pull") : []
  }
}

const permissionsOf = ({ endpoint, method }: Endpoint.Request): ReadonlyArray<Permission> => {
  switch (endpoint._tag) {
    case "Base":
      return []
    case "Catalog":
      return catalog
    case "Tags":
    case "Referrers":
      return on(endpoint.repository, "pull")
    case "Uploads":
    case "Upload":
      return on(endpoint.repository, "pull", "push")
    case "Manifest":
    case "Blob":
      return on(
        endpoint.repository,
        ...method === "DELETE" ? ["delete" as const] : method === "PUT" ? ["pull", "push"] as const : ["pull" as const]
      )
  }
}

const schemes = { Basic: /^Basic +([^ ]+) *$/i, Bearer: /^Bearer +([^ ]+) *$/i }

/** Returns the credentials of a request in that scheme, or an empty string. */
const credentialsOf = ({ headers }: Incoming, scheme: keyof typeof schemes): string =>
  schemes[scheme].exec(headers["authorization"] ?? "")?.[1] ?? ""

/** Returns the user name and password of a request, or `undefined` if they are absent or malformed. */
const basicOf = (
  request: Incoming
): { readonly username: string; readonly password: Redacted.Redacted } | undefined => {
  const decoded = Base64.decodeString(credentialsOf(request, "Basic"))
  const [, username, password] = Result.isSuccess(decoded) ? /^([^:]*):(.*)$/s.exec(decoded.success) ?? [] : []
  return username === undefined || password === undefined
    ? undefined
    : { username, password: Redacted.make(password) }
}

/**
 * Returns the user of a request, or `undefined` without credentials. Fails if the credentials are wrong. Skopeo and
 * podman without credentials send an empty user name and password.
 */
export const userOf = Effect.fnUntraced(function*(request: Incoming, check: Check, challenge: string) {
  if (request.headers["authorization"] === undefined) return undefined
  const given = basicOf(request)
  if (given?.username === "" && Redacted.value(given.password) === "") return undefined
  if (given !== undefined && (yield* check(given.username, given.password))) return given.username
  return yield* Refusal.make(401, "UNAUTHORIZED", "the user name or password is wrong", {
    "www-authenticate": challenge
  })
})

const quoted = (text: string): string => `"${text.replaceAll(/[^\x20-\x7e]/g, "").replaceAll(/["\\]/g, "\\$&")}"`

export const basicChallenge = (realm: string): string => `Basic realm=${quoted(realm)}, charset="UTF-8"`

export const scopeOf = (permissions: ReadonlyArray<Permission>): TokenScope.TokenScope =>
  permissions
    .map(({ action, name, type }) => TokenScope.make(`${type}:${name}`, action))
    .reduce(TokenScope.union, TokenScope.empty)

/** Returns the identity of a client with a password, or of an anonymous one. */
const admitByPassword = Effect.fnUntraced(function*(
  request: Incoming,
  { needed }: Needs,
  { authorize, check }: Pick<Authentication, "authorize" | "check">,
  challenge: string
): Effect.fn.Return<Identity, Refusal.Refusal> {
  const username = yield* userOf(request, check, challenge)
  const may = (permission: Permission) => authorize(username, permission)
  // a client requests `/v2/` to learn how to authenticate, so an anonymous request gets the challenge
  const isAllowed = needed.length === 0
    ? username !== undefined
    : (yield* Effect.forEach(needed, may)).every((isAllowed) => isAllowed)
  if (isAllowed) return { user: username, may, sees: sight(authorize, username), isUnrestricted: false }
  return yield* username === undefined
    ? Refusal.make(401, "UNAUTHORIZED", "a user name and password are required", { "www-authenticate": challenge })
    : Refusal.make(403, "DENIED", "this user has no permission for the request")
})

export const basic = (authentication: Extract<Authentication, { readonly _tag: "Basic" }>): Guard => {
  const challenge = basicChallenge(authentication.realm)
  return {
    admit: (request, needs) => admitByPassword(request, needs, authentication, challenge),
    challenge: () => challenge
  }
}

export const bearer = (
  authentication: Extract<Authentication, { readonly _tag: "Bearer" }>,
  tokens: SignedTokens.SignedTokens
): Guard => {
  const { authorize, passwords, realm, service } = authentication
  const realmOf = (request: Incoming): string =>
    realm ?? Option.match(HttpServerRequest.toURL(request), {
      onNone: () => tokenPath,
      onSome: ({ origin }) => origin + tokenPath
    })
  const challenge: Guard["challenge"] = (request, { needed, wished }) => {
    const scope = TokenScope.format(scopeOf([...needed, ...wished]))
    return `Bearer realm=${quoted(realmOf(request))},service=${quoted(service)}` +
      (scope === "" ? "" : `,scope=${quoted(scope)}`)
  }
  return {
    admit: Effect.fnUntraced(function*(request, needs) {
      const refuse = (message: string, error?: string) =>
        Refusal.make(401, "UNAUTHORIZED", message, {
          "www-authenticate": challenge(request, needs) + (error === undefined ? "" : `,error=${quoted(error)}`)
        })
      if (request.headers["authorization"] === undefined) return yield* refuse("a token is required")
      if (passwords === "everywhere" && credentialsOf(request, "Basic") !== "") {
        return yield* admitByPassword(request, needs, authentication, challenge(request, needs))
      }
      const claims = yield* tokens.read(credentialsOf(request, "Bearer"), "access")
      if (claims === undefined) return yield* refuse("the token is invalid or has expired", "invalid_token")
      const allowed = TokenScope.parse(claims.scope)
      const asked = TokenScope.union(allowed, TokenScope.parse(claims.refused ?? ""))
      // a permission that the token service already refused is not demanded again, because the client cannot get it
      if (!TokenScope.contains(allowed, scopeOf(needs.needed)) || !TokenScope.contains(asked, scopeOf(needs.wished))) {
        return yield* refuse("the token lacks the permission for the request", "insufficient_scope")
      }
      const may = (permission: Permission) => Effect.succeed(TokenScope.contains(allowed, scopeOf([permission])))
      // the token names the repositories that the client asked for, and the catalog has others
      return { user: claims.username, may, sees: sight(authorize, claims.username), isUnrestricted: false }
    }),
    challenge
  }
}

/** Guard that allows every request. */
export const open: Guard = {
  admit: () =>
    Effect.succeed({
      user: undefined,
      may: () => Effect.succeed(true),
      sees: () => Effect.succeed(true),
      isUnrestricted: true
    }),
  challenge: () => basicChallenge("registry")
}
