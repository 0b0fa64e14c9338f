/**
 * Requests for tokens: by GET, with a user name and password or anonymously, or by POST with a refresh token (the token
 * specification of CNCF distribution; RFC 6749, 6).
 *
 * Only the registry names its token service, in a response from its own origin. Credentials go only to that address, if
 * the registry may lead to it (`AddressPolicy`) and it may receive them (`TokenRealms`). It must use HTTPS, unless the
 * registry itself is addressed in plain HTTP, or the service is on this machine. Redirects are followed for GET only,
 * because the body of a POST contains the refresh token.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Headers from "effect/http/Headers"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import * as ErrorBody from "../http/ErrorBody.ts"
import * as Redirects from "../http/Redirects.ts"
import * as ResponseBody from "../http/ResponseBody.ts"
import * as RetryAfter from "../http/RetryAfter.ts"
import * as Spans from "../http/Spans.ts"
import * as TransportFailure from "../http/TransportFailure.ts"
import { withParameters } from "../http/Urls.ts"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import { identityUser } from "./CredentialHelper.ts"
import type { Credential } from "./Credentials.ts"
import type { Secrets } from "./Secrets.ts"
import * as TokenRealms from "./TokenRealms.ts"

/**
 * Maximum time that a token service may take to issue a token.
 *
 * @default 60 seconds
 * @category references
 * @since 0.1.0
 */
export const TokenTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/HttpRegistry/TokenTimeout",
  { defaultValue: () => Duration.seconds(60) }
)

/** A request for a token. If two are equal, the token of one serves for the other. */
export interface Ask {
  readonly realm: string
  readonly service: string
  readonly credential: Exclude<Credential, { readonly _tag: "RegistryToken" }> | undefined
  readonly scopes: ReadonlyArray<string>
}

export interface Token {
  readonly value: Redacted.Redacted
  /** Time for which the token is valid, from when it was received. */
  readonly lifetime: Duration.Duration
}

/** Failure to get a token. After a refusal, a request for a smaller scope may succeed. */
export interface Failure {
  readonly reason: RegistryError.Unauthorized | RegistryError.Denied | RegistryError.TokenUnavailable
  readonly isRefusal: boolean
}

/** The client of the token services of one registry. */
interface Services {
  readonly registry: URL
  readonly client: HttpClient.HttpClient
  readonly secrets: Secrets
  readonly tokenRealms: TokenRealms.TokenRealms
  /** Latest refresh token for each one that was given: a service may replace it with each token. */
  readonly newest: Map<string, Redacted.Redacted>
  /** Realms that do not support POST. */
  readonly withoutPost: Set<string>
}

/** A response, and its body unless that exceeds the limit. */
interface Received {
  readonly response: HttpClientResponse.HttpClientResponse
  readonly bytes: Uint8Array | undefined
}

// maximum size of a response, in bytes
const answerLimit = 1024 * 1024

// in seconds; the token specification says the first for a service that omits the lifetime
const defaultLifetime = 60
const longestLifetime = 365 * 24 * 60 * 60

// name of this client, for services that require one: RFC 6749, 2.2
const clientId = "effect-oci"

const decodeAnswer = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))

const textOf = (value: unknown): string | undefined => typeof value === "string" && value !== "" ? value : undefined

// statuses with which services that support only GET refuse POST
// maximum number of realms that are remembered, because a registry names them
const mostRealms = 100

const withoutPostStatuses: ReadonlySet<number> = new Set([400, 401, 403, 404, 405])

/** Returns the URL of a realm. Fails if the realm is not a URL, or the registry must not lead to it. */
export const realmOf = Effect.fnUntraced(function*(
  registry: URL,
  realm: string
): Effect.fn.Return<URL, RegistryError.TokenUnavailable> {
  const url = URL.canParse(realm) ? new URL(realm) : undefined
  if (url === undefined) {
    return yield* new RegistryError.TokenUnavailable({ problem: "its realm is not a URL", isTemporary: false })
  }
  const refuse = (problem: string) =>
    new RegistryError.TokenUnavailable({ service: AddressPolicy.place(url), problem, isTemporary: false })
  if (url.username !== "" || url.password !== "") return yield* refuse("its URL has a name and password in it")
  const objection = yield* AddressPolicy.objection(registry, url)
  if (objection !== undefined) return yield* refuse(objection)
  url.hash = ""
  return url
})

// ---------------------------------------------------------------------------------------------------------------------
// requests
// ---------------------------------------------------------------------------------------------------------------------

