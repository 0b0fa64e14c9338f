/**
 * The credentials that docker and podman keep: what `docker login` and `podman login` have left.
 *
 * They are looked for here, in this order; the first place that has some answers:
 *
 * 1. the variable `DOCKER_AUTH_CONFIG`, which holds a config as JSON
 * 2. the file that `REGISTRY_AUTH_FILE` names; if it is set, no other file is read
 * 3. docker's: `config.json` in `DOCKER_CONFIG`, or else in `~/.docker`
 * 4. podman's: `containers/auth.json` in `XDG_RUNTIME_DIR`
 * 5. podman's: `containers/auth.json` in `XDG_CONFIG_HOME`, or else in `~/.config`
 *
 * Within one of them, the entry with the longest key that is a prefix of `host/repository` answers. For the same key,
 * a helper in `credHelpers` comes before `credsStore`, which is asked for hosts alone, and that before `auths`. In an
 * entry of `auths`, a `registrytoken` comes before an `identitytoken`, and that before name and password. Keys may be
 * written as docker writes them (`https://index.docker.io/v1/`).
 *
 * Files are read when credentials are asked for: a file that is missing has none, and one that is broken fails then, by
 * its name. What a helper gave is kept for {@link HelperTimeToLive}, or until a registry refuses it.
 *
 * @since 0.1.0
 */
import * as Cache from "effect/Cache"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { CredentialsUnavailable } from "../RegistryError.ts"
import * as CredentialHelper from "./CredentialHelper.ts"
import * as Credentials from "./Credentials.ts"
import * as Keys from "./Keys.ts"

export {
  /** @since 0.1.0 */
  HelperTimeout
} from "./CredentialHelper.ts"

/**
 * How long what a credential helper gave is used. Helpers do not say how long it is good for; where a registry refuses
 * it before, the helper is asked again. That a helper has nothing is kept for a minute at most, a failure not at all.
 *
 * @default 1 hour
 * @category references
 * @since 0.1.0
 */
export const HelperTimeToLive: Context.Reference<Duration.Duration> = Context.Reference(
  "effect-oci/DockerConfig/HelperTimeToLive",
  { defaultValue: () => Duration.hours(1) }
)

/**
 * Which credentials.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** This file and nothing else, in docker's format or podman's. */
  readonly file?: string
}

// Go writes null for what is empty
const given = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

// entries stay unread until they are needed, so that one that is broken does not hide the others
const File = Schema.Struct({
  auths: given(Schema.Record(Schema.String, Schema.Unknown)),
  credHelpers: given(Schema.Record(Schema.String, Schema.String)),
  credsStore: given(Schema.String)
})
const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.Unknown))
const decodeFile = Schema.decodeUnknownEffect(File)

const Login = Schema.Struct({
  auth: given(Schema.String),
  username: given(Schema.String),
  password: given(Schema.String),
  identitytoken: given(Schema.String),
  registrytoken: given(Schema.String)
})
const decodeLogin = Schema.decodeUnknownEffect(Schema.NullOr(Login))

/** A config, and what it is called in errors. */
interface Source {
  readonly name: string
  readonly auths: Keys.Table<unknown>
  readonly credHelpers: Keys.Table<string>
  readonly credsStore: string
}

const broken = (source: string, problem: string) => new CredentialsUnavailable({ source, problem })

const parse = Effect.fnUntraced(function*(name: string, text: string) {
  const json = yield* Effect.mapError(decodeJson(text), () => broken(name, "it is not JSON"))
  const file = yield* Effect.mapError(
    decodeFile(json),
    () => broken(name, "auths, credHelpers or credsStore are not as docker and podman write them")
  )
  return {
    name,
    auths: Keys.table(file.auths ?? {}),
    credHelpers: Keys.table(file.credHelpers ?? {}),
    credsStore: file.credsStore ?? ""
  } satisfies Source
})

const passwordOf = (auth: string): Credentials.Credential | undefined => {
  const [, username, password] = /^([^:]*):(.*)$/s.exec(Result.getOrElse(Base64.decodeString(auth), () => "")) ?? []
  return username === undefined || password === undefined
    ? undefined
    // docker takes away the NUL that some are padded with
    : { _tag: "Basic", username, password: Redacted.make(password.replace(/^\0+|\0+$/g, "")) }
}

const readLogin = Effect.fnUntraced(function*(name: string, place: string, entry: unknown) {
  const login = yield* Effect.mapError(
    decodeLogin(entry),
    () => broken(name, `the entry for ${place} is not as docker and podman write it`)
  )
  const { auth, identitytoken, password, registrytoken, username } = login ?? {}
  if (registrytoken) return { _tag: "RegistryToken", token: Redacted.make(registrytoken) } as const
  if (identitytoken) return { _tag: "IdentityToken", token: Redacted.make(identitytoken) } as const
  if (auth) {
    return passwordOf(auth) ??
      (yield* broken(name, `auth in the entry for ${place} is not a name and a password in Base64`))
  }
  return username ? { _tag: "Basic", username, password: Redacted.make(password ?? "") } as const : undefined
})

const variable = (name: string) => Config.String(name).pipe(Config.withDefault(""))

const environment = Config.all({
  inline: Config.Redacted("DOCKER_AUTH_CONFIG").pipe(Config.withDefault(Redacted.make(""))),
  authFile: variable("REGISTRY_AUTH_FILE"),
  dockerConfig: variable("DOCKER_CONFIG"),
  runtime: variable("XDG_RUNTIME_DIR"),
  config: variable("XDG_CONFIG_HOME"),
  home: Config.String("HOME").pipe(Config.orElse(() => variable("USERPROFILE")))
})

