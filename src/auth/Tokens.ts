/**
 * Speaking to one registry about who we are: what to say with a request, and what to answer when it asks.
 *
 * Nothing is said before a registry has asked: a password is not for hosts that do not want it. What it asked for is
 * remembered, so that every later request brings at once what the first was sent back for. Of a registry that takes both
 * tokens and passwords, tokens are taken.
 *
 * A token serves for whatever is within its scope, for every fiber, until shortly before it expires; it is fetched once,
 * however many wait for it.
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
import type { Credential, Credentials } from "./Credentials.ts"
import type { Secrets } from "./Secrets.ts"
import type { TokenRealms } from "./TokenRealms.ts"
import * as TokenService from "./TokenService.ts"

/** Puts into a request who we are. */
export type Authorization = (request: HttpClientRequest.HttpClientRequest) => HttpClientRequest.HttpClientRequest

/** About one request, which may be sent again. */
export interface Conversation {
  /** What to say before being asked, where the registry is known to ask. */
  readonly opening: Effect.Effect<Authorization | undefined, RegistryError.Reason>
  /** What to answer to a 401 and its challenges; nothing, when there is nothing more to say. */
  readonly reply: (challenges: string | undefined) => Effect.Effect<Authorization | undefined, RegistryError.Reason>
  /** Takes note of a 401 for requests to come, when this one cannot be sent again. */
  readonly heed: (challenges: string | undefined) => Effect.Effect<void>
  /** Did the registry refuse a token that was made for this request and for us? Then it knows us, and does not let us. */
  readonly isKnown: () => boolean
}

export interface Tokens {
  readonly begin: (request: { readonly repository?: string; readonly scope: TokenScope.TokenScope }) => Conversation
}

// what a registry asked for
type Demand =
  | { readonly scheme: "basic" }
  | { readonly scheme: "bearer"; readonly realm: string; readonly service: string }

interface Held {
  readonly ask: TokenService.Ask
  readonly scope: TokenScope.TokenScope
}

type Said =
  | { readonly _tag: "Credential"; readonly credential: Credential }
  | { readonly _tag: "Token"; readonly held: Held; readonly token: TokenService.Token; readonly isReply: boolean }

// how many tokens are kept: a copy needs a few for each repository
const capacity = 256

// a request may be on its way for a while before a registry looks at its token
const longestMargin = Duration.seconds(10)

// a registry that is never content is not asked for ever
const replyLimit = 3

const usableFor = ({ lifetime }: TokenService.Token): Duration.Duration =>
  Duration.subtract(lifetime, Duration.min(longestMargin, Duration.times(lifetime, 0.25)))