const unreachable = ({ url }: HttpClientRequest.HttpClientRequest) => (reason: RegistryError.Reason) =>
  new RegistryError.TokenUnavailable({
    service: new URL(url).origin,
    problem: reason._tag === "UnexpectedResponse" ? reason.detail ?? reason.message : reason.message,
    isTemporary: reason.isRetryable
  })

/** Sends a request, and reads the body of its response, even if it is of no use, to free the connection. */
const send = Effect.fnUntraced(function*(
  { client, registry }: Services,
  request: HttpClientRequest.HttpClientRequest
): Effect.fn.Return<Received, RegistryError.TokenUnavailable> {
  const policy: Redirects.Policy<RegistryError.TokenUnavailable> = {
    registry,
    check: ({ href }) => Effect.asVoid(realmOf(registry, href))
  }
  const exchange = (request: HttpClientRequest.HttpClientRequest) =>
    client.execute(request).pipe(
      Effect.mapError((error) => unreachable(request)(TransportFailure.transport(error))),
      Spans.traced(request)
    )
  const response = yield* request.method === "GET"
    ? Redirects.follow(policy, exchange, request)
    : Redirects.hop(policy, exchange, request)
  const { bytes, isComplete } = yield* Effect.mapError(
    ResponseBody.read(response, answerLimit),
    unreachable(response.request)
  )
  return { response, bytes: isComplete ? bytes : undefined }
})

const newestOf = ({ newest }: Services, token: Redacted.Redacted) => newest.get(Redacted.value(token)) ?? token

const get = (services: Services, ask: Ask, url: URL) => {
  const { credential } = ask
  const service: ReadonlyArray<[string, string]> = ask.service === "" ? [] : [["service", ask.service]]
  const scopes = ask.scopes.map((scope): [string, string] => ["scope", scope])
  const request = HttpClientRequest.get(withParameters(url.href, [...service, ...scopes]))
  return send(
    services,
    credential === undefined
      ? request
      : credential._tag === "Basic"
      ? HttpClientRequest.basicAuth(request, credential.username, credential.password)
      : HttpClientRequest.basicAuth(request, identityUser, newestOf(services, credential.token))
  )
}

const post = (services: Services, ask: Ask, url: URL, token: Redacted.Redacted) =>
  send(
    services,
    HttpClientRequest.post(url.href).pipe(HttpClientRequest.bodyUrlParams([
      ["grant_type", "refresh_token"],
      ["refresh_token", Redacted.value(newestOf(services, token))],
      ["client_id", clientId],
      ...ask.service === "" ? [] : [["service", ask.service] as const],
      ...ask.scopes.length === 0 ? [] : [["scope", ask.scopes.join(" ")] as const]
    ]))
  )

/** Sends POST if there is a refresh token and the service supports POST, and GET otherwise. */
const answerTo = Effect.fnUntraced(function*(services: Services, ask: Ask, url: URL) {
  const { withoutPost } = services
  const { credential } = ask
  if (credential?._tag !== "IdentityToken" || withoutPost.has(ask.realm)) return yield* get(services, ask, url)
  const posted = yield* post(services, ask, url, credential.token)
  const { status } = posted.response
  if (!withoutPostStatuses.has(status)) return posted
  const got = yield* get(services, ask, url)
  const isMissing = status === 404 || status === 405
  if ((isMissing || isSuccess(got.response)) && withoutPost.size < mostRealms) withoutPost.add(ask.realm)
  // a service that supports both has refused the token, and its first response explains it best
  return isSuccess(got.response) || isMissing || status === 400 ? got : posted
})

// ---------------------------------------------------------------------------------------------------------------------
// tokens
// ---------------------------------------------------------------------------------------------------------------------

/** Reads the token in a successful response. */
const tokenIn = Effect.fnUntraced(function*(
  { newest, secrets }: Services,
  { credential }: Ask,
  { origin }: URL,
  { bytes, response }: Received
): Effect.fn.Return<Token, RegistryError.TokenUnavailable> {
  const failure = (problem: string) =>
    new RegistryError.TokenUnavailable({ service: origin, problem, isTemporary: false })
  if (bytes === undefined) return yield* failure(`its answer is larger than ${answerLimit} bytes`)
  const document = decodeAnswer(new TextDecoder().decode(bytes))
  if (Result.isFailure(document)) return yield* failure("its answer is not a JSON object")
  const { access_token, expires_in, issued_at, refresh_token, token } = document.success
  const value = textOf(token) ?? textOf(access_token)
  if (value === undefined) return yield* failure("its answer has no token")
  if (!/^[\x21-\x7e]+$/.test(value)) return yield* failure("its token has characters that a header cannot contain")
  const rotated = textOf(refresh_token)
  if (credential?._tag === "IdentityToken" && rotated !== undefined) {
    const next = Redacted.make(rotated)
    secrets.add(next)
    newest.set(Redacted.value(credential.token), next)
  }
  secrets.add(Redacted.make(value))
  const now = yield* Clock.currentTimeMillis
  return { value: Redacted.make(value), lifetime: lifetimeOf(expires_in, issued_at, response.headers, now) }
})

