/**
 * Authorization of the requests to one registry: the scope that each request needs, and the credentials or token that
 * it carries.
 */
import * as Effect from "effect/Effect"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { Tokens } from "../auth/Tokens.ts"
import type { Repository } from "../Reference.ts"
import type * as RegistryError from "../RegistryError.ts"
import * as TokenScope from "../TokenScope.ts"

/** Operation that a request belongs to. */
export interface Operation {
  readonly operation: string
  readonly repository?: Repository | undefined
  /** Another repository that the operation reads, such as the source of a mount. */
  readonly from?: Repository | undefined
}

/** Returns the scope that registries require of a request, by its method and repositories. */
const scopeOf = ({ from, operation, repository }: Operation, { method }: HttpClientRequest.HttpClientRequest) => {
  if (repository === undefined) return operation === "repositories" ? TokenScope.catalog : TokenScope.empty
  if (method === "GET" || method === "HEAD") return TokenScope.repository(repository, "pull")
  // to cancel an upload is part of pushing; registries with another opinion say so in their challenge
  if (method === "DELETE" && operation !== "cancel") return TokenScope.repository(repository, "delete")
  const push = TokenScope.repository(repository, "pull", "push")
  return from === undefined ? push : TokenScope.union(push, TokenScope.repository(from, "pull"))
}

/** Authorization of one request, which may be sent several times. */
export interface Authorization {
  /** Returns the request to send first. It has a token or credentials if the registry is known to require them. */
  readonly opening: Effect.Effect<HttpClientRequest.HttpClientRequest, RegistryError.Reason>
  /** Returns the request to send after a 401, or `undefined` if there is nothing left to try. */
  readonly reply: (
    challenges: string | undefined
  ) => Effect.Effect<HttpClientRequest.HttpClientRequest | undefined, RegistryError.Reason>
  /** Records a 401 for later requests, when this one cannot be sent again. */
  readonly heed: (challenges: string | undefined) => Effect.Effect<void>
  /** Returns true if the registry has refused a token that was issued for these credentials and this request. */
  readonly isKnown: () => boolean
}

/** Starts the authorization of a request to the registry. */
export const begin = (
  tokens: Tokens,
  operation: Operation,
  request: HttpClientRequest.HttpClientRequest
): Authorization => {
  const { heed, isKnown, opening, reply } = tokens.begin({
    repository: operation.repository,
    scope: scopeOf(operation, request)
  })
  return {
    opening: Effect.map(opening, (authorize) => authorize?.(request) ?? request),
    reply: (challenges) => Effect.map(reply(challenges), (authorize) => authorize?.(request)),
    heed,
    isKnown
  }
}

/** Starts the authorization of a request to another origin, which receives no credentials. */
export const none = (request: HttpClientRequest.HttpClientRequest): Authorization => ({
  opening: Effect.succeed(request),
  reply: () => Effect.undefined,
  heed: () => Effect.void,
  isKnown: () => false
})
