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
 * Files are read when credentials are looked up. As in Go, names of fields match regardless of case. A file that is
 * missing, empty, `null` or a folder has no credentials. A file that is not a JSON object fails the lookup with its
 * name. An entry that is not as docker and podman write it, and a helper that is missing or fails, give no credentials:
 * the `Observer` receives a `Warning` that names them, once, and the lookup continues.
 *
 * What a helper gave is kept for {@link HelperTimeToLive}, or until a registry refuses it.
 *
 * @since 0.1.0
 */
import * as Cache from "effect/Cache"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Path from "effect/Path"
import * as Predicate from "effect/Predicate"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Metrics from "../Metrics.ts"
import type { CredentialsUnavailable } from "../RegistryError.ts"
import * as CredentialHelper from "./CredentialHelper.ts"
import * as CredentialKeys from "./CredentialKeys.ts"
import * as Credentials from "./Credentials.ts"
import * as DockerFiles from "./DockerFiles.ts"
import * as GoJson from "./GoJson.ts"

export {
  /** @since 0.1.0 */
  HelperTimeout
} from "./CredentialHelper.ts"

/**
 * How long what a credential helper gave is used. Helpers do not say how long it is good for; where a registry refuses
 * it before, the helper is asked again. That a helper has nothing, or that it failed, is kept for a minute at most.
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
  readonly file?: string | undefined
}

const passwordOf = (auth: string): Credentials.Credential | undefined => {
  const [, username, password] = /^([^:]*):(.*)$/s.exec(Result.getOrElse(Base64.decodeString(auth), () => "")) ?? []
  return username === undefined || password === undefined
    ? undefined
    // docker takes away the NUL that some are padded with
    : { _tag: "Basic", username, password: Redacted.make(password.replace(/^\0+|\0+$/g, "")) }
}

const fieldNames = ["auth", "username", "password", "identitytoken", "registrytoken"] as const

const readLogin = Effect.fnUntraced(function*(name: string, place: string, entry: unknown) {
  const fields = entry ?? {}
  const malformed = DockerFiles.broken(name, `the entry for ${place} is not as docker and podman write it`)
  if (!GoJson.isFields(fields)) return yield* malformed
  const [auth, username, password, identitytoken, registrytoken] = fieldNames.map((field) =>
    GoJson.field(fields, field) ?? ""
  )
  if (
    !Predicate.isString(auth) || !Predicate.isString(username) || !Predicate.isString(password) ||
    !Predicate.isString(identitytoken) || !Predicate.isString(registrytoken)
  ) return yield* malformed
  if (registrytoken !== "") return { _tag: "RegistryToken", token: Redacted.make(registrytoken) } as const
  if (identitytoken !== "") return { _tag: "IdentityToken", token: Redacted.make(identitytoken) } as const
  if (auth !== "") {
    return passwordOf(auth) ??
      (yield* DockerFiles.broken(name, `auth in the entry for ${place} is not a name and a password in Base64`))
  }
  return username === "" ? undefined : { _tag: "Basic", username, password: Redacted.make(password) } as const
})

/** How long it is kept that a helper has nothing. */
const shorter = (timeToLive: Duration.Duration) => Duration.min(timeToLive, Duration.minutes(1))

/** Number of distinct warnings to remember, so that each is reported once. */
const warningLimit = 1000

