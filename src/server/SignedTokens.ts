/**
 * Tokens that contain claims and a signature of the server (HMAC with SHA-256).
 */
import * as Clock from "effect/Clock"
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const Claims = Schema.Struct({
  /** Use of the token: for requests to the registry, to get another token, or in the forms of a page. */
  use: Schema.Literals(["access", "refresh", "form"]),
  service: Schema.String,
  username: Schema.optionalKey(Schema.String),
  scope: Schema.String,
  /** Scope that the client asked for and did not get. */
  refused: Schema.optionalKey(Schema.String),
  /** Time of expiry, in milliseconds since 1970. */
  expires: Schema.Int
})

type Claims = typeof Claims.Type

const encode = Schema.encodeEffect(Schema.fromJsonString(Claims))
const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Claims))

export interface SignedTokens {
  readonly sign: (claims: Omit<Claims, "service" | "expires">, lifetime: Duration.Duration) => Effect.Effect<string>
  /**
   * Returns the claims of a token if this server signed exactly that text for this use and it has not expired.
   * Otherwise returns `undefined`.
   */
  readonly read: (token: string, use: Claims["use"]) => Effect.Effect<Claims | undefined>
}

const services = Mac.layerWebCrypto.pipe(Layer.provide(SecureRandom.layerWebCrypto))

export const make = Effect.fnUntraced(function*(
  service: string,
  secret: Redacted.Redacted<Uint8Array> | undefined
): Effect.fn.Return<SignedTokens, never, Mac.Mac> {
  const mac = yield* Mac.Mac
  const key = yield* Effect.orDie(
    secret === undefined ? mac.generateKey(Mac.hmacSha256) : Mac.key(Mac.hmacSha256, Redacted.value(secret))
  )
  const signed = (text: string) => new TextEncoder().encode(text)
  return {
    sign: Effect.fnUntraced(function*(claims, lifetime) {
      const expires = (yield* Clock.currentTimeMillis) + Math.floor(Duration.toMillis(lifetime))
      const text = Base64Url.encode(yield* Effect.orDie(encode({ ...claims, service, expires })))
      return `${text}.${Base64Url.encode(yield* Effect.orDie(mac.sign(key, signed(text))))}`
    }),
    read: Effect.fnUntraced(function*(token, use) {
      const [text = "", signature = "", ...others] = token.split(".")
      const tag = Base64Url.decode(signature)
      const content = Base64Url.decodeString(text)
      if (Result.isFailure(tag) || Result.isFailure(content) || others.length > 0) return undefined
      // several texts decode to the same bytes, but only one of them was issued
      if (Base64Url.encode(tag.success) !== signature) return undefined
      if (!(yield* Effect.orDie(mac.verify(key, tag.success, signed(text))))) return undefined
      const claims = Option.getOrUndefined(decode(content.success))
      const isFor = claims?.use === use && claims.service === service
      return isFor && claims.expires > (yield* Clock.currentTimeMillis) ? claims : undefined
    })
  }
}, Effect.provide(services))