export const make = Effect.fnUntraced(function*(options: {
  readonly host: string
  readonly registry: URL
  readonly client: HttpClient.HttpClient
  readonly credentials: Credentials["Service"]
  readonly secrets: Secrets
  readonly tokenRealms: TokenRealms
}): Effect.fn.Return<Tokens> {
  const { credentials, host, registry, secrets } = options
  const cache = yield* Cache.makeWith(TokenService.make(options), {
    capacity,
    timeToLive: (exit) => Exit.isSuccess(exit) ? usableFor(exit.value) : Duration.zero
  })
  let demand: Demand | undefined
  // what the cache has, or is about to have; the latest first
  let held: ReadonlyArray<Held> = []

  const acquire = (wanted: Held) =>
    Effect.suspend(() => {
      const isWanted = ({ ask }: Held) => Equal.equals(ask, wanted.ask)
      if (!held.some(isWanted)) held = [wanted, ...held].slice(0, capacity)
      return Cache.get(cache, wanted.ask).pipe(
        Effect.map((token) => ({ held: wanted, token })),
        Effect.tapError(() =>
          Effect.sync(() => {
            held = held.filter((other) => !isWanted(other))
          })
        )
      )
    })

  const isFrom = ({ ask }: Held, { credential, realm, service }: TokenService.Ask) =>
    ask.realm === realm && ask.service === service && Equal.equals(ask.credential, credential)

  const choose = (challenges: ReadonlyArray<Challenge.Challenge>): Challenge.Challenge | undefined =>
    challenges.find(({ parameters, scheme }) => scheme === "bearer" && (parameters.get("realm") ?? "") !== "") ??
      challenges.find(({ scheme }) => scheme === "basic") ?? challenges.find(({ scheme }) => scheme === "bearer")

  const begin: Tokens["begin"] = ({ repository, scope }) => {
    const place = { host, ...repository === undefined ? {} : { repository } }
    const lookup = Effect.tap(credentials.lookup(place), (found) =>
      Effect.sync(() => {
        if (found !== undefined) secrets.add(found._tag === "Basic" ? found.password : found.token)
      }))
    const refused: Array<TokenService.Ask> = []
    const isRefused = (ask: TokenService.Ask) => refused.some((other) => Equal.equals(other, ask))
    let failure: TokenService.Failure | undefined
    let said: Said | undefined
    let replies = 0
    let hasAskedAgain = false

    const say = (next: Said): Authorization => {
      said = next
      if (next._tag === "Token") return HttpClientRequest.bearerToken(next.token.value)
      const { credential } = next
      return credential._tag === "Basic"
        ? HttpClientRequest.basicAuth(credential.username, credential.password)
        : HttpClientRequest.bearerToken(credential.token)
    }

    /** After these were refused: others, if there are. */
    const another = Effect.fnUntraced(function*(credential: Credential) {
      if (hasAskedAgain) return undefined
      hasAskedAgain = true
      yield* credentials.refused(place)
      const found = yield* lookup
      return Equal.equals(found, credential) ? undefined : found
    })

    const heed: Conversation["heed"] = Effect.fnUntraced(function*(header) {
      if (said?._tag === "Token") {
        const { held, isReply, token } = said
        if (isReply) refused.push(held.ask)
        else yield* Cache.invalidateWhen(cache, held.ask, (current) => current === token)
      }
      const challenge = choose(Challenge.parse(header ?? ""))
      if (challenge?.scheme === "basic") demand = { scheme: "basic" }
      if (challenge?.scheme === "bearer") {
        const [realm, service] = [challenge.parameters.get("realm") ?? "", challenge.parameters.get("service") ?? ""]
        const usable = yield* Effect.option(TokenService.realmOf(registry, realm))
        if (usable._tag === "Some") demand = { scheme: "bearer", realm, service }
      }
      // some ask without saying for what, and mean a password
      if (header === undefined) demand ??= { scheme: "basic" }
    })

    const tokenFor = Effect.fnUntraced(function*(
      { realm, service }: Extract<Demand, { scheme: "bearer" }>,
      credential: TokenService.Ask["credential"],
      least: TokenScope.TokenScope,
      candidates: ReadonlyArray<{ readonly scope: TokenScope.TokenScope; readonly words: ReadonlyArray<string> }>
    ) {
      for (const [index, { scope, words }] of candidates.entries()) {
        const wanted: Held = { ask: { realm, service, credential, scopes: words }, scope }
        // any that has it all serves, except where all is what was refused
        const isEnough = (other: Held) =>
          index === 0 && isFrom(other, wanted.ask) && TokenScope.contains(other.scope, least) && !isRefused(other.ask)
        for (const option of [...held.filter(isEnough).slice(0, 1), wanted]) {
          if (isRefused(option.ask)) continue
          const found = yield* Effect.result(acquire(option))
          if (found._tag === "Success") return found.success
          if (!found.failure.isRefusal) return yield* Effect.fail(found.failure.reason)
          refused.push(option.ask)
          failure = found.failure
        }
      }
      return undefined
    })

    return {
      opening: Effect.gen(function*() {
        if (demand === undefined) return undefined
        const credential = yield* lookup
        if (credential?._tag === "RegistryToken") return say({ _tag: "Credential", credential })
        if (demand.scheme === "basic") {
          return credential?._tag === "Basic" ? say({ _tag: "Credential", credential }) : undefined
        }
        const wide = TokenScope.union(scope, (yield* TokenScope.Wanted)(host))
        const found = yield* tokenFor(demand, credential, scope, [{ scope: wide, words: TokenScope.words(wide) }])
        // where this is refused, the registry says what to ask for
        return found === undefined ? undefined : say({ _tag: "Token", ...found, isReply: false })
      }),

      heed,

      reply: Effect.fnUntraced(function*(header) {
        yield* heed(header)
        const challenge = choose(Challenge.parse(header ?? ""))
        replies++
        if (replies > replyLimit || header !== undefined && challenge === undefined) return undefined
        if (challenge?.scheme === "bearer") {
          yield* TokenService.realmOf(registry, challenge.parameters.get("realm") ?? "")
        }
        if (demand === undefined) return undefined
        let credential = yield* lookup
        if (said?._tag === "Credential" && Equal.equals(said.credential, credential)) {
          credential = yield* another(said.credential)
          if (credential === undefined) return undefined
        }
        if (credential?._tag === "RegistryToken") return say({ _tag: "Credential", credential })
        if (demand.scheme === "basic") {
          return credential?._tag === "Basic" ? say({ _tag: "Credential", credential }) : undefined
        }

        const asWritten = challenge?.parameters.get("scope") ?? ""
        const required = asWritten === "" ? scope : TokenScope.parse(asWritten)
        const least = TokenScope.union(required, scope)
        const wide = TokenScope.union(least, (yield* TokenScope.Wanted)(host))
        // some services know a scope only in the registry's own spelling
        const exact = {
          scope: required,
          words: asWritten === "" ? TokenScope.words(required) : asWritten.split(/\s+/).filter((word) => word !== "")
        }
        const candidates = TokenScope.equals(wide, required)
          ? [exact]
          : [{ scope: wide, words: TokenScope.words(wide) }, exact]
        let found = yield* tokenFor(demand, credential, least, candidates)
        if (found === undefined && credential !== undefined && failure?.reason._tag === "Unauthorized") {
          const other = yield* another(credential)
          if (other?._tag === "RegistryToken") return say({ _tag: "Credential", credential: other })
          if (other !== undefined) found = yield* tokenFor(demand, other, least, candidates)
        }
        if (found !== undefined) return say({ _tag: "Token", ...found, isReply: true })
        return failure === undefined ? undefined : yield* Effect.fail(failure.reason)
      }),

      isKnown: () => said?._tag === "Token" && said.isReply && said.held.ask.credential !== undefined
    }
  }

  return { begin }
})
