/**
 * Authorization of requests to one registry: credentials and tokens, and answers to challenges.
 *
 * Nothing is sent before the registry requires it, so that no password reaches a host that does not need it. The
 * requirement is remembered, so that later requests have their authorization from the start. If a registry accepts both
 * tokens and passwords, tokens are used.
 *
 * A token is used for every request within its scope, by all fibers, until shortly before it expires. It is fetched
 * once, even if several fibers wait for it.
 */
import * as Cache from "effect/Cache"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as RegistryError from "../RegistryError.ts"
import * as TokenScope from "../TokenScope.ts"
import * as Challenge from "./Challenge.ts"
import type { Credential, Credentials, Place } from "./Credentials.ts"
import type { Secrets } from "./Secrets.ts"
import type { TokenRealms } from "./TokenRealms.ts"
import * as TokenService from "./TokenService.ts"

/** Adds credentials or a token to a request. */
export type Authorization = (request: HttpClientRequest.HttpClientRequest) => HttpClientRequest.HttpClientRequest

/** Authorization of one request, which may be sent several times. */
export interface Conversation {
  /** Returns the authorization to send first, or `undefined` if the registry is not known to require one. */
  readonly opening: Effect.Effect<Authorization | undefined, RegistryError.Reason>
  /** Returns the authorization to retry with after a 401, or `undefined` if there is none left to try. */
  readonly reply: (challenges: string | undefined) => Effect.Effect<Authorization | undefined, RegistryError.Reason>
  /** Records a 401 for later requests, when this one cannot be sent again. */
  readonly heed: (challenges: string | undefined) => Effect.Effect<void>
  /** Returns true if the registry has refused a token that was issued for these credentials and this request. */
  readonly isKnown: () => boolean
}

/** A request, as far as its authorization depends on it. */
interface Request {
  readonly repository?: string | undefined
  readonly scope: TokenScope.TokenScope
}

export interface Tokens {
  readonly begin: (request: Request) => Conversation
}

/** Authentication that a registry requires. */
type Demand =
  | { readonly scheme: "basic" }
  | { readonly scheme: "bearer"; readonly realm: string; readonly service: string }

/** A token that is cached, or about to be. */
interface Held {
  readonly ask: TokenService.Ask
  readonly scope: TokenScope.TokenScope
}

/** Authorization that was sent last. */
type Said =
  | { readonly _tag: "Credential"; readonly credential: Credential }
  | { readonly _tag: "Token"; readonly held: Held; readonly token: TokenService.Token; readonly isReply: boolean }

/** A scope to request, and its words: some services know a scope only in the spelling of the registry. */
interface Candidate {
  readonly scope: TokenScope.TokenScope
  readonly words: ReadonlyArray<string>
}

export interface Options {
  readonly host: string
  readonly registry: URL
  readonly client: HttpClient.HttpClient
  readonly credentials: Credentials["Service"]
  readonly secrets: Secrets
  readonly tokenRealms: TokenRealms
}

/** State of one registry. */
interface State extends Options {
  readonly cache: Cache.Cache<TokenService.Ask, TokenService.Token, TokenService.Failure>
  demand: Demand | undefined
  /** Tokens in the cache, or about to be. The latest is the first. */
  held: ReadonlyArray<Held>
}

/** State of one conversation. */
interface Exchange {
  readonly place: Place
  readonly scope: TokenScope.TokenScope
  /** Requests for tokens that were refused, by the service or with their token by the registry. */
  readonly refused: Array<TokenService.Ask>
  failure: TokenService.Failure | undefined
  said: Said | undefined
  replies: number
  hasAskedAgain: boolean
}

// maximum number of cached tokens: a copy needs a few for each repository
const capacity = 256

// a registry may check a token some time after the request was sent
const longestMargin = Duration.seconds(10)

// maximum number of authorizations of one request, for a registry that refuses all of them
const replyLimit = 3

const usableFor = ({ lifetime }: TokenService.Token): Duration.Duration =>
  Duration.subtract(lifetime, Duration.min(longestMargin, Duration.times(lifetime, 0.25)))

/** Returns the token of a request from the cache, or fetches it. */
const acquire = (state: State, wanted: Held) =>
  Effect.suspend(() => {
    const isWanted = ({ ask }: Held) => Equal.equals(ask, wanted.ask)
    if (!state.held.some(isWanted)) state.held = [wanted, ...state.held].slice(0, capacity)
    return Cache.get(state.cache, wanted.ask).pipe(
      Effect.map((token) => ({ held: wanted, token })),
      Effect.tapError(() =>
        Effect.sync(() => {
          state.held = state.held.filter((other) => !isWanted(other))
        })
      )
    )
  })

