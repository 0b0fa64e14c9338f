/**
 * Who may do what at a registry that is served.
 *
 * Clients say who they are by a name and password, with every request (`basic`, RFC 7617), or to a token service that
 * comes with the registry (`bearer`, the token specification of CNCF distribution, and its OAuth 2 variant). A
 * {@link Check} tells whether a password is right, an {@link Authorize} what somebody may do, or anybody.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Hasher from "../Hasher.ts"

/**
 * Something that may be allowed: to `pull` from a repository, to `push` to it, to `delete` what is in it; or to list
 * repositories, which is `*` on the `registry` named `catalog`. Who pushes has to be allowed to pull, too.
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
 * Tells whether somebody's password is right.
 *
 * @category models
 * @since 0.1.0
 */
export type Check = (username: string, password: Redacted.Redacted) => Effect.Effect<boolean>

/**
 * Tells whether somebody may do something; `undefined` is who has not said who it is.
 *
 * @category models
 * @since 0.1.0
 */
export type Authorize = (username: string | undefined, permission: Permission) => Effect.Effect<boolean>

/**
 * How clients say who they are, and what they may do.
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
    readonly check: Check
    readonly authorize: Authorize
    readonly lifetime: Duration.Duration
    readonly refreshLifetime: Duration.Duration
    readonly key: Redacted.Redacted<Uint8Array> | undefined
  }

const everythingForUsers: Authorize = (username) => Effect.succeed(username !== undefined)

/**
 * Names and passwords with every request. Unless `authorize` says otherwise, whoever has a right password may do
 * everything, and nobody else anything.
 *
 * @category constructors
 * @since 0.1.0
 */
export const basic = (options: {
  readonly check: Check
  readonly authorize?: Authorize | undefined
  /** What clients are told that the password is for; `registry` unless given. */
  readonly realm?: string | undefined
}): Authentication => ({
  _tag: "Basic",
  realm: options.realm ?? "registry",
  check: options.check,
  authorize: options.authorize ?? everythingForUsers
})

/**
 * Tokens, from a service at `/token` beside the registry. A token says what it allows, for a while; it is signed, not
 * kept. Unless `authorize` says otherwise, whoever has a right password gets a token for everything.
 *
 * The service gives a refresh token to whoever asks for one with a password (`offline_token`, `access_type=offline`). It
 * serves in place of the password until it expires; what it allows is asked anew each time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const bearer = (options: {
  /** What clients are told that they need a token for; such as the registry's host. */
  readonly service: string
  readonly check: Check
  readonly authorize?: Authorize | undefined
  /** The URL of the token service, as clients see it; unless given, `/token` at the host that a request is for. */
  readonly realm?: string | undefined
  /** How long a token serves; 5 minutes unless given. */
  readonly lifetime?: Duration.Input | undefined
  /** How long a refresh token serves; 1 day unless given. */
  readonly refreshLifetime?: Duration.Input | undefined
  /** Signs the tokens. Unless given, it is made up, and no token outlives the server. */
  readonly key?: Redacted.Redacted<Uint8Array> | undefined
}): Authentication => ({
  _tag: "Bearer",
  service: options.service,
  realm: options.realm,
  check: options.check,
  authorize: options.authorize ?? everythingForUsers,
  lifetime: Duration.fromInputUnsafe(options.lifetime ?? "5 minutes"),
  refreshLifetime: Duration.fromInputUnsafe(options.refreshLifetime ?? "1 day"),
  key: options.key
})

const secretDigest = (secret: string) => Effect.orDie(Hasher.digest(new TextEncoder().encode(secret)))

/**
 * Checks passwords against a table of them, by user name. How long that takes says nothing of how much was right.
 *
 * **Example** (One user may push, anybody may pull)
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
    // digests of equal length take equally long to compare, wherever they differ first
    const [own, given] = [
      yield* secretDigest(expected === undefined ? "" : Redacted.value(expected)),
      yield* secretDigest(Redacted.value(password))
    ]
    return own === given && expected !== undefined
  })
}
