/**
 * Authentication and authorization of the clients of a `RegistryServer`.
 *
 * Clients send a user name and password with every request (`basic`, RFC 7617), or to the token service of the registry
 * (`bearer`, the token specification of CNCF distribution, and its OAuth 2 variant). A {@link Check} verifies
 * passwords, and an {@link Authorize} decides what a user or an anonymous client may do.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Hasher from "../Hasher.ts"

/**
 * Permission for one action: to `pull` from a repository, to `push` to it, or to `delete` its content. The list of
 * repositories is `*` on the `registry` named `catalog`; it contains those from which the client may pull. A push needs
 * the permission to pull as well.
 *
 * @category models
 * @since 0.1.0
 */
export interface Permission {
  readonly type: "repository" | "registry"
  readonly name: string
  readonly action: "pull" | "push" | "delete" | "*"
}

/**
 * Verifies the password of a user.
 *
 * @category models
 * @since 0.1.0
 */
export type Check = (username: string, password: Redacted.Redacted) => Effect.Effect<boolean>

/**
 * Decides whether a user may perform an action. The user name of an anonymous request is `undefined`.
 *
 * @category models
 * @since 0.1.0
 */
export type Authorize = (username: string | undefined, permission: Permission) => Effect.Effect<boolean>

/**
 * Scheme by which clients authenticate, with the functions that verify passwords and permissions.
 *
 * @category models
 * @since 0.1.0
 */
export type Authentication =
  | {
    readonly _tag: "Basic"
    readonly realm: string
    readonly check: Check
    readonly authorize: Authorize
  }
  | {
    readonly _tag: "Bearer"
    readonly service: string
    readonly realm: string | undefined
    readonly passwords: "token-service" | "everywhere"
    readonly check: Check
    readonly authorize: Authorize
    readonly lifetime: Duration.Duration
    readonly refreshLifetime: Duration.Duration
    readonly key: Redacted.Redacted<Uint8Array> | undefined
  }

const everythingForUsers: Authorize = (username) => Effect.succeed(username !== undefined)

/**
 * Creates authentication by a user name and password in every request. Default of `authorize`: users may do everything,
 * and anonymous clients nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const basic = (options: {
  readonly check: Check
  readonly authorize?: Authorize | undefined
  /** Realm that a client may show when it prompts for the password. Default: `registry`. */
  readonly realm?: string | undefined
}): Extract<Authentication, { readonly _tag: "Basic" }> => ({
  _tag: "Basic",
  realm: options.realm ?? "registry",
  check: options.check,
  authorize: options.authorize ?? everythingForUsers
})

/** Authentication by tokens. */
type Bearer = Extract<Authentication, { readonly _tag: "Bearer" }>

/**
 * Creates authentication by tokens of a service at `/token` beside the registry. A token contains its permissions and a
 * signature, so that the server does not store it. Default of `authorize`: users may do everything, and anonymous
 * clients nothing.
 *
 * A client that sends a password can request a refresh token (`offline_token`, `access_type=offline`). It replaces the
 * password until it expires. The server calls `authorize` again at each use.
 *
 * @category constructors
 * @since 0.1.0
 */
export const bearer = (options: {
  /** Name of the service in challenges and tokens, such as the host of the registry. */
  readonly service: string
  readonly check: Check
  readonly authorize?: Authorize | undefined
  /** URL of the token service for clients. Default: `/token` at the host that the request names (`Host`). */
  readonly realm?: string | undefined
  /** Lifetime of a token. Default: 5 minutes. */
  readonly lifetime?: Duration.Input | undefined
  /**
   * Requests that may have a password: those to the token service, or all of them, for clients that know no tokens.
   * Default: `token-service`.
   */
  readonly passwords?: "token-service" | "everywhere" | undefined
  /** Lifetime of a refresh token. With zero, none is issued, and clients keep the password. Default: 1 day. */
  readonly refreshLifetime?: Duration.Input | undefined
  /** Key that signs the tokens. Default: a random key, so that tokens are invalid after a restart of the server. */
  readonly key?: Redacted.Redacted<Uint8Array> | undefined
}): Bearer => ({
  _tag: "Bearer",
  service: options.service,
  realm: options.realm,
  passwords: options.passwords ?? "token-service",
  check: options.check,
  authorize: options.authorize ?? everythingForUsers,
  lifetime: Duration.fromInputUnsafe(options.lifetime ?? "5 minutes"),
  refreshLifetime: Duration.fromInputUnsafe(options.refreshLifetime ?? "1 day"),
  key: options.key
})

const secretDigest = (secret: string) => Effect.orDie(Hasher.digest(new TextEncoder().encode(secret)))

/**
 * Creates a check against a table of passwords by user name. Its duration does not depend on how much of a password is
 * correct.
 *
 * **Example** (One user may push, every client may pull)
 *
 * ```ts import.meta.vitest
 * import * as Authentication from "effect-oci/Authentication"
 * import { Effect, Redacted } from "effect"
 *
 * const check = Authentication.passwords({ ada: Redacted.make("secret") })
 * const authentication = Authentication.bearer({
 *   service: "registry.example.com",
 *   check,
 *   authorize: (username, { action }) => Effect.succeed(username !== undefined || action === "pull")
 * })
 *
 * authentication._tag // => "Bearer"
 * Effect.runSync(check("ada", Redacted.make("secret"))) // => true
 * Effect.runSync(check("ada", Redacted.make("guessed"))) // => false
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const passwords = (users: Readonly<Record<string, Redacted.Redacted>>): Check => {
  const known = new Map(Object.entries(users))
  return Effect.fnUntraced(function*(username, password) {
    const expected = known.get(username)
    // compares digests, because the time to compare the passwords would show how long their common prefix is
    const [own, given] = [
      yield* secretDigest(expected === undefined ? "" : Redacted.value(expected)),
      yield* secretDigest(Redacted.value(password))
    ]
    return own === given && expected !== undefined
  })
}