/**
 * Makes credentials of what docker and podman keep. Nothing is read yet.
 *
 * **Example** (An entry of one's own before docker's)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Redacted } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 * import * as DockerConfig from "effect-oci/DockerConfig"
 *
 * const program = Effect.gen(function*() {
 *   const own = Credentials.static({ "ghcr.io": { _tag: "RegistryToken", token: Redacted.make("secret") } })
 *   const credentials = Credentials.firstOf(own, yield* DockerConfig.make())
 *   return yield* credentials.lookup({ host: "ghcr.io", repository: "team/app" })
 * })
 *
 * const found = await Effect.runPromise(Effect.provide(program, NodeServices.layer))
 * found?._tag // => "RegistryToken"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<
  Credentials.Credentials["Service"],
  never,
  FileSystem.FileSystem | Path.Path | ChildProcessSpawner.ChildProcessSpawner
> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const provider = yield* ConfigProvider.ConfigProvider

  const load = Effect.fnUntraced(function*(file: string) {
    const text = yield* fs.readFileString(file).pipe(Effect.catchTag(
      "PlatformError",
      ({ reason }) =>
        reason._tag === "NotFound"
          ? Effect.undefined
          : Effect.fail(broken(file, `it cannot be read (${reason._tag})`))
    ))
    return text === undefined ? undefined : yield* parse(file, text)
  })

  const sources = Effect.gen(function*() {
    if (options.file !== undefined) return [load(options.file)]
    const { authFile, config, dockerConfig, home, inline, runtime } = yield* Effect.mapError(
      environment.parse(provider),
      () => broken("the environment", "it cannot be read")
    )
    const inHome = (name: string) => home === "" ? "" : path.join(home, name)
    const files = authFile === ""
      ? [
        [dockerConfig || inHome(".docker"), "config.json"] as const,
        [runtime, "containers/auth.json"] as const,
        [config || inHome(".config"), "containers/auth.json"] as const
      ].flatMap(([directory, name]) => directory === "" ? [] : [path.join(directory, name)])
      : [authFile]
    return [
      ...Redacted.value(inline) === "" ? [] : [parse("DOCKER_AUTH_CONFIG", Redacted.value(inline))],
      ...files.map(load)
    ]
  })

  const asked = yield* Cache.makeWith(
    Effect.fnUntraced(function*({ helper, place }: { readonly helper: string; readonly place: string }) {
      const timeToLive = yield* HelperTimeToLive
      // the one server that helpers know by an address
      const server = place === Keys.dockerHub ? "https://index.docker.io/v1/" : place
      return { timeToLive, credential: yield* CredentialHelper.get(spawner, helper, server) }
    }),
    {
      capacity: 1000,
      timeToLive: Exit.match({
        onFailure: () => Duration.zero,
        onSuccess: ({ credential, timeToLive }) =>
          credential === undefined ? Duration.min(timeToLive, Duration.minutes(1)) : timeToLive
      })
    }
  )

  const ask = Effect.fnUntraced(function*(source: Source, helper: string, place: string) {
    if (CredentialHelper.isName(helper)) return (yield* Cache.get(asked, { helper, place })).credential
    return yield* broken(source.name, "it names a credential helper by other characters than letters, digits and ._+-")
  })

  const lookupIn = Effect.fnUntraced(function*(source: Source, place: Credentials.Place) {
    const around = Keys.around(place)
    for (const [index, key] of around.entries()) {
      const store = index === around.length - 1 ? source.credsStore : ""
      // an empty name is how docker keeps one host out of its store
      const helper = source.credHelpers.get(key) ?? store
      const given = helper === "" ? undefined : yield* ask(source, helper, key)
      if (given !== undefined) return given
      const login = source.auths.has(key) ? yield* readLogin(source.name, key, source.auths.get(key)) : undefined
      if (login !== undefined) return login
    }
    return undefined
  })

  return Credentials.Credentials.of({
    lookup: Effect.fnUntraced(function*(
      place: Credentials.Place
    ): Effect.fn.Return<Credentials.Credential | undefined, Credentials.CredentialsError> {
      for (const load of yield* sources) {
        const source = yield* load
        const found = source === undefined ? undefined : yield* lookupIn(source, place)
        if (found !== undefined) return found
      }
      return undefined
    }),
    refused: Effect.fnUntraced(function*(place: Credentials.Place) {
      const places = new Set(Keys.around(place))
      // entries are what was given already: a helper that is being asked again right now is not disturbed
      for (const [key] of yield* Cache.entries(asked)) {
        if (places.has(key.place)) yield* Cache.invalidate(asked, key)
      }
    })
  })
})

/**
 * Provides the credentials that docker and podman keep.
 *
 * **Example** (One file and no other)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, FileSystem, Layer } from "effect"
 * import * as Credentials from "effect-oci/Credentials"
 * import * as DockerConfig from "effect-oci/DockerConfig"
 *
 * const layer = DockerConfig.layer({ file: "auth.json" }).pipe(Layer.provideMerge(NodeServices.layer))
 *
 * const program = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   yield* fs.writeFileString("auth.json", `{ "auths": { "ghcr.io": { "username": "ada", "password": "secret" } } }`)
 *   const credentials = yield* Credentials.Credentials
 *   return yield* credentials.lookup({ host: "ghcr.io" })
 * })
 *
 * const found = await Effect.runPromise(Effect.provide(program, layer))
 * found?._tag // => "Basic"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options?: Options
): Layer.Layer<
  Credentials.Credentials,
  never,
  FileSystem.FileSystem | Path.Path | ChildProcessSpawner.ChildProcessSpawner
> => Layer.effect(Credentials.Credentials, make(options))
