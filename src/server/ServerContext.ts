/**
 * A registry while it is served, and the answers to its clients.
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

/** The answer to a request; what it holds is let go when it has been sent. */
export type Answer = Effect.Effect<HttpServerResponse.HttpServerResponse, Refusal | RegistryError, Scope.Scope>

/** Who sent a request, as far as that matters. */
export interface Identity {
  /** Name of the user, unless the request is anonymous. */
  readonly user: string | undefined
  readonly may: (permission: Permission) => Effect.Effect<boolean>
  /** Is nobody asked who they are, and everybody allowed everything? */
  readonly isAnybody: boolean
}

/** A client while its request is in flight. */
export interface Caller extends Identity {
  readonly visit: Visit
}

export type Incoming = HttpServerRequest.HttpServerRequest

type Headers = Readonly<Record<string, string>>

/** An answer without a body. `Content-Length` is that of the content, in an answer to HEAD. */
export const empty = (status: number, headers: Headers, contentLength: number = 0) =>
  HttpServerResponse.empty({ status, headers: { ...headers, "content-length": `${contentLength}` } })

/** What an answer tells of content: its digest, of which its entity tag is made, since content never changes. */
export const contentHeaders = (digest: Digest): Headers => ({
  "docker-content-digest": digest,
  etag: `"${digest}"`
})
