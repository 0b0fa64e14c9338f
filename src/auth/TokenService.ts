/**
 * Asking a token service for a token: by GET, with a name and password or anonymously, or by POST with a refresh token
 * (the token specification of CNCF distribution; RFC 6749, 6).
 *
 * Which service that is, is said by the registry alone, in an answer that came from the registry's own origin. The
 * credentials go there and nowhere else: to an address that the registry's may lead to (`AddressPolicy`) and that may
 * receive them (`TokenRealms`), by HTTPS, or by plain HTTP where the registry is spoken to in plain HTTP itself, or the
 * service is on this machine.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Headers from "effect/http/Headers"
import type * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import * as ErrorBody from "../http/ErrorBody.ts"
import * as RetryAfter from "../http/RetryAfter.ts"
import * as Spans from "../http/Spans.ts"
import * as TransportFailure from "../http/TransportFailure.ts"
import { withParameters } from "../http/Urls.ts"
import * as RegistryError from "../RegistryError.ts"
import { excerpt } from "../Text.ts"
import type { Credential } from "./Credentials.ts"
import type { Secrets } from "./Secrets.ts"
import * as TokenRealms from "./TokenRealms.ts"

/**
 * How long a token service may take to hand out a token.
 *
 * @default 60 seconds
 * @category references
 * @since 0.1.0
 */
export const TokenTimeout: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/HttpRegistry/TokenTimeout",
  { defaultValue: () => Duration.seconds(60) }
)

/** What is asked for, of whom, and by whom. Two are equal when the answer to one serves for the other. */
export interface Ask {
  readonly realm: string
  readonly service: string
  readonly credential: Exclude<Credential, { readonly _tag: "RegistryToken" }> | undefined
  readonly scopes: ReadonlyArray<string>
}

export interface Token {
  readonly value: Redacted.Redacted
  /** From now on. */
  readonly lifetime: Duration.Duration
}

/** Why there is no token. A refusal is about what was asked for: it may be worth asking for less. */
export interface Failure {
  readonly reason: RegistryError.Unauthorized | RegistryError.Denied | RegistryError.TokenUnavailable
  readonly isRefusal: boolean
}

const answerLimit = 1024 * 1024
const redirectLimit = 5

// what the token specification takes for granted where a service does not say it
const defaultLifetime = 60
const longestLifetime = 365 * 24 * 60 * 60

// who asks, to services that want to know: RFC 6749, 2.2
const clientId = "effect-oci"

// the name that docker gives to an identity token
const identityUser = "<token>"

const decodeAnswer = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))

const textOf = (value: unknown): string | undefined => typeof value === "string" && value !== "" ? value : undefined

// statuses with which services that know only GET refuse POST
const withoutPostStatuses: ReadonlySet<number> = new Set([400, 401, 403, 404, 405])

/** The service's address, if it is one that may be asked. */
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

