/**
 * Values that the handlers of requests share.
 */
import type * as Effect from "effect/Effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Scope from "effect/Scope"
import type { Digest } from "../Digest.ts"
import type { Registry } from "../Registry.ts"
import type { RegistryError } from "../RegistryError.ts"
import type { Permission } from "./Authentication.ts"
import type { IdleWatch } from "./IdleWatch.ts"
import type { Visit } from "./Limits.ts"
import type { Refusal } from "./Refusal.ts"
import type { Sessions } from "./Sessions.ts"
import type { Settings } from "./Settings.ts"

export interface ServerContext {
  readonly registry: Registry
  readonly settings: Settings
  readonly sessions: Sessions
  readonly idle: IdleWatch
}

/** Response to a request. Its resources are released after it has been sent. */
export type Answer = Effect.Effect<HttpServerResponse.HttpServerResponse, Refusal | RegistryError, Scope.Scope>

/** Identity of the client of a request. */
export interface Identity {
  /** Name of the user. `undefined` for an anonymous request. */
  readonly user: string | undefined
  /** Decides whether the client has a permission. */
  readonly may: (permission: Permission) => Effect.Effect<boolean>
  /** Decides whether the catalog contains a repository for the client. */
  readonly sees: (repository: string) => Effect.Effect<boolean>
  /** True if the server has no authentication, so that every client may do everything. */
  readonly isUnrestricted: boolean
}

/** Client of a request in flight. */
export interface Caller extends Identity {
  readonly visit: Visit
}

export type Incoming = HttpServerRequest.HttpServerRequest

type Headers = Readonly<Record<string, string>>

/** Returns a response without a body. In a response to HEAD, `contentLength` is the size of the content, in bytes. */
export const empty = (status: number, headers: Headers, contentLength: number = 0) =>
  HttpServerResponse.empty({ status, headers: { ...headers, "content-length": `${contentLength}` } })

/** Returns the headers that identify content. The digest serves as entity tag, because content never changes. */
export const contentHeaders = (digest: Digest): Headers => ({
  "docker-content-digest": digest,
  etag: `"${digest}"`
})