const requestToken = Effect.fnUntraced(function*(services: Services, ask: Ask) {
  const { registry, secrets, tokenRealms } = services
  const url = yield* realmOf(registry, ask.realm)
  if (ask.credential !== undefined && !TokenRealms.mayReceive(tokenRealms, registry, url)) {
    const problem = "the policy on token realms does not allow it to receive the credentials"
    return yield* new RegistryError.TokenUnavailable({ service: url.origin, problem, isTemporary: false })
  }
  const received = yield* answerTo(services, ask, url)
  const { bytes, response } = received
  if (isSuccess(response)) return yield* tokenIn(services, ask, url, received)
  const said = ErrorBody.parse(response.headers["content-type"], bytes ?? new Uint8Array())
  const text = said.text === undefined ? "" : `: ${excerpt(secrets.strike(said.text))}`
  return yield* Effect.fail(yield* refusal(ask, url, response, text))
})

const tooLate = ({ realm }: Ask, duration: Duration.Duration) =>
  new RegistryError.TokenUnavailable({
    service: new URL(realm).origin,
    problem: `no token came within ${Duration.format(duration)}`,
    isTemporary: true
  })

/** Creates the function that requests tokens for one registry. */
export const make = (
  options: Pick<Services, "registry" | "client" | "secrets" | "tokenRealms">
): (ask: Ask) => Effect.Effect<Token, Failure> => {
  const services: Services = { ...options, newest: new Map(), withoutPost: new Set() }
  return Effect.fnUntraced(function*(ask) {
    const duration = yield* TokenTimeout
    return yield* requestToken(services, ask).pipe(
      Effect.timeoutOrElse({ duration, orElse: () => Effect.fail(tooLate(ask, duration)) }),
      Effect.mapError((error) => "reason" in error ? error : { reason: error, isRefusal: false })
    )
  })
}

const isSuccess = ({ status }: HttpClientResponse.HttpClientResponse): boolean => status >= 200 && status <= 299

/** Converts the response of a service that gives no token. */
const refusal = Effect.fnUntraced(function*(
  { credential }: Ask,
  { origin }: URL,
  { headers, status }: HttpClientResponse.HttpClientResponse,
  said: string
): Effect.fn.Return<Failure> {
  const isTemporary = status === 408 || status === 429 || status >= 500 && status !== 501
  const detail = credential === undefined
    ? `${origin} gives no token without credentials${said}`
    : `${origin} does not accept the credentials${said}`
  if (status === 401) return { isRefusal: true, reason: new RegistryError.Unauthorized({ status, detail }) }
  if (status === 403) return { isRefusal: true, reason: new RegistryError.Denied({ status, detail }) }
  const retryAfter = RetryAfter.parse(headers["retry-after"], yield* Clock.currentTimeMillis)
  return {
    isRefusal: !isTemporary,
    reason: new RegistryError.TokenUnavailable({
      service: origin,
      problem: `it answers with HTTP ${status}${said}`,
      isTemporary,
      ...isTemporary && retryAfter !== undefined ? { retryAfter } : {}
    })
  }
})

/**
 * Returns the time for which a token is still valid. It counts from when the token was issued, by the clock of the
 * service, or from now if that time is implausible.
 */
const lifetimeOf = (
  expiresIn: unknown,
  issuedAt: unknown,
  headers: Headers.Headers,
  now: number
): Duration.Duration => {
  const given = typeof expiresIn === "number" || typeof expiresIn === "string" ? Number(expiresIn) : 0
  const seconds = given > 0 ? Math.min(given, longestLifetime) : defaultLifetime
  const millisOf = (text: unknown) => typeof text === "string" ? DateTime.make(text) : Option.none()
  const age = Option.match(millisOf(issuedAt), {
    onNone: () => 0,
    onSome: (issued) =>
      (Option.match(millisOf(headers["date"]), { onNone: () => now, onSome: DateTime.toEpochMillis }) -
        DateTime.toEpochMillis(issued)) / 1000
  })
  return Duration.seconds(age > 0 && age < seconds ? seconds - age : seconds)
}