/** The keys that are asked for in a config, and the helper that is asked first, if its name is not empty. */
const asking = ({ credHelpers, credsStore }: DockerFiles.Source, place: Credentials.Place) => {
  const around = CredentialKeys.enclosing(place)
  return around.map((key, index) => ({
    key,
    // an empty name is how docker keeps one host out of its store
    helper: credHelpers.get(key) ?? (index === around.length - 1 ? credsStore : "")
  }))
}

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
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const context = yield* Effect.context<FileSystem.FileSystem | Path.Path>()
  const candidates = Effect.provideContext(DockerFiles.candidates(options.file), context)

  const asked = yield* Cache.makeWith(
    Effect.fnUntraced(function*({ helper, place }: { readonly helper: string; readonly place: string }) {
      const timeToLive = yield* HelperTimeToLive
      const given = yield* Effect.result(CredentialHelper.get(spawner, helper, CredentialKeys.address(place)))
      return { given, timeToLive: Result.getOrUndefined(given) === undefined ? shorter(timeToLive) : timeToLive }
    }),
    {
      capacity: 1000,
      timeToLive: Exit.match({ onFailure: () => Duration.zero, onSuccess: ({ timeToLive }) => timeToLive })
    }
  )

  const warned = new Set<string>()
  /** Reports why there are no credentials, once for each reason. */
  const passOver = Effect.fnUntraced(function*({ host }: Credentials.Place, { message }: CredentialsUnavailable) {
    if (warned.has(message)) return undefined
    if (warned.size === warningLimit) warned.clear()
    warned.add(message)
    yield* Metrics.tell({ _tag: "Warning", registry: host, text: message })
    return undefined
  })

  const ask = Effect.fnUntraced(function*(source: DockerFiles.Source, helper: string, place: string) {
    if (!CredentialHelper.isName(helper)) {
      return yield* DockerFiles.broken(
        source.name,
        "it names a credential helper by other characters than letters, digits and ._+-"
      )
    }
    return yield* Effect.fromResult((yield* Cache.get(asked, { helper, place })).given)
  })

  const lookupIn = Effect.fnUntraced(function*(source: DockerFiles.Source, place: Credentials.Place) {
    const lenient = Effect.catch((error: CredentialsUnavailable) => passOver(place, error))
    for (const problem of source.problems) yield* passOver(place, DockerFiles.broken(source.name, problem))
    for (const { helper, key } of asking(source, place)) {
      const given = helper === "" ? undefined : yield* lenient(ask(source, helper, key))
      if (given !== undefined) return given
      const login = source.auths.has(key)
        ? yield* lenient(readLogin(source.name, key, source.auths.get(key)))
        : undefined
      if (login !== undefined) return login
    }
    return undefined
  })

  return Credentials.Credentials.of({
    lookup: Effect.fnUntraced(function*(
      place: Credentials.Place
    ): Effect.fn.Return<Credentials.Credential | undefined, Credentials.CredentialsError> {
      for (const candidate of yield* candidates) {
        const source = yield* candidate.source
        const found = source === undefined ? undefined : yield* lookupIn(source, place)
        if (found !== undefined) return found
      }
      return undefined
    }),
    refused: Effect.fnUntraced(function*(place: Credentials.Place) {
      const places = new Set(CredentialKeys.enclosing(place))
      // entries are what was given already: a helper that is being asked again right now is not disturbed
      for (const [key] of yield* Cache.entries(asked)) {
        if (places.has(key.place)) yield* Cache.invalidate(asked, key)
      }
    })
  })
})

/**
 * A place where credentials are looked for, and what is there for a host or repository: `absent`, there is no such file;
 * `none`, it has nothing for it; `entry`, it has an entry under `key`; `helper`, it names a program that is asked for
 * `key`; `broken`, it cannot be read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Looked {
  /** The file or variable. */
  readonly source: string
  readonly found: "absent" | "none" | "entry" | "helper" | "broken"
  readonly key?: string
  readonly program?: string
}

const lookInto = Effect.fnUntraced(function*({ name, source }: DockerFiles.Candidate, place: Credentials.Place) {
  const config = yield* Effect.option(source)
  if (Option.isNone(config)) return { source: name, found: "broken" } satisfies Looked
  if (config.value === undefined) return { source: name, found: "absent" } satisfies Looked
  for (const { helper, key } of asking(config.value, place)) {
    if (helper !== "") {
      return { source: name, found: "helper", key, program: `docker-credential-${helper}` } satisfies Looked
    }
    const entry = config.value.auths.get(key)
    if (Predicate.isObject(entry) && Object.keys(entry).length > 0) {
      return { source: name, found: "entry", key } satisfies Looked
    }
  }
  return { source: name, found: "none" } satisfies Looked
})

/**
 * Tells where credentials for a place are looked for, in this order, and what is there: for people who wonder why they
 * are not known, or as whom. It asks no helper, and has no secret.
 *
 * @category accessors
 * @since 0.1.0
 */
export const explain = Effect.fnUntraced(function*(
  place: Credentials.Place,
  options: Options = {}
): Effect.fn.Return<ReadonlyArray<Looked>, Credentials.CredentialsError, FileSystem.FileSystem | Path.Path> {
  return yield* Effect.forEach(yield* DockerFiles.candidates(options.file), (candidate) => lookInto(candidate, place))
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