/** Creates the client of the token services of one registry. */
export const make = ({ client, registry, secrets, tokenRealms }: {
  readonly registry: URL
  readonly client: HttpClient.HttpClient
  readonly secrets: Secrets
  readonly tokenRealms: TokenRealms.TokenRealms
}): (ask: Ask) => Effect.Effect<Token, Failure> => {
  // services may hand out another refresh token with each token, and take the one before no longer
  const newest = new Map<string, Redacted.Redacted>()
  const withoutPost = new Set<string>()

  /** The answer, its body read. Redirects of a GET are followed; a name and password stays with its origin. */
  const send = (
    request: HttpClientRequest.HttpClientRequest,
    redirects = redirectLimit
  ): Effect.Effect<
    { readonly response: HttpClientResponse.HttpClientResponse; readonly bytes: Uint8Array | undefined },
    RegistryError.TokenUnavailable
  > =>
    Effect.gen(function*() {
      const here = new URL(request.url)
      const unreachable = (error: HttpClientError.HttpClientError) => {
        const reason = TransportFailure.transport(error)
        return new RegistryError.TokenUnavailable({
          service: here.origin,
          problem: reason._tag === "UnexpectedResponse" ? reason.detail ?? reason.message : reason.message,
          isTemporary: reason.isRetryable
        })
      }
      const sending = client.execute(request)
      const response = yield* (here.origin === registry.origin ? sending : AddressPolicy.led(registry)(sending)).pipe(
        Effect.mapError(unreachable),
        Spans.traced(request)
      )
      const bytes = yield* Effect.mapError(readLimited(response), unreachable)
      const { location } = response.headers
      const leads = response.status >= 300 && response.status < 400 && request.method === "GET" && redirects > 0
      if (!leads || location === undefined || !URL.canParse(location, request.url)) return { response, bytes }
      const there = yield* realmOf(registry, new URL(location, here).href)
      const next = HttpClientRequest.get(there.href, { headers: request.headers })
      return yield* send(
        there.origin === here.origin ? next : HttpClientRequest.removeHeader(next, "authorization"),
        redirects - 1
      )
    })

  const get = (ask: Ask, url: URL) => {
    const { credential } = ask
    const service: ReadonlyArray<[string, string]> = ask.service === "" ? [] : [["service", ask.service]]
    const scopes = ask.scopes.map((scope): [string, string] => ["scope", scope])
    const request = HttpClientRequest.get(withParameters(url.href, [...service, ...scopes]))
    return send(
      credential === undefined
        ? request
        : credential._tag === "Basic"
        ? HttpClientRequest.basicAuth(request, credential.username, credential.password)
        : HttpClientRequest.basicAuth(request, identityUser, newestOf(credential.token))
    )
  }

  const post = (ask: Ask, url: URL, token: Redacted.Redacted) =>
    send(
      HttpClientRequest.post(url.href).pipe(HttpClientRequest.bodyUrlParams([
        ["grant_type", "refresh_token"],
        ["refresh_token", Redacted.value(newestOf(token))],
        ["client_id", clientId],
        ...ask.service === "" ? [] : [["service", ask.service] as const],
        ...ask.scopes.length === 0 ? [] : [["scope", ask.scopes.join(" ")] as const]
      ]))
    )

  const newestOf = (token: Redacted.Redacted) => newest.get(Redacted.value(token)) ?? token

  /** Asks by POST if there is a refresh token and the service takes that, and by GET otherwise. */
  const answerTo = Effect.fnUntraced(function*(ask: Ask, url: URL) {
    const { credential } = ask
    if (credential?._tag !== "IdentityToken" || withoutPost.has(ask.realm)) return yield* get(ask, url)
    const posted = yield* post(ask, url, credential.token)
    const { status } = posted.response
    if (!withoutPostStatuses.has(status)) return posted
    const got = yield* get(ask, url)
    const isMissing = status === 404 || status === 405
    if (isMissing || isSuccess(got.response)) withoutPost.add(ask.realm)
    // a service that takes both has refused the token, and says so best in its first answer
    return isSuccess(got.response) || isMissing || status === 400 ? got : posted
  })

  return Effect.fnUntraced(
    function*(ask) {
      const url = yield* realmOf(registry, ask.realm)
      const { credential } = ask
      if (credential !== undefined && !TokenRealms.mayReceive(tokenRealms, registry, url)) {
        const problem = "the policy on token realms does not allow it to receive the credentials"
        return yield* new RegistryError.TokenUnavailable({ service: url.origin, problem, isTemporary: false })
      }
      const { bytes, response } = yield* answerTo(ask, url)
      if (!isSuccess(response)) {
        const said = ErrorBody.parse(response.headers["content-type"], bytes ?? new Uint8Array())
        const text = said.text === undefined ? "" : `: ${excerpt(secrets.strike(said.text))}`
        return yield* Effect.fail(yield* refusal(ask, url, response, text))
      }

      const failure = (problem: string) =>
        new RegistryError.TokenUnavailable({ service: url.origin, problem, isTemporary: false })
      if (bytes === undefined) return yield* failure(`its answer is larger than ${answerLimit} bytes`)
      const document = decodeAnswer(new TextDecoder().decode(bytes))
      if (Result.isFailure(document)) return yield* failure("its answer is not a JSON object")
      const { access_token, expires_in, issued_at, refresh_token, token } = document.success
      const value = textOf(token) ?? textOf(access_token)
      if (value === undefined) return yield* failure("its answer has no token")
      if (!/^[\x21-\x7e]+$/.test(value)) return yield* failure("its token is not one that a header can have")
      const rotated = textOf(refresh_token)
      if (credential?._tag === "IdentityToken" && rotated !== undefined) {
        const next = Redacted.make(rotated)
        secrets.add(next)
        newest.set(Redacted.value(credential.token), next)
      }
      secrets.add(Redacted.make(value))
      const now = yield* Clock.currentTimeMillis
      return { value: Redacted.make(value), lifetime: lifetimeOf(expires_in, issued_at, response.headers, now) }
    },
    (asking, ask) =>
      Effect.flatMap(TokenTimeout, (duration) =>
        Effect.timeoutOrElse(asking, {
          duration,
          orElse: () =>
            Effect.fail(
              new RegistryError.TokenUnavailable({
                service: new URL(ask.realm).origin,
                problem: `no token came within ${Duration.format(duration)}`,
                isTemporary: true
              })
            )
        })),
    Effect.mapError((error) => "reason" in error ? error : { reason: error, isRefusal: false })
  )
}

const isSuccess = ({ status }: HttpClientResponse.HttpClientResponse): boolean => status >= 200 && status <= 299

/** What a status that is no success means. */
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
 * How long a token is still good. It counts from when it was issued, by the service's clock; where that makes no sense,
 * from now.
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

/** The body, to be read also where it is of no use, to free its connection; nothing where it is too large. */
const readLimited = Effect.fnUntraced(function*(response: HttpClientResponse.HttpClientResponse) {
  let size = 0
  const bytes = yield* response.stream.pipe(
    Stream.catchIf(({ reason }) => reason._tag === "EmptyBodyError", () => Stream.empty),
    Stream.takeUntil((chunk) => (size += chunk.length) > answerLimit),
    Stream.mkUint8Array
  )
  return size > answerLimit ? undefined : bytes
})
