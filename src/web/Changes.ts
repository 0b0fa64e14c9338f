/**
 * Permission for requests that change something: a secret of the server, which programs send as a bearer token and
 * browsers as a password; and in the forms of a page a token that other sites cannot know.
 */
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Hex from "effect/encoding/Hex"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Hasher from "../Hasher.ts"
import type { RequestHeaders } from "./SameSite.ts"

/** Decision on a request. `Unknown` may try again with the secret. */
export type Decision = "Allowed" | "Denied" | "Unknown"

/** Permission for changes. */
export interface Changes {
  /** Token in the forms of a page, or `undefined` if its forms can change nothing. */
  readonly formToken: string | undefined
  /** Decides on a request of a program. */
  readonly program: (headers: RequestHeaders) => Effect.Effect<Decision>
  /** Decides on a form, by its headers and the token that it contains. */
  readonly form: (headers: RequestHeaders, formToken: string | undefined) => Effect.Effect<Decision>
  /** Decides on reading, if the secret is needed for that as well. */
  readonly reader: (headers: RequestHeaders) => Effect.Effect<Decision>
}

/** Returns the secret that a request contains: a bearer token, or the password of any user (RFC 6750, RFC 7617). */
const presented = ({ authorization }: RequestHeaders): string | undefined => {
  const [, scheme = "", value = ""] = /^\s*(bearer|basic)\s+(\S+)\s*$/i.exec(authorization ?? "") ?? []
  if (scheme.toLowerCase() === "bearer") return value
  if (scheme === "") return undefined
  const pair = Result.getOrElse(Base64.decodeString(value), () => "")
  return pair.includes(":") ? pair.slice(pair.indexOf(":") + 1) : undefined
}

/** Compares texts in a time that does not depend on their contents. */
const equals = Effect.fnUntraced(function*(a: string, b: string) {
  const [first, second] = yield* Effect.orDie(
    Effect.all([a, b].map((text) => Hasher.digest(new TextEncoder().encode(text))))
  )
  return Mac.timingSafeEqual(new TextEncoder().encode(first), new TextEncoder().encode(second))
})

/**
 * Creates the permission for changes. Without a secret, programs may change nothing; forms may, if the server can be
 * reached from this machine only.
 */
export const make = (
  { isLocal, secret }: { readonly secret: Redacted.Redacted | undefined; readonly isLocal: boolean }
): Effect.Effect<Changes> =>
  Effect.sync(() => {
    const formToken = secret === undefined && !isLocal ? undefined : Hex.encode(SecureRandom.randomBytesUnsafe(16))
    const withSecret = (headers: RequestHeaders, without: Decision): Effect.Effect<Decision> => {
      if (secret === undefined) return Effect.succeed(without)
      const given = presented(headers)
      return given === undefined || given === ""
        ? Effect.succeed("Unknown")
        : Effect.map(equals(given, Redacted.value(secret)), (isEqual) => isEqual ? "Allowed" : "Unknown")
    }
    return {
      formToken,
      program: (headers) => withSecret(headers, "Denied"),
      form: (headers, given) =>
        formToken === undefined || given === undefined
          ? Effect.succeed("Denied")
          : Effect.flatMap(
            equals(given, formToken),
            (isEqual) => isEqual ? withSecret(headers, "Allowed") : Effect.succeed("Denied")
          ),
      reader: (headers) => withSecret(headers, "Allowed")
    }
  })