/** Returns true if a token comes from the same service for the same credentials. */
const isFrom = ({ ask }: Held, { credential, realm, service }: TokenService.Ask) =>
  ask.realm === realm && ask.service === service && Equal.equals(ask.credential, credential)

/** Returns the challenge to answer: tokens are preferred to passwords. */
const choose = (challenges: ReadonlyArray<Challenge.Challenge>): Challenge.Challenge | undefined =>
  challenges.find(({ parameters, scheme }) => scheme === "bearer" && (parameters.get("realm") ?? "") !== "") ??
    challenges.find(({ scheme }) => scheme === "basic") ?? challenges.find(({ scheme }) => scheme === "bearer")

const lookup = ({ credentials, secrets }: State, { place }: Exchange) =>
  Effect.tap(credentials.lookup(place), (found) =>
    Effect.sync(() => {
      if (found !== undefined) secrets.add(found._tag === "Basic" ? found.password : found.token)
    }))

/** Returns other credentials than those that were refused, if there are any. */
const another = Effect.fnUntraced(function*(state: State, exchange: Exchange, credential: Credential) {
  if (exchange.hasAskedAgain) return undefined
  exchange.hasAskedAgain = true
  yield* state.credentials.refused(exchange.place)
  const found = yield* lookup(state, exchange)
  return Equal.equals(found, credential) ? undefined : found
})

/** Records what is sent, and returns it. */
const say = (exchange: Exchange, next: Said): Authorization => {
  exchange.said = next
  if (next._tag === "Token") return HttpClientRequest.bearerToken(next.token.value)
  const { credential } = next
  return credential._tag === "Basic"
    ? HttpClientRequest.basicAuth(credential.username, credential.password)
    : HttpClientRequest.bearerToken(credential.token)
}

const heed = Effect.fnUntraced(function*(state: State, { refused, said }: Exchange, header: string | undefined) {
  if (said?._tag === "Token") {
    const { held, isReply, token } = said
    if (isReply) refused.push(held.ask)
    else yield* Cache.invalidateWhen(state.cache, held.ask, (current) => current === token)
  }
  const challenge = choose(Challenge.parse(header ?? ""))
  if (challenge?.scheme === "basic") state.demand = { scheme: "basic" }
  if (challenge?.scheme === "bearer") {
    const [realm, service] = [challenge.parameters.get("realm") ?? "", challenge.parameters.get("service") ?? ""]
    const usable = yield* Effect.option(TokenService.realmOf(state.registry, realm))
    if (usable._tag === "Some") state.demand = { scheme: "bearer", realm, service }
  }
  // registries that answer 401 without a challenge expect a password
  if (header === undefined) state.demand ??= { scheme: "basic" }
})

/** Returns a token for the first of the candidates that the service accepts. Its scope includes at least `least`. */
const tokenFor = Effect.fnUntraced(function*(
  state: State,
  exchange: Exchange,
  { realm, service }: Extract<Demand, { scheme: "bearer" }>,
  credential: TokenService.Ask["credential"],
  least: TokenScope.TokenScope,
  candidates: ReadonlyArray<Candidate>
) {
  const { refused } = exchange
  const isRefused = (ask: TokenService.Ask) => refused.some((other) => Equal.equals(other, ask))
  for (const [index, { scope, words }] of candidates.entries()) {
    const wanted: Held = { ask: { realm, service, credential, scopes: words }, scope }
    // a token with a wider scope serves as well, unless the widest one was refused
    const isEnough = (other: Held) =>
      index === 0 && isFrom(other, wanted.ask) && TokenScope.contains(other.scope, least) && !isRefused(other.ask)
    for (const option of [...state.held.filter(isEnough).slice(0, 1), wanted]) {
      if (isRefused(option.ask)) continue
      const found = yield* Effect.result(acquire(state, option))
      if (found._tag === "Success") return found.success
      if (!found.failure.isRefusal) return yield* Effect.fail(found.failure.reason)
      refused.push(option.ask)
      exchange.failure = found.failure
    }
  }
  return undefined
})

