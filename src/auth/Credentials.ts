/**
 * Credentials for registries.
 *
 * {@link Credentials} looks up credentials by the host and repository of a request. In a table, the entry with the
 * longest key that is a prefix of `host/repository` takes precedence. A key covers whole parts of a path:
 * `ghcr.io/team` covers `ghcr.io/team/app` and not `ghcr.io/teams`. The names of Docker Hub (`docker.io`,
 * `index.docker.io`, `registry-1.docker.io`) are one host.
 *
 * All secrets are `Redacted`. `DockerConfig` reads the credentials that docker and podman store, and `DockerLogin`
 * writes them.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as RegistryError from "../RegistryError.ts"
import * as CredentialKeys from "./CredentialKeys.ts"

/**
 * Proof of identity: a user name and a password; an identity token, which is an OAuth 2 refresh token and is sent to
 * the token service; or a registry token, which is sent to the registry as it is.
 *
 * @category models
 * @since 0.1.0
 */
export type Credential =
  | { readonly _tag: "Basic"; readonly username: string; readonly password: Redacted.Redacted }
  | { readonly _tag: "IdentityToken"; readonly token: Redacted.Redacted }
  | { readonly _tag: "RegistryToken"; readonly token: Redacted.Redacted }

/**
 * Place that credentials are for: a host, with its port if it has one, and the repository, if the request is for one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly host: string
  readonly repository?: string | undefined
}

/**
 * Error of a lookup. The absence of credentials is not an error.
 *
 * @category errors
 * @since 0.1.0
 */
export type CredentialsError = RegistryError.CredentialsUnavailable

/**
 * Finds the credentials for a place.
 *
 * @category services
 * @since 0.1.0
 */
export class Credentials extends Context.Service<Credentials, {
  /** Returns the credentials for a place, or `undefined` if there are none. */
  readonly lookup: (place: Place) => Effect.Effect<Credential | undefined, CredentialsError>
  /**
   * Records that the registry refused the credentials for a place, so that the next lookup does not use a cached value.
   */
  readonly refused: (place: Place) => Effect.Effect<void>
}>()("effect-oci/Credentials") {}

/**
 * No credentials for any place.
 *
 * @category constructors
 * @since 0.1.0
 */
export const anonymous: Credentials["Service"] = Credentials.of({
  lookup: () => Effect.undefined,
  refused: () => Effect.void
})

/**
 * One user name and password for every place. Use it for the client of one registry only, because a resolver would send
 * them to every host.
 *
 * **Example** (One registry's password)
 *
 * ```ts import.meta.vitest
 * import { Effect, Redacted } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 *
 * const credentials = Credentials.basic("ada", Redacted.make("secret"))
 *
 * Effect.runSync(credentials.lookup({ host: "ghcr.io" }))?._tag // => "Basic"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const basic = (username: string, password: Redacted.Redacted): Credentials["Service"] =>
  Credentials.of({
    lookup: () => Effect.succeed({ _tag: "Basic", username, password }),
    refused: () => Effect.void
  })

const static_ = (credentials: Readonly<Record<string, Credential>>): Credentials["Service"] => {
  const table = CredentialKeys.table(credentials)
  return Credentials.of({
    lookup: (place) =>
      Effect.sync(() => {
        const key = CredentialKeys.enclosing(place).find((key) => table.has(key))
        return key === undefined ? undefined : table.get(key)
      }),
    refused: () => Effect.void
  })
}

export {
  /**
   * Credentials from a table, whose keys are `host` or `host/path`.
   *
   * **Example** (Other credentials for the repositories of one team)
   *
   * ```ts import.meta.vitest
   * import { Effect, Redacted } from "effect"
   * import * as Credentials from "effect-oci/Credentials"
   *
   * const credentials = Credentials.static({
   *   "ghcr.io": { _tag: "Basic", username: "ada", password: Redacted.make("secret") },
   *   "ghcr.io/team": { _tag: "RegistryToken", token: Redacted.make("secret") }
   * })
   *
   * Effect.runSync(credentials.lookup({ host: "ghcr.io", repository: "team/app" }))?._tag // => "RegistryToken"
   * Effect.runSync(credentials.lookup({ host: "ghcr.io", repository: "teams/app" }))?._tag // => "Basic"
   * Effect.runSync(credentials.lookup({ host: "quay.io" })) // => undefined
   * ```
   *
   * @category constructors
   * @since 0.1.0
   */
  static_ as static
}

/**
 * Looks up credentials in several places, in their order, and returns the first that are found. Fails if one of the
 * lookups fails, so that broken credentials are not skipped silently.
 *
 * @category combinators
 * @since 0.1.0
 */
