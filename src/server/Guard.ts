/**
 * The door: who asks, and whether they may (RFC 9110, 11; RFC 7617; RFC 6750; the token specification of CNCF
 * distribution).
 */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as TokenScope from "../TokenScope.ts"
import type { Authentication, Check, Permission } from "./Authentication.ts"
import * as Endpoint from "./Endpoint.ts"
import * as Refusal from "./Refusal.ts"
import type { Identity, Incoming } from "./ServerContext.ts"
import type * as SignedTokens from "./SignedTokens.ts"

export interface Guard {
  /** Lets in who may do all that is needed. */
  readonly admit: (request: Incoming, needs: Needs) => Effect.Effect<Identity, Refusal.Refusal>
  /** What a client that is refused is asked for. */
  readonly challenge: (request: Incoming, needs: Needs) => string
}

/** What a request needs to be allowed. */
export interface Needs {
  readonly needed: ReadonlyArray<Permission>
  /** Without this it is answered in another way. */
  readonly wished: ReadonlyArray<Permission>
}

export const tokenPath = "/token"

const on = (name: string, ...actions: ReadonlyArray<Permission["action"]>): ReadonlyArray<Permission> =>
  actions.map((action) => ({ type: "repository", name, action }))

const catalog: ReadonlyArray<Permission> = [{ type: "registry", name: "catalog", action: "*" }]

/** That it is known who asks is all that the base needs; a mount needs to read from where it is. */
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

/** The credentials of a request; an empty text if it has none of that scheme. */
const credentialsOf = ({ headers }: Incoming, scheme: keyof typeof schemes): string =>
  schemes[scheme].exec(headers["authorization"] ?? "")?.[1] ?? ""

/** The name and password of a request; nothing where it has none that could be right. */
const basicOf = (
  request: Incoming
): { readonly username: string; readonly password: Redacted.Redacted } | undefined => {
  const decoded = Base64.decodeString(credentialsOf(request, "Basic"))
  const [, username, password] = Result.isSuccess(decoded) ? /^([^:]*):(.*)$/s.exec(decoded.success) ?? [] : []
  return username === undefined || password === undefined
    ? undefined
    : { username, password: Redacted.make(password) }
}

/** Who has the name and password of a request; nobody where it has none. Fails where they are wrong. */
export const userOf = Effect.fnUntraced(function*(request: Incoming, check: Check, challenge: string) {
  if (request.headers["authorization"] === undefined) return undefined
  const given = basicOf(request)
  if (given !== undefined && (yield* check(given.username, given.password))) return given.username
  return yield* Refusal.make(401, "UNAUTHORIZED", "name or password are wrong", { "www-authenticate": challenge })
})

const quoted = (text: string): string => `"${text.replaceAll(/[^\x20-\x7e]/g, "").replaceAll(/["\\]/g, "\\$&")}"`

export const basicChallenge = (realm: string): string => `Basic realm=${quoted(realm)}, charset="UTF-8"`

export const scopeOf = (permissions: ReadonlyArray<Permission>): TokenScope.TokenScope =>
  permissions
    .map(({ action, name, type }) => TokenScope.make(`${type}:${name}`, action))
    .reduce(TokenScope.union, TokenScope.empty)

export const basic = ({ authorize, check, realm }: Extract<Authentication, { readonly _tag: "Basic" }>): Guard => {
  const challenge = basicChallenge(realm)
  return {
    admit: Effect.fnUntraced(function*(request, { needed }) {
      const username = yield* userOf(request, check, challenge)
      const may = (permission: Permission) => authorize(username, permission)
      // who only asks for the base wants to know how to say who it is
      const isAllowed = needed.length === 0
        ? username !== undefined
        : (yield* Effect.forEach(needed, may)).every((isAllowed) => isAllowed)
      if (isAllowed) return { user: username, may, isAnybody: false }
      return yield* username === undefined
        ? Refusal.make(401, "UNAUTHORIZED", "name and password are needed", { "www-authenticate": challenge })
        : Refusal.make(403, "DENIED", "this is not allowed")
    }),
    challenge: () => challenge
  }
}

export const bearer = (
  { realm, service }: Extract<Authentication, { readonly _tag: "Bearer" }>,
  tokens: SignedTokens.SignedTokens
): Guard => {
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
      if (request.headers["authorization"] === undefined) return yield* refuse("a token is needed")
      const claims = yield* tokens.read(credentialsOf(request, "Bearer"), "access")
      if (claims === undefined) return yield* refuse("the token is not valid, or not any longer", "invalid_token")
      const allowed = TokenScope.parse(claims.scope)
      const asked = TokenScope.union(allowed, TokenScope.parse(claims.refused ?? ""))
      // whoever has asked for it, and has not got it, need not ask again
      if (!TokenScope.contains(allowed, scopeOf(needs.needed)) || !TokenScope.contains(asked, scopeOf(needs.wished))) {
        return yield* refuse("the token does not allow this", "insufficient_scope")
      }
      const may = (permission: Permission) => Effect.succeed(TokenScope.contains(allowed, scopeOf([permission])))
      return { user: claims.username, may, isAnybody: false }
    }),
    challenge
  }
}

/** Everybody may do everything. */
export const open: Guard = {
  admit: () => Effect.succeed({ user: undefined, may: () => Effect.succeed(true), isAnybody: true }),
  challenge: () => basicChallenge("registry")
}