const opening = Effect.fnUntraced(function*(
  state: State,
  exchange: Exchange
): Effect.fn.Return<Authorization | undefined, RegistryError.Reason> {
  const { demand } = state
  if (demand === undefined) return undefined
  const credential = yield* lookup(state, exchange)
  if (credential?._tag === "RegistryToken") return say(exchange, { _tag: "Credential", credential })
  if (demand.scheme === "basic") {
    return credential?._tag === "Basic" ? say(exchange, { _tag: "Credential", credential }) : undefined
  }
  const { scope } = exchange
  const wide = TokenScope.union(scope, (yield* TokenScope.Wanted)(state.host))
  const candidates = [{ scope: wide, words: TokenScope.words(wide) }]
  const found = yield* tokenFor(state, exchange, demand, credential, scope, candidates)
  // after a refusal, the challenge of the registry says what to request
  return found === undefined ? undefined : say(exchange, { _tag: "Token", ...found, isReply: false })
})

/** Returns the scopes to request after a challenge, the widest first, and the least that a token has to include. */
const candidatesFor = Effect.fnUntraced(function*(
  { host }: State,
  { scope }: Exchange,
  challenge: Challenge.Challenge | undefined
) {
  const asWritten = challenge?.parameters.get("scope") ?? ""
  const required = asWritten === "" ? scope : TokenScope.parse(asWritten)
  const least = TokenScope.union(required, scope)
  const wide = TokenScope.union(least, (yield* TokenScope.Wanted)(host))
  const exact: Candidate = {
    scope: required,
    words: asWritten === "" ? TokenScope.words(required) : asWritten.split(/\s+/).filter((word) => word !== "")
  }
  const candidates = TokenScope.equals(wide, required)
    ? [exact]
    : [{ scope: wide, words: TokenScope.words(wide) }, exact]
  return { least, candidates }
})

const reply = Effect.fnUntraced(function*(
  state: State,
  exchange: Exchange,
  header: string | undefined
): Effect.fn.Return<Authorization | undefined, RegistryError.Reason> {
  yield* heed(state, exchange, header)
  const challenge = choose(Challenge.parse(header ?? ""))
  exchange.replies++
  if (exchange.replies > replyLimit || header !== undefined && challenge === undefined) return undefined
  if (challenge?.scheme === "bearer") {
    yield* TokenService.realmOf(state.registry, challenge.parameters.get("realm") ?? "")
  }
  const { demand } = state
  if (demand === undefined) return undefined
  const { said } = exchange
  let credential = yield* lookup(state, exchange)
  if (said?._tag === "Credential" && Equal.equals(said.credential, credential)) {
    credential = yield* another(state, exchange, said.credential)
    if (credential === undefined) return undefined
  }
  if (credential?._tag === "RegistryToken") return say(exchange, { _tag: "Credential", credential })
  if (demand.scheme === "basic") {
    return credential?._tag === "Basic" ? say(exchange, { _tag: "Credential", credential }) : undefined
  }

  const { candidates, least } = yield* candidatesFor(state, exchange, challenge)
  let found = yield* tokenFor(state, exchange, demand, credential, least, candidates)
  if (found === undefined && credential !== undefined && exchange.failure?.reason._tag === "Unauthorized") {
    const other = yield* another(state, exchange, credential)
    if (other?._tag === "RegistryToken") return say(exchange, { _tag: "Credential", credential: other })
    if (other !== undefined) found = yield* tokenFor(state, exchange, demand, other, least, candidates)
  }
  if (found !== undefined) return say(exchange, { _tag: "Token", ...found, isReply: true })
  return exchange.failure === undefined ? undefined : yield* Effect.fail(exchange.failure.reason)
})

const begin = (state: State, { repository, scope }: Request): Conversation => {
  const exchange: Exchange = {
    place: { host: state.host, repository },
    scope,
    refused: [],
    failure: undefined,
    said: undefined,
    replies: 0,
    hasAskedAgain: false
  }
  return {
    opening: Effect.suspend(() => state.demand === undefined ? Effect.undefined : opening(state, exchange)),
    heed: (header) => heed(state, exchange, header),
    reply: (header) => reply(state, exchange, header),
    isKnown: () => {
      const { said } = exchange
      return said?._tag === "Token" && said.isReply && said.held.ask.credential !== undefined
    }
  }
}

/** Creates the authorization of requests to one registry. Nothing is requested yet. */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Tokens> {
  const cache = yield* Cache.makeWith(TokenService.make(options), {
    capacity,
    timeToLive: (exit) => Exit.isSuccess(exit) ? usableFor(exit.value) : Duration.zero
  })
  const state: State = { ...options, cache, demand: undefined, held: [] }
  return { begin: (request) => begin(state, request) }
})