export const firstOf = (...credentials: ReadonlyArray<Credentials["Service"]>): Credentials["Service"] =>
  Credentials.of({
    lookup: (place) =>
      credentials.reduceRight<Effect.Effect<Credential | undefined, CredentialsError>>(
        (next, { lookup }) =>
          Effect.flatMap(lookup(place), (found) => found === undefined ? next : Effect.succeed(found)),
        Effect.undefined
      ),
    refused: (place) => Effect.forEach(credentials, ({ refused }) => refused(place), { discard: true })
  })

const given: Config.Config<Option.Option<Credential>> = Config.all({
  username: Config.option(Config.NonEmptyString("OCI_USERNAME")),
  password: Config.option(Config.Redacted("OCI_PASSWORD")),
  identityToken: Config.option(Config.Redacted("OCI_IDENTITY_TOKEN")),
  registryToken: Config.option(Config.Redacted("OCI_REGISTRY_TOKEN"))
}).pipe(Config.flatMap(({ username, password, identityToken, registryToken }) => {
  if (Option.isSome(registryToken)) {
    return Config.succeed(Option.some<Credential>({ _tag: "RegistryToken", token: registryToken.value }))
  }
  if (Option.isSome(identityToken)) {
    return Config.succeed(Option.some<Credential>({ _tag: "IdentityToken", token: identityToken.value }))
  }
  if (Option.isNone(username) && Option.isNone(password)) return Config.succeed(Option.none<Credential>())
  // both are required now, so that the error names the missing one
  return Config.all({
    username: Config.NonEmptyString("OCI_USERNAME"),
    password: Config.Redacted("OCI_PASSWORD")
  }).pipe(Config.map((both) => Option.some<Credential>({ _tag: "Basic", ...both })))
}))

/**
 * Credentials for one place from the configuration. Anonymous if the configuration has none.
 *
 * **Details**
 *
 * `OCI_REGISTRY` is the `host` or `host/path` that they are for, and is required with any of the others. These are
 * `OCI_REGISTRY_TOKEN`, or `OCI_IDENTITY_TOKEN`, or `OCI_USERNAME` together with `OCI_PASSWORD`, in this order of
 * precedence. `Config.nested` adds a prefix to these names.
 *
 * **Example** (From the environment)
 *
 * ```ts import.meta.vitest
 * import { ConfigProvider, Effect } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 *
 * const env = { OCI_REGISTRY: "ghcr.io/team", OCI_USERNAME: "ada", OCI_PASSWORD: "secret" }
 * const credentials = Effect.runSync(Credentials.fromConfig.parse(ConfigProvider.fromEnv({ env })))
 *
 * Effect.runSync(credentials.lookup({ host: "ghcr.io", repository: "team/app" }))?._tag // => "Basic"
 * Effect.runSync(credentials.lookup({ host: "ghcr.io", repository: "other" })) // => undefined
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromConfig: Config.Config<Credentials["Service"]> = Config.flatMap(
  given,
  (credential) =>
    Option.isNone(credential)
      ? Config.succeed(anonymous)
      : Config.map(Config.NonEmptyString("OCI_REGISTRY"), (place) => static_({ [place]: credential.value }))
)

/**
 * Provides no credentials.
 *
 * **Example** (Anonymous access)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 *
 * const lookup = Credentials.Credentials.use((credentials) => credentials.lookup({ host: "ghcr.io" }))
 *
 * Effect.runSync(Effect.provide(lookup, Credentials.layerAnonymous)) // => undefined
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerAnonymous: Layer.Layer<Credentials> = Layer.succeed(Credentials, anonymous)

/**
 * Provides the credentials of a table, by host or by `host/path`.
 *
 * **Example** (A table)
 *
 * ```ts import.meta.vitest
 * import { Effect, Redacted } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 *
 * const layer = Credentials.layerStatic({
 *   "ghcr.io": { _tag: "Basic", username: "ada", password: Redacted.make("secret") }
 * })
 *
 * const lookup = Credentials.Credentials.use((credentials) => credentials.lookup({ host: "ghcr.io" }))
 *
 * Effect.runSync(Effect.provide(lookup, layer))?._tag // => "Basic"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStatic = (credentials: Readonly<Record<string, Credential>>): Layer.Layer<Credentials> =>
  Layer.succeed(Credentials, static_(credentials))

/**
 * Provides the credentials from the configuration: see {@link fromConfig}.
 *
 * **Example** (From the environment)
 *
 * ```ts import.meta.vitest
 * import { ConfigProvider, Effect, Layer } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 *
 * const env = { OCI_REGISTRY: "ghcr.io", OCI_REGISTRY_TOKEN: "secret" }
 * const layer = Credentials.layerConfig.pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env }))))
 *
 * const lookup = Credentials.Credentials.use((credentials) => credentials.lookup({ host: "ghcr.io" }))
 *
 * Effect.runSync(Effect.provide(lookup, layer))?._tag // => "RegistryToken"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<Credentials, Config.ConfigError> = Layer.effect(Credentials, fromConfig)
